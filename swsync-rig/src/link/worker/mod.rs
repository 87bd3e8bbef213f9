//! The thread of a link: keeps the connection, and the hub if one runs here.

mod islands;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use swsync_core::message::decode;
use swsync_core::name::{DeviceId, Name};
use zenoh::Wait;

use self::islands::Islands;
use super::search::{dial, scout};
use super::{LinkEvent, SessionRole, Shared, TICK};
use crate::ControlError;
use crate::host;
use crate::hub::keeper::Keeper;
use crate::hub::policy::{HubAction, HubPolicy, Situation};
use crate::hub::{HubKind, Router, StartError};
use crate::key_hint::key_hint;
use crate::keys::{Member, QueryKind};
use crate::message::Serves;
use crate::reach::{self, ReachPolicy, Results};
use crate::zenoh_config::{HUB_LEASE_MS, address_of, client_config};

/// Longest pause between two searches.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// How long an address is left alone that accepts connections, but is no hub of this rig.
const NO_HUB: Duration = Duration::from_secs(5);

/// How long an address that has accepted a connection may take to turn out a hub before the next one is tried too. Over WiFi it takes
/// some 50 ms.
const NEXT: Duration = Duration::from_millis(300);

/// How long an address is left alone to which the connection was lost. The kernel of a process that hangs still accepts connections, so
/// that each attempt would take its time; the other hubs come first.
const LOST: Duration = Duration::from_secs(1);

/// How long after a new connection all tokens have come through it.
const TOKENS: Duration = Duration::from_secs(1);

/// How long a visitor stays with a connection through which it sees no hub, though there should be one at its other end. A Zenoh router
/// (1.10.2) that closes keeps connections that it accepts in that moment, and no longer serves them.
const HUBLESS: Duration = Duration::from_secs(3);

/// How long a search is in vain before the reason is looked for, and how often.
const HINT: Duration = Duration::from_secs(3);
const HINT_AGAIN: Duration = Duration::from_secs(60);

/// How often the addresses of this host are looked at, and a `listen` that cannot be listened at yet is tried again.
const LOOK_AT_ADDRESSES: Duration = Duration::from_secs(2);

/// How long a device has to answer whether it runs a hub.
const INVITATION: Duration = Duration::from_secs(1);

/// How long a hub takes to stop, at most: Zenoh's timeout (10 s), and some more.
const STOPS: Duration = Duration::from_secs(12);

/// If this process has stood still for so long, others may have given its hub up: they hear something of it each quarter of its lease.
const STOOD_STILL: Duration = Duration::from_millis(HUB_LEASE_MS * 3 / 4);

/// The state of the thread.
pub(super) struct Worker {
    shared: Arc<Shared>,
    /// The host, for the token of a hub.
    host: Name,
    islands: Islands,
    reach: ReachPolicy,
    reach_results: Results,
    policy: HubPolicy,
    hub: Option<Hub>,
    /// `listen` is given, but names an address that this host does not have yet.
    listens_later: bool,
    addresses_at: Instant,
    /// Addresses that are not tried, and until when.
    left_alone: BTreeMap<SocketAddr, Instant>,
    /// Where the connection goes.
    linked_to: Option<SocketAddr>,
    /// Since when no hub is seen through the connection; kept by visitors.
    hubless_since: Option<Instant>,
    search_at: Instant,
    pause: Duration,
    confirm_at: Option<Instant>,
    /// When to look next whether it is for lack of the rig's key that nothing is found.
    hint_at: Instant,
    /// Devices that were asked to run a hub.
    asked: BTreeSet<DeviceId>,
}

struct Hub {
    /// Dropped first: it uses the router.
    _keeper: Keeper,
    router: Router,
}

