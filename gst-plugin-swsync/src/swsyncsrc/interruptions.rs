//! Finds out what kept the source from taking frames: the process was stopped, the machine slept, the pipeline was
//! paused, or downstream was blocked.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use swsync_core::time::{Boottime, Span, Timestamp};
use swsync_time::DeviceClock;

/// How often the thread notes that the process runs.
const TICK: Duration = Duration::from_millis(100);

/// The process was stopped if nothing was noted for longer: a thread can be late by some of it on a busy machine.
const LATE: Duration = Duration::from_millis(250);

/// A suspend takes longer. What is shorter is the time between two readings.
const SUSPEND: Span = Span::from_millis(50);

/// How long each interruption took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Interruptions {
    /// Downstream blocked the push of a frame.
    pub blocked: Span,
    /// The process did not run.
    pub stopped: Span,
    /// The machine slept.
    pub suspended: Span,
    /// The pipeline was paused.
    pub paused: Span,
}

/// The host's clocks: `CLOCK_MONOTONIC`, which stands still while the machine sleeps, and boot time.
type Now = (Instant, Timestamp<Boottime>);

fn now() -> Now {
    (Instant::now(), DeviceClock::real().boottime_now())
}

fn span(duration: Duration) -> Span {
    Span::from_nanos(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

#[derive(Debug)]
struct Log {
    /// When the process ran last.
    ran: Now,
    /// A push that has not returned.
    push_begun: Option<Instant>,
    paused_since: Option<Instant>,
    interruptions: Interruptions,
}

impl Log {
    fn new(now: Now) -> Self {
        Self { ran: now, push_begun: None, paused_since: None, interruptions: Interruptions::default() }
    }

    /// The process runs.
    fn note_running(&mut self, now: Now) {
        let (awake, all) = (now.0.saturating_duration_since(self.ran.0), now.1 - self.ran.1);
        self.ran = now;
        let asleep = all - span(awake);
        if asleep > SUSPEND {
            self.interruptions.suspended += asleep;
        }
        if awake > LATE {
            self.interruptions.stopped += span(awake);
        }
    }
}

/// Records interruptions, from its start until it is dropped.
pub struct InterruptionMonitor {
    log: Arc<Mutex<Log>>,
    end: Option<mpsc::Sender<()>>,
    /// Started by [`InterruptionMonitor::start`], joined on drop.
    thread: Option<JoinHandle<()>>,
}

impl InterruptionMonitor {
    /// # Errors
    /// The system gives no thread.
    pub fn start() -> std::io::Result<Self> {
        let log = Arc::new(Mutex::new(Log::new(now())));
        let (end, ended) = mpsc::channel::<()>();
        let shared = Arc::clone(&log);
        let run = move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(TICK) {
                let mut log = shared.lock();
                log.note_running(now());
            }
        };
        let thread = std::thread::Builder::new().name("swsync-watch".into()).spawn(run)?;
        Ok(Self { log, end: Some(end), thread: Some(thread) })
    }

    /// A frame is being pushed.
    pub fn note_push(&self) {
        self.log.lock().push_begun = Some(Instant::now());
    }

    /// The push has returned.
    pub fn note_pushed(&self) {
        let mut log = self.log.lock();
        if let Some(begun) = log.push_begun.take() {
            log.interruptions.blocked = log.interruptions.blocked.max(span(begun.elapsed()));
        }
    }

    /// The pipeline is paused from now on, or no longer.
    pub fn note_pause(&self, paused: bool) {
        let mut log = self.log.lock();
        if paused {
            log.paused_since = Some(Instant::now());
        } else if let Some(since) = log.paused_since.take() {
            log.interruptions.paused += span(since.elapsed());
        }
    }

    /// The interruptions since this was called last.
    pub fn take(&self) -> Interruptions {
        let mut log = self.log.lock();
        log.note_running(now());
        std::mem::take(&mut log.interruptions)
    }
}

impl Drop for InterruptionMonitor {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            swsync_core::log::error!("the thread that notes whether the process runs has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_process_is_told_from_a_suspended_machine() {
        let start = Instant::now();
        let at = |awake: u64, all: i64| {
            (start + Duration::from_millis(awake), Timestamp::from_nanos(0) + Span::from_millis(all))
        };
        let mut log = Log::new(at(0, 0));
        log.note_running(at(100, 100));
        log.note_running(at(300, 300));
        assert_eq!(log.interruptions, Interruptions::default(), "late, as threads are");
        log.note_running(at(800, 800));
        assert_eq!(log.interruptions.stopped, Span::from_millis(500));
        log.note_running(at(900, 5_900));
        let Interruptions { stopped, suspended, .. } = log.interruptions;
        assert_eq!((stopped, suspended), (Span::from_millis(500), Span::from_secs(5)));
    }

    #[test]
    fn a_blocked_push_is_reported_once() {
        let monitor = InterruptionMonitor::start().unwrap();
        monitor.note_pushed();
        assert_eq!(monitor.take().blocked, Span::ZERO);
        monitor.note_push();
        std::thread::sleep(Duration::from_millis(2));
        monitor.note_pushed();
        let blocked = monitor.take().blocked;
        assert!(blocked >= Span::from_millis(2), "{blocked:?}");
        assert_eq!(monitor.take().blocked, Span::ZERO);
    }
}
