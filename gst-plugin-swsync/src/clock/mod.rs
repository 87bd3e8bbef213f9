//! The rig's clock as a GstClock, and what elements ask of the clock of their pipeline.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use swsync_core::frame::SyncState;
use swsync_core::status::ClockStatus;
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_time::RigClock;

mod imp;
pub mod pipeline_clock;
#[cfg(any(feature = "libcamera", feature = "simulation"))]
mod sensor_bridge;
mod waits;

#[cfg(any(feature = "libcamera", feature = "simulation"))]
pub use sensor_bridge::SensorTimeBridge;

glib::wrapper! {
    /// A GstSystemClock that reads rig time: ns since the Unix epoch as the leader has it.
    ///
    /// Until [`start`](Self::start) it reads the device's `CLOCK_MONOTONIC`, which is far behind any rig
    /// time: as a GstClock never goes back, it would stand still after an earlier reading of, say, a wall
    /// clock that is ahead of the leader's.
    pub struct SwsyncClock(ObjectSubclass<imp::SwsyncClock>)
        @extends gst::SystemClock, gst::Clock, gst::Object;
}

impl SwsyncClock {
    /// A clock that is going to read `rig`.
    #[must_use]
    pub fn new(name: &str, rig: Arc<RigClock>) -> Self {
        let clock: Self = glib::Object::builder().property("name", name).build();
        clock.set_clock_flags(gst::ClockFlags::NEEDS_STARTUP_SYNC);
        assert!(clock.imp().rig.set(rig).is_ok(), "a new clock has no rig yet");
        clock
    }

    /// The rig's clock behind it.
    #[must_use]
    pub fn rig(&self) -> &Arc<RigClock> {
        self.imp().rig.get().expect("set in `new`, the only constructor")
    }

    /// The rig's clock is synced: from here on this one reads it, and counts as synced.
    pub fn start(&self) {
        self.imp().started.store(true, Ordering::Release);
        self.set_synced(true);
        self.recheck();
    }

    /// Whether it reads rig time.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.imp().started.load(Ordering::Acquire)
    }

    /// Rig time is about to begin anew, or begins while a pipeline plays on this clock, which does not read it.
    ///
    /// The clock goes on as it was, so that no wait on it lasts for ever, but is no longer synced: the pipeline needs another one.
    pub fn end(&self) {
        let _ = self.imp().ended.set(self.rig().frozen()); // it ends once
        self.set_synced(false);
    }

    /// Whether rig time has begun anew since.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.imp().ended.get().is_some()
    }

    /// The rig's clock was stepped: waits look again whether their time has come.
    pub fn recheck(&self) {
        self.imp().waits.recheck();
    }
}

/// Rig time as GStreamer counts it; zero before 1970.
#[must_use]
pub fn clock_time(at: Timestamp<Rig>) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(u64::try_from(at.as_nanos()).unwrap_or(0))
}

/// The rig time of a GStreamer clock reading.
#[must_use]
pub fn rig_time(at: gst::ClockTime) -> Timestamp<Rig> {
    Timestamp::from_nanos(i64::try_from(at.nseconds()).unwrap_or(i64::MAX))
}

/// The status of `clock`. Any clock can run a pipeline, but only a [`SwsyncClock`] that has not [ended](SwsyncClock::end) knows its
/// error.
#[must_use]
pub fn status_of(clock: &gst::Clock) -> ClockStatus {
    if let Some(clock) = clock.downcast_ref::<SwsyncClock>().filter(|clock| !clock.has_ended()) {
        return clock.rig().status();
    }
    ClockStatus {
        quality: if clock.is_synced() { SyncState::Foreign } else { SyncState::Unsynced },
        rig_time_ns: rig_time(clock.time()),
        offset_ns: Span::ZERO,
        uncertainty_ns: None,
        skew_ppm: 0.0,
        round_trip_ns: None,
        source: None,
        server: None,
        path_offset_ns: Span::ZERO,
    }
}

#[cfg(test)]
mod tests;
