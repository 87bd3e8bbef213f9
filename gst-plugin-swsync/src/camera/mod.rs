//! Cameras behind one trait: libcamera's and the simulated one.

#[cfg(feature = "libcamera")]
pub mod claim;
pub mod controls;
#[cfg(feature = "simulation")]
pub mod faults;
#[cfg(feature = "libcamera")]
pub mod libcamera;
pub mod mailbox;
pub mod mode;
pub mod stall_limit;
#[cfg(feature = "simulation")]
pub mod simulated;

use std::fmt;
use std::sync::Arc;

use gst::glib;
use swsync_core::align::profile::Response;
use swsync_core::frame::FrameDetails;
use swsync_core::stamps::{Misfit, StampedBy};
use swsync_core::time::{Boottime, Span, Timestamp};

use self::controls::{Ranges, Setting};
use self::mode::Mode;
pub use mailbox::{Flushing, Wakeup};
pub use stall_limit::StallLimit;
pub use swsync_core::profile::{Readout, Shutter, StampedAt};

/// Why a camera could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CameraError {
    /// No such camera; says what there is.
    #[error("no camera {wanted}; there is: {available}")]
    NotFound {
        /// What was asked for, as a person would say it.
        wanted: String,
        /// The ids that could have been asked for, or how to get any.
        available: String,
    },
    /// Someone else has the camera.
    #[error("camera {camera} is in use by {holder}: end that{}", or_another(others))]
    Busy {
        /// The camera's id.
        camera: String,
        /// Who has it, for people.
        holder: String,
        /// The ids of the other cameras.
        others: Vec<String>,
    },
    /// Someone else in this process has libcamera.
    #[error(
        "libcamera is in use by another part of this process (libcamerasrc, or the program itself), and a process can have one \
         camera manager. Use swsyncsrc for all its cameras, or run a process for each"
    )]
    Occupied,
    /// The camera's sensor cannot be read so.
    #[error("camera {camera} does not take sensor-config={asked}: {reason}")]
    Mode {
        /// The camera's id.
        camera: String,
        /// What was asked for.
        asked: String,
        /// What stands in the way, and what there is.
        reason: String,
    },
    /// The camera refuses the format.
    #[error("camera {camera} cannot deliver {caps}: {reason}")]
    Format {
        /// The camera's id.
        camera: String,
        /// What was asked for.
        caps: String,
        /// What stands in the way.
        reason: String,
    },
    /// The camera stopped working.
    #[error("camera {camera} failed while {doing}: {reason}")]
    Failed {
        /// The camera's id.
        camera: String,
        /// What was being done.
        doing: &'static str,
        /// What the driver said.
        reason: String,
    },
    /// Nothing came from a camera that should stream.
    #[error("camera {camera} stands still: no frame for {:.3} s. {hint}", waited.as_secs_f64())]
    Stalled {
        /// The camera's id.
        camera: String,
        /// How long nothing came.
        waited: Span,
        /// What a person can look at.
        hint: String,
    },
    /// The camera is no longer there: unplugged, or its driver is gone.
    #[error("camera {camera} is gone: {reason}. Check the cable and `dmesg`")]
    Gone {
        /// The camera's id.
        camera: String,
        /// What was noticed.
        reason: String,
    },
    /// The camera stamps frames by a clock that nothing is known of.
    #[error(
        "camera {camera} stamps its frames by neither CLOCK_BOOTTIME nor CLOCK_MONOTONIC: {misfit}. Its driver has to be set to \
         one of these (uvcvideo: `clock=CLOCK_MONOTONIC`, `hwtimestamps=0` in /sys/module/uvcvideo/parameters)"
    )]
    Stamps {
        /// The camera's id.
        camera: String,
        /// How far its stamps are off.
        misfit: Misfit,
    },
    /// The camera's profile cannot be used.
    #[error(transparent)]
    Profile(#[from] swsync_rig::profiles::Error),
    /// A `next_frame` was interrupted by the element's `unlock`.
    #[error("interrupted")]
    Flushing,
}

impl CameraError {
    /// The camera failed while `doing` something.
    #[must_use]
    pub fn failed(camera: &str, doing: &'static str, reason: impl fmt::Display) -> Self {
        Self::Failed { camera: camera.to_owned(), doing, reason: reason.to_string() }
    }

    /// The camera refuses `caps`.
    #[must_use]
    pub fn refused(camera: &str, caps: &gst::Caps, reason: impl fmt::Display) -> Self {
        Self::Format { camera: camera.to_owned(), caps: caps.to_string(), reason: reason.to_string() }
    }
}

fn or_another(cameras: &[String]) -> String {
    if cameras.is_empty() {
        return String::new();
    }
    format!(", or set camera-name to another; there are: {}", cameras.join(", "))
}

impl From<Flushing> for CameraError {
    fn from(_: Flushing) -> Self {
        Self::Flushing
    }
}

