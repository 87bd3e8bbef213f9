//! What devices must have in common for their frames to be of the same instants: one time scale, one frame rate, the same
//! frame numbers. Where they differ, a person is told who has what.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Answer, Order};
use crate::control::{Status, TimeScale};
use crate::frame::SyncState;
use crate::grid::{FrameGrid, FrameNumber};
use crate::name::DeviceId;
use crate::time::Span;

/// Readings of two clocks that were asked over a network are compared no finer than this, beside their round trips.
const READING: Span = Span::from_millis(1);

/// A status, and what its clock read against the clock of whoever asked.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// The status.
    pub status: &'a Status,
    /// Rig time minus the asker's own clock, at the middle between question and answer.
    pub ahead: Span,
    /// Half the time between question and answer.
    pub slack: Span,
}

/// What the devices of a rig have in common, by what most of them say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Common {
    timescales: Groups<Option<TimeScale>>,
    rates: Groups<Rate>,
    /// Devices whose clock reads something else than the others', and by how much.
    astray: BTreeMap<DeviceId, Span>,
}

impl Common {
    /// Of all devices that say something.
    #[must_use]
    pub fn of(said: &[Said<'_>]) -> Self {
        let mut common = Self::default();
        for said in said {
            if let Some(clock) = said.status.clock.filter(|clock| clock.quality != SyncState::Unsynced) {
                common.timescales.add(clock.timescale(), &said.status.device);
            }
            if let Some(frames) = &said.status.frames {
                common.rates.add(Rate(frames.rate), &said.status.device);
            }
        }
        let reference = said.iter().filter(|said| common.timescales.has(common.timescale(), said.status));
        if let Some(reference) = reference.min_by_key(|said| said.slack).copied() {
            for other in
                said.iter().filter(|said| said.status.clock.is_some_and(|c| c.quality != SyncState::Unsynced))
            {
                let (apart, limit) = (other.ahead - reference.ahead, other.slack + reference.slack + READING);
                if apart.abs() > limit {
                    common.astray.insert(other.status.device.clone(), apart);
                }
            }
        }
        common
    }

    /// The time scale that most devices are on; of two with as many the lesser. Unknown only where nobody says.
    #[must_use]
    pub fn timescale(&self) -> Option<TimeScale> {
        self.timescales.most(|timescale| timescale.is_some()).flatten()
    }

    /// The frame rate that most devices have.
    #[must_use]
    pub fn rate(&self) -> Option<FrameGrid> {
        self.rates.most(|_| true).map(|rate| rate.0)
    }

    /// Why the device with `status` does not go with the others. Empty: nothing is known against it.
    #[must_use]
    pub fn objections(&self, status: &Status) -> Vec<String> {
        let mut objections = Vec::new();
        let clock = status.clock.filter(|clock| clock.quality != SyncState::Unsynced);
        match (clock.map(|clock| clock.timescale()), self.timescale()) {
            (Some(Some(own)), Some(most)) if own != most => {
                objections.push(format!("its clock is on time scale {own}, and others are on {most}"));
            }
            (Some(None), Some(most)) => {
                objections.push(format!(
                    "it does not say which time scale its clock is on, and others are on {most}"
                ));
            }
            (Some(_), _) | (None, _) => {
                let apart = self.astray.get(&status.device).map(|apart| apart.as_secs_f64());
                objections
                    .extend(apart.map(|apart| format!("its clock is {apart:+.3} s from that of the others")));
            }
        }
        let rate = status.frames.as_ref().map(|frames| frames.rate);
        if let (Some(own), Some(most)) = (rate, self.rate())
            && own != most
        {
            objections.push(format!("it takes {} frames per second, and others {}", Rate(own), Rate(most)));
        }
        objections
    }

    /// Who has what, where they differ: for a person.
    #[must_use]
    pub fn differences(&self) -> Vec<String> {
        let timescales = self.timescales.named("time scale", scale_name);
        timescales.into_iter().chain(self.rates.named("frame rate", Rate::to_string)).collect()
    }
}

/// What answers to one order do not have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Who has what, for a person.
    pub what: String,
    /// Those that are not with the most.
    pub odd: BTreeSet<DeviceId>,
}

