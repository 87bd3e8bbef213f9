//! The numbers of a stream's frames, where their source gives none that count by this stream's rate.

use std::collections::VecDeque;

use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::time::{Rig, Span, Timestamp};

/// Frames whose numbers are remembered: in as many places an encoder may change their order.
const REMEMBERED: usize = 16;

/// How far after the grid's instants frames lie: zero as long as that is near.
#[derive(Debug, Clone, Copy, Default)]
pub struct Phase(Span);

impl Phase {
    /// The number of the instant near `time`. Of frames in the middle between two it is always the one before, or always
    /// the one after, and not which of them is nearer now.
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

/// Which numbers a stream has given to its newest frames.
#[derive(Debug, Default)]
pub struct Numbers {
    phase: Phase,
    given: VecDeque<(FrameNumber, Timestamp<Rig>)>,
}

impl Numbers {
    /// The number of a frame of `time`: the one that its source `told`, or else that of the instant near it. `None` where
    /// another frame has it: there are more frames than instants.
    ///
    /// A frame that an element has doubled gets the next number that is free, which it was doubled for. So does any other
    /// that is `needed`, as those after it build on it.
    pub fn give(
        &mut self,
        told: Option<FrameNumber>,
        time: Timestamp<Rig>,
        grid: FrameGrid,
        needed: bool,
    ) -> Option<FrameNumber> {
        let mut number = told.unwrap_or_else(|| self.phase.near(time, grid));
        while let Some((_, other)) = self.given.iter().find(|(given, _)| *given == number) {
            if *other != time && !needed {
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

    /// The numbers of frames that lie so many periods after instant 1000; 0 where there is none.
    fn numbers(periods: impl IntoIterator<Item = f64>) -> Vec<FrameNumber> {
        let grid = FrameGrid::new(15, 1).unwrap();
        let mut numbers = Numbers::default();
        let at = |periods: f64| grid.instant(1_000) + Span::from_nanos_f64(periods * grid.period_ns());
        periods
            .into_iter()
            .map(|periods| numbers.give(None, at(periods), grid, false).map_or(0, |number| number - 1_000))
            .collect()
    }

    #[test]
    fn no_number_is_given_twice_to_frames_between_two_instants() {
        assert_eq!(numbers([0.51, 1.49, 2.51, 3.48, 4.5, 5.53]), [1, 2, 3, 4, 5, 6]);
        assert_eq!(numbers([0.49, 1.51, 2.49, 3.52]), [0, 1, 2, 3]);
        assert_eq!(numbers([0.51, 3.49, 1.51, 2.49]), [1, 4, 2, 3], "as encoders order them");
        assert_eq!(numbers([0.49, 3.51, 4.51]), [0, 3, 4], "a hole stays one");
        assert_eq!(numbers([0.01, 1.02, 1.98, 3.2, 3.8]), [0, 1, 2, 3, 4], "each by itself");
        // A camera that takes fewer leaves one out now and then.
        let slow = numbers((0..200).map(|frame| f64::from(frame) * 1.01));
        assert!(slow.windows(2).all(|pair| pair[1] > pair[0] && pair[1] <= pair[0] + 2), "{slow:?}");
        assert_eq!(slow.last(), Some(&201));
    }

    #[test]
    fn doubled_frames_take_what_is_free() {
        assert_eq!(numbers([1.0, 1.0, 3.0, 3.0, 5.0]), [1, 2, 3, 4, 5]);
        assert_eq!(numbers([1.0, 1.2, 2.0]), [1, 0, 2], "more frames than instants");
        let grid = FrameGrid::new(30, 1).unwrap();
        let mut numbers = Numbers::default();
        let mut told = |number| numbers.give(Some(number), grid.instant(number), grid, false);
        assert_eq!([7, 8, 8, 10].map(&mut told), [7, 8, 9, 10].map(Some));
        let late = grid.instant(10) + Span::from_millis(3);
        assert_eq!(numbers.give(Some(10), late, grid, true), Some(11), "video has to be whole");
    }
}