/// How the length of single frames can be set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameDurationControl {
    /// Frames are whole multiples of this: the sensor's line time by its nominal clock, in ns.
    pub line_time_ns: f64,
    /// Shortest frame, in lines.
    pub min_lines: u32,
    /// Longest frame, in lines.
    pub max_lines: u32,
    /// Frames from the start of the frame that begins after a control set was handed over to the first
    /// frame whose length it determines.
    pub latency: u32,
    /// Lines by which an exposure has to be shorter than its frame: 0 where unknown.
    pub exposure_margin: u32,
}

/// How the exposure of single frames can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExposureControl {
    /// Shortest.
    pub min: Span,
    /// Longest.
    pub max: Span,
}

impl FrameDurationControl {
    /// The duration that yields a frame of `lines` lines: whole microseconds, as libcamera counts
    /// them, rounded up, as it truncates to lines.
    #[must_use]
    pub fn duration_of(&self, lines: u32) -> Span {
        Span::from_nanos_f64((f64::from(lines) * self.line_time_ns / 1e3).ceil() * 1e3)
    }

    /// The lines that a frame of `duration` has: truncated.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float to int casts saturate, and the result is clamped"
    )]
    pub fn lines_of(&self, duration: Span) -> u32 {
        let lines = (duration.as_nanos_f64() / self.line_time_ns).floor() as u32;
        lines.clamp(self.min_lines, self.max_lines)
    }
}

/// What makes the camera take its next frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pacing {
    /// It runs freely; `Some` where the length of single frames can be set.
    FreeRunning(Option<FrameDurationControl>),
    /// It takes a frame whenever a request is queued, as libcamera's virtual camera does: the
    /// element queues one per grid instant.
    OnRequest,
}

/// What a configured camera can do.
#[derive(Debug, Clone, PartialEq)]
pub struct Capabilities {
    /// Model name for people, manifests and profiles, e.g. `imx219`.
    pub model: String,
    /// What makes the camera take its next frame.
    pub pacing: Pacing,
    /// What the exposure of single frames can be set to; `None` where it cannot.
    pub exposure: Option<ExposureControl>,
    /// How its stream answers to long exposures at this rate, where its profile says so.
    pub response: Option<Response>,
    /// Which instant a sensor timestamp is.
    pub stamped_at: StampedAt,
    /// How its rows are exposed, where that is known of its mode.
    pub readout: Option<Readout>,
    /// Longest time from the start of a frame to its delivery at nominal rate: the source's latency.
    pub latency: Span,
    /// Frames that it captures while nobody takes any: what comes after them is lost.
    pub backlog: u32,
    /// How it reads its sensor, as far as that was asked for, and which way round its pictures are.
    pub mode: Mode,
}

/// What a stream is for: libcamera chooses the sensor's mode and the processing by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncStreamRole")]
pub enum StreamRole {
    /// Single pictures of high quality.
    #[enum_value(name = "Still capture: single pictures of high quality", nick = "still-capture")]
    StillCapture,
    /// What the sensor delivers, unprocessed.
    #[enum_value(name = "Raw: what the sensor delivers, unprocessed", nick = "raw")]
    Raw,
    /// Video to keep.
    #[default]
    #[enum_value(name = "Video recording: video to keep", nick = "video-recording")]
    VideoRecording,
    /// Video to look at.
    #[enum_value(name = "View finder: video to look at", nick = "view-finder")]
    ViewFinder,
}

impl StreamRole {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::StillCapture, Self::Raw, Self::VideoRecording, Self::ViewFinder];
}

/// One stream of those that a camera is to deliver at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSetup {
    /// What it is for.
    pub role: StreamRole,
    /// Its format, fixed. All streams of a camera have the frame rate of the first.
    pub caps: gst::Caps,
}

impl StreamSetup {
    /// A stream of the ordinary role.
    #[must_use]
    pub fn new(caps: gst::Caps) -> Self {
        Self { role: StreamRole::default(), caps }
    }
}

/// Controls for one request. `None` leaves a control as it is.
///
/// All that moves a camera's frames goes through here. No libcamera up to 0.7 has a control that shifts the phase as
/// such; one that does will be one more field, with its limits in [`Capabilities`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Controls {
    /// Length of the frame: libcamera's FrameDurationLimits with minimum = maximum, rounded to
    /// whole microseconds.
    pub frame_duration: Option<Span>,
    /// Exposure time, rounded to whole microseconds.
    pub exposure: Option<Span>,
}

/// One captured frame.
#[derive(Debug)]
pub struct Frame {
    /// A picture for each stream, in the order of [`Camera::configure`], with a GstVideoMeta if strides are not the default ones.
    pub pictures: Vec<gst::Buffer>,
    /// Whether the pictures are copies, because downstream holds nearly all of the camera's own buffers.
    pub copied: bool,
    /// The driver's count of frames: jumps where frames were lost.
    pub sequence: u64,
    /// The instant that [`Capabilities::stamped_at`] names.
    pub sensor_time: Timestamp<Boottime>,
    /// Which clock the driver stamped it by.
    pub stamped_by: StampedBy,
    /// Exposure that the camera really used, where it says so.
    pub exposure: Option<Span>,
    /// Analogue gain that the camera really used, where it says so.
    pub analogue_gain: Option<f64>,
    /// What it says of controls that people can set: the values that were in effect.
    pub reported: Vec<Setting>,
    /// What else it says of the frame; its times on the rig's clock are the framer's to tell.
    pub details: FrameDetails,
}

