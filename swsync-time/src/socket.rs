//! A UDP socket that reports the local time at which each datagram left or came.
//!
//! The kernel stamps a datagram when the driver takes it or hands it up (SO_TIMESTAMPING,
//! Documentation/networking/timestamping.rst). A network card with a clock of its own stamps by that clock. A transmit stamp
//! comes back on the socket's error queue, before the response or not at all; nothing waits for it.
//!
//! Some WiFi drivers do not stamp what they send. For those the kernel also stamps each datagram as it enters the interface's queue
//! ([`StampKind::KernelQueue`]), whatever the driver. If even that does not come, the time just before the send stands in for it. If a
//! datagram comes without a stamp, the time of reading it stands in. Both are reported as [`StampKind::UserSpace`].

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrStorage,
    TimestampingFlag, Timestamps, bind, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use swsync_core::time::{Local, Realtime, Span, Timestamp};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::address::socket_addr;
use crate::card_stamps::{Cards, Phc};
use crate::stats::{StampKind, StampKinds};
use crate::{DeviceClock, Host, host_now};

/// A transmit stamp that takes longer than this will not come.
const STAMP_PATIENCE: Span = Span::from_millis(100);
/// Longest time from a datagram's stamp until it can be received. Mostly microseconds; on a busy machine the kernel's network
/// thread may wait for the processor in between.
const DELIVERY: Span = Span::from_millis(100);
/// `SCM_TSTAMP_SCHED` of linux/errqueue.h: a stamp of a datagram that enters the interface's queue.
const SCHEDULED: u32 = 1;
/// `SOF_TIMESTAMPING_TX_SCHED`, which asks for those: nix has no name for it.
const STAMP_AT_QUEUE: TimestampingFlag = TimestampingFlag::from_bits_retain(libc::SOF_TIMESTAMPING_TX_SCHED);
/// After this many datagrams in a row without a stamp of the kernel, warn. The first few may lack one: the kernel begins to
/// stamp some time after it was destination to.
const WARN_AFTER: u32 = 8;

/// When a datagram left or came, and what stamped it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) at: Timestamp<Local>,
    pub(crate) kind: StampKind,
}

/// The address of this device that a datagram was sent to. Its response has to come from there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Destination {
    V4 { address: Ipv4Addr, interface: u32 },
    V6 { address: Ipv6Addr, interface: u32 },
}

/// A datagram that has been received.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) length: usize,
    pub(crate) from: SocketAddr,
    pub(crate) destination: Option<Destination>,
    pub(crate) stamp: Stamp,
}

/// An event of a [`StampedSocket`].
#[derive(Debug)]
pub(crate) enum SocketEvent<T> {
    /// The datagram that was sent with `token` has left.
    Sent {
        token: T,
        stamp: Stamp,
    },
    Received(Received),
}

impl Destination {
    /// The index of the network interface.
    const fn interface(self) -> u32 {
        match self {
            Self::V4 { interface, .. } | Self::V6 { interface, .. } => interface,
        }
    }
}

/// A datagram that was sent, and whose transmit stamp has not come yet.
#[derive(Debug)]
struct UnstampedSend<T> {
    id: u32,
    interface: Option<u32>,
    token: T,
    before: Timestamp<Host>,
    /// When it entered the interface's queue.
    queued: Option<Timestamp<Local>>,
}

/// See the module documentation. A `T` goes with each datagram sent.
#[derive(Debug)]
pub(crate) struct StampedSocket<T> {
    socket: UdpSocket,
    clock: Arc<DeviceClock>,
    /// The kernel numbers the datagrams sent, and reports the number with the stamp.
    next_id: u32,
    pending: VecDeque<UnstampedSend<T>>,
    sent: VecDeque<SocketEvent<T>>,
    /// When the receive queue was last empty: datagrams read later came after that.
    last_empty: Timestamp<Host>,
    kinds: StampKinds,
    cards: Cards,
    /// Datagrams in a row without a stamp of the kernel.
    sent_unstamped: u32,
    received_unstamped: u32,
    control: Vec<u8>,
}