impl Worker {
    /// Starts the hub, if `listen` says where.
    pub(super) fn start(shared: &Arc<Shared>, host: Name) -> Result<Self, ControlError> {
        let luck = f64::from(host::random::<4>().map_or(0, u32::from_le_bytes)) / f64::from(u32::MAX);
        let now = Instant::now();
        let mut worker = Self {
            shared: Arc::clone(shared),
            host,
            islands: Islands::default(),
            reach: ReachPolicy::new(),
            reach_results: Results::new(),
            policy: HubPolicy::new(luck),
            hub: None,
            listens_later: false,
            addresses_at: now + LOOK_AT_ADDRESSES,
            left_alone: BTreeMap::new(),
            linked_to: None,
            hubless_since: None,
            search_at: now,
            pause: Duration::ZERO,
            confirm_at: None,
            hint_at: now + HINT,
            asked: BTreeSet::new(),
        };
        if !shared.config.listen.is_empty() {
            worker.start_hub(HubKind::Fixed)?;
        }
        Ok(worker)
    }

    /// The thread's loop.
    pub(super) fn run(mut self) {
        while !self.shared.state.lock().stop {
            let (begun, hub) = (host::uptime(), self.hub_id());
            self.tend_link();
            self.tend_hub();
            self.tend_islands();
            self.tend_reach();
            if self.confirm_at.is_some_and(|at| Instant::now() >= at) {
                self.confirm_at = None;
                self.shared.members.confirm();
            }
            self.rest();
            let took = host::uptime().saturating_sub(begun);
            // Nothing of this takes so long where a hub runs all the while.
            if took >= STOOD_STILL && hub.is_some() && hub == self.hub_id() {
                self.handle_standstill(begun);
            }
        }
        let (zenoh, held) = {
            let mut state = self.shared.state.lock();
            (state.zenoh.take(), std::mem::take(&mut state.held))
        };
        for slot in held {
            drop(slot.declared.lock().take());
        }
        if let Some((_, zenoh)) = zenoh
            && let Err(error) = zenoh.close().wait()
        {
            swsync_core::log::debug!(%error, "leaving the network");
        }
    }

    /// Waits until there may be something to do.
    fn rest(&self) {
        let mut state = self.shared.state.lock();
        if !state.stop && !state.invited {
            let _ = self.shared.changed.wait_for(&mut state, TICK);
        }
    }

    /// The id of the hub here.
    fn hub_id(&self) -> Option<Name> {
        self.hub.as_ref().map(|hub| hub.router.token().id.clone())
    }

    /// Handles that this process has stood still since `begun`, in [`host::uptime`]: it hung, was stopped, or its board slept. The other
    /// hubs have forgotten what they knew from the one here, and it would not tell them again: Zenoh's routers (1.10.2) take one that comes
    /// in the moment that it goes for one that has stayed. So it stops. Another one starts, here or elsewhere, if one is wanted.
    fn handle_standstill(&mut self, begun: Duration) {
        // One that has gone may be seen as gone by now.
        if !self.shared.had_other_hubs(begun) {
            return;
        }
        let Some(hub) = self.hub.take() else { return };
        swsync_core::log::warn!("this process stood still: the hub here stops");
        let now = Instant::now();
        // The one that the user has asked for starts anew in any case.
        self.listens_later = hub.router.token().kind == HubKind::Fixed;
        self.addresses_at = now + LOOK_AT_ADDRESSES;
        self.islands = Islands::default();
        // Until it has answered what it was asked it still accepts connections.
        self.lose(now);
        let addresses =
            hub.router.own_address().into_iter().chain(hub.router.token().addresses.iter().copied());
        self.left_alone.extend(addresses.map(|address| (address, now + STOPS)));
        in_background("swsync-close", move || drop(hub));
    }

    fn is_stopped(&self) -> bool {
        self.shared.state.lock().stop
    }

    /// Notices that the connection is lost, and looks for one.
    fn tend_link(&mut self) {
        let now = Instant::now();
        let zenoh = self.shared.zenoh();
        if let Some(zenoh) = &zenoh {
            let info = zenoh.info();
            let is_connected =
                info.routers_zid().wait().next().is_some() || info.peers_zid().wait().next().is_some();
            if is_connected && !self.is_hubless(now) {
                return;
            }
            self.lose(now);
        }
        if now < self.search_at {
            return;
        }
        if !self.search() {
            self.hint();
            self.pause = (self.pause * 2).clamp(TICK, MAX_PAUSE);
            self.search_at = Instant::now() + self.pause;
        }
    }

