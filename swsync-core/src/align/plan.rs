//! Which length the first frame that can still be determined should have.

use super::SensorTiming;

/// An error of more than this part of the period may be made up the long way round, through half a
/// period, where that takes fewer frames.
const ROUND_FROM: f64 = 0.01;
/// Frames beyond which a way to the grid counts as too long to be meant.
const NEVER: f64 = 1e9;

/// What lengths a frame may have now, in lines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LengthLimits {
    /// Shortest.
    pub min: u32,
    /// Longest.
    pub max: u32,
}

impl LengthLimits {
    /// The sensor's, with an exposure of `exposure_lines`, and no further from the period of
    /// `period_lines` than `max_slew` of it.
    pub fn of(sensor: &SensorTiming, exposure_lines: u32, period_lines: f64, max_slew: Option<f64>) -> Self {
        let min = sensor.min_lines.max(exposure_lines.saturating_add(sensor.exposure_margin));
        let max = sensor.max_lines.max(min);
        let limits = Self { min, max };
        // A line either way there has to be, or nothing could be held.
        max_slew.map_or(limits, |slew| limits.near(period_lines, (period_lines * slew.max(0.0)).max(1.0)))
    }

    /// Of these lengths, those that differ from `period` by `slack` at most, in lines.
    pub fn near(self, period: f64, slack: f64) -> Self {
        let Self { min, max } = self;
        let least = to_lines((period - slack).ceil()).clamp(min, max);
        let most = to_lines((period + slack).floor()).clamp(min, max);
        Self { min: least, max: most.max(least) }
    }
}

/// A length, and how many frames the correction takes with it: 1 when it is done by this one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LengthPlan {
    /// Length of the frame, in lines.
    pub lines: u32,
    /// Frames that the whole correction takes.
    pub frames: f64,
}

/// The length of a frame at `phase` ns, so that the next one is as near to the grid as can be.
///
/// `line_ns` is a line's true time, `period_ns` the grid's period. `direct` forbids the long way round:
/// a stream on the grid is not turned by a whole period because it may not be shortened.
pub fn length(
    sensor: &SensorTiming,
    limits: LengthLimits,
    (phase, period_ns): (f64, f64),
    line_ns: f64,
    direct: bool,
) -> LengthPlan {
    let period = period_ns / line_ns;
    let error = phase / line_ns;
    // Shortening takes away what the phase is late; lengthening goes on to the next instant.
    let (shorten, lengthen) = if error >= 0.0 { (error, period - error) } else { (period + error, -error) };
    let most_shorter = period - f64::from(limits.min);
    let most_longer = f64::from(limits.max) - period;
    let by_shortening = frames(shorten, most_shorter);
    let by_lengthening = frames(lengthen, most_longer);
    let shorter = if direct || error.abs() <= ROUND_FROM * period || by_shortening == by_lengthening {
        error >= 0.0
    } else {
        by_shortening < by_lengthening
    };
    let (wanted, frames) =
        if shorter { (period - shorten, by_shortening) } else { (period + lengthen, by_lengthening) };
    LengthPlan { lines: to_step(sensor, limits, wanted), frames }
}

/// Frames to make up `lines` at `most` a frame. Half a line is less than can be told.
fn frames(lines: f64, most: f64) -> f64 {
    if lines <= 0.5 {
        return 1.0;
    }
    if most <= 0.5 { NEVER } else { (lines / most).ceil().clamp(1.0, NEVER) }
}

