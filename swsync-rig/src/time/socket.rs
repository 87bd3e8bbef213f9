//! A UDP socket whose datagrams carry the local time at which they left and came.
//!
//! The kernel stamps what is sent when the driver takes it, and what comes when the driver hands it up
//! (SO_TIMESTAMPING, Documentation/networking/timestamping.rst); a network card with a clock of its own stamps
//! by that. A transmit stamp comes back on the
//! socket's error queue, before the response or not at all; nothing waits for it. Where it does not come
//! the time just before the send stands for it, and where a datagram comes without a stamp the time at
//! which it was read: both are reported as [`StampKind::UserSpace`].

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
use swsync_sim::True;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::hardware::{Cards, Phc};
use super::stats::{StampKind, StampKinds};
use crate::clock::{DeviceClock, true_now};
use crate::net::socket_addr;

/// A transmit stamp that has not come by then does not come.
const STAMP_PATIENCE: Span = Span::from_millis(100);
/// Longest time from a datagram's stamp until it can be received. Mostly microseconds; on a busy machine
/// the kernel's network thread has to wait for the processor in between.
const DELIVERY: Span = Span::from_millis(100);
/// So many datagrams in a row without a kernel's stamp are no accident. The first few may be: the
/// kernel begins to stamp some time after it was asked to.
const NO_ACCIDENT: u32 = 8;

/// When a datagram left or came, and how that is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    pub(super) at: Timestamp<Local>,
    pub(super) kind: StampKind,
}

/// The address of this device that a datagram was sent to: where its answer has to come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    V4 { address: Ipv4Addr, interface: u32 },
    V6 { address: Ipv6Addr, interface: u32 },
}

/// A datagram that has come.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) length: usize,
    pub(super) from: SocketAddr,
    pub(super) asked: Option<Asked>,
    pub(super) stamp: Stamp,
}

/// What happens at a socket.
#[derive(Debug)]
pub(super) enum Event<T> {
    /// What was sent with `token` has left.
    Sent {
        token: T,
        stamp: Stamp,
    },
    Received(Received),
}

impl Asked {
    /// The index of the network interface.
    const fn interface(self) -> u32 {
        match self {
            Self::V4 { interface, .. } | Self::V6 { interface, .. } => interface,
        }
    }
}

#[derive(Debug)]
struct Pending<T> {
    id: u32,
    interface: Option<u32>,
    token: T,
    before: Timestamp<True>,
}

/// See the module's documentation. A `T` goes with each datagram sent.
#[derive(Debug)]
pub(super) struct StampedSocket<T> {
    socket: UdpSocket,
    clock: Arc<DeviceClock>,
    /// The kernel counts what is sent, and says the number with the stamp.
    next_id: u32,
    pending: VecDeque<Pending<T>>,
    sent: VecDeque<Event<T>>,
    /// When there was nothing to be received: what comes came later.
    idle: Timestamp<True>,
    kinds: StampKinds,
    cards: Cards,
    /// Datagrams in a row without a kernel's stamp.
    sent_unstamped: u32,
    received_unstamped: u32,
    control: Vec<u8>,
}

