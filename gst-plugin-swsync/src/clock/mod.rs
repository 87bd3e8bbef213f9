//! The rig's clock as a GstClock, and what elements ask of the clock of their pipeline.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use swsync_core::bridge::{Reading, SensorBridge};
use swsync_core::control::ClockStatus;
use swsync_core::frame::SyncQuality;
use swsync_core::time::{Boottime, Rig, Span, Timestamp};
use swsync_rig::clock::{DeviceClock, RigClock};

pub mod pipeline_clock;
pub use pipeline_clock as others; // goes at the merge: swsyncsrc still has this name
mod waits;

mod imp {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, OnceLock};

    use gst::glib;
    use gst::prelude::*;
    use gst::subclass::prelude::*;
    use swsync_rig::clock::{FrozenClock, RigClock};

    use super::waits::{LAST, Waits};

    static CAT: std::sync::LazyLock<gst::DebugCategory> = std::sync::LazyLock::new(|| {
        gst::DebugCategory::new("swsyncclock", gst::DebugColorFlags::empty(), Some("swsync clock"))
    });

    #[derive(Default)]
    pub struct SwsyncClock {
        pub(super) rig: OnceLock<Arc<RigClock>>,
        /// Whether the clock reads rig time yet.
        pub(super) started: AtomicBool,
        /// What it goes on by since rig time began anew.
        pub(super) ended: OnceLock<FrozenClock>,
        pub(super) waits: Arc<Waits>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for SwsyncClock {
        const NAME: &'static str = "GstSwsyncClock";
        type Type = super::SwsyncClock;
        type ParentType = gst::SystemClock;
    }

    impl ObjectImpl for SwsyncClock {
        fn dispose(&self) {
            self.waits.stop();
        }
    }

    impl GstObjectImpl for SwsyncClock {}

    impl ClockImpl for SwsyncClock {
        fn internal_time(&self) -> gst::ClockTime {
            // GstSystemClock reads the time while it is constructed, before there is a rig.
            let now = self.rig.get().map_or(0, |rig| {
                if !self.started.load(Ordering::Acquire) {
                    rig.device().now().as_nanos()
                } else if let Some(ended) = self.ended.get() {
                    ended.rig_at(rig.device().now()).as_nanos()
                } else {
                    rig.now().as_nanos()
                }
            });
            gst::ClockTime::from_nseconds(u64::try_from(now).unwrap_or(0))
        }

        fn wait(
            &self,
            id: &gst::ClockId,
        ) -> (Result<gst::ClockSuccess, gst::ClockError>, gst::ClockTimeDiff) {
            let clock = self.obj();
            let jitter = signed(clock.time()) - signed(id.time());
            let waited = self.waits.approach(&clock, id, LAST);
            // The rest as GstSystemClock does it, whose last half millisecond is precise.
            let result = match self.parent_wait(id).0 {
                // Only a wait that was late when it began is told so.
                Err(gst::ClockError::Early) if waited => Ok(gst::ClockSuccess::Ok),
                result => result,
            };
            // It may end 500 ns early.
            if result.is_ok() {
                self.waits.approach(&clock, id, gst::ClockTime::ZERO);
            }
            (result, jitter)
        }

        fn wait_async(&self, id: &gst::ClockId) -> Result<gst::ClockSuccess, gst::ClockError> {
            if id.status().load() == gst::ClockReturn::Unscheduled {
                return Err(gst::ClockError::Unscheduled);
            }
            self.waits.add(&self.obj(), id).map_err(|error| {
                gst::error!(CAT, imp = self, "no thread for asynchronous waits: {error}");
                gst::ClockError::Error
            })?;
            Ok(gst::ClockSuccess::Ok)
        }

        fn unschedule(&self, id: &gst::ClockId) {
            self.parent_unschedule(id);
            self.waits.recheck();
        }
    }

    impl SystemClockImpl for SwsyncClock {}

    fn signed(time: gst::ClockTime) -> i64 {
        i64::try_from(time.nseconds()).unwrap_or(i64::MAX)
    }
}

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

    /// Rig time is about to begin anew, or begins where a pipeline plays on this clock, which does not read it. This clock goes on as it was, so that nobody who waits by it waits for ever, but
    /// counts as synced no more: a pipeline needs another one.
    pub fn end(&self) {
        let _ = self.imp().ended.set(self.rig().frozen()); // it ends once
        self.set_synced(false);
    }

    /// Whether rig time has begun anew since.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.imp().ended.get().is_some()
    }

    /// The rig's clock was stepped: those who wait for a time look again whether it has come.
    pub fn recheck(&self) {
        self.imp().waits.recheck();
    }
}