/// The length nearest to `wanted` that the sensor has: so many steps from its nominal one, within limits.
fn to_step(sensor: &SensorTiming, limits: LengthLimits, wanted: f64) -> u32 {
    let wanted = wanted.clamp(f64::from(limits.min), f64::from(limits.max));
    let step = sensor.line_step.max(1);
    if step == 1 {
        return to_lines(wanted.round());
    }
    let (step, nominal) = (f64::from(step), f64::from(sensor.nominal_lines));
    let mut lines = nominal + ((wanted - nominal) / step).round() * step;
    if lines < f64::from(limits.min) {
        lines += step;
    } else if lines > f64::from(limits.max) {
        lines -= step;
    }
    to_lines(lines).clamp(limits.min, limits.max)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to int casts saturate, which is what a limit does"
)]
fn to_lines(lines: f64) -> u32 {
    lines as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENSOR: SensorTiming = SensorTiming {
        line_time_ns: 20_000.0,
        min_lines: 1_000,
        max_lines: 3_000,
        nominal_lines: 1_666,
        latency: 3,
        line_step: 1,
        exposure_margin: 4,
    };
    const PERIOD: f64 = 33_333_333.3;

    fn at(phase: f64, sensor: &SensorTiming) -> LengthPlan {
        let limits = LengthLimits::of(sensor, 0, PERIOD / sensor.line_time_ns, None);
        length(sensor, limits, (phase, PERIOD), sensor.line_time_ns, false)
    }

    #[test]
    fn lengths_by_hand() {
        // The period is 1666.67 lines.
        assert_eq!(at(0.0, &SENSOR), LengthPlan { lines: 1667, frames: 1.0 });
        assert_eq!(at(10_000.0, &SENSOR).lines, 1666);
        assert_eq!(at(2_000_000.0, &SENSOR), LengthPlan { lines: 1567, frames: 1.0 });
        assert_eq!(at(-2_000_000.0, &SENSOR), LengthPlan { lines: 1767, frames: 1.0 });
        // 15 ms late: 750 lines are more than a frame can be shortened by (666), and 917 can be added.
        assert_eq!(at(15_000_000.0, &SENSOR), LengthPlan { lines: 2583, frames: 1.0 });
    }

    #[test]
    fn the_way_with_fewer_frames_is_taken() {
        let sensor = SensorTiming { min_lines: 1_656, max_lines: 1_686, ..SENSOR };
        // 2 ms late: 100 lines at 10 a frame, or 1567 at 19.
        assert_eq!(at(2_000_000.0, &sensor), LengthPlan { lines: 1656, frames: 10.0 });
        // 16 ms late: 800 lines at 10.67 a frame, or 867 at 19.33.
        assert_eq!(at(16_000_000.0, &sensor), LengthPlan { lines: 1686, frames: 45.0 });
        // At the full rate nothing can be shortened; near the grid that is no reason to go round.
        let sensor = SensorTiming { min_lines: 1_667, ..SENSOR };
        assert_eq!(at(2_000_000.0, &sensor).lines, 3_000);
        assert_eq!(at(200_000.0, &sensor).lines, 1_667);
    }

    #[test]
    fn slew_and_exposure_narrow_the_limits() {
        let limits = |exposure, slew| LengthLimits::of(&SENSOR, exposure, 1_666.67, slew);
        assert_eq!(limits(0, None), LengthLimits { min: 1_000, max: 3_000 });
        assert_eq!(limits(1_200, None), LengthLimits { min: 1_204, max: 3_000 });
        assert_eq!(limits(5_000, None), LengthLimits { min: 5_004, max: 5_004 });
        assert_eq!(limits(0, Some(0.01)), LengthLimits { min: 1_651, max: 1_683 });
        assert_eq!(limits(0, Some(0.0)), LengthLimits { min: 1_666, max: 1_667 });
        assert_eq!(limits(1_700, Some(0.01)), LengthLimits { min: 1_704, max: 1_704 });
    }

    #[test]
    fn steps_count_from_the_nominal_length() {
        let sensor = SensorTiming { line_step: 4, ..SENSOR };
        for phase in -100..100 {
            let lines = at(f64::from(phase) * 30_000.0, &sensor).lines;
            assert_eq!((lines + 4_000 - 1_666) % 4, 0, "{lines}");
        }
    }
}
