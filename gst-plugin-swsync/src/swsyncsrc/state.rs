//! What `swsyncsrc` is doing, and what its threads share.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use swsync_core::grid::FrameGrid;
use swsync_time::DeviceClock;

use super::aligned_camera::AlignedCamera;
use super::pads::SwsyncSrcPad;
use super::settings::Settings;
use crate::camera::mode::RemainingTransform;
use crate::camera::{Camera, StreamRole, StreamSetup, Wakeup};
use crate::clock::SensorTimeBridge;

#[derive(Default)]
pub enum State {
    #[default]
    Stopped,
    /// The camera is open; its caps are known.
    Opened { camera: Box<dyn Camera>, device: Arc<DeviceClock>, settings: Settings },
    Streaming {
        camera: Box<AlignedCamera>,
        bridge: SensorTimeBridge,
        streams: Streams,
        device: Arc<DeviceClock>,
        settings: Settings,
    },
    /// The camera stalled or is gone: it is opened again until it streams.
    Lost { streams: Streams, device: Arc<DeviceClock>, settings: Settings },
}

/// One of the camera's streams, and the pad that it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PadStream {
    pub pad: SwsyncSrcPad,
    pub setup: StreamSetup,
}

/// What the camera streams.
#[derive(Debug, Clone, PartialEq)]
pub struct Streams {
    pub grid: FrameGrid,
    /// In the order of a frame's pictures. The first one sets the frame rate of all.
    pub pads: Arc<[PadStream]>,
}

/// What queries are answered from: they must not wait for a frame, as users of `state` do.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// What the camera can deliver in each of [`StreamRole::ALL`], as far as anyone has asked, while it is open.
    pub caps: [Option<gst::Caps>; StreamRole::ALL.len()],
    /// From a frame's start to its delivery, while it streams: if it is taken at once, and the latest at which it can still be had.
    pub latency: Option<(gst::ClockTime, gst::ClockTime)>,
    /// The camera's model, once it has streamed.
    pub model: Option<String>,
    /// What readers have to do to its pictures, once it has streamed.
    pub remaining_transform: Option<RemainingTransform>,
}

/// Starts, interrupts and ends the streaming thread.
#[derive(Default)]
pub struct Control {
    state: Mutex<ControlState>,
    changed: Condvar,
}

#[derive(Default)]
pub struct ControlState {
    playing: bool,
    /// The pipeline's clock when it began to play.
    pub playing_since: Option<gst::ClockTime>,
    flushing: bool,
    /// The stream is to end.
    eos: bool,
    /// Frames that may still go downstream; `None`: any number.
    left: Option<u32>,
    /// Whose waits are interrupted while there is nothing to be taken: the camera's, and the element's own.
    camera: Option<Arc<dyn Wakeup>>,
    /// Events to send before the next frame.
    events: Vec<gst::Event>,
}

/// Why the streaming thread is to do nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    Flushing,
    Eos,
}

impl ControlState {
    pub fn is_playing(&self) -> bool {
        self.playing
    }

    fn is_interrupted(&self) -> bool {
        !self.playing || self.flushing || self.eos
    }
}

impl Control {
    /// Changes the state; waits of the camera and of `sleeper` are interrupted accordingly.
    fn change(&self, sleeper: &dyn Wakeup, change: impl FnOnce(&mut ControlState)) {
        let mut state = self.state.lock();
        change(&mut state);
        let interrupted = state.is_interrupted();
        sleeper.set_flushing(interrupted);
        if let Some(camera) = &state.camera {
            camera.set_flushing(interrupted);
        }
        self.changed.notify_all();
    }

    /// A stream begins, of so many frames.
    pub fn start(&self, sleeper: &dyn Wakeup, frames: Option<u32>) {
        self.change(sleeper, |state| {
            *state = ControlState { left: frames, ..ControlState::default() };
        });
    }

    /// The pipeline plays from `since` on.
    pub fn play(&self, sleeper: &dyn Wakeup, since: Option<gst::ClockTime>) {
        self.change(sleeper, |state| (state.playing, state.playing_since) = (true, since));
    }

    pub fn pause(&self, sleeper: &dyn Wakeup) {
        self.change(sleeper, |state| state.playing = false);
    }

    /// A flush also takes back that the stream is to end.
    pub fn set_flushing(&self, sleeper: &dyn Wakeup, flushing: bool) {
        self.change(sleeper, |state| (state.flushing, state.eos) = (flushing, false));
    }

    /// The stream is to end before the next frame.
    pub fn set_eos(&self, sleeper: &dyn Wakeup) {
        self.change(sleeper, |state| state.eos = true);
    }

    /// Another camera's waits are interrupted from now on; `None`: nobody's.
    pub fn set_camera(&self, camera: Option<Arc<dyn Wakeup>>) {
        let mut state = self.state.lock();
        if let Some(camera) = &camera {
            camera.set_flushing(state.is_interrupted());
        }
        state.camera = camera;
    }

    pub fn is_flushing(&self) -> bool {
        self.state.lock().flushing
    }

    /// Sends `event` before the next frame.
    pub fn queue_event(&self, event: gst::Event) {
        self.state.lock().events.push(event);
    }

    pub fn take_events(&self) -> Vec<gst::Event> {
        std::mem::take(&mut self.state.lock().events)
    }

    /// Looks at the state while nobody changes it.
    pub fn with<T>(&self, look: impl FnOnce(&ControlState) -> T) -> T {
        look(&self.state.lock())
    }

    /// Waits until the pipeline plays.
    ///
    /// # Errors
    /// The stream ends, or is flushed.
    pub fn wait_until_playing(&self) -> Result<(), Interruption> {
        let mut state = self.state.lock();
        loop {
            if state.flushing {
                return Err(Interruption::Flushing);
            }
            if state.eos || state.left == Some(0) {
                return Err(Interruption::Eos);
            }
            if state.playing {
                return Ok(());
            }
            self.changed.wait(&mut state);
        }
    }

    /// Counts a frame that goes downstream.
    pub fn count_frame(&self) {
        let left = &mut self.state.lock().left;
        *left = left.map(|left| left.saturating_sub(1));
    }
}
