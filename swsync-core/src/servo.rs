//! The clock servo: it turns estimates into the map from local to rig time.
//!
//! Once the clock is in use, the map never runs backwards. A correction is spread over time at a bounded rate and then
//! ends by itself. So without further estimates the clock runs on at the estimated rate (docs/time.md, "From estimate to
//! clock").

use crate::estimate::ClockEstimate;
use crate::time::{Local, Offset, Rig, Skew, Span, Timestamp};

/// The map from local to rig time: a line, plus a correction that is spread over time and ends. It stands still while it
/// would otherwise read less than before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockMap {
    /// Local time at the beginning of the line.
    local: Timestamp<Local>,
    /// Rig time at the beginning of the line.
    rig: Timestamp<Rig>,
    /// Rate of the line, within [`MAX_RATE`].
    skew: Skew,
    /// The correction that is left at the beginning of the line.
    correction: Span,
    /// Rate of the correction; positive, within [`MAX_RATE`].
    slew: Skew,
    /// The least reading from the beginning of the line on.
    floor: Timestamp<Rig>,
}

impl ClockMap {
    /// The map of a leader's clock: it runs at the local rate and reads `rig` at `local`.
    #[must_use]
    pub const fn fixed(local: Timestamp<Local>, rig: Timestamp<Rig>) -> Self {
        let floor = Timestamp::from_nanos(i64::MIN);
        Self { local, rig, skew: Skew::ZERO, correction: Span::ZERO, slew: Skew::ZERO, floor }
    }

    /// Rig time when the local clock reads `local`. Never decreases with `local`.
    #[must_use]
    pub fn rig_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        let line = self.line_at(local);
        // Earlier instants are converted by the newest line: it is the best estimate of them.
        if local < self.local { line } else { line.max(self.floor) }
    }

    /// Rig time without standing still: what the clock would read if it were allowed to step back.
    #[must_use]
    pub fn line_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        let elapsed = local - self.local;
        // Round once: separate rounding could add up to a step of a nanosecond back.
        let gained = self.skew.as_ratio() * elapsed.as_nanos_f64() + self.corrected(elapsed);
        self.rig + elapsed + Span::from_nanos_f64(gained)
    }

    /// The part of the correction that is done after `elapsed`, in ns.
    fn corrected(&self, elapsed: Span) -> f64 {
        let amount = (self.slew.as_ratio() * elapsed.as_nanos_f64()).max(0.0);
        let correction = self.correction.as_nanos_f64();
        amount.min(correction.abs()).copysign(correction)
    }

    /// This map, ahead by `by`: the local clock has stood still for so long.
    #[must_use]
    pub fn ahead_by(self, by: Span) -> Self {
        Self { rig: self.rig + by, ..self }
    }

    /// This map from `now` on without what is left of its correction: the clock goes on from what it reads, at its rate.
    #[must_use]
    pub fn uncorrected(self, now: Timestamp<Local>) -> Self {
        Self { local: now, rig: self.line_at(now), correction: Span::ZERO, slew: Skew::ZERO, ..self }
    }

    /// How long the clock still stands still when the local clock reads `local`; zero if it runs.
    #[must_use]
    pub fn held_at(&self, local: Timestamp<Local>) -> Span {
        if local < self.local { Span::ZERO } else { (self.floor - self.line_at(local)).max(Span::ZERO) }
    }

    /// Rate of rig time relative to local time, without corrections.
    #[must_use]
    pub const fn skew(&self) -> Skew {
        self.skew
    }

    /// Rig minus local time at `local`.
    #[must_use]
    pub fn offset_at(&self, local: Timestamp<Local>) -> Offset {
        Offset::between(self.rig_at(local), local)
    }
}

/// What an estimate did to the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjustment {
    /// The clock was not in use yet and was set; it moved by this span.
    Set(Span),
    /// The clock changes its rate to correct this error.
    Slewing(Span),
    /// The clock was in use, and its error exceeded the step threshold.
    Stepped {
        /// The error: positive if the clock jumped ahead.
        by: Span,
        /// How long the clock stands still because it had been ahead, at most [`LONGEST_HOLD`]; zero if it jumped ahead.
        held: Span,
    },
    /// The clock was in use, and its error exceeded [`LONGEST_HOLD`], or another time scale is too far off to be slewed to: it begins anew. Earlier readings may be later than the
    /// new ones; do not combine the two.
    Began {
        /// The error: positive if the new time is later.
        by: Span,
    },
}

