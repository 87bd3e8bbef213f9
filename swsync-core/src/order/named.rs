//! Which frames an order names on a grid, computed from instants alone.

use std::ops::Range;

use super::{Order, OrderKind};
use crate::grid::{FrameGrid, FrameNumber};
use crate::time::{Rig, Span, Timestamp};

/// The frames that an order names on one grid, in ascending order of their numbers.
///
/// Frames that arrived play no role, so that every device of this rate names the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedFrames {
    grid: FrameGrid,
    at: Timestamp<Rig>,
    first: FrameNumber,
    /// One past the last. `None`: there is no last one yet.
    end: Option<FrameNumber>,
    /// Time between stills that are a period or more apart. `None`: every frame from first to end is named.
    every: Option<Span>,
    segment: Option<Span>,
}

impl NamedFrames {
    pub(super) fn of(order: &Order, grid: FrameGrid) -> Self {
        let at = order.at();
        let first = grid.nearest(at);
        let (by_kind, every, segment) = match order.kind() {
            OrderKind::Still { every, count } => {
                let last = count.map(|count| grid.nearest(instant(at, every, u64::from(count) - 1)));
                // Stills closer than a period name every frame.
                let every = every.filter(|every| grid.is_period_within(*every));
                (last.map(|last| last.saturating_add(1)), every, None)
            }
            OrderKind::Burst { count } => (Some(first.saturating_add(u64::from(count))), None, None),
            OrderKind::Take { segment, .. } => (None, None, segment),
        };
        let stop = order.stop().map(|stop| grid.nearest(stop).max(first));
        let end = [by_kind, stop].into_iter().flatten().min();
        Self { grid, at, first, end, every, segment }
    }

    /// The grid of the numbers.
    #[must_use]
    pub const fn grid(&self) -> FrameGrid {
        self.grid
    }

    /// The first frame, unless there is none.
    #[must_use]
    pub const fn first(&self) -> FrameNumber {
        self.first
    }

    /// A number after the last frame, not always the next one. `None`: they go on until the order is stopped.
    #[must_use]
    pub const fn end(&self) -> Option<FrameNumber> {
        self.end
    }

    /// The frames before `end`.
    #[must_use]
    pub fn until(self, end: FrameNumber) -> Self {
        Self { end: Some(self.end.map_or(end, |before| before.min(end)).max(self.first)), ..self }
    }

    /// The same frames, with the end moved behind `last` if that is later.
    pub(super) fn until_after(self, last: FrameNumber) -> Self {
        Self { end: self.end.map(|end| end.max(last.saturating_add(1))), ..self }
    }

