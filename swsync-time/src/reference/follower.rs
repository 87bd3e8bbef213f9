//! The thread that reads a reference and sets a clock by it.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use swsync_core::frame::SyncState;
use swsync_core::time::{Local, Offset, Skew, Span, Timestamp};

use super::source::Reference;
use super::tracker::{ReferenceConfig, Tracker};
use crate::publisher::ClockPublisher;
use crate::{ClockEvent, RigClock, TimeError};

/// How often the reference is read.
const INTERVAL: Duration = Duration::from_millis(125);

/// Statistics of a follower.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceStats {
    /// The reference.
    pub source: String,
    /// How well rig time is known.
    pub quality: SyncState,
    /// How often the reference was read and knew the time.
    pub readings: u64,
    /// How often it could not be read or did not know the time.
    pub unusable: u64,
    /// Why it cannot be used now.
    pub error: Option<String>,
    /// Uncertainty of the reference itself, 1 sigma, when it was last read.
    pub reference_uncertainty: Option<Span>,
    /// Rig minus local time, when it was last read.
    pub offset: Option<Offset>,
    /// Rig minus the reference's time because of a leap second, which is smeared over 24 h; otherwise zero.
    pub leap_correction: Span,
    /// Rate of the reference against the local clock.
    pub skew: Option<Skew>,
    /// Steps of the clock since it was relied on.
    pub steps: u64,
}

/// Keeps a [`RigClock`] in the time of a [`Reference`] until dropped.
#[derive(Debug)]
pub struct ReferenceFollower {
    stats: Arc<Mutex<ReferenceStats>>,
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl ReferenceFollower {
    /// Reads `reference` eight times a second on a thread of its own, and keeps `clock` in its time. That thread calls
    /// `on_event`, which must not block for long.
    ///
    /// # Errors
    /// [`TimeError::Runtime`] if the thread cannot be started.
    pub fn start(
        reference: impl Reference + 'static,
        config: &ReferenceConfig,
        clock: Arc<RigClock>,
        on_event: impl Fn(ClockEvent) + Send + Sync + 'static,
    ) -> Result<Self, TimeError> {
        let stats = Arc::new(Mutex::new(ReferenceStats {
            source: reference.describe(),
            quality: SyncState::Unsynced,
            readings: 0,
            unusable: 0,
            error: None,
            reference_uncertainty: None,
            offset: None,
            leap_correction: Span::ZERO,
            skew: None,
            steps: 0,
        }));
        let tracker = Tracker::new(config, reference.id(), clock.device().now());
        let publisher = ClockPublisher::new(clock, Box::new(on_event));
        let mut task = ReaderTask { reference, tracker, publisher, stats: stats.clone() };
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name("swsync-reference".into()).spawn(move || {
            loop {
                task.read_reference();
                if stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { stats, stop, thread: Some(thread) })
    }

    /// Statistics, as of the last reading.
    #[must_use]
    pub fn stats(&self) -> ReferenceStats {
        self.stats.lock().clone()
    }
}

impl Drop for ReferenceFollower {
    fn drop(&mut self) {
        let _ = self.stop.send(()); // fails if the reference has panicked
        // A handler of events may drop this on the thread itself, which cannot join itself.
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != thread::current().id())
            && thread.join().is_err()
        {
            swsync_core::log::error!("the thread that reads a reference has panicked");
        }
    }
}

/// What the thread owns.
struct ReaderTask<R> {
    reference: R,
    tracker: Tracker,
    publisher: ClockPublisher,
    stats: Arc<Mutex<ReferenceStats>>,
}

impl<R: Reference> ReaderTask<R> {
    fn read_reference(&mut self) {
        let reading = self.reference.read();
        // After the reading: one that was made before the device slept is of no use.
        if let Some(slept) = self.publisher.take_sleep() {
            if let Some(update) = self.tracker.handle_resume(slept) {
                self.publisher.publish(update);
            }
            return;
        }
        let now = self.publisher.clock.device().now();
        let outcome = self.tracker.handle(now, reading.as_ref());
        self.update_stats(now, reading.map(|reading| reading.uncertainty));
        match outcome.update {
            Some(update) => self.publisher.publish(update),
            None => {
                self.publisher.report_quality();
            }
        }
        if let Some(why) = outcome.unusable {
            let why = format!("{}: {why}", self.reference.describe());
            swsync_core::log::warn!("{why}");
            (self.publisher.on_event)(ClockEvent::SourceUnusable { why });
        }
    }

    fn update_stats(&self, now: Timestamp<Local>, uncertainty: Option<Span>) {
        let mut stats = self.stats.lock();
        let tracker = &self.tracker;
        stats.quality = tracker.quality();
        stats.error.clone_from(&tracker.unusable);
        stats.steps = tracker.servo.steps();
        stats.leap_correction = tracker.leap_correction(now);
        match (uncertainty, &tracker.unusable) {
            (Some(uncertainty), None) => {
                stats.readings += 1;
                stats.reference_uncertainty = Some(uncertainty);
                stats.offset = tracker.offset();
                stats.skew = Some(tracker.skew());
            }
            (_, Some(_)) | (None, None) => stats.unusable += 1,
        }
    }
}
