use std::sync::mpsc;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use swsync_core::order::{Answer, Order};
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_rig::control::{Membership, Session};

use super::OnShort;
use super::output::{Flow, GateOutlet, Newest, Place};
use crate::caps::grid_of;
use crate::lock::lock;
use crate::order_service::{
    Duty, Host, OnDisk, RigSettings, Station, Stream, control_error, request_key_frame, served_message,
    stated_latency,
};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swsyncgate", gst::DebugColorFlags::empty(), Some("swsync order gate"))
});

/// How long the end of a stream, or of the element, waits for downstream to take what open orders have left.
const END_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Default)]
struct Settings {
    rig: RigSettings,
    on_short: OnShort,
}

#[derive(Default)]
enum State {
    #[default]
    Stopped,
    Started(Box<Started>),
}

struct Started {
    station: Arc<Station>,
    /// The gate's place in the rig: dropped, it leaves.
    _membership: Membership,
    /// For what goes downstream beside frames.
    events: mpsc::Sender<gst::Event>,
    flow: Flow,
    newest: Newest,
    /// Once caps are known.
    stream: Option<Arc<Stream>>,
    segment: Option<gst::FormattedSegment<gst::ClockTime>>,
}

// Of the mutexes, `state` is taken before `duty`.
pub struct SwsyncGate {
    sink: gst::Pad,
    source: gst::Pad,
    settings: Mutex<Settings>,
    state: Mutex<State>,
    /// For the source pad's task, from the element's start until the pad's.
    duty: Mutex<Option<(Duty, GateOutlet)>>,
}

#[glib::object_subclass]
impl ObjectSubclass for SwsyncGate {
    const NAME: &'static str = "GstSwsyncGate";
    type Type = super::SwsyncGate;
    type ParentType = gst::Element;

    fn with_class(class: &Self::Class) -> Self {
        let template = |name| class.pad_template(name).expect("registered by pad_templates");
        let sink = gst::Pad::builder_from_template(&template("sink"))
            .chain_function(|pad, parent, buffer| {
                let refuse = || Err(gst::FlowError::Error);
                Self::catch_panic_pad_function(parent, refuse, |gate| gate.take(pad, buffer))
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |gate| gate.sink_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |gate| gate.sink_query(pad, query))
            })
            .flags(gst::PadFlags::PROXY_CAPS)
            .build();
        let source = gst::Pad::builder_from_template(&template("src"))
            .activatemode_function(|pad, parent, mode, active| {
                let refuse = || Err(gst::loggable_error!(CAT, "panicked"));
                Self::catch_panic_pad_function(parent, refuse, |gate| gate.activate(pad, mode, active))
            })
            .flags(gst::PadFlags::PROXY_CAPS)
            .build();
        Self { sink, source, settings: Mutex::default(), state: Mutex::default(), duty: Mutex::default() }
    }
}

impl ObjectImpl for SwsyncGate {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut properties = RigSettings::properties();
            properties.push(
                glib::ParamSpecEnum::builder_with_default("on-short", OnShort::default())
                    .nick("On short")
                    .blurb("What comes of an order that begins before what the ring holds: missed releases nothing of it, partial what there is")
                    .mutable_ready()
                    .build(),
            );
            properties
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = lock(&self.settings);
        match pspec.name() {
            "on-short" => settings.on_short = value.get().expect("checked by GObject"),
            name => {
                let known = settings.rig.set(name, value);
                debug_assert!(known, "no property {name}");
            }
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings);
        match pspec.name() {
            "on-short" => settings.on_short.to_value(),
            name => settings.rig.get(name).unwrap_or_else(|| unreachable!("no property {name}")),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        for pad in [&self.sink, &self.source] {
            self.obj().add_pad(pad).expect("a new element has no pad of this name");
        }
    }
}

impl GstObjectImpl for SwsyncGate {}

