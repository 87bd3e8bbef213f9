//! Who leads the rig.
//!
//! A leader tells twice a second that it leads. If neither that nor its time is heard for 1.5 s, the devices that can lead wait for a
//! time that is shorter the higher they rank, and the first one leads: in the same time scale, from what its clock reads. Of two
//! leaders, the one that comes second in [`Claim::compare`] resigns, as soon as it has measured the time of the first: a claim
//! without a time service behind it changes nothing.
//!
//! A device that starts listens, and follows whoever knows the rig's time, in sync or not. If nobody is heard, it says that it would
//! lead, unless one that ranks higher has said so. After [`ELECTION_WAIT`] the candidate that ranks first begins a time scale.

use super::association::Association;
use super::peers::LEADER_SILENCE;
use super::{AdvertKind, ClockUpdate, LeadStart, Node, NodeAction, TICK, wall_time};
use crate::time::{Local, Skew, Span, Timestamp};
use crate::time_service::SyncState;
use crate::time_service::advert::Claim;
use crate::time_service::scale::Scale;

/// How long a device looks for a time scale before it begins one.
pub const ELECTION_WAIT: Span = Span::from_millis(1_500);
/// A better candidate, or a server that is still to be tried, is waited for so long each time it is heard.
const CANDIDATE_WAIT: Span = Span::from_millis(1_000);
/// A leader that cannot be reached keeps others from beginning a time scale for this long.
const UNREACHABLE_LEADER: Span = Span::from_secs(10);
/// A leader that was last heard so long ago is asked at once.
const SUSPICION: Span = Span::from_millis(700);
/// A device with a better priority than the leader's takes over after it has been synced for this long, and knows the rate; over
/// links that do not tell it that exactly, after the longer time.
const SETTLED: Span = Span::from_secs(5);
const SETTLED_UNSURE: Span = Span::from_secs(60);
/// What the ranks add to the time before a device takes over: the largest priority, a clock class, the largest id, an uncertain
/// clock. Devices that follow the same leader hear of its end within some ms of each other.
const BY_PRIORITY: Span = Span::from_millis(400);
const BY_CLASS: Span = Span::from_millis(50);
const BY_ID: Span = Span::from_millis(150);
const IF_UNCERTAIN: Span = Span::from_millis(300);
/// A device whose clock or its rate may be off by more (1 sigma) waits longer, and one that has never been in sync does not take
/// over. A leader's rate is the rig's: if it is wrong by 20 ppm, the clocks of all others are wrong until they have learnt that.
const UNCERTAIN: Span = Span::from_millis(1);
const UNCERTAIN_RATE: Skew = Skew::from_ratio(3e-6);
/// Two leaders are told of after this time: a change of leader takes less.
const TWO_LEADERS: Span = Span::from_secs(5);

/// The state of an election.
#[derive(Debug)]
pub(super) struct Election {
    /// When to begin a time scale, if there is none.
    pub(super) begin_at: Timestamp<Local>,
    /// Since when only leaders that cannot be reached have been heard.
    unreachable_since: Option<Timestamp<Local>>,
    /// When to take over from a leader that is gone.
    take_over_at: Option<Timestamp<Local>>,
    /// The leader that a settled server named, and when that was alive.
    confirmed: Option<(u64, Timestamp<Local>)>,
    /// Since when this device has been synced.
    synced_since: Option<Timestamp<Local>>,
    /// Another leader that this device has heard, since when, and whether that was told.
    other: Option<(u64, Timestamp<Local>, bool)>,
    /// The device has slept: until then it does not conclude from silence that the leader is gone.
    pub(super) listens_until: Timestamp<Local>,
    /// The time scale of an earlier run, which this device still knows.
    known: Option<Scale>,
}

impl Election {
    pub const fn new(now: Timestamp<Local>, known: Option<Scale>) -> Self {
        Self {
            begin_at: Timestamp::from_nanos(now.as_nanos().saturating_add(ELECTION_WAIT.as_nanos())),
            unreachable_since: None,
            take_over_at: None,
            confirmed: None,
            synced_since: None,
            other: None,
            listens_until: now,
            known,
        }
    }
}

