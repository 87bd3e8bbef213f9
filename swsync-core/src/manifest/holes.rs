//! The holes of a take: its missing frames, bounded in size.

use serde::{Deserialize, Serialize};

use crate::grid::FrameNumber;
use crate::order::NamedFrames;

/// Most holes of a take. Beyond it the oldest are merged. With [`MAX_WHY`] they take at most 60 kB of JSON.
const MAX_HOLES: usize = 200;

/// Longest reason, in bytes. Longer ones are cut.
const MAX_WHY: usize = 200;

/// The reason of merged holes with different reasons.
const SEVERAL: &str = "several reasons: there were more holes than take.json lists";

/// Missing frames that follow each other in the order.
///
/// Merged holes of a take with very many also span frames that exist: those with a line in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hole {
    /// The first of them.
    pub first: FrameNumber,
    /// The last of them, if there are other numbers between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<FrameNumber>,
    /// How many.
    pub count: u64,
    /// The reason, as text for the operator.
    pub why: String,
}

impl Hole {
    /// `count` consecutive numbers from `first` on.
    #[must_use]
    pub fn run(first: FrameNumber, count: u64, why: &str) -> Self {
        Self { first, last: None, count, why: why.to_owned() }
    }

    /// The last of them.
    #[must_use]
    pub fn last(&self) -> FrameNumber {
        self.last.unwrap_or_else(|| self.first.saturating_add(self.count.saturating_sub(1)))
    }
}

/// The holes of a take while it is written. Bounded in memory.
#[derive(Debug)]
pub struct Holes {
    named: NamedFrames,
    list: Vec<Hole>,
}

impl Holes {
    /// No holes yet, of an order that names these frames.
    #[must_use]
    pub const fn new(named: NamedFrames) -> Self {
        Self { named, list: Vec::new() }
    }

    /// Adds a hole of `count` named frames, from number `first` to `last`.
    pub fn add(&mut self, first: FrameNumber, last: FrameNumber, count: u64, why: &str) {
        let end = why.floor_char_boundary(MAX_WHY);
        let hole = Hole { last: Some(last), ..Hole::run(first, count, &why[..end]) };
        let at = self.list.partition_point(|known| known.first <= first);
        self.list.insert(at, hole);
        self.join(at);
        if let Some(before) = at.checked_sub(1) {
            self.join(before);
        }
        if self.list.len() > MAX_HOLES {
            self.merge(0);
        }
    }

    /// Merges the hole at `index` with its successors, as long as they belong together.
    fn join(&mut self, index: usize) {
        while let Some([one, two]) = self.list.get(index..index + 2) {
            let follows = self.named.index_of(two.first) == self.named.index_of(one.last()).saturating_add(1);
            // A hole may lie within one that was merged.
            if !(follows && one.why == two.why || two.first <= one.last()) {
                break;
            }
            self.merge(index);
        }
    }

    /// Merges the hole at `index` with the next.
    fn merge(&mut self, index: usize) {
        let two = self.list.remove(index + 1);
        let one = &mut self.list[index];
        one.last = Some(one.last().max(two.last()));
        one.count = one.count.saturating_add(two.count);
        if one.why != two.why {
            one.why = SEVERAL.into();
        }
    }

    /// A frame exists after all: removes it from its hole.
    pub fn fill(&mut self, number: FrameNumber) {
        let at = self.list.partition_point(|hole| hole.last() < number);
        let Some(hole) = self.list.get_mut(at).filter(|hole| hole.first <= number) else { return };
        let named = self.named;
        let (first, filled, last) =
            (named.index_of(hole.first), named.index_of(number), named.index_of(hole.last()));
        if last - first >= hole.count && hole.count > 1 {
            hole.count -= 1; // a merged hole cannot be split
            return;
        }
        let Hole { why, .. } = self.list.remove(at);
        let part = |first, end| Hole {
            last: Some(named.number_at(end - 1)),
            ..Hole::run(named.number_at(first), end - first, &why)
        };
        let parts = [(first, filled), (filled + 1, last + 1)].into_iter().filter(|(first, end)| first < end);
        self.list.splice(at..at, parts.map(|(first, end)| part(first, end)));
    }

