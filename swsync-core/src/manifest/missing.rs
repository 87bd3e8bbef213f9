//! The frames of a take that some devices lack, and why.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Hole, NumberSet, OrderIndex, Take};
use crate::grid::{FrameGrid, FrameNumber};
use crate::name::DeviceId;

const UNEXPLAINED: &str = "it has no file, and is none of the holes of take.json";
const NOT_NAMED: &str = "the device was not asked for it: it had another order, or joined later";
const ENDED: &str =
    "the device's part ended before this frame: it had another order, or others heard too late of a stop";
const UNFINISHED: &str = "the device is not done with this take: it was stopped, or records on";
const NO_TAKE: &str = "the device has no files of this take";

/// What one device has of a take.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceFrames {
    /// The device.
    pub device: DeviceId,
    /// Its `take.json`; `None` where it has no files of the take.
    pub take: Option<Take>,
    /// The frames in its manifest, by [`OrderIndex`].
    pub saved: NumberSet,
}

impl DeviceFrames {
    /// Indexes of the frames that it was asked for: those it has, those in its holes, and all from the first to the last one
    /// that the order names.
    fn asked(&self) -> NumberSet {
        let Some(take) = &self.take else { return self.saved.clone() };
        let index = take.order_index();
        let listed: NumberSet =
            self.saved.iter().chain(take.holes.iter().map(|hole| extent(index, hole))).collect();
        let first = index.index_of(take.first);
        let within =
            |(from, count): (u64, u64)| from >= first && (from - first).saturating_add(count) <= take.count;
        // Frames of an unknown order may lie anywhere.
        let all = index.has_pauses() || listed.iter().all(within);
        if all { listed.iter().chain([(first, take.count)]).collect() } else { listed }
    }

    /// Numbers of the frames that it was asked for.
    pub fn asked_numbers(&self) -> impl Iterator<Item = FrameNumber> + use<> {
        let index = self.take.as_ref().map_or(OrderIndex::of(None), Take::order_index);
        let asked: Vec<_> = self.asked().iter().collect();
        let all = asked.into_iter().flat_map(|(first, count)| first..first.saturating_add(count));
        all.map(move |at| index.number_at(at))
    }
}

/// The indexes that a hole covers, as (first, count).
fn extent(index: OrderIndex, hole: &Hole) -> (u64, u64) {
    let (first, last) = (index.index_of(hole.first), index.index_of(hole.last()));
    (first, last - first + 1)
}

/// Frames that one device lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MissingFrames {
    /// The device.
    pub device: DeviceId,
    /// The first of them.
    pub first: FrameNumber,
    /// The last of them.
    pub last: FrameNumber,
    /// How many. Fewer than `last - first + 1` if the order has pauses.
    pub count: u64,
    /// The reason, as text for the operator.
    pub why: String,
}

