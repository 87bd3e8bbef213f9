use std::net::UdpSocket;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use swsync_core::frame::SyncQuality;
use swsync_core::time::Span;
use swsync_rig::clock::{DeviceClock, RigClock, SIMULATED_CLOCK};
use swsync_rig::time::ClockEvent;

use super::time_source::Service;
use super::settings::Settings;
use super::status::{self, ClockState, Condition, nanos_or_unknown};
use super::sync_wait::{Outcome, Wait};
use super::{Role, Source};
use crate::clock::SwsyncClock;
use crate::clock::pipeline_clock;
use crate::lock::lock;
use crate::signals::Signals;

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swsyncclock", gst::DebugColorFlags::empty(), Some("swsync clock"))
});

#[derive(Default)]
enum State {
    #[default]
    Stopped,
    Started {
        service: Service,
    },
}

/// From NULL to READY: the clock that a pipeline can choose, and what was last said of it.
#[derive(Debug)]
struct Opened {
    clock: SwsyncClock,
    condition: Condition,
    /// What the last run knew of rig time. A leader goes on from it, so that leadership can move to
    /// a client, and a leader be restarted, without a step.
    known: Option<Arc<RigClock>>,
}

/// What the source of time tells of one start of the element, from its own threads.
pub(super) struct Listener {
    pub(super) rig: Arc<RigClock>,
    /// What pipelines run on; another one once rig time has begun anew.
    clock: Mutex<SwsyncClock>,
    element: glib::WeakRef<super::SwsyncClockElement>,
    wait: Arc<Wait>,
    provider: Mutex<Option<gst_net::NetTimeProvider>>,
    /// Its settings.
    settings: Settings,
    /// Where the time comes from, in words.
    leader: Mutex<String>,
}

// No two of the mutexes are held at once.
#[derive(Default)]
pub struct SwsyncClockElement {
    settings: Mutex<Settings>,
    state: Mutex<State>,
    opened: Mutex<Option<Opened>>,
    /// The wait under way on the way to PAUSED.
    wait: Mutex<Option<Arc<Wait>>>,
}

#[glib::object_subclass]
impl ObjectSubclass for SwsyncClockElement {
    const NAME: &'static str = "GstSwsyncClockElement";
    type Type = super::SwsyncClockElement;
    type ParentType = gst::Element;
}

impl ObjectImpl for SwsyncClockElement {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut properties = Settings::properties();
            properties.extend(status::properties());
            properties
        });
        &PROPERTIES
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            vec![
                glib::subclass::Signal::builder("cancel")
                    .return_type::<bool>()
                    .action()
                    .class_handler(|arguments| {
                        let element: super::SwsyncClockElement =
                            arguments[0].get().expect("the signal's object");
                        Some(element.imp().cancel().to_value())
                    })
                    .build(),
            ]
        });
        &SIGNALS
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        lock(&self.settings).set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let name = pspec.name();
        if let Some(value) = lock(&self.settings).get(name) {
            return value;
        }
        let status = self.clock().map(|clock| clock.rig().status());
        match name {
            "address" => self.service(|service| service.address()).map(|it| it.to_string()).to_value(),
            "synced" => self.condition().is_some_and(|condition| condition.state.is_synced()).to_value(),
            "state" => self.condition().map_or(ClockState::Unsynced, |it| it.state).to_value(),
            "offset" => status.map_or(0, |status| status.offset_ns.as_nanos()).to_value(),
            "uncertainty" => nanos_or_unknown(status.and_then(|it| it.uncertainty_ns)).to_value(),
            "asymmetry-bound" => {
                nanos_or_unknown(self.service(|service| service.asymmetry_bound())).to_value()
            }
            "last-round-trip" => nanos_or_unknown(status.and_then(|it| it.round_trip_ns)).to_value(),
            "stats" => self.stats().to_value(),
            name => unreachable!("no property {name}"),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_element_flags(gst::ElementFlags::PROVIDE_CLOCK);
    }
}