/// Where `answers` to `order` are not of the same instants. Frames that are whole on every device are all saved only where
/// there is none.
#[must_use]
pub fn differences<'a>(order: &Order, answers: impl IntoIterator<Item = &'a Answer>) -> Vec<Difference> {
    let (mut timescales, mut rates) = (Groups::default(), Groups::default());
    let mut numbers: BTreeMap<Option<Rate>, Groups<Numbers>> = BTreeMap::new();
    let answers: Vec<&Answer> = answers.into_iter().collect();
    let common = answers.iter().filter_map(|answer| answer.basis.rate.map(Rate)).max();
    let strays = |answer: &&Answer| {
        let why = answer.strays_from(order)?;
        Some(Difference { what: format!("{} {why}", answer.device), odd: [answer.device.clone()].into() })
    };
    let mut all: Vec<_> = answers.iter().filter_map(strays).collect();
    let astray: BTreeSet<DeviceId> = all.iter().flat_map(|difference| difference.odd.clone()).collect();
    for answer in answers {
        let (timescale, rate) = (answer.basis.timescale, answer.basis.rate.map(Rate));
        timescales.add(timescale, &answer.device);
        if let Some(rate) = rate {
            rates.add(rate, &answer.device);
        }
        if let (Some(first), Some(last)) = (answer.frames.first(), answer.frames.last())
            && !astray.contains(&answer.device)
        {
            let of = Numbers { first: first.first, last: last.last, count: answer.named() };
            numbers.entry(rate.or(common)).or_default().add(of, &answer.device);
        }
    }
    let ordered = order.timescale();
    if timescales.0.len() > 1 || ordered.is_some_and(|ordered| !timescales.0.contains_key(&Some(ordered))) {
        let odd = match ordered {
            Some(_) => timescales.but(&ordered),
            None => timescales.odd(|timescale| timescale.is_some()),
        };
        let what = match (timescales.named("time scale", scale_name), ordered) {
            (Some(what), _) => what,
            (None, ordered) => {
                let own = timescales.0.keys().next().copied().flatten();
                format!(
                    "the order is of time scale {}, and devices are on {}",
                    scale_name(&ordered),
                    scale_name(&own)
                )
            }
        };
        if !odd.is_empty() {
            all.push(Difference { what, odd });
        }
    }
    all.extend(
        rates.named("frame rate", Rate::to_string).map(|what| Difference { what, odd: rates.odd(|_| true) }),
    );
    for numbers in numbers.values() {
        let what = numbers.named("frame number", Numbers::to_string);
        all.extend(what.map(|what| Difference { what, odd: numbers.odd(|_| true) }));
    }
    all
}

fn scale_name(timescale: &Option<TimeScale>) -> String {
    timescale.map_or_else(|| "unknown".to_owned(), |timescale| timescale.to_string())
}

/// Frames per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate(FrameGrid);

impl Rate {
    /// Shorter periods last.
    fn key(self) -> (Reverse<Span>, (u32, u32)) {
        (Reverse(self.0.period()), self.0.rate())
    }
}

impl Ord for Rate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Rate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.rate() {
            (frames, 1) => write!(f, "{frames}"),
            (frames, seconds) => write!(f, "{frames}/{seconds}"),
        }
    }
}

/// The frames that an answer accounts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Numbers {
    first: FrameNumber,
    last: FrameNumber,
    count: u64,
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, count } = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last} ({count})") }
    }
}

/// Devices by what they have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Groups<K>(BTreeMap<K, BTreeSet<DeviceId>>);

impl<K> Default for Groups<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Copy> Groups<K> {
    fn add(&mut self, key: K, device: &DeviceId) {
        self.0.entry(key).or_default().insert(device.clone());
    }

    fn has(&self, key: K, status: &Status) -> bool {
        self.0.get(&key).is_some_and(|devices| devices.contains(&status.device))
    }

    /// What most have of all that are `known`, else of all; of several the least.
    fn most(&self, known: impl Fn(&K) -> bool) -> Option<K> {
        let rank = |(key, devices): &(&K, &BTreeSet<DeviceId>)| (known(key), devices.len(), Reverse(**key));
        self.0.iter().max_by_key(rank).map(|(key, _)| *key)
    }

