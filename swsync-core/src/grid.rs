//! The frame grid: the instants `k * period` in rig time, and frame numbers derived from them.
//!
//! The period is an exact fraction of a second (1/30 s is not 33 333 333 ns), counted from the Unix epoch. Every device
//! derives the same number from the same instant, without counting frames: dropped frames, restarts and late joiners
//! change nothing.

use serde::{Deserialize, Serialize};

use crate::time::{Rig, Span, Timestamp};

/// Number of a grid instant: the `k` of `k * period`.
pub type FrameNumber = u64;

/// Nanoseconds in a second, wide enough for exact products.
const NANOS: i128 = 1_000_000_000;

/// Why a frame rate gives no grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// The period is not a positive fraction.
    #[error("a frame rate of {numerator}/{denominator} frames per second is not a positive fraction")]
    Rate {
        /// Frames,
        numerator: u32,
        /// per this many seconds.
        denominator: u32,
    },
    /// No camera takes frames so fast or so slowly.
    #[error(
        "a frame rate of {numerator}/{denominator} frames per second: expected at most {MAX_RATE} frames per second, and one in \
         {MAX_PERIOD} s at least"
    )]
    Range {
        /// Frames,
        numerator: u32,
        /// per this many seconds.
        denominator: u32,
    },
}

/// Most frames per second. Chosen: beyond all cameras that deliver pictures one by one.
pub const MAX_RATE: u32 = 1_000_000;

/// Longest period in seconds: a day.
pub const MAX_PERIOD: u32 = 86_400;

/// The instants `k * period` in rig time.
///
/// Made from a frame rate of `numerator / denominator` frames per second, as in GStreamer caps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "(u32, u32)", into = "(u32, u32)")]
pub struct FrameGrid {
    numerator: u32,
    denominator: u32,
}

impl TryFrom<(u32, u32)> for FrameGrid {
    type Error = GridError;
    fn try_from((numerator, denominator): (u32, u32)) -> Result<Self, GridError> {
        Self::new(numerator, denominator)
    }
}
impl From<FrameGrid> for (u32, u32) {
    fn from(grid: FrameGrid) -> Self {
        (grid.numerator, grid.denominator)
    }
}

impl FrameGrid {
    /// The grid of `numerator / denominator` frames per second.
    ///
    /// # Errors
    /// [`GridError::Rate`] where either is zero: a variable frame rate has no grid. [`GridError::Range`] where no camera has
    /// such a rate: numbers of frames stay far from the limits of 64 bit then.
    pub const fn new(numerator: u32, denominator: u32) -> Result<Self, GridError> {
        if numerator == 0 || denominator == 0 {
            return Err(GridError::Rate { numerator, denominator });
        }
        // Both products fit into 64 bit.
        let (frames, seconds) = (numerator as u64, denominator as u64);
        if frames > MAX_RATE as u64 * seconds || seconds > MAX_PERIOD as u64 * frames {
            return Err(GridError::Range { numerator, denominator });
        }
        Ok(Self { numerator, denominator })
    }

    /// Frames per second as (numerator, denominator).
    #[must_use]
    pub const fn rate(self) -> (u32, u32) {
        (self.numerator, self.denominator)
    }

    /// The period in nanoseconds, without rounding to a whole [`Span`].
    #[must_use]
    pub fn period_ns(self) -> f64 {
        f64::from(self.denominator) * 1e9 / f64::from(self.numerator)
    }

    /// The period, rounded to the nearest nanosecond.
    #[must_use]
    pub fn period(self) -> Span {
        Span::from_nanos_f64(self.period_ns())
    }

