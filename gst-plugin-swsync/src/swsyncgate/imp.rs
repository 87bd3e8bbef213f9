use std::sync::mpsc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use parking_lot::Mutex;
use swsync_rig::{Membership, Session};

use super::OnShort;
use super::output::{GateOutput, LastFlow, NewestPosition, StreamPosition};
use crate::order_service::{
    DeviceDescription, ElementHooks, ErrorWatch, KnownDates, OrderService, OrderSettings, Worker,
    control_error,
};
use crate::rig_settings::{answer_context_query, settings_error};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swsyncgate", gst::DebugColorFlags::empty(), Some("swsync order gate"))
});

/// How long the end of a stream, or of the element, waits for downstream to take what open orders have left.
const END_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Default)]
struct Settings {
    orders: OrderSettings,
    on_short: OnShort,
}

#[derive(Default)]
enum State {
    #[default]
    Stopped,
    Started(Box<Started>),
}

struct Started {
    service: Arc<OrderService>,
    /// The gate's membership in the rig: dropped, it leaves.
    _membership: Membership,
    _errors: Option<ErrorWatch>,
    /// Serialized events that go downstream between frames.
    events: mpsc::Sender<gst::Event>,
    flow: LastFlow,
    newest: NewestPosition,
    segment: Option<gst::FormattedSegment<gst::ClockTime>>,
}

// Of the mutexes, `state` is taken before `worker`.
pub struct SwsyncGate {
    sink: gst::Pad,
    source: gst::Pad,
    settings: Mutex<Settings>,
    description: DeviceDescription,
    state: Mutex<State>,
    /// For the source pad's task, from the element's start until the pad's.
    worker: Mutex<Option<(Worker, GateOutput)>>,
}

#[glib::object_subclass]
impl ObjectSubclass for SwsyncGate {
    const NAME: &'static str = "GstSwsyncGate";
    type Type = super::SwsyncGate;
    type ParentType = gst::Element;

    fn with_class(class: &Self::Class) -> Self {
        let template = |name| class.pad_template(name).expect("registered by pad_templates");
        let sink = gst::Pad::builder_from_template(&template("sink"))
            .chain_function(|_, parent, buffer| {
                let refuse = || Err(gst::FlowError::Error);
                Self::catch_panic_pad_function(parent, refuse, |gate| gate.chain(buffer))
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
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |gate| gate.query(pad, query))
            })
            .flags(gst::PadFlags::PROXY_CAPS)
            .build();
        Self {
            sink,
            source,
            settings: Mutex::default(),
            description: DeviceDescription::default(),
            state: Mutex::default(),
            worker: Mutex::default(),
        }
    }
}

impl ObjectImpl for SwsyncGate {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut properties = OrderSettings::properties();
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
        let mut settings = self.settings.lock();
        match pspec.name() {
            "on-short" => settings.on_short = value.get().expect("checked by GObject"),
            name => settings.orders.set(name, value),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = self.settings.lock();
        match pspec.name() {
            "on-short" => settings.on_short.to_value(),
            name => settings.orders.get(name),
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
        if let Some(service) = self.service() {
            service.set_clock(clock);
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
                // While downstream still takes frames.
                if let Some(service) = self.service() {
                    service.suspend(END_TIMEOUT, || 0, || false);
                }
            }
            _ => {}
        }
        let result = self.parent_change_state(transition);
        let stopped = transition == gst::StateChange::PausedToReady
            || transition == gst::StateChange::ReadyToPaused && result.is_err();
        if stopped {
            let state = std::mem::take(&mut *self.state.lock());
            self.worker.lock().take();
            drop(state); // leaves the rig
        }
        result
    }
}