impl GstObjectImpl for SwsyncClockElement {}

impl ElementImpl for SwsyncClockElement {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Rig clock",
                "Generic/Clock/Network",
                "Provides a clock that all devices of a rig agree on to microseconds",
                "The swsync developers",
            )
        });
        Some(&METADATA)
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::NullToReady => self.open().map_err(|error| self.fail(error))?,
            gst::StateChange::ReadyToPaused => self.start().map_err(|error| {
                self.stop();
                self.fail(error)
            })?,
            _ => {}
        }
        let result = self.parent_change_state(transition);
        match transition {
            gst::StateChange::PausedToPlaying => self.check_pipelines_clock(),
            gst::StateChange::PausedToReady => self.stop(),
            gst::StateChange::ReadyToNull => *lock(&self.opened) = None,
            _ => {}
        }
        result
    }

    fn provide_clock(&self) -> Option<gst::Clock> {
        self.clock().map(Cast::upcast)
    }
}

impl SwsyncClockElement {
    fn fail(&self, error: gst::ErrorMessage) -> gst::StateChangeError {
        self.post_error_message(error);
        gst::StateChangeError
    }

    fn clock(&self) -> Option<SwsyncClock> {
        lock(&self.opened).as_ref().map(|opened| opened.clock.clone())
    }

    /// Warns where the pipeline took another clock.
    fn check_pipelines_clock(&self) {
        let (element, chosen) = (self.obj().clone().upcast::<gst::Element>(), self.obj().clock());
        if chosen == self.clock().map(Cast::upcast) {
            return;
        }
        let (text, remedy) = pipeline_clock::warning(&element, chosen.as_ref(), &element);
        gst::element_imp_warning!(self, gst::CoreError::Clock, ("{text}"), ["{remedy}"]);
    }

    fn condition(&self) -> Option<Condition> {
        lock(&self.opened).as_ref().map(|opened| opened.condition)
    }

    /// What a started service says.
    fn service<T>(&self, ask: impl FnOnce(&Service) -> Option<T>) -> Option<T> {
        match &*lock(&self.state) {
            State::Started { service } => ask(service),
            State::Stopped => None,
        }
    }

    /// NULL to READY: the clock exists from here on, so that a pipeline can choose it.
    fn open(&self) -> Result<(), gst::ErrorMessage> {
        let device = DeviceClock::of_this_process()
            .map_err(|error| gst::error_msg!(gst::LibraryError::Settings, ("{SIMULATED_CLOCK}: {error}")))?;
        if device.is_simulated() {
            gst::warning!(CAT, imp = self, "this device's clock is simulated ({SIMULATED_CLOCK})");
        }
        let condition = Condition { state: ClockState::Unsynced, since: device.now() };
        let clock = SwsyncClock::new("SwsyncClock", Arc::new(RigClock::new(device)));
        *lock(&self.opened) = Some(Opened { clock, condition, known: None });
        Ok(())
    }

