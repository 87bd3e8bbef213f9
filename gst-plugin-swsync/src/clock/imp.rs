use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use swsync_core::log;
use swsync_time::{FrozenClock, RigClock};

use super::waits::{LAST, Waits};

#[derive(Default)]
pub struct SwsyncClock {
    pub(super) rig: OnceLock<Arc<RigClock>>,
    /// Whether the clock reads rig time yet.
    pub(super) started: AtomicBool,
    /// What it reads since rig time began anew.
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

    fn wait(&self, id: &gst::ClockId) -> (Result<gst::ClockSuccess, gst::ClockError>, gst::ClockTimeDiff) {
        let clock = self.obj();
        let jitter = signed(clock.time()) - signed(id.time());
        let waited = self.waits.approach(&clock, id, LAST);
        // GstSystemClock does the rest: its last half millisecond is precise.
        let result = match self.parent_wait(id).0 {
            // Only a wait that was late when it began is early.
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
            log::error!(%error, "no thread for asynchronous waits");
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
