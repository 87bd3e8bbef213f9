//! Lists cameras, with their formats and modes, and reports those that come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use ::libcamera::geometry::Size;
use ::libcamera::pixel_format::PixelFormat;
use ::libcamera::properties;
use swsync_core::time::Span;
use swsync_files::profiles;

use super::formats::{Offer, camera_caps, default_configuration, listed_formats, offers, try_stream};
use super::hotplug::{self, CameraChange, Subscription};
use super::negotiation::has_dma_buf_heap;
use super::sensor;
use super::session::CameraSession;
use super::thread::{LibcameraThread, OpenCameras, no_answer};
use crate::camera::mailbox::Mailbox;
use crate::camera::mode::Mode;
use crate::camera::{CameraError, StreamRole};

/// A camera that libcamera has found, and its formats.
#[derive(Debug, Clone)]
pub struct FoundCamera {
    /// What `camera-name` takes.
    pub id: String,
    /// The sensor or product, e.g. `imx219`.
    pub model: String,
    /// Where it looks: `front`, `back` or `external`, if libcamera says so.
    pub location: Option<&'static str>,
    /// Its rotation as mounted, in degrees, if libcamera says so.
    pub rotation: Option<i32>,
    /// Its formats.
    pub caps: gst::Caps,
}

/// A mode of a camera: size and frame durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CameraMode {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Shortest and longest frame, if the camera says so.
    pub frame: Option<(Span, Span)>,
}

/// A camera's modes, and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraModes {
    /// By width, then height.
    pub modes: Vec<CameraMode>,
    /// If they come from the profile: why not from the camera.
    pub from_profile: Option<String>,
}

/// The cameras that libcamera finds, in its order.
///
/// # Errors
/// [`CameraError::Failed`] if libcamera does not start.
pub fn find() -> Result<Vec<FoundCamera>, CameraError> {
    let found = LibcameraThread::get()?.call(|library| library.found());
    found.ok_or_else(|| no_answer("libcamera", "listing cameras"))
}

/// The modes of the camera `id`, a `model`. The camera is opened for a moment, and configured for each.
///
/// If it is in use, they are those of its profile.
///
/// # Errors
/// [`CameraError::NotFound`], or the camera's error if its profile has no modes either.
pub fn modes(id: &str, model: &str) -> Result<CameraModes, CameraError> {
    let reason = match probe_modes(id) {
        Ok(modes) => return Ok(CameraModes { modes, from_profile: None }),
        Err(error @ CameraError::NotFound { .. }) => return Err(error),
        Err(error) => error,
    };
    let modes: Vec<_> = profiles::find(model)?.profile.modes.iter().map(CameraMode::of_profile).collect();
    if modes.is_empty() {
        return Err(reason);
    }
    Ok(CameraModes { modes, from_profile: Some(reason.to_string()) })
}

fn probe_modes(id: &str) -> Result<Vec<CameraMode>, CameraError> {
    let service = LibcameraThread::get()?;
    let name = id.to_owned();
    let probed = service.call(move |library| {
        let (session, _) = library.open(Some(&name), Arc::new(Mailbox::default()))?;
        let modes = library.session(session).map(CameraSession::modes);
        library.close(session);
        modes.ok_or_else(|| CameraError::failed(&name, "opening it", "it is gone"))
    });
    probed.ok_or_else(|| no_answer(id, "listing its modes"))?
}

impl CameraMode {
    fn of_profile(mode: &swsync_core::profile::SensorMode) -> Self {
        let lasting = |lines: u32| Span::from_nanos_f64(f64::from(lines) * mode.line_time_ns);
        let frame = Some((lasting(mode.min_lines), lasting(mode.max_lines)));
        Self { width: mode.width, height: mode.height, frame }
    }
}

