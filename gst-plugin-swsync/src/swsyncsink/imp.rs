use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use swsync_core::order::{Answer, Order};
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_rig::control::{Membership, Session};
use swsync_rig::files::{Activity, Disk, Durability, Location, Shelf, Watched};
use swsync_rig::share::Share;

use super::muxer::{self, Container};
use super::disk_wait::{self, GivenUp, STALL};
use super::open_take::Origin;
use super::writer::{Options, Owner, Writer};
use super::writer_thread::{Writing, location_error};
use crate::caps::grid_of;
use crate::lock::lock;
use crate::signals::Signals;
use crate::order_service::{
    self, Host, OnDisk, Rest, RigSettings, Station, Stream, control_error, request_key_frame, served_message,
    settings_of, stated_latency,
};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swsyncsink", gst::DebugColorFlags::empty(), Some("swsync order sink"))
});

const DEFAULT_LOCATION: &str = "swsync";
/// All of them.
const DEFAULT_MAX_FILES: u32 = 0;

#[derive(Debug, Clone)]
struct Settings {
    rig: RigSettings,
    location: Option<String>,
    durability: Durability,
    /// Files that are kept of each order; 0: all.
    max_files: u32,
    options: Options,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rig: RigSettings::default(),
            location: None,
            durability: Durability::default(),
            max_files: DEFAULT_MAX_FILES,
            options: Options::default(),
        }
    }
}

#[derive(Default)]
enum State {
    #[default]
    Stopped,
    Started {
        station: Arc<Station>,
        writing: Box<Writing>,
        session: Arc<Session>,
        membership: Membership,
        /// The takes, for `swsync collect`.
        share: Box<Share>,
        /// Once caps are negotiated.
        stream: Option<Arc<Stream>>,
    },
}