impl Node {
    /// Draws the conclusions from what is heard.
    pub(super) fn decide(&mut self, now: Timestamp<Local>) {
        self.check_association(now);
        self.client.set_field(self.request_field(now));
        match self.time.is_leading() {
            true => self.decide_as_leader(now),
            false => self.decide_as_follower(now),
        }
        if now >= self.next_advert {
            match self.time.is_leading() || self.stands(now) {
                true => self.advertise(now),
                false => self.next_advert = now + TICK,
            }
        }
    }

    /// When an election may come to its end, or this device has to say that it stands.
    pub(super) fn election_due(&self) -> Timestamp<Local> {
        match self.election.take_over_at {
            _ if self.time.is_leading() => Timestamp::MAX,
            Some(take_over_at) => take_over_at,
            None if self.knows_time() => Timestamp::MAX,
            None => self.next_advert,
        }
    }

    /// Whether it says that it would lead. It need not if somebody leads or knows the time, or a better candidate says so.
    fn stands(&self, now: Timestamp<Local>) -> bool {
        self.config.can_lead
            && !self.knows_time()
            && self.association.as_ref().is_none_or(|it| !it.has_answered)
            && !self.peers.iter().any(|peer| peer.leads(now))
            && self.peers.ranked(self.config.identity.device, false, now).is_empty()
            && !self.hears_better_candidate(now)
    }

    /// Whether a candidate is heard that ranks higher; of a device that cannot lead, any.
    fn hears_better_candidate(&self, now: Timestamp<Local>) -> bool {
        let own = self.claim(now);
        self.peers.iter().any(|peer| {
            peer.advert.kind == AdvertKind::Candidate
                && now - peer.heard < CANDIDATE_WAIT
                && (!self.config.can_lead || peer.claim(now).comes_before(&own))
        })
    }

    /// A leader looks for a better one, and measures its time before it resigns.
    fn decide_as_leader(&mut self, now: Timestamp<Local>) {
        let own = self.claim(now);
        let other = self.peers.iter().find(|peer| peer.leads(now)).map(|peer| peer.advert.clone());
        self.note_other_leader(other.as_ref().map(|advert| advert.server), now);
        if let (Some((_, since, false)), Some(advert)) = (self.election.other, other)
            && now - since > TWO_LEADERS
        {
            self.election.other = Some((advert.server, since, true));
            self.actions.push_back(NodeAction::TwoLeaders(Box::new(advert)));
        }
        let better = self.peers.leader(now).filter(|peer| peer.claim(now).comes_before(&own));
        let Some(better) = better else {
            self.leave_association();
            return;
        };
        let server = better.advert.server;
        if self.association.as_ref().is_some_and(|association| association.server == Some(server)) {
            return;
        }
        let addresses = better.advert.addresses.clone();
        let theirs = better.advert.time.as_ref().map(|time| time.scale.id);
        self.client.go_on_from(*self.time.map(), own.scale.map(|(scale, _)| scale.id), now);
        if theirs != own.scale.map(|(scale, _)| scale.id) {
            self.client.join_scale();
        }
        if !addresses.is_empty() {
            self.associate(Some(server), addresses, now);
        }
    }

    fn note_other_leader(&mut self, other: Option<u64>, now: Timestamp<Local>) {
        self.election.other = match (other, self.election.other) {
            (Some(server), Some(known)) if known.0 == server => Some(known),
            (Some(server), _) => Some((server, now, false)),
            (None, _) => None,
        };
    }

    /// Whether this leader gives way to the leader that its client has measured.
    pub(super) fn resigns_for(&mut self, update: &ClockUpdate, now: Timestamp<Local>) -> bool {
        // While a burst is running, the clock is left alone.
        let measured = !self.client.is_in_burst() && update.upstream.is_settled();
        let server = self.association.as_ref().and_then(|association| association.server);
        let better = server.and_then(|server| self.peers.get(server)).filter(|peer| peer.leads(now));
        let resigns = measured && better.is_some_and(|peer| peer.claim(now).comes_before(&self.claim(now)));
        if resigns {
            crate::log::info!("another device leads the rig: following it");
            self.election = Election::new(now, None);
        }
        resigns
    }

