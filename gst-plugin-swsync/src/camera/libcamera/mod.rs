//! Cameras that libcamera drives: Raspberry Pi's, MIPI cameras of other boards, USB cameras, and
//! libcamera's virtual ones.
//!
//! # Who owns what
//!
//! | thread | started by | joined by | does |
//! | --- | --- | --- | --- |
//! | `swsync-libcam`, one per process | the first [`LibcameraCamera::open`] or [`list`] | the drop of the last user | owns the camera manager and all open cameras: configures, starts, stops, queues requests |
//! | libcamera's own | the camera manager | the camera manager's end | completes requests, hands them to the camera's mailbox |
//! | the caller's, one per camera | - | - | takes requests from the mailbox, copies the picture, sends the request back |
//!
//! A request has one owner at a time: libcamera while in flight, then the mailbox, then
//! [`Camera::next_frame`], which gives it back. Its picture is copied to a buffer of our own, so
//! that a slow pipeline costs frames of its own but never starves the camera.
//!
//! libcamera allows one camera manager per process and aborts the process at the second. Any number
//! of cameras here share one; `libcamerasrc` in the same process would bring its own: use the one
//! or the other.
//!
//! # Pacing
//!
//! Real cameras run freely: a request just says where a frame goes, and a few are always in flight.
//! libcamera's virtual camera takes a frame whenever it gets a request, as fast as it can draw: it
//! is [`Pacing::OnRequest`], and one request goes out per [`Camera::request`].

mod formats;
mod memory;
mod sensor;
mod service;
mod session;

use std::collections::VecDeque;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::libcamera::framebuffer::FrameMetadataStatus;
use ::libcamera::request::{Request, RequestStatus, ReuseFlag};
use gst::prelude::*;
use gst_video::VideoBufferPool;
use swsync_core::profile::CameraProfile;
use swsync_core::time::Span;
use swsync_rig::profiles;

use self::formats::{Wanted, copy_picture, refused};
use self::memory::Planes;
use self::sensor::Sequence;
use self::service::{Service, SessionId};
use self::session::{Configured, Description, Event, Session};
use super::mailbox::Mailbox;
use super::{
    Camera, CameraError, Capabilities, Controls, Frame, Pacing, StampedAt, StreamRole, StreamSetup, Wakeup,
};

/// How long beyond its period a frame may take before the camera counts as dead.
const STALL: Span = Span::from_secs(1);

/// The same for the first frame. Raspberry Pi's IPA hides frames until exposure and white balance
/// have settled, about ten.
const STALL_AT_START: Span = Span::from_secs(3);
const HIDDEN_AT_START: i64 = 10;

/// A real camera's longest time from the start of a frame to its delivery, in frames: exposure and
/// readout overlap the next frame's, and the picture processor may hold one. Chosen, not measured.
const LATENCY_FRAMES: i64 = 3;

/// A camera that libcamera has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraDescription {
    /// What [`LibcameraCamera::open`] takes: unique, and the same after a restart.
    pub id: String,
    /// The sensor or product, e.g. `imx219`; `unknown` where libcamera does not say.
    pub model: String,
}

/// The cameras that libcamera finds, in its order.
///
/// # Errors
/// [`CameraError::Failed`] where libcamera does not start.
pub fn list() -> Result<Vec<CameraDescription>, CameraError> {
    let listed = Service::get()?.call(|library| library.list());
    listed.ok_or_else(|| panicked("libcamera", "listing cameras"))
}

/// A camera that libcamera drives.
pub struct LibcameraCamera {
    session: SessionId,
    description: Description,
    profile: CameraProfile,
    events: Arc<Mailbox<Event>>,
    state: State,
    service: Service,
}

enum State {
    Open,
    Configured(Configured),
    Streaming(Streaming),
}