    /// How many. `None`: they go on until the order is stopped.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        self.end.map(|end| self.count_in(self.first..end))
    }

    /// How many of them are in `range`.
    #[must_use]
    pub fn count_in(&self, range: Range<FrameNumber>) -> u64 {
        let begin = range.start.max(self.first);
        let end = self.end.map_or(range.end, |end| end.min(range.end));
        if begin >= end {
            return 0;
        }
        match self.every {
            None => end - begin,
            Some(every) => self.index_from(every, end) - self.index_from(every, begin),
        }
    }

    /// Whether `number` is one of them.
    #[must_use]
    pub fn contains(&self, number: FrameNumber) -> bool {
        self.next_from(number) == Some(number)
    }

    /// The first of them that is `number` or later.
    #[must_use]
    pub fn next_from(&self, number: FrameNumber) -> Option<FrameNumber> {
        let number = number.max(self.first);
        let next = match self.every {
            None => number,
            Some(every) => self.grid.nearest(instant(self.at, Some(every), self.index_from(every, number))),
        };
        // At the end of time instants saturate: there is no later frame.
        (next >= number && self.end.is_none_or(|end| next < end)).then_some(next)
    }

    /// The last of them that is before `number`.
    #[must_use]
    pub fn last_before(&self, number: FrameNumber) -> Option<FrameNumber> {
        let number = self.end.map_or(number, |end| end.min(number));
        if number <= self.first {
            return None;
        }
        Some(match self.every {
            None => number - 1,
            Some(every) => {
                self.grid.nearest(instant(self.at, Some(every), self.index_from(every, number) - 1))
            }
        })
    }

    /// Whether there are frames between the named ones that the order does not name.
    #[must_use]
    pub const fn has_pauses(&self) -> bool {
        self.every.is_some()
    }

    /// The index of frame `number` among the named frames, from 0: how many come before it. Ignores the end.
    #[must_use]
    pub fn index_of(&self, number: FrameNumber) -> u64 {
        match self.every {
            None => number.saturating_sub(self.first),
            Some(every) => self.index_from(every, number),
        }
    }

    /// The named frame with this index, from 0. Ignores the end; saturates.
    #[must_use]
    pub fn number_at(&self, index: u64) -> FrameNumber {
        match self.every {
            None => self.first.saturating_add(index),
            Some(every) => self.grid.nearest(instant(self.at, Some(every), index)),
        }
    }

    /// The file that frame `number` belongs to, from 0: of a take the segment, of stills that lie apart the index of the still.
    #[must_use]
    pub fn segment_of(&self, number: FrameNumber) -> u64 {
        match (self.every, self.segment) {
            (Some(every), _) => self.index_from(every, number),
            // The last cut at or before `number`.
            (None, Some(segment)) => {
                let until = self.grid.earliest(number.saturating_add(1)).as_nanos() - 1;
                u64::try_from((until - self.at.as_nanos()).div_euclid(segment.as_nanos())).unwrap_or(0)
            }
            (None, None) => 0,
        }
    }

    /// The frame at which the file after that of `number` begins. `None`: there is none.
    #[must_use]
    pub fn next_cut(&self, number: FrameNumber) -> Option<FrameNumber> {
        let next = match (self.every, self.segment) {
            (Some(_), _) => self.next_from(number.max(self.first) + 1)?,
            (None, Some(segment)) => {
                let mut index = self.segment_of(number);
                loop {
                    index += 1;
                    let cut = self.grid.nearest(instant(self.at, Some(segment), index));
                    // A segment shorter than a period can be empty: it has no file.
                    if cut > number {
                        break cut;
                    }
                }
            }
            (None, None) => return None,
        };
        self.end.is_none_or(|end| next < end).then_some(next)
    }

    /// All of them, if there is an end.
    #[must_use]
    pub fn iter(&self) -> Option<impl Iterator<Item = FrameNumber> + use<>> {
        self.end?;
        let named = *self;
        Some(std::iter::successors(named.next_from(named.first), move |number| named.next_from(number + 1)))
    }

    /// How many stills come before the first one whose frame is `number` or later.
    fn index_from(&self, every: Span, number: FrameNumber) -> u64 {
        let since = i128::from(self.grid.earliest(number).as_nanos()) - i128::from(self.at.as_nanos());
        let every = i128::from(every.as_nanos());
        u64::try_from((since + every - 1).div_euclid(every)).unwrap_or(0)
    }
}

