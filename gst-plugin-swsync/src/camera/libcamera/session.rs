//! An open camera on libcamera's thread: configures, starts and stops it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ::libcamera::camera::{ActiveCamera, Camera, CameraConfiguration};
use ::libcamera::control::ControlList;
use ::libcamera::framebuffer_allocator::FrameBufferAllocator;
use ::libcamera::properties;
use ::libcamera::request::Request;
use ::libcamera::stream::Stream;
use parking_lot::Mutex;
use swsync_core::stamps::Arrival;
use swsync_time::arrival_on_host;

use super::controls;
use super::frame_memory::{FrameBufferMemory, memfd_buffer};
use super::picture::StreamFormat;
use super::presence::Presence;
use super::sensor::{self, Controllable, Limits};
use crate::camera::claim::{Claim, ClaimError, Holder, user_of_video_device};
use crate::camera::controls::{Ranges, Setting};
use crate::camera::mailbox::Mailbox;
use crate::camera::mode::{Mode, Orientation};
use crate::camera::{CameraError, Controls, ExposureControl, StreamRole};

/// How long udev may take to tell libcamera that a camera is gone. Chosen: it takes some ms, and seconds on a busy board.
const NOTICED_WITHIN: Duration = Duration::from_secs(3);

/// Why no more frames will come.
pub(super) const UNPLUGGED: &str = "it was unplugged";

/// An event of a streaming camera.
pub(super) enum CameraEvent {
    /// A request was completed or cancelled, at this time.
    Completed(Request, Arrival),
    /// No more frames will come, for this reason.
    Gone(String),
}

/// What is known of an open camera.
#[derive(Clone)]
pub(super) struct SessionInfo {
    pub(super) id: String,
    pub(super) model: String,
    /// See [`sensor::takes_frames_on_request`].
    pub(super) on_request: bool,
    /// Of a stream of the default role.
    pub(super) caps: gst::Caps,
    /// Takes its requests while it streams.
    pub(super) queue: Arc<RequestQueue>,
}

/// What is known of a configured camera.
#[derive(Clone)]
pub(super) struct ConfiguredCamera {
    pub(super) streams: Vec<ConfiguredStream>,
    pub(super) limits: Option<Limits>,
    pub(super) exposure: Option<ExposureControl>,
    pub(super) controllable: Controllable,
    /// The mode in effect.
    pub(super) mode: Mode,
}

#[derive(Clone)]
pub(super) struct ConfiguredStream {
    pub(super) wanted: StreamFormat,
    pub(super) stream: Stream,
    /// Bytes from row to row of the first plane.
    pub(super) stride: u32,
    buffers: u32,
}

/// Requests with a frame buffer per stream, and the memory of these by cookie and stream.
pub(super) type Requests = (Vec<Request>, Vec<Vec<FrameBufferMemory>>);

/// An acquired camera.
pub(super) struct CameraSession {
    // Before the claim: fields are dropped in order, and the claim has to go last.
    pub(super) camera: OpenCamera,
    _claim: Claim,
    pub(super) description: SessionInfo,
    /// The mode that is asked for.
    pub(super) mode: Mode,
    pub(super) configured: Option<ConfiguredCamera>,
    pub(super) streaming: bool,
}

