//! The task of a node: it waits for the socket, adverts, requests, lookups or the timer, calls the node, and carries out what that
//! wants. [`TimeNode`](super::TimeNode) starts and joins it.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use parking_lot::Mutex;
use swsync_core::frame::SyncState;
use swsync_core::ntp::RigField;
use swsync_core::servo::Adjustment;
use swsync_core::time::{Local, Timestamp};
use swsync_core::time_service::{Node, NodeAction, SendToken, TimeAdvert};
use tokio::sync::{mpsc, watch};

use super::{Announcer, RigAdverts};
use crate::address::socket_addr;
use crate::publisher::ClockPublisher;
use crate::resolver::{Candidate, PATIENCE, Resolver};
use crate::socket::{SocketEvent, StampedSocket};
use crate::{ClientProgress, ClockEvent, TimeClientStats, Waiting};

/// The pause after an error of the socket, so that a persistent one does not spin.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the quality of a clock in holdover is checked: a hold after a step ends by itself.
const RECHECK: Duration = Duration::from_millis(250);

/// A request that the device's server has seen: from where, and what its sender tells of itself.
pub(crate) type Request = (IpAddr, RigField);

/// What a task is made of.
pub(super) struct Parts {
    pub node: Node,
    pub publisher: ClockPublisher,
    pub stats: Arc<Mutex<TimeClientStats>>,
    pub announcer: Announcer,
    /// How to tell other devices of this one, if it does.
    pub adverts: Option<Arc<dyn RigAdverts>>,
    pub inbox: mpsc::Receiver<TimeAdvert>,
    pub requests: mpsc::Receiver<Request>,
    pub resolver: Resolver,
    /// Whose time is looked for, in words.
    pub sought: String,
}

pub(super) struct NodeTask {
    parts: Parts,
    /// Towards the server that is asked.
    socket: Option<StampedSocket<SendToken>>,
    lookup: Option<Lookup>,
    /// The named servers' addresses, as they were found last.
    candidates: Vec<Candidate>,
    /// Responses that were counted last.
    responses: u64,
}

/// A lookup of the named servers under way.
type Lookup = Pin<Box<dyn Future<Output = (Resolver, Vec<Candidate>)> + Send>>;

/// Something happened.
enum Event {
    Socket(std::io::Result<SocketEvent<SendToken>>),
    Advert(TimeAdvert),
    Request(Request),
    Found(Resolver, Vec<Candidate>),
    Timeout,
}

/// The next event of the socket, if there is one.
async fn next_of(
    socket: &mut Option<StampedSocket<SendToken>>,
    buffer: &mut [u8],
) -> std::io::Result<SocketEvent<SendToken>> {
    match socket {
        Some(socket) => socket.next(buffer).await,
        None => std::future::pending().await,
    }
}

/// The result of the lookup, if there is one.
async fn result_of(lookup: &mut Option<Lookup>) -> (Resolver, Vec<Candidate>) {
    match lookup {
        Some(lookup) => lookup.await,
        None => std::future::pending().await,
    }
}