    /// READY to PAUSED: serves or follows, and waits until the clock is synced.
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let clock = self.clock_for(&settings);
        let signals = Signals::watch();
        let wait = Arc::new(Wait::default());
        let listener = Arc::new(Listener {
            provider: Mutex::new(Self::net_time_provider(&settings, &clock)?),
            settings: settings.clone(),
            rig: clock.rig().clone(),
            clock: Mutex::new(clock),
            element: self.obj().downgrade(),
            wait: wait.clone(),
            leader: Mutex::default(),
        });
        if settings.wait_sync {
            *lock(&self.wait) = Some(wait.clone());
        }
        let service = Service::start(&settings, &listener)?;
        *lock(&self.state) = State::Started { service };
        let leads = self.service(|service| service.leads().then_some(())).is_some();
        if leads {
            listener.handle_quality(SyncQuality::Leading);
        }
        let waits = settings.wait_sync && !leads;
        let waited = if waits { self.wait_for_sync(&settings, &wait, &signals) } else { Ok(()) };
        *lock(&self.wait) = None;
        waited?;
        let clock: gst::Clock = lock(&listener.clock).clone().upcast();
        let message = gst::message::ClockProvide::builder(&clock, true).src(&*self.obj()).build();
        // Without a bus no pipeline wants a clock.
        let _ = self.obj().post_message(message);
        Ok(())
    }

    /// The clock for another run.
    fn clock_for(&self, settings: &Settings) -> SwsyncClock {
        let mut opened = lock(&self.opened);
        let opened = opened.as_mut().expect("made on the way to READY");
        let known = opened.known.take();
        if let Some(known) = known.filter(|_| (settings.role, settings.source) == (Role::Leader, Source::Rig))
        {
            opened.clock = SwsyncClock::new("SwsyncClock", known);
        }
        opened.clock.clone()
    }

    /// GStreamer's own server of time, which answers once the clock is synced.
    fn net_time_provider(
        settings: &Settings,
        clock: &SwsyncClock,
    ) -> Result<Option<gst_net::NetTimeProvider>, gst::ErrorMessage> {
        let port = settings.net_time_provider;
        if port == 0 {
            return Ok(None);
        }
        let ip = settings.ip()?;
        let refuse = |why: &dyn std::fmt::Display| {
            gst::error_msg!(
                gst::ResourceError::OpenReadWrite,
                ("net-time-provider={port}: UDP port {port} of {ip} cannot be had: {why}"),
                ["Does something else serve there? Choose another port."]
            )
        };
        // GStreamer shares a port with others that share it, and then only one of them is asked.
        UdpSocket::bind((ip, port)).map_err(|error| refuse(&error))?;
        let provider = gst_net::NetTimeProvider::new(clock, Some(&ip.to_string()), i32::from(port))
            .map_err(|error| refuse(&error))?;
        provider.set_active(false);
        Ok(Some(provider))
    }

    /// PAUSED to READY, and after a failure on the way to PAUSED, wherever that was.
    fn stop(&self) {
        *lock(&self.wait) = None;
        let state = std::mem::take(&mut *lock(&self.state));
        let ran = matches!(state, State::Started { .. });
        drop(state); // joins the service's task, without the lock
        let Some(clock) = self.clock() else { return };
        clock.set_synced(false);
        // A GstClock never goes back, even if the next leader's time is less: the next run has a clock of
        // its own.
        let rig = RigClock::new(clock.rig().device().clone());
        if let Some(opened) = &mut *lock(&self.opened) {
            opened.clock = SwsyncClock::new("SwsyncClock", Arc::new(rig));
            opened.known = ran.then(|| clock.rig().clone());
        }
        if ran {
            self.announce(ClockState::Unsynced, "");
        }
    }

    /// Ends the wait for synchronization, if there is one.
    fn cancel(&self) -> bool {
        let wait = lock(&self.wait).clone();
        wait.inspect(|wait| wait.cancel()).is_some()
    }

    fn wait_for_sync(
        &self,
        settings: &Settings,
        wait: &Wait,
        signals: &Signals,
    ) -> Result<(), gst::ErrorMessage> {
        let progress = || self.service(|service| Some(service.progress())).unwrap_or_default();
        let timeout = Duration::from_nanos(settings.sync_timeout.nseconds());
        self.post_progress(gst::ProgressType::Start, &format!("waiting for {}", settings.sought()));
        let outcome = wait.until_ended(timeout, signals, || {
            let progress = progress();
            gst::debug!(CAT, imp = self, "waiting for synchronization: {progress}");
            self.post_progress(gst::ProgressType::Continue, &format!("synchronizing: {progress}"));
        });
        let why = match outcome {
            Outcome::Synced => {
                self.post_progress(gst::ProgressType::Complete, "the clock is in rig time");
                return Ok(());
            }
            Outcome::TimedOut => format!("within {timeout:?}"),
            Outcome::Cancelled => "before the application cancelled the wait".to_owned(),
            Outcome::Signal(signal) => format!("before {signal} ended the wait"),
        };
        let text = format!("Not synchronized {why}: {}", progress());
        if outcome == Outcome::TimedOut {
            self.post_progress(gst::ProgressType::Error, &text);
            let remedy = self.service(|service| Some(service.remedy())).unwrap_or_default();
            Err(gst::error_msg!(
                gst::CoreError::Clock,
                ("{text}"),
                ["{remedy} `sync-timeout` sets how long to wait."]
            ))
        } else {
            self.post_progress(gst::ProgressType::Canceled, &text);
            Err(gst::error_msg!(gst::CoreError::StateChange, ("{text}")))
        }
    }

    fn post_progress(&self, kind: gst::ProgressType, text: &str) {
        let message = gst::message::Progress::builder(kind, "sync", text).src(&*self.obj()).build();
        // Without a bus nobody wants to know.
        let _ = self.obj().post_message(message);
    }

    /// Says on the bus, and to those who watch the properties, how well rig time is known now.
    fn announce(&self, state: ClockState, leader: &str) {
        let Some(clock) = self.clock() else { return };
        let condition = Condition { state, since: clock.rig().device().now() };
        if let Some(opened) = &mut *lock(&self.opened) {
            opened.condition = condition;
        }
        let status = clock.rig().status();
        let structure = gst::Structure::builder("swsync-clock")
            .field("state", state.as_str())
            .field("since", condition.since.as_nanos())
            .field("leader", leader)
            .field("offset", status.offset_ns.as_nanos())
            .field("uncertainty", nanos_or_unknown(status.uncertainty_ns))
            .build();
        let element = self.obj();
        gst::info!(CAT, imp = self, "{structure}");
        let message = gst::message::Element::builder(structure).src(&*element).build();
        let _ = element.post_message(message);
        element.notify("state");
        element.notify("synced");
    }

    fn stats(&self) -> Option<gst::Structure> {
        let status = self.clock()?.rig().status();
        let condition = self.condition()?;
        let mut stats = status::stats(&status, condition);
        self.service(|service| {
            service.add_stats(&mut stats);
            Some(())
        });
        Some(stats)
    }
}

