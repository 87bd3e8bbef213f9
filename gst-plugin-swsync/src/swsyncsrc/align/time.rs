//! The pipeline's clock, as far as frames need it: a trait, so that tests run on simulated time.

use std::time::Instant;

use gst::prelude::*;
use swsync_core::control::ClockStatus;
use swsync_core::time::{Boottime, Rig, Span, Timestamp};

use crate::camera::Flushing;
use crate::camera::mailbox::Mailbox;
use crate::clock::{SensorTimeBridge, rig_time, status_of};

/// Time for frames.
pub trait TimeBase {
    /// The pipeline's clock now.
    fn now(&self) -> Timestamp<Rig>;
    /// What it read, or reads, when the sensor's clock reads `at`.
    fn convert(&mut self, at: Timestamp<Boottime>) -> Timestamp<Rig>;
    /// What it says of itself.
    fn status(&self) -> ClockStatus;
    /// Waits; an interruption ends it.
    fn sleep(&self, span: Span) -> Result<(), Flushing>;
}

/// A GstClock.
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
        debug_assert!(nothing.is_none(), "nobody posts to the sleeper");
        Ok(())
    }
}
