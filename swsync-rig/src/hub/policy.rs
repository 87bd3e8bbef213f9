//! Decides when a session runs a hub. Sans-IO.

use std::time::{Duration, Instant};

use swsync_core::name::Name;

use super::{HubKind, HubToken, WANTED};

/// How long a session looks for a router before it starts a hub, and how much longer at random: devices that are switched on together do
/// not all start one. Zenoh's scouting asks at once, and again after a second.
const ALONE: Duration = Duration::from_millis(700);
const ALONE_SPREAD: Duration = Duration::from_millis(700);

/// The same for a session that is connected to a network without a hub of this rig: it may be that the tokens come late.
const HUBLESS: Duration = Duration::from_secs(1);
const HUBLESS_SPREAD: Duration = Duration::from_secs(2);

/// How long there must be too many hubs before one stops: hubs that have just met may part again.
const SURPLUS: Duration = Duration::from_secs(5);

/// How long after a hub has gone another one is asked for. Zenoh's routers (1.10.2) take up to 0.2 s to work their trees out anew, a
/// tenth of it as built here: a router that comes before takes the place of the one that has gone, and is not told what that one had been
/// told (`Network::compute_trees`).
const FORGOTTEN: Duration = Duration::from_millis(500);

/// How often a hub that is alone asks a device to run one.
const INVITE_EVERY: Duration = Duration::from_secs(1);

