//! What of a take some devices lack, and why.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Take;
use crate::grid::{FrameGrid, FrameNumber};
use crate::name::DeviceId;

/// Why, where nobody says.
const UNEXPLAINED: &str = "it has no file, and is none of the holes of take.json";
const NOT_NAMED: &str = "the device was not asked for it: it had another order, or joined later";
const NO_TAKE: &str = "the device has no files of this take";

/// Frame numbers, as runs in order that do not touch: a take of hours fits few of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runs(Vec<(FrameNumber, u64)>);

impl FromIterator<FrameNumber> for Runs {
    fn from_iter<I: IntoIterator<Item = FrameNumber>>(numbers: I) -> Self {
        numbers.into_iter().map(|number| (number, 1)).collect()
    }
}

impl FromIterator<(FrameNumber, u64)> for Runs {
    /// From runs (first, count) in any order, be it that they overlap.
    fn from_iter<I: IntoIterator<Item = (FrameNumber, u64)>>(runs: I) -> Self {
        let mut this = Self::default();
        for (first, count) in runs {
            match this.0.last_mut() {
                // In order, as manifests are.
                Some((last, length)) if last.saturating_add(*length) == first => {
                    *length = length.saturating_add(count)
                }
                _ if count > 0 => this.0.push((first, count)),
                _ => (),
            }
        }
        this.0.sort_unstable();
        let mut joined: Vec<(FrameNumber, u64)> = Vec::with_capacity(this.0.len());
        for (first, count) in this.0 {
            match joined.last_mut() {
                Some((last, length)) if first <= last.saturating_add(*length) => {
                    *length = (*length).max((first - *last).saturating_add(count));
                }
                _ => joined.push((first, count)),
            }
        }
        Self(joined)
    }
}

impl Runs {
    /// The runs: first number and count.
    pub fn iter(&self) -> impl Iterator<Item = (FrameNumber, u64)> {
        self.0.iter().copied()
    }

    /// How many numbers.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Those that are in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        let (mut a, mut b) = (self.iter().peekable(), other.iter().peekable());
        while let (Some((first_a, count_a)), Some((first_b, count_b))) = (a.peek(), b.peek()) {
            let (end_a, end_b) = (first_a.saturating_add(*count_a), first_b.saturating_add(*count_b));
            let (first, end) = (*first_a.max(first_b), end_a.min(end_b));
            if first < end {
                both.push((first, end - first));
            }
            if end_a <= end_b {
                a.next();
            } else {
                b.next();
            }
        }
        Self(both)
    }

    /// Those that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for (first, count) in self.iter() {
            let (mut from, end) = (first, first.saturating_add(count));
            for (taken, length) in other.iter().skip_while(|(taken, n)| taken.saturating_add(*n) <= first) {
                if taken >= end {
                    break;
                }
                if taken > from {
                    left.push((from, taken - from));
                }
                from = from.max(taken.saturating_add(length));
            }
            if from < end {
                left.push((from, end - from));
            }
        }
        Self(left)
    }
}

/// What one device has of a take.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceFrames {
    /// The device.
    pub device: DeviceId,
    /// Its `take.json`; `None` where it has no files of the take.
    pub take: Option<Take>,
    /// The frames in its manifest.
    pub saved: Runs,
}

impl DeviceFrames {
    /// The frames that it was asked for: what it has, what it says it lacks, and what lies between the first and
    /// the last number of an order without pauses.
    #[must_use]
    pub fn asked(&self) -> Runs {
        let Some(take) = &self.take else { return self.saved.clone() };
        let holes = take.holes.iter().map(|hole| (hole.first, hole.count));
        let told: Runs = self.saved.iter().chain(holes).collect();
        let within = |(first, count): (FrameNumber, u64)| {
            first >= take.first && (first - take.first).saturating_add(count) <= take.count
        };
        if told.iter().all(within) { Runs::from_iter([(take.first, take.count)]) } else { told }
    }
}

/// Frames that one device lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The device.
    pub device: DeviceId,
    /// The first of them.
    pub first: FrameNumber,
    /// How many, one after the other.
    pub count: u64,
    /// Why, for a person.
    pub why: String,
}

/// The frames that each of `devices` lacks of those that any of them was asked for: by device, then by number.
///
/// Numbers are compared between devices of one frame rate; those of another rate name other instants. A
/// device without a take is compared with everyone.
#[must_use]
pub fn gaps(devices: &[DeviceFrames]) -> Vec<Gap> {
    let mut named: BTreeMap<(u32, u32), Runs> = BTreeMap::new();
    for device in devices {
        if let Some(take) = &device.take {
            let of_rate = named.entry(take.grid.rate()).or_default();
            *of_rate = of_rate.iter().chain(device.asked().iter()).collect();
        }
    }
    let mut gaps = Vec::new();
    for device in devices {
        let Some(take) = &device.take else {
            // Whichever rate it has: the one that most have been asked for.
            if let Some(all) = named.values().max_by_key(|runs| runs.count()) {
                push(&mut gaps, &device.device, all, NO_TAKE);
            }
            continue;
        };
        let Some(all) = named.get(&FrameGrid::rate(take.grid)) else { continue };
        let mut missing = all.without(&device.saved);
        let from = gaps.len();
        for hole in &take.holes {
            let run = Runs::from_iter([(hole.first, hole.count)]);
            push(&mut gaps, &device.device, &missing.and(&run), &hole.why);
            missing = missing.without(&run);
        }
        let own = device.asked();
        push(&mut gaps, &device.device, &missing.and(&own), UNEXPLAINED);
        push(&mut gaps, &device.device, &missing.without(&own), NOT_NAMED);
        gaps[from..].sort_by_key(|gap| gap.first);
    }
    gaps
}

