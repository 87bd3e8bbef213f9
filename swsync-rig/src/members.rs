//! The devices in the rig as this session sees them, kept up to date by liveliness tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use swsync_core::name::DeviceId;
use zenoh::sample::SampleKind;

use crate::ControlError;
use crate::id_claims::millis;
use crate::keys::Member;
use crate::link::{Held, Shared, follow};
use crate::message::{Departure, GoneDevice, MAX_MEMBERS, Roster};

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
    /// Members that were here when the link was lost, and have not been seen again since.
    unconfirmed: BTreeSet<Member>,
    link_lost: Option<Instant>,
    /// It was told that there are more devices than can be followed.
    is_full: bool,
    watchers: Vec<Watcher>,
}

impl State {
    /// Handles a token that came or went at `now`. Whether it is news.
    fn handle(&mut self, change: MemberChange, now: Instant) -> bool {
        let news = match &change {
            MemberChange::Came(member) if self.here.len() >= MAX_MEMBERS && !self.here.contains(member) => {
                if !std::mem::replace(&mut self.is_full, true) {
                    swsync_core::log::warn!(%member.device, "more than {MAX_MEMBERS} devices are in the rig: the others are not seen");
                }
                false
            }
            MemberChange::Came(member) => {
                // One that is seen through a new link is news for those who wait for it.
                let again = self.unconfirmed.remove(member);
                self.gone.remove(&member.device);
                self.here.insert(member.clone()) || again
            }
            MemberChange::Left(member) => {
                let was_here = self.here.remove(member);
                self.is_full &= !was_here;
                let how = if self.leaving.remove(member) { Departure::Left } else { Departure::Lost };
                if was_here {
                    self.note(&member.device, Departed { since: now, how });
                }
                was_here
            }
        };
        if news {
            swsync_core::log::debug!(?change, "presence");
            self.watchers.retain(|watcher| watcher(change.clone()));
        }
        news
    }

    /// Notes how an absent device left. The latest departure counts: other sessions may have seen more, or less.
    fn note(&mut self, device: &DeviceId, gone: Departed) {
        let is_here = self.here.iter().any(|member| member.device == *device);
        if is_here || self.gone.get(device).is_some_and(|known| known.since >= gone.since) {
            return;
        }
        if self.gone.len() >= MAX_MEMBERS
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
        if self.state.lock().handle(change, Instant::now()) {
            self.changed.notify_all();
        }
    }

    /// Handles that the link is lost, through which tokens came. Who is here stays here until [`confirm`](Self::confirm).
    pub(crate) fn handle_link_lost(&self, now: Instant) {
        let mut state = self.state.lock();
        state.link_lost.get_or_insert(now);
        state.unconfirmed = state.here.clone();
    }

    /// Handles that a new link has brought all tokens: members that were not among them have gone meanwhile.
    pub(crate) fn confirm(&self) {
        let mut state = self.state.lock();
        let Some(since) = state.link_lost.take() else { return };
        for member in std::mem::take(&mut state.unconfirmed) {
            // Others may know when and how it left. Their word counts, since it is later.
            state.handle(MemberChange::Left(member), since);
        }
        self.changed.notify_all();
    }

    /// Forgets who is here: nobody follows the tokens any more.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock();
        state.here.clear();
        state.leaving.clear();
        state.unconfirmed.clear();
        state.link_lost = None;
    }

    /// Learns of absent devices from the roster of another session.
    pub(crate) fn learn(&self, roster: &Roster) {
        for gone in &roster.gone {
            if let Some(since) = Instant::now().checked_sub(Duration::from_millis(gone.ago_ms)) {
                self.handle_gone(&gone.device, Departed { since, how: gone.how });
            }
        }
    }

    /// What this session can tell others.
    pub(crate) fn roster(&self) -> Roster {
        let gone = self.gone().into_iter().map(|(device, gone)| {
            let ago_ms = millis(gone.since.elapsed());
            GoneDevice { device, ago_ms, how: gone.how }
        });
        Roster { gone: gone.collect(), members: self.here().into_iter().collect() }
    }

    /// Handles the announcement that `member` leaves.
    pub(crate) fn handle_leaving(&self, member: Member) {
        let mut state = self.state.lock();
        if !state.here.contains(&member) {
            state.note(&member.device, Departed { since: Instant::now(), how: Departure::Left });
        } else if state.leaving.len() < MAX_MEMBERS {
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

/// Keeps the members of `shared` up to date for as long as the result lives.
pub(crate) fn follow_tokens(shared: &Arc<Shared>) -> Result<[Held; 2], ControlError> {
    let (key, keys, members) = (shared.keys.all_leaving(), shared.keys.clone(), Arc::clone(&shared.members));
    let leaving = shared.hold(move |zenoh| {
        let (keys, members) = (keys.clone(), Arc::clone(&members));
        follow(zenoh, &key, move |sample| {
            if let (Some(member), SampleKind::Put) = (keys.parse_leaving(sample.key_expr()), sample.kind()) {
                members.handle_leaving(member);
            }
        })
    })?;
    let (key, keys, members) = (shared.keys.members(), shared.keys.clone(), Arc::clone(&shared.members));
    let here = shared.hold(move |zenoh| {
        let (keys, members) = (keys.clone(), Arc::clone(&members));
        follow(zenoh, &key, move |sample| {
            let Some(member) = keys.parse_member(sample.key_expr()) else {
                swsync_core::log::debug!(key = %sample.key_expr(), "a token that belongs to no device");
                return;
            };
            members.handle(match sample.kind() {
                SampleKind::Put => MemberChange::Came(member),
                SampleKind::Delete => MemberChange::Left(member),
            });
        })
    })?;
    Ok([leaving, here])
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

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
    fn members_are_confirmed_by_a_new_link() {
        let members = Members::default();
        for device in ["a", "b", "c"] {
            members.handle(MemberChange::Came(member(device)));
        }
        let (tx, rx) = mpsc::channel();
        members.watch(move |change| tx.send(change).is_ok());
        assert_eq!(rx.try_iter().count(), 3);
        let lost = Instant::now();
        members.handle_link_lost(lost);
        members.handle_link_lost(lost + Duration::from_secs(1)); // a second attempt failed, too
        assert_eq!(members.here().len(), 3, "a link that is lost says nothing of devices");
        members.handle(MemberChange::Came(member("a")));
        members.confirm();
        let changes: Vec<_> = rx.try_iter().collect();
        let [b, c] = ["b", "c"].map(|device| MemberChange::Left(member(device)));
        assert_eq!(changes, [MemberChange::Came(member("a")), b, c], "the link was lost with those");
        assert_eq!(members.gone()[&member("b").device], Departed { since: lost, how: Departure::Lost });
        // Another session saw that c left in good order.
        let left = Departed { since: lost + Duration::from_millis(1), how: Departure::Left };
        members.handle_gone(&member("c").device, left);
        assert_eq!(members.gone()[&member("c").device], left);
        members.confirm();
        assert_eq!(rx.try_iter().count(), 0);
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
    fn no_more_devices_are_followed_than_a_rig_may_have() {
        let members = Members::default();
        for device in 0..MAX_MEMBERS + 1 {
            members.handle(MemberChange::Came(member(&format!("d{device}"))));
        }
        assert_eq!(members.here().len(), MAX_MEMBERS);
        let late = member(&format!("d{MAX_MEMBERS}"));
        assert!(!members.here().contains(&late));
        members.handle(MemberChange::Left(member("d0")));
        members.handle(MemberChange::Came(late.clone()));
        assert!(members.here().contains(&late), "there is room again");
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
