//! The NTP client: finds a leader, polls it, and keeps a [`RigClock`] in its time.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use parking_lot::Mutex;
use swsync_core::frame::SyncState;
use swsync_core::servo::Adjustment;
use swsync_core::time::{Local, Span, Timestamp};
use swsync_core::time_service::{Client, ClientAction, ClientConfig, ClockUpdate, SendToken, ServerRefusal};
use tokio::sync::watch;

use crate::address::socket_addr;
use crate::event::OnEvent;
use crate::executor::Task;
use crate::leader_source::{Candidate, PATIENCE, Resolver};
use crate::socket::{SocketEvent, StampedSocket};
use crate::{
    ClientProgress, ClockEvent, LeaderSource, RigClock, TimeClientStats, TimeError, Waiting, wall_clock,
};

/// How long to wait for the first response of an address before the next one is tried: in the first round, if there are
/// several addresses (RFC 8305 section 5), and at most. It doubles with each round.
const FIRST_PATIENCE: Span = Span::from_millis(250);
const LONGEST_PATIENCE: Span = Span::from_secs(2);
/// A leader that answered before counts as lost once this many requests in a row have no response ...
const SILENT_REQUESTS: u32 = 4;
/// ... and the first of them is this old. Then its address is looked up again, and the others are tried.
const SILENCE: Span = Span::from_secs(2);
/// Least time between two attempts, so that an attempt that fails at once does not spin.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the quality of a clock in holdover is checked: a hold after a step ends by itself.
const RECHECK: Duration = Duration::from_millis(250);
/// Sleeps are told of no more often than this.
const SLEEP_TOLD: Duration = Duration::from_secs(1);
/// How long a server that denies access is left alone. Chosen: rare enough for the server, and soon enough for somebody who
/// is just correcting its configuration.
const DENIED: Span = Span::from_secs(10);

/// Whom to follow, and how.
#[derive(Debug, Clone)]
pub struct TimeClientConfig {
    /// Where the leader is.
    pub source: LeaderSource,
    /// How the client behaves.
    pub client: ClientConfig,
}

/// Follows a leader until dropped. Dropping it waits for its task, which ends at once.
#[derive(Debug)]
pub struct TimeClient {
    stats: Arc<Mutex<TimeClientStats>>,
    _task: Task,
}

impl TimeClient {
    /// Keeps `clock` in the leader's time. The client's task calls `on_event`, which must not block for long.
    ///
    /// # Errors
    /// [`TimeError::Runtime`]. A leader that is not there yet is no error: see
    /// [`TimeClient::progress`].
    pub fn start(
        config: TimeClientConfig,
        clock: Arc<RigClock>,
        on_event: impl Fn(ClockEvent) + Send + Sync + 'static,
    ) -> Result<Self, TimeError> {
        let stats = Arc::new(Mutex::new(TimeClientStats::default()));
        let now = clock.device().now();
        let pivot = Timestamp::from_nanos(wall_clock().as_nanos());
        let task = ClientTask {
            client: Client::new(config.client.clone(), now, pivot, rand::random()),
            config,
            publisher: ClockPublisher::new(clock, Box::new(on_event)),
            stats: stats.clone(),
            leader: None,
            denied: Vec::new(),
        };
        let task = Task::spawn(|stopped| task.run(stopped))?;
        Ok(Self { stats, _task: task })
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> ClientProgress {
        self.stats.lock().progress.clone()
    }

    /// Statistics, as of the last event.
    #[must_use]
    pub fn stats(&self) -> TimeClientStats {
        self.stats.lock().clone()
    }
}

/// Sets a clock, and reports the events that follow from that.
pub(crate) struct ClockPublisher {
    pub(crate) clock: Arc<RigClock>,
    pub(crate) on_event: OnEvent,
    timescale: Option<u64>,
    /// The quality that was last reported.
    reported: SyncState,
    /// How long the device had slept when its user last heard of it.
    slept: Span,
    /// What it has slept since that was last told as an event, and when that was.
    untold: Span,
    told: Option<Instant>,
}

impl ClockPublisher {
    pub(crate) fn new(clock: Arc<RigClock>, on_event: OnEvent) -> Self {
        let (reported, slept) = (clock.quality(), clock.slept());
        Self { clock, on_event, timescale: None, reported, slept, untold: Span::ZERO, told: None }
    }