struct Streaming {
    configured: Configured,
    /// Not queued: all of them with [`Pacing::OnRequest`], until asked for.
    idle: Vec<Request>,
    planes: Vec<Planes>,
    /// Raw pictures come from here; compressed ones have a size of their own each.
    pool: Option<gst::BufferPool>,
    /// To go out with the next requests, one each.
    controls: VecDeque<Controls>,
    in_flight: usize,
    sequence: Sequence,
    any_frame: bool,
    gone: Option<String>,
}

impl LibcameraCamera {
    /// Opens the camera with the id `name`, or else the one at that place in [`list`]; the first
    /// one if `None`. It is held until dropped.
    ///
    /// # Errors
    /// [`CameraError::NotFound`], [`CameraError::Busy`] where another process or another element of
    /// this one holds it, or [`CameraError::Failed`].
    pub fn open(name: Option<&str>) -> Result<Self, CameraError> {
        Self::open_with(name, None)
    }

    /// As [`LibcameraCamera::open`], with the camera profile in the file `profile`, or else the one that
    /// [`profiles::find`] finds.
    ///
    /// # Errors
    /// Also [`CameraError::Profile`], where there is a file that cannot be used.
    pub fn open_with(name: Option<&str>, profile: Option<&Path>) -> Result<Self, CameraError> {
        let service = Service::get()?;
        let events = Arc::new(Mailbox::default());
        let (wanted, mailbox) = (name.map(str::to_owned), events.clone());
        let (session, description) = service
            .call(move |library| library.open(wanted.as_deref(), mailbox))
            .ok_or_else(|| panicked(name.unwrap_or("libcamera"), "opening it"))??;
        let found = match profile {
            Some(path) => profiles::read(path, &description.model),
            None => profiles::find(&description.model),
        };
        let unknown = CameraProfile::unknown(&description.model);
        // A camera before the error is looked at: dropped, it closes its session.
        let camera = Self { session, description, profile: unknown, events, state: State::Open, service };
        Ok(Self::with_profile(camera, found?.profile))
    }

    fn with_profile(mut self, profile: CameraProfile) -> Self {
        self.profile = profile;
        self
    }

    /// libcamera's id of the camera.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.description.id
    }

    fn failed(&self, doing: &'static str, reason: impl Display) -> CameraError {
        failed(self.id(), doing, reason)
    }

    /// Runs `job` with the camera on libcamera's thread.
    fn with<R: Send + 'static>(
        &self,
        doing: &'static str,
        job: impl FnOnce(&mut Session) -> Result<R, CameraError> + Send + 'static,
    ) -> Result<R, CameraError> {
        let done = self.service.with(self.session, job);
        done.ok_or_else(|| panicked(self.id(), doing))?
    }

    /// Sends `request` out, with the oldest queued set of controls.
    fn queue(&mut self, mut request: Request) {
        if let State::Streaming(streaming) = &mut self.state {
            request.reuse(ReuseFlag::REUSE_BUFFERS);
            if let Some(controls) = streaming.controls.pop_front() {
                let can = streaming.configured.controllable;
                sensor::set_controls(request.controls_mut(), controls, can);
            }
            streaming.in_flight += 1;
            self.service.queue(self.session, request);
        }
    }
}

impl Camera for LibcameraCamera {
    fn caps(&self, _role: StreamRole) -> gst::Caps {
        self.description.caps.clone()
    }

