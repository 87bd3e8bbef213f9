//! Converts the kernel's packet stamps to the monotonic clock, even if the wall clock is stepped.
//!
//! Linux stamps packets with `CLOCK_REALTIME`. It and `CLOCK_MONOTONIC` have one rate: NTP and adjtime(3) slew both
//! alike (clock_gettime(2)). So their difference is constant until the wall clock is stepped by clock_settime(2),
//! `ADJ_SETOFFSET`, a leap second or the end of a suspend. The time between two steps is called an era here. Each reading
//! of both clocks bounds the difference of the present era. A reading outside the bounds shows that a step came before it,
//! and begins another era.
//!
//! A stamp does not say in which era it was taken. Each era converts it to another instant, and only instants inside their
//! own era count. If several eras yield different instants, the stamp is refused: it was taken within moments of a small
//! step.

use std::collections::VecDeque;

use swsync_core::time::{Realtime, Span, Timestamp};

use crate::Host;

/// Number of eras that are remembered. More steps are not expected while one packet is under way.
const ERAS: usize = 4;
/// Each clock is truncated to nanoseconds by itself. With a margin.
const ROUNDING: Span = Span::from_nanos(10);
/// Instants that differ by less count as one. Chosen: below the error of a packet's timestamp on any network without special
/// hardware.
const TOLERANCE: Span = Span::from_micros(10);

/// A reading of the wall clock between two of the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct WallReading {
    pub(super) before: Timestamp<Host>,
    pub(super) wall: Timestamp<Realtime>,
    pub(super) after: Timestamp<Host>,
}

impl WallReading {
    /// How long the reading took. The shorter, the better.
    pub(super) fn width(&self) -> Span {
        self.after - self.before
    }
}

/// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC` between two steps of the wall clock.
#[derive(Debug, Clone, Copy)]
struct Era {
    /// Bounds of the difference: the intersection of what the era's readings allow.
    low: Span,
    high: Span,
    /// The last reading of the previous era: this one began later.
    after: Timestamp<Host>,
    /// The last reading of this era.
    seen: Timestamp<Host>,
    /// The first reading of the next era: this one ended before.
    before: Option<Timestamp<Host>>,
}

impl Era {
    /// The middle of the bounds, and half their distance.
    fn difference(&self) -> (Span, Span) {
        let half = (self.high - self.low) / 2;
        (self.low + half, half)
    }

    /// Narrows the bounds to those of a reading. `false`: a step came before the reading.
    fn narrow(&mut self, low: Span, high: Span) -> bool {
        if low > self.high + ROUNDING || high < self.low - ROUNDING {
            return false;
        }
        let (low, high) = (self.low.max(low), self.high.min(high));
        // They may cross by the rounding.
        (self.low, self.high) = (low.min(high), low.max(high));
        true
    }
}

/// Converts stamps of the wall clock: see the module documentation.
#[derive(Debug, Default)]
pub(super) struct WallMap {
    eras: VecDeque<Era>,
}

impl WallMap {
    pub(super) const fn new() -> Self {
        Self { eras: VecDeque::new() }
    }

    /// Adds a reading. `true` if the wall clock was stepped since the last one.
    pub(super) fn observe(&mut self, reading: &WallReading) -> bool {
        let difference =
            |at: Timestamp<Host>| Span::from_nanos(reading.wall.as_nanos().saturating_sub(at.as_nanos()));
        let (low, high) = (difference(reading.after), difference(reading.before));
        let mut after = reading.before;
        let last = self.eras.back_mut();
        let stepped = last.is_some();
        if let Some(era) = last {
            if era.narrow(low, high) {
                era.seen = reading.before;
                return false;
            }
            era.before = Some(reading.after);
            after = era.seen;
        }
        if self.eras.len() == ERAS {
            self.eras.pop_front();
        }
        self.eras.push_back(Era { low, high, after, seen: reading.before, before: None });
        stepped
    }

