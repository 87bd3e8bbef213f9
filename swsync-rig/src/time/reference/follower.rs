//! The thread that reads a reference and sets a clock by it.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use swsync_core::frame::SyncQuality;
use swsync_core::time::{Offset, Skew, Span};

use super::{Reference, ReferenceConfig, Tracker};
use crate::clock::RigClock;
use crate::lock;
use crate::time::client::Publisher;
use crate::time::{ClockEvent, TimeError};

/// How often the reference is read.
const INTERVAL: Duration = Duration::from_millis(125);

/// What an operator asks of a follower.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceStats {
    /// What is followed.
    pub source: String,
    /// How well rig time is known.
    pub quality: SyncQuality,
    /// Times that the reference was read, and knew the time.
    pub readings: u64,
    /// Times that it could not be read or did not know the time.
    pub unusable: u64,
    /// Why it is of no use now.
    pub error: Option<String>,
    /// What the error of the reference itself may be, 1 sigma, when it was last read.
    pub reference_uncertainty: Option<Span>,
    /// Rig minus local time, when it was last read.
    pub offset: Option<Offset>,
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
    /// Reads `reference` eight times a second from a thread of its own, and keeps `clock` in its time.
    /// `on_event` is called from that thread; it must not block for long.
    ///
    /// # Errors
    /// [`TimeError::Runtime`] where the thread cannot be started.
    pub fn start(
        reference: impl Reference + 'static,
        config: &ReferenceConfig,
        clock: Arc<RigClock>,
        on_event: impl Fn(ClockEvent) + Send + Sync + 'static,
    ) -> Result<Self, TimeError> {
        let stats = Arc::new(Mutex::new(ReferenceStats {
            source: reference.describe(),
            quality: SyncQuality::Unsynced,
            readings: 0,
            unusable: 0,
            error: None,
            reference_uncertainty: None,
            offset: None,
            skew: None,
            steps: 0,
        }));
        let tracker = Tracker::new(config, reference.id(), clock.device().now());
        let publisher = Publisher::new(clock, Box::new(on_event));
        let mut task = Task { reference, tracker, publisher, stats: stats.clone() };
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name("swsync-reference".into()).spawn(move || {
            loop {
                task.look();
                if stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { stats, stop, thread: Some(thread) })
    }

    /// Everything that an operator may ask, as of the last reading.
    #[must_use]
    pub fn stats(&self) -> ReferenceStats {
        lock(&self.stats).clone()
    }
}

impl Drop for ReferenceFollower {
    fn drop(&mut self) {
        let _ = self.stop.send(()); // it may have ended, if a reference has panicked
        // An event's handler may drop this: it cannot wait for itself.
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != thread::current().id())
            && thread.join().is_err()
        {
            tracing::error!("the thread that reads a reference has panicked");
        }
    }
}

/// What the thread owns.
struct Task<R> {
    reference: R,
    tracker: Tracker,
    publisher: Publisher,
    stats: Arc<Mutex<ReferenceStats>>,
}

impl<R: Reference> Task<R> {
    fn look(&mut self) {
        let reading = self.reference.read();
        let now = self.publisher.clock.device().now();
        let outcome = self.tracker.handle(now, reading.as_ref());
        self.update_stats(reading.map(|reading| reading.uncertainty));
        match outcome.update {
            Some(update) => self.publisher.publish(update),
            None => {
                self.publisher.tell_quality();
            }
        }
        if let Some(why) = outcome.unusable {
            let why = format!("{}: {why}", self.reference.describe());
            tracing::warn!("{why}");
            (self.publisher.on_event)(ClockEvent::SourceUnusable { why });
        }
    }

    fn update_stats(&self, uncertainty: Option<Span>) {
        let mut stats = lock(&self.stats);
        let tracker = &self.tracker;
        stats.quality = tracker.state.into();
        stats.error.clone_from(&tracker.unusable);
        stats.steps = tracker.servo.steps();
        match (uncertainty, &tracker.unusable) {
            (Some(uncertainty), None) => {
                stats.readings += 1;
                stats.reference_uncertainty = Some(uncertainty);
                stats.offset = tracker.window.back().map(|sample| sample.offset);
                stats.skew = Some(tracker.skew);
            }
            (_, Some(_)) | (None, None) => stats.unusable += 1,
        }
    }
}
