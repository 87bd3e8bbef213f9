//! How many frames were lost before one that came.
//!
//! By the driver's count, and by the times of frames, because not every driver counts (libcamera's virtual
//! cameras do not), and some count only what reached them (USB cameras).

use swsync_core::time::{Boottime, Span, Timestamp};

/// Gaps between frames that are looked back at. A camera that takes fewer frames than it was asked for, as
/// USB cameras do in the dark, loses none of them: after so many frames its own rate is known.
const REMEMBERED: usize = 8;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Losses {
    last: Option<Last>,
    /// The first one stands for those before it.
    gaps: Option<[Span; REMEMBERED]>,
    /// Where the next one goes.
    place: usize,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    sequence: u64,
    time: Timestamp<Boottime>,
    /// From this frame's start to the next one's, where the camera says so.
    duration: Option<Span>,
}

impl Losses {
    /// How many frames are missing before the one with this number and time.
    ///
    /// `duration` is the frame's own. Where the camera does not state it, frames may have any length
    /// while their phase is being moved: then `steady` is false, and only the driver's count tells.
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

/// How many times `step` fits into `rest`, rounded to the nearest.
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

    /// What is lost before each frame of a camera without lengths; by sequence and time in periods.
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
    fn what_either_shows_is_lost() {
        assert_eq!(lost(&[(7, 0.0), (8, 1.0), (9, 2.0)]), [0, 0, 0]);
        assert_eq!(lost(&[(7, 0.0), (10, 3.0), (11, 4.0)]), [0, 2, 0], "by both");
        assert_eq!(lost(&[(0, 0.0), (1, 1.0), (2, 4.0), (3, 5.0)]), [0, 0, 2, 0], "by times alone");
        assert_eq!(lost(&[(0, 0.0), (3, 1.1)]), [0, 2], "by the count alone");
        assert_eq!(lost(&[(0, 0.0), (1, 1.4), (2, 2.1), (3, 2.9)]), [0, 0, 0, 0], "jitter is no loss");
        assert_eq!(lost(&[(9, 5.0), (3, 0.0), (4, 1.0)]), [0, 0, 0], "backwards is no loss");
    }

    #[test]
    fn a_camera_that_takes_fewer_frames_than_asked_loses_none_for_long() {
        let frames: Vec<_> = (0..30_u32).map(|frame| (u64::from(frame), f64::from(frame) * 2.0)).collect();
        let lost = lost(&frames);
        assert!(lost[2..].iter().all(|lost| *lost == 0), "{lost:?}");
        let mut late = frames.clone();
        late.push((30, 64.0));
        assert_eq!(self::lost(&late).last(), Some(&2), "and what it then loses is seen");
    }

    #[test]
    fn a_frame_that_is_meant_to_be_long_hides_none() {
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