impl<T> StampedSocket<T> {
    /// A socket that receives from any peer. At the unspecified IPv6 address it serves IPv4 as well. Must be called in the
    /// executor's context.
    pub(crate) fn bind(address: SocketAddr, clock: Arc<DeviceClock>) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        match address {
            SocketAddr::V4(_) => setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => {
                setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
                setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
            }
        }
        bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
        Self::new(fd.into(), clock, address.ip())
    }

    /// A socket that sends to `peer` and receives from it alone. Must be called in the executor's context.
    pub(crate) fn connect(peer: SocketAddr, clock: Arc<DeviceClock>) -> io::Result<Self> {
        let any: IpAddr = match peer {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = StdSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(peer)?;
        let local = socket.local_addr()?.ip();
        Self::new(socket, clock, local)
    }

    fn new(socket: StdSocket, clock: Arc<DeviceClock>, local: IpAddr) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // A simulated clock is derived from the host's clocks; network cards are not simulated.
        let cards = if clock.is_simulated() { Cards::default() } else { Cards::of(local) };
        if let Err(error) = ask_for_stamps(&socket, !cards.is_empty()) {
            swsync_core::log::warn!(%error, "the kernel does not stamp packets: user space does, less exactly");
        }
        clock.observe_wall();
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            clock,
            next_id: 0,
            pending: VecDeque::new(),
            sent: VecDeque::new(),
            last_empty: host_now(),
            kinds: StampKinds::default(),
            cards,
            sent_unstamped: 0,
            received_unstamped: 0,
            control: nix::cmsg_space!(
                [TimeSpec; 3],
                libc::sock_extended_err,
                libc::sockaddr_in6,
                libc::in_pktinfo,
                libc::in6_pktinfo
            ),
        })
    }

    /// The address that it is bound to.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// What stamped the last datagrams.
    pub(crate) const fn kinds(&self) -> StampKinds {
        self.kinds
    }

    /// Sends `bytes` to the peer that it is connected to. [`SocketEvent::Sent`] follows.
    pub(crate) fn send(&mut self, bytes: &[u8], token: T) -> io::Result<()> {
        self.send_message(bytes, None, None, token)
    }

    /// Sends `bytes` to `to`, from the address `from`. [`SocketEvent::Sent`] follows.
    pub(crate) fn send_to(
        &mut self,
        bytes: &[u8],
        to: SocketAddr,
        from: Option<Destination>,
        token: T,
    ) -> io::Result<()> {
        self.send_message(bytes, Some(to.into()), from, token)
    }

    /// Never waits: a datagram is lost if the socket's buffer is full, as it may be lost on the network.
    fn send_message(
        &mut self,
        bytes: &[u8],
        to: Option<SockaddrStorage>,
        from: Option<Destination>,
        token: T,
    ) -> io::Result<()> {
        self.clock.observe_wall();
        let before = host_now();
        let fd = self.socket.as_raw_fd();
        let parts = [IoSlice::new(bytes)];
        let send = |control: &[ControlMessage<'_>]| {
            sendmsg(fd, &parts, control, MsgFlags::MSG_DONTWAIT, to.as_ref())
        };
        let result = match from {
            None => send(&[]),
            Some(Destination::V4 { address, .. }) => {
                send(&[ControlMessage::Ipv4PacketInfo(&libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                })])
            }
            Some(Destination::V6 { address, interface }) => {
                send(&[ControlMessage::Ipv6PacketInfo(&libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: address.octets() },
                    // Other addresses need no interface: the routes decide.
                    ipi6_ifindex: if address.is_unicast_link_local() { interface } else { 0 },
                })])
            }
        };
        match result {
            Ok(_) => {
                let interface = from.map(Destination::interface);
                let id = self.next_id;
                self.pending.push_back(UnstampedSend { id, interface, token, before, queued: None });
                self.next_id = self.next_id.wrapping_add(1);
                Ok(())
            }
            Err(error) => {
                self.restart_numbering();
                Err(error.into())
            }
        }
    }

    /// Makes the kernel number from zero again: it may or may not have counted a send that failed.
    fn restart_numbering(&mut self) {
        self.collect_stamps();
        while let Some(pending) = self.pending.pop_front() {
            self.report_without_stamp(pending);
        }
        let reset = setsockopt(&self.socket, sockopt::Timestamping, &TimestampingFlag::empty());
        if let Err(error) =
            reset.map_err(io::Error::from).and_then(|()| ask_for_stamps(&self.socket, !self.cards.is_empty()))
        {
            swsync_core::log::debug!(%error, "the kernel does not stamp packets");
        }
        self.next_id = 0;
    }

    /// Waits for the next event. Cancelling the wait loses nothing.
    pub(crate) async fn next(&mut self, buffer: &mut [u8]) -> io::Result<SocketEvent<T>> {
        loop {
            // Stamps first: a response is of use only once its request's stamp is known.
            self.collect_stamps();
            while self.pending.front().is_some_and(|first| host_now() - first.before > STAMP_PATIENCE) {
                let pending = self.pending.pop_front().expect("there is a first one");
                self.report_without_stamp(pending);
            }
            if let Some(sent) = self.sent.pop_front() {
                return Ok(sent);
            }
            match self.try_receive(buffer)? {
                Some(received) => return Ok(SocketEvent::Received(received)),
                None => self.last_empty = host_now(),
            }
            self.socket.ready(Interest::READABLE | Interest::ERROR).await?;
            // Clears the readiness, for each interest by itself since tokio has no other way. The next turn of the loop sees
            // what has come by now, and later datagrams make the socket ready again.
            for interest in [Interest::READABLE, Interest::ERROR] {
                let _ = self.socket.try_io(interest, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            }
        }
    }

    /// Receives a datagram, if there is one.
    fn try_receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        loop {
            let fd = self.socket.as_raw_fd();
            let mut parts = [IoSliceMut::new(buffer)];
            let flags = MsgFlags::MSG_DONTWAIT;
            let message = match recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut self.control), flags) {
                Ok(message) => message,
                Err(nix::Error::EAGAIN) => return Ok(None),
                Err(nix::Error::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let now = self.clock.now();
            let (mut stamp, mut by_card, mut destination) = (None, None, None);
            for item in message.cmsgs()? {
                match item {
                    ControlMessageOwned::ScmTimestampsns(stamps) => {
                        (stamp, by_card) = (wall_time(&stamps), card_time(&stamps));
                    }
                    ControlMessageOwned::Ipv4PacketInfo(info) => {
                        let address = info.ipi_spec_dst.s_addr.to_ne_bytes().into();
                        let interface = u32::try_from(info.ipi_ifindex).unwrap_or(0);
                        destination = Some(Destination::V4 { address, interface });
                    }
                    ControlMessageOwned::Ipv6PacketInfo(info) => {
                        let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                        destination = Some(Destination::V6 { address, interface: info.ipi6_ifindex });
                    }
                    _ => {}
                }
            }
            let length = message.bytes;
            let Some(from) = message.address.as_ref().and_then(socket_addr) else { continue };
            let earliest = self.last_empty - DELIVERY;
            let had_cards = !self.cards.is_empty();
            let by_card = self.cards.received(by_card, destination.map(Destination::interface), earliest);
            if had_cards && self.cards.is_empty() {
                self.restart_numbering(); // from now on the kernel alone stamps
            }
            let by_kernel = stamp.map(|stamp| self.clock.local_from_realtime(stamp, earliest));
            let stamp = match (by_card, by_kernel) {
                (Some(at), _) => Stamp { at: self.clock.local_at(at), kind: StampKind::Hardware },
                (None, Some(Some(at))) => Stamp { at, kind: StampKind::Kernel },
                (None, Some(None)) => {
                    swsync_core::log::debug!(%from, "the wall clock was stepped as a datagram came: dropping it");
                    continue;
                }
                (None, None) => Stamp { at: now, kind: StampKind::UserSpace },
            };
            self.kinds.received = Some(stamp.kind);
            warn_if_missing(&mut self.received_unstamped, stamp.kind, "received");
            return Ok(Some(Received { length, from, destination, stamp }));
        }
    }

    /// Takes the transmit stamps out of the error queue.
    fn collect_stamps(&mut self) {
        loop {
            let mut nothing = [0; 1];
            let mut parts = [IoSliceMut::new(&mut nothing)];
            let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
            let fd = self.socket.as_raw_fd();
            let Ok(message) = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut self.control), flags)
            else {
                return; // EAGAIN: no more stamps
            };
            let (mut stamps, mut id) = (None, None);
            for item in message.cmsgs().into_iter().flatten() {
                match item {
                    ControlMessageOwned::ScmTimestampsns(both) => stamps = Some(both),
                    ControlMessageOwned::Ipv4RecvErr(error, _)
                    | ControlMessageOwned::Ipv6RecvErr(error, _)
                        if error.ee_origin == libc::SO_EE_ORIGIN_TIMESTAMPING =>
                    {
                        id = Some((error.ee_data, error.ee_info == SCHEDULED));
                    }
                    _ => {}
                }
            }
            let (Some(stamps), Some((id, is_of_queue))) = (stamps, id) else { continue };
            let Some(index) = self.pending.iter().position(|pending| pending.id == id) else { continue };
            if is_of_queue {
                // Kept until it is clear whether the driver stamps, which is later and so better.
                let pending = &mut self.pending[index];
                pending.queued =
                    wall_time(&stamps).and_then(|at| self.clock.local_from_realtime(at, pending.before));
                continue;
            }
            let pending = self.pending.remove(index).expect("it has just been found");
            let by_card = self.cards.sent(card_time(&stamps), pending.interface, pending.before);
            let by_kernel = || self.clock.local_from_realtime(wall_time(&stamps)?, pending.before);
            if let Some(at) = by_card {
                let at = self.clock.local_at(at);
                self.report_sent(pending.token, Stamp { at, kind: StampKind::Hardware });
            } else if let Some(at) = by_kernel() {
                self.report_sent(pending.token, Stamp { at, kind: StampKind::Kernel });
            } else {
                // The wall clock was stepped as the datagram left. The time before the send is not affected.
                self.report_without_stamp(pending);
            }
        }
    }

    /// Reports a datagram that the driver did not stamp.
    fn report_without_stamp(&mut self, pending: UnstampedSend<T>) {
        let stamp = match pending.queued {
            Some(at) => Stamp { at, kind: StampKind::KernelQueue },
            None => Stamp { at: self.clock.local_at(pending.before), kind: StampKind::UserSpace },
        };
        self.report_sent(pending.token, stamp);
    }

    fn report_sent(&mut self, token: T, stamp: Stamp) {
        self.kinds.sent = Some(stamp.kind);
        warn_if_missing(&mut self.sent_unstamped, stamp.kind, "sent");
        self.sent.push_back(SocketEvent::Sent { token, stamp });
    }
}

