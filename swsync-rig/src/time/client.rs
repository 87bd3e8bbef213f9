//! The client's task: finds a leader, asks it, and keeps a [`RigClock`] in its time.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use swsync_core::clock::Adjustment;
use swsync_core::frame::SyncQuality;
use swsync_core::sync::{Action, Client, ClientConfig, ClockUpdate, Refusal, SendToken};
use swsync_core::time::{Local, Span, Timestamp};
use tokio::sync::watch;

use super::event::OnEvent;
use super::socket::{Event, StampedSocket};
use super::source::{Candidate, PATIENCE, Resolver};
use super::{ClockEvent, LeaderSource, Progress, Task, TimeClientStats, TimeError, Waiting};
use crate::clock::{RigClock, wall_clock};
use crate::lock;
use crate::net::socket_addr;

/// How long an address that was never heard may stay silent before the next one is tried: the first time,
/// where there are several (RFC 8305 section 5), and at most. It doubles with each round.
const FIRST_PATIENCE: Span = Span::from_millis(250);
const LONGEST_PATIENCE: Span = Span::from_secs(2);
/// A leader that was heard is silent if so many requests have no answer ...
const SILENT_REQUESTS: u32 = 4;
/// ... of which the first was so long ago: its address is looked up again, and the others are tried.
const SILENCE: Span = Span::from_secs(2);
/// Least time between two attempts: what fails at once must not spin.
const PAUSE: Duration = Duration::from_millis(100);
/// A clock in holdover is looked at again so soon, whether that is over.
const RECHECK: Duration = Duration::from_millis(250);
/// A server that denies access is left alone for so long. Chosen: rare enough for it, and soon enough for
/// somebody who is just putting its configuration right.
const DENIED: Span = Span::from_secs(10);

/// Whom to follow, and how.
#[derive(Debug, Clone)]
pub struct TimeClientConfig {
    /// Where the leader is.
    pub source: LeaderSource,
    /// How the client behaves.
    pub client: ClientConfig,
}

/// Follows a leader until dropped. Dropping it waits for its task, which ends at once whatever it is
/// waiting for.
#[derive(Debug)]
pub struct TimeClient {
    stats: Arc<Mutex<TimeClientStats>>,
    _task: Task,
}

impl TimeClient {
    /// Keeps `clock` in the leader's time. `on_event` is called from the client's task; it must not
    /// block for long.
    ///
    /// # Errors
    /// [`TimeError::Runtime`]. A leader that is not there (yet) is no error: see
    /// [`TimeClient::progress`].
    pub fn start(
        config: TimeClientConfig,
        clock: Arc<RigClock>,
        on_event: impl Fn(ClockEvent) + Send + Sync + 'static,
    ) -> Result<Self, TimeError> {
        let stats = Arc::new(Mutex::new(TimeClientStats::default()));
        let now = clock.device().now();
        let pivot = Timestamp::from_nanos(wall_clock().as_nanos());
        let follower = Follower {
            client: Client::new(config.client.clone(), now, pivot, rand::random()),
            config,
            publisher: Publisher::new(clock, Box::new(on_event)),
            stats: stats.clone(),
            leader: None,
            denied: Vec::new(),
        };
        let task = Task::spawn(|stopped| follower.run(stopped))?;
        Ok(Self { stats, _task: task })
    }

    /// What it has tried so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        lock(&self.stats).progress.clone()
    }

    /// Everything that an operator may ask, as of the last thing that happened.
    #[must_use]
    pub fn stats(&self) -> TimeClientStats {
        lock(&self.stats).clone()
    }
}

/// Sets a clock, and tells of what that changes.
pub(super) struct Publisher {
    pub(super) clock: Arc<RigClock>,
    pub(super) on_event: OnEvent,
    timescale: Option<u64>,
    /// The quality as it was last told.
    told: SyncQuality,
}

impl Publisher {
    pub(super) fn new(clock: Arc<RigClock>, on_event: OnEvent) -> Self {
        let told = clock.quality();
        Self { clock, on_event, timescale: None, told }
    }

    pub(super) fn publish(&mut self, update: ClockUpdate) {
        if let Some(Adjustment::Began { .. }) = update.adjustment {
            (self.on_event)(ClockEvent::Ends);
        }
        self.clock.follow(update);
        if let Some(timescale) = update.upstream.field.map(|field| field.timescale) {
            if self.timescale.is_some_and(|before| before != timescale) {
                (self.on_event)(ClockEvent::TimescaleChanged);
            }
            self.timescale = Some(timescale);
        }
        match update.adjustment {
            Some(Adjustment::Stepped { by, held }) => {
                (self.on_event)(ClockEvent::Stepped { by, held_for: held });
            }
            Some(Adjustment::Began { by }) => (self.on_event)(ClockEvent::Began { by }),
            Some(Adjustment::Set(_) | Adjustment::Slewing(_)) | None => {}
        }
        self.tell_quality();
    }