/// Whether the pipeline of `element` plays on `clock`, or is about to. In any other state it takes its base time later.
fn plays_on(mut element: gst::Element, clock: &gst::Clock) -> bool {
    if element.clock().as_ref() != Some(clock) {
        return false;
    }
    while let Some(parent) = element.parent().and_downcast::<gst::Element>() {
        element = parent;
    }
    [element.current_state(), element.pending_state()].contains(&gst::State::Playing)
}

impl Listener {
    /// Where the time comes from, from now on.
    pub(super) fn set_leader(&self, leader: String) {
        *lock(&self.leader) = leader;
    }

    pub(super) fn handle(&self, event: ClockEvent) {
        match event {
            ClockEvent::QualityChanged { to, .. } => self.handle_quality(to),
            ClockEvent::Stepped { by, held_for } => self.handle_step(by, held_for),
            ClockEvent::Ends => {
                let clock = lock(&self.clock).clone();
                clock.end();
            }
            ClockEvent::Began { by } => self.handle_beginning(by),
            ClockEvent::Refused { address, refusal } => {
                self.warn(
                    &format!("{address}: {refusal}"),
                    "Other servers, if there are any, are tried in turn.",
                );
            }
            ClockEvent::TimescaleChanged => self.warn(
                "The leader's time scale is another one: rig time begins anew",
                "Was the leader restarted, or are there two in the rig?",
            ),
            ClockEvent::LeaderChanged { address } => self.set_leader(address.to_string()),
            // Before that it is what is waited for, and progress says so.
            ClockEvent::SourceUnusable { why } if lock(&self.clock).is_synced() => {
                self.warn("The source of time is of no use now", &why);
            }
            other => gst::debug!(CAT, "{other:?}"),
        }
    }