impl<T> StampedSocket<T> {
    /// A socket that anyone may send to. At the unspecified IPv6 address it serves IPv4 as well. Must
    /// be called in the executor's context.
    pub(super) fn bind(address: SocketAddr, clock: Arc<DeviceClock>) -> io::Result<Self> {
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

    /// A socket that sends to `peer` and hears nobody else. Must be called in the executor's context.
    pub(super) fn connect(peer: SocketAddr, clock: Arc<DeviceClock>) -> io::Result<Self> {
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
        // The host's own clocks underlie a simulated one, but no card is simulated.
        let cards = if clock.is_simulated() { Cards::default() } else { Cards::of(local) };
        if let Err(error) = ask_for_stamps(&socket, !cards.is_empty()) {
            tracing::warn!(%error, "the kernel does not stamp packets: user space does, less exactly");
        }
        clock.observe_wall();
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            clock,
            next_id: 0,
            pending: VecDeque::new(),
            sent: VecDeque::new(),
            idle: true_now(),
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
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Who stamped the last datagrams.
    pub(super) const fn kinds(&self) -> StampKinds {
        self.kinds
    }

    /// Sends `bytes` to the peer that it is connected to. [`Event::Sent`] follows.
    pub(super) fn send(&mut self, bytes: &[u8], token: T) -> io::Result<()> {
        self.send_message(bytes, None, None, token)
    }

    /// Sends `bytes` to `to`, from the address that it had asked. [`Event::Sent`] follows.
    pub(super) fn send_to(
        &mut self,
        bytes: &[u8],
        to: SocketAddr,
        from: Option<Asked>,
        token: T,
    ) -> io::Result<()> {
        self.send_message(bytes, Some(to.into()), from, token)
    }

    /// Never waits: a datagram that finds the socket's buffer full is lost, as it may be anywhere.
    fn send_message(
        &mut self,
        bytes: &[u8],
        to: Option<SockaddrStorage>,
        from: Option<Asked>,
        token: T,
    ) -> io::Result<()> {
        self.clock.observe_wall();
        let before = true_now();
        let fd = self.socket.as_raw_fd();
        let parts = [IoSlice::new(bytes)];
        let send = |control: &[ControlMessage<'_>]| {
            sendmsg(fd, &parts, control, MsgFlags::MSG_DONTWAIT, to.as_ref())
        };
        let result = match from {
            None => send(&[]),
            Some(Asked::V4 { address, .. }) => send(&[ControlMessage::Ipv4PacketInfo(&libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            })]),
            Some(Asked::V6 { address, interface }) => {
                send(&[ControlMessage::Ipv6PacketInfo(&libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: address.octets() },
                    // Elsewhere the routes say where it goes.
                    ipi6_ifindex: if address.is_unicast_link_local() { interface } else { 0 },
                })])
            }
        };
        match result {
            Ok(_) => {
                let interface = from.map(Asked::interface);
                self.pending.push_back(Pending { id: self.next_id, interface, token, before });
                self.next_id = self.next_id.wrapping_add(1);
                Ok(())
            }
            Err(error) => {
                self.count_anew();
                Err(error.into())
            }
        }
    }

    /// The kernel may or may not have counted a send that failed: lets it begin again at zero.
    fn count_anew(&mut self) {
        self.collect_stamps();
        while let Some(pending) = self.pending.pop_front() {
            self.give_up(pending);
        }
        let reset = setsockopt(&self.socket, sockopt::Timestamping, &TimestampingFlag::empty());
        if let Err(error) =
            reset.map_err(io::Error::from).and_then(|()| ask_for_stamps(&self.socket, !self.cards.is_empty()))
        {
            tracing::debug!(%error, "the kernel does not stamp packets");
        }
        self.next_id = 0;
    }

    /// Waits for what happens next. Cancelling the wait loses nothing.
    pub(super) async fn next(&mut self, buffer: &mut [u8]) -> io::Result<Event<T>> {
        loop {
            // First all that is there: a response is of use only once its request's stamp is known.
            self.collect_stamps();
            while self.pending.front().is_some_and(|first| true_now() - first.before > STAMP_PATIENCE) {
                let pending = self.pending.pop_front().expect("there is a first one");
                self.give_up(pending);
            }
            if let Some(sent) = self.sent.pop_front() {
                return Ok(sent);
            }
            match self.try_receive(buffer)? {
                Some(received) => return Ok(Event::Received(received)),
                None => self.idle = true_now(),
            }
            self.socket.ready(Interest::READABLE | Interest::ERROR).await?;
            // Forgets that it is ready (for each interest by itself: tokio knows no other way). What has
            // come by now is seen by the next turn of the loop, and what comes later makes it ready again.
            for interest in [Interest::READABLE, Interest::ERROR] {
                let _ = self.socket.try_io(interest, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            }
        }
    }

    /// A datagram, if one is there.
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
            let (mut stamp, mut by_card, mut asked) = (None, None, None);
            for item in message.cmsgs()? {
                match item {
                    ControlMessageOwned::ScmTimestampsns(stamps) => {
                        (stamp, by_card) = (wall_time(&stamps), card_time(&stamps));
                    }
                    ControlMessageOwned::Ipv4PacketInfo(info) => {
                        let address = info.ipi_spec_dst.s_addr.to_ne_bytes().into();
                        let interface = u32::try_from(info.ipi_ifindex).unwrap_or(0);
                        asked = Some(Asked::V4 { address, interface });
                    }
                    ControlMessageOwned::Ipv6PacketInfo(info) => {
                        let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                        asked = Some(Asked::V6 { address, interface: info.ipi6_ifindex });
                    }
                    _ => {}
                }
            }
            let length = message.bytes;
            let Some(from) = message.address.as_ref().and_then(socket_addr) else { continue };
            let earliest = self.idle - DELIVERY;
            let had_cards = !self.cards.is_empty();
            let by_card = self.cards.received(by_card, asked.map(Asked::interface), earliest);
            if had_cards && self.cards.is_empty() {
                self.count_anew(); // which asks the kernel alone from now on
            }
            let by_kernel = stamp.map(|stamp| self.clock.local_from_realtime(stamp, earliest));
            let stamp = match (by_card, by_kernel) {
                (Some(at), _) => Stamp { at: self.clock.local_from_true(at), kind: StampKind::Hardware },
                (None, Some(Some(at))) => Stamp { at, kind: StampKind::Kernel },
                (None, Some(None)) => {
                    tracing::debug!(%from, "the wall clock was stepped as a datagram came: dropping it");
                    continue;
                }
                (None, None) => Stamp { at: now, kind: StampKind::UserSpace },
            };
            self.kinds.received = Some(stamp.kind);
            warn_if_missing(&mut self.received_unstamped, stamp.kind, "received");
            return Ok(Some(Received { length, from, asked, stamp }));
        }
    }

    /// Takes the transmit stamps that have come from the error queue.
    fn collect_stamps(&mut self) {
        loop {
            let mut nothing = [0; 1];
            let mut parts = [IoSliceMut::new(&mut nothing)];
            let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
            let fd = self.socket.as_raw_fd();
            let Ok(message) = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut self.control), flags)
            else {
                return; // EAGAIN: there are no more
            };
            let (mut stamps, mut id) = (None, None);
            for item in message.cmsgs().into_iter().flatten() {
                match item {
                    ControlMessageOwned::ScmTimestampsns(both) => stamps = Some(both),
                    ControlMessageOwned::Ipv4RecvErr(error, _)
                    | ControlMessageOwned::Ipv6RecvErr(error, _)
                        if error.ee_origin == libc::SO_EE_ORIGIN_TIMESTAMPING =>
                    {
                        id = Some(error.ee_data);
                    }
                    _ => {}
                }
            }
            let (Some(stamps), Some(id)) = (stamps, id) else { continue };
            let Some(index) = self.pending.iter().position(|pending| pending.id == id) else { continue };
            let pending = self.pending.remove(index).expect("it has just been found");
            let by_card = self.cards.sent(card_time(&stamps), pending.interface, pending.before);
            let by_kernel = || self.clock.local_from_realtime(wall_time(&stamps)?, pending.before);
            if let Some(at) = by_card {
                let at = self.clock.local_from_true(at);
                self.left(pending.token, Stamp { at, kind: StampKind::Hardware });
            } else if let Some(at) = by_kernel() {
                self.left(pending.token, Stamp { at, kind: StampKind::Kernel });
            } else {
                // The wall clock was stepped as it left; the time before the send is not affected.
                self.give_up(pending);
            }
        }
    }

    fn give_up(&mut self, pending: Pending<T>) {
        let at = self.clock.local_from_true(pending.before);
        self.left(pending.token, Stamp { at, kind: StampKind::UserSpace });
    }

    fn left(&mut self, token: T, stamp: Stamp) {
        self.kinds.sent = Some(stamp.kind);
        warn_if_missing(&mut self.sent_unstamped, stamp.kind, "sent");
        self.sent.push_back(Event::Sent { token, stamp });
    }
}

