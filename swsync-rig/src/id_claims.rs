//! Decides which of two devices with one id stays in the rig.
//!
//! They may meet when one of them joins, or later, when parts of a network find each other. The one that joined first stays,
//! whatever it is doing. Ages are compared, since two devices that are not in sync have no common clock. Only one of the two
//! decides, and tells the other, so that there is one verdict.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use swsync_core::message::{decode, encode};
use swsync_core::name::Name;
use zenoh::Wait;
use zenoh::sample::SampleKind;

use crate::host_name;
use crate::keys::{Member, QueryKind};
use crate::link::{Held, follow};
use crate::message::{IdClaim, IdVerdict};
use crate::{ControlError, Session};

/// How long another device with this id has to answer. One that does not has lost power, and is seen until its lease ends.
const ANSWER: Duration = Duration::from_secs(1);

/// Ages that differ by less count as equal, since they travel over a network. Then the lesser instance stays.
const SAME_AGE: Duration = Duration::from_millis(250);

/// How long the greater instance waits for the claim of the lesser one before it sends its own.
const WAIT_FOR_CLAIM: Duration = Duration::from_millis(1_500);

/// How soon a silent rival is asked again: it may have been hung, or out of reach.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// How long the status mentions a refused second device.
const REPORT_REFUSED: Duration = Duration::from_secs(600);

/// Most rivals that are remembered.
const MAX_RIVALS: usize = 16;

/// `span` in milliseconds, for messages.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Where this process runs, for a person.
fn place() -> String {
    format!("process {} on {}", std::process::id(), host_name())
}

/// A device's claim to its id, and the verdicts on rivals.
pub(crate) struct IdClaims {
    instance: Name,
    since: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whether this device stays, by the rival's instance.
    verdicts: BTreeMap<Name, bool>,
    /// Refused rivals: where each runs, and when it was refused.
    refused: VecDeque<(String, Instant)>,
    /// Gets the event that this device has to leave.
    guard: Option<Sender<GuardEvent>>,
}

impl IdClaims {
    pub(crate) fn new(instance: Name) -> Self {
        Self { instance, since: Instant::now(), state: Mutex::default() }
    }

    fn own(&self) -> IdClaim {
        IdClaim {
            instance: self.instance.clone(),
            age_ms: millis(self.since.elapsed()),
            place: place(),
            joining: !self.has_joined(),
        }
    }

    /// Whether this device is in the rig, and its guard is running.
    fn has_joined(&self) -> bool {
        self.state.lock().guard.is_some()
    }

    /// Whether this device stays beside `rival`, if that is decided.
    fn decided(&self, rival: &Name) -> Option<bool> {
        self.state.lock().verdicts.get(rival).copied()
    }

    /// Decides on a claim of a rival. A repeated claim gets the same verdict.
    pub(crate) fn judge(&self, rival: &IdClaim) -> IdVerdict {
        let stays = self.decided(&rival.instance).unwrap_or_else(|| {
            // A rival that is still joining comes second, whatever the ages.
            let is_in = rival.joining && self.has_joined();
            is_in
                || is_first(
                    (self.since.elapsed(), &self.instance),
                    (Duration::from_millis(rival.age_ms), &rival.instance),
                )
        });
        self.settle(&rival.instance, stays, &rival.place);
        let stays = if stays { &self.instance } else { &rival.instance };
        IdVerdict { stays: stays.clone(), place: place() }
    }

    /// Records whether this device stays beside `rival`, which runs at `there`.
    fn settle(&self, rival: &Name, stays: bool, there: &str) {
        let mut state = self.state.lock();
        if state.verdicts.len() >= MAX_RIVALS {
            state.verdicts.pop_first();
        }
        state.verdicts.insert(rival.clone(), stays);
        if !stays {
            // Without a guard this device has not joined yet, and will not.
            state.guard.iter().for_each(|guard| drop(guard.send(GuardEvent::Leave(there.to_owned()))));
            return;
        }
        state.refused.retain(|(known, _)| known != there);
        if state.refused.len() >= MAX_RIVALS {
            state.refused.pop_front();
        }
        state.refused.push_back((there.to_owned(), Instant::now()));
    }