    /// How long the device has slept since the last call, if it has. Whoever works out updates has to be told before it works out
    /// the next one: see [`Self::publish`].
    pub(crate) fn take_sleep(&mut self) -> Option<Span> {
        let slept = self.clock.slept();
        let since = slept - std::mem::replace(&mut self.slept, slept);
        self.untold += since;
        self.tell_sleep();
        if since == Span::ZERO {
            return None;
        }
        self.report_quality();
        Some(since)
    }

    /// Tells what is not told yet. The program of a simulated device goes on running while its clocks sleep, and sees the sleep grow.
    fn tell_sleep(&mut self) {
        let is_due = self.told.is_none_or(|told| told.elapsed() >= SLEEP_TOLD);
        if self.untold > Span::ZERO && is_due {
            self.told = Some(Instant::now());
            let slept = std::mem::take(&mut self.untold);
            swsync_core::log::warn!(?slept, "the device has slept");
            (self.on_event)(ClockEvent::Resumed { slept });
        }
    }

    /// Sets the clock, unless the device has slept since [`Self::take_sleep`] was last called: then the update is out of date.
    pub(crate) fn publish(&mut self, update: ClockUpdate) {
        if self.clock.slept() != self.slept {
            return;
        }
        if let Some(Adjustment::Began { .. }) = update.adjustment {
            (self.on_event)(ClockEvent::Ends);
        }
        if !self.clock.follow_unless_slept(update, self.slept) {
            return;
        }
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
        self.report_quality();
    }

    /// Reports a change of the clock's quality, which may come without an update: a hold after a step ends by itself.
    /// Returns whether the clock is in holdover, and so to be checked again.
    pub(crate) fn report_quality(&mut self) -> bool {
        let (from, to) = (self.reported, self.clock.quality());
        if from != to {
            self.reported = to;
            swsync_core::log::info!(from = from.as_str(), to = to.as_str(), "clock");
            (self.on_event)(ClockEvent::QualityChanged { from, to });
        }
        to == SyncState::Holdover
    }
}

/// What the client's task owns.
struct ClientTask {
    config: TimeClientConfig,
    client: Client,
    publisher: ClockPublisher,
    stats: Arc<Mutex<TimeClientStats>>,
    /// The address that answered last.
    leader: Option<SocketAddr>,
    /// Servers that deny access, and when they may be asked again.
    denied: Vec<(SocketAddr, Timestamp<Local>)>,
}

/// How an association ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AssociationEnd {
    /// The server answered, and then fell silent.
    Lost,
    /// It never answered.
    Silent,
}

/// An association with a server (RFC 5905 section 3): an address that is being polled.
struct Association {
    address: SocketAddr,
    socket: StampedSocket<SendToken>,
    since: Timestamp<Local>,
    /// When the first request without a response was sent, and the number of such requests.
    unanswered: Option<(Timestamp<Local>, u32)>,
    has_answered: bool,
    /// The kernel or the server says that the address cannot be used.
    is_dead: bool,
}

impl Association {
    fn is_over(&self, now: Timestamp<Local>, patience: Span) -> bool {
        let silent = |(since, requests)| requests >= SILENT_REQUESTS && now - since >= SILENCE;
        match self.has_answered {
            _ if self.is_dead => true,
            true => self.unanswered.is_some_and(silent),
            false => now - self.since >= patience,
        }
    }

