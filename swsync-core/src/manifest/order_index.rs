//! Where an order's frames lie: their numbers, and how many it names before them.

use crate::grid::FrameNumber;
use crate::order::NamedFrames;

/// How an order counts the frames that it names. Frames that follow each other in an order have numbers far apart
/// where it has pauses; their places follow each other too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderIndex(Option<NamedFrames>);

impl OrderIndex {
    /// Those of `named`; of an order without pauses, or one that is not known, a frame's place is its number.
    pub(super) fn of(named: Option<NamedFrames>) -> Self {
        Self(named.filter(NamedFrames::has_pauses))
    }

    /// The place of a frame.
    #[must_use]
    pub fn index_of(&self, number: FrameNumber) -> u64 {
        self.0.map_or(number, |named| named.index_of(number))
    }

    /// The frame at a place.
    #[must_use]
    pub fn number_at(&self, place: u64) -> FrameNumber {
        self.0.map_or(place, |named| named.number_at(place))
    }

    /// The places of frames.
    #[must_use]
    pub fn set_of(&self, numbers: impl IntoIterator<Item = FrameNumber>) -> NumberSet {
        numbers.into_iter().map(|number| self.index_of(number)).collect()
    }

    /// Whether the order is known, and has pauses.
    pub(super) const fn has_pauses(&self) -> bool {
        self.0.is_some()
    }
}

/// Numbers as runs in order that do not touch: of frames, or of the places that an order gives them. A take of days fits
/// few of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumberSet(Vec<(FrameNumber, u64)>);

impl FromIterator<FrameNumber> for NumberSet {
    fn from_iter<I: IntoIterator<Item = FrameNumber>>(numbers: I) -> Self {
        numbers.into_iter().map(|number| (number, 1)).collect()
    }
}

impl FromIterator<(FrameNumber, u64)> for NumberSet {
    /// From runs (first, count) in any order, be it that they overlap.
    fn from_iter<I: IntoIterator<Item = (FrameNumber, u64)>>(runs: I) -> Self {
        let mut this = Self::default();
        for (first, count) in runs {
            match this.0.last_mut() {
                // In order, as manifests are.
                Some((last, length)) if last.saturating_add(*length) == first => {
                    *length = length.saturating_add(count)
                }
                _ if count > 0 => this.0.push((first, count)),
                _ => (),
            }
        }
        this.0.sort_unstable();
        let mut joined: Vec<(FrameNumber, u64)> = Vec::with_capacity(this.0.len());
        for (first, count) in this.0 {
            match joined.last_mut() {
                Some((last, length)) if first <= last.saturating_add(*length) => {
                    *length = (*length).max((first - *last).saturating_add(count));
                }
                _ => joined.push((first, count)),
            }
        }
        Self(joined)
    }
}

impl NumberSet {
    /// The runs: first number and count.
    pub fn iter(&self) -> impl Iterator<Item = (FrameNumber, u64)> {
        self.0.iter().copied()
    }

    /// Adds a number: cheaply, if it comes behind the others.
    pub fn add(&mut self, number: u64) {
        match self.0.last_mut() {
            Some((first, count)) if first.saturating_add(*count) == number => *count += 1,
            Some((first, count)) if first.saturating_add(*count) > number => {
                *self = self.iter().chain([(number, 1)]).collect();
            }
            _ => self.0.push((number, 1)),
        }
    }

    /// How many numbers.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Those that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        let (mut a, mut b) = (self.iter().peekable(), other.iter().peekable());
        while let (Some((first_a, count_a)), Some((first_b, count_b))) = (a.peek(), b.peek()) {
            let (end_a, end_b) = (first_a.saturating_add(*count_a), first_b.saturating_add(*count_b));
            let (first, end) = (*first_a.max(first_b), end_a.min(end_b));
            if first < end {
                both.push((first, end - first));
            }
            if end_a <= end_b {
                a.next();
            } else {
                b.next();
            }
        }
        Self(both)
    }

    /// Those that are not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut others = other.iter().peekable();
        for (first, count) in self.iter() {
            let (mut from, end) = (first, first.saturating_add(count));
            while let Some((taken, length)) = others.peek().copied().filter(|(taken, _)| *taken < end) {
                if taken > from {
                    left.push((from, taken - from));
                }
                from = from.max(taken.saturating_add(length));
                if from > end {
                    break; // it reaches into what comes next
                }
                others.next();
            }
            if from < end {
                left.push((from, end - from));
            }
        }
        Self(left)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers(runs: &NumberSet) -> BTreeSet<u64> {
        runs.iter().flat_map(|(first, count)| first..first + count).collect()
    }

    proptest! {
        #[test]
        fn runs_are_sets(
            a in proptest::collection::vec((0_u64..60, 0_u64..8), 0..12),
            b in proptest::collection::vec((0_u64..60, 0_u64..8), 0..12),
        ) {
            let set = |runs: &[(u64, u64)]| -> BTreeSet<u64> {
                runs.iter().flat_map(|(first, count)| *first..first + count).collect()
            };
            let (set_a, set_b) = (set(&a), set(&b));
            let (runs_a, runs_b): (NumberSet, NumberSet) = (a.into_iter().collect(), b.into_iter().collect());
            prop_assert_eq!(numbers(&runs_a), set_a.clone());
            prop_assert_eq!(runs_a.count(), set_a.len() as u64);
            prop_assert_eq!(numbers(&runs_a.intersection(&runs_b)), &set_a & &set_b);
            prop_assert_eq!(numbers(&runs_a.difference(&runs_b)), &set_a - &set_b);
            let mut added = NumberSet::default();
            set_b.iter().chain(&set_a).for_each(|number| added.add(*number));
            prop_assert_eq!(numbers(&added), &set_a | &set_b);
            prop_assert_eq!(&set_a.into_iter().collect::<NumberSet>(), &runs_a, "one form for one set");
        }
    }
}
