//! What a hub keeps for others: who is in the rig and who is missed, which orders are open, what cameras are set to, and
//! what date it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use swsync_core::camera_settings::{SettingsChange, SettingsLog};
use swsync_core::message::{decode, decode_request, encode};
use swsync_core::name::{Name, OrderId};
use swsync_core::order::{Order, OrderCommand, OrderRoster};
use swsync_core::rig_date::{RigDate, RigDates};
use swsync_core::time::{Rig, Span, Timestamp};
use zenoh::Wait;
use zenoh::query::{ConsolidationMode, Query, QueryTarget, Queryable};

use super::Router;
use crate::ControlError;
use crate::keys::KeepKind;
use crate::link::{Follower, Shared};
use crate::members::Members;
use crate::message::{Forget, Roster};
use crate::queries::respond;
use crate::reach;

/// How long an order for some devices is kept for those among them that are away.
const KEEP: Duration = Duration::from_secs(600);

/// Most orders that are kept.
const MAX_NOTES: usize = 256;

/// A frame of the slowest camera: how long an order goes on after its last instant.
const SLOWEST: Span = Span::from_nanos(1_000_000_000);

/// How long before its frame a change of settings comes, at most. Chosen: far more than `swsync set` leaves.
const SETTINGS_LEAD: Span = Span::from_secs(60);

/// How long the other hubs have to tell what they know.
const ASK: Duration = Duration::from_secs(2);

/// Something for a hub to keep: orders for some devices, of which its own device may be none, and camera settings and dates, since a
/// hub may run where there is no camera.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Note {
    Order(Order),
    Command(OrderCommand),
    Settings(SettingsChange),
    /// A change of settings was taken back.
    Withdrawn(Name),
    /// What date a time scale stands for.
    Date(RigDate),
}

/// Keeps what others need to know. Dropping it ends that.
pub(crate) struct Keeper {
    _queryables: [Queryable<()>; 4],
    _follower: Follower,
}

impl Keeper {
    /// Lets the hub `router` of the session `shared` keep.
    pub(crate) fn start(shared: &Arc<Shared>, router: &Router) -> Result<Self, ControlError> {
        type Answer = Box<dyn Fn(Query, &str) + Send + Sync>;
        let follower = shared.follow_members()?;
        let declare = |kind, answer: Answer| {
            let key = shared.keys.keep(&router.token().id, kind);
            let own_key = key.clone();
            let declared =
                router.zenoh().declare_queryable(key).callback(move |query| answer(query, &own_key));
            declared.wait().map_err(|source| ControlError::zenoh("keep the roster of the rig", source))
        };
        let members = Arc::clone(&shared.members);
        let roster = declare(
            KeepKind::Roster,
            Box::new(move |query, key| respond(&query, key, encode(&roster(&query, &members)))),
        )?;
        let notes = Arc::new(Notes::default());
        let (weak, kept) = (Arc::downgrade(shared), Arc::clone(&notes));
        let orders = declare(
            KeepKind::Orders,
            Box::new(move |query, key| {
                let handlers = weak.upgrade().map(|shared| shared.handlers()).unwrap_or_default();
                let rig_time = handlers.iter().find_map(|handler| Some(handler.status().clock?.rig_time_ns));
                let mut all = kept.roster(Instant::now(), rig_time);
                for handler in handlers {
                    let own = handler.registry();
                    all.orders.extend(own.orders);
                    all.commands.extend(own.commands);
                    all.settings.merge(&own.settings, rig_time.unwrap_or(Timestamp::ZERO));
                    all.dates.merge(&own.dates);
                }
                respond(&query, key, encode(&all));
            }),
        )?;
        let note = declare(
            KeepKind::Note,
            Box::new(move |query, _| {
                match query.payload().map(|payload| decode_request::<Note>(&payload.to_bytes())) {
                    Some(Ok(note)) => notes.take_any(note, Instant::now()),
                    Some(Err(error)) => swsync_core::log::debug!(%error, "a note that cannot be read"),
                    None => {}
                }
            }),
        )?;
        let (keys, zenoh, verdicts) = (shared.keys.clone(), router.zenoh().clone(), reach::start_answering());
        let reach = declare(
            KeepKind::Reach,
            Box::new(move |query, key| reach::answer(query, key, &zenoh, &keys, &verdicts)),
        )?;
        learn_from_others(shared, router);
        Ok(Self { _queryables: [roster, orders, note, reach], _follower: follower })
    }
}