fn push(gaps: &mut Vec<Gap>, device: &DeviceId, runs: &Runs, why: &str) {
    gaps.extend(runs.iter().map(|(first, count)| Gap {
        device: device.clone(),
        first,
        count,
        why: why.to_owned(),
    }));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::manifest::{Hole, SCHEMA};
    use crate::name::Name;
    use crate::order::Fill;
    use crate::time::Timestamp;

    fn take(device: &str, rate: u32, first: u64, count: u64, holes: &[(u64, u64)]) -> Take {
        Take {
            schema: SCHEMA,
            order: Name::new("o1").unwrap(),
            ordered: serde_json::Value::Null,
            device: Name::new(device).unwrap(),
            host: String::new(),
            software: String::new(),
            camera: None,
            maker: None,
            settings: Default::default(),
            caps: String::new(),
            grid: FrameGrid::new(rate, 1).unwrap(),
            first,
            count,
            segments: Vec::new(),
            holes: holes
                .iter()
                .map(|(first, count)| Hole { first: *first, count: *count, why: "dropped".into() })
                .collect(),
            lead_in: 0,
            removed: None,
            fill: Fill::None,
            started_ns: Timestamp::ZERO,
            accepted_ns: None,
            finished_ns: None,
            complete: true,
        }
    }

    fn device(take: Take, saved: impl IntoIterator<Item = u64>) -> DeviceFrames {
        DeviceFrames { device: take.device.clone(), take: Some(take), saved: saved.into_iter().collect() }
    }

    fn told(devices: &[DeviceFrames]) -> Vec<(String, u64, u64, String)> {
        let gaps = gaps(devices).into_iter();
        gaps.map(|gap| (gap.device.to_string(), gap.first, gap.count, gap.why)).collect()
    }

    fn gap(device: &str, first: u64, count: u64, why: &str) -> (String, u64, u64, String) {
        (device.into(), first, count, why.into())
    }

    #[test]
    fn each_lack_has_its_reason() {
        let whole = device(take("a", 30, 100, 10, &[]), 100..110);
        let holed = device(take("b", 30, 100, 10, &[(103, 2)]), [100, 101, 102, 105, 106, 107, 109]);
        let late = device(take("c", 30, 105, 5, &[]), 105..110);
        let name = Name::new("d").unwrap();
        let absent = DeviceFrames { device: name, take: None, saved: Runs::default() };
        assert_eq!(
            told(&[whole.clone(), holed, late, absent]),
            [
                gap("b", 103, 2, "dropped"),
                gap("b", 108, 1, UNEXPLAINED),
                gap("c", 100, 5, NOT_NAMED),
                gap("d", 100, 10, NO_TAKE),
            ]
        );
        assert_eq!(told(&[whole]), []);
    }

    #[test]
    fn numbers_of_other_rates_are_not_compared() {
        let slow = device(take("a", 30, 100, 10, &[]), 100..110);
        let fast = device(take("b", 60, 200, 20, &[]), 200..220);
        assert_eq!(told(&[slow, fast]), []);
    }

    #[test]
    fn stills_now_and_then_lack_nothing_in_between() {
        let whole = device(take("a", 30, 100, 3, &[]), [100, 250, 400]);
        let holed = device(take("b", 30, 100, 3, &[(250, 1)]), [100, 400]);
        assert_eq!(told(&[whole, holed]), [gap("b", 250, 1, "dropped")]);
    }

    fn numbers(runs: &Runs) -> BTreeSet<u64> {
        runs.iter().flat_map(|(first, count)| first..first + count).collect()
    }

    proptest! {
        #[test]
        fn runs_are_sets(
            a in proptest::collection::vec((0_u64..60, 0_u64..8), 0..12),
            b in proptest::collection::vec((0_u64..60, 0_u64..8), 0..12),
        ) {
            let set = |runs: &[(u64, u64)]| -> BTreeSet<u64> {
                runs.iter().flat_map(|(first, count)| *first..first + count).collect()
            };
            let (set_a, set_b) = (set(&a), set(&b));
            let (runs_a, runs_b): (Runs, Runs) = (a.into_iter().collect(), b.into_iter().collect());
            prop_assert_eq!(numbers(&runs_a), set_a.clone());
            prop_assert_eq!(runs_a.count(), set_a.len() as u64);
            prop_assert_eq!(numbers(&runs_a.and(&runs_b)), &set_a & &set_b);
            prop_assert_eq!(numbers(&runs_a.without(&runs_b)), &set_a - &set_b);
            prop_assert_eq!(&set_a.into_iter().collect::<Runs>(), &runs_a, "one form for one set");
        }
    }
}