    /// A settled server, heard at `heard`, names its leader, and says how long ago that was alive: so it was, even if this device does
    /// not hear it. Without the age, devices that ask each other in a circle would confirm a dead leader to each other.
    pub(super) fn note_confirmation(&mut self, heard: Timestamp<Local>) {
        let Some(upstream) = self.client.upstream().filter(|upstream| upstream.is_settled()) else { return };
        let Some(field) = upstream.field else { return };
        let alive = heard - field.silence;
        let known = self.election.confirmed.filter(|(leader, at)| *leader == field.leader && *at > alive);
        self.election.confirmed = known.or(Some((field.leader, alive)));
        self.note_leader(field.leader, alive);
    }

    /// `leader` was alive at `at`. What this device's own server tells of that leader is as old as the latest of this.
    pub(super) fn note_leader(&mut self, leader: u64, at: Timestamp<Local>) {
        if self.time.note_leader(leader, at) {
            self.actions.push_back(NodeAction::LeaderAlive(leader, at));
        }
    }

    fn decide_as_follower(&mut self, now: Timestamp<Local>) {
        let quality = self.time.quality(now);
        self.election.synced_since = match quality {
            SyncState::Synced => Some(self.election.synced_since.unwrap_or(now)),
            _ => None,
        };
        self.choose_server(now);
        self.suspect_leader(now);
        if !self.config.can_lead {
            return;
        }
        match self.known_scale(now) {
            // One that starts listens first.
            Some(scale)
                if self.leader_is_gone(now) && (self.knows_time() || now >= self.election.begin_at) =>
            {
                let take_over_at = now + self.delay(now);
                if now >= *self.election.take_over_at.get_or_insert(take_over_at) {
                    crate::log::info!("the leader is gone: leading the rig from now on");
                    self.lead(LeadStart::GoOn(scale), now);
                }
            }
            Some(scale) => {
                self.election.take_over_at = None;
                let wait = if self.is_sure(now) { SETTLED } else { SETTLED_UNSURE };
                let settled = self.election.synced_since.is_some_and(|since| now - since >= wait);
                let worse = |claim: Claim| self.config.priority < claim.priority;
                if settled && self.peers.leader(now).is_some_and(|leader| worse(leader.claim(now))) {
                    crate::log::info!("taking over from a leader with a lower priority");
                    self.lead(LeadStart::GoOn(scale), now);
                }
            }
            None => {
                // What was known of the scale has become too uncertain meanwhile.
                self.election.take_over_at = None;
                self.consider_beginning(now);
            }
        }
    }

    /// The time scale that this device could lead.
    pub(super) fn known_scale(&self, now: Timestamp<Local>) -> Option<Scale> {
        // A device that has just started measures the time of one that knows it, even if that is in holdover.
        let measured = || {
            let update = self.client.estimate()?;
            let sure = update.uncertainty_at(now) <= self.config.client.max_uncertainty;
            update.upstream.field.filter(|field| sure && field.timescale != 0).map(|field| Scale::of(&field))
        };
        self.time.scale().or_else(measured).or(self.election.known)
    }

    /// Whether nobody leads: no leader is heard, and no server that is in sync names one.
    fn leader_is_gone(&self, now: Timestamp<Local>) -> bool {
        if now < self.election.listens_until {
            return false;
        }
        let confirmed = self.election.confirmed;
        if let Some((leader, at)) = confirmed.filter(|(_, at)| now - *at < LEADER_SILENCE) {
            let peer = self.peers.get(leader);
            // Unless it has told since that it leaves, or follows another.
            if !peer.is_some_and(|peer| peer.advert.kind != AdvertKind::Leads && peer.heard >= at) {
                return false;
            }
        }
        // A leader that was followed, and cannot be reached any more but is heard, still leads the others.
        let blocks = |peer: &super::peers::Peer| {
            !peer.is_barred(now) || confirmed.is_some_and(|(leader, _)| leader == peer.advert.server)
        };
        !self.peers.iter().any(|peer| peer.leads(now) && blocks(peer))
    }

