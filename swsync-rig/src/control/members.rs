//! Who is present: the set that liveliness tokens keep up to date, and those who wait for it to change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use swsync_core::name::DeviceId;

use super::keys::Member;
use super::message::How;
use crate::lock;

/// A change of who is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Its token was seen.
    Came(Member),
    /// Its token is gone: it left, its process ended, or the connection to it is lost.
    Left(Member),
}

/// Told of changes until it answers `false`.
type Watcher = Box<dyn Fn(Change) -> bool + Send>;

/// Most devices that are remembered though they are gone.
const MAX_GONE: usize = 1_000;

/// Most members that have said that they leave, and whose token is still to go.
const MAX_LEAVING: usize = 1_000;

/// When and how a device went that was in the rig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone {
    pub since: Instant,
    pub how: How,
}

/// Who is present, as this session sees it, and who is gone.
#[derive(Default)]
pub(super) struct Members {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    here: BTreeSet<Member>,
    /// Members that have said that they leave.
    leaving: BTreeSet<Member>,
    gone: BTreeMap<DeviceId, Gone>,
    watchers: Vec<Watcher>,
}

impl State {
    /// Of what is known of a device that is not here, what happened last counts: others may have seen more, or less.
    fn note(&mut self, device: &DeviceId, gone: Gone) {
        let is_here = self.here.iter().any(|member| member.device == *device);
        if is_here || self.gone.get(device).is_some_and(|known| known.since >= gone.since) {
            return;
        }
        if self.gone.len() >= MAX_GONE
            && let Some(oldest) = self.gone.iter().min_by_key(|(_, gone)| (gone.how == How::Lost, gone.since))
        {
            let oldest = oldest.0.clone();
            self.gone.remove(&oldest);
        }
        self.gone.insert(device.clone(), gone);
    }
}

impl Members {
    fn state(&self) -> MutexGuard<'_, State> {
        // The set is whole between any two statements that touch it, so a panic elsewhere in a
        // watcher leaves nothing half done.
        lock(&self.state)
    }

    /// A token has come or gone. Called from Zenoh's threads; watchers only pass the news on.
    pub(super) fn handle(&self, change: Change) {
        let mut state = self.state();
        let news = match &change {
            Change::Came(member) => state.here.insert(member.clone()),
            Change::Left(member) => state.here.remove(member),
        };
        match &change {
            Change::Came(member) => {
                state.gone.remove(&member.device);
            }
            Change::Left(member) => {
                let how = if state.leaving.remove(member) { How::Left } else { How::Lost };
                if news {
                    state.note(&member.device, Gone { since: Instant::now(), how });
                }
            }
        }
        if news {
            tracing::debug!(?change, "presence");
            state.watchers.retain(|watcher| watcher(change.clone()));
            self.changed.notify_all();
        }
    }

    /// `member` says that it is going to leave.
    pub(super) fn handle_leaving(&self, member: Member) {
        let mut state = self.state();
        if !state.here.contains(&member) {
            state.note(&member.device, Gone { since: Instant::now(), how: How::Left });
        } else if state.leaving.len() < MAX_LEAVING {
            state.leaving.insert(member);
        }
    }

    /// What another session knows of a device that is not there.
    pub(super) fn handle_gone(&self, device: &DeviceId, gone: Gone) {
        self.state().note(device, gone);
    }

    /// `device` is not to be missed, should it be gone.
    pub(super) fn forget(&self, device: &DeviceId) {
        self.handle_gone(device, Gone { since: Instant::now(), how: How::Forgotten });
    }

    /// Devices that are gone, and how they went.
    pub(super) fn gone(&self) -> BTreeMap<DeviceId, Gone> {
        self.state().gone.clone()
    }

    /// Tells `watcher` of everyone who is here, and from then on of every change, without a gap
    /// between the two, for as long as it answers `true`.
    pub(super) fn watch(&self, watcher: impl Fn(Change) -> bool + Send + 'static) {
        let mut state = self.state();
        let here = state.here.clone();
        if here.into_iter().all(|member| watcher(Change::Came(member))) {
            state.watchers.push(Box::new(watcher));
        }
    }

    /// Who is here now.
    pub(super) fn here(&self) -> BTreeSet<Member> {
        self.state().here.clone()
    }

    /// Who is here once `enough` is content with them, or at `deadline`.
    pub(super) fn wait_until(
        &self,
        deadline: Instant,
        enough: impl Fn(&BTreeSet<Member>) -> bool,
    ) -> BTreeSet<Member> {
        let left = deadline.saturating_duration_since(Instant::now());
        let (state, _) = self
            .changed
            .wait_timeout_while(self.state(), left, |state| !enough(&state.here))
            .unwrap_or_else(PoisonError::into_inner);
        state.here.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use swsync_core::name::Name;

    use super::*;

    fn member(device: &str) -> Member {
        Member { device: Name::new(device).unwrap(), instance: Name::new("1").unwrap() }
    }

    #[test]
    fn a_watcher_misses_nothing_and_hears_nothing_twice() {
        let members = Members::default();
        members.handle(Change::Came(member("a")));
        let (tx, rx) = mpsc::channel();
        members.watch(move |change| tx.send(change).is_ok());
        members.handle(Change::Came(member("a"))); // again: no news
        members.handle(Change::Came(member("b")));
        members.handle(Change::Left(member("a")));
        members.handle(Change::Left(member("c"))); // was never here
        let heard: Vec<_> = rx.try_iter().collect();
        assert_eq!(heard, [Change::Came(member("a")), Change::Came(member("b")), Change::Left(member("a")),]);
        drop(rx);
        members.handle(Change::Left(member("b")));
        assert!(members.state().watchers.is_empty(), "a deaf watcher is let go");
    }

    #[test]
    fn who_goes_without_a_word_is_missed_until_it_is_back_or_forgotten() {
        let members = Members::default();
        let lost = |members: &Members| {
            let lost = members.gone().into_iter().filter(|(_, gone)| gone.how == How::Lost);
            lost.map(|(device, _)| device).collect::<Vec<_>>()
        };
        let now = Instant::now;
        let [a, b] = ["a", "b"].map(member);
        let again = Member { instance: Name::new("2").unwrap(), ..b.clone() };
        for member in [&a, &b] {
            members.handle(Change::Came(member.clone()));
        }
        members.handle_leaving(a.clone());
        members.handle(Change::Left(a.clone()));
        assert!(lost(&members).is_empty(), "it said so");
        members.handle(Change::Left(b.clone()));
        assert_eq!(lost(&members), *std::slice::from_ref(&b.device));
        members.handle(Change::Came(again.clone()));
        assert!(lost(&members).is_empty(), "it is back");
        members.handle(Change::Came(b.clone()));
        members.handle(Change::Left(b.clone()));
        assert!(lost(&members).is_empty(), "only its ghost is gone");
        let told = |device: &Member, gone| members.handle_gone(&device.device, gone);
        told(&again, Gone { since: now(), how: How::Lost });
        told(&a, Gone { since: now() - Duration::from_secs(60), how: How::Lost });
        assert!(lost(&members).is_empty(), "one is here, and the other left later than that");
        told(&a, Gone { since: now(), how: How::Lost });
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
        let thread = std::thread::spawn(move || late.handle(Change::Came(member("a"))));
        let here = members.wait_until(now + Duration::from_secs(60), |here| !here.is_empty());
        assert_eq!(here, BTreeSet::from([member("a")]));
        thread.join().unwrap();
    }
}
