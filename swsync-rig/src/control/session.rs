//! A session: this process's place in Zenoh's network, and what can be asked of a rig through it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use swsync_core::control::{Status, decode, encode};
use swsync_core::name::{DeviceId, Name};
use swsync_core::order::Targets;
use zenoh::Wait;
use zenoh::query::{ConsolidationMode, QueryTarget};
use zenoh::sample::{Sample, SampleKind};

use super::config::Role;
use super::keys::{Aspect, Keys, Member};
use super::members::{Change, Gone, Members};
use super::message::{Forget, How, Roster, reason};
use super::settling::Settling;
use super::{ControlError, RigConfig, registry};
use crate::lock;

/// How long whoever came to ask takes to leave the network.
const GOODBYE: Duration = Duration::from_millis(500);

/// A place in a rig's network. Its methods block, and may be called from any thread that is not part
/// of a single-threaded tokio runtime (Zenoh refuses those).
///
/// Dropping the last reference leaves the network.
pub struct Session {
    pub(super) zenoh: zenoh::Session,
    pub(super) config: RigConfig,
    pub(super) keys: Keys,
    pub(super) instance: Name,
    role: Role,
    pub(super) members: Arc<Members>,
    /// Ids of this session's own devices.
    pub(super) joined: Mutex<BTreeSet<DeviceId>>,
    /// Devices that this session has waited for in vain: it does not wait for them as long again.
    pub(super) given_up: Mutex<BTreeSet<DeviceId>>,
}

/// Who belongs to the rig, as this session and others see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presence {
    /// Devices that can be asked.
    pub here: BTreeSet<DeviceId>,
    /// Devices that belong to the rig and cannot be asked, and why.
    pub missed: BTreeMap<DeviceId, String>,
}

/// A device's status, and when it was asked and heard: rig time in it was read somewhere in between.
#[derive(Debug, Clone)]
pub struct StatusReport {
    /// What the device says.
    pub status: Status,
    /// When it was asked.
    pub asked: Instant,
    /// When its answer was here.
    pub heard: Instant,
}

/// A reply to something asked: its key and bytes, or why not.
pub(crate) type Heard = Result<(String, Vec<u8>), String>;

impl Session {
    /// The process's session for `config`, for devices: every caller with an equal `config` gets the
    /// same one.
    ///
    /// Returns once the others that answer at once are known, after half a second at most. Addresses
    /// in [`RigConfig::connect`] that do not answer yet are tried again for as long as the session
    /// lives.
    ///
    /// # Errors
    /// [`ControlError`] where an endpoint is malformed or cannot be listened at.
    pub fn open(config: &RigConfig) -> Result<Arc<Self>, ControlError> {
        registry::open(config)
    }

