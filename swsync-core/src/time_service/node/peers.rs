//! The other time servers of the rig, as adverts and requests tell of them.

use std::collections::BTreeMap;

use crate::time::{Local, Span, Timestamp};
use crate::time_service::advert::{AdvertKind, Claim, TimeAdvert};

/// A leader that has not been heard for this long is gone, unless its clients hear it.
pub(super) const LEADER_SILENCE: Span = Span::from_millis(1_500);
/// What a server told stays of use for this long.
const LIFETIME: Span = Span::from_secs(30);
/// Most servers that are remembered.
const MOST: usize = 512;
/// How long a server that did not serve is left alone at first, and at most. The time doubles.
const FIRST_BAR: Span = Span::from_secs(10);
const LONGEST_BAR: Span = Span::from_secs(300);

/// Another time server.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub advert: TimeAdvert,
    /// When that was heard.
    pub heard: Timestamp<Local>,
    /// It did not serve: until when it is left alone, and how long that was.
    barred: Option<(Timestamp<Local>, Span)>,
}

impl Peer {
    /// Whether it has told lately that it leads.
    pub fn leads(&self, now: Timestamp<Local>) -> bool {
        self.advert.kind == AdvertKind::Leads
            && now - self.heard < LEADER_SILENCE
            && self.advert.time.is_some()
    }

    pub fn is_barred(&self, now: Timestamp<Local>) -> bool {
        self.barred.is_some_and(|(until, _)| now < until)
    }

    pub fn claim(&self, now: Timestamp<Local>) -> Claim {
        Claim::of(&self.advert, self.heard, now)
    }
}

/// The other time servers of the rig.
#[derive(Debug, Default)]
pub(super) struct Peers(BTreeMap<u64, Peer>);

impl Peers {
    /// Notes what a server tells.
    pub fn note(&mut self, advert: TimeAdvert, now: Timestamp<Local>) {
        if !self.0.contains_key(&advert.server) && self.0.len() == MOST {
            let oldest = self.0.iter().min_by_key(|(_, peer)| peer.heard).map(|(server, _)| *server);
            self.0.remove(&oldest.expect("512 peers"));
        }
        let barred = self.0.get(&advert.server).and_then(|peer| {
            // Another address deserves another try.
            peer.barred.filter(|_| advert.addresses.iter().all(|it| peer.advert.addresses.contains(it)))
        });
        self.0.insert(advert.server, Peer { advert, heard: now, barred });
    }

    /// Forgets who has not been heard for long. A bar is remembered as long as it lasts.
    pub fn expire(&mut self, now: Timestamp<Local>) {
        self.0.retain(|_, peer| now - peer.heard < LIFETIME || peer.is_barred(now));
    }

    pub fn get(&self, server: u64) -> Option<&Peer> {
        self.0.get(&server)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.0.values()
    }

    /// `server` did not serve.
    pub fn bar(&mut self, server: u64, now: Timestamp<Local>) {
        if let Some(peer) = self.0.get_mut(&server) {
            let time = peer.barred.map_or(FIRST_BAR, |(_, time)| (time * 2).min(LONGEST_BAR));
            peer.barred = Some((now + time, time));
        }
    }

    /// `server` serves.
    pub fn lift_bar(&mut self, server: u64) {
        if let Some(peer) = self.0.get_mut(&server) {
            peer.barred = None;
        }
    }

    /// Of those that say that they lead and are not barred, the one that comes first.
    pub fn leader(&self, now: Timestamp<Local>) -> Option<&Peer> {
        let leaders = self.0.values().filter(|peer| peer.leads(now) && !peer.is_barred(now));
        leaders.min_by(|one, two| one.claim(now).compare(&two.claim(now)))
    }

    /// The servers that can be followed by `own`, the best one first. `known`: rig time is known, so a server that is not
    /// settled is of no use.
    ///
    /// First comes the scale that counts, of it the leader that comes first, then those that are nearest to the leader, and of those the
    /// one with most room.
    pub fn ranked(&self, own: u64, known: bool, now: Timestamp<Local>) -> Vec<&Peer> {
        let leader = self.leader(now).map(|peer| peer.advert.server);
        let usable = |peer: &&Peer| {
            let serves = match peer.advert.kind {
                AdvertKind::Leads => peer.leads(now),
                AdvertKind::Serves => now - peer.heard < LIFETIME,
                AdvertKind::Candidate | AdvertKind::Leaves => false,
            };
            let good = |time: &super::AdvertisedTime| {
                (time.settled || !known) && time.leader != own && !time.hops.contains(&own)
            };
            serves
                && !peer.is_barred(now)
                && !peer.advert.addresses.is_empty()
                && peer.advert.room > 0
                && peer.advert.time.as_ref().is_some_and(good)
        };
        let mut usable: Vec<&Peer> = self.0.values().filter(usable).collect();
        // Whether one scale counts before another is no total order, since ages are compared roughly: not to be sorted by, which panics.
        let age = |peer: &Peer| now - peer.heard;
        let times = usable.iter().filter_map(|peer| Some((peer.advert.time.as_ref()?, age(peer))));
        let best = times
            .min_by(|(a, one), (b, two)| a.scale.compare(a.now + *one, &b.scale, b.now + *two))
            .map(|(time, _)| time.scale.id);
        usable.sort_by_key(|peer| {
            let time = peer.advert.time.as_ref();
            let is = |what: &dyn Fn(&super::AdvertisedTime) -> bool| time.is_some_and(what);
            (
                !is(&|time| Some(time.scale.id) == best),
                !is(&|time| time.settled),
                !is(&|time| Some(time.leader) == leader),
                time.map(|time| time.hops.len()),
                std::cmp::Reverse(peer.advert.room),
            )
        });
        usable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time_service::Scale;
    use crate::time_service::advert::AdvertisedTime;

    #[test]
    fn servers_of_many_scales_of_about_one_age_are_ranked() {
        let now = Timestamp::ZERO + Span::from_secs(100);
        let mut peers = Peers::default();
        for server in 1..=200_u64 {
            let ms = i64::try_from(server * 7_919 % 2_000).unwrap();
            let scale = Scale {
                id: server * 104_729 % 1_009,
                began: Timestamp::ZERO + Span::from_millis(ms),
                traceable: false,
            };
            let time = AdvertisedTime {
                scale,
                now: Timestamp::ZERO + Span::from_secs(50),
                leader: server,
                hops: Vec::new(),
                settled: true,
                uncertainty_ns: Span::ZERO,
            };
            let advert = TimeAdvert {
                server,
                device: String::new(),
                kind: AdvertKind::Leads,
                priority: 128,
                clock_class: 2,
                time: Some(time),
                addresses: vec![([10, 0, 0, 1], 1).into()],
                room: 1,
            };
            peers.note(advert, now);
        }
        assert_eq!(peers.ranked(0, false, now).len(), 200);
    }
}
