//! What the parts of all devices together prove.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{PartCertificate, PartCertifier, SCHEMA, SIGMAS, passes};
use crate::frame::FrameInfo;
use crate::grid::{FrameGrid, FrameNumber};
use crate::message::TimeScale;
use crate::name::{DeviceId, OrderId};
use crate::time::Span;

/// `certificate.json` of a collected take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TakeCertificate {
    /// Version of the file: [`SCHEMA`].
    pub schema: u32,
    /// The order.
    pub order: OrderId,
    /// How many standard deviations of the clock the bounds have.
    pub clock_sigmas: i64,
    /// The largest error that was accepted. `None`: any.
    pub max_error_ns: Option<Span>,
    /// The most that two pictures of one number may be apart, of all numbers. `None`: not every frame has a bound, or there is
    /// none.
    pub worst_ns: Option<Span>,
    /// Whether there are frames, all are bounded, and nothing is further apart than `max_error_ns`.
    pub passes: bool,
    /// Why it cannot pass, beside frames without a bound: for a person.
    pub problems: Vec<String>,
    /// What each device knows.
    pub devices: Vec<PartCertificate>,
    /// The worst pair of each number.
    pub numbers: Vec<NumberBound>,
}

/// The two pictures of one number that may be furthest apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NumberBound {
    /// The number.
    pub number: FrameNumber,
    /// How far they may be apart: the sum of both bounds. Of a single picture its bound. `None`: a picture of this number has
    /// no bound.
    pub worst_ns: Option<Span>,
    /// The devices of both; the one with the larger bound first. Empty if `worst_ns` is not known.
    pub devices: Vec<DeviceId>,
}

impl TakeCertificate {
    /// The file's text: one line, as there are many numbers.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string(self).expect("a plain struct, which JSON can hold");
        text.push('\n');
        text
    }

    /// The number with the largest known bound.
    #[must_use]
    pub fn worst(&self) -> Option<&NumberBound> {
        self.numbers.iter().filter(|number| number.worst_ns.is_some()).max_by_key(|number| number.worst_ns)
    }
}

/// Makes a [`TakeCertificate`], part by part.
#[derive(Debug, Clone)]
pub struct TakeCertifier {
    order: OrderId,
    grid: Option<FrameGrid>,
    devices: Vec<PartCertificate>,
    numbers: BTreeMap<FrameNumber, Pair>,
    problems: Vec<String>,
}

/// The two largest bounds of a number, with the indexes of their devices.
#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    first: Option<(Span, usize)>,
    second: Option<(Span, usize)>,
    /// A frame has no bound.
    is_unknown: bool,
    timescale: Option<TimeScale>,
}

impl Pair {
    fn add(&mut self, bound: Option<Span>, device: usize) {
        let Some(bound) = bound else {
            self.is_unknown = true;
            return;
        };
        let new = Some((bound, device));
        if self.first.is_none_or(|(largest, _)| bound > largest) {
            (self.first, self.second) = (new, self.first);
        } else if self.second.is_none_or(|(larger, _)| bound > larger) {
            self.second = new;
        }
    }

    fn worst(&self) -> Option<Span> {
        let (first, _) = self.first.filter(|_| !self.is_unknown)?;
        Some(first + self.second.map_or(Span::ZERO, |(second, _)| second))
    }
}

impl TakeCertifier {
    /// No device yet.
    #[must_use]
    pub const fn new(order: OrderId) -> Self {
        Self { order, grid: None, devices: Vec::new(), numbers: BTreeMap::new(), problems: Vec::new() }
    }

    /// Something that keeps the take from passing, for a person.
    pub fn add_problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Adds a device's part, with its saved frames, each once.
    ///
    /// # Errors
    /// That of `frames`, which hands each frame to the closure that it gets.
    pub fn add_part<E>(
        &mut self,
        device: &DeviceId,
        grid: FrameGrid,
        frames: impl FnOnce(&mut dyn FnMut(&FrameInfo)) -> Result<(), E>,
    ) -> Result<(), E> {
        let index = self.devices.len();
        let mut part = PartCertifier::new();
        let (numbers, mut is_mixed) = (&mut self.numbers, false);
        frames(&mut |info| {
            let pair = numbers.entry(info.number).or_default();
            let bound = part.add(info);
            // Numbers of two time scales are not the same instant.
            let is_apart = pair.timescale.zip(info.timescale).is_some_and(|(one, two)| one != two);
            is_mixed |= is_apart;
            pair.timescale = pair.timescale.or(info.timescale);
            pair.add(bound.filter(|_| !is_apart), index);
        })?;
        if is_mixed {
            let what =
                "has frames of another time scale than other devices, so numbers are not the same instants";
            self.problems.push(format!("{device} {what}"));
        }
        if self.grid.is_some_and(|ours| ours != grid) {
            self.problems.push(format!("{device} numbers its frames at another rate than other devices"));
        }
        self.grid = self.grid.or(Some(grid));
        let part = part.finish(device.clone());
        if part.frames == 0 {
            self.problems.push(format!("{device} has no frames"));
        }
        self.devices.push(part);
        Ok(())
    }

