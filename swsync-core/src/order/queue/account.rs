//! The account of an order: which of its frames are decided, and how. It consists of runs of frames, so that an hour takes a
//! few lines.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::grid::FrameNumber;
use crate::order::{FrameOutcome, FrameRun, NamedFrames};

/// Most runs. Beyond it the oldest are merged. A run takes about 200 bytes on the wire.
const MAX_RUNS: usize = 2_000;

/// The outcomes of an order's frames so far.
#[derive(Debug, Default)]
pub struct OrderAccount {
    /// By the number of their first frame. They do not overlap.
    runs: BTreeMap<FrameNumber, FrameRun>,
    /// Whether each saved frame has a run of its own, with its details.
    detailed: bool,
    /// Whether frames of different files have runs of their own, because files may be removed again.
    separate_files: bool,
    saved: u64,
    lost: u64,
    bytes: u64,
    why: Option<String>,
}

impl OrderAccount {
    pub fn new(detailed: bool, separate_files: bool) -> Self {
        Self { detailed, separate_files, ..Self::default() }
    }

    /// Adds the outcome of frames of `named` that are not decided yet.
    pub fn note(&mut self, named: &NamedFrames, mut run: FrameRun) {
        if !self.detailed {
            run.outcome = run.outcome.without_details();
        }
        self.saved += run.saved();
        self.lost += run.count - run.saved();
        self.bytes = self.bytes.saturating_add(run.bytes());
        self.why = run.why().map(str::to_owned).or(self.why.take());
        self.insert(named, run);
    }

    /// Files with so many frames and bytes were removed because of `why`: no frame before number `before` is saved any more.
    pub fn remove(
        &mut self,
        named: &NamedFrames,
        before: FrameNumber,
        (mut frames, mut bytes): (u64, u64),
        why: &str,
    ) {
        let reached = self.runs.range(..before).filter(|(_, run)| run.saved() > 0);
        let reached: Vec<_> = reached.map(|(first, _)| *first).collect();
        for first in reached {
            let Some(mut run) = self.runs.remove(&first) else { continue };
            let (saved, size) = (run.saved(), run.bytes());
            // Of the last run some frames may stay.
            let gone = if run.last < before { (saved, size) } else { (frames.min(saved), bytes.min(size)) };
            frames = frames.saturating_sub(gone.0);
            bytes = bytes.saturating_sub(gone.1);
            self.saved -= gone.0;
            self.lost += gone.0;
            self.bytes = self.bytes.saturating_sub(gone.1);
            if gone.0 == run.count {
                run.outcome = FrameOutcome::Missed { why: why.to_owned() };
            } else if gone.0 > 0 {
                let saved = saved - gone.0;
                run.outcome = FrameOutcome::Partly { saved, lost: run.count - saved, bytes: size - gone.1 };
            }
            self.insert(named, run);
        }
        self.why = Some(why.to_owned());
    }

    /// Inserts a run, and merges it with its neighbours if possible.
    fn insert(&mut self, named: &NamedFrames, mut run: FrameRun) {
        if let Some((_, before)) = self.runs.range_mut(..run.first).next_back()
            && is_adjacent(named, before, &run)
            && let Some(outcome) = merged(before, &run, self.separate_files)
        {
            let first = before.first;
            run = FrameRun { first, last: run.last, count: before.count + run.count, outcome };
            self.runs.remove(&first);
        }
        if let Some((_, after)) = self.runs.range_mut(run.last..).next()
            && is_adjacent(named, &run, after)
            && let Some(outcome) = merged(&run, after, self.separate_files)
        {
            run = FrameRun { first: run.first, last: after.last, count: run.count + after.count, outcome };
            let key = self.runs.range(run.first..).next().map(|(key, _)| *key);
            key.and_then(|key| self.runs.remove(&key));
        }
        self.runs.insert(run.first, run);
        if !self.detailed && self.runs.len() > MAX_RUNS {
            self.merge_oldest(named);
        }
    }

