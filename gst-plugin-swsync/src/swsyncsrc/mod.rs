//! `swsyncsrc`: a camera whose frames lie on the rig's frame grid.
//!
//! It works on any pipeline clock. It maps the camera's sensor timestamps to that clock, and shifts the camera's free-running
//! frames until one instant of each (`align-point`) is `phase-offset` after an instant of the grid: a multiple of the frame
//! period since the clock's epoch. On `swsyncclock`'s clock all devices of a rig therefore expose at the same instants.
//!
//! A buffer's PTS is the running time of that instant of the frame as it was measured, not of the grid's instant: the two differ
//! by `phase-offset` and by the phase error. A GstReferenceTimestampMeta has the same instant in rig time (caps
//! `timestamp/x-swsync`, and `timestamp/x-unix` on a `swsyncclock`). The custom meta `SwsyncFrameMeta` has the frame number, which
//! is that of the grid's instant, the phase error, the clock's uncertainty, exposure, gain, lock state, the start and the middle of
//! the exposure as far as they are known, and the last gap in the frame numbers before it: `gap` (counts them),
//! `gap-first-frame`, `gap-frames` and `gap-cause`.
//!
//! With `add-ntp-timestamp-meta` a frame on a `swsyncclock` also has its rig time as NTP time (caps `timestamp/x-ntp`, ns since 1900), which
//! payloaders send by RTP if their caps ask for the header extension ntp-64 (`rtphdrextntp64`). An `rtpbin` writes the time of sending over it,
//! unless its `update-ntp64-header-ext` is false.
//!
//! # How a camera comes onto the grid
//!
//! | `align-method` | for cameras | does | reaches |
//! | --- | --- | --- | --- |
//! | `inject` | whose frame durations can be set | makes one frame longer or shorter, then dithers whole lines | half a line, in a third of a second |
//! | `inject-exposure` | of which only exposures can be set | takes one frame of a long exposure, then the previous one again; its effect is learnt, or known from the `profile` | 20 us, in some seconds |
//! | `reset` | without any control | restarts the camera until its phase falls right | 1 ms, in a quarter of a minute to minutes |
//! | `none` | | states the phase error and leaves it; keeps the frame rate on average if frame durations can be set | |
//!
//! `auto` is the first of `inject`, `inject-exposure` and `none` that the camera can do. It never chooses `reset`, which restarts a
//! camera again and again for minutes: users have to ask for that. Until then the frames of such a camera are `free`, each with
//! its phase error. A method that the camera cannot do is an error when it starts.
//!
//! `align-point` says which instant of a frame lies on the grid: sensors that read their rows at different speeds can agree on one
//! only. `phase-offset` says how long after the grid's instant it is: N cameras a period / N apart take N times the rate.
//! `grid-period` names the period that the rig shares if its cameras have different rates. Rates that divide each other (30, 60,
//! 120) share instants, as all grids count from the epoch. These properties, and `max-slew`, `tolerance`, `settle-frames` and
//! `wait-lock`, can be changed while playing, except for `grid-period`. Frames then move as `max-slew` allows.
//!
//! # Controls
//!
//! The camera's controls are properties, named and typed as `libcamerasrc`'s, and `frame-duration-limits`. They go out with
//! the next request and can be set at any time. The action signal
//! `set-controls(guint64 frame-number, GstStructure) -> gboolean` sets them from a certain frame on; so does the custom upstream
//! event `swsync-controls` with a field `frame-number`, whose other fields are controls. They go out as many frames early as the
//! camera takes to apply them: by its profile at first, then as measured. The element message `swsync-controls` says from which
//! frame on they were in effect: `asked-frame`, `in-effect`, `frame-number`, and the controls.
//!
//! A control that the camera does not have, or a value that it does not accept, is refused: a warning with the details
//! `swsync-control-refused`, `control` and `reason` (what it accepts, and what to do). The values that the camera used are in each
//! frame's meta. The properties show them too, and `stats` has them as `newest-frame`.
//!
//! # Streams
//!
//! `src` is one stream of the camera's frames. Each request pad `src_%u` is another stream of the same frames, in a format of its
//! own, with the same PTS, number and metas. The pads' property `stream-role` says what a stream is for (`still-capture`, `raw`,
//! `video-recording`, `view-finder`); libcamera chooses the sensor's mode by it. A pad that
//! is not linked has no stream. A slow branch behind a `src_%u` loses frames of its own (DISCONT,
//! `branch-dropped` in `stats`), and does not delay the others.
//!
//! `sensor-config` is the mode of the sensor, in `libcamerasrc`'s words:
//! `sensor-config="sensor/config,width=2304,height=1296,depth=10"`. By default libcamera chooses by the size of the streams.
//! A mode that the sensor does not have is an error that names those that it has. Cameras that report no modes (USB, virtual and
//! simulated ones) refuse any. `orientation` (`rotate-0`, `rotate-180`, `rotate-90`, `rotate-270`, each also with `-mirror`:
//! libcamera's names) is for cameras that hang upside down, for instance. It is relative to how the camera is mounted, if its
//! driver knows that. Sensors mirror and turn by 180 degrees. If a camera cannot deliver an orientation, there is a WARNING,
//! `stats` has the mode in effect (`orientation`, `sensor-config`), and the tag `image-orientation` says what is left to do.
//!
//! A frame has a running time if it was taken while the pipeline played. Frames that were exposed during a pause are dropped
//! (`not-playing` in `stats`; the gap's cause is `paused`). No frame number is delivered twice (`number-taken` counts the frames that
//! are dropped for that, as when a camera takes more frames than the grid has instants).
//!
//! Pictures go out in the camera's own frame buffers, with their strides in a GstVideoMeta, and the buffers return when the last
//! reference is dropped. If downstream keeps nearly all of them, as a ring of recent frames does, it gets copies from then on: element
//! message `swsync-frames-copied`, once, and `copied` in `stats`.
//!
//! # Faults
//!
//! A camera has one user at a time among all processes of the machine. Others get an error with the name and number
//! of the process that has it. (`swsync cameras` uses each camera for a moment.)
//!
//! A camera has stalled if it delivers nothing for `stall-periods` frame periods (by default: for a second more than one period;
//! its first frame may take over three). A camera that has stalled or is gone ends the stream with an error. With
//! `on-stall=restart` it is instead opened again every half second until it streams (element messages `swsync-camera-lost`
//! with `reason`, and `swsync-camera-back`; `recoveries` in `stats`). Frame numbers continue by time. Lost frames
//! are found by the driver's count and by times (`swsync-frames-lost`, DISCONT, `lost` in `stats`).
//!
//! Frames are stamped by `CLOCK_BOOTTIME`, as libcamera documents it, or by `CLOCK_MONOTONIC`, as V4L2 drivers do. The age of the
//! stamps shows which one, camera by camera: `stats` has it as `sensor-clock` (`boottime`, `monotonic`) and
//! `sensor-clock-basis` (`age`; `same`: both clocks read the same; `assumed`: they are too close to tell apart). Five
//! stamps in a row that are of neither clock end the stream with an error.
//!
//! A driver that hangs in libcamera is waited for 20 s, then there is an error. libcamera cannot be used in the process until
//! the driver is back.
//!
//! # Messages
//!
//! Element messages: `swsync-phase` when the lock changes (`state`, `cause` = start, phase, exposure, target or clock,
//! `method`, `phase-error`, `frame-number`, ...); `swsync-phase-trouble` when an issue of alignment begins (`active`) or ends
//! (`kind` = off-rate, exposure-too-long, little-headroom, clamped, no-effect, latency or
//! unknown-exposure, `text`, and numbers); `swsync-frames-lost`. The property `stats` has the rest.
//!
//! `wait-lock` holds frames back until the camera is on the grid, and while it has lost it. A camera that is being
//! corrected because its exposure or its target was changed goes on, and each frame says so in its meta (`lock`). If no
//! frame is delivered for 5 s, a WARNING says why and what helps. If long exposures have no effect on a camera, aligning is given
//! up: a WARNING, and its frames are `free`.
//!
//! # Files
//!
//! A frame's way: a [`Camera`](crate::camera::Camera) → `aligned_camera.rs` (time, number, alignment) → `delivery.rs` (whether it goes
//! downstream; metas) → `pads.rs`. The thread is in `streaming.rs`, formats are in `negotiation.rs`.
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
mod category;
mod centre;
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
pub(crate) use controls::{AheadChange, RigSync};

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
    /// Takes settings of controls.
    pub(crate) fn controls(&self) -> &controls::ControlQueue {
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

/// What happens when the camera has stalled or is gone.
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
