use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use parking_lot::Mutex;
use swsync_core::frame::LockState;
use swsync_core::time::{Rig, Timestamp};
use swsync_time::{DeviceClock, SIMULATED_CLOCK};

use super::category::CAT;
use super::centre::CentreMeter;
use super::controls::{self, ControlQueue};
use super::interruptions::InterruptionMonitor;
use super::pads::SwsyncSrcPad;
use super::settings::{self, Settings};
use super::state::{Control, Known, State};
use super::stats::SourceStats;
use crate::camera::StreamRole;
use crate::camera::controls::by_property;
#[cfg(feature = "simulation")]
use crate::camera::faults::Faults;
use crate::camera::mailbox::Mailbox;
use crate::caps::template_caps;
use crate::centre_query;
use crate::clock::{SwsyncClock, clock_time, pipeline_clock};
use crate::swsyncclock::SwsyncClockElement;

/// How long a query waits for a frame whose centre is to be measured. Who asks asks again.
const CENTRE_WAIT: Duration = Duration::from_millis(300);

// Lock order: `state`, which is held while waiting for a frame, before any other. `control` before `sleeper`. The others are
// leaves.
pub struct SwsyncSrc {
    pub(super) src: SwsyncSrcPad,
    pub(super) settings: Mutex<Settings>,
    pub(super) state: Mutex<State>,
    pub(super) known: Mutex<Known>,
    pub(super) control: Control,
    /// Pads or downstream have changed: streams are to be negotiated.
    pub(super) reconfigure: AtomicBool,
    /// The streaming thread negotiates just now.
    pub(super) negotiating: AtomicBool,
    /// Waits of the element itself.
    pub(super) sleeper: Mailbox<()>,
    #[cfg(feature = "simulation")]
    pub(super) faults: Mutex<Option<Arc<Faults>>>,
    pub(super) stats: Mutex<SourceStats>,
    /// The group of all streams, since the element was started.
    pub(super) group: Mutex<gst::GroupId>,
    /// While the element is started.
    pub(super) interruptions: Mutex<Option<InterruptionMonitor>>,
    pub(super) controls: Arc<ControlQueue>,
    pub(super) centre: CentreMeter,
}

#[glib::object_subclass]
impl ObjectSubclass for SwsyncSrc {
    const NAME: &'static str = "GstSwsyncSrc";
    type Type = super::SwsyncSrc;
    type ParentType = gst::Element;
    type Interfaces = (gst::ChildProxy,);

    fn with_class(class: &Self::Class) -> Self {
        let template = class.pad_template("src").expect("it is a template of the class");
        let src = Self::build_pad(&template, "src");
        src.set_direct();
        Self {
            src,
            settings: Mutex::default(),
            state: Mutex::default(),
            known: Mutex::default(),
            control: Control::default(),
            reconfigure: AtomicBool::new(true),
            negotiating: AtomicBool::new(false),
            sleeper: Mailbox::default(),
            #[cfg(feature = "simulation")]
            faults: Mutex::default(),
            stats: Mutex::default(),
            group: Mutex::new(gst::GroupId::next()),
            interruptions: Mutex::default(),
            controls: Arc::default(),
            centre: CentreMeter::default(),
        }
    }
}

impl ObjectImpl for SwsyncSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut properties = settings::properties();
            properties.extend(controls::properties());
            properties.extend([
                glib::ParamSpecInt::builder("num-buffers")
                    .nick("Number of buffers")
                    .blurb("Number of frames to deliver before the stream ends (-1 = unlimited)")
                    .minimum(-1)
                    .default_value(-1)
                    .build(),
                glib::ParamSpecInt64::builder("phase-error")
                    .nick("Phase error")
                    .blurb("Time of the newest frame minus its grid instant, in nanoseconds")
                    .read_only()
                    .build(),
                glib::ParamSpecBoolean::builder("locked")
                    .nick("Locked")
                    .blurb("Whether the camera is on the frame grid, within the tolerance")
                    .read_only()
                    .build(),
                glib::ParamSpecUInt::builder("lock-count")
                    .nick("Lock count")
                    .blurb("How often the camera came onto the frame grid since it was started")
                    .read_only()
                    .build(),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb("Counts of frames since the element was started, and the state of alignment")
                    .read_only()
                    .build(),
            ]);
            properties
        });
        &PROPERTIES
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        controls::signals()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        match by_property(pspec.name()) {
            Some(control) => controls::set_property(&self.controls, &self.obj(), control, value),
            None => self.settings.lock().set(pspec.name(), value),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let stats = *self.stats.lock();
        match pspec.name() {
            "phase-error" => stats.newest.map_or(0, |info| info.phase_error_ns.as_nanos()).to_value(),
            "locked" => stats.newest.is_some_and(|info| info.lock == Some(LockState::Locked)).to_value(),
            "lock-count" => stats.lock_count.to_value(),
            "stats" => stats.stats().to_value(),
            name => match by_property(name) {
                Some(control) => controls::property(&self.controls, control),
                None => self.settings.lock().get(name),
            },
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        element.set_element_flags(gst::ElementFlags::SOURCE);
        element.add_pad(&self.src).expect("a new element has no pad of this name");
    }
}