    /// The instant of frame `number`, rounded to the nearest nanosecond. Saturates.
    #[must_use]
    pub fn instant(self, number: FrameNumber) -> Timestamp<Rig> {
        let num = i128::from(self.numerator);
        let nanos = (i128::from(number) * i128::from(self.denominator) * NANOS + num / 2) / num;
        Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    /// The frame whose instant is nearest to `at`; of two equally near ones the earlier. Instants before the epoch give
    /// frame 0.
    #[must_use]
    pub fn nearest(self, at: Timestamp<Rig>) -> FrameNumber {
        let den = i128::from(self.denominator) * NANOS;
        // ceil(at / period - 1/2), in exact integers
        let doubled = 2 * i128::from(at.as_nanos()) * i128::from(self.numerator) - den;
        let below = doubled.div_euclid(2 * den);
        let number = below + i128::from(below * 2 * den != doubled);
        u64::try_from(number).unwrap_or(0)
    }

    /// The first instant whose nearest frame is `number` or later. Saturates.
    #[must_use]
    pub fn earliest(self, number: FrameNumber) -> Timestamp<Rig> {
        // Just after (number - 1/2) * period, in exact integers.
        let doubled = (2 * i128::from(number) - 1) * i128::from(self.denominator) * NANOS;
        let nanos = doubled.div_euclid(2 * i128::from(self.numerator)) + 1;
        Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    /// Whether `span` is at least one period long.
    #[must_use]
    pub fn is_period_within(self, span: Span) -> bool {
        i128::from(span.as_nanos()) * i128::from(self.numerator) >= i128::from(self.denominator) * NANOS
    }

    /// A frame's time minus its grid instant, in (-period/2, period/2].
    #[must_use]
    pub fn phase_error(self, at: Timestamp<Rig>) -> Span {
        at - self.instant(self.nearest(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(nanos: i64) -> Timestamp<Rig> {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn a_period_is_within_a_span_as_long_as_it_or_longer() {
        // 33 366 666.7 ns and 33 333 333.3 ns
        for (numerator, denominator, period) in
            [(30_000, 1_001, 33_366_667), (30, 1, 33_333_334), (1, 1, 1_000_000_000)]
        {
            let grid = FrameGrid::new(numerator, denominator).unwrap();
            assert!(grid.is_period_within(Span::from_nanos(period)));
            assert!(!grid.is_period_within(Span::from_nanos(period - 1)));
        }
    }

    #[test]
    fn a_rate_of_zero_has_no_grid() {
        assert!(FrameGrid::new(0, 1).is_err());
        assert!(FrameGrid::new(30, 0).is_err());
    }

    #[test]
    fn no_camera_has_such_a_rate() {
        for (numerator, denominator) in [(1_000_000, 1), (u32::MAX, 4_295), (1, 86_400), (30_000, 1_001)] {
            let grid = FrameGrid::new(numerator, denominator).unwrap();
            assert!(grid.nearest(Timestamp::MAX) > 0);
        }
        for (numerator, denominator) in [(1_000_001, 1), (u32::MAX, 1), (1, 86_401), (1, u32::MAX)] {
            let why = FrameGrid::new(numerator, denominator).unwrap_err();
            assert_eq!(why, GridError::Range { numerator, denominator });
        }
    }

    #[test]
    fn instants_do_not_drift() {
        let grid = FrameGrid::new(30, 1).unwrap();
        // 2^31 frames of 33 333 333 ns would be 0.7 s short.
        assert_eq!(grid.instant(30 * 1_800_000_000), at(1_800_000_000 * 1_000_000_000));
        assert_eq!(grid.instant(1), at(33_333_333));
        assert_eq!(grid.instant(2), at(66_666_667));
        let ntsc = FrameGrid::new(30_000, 1001).unwrap();
        assert_eq!(ntsc.rate(), (30_000, 1001));
        assert_eq!(ntsc.instant(30_000), at(1001 * 1_000_000_000));
    }

    #[test]
    fn phase_error_is_half_open() {
        let grid = FrameGrid::new(100, 1).unwrap(); // 10 ms
        assert_eq!(grid.phase_error(at(5_000_000)), Span::from_millis(5)); // +period/2 belongs
        assert_eq!(grid.phase_error(at(5_000_001)), Span::from_nanos(-4_999_999));
        assert_eq!(grid.nearest(at(5_000_000)), 0);
        assert_eq!(grid.nearest(at(5_000_001)), 1);
        assert_eq!((grid.nearest(at(15_000_000)), grid.nearest(at(15_000_001))), (1, 2));
    }

    #[test]
    fn rates_that_divide_share_instants() {
        let slow = FrameGrid::new(30, 1).unwrap();
        let fast = FrameGrid::new(120, 1).unwrap();
        for k in [0, 1, 7, 54_000_000_001] {
            assert_eq!(slow.instant(k), fast.instant(4 * k));
        }
    }

    proptest! {
        #[test]
        fn a_frames_own_instant_is_its_nearest(num in 1_u32..100_000, den in 1_u32..1001, k in 0_u64..100_000_000_000) {
            let grid = FrameGrid::new(num, den).unwrap();
            prop_assume!(grid.instant(k) != Timestamp::MAX);
            prop_assert_eq!(grid.nearest(grid.instant(k)), k);
            prop_assert!(grid.phase_error(grid.instant(k)) == Span::ZERO);
        }

        #[test]
        fn the_earliest_instant_of_a_frame_is_the_first_that_is_nearest(
            num in 1_u32..100_000, den in 1_u32..1001, k in 1_u64..1_000_000_000
        ) {
            let grid = FrameGrid::new(num, den).unwrap();
            prop_assume!(grid.instant(k + 1) != Timestamp::MAX);
            let earliest = grid.earliest(k);
            prop_assert!(grid.nearest(earliest) >= k);
            prop_assert!(grid.nearest(earliest - Span::from_nanos(1)) < k);
        }

        #[test]
        fn phase_error_is_within_half_a_period(num in 1_u32..1000, ns in 0_i64..4_000_000_000_000_000_000) {
            let grid = FrameGrid::new(num, 1).unwrap();
            let error = grid.phase_error(at(ns)).as_nanos_f64();
            prop_assert!(error <= grid.period_ns() / 2.0 + 1.0);
            prop_assert!(error >= -grid.period_ns() / 2.0 - 1.0);
        }
    }
}
