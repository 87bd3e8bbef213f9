//! `CLOCK_REALTIME` as a reference, for devices whose system clock chrony, ptp4l or the like keep in time.

use std::sync::Arc;

use swsync_core::leap::LeapNotice;
use swsync_core::time::{Span, Timestamp};

use super::source::{Reference, ReferenceReading};
use crate::DeviceClock;
use crate::kernel_clock::{WallStatus, wall_status};

/// Reading the clocks takes less than this unless the thread was interrupted.
const UNDISTURBED: Span = Span::from_micros(1);
/// Least uncertainty, whatever the kernel was told.
const LEAST: Span = Span::from_micros(1);

/// The system's clock, `CLOCK_REALTIME`, with the error that the kernel states (adjtimex(2)).
#[derive(Debug)]
pub struct SystemReference {
    device: Arc<DeviceClock>,
}

impl SystemReference {
    /// The system's clock, read beside the local clock of `device`.
    #[must_use]
    pub const fn new(device: Arc<DeviceClock>) -> Self {
        Self { device }
    }
}

impl Reference for SystemReference {
    fn read(&mut self) -> Option<ReferenceReading> {
        let ((uncertainty, unsynced), leap) = match wall_status() {
            Ok(status) => (judge(status), status.leap),
            Err(error) => {
                let why = format!("the kernel does not tell of its clock (adjtimex: {error})");
                ((Span::ZERO, Some(why)), LeapNotice::None)
            }
        };
        let read = || {
            let before = self.device.now();
            let reference = Timestamp::from_nanos(self.device.wall_now().as_nanos());
            ReferenceReading {
                before,
                reference,
                after: self.device.now(),
                leap,
                uncertainty,
                unsynced: unsynced.clone(),
            }
        };
        let width = |reading: &ReferenceReading| reading.after - reading.before;
        let mut best = read();
        for _ in 0..3 {
            if width(&best) <= UNDISTURBED {
                break;
            }
            let next = read();
            if width(&next) < width(&best) {
                best = next;
            }
        }
        Some(best)
    }

    fn describe(&self) -> String {
        "the system's clock".into()
    }

    fn id(&self) -> [u8; 4] {
        *b"SYS\0"
    }
}

/// The uncertainty, and why the clock does not know the time, by the kernel's figures.
///
/// chrony sets both the estimate and the bound. phc2sys leaves the estimate at its initial 16 s and keeps resetting the
/// bound, so an estimate beyond the bound does not count. A bound counts as three sigmas.
fn judge(status: WallStatus) -> (Span, Option<String>) {
    let third = Span::from_nanos(status.bound_us.saturating_mul(1_000) / 3);
    let estimated = Span::from_nanos(status.estimated_us.saturating_mul(1_000));
    let is_set = status.estimated_us > 0 && status.estimated_us <= status.bound_us;
    let uncertainty = if is_set { estimated } else { third };
    let unsynced = status.unsynced.then(|| {
        "nobody keeps it in time (the kernel says STA_UNSYNC): run chrony, or ptp4l with phc2sys, and wait until \
         `chronyc tracking` or their log says that it is in sync"
            .into()
    });
    (uncertainty.max(LEAST), unsynced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wall_clock;

    fn status(estimated_us: i64, bound_us: i64) -> WallStatus {
        WallStatus { unsynced: false, estimated_us, bound_us, leap: LeapNotice::None }
    }

    #[test]
    fn uncertainty_is_the_kernels_estimate_or_a_third_of_its_bound() {
        let uncertainty = |estimated, bound| judge(status(estimated, bound)).0;
        assert_eq!(uncertainty(30, 12_000), Span::from_micros(30)); // chrony
        assert_eq!(uncertainty(16_000_000, 600), Span::from_micros(200)); // phc2sys
        assert_eq!(uncertainty(0, 900), Span::from_micros(300));
        assert_eq!(uncertainty(0, 0), LEAST);
        assert_eq!(uncertainty(i64::MAX, i64::MAX), Span::from_nanos(i64::MAX));
    }

    #[test]
    fn a_clock_that_no_program_keeps_is_unsynced_and_says_what_helps() {
        let why = judge(WallStatus { unsynced: true, ..status(30, 100) }).1.unwrap();
        assert!(why.contains("run chrony, or ptp4l"), "{why}");
        assert_eq!(judge(status(30, 100)).1, None);
    }

    #[test]
    fn it_reads_the_wall_clock() {
        let mut reference = SystemReference::new(Arc::new(DeviceClock::real()));
        let before = wall_clock().as_nanos();
        let reading = reference.read().unwrap();
        let after = wall_clock().as_nanos();
        assert!((before..=after).contains(&reading.reference.as_nanos()), "{before} {reading:?} {after}");
        assert!(reading.before <= reading.after);
    }
}
