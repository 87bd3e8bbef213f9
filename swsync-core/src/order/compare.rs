//! Comparing answers: with the order that they answer, and with each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::groups::{Groups, Rate, timescale_name};
use super::{Answer, FrameOutcome, MAX_FRAME_OFFSET, Order};
use crate::grid::FrameNumber;
use crate::message::TimeScale;
use crate::name::DeviceId;

impl Answer {
    /// How this answer differs from an account of the frames that `order` names, as text for the operator. `None`: it does
    /// not, or it says itself that it is incomplete.
    ///
    /// How far an order without an end goes is left to the device.
    #[must_use]
    pub fn deviation_from(&self, order: &Order) -> Option<String> {
        if self.unnumbered.is_some() || self.unfinished.is_some() {
            return None;
        }
        let (Some(first), Some(last)) = (self.frames.first(), self.frames.last()) else {
            let named = self.basis.rate.and_then(|grid| order.named(grid).count()).unwrap_or(0);
            return (named > 0)
                .then(|| format!("accounts for none of the {named} frames that were asked for"));
        };
        let Some(grid) = self.basis.rate else {
            return Some(
                "does not say at which rate its frames are numbered, so they cannot be checked".into(),
            );
        };
        let named = order.named(grid);
        let begin = named.first();
        if first.first != begin {
            let off = grid.instant(first.first) - grid.instant(begin);
            return Some(format!(
                "answers for frames from {} on, where it was asked for those from {begin} on, {:.3} s from there",
                first.first,
                off.abs().as_secs_f64()
            ));
        }
        let taken = self.frames.iter().find_map(|run| match &run.outcome {
            FrameOutcome::Saved { info, .. } => Some((run.first, info.rig_time_ns)),
            _ => None,
        });
        if let Some((number, at)) = taken
            && let off = at - grid.instant(number)
            && off.abs() > MAX_FRAME_OFFSET
        {
            return Some(format!(
                "took its frame {number} {:.3} s from where it was asked for",
                off.abs().as_secs_f64()
            ));
        }
        let count = named.count()?;
        (self.named() != count).then(|| {
            format!(
                "accounts for {} frames, {} to {}, where it was asked for {count}",
                self.named(),
                first.first,
                last.last
            )
        })
    }
}

/// A difference between the answers to one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// Which device has what, as text for the operator.
    pub what: String,
    /// The devices that differ from the order or from the majority.
    pub devices: BTreeSet<DeviceId>,
}

/// How `answers` to `order` differ in the instants that they are for. If there is no disagreement, a frame number means the
/// same instant on every device.
#[must_use]
pub fn disagreements<'a>(order: &Order, answers: impl IntoIterator<Item = &'a Answer>) -> Vec<Disagreement> {
    let answers: Vec<&Answer> = answers.into_iter().collect();
    let deviation = |answer: &&Answer| {
        let why = answer.deviation_from(order)?;
        let devices = [answer.device.clone()].into();
        Some(Disagreement { what: format!("{} {why}", answer.device), devices })
    };
    let mut all: Vec<_> = answers.iter().filter_map(deviation).collect();
    let deviating: BTreeSet<DeviceId> = all.iter().flat_map(|deviation| deviation.devices.clone()).collect();
    let (mut timescales, mut rates) = (Groups::default(), Groups::default());
    let mut numbers: BTreeMap<Option<Rate>, Groups<Numbers>> = BTreeMap::new();
    let fallback = answers.iter().filter_map(|answer| answer.basis.rate.map(Rate)).max();
    for answer in answers {
        let rate = answer.basis.rate.map(Rate);
        timescales.add(answer.basis.timescale, &answer.device);
        if let Some(rate) = rate {
            rates.add(rate, &answer.device);
        }
        if let (Some(first), Some(last)) = (answer.frames.first(), answer.frames.last())
            && !deviating.contains(&answer.device)
        {
            let of = Numbers { first: first.first, last: last.last, count: answer.named() };
            numbers.entry(rate.or(fallback)).or_default().add(of, &answer.device);
        }
    }
    all.extend(timescale_disagreement(order, &timescales));
    let rate_text = rates.describe("frame rate", Rate::to_string);
    all.extend(rate_text.map(|what| Disagreement { what, devices: rates.minority(|_| true) }));
    for numbers in numbers.values() {
        let what = numbers.describe("frame number", Numbers::to_string);
        all.extend(what.map(|what| Disagreement { what, devices: numbers.minority(|_| true) }));
    }
    all
}

