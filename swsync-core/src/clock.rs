//! From estimate to clock: the map from local to rig time, and the servo that moves it.
//!
//! The map never runs backwards once the clock is relied on. A correction is worked off at a bounded rate
//! and then ends by itself, so a servo that hears nothing more leaves a clock that runs on at the estimated
//! rate.

use crate::time::{Local, Offset, Rig, Skew, Span, Timestamp};

/// What an estimator makes of the exchanges so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockEstimate {
    /// The instant that the estimate is for.
    pub at: Timestamp<Local>,
    /// Rig minus local time at that instant.
    pub offset: Offset,
    /// Rate of the rig's clock against the local one.
    pub skew: Skew,
    /// What the error of `offset` may be, 1 sigma; without half the asymmetry of the path's
    /// minimum delays, which no two-way exchange can see.
    pub uncertainty: Span,
    /// What the error of `skew` may be, 1 sigma.
    pub skew_uncertainty: Skew,
    /// The least round trip that the estimate rests on. Half of it bounds what asymmetry of the
    /// path can add to the error; `uncertainty` leaves that out.
    pub least_delay: Span,
}

impl ClockEstimate {
    /// Rig time when the local clock reads `local`, by this estimate.
    #[must_use]
    pub fn rig_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        self.offset.to_rig(local) + self.skew.over(local - self.at)
    }

    /// The uncertainty grown to the instant `local`.
    #[must_use]
    pub fn uncertainty_at(&self, local: Timestamp<Local>) -> Span {
        let age = (local - self.at).abs();
        let drift = self.skew_uncertainty.over(age) + WANDER.over(age).mul_f64(age.as_secs_f64().sqrt());
        Span::from_nanos_f64(self.uncertainty.as_nanos_f64().hypot(drift.as_nanos_f64()))
    }
}

/// How fast a Raspberry Pi class crystal's rate walks: ppm per square root of a second. Chosen to
/// cover the walk of the `drifting` trace (25 ppm crystal with wander and warm-up).
pub(crate) const WANDER: Skew = Skew::from_ratio(0.02e-6);

/// The map from local to rig time: a line, beside which a correction is worked off and ends, and which
/// stands still where it would otherwise fall below what was read before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockMap {
    /// Where the line begins ...
    local: Timestamp<Local>,
    /// ... and the rig time there.
    rig: Timestamp<Rig>,
    /// Rate of the line, within [`MAX_RATE`].
    skew: Skew,
    /// What is still to be corrected at the line's beginning.
    correction: Span,
    /// Rate at which it is worked off; positive, within [`MAX_RATE`].
    slew: Skew,
    /// From the line's beginning on nothing less is read.
    floor: Timestamp<Rig>,
}

impl ClockMap {
    /// The map of a clock that runs at the local rate and reads `rig` at `local`: a leader's.
    #[must_use]
    pub const fn fixed(local: Timestamp<Local>, rig: Timestamp<Rig>) -> Self {
        let floor = Timestamp::from_nanos(i64::MIN);
        Self { local, rig, skew: Skew::ZERO, correction: Span::ZERO, slew: Skew::ZERO, floor }
    }

    /// Rig time when the local clock reads `local`. Never decreases with `local`.
    #[must_use]
    pub fn rig_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        let line = self.line_at(local);
        // Instants before the line's beginning are stated as well as is known now.
        if local < self.local { line } else { line.max(self.floor) }
    }

    /// Rig time if the clock need not stand still.
    #[must_use]
    pub fn line_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        let elapsed = local - self.local;
        // Rounded once: a rounding for each part could add up to a step of a nanosecond back.
        let gained = self.skew.as_ratio() * elapsed.as_nanos_f64() + self.worked_off(elapsed);
        self.rig + elapsed + Span::from_nanos_f64(gained)
    }

    /// What of the correction is worked off after `elapsed`, in ns.
    fn worked_off(&self, elapsed: Span) -> f64 {
        let amount = (self.slew.as_ratio() * elapsed.as_nanos_f64()).max(0.0);
        let correction = self.correction.as_nanos_f64();
        amount.min(correction.abs()).copysign(correction)
    }

    /// For how long it still stands still when the local clock reads `local`; zero where it runs.
    #[must_use]
    pub fn held_at(&self, local: Timestamp<Local>) -> Span {
        if local < self.local { Span::ZERO } else { (self.floor - self.line_at(local)).max(Span::ZERO) }
    }

    /// Rate of the rig's clock against the local one, without corrections.
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

/// What a servo's clock did with an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjustment {
    /// It was set: nobody relied on it yet, and it moved by so much.
    Set(Span),
    /// It changes its rate to work off so much.
    Slewing(Span),
    /// It was relied on, and its error was beyond the threshold.
    Stepped {
        /// By how much it was wrong: positive where it jumped ahead.
        by: Span,
        /// For so long it stands still, because it had been ahead; zero where it jumped ahead. At most
        /// [`LONGEST_HOLD`].
        held: Span,
    },
    /// It was relied on, and was wrong by more than can be waited for: it begins anew, and its readings are not
    /// to be combined with those of before, which may be later.
    Began {
        /// By how much it was wrong: positive where the new time is later.
        by: Span,
    },
}

/// A clock that was ahead stands still for so long at most. Beyond that, and where it was as far behind, it
/// begins anew: pictures of a longer time would all show one instant, or none.
pub const LONGEST_HOLD: Span = Span::from_secs(2);

