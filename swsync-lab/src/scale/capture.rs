//! Counts the frames on the bridge, from outside the processes: a packet socket on the bridge sees each frame once.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use parking_lot::Mutex;

use super::frames::{Frame, HEAD, Kind};
use crate::network::MAIN_BRIDGE;

/// The socket's queue: some ten thousand frames.
const QUEUE: usize = 32 << 20;

/// Packets since the capture began.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Of the control plane.
    pub control: u64,
    /// Of these, what is no bare acknowledgement.
    pub messages: u64,
    /// Of the time service.
    pub time: u64,
    /// All others.
    pub other: u64,
    /// Frames, none of which is split.
    pub frames: u64,
    /// By namespace: those that it sent, or that were for it alone.
    pub nodes: Vec<NodeCounts>,
}

/// Packets from or to one namespace.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeCounts {
    /// Of the control plane.
    pub control: u64,
    /// Of the time service.
    pub time: u64,
}

impl Counts {
    fn add(&mut self, frame: Frame) {
        self.frames += 1;
        match frame.kind {
            Kind::Control => {
                self.control += frame.packets;
                self.messages += if frame.acknowledges { 0 } else { frame.packets };
            }
            Kind::Time => self.time += frame.packets,
            Kind::Other => self.other += frame.packets,
        }
        for node in frame.from.into_iter().chain(frame.to) {
            let Some(node) = self.nodes.get_mut(node) else { continue };
            match frame.kind {
                Kind::Control => node.control += frame.packets,
                Kind::Time => node.time += frame.packets,
                Kind::Other => {}
            }
        }
    }

    /// What has come since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let nodes = self.nodes.iter().zip(&before.nodes);
        Self {
            control: self.control - before.control,
            messages: self.messages - before.messages,
            time: self.time - before.time,
            other: self.other - before.other,
            frames: self.frames - before.frames,
            nodes: nodes
                .map(|(now, before)| NodeCounts {
                    control: now.control - before.control,
                    time: now.time - before.time,
                })
                .collect(),
        }
    }
}

/// Counts until dropped.
pub struct Capture {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

struct Shared {
    counts: Mutex<Counts>,
    stop: AtomicBool,
}

impl Capture {
    /// Counts the frames of `nodes` namespaces. The bridge has to be promiscuous: only then it sees what passes through it.
    ///
    /// # Errors
    /// This user may not open packet sockets, or there is no bridge.
    pub fn start(nodes: usize) -> anyhow::Result<Self> {
        let socket = open().context("cannot count packets on the bridge")?;
        let counts = Mutex::new(Counts { nodes: vec![NodeCounts::default(); nodes], ..Counts::default() });
        let shared = Arc::new(Shared { counts, stop: AtomicBool::new(false) });
        let counting = shared.clone();
        let thread =
            std::thread::Builder::new().name("capture".into()).spawn(move || count(&socket, &counting))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The counts until now.
    ///
    /// # Errors
    /// Counting has ended.
    pub fn counts(&self) -> anyhow::Result<Counts> {
        ensure!(!self.thread.as_ref().is_none_or(JoinHandle::is_finished), "the count of packets has ended");
        Ok(self.shared.counts.lock().clone())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => swsync_core::log::error!(%error, "the count of packets has failed"),
            Some(Err(_)) => swsync_core::log::error!("the thread that counts packets has panicked"),
            Some(Ok(Ok(()))) | None => {}
        }
    }
}

fn open() -> anyhow::Result<OwnedFd> {
    let bridge = getifaddrs()?
        .filter(|interface| interface.interface_name == MAIN_BRIDGE)
        .find_map(|interface| interface.address?.as_link_addr().copied())
        .context("the bridge has no address of its link")?;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(100))?;
    // As large as the system allows, if that is not allowed.
    if setsockopt(&socket, sockopt::RcvBufForce, &QUEUE).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &QUEUE)?;
    }
    bind(socket.as_raw_fd(), &bridge)?;
    Ok(socket)
}

fn count(socket: &OwnedFd, shared: &Shared) -> io::Result<()> {
    let mut head = [0; HEAD];
    while !shared.stop.load(Ordering::Relaxed) {
        match recv(socket.as_raw_fd(), &mut head, MsgFlags::empty()) {
            Ok(length) => {
                if let Some(frame) = Frame::of(&head[..length]) {
                    shared.counts.lock().add(frame);
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