impl NodeTask {
    pub(super) fn new(parts: Parts) -> Self {
        Self { parts, socket: None, lookup: None, candidates: Vec::new(), responses: 0 }
    }

    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => {}
            () = self.keep_time() => {}
        }
        if let (Some(adverts), Some(farewell)) = (&self.parts.adverts, self.parts.announcer.farewell()) {
            adverts.publish(&farewell);
        }
    }

    fn now(&self) -> Timestamp<Local> {
        self.parts.publisher.clock.device().now()
    }

    async fn keep_time(&mut self) {
        let mut buffer = [0; 1024];
        loop {
            self.carry_out();
            let mut pause = (self.parts.node.wake_at() - self.now()).to_duration();
            if self.parts.publisher.report_quality() {
                pause = pause.min(RECHECK);
            }
            let event = tokio::select! {
                event = next_of(&mut self.socket, &mut buffer) => Event::Socket(event),
                Some(advert) = self.parts.inbox.recv() => Event::Advert(advert),
                Some(request) = self.parts.requests.recv() => Event::Request(request),
                (resolver, found) = result_of(&mut self.lookup) => Event::Found(resolver, found),
                () = tokio::time::sleep(pause) => Event::Timeout,
            };
            if let Some(slept) = self.parts.publisher.take_sleep() {
                let now = self.now();
                self.parts.node.handle_resume(slept, now);
            }
            let failed = matches!(event, Event::Socket(Err(_)));
            self.handle(event, &buffer);
            if failed {
                self.carry_out();
                tokio::time::sleep(PAUSE).await;
            }
            self.parts.node.handle_timeout(self.now());
        }
    }

    fn handle(&mut self, event: Event, buffer: &[u8]) {
        let now = self.now();
        let node = &mut self.parts.node;
        match event {
            Event::Socket(Ok(SocketEvent::Sent { token, stamp })) => node.handle_sent(token, stamp.at),
            Event::Socket(Ok(SocketEvent::Received(received))) => {
                node.handle_datagram(&buffer[..received.length], received.stamp.at);
                let responses = node.client_stats(now).responses;
                if std::mem::replace(&mut self.responses, responses) != responses {
                    self.update_progress(|progress| progress.error = None);
                }
            }
            Event::Socket(Err(error)) => {
                // No program listens there, or there is no route.
                node.handle_unreachable();
                let at = node.asked().map_or_else(String::new, |(address, _)| format!("{address}: "));
                self.fail(format!("{at}{error}"));
            }
            Event::Advert(advert) => node.handle_advert(advert, now),
            Event::Request((from, field)) => node.handle_client(from, &field, now),
            Event::Found(resolver, found) => {
                (self.parts.resolver, self.lookup) = (resolver, None);
                let addresses = found.iter().map(|candidate| candidate.address).collect();
                self.candidates = found;
                node.handle_addresses(addresses, now);
            }
            Event::Timeout => {}
        }
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.parts.node.poll_action() {
            match action {
                NodeAction::Connect(address) => self.connect(address),
                NodeAction::Disconnect => self.disconnect(),
                NodeAction::Send { datagram, token } => self.send(&datagram, token),
                NodeAction::Follow(update) => {
                    if self.parts.publisher.clock.quality() == SyncState::Leading {
                        let address = self.parts.node.asked().map(|(address, _)| address);
                        self.tell(ClockEvent::Resigned { address });
                    }
                    if let Some(Adjustment::Stepped { .. } | Adjustment::Began { .. }) = update.adjustment {
                        self.update_stats(); // who hears of the step finds it there
                    }
                    self.parts.publisher.publish(update);
                }
                NodeAction::Lead { at, start } => {
                    self.tell(ClockEvent::Leads { start });
                    self.parts.publisher.lead(at, start);
                }
                NodeAction::LeaderAlive(leader, at) => self.parts.publisher.clock.note_leader(leader, at),
                NodeAction::StandDown => self.parts.publisher.stand_down(),
                NodeAction::Advertise => self.advertise(),
                NodeAction::Ask => {
                    if let Some(adverts) = &self.parts.adverts {
                        adverts.ask();
                    }
                }
                NodeAction::Resolve => self.look_up(),
                NodeAction::Refused { address, refusal } => {
                    self.fail(format!("{address}: {refusal}"));
                    self.tell(ClockEvent::Refused { address, refusal });
                }
                NodeAction::Answers(address) => {
                    let mut stats = self.parts.stats.lock();
                    stats.leader_changes += u64::from(stats.answering.replace(address).is_some());
                    drop(stats);
                    swsync_core::log::info!(%address, "the server answers");
                    self.tell(ClockEvent::LeaderChanged { address });
                }
                NodeAction::TwoLeaders(advert) => self.tell_two_leaders(&advert),
            }
        }
        self.update_stats();
    }

    fn tell(&self, event: ClockEvent) {
        (self.parts.publisher.on_event)(event);
    }

    fn tell_two_leaders(&self, advert: &TimeAdvert) {
        let own = self.parts.node.time().scale().map(|scale| scale.id);
        self.tell(ClockEvent::TwoLeaders {
            device: advert.device.clone(),
            address: advert.addresses.first().copied(),
            same_scale: advert.time.as_ref().map(|time| time.scale.id) == own,
        });
    }

    fn advertise(&self) {
        if let (Some(adverts), Some(advert)) = (&self.parts.adverts, self.parts.announcer.advert()) {
            adverts.publish(&advert);
        }
    }

    fn connect(&mut self, address: SocketAddr) {
        let named = self.candidates.iter().find(|candidate| candidate.address == address);
        let name = match (named, self.parts.node.asked_device()) {
            (Some(candidate), _) => candidate.name.clone(),
            (None, Some(device)) => device.to_owned(),
            (None, None) => address.to_string(),
        };
        self.update_progress(|progress| (progress.leader, progress.address) = (name, Some(address)));
        match StampedSocket::connect(address, self.parts.publisher.clock.device().clone()) {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => {
                self.socket = None;
                self.fail(format!("cannot reach {address}: {error}"));
                self.parts.node.handle_unreachable();
            }
        }
    }

    fn disconnect(&mut self) {
        self.socket = None;
        let sought = self.parts.sought.clone();
        self.update_progress(|progress| (progress.leader, progress.address) = (sought, None));
    }

    fn send(&mut self, datagram: &[u8], token: SendToken) {
        let Some(socket) = &mut self.socket else { return };
        match socket.send(datagram, token) {
            Ok(()) => self.update_progress(|progress| progress.sent += 1),
            // A failed request counts as unanswered: the network may be down, or come up late.
            Err(error) => self.fail(format!("cannot send: {error}")),
        }
    }

    fn look_up(&mut self) {
        let mut resolver = std::mem::take(&mut self.parts.resolver);
        let stats = self.parts.stats.clone();
        self.lookup = Some(Box::pin(async move {
            let found = resolver.candidates(PATIENCE, |change| change(&mut stats.lock().progress)).await;
            (resolver, found)
        }));
    }

    fn update_progress(&self, change: impl FnOnce(&mut ClientProgress)) {
        change(&mut self.parts.stats.lock().progress);
    }

    fn fail(&self, error: String) {
        swsync_core::log::debug!(error, "time client");
        self.update_progress(|progress| progress.error = Some(error));
    }

    fn update_stats(&self) {
        let node = &self.parts.node;
        let protocol = node.client_stats(self.now());
        let mut stats = self.parts.stats.lock();
        stats.progress.received = protocol.responses;
        stats.progress.burst.0 = node.burst_done();
        stats.progress.waiting = match (self.parts.publisher.clock.quality(), node.asked()) {
            (SyncState::Holdover, _) => Waiting::LeaderAgain,
            (SyncState::Synced | SyncState::Leading, _) => Waiting::Nothing,
            (_, None) => Waiting::Leader,
            (_, Some((_, true))) => Waiting::Sync,
            (_, Some((_, false))) => Waiting::Response,
        };
        if let Some(exchange) = protocol.exchange {
            self.parts.publisher.clock.note_exchange(exchange);
        }
        stats.protocol = Some(protocol);
        if let Some(socket) = &self.socket {
            stats.stamps = socket.kinds();
            let local = socket.local_addr().ok();
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