impl ElementImpl for SwsyncGate {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Order gate",
                "Filter",
                "Passes exactly the frames that an order to the rig names, in the future or past",
                "The swsync developers",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let any = gst::Caps::new_any();
            [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)]
                .map(|(name, direction)| {
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &any)
                        .expect("a template of constants")
                })
                .into()
        });
        &TEMPLATES
    }

    fn set_clock(&self, clock: Option<&gst::Clock>) -> bool {
        if let State::Started(started) = &*lock(&self.state) {
            started.station.set_clock(clock.cloned());
        }
        self.parent_set_clock(clock)
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::ReadyToPaused => {
                if let Err(error) = self.start() {
                    self.post_error_message(error);
                    return Err(gst::StateChangeError);
                }
            }
            gst::StateChange::PausedToReady => {
                // While downstream still takes what there is.
                if let Some(station) = self.station() {
                    station.suspend(END_PATIENCE, || 0, || false);
                }
            }
            _ => {}
        }
        let result = self.parent_change_state(transition);
        let stopped = transition == gst::StateChange::PausedToReady
            || transition == gst::StateChange::ReadyToPaused && result.is_err();
        if stopped {
            let state = std::mem::take(&mut *lock(&self.state));
            lock(&self.duty).take();
            drop(state); // leaves the rig
        }
        result
    }
}

/// What the station asks of the element.
struct GateHost(glib::WeakRef<super::SwsyncGate>);

impl Host for GateHost {
    fn request_key(&self, at: Timestamp<Rig>, period: Span) {
        if let Some(gate) = self.0.upgrade() {
            request_key_frame(gate.upcast_ref(), at, period);
        }
    }

    fn announce(&self, answer: &Answer) {
        if let Some(gate) = self.0.upgrade() {
            let structure = served_message(answer);
            gst::info!(CAT, obj = gate, "{structure}");
            let message = gst::message::Element::builder(structure).src(&gate).build();
            // Without a bus nobody wants to know.
            let _ = gate.post_message(message);
        }
    }

    fn fail(&self, error: gst::ErrorMessage) {
        if let Some(gate) = self.0.upgrade() {
            gate.post_error_message(error);
        }
    }

    fn latency(&self) -> Option<Span> {
        stated_latency(self.0.upgrade()?.upcast_ref())
    }

    fn on_disk(&self, _order: &Order) -> OnDisk {
        OnDisk::Nothing // a gate writes nothing
    }
}

