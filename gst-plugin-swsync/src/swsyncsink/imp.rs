use std::sync::{Arc, LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use swsync_core::frame::{FrameDetails, FrameInfo, LockState};
use swsync_core::grid::FrameGrid;
use swsync_core::name::Name;
use swsync_core::order::Order;
use swsync_core::ring::Limits;
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_rig::control::{ControlError, DEFAULT_RIG, Membership, RigConfig, Session};
use swsync_rig::files::{Location, LocationError};

use super::shoot;
use super::station::{Held, Station, Writer};
use crate::caps::{extension_of, grid_of};
use crate::clock::{rig_time, status_of};
use crate::lock::lock;
use crate::meta;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swsyncsink", gst::DebugColorFlags::empty(), Some("swsync order sink"))
});

/// Frames are at most so far from the instant that they are numbered by: `swsyncsrc`'s largest `phase-offset`,
/// and half a period of a frame a second.
const MOST_OFFSET: Span = Span::from_millis(1_500);

const DEFAULT_LOCATION: &str = "swsync";
/// Half a minute of 1080p JPEG, and a tenth of the memory of a 1 GB Raspberry Pi.
const DEFAULT_RING_BYTES: u64 = 96 << 20;
const DEFAULT_RING_TIME: gst::ClockTime = gst::ClockTime::from_seconds(5);

#[derive(Debug, Clone)]
struct Settings {
    location: String,
    rig: String,
    device_id: Option<String>,
    listen: Option<String>,
    connect: Option<String>,
    ring_time: gst::ClockTime,
    ring_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            location: DEFAULT_LOCATION.into(),
            rig: DEFAULT_RIG.into(),
            device_id: None,
            listen: None,
            connect: None,
            ring_time: DEFAULT_RING_TIME,
            ring_bytes: DEFAULT_RING_BYTES,
        }
    }
}

#[derive(Default)]
enum State {
    #[default]
    Stopped,
    Started {
        station: Arc<Station>,
        writer: Writer,
        session: Arc<Session>,
        membership: Membership,
        /// Once caps are negotiated.
        format: Option<Format>,
    },
}

#[derive(Debug, Clone, Copy)]
struct Format {
    grid: FrameGrid,
    extension: &'static str,
}

// No two of the mutexes are held at once.
#[derive(Default)]
pub struct SwsyncSink {
    settings: Mutex<Settings>,
    state: Mutex<State>,
}

#[glib::object_subclass]
impl ObjectSubclass for SwsyncSink {
    const NAME: &'static str = "GstSwsyncSink";
    type Type = super::SwsyncSink;
    type ParentType = gst_base::BaseSink;
}

impl ObjectImpl for SwsyncSink {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut properties = rig_properties();
            properties.extend(storage_properties());
            properties
        });
        &PROPERTIES
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            vec![
                glib::subclass::Signal::builder("shoot")
                    .param_types([i64::static_type(), u32::static_type()])
                    .return_type::<Option<String>>()
                    .action()
                    .class_handler(|arguments| {
                        let sink: super::SwsyncSink = arguments[0].get().expect("the signal's object");
                        let delay = arguments[1].get().expect("checked by the signal");
                        let count = arguments[2].get().expect("checked by the signal");
                        Some(sink.imp().shoot(Span::from_nanos(delay), count).to_value())
                    })
                    .build(),
            ]
        });
        &SIGNALS
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = lock(&self.settings);
        let text = || value.get::<Option<String>>().expect("checked by GObject");
        match pspec.name() {
            "location" => settings.location = text().unwrap_or_else(|| DEFAULT_LOCATION.into()),
            "rig" => settings.rig = text().unwrap_or_else(|| DEFAULT_RIG.into()),
            "device-id" => settings.device_id = text(),
            "listen" => settings.listen = text(),
            "connect" => settings.connect = text(),
            "ring-time" => {
                settings.ring_time = gst::ClockTime::from_nseconds(value.get().expect("checked"));
            }
            "ring-bytes" => settings.ring_bytes = value.get().expect("checked"),
            name => unreachable!("no property {name}"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings);
        match pspec.name() {
            "location" => settings.location.to_value(),
            "rig" => settings.rig.to_value(),
            "device-id" => settings.device_id.to_value(),
            "listen" => settings.listen.to_value(),
            "connect" => settings.connect.to_value(),
            "ring-time" => settings.ring_time.nseconds().to_value(),
            "ring-bytes" => settings.ring_bytes.to_value(),
            name => unreachable!("no property {name}"),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let sink = self.obj();
        // Frames are kept as they come: nothing is presented, so nothing waits for its time or for
        // a first frame.
        sink.set_sync(false);
        sink.set_async(false);
        sink.set_property("enable-last-sample", false);
    }
}

