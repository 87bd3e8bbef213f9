//! `swsyncsrc`: a camera whose frames lie on the rig's frame grid.
//!
//! Works on any pipeline clock: it maps the camera's sensor timestamps to that clock, and shifts the
//! camera's free-running frames until each begins at a multiple of the frame period since the
//! clock's epoch. On `swsyncclock`'s clock all devices of a rig therefore expose at the same instants.
//!
//! Each buffer has the frame's time as PTS and in a GstReferenceTimestampMeta (caps `timestamp/x-swsync`,
//! and `timestamp/x-unix` on a `swsyncclock`), and a custom meta `SwsyncFrameMeta` with frame number, phase
//! error, clock uncertainty, exposure, gain and lock state, and which frame numbers were left out last before it: `gap` (counts
//! them), `gap-first-frame`, `gap-frames` and `gap-cause`.
//!
//! # How a camera comes onto the grid
//!
//! | `align-method` | for cameras | does | reaches |
//! | --- | --- | --- | --- |
//! | `inject` | whose frame durations can be set | makes one frame longer or shorter, then dithers whole lines | half a line, in a third of a second |
//! | `inject-exposure` | of which only exposures can | takes one frame of a long exposure, then the one before again; its effect is learnt, or known from the `profile` | 20 us, in some seconds |
//! | `reset` | without any control | restarts the camera until its phase falls right | 1 ms, in a quarter of a minute to minutes |
//! | `none` | | states the phase error and leaves it; keeps the frame rate on average, where frame durations can be set | |
//!
//! `auto` is the first of `inject`, `inject-exposure` and `none` that the camera can do. It never restarts a camera
//! again and again for minutes: that is for its user to ask for, and until then the camera's frames are `free`,
//! each with its phase error. What a camera cannot do is an error when it starts.
//!
//! `align-point` says which instant of a frame lies on the grid (sensors that read their rows at different speeds
//! agree on one only), `phase-offset` how long after the grid's: N cameras a period / N apart take N times the
//! rate. `grid-period` names the period that the rig shares where its cameras have different rates; rates that
//! divide each other (30, 60, 120) share instants, as all grids count from the epoch. Of these and of `max-slew`,
//! `tolerance`, `settle-frames` and `wait-lock` all but `grid-period` can be changed while playing; frames then move
//! as `max-slew` says.
//!
//! # Controls
//!
//! The camera's controls are properties, named and typed as `libcamerasrc`'s, and `frame-duration-limits`. They go out with
//! the next request and can be set at any time. For one frame and all later ones there are the action signal
//! `set-controls(guint64 frame-number, GstStructure) -> gboolean` and the custom upstream event `swsync-controls` with a field
//! `frame-number`; all other fields are controls. They go out as many frames early as the camera takes to apply them: by its
//! profile at first, then as frames have shown. The element message `swsync-controls` says from which frame on they
//! were in effect: `asked-frame`, `in-effect`, `frame-number`, and the controls.
//!
//! What the camera does not have, or does not take, is refused: a warning whose details are `swsync-control-refused` with
//! `control` and `reason` (what it takes, and what to do). What the camera used is in each frame's meta; the properties
//! show it too, and `stats` has it as `newest-frame`.
//!
//! # Streams
//!
//! `src` is one stream of the camera's frames; each request pad `src_%u` is another of the same frames, in a format of its
//! own: same PTS, number and metas. The pads' property `stream-role` says what a stream is for (`still-capture`, `raw`,
//! `video-recording`, `view-finder`), by which libcamera chooses the sensor's mode. A pad that
//! is not linked has no stream. A branch behind a `src_%u` that is slow loses frames of its own (DISCONT,
//! `branch-dropped` in `stats`) and holds up nobody.
//!
//! `sensor-config` says how the camera reads its sensor, in `libcamerasrc`'s words:
//! `sensor-config="sensor/config,width=2304,height=1296,depth=10"`. If it is not set, libcamera chooses by the size of the streams.
//! A mode that the sensor does not have is an error which names those that it has; so is any for cameras that tell of none (USB,
//! virtual and simulated ones). `orientation` (`rotate-0`, `rotate-180`, `rotate-90`, `rotate-270`, each also with `-mirror`: libcamera's
//! names) is for cameras that hang upside down, say; it counts from how the camera is mounted, where its driver knows that. Sensors
//! mirror and turn by 180 degrees. What a camera cannot do is a WARNING, its pictures come as `stats` has them
//! (`orientation`, also `sensor-config`), and the tag `image-orientation` says what is left to do.
//!
//! A frame has a running time where it was taken while the pipeline played. What was exposed while it was paused goes
//! nowhere (`not-playing` in `stats`; `paused` as the cause of the gap). No frame number is taken twice (`number-taken` counts what is left out for
//! that, as when more frames come than there are instants).
//!
//! Pictures go out in the camera's own frame buffers, with their strides in a GstVideoMeta, and go back when the last
//! reference is dropped. Who keeps nearly all of them, as a ring of recent frames does, gets copies from then on: element message
//! `swsync-frames-copied`, once, and `copied` in `stats`.
//!
//! # Faults
//!
//! A camera has one user at a time, among all processes of the machine: another one gets an error with the name and number
//! of the process that has it. (`swsync cameras` uses each camera for a moment.)
//!
//! A camera that delivers nothing for `stall-periods` frame periods (if not set: for a second longer than a frame takes; its
//! first frame may take over three), or that is gone, ends the stream with an error;
//! with `on-stall=restart` it is opened again every half second until it streams (element messages `swsync-camera-lost`
//! with `reason`, and `swsync-camera-back`; `recoveries` in `stats`). Frame numbers go on by time. Lost frames
//! are seen by the driver's count and by times (`swsync-frames-lost`, DISCONT, `lost` in `stats`).
//!
//! Frames are stamped by `CLOCK_BOOTTIME`, as libcamera documents it, or by `CLOCK_MONOTONIC`, as V4L2 drivers do it. Which it
//! is the stamps' age tells, camera by camera: `stats` has it as `sensor-clock` (`boottime`, `monotonic`) and
//! `sensor-clock-basis` (`age`; `same`: both clocks read the same; `assumed`: they are too near to each other to tell). Five
//! stamps in a row that are of neither clock end the stream with an error.
//!
//! A driver that hangs in libcamera is waited for 20 s, then that is an error; libcamera is of no use to the process until
//! it comes back.
//!
//! # What it says
//!
//! Element messages: `swsync-phase` when the lock changes (`state`, `cause` = start, phase, exposure, target or clock,
//! `method`, `phase-error`, `frame-number`, ...); `swsync-phase-trouble` when something begins (`active`) or ceases
//! to stand in the way (`kind` = off-rate, exposure-too-long, little-headroom, clamped, no-effect, latency or
//! unknown-exposure, `text`, and numbers); `swsync-frames-lost`. The property `stats` has the rest.
//!
//! `wait-lock` holds frames back until the camera is on the grid, and while it is lost. A camera that is being
//! corrected because its exposure or its target was changed goes on, and each frame says so in its meta (`lock`). Where no
//! frame is delivered for 5 s, a WARNING says why and what helps. A camera on which long exposures have no effect is given
//! up: a WARNING, and its frames are `free`.
//!
//! ```text
//! gst-launch-1.0 swsyncclock role=leader swsyncsrc ! videoconvert ! autovideosink
//! gst-launch-1.0 swsyncclock role=leader swsyncsrc backend=simulated ! videoconvert ! autovideosink
//! gst-launch-1.0 swsyncclock role=leader swsyncsrc name=s src_0::stream-role=view-finder \
//!     s.src ! video/x-raw,width=1920,height=1080 ! queue ! v4l2h264enc ! fakesink \
//!     s.src_0 ! video/x-raw,width=640,height=480 ! videoconvert ! autovideosink
//! ```