impl SwsyncGate {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let device = settings.rig.device()?;
        let config = settings.rig.rig_config()?;
        let session = Session::open(&config).map_err(|e| control_error(&e))?;
        let host = GateHost(self.obj().downgrade());
        let (station, duty) = Station::new(device.clone(), settings.rig.limits(), None, host);
        station.set_clock(self.obj().clock());
        let membership = session.join(device, station.clone()).map_err(|e| control_error(&e))?;
        let (events, received) = mpsc::channel();
        let flow = Flow::new(Mutex::new(Ok(gst::FlowSuccess::Ok)));
        let name = self.obj().name().to_string();
        let newest = Newest::default();
        let (pad, on_short) = (self.source.clone(), settings.on_short);
        let outlet = GateOutlet::new(pad, name, on_short, received, newest.clone(), flow.clone());
        *lock(&self.duty) = Some((duty, outlet));
        *lock(&self.state) = State::Started(Box::new(Started {
            station,
            _membership: membership,
            events,
            flow,
            newest,
            stream: None,
            segment: None,
        }));
        Ok(())
    }

    fn station(&self) -> Option<Arc<Station>> {
        match &*lock(&self.state) {
            State::Started(started) => Some(started.station.clone()),
            State::Stopped => None,
        }
    }

    /// Starts and ends the task that pushes.
    fn activate(&self, pad: &gst::Pad, mode: gst::PadMode, active: bool) -> Result<(), gst::LoggableError> {
        if mode != gst::PadMode::Push {
            return Err(gst::loggable_error!(CAT, "the gate pushes"));
        }
        if !active {
            pad.stop_task().map_err(|error| gst::loggable_error!(CAT, "{error}"))?;
            return Ok(());
        }
        let Some((mut duty, mut outlet)) = lock(&self.duty).take() else {
            return Ok(()); // not started: in READY there is nothing to push
        };
        let task_pad = pad.downgrade();
        pad.start_task(move || {
            if !duty.step(&mut outlet)
                && let Some(pad) = task_pad.upgrade()
            {
                // It has ended if this fails.
                let _ = pad.pause_task();
            }
        })
        .map_err(|error| gst::loggable_error!(CAT, "{error}"))
    }

    /// A buffer has arrived.
    fn take(&self, _pad: &gst::Pad, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let (station, stream, segment, newest, flow) = match &*lock(&self.state) {
            State::Started(started) => {
                let (Some(stream), Some(segment)) = (&started.stream, &started.segment) else {
                    return Err(gst::FlowError::NotNegotiated);
                };
                let (newest, flow) = (started.newest.clone(), started.flow.clone());
                (started.station.clone(), stream.clone(), segment.clone(), newest, flow)
            }
            State::Stopped => return Err(gst::FlowError::Flushing),
        };
        let place = buffer.pts().map(|pts| Place::new(&stream, &segment, pts, buffer.duration()));
        if station.handle_buffer(self.obj().upcast_ref(), buffer, &stream, &segment) {
            // After what is to be released of it is under way.
            *lock(&newest) = place;
        }
        match *lock(&flow) {
            // For the moment, or for what was ordered: more may be asked of it.
            Err(gst::FlowError::Flushing | gst::FlowError::Eos) | Ok(_) => Ok(gst::FlowSuccess::Ok),
            Err(error) => Err(error),
        }
    }

    fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::Caps(caps) => self.set_caps(caps.caps_owned()),
            gst::EventView::Segment(segment) => {
                let Ok(segment) = segment.segment().clone().downcast::<gst::ClockTime>() else {
                    gst::element_imp_error!(
                        self,
                        gst::StreamError::Format,
                        ("frames have no place in bytes or frames; the stream must be in time")
                    );
                    return false;
                };
                self.with_started(|started| started.segment = Some(segment))
            }
            gst::EventView::FlushStart(_) => gst::Pad::event_default(pad, Some(&*self.obj()), event),
            gst::EventView::FlushStop(_) => {
                self.with_started(|started| *lock(&started.newest) = None);
                self.queue(event.clone());
                gst::Pad::event_default(pad, Some(&*self.obj()), event)
            }
            gst::EventView::Eos(_) => {
                if let Some(station) = self.station() {
                    let is_flushed = || pad.pad_flags().contains(gst::PadFlags::FLUSHING);
                    station.suspend(END_PATIENCE, || 0, is_flushed);
                }
                self.queue(event)
            }
            gst::EventView::Gap(gap) => self.with_started(|started| {
                if let (Some(stream), Some(segment)) = (&started.stream, &started.segment) {
                    let (begin, duration) = gap.get();
                    *lock(&started.newest) = Some(Place::new(stream, segment, begin, duration));
                }
            }),
            _ if event.is_serialized() => self.queue(event),
            _ => gst::Pad::event_default(pad, Some(&*self.obj()), event),
        }
    }

    /// Has an event go downstream between frames.
    fn queue(&self, event: gst::Event) -> bool {
        self.with_started(|started| {
            // The task lives as long as the element is started.
            let _ = started.events.send(event);
        })
    }

    fn with_started(&self, change: impl FnOnce(&mut Started)) -> bool {
        match &mut *lock(&self.state) {
            State::Started(started) => {
                change(started);
                true
            }
            State::Stopped => false,
        }
    }

    fn set_caps(&self, caps: gst::Caps) -> bool {
        let grid = match grid_of(&caps) {
            Ok(grid) => grid,
            Err(reason) => {
                gst::element_imp_error!(self, gst::StreamError::Format, ("{caps}: {reason}"));
                return false;
            }
        };
        let changed = self.with_started(|started| {
            started.stream = Some(Arc::new(Stream::new(caps, grid)));
        });
        if let Some(station) = self.station() {
            station.set_grid(grid);
        }
        changed
    }

    fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view() {
            // Frames stay in the ring: in memory of a pool downstream they would leave it without any.
            gst::QueryView::Allocation(_) => false,
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }
}
