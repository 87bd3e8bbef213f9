//! What a device tells the others of its rig about the time that it serves: a message of the control plane.

use std::cmp::Ordering;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::rig_time::RigTime;
use super::scale::Scale;
use super::status::{Identity, ServerStatus};
use crate::bounded;
use crate::ntp::{self, MAX_HOPS, RigField};
use crate::time::{Local, Rig, Span, Timestamp};

/// Most addresses of an advert. Chosen: four networks with an address of each family, twice. Each is tried in turn, so a
/// stranger must not announce thousands.
pub const MAX_ADDRESSES: usize = 16;

/// What can be said of the oscillator or source that a device would lead the rig by. Less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClockClass {
    /// It follows a source outside the rig.
    Source = 0,
    /// Its wall clock is kept by NTP or PTP, says the kernel.
    KeptWall = 1,
    /// Its wall clock may be anything.
    Free = 2,
}

/// What the sender of a [`TimeAdvert`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdvertKind {
    /// It leads the rig.
    Leads,
    /// It follows, and serves the time that it follows.
    Serves,
    /// It knows no time, and begins a time scale unless somebody knows one or comes before it.
    Candidate,
    /// It stops.
    Leaves,
}

/// What a device tells about the time that it serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimeAdvert {
    /// Id of the time server.
    pub server: u64,
    /// The device, as an operator calls it.
    #[serde(deserialize_with = "bounded::text")]
    pub device: String,
    /// What it does.
    pub kind: AdvertKind,
    /// Its priority in an election: 0 comes first.
    pub priority: u8,
    /// Its [`ClockClass`].
    pub clock_class: u8,
    /// The time scale that it is on, if it knows rig time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<AdvertisedTime>,
    /// Where it serves time, the likeliest address first.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_ADDRESSES>")]
    pub addresses: Vec<SocketAddr>,
    /// How many more clients it takes.
    pub room: u32,
}

/// What a device tells of itself in each of its adverts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertiser {
    /// The device, as an operator calls it.
    pub device: String,
    /// The identity of its time server.
    pub identity: Identity,
    /// Whether it leads if it is elected.
    pub can_lead: bool,
    /// Its priority in an election: 0 comes first.
    pub priority: u8,
    /// Its [`ClockClass`].
    pub clock_class: u8,
}

impl Advertiser {
    /// What the device tells if its clock is `time`. The caller adds addresses and room.
    #[must_use]
    pub fn advert(&self, time: &RigTime, now: Timestamp<Local>) -> TimeAdvert {
        let status = time.server_status(&self.identity, now);
        let time = AdvertisedTime::of(&status, time.served_at(now));
        let kind = match &time {
            // Also one that follows a source outside the rig.
            Some(time) if time.leader == self.identity.device => AdvertKind::Leads,
            None if self.can_lead => AdvertKind::Candidate,
            Some(_) | None => AdvertKind::Serves,
        };
        TimeAdvert {
            server: self.identity.device,
            device: self.device.clone(),
            kind,
            priority: self.priority,
            clock_class: self.clock_class,
            time,
            addresses: Vec::new(),
            room: u32::MAX,
        }
    }
}

/// The time of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdvertisedTime {
    /// The time scale.
    pub scale: Scale,
    /// Rig time when this was written.
    #[serde(rename = "rig_time_ns")]
    pub now: Timestamp<Rig>,
    /// Id of the leader.
    pub leader: u64,
    /// Ids of the servers between the leader and this one, this one included unless it leads.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_HOPS>")]
    pub hops: Vec<u64>,
    /// Whether its clock is in sync.
    pub settled: bool,
    /// Error of its clock, 1 sigma.
    pub uncertainty_ns: Span,
}

impl AdvertisedTime {
    /// What `status` says of a clock that reads `now`. `None`: it does not know the time.
    #[must_use]
    pub fn of(status: &ServerStatus, now: Timestamp<Rig>) -> Option<Self> {
        (status.leap != ntp::LEAP_UNSYNCHRONIZED).then(|| Self::of_field(&status.field, now))
    }

    /// What the sender of `field` says of its clock, which reads `now`.
    #[must_use]
    pub fn of_field(field: &RigField, now: Timestamp<Rig>) -> Self {
        Self {
            scale: Scale::of(field),
            now,
            leader: field.leader,
            hops: field.path.hops().to_vec(),
            settled: !field.unsettled,
            uncertainty_ns: Span::from_nanos(i64::from(field.uncertainty_ns)),
        }
    }
}

