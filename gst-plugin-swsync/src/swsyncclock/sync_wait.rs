//! The wait for synchronization on the way to PAUSED.
//!
//! It happens in the state change. If PAUSED were reached asynchronously, a pipeline with a live source would not wait: it
//! would go to PLAYING, and take its base time from a clock that is still going to step. Meanwhile no other thread can change the state:
//! hence [`SyncWait::cancel`].

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How often the wait reports its progress.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitEnd {
    Synced,
    TimedOut,
    /// The application cancelled it.
    Cancelled,
}

/// One wait; shared by the waiting thread and those who end it.
#[derive(Debug, Default)]
pub struct SyncWait {
    ended: Mutex<Option<WaitEnd>>,
    changed: Condvar,
}

impl SyncWait {
    fn end(&self, end: WaitEnd) {
        self.ended.lock().get_or_insert(end);
        self.changed.notify_all();
    }

    /// The clock is synced.
    pub fn succeed(&self) {
        self.end(WaitEnd::Synced);
    }

    pub fn cancel(&self) {
        self.end(WaitEnd::Cancelled);
    }

    /// Waits until it is ended, for `timeout` at most, and calls `report` about once a second meanwhile.
    pub fn until_ended(&self, timeout: Duration, mut report: impl FnMut()) -> WaitEnd {
        let begun = Instant::now();
        let mut reported = begun;
        let mut ended = self.ended.lock();
        loop {
            if let Some(end) = *ended {
                return end;
            }
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return WaitEnd::TimedOut;
            }
            if reported.elapsed() >= REPORT_INTERVAL {
                reported = Instant::now();
                drop(ended);
                report();
                ended = self.ended.lock();
                continue; // it may have ended meanwhile
            }
            let pause = left.min(REPORT_INTERVAL.saturating_sub(reported.elapsed()));
            self.changed.wait_for(&mut ended, pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Never waited out by a test that passes.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_first_end_counts() {
        let wait = SyncWait::default();
        wait.cancel();
        wait.succeed();
        assert_eq!(wait.until_ended(LONG, || ()), WaitEnd::Cancelled);
        let wait = SyncWait::default();
        wait.succeed();
        assert_eq!(wait.until_ended(Duration::ZERO, || ()), WaitEnd::Synced);
        assert_eq!(SyncWait::default().until_ended(Duration::ZERO, || ()), WaitEnd::TimedOut);
    }

    #[test]
    fn another_thread_can_cancel_it() {
        let wait = Arc::new(SyncWait::default());
        let waiter = std::thread::spawn({
            let wait = wait.clone();
            move || wait.until_ended(LONG, || ())
        });
        wait.cancel();
        assert_eq!(waiter.join().unwrap(), WaitEnd::Cancelled);
    }

    #[test]
    fn the_report_can_end_it() {
        let wait = SyncWait::default();
        assert_eq!(wait.until_ended(LONG, || wait.succeed()), WaitEnd::Synced);
    }
}