/// The longest time that a clock stands still because it was ahead. A larger error, in either direction, makes it begin anew:
/// otherwise all pictures of that time would carry the same instant, or none.
pub const LONGEST_HOLD: Span = Span::from_secs(2);

/// Moves a [`ClockMap`] towards the estimates.
///
/// Before the clock is in use, the servo sets it. Afterwards it slews, and it steps only over errors beyond the threshold. No
/// reader sees a step backwards: the clock stands still instead. Errors beyond [`LONGEST_HOLD`] make it begin anew.
#[derive(Debug)]
pub struct Servo {
    map: Option<ClockMap>,
    /// Whether readers rely on the clock, so that it must not jump.
    relied_on: bool,
    /// Another time scale is being joined: see [`Servo::join`].
    joining: bool,
    max_slew: Skew,
    step_threshold: Span,
    steps: u64,
    /// Sum of the magnitudes of all corrections before the present map.
    slewed: Span,
}

/// Time over which an error is corrected, if the slew bound allows it. Chosen: long enough for cameras to follow a correction
/// (100 us make 1.7 us a frame), short against the estimator's window.
const TIME_CONSTANT: Span = Span::from_secs(2);

/// A difference between two time scales is slewed if that takes no longer.
const JOIN_TIME: Span = Span::from_secs(60);

/// Bound of skew and slew, so that the two together never run a clock backwards. It exceeds any crystal's error by orders of
/// magnitude; only a wrong estimate reaches it.
const MAX_RATE: Skew = Skew::from_ratio(0.1);

/// The servo steps only over errors of more than this many sigmas of the estimate.
const STEP_SIGMAS: i64 = 4;

impl Servo {
    /// A servo that slews by at most `max_slew` on top of the estimated skew, and steps over errors beyond `step_threshold`.
    #[must_use]
    pub const fn new(max_slew: Skew, step_threshold: Span) -> Self {
        Self {
            map: None,
            relied_on: false,
            joining: false,
            max_slew,
            step_threshold,
            steps: 0,
            slewed: Span::ZERO,
        }
    }

    /// The local clock has stood still for `slept`, because the device slept, and rig time went on.
    pub fn handle_resume(&mut self, slept: Span) {
        self.map = self.map.map(|map| map.ahead_by(slept));
    }

    /// The present map; `None` before the first estimate.
    #[must_use]
    pub const fn map(&self) -> Option<&ClockMap> {
        self.map.as_ref()
    }

    /// Readers rely on the clock from now on: it slews, and never runs backwards.
    pub const fn rely(&mut self) {
        self.relied_on = self.map.is_some();
    }

    /// Whether readers rely on the clock.
    #[must_use]
    pub const fn is_relied_on(&self) -> bool {
        self.relied_on
    }

    /// Goes on from a clock that was kept otherwise until now, and that readers rely on if `relied_on`.
    pub const fn go_on_from(&mut self, map: ClockMap, relied_on: bool) {
        (self.map, self.relied_on) = (Some(map), relied_on);
    }

    /// The estimates are of another time scale from now on. A difference that can be slewed within a minute is slewed;
    /// a larger one makes the clock begin anew, because no instant of the old scale is one of the new.
    pub const fn join(&mut self) {
        self.joining = true;
    }

    /// The error beyond which the clock is not slewed.
    fn threshold(&self) -> Span {
        match self.joining {
            true => self.step_threshold.max(self.max_slew.over(JOIN_TIME)),
            false => self.step_threshold,
        }
    }

    /// Steps since readers rely on the clock.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Sum of the magnitudes of all corrections until `now`.
    #[must_use]
    pub fn slewed(&self, now: Timestamp<Local>) -> Span {
        let present = self.map.map_or(0.0, |map| map.corrected(now - map.local).abs());
        self.slewed + Span::from_nanos_f64(present)
    }

