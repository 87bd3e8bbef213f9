//! The clock that `swsyncclock` provides from READY on, and what was last announced of it.

use std::sync::Arc;

use gst::prelude::*;
use parking_lot::Mutex;
use swsync_core::frame::SyncState;
use swsync_time::{DeviceClock, RigClock};

use super::status::{self, Announced, nanos_or_unknown};
use super::{CAT, SwsyncClockElement};
use crate::clock::SwsyncClock;

const NAME: &str = "SwsyncClock";

/// Nothing in NULL.
#[derive(Debug, Default)]
pub struct ProvidedClock(Mutex<Option<Provided>>);

#[derive(Debug)]
struct Provided {
    clock: SwsyncClock,
    announced: Announced,
    /// What the last run knew of rig time. A device that can lead goes on from it, so that it can be restarted without a step even
    /// if no other knows the rig's time.
    last_rig: Option<Arc<RigClock>>,
}

impl ProvidedClock {
    /// NULL to READY: from here on a pipeline can choose the clock.
    pub fn open(&self, device: Arc<DeviceClock>) {
        let announced = Announced { quality: SyncState::Unsynced, since: device.now() };
        let clock = SwsyncClock::new(NAME, Arc::new(RigClock::new(device)));
        *self.0.lock() = Some(Provided { clock, announced, last_rig: None });
    }

    /// READY to NULL.
    pub fn close(&self) {
        *self.0.lock() = None;
    }

    pub fn clock(&self) -> Option<SwsyncClock> {
        self.0.lock().as_ref().map(|provided| provided.clock.clone())
    }

    pub fn announced(&self) -> Option<Announced> {
        self.0.lock().as_ref().map(|provided| provided.announced)
    }

    /// READY to PAUSED: the clock for this run. `goes_on`: in the rig time of the last run, if there was one.
    pub fn begin_run(&self, goes_on: bool) -> SwsyncClock {
        let mut provided = self.0.lock();
        let provided = provided.as_mut().expect("opened on the way to READY");
        if let Some(rig) = provided.last_rig.take().filter(|_| goes_on) {
            provided.clock = SwsyncClock::new(NAME, rig);
        }
        provided.clock.clone()
    }

    /// PAUSED to READY. `ran`: rig time may have become known.
    pub fn end_run(&self, ran: bool) {
        let Some(clock) = self.clock() else { return };
        clock.set_synced(false);
        // Another clock for the next run: a GstClock never goes back, and the next leader's time may be less.
        let rig = RigClock::new(clock.rig().device().clone());
        if let Some(provided) = &mut *self.0.lock() {
            provided.clock = SwsyncClock::new(NAME, Arc::new(rig));
            provided.last_rig = ran.then(|| clock.rig().clone());
        }
    }

    /// A new clock of `rig`, in place of the one that is provided: the pipeline has to take it, and with it another base time.
    pub fn replace(&self, rig: Arc<RigClock>) -> SwsyncClock {
        let new = SwsyncClock::new(NAME, rig);
        new.start();
        if let Some(provided) = &mut *self.0.lock() {
            provided.clock = new.clone();
        }
        new
    }

    /// Announces how well rig time is known: by a message, and to those who watch the properties.
    pub fn announce(&self, element: &SwsyncClockElement, quality: SyncState, leader: &str) {
        let Some(clock) = self.clock() else { return };
        let announced = Announced { quality, since: clock.rig().device().now() };
        if let Some(provided) = &mut *self.0.lock() {
            provided.announced = announced;
        }
        let status = clock.rig().status();
        let structure = gst::Structure::builder("swsync-clock")
            .field("state", quality.as_str())
            .field("since", announced.since.as_nanos())
            .field("leader", leader)
            .field("time-scale", status::time_scale(&status))
            .field("offset", status.offset_ns.as_nanos())
            .field("uncertainty", nanos_or_unknown(status.uncertainty_ns))
            .build();
        gst::info!(CAT, obj = element, "{structure}");
        let message = gst::message::Element::builder(structure).src(element).build();
        // Fails only without a bus.
        let _ = element.post_message(message);
        element.notify("state");
        element.notify("synced");
    }

    /// The fields of `stats` that every clock has.
    pub fn stats(&self) -> Option<gst::Structure> {
        let (clock, announced) = (self.clock()?, self.announced()?);
        Some(status::stats(&clock.rig().status(), announced))
    }
}