fn warn_if_missing(in_a_row: &mut u32, kind: StampKind, what: &str) {
    match kind {
        StampKind::Hardware | StampKind::Kernel | StampKind::KernelQueue => *in_a_row = 0,
        StampKind::UserSpace => {
            *in_a_row = in_a_row.saturating_add(1);
            if *in_a_row == WARN_AFTER {
                swsync_core::log::warn!(
                    "the kernel does not stamp the packets {what}: user space does, which costs accuracy \
                     (ethtool -T says what the network's driver can do)"
                );
            }
        }
    }
}

fn ask_for_stamps(socket: &impl AsFd, by_card: bool) -> io::Result<()> {
    let mut flags = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
        | STAMP_AT_QUEUE
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_ID
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY;
    if by_card {
        flags |= TimestampingFlag::SOF_TIMESTAMPING_RAW_HARDWARE
            | TimestampingFlag::SOF_TIMESTAMPING_RX_HARDWARE
            | TimestampingFlag::SOF_TIMESTAMPING_TX_HARDWARE;
    }
    Ok(setsockopt(socket, sockopt::Timestamping, &flags)?)
}

/// The card's stamp. Zero means none.
fn card_time(stamps: &Timestamps) -> Option<Timestamp<Phc>> {
    let (secs, nanos) = (stamps.hw_raw.tv_sec(), stamps.hw_raw.tv_nsec());
    (secs != 0 || nanos != 0).then(|| Timestamp::ZERO + Span::from_secs(secs) + Span::from_nanos(nanos))
}

