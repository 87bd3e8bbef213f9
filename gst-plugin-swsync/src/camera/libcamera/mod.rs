//! Cameras that libcamera drives: Raspberry Pi's, MIPI cameras of other boards, USB cameras, and
//! libcamera's virtual ones.
//!
//! # Who owns what
//!
//! | thread | started by | joined by | does |
//! | --- | --- | --- | --- |
//! | `swsync-libcam`, one per process | the first [`LibcameraCamera::open`] or [`list`] | the drop of the last user | owns the camera manager and all open cameras: configures, starts, stops |
//! | libcamera's own | the camera manager | the camera manager's end | completes requests, hands them to the camera's mailbox |
//! | the caller's, one per camera | - | - | takes requests from the mailbox, hands the pictures on, sends requests back |
//! | any of GStreamer's | - | - | drops the last reference to a picture, whose memory then comes home |
//!
//! A request has one owner at a time: libcamera while in flight, then the mailbox, then
//! [`Camera::next_frame`], which hands its memory downstream without a copy. A request whose memory is out waits
//! with the lender (`memory`) until all of it is back; another one takes its place with the camera. Where
//! downstream keeps all that there are, pictures are copied: a slow or hoarding pipeline costs copies, but
//! never starves the camera.
//!
//! A process can have one camera manager, which all cameras here share. Where `libcamerasrc` or the program itself has one, cameras
//! here are an error, and the other way round (`manager.rs`).
//!
//! A camera has one user at a time, which libcamera sees to where there are media devices to lock. Its virtual cameras
//! have none, and of others it does not tell who has them: so an open camera is also a [`Claim`](swsync_rig::claim::Claim).
//!
//! # Pacing
//!
//! Real cameras run freely: a request just says where a frame goes, and a few are always in flight.
//! libcamera's virtual camera takes a frame whenever it gets a request, as fast as it can draw: it
//! is [`Pacing::OnRequest`], and one request goes out per [`Camera::request`].

mod colour;
mod controls;
mod devices;
mod formats;
mod homing;
mod manager;
mod memory;
mod mode;
mod picture;
mod queue;
mod sensor;
mod service;
mod session;
mod streaming;

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ::libcamera::request::{Request, RequestStatus, ReuseFlag};
use swsync_core::profile::{CameraProfile, Delays};
use swsync_rig::profiles;

use self::formats::refused;
use self::picture::Wanted;
use self::service::{Service, SessionId};
use self::session::{Configured, Description, Event, Session};
use self::streaming::{Streaming, Trouble};
use super::controls::{Ranges, Setting};
use super::mailbox::Mailbox;
use super::mode::Mode;
use super::{
    Camera, CameraError, Capabilities, Controls, Frame, Pacing, Patience, StampedAt, StreamRole, StreamSetup,
    Wakeup,
};

#[cfg(test)]
pub(crate) use self::devices::announce;
pub use self::devices::{CameraMode, CameraModes, Change, FoundCamera, Watch, find, modes};

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
    /// To go out with the next request.
    staged: Vec<Setting>,
    patience: Patience,
    service: Service,
}

enum State {
    Open,
    Configured(Configured),
    Streaming(Streaming),
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
        let camera = Self {
            session,
            description,
            profile: unknown,
            events,
            state: State::Open,
            staged: Vec::new(),
            patience: Patience::default(),
            service,
        };
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
            controls::put(request.controls_mut(), &std::mem::take(&mut self.staged));
            streaming.in_flight += 1;
            self.description.queue.queue(request);
        }
    }
}

impl LibcameraCamera {
    /// Queues as many requests as a camera that runs freely is to have.
    fn top_up(&mut self) {
        if self.description.on_request {
            return;
        }
        while let State::Streaming(streaming) = &self.state
            && let Some(request) = streaming.next_request()
        {
            self.queue(request);
        }
    }

    /// A request whose picture was copied: it may bring the next one.
    fn give_back(&mut self, request: Request) {
        if !self.description.on_request {
            self.queue(request);
        } else if let State::Streaming(streaming) = &self.state {
            streaming.lender.park(request);
        }
    }

    /// Requests a frame in the place of one that came to nothing.
    fn ask_again(&mut self) {
        if self.description.on_request
            && let State::Streaming(streaming) = &self.state
            && let Some(request) = streaming.next_request()
        {
            self.queue(request);
        }
    }
}

impl Camera for LibcameraCamera {
    fn caps(&self, role: StreamRole) -> gst::Caps {
        if role == StreamRole::default() {
            return self.description.caps.clone();
        }
        let listed = self.with("listing its formats", move |camera| Ok(camera.caps(role)));
        listed.unwrap_or_else(|_| gst::Caps::new_empty())
    }

    fn set_mode(&mut self, mode: Mode) -> Result<(), CameraError> {
        let caps = self.with("choosing its mode", move |camera| {
            camera.set_mode(mode)?;
            Ok(camera.description().caps.clone())
        })?;
        self.description.caps = caps;
        Ok(())
    }

    fn fixate(&mut self, role: StreamRole, caps: gst::Caps) -> gst::Caps {
        let wanted = caps.clone();
        self.with("choosing a format", move |camera| Ok(camera.fixate(role, &wanted))).unwrap_or(caps)
    }