/// Moves a [`ClockMap`] towards estimates: by setting it until it is relied on, then by slewing, and where
/// an error is beyond the threshold by stepping, which no reader sees going backwards. Errors beyond
/// [`LONGEST_HOLD`] end its time: it begins anew.
#[derive(Debug)]
pub struct Servo {
    map: Option<ClockMap>,
    /// Whether readers rely on the clock.
    relied_on: bool,
    max_slew: Skew,
    step_threshold: Span,
    steps: u64,
    /// Corrections worked off before the present map, whichever way.
    slewed: Span,
}

/// Time over which an error is worked off, where the slew bound allows it. Chosen: so long that cameras can
/// follow what an estimate is corrected by (100 us make 1.7 us a frame), short against the
/// estimator's window.
const TIME_CONSTANT: Span = Span::from_secs(2);

/// Bound of skew and slew, so that the two together never turn a clock back. No crystal is within orders of
/// magnitude of it: an estimate that is has gone wrong.
const MAX_RATE: Skew = Skew::from_ratio(0.1);

/// An error is stepped over only if the estimate is surer of it than so many sigmas.
const STEP_SIGMAS: i64 = 4;

impl Servo {
    /// A servo that slews by at most `max_slew` beside the estimated skew, and steps over errors beyond
    /// `step_threshold`.
    #[must_use]
    pub const fn new(max_slew: Skew, step_threshold: Span) -> Self {
        Self { map: None, relied_on: false, max_slew, step_threshold, steps: 0, slewed: Span::ZERO }
    }

    /// The map as it is, once there has been an estimate.
    #[must_use]
    pub const fn map(&self) -> Option<&ClockMap> {
        self.map.as_ref()
    }

    /// From now on the clock is relied on: it slews, and never runs backwards.
    pub const fn rely(&mut self) {
        self.relied_on = self.map.is_some();
    }

    /// Whether the clock is relied on.
    #[must_use]
    pub const fn is_relied_on(&self) -> bool {
        self.relied_on
    }

    /// Steps since the clock was relied on.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Corrections worked off until `now`, whichever way.
    #[must_use]
    pub fn slewed(&self, now: Timestamp<Local>) -> Span {
        let present = self.map.map_or(0.0, |map| map.worked_off(now - map.local).abs());
        self.slewed + Span::from_nanos_f64(present)
    }

    /// Takes in an estimate when the local clock reads `now`.
    pub fn update(&mut self, now: Timestamp<Local>, estimate: &ClockEstimate) -> Adjustment {
        let target = estimate.rig_at(now);
        let line = ClockMap { skew: estimate.skew.clamp(MAX_RATE), ..ClockMap::fixed(now, target) };
        let Some(map) = self.map else {
            self.map = Some(line);
            return Adjustment::Set(Span::ZERO);
        };
        // A clock that stands still has been stepped already: its line is what counts.
        let reading = map.line_at(now);
        let floor = map.rig_at(now);
        let error = target - reading;
        if !self.relied_on {
            self.map = Some(line);
            return Adjustment::Set(error);
        }
        self.slewed = self.slewed(now);
        let sure = error.abs() > estimate.uncertainty_at(now) * STEP_SIGMAS;
        if error.abs() > self.step_threshold && sure {
            self.steps += 1;
            if error.abs().max(floor - target) > LONGEST_HOLD {
                self.map = Some(line);
                return Adjustment::Began { by: target - floor };
            }
            self.map = Some(ClockMap { floor, ..line });
            let held = (floor - target).max(Span::ZERO).mul_f64(1.0 / (1.0 + line.skew.as_ratio()));
            return Adjustment::Stepped { by: error, held };
        }
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
    fn it_steps_until_relied_on_then_slews() {
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
    fn a_correction_ends_when_it_is_worked_off() {
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
    fn a_large_error_is_stepped_over_ahead_and_waited_for_behind() {
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
    fn time_begins_anew_where_it_cannot_be_waited_for() {
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
    fn no_step_by_an_estimate_that_is_not_sure_of_it() {
        let mut servo = servo();
        servo.update(local(0), &estimate(0, 0, 0.0));
        servo.rely();
        let unsure = ClockEstimate { uncertainty: Span::from_millis(4), ..estimate(0, 15_000_000, 0.0) };
        assert_eq!(servo.update(local(0), &unsure), Adjustment::Slewing(Span::from_millis(15)));
    }

    #[test]
    fn what_was_slewed_adds_up() {
        let mut servo = servo();
        servo.update(local(0), &estimate(0, 0, 0.0));
        servo.rely();
        servo.update(local(0), &estimate(0, 100_000, 0.0));
        assert_eq!(servo.slewed(local(1_000_000_000)), Span::from_micros(50));
        servo.update(local(2_000_000_000), &estimate(2_000_000_000, 0, 0.0));
        assert_eq!(servo.slewed(local(9_000_000_000)), Span::from_micros(200));
    }

    prop_compose! {
        /// Time until an update, its offset, its skew in ppm, its uncertainty, and where to look: fractions
        /// of the time until the next one, and so many ns in a row from there.
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
        /// Whatever estimates come, steps included: once relied on, no reader ever sees it go back, nor stand still
        /// for long, unless its time begins anew.
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