mod align;
mod aligned_camera;
mod controls;
mod delivery;
mod dither;
mod frame_details;
mod imp;
mod interruptions;
mod losses;
mod negotiation;
mod pads;
mod picture_layout;
mod recovery;
mod settings;
#[cfg(feature = "simulation")]
mod simulation;
mod state;
mod stats;
mod streaming;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

pub use align::{AlignMethod, AlignPointSetting};

use crate::camera::StreamRole;
use crate::camera::mode::Orientation;
#[cfg(feature = "simulation")]
use crate::camera::simulated::{SimulatedControl, SimulatedStamps};

glib::wrapper! {
    /// A camera whose frames lie on the rig's frame grid.
    pub struct SwsyncSrc(ObjectSubclass<imp::SwsyncSrc>)
        @extends gst::Element, gst::Object,
        @implements gst::ChildProxy;
}

impl SwsyncSrc {
    /// Where its controls are set.
    fn controls(&self) -> &controls::ControlQueue {
        self.imp().controls()
    }
}

/// Where frames come from: the backends that were built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncBackend")]
pub enum Backend {
    /// A camera that libcamera finds.
    #[cfg(feature = "libcamera")]
    #[default]
    #[enum_value(name = "libcamera: a real camera", nick = "libcamera")]
    Libcamera,
    /// A simulated sensor that looks at an LED panel.
    #[cfg(feature = "simulation")]
    #[cfg_attr(not(feature = "libcamera"), default)]
    #[enum_value(name = "Simulated: a rolling-shutter sensor that looks at an LED panel", nick = "simulated")]
    Simulated,
}

/// What happens when the camera stands still or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncOnStall")]
pub enum OnStall {
    /// Streaming ends with an error.
    #[default]
    #[enum_value(name = "Error: streaming ends", nick = "error")]
    Error,
    /// The camera is opened again until it streams.
    #[enum_value(name = "Restart: the camera is opened again until it streams", nick = "restart")]
    Restart,
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    for api in [
        Backend::static_type(),
        AlignMethod::static_type(),
        AlignPointSetting::static_type(),
        OnStall::static_type(),
        #[cfg(feature = "simulation")]
        SimulatedControl::static_type(),
        #[cfg(feature = "simulation")]
        SimulatedStamps::static_type(),
        Orientation::static_type(),
        StreamRole::static_type(),
        pads::SwsyncSrcPad::static_type(),
    ] {
        api.mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
    gst::Element::register(Some(plugin), "swsyncsrc", gst::Rank::NONE, SwsyncSrc::static_type())
}
