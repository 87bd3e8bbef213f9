//! A UDP relay that delays and loses datagrams as a simulated link does: WiFi on one machine.
//!
//! Each datagram is released after the delay that the link's model gives, counted from the kernel's receive timestamp. So a thread
//! that wakes up late adds no delay as long as the link is slower than that. Datagrams are released in the order of these times: one
//! with less delay overtakes others, as on the air.

use std::collections::{BinaryHeap, HashMap};
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt::ReceiveTimestampns,
};
use nix::sys::time::TimeSpec;
use parking_lot::{Condvar, Mutex};
use rustix::time::{ClockId, clock_gettime};
use swsync_core::time::Host;
use swsync_core::time::{Span, Timestamp};
use swsync_sim::link::{Direction, Link, LinkModel};
use swsync_time::{host_now, socket_addr};

/// Clients served at once.
const MAX_CLIENTS: usize = 64;
/// A client that is silent for so long may be replaced by another.
const IDLE: Duration = Duration::from_secs(30);
/// How often receiving threads check whether to end.
const STOP_INTERVAL: Duration = Duration::from_millis(50);
/// Longer datagrams are truncated.
const MAX_DATAGRAM: usize = 2048;
/// The last part of a wait is spent spinning: waking up takes 20 to 45 us on an idle machine (measured, with the least timer slack).
/// At 50 datagrams a second it costs 0.3 % of a core.
const SPIN: Span = Span::from_micros(60);
/// A datagram that is released so long after its time counts as late.
const LATE: Span = Span::from_micros(100);

/// Configuration of a relay.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// The address that clients send to; port 0 is any free one.
    pub listen: SocketAddr,
    /// The server behind the link.
    pub forward_to: SocketAddr,
    /// The link's model. Each client has its own link.
    pub link: LinkModel,
    /// Seed of the first client's delays; the next client's is one more, and so on.
    pub seed: u64,
}

/// Numbers of datagrams so far, both directions together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayStats {
    /// Passed on.
    pub forwarded: u64,
    /// Lost on the link.
    pub lost: u64,
    /// Of those passed on, released more than 100 us after their time: the machine was busy.
    pub late: u64,
    /// Refused: too many clients, or sending failed.
    pub refused: u64,
}

/// Relays until dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Datagrams in flight, by the time of their release.
    under_way: Mutex<BinaryHeap<Release>>,
    changed: Condvar,
    stop: AtomicBool,
    forwarded: AtomicU64,
    lost: AtomicU64,
    late: AtomicU64,
    refused: AtomicU64,
}

/// A datagram in flight. Ordered so that the heap's maximum is released next.
#[derive(Debug)]
struct Release {
    at: Timestamp<Host>,
    bytes: Vec<u8>,
    socket: Arc<UdpSocket>,
    to: SocketAddr,
}

impl PartialEq for Release {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}
impl Eq for Release {}
impl PartialOrd for Release {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Release {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.at.cmp(&self.at)
    }
}

impl Relay {
    /// Starts relaying.
    ///
    /// # Errors
    /// The socket cannot be opened, or a thread cannot be started.
    pub fn spawn(config: &RelayConfig) -> io::Result<Self> {
        let socket = Arc::new(with_timestamps(UdpSocket::bind(config.listen)?)?);
        let shared = Arc::new(Shared::default());
        let address = socket.local_addr()?;
        // From here on, a drop of `relay` ends the threads that were started.
        let mut relay = Self { address, shared: shared.clone(), threads: Vec::new() };
        let releasing = shared.clone();
        relay.threads.push(thread("swsync-release", move || releasing.release())?);
        let config = config.clone();
        relay.threads.push(thread("swsync-relay", move || serve(&shared, &socket, &config))?);
        Ok(relay)
    }

