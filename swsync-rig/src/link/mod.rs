//! The link of a session: its connection to one hub of the rig, kept up for as long as the session lives.
//!
//! What a session declares in Zenoh is *held*: it is declared again after each change of the hub. A thread looks for a hub, watches the
//! connection, and runs a hub in this process where [`crate::hub::policy`] says so.

pub(crate) mod search;
mod worker;

use std::any::Any;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use swsync_core::name::{DeviceId, Name};
use zenoh::Wait;
use zenoh::sample::{Sample, SampleKind};

use crate::host;
use crate::hub::HubToken;
use crate::keys::Keys;
use crate::members::Members;
use crate::{ControlError, DeviceHandler, RigConfig};

/// Most hubs that are remembered: a stranger may claim to have many.
pub(crate) const MAX_HUBS: usize = 64;

/// Most addresses of hubs that are remembered: those of four hubs, with all that a hub tells.
const MAX_KNOWN: usize = 32;

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionRole {
    /// Belongs to the rig for as long as it runs, and may run a hub.
    Resident,
    /// Asks and leaves again.
    Visitor,
}

/// What happens to the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// There is a connection to a hub.
    Linked,
    /// There is none any more.
    Lost,
    /// A hub is seen, for the first time through this connection.
    HubCame(HubToken),
}

/// Called with events until it returns `false`.
type Watcher = Box<dyn Fn(LinkEvent) -> bool + Send>;

/// Declares something in a session. What it returns undeclares that when it is dropped.
type Declare = Box<dyn Fn(&zenoh::Session) -> Result<Box<dyn Any + Send>, ControlError> + Send + Sync>;

/// The link of a session. Dropping it ends the connection, and the hub if one runs here.
pub(crate) struct Link {
    shared: Arc<Shared>,
    /// Started by [`Link::open`], joined by [`Link::close`].
    thread: Option<JoinHandle<()>>,
}

/// What the thread and the callers of a link share.
pub(crate) struct Shared {
    pub(crate) config: RigConfig,
    pub(crate) keys: Keys,
    pub(crate) role: SessionRole,
    pub(crate) instance: Name,
    pub(crate) members: Arc<Members>,
    /// The devices that joined with this session.
    pub(crate) devices: Mutex<BTreeMap<DeviceId, Option<Arc<dyn DeviceHandler>>>>,
    state: Mutex<State>,
    changed: Condvar,
    following: Mutex<Following>,
}

#[derive(Default)]
struct State {
    /// The connection, and its number.
    zenoh: Option<(u64, zenoh::Session)>,
    connections: u64,
    held: Vec<Arc<Slot>>,
    /// The hubs that are seen through the connection.
    hubs: BTreeMap<Name, HubToken>,
    /// When the last one went, in [`host::uptime`].
    hub_gone_at: Option<Duration>,
    /// Where hubs were, also those that are gone: the last ones.
    known: Vec<SocketAddr>,
    watchers: Vec<Watcher>,
    /// A hub has asked this session to run one.
    invited: bool,
    /// Why the last attempt to connect failed.
    failure: Option<String>,
    stop: bool,
    /// Whether other parts of the rig have been looked for.
    islands_looked_for: bool,
}

/// Something that is declared in every connection.
struct Slot {
    declare: Declare,
    /// What was declared, and in which connection.
    declared: Mutex<Option<(u64, Box<dyn Any + Send>)>>,
}

impl Slot {
    /// Declares it in the connection `number`, unless it is.
    fn ensure(&self, number: u64, zenoh: &zenoh::Session) -> Result<(), ControlError> {
        let mut declared = self.declared.lock();
        if declared.as_ref().is_none_or(|(known, _)| *known < number) {
            *declared = Some((number, (self.declare)(zenoh)?));
        }
        Ok(())
    }
}

/// Something that a session holds. Dropping it undeclares that.
pub(crate) struct Held {
    slot: Arc<Slot>,
    shared: Weak<Shared>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.state.lock().held.retain(|slot| !Arc::ptr_eq(slot, &self.slot));
        }
        drop(self.slot.declared.lock().take());
    }
}

/// Who needs to know all devices: as long as there is somebody, their tokens are followed.
#[derive(Default)]
struct Following {
    count: usize,
    held: Option<[Held; 2]>,
}