    /// The certificate. `max_error`: what is accepted; `None`: anything.
    #[must_use]
    pub fn finish(self, max_error: Option<Span>) -> TakeCertificate {
        let Self { order, devices, numbers, problems, grid: _ } = self;
        let all: Option<Span> =
            numbers.values().map(Pair::worst).try_fold(Span::ZERO, |worst, pair| Some(worst.max(pair?)));
        let worst_ns = all.filter(|_| !numbers.is_empty());
        let name = |place: Option<(Span, usize)>| Some(devices[place?.1].device.clone());
        let numbers = numbers
            .iter()
            .map(|(number, pair)| {
                let worst_ns = pair.worst();
                let both = [pair.first, pair.second].into_iter().filter_map(name);
                let devices = if worst_ns.is_some() { both.collect() } else { Vec::new() };
                NumberBound { number: *number, worst_ns, devices }
            })
            .collect();
        TakeCertificate {
            schema: SCHEMA,
            order,
            clock_sigmas: SIGMAS,
            max_error_ns: max_error,
            worst_ns,
            passes: problems.is_empty() && worst_ns.is_some() && passes(worst_ns, max_error),
            problems,
            devices,
            numbers,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::certificate::testing::bounded;
    use crate::certificate::{DEFAULT_MAX_ERROR, bound};
    use crate::frame::SyncState;
    use crate::name::Name;

    fn grid() -> FrameGrid {
        FrameGrid::new(30, 1).unwrap()
    }

    fn certify(parts: &[(&str, Vec<FrameInfo>)]) -> TakeCertificate {
        let mut certifier = TakeCertifier::new(Name::new("o").unwrap());
        for (device, frames) in parts {
            let visit = |each: &mut dyn FnMut(&FrameInfo)| {
                frames.iter().for_each(each);
                Ok::<_, Infallible>(())
            };
            certifier.add_part(&Name::new(*device).unwrap(), grid(), visit).unwrap();
        }
        certifier.finish(Some(DEFAULT_MAX_ERROR))
    }

    fn us(us: i64) -> Span {
        Span::from_micros(us)
    }

    #[test]
    fn the_bounds_of_the_two_worst_add() {
        let rest = bound(&bounded(7, us(0))).unwrap();
        let whole = certify(&[
            ("a", vec![bounded(7, us(1)), bounded(8, us(4))]),
            ("b", vec![bounded(7, us(-3)), bounded(8, us(2))]),
            ("c", vec![bounded(7, us(2))]),
        ]);
        let seventh = &whole.numbers[0];
        assert_eq!((seventh.number, seventh.worst_ns), (7, Some(rest * 2 + us(5))));
        assert_eq!(seventh.devices.iter().map(|d| d.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(whole.worst().unwrap().number, 8);
        assert_eq!((whole.worst_ns, whole.passes), (Some(rest * 2 + us(6)), true));
        let read: TakeCertificate = serde_json::from_str(&whole.to_json()).unwrap();
        assert_eq!(read, whole);
    }

    #[test]
    fn one_picture_alone_has_its_own_bound() {
        let whole = certify(&[("a", vec![bounded(7, us(1))])]);
        assert_eq!(whole.worst_ns, bound(&bounded(7, us(1))));
        assert!(whole.passes);
    }

    #[test]
    fn a_frame_too_many_or_not_known_does_not_pass() {
        assert!(!certify(&[("a", vec![bounded(7, us(251))])]).passes);
        let unsynced = FrameInfo { sync: SyncState::Acquiring, ..bounded(8, us(0)) };
        let whole = certify(&[("a", vec![bounded(7, us(0)), unsynced]), ("b", vec![bounded(8, us(0))])]);
        assert_eq!((whole.passes, whole.worst_ns, whole.numbers[1].worst_ns), (false, None, None));
        assert!(whole.numbers[1].devices.is_empty() && whole.worst().unwrap().number == 7);
        assert!(!certify(&[]).passes, "nothing is proven of nothing");
        assert!(!certify(&[("a", vec![bounded(7, us(0))]), ("b", Vec::new())]).passes);
    }

    #[test]
    fn frames_of_two_time_scales_or_rates_are_not_compared() {
        let of = |scale| FrameInfo { timescale: Some(TimeScale(scale)), ..bounded(7, us(0)) };
        assert!(certify(&[("a", vec![of(1)]), ("b", vec![of(1)])]).passes);
        let apart = certify(&[("a", vec![of(1)]), ("b", vec![of(2)])]);
        assert!(
            !apart.passes && apart.problems[0].contains("b has frames of another time scale"),
            "{apart:?}"
        );
        let mut certifier = TakeCertifier::new(Name::new("o").unwrap());
        for (device, rate) in [("a", 30), ("b", 25)] {
            let grid = FrameGrid::new(rate, 1).unwrap();
            let visit = |each: &mut dyn FnMut(&FrameInfo)| {
                each(&bounded(7, us(0)));
                Ok::<_, Infallible>(())
            };
            certifier.add_part(&Name::new(device).unwrap(), grid, visit).unwrap();
        }
        assert!(!certifier.finish(None).passes);
    }
}
