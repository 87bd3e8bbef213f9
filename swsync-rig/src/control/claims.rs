//! Two devices of one id: which of them stays in the rig.
//!
//! They may meet when one of them joins, or only later, when parts of a network find each other. Who joined first stays,
//! whatever it is doing. Ages are compared, since two devices that are not in sync have no clock in common; only one of the two
//! decides, and tells the other, so that they cannot come to two verdicts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use swsync_core::control::{decode, encode};
use swsync_core::name::Name;

use super::keys::{Aspect, Member};
use super::members::Change;
use super::membership::{Declared, PROOF};
use super::message::{Claim, Verdict};
use super::{ControlError, DeviceHandler, Session};
use crate::{host_name, lock};

/// Ages that differ by less are taken to be the same, as they are told over a network: the lesser instance stays.
const AS_OLD: Duration = Duration::from_millis(250);

/// How long the one of two that is to be asked waits for that before it asks itself.
const WAIT_FOR_CLAIM: Duration = Duration::from_millis(1_500);

/// When a rival that said nothing is asked again: it may have been stopped, or out of reach.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// For how long it is told that a second device of this id was refused.
const TELL: Duration = Duration::from_secs(600);

/// Most rivals that are remembered.
const MAX_RIVALS: usize = 16;

/// `span` in milliseconds, as messages have it.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Where this process runs, for a person.
fn place() -> String {
    format!("process {} on {}", std::process::id(), host_name())
}

/// A device's claim to its id, and what came of those of others.
pub(super) struct Claims {
    instance: Name,
    since: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whether this device stays beside a rival, by the rival's instance.
    verdicts: BTreeMap<Name, bool>,
    /// Rivals that were refused: where they run, and when that was.
    refused: VecDeque<(String, Instant)>,
    /// Told that this device has to leave, because of one that runs there.
    guard: Option<Sender<Event>>,
}

impl Claims {
    pub(super) fn new(instance: Name) -> Self {
        Self { instance, since: Instant::now(), state: Mutex::default() }
    }

    fn own(&self) -> Claim {
        Claim {
            instance: self.instance.clone(),
            age_ms: millis(self.since.elapsed()),
            place: place(),
            joining: !self.has_joined(),
        }
    }

    /// Whether this device is in the rig, and its guard looks at rivals.
    fn has_joined(&self) -> bool {
        lock(&self.state).guard.is_some()
    }

    /// Which of the two stays, where that has been decided.
    fn decided(&self, rival: &Name) -> Option<bool> {
        lock(&self.state).verdicts.get(rival).copied()
    }

    /// A rival asks: decides which of the two stays. Asked again it says the same.
    pub(super) fn judge(&self, rival: &Claim) -> Verdict {
        let stays = self.decided(&rival.instance).unwrap_or_else(|| {
            // One that is still joining found this one in the rig: no ages have to be compared.
            let is_in = rival.joining && self.has_joined();
            is_in
                || is_first(
                    (self.since.elapsed(), &self.instance),
                    (Duration::from_millis(rival.age_ms), &rival.instance),
                )
        });
        self.settle(&rival.instance, stays, &rival.place);
        let stays = if stays { &self.instance } else { &rival.instance };
        Verdict { stays: stays.clone(), place: place() }
    }

    /// It is decided whether this device stays beside `rival`, which runs at `there`.
    fn settle(&self, rival: &Name, stays: bool, there: &str) {
        let mut state = lock(&self.state);
        if state.verdicts.len() >= MAX_RIVALS {
            state.verdicts.pop_first();
        }
        state.verdicts.insert(rival.clone(), stays);
        if !stays {
            // Without a guard this device has not joined yet, and does not.
            state.guard.iter().for_each(|guard| drop(guard.send(Event::Leave(there.to_owned()))));
            return;
        }
        state.refused.retain(|(known, _)| known != there);
        if state.refused.len() >= MAX_RIVALS {
            state.refused.pop_front();
        }
        state.refused.push_back((there.to_owned(), Instant::now()));
    }

    /// Rivals that were refused lately, for a person.
    pub(super) fn refused(&self) -> Vec<String> {
        let state = lock(&self.state);
        let lately = state.refused.iter().filter(|(_, at)| at.elapsed() < TELL);
        let say = |(there, at): &(String, Instant)| {
            format!(
                "{there} came with this id too, {} s ago, and is not in the rig: give it its own device-id",
                at.elapsed().as_secs()
            )
        };
        lately.map(say).collect()
    }
}

/// Whether `own` stays beside `rival`: each an age and an instance.
fn is_first(own: (Duration, &Name), rival: (Duration, &Name)) -> bool {
    if own.0.abs_diff(rival.0) < AS_OLD { own.1 < rival.1 } else { own.0 > rival.0 }
}

enum Event {
    Rival(Member),
    /// One that runs there was first.
    Leave(String),
    Stop,
}

/// Looks at each that comes with a member's id. Dropping it ends that.
pub(super) struct Guard {
    events: Sender<Event>,
    /// Started by [`Guard::start`], joined on drop.
    thread: Option<JoinHandle<()>>,
}