    fn but(&self, key: &K) -> BTreeSet<DeviceId> {
        self.0.iter().filter(|(other, _)| *other != key).flat_map(|(_, devices)| devices.clone()).collect()
    }

    /// Those that do not have what most have.
    fn odd(&self, known: impl Fn(&K) -> bool) -> BTreeSet<DeviceId> {
        self.most(known).map_or_else(BTreeSet::new, |most| self.but(&most))
    }

    /// Who has what, where there is more than one.
    fn named(&self, what: &str, name: impl Fn(&K) -> String) -> Option<String> {
        let list = |devices: &BTreeSet<DeviceId>| {
            devices.iter().map(DeviceId::as_str).collect::<Vec<_>>().join(", ")
        };
        let groups: Vec<_> =
            self.0.iter().map(|(key, devices)| format!("{} on {}", name(key), list(devices))).collect();
        (groups.len() > 1).then(|| format!("{what}s differ: {}", groups.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{ClockStatus, FrameStatus, TimeSource, decode, encode};
    use crate::name::Name;
    use crate::order::testing::info;
    use crate::order::{Basis, Fate, Fill, FrameRun, Kind};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn rate(frames: u32) -> FrameGrid {
        FrameGrid::new(frames, 1).unwrap()
    }

    fn status(device: &str, timescale: Option<u64>, frames: u32) -> Status {
        let newest = info(54_000_000_000);
        let source = |timescale| TimeSource { stratum: 1, leader: 1, timescale, least_delay_ns: Span::ZERO };
        Status {
            device: name(device),
            software: "test".into(),
            clock: Some(ClockStatus {
                quality: SyncState::Synced,
                rig_time_ns: newest.rig_time_ns,
                offset_ns: Span::ZERO,
                uncertainty_ns: None,
                skew_ppm: 0.0,
                round_trip_ns: None,
                source: timescale.map(source),
            }),
            frames: Some(FrameStatus {
                newest,
                rate: rate(frames),
                bytes_per_second: 1,
                ring_frames: 1,
                ring_bytes: 1,
                oldest: 54_000_000_000,
                latency_ns: Span::ZERO,
            }),
            storage: None,
            open: Vec::new(),
            saved: 0,
            missed: 0,
            problems: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn said(status: &Status, ahead: Span) -> Said<'_> {
        Said { status, ahead, slack: Span::from_millis(2) }
    }

    #[test]
    fn the_many_are_right_and_the_unknown_are_never_the_same() {
        let statuses = [
            status("a", Some(7), 30),
            status("b", Some(7), 30),
            status("c", Some(8), 30),
            status("d", None, 25),
            status("e", None, 30),
            status("f", None, 30),
        ];
        let all: Vec<_> = statuses.iter().map(|status| said(status, Span::ZERO)).collect();
        let common = Common::of(&all);
        assert_eq!((common.timescale(), common.rate()), (Some(TimeScale(7)), Some(rate(30))));
        let objections: Vec<_> = statuses.iter().map(|status| common.objections(status).len()).collect();
        assert_eq!(objections, [0, 0, 1, 2, 1, 1]);
        assert_eq!(common.differences().len(), 2, "{:?}", common.differences());
        assert_eq!(Common::of(&[]).differences(), Vec::<String>::new());
    }

    #[test]
    fn where_nobody_says_readings_tell() {
        let statuses = ["a", "b", "c"].map(|device| status(device, None, 30));
        let ahead = [Span::ZERO, Span::from_millis(3), Span::from_secs(5)];
        let all: Vec<_> = statuses.iter().zip(ahead).map(|(status, ahead)| said(status, ahead)).collect();
        let common = Common::of(&all);
        assert!(common.objections(&statuses[0]).is_empty() && common.objections(&statuses[1]).is_empty());
        assert_eq!(common.objections(&statuses[2]), ["its clock is +5.000 s from that of the others"]);
    }

    fn answer(
        device: &str,
        basis: (Option<u64>, Option<u32>),
        frames: std::ops::RangeInclusive<u64>,
    ) -> Answer {
        let missed = |number| FrameRun::one(number, Fate::Missed { why: String::new() });
        Answer {
            order: name("o"),
            device: name(device),
            frames: frames.map(missed).collect(),
            unnumbered: None,
            unfinished: None,
            basis: Basis { timescale: basis.0.map(TimeScale), rate: basis.1.map(rate) },
        }
    }

    fn order(timescale: Option<u64>) -> Order {
        // Until it is stopped: the devices decide how far.
        let kind = Kind::Take { segment: None, fill: Fill::Hold };
        let order = Order::new(name("o"), rate(30).instant(5), None, kind).unwrap();
        order.on_timescale(timescale.map(TimeScale))
    }

    fn odd(order: &Order, answers: &[Answer]) -> Vec<(String, Vec<String>)> {
        let said = |difference: Difference| {
            (difference.what, difference.odd.iter().map(ToString::to_string).collect())
        };
        differences(order, answers).into_iter().map(said).collect()
    }

    #[test]
    fn answers_of_the_same_instants_agree() {
        let alike = |basis| [answer("a", basis, 5..=7), answer("b", basis, 5..=7)];
        for (ordered, basis) in
            [(None, (None, Some(30))), (Some(7), (Some(7), Some(30))), (None, (Some(7), Some(30)))]
        {
            assert_eq!(odd(&order(ordered), &alike(basis)), []);
        }
        let unknown = odd(&order(None), &alike((None, None)));
        assert_eq!(unknown.len(), 2, "whose rate is not known is not known to agree: {unknown:?}");
    }

    #[test]
    fn answers_of_other_instants_are_named() {
        let [a, b] = [answer("a", (Some(7), Some(30)), 5..=7), answer("b", (Some(7), Some(30)), 5..=7)];
        let one = |order: &Order, other: Answer| {
            let all = odd(order, &[a.clone(), b.clone(), other]);
            let [(what, odd)] = <[_; 1]>::try_from(all).unwrap();
            assert_eq!(odd, ["c"], "{what}");
            what
        };
        let what = one(&order(Some(7)), answer("c", (Some(8), Some(30)), 5..=7));
        assert_eq!(what, "time scales differ: 0000000000000007 on a, b; 0000000000000008 on c");
        let what = one(&order(None), answer("c", (None, Some(30)), 5..=7));
        assert_eq!(what, "time scales differ: unknown on c; 0000000000000007 on a, b");
        let begin = order(Some(7)).named(rate(25)).first();
        let what = one(&order(Some(7)), answer("c", (Some(7), Some(25)), begin..=begin + 2));
        assert_eq!(what, "frame rates differ: 25 on c; 30 on a, b");
        for (numbers, rate, expected) in [
            (5..=8, Some(30), "frame numbers differ: 5-7 (3) on a, b; 5-8 (4) on c"),
            (6..=8, Some(30), "c answers for frames from 6 on, where it was asked for those from 5 on"),
            (5..=7, None, "c does not say at which rate"),
        ] {
            let what = one(&order(Some(7)), answer("c", (Some(7), rate), numbers));
            assert!(what.starts_with(expected), "{what}");
        }
    }

    #[test]
    fn all_on_another_time_scale_than_the_orders_are_named_too() {
        let answers = ["a", "b"].map(|device| answer(device, (Some(8), Some(30)), 5..=5));
        let all = odd(&order(Some(7)), &answers);
        assert_eq!(all[0].1, ["a", "b"]);
        assert!(all[0].0.contains("the order is of time scale 0000000000000007"), "{all:?}");
    }

    #[test]
    fn messages_of_before_say_nothing_of_it() {
        let answer = answer("a", (None, None), 5..=5);
        let text = String::from_utf8(encode(&answer)).unwrap();
        assert!(!text.contains("timescale") && !text.contains("rate"), "{text}");
        assert_eq!(decode::<Answer>(text.as_bytes()).unwrap(), answer);
        let ordered = String::from_utf8(encode(&order(Some(7)))).unwrap();
        assert!(ordered.contains("\"timescale\":7"), "{ordered}");
        assert_eq!(decode::<Order>(ordered.as_bytes()).unwrap().timescale(), Some(TimeScale(7)));
    }
}
