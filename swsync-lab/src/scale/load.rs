//! Many clients of one time server, as a load: the protocol of `swsync-core`'s client, without kernel timestamps, all on one
//! socket. Each has an address of its own, since a server tells clients by their addresses.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use swsync_core::name::Name;
use swsync_core::ntp::rig_id;
use swsync_core::time::{Local, Span, Timestamp};
use swsync_core::time_service::{Client, ClientAction, ClientConfig, Seed, SyncState};
use swsync_time::{DeviceClock, wall_clock};

use super::protocol::{Clients, Told};
use super::tell;

/// The first address of the clients: the lab routes all of 10.88.0.0/16 to this process.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
/// How often it tells how its clients are.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Is `count` clients of `server`, until it is killed.
///
/// # Errors
/// The socket cannot be opened or used.
pub fn run(rig: &Name, server: SocketAddrV4, count: u16, over: Duration) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    setsockopt(&socket, sockopt::RcvBuf, &(4 << 20))?;
    let mut load = Load::new(rig, socket, server, count, over);
    let mut told = Instant::now();
    loop {
        load.wake()?;
        load.receive()?;
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            tell(&Told::Clients(load.figures()));
        }
    }
}

struct Load {
    device: DeviceClock,
    socket: UdpSocket,
    server: SockaddrIn,
    clients: Vec<Client>,
    synced: Vec<bool>,
    /// When each has something to do.
    wakes: BinaryHeap<Reverse<(Timestamp<Local>, usize)>>,
    /// The valid wake of each: earlier entries in `wakes` are out of date.
    wake_at: Vec<Timestamp<Local>>,
    /// When each begins.
    begins: Vec<Timestamp<Local>>,
    figures: Clients,
}

impl Load {
    fn new(rig: &Name, socket: UdpSocket, server: SocketAddrV4, count: u16, over: Duration) -> Self {
        let device = DeviceClock::real();
        let now = device.now();
        let pivot = Timestamp::from_nanos(wall_clock().as_nanos());
        let begins: Vec<_> = (0..count)
            .map(|index| now + Span::from(over).mul_f64(f64::from(index) / f64::from(count.max(1))))
            .collect();
        let config = ClientConfig { rig: rig_id(rig.as_str()), ..ClientConfig::default() };
        let clients = begins
            .iter()
            .map(|at| Client::new(config.clone(), *at, pivot, Seed::from(rand::random::<[u8; 32]>())))
            .collect();
        let wakes = begins.iter().enumerate().map(|(index, at)| Reverse((*at, index))).collect();
        Self {
            device,
            socket,
            server: server.into(),
            clients,
            synced: vec![false; count.into()],
            wakes,
            wake_at: begins.clone(),
            begins,
            figures: Clients::default(),
        }
    }

    fn figures(&self) -> Clients {
        let now = self.device.now();
        Clients {
            begun: self.begins.iter().filter(|at| **at <= now).count(),
            synced: self.synced.iter().filter(|synced| **synced).count(),
            ..self.figures
        }
    }

    /// Lets those act whose time has come.
    fn wake(&mut self) -> anyhow::Result<()> {
        while let Some(Reverse((at, index))) = self.wakes.peek().copied() {
            let now = self.device.now();
            if at > now {
                break;
            }
            self.wakes.pop();
            if self.wake_at[index] == at {
                self.clients[index].handle_timeout(now);
                self.act(index)?;
            }
        }
        Ok(())
    }

    /// Carries out what a client wants.
    fn act(&mut self, index: usize) -> anyhow::Result<()> {
        while let Some(action) = self.clients[index].poll_action() {
            match action {
                ClientAction::Send { datagram, token } => {
                    let sent = self.device.now();
                    self.send(index, &datagram)?;
                    self.clients[index].handle_sent(token, sent);
                }
                ClientAction::Publish(update) => self.synced[index] = update.quality == SyncState::Synced,
                ClientAction::Refused(refusal) => {
                    swsync_core::log::warn!(index, %refusal, "a client is refused");
                }
            }
        }
        let at = self.clients[index].wake_at();
        if self.wake_at[index] != at {
            self.wake_at[index] = at;
            self.wakes.push(Reverse((at, index)));
        }
        Ok(())
    }

    fn send(&mut self, index: usize, datagram: &[u8]) -> anyhow::Result<()> {
        let from = u32::from(FIRST) + u32::try_from(index)?;
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: from.to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let fd = self.socket.as_raw_fd();
        let message = [ControlMessage::Ipv4PacketInfo(&info)];
        sendmsg(fd, &[IoSlice::new(datagram)], &message, MsgFlags::empty(), Some(&self.server))?;
        self.figures.sent += 1;
        Ok(())
    }

    /// Takes what has come, and waits for it until the next wake.
    fn receive(&mut self) -> anyhow::Result<()> {
        let next = self.wakes.peek().map_or(Timestamp::MAX, |Reverse((at, _))| *at);
        let wait = (next - self.device.now()).to_duration().min(Duration::from_millis(100));
        self.socket.set_read_timeout(Some(wait.max(Duration::from_micros(10))))?;
        let mut flags = MsgFlags::empty();
        // Not for ever: others have to act meanwhile.
        for _ in 0..64 {
            let mut buffer = [0; 1024];
            let Some((index, length)) = take(&self.socket, &mut buffer, flags)? else { return Ok(()) };
            flags = MsgFlags::MSG_DONTWAIT;
            let now = self.device.now();
            if let Some(client) = self.clients.get_mut(index) {
                self.figures.responses += 1;
                client.handle_datagram(&buffer[..length], now);
                self.act(index)?;
            }
        }
        Ok(())
    }
}

/// The next datagram, if there is one: whose it is, and its length.
fn take(socket: &UdpSocket, buffer: &mut [u8], flags: MsgFlags) -> anyhow::Result<Option<(usize, usize)>> {
    let mut control = nix::cmsg_space!(libc::in_pktinfo);
    let mut bytes = [IoSliceMut::new(buffer)];
    let received = match recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut bytes, Some(&mut control), flags) {
        Ok(received) => received,
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let to = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(u32::from_be(info.ipi_addr.s_addr)),
        _ => None,
    });
    let index =
        to.and_then(|to| to.checked_sub(u32::from(FIRST))).and_then(|index| usize::try_from(index).ok());
    Ok(Some((index.unwrap_or(usize::MAX), received.bytes)))
}