/// Rig time as GStreamer counts it. Rig time before 1970 is none.
#[must_use]
pub fn clock_time(at: Timestamp<Rig>) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(u64::try_from(at.as_nanos()).unwrap_or(0))
}

/// The rig time of a GStreamer clock reading.
#[must_use]
pub fn rig_time(at: gst::ClockTime) -> Timestamp<Rig> {
    Timestamp::from_nanos(i64::try_from(at.nseconds()).unwrap_or(i64::MAX))
}

/// What `clock` says of itself: any clock can run a pipeline, but only a [`SwsyncClock`] knows its
/// error. Of one that has [ended](SwsyncClock::end) nothing is known.
#[must_use]
pub fn status_of(clock: &gst::Clock) -> ClockStatus {
    if let Some(clock) = clock.downcast_ref::<SwsyncClock>().filter(|clock| !clock.has_ended()) {
        return clock.rig().status();
    }
    ClockStatus {
        quality: if clock.is_synced() { SyncQuality::Foreign } else { SyncQuality::Unsynced },
        rig_time_ns: rig_time(clock.time()),
        offset_ns: Span::ZERO,
        uncertainty_ns: None,
        skew_ppm: 0.0,
        round_trip_ns: None,
        source: None,
    }
}

/// Leads from sensor time to the time of any GstClock: reads the clocks for a [`SensorBridge`].
#[derive(Debug)]
pub struct SensorTimeBridge {
    device: Arc<DeviceClock>,
    bridge: SensorBridge,
}

/// Time between two readings of one clock, around one of another, that makes no difference to anyone: at most half of it is
/// the error. Chosen: far below the microseconds that cameras are aligned to.
const GOOD_ENOUGH: Span = Span::from_nanos(500);

impl SensorTimeBridge {
    /// A bridge from the sensors of `device`.
    #[must_use]
    pub const fn new(device: Arc<DeviceClock>) -> Self {
        Self { device, bridge: SensorBridge::new() }
    }

    /// The time of `clock` when this device's boot-time clock read `at`, which is recent.
    pub fn convert(&mut self, clock: &gst::Clock, at: Timestamp<Boottime>) -> Timestamp<Rig> {
        let bridged = self.bridge.convert(self.read(clock), at);
        if let Some(suspended) = bridged.suspended {
            tracing::info!(
                ?suspended,
                "this device was suspended: its clocks stood still, and sensor time did not"
            );
        }
        bridged.time
    }

    /// Reads the clocks: of three attempts the one with the least time between, or the first that is good enough.
    fn read(&self, clock: &gst::Clock) -> Reading {
        let attempt = || {
            let before = self.device.boottime_now();
            let reading = rig_time(clock.time());
            let between = self.device.boottime_now() - before;
            (between, before + between / 2, reading)
        };
        let mut best = attempt();
        for _ in 1..3 {
            if best.0 <= GOOD_ENOUGH {
                break;
            }
            let next = attempt();
            best = if next.0 < best.0 { next } else { best };
        }
        let (_, boottime, clock) = best;
        Reading { boottime, local: self.device.now(), clock }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod bridge_tests {
    use super::*;

    #[test]
    fn sensor_time_becomes_clock_time() {
        gst::init().unwrap();
        let device = Arc::new(DeviceClock::simulated("offset=100s,skew=40ppm".parse().unwrap()));
        let rig = Arc::new(RigClock::new(device.clone()));
        rig.lead();
        let clock = SwsyncClock::new("test", rig.clone());
        clock.start();
        let mut bridge = SensorTimeBridge::new(device.clone());
        for _ in 0..5 {
            let stamp = device.boottime_now();
            let expected = rig.now();
            let converted = bridge.convert(clock.upcast_ref(), stamp);
            assert!((converted - expected).abs() < Span::from_micros(200), "{converted:?} {expected:?}");
        }
    }
}