/// The frames that each device lacks of those that any of them was asked for: by device, then by number.
///
/// Only devices with the same frame rate are compared, since numbers at another rate mean other instants. A device without a
/// take is compared with the frame rate of most frames.
#[must_use]
pub fn missing_frames(devices: &[DeviceFrames]) -> Vec<MissingFrames> {
    let mut named: BTreeMap<(u32, u32), (OrderIndex, NumberSet)> = BTreeMap::new();
    for device in devices {
        if let Some(take) = &device.take {
            let (_, of_rate) =
                named.entry(take.grid.rate()).or_insert_with(|| (take.order_index(), NumberSet::default()));
            *of_rate = of_rate.iter().chain(device.asked().iter()).collect();
        }
    }
    let mut all_missing = Vec::new();
    for device in devices {
        let Some(take) = &device.take else {
            if let Some((index, all)) = named.values().max_by_key(|(_, runs)| runs.count()) {
                push(&mut all_missing, *index, &device.device, all, NO_TAKE);
            }
            continue;
        };
        let Some((_, all)) = named.get(&FrameGrid::rate(take.grid)) else { continue };
        let index = take.order_index();
        let mut missing = all.difference(&device.saved);
        let from = all_missing.len();
        // Takes of older versions can have very many holes, with few reasons.
        let mut holes: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
        for hole in &take.holes {
            holes.entry(&hole.why).or_default().push(extent(index, hole));
        }
        for (why, runs) in holes {
            let runs = runs.into_iter().collect();
            push(&mut all_missing, index, &device.device, &missing.intersection(&runs), why);
            missing = missing.difference(&runs);
        }
        let own = device.asked();
        push(&mut all_missing, index, &device.device, &missing.intersection(&own), UNEXPLAINED);
        let others = missing.difference(&own);
        let end = own.iter().last().map_or(0, |(first, count)| first.saturating_add(count));
        let later = NumberSet::from_iter([(end, FrameNumber::MAX - end)]);
        push(&mut all_missing, index, &device.device, &others.difference(&later), NOT_NAMED);
        let why = if take.complete { ENDED } else { UNFINISHED };
        push(&mut all_missing, index, &device.device, &others.intersection(&later), why);
        all_missing[from..].sort_by_key(|run| run.first);
    }
    all_missing
}