    /// Whether a visitor has seen no hub for too long. A device starts one then ([`HubPolicy`]).
    fn is_hubless(&mut self, now: Instant) -> bool {
        if self.shared.role == SessionRole::Resident || !self.shared.state.lock().hubs.is_empty() {
            self.hubless_since = None;
            return false;
        }
        now >= *self.hubless_since.get_or_insert(now) + HUBLESS
    }

    /// Says why nothing is found, if it is for lack of the rig's key.
    fn hint(&mut self) {
        let now = Instant::now();
        if self.shared.role == SessionRole::Resident && now >= self.hint_at {
            self.hint_at = now + HINT_AGAIN;
            let config = self.shared.config.clone();
            in_background("swsync-hint", move || {
                if let Some(hint) = key_hint(&config) {
                    swsync_core::log::warn!(rig = %config.rig, "no hub of the rig is found: {hint}");
                }
            });
        }
    }

    fn lose(&mut self, now: Instant) {
        swsync_core::log::info!("the connection to the hub is lost");
        let lost = {
            let mut state = self.shared.state.lock();
            if std::mem::take(&mut state.hubs).len() > 1 {
                state.hub_gone_at = Some(host::uptime());
            }
            state.tell(LinkEvent::Lost);
            state.zenoh.take()
        };
        self.shared.members.handle_link_lost(now);
        self.confirm_at = None;
        (self.search_at, self.pause) = (now, Duration::ZERO);
        self.left_alone.extend(self.linked_to.take().map(|address| (address, now + LOST)));
        // Closing waits for what hangs, for up to ten seconds.
        if let Some((_, lost)) = lost {
            in_background("swsync-close", move || drop(lost.close().wait()));
        }
    }

    /// Looks for a hub, once. Whether there is a connection now.
    fn search(&mut self) -> bool {
        let now = Instant::now();
        self.left_alone.retain(|_, until| now < *until);
        if let Some(own) = self.hub.as_ref().and_then(|hub| hub.router.own_address()) {
            return self.connect(own);
        }
        let known: Vec<String> = {
            let state = self.shared.state.lock();
            let connect = self.shared.config.connect.iter().filter_map(|endpoint| address_of(endpoint));
            state.known.iter().map(ToString::to_string).chain(connect.map(str::to_owned)).collect()
        };
        if self.connect_to_any(&known) {
            return true;
        }
        self.shared.config.is_discovering() && !self.is_stopped() && self.connect_to_any(&scout())
    }

    /// Connects to the first of `addresses` that is a hub. One that does not answer, as a process that hangs, is waited for while the
    /// next ones are tried: as RFC 8305 does.
    fn connect_to_any(&mut self, addresses: &[String]) -> bool {
        let accepted = dial(addresses, |address| self.left_alone.contains_key(address));
        let (opened, results) = mpsc::channel();
        let mut opening = 0;
        while !self.is_stopped() {
            let next = if opening == 0 { accepted.recv().ok() } else { accepted.try_recv().ok() };
            if let Some(address) = next {
                opening += usize::from(self.open(address, opened.clone()));
            } else if opening == 0 {
                return false;
            }
            match results.recv_timeout(NEXT) {
                Ok((address, Ok(zenoh))) => {
                    drop(opened);
                    // Others may still open.
                    in_background("swsync-close", move || {
                        for (_, late) in results {
                            let _ = late.map(|zenoh: zenoh::Session| zenoh.close().wait());
                        }
                    });
                    return self.adopt(address, zenoh);
                }
                Ok((address, Err(error))) => {
                    opening -= 1;
                    self.refuse(address, &error);
                }
                Err(_) => {}
            }
        }
        false
    }

    /// Opens a session with the hub at `address`, on a thread of its own. Whether there is one.
    fn open(
        &self,
        address: SocketAddr,
        opened: Sender<(SocketAddr, Result<zenoh::Session, ControlError>)>,
    ) -> bool {
        let shared = Arc::clone(&self.shared);
        in_background("swsync-open", move || {
            let _ = opened.send((address, open(&shared, address))); // fails if another one was faster
        })
    }