impl GstObjectImpl for SwsyncSrc {}

impl ElementImpl for SwsyncSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Synchronized camera",
                "Source/Video/Hardware",
                "Captures frames that begin at the same instants on all devices of a rig",
                "The swsync developers",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = template_caps();
            let template = |name, presence| {
                let pad = SwsyncSrcPad::static_type();
                gst::PadTemplate::with_gtype(name, gst::PadDirection::Src, presence, &caps, pad)
                    .expect("a template of constants")
            };
            vec![template("src", gst::PadPresence::Always), template("src_%u", gst::PadPresence::Request)]
        });
        &TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::ReadyToPaused => self.start().map_err(|message| {
                self.post_error_message(message);
                self.stop();
                gst::StateChangeError
            })?,
            gst::StateChange::PausedToPlaying => {
                self.play();
                self.check_pipelines_clock();
            }
            gst::StateChange::PlayingToPaused => self.pause(),
            gst::StateChange::PausedToReady => self.control.set_flushing(&self.sleeper, true),
            _ => {}
        }
        let changed = self.parent_change_state(transition);
        match (transition, changed) {
            // It is live.
            (gst::StateChange::ReadyToPaused | gst::StateChange::PlayingToPaused, Ok(_)) => {
                Ok(gst::StateChangeSuccess::NoPreroll)
            }
            (gst::StateChange::ReadyToPaused, Err(_)) | (gst::StateChange::PausedToReady, _) => {
                self.stop();
                changed
            }
            _ => changed,
        }
    }

    fn send_event(&self, event: gst::Event) -> bool {
        match event.type_() {
            gst::EventType::FlushStart => self.flush_start(&event),
            gst::EventType::FlushStop => self.flush_stop(&event),
            gst::EventType::Eos => self.control.set_eos(&self.sleeper),
            gst::EventType::Tag
            | gst::EventType::Protection
            | gst::EventType::CustomDownstream
            | gst::EventType::CustomBoth => self.control.queue_event(event),
            gst::EventType::CustomDownstreamOob | gst::EventType::CustomBothOob => {
                for pad in self.all_pads() {
                    pad.push_event(event.clone());
                }
            }
            _ => return controls::handle_event(&self.controls, &self.obj(), &event),
        }
        true
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        self.add_pad(template, name)
    }

    fn release_pad(&self, pad: &gst::Pad) {
        self.remove_pad(pad);
    }
}

impl ChildProxyImpl for SwsyncSrc {
    fn child_by_index(&self, index: u32) -> Option<glib::Object> {
        let pads = self.obj().src_pads();
        pads.get(usize::try_from(index).ok()?).map(|pad| pad.clone().upcast())
    }

    fn child_by_name(&self, name: &str) -> Option<glib::Object> {
        self.obj().static_pad(name).map(Cast::upcast)
    }

    fn children_count(&self) -> u32 {
        u32::try_from(self.obj().src_pads().len()).unwrap_or(u32::MAX)
    }
}