    /// Merges the first two runs that have no undecided frame between them.
    fn merge_oldest(&mut self, named: &NamedFrames) {
        let pairs = self.runs.values().zip(self.runs.values().skip(1));
        let Some((one, two)) = pairs.into_iter().find(|(one, two)| is_adjacent(named, one, two)) else {
            return;
        };
        let (saved, bytes) = (one.saved() + two.saved(), one.bytes().saturating_add(two.bytes()));
        let count = one.count + two.count;
        let outcome = FrameOutcome::Partly { saved, lost: count - saved, bytes };
        let (first, second) = (one.first, two.first);
        let run = FrameRun { first, last: two.last, count, outcome };
        self.runs.remove(&second);
        self.runs.insert(first, run);
    }

    /// Whether `number` is decided.
    pub fn contains(&self, number: FrameNumber) -> bool {
        self.runs.range(..=number).next_back().is_some_and(|(_, run)| run.last >= number)
    }

    /// The parts of `range` that are neither decided nor in `writing`.
    pub fn gaps(
        &self,
        range: Range<FrameNumber>,
        writing: &BTreeSet<FrameNumber>,
    ) -> Vec<Range<FrameNumber>> {
        let begin = self.runs.range(..=range.start).next_back().map_or(range.start, |(first, _)| *first);
        let decided = self.runs.range(begin..).map(|(_, run)| run.first..run.last + 1);
        let decided = decided.take_while(|taken| taken.start < range.end);
        let mut taken: Vec<_> = decided.chain(writing.range(range.clone()).map(|n| *n..n + 1)).collect();
        taken.sort_by_key(|taken| taken.start);
        let mut gaps = Vec::new();
        let mut from = range.start;
        for taken in taken {
            if from < taken.start {
                gaps.push(from..taken.start);
            }
            from = from.max(taken.end);
        }
        if from < range.end {
            gaps.push(from..range.end);
        }
        gaps
    }