impl CameraSession {
    pub(super) fn open(
        camera: Camera<'static>,
        all: &[String],
        events: Arc<Mailbox<CameraEvent>>,
    ) -> Result<(Self, SessionInfo), CameraError> {
        let id = camera.id().to_owned();
        let busy = |holder: Holder| {
            let others = all.iter().filter(|other| **other != id).cloned().collect();
            CameraError::Busy { camera: id.clone(), holder: holder.to_string(), others }
        };
        let claim = Claim::new(&format!("camera {id}")).map_err(|error| match error {
            ClaimError::Held(holder) => busy(holder),
            error => CameraError::failed(&id, "claiming it", error),
        })?;
        let acquired = camera.acquire().map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => busy(user_of(&camera)),
            _ => CameraError::failed(&id, "acquiring it", error),
        });
        let mut active = acquired?;
        let completed = events.clone();
        active.on_request_completed(move |request| {
            completed.push(CameraEvent::Completed(request, arrival_on_host()))
        });
        let presence = Arc::new(Presence::of(devices_of(&camera)));
        let (gone, present) = (events.clone(), presence.clone());
        active.on_disconnected(move || {
            present.note_disconnected();
            gone.push(CameraEvent::Gone(UNPLUGGED.into()));
        });

        let on_request = sensor::takes_frames_on_request(active.properties());
        let model = sensor::model(active.properties());
        let queue = Arc::new(RequestQueue::new(events));
        let mut session = Self {
            camera: OpenCamera::new(active, camera, presence, queue.clone()),
            _claim: claim,
            description: SessionInfo { id, model, on_request, caps: gst::Caps::new_empty(), queue },
            mode: Mode::default(),
            configured: None,
            streaming: false,
        };
        session.description.caps = session.caps(StreamRole::default());
        let description = session.description.clone();
        Ok((session, description))
    }

    pub(super) fn configure(&mut self, wanted: Vec<StreamFormat>) -> Result<ConfiguredCamera, CameraError> {
        self.configured = None;
        let mut configuration = self.validated(&wanted)?;
        let mode = self.mode_in_effect(&configuration)?;
        let fail = |reason: String| CameraError::failed(&self.description.id, "configuring it", reason);
        self.camera.get_mut().configure(&mut configuration).map_err(|error| fail(error.to_string()))?;
        let limits = sensor::frame_duration_limits(self.camera.get().controls());
        let mut streams = Vec::new();
        for (index, wanted) in wanted.into_iter().enumerate() {
            let us = sensor::to_micros(wanted.period);
            if let Some(limits) = limits
                // A camera on request has no slowest rate.
                && (us < limits.min_us || us > limits.max_us && !self.description.on_request)
            {
                return Err(wanted.refused(&self.description.id, limits.to_string()));
            }
            let configured = configuration.get(index);
            let stream = configured.as_ref().and_then(|configured| configured.stream());
            let (Some(configured), Some(stream)) = (configured, stream) else {
                return Err(fail("libcamera gives no stream".into()));
            };
            let (stride, buffers) = (configured.get_stride(), configured.get_buffer_count());
            streams.push(ConfiguredStream { wanted, stream, stride, buffers });
        }
        let exposure = sensor::exposure_control(self.camera.get().controls());
        let controllable = Controllable::of(self.camera.get().controls());
        Ok(self.configured.insert(ConfiguredCamera { streams, limits, exposure, controllable, mode }).clone())
    }

    pub(super) fn description(&self) -> &SessionInfo {
        &self.description
    }

    /// Uses the camera in `mode`, which it has, from now on. This may change its formats.
    pub(super) fn change_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.configured = None;
        self.description.caps = self.caps(StreamRole::default());
    }

    /// The mode in effect with a validated `configuration`.
    fn mode_in_effect(&self, configuration: &CameraConfiguration) -> Result<Mode, CameraError> {
        let mode = self.mode.in_effect(configuration).map_err(|reason| CameraError::Mode {
            camera: self.description.id.clone(),
            asked: self.mode.sensor.map(|sensor| sensor.structure().to_string()).unwrap_or_default(),
            reason,
        })?;
        // Virtual cameras ignore the orientation, and do not say so.
        let orientation = if self.description.on_request { Orientation::default() } else { mode.orientation };
        Ok(Mode { orientation, ..mode })
    }

    /// The camera itself.
    pub(super) fn camera(&self) -> &Camera<'static> {
        self.camera.get()
    }

    /// The shortest and longest frame with a validated `configuration`, which the camera is put into. It must not stream.
    pub(super) fn limits_in(&mut self, configuration: &mut CameraConfiguration) -> Option<Limits> {
        self.configured = None;
        self.camera.get_mut().configure(configuration).ok()?;
        sensor::frame_duration_limits(self.camera.get().controls())
    }

    /// Its controls and their ranges, in its present mode.
    pub(super) fn control_ranges(&self) -> Ranges {
        controls::ranges(&self.description.model, self.camera.get().controls())
    }

    /// Starts streaming with `settings`. The requests that this returns are to be queued.
    pub(super) fn start(&mut self, settings: &[Setting]) -> Result<Requests, CameraError> {
        let id = &self.description.id;
        let Some(configured) = self.configured.clone() else {
            return Err(CameraError::failed(id, "starting it", "it is not configured"));
        };
        let requests =
            requests(self.camera.get_mut(), &configured, self.description.on_request).map_err(|error| {
                let hint = "may this user open /dev/dma_heap/* (group video)?";
                CameraError::failed(id, "allocating frame buffers", format!("{error}; {hint}"))
            })?;
        let period = configured.streams.first().map(|stream| stream.wanted.period);
        let nominal = Controls { frame_duration: period, exposure: None };
        let mut list = ControlList::new();
        sensor::set_controls(&mut list, nominal, configured.controllable);
        controls::put(&mut list, settings);
        let started = self.camera.get_mut().start(Some(&list));
        started.map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => CameraError::Busy {
                camera: id.clone(),
                holder: user_of(self.camera.get()).to_string(),
                others: Vec::new(),
            },
            _ => CameraError::failed(id, "starting it", error),
        })?;
        self.camera.take_requests();
        self.streaming = true;
        Ok(requests)
    }

    /// Whether the camera's devices are gone.
    pub(super) fn is_unplugged(&self) -> bool {
        self.camera.presence.is_unplugged()
    }

    /// Stops streaming. When this returns, every request is in the mailbox, or dropped, or held by a camera that is gone.
    pub(super) fn stop(&mut self) {
        if std::mem::take(&mut self.streaming)
            && self.camera.may_stop()
            && let Err(error) = self.camera.get_mut().stop()
        {
            let camera = &self.description.id;
            swsync_core::log::warn!(camera, %error, "libcamera does not stop the camera");
        }
    }
}

