//! The wait for synchronization on the way to PAUSED, and all that ends it.
//!
//! It happens in the state change: a pipeline with a live source does not wait for asynchronous elements;
//! it would go to PLAYING and take its base time from a clock that is still going to step. But a
//! thread in a state change cannot look after signals, and no other can change the state meanwhile: hence
//! [`Wait::cancel`], and [`Signals`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::lock::lock;

/// Interval of reports while waiting.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How often signals are looked for: nothing that a signal handler may do wakes a condition variable.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

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

/// Watches the signals that ask a process to end, beside handlers that the application has for them.
///
/// Where it has none, they end the process anyway, or are ignored, and nothing is done: no handler
/// is installed that would change that. `gst-launch-1.0` (1.26) installs its own only after the
/// pipeline is PAUSED.
///
/// signal-hook's handler calls the one that was there before, and stays when the watch is over. An
/// application that installs another one after a first wait is no longer watched: it waits for
/// `sync-timeout`, or calls `cancel`.
pub struct Signals(Vec<(&'static str, Arc<AtomicBool>, SigId)>);

impl Signals {
    pub fn watch() -> Self {
        let caught = caught_signals();
        let signals = [("SIGINT", SIGINT), ("SIGTERM", SIGTERM), ("SIGHUP", SIGHUP)];
        let of_application = signals.into_iter().filter(|(_, number)| caught >> (number - 1) & 1 == 1);
        Self(
            of_application
                .filter_map(|(name, number)| {
                    let arrived = Arc::new(AtomicBool::new(false));
                    match signal_hook::flag::register(number, arrived.clone()) {
                        Ok(id) => Some((name, arrived, id)),
                        Err(error) => {
                            tracing::warn!(name, %error, "cannot watch a signal while waiting");
                            None
                        }
                    }
                })
                .collect(),
        )
    }

    fn any(&self) -> bool {
        !self.0.is_empty()
    }

    fn arrived(&self) -> Option<&'static str> {
        self.0.iter().find(|(_, arrived, _)| arrived.load(Ordering::Relaxed)).map(|(name, ..)| *name)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for (_, _, id) in &self.0 {
            signal_hook::low_level::unregister(*id);
        }
    }
}

/// The signals that this process has handlers for: bit n-1 is signal n. None where `/proc` does not say.
fn caught_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    parse_caught(&status).unwrap_or(0)
}

fn parse_caught(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn the_kernel_says_which_signals_are_caught() {
        assert_eq!(
            parse_caught("SigIgn:\t0000000000001000\nSigCgt:\t0000000100000404\n"),
            Some(0x1_0000_0404)
        );
        assert_eq!(parse_caught("SigIgn:\t0\n"), None);
    }
}
