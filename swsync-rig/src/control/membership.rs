//! A device's place in the rig: it is present, takes orders, and says how it is.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use swsync_core::control::{Status, decode, encode};
use swsync_core::name::DeviceId;
use swsync_core::order::{Acknowledgement, Answer, Command, Order, Registry, Standing};
use zenoh::Wait;
use zenoh::liveliness::LivelinessToken;
use zenoh::query::{Query, Queryable};

use super::catch_up::CatchUp;
use super::keys::{Aspect, Member};
use super::members::Change;
use super::message::{Refusal, Roster};
use super::{ControlError, Session};
use crate::lock;

/// How long one that seems to have our id has to prove that it is no ghost of a device that lost
/// power.
const PROOF: Duration = Duration::from_secs(1);

/// What a refused message may be logged about, at most: a stranger must not fill the log.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// What a device does for the rig. Called on network threads: each call must return soon, so hand what
/// takes long to a thread of your own.
pub trait DeviceHandler: Send + Sync {
    /// An order has arrived. Answer by `reply` once every frame is accounted for.
    ///
    /// An order that is served already can arrive again, with another `reply`, if whoever placed it
    /// lost the connection: answer that one too.
    fn handle_order(&self, order: Order, reply: Reply);

    /// An order is to be stopped or cancelled.
    fn handle_command(&self, command: &Command) -> Acknowledgement;

    /// What others that missed something should know of orders.
    fn registry(&self) -> Registry;

    /// How the device is.
    fn status(&self) -> Status;

    /// Another device of the rig has this one's id, which was not known when it joined. It has left
    /// the rig, since two of one name would answer for each other; tell the user.
    fn handle_duplicate(&self, error: &ControlError) {
        let _ = error;
    }
}

/// Where an order's answer goes.
///
/// Dropped without one, it tells whoever asked that the device was stopped first, so that they need
/// not wait for it.
pub struct Reply(Option<ReplyTo>);

/// Sends an answer, or why there is none.
type ReplyTo = Box<dyn FnOnce(Result<&Answer, &str>) + Send>;

impl Reply {
    /// Hands the answer, or why there is none, to `send`: for orders that do not come through Zenoh.
    #[must_use]
    pub fn new(send: impl FnOnce(Result<&Answer, &str>) + Send + 'static) -> Self {
        Self(Some(Box::new(send)))
    }

    /// For an order that nobody waits for.
    #[must_use]
    pub const fn unwanted() -> Self {
        Self(None)
    }

    /// Says why there will be no answer.
    pub fn refuse(mut self, why: &str) {
        if let Some(send) = self.0.take() {
            send(Err(why));
        }
    }