fn rig_properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("rig")
            .nick("Rig")
            .blurb("Name of the rig whose orders are served")
            .default_value(Some(DEFAULT_RIG))
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("device-id")
            .nick("Device id")
            .blurb("This device's id, unique in the rig; the host's name if not set")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("listen")
            .nick("Listen")
            .blurb("Zenoh endpoints where other devices can connect, separated by commas, e.g. tcp/0.0.0.0:7447; with neither this nor `connect`, devices find each other by multicast")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("connect")
            .nick("Connect")
            .blurb("Zenoh endpoints of other devices to connect to, separated by commas, e.g. tcp/pi0.local:7447; one device leads to all")
            .mutable_ready()
            .build(),
    ]
}

fn storage_properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("location")
            .nick("Location")
            .blurb("Folder of the saved frames, or a pattern with {order}, {device}, {frame} and {ext}; a folder gets {order}/{device}/{frame}.{ext}")
            .default_value(Some(DEFAULT_LOCATION))
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("ring-time")
            .nick("Ring time")
            .blurb("Longest time that frames are kept for orders in the past, in nanoseconds")
            .maximum(i64::MAX.unsigned_abs())
            .default_value(DEFAULT_RING_TIME.nseconds())
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("ring-bytes")
            .nick("Ring bytes")
            .blurb("Most memory that frames kept for orders in the past may take, in bytes")
            .default_value(DEFAULT_RING_BYTES)
            .mutable_ready()
            .build(),
    ]
}

impl GstObjectImpl for SwsyncSink {}

impl ElementImpl for SwsyncSink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Order sink",
                "Sink/File",
                "Saves exactly the frames that an order to the rig names, in the future or past",
                "The swsync developers",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let template = gst::PadTemplate::new(
                "sink",
                gst::PadDirection::Sink,
                gst::PadPresence::Always,
                &gst::Caps::new_any(),
            );
            vec![template.expect("a template of constants")]
        });
        &TEMPLATES
    }

    fn set_clock(&self, clock: Option<&gst::Clock>) -> bool {
        // Orders are timed by it from here on, whether or not a frame ever comes.
        if let State::Started { station, .. } = &*lock(&self.state) {
            station.set_clock(clock.cloned());
        }
        self.parent_set_clock(clock)
    }
}

