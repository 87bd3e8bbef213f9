//! Sets of numbers, stored as runs.

/// A set of frame numbers or of indexes in an order, as ascending runs that do not touch: a take of days needs few.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumberSet(Vec<(u64, u64)>);

impl FromIterator<u64> for NumberSet {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        numbers.into_iter().map(|number| (number, 1)).collect()
    }
}

impl FromIterator<(u64, u64)> for NumberSet {
    /// From runs (first, count) in any order, which may overlap.
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(runs: I) -> Self {
        let mut this = Self::default();
        for (first, count) in runs {
            match this.0.last_mut() {
                // Fast path: manifests are in order.
                Some((last, length)) if last.saturating_add(*length) == first => {
                    *length = length.saturating_add(count)
                }
                _ if count > 0 => this.0.push((first, count)),
                _ => (),
            }
        }
        this.0.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(this.0.len());
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
    /// The runs, as (first, count).
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }

    /// Adds a number. Cheap if it is greater than all others.
    pub fn add(&mut self, number: u64) {
        match self.0.last_mut() {
            Some((first, count)) if first.saturating_add(*count) == number => *count += 1,
            Some((first, count)) if first.saturating_add(*count) > number => {
                *self = self.iter().chain([(number, 1)]).collect();
            }
            _ => self.0.push((number, 1)),
        }
    }

    /// Whether `number` is in the set.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        after.checked_sub(1).is_some_and(|at| number - self.0[at].0 < self.0[at].1)
    }

    /// How many numbers.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The numbers that are in both.
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

    /// The numbers that are not in `other`.
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
                    break; // it also covers the beginning of the next run
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
            prop_assert!((0..70).all(|number| runs_a.contains(number) == set_a.contains(&number)));
            prop_assert_eq!(numbers(&runs_a.intersection(&runs_b)), &set_a & &set_b);
            prop_assert_eq!(numbers(&runs_a.difference(&runs_b)), &set_a - &set_b);
            let mut added = NumberSet::default();
            set_b.iter().chain(&set_a).for_each(|number| added.add(*number));
            prop_assert_eq!(numbers(&added), &set_a | &set_b);
            prop_assert_eq!(&set_a.into_iter().collect::<NumberSet>(), &runs_a, "equal sets are equal values");
        }
    }
}