fn requests(
    camera: &mut ActiveCamera<'static>,
    configured: &ConfiguredCamera,
    on_request: bool,
) -> io::Result<Requests> {
    let streams = &configured.streams;
    let count = streams.iter().map(|stream| stream.buffers).min().unwrap_or(0);
    let mut requests = (0..u64::from(count))
        .map(|cookie| camera.create_request(Some(cookie)))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| io::Error::other("libcamera makes no request"))?;
    let mut planes: Vec<Vec<FrameBufferMemory>> = requests.iter().map(|_| Vec::new()).collect();
    for configured in streams {
        let stream = &configured.stream;
        match (
            FrameBufferAllocator::new(camera).alloc(stream),
            configured.wanted.plane_sizes(configured.stride),
        ) {
            (Ok(buffers), _) => {
                // There may be more buffers than requests; libcamera frees the rest.
                for ((request, planes), buffer) in requests.iter_mut().zip(&mut planes).zip(buffers) {
                    planes.push(FrameBufferMemory::of_dma_bufs(&buffer)?);
                    request.add_buffer(stream, buffer)?;
                }
            }
            // Only virtual cameras can write to a memfd.
            (Err(error), Some(sizes)) if on_request => {
                static SAID: std::sync::Once = std::sync::Once::new();
                SAID.call_once(|| {
                    swsync_core::log::info!(%error, "no dma-buf heap: virtual cameras write to memfds");
                });
                for (request, planes) in requests.iter_mut().zip(&mut planes) {
                    let (buffer, memory) = memfd_buffer(&sizes)?;
                    planes.push(memory);
                    request.add_buffer(stream, buffer)?;
                }
            }
            (Err(error), _) => return Err(error),
        }
    }
    // A stream that got fewer buffers than the others limits the requests.
    let whole = planes.iter().take_while(|planes| planes.len() == streams.len()).count();
    if whole == 0 {
        return Err(io::Error::other("libcamera allocates no frame buffer"));
    }
    requests.truncate(whole);
    planes.truncate(whole);
    Ok((requests, planes))
}

/// The process that has the camera's devices, if it is not an element of swsync.
fn user_of(camera: &Camera<'_>) -> Holder {
    devices_of(camera).into_iter().find_map(user_of_video_device).unwrap_or(Holder::Unknown)
}

/// The numbers of the camera's device files; none if libcamera does not say.
fn devices_of(camera: &Camera<'_>) -> Vec<u64> {
    let devices = camera.properties().get::<properties::SystemDevices>();
    let devices = devices.map(|devices| devices.0).unwrap_or_default();
    devices.into_iter().filter_map(|device| u64::try_from(device).ok()).collect()
}

