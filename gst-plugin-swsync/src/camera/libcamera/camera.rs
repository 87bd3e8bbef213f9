//! [`LibcameraCamera`]: the [`Camera`] that libcamera drives, as the streaming thread uses it.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ::libcamera::request::{Request, RequestStatus, ReuseFlag};
use swsync_core::profile::{CameraProfile, Delays};
use swsync_core::time::Span;
use swsync_files::profiles;

use super::capture::{Capture, CaptureError};
use super::controls;
use super::picture::StreamFormat;
use super::sensor::{self, REQUESTS};
use super::session::{CameraEvent, CameraSession, ConfiguredCamera, SessionInfo, UNPLUGGED};
use super::thread::{self, LibcameraThread, SessionId, no_answer};
use crate::camera::controls::{Ranges, Setting};
use crate::camera::mailbox::Mailbox;
use crate::camera::mode::Mode;
use crate::camera::{
    Camera, CameraError, Capabilities, Controls, Frame, Pacing, StallLimit, StampedAt, StreamRole,
    StreamSetup, TimingError, Wakeup,
};

/// Latency of a real camera, in frames from the start of a frame to its delivery: exposure and readout overlap the next
/// frame's, and the image signal processor may hold one. Chosen, not measured.
const LATENCY_FRAMES: i64 = 3;

/// A camera that libcamera drives.
pub struct LibcameraCamera {
    session: SessionId,
    description: SessionInfo,
    profile: CameraProfile,
    events: Arc<Mailbox<CameraEvent>>,
    state: State,
    /// To go out with the next request.
    staged: Vec<Setting>,
    stall_limit: StallLimit,
    service: LibcameraThread,
}

enum State {
    Open,
    Configured(ConfiguredCamera),
    Streaming(Capture),
}

impl LibcameraCamera {
    /// Opens the camera with the id `name`, or else the one at that place in [`list`](super::list); the first one if `None`.
    /// It is held until dropped.
    ///
    /// # Errors
    /// [`CameraError::NotFound`], [`CameraError::Busy`] if another process or another element of this one holds it,
    /// or [`CameraError::Failed`].
    pub fn open(name: Option<&str>) -> Result<Self, CameraError> {
        Self::open_with(name, None)
    }

    /// As [`LibcameraCamera::open`], with the camera profile in the file `profile`, or the one that [`profiles::find`] finds.
    ///
    /// # Errors
    /// Also [`CameraError::Profile`] if the file cannot be used.
    pub fn open_with(name: Option<&str>, profile: Option<&Path>) -> Result<Self, CameraError> {
        let service = LibcameraThread::get()?;
        let events = Arc::new(Mailbox::default());
        let (wanted, mailbox) = (name.map(str::to_owned), events.clone());
        let (session, description) = service
            .call(move |library| library.open(wanted.as_deref(), mailbox))
            .ok_or_else(|| no_answer(name.unwrap_or("libcamera"), "opening it"))??;
        let found = match profile {
            Some(path) => profiles::read(path, &description.model),
            None => profiles::find(&description.model),
        };
        let unknown = CameraProfile::unknown(&description.model);
        // Made before the profile's error is returned: its drop closes the session.
        let camera = Self {
            session,
            description,
            profile: unknown,
            events,
            state: State::Open,
            staged: Vec::new(),
            stall_limit: StallLimit::default(),
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
        CameraError::failed(self.id(), doing, reason)
    }

    /// Runs `job` with the camera on libcamera's thread.
    fn with<R: Send + 'static>(
        &self,
        doing: &'static str,
        job: impl FnOnce(&mut CameraSession) -> Result<R, CameraError> + Send + 'static,
    ) -> Result<R, CameraError> {
        let done = self.service.with(self.session, job);
        done.ok_or_else(|| no_answer(self.id(), doing))?
    }

    /// Queues `request` to the camera, with the oldest set of controls.
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
    /// Keeps as many requests in flight as a camera that runs freely needs.
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

    /// Uses a request again whose picture was copied.
    fn give_back(&mut self, request: Request) {
        if !self.description.on_request {
            self.queue(request);
        } else if let State::Streaming(streaming) = &self.state {
            streaming.pool.put_back(request);
        }
    }

