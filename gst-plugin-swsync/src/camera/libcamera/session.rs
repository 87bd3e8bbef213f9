//! An open camera, as libcamera's thread has it.

use std::io;
use std::sync::Arc;

use ::libcamera::camera::{ActiveCamera, Camera};
use ::libcamera::control::ControlList;
use ::libcamera::framebuffer::AsFrameBuffer;
use ::libcamera::framebuffer_allocator::FrameBufferAllocator;
use ::libcamera::request::Request;
use ::libcamera::stream::Stream;

use super::failed;
use super::formats::{Wanted, camera_caps, default_configuration, try_stream};
use super::memory::{Backing, Planes, memfd_buffer};
use super::sensor::{self, Controllable, Limits};
use crate::camera::mailbox::Mailbox;
use crate::camera::{CameraError, Controls, ExposureControl};

/// Requests in flight: what libcamera's pipeline handlers ask for, and at 30 fps time enough to
/// take a frame even while another camera is being started.
const REQUESTS: u32 = 4;

/// What happens to a streaming camera.
pub(super) enum Event {
    /// A frame is there, or a request was given up.
    Completed(Request),
    /// Nothing more will come, and why.
    Gone(String),
}

/// What is known of a camera once it is open.
#[derive(Clone)]
pub(super) struct Description {
    pub(super) id: String,
    pub(super) model: String,
    /// See [`sensor::takes_frames_on_request`].
    pub(super) on_request: bool,
    pub(super) caps: gst::Caps,
}

/// What is known of a camera once it is configured.
#[derive(Clone)]
pub(super) struct Configured {
    pub(super) wanted: Wanted,
    pub(super) stream: Stream,
    /// Bytes from row to row of the first plane.
    pub(super) stride: u32,
    buffers: u32,
    pub(super) limits: Option<Limits>,
    pub(super) exposure: Option<ExposureControl>,
    pub(super) controllable: Controllable,
}

/// Requests with a buffer each, and the buffers' memory; a request's cookie is its place there.
pub(super) type Requests = (Vec<Request>, Vec<Planes>);

/// An acquired camera.
pub(super) struct Session {
    camera: ActiveCamera<'static>,
    description: Description,
    events: Arc<Mailbox<Event>>,
    configured: Option<Configured>,
    streaming: bool,
}

impl Session {
    pub(super) fn open(
        camera: &Camera<'static>,
        events: Arc<Mailbox<Event>>,
    ) -> Result<(Self, Description), CameraError> {
        let id = camera.id().to_owned();
        let mut camera = camera.acquire().map_err(|error| busy_or(&id, "acquiring it", error))?;
        let completed = events.clone();
        camera.on_request_completed(move |request| completed.push(Event::Completed(request)));
        let gone = events.clone();
        camera.on_disconnected(move || gone.push(Event::Gone("it was disconnected".into())));

        let on_request = sensor::takes_frames_on_request(camera.properties());
        // Before `configure`, only a virtual camera's limits mean something.
        let limits = sensor::frame_duration_limits(camera.controls()).filter(|_| on_request);
        let description = Description {
            id,
            model: sensor::model(camera.properties()),
            on_request,
            caps: camera_caps(&camera, limits.map(|limits| limits.min_us)),
        };
        let session =
            Self { camera, description: description.clone(), events, configured: None, streaming: false };
        Ok((session, description))
    }

    pub(super) fn configure(&mut self, wanted: Wanted) -> Result<Configured, CameraError> {
        self.configured = None;
        let refused = |reason| wanted.refused(&self.description.id, reason);
        let mut configuration = default_configuration(&self.camera)
            .ok_or_else(|| refused("libcamera has no default configuration".into()))?;
        if let Some(mut stream) = configuration.get_mut(0) {
            let buffers = stream.get_buffer_count().max(REQUESTS);
            stream.set_buffer_count(buffers);
        }
        try_stream(&mut configuration, wanted.pixel, wanted.size).map_err(refused)?;
        let fail = |reason: String| failed(&self.description.id, "configuring it", reason);
        self.camera.configure(&mut configuration).map_err(|error| fail(error.to_string()))?;
        let configured = configuration.get(0);
        let stream = configured.and_then(|configured| {
            let layout = (configured.get_stride(), configured.get_buffer_count());
            Some((configured.stream()?, layout))
        });
        let (stream, (stride, buffers)) = stream.ok_or_else(|| fail("libcamera gives no stream".into()))?;

        let limits = sensor::frame_duration_limits(self.camera.controls());
        let us = sensor::to_micros(wanted.period);
        if let Some(limits) = limits
            // A camera that waits for requests can be as slow as they are.
            && (us < limits.min_us || us > limits.max_us && !self.description.on_request)
        {
            return Err(refused(limits.to_string()));
        }
        let configured = Configured {
            wanted,
            stream,
            stride,
            buffers,
            limits,
            exposure: sensor::exposure_control(self.camera.controls()),
            controllable: Controllable::of(self.camera.controls()),
        };
        Ok(self.configured.insert(configured).clone())
    }

