//! A session: this process's connection to the Zenoh network of a rig, and the queries through it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Once, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use swsync_core::message::{MAX_MESSAGE, MAX_REQUEST, MessageError, decode, sender_software};
use swsync_core::name::{DeviceId, Name};
use swsync_core::status::Status;
use zenoh::Wait;
use zenoh::bytes::ZBytes;
use zenoh::query::{ConsolidationMode, QueryTarget};

use crate::key_hint::{key_hint, key_hint_of_outsider};
use crate::keys::{Keys, QueryKind};
use crate::link::{Follower, Link, SessionRole, Shared};
use crate::members::Members;
use crate::message::{MAX_MEMBERS, reason};
use crate::{ControlError, RigConfig, host};

/// How long dropping a visitor's session waits for the network.
const GOODBYE: Duration = Duration::from_millis(500);

/// How long opening a session waits for a connection.
const CONNECT: Duration = Duration::from_millis(500);

/// Most replies to one query that are looked at: two of each device, since one that runs twice is to be told of.
const MAX_REPLIES: usize = MAX_MEMBERS * 2;

/// Says once in a process that its rig is open.
static OPEN_RIG: Once = Once::new();

/// That [`outlive_closed_connections`] was called.
static SIGPIPE_HANDLED: Once = Once::new();

/// A connection to a rig's network. Its methods block. They may be called on any thread that is not part of a single-threaded
/// tokio runtime, which Zenoh refuses.
///
/// The connection goes to one hub of the rig at a time, and to another one if that is lost. Dropping the last reference leaves the
/// network.
pub struct Session {
    /// `None` only while it is dropped.
    link: Option<Link>,
    shared: Arc<Shared>,
    pub(crate) instance: Name,
    role: SessionRole,
    /// A visitor wants to know all devices from the beginning.
    _follower: Option<Follower>,
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

/// What the devices replied to a query for their statuses.
#[derive(Debug, Clone, Default)]
pub struct StatusReplies {
    /// The statuses, sorted by device.
    pub reports: Vec<StatusReport>,
    /// The devices whose status this version of swsync cannot read: why, and which version they have.
    pub unreadable: BTreeMap<DeviceId, String>,
}

/// Why a status cannot be read, for the operator.
fn unreadable_status(error: &MessageError, bytes: &[u8]) -> String {
    let ours = env!("CARGO_PKG_VERSION");
    match sender_software(bytes) {
        Some(theirs) => {
            format!("its status cannot be read: {error} (it runs swsync {theirs}, this is {ours})")
        }
        None => format!("its status cannot be read: {error} (this is swsync {ours})"),
    }
}

/// A reply to a query: its key and bytes, or why there are none.
pub(crate) type QueryReply = Result<(String, Vec<u8>), String>;

/// Has SIGPIPE do nothing, if nobody in this process has said what it does.
///
/// Zenoh's TLS links write with writev(2), which raises it where the other side has closed the connection, and it ends a process that has
/// no handler, such as gst-launch-1.0: each command that left could take a device with it. The write fails then, and the link is closed.
/// GLib's sockets and Rust's `main` ignore the signal for the whole process too; a handler of the application still runs.
fn outlive_closed_connections() {
    let handled = signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::default());
    if let Err(error) = handled {
        swsync_core::log::warn!(%error, "SIGPIPE ends this process if a connection is closed at the wrong moment");
    }
}

