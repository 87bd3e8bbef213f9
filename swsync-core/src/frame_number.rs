//! Decides the number of a frame: the number that its source gave it, or else that of the grid's instant near its time.

use std::collections::VecDeque;

use crate::grid::{FrameGrid, FrameNumber};
use crate::time::{Rig, Span, Timestamp};

/// Frames whose numbers are remembered: over as many an encoder may change their order.
const REMEMBERED: usize = 16;

/// How far after the grid's instants a stream's frames lie: zero as long as they are within a quarter of a period.
#[derive(Debug, Clone, Copy, Default)]
pub struct GridPhase(Span);

impl GridPhase {
    /// The number of the instant of `grid` near `time`.
    ///
    /// Frames near the middle between two instants always get the one before, or always the one after, whichever is nearer now: else
    /// jitter would give two of them one number.
    pub fn near(&mut self, time: Timestamp<Rig>, grid: FrameGrid) -> FrameNumber {
        let quarter = grid.period() / 4;
        if grid.phase_error(time).abs() <= quarter {
            self.0 = Span::ZERO;
            return grid.nearest(time);
        }
        let number = grid.nearest(time - self.0);
        let moved = time - grid.instant(number) - self.0;
        if moved.abs() > quarter {
            self.0 += moved;
        }
        number
    }
}

/// The numbers of a stream's newest frames.
#[derive(Debug, Default)]
pub struct FrameNumbers {
    phase: GridPhase,
    given: VecDeque<(FrameNumber, Timestamp<Rig>)>,
}

impl FrameNumbers {
    /// The number of a frame of `time`: `given_number` if its source gave it one on this grid, or else that of the instant near it.
    /// `None` if another frame has that number: there are more frames than instants.
    ///
    /// A frame of the same time as another is its double: it gets the next number that is free. So does any other frame of a stream
    /// that `is_coded`, since those after it may need it to be decoded.
    pub fn number(
        &mut self,
        given_number: Option<FrameNumber>,
        time: Timestamp<Rig>,
        grid: FrameGrid,
        is_coded: bool,
    ) -> Option<FrameNumber> {
        let mut number = given_number.unwrap_or_else(|| self.phase.near(time, grid));
        while let Some((_, other)) = self.given.iter().find(|(given, _)| *given == number) {
            if *other != time && !is_coded {
                return None;
            }
            number += 1;
        }
        self.given.push_back((number, time));
        if self.given.len() > REMEMBERED {
            self.given.pop_front();
        }
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of frames that lie so many periods after instant 1000, minus 1000; 0: no number.
    fn numbers(periods: impl IntoIterator<Item = f64>) -> Vec<FrameNumber> {
        let grid = FrameGrid::new(15, 1).unwrap();
        let mut numbers = FrameNumbers::default();
        let at = |periods: f64| grid.instant(1_000) + Span::from_nanos_f64(periods * grid.period_ns());
        periods
            .into_iter()
            .map(|periods| numbers.number(None, at(periods), grid, false).map_or(0, |number| number - 1_000))
            .collect()
    }

    #[test]
    fn no_number_is_given_twice_to_frames_between_two_instants() {
        assert_eq!(numbers([0.51, 1.49, 2.51, 3.48, 4.5, 5.53]), [1, 2, 3, 4, 5, 6]);
        assert_eq!(numbers([0.49, 1.51, 2.49, 3.52]), [0, 1, 2, 3]);
        assert_eq!(numbers([0.51, 3.49, 1.51, 2.49]), [1, 4, 2, 3], "as encoders order them");
        assert_eq!(numbers([0.49, 3.51, 4.51]), [0, 3, 4], "a hole stays a hole");
        assert_eq!(numbers([0.01, 1.02, 1.98, 3.2, 3.8]), [0, 1, 2, 3, 4], "each by itself");
        // A camera that is a little too slow skips a number now and then.
        let slow = numbers((0..200).map(|frame| f64::from(frame) * 1.01));
        assert!(slow.windows(2).all(|pair| pair[1] > pair[0] && pair[1] <= pair[0] + 2), "{slow:?}");
        assert_eq!(slow.last(), Some(&201));
    }

    #[test]
    fn doubled_frames_take_free_numbers() {
        assert_eq!(numbers([1.0, 1.0, 3.0, 3.0, 5.0]), [1, 2, 3, 4, 5]);
        assert_eq!(numbers([1.0, 1.2, 2.0]), [1, 0, 2], "more frames than instants");
        let grid = FrameGrid::new(30, 1).unwrap();
        let mut numbers = FrameNumbers::default();
        let mut with_meta = |number| numbers.number(Some(number), grid.instant(number), grid, false);
        assert_eq!([7, 8, 8, 10].map(&mut with_meta), [7, 8, 9, 10].map(Some));
        let late = grid.instant(10) + Span::from_millis(3);
        assert_eq!(numbers.number(Some(10), late, grid, true), Some(11), "video has to be whole");
    }
}
