use std::sync::{Arc, LazyLock};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use parking_lot::Mutex;
use swsync_core::time::Span;
use swsync_files::{Disk, DiskActivity, Durability, Location, MonitoredStorage, TakeStore};
use swsync_rig::share::Share;
use swsync_rig::{Membership, Session};

use super::disk_wait::{DiskHangs, STALL_TIMEOUT, leave_rig};
use super::kept_place::KeptPlace;
use super::muxer::{self, Container};
use super::open_take::TakeSource;
use super::properties::storage_properties;
use super::saved_takes::SinkStorage;
use super::writer::WriterOptions;
use super::writer_thread::{WriterThread, location_error};
use super::{DEFAULT_LOCATION, DEFAULT_MAX_FILES};
use crate::order_service::{
    DeviceDescription, ElementHooks, ErrorWatch, KnownDates, OrderService, OrderSettings, Suspended, Worker,
    control_error, place_shot,
};
use crate::rig_settings::{answer_context_query, settings_error};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swsyncsink", gst::DebugColorFlags::empty(), Some("swsync order sink"))
});

#[derive(Debug, Clone)]
struct Settings {
    orders: OrderSettings,
    location: Option<String>,
    durability: Durability,
    /// Files that are kept of each order; 0: all.
    max_files: u32,
    options: WriterOptions,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            orders: OrderSettings::default(),
            location: None,
            durability: Durability::default(),
            max_files: DEFAULT_MAX_FILES,
            options: WriterOptions::default(),
        }
    }
}

impl Settings {
    fn location(&self) -> &str {
        self.location.as_deref().unwrap_or(DEFAULT_LOCATION)
    }
}

#[derive(Default)]
enum State {
    #[default]
    Stopped,
    Started {
        service: Arc<OrderService>,
        writer: Box<WriterThread>,
        session: Arc<Session>,
        membership: Membership,
        /// The takes, for `swsync collect`.
        share: Box<Share>,
        _errors: Option<Box<ErrorWatch>>,
    },
}

// No two of the mutexes are held at once.
#[derive(Default)]
pub struct SwsyncSink {
    settings: Mutex<Settings>,
    state: Mutex<State>,
    description: DeviceDescription,
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
            let mut properties = OrderSettings::properties();
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
        let mut settings = self.settings.lock();
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
            name => settings.orders.set(name, value),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = self.settings.lock();
        match pspec.name() {
            "location" => settings.location().to_value(),
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
            name => settings.orders.get(name),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let sink = self.obj();
        // Frames are stored as they come: none waits for its time, and PAUSED does not wait for a first frame.
        sink.set_sync(false);
        sink.set_async(false);
        sink.set_property("enable-last-sample", false);
    }
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

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::ReadyToPaused {
            self.join_another_rig_if_settings_changed().map_err(|error| {
                self.post_error_message(error);
                gst::StateChangeError
            })?;
        }
        self.parent_change_state(transition)
    }

    fn set_clock(&self, clock: Option<&gst::Clock>) -> bool {
        if let Some(service) = self.service() {
            service.set_clock(clock);
        }
        self.parent_set_clock(clock)
    }
}

