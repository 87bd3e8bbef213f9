//! Plans the length of the first frame that a request can still determine.

use super::config::SensorTiming;
use super::numbers::whole;

/// An error of more than this part of the period may be corrected the long way round, if that takes fewer frames.
const ROUND_FROM: f64 = 0.01;
/// Number of frames of a correction that is impossible.
const NEVER: f64 = 1e9;

/// The lengths that a frame may have now, in lines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LengthLimits {
    /// Shortest.
    pub min: u32,
    /// Longest.
    pub max: u32,
}

impl LengthLimits {
    /// The sensor's limits, narrowed by an exposure of `exposure_lines` and by `max_slew`, a part of the period of
    /// `period_lines`.
    pub fn of(sensor: &SensorTiming, exposure_lines: u32, period_lines: f64, max_slew: Option<f64>) -> Self {
        let min = sensor.min_lines.max(exposure_lines.saturating_add(sensor.exposure_margin));
        let max = sensor.max_lines.max(min);
        let limits = Self { min, max };
        // Allow at least one line in each direction, or the phase could not be held.
        max_slew.map_or(limits, |slew| limits.near(period_lines, (period_lines * slew.max(0.0)).max(1.0)))
    }

    /// These limits, narrowed to lengths that differ from `period` by at most `slack`, in lines.
    pub fn near(self, period: f64, slack: f64) -> Self {
        let Self { min, max } = self;
        let least = whole((period - slack).ceil()).clamp(min, max);
        let most = whole((period + slack).floor()).clamp(min, max);
        Self { min: least, max: most.max(least) }
    }
}

/// A planned length, and how many frames the correction takes; 1 if this frame completes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LengthPlan {
    /// Length of the frame, in lines.
    pub lines: u32,
    /// Number of frames that the whole correction takes.
    pub frames: f64,
}

/// The length of a frame at `phase` ns that brings the next one nearest to the grid.
///
/// `line_ns` is a line's true time, `period_ns` the grid's period. `direct` forbids the long way round: a stream on the grid must
/// not be shifted by a whole period because frames cannot be shortened.
pub fn length(
    sensor: &SensorTiming,
    limits: LengthLimits,
    (phase, period_ns): (f64, f64),
    line_ns: f64,
    direct: bool,
) -> LengthPlan {
    let period = period_ns / line_ns;
    let error = phase / line_ns;
    // Shortening removes the delay; lengthening goes on to the next instant.
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

/// Number of frames to correct `lines` at `most` lines per frame. Half a line is not worth correcting.
fn frames(lines: f64, most: f64) -> f64 {
    if lines <= 0.5 {
        return 1.0;
    }
    if most <= 0.5 { NEVER } else { (lines / most).ceil().clamp(1.0, NEVER) }
}

/// The length nearest to `wanted` that is a multiple of steps from the nominal one, within the limits.
fn to_step(sensor: &SensorTiming, limits: LengthLimits, wanted: f64) -> u32 {
    let wanted = wanted.clamp(f64::from(limits.min), f64::from(limits.max));
    let step = sensor.line_step.max(1);
    if step == 1 {
        return whole(wanted.round());
    }
    let (step, nominal) = (f64::from(step), f64::from(sensor.nominal_lines));
    let mut lines = nominal + ((wanted - nominal) / step).round() * step;
    if lines < f64::from(limits.min) {
        lines += step;
    } else if lines > f64::from(limits.max) {
        lines -= step;
    }
    whole(lines).clamp(limits.min, limits.max)
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
        // At the full rate frames cannot be shortened. Near the grid, that is no reason to go round.
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
    #[test]
    fn early_frames_may_go_on_to_the_next_instant() {
        // 20.1 ms early: 1005 lines longer takes 52 frames of 19.33, 661.67 shorter takes one.
        let sensor = SensorTiming { max_lines: 1_686, ..SENSOR };
        assert_eq!(at(-20_100_000.0, &sensor), LengthPlan { lines: 1005, frames: 1.0 });
    }

    #[test]
    fn steps_are_rounded_and_stay_within_the_limits() {
        let sensor = SensorTiming { line_step: 4, ..SENSOR };
        // 1566.67 and 1766.67 lines are wanted.
        assert_eq!((at(2_000_000.0, &sensor).lines, at(-2_000_000.0, &sensor).lines), (1_566, 1_766));
        // 15 ms late, so 750 lines shorter or 916.67 longer: more than fits into one frame, whose length is then the last step before the limit.
        let longest = |max_lines| at(15_000_000.0, &SensorTiming { min_lines: 1_656, max_lines, ..sensor });
        assert_eq!(longest(2_000), LengthPlan { lines: 1_998, frames: 3.0 });
        assert_eq!(longest(2_002).lines, 2_002);
        let shortest = |min_lines| at(15_000_000.0, &SensorTiming { min_lines, max_lines: 2_000, ..sensor });
        assert_eq!(shortest(1_000), LengthPlan { lines: 1_002, frames: 2.0 });
        assert_eq!(shortest(1_002).lines, 1_002);
    }
}