    /// Sends the answer.
    pub fn send(mut self, answer: &Answer) {
        if let Some(send) = self.0.take() {
            send(Ok(answer));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(send) = self.0.take() {
            send(Err("the device was stopped first"));
        }
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

/// A device's place in the rig. Dropping it leaves: others see that at once.
pub struct Membership {
    session: Arc<Session>,
    member: Member,
    /// What is declared in the network; `None` once the device had to leave.
    declared: Arc<Mutex<Option<Declared>>>,
    /// Started by [`Session::join`], joined on drop: looks at those who come with the same id.
    guard: Option<(mpsc::Sender<GuardEvent>, JoinHandle<()>)>,
    /// Learns of orders that are open already.
    catch_up: Option<CatchUp>,
}

/// What a member declares. Fields are dropped in this order: nobody is to ask one that does not answer
/// any more.
struct Declared {
    _token: LivelinessToken,
    _queryables: [Queryable<()>; 6],
}

enum GuardEvent {
    Rival(Member),
    Stop,
}

impl Session {
    /// Makes `device` part of the rig: it is present, and `handler` is asked for its status and given
    /// orders.
    ///
    /// # Errors
    /// [`ControlError::DuplicateDevice`] if a device of that id is there already. One that turns out to
    /// be there only later is told by [`DeviceHandler::handle_duplicate`].
    pub fn join(
        self: &Arc<Self>,
        device: DeviceId,
        handler: Arc<dyn DeviceHandler>,
    ) -> Result<Membership, ControlError> {
        let member = Member { device: device.clone(), instance: self.instance.clone() };
        {
            let mut joined = self.joined();
            if let Some(other) = joined.iter().find(|other| other.is_folder_of(&device)) {
                return Err(self.duplicate(&device, other));
            }
            joined.insert(device.clone());
        }
        // From here on, dropping `membership` undoes everything.
        let mut membership = Membership {
            session: Arc::clone(self),
            member: member.clone(),
            declared: Arc::default(),
            guard: None,
            catch_up: None,
        };
        if let Some(rival) = self.rivals(&member)?.iter().find(|rival| self.is_alive(rival)) {
            return Err(self.duplicate(&device, &rival.device));
        }
        let declared = self.declare(&member, &handler)?;
        *lock(&membership.declared) = Some(declared);
        // Two that join at once see each other only now: the guard settles which of them stays.
        membership.catch_up = Some(CatchUp::start(self, device, Arc::clone(&handler))?);
        membership.guard = Some(self.spawn_guard(member, Arc::clone(&membership.declared), handler)?);
        Ok(membership)
    }

    fn joined(&self) -> MutexGuard<'_, BTreeSet<DeviceId>> {
        lock(&self.joined)
    }

    fn duplicate(&self, device: &DeviceId, other: &DeviceId) -> ControlError {
        let (device, other, rig) = (device.clone(), other.clone(), self.rig().clone());
        match device == other {
            true => ControlError::DuplicateDevice { device, rig },
            false => ControlError::AlikeDevice { device, other, rig },
        }
    }

    /// Others that have `member`'s id, or one whose folder is the same on many disks.
    fn rivals(&self, member: &Member) -> Result<Vec<Member>, ControlError> {
        let tokens = self
            .zenoh
            .liveliness()
            .get(self.keys.members())
            .timeout(PROOF)
            .wait()
            .map_err(|source| ControlError::zenoh("see who is present", source))?;
        Ok(tokens
            .into_iter()
            .filter_map(|reply| self.keys.parse_member(reply.result().ok()?.key_expr()))
            .filter(|other| other.device.is_folder_of(&member.device) && other.instance != member.instance)
            .collect())
    }

    /// Whether `member` answers. One that lost power is seen until its lease ends, but does not.
    fn is_alive(&self, member: &Member) -> bool {
        let (tx, rx) = mpsc::channel();
        self.ask(&self.keys.aspect(member, Aspect::Status), None, PROOF, move |heard| {
            let _ = tx.send(heard.is_ok()); // nobody waits any more: nothing to do
        });
        rx.into_iter().any(|answered| answered)
    }

    fn declare(&self, member: &Member, handler: &Arc<dyn DeviceHandler>) -> Result<Declared, ControlError> {
        let queryable = |aspect, answer: Box<dyn Fn(Query) + Send + Sync>| {
            self.zenoh
                .declare_queryable(self.keys.aspect(member, aspect))
                .callback(answer)
                .wait()
                .map_err(|source| ControlError::zenoh("take orders", source))
        };
        let key = |aspect| self.keys.aspect(member, aspect);

        let (order_key, order_handler) = (key(Aspect::Order), Arc::clone(handler));
        let warnings = RateLimit::default();
        let order = queryable(
            Aspect::Order,
            Box::new(move |query| take_order(query, &order_key, order_handler.as_ref(), &warnings)),
        )?;
        let (offer_key, offer_handler) = (key(Aspect::Offer), Arc::clone(handler));
        let (device, warnings) = (member.device.clone(), RateLimit::default());
        let offer = queryable(
            Aspect::Offer,
            Box::new(move |query| {
                take_offer(query, &offer_key, &device, offer_handler.as_ref(), &warnings);
            }),
        )?;
        let (command_key, command_handler) = (key(Aspect::Command), Arc::clone(handler));
        let warnings = RateLimit::default();
        let command = queryable(
            Aspect::Command,
            Box::new(move |query| {
                if let Some(command) = parse::<Command>(&query, &warnings) {
                    tracing::debug!(?command, "a command");
                    respond(&query, &command_key, encode(&command_handler.handle_command(&command)));
                }
            }),
        )?;
        let (registry_key, registry_handler) = (key(Aspect::Registry), Arc::clone(handler));
        let registry = queryable(
            Aspect::Registry,
            Box::new(move |query| respond(&query, &registry_key, encode(&registry_handler.registry()))),
        )?;
        let (status_key, status_handler) = (key(Aspect::Status), Arc::clone(handler));
        let status = queryable(
            Aspect::Status,
            Box::new(move |query| respond(&query, &status_key, encode(&status_handler.status()))),
        )?;
        let (roster_key, members) = (key(Aspect::Roster), Arc::clone(&self.members));
        let roster = queryable(
            Aspect::Roster,
            Box::new(move |query| {
                let members = members.here().into_iter().collect();
                respond(&query, &roster_key, encode(&Roster { members }));
            }),
        )?;
        // Last: whoever sees the token may ask.
        let token = self
            .zenoh
            .liveliness()
            .declare_token(self.keys.member(member))
            .wait()
            .map_err(|source| ControlError::zenoh("be present", source))?;
        Ok(Declared { _token: token, _queryables: [order, offer, command, registry, status, roster] })
    }

    fn spawn_guard(
        self: &Arc<Self>,
        member: Member,
        declared: Arc<Mutex<Option<Declared>>>,
        handler: Arc<dyn DeviceHandler>,
    ) -> Result<(mpsc::Sender<GuardEvent>, JoinHandle<()>), ControlError> {
        let (tx, rx) = mpsc::channel();
        let (rivals, me, joined) = (tx.clone(), member.clone(), Arc::downgrade(&declared));
        self.members.watch(move |change| match change {
            Change::Came(other) if other.device.is_folder_of(&me.device) && other.instance != me.instance => {
                rivals.send(GuardEvent::Rival(other)).is_ok()
            }
            Change::Came(_) | Change::Left(_) => joined.strong_count() > 0,
        });
        let session = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name("swsync-member".into())
            .spawn(move || session.guard(&member, &rx, &declared, handler.as_ref()))
            .map_err(|error| ControlError::zenoh("start a thread", error.into()))?;
        Ok((tx, thread))
    }

    /// Looks at each that comes with `member`'s id. Of two, the one with the lesser instance stays:
    /// both decide alike without a word between them.
    fn guard(
        &self,
        member: &Member,
        events: &Receiver<GuardEvent>,
        declared: &Mutex<Option<Declared>>,
        handler: &dyn DeviceHandler,
    ) {
        while let Ok(GuardEvent::Rival(rival)) = events.recv() {
            if !self.is_alive(&rival) {
                continue;
            }
            let error = self.duplicate(&member.device, &rival.device);
            if member.instance < rival.instance {
                tracing::warn!(device = %member.device, "{error}; the other one leaves");
                continue;
            }
            tracing::error!(device = %member.device, "{error}; this one leaves");
            drop(lock(declared).take());
            handler.handle_duplicate(&error);
            return;
        }
    }
}

impl Membership {
    /// The device's id.
    #[must_use]
    pub const fn device(&self) -> &DeviceId {
        &self.member.device
    }

    /// The session that it joined with.
    #[must_use]
    pub const fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        drop(lock(&self.declared).take());
        drop(self.catch_up.take());
        if let Some((events, thread)) = self.guard.take() {
            // Fails only if the guard has ended by itself.
            let _ = events.send(GuardEvent::Stop);
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("the thread that looks for duplicates has panicked");
            }
        }
        self.session.joined().remove(&self.member.device);
    }
}