    /// As [`open`](Self::open), but a session of the caller's own.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_unshared(config: &RigConfig) -> Result<Arc<Self>, ControlError> {
        Self::open_new(config, Role::Resident)
    }

    /// A session for someone who comes to ask, which fails if no device is met within `patience`.
    ///
    /// # Errors
    /// [`ControlError::Connect`] if nothing answers at the given addresses,
    /// [`ControlError::NobodyThere`] if something does but no device of the rig is there.
    pub fn visit(config: &RigConfig, patience: Duration) -> Result<Arc<Self>, ControlError> {
        let begin = Instant::now();
        let session = Self::open_new(config, Role::Visitor)?;
        let here = session.members.wait_until(begin + patience, |here| !here.is_empty());
        if here.is_empty() {
            return Err(session.nobody_there(begin.elapsed()));
        }
        Ok(session)
    }

    pub(super) fn open_new(config: &RigConfig, role: Role) -> Result<Arc<Self>, ControlError> {
        let zenoh = zenoh::open(config.to_zenoh(role)?)
            .wait()
            .map_err(|source| ControlError::zenoh("join the network", source))?;
        let instance = Name::new(zenoh.zid().to_string()).expect("a Zenoh id is hexadecimal");
        let keys = Keys::new(&config.rig);
        let members = Arc::new(Members::default());
        follow_presence(&zenoh, &keys, &members)?;
        tracing::debug!(rig = %config.rig, %instance, ?role, "in the network");
        Ok(Arc::new(Self {
            zenoh,
            config: config.clone(),
            keys,
            instance,
            role,
            members,
            joined: Mutex::default(),
            given_up: Mutex::default(),
        }))
    }

    /// The rig's name.
    #[must_use]
    pub const fn rig(&self) -> &Name {
        &self.config.rig
    }

    /// The session in Zenoh's network.
    pub(crate) const fn zenoh(&self) -> &zenoh::Session {
        &self.zenoh
    }

    /// Where `device`, which joined through this session, serves its files.
    pub(crate) fn files_key(&self, device: &DeviceId) -> String {
        self.keys.files(&Member { device: device.clone(), instance: self.instance.clone() })
    }

    /// Where to ask `device` for its files, whichever session it joined with.
    pub(crate) fn files_keys(&self, device: &DeviceId) -> String {
        self.keys.files_named(device)
    }

    /// Who is present, once the picture is complete or `settle` has passed. Sorted.
    ///
    /// Complete means that the devices that were asked see nobody whom this session does not see. A
    /// session that has just connected knows only those that it reached first.
    #[must_use]
    pub fn roster(&self, settle: Duration) -> Vec<DeviceId> {
        self.presence(settle).here.into_iter().collect()
    }

    /// As [`roster`](Self::roster), and who is missed: devices that others see but this session does not, and those that
    /// went without a word (their process hung or was killed, their power or network failed).
    #[must_use]
    pub fn presence(&self, settle: Duration) -> Presence {
        enum Event {
            Seen(Member),
            Roster(Member, Roster),
            Closed,
        }
        let deadline = Instant::now() + settle;
        let mut settling = Settling::without(lock(&self.given_up).clone());
        let (events, inbox) = mpsc::channel();
        let seen = events.clone();
        self.members.watch(move |change| match change {
            Change::Came(member) => seen.send(Event::Seen(member)).is_ok(),
            Change::Left(_) => true,
        });
        while !settling.is_settled() {
            match inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Seen(member)) => {
                    if settling.handle_seen(&member) {
                        let inbox = Inbox::new(events.clone(), Event::Closed);
                        self.ask_roster(member, settle, inbox, Event::Roster);
                    }
                }
                Ok(Event::Roster(member, roster)) => {
                    self.learn(&roster);
                    settling.handle_roster(&member.device, &roster);
                }
                Ok(Event::Closed) => settling.handle_closed(),
                Err(_) => break, // the time is up
            }
        }
        let here: BTreeSet<_> = self.members.here().into_iter().map(|member| member.device).collect();
        let mut missed = self.missed();
        for (device, by) in settling.unseen() {
            lock(&self.given_up).insert(device.clone());
            missed.insert(device.clone(), format!("seen by {by}, but not reachable from here"));
        }
        missed.retain(|device, _| !here.contains(device));
        Presence { here, missed }
    }

    /// Takes over what another one says of those who are not here.
    pub(super) fn learn(&self, roster: &Roster) {
        for gone in &roster.gone {
            if let Some(since) = Instant::now().checked_sub(Duration::from_millis(gone.ago_ms)) {
                self.members.handle_gone(&gone.device, Gone { since, how: gone.how });
            }
        }
    }

    /// Devices that went without a word, and what to say of it.
    pub(super) fn missed(&self) -> BTreeMap<DeviceId, String> {
        let why = |device: &DeviceId, since: Instant| {
            format!(
                "lost {} s ago without a word: hung, killed or out of reach; if it is not to come back: swsync forget {device}",
                since.elapsed().as_secs()
            )
        };
        let lost = self.members.gone().into_iter().filter(|(_, gone)| gone.how == How::Lost);
        lost.map(|(device, gone)| (device.clone(), why(&device, gone.since))).collect()
    }

    /// Devices that have left in good order since `since`, and what to say of it: what they had open they have not told
    /// whoever asks now.
    #[must_use]
    pub fn left_since(&self, since: Instant) -> BTreeMap<DeviceId, String> {
        let left =
            self.members.gone().into_iter().filter(|(_, gone)| gone.how == How::Left && gone.since >= since);
        let why =
            |since: Instant| format!("was stopped {} s ago, before it was asked", since.elapsed().as_secs());
        left.map(|(device, gone)| (device, why(gone.since))).collect()
    }

    /// Tells every device that `device` is not to be missed any more. Those that do not answer: they may bring it up again.
    pub fn forget(&self, device: &DeviceId, timeout: Duration) -> Vec<DeviceId> {
        let bytes = encode(&Forget { forget: device.clone() });
        let heard = self.poll::<Roster>(Aspect::Roster, Some(&bytes), &Targets::All, timeout);
        self.members.forget(device);
        let deaf = heard.into_iter().filter(|heard| heard.reply.is_err() && heard.device != *device);
        deaf.map(|heard| heard.device).collect()
    }

    /// The status of everyone who answers within `timeout`, sorted by device. Returns as soon as all
    /// have answered.
    #[must_use]
    pub fn statuses(&self, timeout: Duration) -> Vec<StatusReport> {
        let (tx, rx) = mpsc::channel();
        let asked = Instant::now();
        self.ask(&self.keys.everyones(Aspect::Status), None, timeout, move |heard| {
            let _ = tx.send((Instant::now(), heard)); // nobody waits any more: nothing to do
        });
        let mut reports: Vec<_> = rx
            .into_iter()
            .filter_map(|(heard, reply)| {
                let (key, bytes) = reply.inspect_err(|why| tracing::debug!(why, "no status")).ok()?;
                match decode(&bytes) {
                    Ok(status) => Some(StatusReport { status, asked, heard }),
                    Err(error) => {
                        tracing::warn!(key, %error, "a status that cannot be read");
                        None
                    }
                }
            })
            .collect();
        reports.sort_by(|a, b| a.status.device.cmp(&b.status.device));
        reports
    }

    /// The error that says that no device was found in `waited`, and how they were looked for.
    #[must_use]
    pub fn nobody_there(&self, waited: Duration) -> ControlError {
        let info = self.zenoh.info();
        let alone = info.peers_zid().wait().next().is_none() && info.routers_zid().wait().next().is_none();
        if alone && !self.config.connect.is_empty() {
            return ControlError::Connect { endpoints: self.config.connect.clone(), waited: rounded(waited) };
        }
        ControlError::NobodyThere {
            rig: self.config.rig.clone(),
            search: self.config.search(),
            waited: rounded(waited),
        }
    }

    /// Asks `member` whom it sees, and puts that in `inbox`. What cannot be read is dropped.
    pub(super) fn ask_roster<E: Send + Sync + 'static>(
        &self,
        member: Member,
        timeout: Duration,
        inbox: Inbox<E>,
        event: fn(Member, Roster) -> E,
    ) {
        let key = self.keys.aspect(&member, Aspect::Roster);
        self.ask(&key, None, timeout, move |heard| {
            let roster = heard.and_then(|(_, bytes)| decode(&bytes).map_err(|error| error.to_string()));
            match roster {
                Ok(roster) => inbox.put(event(member.clone(), roster)),
                Err(why) => tracing::debug!(why, "no roster"),
            }
        });
    }

    /// Asks `key`. `hear` is called with each reply, on Zenoh's threads, and dropped once no more will
    /// come: all have answered, or are gone, or `timeout` has passed.
    pub(crate) fn ask(
        &self,
        key: &str,
        payload: Option<Vec<u8>>,
        timeout: Duration,
        hear: impl Fn(Heard) + Send + Sync + 'static,
    ) {
        let mut query = self
            .zenoh
            .get(key)
            .target(QueryTarget::All)
            .consolidation(ConsolidationMode::None)
            .timeout(timeout);
        if let Some(payload) = payload {
            query = query.payload(payload);
        }
        let asked = query
            .callback(move |reply| {
                hear(match reply.into_result() {
                    Ok(sample) => {
                        Ok((sample.key_expr().to_string(), sample.payload().to_bytes().into_owned()))
                    }
                    Err(error) => Err(reason(&error.payload().to_bytes())),
                });
            })
            .wait();
        if let Err(error) = asked {
            tracing::warn!(key, %error, "could not ask");
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It waits for connections that are being opened, up to ten seconds where the other side hangs.
        let (tx, rx) = mpsc::channel();
        let zenoh = self.zenoh.clone();
        let close = move || {
            if let Err(error) = zenoh.close().wait() {
                tracing::debug!(%error, "leaving the network");
            }
            let _ = tx.send(()); // nobody waits any more: nothing to do
        };
        match self.role {
            Role::Resident => close(), // its port is to be free for the next
            Role::Visitor => {
                std::thread::spawn(close);
                let _ = rx.recv_timeout(GOODBYE); // where it takes longer, it goes on behind
            }
        }
        registry::remove(self);
    }
}

