//! What a clock was worth a while ago: a frame arrives later than it was taken.

use std::collections::VecDeque;

use super::ClockStatus;
use crate::frame::SyncState;
use crate::message::TimeScale;
use crate::time::{Rig, Timestamp};

/// Most stretches that are remembered. Chosen: a clock does not change its state more often than this while a frame is on its
/// way, and if it did the oldest stretch that is left would count.
const MAX_STRETCHES: usize = 64;

/// A time over which a clock was seen in one state.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    first: Timestamp<Rig>,
    last: Timestamp<Rig>,
    quality: SyncState,
    timescale: Option<TimeScale>,
}

/// The states in which a clock was seen lately.
#[derive(Debug, Clone, Default)]
pub struct ClockLog(VecDeque<Stretch>);

impl ClockLog {
    /// Notes the state of the clock now. Call it about once a frame.
    pub fn note(&mut self, clock: &ClockStatus) {
        let (at, quality, timescale) = (clock.rig_time_ns, clock.quality, clock.timescale());
        // Rig time was set back: what was noted later is of another time.
        let still = self.0.partition_point(|stretch| stretch.first <= at);
        self.0.truncate(still);
        match self.0.back_mut() {
            Some(newest) if (newest.quality, newest.timescale) == (quality, timescale) => newest.last = at,
            _ => self.0.push_back(Stretch { first: at, last: at, quality, timescale }),
        }
        if self.0.len() > MAX_STRETCHES {
            self.0.pop_front();
        }
    }

    /// The state of the clock at `at`, and its time scale. Between two readings it is the worse of both. `None`: it was never
    /// seen.
    #[must_use]
    pub fn at(&self, at: Timestamp<Rig>) -> Option<(SyncState, Option<TimeScale>)> {
        let after = self.0.partition_point(|stretch| stretch.first <= at);
        let next = self.0.get(after);
        let Some(stretch) = after.checked_sub(1).and_then(|index| self.0.get(index)) else {
            return next.map(|next| (next.quality, next.timescale));
        };
        let quality = match next {
            Some(next) if at > stretch.last => worse(stretch.quality, next.quality),
            Some(_) | None => stretch.quality,
        };
        Some((quality, stretch.timescale))
    }

    /// The state of the clock at `at` or `now`, whichever is the worse: for an instant that was converted to rig time now.
    #[must_use]
    pub fn worse_at(&self, at: Timestamp<Rig>, now: SyncState) -> SyncState {
        self.at(at).map_or(now, |(then, _)| worse(then, now))
    }
}

/// The state in which less is known of rig time; of two alike the later.
fn worse(then: SyncState, now: SyncState) -> SyncState {
    let rank = |state| match state {
        SyncState::Unsynced => 0,
        SyncState::Acquiring => 1,
        SyncState::Holdover => 2,
        SyncState::Synced | SyncState::Leading | SyncState::Foreign => 3,
    };
    if rank(then) < rank(now) { then } else { now }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::testing::status;
    use crate::time::Span;

    const BEGIN: Timestamp<Rig> = Timestamp::from_nanos(1_800_000_000_000_000_000);

    /// A log of readings 100 ms apart.
    fn log(readings: &[(SyncState, Option<u64>)]) -> ClockLog {
        let mut log = ClockLog::default();
        for ((quality, timescale), at) in readings.iter().zip((0..).map(at)) {
            let clock = status("a", *timescale, 30).clock.unwrap();
            log.note(&ClockStatus { quality: *quality, rig_time_ns: at, ..clock });
        }
        log
    }

    /// The instant of reading `index`.
    fn at(index: i64) -> Timestamp<Rig> {
        BEGIN + Span::from_millis(100) * index
    }

    #[test]
    fn the_state_at_the_instant_counts_and_not_that_of_now() {
        use SyncState::{Holdover, Synced};
        let log = log(&[
            (Synced, Some(7)),
            (Synced, Some(7)),
            (Holdover, Some(7)),
            (Holdover, Some(7)),
            (Synced, Some(8)),
        ]);
        let quality = |at| log.at(at).unwrap().0;
        let half = Span::from_millis(50);
        assert_eq!([at(0), at(0) + half, at(1)].map(quality), [Synced; 3]);
        // The clock may have changed at any time between two readings.
        assert_eq!([at(1) + half, at(2), at(3), at(3) + half].map(quality), [Holdover; 4]);
        assert_eq!([at(4), at(9)].map(quality), [Synced; 2]);
        assert_eq!(log.at(at(3) + half).unwrap().1, Some(TimeScale(7)));
        assert_eq!(log.at(BEGIN - half).unwrap(), (Synced, Some(TimeScale(7))), "the first that is known");
        assert_eq!(ClockLog::default().at(BEGIN), None);
        assert_eq!([at(2), at(9)].map(|at| log.worse_at(at, Synced)), [Holdover, Synced]);
        assert_eq!(log.worse_at(at(2), SyncState::Unsynced), SyncState::Unsynced);
        assert_eq!(log.worse_at(at(0), SyncState::Leading), SyncState::Leading, "it was elected");
    }

    #[test]
    fn readings_from_before_a_step_back_are_forgotten() {
        let mut log = log(&[(SyncState::Synced, Some(7)); 50]);
        let clock = status("a", Some(8), 30).clock.unwrap();
        let hour_before = BEGIN - Span::from_secs(3_600);
        log.note(&ClockStatus { rig_time_ns: hour_before, ..clock });
        assert_eq!(log.at(BEGIN).unwrap().1, Some(TimeScale(8)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut log = ClockLog::default();
        for index in 0..1_000_u64 {
            let clock = status("a", Some(index), 30).clock.unwrap();
            log.note(&ClockStatus { rig_time_ns: at(i64::try_from(index).unwrap()), ..clock });
        }
        assert_eq!(log.0.len(), MAX_STRETCHES);
        assert_eq!(log.at(at(998)).unwrap().1, Some(TimeScale(998)));
    }
}