/// As long as this lives, [`Shared::members`] is kept up to date.
pub(crate) struct Follower(Arc<Shared>);

impl Drop for Follower {
    fn drop(&mut self) {
        let mut following = self.0.following.lock();
        following.count -= 1;
        if following.count == 0 {
            following.held = None;
            self.0.members.clear();
        }
    }
}

impl Link {
    /// Opens the link: starts to look for a hub. If `config` says where to listen, a hub runs in this process when this returns.
    ///
    /// # Errors
    /// [`ControlError`] if an endpoint is malformed or cannot be listened at.
    pub(crate) fn open(
        config: &RigConfig,
        role: SessionRole,
        keys: Keys,
        instance: Name,
        host: Name,
    ) -> Result<Self, ControlError> {
        crate::zenoh_config::check_endpoints(config)?;
        let shared = Arc::new(Shared {
            config: config.clone(),
            keys,
            role,
            instance,
            members: Arc::default(),
            devices: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            following: Mutex::default(),
        });
        shared.follow_hubs();
        let worker = worker::Worker::start(&shared, host)?;
        let thread = std::thread::Builder::new()
            .name("swsync-link".into())
            .spawn(move || worker.run())
            .map_err(|error| ControlError::zenoh("start a thread", error.into()))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ends the link.
    pub(crate) fn close(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.changed.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            swsync_core::log::error!("the thread of the link has panicked");
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// The connection; `None`: there is none at the moment.
    pub(crate) fn zenoh(&self) -> Option<zenoh::Session> {
        self.state.lock().zenoh.as_ref().map(|(_, zenoh)| zenoh.clone())
    }

    /// Waits for a connection, until `deadline` at most. Whether there is one.
    pub(crate) fn wait_linked(&self, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        let _ =
            self.changed.wait_while_until(&mut state, |state| state.zenoh.is_none() && !state.stop, deadline);
        state.zenoh.is_some()
    }

    /// Waits until other parts of the rig have been looked for, where there may be some.
    pub(crate) fn wait_for_islands(&self, deadline: Instant) {
        if self.config.connect.len() > 1 {
            let mut state = self.state.lock();
            let wait = |state: &mut State| !state.islands_looked_for && !state.stop;
            let _ = self.changed.wait_while_until(&mut state, wait, deadline);
        }
    }

    /// Declares something in the connection, now or once there is one, and in each one that follows.
    ///
    /// # Errors
    /// That of `declare`. It is not held then.
    pub(crate) fn hold(
        self: &Arc<Self>,
        declare: impl Fn(&zenoh::Session) -> Result<Box<dyn Any + Send>, ControlError> + Send + Sync + 'static,
    ) -> Result<Held, ControlError> {
        let held = Held { slot: self.add_slot(Box::new(declare)), shared: Arc::downgrade(self) };
        let now = self.state.lock().zenoh.clone();
        if let Some((number, zenoh)) = now {
            held.slot.ensure(number, &zenoh)?;
        }
        Ok(held)
    }

    /// Keeps [`Shared::members`] up to date as long as the result lives.
    pub(crate) fn follow_members(self: &Arc<Self>) -> Result<Follower, ControlError> {
        let mut following = self.following.lock();
        if following.held.is_none() {
            following.held = Some(crate::members::follow_tokens(self)?);
        }
        following.count += 1;
        Ok(Follower(Arc::clone(self)))
    }

    /// Calls `watcher` with what holds now, and from then on with every event, for as long as it returns `true`.
    pub(crate) fn watch(&self, watcher: impl Fn(LinkEvent) -> bool + Send + 'static) {
        let mut state = self.state.lock();
        let linked = state.zenoh.iter().map(|_| LinkEvent::Linked);
        let now: Vec<_> = linked.chain(state.hubs.values().cloned().map(LinkEvent::HubCame)).collect();
        if now.into_iter().all(&watcher) {
            state.watchers.push(Box::new(watcher));
        }
    }

    /// The hubs that are seen.
    pub(crate) fn hubs(&self) -> Vec<HubToken> {
        self.state.lock().hubs.values().cloned().collect()
    }

    /// Whether another hub is seen than the one here, or one has gone since `begun`, in [`host::uptime`].
    fn had_other_hubs(&self, begun: Duration) -> bool {
        let state = self.state.lock();
        state.hubs.len() > 1 || state.hub_gone_at >= Some(begun)
    }

    /// The hubs that are seen, once there is one, or at `deadline`.
    pub(crate) fn wait_for_hubs(&self, deadline: Instant) -> Vec<HubToken> {
        let mut state = self.state.lock();
        let none = |state: &mut State| state.hubs.is_empty() && !state.stop;
        let _ = self.changed.wait_while_until(&mut state, none, deadline);
        state.hubs.values().cloned().collect()
    }

    /// Waits until all of `ids` are seen, or for `deadline`.
    pub(crate) fn wait_for_these_hubs(&self, ids: &[Name], deadline: Instant) {
        let mut state = self.state.lock();
        let missing = |state: &mut State| !ids.iter().all(|id| state.hubs.contains_key(id)) && !state.stop;
        let _ = self.changed.wait_while_until(&mut state, missing, deadline);
    }

    /// Has this session run a hub. `false`: it does not, since it is a visitor.
    pub(crate) fn invite(&self) -> bool {
        let runs_hubs = self.role == SessionRole::Resident;
        self.state.lock().invited = runs_hubs;
        self.changed.notify_all();
        runs_hubs
    }

    /// The devices that joined with this session.
    pub(crate) fn handlers(&self) -> Vec<Arc<dyn DeviceHandler>> {
        self.devices.lock().values().flatten().cloned().collect()
    }

    /// Why there is no connection.
    pub(crate) fn failure(&self) -> Option<String> {
        self.state.lock().failure.clone()
    }

    /// Follows the tokens of hubs, for as long as the link lives.
    fn follow_hubs(self: &Arc<Self>) {
        let (weak, key) = (Arc::downgrade(self), self.keys.hubs());
        self.add_slot(Box::new(move |zenoh| {
            let shared = weak.clone();
            let on_sample = move |sample: Sample| {
                if let Some(shared) = shared.upgrade()
                    && let Some(token) = shared.keys.parse_hub(sample.key_expr())
                {
                    shared.handle_hub(token, sample.kind());
                }
            };
            follow(zenoh, &key, on_sample)
        }));
    }

    fn add_slot(&self, declare: Declare) -> Arc<Slot> {
        let slot = Arc::new(Slot { declare, declared: Mutex::default() });
        self.state.lock().held.push(Arc::clone(&slot));
        slot
    }

    /// Handles the token of a hub that came or went.
    fn handle_hub(&self, token: HubToken, kind: SampleKind) {
        let mut state = self.state.lock();
        if kind == SampleKind::Delete {
            // One whose addresses have changed has another token.
            if state.hubs.get(&token.id) == Some(&token) {
                state.hubs.remove(&token.id);
                state.hub_gone_at = Some(host::uptime());
            }
        } else if state.hubs.len() < MAX_HUBS {
            state.remember(&token.addresses);
            let is_news = state.hubs.insert(token.id.clone(), token.clone()).is_none();
            if is_news {
                state.tell(LinkEvent::HubCame(token));
            }
        }
        self.changed.notify_all();
    }
}

impl State {
    fn tell(&mut self, event: LinkEvent) {
        swsync_core::log::debug!(?event, "the link");
        self.watchers.retain(|watcher| watcher(event.clone()));
    }

    /// Remembers where a hub is.
    fn remember(&mut self, addresses: &[SocketAddr]) {
        for address in addresses {
            self.known.retain(|known| known != address);
            self.known.insert(0, *address);
        }
        self.known.truncate(MAX_KNOWN);
    }
}

/// Calls `on_sample` with all tokens at `key`, those that are there and those that come and go.
pub(crate) fn follow(
    zenoh: &zenoh::Session,
    key: &str,
    on_sample: impl Fn(Sample) + Send + Sync + 'static,
) -> Result<Box<dyn Any + Send>, ControlError> {
    let following = zenoh.liveliness().declare_subscriber(key).history(true).callback(on_sample).wait();
    let following = following.map_err(|source| ControlError::zenoh("follow who is present", source))?;
    Ok(Box::new(following))
}

/// How often the thread looks at the connection.
const TICK: Duration = Duration::from_millis(200);
