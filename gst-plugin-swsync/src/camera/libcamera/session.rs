//! An open camera, as libcamera's thread has it.

use std::io;
use std::sync::Arc;

use ::libcamera::camera::{ActiveCamera, Camera, CameraConfiguration};
use ::libcamera::control::ControlList;
use ::libcamera::framebuffer_allocator::FrameBufferAllocator;
use ::libcamera::geometry::Size;
use ::libcamera::pixel_format::PixelFormat;
use ::libcamera::properties;
use ::libcamera::request::Request;
use ::libcamera::stream::Stream;
use swsync_core::stamps::Arrival;
use swsync_rig::claim::{Claim, ClaimError, Holder, user_of_video_device};
use swsync_rig::clock::arrival_on_host;

use super::formats::{FORMATS, Picture, camera_caps, check_stream, default_configuration};
use super::memory::{Planes, memfd_buffer};
use super::picture::Wanted;
use super::queue::{OpenCamera, RequestQueue};
use super::sensor::{self, Controllable, Limits};
use super::{colour, controls, failed};
use crate::camera::controls::{Ranges, Setting};
use crate::camera::mailbox::Mailbox;
use crate::camera::mode::{Mode, Orientation};
use crate::camera::{
    CameraError, Controls, DEFAULT_FRAME_RATE, ExposureControl, StreamRole, StreamSetup, fixate_nearest,
};

/// Requests in flight: what libcamera's pipeline handlers ask for, and at 30 fps time enough to
/// take a frame even while another camera is being started.
pub(super) const REQUESTS: u32 = 4;

/// Frame buffers beyond those, for downstream to hold: one at work in each of a few elements. Of frames that
/// are larger than [`LARGE`] fewer, because memory that cameras can write to is scarce on small boards.
const SPARE: u32 = 4;
const SPARE_LARGE: u32 = 2;
/// In bytes; a frame of 2304x1296 in NV12 is below it, one of 4056x3040 above.
const LARGE: u32 = 8 << 20;

/// What happens to a streaming camera.
pub(super) enum Event {
    /// A frame is there, or a request was given up; when that was.
    Completed(Request, Arrival),
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
    /// Of a stream of the ordinary role.
    pub(super) caps: gst::Caps,
    /// Where its requests go.
    pub(super) queue: Arc<RequestQueue>,
}

/// What is known of a camera once it is configured.
#[derive(Clone)]
pub(super) struct Configured {
    pub(super) streams: Vec<ConfiguredStream>,
    pub(super) limits: Option<Limits>,
    pub(super) exposure: Option<ExposureControl>,
    pub(super) controllable: Controllable,
    /// How it reads its sensor, and which way round its pictures are.
    pub(super) mode: Mode,
}

#[derive(Clone)]
pub(super) struct ConfiguredStream {
    pub(super) wanted: Wanted,
    pub(super) stream: Stream,
    /// Bytes from row to row of the first plane.
    pub(super) stride: u32,
    buffers: u32,
}

/// Requests with a frame buffer per stream, and by cookie and stream the buffers' memory.
pub(super) type Requests = (Vec<Request>, Vec<Vec<Planes>>);

/// An acquired camera.
pub(super) struct Session {
    // Before the claim, because fields are dropped in order: another may have it once it is free.
    camera: OpenCamera,
    _claim: Claim,
    description: Description,
    /// What is asked of it.
    mode: Mode,
    configured: Option<Configured>,
    streaming: bool,
}