    /// The instant at which the wall clock read `stamp`, which was after the first reading and after `earliest`, and before
    /// the reading `now`. `None` if a step makes that uncertain. Adds `now`.
    pub(super) fn instant_of(
        &mut self,
        stamp: Timestamp<Realtime>,
        earliest: Timestamp<Host>,
        now: &WallReading,
    ) -> Option<Timestamp<Host>> {
        self.observe(now);
        let instants = || {
            self.eras.iter().filter_map(|era| {
                let (difference, slack) = era.difference();
                let slack = slack + ROUNDING;
                let instant = Timestamp::from_nanos((stamp - difference).as_nanos());
                let end = era.before.unwrap_or(now.after);
                (era.after.max(earliest) - slack..=end + slack).contains(&instant).then_some(instant)
            })
        };
        let (first, last) = (instants().min()?, instants().max()?);
        (last - first <= TOLERANCE).then(|| first + (last - first) / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A wall clock that is `ahead` of the monotonic one, with steps as (instant, size).
    struct Wall {
        ahead: i64,
        steps: Vec<(i64, i64)>,
        /// Rate of the difference: zero on Linux.
        drift: f64,
    }

    impl Wall {
        fn steady() -> Self {
            Self { ahead: 1_700_000_000_000_000_000, steps: Vec::new(), drift: 0.0 }
        }

        fn at(&self, instant: i64) -> Timestamp<Realtime> {
            let steps: i64 = self.steps.iter().filter(|(at, _)| *at <= instant).map(|(_, by)| by).sum();
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small")]
            let drifted = (instant as f64 * self.drift) as i64;
            Timestamp::from_nanos(instant + self.ahead + steps + drifted)
        }

        fn read(&self, at: i64) -> WallReading {
            let instant = Timestamp::from_nanos;
            WallReading { before: instant(at), wall: self.at(at + 30), after: instant(at + 70) }
        }
    }

    const MS: i64 = 1_000_000;

    fn convert(wall: &Wall, readings: &[i64], event: i64, now: i64) -> Option<i64> {
        let mut map = WallMap::new();
        for at in readings {
            map.observe(&wall.read(*at));
        }
        let earliest = Timestamp::from_nanos(readings.last().copied().unwrap());
        map.instant_of(wall.at(event), earliest, &wall.read(now)).map(Timestamp::as_nanos)
    }

    #[test]
    fn readings_narrow_the_difference_down() {
        let wall = Wall::steady();
        let instant = convert(&wall, &[0, 10 * MS, 20 * MS], 25 * MS, 30 * MS).unwrap();
        assert!((instant - 25 * MS).abs() <= 40, "{instant}");
    }

    #[test]
    fn a_step_between_stamp_and_reading_does_no_harm() {
        for by in [-3_600_000 * MS, -5_000 * MS, 100 * MS, 37_000 * MS] {
            let wall = Wall { steps: vec![(25 * MS, by)], ..Wall::steady() };
            let instant = convert(&wall, &[0, 10 * MS, 20 * MS], 22 * MS, 30 * MS).unwrap();
            assert!((instant - 22 * MS).abs() <= 40, "{by} {instant}");
        }
    }

    #[test]
    fn a_step_before_the_stamp_does_no_harm() {
        for by in [-3_600_000 * MS, -20 * MS, 100 * MS, 37_000 * MS] {
            let wall = Wall { steps: vec![(25 * MS, by)], ..Wall::steady() };
            let instant = convert(&wall, &[0, 10 * MS, 20 * MS], 27 * MS, 30 * MS).unwrap();
            assert!((instant - 27 * MS).abs() <= 40, "{by} {instant}");
        }
    }

    #[test]
    fn a_stamp_near_a_small_step_is_refused() {
        let wall = Wall { steps: vec![(25 * MS, 2 * MS)], ..Wall::steady() };
        assert_eq!(convert(&wall, &[0, 20 * MS], 24 * MS, 30 * MS), None);
        // The next packet is fine.
        let instant = convert(&wall, &[0, 20 * MS, 30 * MS], 35 * MS, 40 * MS).unwrap();
        assert!((instant - 35 * MS).abs() <= 40, "{instant}");
    }

    #[test]
    fn a_stamp_outside_every_era_is_refused() {
        let wall = Wall::steady();
        let mut map = WallMap::new();
        map.observe(&wall.read(0));
        let earliest = Timestamp::from_nanos(0);
        assert_eq!(map.instant_of(wall.at(500 * MS), earliest, &wall.read(30 * MS)), None);
        assert_eq!(map.instant_of(wall.at(-500 * MS), earliest, &wall.read(40 * MS)), None);
        // It is older than its packet can be.
        let earliest = Timestamp::from_nanos(45 * MS);
        assert_eq!(map.instant_of(wall.at(42 * MS), earliest, &wall.read(50 * MS)), None);
    }

    #[test]
    fn a_step_is_reported_once() {
        let wall = Wall { steps: vec![(25 * MS, 2 * MS)], ..Wall::steady() };
        let mut map = WallMap::new();
        let seen: Vec<bool> = [0, 20, 30, 40].map(|at| map.observe(&wall.read(at * MS))).into();
        assert_eq!(seen, [false, false, true, false]);
    }

    proptest! {
        /// With at most one step between two readings, a converted stamp is right, and one is refused only near a small
        /// step.
        #[test]
        fn stamps_are_right_or_refused(
            gaps in proptest::collection::vec(1_000_i64..200 * MS, 2..12),
            step in (0_usize..11, 0.01..0.99),
            event in 0.0..1.0,
            // A step, or a drift of the difference, which Linux does not make.
            (by, drift) in prop_oneof![
                (-10_000_000 * MS..10_000_000 * MS, Just(0.0)),
                (-300 * MS..300 * MS, Just(0.0)),
                (-50_000_i64..50_000, Just(0.0)),
                (Just(0), -500e-6..500e-6),
            ],
        ) {
            let within = |index: usize, part: f64| {
                let start: i64 = gaps[..index].iter().sum();
                #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small")]
                let offset = (gaps[index] as f64 * part) as i64;
                start + offset
            };
            let (gap, part) = step;
            let last = gaps.len() - 1;
            let wall = Wall { steps: vec![(within(gap.min(last), part), by)], drift, ..Wall::steady() };
            let readings: Vec<i64> = (0..=last).map(|index| within(index, 0.0)).collect();
            let now: i64 = gaps.iter().sum();
            let event = within(last, event).max(readings[last] + 70);
            prop_assume!(event < now);
            let instant = convert(&wall, &readings, event, now);
            match instant {
                // A step smaller than the width of a reading goes unnoticed.
                Some(instant) => prop_assert!((instant - event).abs() <= TOLERANCE.as_nanos() + 200),
                None => prop_assert!(drift != 0.0 || by.abs() <= gaps[last] + 200),
            }
        }
    }
}
