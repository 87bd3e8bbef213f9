//! The wait for synchronization on the way to PAUSED, and all that ends it.
//!
//! It happens in the state change: a pipeline with a live source does not wait for asynchronous elements;
//! it would go to PLAYING and take its base time from a clock that is still going to step. But a
//! thread in a state change cannot look after signals, and no other can change the state meanwhile: hence
//! [`Wait::cancel`], and [`Signals`].

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::lock::lock;
use crate::signals::{SIGNAL_INTERVAL, Signals};

/// Interval of reports while waiting.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Why a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Synced,
    TimedOut,
    /// The application does not want to wait any longer.
    Cancelled,
    /// The application was told to end, by this signal.
    Signal(&'static str),
}

/// One wait; shared by the waiting thread and those who end it.
#[derive(Debug, Default)]
pub struct Wait {
    ended: Mutex<Option<Outcome>>,
    changed: Condvar,
}

impl Wait {
    fn end(&self, outcome: Outcome) {
        lock(&self.ended).get_or_insert(outcome);
        self.changed.notify_all();
    }

    /// The clock is synced.
    pub fn succeed(&self) {
        self.end(Outcome::Synced);
    }

    /// Nobody wants to wait any longer.
    pub fn cancel(&self) {
        self.end(Outcome::Cancelled);
    }

    /// Waits for `timeout` at most, or until one of `signals` arrives, and calls `report` about once a second
    /// meanwhile.
    pub fn until_ended(&self, timeout: Duration, signals: &Signals, mut report: impl FnMut()) -> Outcome {
        let begun = Instant::now();
        let mut reported = begun;
        let mut ended = lock(&self.ended);
        loop {
            if let Some(outcome) = *ended {
                return outcome;
            }
            if let Some(signal) = signals.arrived() {
                return Outcome::Signal(signal);
            }
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Outcome::TimedOut;
            }
            if reported.elapsed() >= REPORT_INTERVAL {
                reported = Instant::now();
                drop(ended);
                report();
                ended = lock(&self.ended);
                continue; // it may have ended meanwhile
            }
            let pause = left.min(REPORT_INTERVAL.saturating_sub(reported.elapsed()));
            let pause = if signals.any() { pause.min(SIGNAL_INTERVAL) } else { pause };
            ended = self.changed.wait_timeout(ended, pause).unwrap_or_else(PoisonError::into_inner).0;
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
    fn whatever_comes_first_ends_a_wait() {
        let wait = Wait::default();
        wait.cancel();
        wait.succeed();
        assert_eq!(wait.until_ended(LONG, &Signals(Vec::new()), || ()), Outcome::Cancelled);
        let wait = Wait::default();
        wait.succeed();
        assert_eq!(wait.until_ended(Duration::ZERO, &Signals(Vec::new()), || ()), Outcome::Synced);
        assert_eq!(
            Wait::default().until_ended(Duration::ZERO, &Signals(Vec::new()), || ()),
            Outcome::TimedOut
        );
    }

    #[test]
    fn another_thread_ends_it() {
        let wait = Arc::new(Wait::default());
        let waiter = std::thread::spawn({
            let wait = wait.clone();
            move || wait.until_ended(LONG, &Signals(Vec::new()), || ())
        });
        wait.cancel();
        assert_eq!(waiter.join().unwrap(), Outcome::Cancelled);
    }

    #[test]
    fn a_report_may_end_it() {
        let wait = Wait::default();
        assert_eq!(wait.until_ended(LONG, &Signals(Vec::new()), || wait.succeed()), Outcome::Synced);
    }
}