    /// Tells how well rig time is known where that has changed, with an update or without: a hold ends by itself.
    /// Whether it will, and is to be looked at again.
    pub(super) fn tell_quality(&mut self) -> bool {
        let (from, to) = (self.told, self.clock.quality());
        if from != to {
            self.told = to;
            tracing::info!(from = from.as_str(), to = to.as_str(), "clock");
            (self.on_event)(ClockEvent::QualityChanged { from, to });
        }
        to == SyncQuality::Holdover
    }
}

/// What the client's task owns.
struct Follower {
    config: TimeClientConfig,
    client: Client,
    publisher: Publisher,
    stats: Arc<Mutex<TimeClientStats>>,
    /// The address that was heard last.
    leader: Option<SocketAddr>,
    /// Servers that deny access, and until when they are left alone.
    denied: Vec<(SocketAddr, Timestamp<Local>)>,
}

/// How asking an address ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It was heard, and then fell silent.
    Heard,
    /// It never was.
    Silent,
}

/// An address that is being asked.
struct Asking {
    address: SocketAddr,
    socket: StampedSocket<SendToken>,
    since: Timestamp<Local>,
    /// The first request that was not answered yet, and how many there are.
    unanswered: Option<(Timestamp<Local>, u32)>,
    heard: bool,
    /// The address is of no use: the kernel or the server says so.
    dead: bool,
}

impl Asking {
    fn is_over(&self, now: Timestamp<Local>, patience: Span) -> bool {
        let silent = |(since, requests)| requests >= SILENT_REQUESTS && now - since >= SILENCE;
        match self.heard {
            _ if self.dead => true,
            true => self.unanswered.is_some_and(silent),
            false => now - self.since >= patience,
        }
    }

    /// When there is something to be done, if nothing comes before.
    fn wake_at(&self, client: &Client, patience: Span) -> Timestamp<Local> {
        let end = match (self.heard, self.unanswered) {
            (true, Some((since, requests))) if requests >= SILENT_REQUESTS => since + SILENCE,
            (true, _) => return client.wake_at(),
            (false, _) => self.since + patience,
        };
        client.wake_at().min(end)
    }
}

