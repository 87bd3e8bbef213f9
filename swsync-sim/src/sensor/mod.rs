//! A simulated rolling-shutter sensor behind libcamera's delayed controls, sans-IO, in true time.
//!
//! # Time of a frame
//!
//! The sensor reads its lines one after another, `line_time` apart, from the frame-start event `FS(s)` of frame `s` on. A line's
//! exposure ends at its readout, so the first row is exposed during `FS(s) - exposure .. FS(s)`, and row `r` correspondingly later:
//!
//! ```text
//!        exposure start           FS(s)           end of readout        delivered
//!  row 0 |<----- exposure ----->|
//!  row r          |<----- exposure ----->|
//!                               |<--- lines x line time --->|<- ISP latency ->|
//! ```
//!
//! `FS(s) -> FS(s + 1)` lasts the frame length in effect for frame `s`, in lines. A VBLANK write at the event of frame `s`, with
//! delay `D`, changes the time from `FS(s + D)` to `FS(s + D + 1)`, and so the instants of all later frames. An exposure write with
//! delay `D` changes the exposure of frame `s + D`, which lies in `FS(s + D - 1) -> FS(s + D)`. If it does not fit there, it is cut,
//! or that interval grows ([`LongExposure`]).
//!
//! # Use
//!
//! [`Sensor::next_frame`] returns the next frame; the caller waits until its `delivered_at`. [`Sensor::queue_controls`] takes the
//! instant of the call, because a set that is queued before a frame-start event is written one frame earlier than one that is
//! queued after it. Both may be called in any order: the sensor runs ahead only as far as no later call can change a frame (frame
//! `s` is determined by the event of frame `s - 1`).

mod delayed_controls;
mod frame;
mod model;
mod phone;

use std::collections::VecDeque;

use rand::RngExt;
use swsync_core::time::{Host, Skew, Span, Timestamp};

pub use frame::SensorFrame;
pub use model::{ControlDelays, LongExposure, SensorModel, StampJitter, TimestampPoint, UnknownSensor};
pub use phone::{Phone, PhoneFrame, PhoneModel};

use crate::noise::generator;
use crate::num;
use delayed_controls::DelayedControls;
use frame::FrameFaults;

/// The series of draws for the start-up delay. The series of a frame is its sequence number.
const START_UP: u64 = 1 << 40;

/// The paper's exposure for the LED panel: half of one LED's time.
pub const DEFAULT_EXPOSURE: Span = Span::from_micros(100);

/// A set of controls. `None` keeps the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Controls {
    /// From one frame's start to the next. Truncated to whole microseconds and then to whole lines, as libcamera does; clamped to
    /// the model's limits.
    pub frame_duration: Option<Span>,
    /// Exposure; truncated and clamped in the same way.
    pub exposure: Option<Span>,
}

/// A running sensor.
#[derive(Debug, Clone)]
pub struct Sensor {
    model: SensorModel,
    seed: u64,
    /// Line time by true time.
    line_time_ns: f64,
    queue: DelayedControls,
    exposure: Register,
    frame_length: Register,
    /// The last requests, before clamping: an exposure that was cut returns with a longer frame.
    asked_exposure: u32,
    asked_frame_length: u32,
    /// The frame whose start event is next.
    cursor: Cursor,
    /// Whether the frame at `cursor` was made already, so that only its event is outstanding.
    made: bool,
    /// Frames that began before they were fetched.
    ready: VecDeque<SensorFrame>,
    last_delivery: Timestamp<Host>,
}

/// A position in the stream of frames.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    sequence: u64,
    /// Readout of the first row, and the fraction of a nanosecond beyond.
    start: Timestamp<Host>,
    fraction_ns: f64,
    /// Lines since the start of the frame before.
    lines_before: u32,
}

/// A sensor register: each value with the first frame for which it is in effect.
#[derive(Debug, Clone)]
struct Register(VecDeque<(u64, u32)>);

impl Register {
    fn new(lines: u32) -> Self {
        Self(VecDeque::from([(0, lines)]))
    }

    fn write(&mut self, from_frame: u64, lines: u32) {
        self.0.push_back((from_frame, lines));
    }

    /// The value in effect for `frame`.
    fn at(&self, frame: u64) -> u32 {
        let written = self.0.iter().rev().find(|(from, _)| *from <= frame);
        written.or(self.0.front()).expect("a register always has a value").1
    }

    /// Drops values that only frames before `frame` need.
    fn forget_before(&mut self, frame: u64) {
        while self.0.get(1).is_some_and(|(from, _)| *from <= frame) {
            self.0.pop_front();
        }
    }
}