impl Session {
    /// The session of this process for `config`, for devices: all callers with an equal `config` share it.
    ///
    /// Returns once there is a connection, after half a second at most. A hub is looked for as long as the session lives, so the network
    /// and the others may come later.
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
        let here = session.members().wait_until(begin + patience, |here| !here.is_empty());
        if here.is_empty() {
            return Err(session.nobody_there(begin.elapsed()));
        }
        session.link().wait_for_islands(begin + patience);
        Ok(session)
    }

    pub(crate) fn open_new(config: &RigConfig, role: SessionRole) -> Result<Arc<Self>, ControlError> {
        SIGPIPE_HANDLED.call_once(outlive_closed_connections);
        if config.key.is_none() && role == SessionRole::Resident {
            OPEN_RIG.call_once(|| {
                swsync_core::log::warn!(
                    rig = %config.rig,
                    "the rig is open: everybody on its network can see, order, stop and read. `swsync key new` makes a key \
                     for it, which key-file= or SWSYNC_KEY_FILE names on each device"
                );
            });
        }
        let random = host::random::<16>()
            .map_err(|error| ControlError::zenoh("make a random number", error.into()))?;
        let instance = Name::new(format!("{:032x}", u128::from_le_bytes(random))).expect("hexadecimal");
        let host = Name::new(host::host_name()).unwrap_or_else(|_| instance.clone());
        let link = Link::open(config, role, Keys::new(&config.rig), instance.clone(), host)?;
        let shared = Arc::clone(link.shared());
        let follower = (role == SessionRole::Visitor).then(|| shared.follow_members()).transpose()?;
        if role == SessionRole::Resident {
            shared.wait_linked(Instant::now() + CONNECT);
        }
        swsync_core::log::debug!(rig = %config.rig, %instance, ?role, "a session");
        let given_up = Mutex::default();
        Ok(Arc::new(Self { link: Some(link), shared, instance, role, _follower: follower, given_up }))
    }

    /// The rig's name.
    #[must_use]
    pub fn rig(&self) -> &Name {
        &self.shared.config.rig
    }

    /// Whether everybody on the network is part of the rig: it has no key.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.config.key.is_none()
    }

    /// The hubs of the rig that this session sees: the device or host of each.
    #[must_use]
    pub fn hubs(&self) -> Vec<Name> {
        self.shared.hubs().into_iter().map(|hub| hub.place).collect()
    }

    pub(crate) const fn link(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    pub(crate) fn members(&self) -> &Members {
        &self.shared.members
    }

    /// Knows all devices as long as the result lives.
    pub(crate) fn follow_members(&self) -> Option<Follower> {
        let follower = self.shared.follow_members();
        follower.inspect_err(|error| swsync_core::log::warn!(%error, "cannot see who is present")).ok()
    }

    /// The status of every device that answers within `timeout`, sorted by device. Returns once all have answered.
    #[must_use]
    pub fn statuses(&self, timeout: Duration) -> Vec<StatusReport> {
        self.status_replies(timeout).reports
    }

    /// As [`statuses`](Self::statuses), with the devices whose status this version of swsync cannot read.
    #[must_use]
    pub fn status_replies(&self, timeout: Duration) -> StatusReplies {
        let (tx, rx) = mpsc::channel();
        let asked = Instant::now();
        self.ask(&self.keys().query_all(QueryKind::Status), None, timeout, move |reply| {
            let _ = tx.send((Instant::now(), reply)); // fails if the caller has given up
        });
        let mut replied = BTreeSet::new();
        let mut unreadable = BTreeMap::new();
        let mut reports: Vec<_> = rx
            .into_iter()
            .filter_map(|(heard, reply)| {
                let (key, bytes) =
                    reply.inspect_err(|why| swsync_core::log::debug!(why, "no status")).ok()?;
                match decode::<Status>(&bytes) {
                    Ok(status) if !self.is_by(&key, &status) => {
                        let device = &status.device;
                        swsync_core::log::warn!(key, %device, "a status in the name of another device is left out");
                        None
                    }
                    Ok(_) if !replied.insert(key.clone()) => {
                        swsync_core::log::warn!(key, "a device answers with two statuses: only the first counts");
                        None
                    }
                    Ok(status) => Some(StatusReport { status, asked, heard }),
                    Err(error) => {
                        swsync_core::log::warn!(key, %error, "a status that cannot be read");
                        let device = self.keys().parse_member(&key)?.device;
                        unreadable.insert(device, unreadable_status(&error, &bytes));
                        None
                    }
                }
            })
            .collect();
        reports.sort_by(|a, b| a.status.device.cmp(&b.status.device));
        StatusReplies { reports, unreadable }
    }

    /// Whether the device that replied with `key` is the one that `status` tells of.
    fn is_by(&self, key: &str, status: &Status) -> bool {
        self.keys().parse_member(key).is_some_and(|member| member.device == status.device)
    }

    /// The error that no device was found within `waited`. It says how they were looked for.
    #[must_use]
    pub fn nobody_there(&self, waited: Duration) -> ControlError {
        let config = &self.shared.config;
        let alone = self.shared.zenoh().is_none();
        let hint = if alone { key_hint_of_outsider(config) } else { key_hint(config) };
        if let Some(hint) = hint.filter(|_| alone || self.is_open()) {
            return ControlError::Key { rig: config.rig.clone(), hint, waited: rounded(waited) };
        }
        if alone && !config.connect.is_empty() {
            let endpoints = config.connect.clone();
            return ControlError::Connect {
                endpoints,
                waited: rounded(waited),
                failure: self.shared.failure(),
            };
        }
        ControlError::NobodyThere {
            rig: config.rig.clone(),
            search: config.search(),
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
        let Some(zenoh) = self.shared.zenoh() else {
            swsync_core::log::debug!(key, "there is no connection to ask through");
            return;
        };
        let (replies, of) = (ReplyCount::default(), key.to_owned());
        let mut query =
            zenoh.get(key).target(QueryTarget::All).consolidation(ConsolidationMode::None).timeout(timeout);
        if let Some(payload) = payload {
            query = query.payload(payload);
        }
        let asked = query
            .callback(move |reply| {
                if replies.admits(&of) {
                    on_reply(match reply.into_result() {
                        Ok(sample) => received(sample.key_expr().as_str(), sample.payload()),
                        Err(error) => Err(refused(error.payload())),
                    });
                }
            })
            .wait();
        if let Err(error) = asked {
            swsync_core::log::warn!(key, %error, "could not send a query");
        }
    }
}

/// How many replies a query has got.
#[derive(Default)]
struct ReplyCount(AtomicUsize);

impl ReplyCount {
    /// Whether one more reply of the query for `key` counts.
    fn admits(&self, key: &str) -> bool {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        if before == MAX_REPLIES {
            swsync_core::log::warn!(
                key,
                "more than {MAX_REPLIES} replies to a query: the others are dropped"
            );
        }
        before < MAX_REPLIES
    }
}

/// A reply, unless it is longer than any of swsync's: then it is not even copied.
fn received(key: &str, payload: &ZBytes) -> QueryReply {
    match payload.len() {
        ..=MAX_MESSAGE => Ok((key.to_owned(), payload.to_bytes().into_owned())),
        length => Err(format!("a reply of {length} bytes is longer than any of swsync's")),
    }
}

/// Why a query was refused.
fn refused(payload: &ZBytes) -> String {
    match payload.len() {
        ..=MAX_REQUEST => reason(&payload.to_bytes()),
        length => format!("an error of {length} bytes, longer than any of swsync's"),
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Closing waits for connections that are being opened, for up to seconds if the other side hangs.
        let Some(link) = self.link.take() else { return };
        let (tx, rx) = mpsc::channel();
        let close = move || {
            drop(link);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_replies_the_first_count() {
        let replies = ReplyCount::default();
        let admitted = (0..MAX_REPLIES + 10).filter(|_| replies.admits("key")).count();
        assert_eq!((admitted, replies.admits("key")), (MAX_REPLIES, false));
    }

    #[test]
    fn what_is_longer_than_any_reply_is_not_taken() {
        let bytes = |length| ZBytes::from(vec![b'x'; length]);
        assert_eq!(received("key", &bytes(MAX_MESSAGE)).unwrap().1.len(), MAX_MESSAGE);
        assert!(
            received("key", &bytes(MAX_MESSAGE + 1)).unwrap_err().contains("is longer than any of swsync's")
        );
        assert!(refused(&bytes(MAX_REQUEST + 1)).contains("longer than any of swsync's"));
    }
}