/// Learns from the other hubs who is missed.
fn learn_from_others(shared: &Shared, router: &Router) {
    let members = Arc::clone(&shared.members);
    let asked = router
        .zenoh()
        .get(shared.keys.keep_all(KeepKind::Roster))
        .target(QueryTarget::All)
        .consolidation(ConsolidationMode::None)
        .timeout(ASK)
        .callback(move |reply| {
            if let Ok(sample) = reply.into_result()
                && let Ok(roster) = decode::<Roster>(&sample.payload().to_bytes())
            {
                members.learn(&roster);
            }
        })
        .wait();
    if let Err(error) = asked {
        swsync_core::log::debug!(%error, "cannot ask the other hubs");
    }
}

/// The roster of a hub. The query may name a device to forget.
fn roster(query: &Query, members: &Members) -> Roster {
    if let Some(payload) = query.payload()
        && let Ok(Forget { forget }) = decode_request(&payload.to_bytes())
    {
        members.forget(&forget);
    }
    members.roster()
}

/// Orders for some devices, and commands for them, each with its age; and all camera settings and dates.
#[derive(Default)]
struct Notes(Mutex<BTreeMap<OrderId, Kept>>, Mutex<SettingsLog>, Mutex<RigDates>);

/// A note about an order.
enum OrderNote {
    Order(Order),
    Command(OrderCommand),
}

struct Kept {
    at: Instant,
    order: Option<Order>,
    commands: Vec<OrderCommand>,
}

impl Kept {
    fn is_over(&self, rig_time: Option<Timestamp<Rig>>) -> bool {
        let Some(order) = &self.order else { return false };
        let mut order = order.clone();
        for command in &self.commands {
            match command {
                OrderCommand::Cancel { .. } => return true,
                OrderCommand::Stop { at_ns, .. } => order.stop_at(*at_ns),
            }
        }
        order.ends_at(SLOWEST).zip(rig_time).is_some_and(|(end, now)| end < now)
    }
}

impl Notes {
    fn take_any(&self, note: Note, now: Instant) {
        match note {
            Note::Order(order) => self.take(OrderNote::Order(order), now),
            Note::Command(command) => self.take(OrderNote::Command(command), now),
            Note::Settings(change) => {
                // Changes come a moment before they hold. What held until then may still be needed.
                let held = change.at() - SETTINGS_LEAD;
                if let Err(full) = self.1.lock().add(change, held) {
                    swsync_core::log::warn!("{full}");
                }
            }
            Note::Withdrawn(change) => self.1.lock().withdraw(&change),
            Note::Date(date) => {
                self.2.lock().add(date);
            }
        }
    }

    fn take(&self, note: OrderNote, now: Instant) {
        let id = match &note {
            OrderNote::Order(order) => order.id(),
            OrderNote::Command(command) => command.order(),
        };
        let mut notes = self.0.lock();
        notes.retain(|_, kept| now < kept.at + KEEP);
        if notes.len() >= MAX_NOTES
            && !notes.contains_key(id)
            && let Some(oldest) = notes.iter().min_by_key(|(_, kept)| kept.at).map(|(id, _)| id.clone())
        {
            notes.remove(&oldest);
        }
        let kept = notes.entry(id.clone()).or_insert(Kept { at: now, order: None, commands: Vec::new() });
        match note {
            OrderNote::Order(order) => kept.order = Some(order),
            // An order is stopped or cancelled once, or a few times by hand.
            OrderNote::Command(command) if kept.commands.len() < 8 => kept.commands.push(command),
            OrderNote::Command(_) => {}
        }
    }

