//! Frames counted as an order counts them.

use super::NumberSet;
use crate::grid::FrameNumber;
use crate::order::NamedFrames;

/// Maps frame numbers to indexes. Consecutive frames of an order have consecutive indexes, even if the order does not name the
/// frames between them.
///
/// Without such pauses, and for an unknown order, the index of a frame is its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderIndex(Option<NamedFrames>);

impl OrderIndex {
    /// The index of `named`. `None`: the order is not known.
    pub(super) fn of(named: Option<NamedFrames>) -> Self {
        Self(named.filter(NamedFrames::has_pauses))
    }

    /// The index of a frame.
    #[must_use]
    pub fn index_of(&self, number: FrameNumber) -> u64 {
        self.0.map_or(number, |named| named.index_of(number))
    }

    /// The frame with an index.
    #[must_use]
    pub fn number_at(&self, index: u64) -> FrameNumber {
        self.0.map_or(index, |named| named.number_at(index))
    }

    /// The indexes of frames.
    #[must_use]
    pub fn set_of(&self, numbers: impl IntoIterator<Item = FrameNumber>) -> NumberSet {
        numbers.into_iter().map(|number| self.index_of(number)).collect()
    }

    /// Whether the order is known, and has pauses.
    pub(super) const fn has_pauses(&self) -> bool {
        self.0.is_some()
    }
}
