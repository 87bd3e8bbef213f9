//! The queryables of a member: what other sessions can ask it for.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use swsync_core::message::{decode, encode};
use swsync_core::name::DeviceId;
use swsync_core::order::{Acknowledgement, CommandOutcome, Order, OrderCommand};
use swsync_core::status::Status;
use zenoh::Wait;
use zenoh::liveliness::LivelinessToken;
use zenoh::query::{Query, Queryable};

use crate::id_claims::{IdClaims, millis};
use crate::keys::{Member, QueryKind};
use crate::members::Members;
use crate::message::{Forget, GoneDevice, IdClaim, Refusal, Roster};
use crate::{ControlError, DeviceHandler, Reply, Session};

/// Refused messages are logged at most this often: a stranger must not fill the log.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// What a member declares in the network. The fields are dropped in this order: a member without queryables must not be
/// present.
pub(crate) struct Declared {
    _token: LivelinessToken,
    _queryables: [Queryable<()>; 7],
}

/// Makes `member` present, with queryables that `handler` and `claims` answer.
pub(crate) fn declare(
    session: &Session,
    member: &Member,
    handler: &Arc<dyn DeviceHandler>,
    claims: &Arc<IdClaims>,
) -> Result<Declared, ControlError> {
    type Answer = Box<dyn Fn(Query, &str) + Send + Sync>;
    let declare = |kind, answer: Answer| {
        let key = session.keys.query(member, kind);
        let own_key = key.clone();
        session
            .zenoh
            .declare_queryable(key)
            .callback(move |query| answer(query, &own_key))
            .wait()
            .map_err(|source| ControlError::zenoh("take orders", source))
    };

    let (own, warnings) = (Arc::clone(handler), WarningLimit::default());
    let order: Answer = Box::new(move |query, key| take_order(query, key, own.as_ref(), &warnings));
    let (own, warnings, device) = (Arc::clone(handler), WarningLimit::default(), member.device.clone());
    let offer: Answer = Box::new(move |query, key| take_offer(query, key, &device, own.as_ref(), &warnings));
    let (own, warnings) = (Arc::clone(handler), WarningLimit::default());
    let command: Answer = Box::new(move |query, key| {
        if let Some(command) = parse::<OrderCommand>(&query, &warnings) {
            swsync_core::log::debug!(?command, "a command");
            respond(&query, key, encode(&own.handle_command(&command)));
        }
    });
    let own = Arc::clone(handler);
    let registry: Answer = Box::new(move |query, key| respond(&query, key, encode(&own.registry())));
    let (own, refused) = (Arc::clone(handler), Arc::clone(claims));
    let status: Answer = Box::new(move |query, key| {
        let status = Status { refused: refused.refused(), ..own.status() };
        respond(&query, key, encode(&status));
    });
    let members = Arc::clone(&session.members);
    let roster: Answer = Box::new(move |query, key| respond(&query, key, encode(&roster(&query, &members))));
    let (claims, warnings) = (Arc::clone(claims), WarningLimit::default());
    let claim: Answer = Box::new(move |query, key| {
        if let Some(claim) = parse::<IdClaim>(&query, &warnings) {
            respond(&query, key, encode(&claims.judge(&claim)));
        }
    });
    let queryables = [
        declare(QueryKind::Order, order)?,
        declare(QueryKind::Offer, offer)?,
        declare(QueryKind::Command, command)?,
        declare(QueryKind::Registry, registry)?,
        declare(QueryKind::Status, status)?,
        declare(QueryKind::Roster, roster)?,
        declare(QueryKind::Claim, claim)?,
    ];
    // The token comes last: others query a member as soon as they see it.
    let token = session
        .zenoh
        .liveliness()
        .declare_token(session.keys.member(member))
        .wait()
        .map_err(|source| ControlError::zenoh("be present", source))?;
    Ok(Declared { _token: token, _queryables: queryables })
}

/// The roster of a session. The query may name a device to forget.
fn roster(query: &Query, members: &Members) -> Roster {
    if let Some(payload) = query.payload()
        && let Ok(Forget { forget }) = decode(&payload.to_bytes())
    {
        members.forget(&forget);
    }
    let gone = members.gone().into_iter().map(|(device, gone)| {
        let ago_ms = millis(gone.since.elapsed());
        GoneDevice { device, ago_ms, how: gone.how }
    });
    Roster { gone: gone.collect(), members: members.here().into_iter().collect() }
}

/// The message in `query`. A malformed one, as from a stranger, is refused.
fn parse<M: DeserializeOwned>(query: &Query, warnings: &WarningLimit) -> Option<M> {
    let payload = query.payload().map(|payload| payload.to_bytes().into_owned());
    let why = match payload.as_deref().map(decode::<M>) {
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

/// Handles an order whose reply is its answer.
fn take_order(query: Query, key: &str, handler: &dyn DeviceHandler, warnings: &WarningLimit) {
    let Some(order) = parse::<Order>(&query, warnings) else { return };
    swsync_core::log::debug!(?order, "an order");
    let key = key.to_owned();
    handler.handle_order(
        order,
        Reply::new(move |answer| match answer {
            Ok(answer) => respond(&query, &key, encode(answer)),
            Err(why) => refuse(&query, why.to_owned()),
        }),
    );
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

fn respond(query: &Query, key: &str, bytes: Vec<u8>) {
    if let Err(error) = query.reply(key, bytes).wait() {
        swsync_core::log::debug!(key, %error, "could not reply"); // the asking session is gone
    }
}

fn refuse(query: &Query, why: String) {
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