/// Where a query's replies go. When Zenoh drops it, the query has ended, and the last event says so.
pub(super) struct Inbox<E> {
    events: Sender<E>,
    last: Option<E>,
}

impl<E> Inbox<E> {
    pub(super) const fn new(events: Sender<E>, last: E) -> Self {
        Self { events, last: Some(last) }
    }

    pub(super) fn put(&self, event: E) {
        // Fails once nobody waits any more: then nobody wants to know.
        let _ = self.events.send(event);
    }
}

impl<E> Drop for Inbox<E> {
    fn drop(&mut self) {
        if let Some(last) = self.last.take() {
            self.put(last);
        }
    }
}

/// Keeps `members` up to date for as long as the session lives.
fn follow_presence(zenoh: &zenoh::Session, keys: &Keys, members: &Arc<Members>) -> Result<(), ControlError> {
    let follow = |key: String, hear: Box<dyn Fn(Sample) + Send + Sync>| {
        zenoh
            .liveliness()
            .declare_subscriber(key)
            .history(true)
            .callback(hear)
            .background()
            .wait()
            .map_err(|source| ControlError::zenoh("follow who is present", source))
    };
    let (leaving, parser) = (Arc::clone(members), keys.clone());
    let leaves = move |sample: Sample| {
        if let (Some(member), SampleKind::Put) = (parser.parse_leaving(sample.key_expr()), sample.kind()) {
            leaving.handle_leaving(member);
        }
    };
    follow(keys.all_leaving(), Box::new(leaves))?;
    let (members, parser) = (Arc::clone(members), keys.clone());
    let changes = move |sample: Sample| {
        let Some(member) = parser.parse_member(sample.key_expr()) else {
            tracing::debug!(key = %sample.key_expr(), "a token that is no device's");
            return;
        };
        members.handle(match sample.kind() {
            SampleKind::Put => Change::Came(member),
            SampleKind::Delete => Change::Left(member),
        });
    };
    follow(keys.members(), Box::new(changes))
}

/// To tenths of a second, for messages.
fn rounded(waited: Duration) -> Duration {
    Duration::from_millis(u64::try_from(waited.as_millis().div_ceil(100) * 100).unwrap_or(u64::MAX))
}