/// Size and frame rate of a camera that prefers none.
pub const DEFAULT_SIZE: (i32, i32) = (640, 480);
/// See [`DEFAULT_SIZE`].
pub const DEFAULT_FRAME_RATE: gst::Fraction = gst::Fraction::new_raw(30, 1);

/// Fixates size and frame rate of the first structure of `caps`, nearest to these.
pub fn fixate_nearest(caps: &mut gst::Caps, (width, height): (i32, i32), rate: gst::Fraction) {
    if let Some(structure) = caps.make_mut().structure_mut(0) {
        structure.fixate_field_nearest_int("width", width);
        structure.fixate_field_nearest_int("height", height);
        structure.fixate_field_nearest_fraction("framerate", rate);
    }
}

/// A camera: real or simulated.
///
/// The order of calls: `caps` any time, then `configure`, `start`, any number of `request` and
/// `next_frame`, `stop`; then `configure` again or drop. All calls come from one thread at a time,
/// except that [`Camera::wakeup`]'s handle may interrupt a `next_frame` from any thread.
pub trait Camera: Send {
    /// Everything that a stream of this role can deliver.
    fn caps(&self, role: StreamRole) -> gst::Caps;

    /// Sets how it is to read its sensor and which way round pictures are to be, before its formats are asked for. An orientation
    /// that it cannot have is not an error: [`Capabilities::mode`] says what it does.
    ///
    /// # Errors
    /// [`CameraError::Mode`] where the sensor has no such mode.
    fn set_mode(&mut self, mode: Mode) -> Result<(), CameraError>;

    /// Makes `caps`, a part of what [`Camera::caps`] says, as narrow as the camera can: the size, pixels and
    /// rate nearest to its own preference, and the colorimetry that it will deliver.
    fn fixate(&mut self, role: StreamRole, mut caps: gst::Caps) -> gst::Caps {
        let _ = role;
        fixate_nearest(&mut caps, DEFAULT_SIZE, DEFAULT_FRAME_RATE);
        caps
    }

    /// Prepares for these streams, the first being the main one.
    ///
    /// # Errors
    /// [`CameraError::Format`] where the camera cannot deliver them together.
    fn configure(&mut self, streams: &[StreamSetup]) -> Result<Capabilities, CameraError>;

    /// Sets after how long without a frame `next_frame` gives up. Of no meaning to cameras that never stand still.
    fn set_stall_limit(&mut self, stall_limit: StallLimit) {
        let _ = stall_limit;
    }

    /// Which controls people can set, and to what, once it is configured.
    fn control_ranges(&self) -> Ranges;

    /// Frames from the one just taken to the first that settings staged now determine, as far as that is
    /// known beforehand.
    fn control_lead(&self) -> u32;

    /// Adds settings, of which [`Camera::control_ranges`] takes each, to the next [`Camera::request`], or to
    /// what the camera starts with. They stay until others are set.
    fn stage(&mut self, settings: Vec<Setting>);

    /// Whether what was staged goes nowhere before the next [`Camera::request`].
    fn waits_for_request(&self) -> bool;

    /// Starts streaming at the negotiated frame rate.
    ///
    /// # Errors
    /// [`CameraError::Busy`] or [`CameraError::Failed`].
    fn start(&mut self) -> Result<(), CameraError>;

    /// Queues one set of controls, to go out with the next request, together with what was staged; with
    /// [`Pacing::OnRequest`] also asks for the frame itself.
    ///
    /// # Errors
    /// [`CameraError::Failed`] where the camera is gone.
    fn request(&mut self, controls: Controls) -> Result<(), CameraError>;

    /// Blocks until the next frame is there.
    ///
    /// # Errors
    /// [`CameraError::Flushing`] when interrupted, [`CameraError::Stalled`] when nothing comes for longer than
    /// [`Camera::set_stall_limit`] has it, [`CameraError::Gone`] when the camera is.
    fn next_frame(&mut self) -> Result<Frame, CameraError>;

    /// Stops streaming. Frames not yet taken are dropped.
    fn stop(&mut self);

    /// Interrupts `next_frame` from another thread.
    fn wakeup(&self) -> Arc<dyn Wakeup>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_microseconds() {
        for line_time_ns in [18_904.0, 15_167.0, 13_361.0, 26_290.0, 1_000.0] {
            let control = FrameDurationControl {
                line_time_ns,
                min_lines: 100,
                max_lines: 65_535,
                latency: 2,
                exposure_margin: 4,
            };
            for lines in 1000..3000 {
                assert_eq!(control.lines_of(control.duration_of(lines)), lines, "{line_time_ns}");
            }
            assert_eq!(control.lines_of(Span::ZERO), 100);
            assert_eq!(control.lines_of(Span::MAX), 65_535);
        }
    }
}