    /// There is no hub of the rig at `address`.
    fn refuse(&mut self, address: SocketAddr, error: &ControlError) {
        swsync_core::log::info!(%address, %error, "no hub of the rig");
        self.left_alone.insert(address, Instant::now() + NO_HUB);
        self.shared.state.lock().failure = Some(format!("{address}: {error}"));
    }

    fn connect(&mut self, address: SocketAddr) -> bool {
        match open(&self.shared, address) {
            Ok(zenoh) => self.adopt(address, zenoh),
            Err(error) => {
                self.refuse(address, &error);
                false
            }
        }
    }

    /// Goes on through `zenoh`, which is connected to the hub at `address`.
    fn adopt(&mut self, address: SocketAddr, zenoh: zenoh::Session) -> bool {
        let shared = Arc::clone(&self.shared);
        let (number, held) = {
            let mut state = shared.state.lock();
            state.connections += 1;
            state.zenoh = Some((state.connections, zenoh.clone()));
            state.failure = None;
            state.remember(&[address]);
            (state.connections, state.held.clone())
        };
        for slot in held {
            if let Err(error) = slot.ensure(number, &zenoh) {
                swsync_core::log::warn!(%address, %error, "the connection to the hub fails");
                self.lose(Instant::now());
                return false;
            }
        }
        swsync_core::log::debug!(%address, "connected to a hub");
        (self.linked_to, self.hubless_since) = (Some(address), None);
        shared.state.lock().tell(LinkEvent::Linked);
        shared.changed.notify_all();
        self.pause = Duration::ZERO;
        self.confirm_at = Some(Instant::now() + TOKENS);
        true
    }

    /// Starts or stops the hub of this process, and has others start one.
    fn tend_hub(&mut self) {
        let now = Instant::now();
        if now >= self.addresses_at {
            self.addresses_at = now + LOOK_AT_ADDRESSES;
            self.look_at_addresses();
        }
        if self.shared.role == SessionRole::Visitor {
            return;
        }
        let candidates = self.candidates();
        let action = {
            let mut state = self.shared.state.lock();
            let hubs: Vec<_> = state.hubs.values().cloned().collect();
            let own = self.hub.as_ref().map(|hub| (&hub.router.token().id, hub.router.token().kind));
            let seen = Situation {
                connected: state.zenoh.is_some(),
                discovering: self.shared.config.is_discovering(),
                hubs: &hubs,
                own,
                candidates: !candidates.is_empty(),
                invited: std::mem::take(&mut state.invited),
            };
            self.policy.decide(now, &seen)
        };
        match action {
            Some(HubAction::Start) => {
                if let Err(error) = self.start_hub(HubKind::Auto) {
                    swsync_core::log::warn!(%error, "cannot run a hub");
                }
            }
            Some(HubAction::Stop) => {
                swsync_core::log::info!("the rig has hubs enough: the one here stops");
                let hub = self.hub.take();
                in_background("swsync-close", move || drop(hub));
            }
            Some(HubAction::Invite) => self.invite(candidates),
            None => {}
        }
    }

    fn start_hub(&mut self, kind: HubKind) -> Result<(), ControlError> {
        let others: Vec<_> = self.shared.state.lock().known.clone();
        let place = self.shared.devices.lock().keys().next().unwrap_or(&self.host).clone();
        let place = (&self.shared.instance, &place);
        // With `listen` it is where the user has said, also if another hub has asked for it: it stays.
        let is_fixed = kind == HubKind::Auto && !self.shared.config.listen.is_empty();
        let kind = if is_fixed { HubKind::Fixed } else { kind };
        match Router::start(&self.shared.config, &self.shared.keys, kind, place, &others) {
            Ok(router) => {
                let keeper = Keeper::start(&self.shared, &router)?;
                self.hub = Some(Hub { _keeper: keeper, router });
                self.listens_later = false;
                // The search for others is over if there was one.
                self.search_at = Instant::now();
                Ok(())
            }
            Err(StartError::NotThere(endpoint)) => {
                if !self.listens_later {
                    swsync_core::log::warn!(
                        endpoint,
                        "this host does not have the address to listen at yet: waiting for it"
                    );
                }
                self.listens_later = true;
                Ok(())
            }
            Err(StartError::Control(error)) => Err(error),
        }
    }