/// The devices whose time scale is not that of the order, or of the majority if the order states none.
fn timescale_disagreement(order: &Order, timescales: &Groups<Option<TimeScale>>) -> Option<Disagreement> {
    let ordered = order.timescale();
    let devices = match ordered {
        Some(_) => timescales.others(&ordered),
        None => timescales.minority(Option::is_some),
    };
    if devices.is_empty() {
        return None;
    }
    let what = timescales.describe("time scale", timescale_name).unwrap_or_else(|| {
        let own = timescales.keys().next().flatten();
        format!(
            "the order is of time scale {}, and devices are on {}",
            timescale_name(&ordered),
            timescale_name(&own)
        )
    });
    Some(Disagreement { what, devices })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FrameInfo;
    use crate::message::{decode, encode};
    use crate::order::testing::{info, name, rate};
    use crate::order::{Fill, FrameRun, OrderKind, TimeBasis};
    use crate::time::Span;

    fn answer(
        device: &str,
        basis: (Option<u64>, Option<u32>),
        frames: std::ops::RangeInclusive<u64>,
    ) -> Answer {
        let missed = |number| FrameRun::one(number, FrameOutcome::Missed { why: String::new() });
        Answer {
            order: name("o"),
            device: name(device),
            frames: frames.map(missed).collect(),
            unnumbered: None,
            unfinished: None,
            basis: TimeBasis { timescale: basis.0.map(TimeScale), rate: basis.1.map(rate) },
        }
    }

    fn order(timescale: Option<u64>) -> Order {
        // Without an end: how far it goes is left to the devices.
        let kind = OrderKind::Take { segment: None, fill: Fill::Hold };
        let order = Order::new(name("o"), rate(30).instant(5), None, kind).unwrap();
        order.on_timescale(timescale.map(TimeScale))
    }

    fn differing(order: &Order, answers: &[Answer]) -> Vec<(String, Vec<String>)> {
        let text = |disagreement: Disagreement| {
            (disagreement.what, disagreement.devices.iter().map(ToString::to_string).collect())
        };
        disagreements(order, answers).into_iter().map(text).collect()
    }

    #[test]
    fn answers_for_the_same_instants_agree() {
        let alike = |basis| [answer("a", basis, 5..=7), answer("b", basis, 5..=7)];
        for (ordered, basis) in
            [(None, (None, Some(30))), (Some(7), (Some(7), Some(30))), (None, (Some(7), Some(30)))]
        {
            assert_eq!(differing(&order(ordered), &alike(basis)), []);
        }
        let unknown = differing(&order(None), &alike((None, None)));
        assert_eq!(unknown.len(), 2, "an unknown rate agrees with nothing: {unknown:?}");
    }

    #[test]
    fn answers_for_other_instants_disagree() {
        let [a, b] = [answer("a", (Some(7), Some(30)), 5..=7), answer("b", (Some(7), Some(30)), 5..=7)];
        let one = |order: &Order, other: Answer| {
            let all = differing(order, &[a.clone(), b.clone(), other]);
            let [(what, devices)] = <[_; 1]>::try_from(all).unwrap();
            assert_eq!(devices, ["c"], "{what}");
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
    fn devices_that_are_all_on_another_time_scale_than_the_order_disagree() {
        let answers = ["a", "b"].map(|device| answer(device, (Some(8), Some(30)), 5..=5));
        let all = differing(&order(Some(7)), &answers);
        assert_eq!(all[0].1, ["a", "b"]);
        assert!(all[0].0.contains("the order is of time scale 0000000000000007"), "{all:?}");
    }

    #[test]
    fn an_unknown_basis_is_left_out_of_the_message() {
        let answer = answer("a", (None, None), 5..=5);
        let text = String::from_utf8(encode(&answer)).unwrap();
        assert!(!text.contains("timescale") && !text.contains("rate"), "{text}");
        assert_eq!(decode::<Answer>(text.as_bytes()).unwrap(), answer);
        let ordered = String::from_utf8(encode(&order(Some(7)))).unwrap();
        assert!(ordered.contains("\"timescale\":7"), "{ordered}");
        assert_eq!(decode::<Order>(ordered.as_bytes()).unwrap().timescale(), Some(TimeScale(7)));
    }

    const NOW: FrameNumber = 54_000_000_000;

    fn saved(numbers: std::ops::Range<FrameNumber>) -> Answer {
        let one = |number| {
            let info = FrameInfo { number, rig_time_ns: rate(30).instant(number), ..info(number) };
            FrameRun::one(number, FrameOutcome::Saved { file: String::new(), bytes: 1, info })
        };
        let frames = numbers.map(one).collect();
        Answer {
            order: name("o"),
            device: name("a"),
            frames,
            basis: TimeBasis { rate: Some(rate(30)), timescale: None },
            unnumbered: None,
            unfinished: None,
        }
    }

    fn burst(first: FrameNumber, count: u32) -> Order {
        Order::burst(name("o"), rate(30).instant(first), count).unwrap()
    }

    fn take(first: FrameNumber, end: Option<FrameNumber>) -> Order {
        let kind = OrderKind::Take { segment: None, fill: Fill::None };
        let stop = end.map(|end| rate(30).instant(end));
        Order::new(name("o"), rate(30).instant(first), stop, kind).unwrap()
    }

    #[test]
    fn an_answer_for_other_frames_than_ordered_deviates() {
        let given = saved(NOW..NOW + 3);
        for order in [burst(NOW, 3), take(NOW, Some(NOW + 3)), take(NOW, None)] {
            assert_eq!(given.deviation_from(&order), None, "{order:?}");
        }
        let deviation = |order: &Order| given.deviation_from(order).unwrap();
        let later = deviation(&burst(NOW + 300, 3));
        assert!(later.contains("54000000300") && later.contains("10.000 s from there"), "{later}");
        assert!(deviation(&burst(NOW - 1, 3)).contains("0.033 s"));
        assert!(
            deviation(&burst(NOW, 4))
                .contains("3 frames, 54000000000 to 54000000002, where it was asked for 4")
        );
        assert!(deviation(&take(NOW, Some(NOW + 2))).contains("asked for 2"));
        assert!(deviation(&take(NOW + 1, None)).contains("from 54000000000 on"));
        assert!(saved(0..0).deviation_from(&burst(NOW, 3)).unwrap().contains("none of the 3"));
    }

    #[test]
    fn frames_that_were_taken_elsewhere_or_on_no_known_grid_deviation() {
        let mut moved = saved(NOW..NOW + 3);
        let FrameOutcome::Saved { info, .. } = &mut moved.frames[0].outcome else { unreachable!() };
        info.rig_time_ns += Span::from_secs(5);
        assert!(moved.deviation_from(&burst(NOW, 3)).unwrap().contains("5.000 s"));
        let older = Answer { basis: TimeBasis::default(), ..saved(NOW..NOW + 3) };
        assert!(older.deviation_from(&burst(NOW, 3)).unwrap().contains("at which rate"));
        let unnumbered = Answer { unnumbered: Some("no frame yet".into()), ..saved(0..0) };
        assert_eq!(unnumbered.deviation_from(&burst(NOW, 3)), None, "it says so itself");
    }
}