impl Session {
    pub(super) fn open(
        camera: &Camera<'static>,
        all: &[String],
        events: Arc<Mailbox<Event>>,
    ) -> Result<(Self, Description), CameraError> {
        let id = camera.id().to_owned();
        let busy = |holder| {
            let others = all.iter().filter(|other| **other != id).cloned().collect();
            CameraError::Busy { camera: id.clone(), holder, others }
        };
        let claim = Claim::new(&format!("camera {id}")).map_err(|error| match error {
            ClaimError::Held(holder) => busy(holder),
            error => failed(&id, "claiming it", error),
        })?;
        let acquired = camera.acquire().map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => busy(user_of(camera)),
            _ => failed(&id, "acquiring it", error),
        });
        let mut camera = acquired?;
        let completed = events.clone();
        camera.on_request_completed(move |request| {
            completed.push(Event::Completed(request, arrival_on_host()))
        });
        let gone = events.clone();
        camera.on_disconnected(move || gone.push(Event::Gone("it was disconnected".into())));

        let on_request = sensor::takes_frames_on_request(camera.properties());
        let model = sensor::model(camera.properties());
        let queue = Arc::new(RequestQueue::new(events));
        let mut session = Self {
            camera: OpenCamera::new(camera, queue.clone()),
            _claim: claim,
            description: Description { id, model, on_request, caps: gst::Caps::new_empty(), queue },
            mode: Mode::default(),
            configured: None,
            streaming: false,
        };
        session.description.caps = session.caps(StreamRole::default());
        let description = session.description.clone();
        Ok((session, description))
    }

    /// Everything that a stream of `role` can deliver.
    pub(super) fn caps(&self, role: StreamRole) -> gst::Caps {
        let on_request = self.description.on_request;
        // Before `configure`, only a virtual camera's limits mean something.
        let limits = sensor::frame_duration_limits(self.camera.get().controls()).filter(|_| on_request);
        let fastest = limits.map(|limits| limits.min_us);
        camera_caps(self.camera.get(), (role, &self.mode), fastest, !on_request || has_dma_buf_heap())
    }

    /// `caps` with the size and format nearest to libcamera's preference for `role`, a rate that the mode
    /// reaches, and the colorimetry that will come.
    pub(super) fn fixate(&mut self, role: StreamRole, caps: &gst::Caps) -> gst::Caps {
        let Some(configuration) = default_configuration(self.camera.get(), &[role]) else {
            return caps.clone();
        };
        let preferred = configuration.get(0).map(|stream| (stream.get_pixel_format(), stream.get_size()));
        let Some((pixel, size)) = preferred else {
            return caps.clone();
        };
        let mut caps = nearest_structure(caps, pixel, size);
        if let Some(structure) = caps.make_mut().structure_mut(0) {
            self.limit_rate(role, structure);
        }
        let side = |side| i32::try_from(side).unwrap_or(i32::MAX);
        fixate_nearest(&mut caps, (side(size.width), side(size.height)), DEFAULT_FRAME_RATE);
        for name in colours_asked_for(&caps) {
            let mut candidate = caps.clone();
            if let (Some(structure), Some(name)) = (candidate.make_mut().structure_mut(0), name) {
                structure.set("colorimetry", name);
            }
            candidate.fixate();
            let setup = StreamSetup { role, caps: candidate.clone() };
            let Ok(wanted) = Wanted::parse(&setup) else {
                continue;
            };
            if let Ok(configuration) = self.validated(std::slice::from_ref(&wanted)) {
                let space = configuration.get(0).and_then(|stream| stream.get_color_space());
                if let (Some(space), Picture::Raw(_), Some(structure)) =
                    (space, wanted.picture, candidate.make_mut().structure_mut(0))
                {
                    structure.set("colorimetry", colour::colorimetry(space).to_string());
                }
                return candidate;
            }
        }
        caps
    }

    /// Takes rates that the mode does not reach out of `structure`, whose size is known. Modes have to be
    /// entered for that, which a camera that streams cannot.
    fn limit_rate(&mut self, role: StreamRole, structure: &mut gst::StructureRef) {
        let mut trial: gst::Caps = structure.to_owned().into();
        fixate_nearest(&mut trial, (0, 0), DEFAULT_FRAME_RATE);
        trial.fixate();
        let Ok(wanted) = Wanted::parse(&StreamSetup { role, caps: trial }) else {
            return;
        };
        if self.description.on_request || self.streaming {
            return;
        }
        let limits = self.validated(&[wanted]).ok().and_then(|mut configuration| {
            self.configured = None;
            self.camera.get_mut().configure(&mut configuration).ok()?;
            sensor::frame_duration_limits(self.camera.get().controls())
        });
        if let Some(limits) = limits {
            let asked = gst::Caps::from(structure.to_owned());
            let reached = gst::Caps::builder(structure.name().as_str()).field("framerate", rates_of(limits));
            let both = asked.intersect(&reached.build());
            if let Some(rate) = both.structure(0).and_then(|both| both.value("framerate").ok()) {
                structure.set_value("framerate", rate.clone());
            }
        }
    }

    /// A configuration of these streams as libcamera accepts it.
    ///
    /// # Errors
    /// [`CameraError::Format`] with what it would rather do.
    fn validated(&self, wanted: &[Wanted]) -> Result<CameraConfiguration, CameraError> {
        let id = &self.description.id;
        let first = wanted.first().ok_or_else(|| failed(id, "configuring it", "no stream is wanted"))?;
        let roles: Vec<StreamRole> = wanted.iter().map(|wanted| wanted.role).collect();
        let mut configuration = default_configuration(self.camera.get(), &roles).ok_or_else(|| {
            let nicks: Vec<String> = roles.iter().map(|role| format!("{role:?}")).collect();
            let streams = nicks.join(" + ");
            first.refused(id, format!("libcamera has no configuration with the streams {streams}"))
        })?;
        for (index, wanted) in wanted.iter().enumerate() {
            let mut stream = configuration
                .get_mut(index)
                .ok_or_else(|| wanted.refused(id, "libcamera left out the stream".into()))?;
            stream.set_pixel_format(wanted.pixel);
            stream.set_size(wanted.size);
            if wanted.colour.is_some() {
                stream.set_color_space(wanted.colour);
            }
            let spare = if wanted.bytes() > LARGE { SPARE_LARGE } else { SPARE };
            let buffers = stream.get_buffer_count().max(REQUESTS) + spare;
            stream.set_buffer_count(buffers);
        }
        self.mode.ask(&mut configuration);
        if configuration.validate().is_invalid() {
            let reason = match &self.mode.sensor {
                Some(sensor) => {
                    format!("libcamera calls it invalid together with sensor-config={}", sensor.structure())
                }
                None => "libcamera calls the configuration invalid".to_owned(),
            };
            return Err(first.refused(id, reason));
        }
        for (index, wanted) in wanted.iter().enumerate() {
            check_stream(&configuration, index, wanted.pixel, wanted.size)
                .map_err(|reason| wanted.refused(id, reason))?;
            let got = configuration.get(index).and_then(|stream| stream.get_color_space());
            if let (Some(asked), Some(got)) = (wanted.colour, got)
                && asked != got
            {
                let nearest = colour::colorimetry(got);
                return Err(
                    wanted.refused(id, format!("the nearest colorimetry that it offers is {nearest}"))
                );
            }
        }
        Ok(configuration)
    }

    pub(super) fn configure(&mut self, wanted: Vec<Wanted>) -> Result<Configured, CameraError> {
        self.configured = None;
        let mut configuration = self.validated(&wanted)?;
        let mode = self.mode_in_effect(&configuration)?;
        let fail = |reason: String| failed(&self.description.id, "configuring it", reason);
        self.camera.get_mut().configure(&mut configuration).map_err(|error| fail(error.to_string()))?;
        let limits = sensor::frame_duration_limits(self.camera.get().controls());
        let mut streams = Vec::new();
        for (index, wanted) in wanted.into_iter().enumerate() {
            let us = sensor::to_micros(wanted.period);
            if let Some(limits) = limits
                // A camera that waits for requests can be as slow as they are.
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
        Ok(self.configured.insert(Configured { streams, limits, exposure, controllable, mode }).clone())
    }

    pub(super) fn description(&self) -> &Description {
        &self.description
    }

    /// Uses the camera in `mode`, which it has, from now on: its formats may be others.
    pub(super) fn change_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.configured = None;
        self.description.caps = self.caps(StreamRole::default());
    }

    /// What the camera makes of the mode that is asked of it, by a validated `configuration`.
    fn mode_in_effect(&self, configuration: &CameraConfiguration) -> Result<Mode, CameraError> {
        let mode = self.mode.in_effect(configuration).map_err(|reason| CameraError::Mode {
            camera: self.description.id.clone(),
            asked: self.mode.sensor.map(|sensor| sensor.structure().to_string()).unwrap_or_default(),
            reason,
        })?;
        // A virtual camera does not look at what is asked, nor says so.
        let orientation = if self.description.on_request { Orientation::default() } else { mode.orientation };
        Ok(Mode { orientation, ..mode })
    }

    /// The camera itself.
    pub(super) fn camera(&self) -> &Camera<'static> {
        self.camera.get()
    }

    /// Puts a camera that does not stream into the mode of a validated `configuration`: its shortest and longest
    /// frame there.
    pub(super) fn limits_in(&mut self, configuration: &mut CameraConfiguration) -> Option<Limits> {
        self.configured = None;
        self.camera.get_mut().configure(configuration).ok()?;
        sensor::frame_duration_limits(self.camera.get().controls())
    }

    /// Which controls it has in its present mode.
    pub(super) fn control_ranges(&self) -> Ranges {
        controls::ranges(&self.description.model, self.camera.get().controls())
    }

    /// Starts streaming; the camera waits for the requests that this returns.
    /// It begins with `settings`.
    pub(super) fn start(&mut self, settings: &[Setting]) -> Result<Requests, CameraError> {
        let id = &self.description.id;
        let Some(configured) = self.configured.clone() else {
            return Err(failed(id, "starting it", "it is not configured"));
        };
        let requests =
            requests(self.camera.get_mut(), &configured, self.description.on_request).map_err(|error| {
                let hint = "may this user open /dev/dma_heap/* (group video)?";
                failed(id, "allocating frame buffers", format!("{error}; {hint}"))
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
                holder: user_of(self.camera.get()),
                others: Vec::new(),
            },
            _ => failed(id, "starting it", error),
        })?;
        self.camera.take_requests();
        self.streaming = true;
        Ok(requests)
    }

    /// Stops streaming. Every request is back when this returns: in the mailbox, or dropped.
    pub(super) fn stop(&mut self) {
        if std::mem::take(&mut self.streaming)
            && let Err(error) = self.camera.get_mut().stop()
        {
            let camera = &self.description.id;
            tracing::warn!(camera, %error, "libcamera does not stop the camera");
        }
    }
}

