//! The devices in the rig as this session sees them, kept up to date by liveliness tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use swsync_core::name::DeviceId;
use zenoh::Wait;
use zenoh::sample::{Sample, SampleKind};

use crate::ControlError;
use crate::keys::{Keys, Member};
use crate::message::Departure;

/// A device has come or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MemberChange {
    /// Its token has appeared.
    Came(Member),
    /// Its token has vanished: it left, its process ended, or the connection to it is lost.
    Left(Member),
}

/// Called with changes until it returns `false`.
type Watcher = Box<dyn Fn(MemberChange) -> bool + Send>;

/// Most gone devices that are remembered.
const MAX_GONE: usize = 1_000;

/// Most members that have announced that they leave, and whose token is still there.
const MAX_LEAVING: usize = 1_000;

/// When and how a device has left the rig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Departed {
    pub since: Instant,
    pub how: Departure,
}

/// The devices that are present, and those that are gone.
#[derive(Default)]
pub(crate) struct Members {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    here: BTreeSet<Member>,
    /// Members that have announced that they leave.
    leaving: BTreeSet<Member>,
    gone: BTreeMap<DeviceId, Departed>,
    watchers: Vec<Watcher>,
}

impl State {
    /// Notes how an absent device left. The latest departure counts: other sessions may have seen more, or less.
    fn note(&mut self, device: &DeviceId, gone: Departed) {
        let is_here = self.here.iter().any(|member| member.device == *device);
        if is_here || self.gone.get(device).is_some_and(|known| known.since >= gone.since) {
            return;
        }
        if self.gone.len() >= MAX_GONE
            && let Some(oldest) =
                self.gone.iter().min_by_key(|(_, gone)| (gone.how == Departure::Lost, gone.since))
        {
            let oldest = oldest.0.clone();
            self.gone.remove(&oldest);
        }
        self.gone.insert(device.clone(), gone);
    }
}

impl Members {
    /// Handles a token that came or went. Called on Zenoh's threads, so watchers must only pass the change on.
    pub(crate) fn handle(&self, change: MemberChange) {
        let mut state = self.state.lock();
        let news = match &change {
            MemberChange::Came(member) => state.here.insert(member.clone()),
            MemberChange::Left(member) => state.here.remove(member),
        };
        match &change {
            MemberChange::Came(member) => {
                state.gone.remove(&member.device);
            }
            MemberChange::Left(member) => {
                let how = if state.leaving.remove(member) { Departure::Left } else { Departure::Lost };
                if news {
                    state.note(&member.device, Departed { since: Instant::now(), how });
                }
            }
        }
        if news {
            swsync_core::log::debug!(?change, "presence");
            state.watchers.retain(|watcher| watcher(change.clone()));
            self.changed.notify_all();
        }
    }

    /// Handles the announcement that `member` leaves.
    pub(crate) fn handle_leaving(&self, member: Member) {
        let mut state = self.state.lock();
        if !state.here.contains(&member) {
            state.note(&member.device, Departed { since: Instant::now(), how: Departure::Left });
        } else if state.leaving.len() < MAX_LEAVING {
            state.leaving.insert(member);
        }
    }

    /// Handles what another session knows of an absent device.
    pub(crate) fn handle_gone(&self, device: &DeviceId, gone: Departed) {
        self.state.lock().note(device, gone);
    }

    /// Makes `device` not missed any more, if it is gone.
    pub(crate) fn forget(&self, device: &DeviceId) {
        self.handle_gone(device, Departed { since: Instant::now(), how: Departure::Forgotten });
    }

    /// Devices that are gone, and how they left.
    pub(crate) fn gone(&self) -> BTreeMap<DeviceId, Departed> {
        self.state.lock().gone.clone()
    }

    /// Calls `watcher` with everyone present, and from then on with every change, without a gap between the two, for as long
    /// as it returns `true`.
    pub(crate) fn watch(&self, watcher: impl Fn(MemberChange) -> bool + Send + 'static) {
        let mut state = self.state.lock();
        let here = state.here.clone();
        if here.into_iter().all(|member| watcher(MemberChange::Came(member))) {
            state.watchers.push(Box::new(watcher));
        }
    }

    /// The members that are present.
    pub(crate) fn here(&self) -> BTreeSet<Member> {
        self.state.lock().here.clone()
    }

