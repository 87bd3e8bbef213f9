//! What a member answers when other sessions ask it.

use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use swsync_core::camera_settings::SettingsRequest;
use swsync_core::centre::CentreRequest;
use swsync_core::identify::IdentifyRequest;
use swsync_core::message::{decode_request, encode, frame};
use swsync_core::name::DeviceId;
use swsync_core::order::{Acknowledgement, CommandOutcome, Order, OrderCommand};
use swsync_core::place::PlaceChange;
use swsync_core::rig_date::{RigDate, RigDateReply};
use swsync_core::status::Status;
use swsync_core::thumbnail::{ThumbnailReply, ThumbnailRequest};
use zenoh::Wait;
use zenoh::liveliness::LivelinessToken;
use zenoh::query::{Query, Queryable};

use crate::doctor::Examination;
use crate::id_claims::IdClaims;
use crate::keys::{Keys, Member, QueryKind};
use crate::link::Shared;
use crate::message::{IdClaim, Refusal, Serves};
use crate::{ControlError, DeviceHandler, Reply, Session};

/// Refused messages are logged at most this often: a stranger must not fill the log.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// What a device replies to a query that its version does not know.
pub(crate) const UNKNOWN: &str = "this query asks for nothing that a device knows";

/// Why a device cannot tell of its exchanges.
const NO_EXCHANGES: &str = "its clock asks no time server over the network";

/// What a member declares in the network. The fields are dropped in this order: a member that does not answer must not be present.
pub(crate) struct Declared {
    _token: LivelinessToken,
    _id: LivelinessToken,
    _queryable: Queryable<()>,
}

/// What a member answers queries with.
pub(crate) struct Answers {
    shared: Weak<Shared>,
    member: Member,
    handler: Arc<dyn DeviceHandler>,
    claims: Arc<IdClaims>,
    examination: Examination,
    warnings: WarningLimit,
}

impl Answers {
    pub(crate) fn new(
        session: &Session,
        member: Member,
        handler: Arc<dyn DeviceHandler>,
        claims: Arc<IdClaims>,
    ) -> Arc<Self> {
        let shared = Arc::downgrade(session.link());
        Arc::new(Self {
            shared,
            member,
            handler,
            claims,
            examination: Examination::default(),
            warnings: WarningLimit::default(),
        })
    }

    /// Makes the member present in `zenoh`, and answers what it is asked.
    pub(crate) fn declare(
        self: &Arc<Self>,
        keys: &Keys,
        zenoh: &zenoh::Session,
    ) -> Result<Declared, ControlError> {
        let (answers, own) = (Arc::clone(self), keys.clone());
        let queryable = zenoh
            .declare_queryable(keys.queries(&self.member))
            .callback(move |query| match Keys::kind_of(query.key_expr()) {
                Some(kind) => answers.answer(query, &own.query(&answers.member, kind), kind),
                None => refuse(&query, UNKNOWN.into()),
            })
            .wait()
            .map_err(|source| ControlError::zenoh("take orders", source))?;
        let token = |key| {
            let token = zenoh.liveliness().declare_token(key).wait();
            token.map_err(|source| ControlError::zenoh("be present", source))
        };
        // The tokens come last: others query a member as soon as they see it.
        Ok(Declared {
            _id: token(keys.id(&self.member))?,
            _token: token(keys.member(&self.member))?,
            _queryable: queryable,
        })
    }

    fn answer(&self, query: Query, key: &str, kind: QueryKind) {
        match kind {
            QueryKind::Order => take_order(query, key, self.handler.as_ref(), &self.warnings),
            QueryKind::Offer => {
                take_offer(query, key, &self.member.device, self.handler.as_ref(), &self.warnings);
            }
            QueryKind::Command => {
                if let Some(command) = parse::<OrderCommand>(&query, &self.warnings) {
                    swsync_core::log::debug!(?command, "a command");
                    respond(&query, key, encode(&self.handler.handle_command(&command)));
                }
            }
            QueryKind::Registry => respond(&query, key, encode(&self.handler.registry())),
            QueryKind::Status => {
                let status = Status { refused: self.claims.refused(), ..self.handler.status() };
                respond(&query, key, encode(&status));
            }
            QueryKind::Name => {
                if let Some(change) = parse::<PlaceChange>(&query, &self.warnings) {
                    swsync_core::log::info!(?change, "the device gets another group or place");
                    self.handler.handle_name(change, later(query, key));
                }
            }
            QueryKind::Identify => {
                if let Some(request) = parse::<IdentifyRequest>(&query, &self.warnings) {
                    self.handler.handle_identify(request, later(query, key));
                }
            }
            QueryKind::Centre => {
                if let Some(request) = parse::<CentreRequest>(&query, &self.warnings) {
                    self.handler.handle_centre(request, later(query, key));
                }
            }
            QueryKind::Thumbnail => {
                if let Some(request) = parse::<ThumbnailRequest>(&query, &self.warnings) {
                    self.handler.handle_thumbnail(request, later_picture(query, key));
                }
            }
            QueryKind::Exchanges => match self.handler.exchanges() {
                Some(exchanges) => respond(&query, key, encode(&exchanges)),
                None => refuse(&query, NO_EXCHANGES.into()),
            },
            QueryKind::Doctor => self.examination.answer(query, key, &self.handler),
            QueryKind::Claim => {
                if let Some(claim) = parse::<IdClaim>(&query, &self.warnings) {
                    respond(&query, key, encode(&self.claims.judge(&claim)));
                }
            }
            QueryKind::Settings => {
                if let Some(request) = parse::<SettingsRequest>(&query, &self.warnings) {
                    swsync_core::log::debug!(?request, "camera settings");
                    respond(&query, key, encode(&self.handler.handle_settings(&request)));
                }
            }
            QueryKind::Date => {
                if let Some(date) = parse::<RigDate>(&query, &self.warnings) {
                    swsync_core::log::info!(?date, "somebody says what date it is");
                    match self.handler.handle_date(date) {
                        Ok(date) => respond(&query, key, encode(&RigDateReply { date })),
                        Err(why) => refuse(&query, why),
                    }
                }
            }
            QueryKind::Serve => {
                let serves = self.shared.upgrade().is_some_and(|shared| shared.invite());
                respond(&query, key, encode(&Serves { serves }));
            }
        }
    }
}