fn push(
    all_missing: &mut Vec<MissingFrames>,
    index: OrderIndex,
    device: &DeviceId,
    runs: &NumberSet,
    why: &str,
) {
    all_missing.extend(runs.iter().map(|(first, count)| MissingFrames {
        device: device.clone(),
        first: index.number_at(first),
        last: index.number_at(first.saturating_add(count - 1)),
        count,
        why: why.to_owned(),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::SCHEMA;
    use crate::name::Name;
    use crate::order::Fill;
    use crate::time::Timestamp;

    fn take(device: &str, rate: u32, first: u64, count: u64, holes: &[(u64, u64)]) -> Take {
        Take {
            schema: SCHEMA,
            order: Name::new("o1").unwrap(),
            ordered: serde_json::Value::Null,
            device: Name::new(device).unwrap(),
            place: Default::default(),
            host: String::new(),
            software: String::new(),
            camera: None,
            orientation: None,
            maker: None,
            settings: Default::default(),
            caps: String::new(),
            grid: FrameGrid::new(rate, 1).unwrap(),
            first,
            count,
            picture_bytes: None,
            segments: Vec::new(),
            holes: holes.iter().map(|(first, count)| Hole::run(*first, *count, "dropped")).collect(),
            lead_in: 0,
            removed: None,
            fill: Fill::None,
            started_ns: Timestamp::ZERO,
            accepted_ns: None,
            finished_ns: None,
            date: None,
            complete: true,
        }
    }

    fn device(take: Take, saved: impl IntoIterator<Item = u64>) -> DeviceFrames {
        DeviceFrames { device: take.device.clone(), take: Some(take), saved: saved.into_iter().collect() }
    }

    fn told(devices: &[DeviceFrames]) -> Vec<(String, u64, u64, String)> {
        let gaps = missing_frames(devices).into_iter();
        gaps.map(|gap| (gap.device.to_string(), gap.first, gap.count, gap.why)).collect()
    }

    fn gap(device: &str, first: u64, count: u64, why: &str) -> (String, u64, u64, String) {
        (device.into(), first, count, why.into())
    }

    #[test]
    fn each_missing_frame_has_its_reason() {
        let whole = device(take("a", 30, 100, 10, &[]), 100..110);
        let holed = device(take("b", 30, 100, 10, &[(103, 2)]), [100, 101, 102, 105, 106, 107, 109]);
        let late = device(take("c", 30, 105, 5, &[]), 105..110);
        let name = Name::new("d").unwrap();
        let absent = DeviceFrames { device: name, take: None, saved: NumberSet::default() };
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
    fn a_take_that_ended_early_is_told_from_an_unfinished_one() {
        let whole = device(take("a", 30, 100, 10, &[]), 100..110);
        let early = device(take("b", 30, 100, 4, &[]), 100..104);
        let mut unfinished = device(take("c", 30, 100, 4, &[]), 100..104);
        unfinished.take.as_mut().unwrap().complete = false;
        assert_eq!(
            told(&[whole, early, unfinished]),
            [gap("b", 104, 6, ENDED), gap("c", 104, 6, UNFINISHED)]
        );
    }

    #[test]
    fn numbers_of_other_rates_are_not_compared() {
        let slow = device(take("a", 30, 100, 10, &[]), 100..110);
        let fast = device(take("b", 60, 200, 20, &[]), 200..220);
        assert_eq!(told(&[slow, fast]), []);
    }

    #[test]
    fn frames_between_stills_are_not_missing() {
        let whole = device(take("a", 30, 100, 3, &[]), [100, 250, 400]);
        let holed = device(take("b", 30, 100, 3, &[(250, 1)]), [100, 400]);
        assert_eq!(told(&[whole, holed]), [gap("b", 250, 1, "dropped")]);
    }
    #[test]
    fn a_long_absence_in_a_time_lapse_is_one_run_and_cheap() {
        const COUNT: u64 = 300_000;
        for (every_ns, rate) in
            [(1_000_000_000_u64, (30, 1)), (130_000_000, (30, 1)), (2_000_000_000, (30_000, 1001))]
        {
            let mut lapse = take("a", 30, 0, COUNT, &[]);
            lapse.grid = FrameGrid::new(rate.0, rate.1).unwrap();
            lapse.ordered = serde_json::json!({
                "order": "o1", "at_ns": 1_800_000_000_000_000_000_u64, "kind": "still", "every_ns": every_ns,
            });
            let index = lapse.order_index();
            lapse.first = index.number_at(0);
            let frames = |lapse: &Take, is_there: fn(u64) -> bool| DeviceFrames {
                device: lapse.device.clone(),
                saved: lapse
                    .order_index()
                    .set_of((0..COUNT).filter(|p| is_there(*p)).map(|p| lapse.order_index().number_at(p))),
                take: Some(lapse.clone()),
            };
            let whole = frames(&lapse, |_| true);
            assert_eq!(whole.saved.iter().count(), 1);
            let mut absent = Take { device: Name::new("b").unwrap(), ..lapse.clone() };
            let (from, to) = (index.number_at(10), index.number_at(COUNT - 10));
            absent.holes = vec![Hole { last: Some(to), ..Hole::run(from, COUNT - 19, "switched off") }];
            // As an older version wrote it.
            let mut old = absent.clone();
            old.holes = (10..=COUNT - 10).map(|p| Hole::run(index.number_at(p), 1, "switched off")).collect();
            let there: fn(u64) -> bool = |place| !(10..=COUNT - 10).contains(&place) && place != 5;
            for other in [&absent, &old] {
                let gaps = missing_frames(&[whole.clone(), frames(other, there)]);
                let told: Vec<_> = gaps.iter().map(|g| (g.first, g.last, g.count, g.why.as_str())).collect();
                let (five, why) = (index.number_at(5), "switched off");
                assert_eq!(told, [(five, five, 1, UNEXPLAINED), (from, to, COUNT - 19, why)]);
            }
        }
    }

    #[test]
    fn a_merged_hole_is_split_by_the_frames_that_exist() {
        let mut summed = take("a", 30, 100, 10, &[]);
        summed.holes = vec![Hole { last: Some(106), ..Hole::run(102, 3, "dropped") }];
        let frames = device(summed, [100, 101, 103, 105, 107, 108, 109]);
        assert_eq!(
            told(&[frames]),
            [gap("a", 102, 1, "dropped"), gap("a", 104, 1, "dropped"), gap("a", 106, 1, "dropped")]
        );
    }
}