    /// Starts streaming; the camera waits for the requests that this returns.
    pub(super) fn start(&mut self) -> Result<Requests, CameraError> {
        let id = &self.description.id;
        let Some(configured) = self.configured.clone() else {
            return Err(failed(id, "starting it", "it is not configured"));
        };
        let requests =
            requests(&mut self.camera, &configured, self.description.on_request).map_err(|error| {
                let hint = "may this user open /dev/dma_heap/* (group video)?";
                failed(id, "allocating frame buffers", format!("{error}; {hint}"))
            })?;
        let nominal = Controls { frame_duration: Some(configured.wanted.period), exposure: None };
        let mut controls = ControlList::new();
        sensor::set_controls(&mut controls, nominal, configured.controllable);
        self.camera.start(Some(&controls)).map_err(|error| busy_or(id, "starting it", error))?;
        self.streaming = true;
        Ok(requests)
    }

    /// Queues `request`; reports a failure as [`Event::Gone`].
    pub(super) fn queue(&mut self, request: Request) {
        if self.streaming
            && let Err((_request, error)) = self.camera.queue_request(request)
        {
            let reason = format!("it takes no request: {error}");
            self.events.push(Event::Gone(reason));
        }
    }

    /// Stops streaming. Every request is back when this returns: in the mailbox, or dropped.
    pub(super) fn stop(&mut self) {
        if std::mem::take(&mut self.streaming)
            && let Err(error) = self.camera.stop()
        {
            let camera = &self.description.id;
            tracing::warn!(camera, %error, "libcamera does not stop the camera");
        }
    }
}

fn requests(
    camera: &mut ActiveCamera<'static>,
    configured: &Configured,
    on_request: bool,
) -> io::Result<Requests> {
    let stream = &configured.stream;
    let sizes = configured.wanted.plane_sizes(configured.stride);
    match (FrameBufferAllocator::new(camera).alloc(stream), sizes) {
        (Ok(buffers), _) => attach(camera, stream, buffers, Backing::DmaBuf),
        // Hardware can't write to a memfd.
        (Err(error), Some(sizes)) if on_request => {
            static SAID: std::sync::Once = std::sync::Once::new();
            SAID.call_once(|| {
                tracing::info!(%error, "no dma-buf heap: virtual cameras write to memfds");
            });
            let buffers = (0..configured.buffers.max(1)).map(|_| memfd_buffer(&sizes));
            attach(camera, stream, buffers.collect::<io::Result<Vec<_>>>()?, Backing::Memfd)
        }
        (Err(error), _) => Err(error),
    }
}

fn attach<B: AsFrameBuffer + 'static>(
    camera: &mut ActiveCamera<'static>,
    stream: &Stream,
    buffers: Vec<B>,
    backing: Backing,
) -> io::Result<Requests> {
    let (mut requests, mut planes) = (Vec::new(), Vec::new());
    for (cookie, buffer) in (0..).zip(buffers) {
        planes.push(Planes::of(&buffer, backing)?);
        let mut request = camera
            .create_request(Some(cookie))
            .ok_or_else(|| io::Error::other("libcamera makes no request"))?;
        request.add_buffer(stream, buffer)?;
        requests.push(request);
    }
    Ok((requests, planes))
}

fn busy_or(camera: &str, doing: &'static str, error: io::Error) -> CameraError {
    match error.kind() {
        io::ErrorKind::ResourceBusy => CameraError::Busy(camera.to_owned()),
        _ => failed(camera, doing, error),
    }
}
