//! Cameras behind one trait: libcamera's, and simulated ones.

#[cfg(feature = "libcamera")]
pub mod claim;
pub mod controls;
#[cfg(feature = "simulation")]
pub mod faults;
#[cfg(feature = "libcamera")]
pub mod libcamera;
pub mod mailbox;
pub mod mode;
#[cfg(feature = "simulation")]
pub mod simulated;
pub mod stall_limit;

use std::fmt;
use std::sync::Arc;

use gst::glib;
use swsync_core::align::exposure_response::ExposureResponse;
use swsync_core::frame::FrameDetails;
use swsync_core::stamps::{StampMismatch, StampedBy};
use swsync_core::time::{Boottime, Span, Timestamp};

use self::controls::{Ranges, Setting};
use self::mode::Mode;
pub use mailbox::{Flushing, Wakeup};
pub use stall_limit::StallLimit;
pub use swsync_core::profile::{Readout, Shutter, StampedAt, TimingError};

/// Why a camera cannot do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CameraError {
    /// There is no such camera.
    #[error("no camera {wanted}; there is: {available}")]
    NotFound {
        /// What was asked for, for people.
        wanted: String,
        /// The ids of the cameras that there are, or how to get any.
        available: String,
    },
    /// Another user has the camera.
    #[error("camera {camera} is in use by {holder}: end that{}", or_another(others))]
    Busy {
        /// The camera's id.
        camera: String,
        /// Who has it, for people.
        holder: String,
        /// The ids of the other cameras.
        others: Vec<String>,
    },
    /// Another part of this process has libcamera's camera manager.
    #[error(
        "libcamera is in use by another part of this process (libcamerasrc, or the program itself), and a process can have one \
         camera manager. Use swsyncsrc for all its cameras, or run a process for each"
    )]
    Occupied,
    /// The sensor has no such mode.
    #[error("camera {camera} does not take sensor-config={asked}: {reason}")]
    Mode {
        /// The camera's id.
        camera: String,
        /// What was asked for.
        asked: String,
        /// Why not, and which modes there are.
        reason: String,
    },
    /// The camera refuses the format.
    #[error("camera {camera} cannot deliver {caps}: {reason}")]
    Format {
        /// The camera's id.
        camera: String,
        /// What was asked for.
        caps: String,
        /// Why not.
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
    /// The camera streams, but delivers no frame.
    #[error("camera {camera} stands still: no frame for {:.3} s. {hint}", waited.as_secs_f64())]
    Stalled {
        /// The camera's id.
        camera: String,
        /// How long there was no frame.
        waited: Span,
        /// What to check.
        hint: String,
    },
    /// The camera is no longer there: unplugged, or its driver is gone.
    #[error(
        "camera {camera} is gone: {reason}. Plug it in again and start the pipeline (with `on-stall=restart` it would go on by \
         itself); if nobody unplugged it, check the cable, its power and `dmesg`"
    )]
    Gone {
        /// The camera's id.
        camera: String,
        /// How that was noticed.
        reason: String,
    },
    /// The camera stamps frames by an unknown clock.
    #[error(
        "camera {camera} stamps its frames by neither CLOCK_BOOTTIME nor CLOCK_MONOTONIC: {misfit}. Its driver has to be set to \
         one of these (uvcvideo: `clock=CLOCK_MONOTONIC`, `hwtimestamps=0` in /sys/module/uvcvideo/parameters)"
    )]
    Stamps {
        /// The camera's id.
        camera: String,
        /// How far its stamps are off.
        misfit: StampMismatch,
    },
    /// The camera's profile cannot be used.
    #[error(transparent)]
    Profile(#[from] swsync_files::profiles::Error),
    /// A wait was interrupted: see [`Wakeup`].
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
    /// Latency of controls, in frames: from the frame that begins after they are handed over to the first frame whose
    /// length they determine.
    pub latency: u32,
    /// Lines by which an exposure has to be shorter than its frame; 0 if unknown.
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
    /// The duration that yields a frame of `lines` lines: in whole microseconds, as libcamera counts, and rounded up,
    /// because libcamera truncates to lines.
    #[must_use]
    pub fn duration_of(&self, lines: u32) -> Span {
        Span::from_nanos_f64((f64::from(lines) * self.line_time_ns / 1e3).ceil() * 1e3)
    }

    /// The lines of a frame of `duration`, truncated.
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
    /// It runs freely; `Some` if the length of single frames can be set.
    FreeRunning(Option<FrameDurationControl>),
    /// It takes a frame whenever a request is queued, as libcamera's virtual camera does. The element queues one
    /// at each instant of the grid.
    OnRequest,
}