    fn configure(&mut self, streams: &[StreamSetup]) -> Result<Capabilities, CameraError> {
        let [StreamSetup { caps, .. }] = streams else {
            return Err(self.failed("configuring it", "it delivers exactly one stream"));
        };
        self.stop();
        self.state = State::Open;
        let wanted = Wanted::parse(caps).map_err(|reason| refused(self.id(), caps, reason))?;
        let period = wanted.period;
        let configured = self.with("configuring it", move |camera| camera.configure(wanted))?;
        let model = self.description.model.clone();
        let exposure = configured.exposure;
        let (pacing, stamped_at, readout, latency) = if self.description.on_request {
            // It stamps a frame when it gets the request, then draws it.
            (Pacing::OnRequest, StampedAt::ExposureStart, None, period)
        } else {
            let (profile, limits) = (&self.profile, configured.limits);
            let mode = limits.and_then(|limits| profile.mode_by_limits(limits.into()));
            let control = limits.map(|limits| sensor::frame_duration_control(profile, mode.as_ref(), limits));
            let readout = mode.map(|mode| profile.readout(&mode));
            let latency = period * LATENCY_FRAMES;
            (Pacing::FreeRunning(control), profile.stamped_at, readout, latency)
        };
        self.state = State::Configured(configured);
        let exposure = exposure.filter(|_| !self.description.on_request);
        Ok(Capabilities { model, pacing, exposure, readout, stamped_at, latency })
    }

    fn start(&mut self) -> Result<(), CameraError> {
        let State::Configured(configured) = &self.state else {
            return Err(self.failed("starting it", "it is not configured, or streams already"));
        };
        let configured = configured.clone();
        let pool =
            picture_pool(&configured.wanted).map_err(|reason| self.failed("allocating pictures", reason))?;
        let (idle, planes) = self.with("starting it", Session::start)?;
        let mut streaming = Streaming {
            configured,
            idle,
            planes,
            pool,
            controls: VecDeque::new(),
            in_flight: 0,
            sequence: Sequence::default(),
            any_frame: false,
            gone: None,
        };
        let freely = !self.description.on_request;
        let in_flight = if freely { std::mem::take(&mut streaming.idle) } else { Vec::new() };
        self.state = State::Streaming(streaming);
        for request in in_flight {
            self.queue(request);
        }
        Ok(())
    }

    fn request(&mut self, controls: Controls) -> Result<(), CameraError> {
        let State::Streaming(streaming) = &mut self.state else {
            return Err(self.failed("requesting a frame", "it is not streaming"));
        };
        if !self.description.on_request {
            streaming.controls.push_back(controls);
        } else if let Some(request) = streaming.idle.pop() {
            streaming.controls.push_back(controls);
            self.queue(request);
        } else {
            let reason = format!("{} requested frames wait to be taken", streaming.in_flight);
            return Err(self.failed("requesting a frame", reason));
        }
        Ok(())
    }

    fn next_frame(&mut self) -> Result<Frame, CameraError> {
        let State::Streaming(streaming) = &self.state else {
            return Err(self.failed("waiting for a frame", "it is not streaming"));
        };
        if let Some(reason) = streaming.gone.clone() {
            return Err(CameraError::Gone { camera: self.id().to_owned(), reason });
        }
        if streaming.in_flight == 0 {
            return Err(self.failed("waiting for a frame", "none was requested"));
        }
        let patience = streaming.patience();
        let deadline = Instant::now() + patience;
        loop {
            let event = self.events.pop_until(deadline)?;
            let State::Streaming(streaming) = &mut self.state else {
                return Err(self.failed("waiting for a frame", "it is not streaming"));
            };
            match event {
                None => {
                    let camera = self.id().to_owned();
                    let hint =
                        format!("Check the cable and `dmesg`; does `cam -c '{camera}' -C10` get frames?");
                    let waited = Span::from_nanos(i64::try_from(patience.as_nanos()).unwrap_or(i64::MAX));
                    return Err(CameraError::Stalled { camera, waited, hint });
                }
                Some(Event::Gone(reason)) => {
                    streaming.gone = Some(reason.clone());
                    return Err(CameraError::Gone { camera: self.id().to_owned(), reason });
                }
                Some(Event::Completed(request)) => {
                    streaming.in_flight = streaming.in_flight.saturating_sub(1);
                    if request.status() != RequestStatus::Complete {
                        // libcamera gave the frame up; the next one may come.
                        tracing::debug!(camera = self.id(), "a request was cancelled");
                        self.queue(request);
                        continue;
                    }
                    let frame = streaming.frame(&request);
                    if self.description.on_request {
                        streaming.idle.push(request);
                    } else {
                        self.queue(request);
                    }
                    return frame.map_err(|reason| self.failed("taking a frame", reason));
                }
            }
        }
    }