    /// The highest number that is decided.
    pub fn last(&self) -> Option<FrameNumber> {
        self.runs.values().next_back().map(|run| run.last)
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn runs(&self) -> Vec<FrameRun> {
        self.runs.values().cloned().collect()
    }

    pub fn into_runs(self) -> Vec<FrameRun> {
        self.runs.into_values().collect()
    }

    pub const fn saved(&self) -> u64 {
        self.saved
    }

    pub const fn lost(&self) -> u64 {
        self.lost
    }

    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Why the last lost frame was lost.
    pub const fn why(&self) -> Option<&String> {
        self.why.as_ref()
    }
}

/// The outcome of two adjacent runs as one. `None`: they cannot be merged.
fn merged(one: &FrameRun, two: &FrameRun, separate_files: bool) -> Option<FrameOutcome> {
    if let (true, FrameOutcome::Recorded(one), FrameOutcome::Recorded(two)) =
        (separate_files, &one.outcome, &two.outcome)
        && (one.file != two.file || one.last_file.is_some() || two.last_file.is_some())
    {
        return None;
    }
    one.outcome.merged(&two.outcome)
}

/// Whether `named` names no frame between two runs.
fn is_adjacent(named: &NamedFrames, one: &FrameRun, two: &FrameRun) -> bool {
    named.count_in(one.last + 1..two.first) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::FrameGrid;
    use crate::name::Name;
    use crate::order::testing::info;
    use crate::order::{Order, OrderKind, RecordedFrames};
    use crate::time::Timestamp;
    use proptest::prelude::*;

    fn named() -> NamedFrames {
        let kind = OrderKind::Take { segment: None, fill: Default::default() };
        let order = Order::new(Name::new("o").unwrap(), Timestamp::ZERO, None, kind).unwrap();
        order.named(FrameGrid::new(30, 1).unwrap())
    }

    fn saved(number: FrameNumber) -> FrameRun {
        FrameRun::one(
            number,
            FrameOutcome::Saved { file: format!("{number}.jpg"), bytes: 10, info: info(number) },
        )
    }

    fn missed(number: FrameNumber) -> FrameRun {
        FrameRun::one(number, FrameOutcome::Missed { why: "dropped".into() })
    }

    #[test]
    fn an_hour_is_one_run() {
        let mut account = OrderAccount::new(false, false);
        for number in (0..1000).rev() {
            account.note(&named(), saved(2 * number));
            account.note(&named(), saved(2 * number + 1));
        }
        assert_eq!((account.saved(), account.bytes()), (2000, 20_000));
        let [run] = &account.into_runs()[..] else { panic!() };
        assert_eq!((run.first, run.last, run.count), (0, 1999, 2000));
        let FrameOutcome::Recorded(recorded) = &run.outcome else { panic!("{run:?}") };
        assert_eq!((recorded.file.as_str(), recorded.last_file.as_deref()), ("0.jpg", Some("1999.jpg")));
    }

    #[test]
    fn a_detailed_account_has_a_run_for_each_saved_frame() {
        let mut account = OrderAccount::new(true, false);
        for run in [saved(1), saved(2), missed(3), missed(4)] {
            account.note(&named(), run);
        }
        assert_eq!(account.why().map(String::as_str), Some("dropped"));
        assert_eq!(account.into_runs().len(), 3);
    }

    #[test]
    fn the_oldest_runs_are_merged_beyond_the_limit() {
        let mut account = OrderAccount::new(false, false);
        for number in 0..10_000 {
            account.note(&named(), if number % 2 == 0 { saved(number) } else { missed(number) });
        }
        let runs = account.into_runs();
        assert_eq!(runs.len(), MAX_RUNS);
        assert_eq!(runs.iter().map(|run| run.count).sum::<u64>(), 10_000);
        assert_eq!(runs.iter().map(FrameRun::saved).sum::<u64>(), 5_000);
        assert_eq!(runs.iter().map(FrameRun::bytes).sum::<u64>(), 50_000);
        assert!(matches!(runs[0].outcome, FrameOutcome::Partly { .. }));
    }

    fn recorded(number: FrameNumber, file: u64) -> FrameRun {
        let outcome = RecordedFrames::frame(format!("{file}.mp4"), 10, &info(number));
        FrameRun::one(number, FrameOutcome::Recorded(outcome))
    }

    #[test]
    fn removed_files_leave_the_runs_of_other_files_unchanged() {
        let mut account = OrderAccount::new(false, true);
        for number in (0..100).filter(|number| *number != 35) {
            account.note(&named(), recorded(number, number / 20));
        }
        account.note(&named(), missed(35));
        let before = account.runs.clone();
        assert_eq!(before.len(), 7, "five files, one of them with a hole");
        account.remove(&named(), 20, (20, 200), "removed");
        account.remove(&named(), 40, (19, 190), "removed");
        assert_eq!((account.saved(), account.lost(), account.bytes()), (60, 40, 600));
        assert_eq!(account.why().map(String::as_str), Some("removed"));
        let runs = account.into_runs();
        let of: Vec<_> = runs.iter().map(|run| (run.first, run.last, run.why())).collect();
        assert_eq!(of[..3], [(0, 34, Some("removed")), (35, 35, Some("dropped")), (36, 39, Some("removed"))]);
        assert_eq!(runs[3..], before.into_values().skip(4).collect::<Vec<_>>());
    }

    #[test]
    fn removed_frames_are_subtracted_from_merged_runs() {
        for separate_files in [false, true] {
            let mut account = OrderAccount::new(false, separate_files);
            for number in 0..10_000 {
                account.note(&named(), if number % 2 == 0 { saved(number) } else { missed(number) });
            }
            for file in 1..=70 {
                account.remove(&named(), 100 * file, (50, 500), "removed");
            }
            let left = (account.saved(), account.lost(), account.bytes());
            assert_eq!(left, (1_500, 8_500, 15_000));
            let runs = account.into_runs();
            let sum = |of: fn(&FrameRun) -> u64| runs.iter().map(of).sum::<u64>();
            assert_eq!(
                (sum(FrameRun::saved), sum(FrameRun::bytes), sum(|run| run.count)),
                (1_500, 15_000, 10_000)
            );
        }
    }

    proptest! {
        /// Files of random lengths, with holes; the oldest are removed now and then. Compared with counting frame by frame.
        #[test]
        fn removing_agrees_with_counting(
            files in proptest::collection::vec((1_u64..9, any::<u8>(), 0_usize..4), 1..20),
            separate_files in any::<bool>(),
            detailed in any::<bool>(),
        ) {
            let mut account = OrderAccount::new(detailed, separate_files);
            let mut on_disk: Vec<(FrameNumber, Vec<FrameNumber>)> = Vec::new();
            let mut fates = BTreeMap::new();
            let mut next = 0;
            for ((length, holes, go), file) in files.into_iter().zip(0..) {
                let numbers = next..next + length;
                next = numbers.end;
                for number in numbers.clone() {
                    let is_there = holes >> (number % 8) & 1 == 0;
                    account.note(&named(), if is_there { recorded(number, file) } else { missed(number) });
                    fates.insert(number, if is_there { None } else { Some("dropped") });
                }
                let there: Vec<_> = numbers.filter(|number| fates[number].is_none()).collect();
                if let Some(last) = there.last() {
                    on_disk.push((*last, there));
                }
                for (last, gone) in on_disk.drain(..go.min(on_disk.len())) {
                    account.remove(&named(), last + 1, (gone.len() as u64, 10 * gone.len() as u64), "removed");
                    fates.extend(gone.into_iter().map(|number| (number, Some("removed"))));
                }
            }
            let saved = fates.values().filter(|outcome| outcome.is_none()).count() as u64;
            prop_assert_eq!((account.saved(), account.lost()), (saved, next - saved));
            prop_assert_eq!(account.bytes(), 10 * saved);
            let runs = account.into_runs();
            prop_assert_eq!(runs.iter().map(FrameRun::saved).sum::<u64>(), saved);
            prop_assert_eq!(runs.iter().map(FrameRun::bytes).sum::<u64>(), 10 * saved);
            let all: Vec<_> = runs.iter().flat_map(|run| run.first..=run.last).collect();
            prop_assert_eq!(all, (0..next).collect::<Vec<_>>());
            // With separate files no run mixes removed and saved frames.
            for run in runs.iter().filter(|_| separate_files) {
                for number in run.first..=run.last {
                    prop_assert_eq!(run.why(), fates[&number], "{:?}", run);
                }
            }
        }

        #[test]
        fn every_frame_is_in_at_most_one_run(
            numbers in proptest::collection::btree_set(0_u64..60, 0..40),
            writing in proptest::collection::btree_set(0_u64..60, 0..20),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 40),
            (from, length) in (0_u64..60, 0_u64..60),
        ) {
            let mut account = OrderAccount::new(false, false);
            let mut left: Vec<_> = numbers.iter().copied().collect();
            for index in order {
                if left.is_empty() { break }
                let number = left.remove(index.index(left.len()));
                account.note(&named(), if number % 7 < 5 { saved(number) } else { missed(number) });
            }
            for number in left {
                account.note(&named(), saved(number));
            }
            let to = from + length;
            let free = |n: &u64| !numbers.contains(n) && !writing.contains(n);
            let gaps: Vec<u64> = account.gaps(from..to, &writing).into_iter().flatten().collect();
            prop_assert_eq!(gaps, (from..to).filter(free).collect::<Vec<_>>());
            for number in 0..60 {
                prop_assert_eq!(account.contains(number), numbers.contains(&number));
            }
            let runs = account.into_runs();
            let all: Vec<u64> = runs.iter().flat_map(|run| run.first..=run.last).collect();
            prop_assert_eq!(all, numbers.into_iter().collect::<Vec<_>>());
        }
    }
}