impl Sensor {
    /// Starts a sensor at `started_at` with `controls` in its registers.
    ///
    /// Its crystal runs fast by `skew`: lines take `1 / (1 + skew)` of their nominal time. Without controls, frames have their
    /// nominal length and an exposure of 100 us, as in the paper. Readout of the first frame begins after a random start-up delay.
    #[must_use]
    pub fn new(
        mut model: SensorModel,
        seed: u64,
        skew: Skew,
        started_at: Timestamp<Host>,
        controls: Controls,
    ) -> Self {
        model.delays.exposure = model.delays.exposure.max(2);
        model.delays.vblank = model.delays.vblank.max(1);
        let asked_frame_length =
            controls.frame_duration.map_or(model.frame_length, |duration| model.lines_of(duration));
        let asked_exposure = model.lines_of(controls.exposure.unwrap_or(DEFAULT_EXPOSURE));
        let frame_length = model.clamp_frame_length(asked_frame_length);
        let exposure = model.clamp_exposure(asked_exposure, frame_length);
        let share = generator(seed, START_UP).random::<f64>();
        let start_up = (model.max_start_up - model.min_start_up).mul_f64(share) + model.min_start_up;
        Self {
            line_time_ns: model.line_time_ns / (1.0 + skew.as_ratio()),
            queue: DelayedControls::new(model.delays, exposure, frame_length),
            exposure: Register::new(exposure),
            frame_length: Register::new(frame_length),
            asked_exposure,
            asked_frame_length,
            cursor: Cursor {
                sequence: 0,
                start: started_at + start_up,
                fraction_ns: 0.0,
                lines_before: frame_length.max(exposure + model.exposure_margin),
            },
            made: false,
            ready: VecDeque::new(),
            last_delivery: started_at,
            model,
            seed,
        }
    }

    /// Its model.
    #[must_use]
    pub const fn model(&self) -> &SensorModel {
        &self.model
    }

    /// Queues one set of controls at true time `at`, as libcamera does once per processed frame.
    ///
    /// The set is written at the first free frame-start event after `at`. It takes effect later by the slowest control's delay. A
    /// second set between two events waits for the next event, and so does every set from then on, until an event is lost.
    pub fn queue_controls(&mut self, at: Timestamp<Host>, controls: Controls) {
        while self.cursor.start <= at {
            if !self.made {
                let frame = self.make_frame();
                self.ready.extend(frame);
            }
            self.handle_frame_start();
        }
        let before = self.target();
        if let Some(duration) = controls.frame_duration {
            self.asked_frame_length = self.model.lines_of(duration);
        }
        if let Some(exposure) = controls.exposure {
            self.asked_exposure = self.model.lines_of(exposure);
        }
        let (exposure, frame_length) = self.target();
        self.queue.push(
            (controls.exposure.is_some() || exposure != before.0).then_some(exposure),
            controls.frame_duration.map(|_| frame_length),
        );
    }

    /// The next frame to be delivered. Dropped frames are skipped: the sequence jumps.
    pub fn next_frame(&mut self) -> SensorFrame {
        if let Some(frame) = self.ready.pop_front() {
            return frame;
        }
        loop {
            if self.made {
                self.handle_frame_start();
            }
            if let Some(frame) = self.make_frame() {
                return frame;
            }
        }
    }

    /// When the next frame will be delivered, with the controls queued so far. (A later set could change that only after two
    /// dropped frames in a row.)
    #[must_use]
    pub fn next_delivery(&self) -> Timestamp<Host> {
        if let Some(frame) = self.ready.front() {
            return frame.delivered_at;
        }
        let mut cursor = if self.made { self.after(self.cursor) } else { self.cursor };
        loop {
            let faults = self.faults(cursor.sequence);
            if !faults.dropped {
                return self.delivery(cursor.start, &faults);
            }
            cursor = self.after(cursor);
        }
    }

    /// Exposure and frame length of the last requests, in lines.
    fn target(&self) -> (u32, u32) {
        let frame_length = self.model.clamp_frame_length(self.asked_frame_length);
        (self.model.clamp_exposure(self.asked_exposure, frame_length), frame_length)
    }

    fn faults(&self, sequence: u64) -> FrameFaults {
        FrameFaults::draw(&self.model, generator(self.seed, sequence))
    }

