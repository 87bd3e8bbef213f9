//! What kept the source from taking frames though the camera had them: the process did not run, the machine slept, the
//! pipeline was paused, or nobody asked.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use swsync_core::time::{Boottime, Span, Timestamp};
use swsync_rig::clock::{DeviceClock, true_now};
use swsync_sim::True;

use crate::lock::lock;

/// How often it is noted that the process runs.
const TICK: Duration = Duration::from_millis(100);

/// It did not run where nothing was noted for longer: a thread can be late by some of it on a busy machine.
const LATE: Span = Span::from_millis(250);

/// A suspend is longer; what is shorter is the time between two readings.
const SUSPEND: Span = Span::from_millis(50);

/// For how long, of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeldUp {
    /// The base class did not ask for a frame.
    pub blocked: Span,
    /// The process did not run.
    pub stopped: Span,
    /// The machine slept.
    pub suspended: Span,
    /// The pipeline was paused.
    pub paused: Span,
}

#[derive(Debug)]
struct Notes {
    /// When the process ran last, on both clocks.
    ran: (Timestamp<True>, Timestamp<Boottime>),
    /// A frame went downstream, and none was asked for since.
    left: Option<Timestamp<True>>,
    paused: Option<Timestamp<True>>,
    held_up: HeldUp,
}

impl Notes {
    fn note(&mut self, now: (Timestamp<True>, Timestamp<Boottime>)) {
        let (awake, all) = (now.0 - self.ran.0, now.1 - self.ran.1);
        self.ran = now;
        if all - awake > SUSPEND {
            self.held_up.suspended += all - awake;
        }
        if awake > LATE {
            self.held_up.stopped += awake;
        }
    }
}

fn now() -> (Timestamp<True>, Timestamp<Boottime>) {
    (true_now(), DeviceClock::real().boottime_now())
}

/// Notes what holds up the source, from its start until it is dropped.
pub struct Watch {
    notes: Arc<Mutex<Notes>>,
    end: Option<mpsc::Sender<()>>,
    /// Started by [`Watch::start`], joined on drop.
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// # Errors
    /// There is no thread to be had.
    pub fn start() -> std::io::Result<Self> {
        let notes = Notes { ran: now(), left: None, paused: None, held_up: HeldUp::default() };
        let notes = Arc::new(Mutex::new(notes));
        let (end, ended) = mpsc::channel::<()>();
        let shared = Arc::clone(&notes);
        let run = move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(TICK) {
                let mut notes = lock(&shared);
                notes.note(now());
            }
        };
        let thread = std::thread::Builder::new().name("swsync-watch".into()).spawn(run)?;
        Ok(Self { notes, end: Some(end), thread: Some(thread) })
    }

    /// The base class gets a frame.
    pub fn note_left(&self) {
        lock(&self.notes).left = Some(true_now());
    }

    /// The base class asks for a frame.
    pub fn note_asked(&self) {
        let mut notes = lock(&self.notes);
        if let Some(left) = notes.left.take() {
            notes.held_up.blocked = notes.held_up.blocked.max(true_now() - left);
        }
    }

    /// The pipeline is paused from now on, or no longer.
    pub fn note_pause(&self, paused: bool) {
        let mut notes = lock(&self.notes);
        if paused {
            notes.paused = Some(true_now());
        } else if let Some(since) = notes.paused.take() {
            notes.held_up.paused += true_now() - since;
        }
    }

    /// What there was since this was called last.
    pub fn take(&self) -> HeldUp {
        let mut notes = lock(&self.notes);
        notes.note(now());
        std::mem::take(&mut notes.held_up)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that notes whether the process runs has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_run_is_told_from_what_sleeps() {
        let at = |awake: i64, all: i64| {
            let (awake, all) = (Span::from_millis(awake), Span::from_millis(all));
            (Timestamp::from_nanos(0) + awake, Timestamp::from_nanos(0) + all)
        };
        let mut notes = Notes { ran: at(0, 0), left: None, paused: None, held_up: HeldUp::default() };
        notes.note(at(100, 100));
        notes.note(at(300, 300));
        assert_eq!(notes.held_up, HeldUp::default(), "late, as threads are");
        notes.note(at(800, 800));
        assert_eq!(notes.held_up.stopped, Span::from_millis(500));
        notes.note(at(900, 5_900));
        let HeldUp { stopped, suspended, .. } = notes.held_up;
        assert_eq!((stopped, suspended), (Span::from_millis(500), Span::from_secs(5)));
    }

    #[test]
    fn it_is_noted_once_how_long_nobody_asked() {
        let watch = Watch::start().unwrap();
        watch.note_asked();
        assert_eq!(watch.take().blocked, Span::ZERO);
        watch.note_left();
        std::thread::sleep(Duration::from_millis(2));
        watch.note_asked();
        let blocked = watch.take().blocked;
        assert!(blocked >= Span::from_millis(2), "{blocked:?}");
        assert_eq!(watch.take().blocked, Span::ZERO);
    }
}