    fn look_at_addresses(&mut self) {
        if self.listens_later {
            if let Err(error) = self.start_hub(HubKind::Fixed) {
                swsync_core::log::warn!(%error, "cannot run a hub yet");
            }
            return;
        }
        let Some(hub) = &mut self.hub else { return };
        if self.shared.config.is_discovering() && hub.router.lacks_addresses() {
            swsync_core::log::info!("this host has new addresses: the hub is started again");
            let kind = hub.router.token().kind;
            drop(self.hub.take());
            if let Err(error) = self.start_hub(kind) {
                swsync_core::log::warn!(%error, "cannot run a hub");
            }
        } else if let Err(error) = hub.router.announce(&self.shared.keys) {
            swsync_core::log::warn!(%error, "cannot tell the new addresses of the hub");
        }
    }

    /// Has the hubs say whether they reach the devices of this session, and connects anew if one does not.
    fn tend_reach(&mut self) {
        let now = Instant::now();
        let anew = self.reach_results.rx.try_iter().any(|missed| self.reach.handle_result(now, missed));
        if anew {
            swsync_core::log::warn!("a hub of the rig does not reach this device: it connects anew");
            self.lose(now);
            return;
        }
        let Some(zenoh) = self.shared.zenoh() else { return };
        if self.reach.is_due(now, self.shared.hubs().into_iter().map(|hub| hub.id).collect()) {
            let instance = &self.shared.instance;
            let devices: Vec<_> = self.shared.devices.lock().keys().cloned().collect();
            let member = |device| Member { device, instance: instance.clone() };
            let members: Vec<_> = devices.into_iter().map(member).collect();
            reach::ask(&zenoh, &self.shared.keys, &members, self.reach_results.tx.clone());
        }
    }

    /// The devices that could run a hub, and do not.
    fn candidates(&self) -> Vec<Member> {
        if self.hub.is_none() {
            return Vec::new();
        }
        let hubs = self.shared.hubs();
        let runs_one = |instance: &Name| {
            *instance == self.shared.instance || hubs.iter().any(|hub| hub.instance == *instance)
        };
        self.shared.members.here().into_iter().filter(|member| !runs_one(&member.instance)).collect()
    }

    /// Asks one of `candidates` to run a hub too. The next time another one, if this one does not.
    fn invite(&mut self, candidates: Vec<Member>) {
        let Some(zenoh) = self.shared.zenoh() else { return };
        let asked = &mut self.asked;
        if candidates.iter().all(|member| asked.contains(&member.device)) {
            asked.clear();
        }
        let Some(member) = candidates.into_iter().find(|member| asked.insert(member.device.clone())) else {
            return;
        };
        let key = self.shared.keys.query(&member, QueryKind::Serve);
        let replies = match zenoh.get(key).timeout(INVITATION).wait() {
            Ok(replies) => replies,
            Err(error) => return swsync_core::log::warn!(%error, "cannot ask a device to run a hub"),
        };
        let serves = replies.into_iter().find_map(|reply| {
            decode::<Serves>(&reply.result().ok()?.payload().to_bytes()).ok().map(|reply| reply.serves)
        });
        swsync_core::log::info!(device = %member.device, ?serves, "asked a device to run a hub too");
    }
}

fn open(shared: &Shared, address: SocketAddr) -> Result<zenoh::Session, ControlError> {
    let config = client_config(address, shared.config.key.as_ref())?;
    zenoh::open(config).wait().map_err(|source| ControlError::zenoh("join the network", source))
}

/// Runs `work` on a thread of its own: it may hang. Whether it does.
fn in_background(name: &str, work: impl FnOnce() + Send + 'static) -> bool {
    let started = std::thread::Builder::new().name(name.into()).spawn(work);
    if let Err(error) = &started {
        swsync_core::log::warn!(%error, "cannot start a thread");
    }
    started.is_ok()
}