impl SwsyncGate {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = self.settings.lock().clone();
        let rig = settings.orders.rig.resolve(self.obj().upcast_ref(), *CAT)?;
        self.settings.lock().orders.rig.keep(rig.clone());
        let device = rig.device().map_err(|error| settings_error(&error))?;
        let config = rig.config().map_err(|error| settings_error(&error))?;
        let session = Session::open(&config).map_err(|e| control_error(&e))?;
        let element = ElementHooks::new(&*self.obj(), *CAT);
        let limits = settings.orders.ring_limits();
        let errors = self.description.watch_errors(&element);
        let description = self.description.clone();
        let dates = KnownDates::default();
        let (service, jobs) =
            OrderService::new(device.clone(), limits, None, element, description, None, dates);
        let membership = session.join(device, service.clone()).map_err(|e| control_error(&e))?;
        let (events, received) = mpsc::channel();
        let flow = LastFlow::new(Mutex::new(Ok(gst::FlowSuccess::Ok)));
        let name = self.obj().name().to_string();
        let newest = NewestPosition::default();
        let (pad, on_short) = (self.source.clone(), settings.on_short);
        let output = GateOutput::new(pad, name, on_short, received, newest.clone(), flow.clone());
        *self.worker.lock() = Some((Worker::new(service.clone(), jobs), output));
        let started = Started {
            service,
            _membership: membership,
            _errors: errors,
            events,
            flow,
            newest,
            segment: None,
        };
        *self.state.lock() = State::Started(Box::new(started));
        Ok(())
    }

    fn service(&self) -> Option<Arc<OrderService>> {
        match &*self.state.lock() {
            State::Started(started) => Some(started.service.clone()),
            State::Stopped => None,
        }
    }

    /// Starts and stops the source pad's task, on which the worker runs.
    fn activate(&self, pad: &gst::Pad, mode: gst::PadMode, active: bool) -> Result<(), gst::LoggableError> {
        if mode != gst::PadMode::Push {
            return Err(gst::loggable_error!(CAT, "the gate pushes"));
        }
        if !active {
            pad.stop_task().map_err(|error| gst::loggable_error!(CAT, "{error}"))?;
            return Ok(());
        }
        let Some((mut worker, mut output)) = self.worker.lock().take() else {
            return Ok(()); // not started: in READY there is nothing to push
        };
        let task_pad = pad.downgrade();
        pad.start_task(move || {
            if !worker.step(&mut output)
                && let Some(pad) = task_pad.upgrade()
            {
                // Fails only if the task has stopped already.
                let _ = pad.pause_task();
            }
        })
        .map_err(|error| gst::loggable_error!(CAT, "{error}"))
    }

    fn chain(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let (service, segment, newest, flow) = match &*self.state.lock() {
            State::Started(started) => {
                let Some(segment) = started.segment.clone() else {
                    return Err(gst::FlowError::NotNegotiated);
                };
                (started.service.clone(), segment, started.newest.clone(), started.flow.clone())
            }
            State::Stopped => return Err(gst::FlowError::Flushing),
        };
        let stream = service.stream().ok_or(gst::FlowError::NotNegotiated)?;
        let position = buffer.pts().map(|pts| StreamPosition::new(&stream, &segment, pts, buffer.duration()));
        if service.handle_buffer(buffer, &stream, &segment) {
            // Only now: the worker has the frame already if it is to be released.
            *newest.lock() = position;
        }
        match *flow.lock() {
            // Downstream may want frames again later, or those of another order.
            Err(gst::FlowError::Flushing | gst::FlowError::Eos) | Ok(_) => Ok(gst::FlowSuccess::Ok),
            Err(error) => Err(error),
        }
    }

    fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::Caps(caps) => self.set_caps(&caps.caps_owned()),
            gst::EventView::Segment(segment) => {
                let Ok(segment) = segment.segment().clone().downcast::<gst::ClockTime>() else {
                    gst::element_imp_error!(
                        self,
                        gst::StreamError::Format,
                        ("the stream must be in time: frames have no place in a stream of bytes")
                    );
                    return false;
                };
                self.with_started(|started| started.segment = Some(segment))
            }
            gst::EventView::FlushStart(_) => gst::Pad::event_default(pad, Some(&*self.obj()), event),
            gst::EventView::FlushStop(_) => {
                self.with_started(|started| *started.newest.lock() = None);
                self.queue(event.clone());
                gst::Pad::event_default(pad, Some(&*self.obj()), event)
            }
            gst::EventView::Eos(_) => {
                if let Some(service) = self.service() {
                    let is_flushed = || pad.pad_flags().contains(gst::PadFlags::FLUSHING);
                    service.suspend(END_TIMEOUT, || 0, is_flushed);
                }
                self.queue(event)
            }
            gst::EventView::Tag(tag) => {
                self.description.camera.lock().update(tag.tag());
                self.queue(event)
            }
            gst::EventView::Gap(gap) => self.with_started(|started| {
                if let (Some(stream), Some(segment)) = (started.service.stream(), &started.segment) {
                    let (begin, duration) = gap.get();
                    *started.newest.lock() = Some(StreamPosition::new(&stream, segment, begin, duration));
                }
            }),
            _ if event.is_serialized() => self.queue(event),
            _ => gst::Pad::event_default(pad, Some(&*self.obj()), event),
        }
    }

    /// Has the worker push an event, between frames.
    fn queue(&self, event: gst::Event) -> bool {
        self.with_started(|started| {
            // Fails only if the task has stopped.
            let _ = started.events.send(event);
        })
    }

    fn with_started(&self, change: impl FnOnce(&mut Started)) -> bool {
        match &mut *self.state.lock() {
            State::Started(started) => {
                change(started);
                true
            }
            State::Stopped => false,
        }
    }

    fn set_caps(&self, caps: &gst::Caps) -> bool {
        let Some(service) = self.service() else { return false };
        if let Err(reason) = service.set_caps(caps) {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{caps}: {reason}"));
            return false;
        }
        true
    }

    fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        // Frames stay in the ring: a pool downstream would run out of buffers.
        query.type_() != gst::QueryType::Allocation && self.query(pad, query)
    }

    fn query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        answer_context_query(&*self.obj(), query) || gst::Pad::query_default(pad, Some(&*self.obj()), query)
    }
}
