//! A simulated camera that swsync's aligner holds on the frame grid by its device's clock.

use swsync_core::align::{Aligner, AlignerConfig};
use swsync_core::frame::LockState;
use swsync_core::grid::FrameNumber;
use swsync_core::time::{Host, Rig as RigDomain, Span, Timestamp};
use swsync_sim::rig::Rig;
use swsync_sim::sensor::{Controls, DEFAULT_EXPOSURE, Sensor, SensorFrame};

use super::{Hardware, grid};
use crate::phase::trial::timing;

/// One frame, and its time by the device's clock.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// Its number on the grid, by the device.
    pub number: FrameNumber,
    /// The frame.
    pub frame: SensorFrame,
    /// The device's clock when the first row's exposure began.
    pub time: Timestamp<RigDomain>,
    /// From the grid to where the device would see the frame if only this one stamp's random error were zero.
    pub phase: Span,
    /// From the grid to where the device says that the frame is.
    pub stated_phase: Span,
}

/// A camera with its aligner.
pub struct Camera {
    hardware: Hardware,
    sensor: Sensor,
    aligner: Aligner,
    locked: bool,
}

impl Camera {
    /// A camera that is started at `at`.
    pub fn start(hardware: &Hardware, seed: u64, at: Timestamp<Host>) -> Self {
        let model = &hardware.sensor;
        let timing = timing(model);
        let mut aligner = Aligner::new(AlignerConfig::new(grid(), timing, Span::from_micros(20), 3));
        aligner.set_exposure(DEFAULT_EXPOSURE);
        let sensor = Sensor::new(model.clone(), seed, hardware.sensor_skew, at, Controls::default());
        Self { hardware: hardware.clone(), sensor, aligner, locked: false }
    }

    /// Whether its newest frame was on the grid, as far as its device knows.
    pub const fn is_locked(&self) -> bool {
        self.locked
    }

    /// Hands over the frames that have been delivered by now, and lets the aligner answer each. Those that come while the device is
    /// off are lost.
    pub fn run(&mut self, rig: &Rig, device: usize, mut each: impl FnMut(Taken)) {
        while self.sensor.next_delivery() <= rig.now() {
            let frame = self.sensor.next_frame();
            let path = self.hardware.path_offset;
            let read = |at: Timestamp<Host>| Some(rig.rig_time(device, at)? + path);
            let instants = [frame.timestamp, frame.delivered_at, frame.exposure_start_first_row].map(read);
            let [Some(stamp), Some(now), Some(time)] = instants else { continue };
            let begun = stamp - frame.reported_exposure;
            let report = self.aligner.handle_frame_at(u64::from(frame.sequence), begun, now);
            self.locked = report.lock == LockState::Locked;
            if let Some(lines) = report.lines {
                // Whole microseconds, rounded up, as libcamera truncates to lines.
                let micros = (f64::from(lines) * self.hardware.sensor.line_time_ns / 1e3).ceil();
                let duration = Some(Span::from_nanos_f64(micros * 1e3));
                self.sensor.queue_controls(
                    frame.delivered_at,
                    Controls { frame_duration: duration, exposure: None },
                );
            }
            let model = &self.hardware.sensor;
            let seen = time + model.stamp_bias - model.exposure_reference;
            let phase = grid().phase_error(seen);
            let stated_phase = grid().phase_error(begun);
            each(Taken { number: grid().nearest(begun), frame, time, phase, stated_phase });
        }
    }
}