/// Rates of a mode that takes frames of these durations.
fn rates_of(limits: Limits) -> gst::FractionRange {
    // Half a microsecond to either side is the same limit: see `formats::rates`.
    let rate =
        |half_us: i64| gst::Fraction::new(2_000_000, i32::try_from(half_us.max(1)).unwrap_or(i32::MAX));
    let slowest = rate(limits.max_us.saturating_mul(2).saturating_add(1));
    let fastest = rate(limits.min_us.saturating_mul(2) - 1);
    gst::FractionRange::new(slowest.min(fastest), fastest)
}

/// The structure of `caps` that comes nearest to `size`, with its size fixed. Equal ones: the one with the
/// pixels that libcamera prefers, then the first.
fn nearest_structure(caps: &gst::Caps, pixel: PixelFormat, size: Size) -> gst::Caps {
    let preferred = FORMATS.iter().find(|(known, _)| *known == pixel).map(|(_, picture)| *picture);
    let side = |side: u32| i32::try_from(side).unwrap_or(i32::MAX);
    let (width, height) = (side(size.width), side(size.height));
    let candidates = caps.iter_with_features().map(|(structure, features)| {
        let mut structure = structure.to_owned();
        structure.fixate_field_nearest_int("width", width);
        structure.fixate_field_nearest_int("height", height);
        if let Some(Picture::Raw(format)) = preferred {
            structure.fixate_field_str("format", format.to_str());
        }
        let off = |name: &str, wanted: i32| {
            structure.get::<i32>(name).map_or(i64::MAX / 4, |got| (i64::from(got) - i64::from(wanted)).abs())
        };
        let distance = off("width", width) + off("height", height);
        let other_pixels = !preferred.is_some_and(|preferred| preferred.is_in(&structure));
        (distance, other_pixels, structure, features.to_owned())
    });
    let Some((.., structure, features)) = candidates.min_by_key(|(distance, other, ..)| (*distance, *other))
    else {
        return caps.clone();
    };
    let mut nearest = gst::Caps::new_empty();
    nearest.make_mut().append_structure_full(structure, Some(features));
    nearest
}

