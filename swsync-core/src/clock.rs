//! From estimate to clock: the map from local to rig time, and the servo that moves it.
//!
//! The map never steps once synced. A correction is worked off at a bounded rate and then ends by
//! itself, so a servo that hears nothing more leaves a clock that runs on at the estimated rate.

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

/// The map from local to rig time: a line, beside which a correction is worked off and ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockMap {
    /// Where the line begins ...
    local: Timestamp<Local>,
    /// ... and the rig time there.
    rig: Timestamp<Rig>,
    /// Rate of the line.
    skew: Skew,
    /// What is still to be corrected at the line's beginning.
    correction: Span,
    /// Rate at which it is worked off; positive.
    slew: Skew,
}

impl ClockMap {
    /// The map of a clock that runs at the local rate and reads `rig` at `local`: a leader's.
    #[must_use]
    pub const fn fixed(local: Timestamp<Local>, rig: Timestamp<Rig>) -> Self {
        Self { local, rig, skew: Skew::ZERO, correction: Span::ZERO, slew: Skew::ZERO }
    }

    /// Rig time when the local clock reads `local`. Strictly increasing for |skew| + slew < 1.
    #[must_use]
    pub fn rig_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        let elapsed = local - self.local;
        let worked_off = self.slew.over(elapsed).min(self.correction.abs()).max(Span::ZERO);
        let worked_off = if self.correction.is_negative() { -worked_off } else { worked_off };
        self.rig + elapsed + self.skew.over(elapsed) + worked_off
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
    /// It jumped by so much: before it was first synced.
    Stepped(Span),
    /// It changes its rate to work off so much.
    Slewing(Span),
}

/// Moves a [`ClockMap`] towards estimates: by stepping until first synced, then by slewing only.
#[derive(Debug)]
pub struct Servo {
    map: Option<ClockMap>,
    /// Whether readers rely on the clock: no step from here on.
    relied_on: bool,
    max_slew: Skew,
}

/// Time over which an error is worked off, where the slew bound allows it. Chosen: so long that cameras can
/// follow what an estimate is corrected by (100 us make 1.7 us a frame), short against the
/// estimator's window.
const TIME_CONSTANT: Span = Span::from_secs(2);

impl Servo {
    /// A servo that slews by at most `max_slew` beside the estimated skew.
    #[must_use]
    pub const fn new(max_slew: Skew) -> Self {
        Self { map: None, relied_on: false, max_slew }
    }

    /// The map as it is, once there has been an estimate.
    #[must_use]
    pub const fn map(&self) -> Option<&ClockMap> {
        self.map.as_ref()
    }

    /// From now on the clock is relied on: it slews and no longer steps.
    pub fn rely(&mut self) {
        self.relied_on = self.map.is_some();
    }

    /// Takes in an estimate when the local clock reads `now`.
    pub fn update(&mut self, now: Timestamp<Local>, estimate: &ClockEstimate) -> Adjustment {
        let target = estimate.rig_at(now);
        match self.map {
            Some(map) if self.relied_on => {
                let reading = map.rig_at(now);
                let correction = target - reading;
                let wanted = correction.abs().as_secs_f64() / TIME_CONSTANT.as_secs_f64();
                self.map = Some(ClockMap {
                    local: now,
                    rig: reading,
                    skew: estimate.skew,
                    correction,
                    slew: Skew::from_ratio(wanted).clamp(self.max_slew),
                });
                Adjustment::Slewing(correction)
            }
            before => {
                self.map = Some(ClockMap { skew: estimate.skew, ..ClockMap::fixed(now, target) });
                Adjustment::Stepped(before.map_or(Span::ZERO, |map| target - map.rig_at(now)))
            }
        }
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
        Servo::new(Skew::from_ppm(500.0))
    }

    #[test]
    fn it_steps_until_relied_on_then_slews() {
        let mut servo = servo();
        servo.update(local(0), &estimate(0, 1_000, 0.0));
        assert_eq!(
            servo.update(local(10), &estimate(10, 9_000, 0.0)),
            Adjustment::Stepped(Span::from_nanos(8_000))
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

    proptest! {
        /// Whatever estimates come: once relied on, no reader ever sees it stand still or go back.
        #[test]
        fn it_never_runs_backwards(updates in proptest::collection::vec((1_i64..2_000_000_000, -50_000_000_i64..50_000_000, -400.0..400.0), 2..40)) {
            let mut servo = servo();
            let mut now = 0;
            let mut last = Timestamp::from_nanos(i64::MIN);
            for (step, offset, ppm) in updates {
                for fraction in 0..4 {
                    if let Some(map) = servo.map() {
                        let reading = map.rig_at(local(now + step * fraction / 4));
                        prop_assert!(reading >= last);
                        last = reading;
                    }
                }
                now += step;
                servo.update(local(now), &estimate(now, offset, ppm));
                if servo.map().is_some() && !servo.relied_on {
                    servo.rely();
                    last = Timestamp::from_nanos(i64::MIN);
                }
            }
        }
    }
}