    /// Recently refused rivals, for a person.
    pub(crate) fn refused(&self) -> Vec<String> {
        let state = self.state.lock();
        let recent = state.refused.iter().filter(|(_, at)| at.elapsed() < REPORT_REFUSED);
        let describe = |(there, at): &(String, Instant)| {
            format!(
                "{there} came with this id too, {} s ago, and is not in the rig: give it its own device-id",
                at.elapsed().as_secs()
            )
        };
        recent.map(describe).collect()
    }
}

/// Whether `own` stays beside `rival`, each an age and an instance.
fn is_first(own: (Duration, &Name), rival: (Duration, &Name)) -> bool {
    if own.0.abs_diff(rival.0) < SAME_AGE { own.1 < rival.1 } else { own.0 > rival.0 }
}

enum GuardEvent {
    Rival(Member),
    /// It has gone.
    Gone(Member),
    /// This device has to leave: the one that runs there was first.
    Leave(String),
    Stop,
}

/// Watches for other devices with a member's id. Dropping it ends that.
pub(crate) struct IdGuard {
    events: Sender<GuardEvent>,
    /// Follows the tokens of ids like this one.
    _following: Held,
    /// Started by [`IdGuard::start`], joined on drop.
    thread: Option<JoinHandle<()>>,
}

impl IdGuard {
    /// Calls `leave` with the place of the other device if `member` has to leave.
    pub(crate) fn start(
        session: &Arc<Session>,
        member: Member,
        claims: Arc<IdClaims>,
        leave: impl FnOnce(String) + Send + 'static,
    ) -> Result<Self, ControlError> {
        let (events, inbox) = mpsc::channel();
        claims.state.lock().guard = Some(events.clone());
        let (rivals, me, keys) = (events.clone(), member.clone(), session.keys().clone());
        let key = keys.ids_like(&member.device);
        let following = session.link().hold(move |zenoh| {
            let (rivals, me, keys) = (rivals.clone(), me.clone(), keys.clone());
            follow(zenoh, &key, move |sample| {
                let other = keys.parse_id(sample.key_expr()).filter(|other| is_rival(other, &me));
                let event = match sample.kind() {
                    SampleKind::Put => other.map(GuardEvent::Rival),
                    SampleKind::Delete => other.map(GuardEvent::Gone),
                };
                // Fails once the guard has ended.
                event.into_iter().for_each(|event| drop(rivals.send(event)));
            })
        })?;
        let session = Arc::clone(session);
        let thread = std::thread::Builder::new()
            .name("swsync-member".into())
            .spawn(move || session.watch_rivals(&member, &claims, &inbox).map_or((), leave))
            .map_err(|error| ControlError::zenoh("start a thread", error.into()))?;
        Ok(Self { events, _following: following, thread: Some(thread) })
    }
}

/// Whether `other` has the id of `member`, or one whose folder is the same on many disks.
fn is_rival(other: &Member, member: &Member) -> bool {
    other.device.is_folder_of(&member.device) && other.instance != member.instance
}

impl Drop for IdGuard {
    fn drop(&mut self) {
        let _ = self.events.send(GuardEvent::Stop); // fails only if the thread has ended
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            swsync_core::log::error!("the thread that looks for duplicates has panicked");
        }
    }
}