    fn stop(&mut self) {
        let State::Streaming(streaming) = &self.state else {
            return;
        };
        let configured = streaming.configured.clone();
        if self.service.with(self.session, Session::stop).is_none() {
            tracing::warn!(camera = self.id(), "libcamera panicked while stopping the camera");
        }
        // All requests are back: they go before their camera may.
        self.events.clear();
        self.state = State::Configured(configured);
    }

    fn wakeup(&self) -> Arc<dyn Wakeup> {
        self.events.clone()
    }
}

impl Streaming {
    /// How long the next frame may take.
    fn patience(&self) -> Duration {
        let period = self.configured.wanted.period;
        let span = if self.any_frame { period + STALL } else { period * HIDDEN_AT_START + STALL_AT_START };
        span.to_duration()
    }

    /// The frame that `request` brought.
    fn frame(&mut self, request: &Request) -> Result<Frame, String> {
        self.any_frame = true;
        let stream = &self.configured.stream;
        let metadata = sensor::buffer_metadata(request, stream);
        let place = usize::try_from(request.cookie()).ok();
        let planes = place.and_then(|place| self.planes.get(place));
        let planes = planes.ok_or("the request is not ours")?;
        let mut buffer = match (&self.pool, &self.configured.wanted.layout) {
            (Some(pool), Some(info)) => {
                let mut buffer = pool.acquire_buffer(None).map_err(|error| error.to_string())?;
                let stride = self.configured.stride;
                planes.read(|planes| copy_picture(info, stride, planes, buffer.make_mut()))??;
                buffer
            }
            _ => planes.read(|planes| {
                let data = planes.first().copied().unwrap_or_default();
                let used = metadata.as_ref().and_then(|metadata| metadata.planes().get(0));
                let used = used.map_or(0, |plane| plane.bytes_used as usize);
                let used = if used == 0 { data.len() } else { used.min(data.len()) };
                gst::Buffer::from_slice(data[..used].to_vec())
            })?,
        };
        if metadata.is_some_and(|metadata| metadata.status() == FrameMetadataStatus::Error) {
            buffer.make_mut().set_flags(gst::BufferFlags::CORRUPTED);
        }
        sensor::frame(buffer, request, stream, &mut self.sequence)
            .ok_or_else(|| "the driver does not say when it was taken".to_owned())
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            let _ = pool.set_active(false);
        }
    }
}

impl Drop for LibcameraCamera {
    fn drop(&mut self) {
        self.stop();
        let session = self.session;
        let _ = self.service.call(move |library| library.close(session));
    }
}

/// Buffers for raw pictures: reused, because fresh megabytes per frame cost page faults. None for
/// compressed ones.
fn picture_pool(wanted: &Wanted) -> Result<Option<gst::BufferPool>, String> {
    let Some(info) = &wanted.layout else {
        return Ok(None);
    };
    let size = u32::try_from(info.size()).map_err(|error| error.to_string())?;
    let pool = VideoBufferPool::new();
    let mut config = pool.config();
    config.set_params(Some(&wanted.caps), size, 0, 0);
    pool.set_config(config).and_then(|()| pool.set_active(true)).map_err(|error| error.to_string())?;
    Ok(Some(pool.upcast()))
}

fn failed(camera: &str, doing: &'static str, reason: impl Display) -> CameraError {
    CameraError::Failed { camera: camera.to_owned(), doing, reason: reason.to_string() }
}

fn panicked(camera: &str, doing: &'static str) -> CameraError {
    failed(camera, doing, "libcamera returned what its binding does not expect")
}