    /// How long this device lets others take over before it does.
    pub(super) fn delay(&self, now: Timestamp<Local>) -> Span {
        let id = f64::from(u32::try_from(self.config.identity.device >> 32).expect("32 bits"));
        BY_PRIORITY.mul_f64(f64::from(self.config.priority) / 255.0)
            + BY_CLASS * i64::from(self.config.clock_class.min(2))
            + BY_ID.mul_f64(id / f64::from(u32::MAX))
            + if self.is_sure(now) { Span::ZERO } else { IF_UNCERTAIN }
    }

    /// Whether this device knows the rig's time and its rate well enough to lead.
    fn is_sure(&self, now: Timestamp<Local>) -> bool {
        self.time.update().is_some_and(|update| {
            update.uncertainty_at(now) <= UNCERTAIN && update.estimate.skew_uncertainty <= UNCERTAIN_RATE
        })
    }

    /// Begins a time scale if nobody knows one, and no better candidate is there.
    fn consider_beginning(&mut self, now: Timestamp<Local>) {
        let own = self.claim(now);
        let follows = self.association.as_ref().is_some_and(|it| it.has_answered);
        let servers = !self.peers.ranked(own.server, false, now).is_empty();
        let better = self.hears_better_candidate(now);
        let leaders = self.peers.iter().any(|peer| peer.leads(now));
        let since = leaders.then(|| self.election.unreachable_since.unwrap_or(now));
        self.election.unreachable_since = since;
        let unreachable = since.is_some_and(|since| now - since < UNREACHABLE_LEADER);
        if follows || servers || better || unreachable {
            self.election.begin_at = self.election.begin_at.max(now + CANDIDATE_WAIT);
        } else if now >= self.election.begin_at {
            let wall = wall_time(now, self.config.wall);
            crate::log::info!("nobody knows a time scale: beginning one");
            self.lead(LeadStart::Begin { wall, id: self.config.identity.timescale }, now);
        }
    }

    /// Asks the server at once if the leader has missed an advert.
    fn suspect_leader(&mut self, now: Timestamp<Local>) {
        let Some((leader, at)) = self.election.confirmed else { return };
        let advertised = self.peers.get(leader).is_some_and(|peer| now - peer.heard < SUSPICION);
        if !advertised && now - at >= SUSPICION && self.peers.get(leader).is_some() {
            self.client.ask_now(now);
        }
    }

    /// Asks the best server, or stays with the present one if that is as good.
    fn choose_server(&mut self, now: Timestamp<Local>) {
        if self.config.named {
            if self.association.is_none() && !self.resolving {
                self.resolving = true;
                self.actions.push_back(NodeAction::Resolve);
            }
            return;
        }
        let ranked = self.peers.ranked(self.config.identity.device, self.knows_time(), now);
        let Some(best) = ranked.first() else {
            let unserved = self.association.as_ref().is_none_or(|it| !it.has_answered);
            // A better candidate asks too. Either it learns of somebody who knows the time, and leads then, or nobody knows it.
            if now >= self.next_question && unserved && !self.hears_better_candidate(now) {
                self.next_question = now + CANDIDATE_WAIT;
                self.actions.push_back(NodeAction::Ask);
            }
            return;
        };
        let server = best.advert.server;
        if !self.is_better(server, self.association.as_ref(), now) {
            return;
        }
        let addresses = best.advert.addresses.clone();
        self.associate(Some(server), addresses, now);
    }

    /// Whether `server` is better than the one that is asked: it has another time, or is nearer to the leader.
    fn is_better(&self, server: u64, present: Option<&Association>, now: Timestamp<Local>) -> bool {
        let Some(present) = present else { return true };
        let Some(best) = self.peers.get(server).and_then(|peer| peer.advert.time.as_ref()) else {
            return false;
        };
        if present.server == Some(server) {
            return false;
        }
        let field =
            self.client.upstream().filter(|_| present.has_answered).and_then(|upstream| upstream.field);
        let Some(field) = field else {
            // The present one has its time to answer.
            return self.peers.get(present.server.unwrap_or(0)).is_none_or(|peer| peer.is_barred(now));
        };
        (best.scale.id, best.leader) != (field.timescale, field.leader)
            || best.hops.len() < field.path.hops().len()
    }
}