    /// What is kept at `now`, without orders that are over at `rig_time`: a device that is restarted must not begin them again.
    fn roster(&self, now: Instant, rig_time: Option<Timestamp<Rig>>) -> OrderRoster {
        let notes = self.0.lock();
        let fresh = || notes.values().filter(|kept| now < kept.at + KEEP && !kept.is_over(rig_time));
        OrderRoster {
            orders: fresh().filter_map(|kept| kept.order.clone()).collect(),
            commands: fresh().flat_map(|kept| kept.commands.clone()).collect(),
            settings: self.1.lock().clone(),
            dates: self.2.lock().clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use swsync_core::name::Name;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn name(name: &str) -> Name {
        Name::new(name).unwrap()
    }

    fn order(id: &str, at: i64) -> Order {
        Order::still(name(id), Timestamp::from_nanos(at * SECOND)).unwrap()
    }

    #[test]
    fn open_orders_are_kept_for_those_who_are_away() {
        let (notes, now) = (Notes::default(), Instant::now());
        for (id, at) in [("past", 10), ("future", 100), ("cancelled", 100)] {
            notes.take(OrderNote::Order(order(id, at)), now);
        }
        notes.take(OrderNote::Command(OrderCommand::Cancel { order: name("cancelled") }), now);
        notes.take(OrderNote::Command(OrderCommand::Cancel { order: name("unknown") }), now);
        let ids = |now, rig_time: Option<i64>| {
            let roster = notes.roster(now, rig_time.map(|at| Timestamp::from_nanos(at * SECOND)));
            let ids: Vec<_> = roster.orders.iter().map(|order| order.id().to_string()).collect();
            (ids, roster.commands.len())
        };
        // A command that came before its order is kept, too.
        assert_eq!(ids(now, Some(50)), (vec!["future".to_owned()], 1));
        assert_eq!(ids(now, None), (vec!["future".to_owned(), "past".to_owned()], 1));
        assert_eq!(ids(now + KEEP, None), (Vec::new(), 0));
    }

    #[test]
    fn the_oldest_note_gives_way() {
        let (notes, now) = (Notes::default(), Instant::now());
        for index in 0..=MAX_NOTES {
            let at = now + Duration::from_millis(u64::try_from(index).unwrap());
            notes.take(OrderNote::Order(order(&format!("o{index}"), 100)), at);
        }
        let orders = notes.roster(now, None).orders;
        assert_eq!(orders.len(), MAX_NOTES);
        assert!(orders.iter().all(|order| order.id().as_str() != "o0"));
        for _ in 0..100 {
            notes.take(OrderNote::Command(OrderCommand::Cancel { order: name("o1") }), now);
        }
        assert!(notes.0.lock()[&name("o1")].commands.len() < 10);
    }

    #[test]
    fn camera_settings_are_kept_until_they_are_replaced_or_taken_back() {
        use swsync_core::camera_settings::{ChangePart, ControlValues};
        use swsync_core::grid::FrameGrid;
        let (notes, now) = (Notes::default(), Instant::now());
        let change = |id: &str, frame, value: &str| {
            let assign = ControlValues::parse([value]).unwrap().into();
            let parts = vec![ChangePart { assign, ..ChangePart::default() }];
            SettingsChange {
                change: name(id),
                frame,
                rate: FrameGrid::new(30, 1).unwrap(),
                timescale: None,
                parts,
            }
        };
        notes.take_any(Note::Settings(change("a", 10_000, "gamma=1")), now);
        notes.take_any(Note::Settings(change("b", 20_000, "gamma=2")), now);
        notes.take_any(Note::Settings(change("c", 30_000, "gamma=3")), now);
        notes.take_any(Note::Withdrawn(name("c")), now);
        let roster = notes.roster(now + KEEP, None);
        let kept: Vec<_> = roster.settings.changes().iter().map(|change| change.change.as_str()).collect();
        assert_eq!(kept, ["b"], "the first is replaced, and none is too old");
    }

    #[test]
    fn a_date_is_kept_for_whoever_comes_later() {
        use swsync_core::message::TimeScale;
        let (notes, now) = (Notes::default(), Instant::now());
        let date = |rig_seconds: i64| RigDate {
            timescale: TimeScale(7),
            rig_time_ns: Timestamp::from_nanos(rig_seconds * SECOND),
            utc_ns: Timestamp::from_nanos(1_800_000_000 * SECOND),
            uncertainty_ns: Span::from_millis(10),
            by: "a phone".into(),
        };
        for seconds in [20, 10] {
            notes.take_any(Note::Date(date(seconds)), now);
        }
        let roster = notes.roster(now + KEEP, None);
        assert_eq!(roster.dates.of(TimeScale(7)), Some(&date(20)), "the later one, however old");
    }
}