    /// The frame at the cursor; `None` if it is dropped.
    fn make_frame(&mut self) -> Option<SensorFrame> {
        self.made = true;
        let cursor = self.cursor;
        let faults = self.faults(cursor.sequence);
        if faults.dropped {
            return None;
        }
        let room = cursor.lines_before.saturating_sub(self.model.exposure_margin);
        let exposure_lines = self.exposure.at(cursor.sequence).min(room);
        let frame_length_lines = self.after(cursor).lines_before;
        let exposure = Span::from_nanos_f64(f64::from(exposure_lines) * self.line_time_ns);
        let stamped = match self.model.timestamp_point {
            TimestampPoint::FirstRowReadout => cursor.start,
            TimestampPoint::FirstRowExposure => cursor.start - exposure,
        };
        let stamp_error = faults.stamp_error + self.model.stamp_bias;
        self.last_delivery = self.delivery(cursor.start, &faults);
        Some(SensorFrame {
            sequence: u32::try_from(cursor.sequence & u64::from(u32::MAX)).expect("masked to 32 bit"),
            exposure_start_first_row: cursor.start - exposure + self.model.exposure_reference,
            readout_start: cursor.start,
            exposure,
            line_time_ns: self.line_time_ns,
            active_lines: self.model.height,
            exposure_lines,
            frame_length_lines,
            reported_exposure: self.model.reported(exposure_lines),
            reported_frame_duration: self.model.reported(frame_length_lines),
            timestamp: stamped + stamp_error,
            stamp_error,
            delivered_at: self.last_delivery,
        })
    }

    fn delivery(&self, readout_start: Timestamp<Host>, faults: &FrameFaults) -> Timestamp<Host> {
        let readout = Span::from_nanos_f64(self.line_time_ns * f64::from(self.model.height));
        (readout_start + readout + faults.isp_latency).max(self.last_delivery)
    }

    /// Handles the frame-start event at the cursor, and moves the cursor on.
    fn handle_frame_start(&mut self) {
        let sequence = self.cursor.sequence;
        let faults = self.faults(sequence);
        if !faults.dropped {
            let writes = self.queue.frame_started(sequence);
            let delays = self.model.delays;
            let write = |register: &mut Register, lines: Option<u32>, delay: u32, miss: Option<u64>| {
                if let (Some(lines), Some(late)) = (lines, miss) {
                    register.write(sequence + u64::from(delay) + late, lines);
                }
            };
            write(&mut self.exposure, writes.exposure, delays.exposure, faults.exposure_late);
            write(&mut self.frame_length, writes.frame_length, delays.vblank, faults.vblank_late);
        }
        self.cursor = self.after(self.cursor);
        self.made = false;
        self.exposure.forget_before(self.cursor.sequence);
        self.frame_length.forget_before(self.cursor.sequence);
    }

    /// The frame after `cursor`'s.
    fn after(&self, cursor: Cursor) -> Cursor {
        let frame_length = self.frame_length.at(cursor.sequence);
        let lines = match self.model.long_exposure {
            LongExposure::Cut => frame_length,
            LongExposure::ExtendFrame => {
                let next_exposure = self.exposure.at(cursor.sequence + 1);
                frame_length.max(next_exposure + self.model.exposure_margin)
            }
        };
        let elapsed = f64::from(lines) * self.line_time_ns + cursor.fraction_ns;
        Cursor {
            sequence: cursor.sequence + 1,
            start: cursor.start + Span::from_nanos_f64(elapsed.floor()),
            fraction_ns: elapsed.fract(),
            lines_before: lines,
        }
    }
}

impl SensorModel {
    /// `span` in whole lines: truncated to whole microseconds first, as libcamera does.
    fn lines_of(&self, span: Span) -> u32 {
        let micros = span.as_micros_f64().trunc();
        num::lines(micros * 1e3 / self.line_time_ns)
    }

    fn clamp_frame_length(&self, lines: u32) -> u32 {
        lines.min(self.max_frame_length).max(self.min_frame_length)
    }

    fn clamp_exposure(&self, lines: u32, frame_length: u32) -> u32 {
        let fits = match self.long_exposure {
            LongExposure::Cut => frame_length,
            LongExposure::ExtendFrame => self.max_frame_length,
        };
        lines.min(fits.saturating_sub(self.exposure_margin)).max(self.min_exposure)
    }

    /// The duration of `lines` in the metadata: nominal, in whole microseconds, truncated.
    fn reported(&self, lines: u32) -> Span {
        Span::from_micros(i64::from(num::lines(f64::from(lines) * self.line_time_ns / 1e3)))
    }
}

#[cfg(test)]
mod tests;
