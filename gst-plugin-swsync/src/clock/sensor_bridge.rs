//! Converts a sensor's timestamps to the time of any GstClock.

use std::sync::Arc;

use gst::prelude::*;
use swsync_core::bridge::{ClockPair, SensorBridge};
use swsync_core::log;
use swsync_core::time::{Boottime, Rig, Span, Timestamp};
use swsync_time::DeviceClock;

use super::rig_time;

/// Reads a device's clocks and a GstClock for a [`SensorBridge`].
#[derive(Debug)]
pub struct SensorTimeBridge {
    device: Arc<DeviceClock>,
    bridge: SensorBridge,
}

/// A reading is good enough if the two readings of the one clock around that of the other lie no further apart: at most half of that is the
/// error. Chosen: far below the microseconds that cameras are aligned to.
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
            log::info!(
                ?suspended,
                "this device was suspended: its clocks stood still, but sensor time went on"
            );
        }
        bridged.time
    }

    /// Reads the clocks: the best of three attempts, or the first that is good enough.
    fn read(&self, clock: &gst::Clock) -> ClockPair {
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
        ClockPair { boottime, local: self.device.now(), clock }
    }
}

#[cfg(test)]
mod tests {
    use swsync_time::RigClock;

    use super::super::SwsyncClock;
    use super::*;

    #[test]
    fn sensor_time_becomes_clock_time() {
        gst::init().unwrap();
        let device = Arc::new(DeviceClock::simulated("offset=100s,skew=40ppm".parse().unwrap()));
        let rig = Arc::new(RigClock::new(device.clone()));
        rig.lead(7);
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