    /// Moves the clock towards `estimate` when the local clock reads `now`.
    pub fn update(&mut self, now: Timestamp<Local>, estimate: &ClockEstimate) -> Adjustment {
        let target = estimate.rig_at(now);
        let line = ClockMap { skew: estimate.skew.clamp(MAX_RATE), ..ClockMap::fixed(now, target) };
        let Some(map) = self.map else {
            (self.map, self.joining) = (Some(line), false);
            return Adjustment::Set(Span::ZERO);
        };
        // A clock that stands still has been stepped already: compare with its line, not with its reading.
        let reading = map.line_at(now);
        let floor = map.rig_at(now);
        let error = target - reading;
        if !self.relied_on {
            (self.map, self.joining) = (Some(line), false);
            return Adjustment::Set(error);
        }
        self.slewed = self.slewed(now);
        let sure = error.abs() > estimate.uncertainty_at(now) * STEP_SIGMAS;
        if error.abs() > self.threshold() && sure {
            self.steps += 1;
            if self.joining || error.abs().max(floor - target) > LONGEST_HOLD {
                self.joining = false;
                self.map = Some(line);
                return Adjustment::Began { by: target - floor };
            }
            self.map = Some(ClockMap { floor, ..line });
            let held = (floor - target).max(Span::ZERO).mul_f64(1.0 / (1.0 + line.skew.as_ratio()));
            return Adjustment::Stepped { by: error, held };
        }
        self.joining &= error.abs() > self.step_threshold;
        let wanted = error.abs().as_secs_f64() / TIME_CONSTANT.as_secs_f64();
        let slew = Skew::from_ratio(wanted).clamp(self.max_slew).clamp(MAX_RATE);
        self.map = Some(ClockMap { rig: reading, correction: error, slew, floor, ..line });
        Adjustment::Slewing(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn local(ns: i64) -> Timestamp<Local> {
        Timestamp::from_nanos(ns)
    }

    fn estimate(at: i64, offset: i64, ppm: f64) -> ClockEstimate {
        ClockEstimate {
            at: local(at),
            offset: Offset::from_span(Span::from_nanos(offset)),
            skew: Skew::from_ppm(ppm),
            uncertainty: Span::from_micros(10),
            skew_uncertainty: Skew::from_ppm(1.0),
            least_delay: Span::from_micros(100),
        }
    }

    fn servo() -> Servo {
        Servo::new(Skew::from_ppm(500.0), Span::from_millis(10))
    }

    #[test]
    fn a_clock_is_held_from_its_map_on_until_it_has_caught_up() {
        let map =
            ClockMap { floor: Timestamp::from_nanos(1_000), ..ClockMap::fixed(local(100), Timestamp::ZERO) };
        let held = [99, 100, 600, 1_100, 2_000].map(|at| map.held_at(local(at)).as_nanos());
        assert_eq!(held, [0, 1_000, 500, 0, 0]);
        let read = [99, 100, 600, 1_100, 2_000].map(|at| map.rig_at(local(at)).as_nanos());
        assert_eq!(read, [-1, 1_000, 1_000, 1_000, 1_900]);
    }

    #[test]
    fn it_is_set_until_it_is_relied_on_and_then_slews() {
        let mut servo = servo();
        servo.update(local(0), &estimate(0, 1_000, 0.0));
        assert_eq!(
            servo.update(local(10), &estimate(10, 9_000, 0.0)),
            Adjustment::Set(Span::from_nanos(8_000))
        );
        servo.rely();
        let adjustment = servo.update(local(20), &estimate(20, 10_000, 0.0));
        assert_eq!(adjustment, Adjustment::Slewing(Span::from_nanos(1_000)));
        assert_eq!(servo.map().unwrap().rig_at(local(20)), Timestamp::from_nanos(9_020));
    }

    #[test]
    fn a_correction_ends_by_itself() {
        let mut servo = servo();
        servo.update(local(0), &estimate(0, 0, 0.0));
        servo.rely();
        servo.update(local(0), &estimate(0, 100_000, 0.0)); // 100 us: in 2 s
        let map = servo.map().unwrap();
        assert_eq!(map.rig_at(local(1_000_000_000)).as_nanos(), 1_000_050_000);
        assert_eq!(map.rig_at(local(2_000_000_000)).as_nanos(), 2_000_100_000);
        assert_eq!(map.rig_at(local(9_000_000_000)).as_nanos(), 9_000_100_000);
    }

    #[test]
    fn a_correction_can_be_broken_off() {
        let mut servo = servo();
        servo.update(local(0), &estimate(0, 0, 20.0));
        servo.rely();
        servo.update(local(0), &estimate(0, 1_000_000, 20.0)); // 1 ms at 500 ppm: 2 s
        let map = servo.map().unwrap().uncorrected(local(500_000_000));
        assert_eq!(map.rig_at(local(500_000_000)).as_nanos(), 500_260_000);
        assert_eq!(map.rig_at(local(1_500_000_000)).as_nanos(), 1_500_280_000);
    }

    #[test]
    fn slewing_is_bounded() {
        let mut servo = servo();
        servo.update(local(0), &estimate(0, 0, 0.0));
        servo.rely();
        servo.update(local(0), &estimate(0, -10_000_000, 0.0)); // 10 ms at 500 ppm: 20 s
        let map = servo.map().unwrap();
        assert_eq!(map.rig_at(local(1_000_000_000)).as_nanos(), 999_500_000);
        assert_eq!(map.rig_at(local(20_000_000_000)).as_nanos(), 19_990_000_000);
        assert_eq!(map.rig_at(local(30_000_000_000)).as_nanos(), 29_990_000_000);
    }

    #[test]
    fn uncertainty_grows_with_age() {
        let estimate = estimate(0, 0, 0.0);
        let minute = estimate.uncertainty_at(local(60_000_000_000));
        assert_eq!(estimate.uncertainty_at(local(0)), Span::from_micros(10));
        assert!((60..100).contains(&(minute.as_nanos() / 1_000)), "{minute:?}");
    }

    #[test]
    fn a_large_error_makes_it_jump_ahead_or_stand_still() {
        for (offset, held) in [(20_000_000, 0), (-20_000_000, 20_000_000)] {
            let mut servo = servo();
            servo.update(local(0), &estimate(0, 0, 0.0));
            servo.rely();
            let adjustment = servo.update(local(1_000_000), &estimate(1_000_000, offset, 0.0));
            let (by, held) = (Span::from_nanos(offset), Span::from_nanos(held));
            assert_eq!(adjustment, Adjustment::Stepped { by, held });
            let map = servo.map().unwrap();
            let reading = |ns| map.rig_at(local(ns)).as_nanos();
            assert_eq!(reading(1_000_000), 1_000_000 + offset.max(0));
            assert_eq!(reading(11_000_000), if offset > 0 { 31_000_000 } else { 1_000_000 });
            assert_eq!(reading(31_000_000), 31_000_000 + offset);
            assert_eq!(servo.steps(), 1);
        }
    }

    #[test]
    fn it_begins_anew_after_an_error_beyond_the_longest_hold() {
        for (offset_ms, begins) in
            [(-1_900, false), (-2_100, true), (-3_600_000, true), (1_900, false), (5_000, true)]
        {
            let mut servo = servo();
            servo.update(local(0), &estimate(0, 0, 0.0));
            servo.rely();
            let by = Span::from_millis(offset_ms);
            let adjustment = servo.update(local(0), &estimate(0, by.as_nanos(), 0.0));
            let held = (Span::ZERO - by).max(Span::ZERO);
            let expected = if begins { Adjustment::Began { by } } else { Adjustment::Stepped { by, held } };
            assert_eq!(adjustment, expected);
            let map = servo.map().unwrap();
            assert_eq!(map.held_at(local(0)), if begins { Span::ZERO } else { held });
            assert_eq!(map.held_at(local(2_000_000_000)), Span::ZERO);
            assert!(!begins || map.rig_at(local(7)) == Timestamp::from_nanos(by.as_nanos() + 7));
        }
        // Holds do not add up.
        let mut servo = servo();
        servo.update(local(0), &estimate(0, 0, 0.0));
        servo.rely();
        servo.update(local(0), &estimate(0, -1_500_000_000, 0.0));
        let adjustment = servo.update(local(0), &estimate(0, -3_000_000_000, 0.0));
        assert_eq!(adjustment, Adjustment::Began { by: Span::from_millis(-3_000) });
    }

    #[test]
    fn another_time_scale_is_slewed_to_within_a_minute_or_begins_anew() {
        for (offset_ms, begins) in [(25, false), (-25, false), (31, true), (-31, true)] {
            let mut servo = servo();
            servo.update(local(0), &estimate(0, 0, 0.0));
            servo.rely();
            servo.join();
            let by = Span::from_millis(offset_ms);
            let adjustment = servo.update(local(0), &estimate(0, by.as_nanos(), 0.0));
            assert_eq!(adjustment, if begins { Adjustment::Began { by } } else { Adjustment::Slewing(by) });
            // It goes on slewing although the rest is still beyond the step threshold.
            let second = local(1_000_000_000);
            let later = servo.update(second, &estimate(1_000_000_000, by.as_nanos(), 0.0));
            assert!(matches!(later, Adjustment::Slewing(_)), "{later:?}");
            let end = servo.map().unwrap().rig_at(local(60_000_000_000));
            assert_eq!(end, Timestamp::from_nanos(60_000_000_000) + by);
        }
        // Once joined, a step is a step again.
        let mut servo = servo();
        servo.update(local(0), &estimate(0, 0, 0.0));
        servo.rely();
        servo.join();
        servo.update(local(0), &estimate(0, 1_000, 0.0));
        let adjustment = servo.update(local(0), &estimate(0, 20_000_000, 0.0));
        assert!(matches!(adjustment, Adjustment::Stepped { .. }), "{adjustment:?}");
    }

    #[test]
    fn a_clock_that_stands_still_is_not_stepped_again() {
        let mut servo = servo();
        servo.update(local(0), &estimate(0, 0, 0.0));
        servo.rely();
        servo.update(local(0), &estimate(0, -50_000_000, 0.0));
        let adjustment = servo.update(local(10_000_000), &estimate(10_000_000, -50_001_000, 0.0));
        assert_eq!(adjustment, Adjustment::Slewing(Span::from_nanos(-1_000)));
        let map = servo.map().unwrap();
        assert_eq!(map.rig_at(local(10_000_000)).as_nanos(), 0);
        assert_eq!(map.rig_at(local(9_000_000_000)).as_nanos(), 8_949_999_000);
        assert_eq!(servo.steps(), 1);
    }

    #[test]
    fn an_uncertain_estimate_causes_no_step() {
        let mut servo = servo();
        servo.update(local(0), &estimate(0, 0, 0.0));
        servo.rely();
        let unsure = ClockEstimate { uncertainty: Span::from_millis(4), ..estimate(0, 15_000_000, 0.0) };
        assert_eq!(servo.update(local(0), &unsure), Adjustment::Slewing(Span::from_millis(15)));
    }

    #[test]
    fn slewed_sums_up_all_corrections() {
        let mut servo = servo();
        servo.update(local(0), &estimate(0, 0, 0.0));
        servo.rely();
        servo.update(local(0), &estimate(0, 100_000, 0.0));
        assert_eq!(servo.slewed(local(1_000_000_000)), Span::from_micros(50));
        servo.update(local(2_000_000_000), &estimate(2_000_000_000, 0, 0.0));
        assert_eq!(servo.slewed(local(9_000_000_000)), Span::from_micros(200));
    }

    prop_compose! {
        /// Time until an update, its offset, its skew in ppm, its uncertainty, and when to read the clock: fractions of the
        /// time until the next update, and the number of consecutive nanoseconds from there.
        fn any_update()(
            step in 1_i64..2_000_000_000,
            offset in prop_oneof![9 => -50_000_000_i64..50_000_000, 1 => -4_000_000_000_i64..4_000_000_000],
            ppm in prop_oneof![-400.0..400.0, -1e7..1e7],
            uncertainty in 0_i64..10_000_000,
            looks in proptest::collection::vec((0.0..1.0, 0_i64..3_000), 3),
        ) -> (i64, i64, f64, i64, Vec<(f64, i64)>) {
            (step, offset, ppm, uncertainty, looks)
        }
    }

    proptest! {
        /// For any sequence of estimates: once relied on, the clock never reads less than before and never stands still for
        /// long, unless it begins anew.
        #[test]
        fn it_never_runs_backwards(
            updates in proptest::collection::vec(any_update(), 2..20), max_slew in prop_oneof![0.0..1000.0, 0.0..1e7],
        ) {
            let mut servo = Servo::new(Skew::from_ppm(max_slew), Span::from_millis(10));
            let mut now = 0;
            let mut last = Timestamp::from_nanos(i64::MIN);
            for (step, offset, ppm, uncertainty, mut looks) in updates {
                let uncertainty = Span::from_nanos(uncertainty);
                let estimate = ClockEstimate { uncertainty, ..estimate(now, offset, ppm) };
                if let Adjustment::Began { by } = servo.update(local(now), &estimate) {
                    prop_assert_eq!(servo.map().unwrap().rig_at(local(now)), estimate.rig_at(local(now)));
                    prop_assert!(by != Span::ZERO);
                    last = Timestamp::from_nanos(i64::MIN);
                }
                servo.rely();
                let map = servo.map().unwrap();
                prop_assert!(map.held_at(local(now)) <= LONGEST_HOLD, "{:?}", map.held_at(local(now)));
                looks.push((1.0, 0));
                looks.sort_by(|a, b| a.0.total_cmp(&b.0));
                let mut at = now;
                for (fraction, row) in looks {
                    let begin = at.max(now + Span::from_nanos(step).mul_f64(fraction).as_nanos());
                    for ns in begin..=(begin + row).min(now + step) {
                        let reading = map.rig_at(local(ns));
                        prop_assert!(reading >= last, "{:?} after {:?} at {}", reading, last, ns);
                        last = reading;
                        at = ns;
                    }
                }
                now += step;
            }
        }
    }
}