impl Session {
    /// The rivals of `member` that are present.
    pub(crate) fn rivals(&self, member: &Member) -> Result<Vec<Member>, ControlError> {
        let Some(zenoh) = self.link().zenoh() else { return Ok(Vec::new()) };
        let tokens = zenoh
            .liveliness()
            .get(self.keys().ids_like(&member.device))
            .timeout(ANSWER)
            .wait()
            .map_err(|source| ControlError::zenoh("see who is present", source))?;
        Ok(tokens
            .into_iter()
            .filter_map(|reply| self.keys().parse_id(reply.result().ok()?.key_expr()))
            .filter(|other| is_rival(other, member))
            .collect())
    }

    /// Asks `rival` which of the two stays. `None`: it does not answer.
    pub(crate) fn claim(&self, rival: &Member, claims: &IdClaims) -> Option<IdVerdict> {
        let (tx, rx) = mpsc::channel();
        let key = self.keys().query(rival, QueryKind::Claim);
        self.ask(&key, Some(encode(&claims.own())), ANSWER, move |reply| {
            let _ = tx.send(reply); // fails if the caller has given up
        });
        let verdict: IdVerdict = rx.into_iter().find_map(|reply| decode(&reply.ok()?.1).ok())?;
        claims.settle(&rival.instance, verdict.stays == claims.instance, &verdict.place);
        Some(verdict)
    }

    /// Watches rivals until this device has to leave, and returns where the other one runs; `None`: this device stops.
    fn watch_rivals(
        &self,
        member: &Member,
        claims: &IdClaims,
        events: &Receiver<GuardEvent>,
    ) -> Option<String> {
        let mut due: BTreeMap<Name, (Member, Instant)> = BTreeMap::new();
        loop {
            let next = due.values().map(|(_, at)| *at).min();
            let wait = next.map_or(Duration::MAX, |next| next.saturating_duration_since(Instant::now()));
            match events.recv_timeout(wait) {
                Ok(GuardEvent::Leave(place)) => return Some(place),
                Ok(GuardEvent::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
                Ok(GuardEvent::Gone(rival)) => drop(due.remove(&rival.instance)),
                Ok(GuardEvent::Rival(rival)) => {
                    let asks_first = member.instance < rival.instance;
                    let at = Instant::now() + if asks_first { Duration::ZERO } else { WAIT_FOR_CLAIM };
                    due.insert(rival.instance.clone(), (rival, at));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    let due_now: Vec<Member> =
                        due.values().filter(|(_, at)| *at <= now).map(|(rival, _)| rival.clone()).collect();
                    for rival in due_now {
                        due.remove(&rival.instance);
                        if claims.decided(&rival.instance).is_none() && self.claim(&rival, claims).is_none() {
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
    fn the_older_device_stays_or_the_lesser_instance() {
        let [one, two] = ["1", "2"].map(|name| Name::new(name).unwrap());
        let ms = Duration::from_millis;
        for (own, rival) in [(ms(5_000), ms(1_000)), (ms(1_000), ms(5_000)), (ms(1_000), ms(1_100))] {
            let stays = is_first((own, &one), (rival, &two));
            assert_ne!(stays, is_first((rival, &two), (own, &one)), "exactly one of them");
            assert_eq!(stays, own.abs_diff(rival) < SAME_AGE || own > rival);
        }
    }

    #[test]
    fn a_verdict_stands() {
        let claims = IdClaims::new(Name::new("5").unwrap());
        let claim = |instance: &str, age_ms| IdClaim {
            instance: Name::new(instance).unwrap(),
            age_ms,
            place: "there".into(),
            joining: false,
        };
        assert_eq!(claims.judge(&claim("1", 60_000)).stays.as_str(), "1", "it was first");
        assert_eq!(claims.judge(&claim("1", 0)).stays.as_str(), "1");
        assert_eq!(claims.judge(&claim("7", 0)).stays.as_str(), "5", "same age: the lesser instance");
        assert_eq!(claims.judge(&claim("7", 60_000)).stays.as_str(), "5");
        let [refused] = &claims.refused()[..] else { panic!("{:?}", claims.refused()) };
        assert!(refused.starts_with("there came with this id too"), "{refused}");
    }
}