impl SwsyncSrc {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = self.settings.lock().clone();
        let device = DeviceClock::of_this_process()
            .map_err(|error| gst::error_msg!(gst::LibraryError::Settings, ("{SIMULATED_CLOCK}: {error}")))?;
        #[cfg(feature = "simulation")]
        {
            *self.faults.lock() = settings.simulation.faults()?.map(Arc::new);
        }
        *self.stats.lock() = SourceStats::default();
        *self.group.lock() = gst::GroupId::next();
        let monitor = InterruptionMonitor::start().map_err(|error| {
            gst::error_msg!(gst::ResourceError::Failed, ("no thread to watch time in: {error}"))
        })?;
        *self.interruptions.lock() = Some(monitor);
        self.control.start(&self.sleeper, u32::try_from(settings.num_buffers).ok());
        let camera = self.open_camera(&settings, &device)?;
        *self.state.lock() = State::Opened { camera, device, settings };
        self.request_negotiation();
        Ok(())
    }

    fn stop(&self) {
        let state = std::mem::take(&mut *self.state.lock());
        if let State::Streaming { camera, .. } = state {
            camera.stop();
        }
        self.interruptions.lock().take();
        *self.known.lock() = Known::default();
        self.control.set_camera(None);
    }

    /// A pad of the element, not added yet.
    fn build_pad(template: &gst::PadTemplate, name: &str) -> SwsyncSrcPad {
        gst::PadBuilder::<SwsyncSrcPad>::from_template(template)
            .name(name)
            .activatemode_function(|pad, parent, mode, active| {
                if mode != gst::PadMode::Push {
                    return Err(gst::loggable_error!(CAT, "a camera only pushes"));
                }
                if active {
                    pad.activate();
                }
                if active
                    && let Some(element) = parent.and_then(|parent| parent.downcast_ref::<super::SwsyncSrc>())
                {
                    // It may have been linked while it was not active.
                    element.imp().request_negotiation();
                }
                if pad.is_direct() {
                    let failed = || Err(gst::loggable_error!(CAT, "the element panicked"));
                    SwsyncSrc::catch_panic_pad_function(parent, failed, |src| src.activate_src(active))?;
                }
                if active { Ok(()) } else { pad.deactivate() }
            })
            .query_function(|pad, parent, query| {
                SwsyncSrc::catch_panic_pad_function(parent, || false, |src| src.query_pad(pad, query))
            })
            .event_function(|pad, parent, event| {
                SwsyncSrc::catch_panic_pad_function(parent, || false, |src| src.event_pad(pad, event))
            })
            .build()
    }

    /// Starts the streaming thread with the pad `src`, or interrupts it before the pad waits for its end.
    fn activate_src(&self, active: bool) -> Result<(), gst::LoggableError> {
        if active {
            return self.start_streaming_thread();
        }
        self.control.set_flushing(&self.sleeper, true);
        Ok(())
    }

    /// Has the streaming thread negotiate before the next frame.
    pub(super) fn request_negotiation(&self) {
        self.reconfigure.store(true, Ordering::Release);
    }

    /// Adds a pad for a further stream. The camera is reconfigured once it is linked.
    fn add_pad(&self, template: &gst::PadTemplate, name: Option<&str>) -> Option<gst::Pad> {
        let element = self.obj();
        let taken = |name: &str| element.static_pad(name).is_some();
        let name = match name {
            Some(name) if taken(name) => return None,
            Some(name) => name.to_owned(),
            None => (0..u32::MAX).map(|number| format!("src_{number}")).find(|name| !taken(name))?,
        };
        let pad = Self::build_pad(template, &name);
        if element.current_state() >= gst::State::Paused || element.pending_state() >= gst::State::Paused {
            pad.set_active(true).ok()?;
        }
        element.add_pad(&pad).ok()?;
        self.request_negotiation();
        element.child_added(&pad, &pad.name());
        Some(pad.upcast())
    }

    fn remove_pad(&self, pad: &gst::Pad) {
        let element = self.obj();
        let _ = pad.set_active(false);
        let name = pad.name();
        if element.remove_pad(pad).is_ok() {
            element.child_removed(pad, &name);
            self.request_negotiation();
        }
    }

    fn query_pad(&self, pad: &SwsyncSrcPad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Latency(latency) => self.answer_latency(latency),
            gst::QueryViewMut::Caps(caps) => {
                let known = self.known_caps(pad.role());
                let result = match caps.filter() {
                    Some(filter) => {
                        filter.to_owned().intersect_with_mode(&known, gst::CapsIntersectMode::First)
                    }
                    None => known,
                };
                caps.set_result(&result);
                true
            }
            // As GstPushSrc answers it.
            gst::QueryViewMut::Scheduling(scheduling) => {
                scheduling.set(gst::SchedulingFlags::SEQUENTIAL, 1, -1, 0);
                scheduling.add_scheduling_modes([gst::PadMode::Push]);
                true
            }
            gst::QueryViewMut::Custom(custom) => {
                let Some(from) = centre_query::asked(custom.query()) else {
                    return gst::Pad::query_default(pad, Some(&*self.obj()), query);
                };
                if let Some(measured) = self.centre.ask(from, CENTRE_WAIT) {
                    centre_query::answer(custom, &measured);
                }
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    fn event_pad(&self, pad: &SwsyncSrcPad, event: gst::Event) -> bool {
        match event.type_() {
            gst::EventType::Reconfigure => {
                self.request_negotiation();
                true
            }
            gst::EventType::Latency => true,
            gst::EventType::CustomUpstream => controls::handle_event(&self.controls, &self.obj(), &event),
            _ => gst::Pad::event_default(pad, Some(&*self.obj()), event),
        }
    }

    /// Where controls are set.
    pub(super) fn controls(&self) -> &ControlQueue {
        &self.controls
    }

    /// The camera's formats in a stream of `role`; the template's while they are not known.
    pub(super) fn known_caps(&self, role: StreamRole) -> gst::Caps {
        let known = self.known.lock();
        let of_role = StreamRole::ALL.iter().zip(&known.caps).find(|(of, _)| **of == role);
        let known = of_role.and_then(|(_, caps)| caps.clone());
        known.unwrap_or_else(|| self.src.pad_template_caps())
    }

    /// Answers the query if the latency is known; whether it is.
    pub(super) fn answer_latency(&self, latency: &mut gst::query::Latency) -> bool {
        let known = self.known.lock().latency;
        if let Some((least, most)) = known {
            latency.set(true, least, most);
        }
        known.is_some()
    }

    /// Keeps the formats of a stream of `role` for queries.
    pub(super) fn note_caps(&self, role: StreamRole, caps: &gst::Caps) {
        let mut known = self.known.lock();
        for (of, known) in StreamRole::ALL.iter().zip(&mut known.caps) {
            if *of == role {
                *known = Some(caps.clone());
            }
        }
    }

    pub(super) fn monitor(&self, note: impl FnOnce(&InterruptionMonitor)) {
        self.interruptions.lock().as_ref().inspect(|monitor| note(monitor));
    }

    fn play(&self) {
        self.monitor(|monitor| monitor.note_pause(false));
        // The base time is already set: see `running_time`.
        self.control.play(&self.sleeper, self.obj().clock().map(|clock| clock.time()));
    }

    fn pause(&self) {
        self.monitor(|monitor| monitor.note_pause(true));
        self.control.pause(&self.sleeper);
    }

    /// Warns if the pipeline has a `swsyncclock` but uses another clock. Without one, any clock is right.
    fn check_pipelines_clock(&self) {
        let (element, chosen) = (self.obj().clone().upcast::<gst::Element>(), self.obj().clock());
        let all = pipeline_clock::all_around(&element);
        let rig_clocks: Vec<_> = all.iter().filter(|other| other.is::<SwsyncClockElement>()).collect();
        let Some(rig_clock) = rig_clocks.first() else { return };
        if chosen.as_ref().is_some_and(|chosen| chosen.is::<SwsyncClock>()) {
            return;
        }
        let (text, remedy) = pipeline_clock::warning(&element, chosen.as_ref(), rig_clock);
        gst::element_imp_warning!(self, gst::CoreError::Clock, ("{text}"), ["{remedy}"]);
    }

    /// The running time of a frame that was taken at `time`; `None` if the pipeline did not play then.
    ///
    /// A pause changes the base time. Frames that were exposed before its end have no running time: it would go back by the
    /// length of the pause.
    pub(super) fn running_time(&self, time: Timestamp<Rig>) -> Option<gst::ClockTime> {
        let time = clock_time(time);
        // Under the lock: the base time is set before `playing_since`.
        self.control.with(|state| {
            if !state.is_playing() || state.playing_since.is_some_and(|since| time < since) {
                return None;
            }
            time.checked_sub(self.obj().base_time()?)
        })
    }

    pub(super) fn post_element_message(&self, structure: gst::Structure) {
        let message = gst::message::Element::builder(structure).src(&*self.obj()).build();
        // It fails without a bus, and then nobody listens.
        let _ = self.obj().post_message(message);
    }
}