/// The software stamp. Zero means none.
fn wall_time(stamps: &Timestamps) -> Option<Timestamp<Realtime>> {
    let (secs, nanos) = (stamps.system.tv_sec(), stamps.system.tv_nsec());
    (secs != 0).then(|| Timestamp::ZERO + Span::from_secs(secs) + Span::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::runtime;

    fn socket(address: &str) -> StampedSocket<u32> {
        StampedSocket::bind(address.parse().unwrap(), Arc::new(DeviceClock::real())).unwrap()
    }

    /// The next event: the token if it is of a datagram sent, and the stamp.
    async fn next(socket: &mut StampedSocket<u32>) -> (Option<u32>, Stamp) {
        match socket.next(&mut [0; 64]).await.unwrap() {
            SocketEvent::Sent { token, stamp } => (Some(token), stamp),
            SocketEvent::Received(received) => (None, received.stamp),
        }
    }

    #[test]
    fn the_kernel_stamps_both_ways() {
        runtime().unwrap().block_on(async {
            let has_ipv6 = StdSocket::bind("[::1]:0").is_ok();
            for address in ["127.0.0.1:0", "[::]:0", "[::1]:0"].into_iter().take(2 + usize::from(has_ipv6)) {
                let mut socket = socket(address);
                let port = socket.local_addr().unwrap().port();
                let to =
                    if address == "[::]:0" { "[::ffff:127.0.0.1]".into() } else { address.replace(":0", "") };
                let to: SocketAddr = format!("{to}:{port}").parse().unwrap();
                let before = socket.clock.now();
                for token in 0..3 {
                    socket.send_to(b"hello", to, None, token).unwrap();
                    let (token_sent, sent) = next(&mut socket).await;
                    let (none, received) = next(&mut socket).await;
                    assert_eq!((token_sent, none), (Some(token), None));
                    assert_eq!(sent.kind, StampKind::Kernel);
                    // The first few received may lack a stamp: the kernel begins late.
                    if received.kind == StampKind::Kernel {
                        assert!(
                            before < sent.at && sent.at <= received.at,
                            "{before:?} {sent:?} {received:?}"
                        );
                    }
                }
                assert_eq!(socket.kinds().sent, Some(StampKind::Kernel));
            }
        });
    }

    #[test]
    fn without_stamps_of_the_kernel_user_space_stamps_and_is_reported() {
        runtime().unwrap().block_on(async {
            let mut socket = socket("127.0.0.1:0");
            setsockopt(&socket.socket, sockopt::Timestamping, &TimestampingFlag::empty()).unwrap();
            let to = socket.local_addr().unwrap();
            let before = socket.clock.now();
            socket.send_to(b"hello", to, None, 7).unwrap();
            let (token, received) = next(&mut socket).await;
            assert_eq!((token, received.kind), (None, StampKind::UserSpace));
            // The socket stops waiting for the transmit stamp at the next event after a while.
            let sent = loop {
                socket.send_to(b"hello", to, None, 8).unwrap();
                if let (Some(token), sent) = next(&mut socket).await {
                    assert_eq!(token, 7);
                    break sent;
                }
            };
            assert_eq!(sent.kind, StampKind::UserSpace);
            assert!(before <= sent.at && sent.at <= received.at, "{before:?} {sent:?} {received:?}");
            let kinds = StampKinds { sent: Some(StampKind::UserSpace), received: Some(StampKind::UserSpace) };
            assert_eq!(socket.kinds(), kinds);
        });
    }

    #[test]
    fn where_the_driver_does_not_stamp_the_queue_does() {
        runtime().unwrap().block_on(async {
            let mut socket = socket("127.0.0.1:0");
            // As a driver that has no stamps: the kernel gives none of the driver, though it is asked for the queue's.
            let flags = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
                | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
                | STAMP_AT_QUEUE
                | TimestampingFlag::SOF_TIMESTAMPING_OPT_ID
                | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY;
            setsockopt(&socket.socket, sockopt::Timestamping, &flags).unwrap();
            let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let before = socket.clock.now();
            socket.send_to(b"hello", other.local_addr().unwrap(), None, 7).unwrap();
            let after = socket.clock.now();
            // Something has to come until the socket stops waiting for the driver.
            let to = socket.local_addr().unwrap();
            let sent = loop {
                other.send_to(b"tick", to).await.unwrap();
                if let (Some(token), sent) = next(&mut socket).await {
                    assert_eq!(token, 7);
                    break sent;
                }
            };
            assert_eq!(sent.kind, StampKind::KernelQueue);
            assert!(before < sent.at && sent.at <= after, "{before:?} {sent:?} {after:?}");
        });
    }

    #[test]
    fn a_send_that_fails_does_not_mix_up_the_stamps() {
        runtime().unwrap().block_on(async {
            let mut socket = socket("127.0.0.1:0");
            let to = socket.local_addr().unwrap();
            let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            for token in 0..5 {
                // One that is too long, one without a route, and a good one.
                socket.send_to(&[0; 70_000], to, None, 100).unwrap_err();
                socket.send_to(b"hello", "[::1]:9".parse().unwrap(), None, 101).unwrap_err();
                socket.send_to(b"hello", other.local_addr().unwrap(), None, token).unwrap();
                let (sent, stamp) = next(&mut socket).await;
                assert_eq!((sent, stamp.kind), (Some(token), StampKind::Kernel));
            }
        });
    }
}
