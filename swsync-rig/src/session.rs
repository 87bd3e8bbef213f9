//! A session: this process's connection to the Zenoh network of a rig, and the queries through it.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Once, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use swsync_core::message::decode;
use swsync_core::name::{DeviceId, Name};
use swsync_core::status::Status;
use zenoh::Wait;
use zenoh::query::{ConsolidationMode, QueryTarget};

use crate::key_hint::{key_hint, key_hint_of_outsider};
use crate::keys::{Keys, Member, QueryKind};
use crate::members::{Members, follow_tokens};
use crate::message::reason;
use crate::zenoh_config::{SessionRole, zenoh_config};
use crate::{ControlError, RigConfig};

/// How long dropping a visitor's session waits for the network.
const GOODBYE: Duration = Duration::from_millis(500);

/// Says once in a process that its rig is open.
static OPEN_RIG: Once = Once::new();

/// A connection to a rig's network. Its methods block. They may be called on any thread that is not part of a single-threaded
/// tokio runtime, which Zenoh refuses.
///
/// Dropping the last reference leaves the network.
pub struct Session {
    pub(crate) zenoh: zenoh::Session,
    pub(crate) config: RigConfig,
    pub(crate) keys: Keys,
    pub(crate) instance: Name,
    role: SessionRole,
    pub(crate) members: Arc<Members>,
    /// Ids of the devices that joined with this session.
    pub(crate) joined: Mutex<BTreeSet<DeviceId>>,
    /// Devices that this session has waited for in vain. It does not wait for them again.
    pub(crate) given_up: Mutex<BTreeSet<DeviceId>>,
}

/// A device's status, and when it was asked for and received. The rig time in it was read in between.
#[derive(Debug, Clone)]
pub struct StatusReport {
    /// The status.
    pub status: Status,
    /// When the query was sent.
    pub asked: Instant,
    /// When the reply was received.
    pub heard: Instant,
}

/// A reply to a query: its key and bytes, or why there are none.
pub(crate) type QueryReply = Result<(String, Vec<u8>), String>;

impl Session {
    /// The session of this process for `config`, for devices: all callers with an equal `config` share it.
    ///
    /// Returns once the devices that answer at once are known, after half a second at most. Addresses in
    /// [`RigConfig::connect`] that do not answer yet are tried again for as long as the session lives.
    ///
    /// # Errors
    /// [`ControlError`] if an endpoint is malformed or cannot be listened at.
    pub fn open(config: &RigConfig) -> Result<Arc<Self>, ControlError> {
        SHARED.open(config)
    }