/// What a configured camera can do.
#[derive(Debug, Clone, PartialEq)]
pub struct Capabilities {
    /// Model name for people, manifests and profiles, e.g. `imx219`.
    pub model: String,
    /// What makes the camera take its next frame.
    pub pacing: Pacing,
    /// What the exposure of single frames can be set to; `None` if it cannot be set.
    pub exposure: Option<ExposureControl>,
    /// How long exposures shift its stream at this rate, if its profile says so.
    pub response: Option<ExposureResponse>,
    /// Which instant a sensor timestamp is.
    pub stamped_at: StampedAt,
    /// By how much its stamps are late, on average.
    pub stamp_bias: Span,
    /// How far its stamps and its exposure may be from where they are said to be.
    pub timing_error: TimingError,
    /// How its rows are exposed, if that is known of its mode.
    pub readout: Option<Readout>,
    /// Longest time from the start of a frame to its delivery, at the nominal rate: the source's latency.
    pub latency: Span,
    /// Frames that it captures while nobody takes any. Those that follow are lost.
    pub backlog: u32,
    /// How it reads its sensor, if a mode was asked for, and the orientation of its pictures.
    pub mode: Mode,
}

/// What a stream is for. libcamera chooses the sensor's mode and the processing by it.
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

/// The setup of one of a camera's streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSetup {
    /// What it is for.
    pub role: StreamRole,
    /// Its fixed format. All streams of a camera have the frame rate of the first.
    pub caps: gst::Caps,
}

impl StreamSetup {
    /// A stream of the default role.
    #[must_use]
    pub fn new(caps: gst::Caps) -> Self {
        Self { role: StreamRole::default(), caps }
    }
}

/// Controls for one request. `None` leaves a control as it is.
///
/// No libcamera up to 0.7 has a control that shifts the phase directly. One that does would be one more field here, with its
/// limits in [`Capabilities`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Controls {
    /// Length of the frame, rounded to whole microseconds: libcamera's FrameDurationLimits with minimum = maximum.
    pub frame_duration: Option<Span>,
    /// Exposure time, rounded to whole microseconds.
    pub exposure: Option<Span>,
}

/// One captured frame.
#[derive(Debug)]
pub struct Frame {
    /// A picture for each stream, in the order of [`Camera::configure`], with a GstVideoMeta if strides are not the default ones.
    pub pictures: Vec<gst::Buffer>,
    /// Whether the pictures are copies, because downstream holds nearly all of the camera's frame buffers.
    pub copied: bool,
    /// The driver's count of frames. It jumps when frames are lost.
    pub sequence: u64,
    /// The instant that [`Capabilities::stamped_at`] names.
    pub sensor_time: Timestamp<Boottime>,
    /// Which clock the driver stamped it by.
    pub stamped_by: StampedBy,
    /// Exposure that the camera used, if it says so.
    pub exposure: Option<Span>,
    /// Analogue gain that the camera used, if it says so.
    pub analogue_gain: Option<f64>,
    /// The values of controls that were in effect, as far as the camera reports them.
    pub reported: Vec<Setting>,
    /// What else the camera says of the frame. The times on the rig's clock are filled in later.
    pub details: FrameDetails,
}