/// The message in `query`; or it is refused, be it what a stranger sent.
fn parse<M: DeserializeOwned>(query: &Query, warnings: &RateLimit) -> Option<M> {
    let payload = query.payload().map(|payload| payload.to_bytes().into_owned());
    let why = match payload.as_deref().map(decode::<M>) {
        Some(Ok(message)) => return Some(message),
        Some(Err(error)) => error.to_string(),
        None => "there is no order in this query".to_owned(),
    };
    if let Some(unsaid) = warnings.check(Instant::now()) {
        tracing::warn!(key = %query.key_expr(), why, unsaid, "refused a message");
    }
    refuse(query, why);
    None
}

/// An order is in `query`, whose reply is its answer.
fn take_order(query: Query, key: &str, handler: &dyn DeviceHandler, warnings: &RateLimit) {
    let Some(order) = parse::<Order>(&query, warnings) else { return };
    tracing::debug!(?order, "an order");
    let key = key.to_owned();
    handler.handle_order(
        order,
        Reply::new(move |answer| match answer {
            Ok(answer) => respond(&query, &key, encode(answer)),
            Err(why) => refuse(&query, why.to_owned()),
        }),
    );
}

/// An order is in `query`, whose reply is whether it is taken. Its answer is asked for later.
fn take_offer(query: Query, key: &str, device: &DeviceId, handler: &dyn DeviceHandler, warnings: &RateLimit) {
    let Some(order) = parse::<Order>(&query, warnings) else { return };
    tracing::debug!(?order, "an order is offered");
    let (tx, rx) = mpsc::channel();
    let id = order.id().clone();
    handler.handle_order(
        order,
        Reply::new(move |answer| {
            // Nobody hears what comes later than at once.
            let _ = tx.send(answer.map(|_| ()).map_err(str::to_owned));
        }),
    );
    let standing = match rx.try_recv() {
        Ok(Err(why)) => return refuse(&query, why),
        Ok(Ok(())) => Standing::Answered,
        Err(_) => Standing::Open,
    };
    respond(&query, key, encode(&Acknowledgement { order: id, device: device.clone(), standing }));
}