    /// The holes, by number.
    #[must_use]
    pub fn list(&self) -> Vec<Hole> {
        let mut list = self.list.clone();
        for hole in &mut list {
            let run = Hole::run(hole.first, hole.count, "").last();
            hole.last = hole.last.filter(|last| *last != run);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::FrameGrid;
    use crate::name::Name;
    use crate::order::{Order, OrderKind};
    use crate::time::{Span, Timestamp};
    use proptest::prelude::*;

    fn named(every: Option<Span>, rate: (u32, u32)) -> NamedFrames {
        let kind = match every {
            Some(every) => OrderKind::Still { every: Some(every), count: None },
            None => OrderKind::Take { segment: None, fill: Default::default() },
        };
        let order = Order::new(Name::new("o").unwrap(), Timestamp::ZERO, None, kind).unwrap();
        order.named(FrameGrid::new(rate.0, rate.1).unwrap())
    }

    fn told(holes: &Holes) -> Vec<(u64, Option<u64>, u64, String)> {
        holes.list().into_iter().map(|hole| (hole.first, hole.last, hole.count, hole.why)).collect()
    }

    #[test]
    fn a_long_absence_is_one_hole_also_with_pauses() {
        for (every, rate) in [
            (None, (30, 1)),
            (Some(Span::from_secs(1)), (30, 1)),
            (Some(Span::from_millis(130)), (30, 1)),
            (Some(Span::from_secs(2)), (30_000, 1001)),
        ] {
            let named = named(every, rate);
            let mut holes = Holes::new(named);
            for index in (0..100_000).filter(|index| *index != 50_000) {
                let number = named.number_at(index);
                holes.add(number, number, 1, "switched off");
            }
            let told = told(&holes);
            let [before, after] = &told[..] else { panic!("{told:?}") };
            assert_eq!((before.0, before.2), (0, 50_000));
            assert_eq!((after.0, after.2), (named.number_at(50_001), 49_999));
            assert_eq!(after.1.is_some(), every.is_some());
        }
    }

    #[test]
    fn holes_with_different_reasons_are_not_joined() {
        let mut holes = Holes::new(named(None, (30, 1)));
        holes.add(3, 3, 1, "b");
        holes.add(1, 2, 2, "a");
        holes.add(5, 5, 1, "b");
        holes.add(4, 4, 1, "b");
        holes.add(9, 9, 1, &"ü".repeat(300));
        let told = told(&holes);
        assert_eq!(told[..2], [(1, None, 2, "a".into()), (3, None, 3, "b".into())]);
        assert_eq!(told[2].3, "ü".repeat(MAX_WHY / 2));
    }

    #[test]
    fn a_frame_that_exists_after_all_splits_its_hole() {
        let every = Some(Span::from_millis(130));
        let named = named(every, (30, 1));
        let at = |index| named.number_at(index);
        let mut holes = Holes::new(named);
        holes.add(at(1), at(9), 9, "a");
        for index in [5, 1, 9, 20] {
            holes.fill(at(index));
        }
        assert_eq!(told(&holes), [(at(2), Some(at(4)), 3, "a".into()), (at(6), Some(at(8)), 3, "a".into())]);
        let mut holes = Holes::new(named);
        holes.add(at(3), at(3), 1, "a");
        holes.fill(at(3));
        assert_eq!(told(&holes), []);
    }

    #[test]
    fn the_oldest_holes_are_merged_beyond_the_limit() {
        let mut holes = Holes::new(named(None, (30, 1)));
        for number in 0..1_000_000 {
            holes.add(2 * number, 2 * number, 1, "dropped");
        }
        holes.add(1, 1, 1, "late");
        let told = told(&holes);
        assert_eq!(told.len(), MAX_HOLES);
        assert_eq!(told.iter().map(|hole| hole.2).sum::<u64>(), 1_000_001);
        assert_eq!((told[0].0, told[0].3.as_str()), (0, SEVERAL));
        assert_eq!(told[1], (told[0].1.unwrap() + 2, None, 1, "dropped".into()));
    }

    proptest! {
        #[test]
        fn every_missing_frame_is_counted_once(
            numbers in proptest::collection::vec((0_u64..900, 0_u8..3), 0..700),
        ) {
            let mut holes = Holes::new(named(None, (30, 1)));
            let mut seen = std::collections::BTreeMap::new();
            for (number, why) in numbers {
                if seen.insert(number, why).is_none() {
                    holes.add(number, number, 1, &why.to_string());
                }
            }
            let list = holes.list();
            prop_assert!(list.len() <= MAX_HOLES);
            prop_assert!(list.windows(2).all(|two| two[0].last() < two[1].first));
            prop_assert_eq!(list.iter().map(|hole| hole.count).sum::<u64>(), seen.len() as u64);
            for number in seen.keys() {
                prop_assert!(list.iter().any(|hole| (hole.first..=hole.last()).contains(number)));
            }
        }
    }
}
