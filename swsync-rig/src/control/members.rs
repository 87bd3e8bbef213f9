//! Who is present: the set that liveliness tokens keep up to date, and those who wait for it to change.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::keys::Member;
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

/// Who is present, as this session sees it.
#[derive(Default)]
pub(super) struct Members {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    here: BTreeSet<Member>,
    watchers: Vec<Watcher>,
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
        if news {
            tracing::debug!(?change, "presence");
            state.watchers.retain(|watcher| watcher(change.clone()));
            self.changed.notify_all();
        }
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