/// Size of a camera that has no preference.
pub const DEFAULT_SIZE: (i32, i32) = (640, 480);
/// Frame rate of a camera that has no preference.
pub const DEFAULT_FRAME_RATE: gst::Fraction = gst::Fraction::new_raw(30, 1);

/// Fixates size and frame rate of the first structure of `caps`, as near as possible to the given ones.
pub fn fixate_nearest(caps: &mut gst::Caps, (width, height): (i32, i32), rate: gst::Fraction) {
    if let Some(structure) = caps.make_mut().structure_mut(0) {
        structure.fixate_field_nearest_int("width", width);
        structure.fixate_field_nearest_int("height", height);
        structure.fixate_field_nearest_fraction("framerate", rate);
    }
}

/// A camera: real or simulated.
///
/// The order of calls: `caps` at any time, then `configure`, `start`, any number of `request` and
/// `next_frame`, `stop`; then `configure` again or drop. All calls come from one thread at a time.
/// [`Camera::wakeup`]'s handle may interrupt a `next_frame` from any thread.
pub trait Camera: Send {
    /// All formats of a stream of this role.
    fn caps(&self, role: StreamRole) -> gst::Caps;

    /// Sets the sensor's mode and the orientation of pictures; to be called before formats are asked for. An orientation
    /// that the camera cannot deliver is not an error: [`Capabilities::mode`] says what it delivers.
    ///
    /// # Errors
    /// [`CameraError::Mode`] if the sensor has no such mode.
    fn set_mode(&mut self, mode: Mode) -> Result<(), CameraError>;

    /// Narrows `caps`, a subset of [`Camera::caps`], to what the camera prefers: size, pixels and rate, and the colorimetry
    /// that it will deliver.
    fn fixate(&mut self, role: StreamRole, mut caps: gst::Caps) -> gst::Caps {
        let _ = role;
        fixate_nearest(&mut caps, DEFAULT_SIZE, DEFAULT_FRAME_RATE);
        caps
    }

    /// Prepares for these streams. The first one sets the frame rate.
    ///
    /// # Errors
    /// [`CameraError::Format`] if the camera cannot deliver them together.
    fn configure(&mut self, streams: &[StreamSetup]) -> Result<Capabilities, CameraError>;

    /// Sets how long `next_frame` waits before the camera counts as stalled. Cameras that never stall ignore it.
    fn set_stall_limit(&mut self, stall_limit: StallLimit) {
        let _ = stall_limit;
    }

    /// The controls of the configured camera and their ranges.
    fn control_ranges(&self) -> Ranges;

    /// Frames from the one just taken to the first that settings staged now will determine, as far as that is
    /// known beforehand.
    fn control_lead(&self) -> u32;

    /// Adds settings to the next [`Camera::request`], or to what the camera starts with. Each is within
    /// [`Camera::control_ranges`]. They stay in effect until others are set.
    fn stage(&mut self, settings: Vec<Setting>);

    /// Whether staged settings wait for the next [`Camera::request`].
    fn waits_for_request(&self) -> bool;

    /// Starts streaming at the negotiated frame rate.
    ///
    /// # Errors
    /// [`CameraError::Busy`] or [`CameraError::Failed`].
    fn start(&mut self) -> Result<(), CameraError>;

    /// Queues one set of controls, which goes out with the next request, together with staged settings. With
    /// [`Pacing::OnRequest`] this also asks for the frame itself.
    ///
    /// # Errors
    /// [`CameraError::Failed`] if the camera is gone.
    fn request(&mut self, controls: Controls) -> Result<(), CameraError>;

    /// Waits for the next frame.
    ///
    /// # Errors
    /// [`CameraError::Flushing`] if interrupted, [`CameraError::Stalled`] if no frame comes within the
    /// [`StallLimit`], [`CameraError::Gone`] if the camera is gone.
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
    fn lines_are_the_same_after_conversion_to_microseconds_and_back() {
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