    /// As [`open`](Self::open), but a session of the caller's own.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_unshared(config: &RigConfig) -> Result<Arc<Self>, ControlError> {
        Self::open_new(config, SessionRole::Resident)
    }

    /// A session for a visitor, who asks and leaves again. Fails if no device is seen within `patience`.
    ///
    /// # Errors
    /// [`ControlError::Connect`] if nothing answers at the given addresses,
    /// [`ControlError::NobodyThere`] if something does but no device of the rig is there.
    pub fn visit(config: &RigConfig, patience: Duration) -> Result<Arc<Self>, ControlError> {
        let begin = Instant::now();
        let session = Self::open_new(config, SessionRole::Visitor)?;
        let here = session.members.wait_until(begin + patience, |here| !here.is_empty());
        if here.is_empty() {
            return Err(session.nobody_there(begin.elapsed()));
        }
        Ok(session)
    }

    pub(crate) fn open_new(config: &RigConfig, role: SessionRole) -> Result<Arc<Self>, ControlError> {
        if config.key.is_none() && role == SessionRole::Resident {
            OPEN_RIG.call_once(|| {
                swsync_core::log::warn!(
                    rig = %config.rig,
                    "the rig is open: everybody on its network can see, order, stop and read. `swsync key new` makes a key \
                     for it, which key-file= or SWSYNC_KEY_FILE names on each device"
                );
            });
        }
        let zenoh = zenoh::open(zenoh_config(config, role)?)
            .wait()
            .map_err(|source| ControlError::zenoh("join the network", source))?;
        let instance = Name::new(zenoh.zid().to_string()).expect("a Zenoh id is hexadecimal");
        let keys = Keys::new(&config.rig);
        let members = Arc::new(Members::default());
        follow_tokens(&zenoh, &keys, &members)?;
        swsync_core::log::debug!(rig = %config.rig, %instance, ?role, "in the network");
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

    /// Whether everybody on the network is part of the rig: it has no key.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.config.key.is_none()
    }

    /// The session in Zenoh's network.
    pub(crate) const fn zenoh(&self) -> &zenoh::Session {
        &self.zenoh
    }

    /// The key under which `device`, which joined with this session, serves its files.
    pub(crate) fn files_key(&self, device: &DeviceId) -> String {
        self.keys.files(&Member { device: device.clone(), instance: self.instance.clone() })
    }

    /// The status of every device that answers within `timeout`, sorted by device. Returns once all have answered.
    #[must_use]
    pub fn statuses(&self, timeout: Duration) -> Vec<StatusReport> {
        let (tx, rx) = mpsc::channel();
        let asked = Instant::now();
        self.ask(&self.keys.query_all(QueryKind::Status), None, timeout, move |reply| {
            let _ = tx.send((Instant::now(), reply)); // fails if the caller has given up
        });
        let mut reports: Vec<_> = rx
            .into_iter()
            .filter_map(|(heard, reply)| {
                let (key, bytes) =
                    reply.inspect_err(|why| swsync_core::log::debug!(why, "no status")).ok()?;
                match decode(&bytes) {
                    Ok(status) => Some(StatusReport { status, asked, heard }),
                    Err(error) => {
                        swsync_core::log::warn!(key, %error, "a status that cannot be read");
                        None
                    }
                }
            })
            .collect();
        reports.sort_by(|a, b| a.status.device.cmp(&b.status.device));
        reports
    }

    /// The error that no device was found within `waited`. It says how they were looked for.
    #[must_use]
    pub fn nobody_there(&self, waited: Duration) -> ControlError {
        let info = self.zenoh.info();
        let alone = info.peers_zid().wait().next().is_none() && info.routers_zid().wait().next().is_none();
        let hint = if alone { key_hint_of_outsider(&self.config) } else { key_hint(&self.config) };
        if let Some(hint) = hint.filter(|_| alone || self.is_open()) {
            return ControlError::Key { rig: self.config.rig.clone(), hint, waited: rounded(waited) };
        }
        if alone && !self.config.connect.is_empty() {
            return ControlError::Connect { endpoints: self.config.connect.clone(), waited: rounded(waited) };
        }
        ControlError::NobodyThere {
            rig: self.config.rig.clone(),
            search: self.config.search(),
            waited: rounded(waited),
        }
    }

    /// Sends a query to `key`. `on_reply` is called with each reply, on Zenoh's threads, and is dropped after the last one: once
    /// all have answered or are gone, or after `timeout`.
    pub(crate) fn ask(
        &self,
        key: &str,
        payload: Option<Vec<u8>>,
        timeout: Duration,
        on_reply: impl Fn(QueryReply) + Send + Sync + 'static,
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
                on_reply(match reply.into_result() {
                    Ok(sample) => {
                        Ok((sample.key_expr().to_string(), sample.payload().to_bytes().into_owned()))
                    }
                    Err(error) => Err(reason(&error.payload().to_bytes())),
                });
            })
            .wait();
        if let Err(error) = asked {
            swsync_core::log::warn!(key, %error, "could not send a query");
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Closing waits for connections that are being opened, for up to ten seconds if the other side hangs.
        let (tx, rx) = mpsc::channel();
        let zenoh = self.zenoh.clone();
        let close = move || {
            if let Err(error) = zenoh.close().wait() {
                swsync_core::log::debug!(%error, "leaving the network");
            }
            let _ = tx.send(()); // fails if nobody waits any more
        };
        match self.role {
            SessionRole::Resident => close(), // its port must be free afterwards
            SessionRole::Visitor => {
                std::thread::spawn(close);
                let _ = rx.recv_timeout(GOODBYE); // after that it goes on in the background
            }
        }
        SHARED.remove(self);
    }
}

/// The receiver of a query's replies. Zenoh drops it when the query ends, which puts the last event.
pub(crate) struct Inbox<E> {
    events: Sender<E>,
    last: Option<E>,
}

impl<E> Inbox<E> {
    pub(crate) const fn new(events: Sender<E>, last: E) -> Self {
        Self { events, last: Some(last) }
    }

    pub(crate) fn put(&self, event: E) {
        // Fails once the caller has given up.
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

/// The sessions that [`Session::open`] shares: an application with several swsync elements joins a rig once.
struct SharedSessions {
    sessions: Mutex<Vec<(RigConfig, Weak<Session>)>>,
    removed: Condvar,
}

static SHARED: SharedSessions = SharedSessions { sessions: Mutex::new(Vec::new()), removed: Condvar::new() };

impl SharedSessions {
    fn open(&self, config: &RigConfig) -> Result<Arc<Session>, ControlError> {
        let mut sessions = self.sessions.lock();
        while let Some((_, session)) = sessions.iter().find(|(known, _)| known == config) {
            if let Some(session) = session.upgrade() {
                return Ok(session);
            }
            // Its last user has just dropped it. It holds its port until it is closed.
            self.removed.wait(&mut sessions);
        }
        let session = Session::open_new(config, SessionRole::Resident)?;
        sessions.push((config.clone(), Arc::downgrade(&session)));
        Ok(session)
    }

    /// Removes a closed session. No-op for one that is not shared.
    fn remove(&self, session: &Session) {
        self.sessions.lock().retain(|(_, known)| !std::ptr::eq(known.as_ptr(), session));
        self.removed.notify_all();
    }
}

/// Rounded up to tenths of a second, for messages.
fn rounded(waited: Duration) -> Duration {
    Duration::from_millis(u64::try_from(waited.as_millis().div_ceil(100) * 100).unwrap_or(u64::MAX))
}