impl OpenCameras {
    fn found(&self) -> Vec<FoundCamera> {
        let cameras = self.manager.cameras();
        let found = (0..cameras.len()).filter_map(|index| cameras.get(index)).map(|camera| {
            let properties = camera.properties();
            let on_request = sensor::takes_frames_on_request(properties);
            // Before `configure`, only the limits of virtual cameras are valid.
            let limits = sensor::frame_duration_limits(camera.controls()).filter(|_| on_request);
            let location = properties.get::<properties::Location>().ok().map(|location| match location {
                properties::Location::CameraFront => "front",
                properties::Location::CameraBack => "back",
                properties::Location::CameraExternal => "external",
            });
            let fastest = limits.map(|limits| limits.min_us);
            FoundCamera {
                id: camera.id().to_owned(),
                model: sensor::model(properties),
                location,
                rotation: properties.get::<properties::Rotation>().ok().map(|rotation| rotation.0),
                caps: camera_caps(
                    &camera,
                    (StreamRole::default(), &Mode::default()),
                    fastest,
                    !on_request || has_dma_buf_heap(),
                ),
            }
        });
        found.collect()
    }
}

impl CameraSession {
    /// Configures the camera for each of its modes, and reads the frame durations. The modes are those of its raw stream. If it
    /// has none, they are the sizes of its pictures.
    fn modes(&mut self) -> Vec<CameraMode> {
        let mut modes = self.modes_of(StreamRole::Raw);
        if modes.is_empty() {
            modes = self.modes_of(StreamRole::default());
        }
        let modes = modes.into_iter();
        modes.map(|((width, height), frame)| CameraMode { width, height, frame }).collect()
    }

    fn modes_of(&mut self, role: StreamRole) -> BTreeMap<(u32, u32), Option<(Span, Span)>> {
        let mut modes = BTreeMap::new();
        for (pixel, size) in self.listed(role) {
            let Some(mut configuration) = default_configuration(self.camera(), &[role]) else {
                continue;
            };
            if try_stream(&mut configuration, &Mode::default(), pixel, size).is_err() {
                continue;
            }
            let frame = self
                .limits_in(&mut configuration)
                .map(|limits| (Span::from_micros(limits.min_us), Span::from_micros(limits.max_us)));
            // Formats of the same size may be modes of their own: the fastest counts.
            let known = modes.entry((size.width, size.height)).or_insert(frame);
            *known = match (*known, frame) {
                (Some(known), Some(frame)) => Some(known.min(frame)),
                (known, frame) => known.or(frame),
            };
        }
        modes
    }

    /// Formats and sizes to try: all raw formats, as each is a mode, but one format of pictures.
    fn listed(&self, role: StreamRole) -> Vec<(PixelFormat, Size)> {
        let Some(configuration) = default_configuration(self.camera(), &[role]) else {
            return Vec::new();
        };
        let Some(stream) = configuration.get(0) else {
            return Vec::new();
        };
        let formats = stream.formats();
        let all = listed_formats(&configuration);
        let mut wanted: Vec<(PixelFormat, PixelFormat)> =
            offers(&all).into_iter().map(|Offer { listed, pixel, .. }| (listed, pixel)).collect();
        match role {
            // Formats that GStreamer has no name for are modes too.
            StreamRole::Raw => wanted.extend(all.iter().map(|pixel| (*pixel, *pixel))),
            _ => wanted.truncate(1),
        }
        let sizes = |(listed, pixel)| formats.sizes(listed).into_iter().map(move |size| (pixel, size));
        wanted.into_iter().flat_map(sizes).collect()
    }
}

/// Reports cameras that come and go, as long as it is kept: libcamera runs meanwhile.
pub struct CameraMonitor {
    // Before the thread, because fields are dropped in order.
    _subscription: Subscription,
    _thread: LibcameraThread,
}

impl CameraMonitor {
    /// Starts to watch; the receiver ends with the monitor.
    ///
    /// # Errors
    /// [`CameraError::Failed`] if libcamera does not start.
    pub fn start() -> Result<(Self, Receiver<CameraChange>), CameraError> {
        let thread = LibcameraThread::get()?;
        let (subscription, changes) = hotplug::subscribe();
        Ok((Self { _subscription: subscription, _thread: thread }, changes))
    }
}