fn warn_if_missing(in_a_row: &mut u32, kind: StampKind, what: &str) {
    match kind {
        StampKind::Hardware | StampKind::Kernel => *in_a_row = 0,
        StampKind::UserSpace => {
            *in_a_row = in_a_row.saturating_add(1);
            if *in_a_row == NO_ACCIDENT {
                tracing::warn!(
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
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_ID
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY;
    if by_card {
        flags |= TimestampingFlag::SOF_TIMESTAMPING_RAW_HARDWARE
            | TimestampingFlag::SOF_TIMESTAMPING_RX_HARDWARE
            | TimestampingFlag::SOF_TIMESTAMPING_TX_HARDWARE;
    }
    Ok(setsockopt(socket, sockopt::Timestamping, &flags)?)
}

/// The card's stamp. Zero says that there is none.
fn card_time(stamps: &Timestamps) -> Option<Timestamp<Phc>> {
    let (secs, nanos) = (stamps.hw_raw.tv_sec(), stamps.hw_raw.tv_nsec());
    (secs != 0 || nanos != 0).then(|| Timestamp::ZERO + Span::from_secs(secs) + Span::from_nanos(nanos))
}

/// The software stamp. Zero says that there is none.
fn wall_time(stamps: &Timestamps) -> Option<Timestamp<Realtime>> {
    let (secs, nanos) = (stamps.system.tv_sec(), stamps.system.tv_nsec());
    (secs != 0).then(|| Timestamp::ZERO + Span::from_secs(secs) + Span::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::runtime;

    fn socket(address: &str) -> StampedSocket<u32> {
        StampedSocket::bind(address.parse().unwrap(), Arc::new(DeviceClock::real())).unwrap()
    }

    /// What was sent and came, in the order that it was told.
    async fn next(socket: &mut StampedSocket<u32>) -> (Option<u32>, Stamp) {
        match socket.next(&mut [0; 64]).await.unwrap() {
            Event::Sent { token, stamp } => (Some(token), stamp),
            Event::Received(received) => (None, received.stamp),
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
                    let (told, sent) = next(&mut socket).await;
                    let (none, received) = next(&mut socket).await;
                    assert_eq!((told, none), (Some(token), None));
                    assert_eq!(sent.kind, StampKind::Kernel);
                    // The first few that come may lack a stamp: the kernel begins late.
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
    fn without_the_kernels_stamps_user_space_stands_in_and_is_told() {
        runtime().unwrap().block_on(async {
            let mut socket = socket("127.0.0.1:0");
            setsockopt(&socket.socket, sockopt::Timestamping, &TimestampingFlag::empty()).unwrap();
            let to = socket.local_addr().unwrap();
            let before = socket.clock.now();
            socket.send_to(b"hello", to, None, 7).unwrap();
            let (token, received) = next(&mut socket).await;
            assert_eq!((token, received.kind), (None, StampKind::UserSpace));
            // The transmit stamp is given up with the next thing that happens after a while.
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
    fn a_send_that_fails_does_not_mix_up_the_stamps() {
        runtime().unwrap().block_on(async {
            let mut socket = socket("127.0.0.1:0");
            let to = socket.local_addr().unwrap();
            let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            for token in 0..5 {
                // Too long; to where the routes do not lead; and well.
                socket.send_to(&[0; 70_000], to, None, 100).unwrap_err();
                socket.send_to(b"hello", "[::1]:9".parse().unwrap(), None, 101).unwrap_err();
                socket.send_to(b"hello", other.local_addr().unwrap(), None, token).unwrap();
                let (told, stamp) = next(&mut socket).await;
                assert_eq!((told, stamp.kind), (Some(token), StampKind::Kernel));
            }
        });
    }
}
