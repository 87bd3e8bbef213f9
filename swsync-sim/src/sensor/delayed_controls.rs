//! libcamera's delayed controls: a queue of control sets in front of the sensor's registers.
//!
//! Modelled on `DelayedControls` of libcamera's Raspberry Pi pipelines
//! (`src/libcamera/pipeline/rpi/common/delayed_controls.cpp`), including its quirks:
//!
//! - Every set has an index. The frame-start event of frame `s` writes the set with index `s`. Controls that act faster than the
//!   slowest one are written correspondingly later, so that a whole set takes effect at the same frame.
//! - If no set has the next index, a set without changes is queued. So a set that is pushed between the events of frames `s` and
//!   `s + 1` has index `s + 1`. A second one has `s + 2`, and from then on every set is one frame late, because one set is pushed
//!   and one is written per frame.
//! - If the frame-start event of frame `s` is lost, the next one writes index `s`, and index `s + 1` is skipped. The queue is then
//!   shorter again, and the slowest controls of the skipped set are never written.

use std::collections::VecDeque;

use super::model::ControlDelays;

/// One control's value in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ControlValue {
    lines: u32,
    /// Whether it still has to be written.
    updated: bool,
}

/// The controls of one set, in lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ControlSet {
    exposure: ControlValue,
    frame_length: ControlValue,
}

/// The register writes of one frame-start event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Writes {
    /// Exposure in lines.
    pub(super) exposure: Option<u32>,
    /// Frame length in lines.
    pub(super) frame_length: Option<u32>,
}

/// The queue.
#[derive(Debug, Clone)]
pub(super) struct DelayedControls {
    /// Number of events by which the exposure is written later than the slowest control.
    exposure_lag: u64,
    /// Number of events by which the frame length is written later than the slowest control.
    frame_length_lag: u64,
    /// Sets with the indices `first..first + sets.len()`; never empty.
    sets: VecDeque<ControlSet>,
    first: u64,
    /// Index that the next event writes.
    next: u64,
}

impl DelayedControls {
    /// A queue before the first frame. The registers already hold the given values.
    pub(super) fn new(delays: ControlDelays, exposure: u32, frame_length: u32) -> Self {
        let slowest = delays.exposure.max(delays.vblank);
        let initial = ControlSet {
            exposure: ControlValue { lines: exposure, updated: false },
            frame_length: ControlValue { lines: frame_length, updated: false },
        };
        Self {
            exposure_lag: u64::from(slowest - delays.exposure),
            frame_length_lag: u64::from(slowest - delays.vblank),
            sets: VecDeque::from([initial]),
            first: 0,
            next: 0,
        }
    }

    /// Queues a set. `None` keeps the value.
    pub(super) fn push(&mut self, exposure: Option<u32>, frame_length: Option<u32>) {
        let last = *self.sets.back().expect("the queue is never empty");
        let value = |asked: Option<u32>, last: ControlValue| ControlValue {
            lines: asked.unwrap_or(last.lines),
            updated: asked.is_some(),
        };
        self.sets.push_back(ControlSet {
            exposure: value(exposure, last.exposure),
            frame_length: value(frame_length, last.frame_length),
        });
    }

    /// Handles the frame-start event of frame `sequence`.
    pub(super) fn frame_started(&mut self, sequence: u64) -> Writes {
        let exposure_at = self.position(self.next.saturating_sub(self.exposure_lag));
        let frame_length_at = self.position(self.next.saturating_sub(self.frame_length_lag));
        let writes = Writes {
            exposure: take(&mut self.sets[exposure_at].exposure),
            frame_length: take(&mut self.sets[frame_length_at].frame_length),
        };
        self.next = sequence + 1;
        while self.first + (self.sets.len() as u64) < self.next {
            self.push(None, None);
        }
        let lag = self.exposure_lag.max(self.frame_length_lag);
        while self.first + lag + 1 < self.next && self.sets.len() > 1 {
            self.sets.pop_front();
            self.first += 1;
        }
        writes
    }

    /// Position in `sets` of the set with `index`; the last one if it is not queued yet.
    fn position(&self, index: u64) -> usize {
        let position = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        position.min(self.sets.len() - 1)
    }
}

fn take(value: &mut ControlValue) -> Option<u32> {
    std::mem::take(&mut value.updated).then_some(value.lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMX219: ControlDelays = ControlDelays { exposure: 2, vblank: 2, gain: 1 };
    const IMX477: ControlDelays = ControlDelays { exposure: 2, vblank: 3, gain: 2 };
    const NOTHING: Writes = Writes { exposure: None, frame_length: None };

    fn both(lines: u32) -> Writes {
        Writes { exposure: Some(lines), frame_length: Some(lines) }
    }

    #[test]
    fn a_set_is_written_at_the_next_event_and_once() {
        let mut queue = DelayedControls::new(IMX219, 10, 100);
        assert_eq!(queue.frame_started(0), NOTHING);
        queue.push(Some(7), Some(7));
        assert_eq!(queue.frame_started(1), both(7));
        assert_eq!(queue.frame_started(2), NOTHING);
    }

    #[test]
    fn the_slower_control_is_written_first() {
        let mut queue = DelayedControls::new(IMX477, 10, 100);
        assert_eq!(queue.frame_started(0), NOTHING);
        queue.push(Some(7), Some(70));
        // Both in effect at frame 4: vblank 1 + 3, exposure 2 + 2.
        assert_eq!(queue.frame_started(1), Writes { exposure: None, frame_length: Some(70) });
        assert_eq!(queue.frame_started(2), Writes { exposure: Some(7), frame_length: None });
        assert_eq!(queue.frame_started(3), NOTHING);
    }

    #[test]
    fn an_extra_set_delays_all_later_ones_until_an_event_is_lost() {
        let mut queue = DelayedControls::new(IMX219, 10, 100);
        queue.frame_started(0);
        queue.push(None, Some(1));
        queue.push(None, Some(2));
        assert_eq!(queue.frame_started(1).frame_length, Some(1));
        queue.push(None, Some(3));
        assert_eq!(queue.frame_started(2).frame_length, Some(2)); // 3 is a frame later
        queue.push(None, Some(4));
        // The event of frame 3 is lost: index 3 is written at frame 4 and 4 is passed over.
        assert_eq!(queue.frame_started(4).frame_length, Some(3));
        queue.push(None, Some(5));
        assert_eq!(queue.frame_started(5).frame_length, Some(5)); // on time again
    }

    #[test]
    fn the_queue_stays_short() {
        let mut queue = DelayedControls::new(IMX477, 10, 100);
        for sequence in 0..10_000 {
            queue.frame_started(sequence);
            queue.push(Some(1), None);
        }
        assert!(queue.sets.len() < 6, "{}", queue.sets.len());
    }
}