// No two of the mutexes are held at once.
#[derive(Default)]
pub struct SwsyncSink {
    settings: Mutex<Settings>,
    state: Mutex<State>,
    camera: Mutex<order_service::Camera>,
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
            let mut properties = RigSettings::properties();
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
            "location" => settings.location = text(),
            "durability" => {
                settings.durability =
                    value.get::<super::SinkDurability>().expect("checked by GObject").into();
            }
            "keep-free" => {
                let bytes: i64 = value.get().expect("checked by GObject");
                settings.options.keep_free = u64::try_from(bytes).ok();
            }
            "max-files" => settings.max_files = value.get().expect("checked by GObject"),
            "muxer-factory" => settings.options.muxer_factory = text().filter(|name| !name.is_empty()),
            "muxer-properties" => {
                settings.options.muxer_properties = value.get().expect("checked by GObject");
            }
            "post-messages" => settings.options.post_messages = value.get().expect("checked by GObject"),
            name => {
                let known = settings.rig.set(name, value);
                debug_assert!(known, "no property {name}");
            }
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings);
        match pspec.name() {
            "location" => settings.location.as_deref().unwrap_or(DEFAULT_LOCATION).to_value(),
            "durability" => super::SinkDurability::from(settings.durability).to_value(),
            "keep-free" => settings
                .options
                .keep_free
                .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
                .to_value(),
            "max-files" => settings.max_files.to_value(),
            "muxer-factory" => settings.options.muxer_factory.to_value(),
            "muxer-properties" => settings.options.muxer_properties.to_value(),
            "post-messages" => settings.options.post_messages.to_value(),
            name => settings.rig.get(name).unwrap_or_else(|| unreachable!("no property {name}")),
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

fn storage_properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("location")
            .nick("Location")
            .blurb("Folder of what is saved, or a pattern with {take} (or {order}), {device}, {frame}, {segment} and {ext}; a folder gets {take}/{device}/{frame}.{ext} for pictures and {take}/{device}/{segment}.{ext} for video. An extension that is spelt out chooses the muxer")
            .default_value(Some(DEFAULT_LOCATION))
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("durability", super::SinkDurability::default())
            .nick("Durability")
            .blurb("What a file goes through before an order is answered: safe survives a power cut, fast only a crash of the program")
            .mutable_ready()
            .build(),
        glib::ParamSpecInt64::builder("keep-free")
            .nick("Keep free")
            .blurb("Room on the disk that is kept free, in bytes: recording ends before, so that what was recorded can be closed and answered for, and goes on when there is room again. -1: a twentieth of the disk, 256 MiB at most; 0: none")
            .minimum(-1)
            .default_value(-1)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("max-files")
            .nick("Max files")
            .blurb("Most pictures, or video files, that are kept of one order: when one more is finished, the oldest of that order is removed. 0: all are kept")
            .default_value(DEFAULT_MAX_FILES)
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("muxer-factory")
            .nick("Muxer factory")
            .blurb("The muxer that video is saved with; else by the extension in `location`, else mp4mux")
            .mutable_ready()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("muxer-properties")
            .nick("Muxer properties")
            .blurb("Properties of the muxer, e.g. {properties,fragment-duration=500}; by default it writes fragments of a second, so that a power cut takes no more than that")
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("post-messages")
            .nick("Post messages")
            .blurb("Post an element message swsync-file for each picture saved; messages of video files, swsync-fragment-opened and swsync-fragment-closed, are posted anyway")
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
                "Saves exactly the frames that an order to the rig names, in the future or past, as pictures or video",
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

/// What the writer asks of the element.
#[derive(Clone)]
struct SinkHost(glib::WeakRef<super::SwsyncSink>);

/// What the station asks of the element.
struct StationHost {
    sink: glib::WeakRef<super::SwsyncSink>,
    shelf: Shelf,
    activity: Arc<Activity>,
}

/// A disk that has not answered for so long is said to hang.
const SLOW: Duration = Duration::from_secs(5);

impl Host for StationHost {
    fn request_key(&self, at: Timestamp<Rig>, period: Span) {
        if let Some(sink) = self.sink.upgrade() {
            request_key_frame(sink.upcast_ref(), at, period);
        }
    }

    fn announce(&self, answer: &Answer) {
        if let Some(sink) = self.sink.upgrade() {
            let message = served_message(answer);
            gst::info!(CAT, obj = sink, "{message}");
            sink.imp().post(message);
        }
    }

    fn fail(&self, error: gst::ErrorMessage) {
        if let Some(sink) = self.sink.upgrade() {
            sink.post_error_message(error);
        }
    }

    fn latency(&self) -> Option<Span> {
        stated_latency(self.sink.upgrade()?.upcast_ref())
    }

    fn on_disk(&self, order: &Order) -> OnDisk {
        Writer::known_on_disk(&self.shelf, order)
    }

    fn problem(&self) -> Option<String> {
        let (what, how_long) = self.activity.longest().filter(|(_, how_long)| *how_long >= SLOW)?;
        Some(format!("the disk has not answered for {} s: {what}", how_long.as_secs()))
    }
}

impl Owner for SinkHost {
    fn post(&self, structure: gst::Structure) {
        if let Some(sink) = self.0.upgrade() {
            sink.imp().post(structure);
        }
    }

    fn ask_for_key(&self, at: Timestamp<Rig>, period: Span) {
        if let Some(sink) = self.0.upgrade() {
            request_key_frame(sink.upcast_ref(), at, period);
        }
    }

    fn origin(&self) -> Origin {
        let Some(sink) = self.0.upgrade() else { return Origin::default() };
        let camera = lock(&sink.imp().camera).clone();
        Origin { camera, settings: settings_of(sink.upcast_ref()) }
    }
}

impl BaseSinkImpl for SwsyncSink {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let device = settings.rig.device()?;
        let config = settings.rig.rig_config()?;
        let location = settings.location.as_deref().unwrap_or(DEFAULT_LOCATION);
        let location = Location::parse(location).map_err(|e| location_error(&e))?;
        let max_files = (settings.max_files > 0).then_some(settings.max_files);
        if max_files.is_some() {
            location.check_orders().map_err(|e| location_error(&e))?;
        }
        let root = location.root();
        let activity = Arc::new(Activity::default());
        let shelf = Shelf {
            storage: Arc::new(Watched::new(Disk, activity.clone())),
            durability: settings.durability,
            location,
            device: device.clone(),
            software: concat!("swsync ", env!("CARGO_PKG_VERSION")).into(),
            max_files,
        };
        let session = Session::open(&config).map_err(|e| control_error(&e))?;
        let host =
            StationHost { sink: self.obj().downgrade(), shelf: shelf.clone(), activity: activity.clone() };
        let (station, duty) = Station::new(device.clone(), settings.rig.limits(), max_files, host);
        station.set_clock(self.obj().clock());
        let owner = SinkHost(self.obj().downgrade());
        let writing = Box::new(Writing::start(shelf, settings.options, owner, duty, activity)?);
        let joined = session.join(device.clone(), station.clone()).and_then(|membership| {
            let busy = Arc::downgrade(&station);
            let share = Share::open(&session, device, root, Box::new(move || busy.upgrade()?.busy()))?;
            Ok((membership, Box::new(share)))
        });
        let (membership, share) = match joined {
            Ok(joined) => joined,
            Err(error) => {
                station.close();
                if let Err(why) = writing.finish(&station) {
                    gst::warning!(CAT, imp = self, "the writer goes on by itself: {why}");
                }
                return Err(control_error(&error));
            }
        };
        *lock(&self.state) = State::Started { station, writing, session, membership, share, stream: None };
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let state = std::mem::take(&mut *lock(&self.state));
        if let State::Started { station, writing, membership, share, session, .. } = state {
            station.close(); // answers what is open, while the rig can still be reached
            let finished = writing.finish(&station);
            disk_wait::leave((membership, share, session));
            return finished;
        }
        Ok(())
    }

    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let refuse = |reason: String| {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{caps}: {reason}"));
            gst::loggable_error!(CAT, "{caps}: {reason}")
        };
        let grid = grid_of(caps).map_err(refuse)?;
        self.check_container(caps).map_err(refuse)?;
        let started = match &mut *lock(&self.state) {
            State::Started { station, stream, .. } => {
                *stream = Some(Arc::new(Stream::new(caps.clone(), grid)));
                Some(station.clone())
            }
            State::Stopped => None,
        };
        if let Some(station) = started {
            station.set_grid(grid);
        }
        Ok(())
    }

    fn event(&self, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::Eos(_) => {
                // Whoever sees the end of the stream may trust that its files are there.
                let started = match &*lock(&self.state) {
                    State::Started { station, writing, .. } => {
                        Some((station.clone(), writing.activity.clone()))
                    }
                    State::Stopped => None,
                };
                if let Some((station, activity)) = started {
                    self.finish_stream(&station, &activity);
                }
            }
            gst::EventView::Tag(tag) => {
                lock(&self.camera).learn(tag.tag());
            }
            _ => {}
        }
        self.parent_event(event)
    }

    fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let (station, stream) = match &*lock(&self.state) {
            State::Started { station, stream: Some(stream), .. } => (station.clone(), stream.clone()),
            State::Started { .. } => return Err(gst::FlowError::NotNegotiated),
            State::Stopped => return Err(gst::FlowError::Flushing),
        };
        let sink = self.obj();
        let Ok(segment) = sink.segment().downcast::<gst::ClockTime>() else {
            gst::warning!(CAT, imp = self, "a stream that is not in time is dropped");
            return Ok(gst::FlowSuccess::Ok);
        };
        station.handle_buffer(sink.upcast_ref(), buffer.clone(), &stream, &segment);
        Ok(gst::FlowSuccess::Ok)
    }
}