    /// Waits until `enough` accepts the present members, or for `deadline`, and returns them.
    pub(crate) fn wait_until(
        &self,
        deadline: Instant,
        enough: impl Fn(&BTreeSet<Member>) -> bool,
    ) -> BTreeSet<Member> {
        let mut state = self.state.lock();
        let _ = self.changed.wait_while_until(&mut state, |state| !enough(&state.here), deadline);
        state.here.clone()
    }
}

/// Keeps `members` up to date for as long as the session lives.
pub(crate) fn follow_tokens(
    zenoh: &zenoh::Session,
    keys: &Keys,
    members: &Arc<Members>,
) -> Result<(), ControlError> {
    let follow = |key: String, on_sample: Box<dyn Fn(Sample) + Send + Sync>| {
        zenoh
            .liveliness()
            .declare_subscriber(key)
            .history(true)
            .callback(on_sample)
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
            swsync_core::log::debug!(key = %sample.key_expr(), "a token that belongs to no device");
            return;
        };
        members.handle(match sample.kind() {
            SampleKind::Put => MemberChange::Came(member),
            SampleKind::Delete => MemberChange::Left(member),
        });
    };
    follow(keys.members(), Box::new(changes))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use swsync_core::name::Name;

    use super::*;

    fn member(device: &str) -> Member {
        Member { device: Name::new(device).unwrap(), instance: Name::new("1").unwrap() }
    }

    #[test]
    fn a_watcher_gets_each_change_once() {
        let members = Members::default();
        members.handle(MemberChange::Came(member("a")));
        let (tx, rx) = mpsc::channel();
        members.watch(move |change| tx.send(change).is_ok());
        members.handle(MemberChange::Came(member("a"))); // again: no news
        members.handle(MemberChange::Came(member("b")));
        members.handle(MemberChange::Left(member("a")));
        members.handle(MemberChange::Left(member("c"))); // was never here
        let changes: Vec<_> = rx.try_iter().collect();
        assert_eq!(
            changes,
            [
                MemberChange::Came(member("a")),
                MemberChange::Came(member("b")),
                MemberChange::Left(member("a")),
            ]
        );
        drop(rx);
        members.handle(MemberChange::Left(member("b")));
        assert!(members.state.lock().watchers.is_empty(), "a watcher that returns false is removed");
    }

    #[test]
    fn a_lost_device_is_missed_until_it_is_back_or_forgotten() {
        let members = Members::default();
        let lost = |members: &Members| {
            let lost = members.gone().into_iter().filter(|(_, gone)| gone.how == Departure::Lost);
            lost.map(|(device, _)| device).collect::<Vec<_>>()
        };
        let now = Instant::now;
        let [a, b] = ["a", "b"].map(member);
        let again = Member { instance: Name::new("2").unwrap(), ..b.clone() };
        for member in [&a, &b] {
            members.handle(MemberChange::Came(member.clone()));
        }
        members.handle_leaving(a.clone());
        members.handle(MemberChange::Left(a.clone()));
        assert!(lost(&members).is_empty(), "it left in good order");
        members.handle(MemberChange::Left(b.clone()));
        assert_eq!(lost(&members), *std::slice::from_ref(&b.device));
        members.handle(MemberChange::Came(again.clone()));
        assert!(lost(&members).is_empty(), "it is back");
        members.handle(MemberChange::Came(b.clone()));
        members.handle(MemberChange::Left(b.clone()));
        assert!(lost(&members).is_empty(), "only its earlier instance is gone");
        let handle_gone = |device: &Member, gone| members.handle_gone(&device.device, gone);
        handle_gone(&again, Departed { since: now(), how: Departure::Lost });
        handle_gone(&a, Departed { since: now() - Duration::from_secs(60), how: Departure::Lost });
        assert!(lost(&members).is_empty(), "one is here, and the other left later than that");
        handle_gone(&a, Departed { since: now(), how: Departure::Lost });
        assert_eq!(lost(&members), *std::slice::from_ref(&a.device), "it was back elsewhere, and lost again");
        members.forget(&a.device);
        assert!(lost(&members).is_empty());
    }

    #[test]
    fn waiting_ends_with_the_change_or_at_the_deadline() {
        let members = Arc::new(Members::default());
        let now = Instant::now();
        assert!(members.wait_until(now, |here| !here.is_empty()).is_empty());
        let late = Arc::clone(&members);
        let thread = std::thread::spawn(move || late.handle(MemberChange::Came(member("a"))));
        let here = members.wait_until(now + Duration::from_secs(60), |here| !here.is_empty());
        assert_eq!(here, BTreeSet::from([member("a")]));
        thread.join().unwrap();
    }
}