fn respond(query: &Query, key: &str, bytes: Vec<u8>) {
    if let Err(error) = query.reply(key, bytes).wait() {
        tracing::debug!(key, %error, "could not reply"); // whoever asked is gone
    }
}

fn refuse(query: &Query, why: String) {
    if let Err(error) = query.reply_err(encode(&Refusal { why })).wait() {
        tracing::debug!(%error, "could not refuse"); // whoever asked is gone
    }
}

/// Lets one message through every [`WARN_EVERY`].
#[derive(Default)]
struct RateLimit(Mutex<Option<(Instant, u64)>>);

impl RateLimit {
    /// How many were held back since the last one; `None`: hold this one back too.
    fn check(&self, now: Instant) -> Option<u64> {
        let mut last = lock(&self.0);
        match &mut *last {
            Some((at, unsaid)) if now < *at + WARN_EVERY => {
                *unsaid += 1;
                None
            }
            _ => Some(last.replace((now, 0)).map_or(0, |(_, unsaid)| unsaid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use swsync_core::name::Name;

    use super::*;

    fn answer() -> Answer {
        let name = |name| Name::new(name).unwrap();
        Answer { order: name("o"), device: name("d"), frames: Vec::new(), unnumbered: None }
    }

    #[test]
    fn a_reply_is_sent_exactly_once() {
        let (tx, rx) = mpsc::channel();
        let reply = || {
            let tx = tx.clone();
            Reply::new(move |answer| tx.send(answer.cloned().map_err(str::to_owned)).unwrap())
        };
        reply().send(&answer());
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [Ok(answer())]);
        drop(reply());
        let refused = Err("the device was stopped first".to_owned());
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [refused]);
    }

    #[test]
    fn warnings_are_limited_and_counted() {
        let (limit, now) = (RateLimit::default(), Instant::now());
        assert_eq!(limit.check(now), Some(0));
        assert_eq!(limit.check(now), None);
        assert_eq!(limit.check(now + WARN_EVERY / 2), None);
        assert_eq!(limit.check(now + WARN_EVERY), Some(2));
        assert_eq!(limit.check(now + WARN_EVERY), None);
    }
}