impl BaseSinkImpl for SwsyncSink {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let location = Location::parse(&settings.location).map_err(|e| location_error(&e))?;
        location.check().map_err(|e| location_error(&e))?;
        let config = settings.rig_config()?;
        let device = settings.device()?;
        let on_answer = {
            let sink = self.obj().downgrade();
            move |answer: &_| {
                if let Some(sink) = sink.upgrade() {
                    sink.imp().announce(answer);
                }
            }
        };
        let session = Session::open(&config).map_err(|e| control_error(&e))?;
        let (station, writer) = Station::open(device.clone(), location, settings.limits(), on_answer)
            .map_err(|e| gst::error_msg!(gst::ResourceError::Failed, ("no thread to write in: {e}")))?;
        station.set_clock(self.obj().clock());
        let membership = match session.join(device, station.clone()) {
            Ok(membership) => membership,
            Err(error) => {
                station.close(writer);
                return Err(control_error(&error));
            }
        };
        *lock(&self.state) = State::Started { station, writer, session, membership, format: None };
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let state = std::mem::take(&mut *lock(&self.state));
        if let State::Started { station, writer, membership, session, .. } = state {
            station.close(writer); // answers what is open, while the rig can still be reached
            drop(membership);
            drop(session);
        }
        Ok(())
    }

    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let grid = grid_of(caps).map_err(|reason| {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{caps}: {reason}"));
            gst::loggable_error!(CAT, "{caps}: {reason}")
        })?;
        if let State::Started { station, format, .. } = &mut *lock(&self.state) {
            station.set_grid(grid);
            *format = Some(Format { grid, extension: extension_of(caps) });
        }
        Ok(())
    }

    fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let (station, format) = match &*lock(&self.state) {
            State::Started { station, format: Some(format), .. } => (station.clone(), *format),
            State::Started { .. } => return Err(gst::FlowError::NotNegotiated),
            State::Stopped => return Err(gst::FlowError::Flushing),
        };
        let clock = self.obj().clock();
        let Some(time) = meta::rig_time_of(buffer).or_else(|| self.clock_time_of(buffer)) else {
            gst::warning!(CAT, imp = self, "a buffer without rig time and PTS is dropped");
            return Ok(gst::FlowSuccess::Ok);
        };
        let info = frame_info(buffer, time, format.grid, clock.as_ref());
        gst::trace!(CAT, imp = self, "frame {}", info.number);
        let frame = Held { buffer: buffer.clone(), info, extension: format.extension };
        station.handle_frame(frame);
        Ok(gst::FlowSuccess::Ok)
    }
}

/// What is known of the frame in `buffer`, which was taken at `time`.
fn frame_info(
    buffer: &gst::BufferRef,
    time: Timestamp<Rig>,
    grid: FrameGrid,
    clock: Option<&gst::Clock>,
) -> FrameInfo {
    let mut info = FrameInfo {
        number: grid.nearest(time),
        rig_time_ns: time,
        phase_error_ns: grid.phase_error(time),
        clock_uncertainty_ns: None,
        sync: swsync_core::frame::SyncQuality::Unsynced,
        lock: LockState::Free,
        exposure_ns: None,
        analogue_gain: None,
        sensor_time_ns: None,
        details: FrameDetails::default(),
    };
    if let Some(details) = meta::details_of(buffer) {
        // Cameras that take turns are off the grid's instants by as much as they were told to be. A number that is
        // far from the time counts frames of another rate than they have here.
        if (grid.instant(details.number) - time).abs() <= MOST_OFFSET {
            (info.number, info.phase_error_ns) = (details.number, details.phase_error);
        }
        info.clock_uncertainty_ns = details.clock_uncertainty;
        info.sync = details.sync;
        info.lock = details.lock;
        info.exposure_ns = details.exposure;
        info.analogue_gain = details.analogue_gain;
        info.sensor_time_ns = details.sensor_time;
        info.details = details.frame;
    } else if let Some(status) = clock.map(status_of) {
        // The encoder dropped the meta, or the source is another one: what the clock says now.
        info.clock_uncertainty_ns = status.uncertainty_ns;
        info.sync = status.quality;
    }
    info
}

impl Settings {
    fn limits(&self) -> Limits {
        Limits {
            bytes: usize::try_from(self.ring_bytes).unwrap_or(usize::MAX),
            time: Span::from_nanos(i64::try_from(self.ring_time.nseconds()).unwrap_or(i64::MAX)),
        }
    }