/// What two devices are compared by when one of them is to lead: a claim to lead the rig.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// The time scale that the device would lead, and what it reads now.
    pub scale: Option<(Scale, Timestamp<Rig>)>,
    /// Its priority.
    pub priority: u8,
    /// Its clock class.
    pub clock_class: u8,
    /// Its id.
    pub server: u64,
}

impl Claim {
    /// The claim of the device that sent `advert` when the local clock read `heard`, if that reads `now`.
    #[must_use]
    pub fn of(advert: &TimeAdvert, heard: Timestamp<Local>, now: Timestamp<Local>) -> Self {
        Self {
            scale: advert.time.as_ref().map(|time| (time.scale, time.now + (now - heard))),
            priority: advert.priority,
            clock_class: advert.clock_class,
            server: advert.server,
        }
    }

    /// Which of two devices comes first, [`Ordering::Less`] being this one: the one that knows the time scale that counts,
    /// then by priority, clock class and id, as in PTP (IEEE 1588, best master clock algorithm).
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        let scales = match (self.scale, other.scale) {
            (Some((one, now)), Some((two, two_now))) => one.compare(now, &two, two_now),
            (one, two) => two.is_some().cmp(&one.is_some()),
        };
        let rank = |claim: &Self| (claim.priority, claim.clock_class, claim.server);
        scales.then_with(|| rank(self).cmp(&rank(other)))
    }

    /// Whether this device leads rather than `other`.
    #[must_use]
    pub fn comes_before(&self, other: &Self) -> bool {
        self.compare(other) == Ordering::Less
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_ranked_by_scale_priority_class_and_id() {
        let now = Timestamp::ZERO + Span::from_secs(1_000);
        let scale = |id, began| {
            (Scale { id, began: Timestamp::ZERO + Span::from_secs(began), traceable: false }, now)
        };
        let claim = |scale, priority, clock_class, server| Claim { scale, priority, clock_class, server };
        let ranked = [
            claim(Some(scale(5, 10)), 200, 2, 9),
            claim(Some(scale(4, 20)), 0, 0, 1),
            claim(Some(scale(4, 20)), 0, 0, 2),
            claim(Some(scale(4, 20)), 0, 1, 1),
            claim(Some(scale(4, 20)), 1, 0, 1),
            claim(None, 0, 0, 1),
        ];
        for (i, one) in ranked.iter().enumerate() {
            for (j, two) in ranked.iter().enumerate() {
                assert_eq!(one.compare(two), i.cmp(&j), "{i} {j}");
            }
        }
    }

    #[test]
    fn an_advert_has_few_addresses_and_hops() {
        let json = |addresses: usize, hops: usize| {
            let time = serde_json::json!({
                "scale": {"id": 1, "began_ns": 0}, "rig_time_ns": 5, "leader": 7, "hops": vec![1; hops],
                "settled": true, "uncertainty_ns": 0,
            });
            serde_json::json!({
                "server": 1, "device": "a", "kind": "leads", "priority": 0, "clock_class": 0, "time": time,
                "addresses": vec!["10.0.0.7:11123"; addresses], "room": 1,
            })
        };
        let parse = |json| serde_json::from_value::<TimeAdvert>(json);
        assert!(parse(json(MAX_ADDRESSES, MAX_HOPS)).is_ok());
        assert!(parse(json(MAX_ADDRESSES + 1, MAX_HOPS)).is_err());
        assert!(parse(json(MAX_ADDRESSES, MAX_HOPS + 1)).is_err());
    }

    #[test]
    fn an_advert_survives_json() {
        let advert = TimeAdvert {
            server: u64::MAX,
            device: "pi3".into(),
            kind: AdvertKind::Leads,
            priority: 128,
            clock_class: 2,
            time: Some(AdvertisedTime::of_field(
                &RigField { timescale: 7, ..RigField::default() },
                Timestamp::ZERO,
            )),
            addresses: vec!["10.0.0.7:11123".parse().unwrap()],
            room: 3,
        };
        let json = serde_json::to_string(&advert).unwrap();
        assert_eq!(serde_json::from_str::<TimeAdvert>(&json).unwrap(), advert);
    }
}