    /// The address that clients send to.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Datagrams so far.
    #[must_use]
    pub fn stats(&self) -> RelayStats {
        let Shared { forwarded, lost, late, refused, .. } = &*self.shared;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RelayStats { forwarded: read(forwarded), lost: read(lost), late: read(late), refused: read(refused) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            join(thread);
        }
    }
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(body)
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        swsync_core::log::error!("a relay's thread panicked");
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Shared {
    fn stop(&self) {
        // Under the lock: else the releasing thread could check the flag before, and wait after the notification.
        let _under_way = self.under_way.lock();
        self.stop.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Queues a datagram for release, or drops it.
    fn dispatch(
        &self,
        link: &Mutex<Link>,
        direction: Direction,
        datagram: Datagram<'_>,
        socket: &Arc<UdpSocket>,
        to: SocketAddr,
    ) {
        let Some(delay) = link.lock().delay(direction, datagram.at) else {
            count(&self.lost);
            return;
        };
        let release =
            Release { at: datagram.at + delay, bytes: datagram.bytes.to_vec(), socket: socket.clone(), to };
        self.under_way.lock().push(release);
        self.changed.notify_all();
    }

    /// Releases datagrams at their times until the relay stops.
    fn release(&self) {
        // The default timer slack adds 50 us to every sleep.
        if let Err(error) = rustix::thread::set_current_timer_slack(NonZeroU64::new(1)) {
            swsync_core::log::debug!(%error, "cannot set the timer slack: the relay is a little late");
        }
        let mut under_way = self.under_way.lock();
        while !self.is_stopped() {
            let wait = under_way.peek().map_or(Span::from_secs(1), |next| next.at - host_now());
            if wait > SPIN {
                self.changed.wait_for(&mut under_way, (wait - SPIN).to_duration());
            } else if wait > Span::ZERO {
                drop(under_way); // another thread may queue one that is due earlier
                std::hint::spin_loop();
                under_way = self.under_way.lock();
            } else if let Some(due) = under_way.pop() {
                drop(under_way);
                self.send(&due);
                under_way = self.under_way.lock();
            }
        }
    }

    fn send(&self, due: &Release) {
        if host_now() - due.at > LATE {
            count(&self.late);
        }
        // Counted before it is sent, so that a receiver finds it counted.
        count(&self.forwarded);
        if let Err(error) = due.socket.send_to(&due.bytes, due.to) {
            swsync_core::log::debug!(to = %due.to, %error, "cannot pass on a datagram");
            self.forwarded.fetch_sub(1, Ordering::Relaxed);
            count(&self.refused);
        }
    }
}

/// A client's link, its socket towards the server, and the thread that passes back the server's datagrams.
struct Client {
    link: Arc<Mutex<Link>>,
    upstream: Arc<UdpSocket>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    heard: Instant,
}

/// Receives from clients and opens a socket towards the server for each. Joins the threads of these sockets in the end.
fn serve(shared: &Arc<Shared>, socket: &Arc<UdpSocket>, config: &RelayConfig) {
    let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
    let mut gone = Vec::new();
    let mut seed = config.seed;
    let mut buffer = [0; MAX_DATAGRAM];
    while !shared.is_stopped() {
        let Some(datagram) = receive(socket, &mut buffer) else { continue };
        let from = datagram.from;
        if !clients.contains_key(&from) {
            gone.extend(make_room(&mut clients));
            if clients.len() >= MAX_CLIENTS {
                count(&shared.refused);
                continue;
            }
            match Client::open(shared, socket, from, config, seed) {
                Ok(client) => clients.insert(from, client),
                Err(error) => {
                    swsync_core::log::debug!(client = %from, %error, "cannot relay for a client");
                    count(&shared.refused);
                    continue;
                }
            };
            seed = seed.wrapping_add(1);
        }
        if let Some(client) = clients.get_mut(&from) {
            client.heard = Instant::now();
            let (link, upstream) = (&client.link, &client.upstream);
            shared.dispatch(link, Direction::ToLeader, datagram, upstream, config.forward_to);
        }
        gone.retain(|thread: &JoinHandle<()>| !thread.is_finished());
    }
    clients.into_values().map(|client| client.thread).chain(gone).for_each(join);
}

/// If there is no room, removes the client that has been silent longest, unless it is not [`IDLE`] yet.
fn make_room(clients: &mut HashMap<SocketAddr, Client>) -> Option<JoinHandle<()>> {
    if clients.len() < MAX_CLIENTS {
        return None;
    }
    let (address, silent) = clients.iter().min_by_key(|(_, client)| client.heard)?;
    if silent.heard.elapsed() < IDLE {
        return None;
    }
    let address = *address;
    let client = clients.remove(&address)?;
    client.stop.store(true, Ordering::Relaxed);
    Some(client.thread)
}

impl Client {
    fn open(
        shared: &Arc<Shared>,
        socket: &Arc<UdpSocket>,
        address: SocketAddr,
        config: &RelayConfig,
        seed: u64,
    ) -> io::Result<Self> {
        let any: SocketAddr = match config.forward_to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let upstream = Arc::new(with_timestamps(UdpSocket::bind(any)?)?);
        let link = Arc::new(Mutex::new(Link::new(config.link.clone(), seed)));
        let stop = Arc::new(AtomicBool::new(false));
        let server = config.forward_to;
        let thread = {
            let (shared, socket, upstream) = (shared.clone(), socket.clone(), upstream.clone());
            let (link, stop) = (link.clone(), stop.clone());
            thread("swsync-upstream", move || {
                let mut buffer = [0; MAX_DATAGRAM];
                while !shared.is_stopped() && !stop.load(Ordering::Relaxed) {
                    if let Some(datagram) = receive(&upstream, &mut buffer)
                        && datagram.from == server
                    {
                        shared.dispatch(&link, Direction::ToClient, datagram, &socket, address);
                    }
                }
            })?
        };
        Ok(Self { link, upstream, stop, thread, heard: Instant::now() })
    }
}

/// A received datagram.
struct Datagram<'a> {
    bytes: &'a [u8],
    from: SocketAddr,
    at: Timestamp<Host>,
}

/// Turns on receive timestamps, and a timeout for [`receive`].
fn with_timestamps(socket: UdpSocket) -> io::Result<UdpSocket> {
    socket.set_read_timeout(Some(STOP_INTERVAL))?;
    setsockopt(&socket, ReceiveTimestampns, &true)?;
    Ok(socket)
}

/// The next datagram; `None` if none comes in time.
fn receive<'a>(socket: &UdpSocket, buffer: &'a mut [u8]) -> Option<Datagram<'a>> {
    let mut control = nix::cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(buffer)];
    let received =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty());
    let message = match received {
        Ok(message) => message,
        Err(nix::Error::EAGAIN | nix::Error::EINTR) => return None,
        Err(error) => {
            swsync_core::log::debug!(%error, "cannot receive");
            std::thread::sleep(Duration::from_millis(1)); // do not spin on a persistent error
            return None;
        }
    };
    let stamp = message.cmsgs().ok().and_then(|mut control| {
        control.find_map(|item| match item {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
            _ => None,
        })
    });
    let at = host_now() - stamp.map_or(Span::ZERO, age);
    let from = socket_addr(message.address.as_ref()?)?;
    let length = message.bytes;
    Some(Datagram { bytes: &buffer[..length], from, at })
}

/// The age of a kernel timestamp. That is of `CLOCK_REALTIME`, which may have stepped since: then zero is returned.
fn age(stamp: TimeSpec) -> Span {
    let nanos = |secs: i64, nanos: i64| Span::from_secs(secs) + Span::from_nanos(nanos);
    let now = clock_gettime(ClockId::Realtime);
    let age = nanos(now.tv_sec, now.tv_nsec) - nanos(stamp.tv_sec(), stamp.tv_nsec());
    if (Span::ZERO..Span::from_secs(1)).contains(&age) { age } else { Span::ZERO }
}

#[cfg(test)]
mod tests;