/// The way of requests to a streaming camera, from whichever thread has one.
///
/// libcamera takes requests from any thread (`Camera::queueRequest` is thread-safe), but the binding's camera may
/// not leave its thread. Sending each request there would cost two changes of thread per frame. So this lends
/// the camera for that one call, while it streams.
pub(super) struct RequestQueue {
    /// `None` while it does not stream.
    camera: Mutex<Option<lent::Camera>>,
    events: Arc<Mailbox<CameraEvent>>,
}

impl RequestQueue {
    /// Failures become [`CameraEvent::Gone`] in `events`.
    pub(super) fn new(events: Arc<Mailbox<CameraEvent>>) -> Self {
        Self { camera: Mutex::new(None), events }
    }

    /// Queues `request` to the camera. If the camera does not stream, the request is dropped.
    pub(super) fn queue(&self, request: Request) {
        let camera = self.camera.lock();
        if let Some(camera) = &*camera
            && let Err((_request, error)) = camera.queue(request)
        {
            let reason = format!("it takes no request: {error}");
            self.events.push(CameraEvent::Gone(reason));
        }
    }
}

/// The binding's camera, which the request queue borrows while it streams.
pub(super) struct OpenCamera {
    // A box, because the request queue needs a stable address. `None` only while this is dropped.
    camera: Option<Box<ActiveCamera<'static>>>,
    // After the active camera: requests that an unplugged camera never completed are dropped with that, and libcamera then still
    // reads the camera. The manager has given it up by then.
    _kept: Camera<'static>,
    presence: Arc<Presence>,
    queue: Arc<RequestQueue>,
}

impl OpenCamera {
    fn new(
        active: ActiveCamera<'static>,
        camera: Camera<'static>,
        presence: Arc<Presence>,
        queue: Arc<RequestQueue>,
    ) -> Self {
        Self { camera: Some(Box::new(active)), _kept: camera, presence, queue }
    }

    pub(super) fn get(&self) -> &ActiveCamera<'static> {
        self.camera.as_deref().expect("only `drop` takes it")
    }

    /// The camera, to change it. From now on it takes no requests.
    pub(super) fn get_mut(&mut self) -> &mut ActiveCamera<'static> {
        self.take_back();
        self.camera.as_deref_mut().expect("only `drop` takes it")
    }

    /// Has the camera take requests until [`OpenCamera::get_mut`].
    pub(super) fn take_requests(&mut self) {
        let lent = lent::Camera::new(self.get());
        *self.queue.camera.lock() = Some(lent);
    }

    /// Ends the loan. Waits for a request that is being queued.
    fn take_back(&self) {
        *self.queue.camera.lock() = None;
    }

    /// Whether libcamera can stop the camera without ending the process: see [`Presence`].
    fn may_stop(&self) -> bool {
        self.take_back();
        self.presence.may_stop(NOTICED_WITHIN)
    }
}

impl Drop for OpenCamera {
    fn drop(&mut self) {
        let may_stop = self.may_stop();
        let camera = self.camera.take();
        if !may_stop {
            // The binding would stop it. It is never used again, and its device is gone.
            std::mem::forget(camera);
            swsync_core::log::warn!(
                "an unplugged camera is not closed, as libcamera has not noticed (does udev run?): \
                 closing it would end this process"
            );
        }
    }
}

/// The camera for other threads, which can only queue requests.
mod lent {
    use std::io;
    use std::ptr::NonNull;

    use ::libcamera::camera::ActiveCamera;
    use ::libcamera::request::Request;

    /// A camera that neither moves nor changes while this is in the queue.
    pub(super) struct Camera(NonNull<ActiveCamera<'static>>);

    // SAFETY: the only use is `queue_request`. It takes a shared reference, guards the binding's state with a mutex of its own,
    // and calls a function that libcamera documents as thread-safe.
    unsafe impl Send for Camera {}

    impl Camera {
        pub(super) fn new(camera: &ActiveCamera<'static>) -> Self {
            Self(NonNull::from(camera))
        }

        pub(super) fn queue(&self, request: Request) -> Result<(), (Request, io::Error)> {
            // SAFETY: before `OpenCamera` drops the camera or hands out a mutable reference to it, it takes this out of the
            // queue, under the lock that the caller holds here.
            unsafe { self.0.as_ref() }.queue_request(request)
        }
    }
}