    /// When to act next, if no datagram comes before.
    fn wake_at(&self, client: &Client, patience: Span) -> Timestamp<Local> {
        let end = match (self.has_answered, self.unanswered) {
            (true, Some((since, requests))) if requests >= SILENT_REQUESTS => since + SILENCE,
            (true, _) => return client.wake_at(),
            (false, _) => self.since + patience,
        };
        client.wake_at().min(end)
    }
}

impl ClientTask {
    fn update_progress(&self, change: impl FnOnce(&mut ClientProgress)) {
        change(&mut self.stats.lock().progress);
    }

    fn fail(&self, error: String) {
        swsync_core::log::debug!(error, "time client");
        self.update_progress(|progress| progress.error = Some(error));
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

    /// Tries the leader's addresses in turn, for ever, and stays with one as long as it answers.
    async fn follow(&mut self) {
        let mut resolver = Resolver::new(&self.config.source);
        let mut patience = FIRST_PATIENCE;
        self.update_progress(|progress| progress.leader = resolver.describe());
        loop {
            let stats = self.stats.clone();
            let candidates = resolver.candidates(PATIENCE, |change| change(&mut stats.lock().progress)).await;
            if candidates.is_empty() {
                self.update_progress(|progress| {
                    (progress.leader, progress.address) = (resolver.describe(), None);
                });
            }
            match self.poll_in_turn(&candidates, patience).await {
                AssociationEnd::Lost => patience = FIRST_PATIENCE,
                AssociationEnd::Silent => patience = (patience * 2).min(LONGEST_PATIENCE),
            }
            self.pass_time();
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Advances the protocol's time while there is no server. Requests are dropped.
    fn pass_time(&mut self) {
        self.note_sleep();
        self.client.handle_timeout(self.now());
        while let Some(action) = self.client.poll_action() {
            match action {
                ClientAction::Publish(update) => self.publisher.publish(update),
                ClientAction::Send { .. } | ClientAction::Refused(_) => {}
            }
        }
        self.update_stats(None);
    }

    /// Polls the candidates in turn until one has answered and was lost, or none has answered.
    async fn poll_in_turn(&mut self, candidates: &[Candidate], patience: Span) -> AssociationEnd {
        let now = self.now();
        self.denied.retain(|(_, until)| *until > now);
        // A single candidate gets the longest time: looking it up again costs as much as waiting.
        let patience = if candidates.len() == 1 { LONGEST_PATIENCE } else { patience };
        for candidate in candidates {
            if self.denied.iter().any(|(denied, _)| *denied == candidate.address) {
                continue;
            }
            if self.poll(candidate, patience, candidates.len() > 1).await == AssociationEnd::Lost {
                return AssociationEnd::Lost;
            }
        }
        AssociationEnd::Silent
    }

    /// Polls one address until it stays silent.
    async fn poll(&mut self, candidate: &Candidate, patience: Span, others: bool) -> AssociationEnd {
        let address = candidate.address;
        self.update_progress(|progress| {
            (progress.leader, progress.address) = (candidate.name.clone(), Some(address));
        });
        let device = self.publisher.clock.device().clone();
        let socket = match StampedSocket::connect(address, device.clone()) {
            Ok(socket) => socket,
            Err(error) => {
                self.fail(format!("cannot reach {address}: {error}"));
                return AssociationEnd::Silent;
            }
        };
        let since = device.now();
        let mut association =
            Association { address, socket, since, unanswered: None, has_answered: false, is_dead: false };
        self.client.handle_new_server(since);
        let mut buffer = [0; 1024];
        while !association.is_over(device.now(), patience) {
            let mut pause = (association.wake_at(&self.client, patience) - device.now()).to_duration();
            if self.publisher.report_quality() {
                pause = pause.min(RECHECK);
            }
            let event = tokio::select! {
                event = association.socket.next(&mut buffer) => Some(event),
                () = tokio::time::sleep(pause) => None,
            };
            self.note_sleep();
            match event {
                Some(Ok(SocketEvent::Sent { token, stamp })) => self.client.handle_sent(token, stamp.at),
                Some(Ok(SocketEvent::Received(received))) => {
                    self.client.handle_datagram(&buffer[..received.length], received.stamp.at);
                    self.note_response(&mut association);
                }
                Some(Err(error)) => {
                    self.fail(format!("{address}: {error}"));
                    // No program listens there, or there is no route: go on to the next address, if there is one.
                    association.is_dead = !association.has_answered && others;
                    tokio::time::sleep(PAUSE).await;
                }
                None => self.client.handle_timeout(device.now()),
            }
            self.carry_out(&mut association);
        }
        if association.has_answered { AssociationEnd::Lost } else { AssociationEnd::Silent }
    }

    /// Has the protocol begin anew if the device has slept.
    fn note_sleep(&mut self) {
        if let Some(slept) = self.publisher.take_sleep() {
            self.client.handle_resume(slept, self.now());
        }
    }

    /// Notes whether the server has answered by now.
    fn note_response(&mut self, association: &mut Association) {
        let Some(heard) = self.client.last_heard().filter(|heard| *heard >= association.since) else {
            return;
        };
        if association.unanswered.is_none_or(|(since, _)| heard >= since) {
            association.unanswered = None;
        }
        association.has_answered = true;
        self.update_progress(|progress| progress.error = None);
        if self.leader != Some(association.address) {
            if self.leader.is_some() {
                self.stats.lock().leader_changes += 1;
            }
            self.leader = Some(association.address);
            swsync_core::log::info!(address = %association.address, "the leader answers");
            (self.publisher.on_event)(ClockEvent::LeaderChanged { address: association.address });
        }
    }

    fn carry_out(&mut self, association: &mut Association) {
        while let Some(action) = self.client.poll_action() {
            match action {
                ClientAction::Send { datagram, token } => self.send(association, &datagram, token),
                ClientAction::Publish(update) => self.publisher.publish(update),
                ClientAction::Refused(refusal) => self.handle_refusal(association, refusal),
            }
        }
        self.update_stats(Some(association));
    }

    fn send(&self, association: &mut Association, datagram: &[u8], token: SendToken) {
        let now = self.now();
        match association.socket.send(datagram, token) {
            Ok(()) => self.update_progress(|progress| progress.sent += 1),
            // A failed request counts as unanswered: the network may be down, or come up late.
            Err(error) => self.fail(format!("cannot send to {}: {error}", association.address)),
        }
        let (_, requests) = association.unanswered.get_or_insert((now, 0));
        *requests += 1;
    }

    fn handle_refusal(&mut self, association: &mut Association, refusal: ServerRefusal) {
        self.fail(format!("{}: {refusal}", association.address));
        (self.publisher.on_event)(ClockEvent::Refused { address: association.address, refusal });
        if let ServerRefusal::Kiss(_) = refusal {
            let until = self.now() + DENIED;
            self.denied.push((association.address, until));
            association.is_dead = true;
        }
    }

    fn update_stats(&self, association: Option<&Association>) {
        let now = self.now();
        let protocol = self.client.stats(now);
        let mut stats = self.stats.lock();
        stats.progress.received = protocol.responses;
        stats.progress.burst = (self.client.burst_done(), self.config.client.burst);
        stats.progress.waiting = match (protocol.quality, association) {
            (SyncState::Holdover, _) => Waiting::LeaderAgain,
            (SyncState::Synced, _) => Waiting::Nothing,
            (_, None) => Waiting::Leader,
            (_, Some(association)) if association.has_answered => Waiting::Sync,
            (_, Some(_)) => Waiting::Response,
        };
        stats.protocol = Some(protocol);
        if let Some(association) = association {
            stats.stamps = association.socket.kinds();
            let local = association.socket.local_addr().ok();
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