impl Follower {
    fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut lock(&self.stats).progress);
    }

    fn fail(&self, error: String) {
        tracing::debug!(error, "time client");
        self.note(|progress| progress.error = Some(error));
    }

    fn now(&self) -> Timestamp<Local> {
        self.publisher.clock.device().now()
    }

    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => {}
            () = self.follow() => {}
        }
    }

    /// Tries the leader's addresses in turn, for ever; one that answers is kept as long as it does.
    async fn follow(&mut self) {
        let mut resolver = Resolver::new(&self.config.source);
        let mut patience = FIRST_PATIENCE;
        self.note(|progress| progress.leader = resolver.describe());
        loop {
            let stats = self.stats.clone();
            let candidates = resolver.candidates(PATIENCE, |change| change(&mut lock(&stats).progress)).await;
            if candidates.is_empty() {
                self.note(|progress| {
                    (progress.leader, progress.address) = (resolver.describe(), None);
                });
            }
            match self.ask_in_turn(&candidates, patience).await {
                Outcome::Heard => patience = FIRST_PATIENCE,
                Outcome::Silent => patience = (patience * 2).min(LONGEST_PATIENCE),
            }
            self.pass_time();
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// There is nobody to ask: the protocol's time goes on, and what it would send is lost.
    fn pass_time(&mut self) {
        self.client.handle_timeout(self.now());
        while let Some(action) = self.client.poll_action() {
            match action {
                Action::Publish(update) => self.publisher.publish(update),
                Action::Send { .. } | Action::Refused(_) => {}
            }
        }
        self.update_stats(None);
    }

    /// Asks the candidates until one has been heard and is so no more, or none is.
    async fn ask_in_turn(&mut self, candidates: &[Candidate], patience: Span) -> Outcome {
        let now = self.now();
        self.denied.retain(|(_, until)| *until > now);
        // The only one has all the time; looking it up again costs as much as waiting.
        let patience = if candidates.len() == 1 { LONGEST_PATIENCE } else { patience };
        for candidate in candidates {
            if self.denied.iter().any(|(denied, _)| *denied == candidate.address) {
                continue;
            }
            if self.ask(candidate, patience, candidates.len() > 1).await == Outcome::Heard {
                return Outcome::Heard;
            }
        }
        Outcome::Silent
    }

    /// Asks one address until it stays silent.
    async fn ask(&mut self, candidate: &Candidate, patience: Span, others: bool) -> Outcome {
        let address = candidate.address;
        self.note(|progress| {
            (progress.leader, progress.address) = (candidate.name.clone(), Some(address));
        });
        let device = self.publisher.clock.device().clone();
        let socket = match StampedSocket::connect(address, device.clone()) {
            Ok(socket) => socket,
            Err(error) => {
                self.fail(format!("cannot reach {address}: {error}"));
                return Outcome::Silent;
            }
        };
        let since = device.now();
        let mut asking = Asking { address, socket, since, unanswered: None, heard: false, dead: false };
        self.client.handle_new_server(since);
        let mut buffer = [0; 1024];
        while !asking.is_over(device.now(), patience) {
            let mut pause = (asking.wake_at(&self.client, patience) - device.now()).to_duration();
            if self.publisher.tell_quality() {
                pause = pause.min(RECHECK);
            }
            tokio::select! {
                event = asking.socket.next(&mut buffer) => match event {
                    Ok(Event::Sent { token, stamp }) => self.client.handle_sent(token, stamp.at),
                    Ok(Event::Received(received)) => {
                        self.client.handle_datagram(&buffer[..received.length], received.stamp.at);
                        self.notice_heard(&mut asking);
                    }
                    Err(error) => {
                        self.fail(format!("{address}: {error}"));
                        // Nobody listens there, or there is no way: the next one, if there is one.
                        asking.dead = !asking.heard && others;
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                () = tokio::time::sleep(pause) => self.client.handle_timeout(device.now()),
            };
            self.carry_out(&mut asking);
        }
        if asking.heard { Outcome::Heard } else { Outcome::Silent }
    }

    /// Whether the server has been heard since, and so answers.
    fn notice_heard(&mut self, asking: &mut Asking) {
        let Some(heard) = self.client.last_heard().filter(|heard| *heard >= asking.since) else { return };
        if asking.unanswered.is_none_or(|(since, _)| heard >= since) {
            asking.unanswered = None;
        }
        asking.heard = true;
        self.note(|progress| progress.error = None);
        if self.leader != Some(asking.address) {
            if self.leader.is_some() {
                lock(&self.stats).leader_changes += 1;
            }
            self.leader = Some(asking.address);
            tracing::info!(address = %asking.address, "the leader answers");
            (self.publisher.on_event)(ClockEvent::LeaderChanged { address: asking.address });
        }
    }

    fn carry_out(&mut self, asking: &mut Asking) {
        while let Some(action) = self.client.poll_action() {
            match action {
                Action::Send { datagram, token } => self.send(asking, &datagram, token),
                Action::Publish(update) => self.publisher.publish(update),
                Action::Refused(refusal) => self.handle_refusal(asking, refusal),
            }
        }
        self.update_stats(Some(asking));
    }

    fn send(&self, asking: &mut Asking, datagram: &[u8], token: SendToken) {
        let now = self.now();
        match asking.socket.send(datagram, token) {
            Ok(()) => self.note(|progress| progress.sent += 1),
            // A failure counts as silence: the network may be down, or come up late.
            Err(error) => self.fail(format!("cannot send to {}: {error}", asking.address)),
        }
        let (_, requests) = asking.unanswered.get_or_insert((now, 0));
        *requests += 1;
    }

    fn handle_refusal(&mut self, asking: &mut Asking, refusal: Refusal) {
        self.fail(format!("{}: {refusal}", asking.address));
        (self.publisher.on_event)(ClockEvent::Refused { address: asking.address, refusal });
        if let Refusal::Kiss(_) = refusal {
            let until = self.now() + DENIED;
            self.denied.push((asking.address, until));
            asking.dead = true;
        }
    }

    fn update_stats(&self, asking: Option<&Asking>) {
        let now = self.now();
        let protocol = self.client.stats(now);
        let mut stats = lock(&self.stats);
        stats.progress.received = protocol.responses;
        stats.progress.burst = (self.client.burst_done(), self.config.client.burst);
        stats.progress.waiting = match (protocol.quality, asking) {
            (SyncQuality::Holdover, _) => Waiting::LeaderAgain,
            (SyncQuality::Synced, _) => Waiting::Nothing,
            (_, None) => Waiting::Leader,
            (_, Some(asking)) if asking.heard => Waiting::Sync,
            (_, Some(_)) => Waiting::Response,
        };
        stats.protocol = Some(protocol);
        if let Some(asking) = asking {
            stats.stamps = asking.socket.kinds();
            let local = asking.socket.local_addr().ok();
            if stats.local != local {
                stats.interface = local.and_then(|local| interface_of(local.ip()));
                stats.local = local;
            }
        }
    }
}

/// The network interface that has the address `ip`.
fn interface_of(ip: IpAddr) -> Option<String> {
    let has = |interface: &nix::ifaddrs::InterfaceAddress| {
        interface.address.as_ref().and_then(socket_addr).is_some_and(|address| address.ip() == ip)
    };
    getifaddrs().ok()?.find(has).map(|interface| interface.interface_name)
}