    fn configure(&mut self, streams: &[StreamSetup]) -> Result<Capabilities, CameraError> {
        self.stop();
        self.state = State::Open;
        let parse = |setup| Wanted::parse(setup).map_err(|reason| refused(self.id(), &setup.caps, reason));
        let wanted = streams.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let Some(Wanted { period, .. }) = wanted.first().cloned() else {
            return Err(self.failed("configuring it", "no stream is wanted"));
        };
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
        let mode = configured.mode;
        self.state = State::Configured(configured);
        let exposure = exposure.filter(|_| !self.description.on_request);
        let response = self.profile.response_at(period).map(|measured| measured.response);
        let backlog = if self.description.on_request { 1 } else { session::REQUESTS };
        Ok(Capabilities { model, pacing, exposure, response, readout, stamped_at, latency, backlog, mode })
    }

    fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    fn control_ranges(&self) -> Ranges {
        self.service.with(self.session, |camera| camera.control_ranges()).unwrap_or_default()
    }

    fn control_lead(&self) -> u32 {
        if self.description.on_request {
            return 1;
        }
        let Delays { exposure, vblank, gain } = self.profile.delays;
        // The request that takes settings along queues behind those in flight.
        1 + session::REQUESTS + exposure.max(vblank).max(gain)
    }

    fn stage(&mut self, settings: Vec<Setting>) {
        self.staged.extend(settings);
    }

    fn waits_for_request(&self) -> bool {
        // A request is queued for each frame that is taken.
        false
    }

    fn start(&mut self) -> Result<(), CameraError> {
        let State::Configured(configured) = &self.state else {
            return Err(self.failed("starting it", "it is not configured, or streams already"));
        };
        let configured = configured.clone();
        let requests = {
            let staged = std::mem::take(&mut self.staged);
            self.with("starting it", move |camera| camera.start(&staged))?
        };
        match Streaming::new(configured, requests) {
            Ok(streaming) => self.state = State::Streaming(streaming),
            Err(reason) => {
                self.service.with(self.session, Session::stop);
                return Err(self.failed("starting it", reason));
            }
        }
        self.top_up();
        Ok(())
    }

    fn request(&mut self, controls: Controls) -> Result<(), CameraError> {
        let State::Streaming(streaming) = &mut self.state else {
            return Err(self.failed("requesting a frame", "it is not streaming"));
        };
        if !self.description.on_request {
            streaming.controls.push_back(controls);
        } else if let Some(request) = streaming.next_request() {
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
        let waited = streaming.longest_wait(self.patience);
        let deadline = Instant::now() + waited.to_duration();
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
                    return Err(CameraError::Stalled { camera, waited, hint });
                }
                Some(Event::Gone(reason)) => {
                    streaming.gone = Some(reason.clone());
                    return Err(CameraError::Gone { camera: self.id().to_owned(), reason });
                }
                Some(Event::Completed(request, arrival)) => {
                    streaming.in_flight = streaming.in_flight.saturating_sub(1);
                    if request.status() != RequestStatus::Complete {
                        // libcamera gave the frame up; the next one may come.
                        tracing::debug!(camera = self.id(), "a request was cancelled");
                        self.queue(request);
                        continue;
                    }
                    let taken = streaming.take(request, arrival);
                    if let Some(request) = taken.request {
                        self.give_back(request);
                    }
                    self.top_up();
                    match taken.frame {
                        Ok(Some(frame)) => return Ok(frame),
                        // Its number shows that it is missing.
                        Ok(None) => self.ask_again(),
                        Err(Trouble::Stamps(misfit)) => {
                            return Err(CameraError::Stamps { camera: self.id().to_owned(), misfit });
                        }
                        Err(Trouble::Other(reason)) => return Err(self.failed("taking a frame", reason)),
                    }
                }
            }
        }
    }

    fn stop(&mut self) {
        let State::Streaming(streaming) = &self.state else {
            return;
        };
        let configured = streaming.configured.clone();
        let stopped = self.service.with(self.session, Session::stop).is_some();
        let streaming = std::mem::replace(&mut self.state, State::Configured(configured));
        if service::hangs() {
            // The camera may yet write to its memory, and hand back its requests.
            std::mem::forget((streaming, self.events.clone()));
            tracing::error!(camera = self.id(), "{}", service::HUNG);
            return;
        }
        if !stopped {
            tracing::warn!(camera = self.id(), "libcamera panicked while stopping the camera");
        }
        // All requests are back: they go before their camera may.
        self.events.clear();
    }

    fn wakeup(&self) -> Arc<dyn Wakeup> {
        self.events.clone()
    }
}

impl Drop for LibcameraCamera {
    fn drop(&mut self) {
        self.stop();
        let session = self.session;
        if service::hangs() {
            // Once it is back.
            self.service.post(move |library| library.close(session));
        } else {
            let _ = self.service.call(move |library| library.close(session));
        }
    }
}

fn failed(camera: &str, doing: &'static str, reason: impl Display) -> CameraError {
    CameraError::Failed { camera: camera.to_owned(), doing, reason: reason.to_string() }
}

/// No answer came.
fn panicked(camera: &str, doing: &'static str) -> CameraError {
    if service::hangs() {
        return failed(camera, doing, service::HUNG);
    }
    failed(camera, doing, "libcamera returned what its binding does not expect")
}