impl Guard {
    pub(super) fn start(
        session: &Arc<Session>,
        member: Member,
        claims: Arc<Claims>,
        declared: Arc<Mutex<Option<Declared>>>,
        handler: Arc<dyn DeviceHandler>,
    ) -> Result<Self, ControlError> {
        let (events, inbox) = mpsc::channel();
        lock(&claims.state).guard = Some(events.clone());
        let (rivals, me, joined) = (events.clone(), member.clone(), Arc::downgrade(&declared));
        session.members.watch(move |change| match change {
            Change::Came(other) if other.device.is_folder_of(&me.device) && other.instance != me.instance => {
                rivals.send(Event::Rival(other)).is_ok()
            }
            Change::Came(_) | Change::Left(_) => joined.strong_count() > 0,
        });
        let session = Arc::clone(session);
        let thread = std::thread::Builder::new()
            .name("swsync-member".into())
            .spawn(move || {
                let Some(place) = session.watch_rivals(&member, &claims, &inbox) else { return };
                let error = session.duplicate(&member.device, place);
                tracing::error!(device = %member.device, "{error}; this one leaves");
                session.leave(&member, &declared);
                handler.handle_duplicate(&error);
            })
            .map_err(|error| ControlError::zenoh("start a thread", error.into()))?;
        Ok(Self { events, thread: Some(thread) })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.events.send(Event::Stop); // fails only if the thread has ended by itself
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks for duplicates has panicked");
        }
    }
}

impl Session {
    /// Asks `rival` which of the two stays. `None`: it does not answer, as one that lost power, which is seen until its
    /// lease ends.
    pub(super) fn claim(&self, rival: &Member, claims: &Claims) -> Option<Verdict> {
        let (tx, rx) = mpsc::channel();
        let key = self.keys.aspect(rival, Aspect::Claim);
        self.ask(&key, Some(encode(&claims.own())), PROOF, move |heard| {
            let _ = tx.send(heard); // nobody waits any more: nothing to do
        });
        let verdict: Verdict = rx.into_iter().find_map(|heard| decode(&heard.ok()?.1).ok())?;
        claims.settle(&rival.instance, verdict.stays == claims.instance, &verdict.place);
        Some(verdict)
    }

    /// Until one was first, and where that runs; `None`: this device stops.
    fn watch_rivals(&self, member: &Member, claims: &Claims, events: &Receiver<Event>) -> Option<String> {
        let mut due: BTreeMap<Name, (Member, Instant)> = BTreeMap::new();
        loop {
            let next = due.values().map(|(_, at)| *at).min();
            let wait = next.map_or(Duration::MAX, |next| next.saturating_duration_since(Instant::now()));
            match events.recv_timeout(wait) {
                Ok(Event::Leave(place)) => return Some(place),
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
                Ok(Event::Rival(rival)) => {
                    let asks = member.instance < rival.instance;
                    let at = Instant::now() + if asks { Duration::ZERO } else { WAIT_FOR_CLAIM };
                    due.insert(rival.instance.clone(), (rival, at));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    let ripe: Vec<Member> =
                        due.values().filter(|(_, at)| *at <= now).map(|(rival, _)| rival.clone()).collect();
                    for rival in ripe {
                        due.remove(&rival.instance);
                        let settled = !self.members.here().contains(&rival)
                            || claims.decided(&rival.instance).is_some();
                        if !settled && self.claim(&rival, claims).is_none() {
                            due.insert(rival.instance.clone(), (rival, Instant::now() + ASK_AGAIN));
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stays_and_of_two_as_old_one() {
        let [one, two] = ["1", "2"].map(|name| Name::new(name).unwrap());
        let ms = Duration::from_millis;
        for (own, rival) in [(ms(5_000), ms(1_000)), (ms(1_000), ms(5_000)), (ms(1_000), ms(1_100))] {
            let stays = is_first((own, &one), (rival, &two));
            assert_ne!(stays, is_first((rival, &two), (own, &one)), "exactly one of them");
            assert_eq!(stays, own.abs_diff(rival) < AS_OLD || own > rival);
        }
    }

    #[test]
    fn a_verdict_stands() {
        let claims = Claims::new(Name::new("5").unwrap());
        let claim = |instance: &str, age_ms| Claim {
            instance: Name::new(instance).unwrap(),
            age_ms,
            place: "there".into(),
            joining: false,
        };
        assert_eq!(claims.judge(&claim("1", 60_000)).stays.as_str(), "1", "it was first");
        assert_eq!(claims.judge(&claim("1", 0)).stays.as_str(), "1");
        assert_eq!(claims.judge(&claim("7", 0)).stays.as_str(), "5", "as old: the lesser one");
        assert_eq!(claims.judge(&claim("7", 60_000)).stays.as_str(), "5");
        let [told] = &claims.refused()[..] else { panic!("{:?}", claims.refused()) };
        assert!(told.starts_with("there came with this id too"), "{told}");
    }
}