impl SwsyncSink {
    /// Waits at the end of the stream until all that was ordered of it is on the disk.
    fn finish_stream(&self, station: &Station, activity: &Activity) {
        let pad = self.obj().static_pad("sink").expect("it has one");
        let signals = Signals::watch();
        let is_over = || pad.pad_flags().contains(gst::PadFlags::FLUSHING) || signals.arrived().is_some();
        if station.suspend(STALL, || activity.answered(), is_over) == Rest::GivenUp {
            let why = GivenUp::Hangs(activity.longest().map(|(what, _)| what), STALL);
            let (orders, bytes) = station.left();
            gst::element_imp_warning!(
                self,
                gst::ResourceError::Write,
                ("The stream ends before all its files are there: {why}"),
                ["{} orders are open, and {bytes} bytes of frames wait", orders.len()]
            );
        }
    }

    /// Whether frames of `caps` can be saved as the properties want.
    fn check_container(&self, caps: &gst::CapsRef) -> Result<(), String> {
        let settings = lock(&self.settings).clone();
        let location = settings.location.as_deref().unwrap_or(DEFAULT_LOCATION);
        let location = Location::parse(location).map_err(|error| error.to_string())?;
        let Options { muxer_factory, muxer_properties, .. } = &settings.options;
        let (container, _) = Container::choose(
            caps,
            location.extension(),
            muxer_factory.as_deref(),
            muxer_properties.as_ref(),
        )?;
        match container {
            Container::Picture => location.check_pictures().map_err(|error| error.to_string())?,
            Container::Muxer { factory, .. } if !muxer::is_salvaged(&factory) => gst::element_imp_warning!(
                self,
                gst::ResourceError::Settings,
                ("what {factory} writes is lost if the device is killed or loses power before the file is \
                     finished: mp4mux, matroskamux and mpegtsmux survive it")
            ),
            Container::Elementary | Container::Muxer { .. } => {}
        }
        Ok(())
    }

    fn post(&self, structure: gst::Structure) {
        let message = gst::message::Element::builder(structure).src(&*self.obj()).build();
        // Without a bus nobody wants to know.
        let _ = self.obj().post_message(message);
    }

    /// Orders `count` frames from the whole rig; `None` where that cannot even be tried.
    fn shoot(&self, delay: Span, count: u32) -> Option<String> {
        let (session, station) = match &*lock(&self.state) {
            State::Started { session, station, .. } => (session.clone(), station.clone()),
            State::Stopped => {
                gst::warning!(CAT, imp = self, "shoot: the element is not started");
                return None;
            }
        };
        match order_service::place_shot(self.obj().upcast_ref(), session, &station, delay, count) {
            Ok(id) => Some(id.to_string()),
            Err(error) => {
                gst::warning!(CAT, imp = self, "shoot: {error}");
                None
            }
        }
    }
}