    fn device(&self) -> Result<Name, gst::ErrorMessage> {
        match &self.device_id {
            Some(id) => Name::new(id.clone())
                .map_err(|e| gst::error_msg!(gst::LibraryError::Settings, ("device-id: {e}"))),
            None => Name::new(swsync_rig::host_name()).map_err(|e| {
                gst::error_msg!(
                    gst::LibraryError::Settings,
                    ("the host's name cannot be a device id: {e}"),
                    ["Set `device-id`."]
                )
            }),
        }
    }

    fn rig_config(&self) -> Result<RigConfig, gst::ErrorMessage> {
        let endpoints = |list: &Option<String>| {
            let list = list.as_deref().unwrap_or_default();
            list.split(',').map(str::trim).filter(|e| !e.is_empty()).map(str::to_owned).collect()
        };
        Ok(RigConfig {
            rig: Name::new(self.rig.clone())
                .map_err(|e| gst::error_msg!(gst::LibraryError::Settings, ("rig: {e}")))?,
            listen: endpoints(&self.listen),
            connect: endpoints(&self.connect),
        })
    }
}

fn location_error(error: &LocationError) -> gst::ErrorMessage {
    match error {
        LocationError::Unwritable { .. } => gst::error_msg!(
            gst::ResourceError::OpenWrite,
            ("{error}"),
            ["Choose another `location`, or make the folder writable."]
        ),
        _ => gst::error_msg!(gst::LibraryError::Settings, ("{error}")),
    }
}

fn control_error(error: &ControlError) -> gst::ErrorMessage {
    match error {
        ControlError::DuplicateDevice { .. } => gst::error_msg!(gst::ResourceError::Busy, ("{error}")),
        ControlError::Endpoint { .. } => gst::error_msg!(gst::LibraryError::Settings, ("{error}")),
        _ => gst::error_msg!(gst::ResourceError::OpenReadWrite, ("{error}")),
    }
}

impl SwsyncSink {
    /// The time of a buffer that carries no rig time: its running time on the pipeline's clock.
    fn clock_time_of(&self, buffer: &gst::BufferRef) -> Option<Timestamp<Rig>> {
        let sink = self.obj();
        let segment = sink.segment().downcast::<gst::ClockTime>().ok()?;
        let running = segment.to_running_time(buffer.pts()?)?;
        Some(rig_time(sink.base_time()? + running))
    }

    /// Orders `count` frames from the whole rig; `None` where that cannot even be tried.
    fn shoot(&self, delay: Span, count: u32) -> Option<String> {
        let (session, now) = match &*lock(&self.state) {
            State::Started { session, station, .. } => (session.clone(), station.rig_now()),
            State::Stopped => {
                gst::warning!(CAT, imp = self, "shoot: the element is not started");
                return None;
            }
        };
        let Some(now) = now else {
            gst::warning!(CAT, imp = self, "shoot: the pipeline has no clock yet, so rig time is unknown");
            return None;
        };
        let id = shoot::new_id();
        let placed =
            Order::burst(id.clone(), now + delay, count).map_err(|error| error.to_string()).and_then(
                |order| shoot::place(&self.obj(), session, order, now).map_err(|error| error.to_string()),
            );
        match placed {
            Ok(()) => Some(id.to_string()),
            Err(error) => {
                gst::warning!(CAT, imp = self, "shoot: {error}");
                None
            }
        }
    }

    /// Says on the bus what this device made of an order, whoever gave it.
    fn announce(&self, answer: &swsync_core::order::Answer) {
        let (files, problems) = shoot::files_and_problems(answer);
        gst::info!(CAT, imp = self, "{}: {} saved, {problems:?}", answer.order, files.len());
        let structure = gst::Structure::builder("swsync-served")
            .field("order", answer.order.as_str())
            .field("complete", answer.is_complete())
            .field("files", gst::Array::new(files))
            .field("problems", gst::Array::new(problems))
            .build();
        let message = gst::message::Element::builder(structure).src(&*self.obj()).build();
        // Without a bus nobody wants to know.
        let _ = self.obj().post_message(message);
    }
}