/// The names of the colorimetries in `caps` to try, the most wanted first; `None` is the camera's choice.
fn colours_asked_for(caps: &gst::Caps) -> Vec<Option<String>> {
    let value = caps.structure(0).and_then(|structure| structure.value("colorimetry").ok());
    let Some(value) = value else {
        return vec![None];
    };
    match value.get::<gst::List>() {
        Ok(list) => list.iter().filter_map(|value| value.get::<String>().ok().map(Some)).collect(),
        Err(_) => vec![value.get::<String>().ok()],
    }
}

/// Whether libcamera finds memory that devices share; it looks in these places.
pub(super) fn has_dma_buf_heap() -> bool {
    let any = |folder: &str| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    any("/dev/dma_heap") || std::path::Path::new("/dev/udmabuf").exists()
}

fn requests(
    camera: &mut ActiveCamera<'static>,
    configured: &Configured,
    on_request: bool,
) -> io::Result<Requests> {
    let streams = &configured.streams;
    let count = streams.iter().map(|stream| stream.buffers).min().unwrap_or(0);
    let mut requests = (0..u64::from(count))
        .map(|cookie| camera.create_request(Some(cookie)))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| io::Error::other("libcamera makes no request"))?;
    let mut planes: Vec<Vec<Planes>> = requests.iter().map(|_| Vec::new()).collect();
    for configured in streams {
        let stream = &configured.stream;
        match (
            FrameBufferAllocator::new(camera).alloc(stream),
            configured.wanted.plane_sizes(configured.stride),
        ) {
            (Ok(buffers), _) => {
                // There may be more buffers than requests: their libcamera frees.
                for ((request, planes), buffer) in requests.iter_mut().zip(&mut planes).zip(buffers) {
                    planes.push(Planes::of_dma_bufs(&buffer)?);
                    request.add_buffer(stream, buffer)?;
                }
            }
            // Hardware can't write to a memfd.
            (Err(error), Some(sizes)) if on_request => {
                static SAID: std::sync::Once = std::sync::Once::new();
                SAID.call_once(|| {
                    tracing::info!(%error, "no dma-buf heap: virtual cameras write to memfds");
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

/// Who has the devices of `camera`, if not through swsync.
fn user_of(camera: &Camera<'_>) -> Holder {
    let devices = camera.properties().get::<properties::SystemDevices>();
    let devices = devices.map(|devices| devices.0).unwrap_or_default();
    let mut devices = devices.into_iter().filter_map(|device| u64::try_from(device).ok());
    devices.find_map(user_of_video_device).unwrap_or(Holder::Unknown)
}