/// The message in `query`. A malformed one, as from a stranger, is refused.
fn parse<M: DeserializeOwned>(query: &Query, warnings: &WarningLimit) -> Option<M> {
    let payload = query.payload().map(|payload| payload.to_bytes().into_owned());
    let why = match payload.as_deref().map(decode_request::<M>) {
        Some(Ok(message)) => return Some(message),
        Some(Err(error)) => error.to_string(),
        None => "there is no order in this query".to_owned(),
    };
    if let Some(unsaid) = warnings.check(Instant::now()) {
        swsync_core::log::warn!(key = %query.key_expr(), why, unsaid, "refused a message");
    }
    refuse(query, why);
    None
}

/// As [`later`], with the picture behind the reply.
fn later_picture(query: Query, key: &str) -> Reply<ThumbnailReply> {
    let key = key.to_owned();
    Reply::new(move |answer: Result<&ThumbnailReply, &str>| match answer {
        Ok(answer) => respond(&query, &key, frame(answer, &answer.jpeg)),
        Err(why) => refuse(&query, why.to_owned()),
    })
}

/// Handles an order whose reply is its answer.
fn take_order(query: Query, key: &str, handler: &dyn DeviceHandler, warnings: &WarningLimit) {
    let Some(order) = parse::<Order>(&query, warnings) else { return };
    swsync_core::log::debug!(?order, "an order");
    handler.handle_order(order, later(query, key));
}

/// Replies to `query` once the handler has an answer.
fn later<M: Serialize>(query: Query, key: &str) -> Reply<M> {
    let key = key.to_owned();
    Reply::new(move |answer| match answer {
        Ok(answer) => respond(&query, &key, encode(answer)),
        Err(why) => refuse(&query, why.to_owned()),
    })
}

/// Handles an order whose reply says at once whether it is accepted. Its answer is queried later.
fn take_offer(
    query: Query,
    key: &str,
    device: &DeviceId,
    handler: &dyn DeviceHandler,
    warnings: &WarningLimit,
) {
    let Some(order) = parse::<Order>(&query, warnings) else { return };
    swsync_core::log::debug!(?order, "an order is offered");
    let (tx, rx) = mpsc::channel();
    let id = order.id().clone();
    handler.handle_order(
        order,
        Reply::new(move |answer| {
            // Fails if the answer comes later.
            let _ = tx.send(answer.map(|_| ()).map_err(str::to_owned));
        }),
    );
    let outcome = match rx.try_recv() {
        Ok(Err(why)) => return refuse(&query, why),
        Ok(Ok(())) => CommandOutcome::Answered,
        Err(_) => CommandOutcome::Open,
    };
    respond(&query, key, encode(&Acknowledgement { order: id, device: device.clone(), outcome }));
}

pub(crate) fn respond(query: &Query, key: &str, bytes: Vec<u8>) {
    if let Err(error) = query.reply(key, bytes).wait() {
        swsync_core::log::debug!(key, %error, "could not reply"); // the asking session is gone
    }
}

pub(crate) fn refuse(query: &Query, why: String) {
    if let Err(error) = query.reply_err(encode(&Refusal { why })).wait() {
        swsync_core::log::debug!(%error, "could not refuse"); // the asking session is gone
    }
}

/// Limits warnings to one in [`WARN_EVERY`].
#[derive(Default)]
struct WarningLimit(Mutex<Option<(Instant, u64)>>);

impl WarningLimit {
    /// The number of warnings held back since the last one; `None`: hold this one back too.
    fn check(&self, now: Instant) -> Option<u64> {
        let mut last = self.0.lock();
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
    use super::*;

    #[test]
    fn warnings_are_limited_and_counted() {
        let (limit, now) = (WarningLimit::default(), Instant::now());
        assert_eq!(limit.check(now), Some(0));
        assert_eq!(limit.check(now), None);
        assert_eq!(limit.check(now + WARN_EVERY / 2), None);
        assert_eq!(limit.check(now + WARN_EVERY), Some(2));
        assert_eq!(limit.check(now + WARN_EVERY), None);
    }
}
