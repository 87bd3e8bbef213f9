//! The pipeline's clock behind a trait, so that tests run on simulated time.

use std::time::Instant;

use gst::prelude::*;
use swsync_core::status::ClockStatus;
use swsync_core::time::{Boottime, Rig, Span, Timestamp};

use crate::camera::Flushing;
use crate::camera::mailbox::Mailbox;
use crate::clock::{SensorTimeBridge, rig_time, status_of};

/// The clock that frames are timed by.
pub trait TimeBase {
    /// The pipeline's clock now.
    fn now(&self) -> Timestamp<Rig>;
    /// Its time when the sensor's clock reads `at`.
    fn convert(&mut self, at: Timestamp<Boottime>) -> Timestamp<Rig>;
    /// Its status.
    fn status(&self) -> ClockStatus;
    /// Waits.
    ///
    /// # Errors
    /// The wait was interrupted.
    fn sleep(&self, span: Span) -> Result<(), Flushing>;
}

/// A GstClock, and the bridge to it from the sensor's clock.
pub struct ClockBase<'a> {
    pub clock: &'a gst::Clock,
    pub bridge: &'a mut SensorTimeBridge,
    /// Interrupts waits.
    pub sleeper: &'a Mailbox<()>,
}

impl TimeBase for ClockBase<'_> {
    fn now(&self) -> Timestamp<Rig> {
        rig_time(self.clock.time())
    }

    fn convert(&mut self, at: Timestamp<Boottime>) -> Timestamp<Rig> {
        self.bridge.convert(self.clock, at)
    }

    fn status(&self) -> ClockStatus {
        status_of(self.clock)
    }

    fn sleep(&self, span: Span) -> Result<(), Flushing> {
        let nothing = self.sleeper.pop_until(Instant::now() + span.to_duration())?;
        debug_assert!(nothing.is_none(), "the sleeper gets no items");
        Ok(())
    }
}