impl BaseSinkImpl for SwsyncSink {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = self.settings.lock().clone();
        let rig = settings.orders.rig.resolve(self.obj().upcast_ref(), *CAT)?;
        self.settings.lock().orders.rig.keep(rig.clone());
        let device = rig.device().map_err(|error| settings_error(&error))?;
        let config = rig.config().map_err(|error| settings_error(&error))?;
        let location = Location::parse(settings.location()).map_err(|e| location_error(&e))?;
        let max_files = (settings.max_files > 0).then_some(settings.max_files);
        if max_files.is_some() {
            location.check_orders().map_err(|e| location_error(&e))?;
        }
        let root = location.root();
        let activity = Arc::new(DiskActivity::default());
        let store = TakeStore {
            storage: Arc::new(MonitoredStorage::new(Disk, activity.clone())),
            durability: settings.durability,
            location,
            device: device.clone(),
            software: concat!("swsync ", env!("CARGO_PKG_VERSION")).into(),
            max_files,
        };
        let session = Session::open(&config).map_err(|e| control_error(&e))?;
        let element = ElementHooks::new(&*self.obj(), *CAT);
        let (place, dates) = (KeptPlace::new(&store), KnownDates::default());
        let storage = SinkStorage { store: store.clone(), activity: activity.clone(), place: place.clone() };
        let (service, jobs) = OrderService::new(
            device.clone(),
            settings.orders.ring_limits(),
            max_files,
            element.clone(),
            self.description.clone(),
            Some(Box::new(storage)),
            dates.clone(),
        );
        let errors = self.description.watch_errors(&element).map(Box::new);
        let source = TakeSource { element, camera: self.description.camera.clone(), place, dates };
        let worker = Worker::new(service.clone(), jobs);
        let writer = Box::new(WriterThread::start(store, settings.options, source, worker, activity)?);
        let joined = session.join(device.clone(), service.clone()).and_then(|membership| {
            let weak = Arc::downgrade(&service);
            let share = Share::open(&session, device, root, Box::new(move || weak.upgrade()?.busy()))?;
            Ok((membership, Box::new(share)))
        });
        let (membership, share) = match joined {
            Ok(joined) => joined,
            Err(error) => {
                service.close();
                if let Err(why) = writer.finish(&service) {
                    gst::warning!(CAT, imp = self, "the writer is abandoned: {why}");
                }
                return Err(control_error(&error));
            }
        };
        *self.state.lock() = State::Started { service, writer, session, membership, share, _errors: errors };
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let state = std::mem::take(&mut *self.state.lock());
        if let State::Started { service, writer, membership, share, session, .. } = state {
            service.close(); // answers what is open, while the rig can still be reached
            let finished = writer.finish(&service);
            leave_rig((membership, share, session));
            return finished;
        }
        Ok(())
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        answer_context_query(&*self.obj(), query) || BaseSinkImplExt::parent_query(self, query)
    }

    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let checked = match self.service() {
            Some(service) => service.set_caps(caps),
            None => Ok(()),
        };
        checked.and_then(|()| self.check_container(caps)).map_err(|reason| {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{caps}: {reason}"));
            gst::loggable_error!(CAT, "{caps}: {reason}")
        })
    }

    fn event(&self, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::Eos(_) => self.finish_stream(),
            gst::EventView::Tag(tag) => self.description.camera.lock().update(tag.tag()),
            _ => {}
        }
        self.parent_event(event)
    }

    fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let service = self.service().ok_or(gst::FlowError::Flushing)?;
        let stream = service.stream().ok_or(gst::FlowError::NotNegotiated)?;
        let Ok(segment) = self.obj().segment().downcast::<gst::ClockTime>() else {
            gst::warning!(CAT, imp = self, "a buffer is dropped: its stream is not in time");
            return Ok(gst::FlowSuccess::Ok);
        };
        service.handle_buffer(buffer.clone(), &stream, &segment);
        Ok(gst::FlowSuccess::Ok)
    }
}

impl SwsyncSink {
    fn service(&self) -> Option<Arc<OrderService>> {
        match &*self.state.lock() {
            State::Started { service, .. } => Some(service.clone()),
            State::Stopped => None,
        }
    }

    /// The sink joins its rig on the way to READY, and settings of the rig may change in READY: on any element of the pipeline.
    fn join_another_rig_if_settings_changed(&self) -> Result<(), gst::ErrorMessage> {
        let rig = self.settings.lock().orders.rig.clone();
        if rig.has_changed(&rig.resolve(self.obj().upcast_ref(), *CAT)?) {
            BaseSinkImpl::stop(self)?;
            BaseSinkImpl::start(self)?;
        }
        Ok(())
    }

    /// Waits at the end of the stream until the frames of all orders are on the disk: an application that sees EOS may read the files.
    fn finish_stream(&self) {
        let (service, activity) = match &*self.state.lock() {
            State::Started { service, writer, .. } => (service.clone(), writer.activity.clone()),
            State::Stopped => return,
        };
        let pad = self.obj().static_pad("sink").expect("it has one");
        let is_flushed = || pad.pad_flags().contains(gst::PadFlags::FLUSHING);
        if service.suspend(STALL_TIMEOUT, || activity.answered(), is_flushed) == Suspended::TimedOut {
            let call = activity.longest().map(|(call, _)| call);
            let why = DiskHangs { call, how_long: STALL_TIMEOUT };
            let (orders, bytes) = service.unwritten();
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
        let settings = self.settings.lock().clone();
        let location = Location::parse(settings.location()).map_err(|error| error.to_string())?;
        match settings.options.container(caps, location.extension())?.0 {
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

    /// Orders `count` frames from the whole rig. Returns the order's id; `None` if it cannot be placed.
    fn shoot(&self, delay: Span, count: u32) -> Option<String> {
        let (session, service) = match &*self.state.lock() {
            State::Started { session, service, .. } => (session.clone(), service.clone()),
            State::Stopped => {
                gst::warning!(CAT, imp = self, "shoot: the element is not started");
                return None;
            }
        };
        match place_shot(&service, session, delay, count) {
            Ok(id) => Some(id.to_string()),
            Err(error) => {
                gst::warning!(CAT, imp = self, "shoot: {error}");
                None
            }
        }
    }
}