/// The instant `index * every` after `at`. Saturates.
fn instant(at: Timestamp<Rig>, every: Option<Span>, index: u64) -> Timestamp<Rig> {
    let every = every.map_or(0, Span::as_nanos);
    let nanos = i128::from(at.as_nanos()) + i128::from(every) * i128::from(index);
    Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use crate::order::Fill;
    use proptest::prelude::*;

    fn order(at: i64, stop: Option<i64>, kind: OrderKind) -> Order {
        let mut order = Order::new(Name::new("o").unwrap(), Timestamp::from_nanos(at), None, kind).unwrap();
        if let Some(stop) = stop {
            order.stop_at(Timestamp::from_nanos(stop));
        }
        order
    }

    fn take(segment: Option<Span>) -> OrderKind {
        OrderKind::Take { segment, fill: Fill::Hold }
    }

    const NOW: i64 = 1_800_000_000_000_000_000;

    #[test]
    fn a_take_of_ten_seconds_has_300_frames_wherever_it_begins() {
        let grid = FrameGrid::new(30, 1).unwrap();
        for offset in [0, 1, 16_666_666, 16_666_667, 20_000_000, 33_333_333] {
            let stop = NOW + offset + 10_000_000_000;
            let named = order(NOW + offset, Some(stop), take(None)).named(grid);
            assert_eq!(named.count(), Some(300), "{offset}");
        }
    }

    #[test]
    fn two_rates_cut_at_the_same_instants() {
        let (slow, fast) = (FrameGrid::new(30, 1).unwrap(), FrameGrid::new(60, 1).unwrap());
        let order = order(NOW, Some(NOW + 5_000_000_000), take(Some(Span::from_secs(2))));
        let (slow, fast) = (order.named(slow), order.named(fast));
        assert_eq!((slow.count(), fast.count()), (Some(150), Some(300)));
        for number in slow.iter().unwrap() {
            assert_eq!(slow.segment_of(number), fast.segment_of(2 * number));
            assert_eq!(slow.next_cut(number).map(|cut| 2 * cut), fast.next_cut(2 * number));
        }
        assert_eq!(slow.next_cut(slow.first()), Some(slow.first() + 60));
    }

    #[test]
    fn stills_are_the_nearest_frames() {
        let grid = FrameGrid::new(30, 1).unwrap();
        let kind = OrderKind::Still { every: Some(Span::from_secs(2)), count: Some(3) };
        let named = order(NOW, None, kind).named(grid);
        let first = grid.nearest(Timestamp::from_nanos(NOW));
        assert_eq!(named.iter().unwrap().collect::<Vec<_>>(), [first, first + 60, first + 120]);
        assert_eq!(named.last_before(first + 120), Some(first + 60));
        assert_eq!(named.segment_of(first + 60), 1);
    }

    #[test]
    fn stills_at_the_end_of_time_come_to_an_end() {
        let grid = FrameGrid::new(30, 1).unwrap();
        let kind = OrderKind::Still { every: Some(Span::from_secs(2)), count: Some(30) };
        let named = order(i64::MAX, None, kind).named(grid);
        assert_eq!(named.iter().unwrap().take(5).count(), 1);
        assert_eq!(named.next_cut(named.first()), None);
    }

    #[test]
    fn an_order_stopped_before_it_begins_names_nothing() {
        let grid = FrameGrid::new(30, 1).unwrap();
        let named = order(NOW, Some(NOW - 1_000_000_000), take(None)).named(grid);
        assert_eq!((named.count(), named.next_from(0)), (Some(0), None));
        assert_eq!(named.iter().unwrap().count(), 0);
    }

    fn kinds() -> impl Strategy<Value = OrderKind> {
        prop_oneof![
            (1_i64..3_000_000_000, 1_u32..40).prop_map(|(every, count)| OrderKind::Still {
                every: Some(Span::from_nanos(every.max(1_000_000))),
                count: Some(count)
            }),
            Just(OrderKind::Still { every: None, count: Some(1) }),
            (1_u32..200).prop_map(|count| OrderKind::Burst { count }),
            proptest::option::of(1_000_000_000_i64..5_000_000_000)
                .prop_map(|segment| take(segment.map(Span::from_nanos))),
        ]
    }

    proptest! {
        /// Compares with enumeration, instant by instant.
        #[test]
        fn arithmetic_agrees_with_enumeration(
            (num, den) in prop_oneof![(1_u32..240, 1_u32..3), Just((30_000, 1001)), (1_u32..3, 1_u32..20)],
            at in 0_i64..4_000_000_000_000_000_000,
            kind in kinds(),
            stop in -1_000_000_000_i64..8_000_000_000,
            probe in 0_u64..300,
        ) {
            let grid = FrameGrid::new(num, den).unwrap();
            let stop = match kind {
                OrderKind::Take { .. } => Some(at + stop),
                _ => (stop > 4_000_000_000).then_some(at + stop),
            };
            let order = order(at, stop, kind);
            let named = order.named(grid);
            let nearest = |nanos: i64| grid.nearest(Timestamp::from_nanos(nanos));
            let end = stop.map(nearest);
            let first = nearest(at);
            let mut expected: Vec<FrameNumber> = match kind {
                OrderKind::Still { every, count } => {
                    let every = every.map_or(0, Span::as_nanos);
                    (0..i64::from(count.unwrap())).map(|i| nearest(at + i * every)).collect()
                }
                OrderKind::Burst { count } => (first..first + u64::from(count)).collect(),
                OrderKind::Take { .. } => (first..end.unwrap().max(first)).collect(),
            };
            expected.retain(|number| end.is_none_or(|end| *number < end));
            expected.dedup();
            prop_assert_eq!(&named.iter().unwrap().collect::<Vec<_>>(), &expected);
            prop_assert_eq!(named.count(), Some(expected.len() as u64));
            let probe = first.saturating_sub(20) + probe;
            prop_assert_eq!(named.contains(probe), expected.contains(&probe));
            prop_assert_eq!(named.next_from(probe), expected.iter().copied().find(|n| *n >= probe));
            prop_assert_eq!(named.last_before(probe), expected.iter().copied().rev().find(|n| *n < probe));
            for (index, number) in (0..).zip(&expected) {
                prop_assert_eq!((named.index_of(*number), named.number_at(index)), (index, *number));
            }
            let within = expected.iter().filter(|n| (first..probe).contains(n)).count() as u64;
            prop_assert_eq!(named.count_in(0..probe), within);
            if let OrderKind::Take { segment: Some(segment), .. } = kind {
                for number in expected.iter().copied() {
                    let cuts = |k: i64| nearest(at + k * segment.as_nanos());
                    let k = (0..).take_while(|k| cuts(*k) <= number).last().unwrap();
                    prop_assert_eq!(named.segment_of(number), u64::try_from(k).unwrap());
                    let next = (0..).map(cuts).find(|cut| *cut > number).unwrap();
                    prop_assert_eq!(named.next_cut(number), (next < end.unwrap()).then_some(next));
                }
            }
        }
    }
}
