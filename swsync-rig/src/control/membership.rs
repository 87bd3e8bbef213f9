//! A device's place in the rig: it is present, takes orders, and says how it is.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use swsync_core::control::{Status, decode, encode};
use swsync_core::name::DeviceId;
use swsync_core::order::{Acknowledgement, Answer, Command, Order, Registry, Standing};
use zenoh::Wait;
use zenoh::liveliness::LivelinessToken;
use zenoh::query::{Query, Queryable};

use super::catch_up::CatchUp;
use super::claims::{Claims, Guard, millis};
use super::keys::{Aspect, Member};
use super::message::{self, Claim, Forget, Refusal, Roster};
use super::{ControlError, Session};
use crate::lock;

/// How long one that seems to have our id has to prove that it is no ghost of a device that lost
/// power.
pub(super) const PROOF: Duration = Duration::from_secs(1);

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

    /// Another device of the rig has this one's id and was there first, which was not known when this one joined. It has
    /// left the rig, since two of one name would answer for each other; tell the user.
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
    /// Looks at those who come with the same id.
    guard: Option<Guard>,
    /// Learns of orders that are open already.
    catch_up: Option<CatchUp>,
}

/// What a member declares. Fields are dropped in this order: nobody is to ask one that does not answer
/// any more.
pub(super) struct Declared {
    _token: LivelinessToken,
    _queryables: [Queryable<()>; 7],
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
                return Err(self.alike(&device, other, "in this process".into()));
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
        let claims = Arc::new(Claims::new(member.instance.clone()));
        for rival in self.rivals(&member)? {
            if let Some(verdict) =
                self.claim(&rival, &claims).filter(|verdict| verdict.stays != member.instance)
            {
                return Err(self.alike(&device, &rival.device, verdict.place));
            }
        }
        let declared = self.declare(&member, &handler, &claims)?;
        *lock(&membership.declared) = Some(declared);
        // Two that join at once see each other only now: the guard settles which of them stays.
        membership.catch_up = Some(CatchUp::start(self, device, Arc::clone(&handler))?);
        let guard = Guard::start(self, member, claims, Arc::clone(&membership.declared), handler)?;
        membership.guard = Some(guard);
        Ok(membership)
    }

    fn joined(&self) -> MutexGuard<'_, BTreeSet<DeviceId>> {
        lock(&self.joined)
    }

    pub(super) fn duplicate(&self, device: &DeviceId, place: String) -> ControlError {
        ControlError::DuplicateDevice { device: device.clone(), rig: self.rig().clone(), place }
    }

    /// `device` and `other` have one folder on many disks.
    fn alike(&self, device: &DeviceId, other: &DeviceId, place: String) -> ControlError {
        if device == other {
            return self.duplicate(device, place);
        }
        let (device, other, rig) = (device.clone(), other.clone(), self.rig().clone());
        ControlError::AlikeDevice { device, other, rig }
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

    fn declare(
        &self,
        member: &Member,
        handler: &Arc<dyn DeviceHandler>,
        claims: &Arc<Claims>,
    ) -> Result<Declared, ControlError> {
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
        let refused = Arc::clone(claims);
        let status = queryable(
            Aspect::Status,
            Box::new(move |query| {
                let status = Status { refused: refused.refused(), ..status_handler.status() };
                respond(&query, &status_key, encode(&status));
            }),
        )?;
        let (claim_key, claims, warnings) = (key(Aspect::Claim), Arc::clone(claims), RateLimit::default());
        let claim = queryable(
            Aspect::Claim,
            Box::new(move |query| {
                if let Some(claim) = parse::<Claim>(&query, &warnings) {
                    respond(&query, &claim_key, encode(&claims.judge(&claim)));
                }
            }),
        )?;
        let (roster_key, members) = (key(Aspect::Roster), Arc::clone(&self.members));
        let roster = queryable(
            Aspect::Roster,
            Box::new(move |query| {
                // One that nobody is to miss any more may be named.
                if let Some(payload) = query.payload()
                    && let Ok(Forget { forget }) = decode(&payload.to_bytes())
                {
                    members.forget(&forget);
                }
                let gone = members.gone().into_iter().map(|(device, gone)| {
                    let ago_ms = millis(gone.since.elapsed());
                    message::Gone { device, ago_ms, how: gone.how }
                });
                let roster = Roster { gone: gone.collect(), members: members.here().into_iter().collect() };
                respond(&query, &roster_key, encode(&roster));
            }),
        )?;
        // Last: whoever sees the token may ask.
        let token = self
            .zenoh
            .liveliness()
            .declare_token(self.keys.member(member))
            .wait()
            .map_err(|source| ControlError::zenoh("be present", source))?;
        Ok(Declared { _token: token, _queryables: [order, offer, command, registry, status, roster, claim] })
    }

    /// Takes `member` out of the rig in good order: it is not missed.
    pub(super) fn leave(&self, member: &Member, declared: &Mutex<Option<Declared>>) {
        let Some(declared) = lock(declared).take() else { return };
        let leaving = self.zenoh.liveliness().declare_token(self.keys.leaving(member)).wait();
        if let Err(error) = &leaving {
            tracing::debug!(%error, "others cannot be told that this device leaves in good order");
        }
        drop(declared);
        drop(leaving);
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
        self.session.leave(&self.member, &self.declared);
        drop(self.catch_up.take());
        drop(self.guard.take());
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
        Answer {
            order: name("o"),
            device: name("d"),
            frames: Vec::new(),
            unnumbered: None,
            unfinished: None,
            basis: Default::default(),
        }
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