    /// Requests another frame in place of one that could not be used.
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
        let parse = |setup| {
            StreamFormat::parse(setup).map_err(|reason| CameraError::refused(self.id(), &setup.caps, reason))
        };
        let wanted = streams.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let Some(StreamFormat { period, .. }) = wanted.first().cloned() else {
            return Err(self.failed("configuring it", "no stream is wanted"));
        };
        let configured = self.with("configuring it", move |camera| camera.configure(wanted))?;
        let model = self.description.model.clone();
        let exposure = configured.exposure;
        let (pacing, stamped_at, readout, latency) = if self.description.on_request {
            // Virtual cameras stamp a frame when they get the request, then draw it.
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
        let backlog = if self.description.on_request { 1 } else { REQUESTS };
        // What is known of the model's stamps is not known of a virtual camera's.
        let (timing_error, stamp_bias) = match self.description.on_request {
            true => (TimingError::default(), Span::ZERO),
            false => (self.profile.timing_error(), self.profile.stamp_bias()),
        };
        Ok(Capabilities {
            model,
            pacing,
            exposure,
            response,
            readout,
            stamped_at,
            stamp_bias,
            timing_error,
            latency,
            backlog,
            mode,
        })
    }

    fn set_stall_limit(&mut self, stall_limit: StallLimit) {
        self.stall_limit = stall_limit;
    }

    fn control_ranges(&self) -> Ranges {
        self.service.with(self.session, |camera| camera.control_ranges()).unwrap_or_default()
    }

    fn control_lead(&self) -> u32 {
        if self.description.on_request {
            return 1;
        }
        let Delays { exposure, vblank, gain } = self.profile.delays;
        // The request with the settings queues behind those in flight.
        1 + REQUESTS + exposure.max(vblank).max(gain)
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
        match Capture::new(configured, requests) {
            Ok(streaming) => self.state = State::Streaming(streaming),
            Err(reason) => {
                self.service.with(self.session, CameraSession::stop);
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
        let waited = streaming.longest_wait(self.stall_limit);
        let deadline = Instant::now() + waited.to_duration();
        loop {
            let event = self.events.pop_until(deadline)?;
            let State::Streaming(streaming) = &mut self.state else {
                return Err(self.failed("waiting for a frame", "it is not streaming"));
            };
            match event {
                None if self.service.with(self.session, |camera| camera.is_unplugged()) == Some(true) => {
                    streaming.gone = Some(UNPLUGGED.into());
                    return Err(CameraError::Gone { camera: self.id().to_owned(), reason: UNPLUGGED.into() });
                }
                None => {
                    let camera = self.id().to_owned();
                    let hint =
                        format!("Check the cable and `dmesg`; does `cam -c '{camera}' -C10` get frames?");
                    return Err(CameraError::Stalled { camera, waited, hint });
                }
                Some(CameraEvent::Gone(reason)) => {
                    streaming.gone = Some(reason.clone());
                    return Err(CameraError::Gone { camera: self.id().to_owned(), reason });
                }
                Some(CameraEvent::Completed(request, arrival)) => {
                    streaming.in_flight = streaming.in_flight.saturating_sub(1);
                    if request.status() != RequestStatus::Complete {
                        // libcamera gave up this frame, not the following ones.
                        swsync_core::log::debug!(camera = self.id(), "a request was cancelled");
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
                        // The frame numbers show that one is missing.
                        Ok(None) => self.ask_again(),
                        Err(CaptureError::Stamps(misfit)) => {
                            return Err(CameraError::Stamps { camera: self.id().to_owned(), misfit });
                        }
                        Err(CaptureError::Other(reason)) => return Err(self.failed("taking a frame", reason)),
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
        let stopped = self.service.with(self.session, CameraSession::stop).is_some();
        let streaming = std::mem::replace(&mut self.state, State::Configured(configured));
        if thread::hangs() {
            // The camera may still write to the memory, and complete requests.
            std::mem::forget((streaming, self.events.clone()));
            swsync_core::log::error!(camera = self.id(), "{}", thread::HUNG);
            return;
        }
        if !stopped {
            swsync_core::log::warn!(
                camera = self.id(),
                "the thread gave no answer while stopping the camera"
            );
        }
        // All requests are back, except those of a camera that is gone. They have to be dropped before their camera.
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
        if thread::hangs() {
            // Closes the camera once the thread is back.
            self.service.post(move |library| library.close(session));
        } else {
            let _ = self.service.call(move |library| library.close(session));
        }
    }
}