/// What the session sees.
pub(crate) struct Situation<'a> {
    /// Whether it has a connection.
    pub connected: bool,
    /// Whether it looks for others by multicast.
    pub discovering: bool,
    /// The hubs of the rig that it sees.
    pub hubs: &'a [HubToken],
    /// The hub that it runs itself.
    pub own: Option<(&'a Name, HubKind)>,
    /// Whether it sees a device that could run a hub.
    pub candidates: bool,
    /// A hub has asked for this one.
    pub invited: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HubAction {
    /// Run a hub.
    Start,
    /// Stop the own one.
    Stop,
    /// Ask a device to run one.
    Invite,
}

/// The decisions of one session.
#[derive(Debug)]
pub(crate) struct HubPolicy {
    /// In [0, 1): how much of each spread this session waits.
    luck: f64,
    alone_since: Option<Instant>,
    hubless_since: Option<Instant>,
    surplus_since: Option<Instant>,
    /// How many hubs were seen last, and when there were more.
    seen: usize,
    gone_at: Option<Instant>,
    invited_at: Option<Instant>,
}

impl HubPolicy {
    /// `luck` is a random number in [0, 1).
    pub(crate) const fn new(luck: f64) -> Self {
        Self {
            luck,
            alone_since: None,
            hubless_since: None,
            surplus_since: None,
            seen: 0,
            gone_at: None,
            invited_at: None,
        }
    }

    /// Decides what to do at `now`. To be called every fraction of a second.
    pub(crate) fn decide(&mut self, now: Instant, seen: &Situation<'_>) -> Option<HubAction> {
        let own = seen.own;
        let alone = lasts(&mut self.alone_since, own.is_none() && seen.discovering && !seen.connected, now);
        let hubless =
            lasts(&mut self.hubless_since, own.is_none() && seen.connected && seen.hubs.is_empty(), now);
        let surplus = own.is_some_and(|(id, kind)| kind == HubKind::Auto && is_surplus(id, seen.hubs));
        let surplus = lasts(&mut self.surplus_since, surplus && seen.connected, now);
        if own.is_none()
            && (seen.invited
                || alone >= Some(ALONE + ALONE_SPREAD.mul_f64(self.luck))
                || hubless >= Some(HUBLESS + HUBLESS_SPREAD.mul_f64(self.luck)))
        {
            return Some(HubAction::Start);
        }
        if surplus >= Some(SURPLUS) {
            return Some(HubAction::Stop);
        }
        if seen.hubs.len() < self.seen {
            self.gone_at = Some(now);
        }
        self.seen = seen.hubs.len();
        let invites = seen.candidates
            && own.is_some_and(|(id, _)| is_first(id, seen.hubs))
            && counted(seen.hubs).count() < WANTED
            && self.gone_at.is_none_or(|at| now >= at + FORGOTTEN);
        if invites && self.invited_at.is_none_or(|at| now >= at + INVITE_EVERY) {
            self.invited_at = Some(now);
            return Some(HubAction::Invite);
        }
        None
    }
}

/// For how long `holds` has held at `now`. `None`: it does not.
fn lasts(since: &mut Option<Instant>, holds: bool, now: Instant) -> Option<Duration> {
    *since = holds.then(|| since.unwrap_or(now));
    since.map(|since| now - since)
}

/// The hubs that others can rely on: one that joins two networks may go with either of them.
fn counted(hubs: &[HubToken]) -> impl Iterator<Item = &HubToken> {
    hubs.iter().filter(|hub| hub.kind != HubKind::Bridge)
}

/// Whether so many others come before the hub `id` that it is not wanted.
fn is_surplus(id: &Name, hubs: &[HubToken]) -> bool {
    let before = counted(hubs).filter(|other| (other.kind, &other.id) < (HubKind::Auto, id));
    before.count() >= WANTED
}

/// Whether the hub `id` is the one that acts for all.
fn is_first(id: &Name, hubs: &[HubToken]) -> bool {
    counted(hubs).map(|hub| (hub.kind, &hub.id)).min().is_some_and(|(_, first)| first == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(id: &str, kind: HubKind) -> HubToken {
        let name = |text| Name::new(text).unwrap();
        HubToken { id: name(id), kind, instance: name("1"), place: name("pi"), addresses: Vec::new() }
    }

    /// What `policy` does within `span`, and when first.
    fn first(policy: &mut HubPolicy, seen: &Situation<'_>, span: Duration) -> Option<(HubAction, Duration)> {
        let begin = Instant::now();
        (0..)
            .map(|step| Duration::from_millis(100) * step)
            .take_while(|after| *after <= span)
            .find_map(|after| policy.decide(begin + after, seen).map(|action| (action, after)))
    }

    const TICK: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(60);

    fn seen<'a>(hubs: &'a [HubToken], own: Option<(&'a Name, HubKind)>) -> Situation<'a> {
        Situation { connected: true, discovering: true, hubs, own, candidates: true, invited: false }
    }

    #[test]
    fn a_session_that_finds_nobody_starts_a_hub_unless_it_was_told_whom_to_connect_to() {
        let lost = Situation { connected: false, ..seen(&[], None) };
        let (action, after) = first(&mut HubPolicy::new(0.0), &lost, LONG).unwrap();
        assert_eq!((action, after), (HubAction::Start, ALONE));
        assert!(first(&mut HubPolicy::new(0.9), &lost, LONG).unwrap().1 > ALONE + ALONE_SPREAD / 2);
        let told = Situation { discovering: false, ..lost };
        assert_eq!(first(&mut HubPolicy::new(0.0), &told, LONG), None);
    }

    #[test]
    fn a_session_starts_a_hub_where_the_rig_has_none_or_when_it_is_asked() {
        let (action, after) = first(&mut HubPolicy::new(0.5), &seen(&[], None), LONG).unwrap();
        assert_eq!((action, after), (HubAction::Start, HUBLESS + HUBLESS_SPREAD / 2));
        let hubs = [hub("1", HubKind::Auto)];
        assert_eq!(first(&mut HubPolicy::new(0.5), &seen(&hubs, None), LONG), None);
        let invited = Situation { invited: true, ..seen(&hubs, None) };
        assert_eq!(first(&mut HubPolicy::new(0.5), &invited, LONG), Some((HubAction::Start, Duration::ZERO)));
    }

    #[test]
    fn a_hub_that_is_alone_has_another_one_started_again_and_again() {
        let hubs = [hub("1", HubKind::Auto)];
        let mut policy = HubPolicy::new(0.5);
        let own = seen(&hubs, Some((&hubs[0].id, HubKind::Auto)));
        let now = Instant::now();
        assert_eq!(policy.decide(now, &own), Some(HubAction::Invite));
        assert_eq!(policy.decide(now + INVITE_EVERY / 2, &own), None);
        assert_eq!(policy.decide(now + INVITE_EVERY, &own), Some(HubAction::Invite));
        // Not in the moment that another one goes.
        let two = [hub("1", HubKind::Auto), hub("2", HubKind::Auto)];
        let now = now + 2 * INVITE_EVERY;
        assert_eq!(policy.decide(now, &seen(&two, own.own)), None);
        assert_eq!(policy.decide(now + TICK, &own), None);
        assert_eq!(policy.decide(now + TICK + FORGOTTEN, &own), Some(HubAction::Invite));
        let nobody = Situation { candidates: false, ..seen(&hubs, own.own) };
        assert_eq!(first(&mut HubPolicy::new(0.5), &nobody, LONG), None);
        assert_eq!(first(&mut policy, &seen(&two, own.own), LONG), None);
    }

    #[test]
    fn of_too_many_hubs_the_last_ones_stop_but_not_those_that_were_asked_for() {
        use HubKind::{Auto, Bridge, Fixed};
        let hubs = [hub("1", Auto), hub("2", Bridge), hub("3", Auto), hub("4", Auto), hub("5", Fixed)];
        let stops = |index: usize| {
            let own = Some((&hubs[index].id, hubs[index].kind));
            first(&mut HubPolicy::new(0.5), &seen(&hubs, own), LONG)
        };
        let stop = Some((HubAction::Stop, SURPLUS));
        assert_eq!([0, 1, 2, 3, 4].map(stops), [None, None, stop, stop, None]);
        // One that joins two networks does not count as one of the two.
        let two = [hub("1", Auto), hub("2", Bridge)];
        let own = Some((&two[0].id, Auto));
        assert_eq!(
            first(&mut HubPolicy::new(0.5), &seen(&two, own), LONG),
            Some((HubAction::Invite, Duration::ZERO))
        );
    }
}