    fn handle_quality(&self, quality: SyncQuality) {
        let state = ClockState::from(quality);
        if state.is_synced() {
            self.start_clock();
            if let Some(provider) = &*lock(&self.provider) {
                provider.set_active(true);
            }
        }
        lock(&self.clock).recheck();
        if let Some(element) = self.element.upgrade() {
            let leader = lock(&self.leader).clone();
            element.imp().announce(state, &leader);
        }
        if state.is_synced() {
            self.wait.succeed();
        }
    }

    /// Rig time is known: the clock reads it from now on. One that a pipeline plays on does not: it would go forward by
    /// decades, and all running times with it. Such a pipeline gets another one.
    fn start_clock(&self) {
        let clock = lock(&self.clock).clone();
        let plays = |element: super::SwsyncClockElement| plays_on(element.upcast(), clock.upcast_ref());
        if clock.has_started() || !self.element.upgrade().is_some_and(plays) {
            clock.start();
            return;
        }
        clock.end();
        self.warn(
            "Rig time is known now, and the pipeline plays on another clock",
            "With wait-sync=false that is so until it, told by CLOCK_LOST, has gone through PAUSED to PLAYING.",
        );
        self.replace_clock();
    }

    /// Rig time has begun anew: it had been off by so much.
    fn handle_beginning(&self, by: Span) {
        if let Some(element) = self.element.upgrade() {
            self.post_step(&element, by, Span::ZERO, true);
        }
        self.warn(
            &format!("Rig time has begun anew: it had been {by:?} off"),
            "The leader was restarted with another wall clock, or its source has stepped. Frames are not synced \
             until the pipeline, told by CLOCK_LOST, has gone through PAUSED to PLAYING.",
        );
        self.replace_clock();
    }

    /// The pipeline is told to take another clock, and with it another base time.
    fn replace_clock(&self) {
        let new = SwsyncClock::new("SwsyncClock", self.rig.clone());
        new.start();
        let old = std::mem::replace(&mut *lock(&self.clock), new.clone());
        {
            let mut provider = lock(&self.provider);
            if provider.take().is_some() {
                match SwsyncClockElement::net_time_provider(&self.settings, &new) {
                    Ok(new) => *provider = new.inspect(|new| new.set_active(true)),
                    Err(error) => gst::error!(CAT, "GStreamer's server of time ends: {error}"),
                }
            }
        }
        let Some(element) = self.element.upgrade() else { return };
        if let Some(opened) = &mut *lock(&element.imp().opened) {
            opened.clock = new;
        }
        let lost = gst::message::ClockLost::builder(old.upcast_ref::<gst::Clock>()).src(&element).build();
        let _ = element.post_message(lost);
    }

    fn post_step(&self, element: &super::SwsyncClockElement, by: Span, held_for: Span, anew: bool) {
        let structure = gst::Structure::builder("swsync-clock-stepped")
            .field("by", by.as_nanos())
            .field("held-for", held_for.as_nanos())
            .field("anew", anew)
            .build();
        let message = gst::message::Element::builder(structure).src(element).build();
        let _ = element.post_message(message);
    }

    fn handle_step(&self, by: Span, held_for: Span) {
        lock(&self.clock).recheck();
        let Some(element) = self.element.upgrade() else { return };
        self.post_step(&element, by, held_for, false);
        self.warn(
            &format!("The clock was wrong by {by:?} and has been stepped"),
            "Beyond `step-threshold` an error is not slewed. A clock that was ahead stands still until its time has come.",
        );
    }

    /// Degraded but running.
    pub(super) fn warn(&self, text: &str, debug: &str) {
        if let Some(element) = self.element.upgrade() {
            gst::element_warning!(element, gst::CoreError::Clock, ("{text}"), ["{debug}"]);
        }
    }
}
