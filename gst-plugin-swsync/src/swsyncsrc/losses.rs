//! Counts frames that the camera lost.
//!
//! By the driver's count and by the frames' times, because some drivers do not count (libcamera's virtual cameras), and others
//! count only what reached them (USB cameras).

use swsync_core::time::{Boottime, Span, Timestamp};

/// How many intervals between frames are remembered. A camera that takes fewer frames than requested, as USB cameras do in the
/// dark, does not lose any: after so many frames its actual rate is known.
const REMEMBERED: usize = 8;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Losses {
    last: Option<Last>,
    /// The newest intervals. Initially all are the first one.
    gaps: Option<[Span; REMEMBERED]>,
    /// Where the next one goes.
    place: usize,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    sequence: u64,
    time: Timestamp<Boottime>,
    /// From this frame's start to the next one's, if the camera says so.
    duration: Option<Span>,
}

impl Losses {
    /// How many frames are missing before the one with this number and time.
    ///
    /// `duration` is that of the frame itself, if the camera states it. Otherwise frames may have any length while their phase is
    /// being moved: then `steady` is false, and only the driver's count is used.
    pub fn before(
        &mut self,
        (sequence, time): (u64, Timestamp<Boottime>),
        duration: Option<Span>,
        period: Span,
        steady: bool,
    ) -> u64 {
        let Some(last) = self.last.replace(Last { sequence, time, duration }) else {
            return 0;
        };
        let counted = sequence.saturating_sub(last.sequence.saturating_add(1));
        let gap = time - last.time;
        let shortest = self.gaps.map_or(period, |gaps| gaps.into_iter().fold(gaps[0], Span::min));
        self.gaps.get_or_insert([gap; REMEMBERED])[self.place] = gap;
        self.place = (self.place + 1) % REMEMBERED;
        let step = shortest.max(period);
        let expected = match last.duration {
            Some(duration) => duration,
            None if steady => step,
            None => return counted,
        };
        counted.max(whole(gap - expected, step))
    }
}

/// `rest` / `step`, rounded.
fn whole(rest: Span, step: Span) -> u64 {
    if step <= Span::ZERO || rest <= Span::ZERO {
        return 0;
    }
    let half_more = rest.as_nanos().saturating_add(step.as_nanos() / 2);
    half_more.unsigned_abs() / step.as_nanos().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Span = Span::from_nanos(33_333_333);

    /// Losses before each frame of a camera that states no durations; by sequence and time in periods.
    fn lost(frames: &[(u64, f64)]) -> Vec<u64> {
        let mut losses = Losses::default();
        let at = |periods: f64| {
            Timestamp::from_nanos(7_000_000_000) + Span::from_nanos_f64(periods * 33_333_333.0)
        };
        frames
            .iter()
            .map(|(sequence, periods)| losses.before((*sequence, at(*periods)), None, PERIOD, true))
            .collect()
    }

    #[test]
    fn losses_are_found_by_count_or_by_time() {
        assert_eq!(lost(&[(7, 0.0), (8, 1.0), (9, 2.0)]), [0, 0, 0]);
        assert_eq!(lost(&[(7, 0.0), (10, 3.0), (11, 4.0)]), [0, 2, 0], "by both");
        assert_eq!(lost(&[(0, 0.0), (1, 1.0), (2, 4.0), (3, 5.0)]), [0, 0, 2, 0], "by times alone");
        assert_eq!(lost(&[(0, 0.0), (3, 1.1)]), [0, 2], "by the count alone");
        assert_eq!(lost(&[(0, 0.0), (1, 1.4), (2, 2.1), (3, 2.9)]), [0, 0, 0, 0], "jitter is no loss");
        assert_eq!(lost(&[(9, 5.0), (3, 0.0), (4, 1.0)]), [0, 0, 0], "backwards is no loss");
    }

    #[test]
    fn a_camera_that_is_slower_than_requested_loses_none() {
        let frames: Vec<_> = (0..30_u32).map(|frame| (u64::from(frame), f64::from(frame) * 2.0)).collect();
        let lost = lost(&frames);
        assert!(lost[2..].iter().all(|lost| *lost == 0), "{lost:?}");
        let mut late = frames.clone();
        late.push((30, 64.0));
        assert_eq!(self::lost(&late).last(), Some(&2), "and what it then loses is seen");
    }

    #[test]
    fn a_frame_that_is_long_on_purpose_is_no_loss() {
        let mut losses = Losses::default();
        let at = |ms| Timestamp::from_nanos(0) + Span::from_millis(ms);
        let mut before = |sequence, ms, duration: Option<i64>, steady| {
            losses.before((sequence, at(ms)), duration.map(Span::from_millis), PERIOD, steady)
        };
        assert_eq!(before(0, 0, Some(60), true), 0);
        assert_eq!(before(1, 60, Some(33), true), 0, "60 ms as said");
        assert_eq!(before(2, 127, Some(33), true), 1);
        assert_eq!(before(3, 160, None, false), 0);
        assert_eq!(before(4, 215, None, false), 0, "being moved, of unknown length");
        assert_eq!(before(5, 282, None, true), 1);
    }
}
