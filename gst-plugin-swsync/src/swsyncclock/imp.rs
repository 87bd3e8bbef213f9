use std::sync::{Arc, LazyLock};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use parking_lot::Mutex;
use swsync_core::frame::SyncState;
use swsync_time::{DeviceClock, SIMULATED_CLOCK};

use super::events::EventHandler;
use super::page::Page;
use super::properties::properties;
use super::provided_clock::ProvidedClock;
use super::settings::Settings;
use super::status::{self, ClockState, nanos_or_unknown};
use super::sync_wait::{SyncWait, WaitEnd};
use super::time_source::TimeSource;
use super::{CAT, Source};
use crate::clock::pipeline_clock;

#[derive(Default)]
enum State {
    #[default]
    Stopped,
    Started {
        source: Box<TimeSource>,
        /// The rig's page, if it is served.
        _page: Option<Page>,
    },
}

// No two of the mutexes are held at once.
#[derive(Default)]
pub struct SwsyncClockElement {
    settings: Mutex<Settings>,
    state: Mutex<State>,
    provided: Arc<ProvidedClock>,
    /// The wait under way on the way to PAUSED.
    wait: Mutex<Option<Arc<SyncWait>>>,
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
            let mut properties = properties();
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
        self.settings.lock().set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let name = pspec.name();
        if let Some(value) = self.settings.lock().get(name) {
            return value;
        }
        let status = self.provided.clock().map(|clock| clock.rig().status());
        let announced = self.provided.announced();
        match name {
            "address" => self.source(|source| source.address()).map(|it| it.to_string()).to_value(),
            "synced" => announced.is_some_and(|announced| announced.is_synced()).to_value(),
            "state" => announced.map_or(ClockState::Unsynced, |it| it.quality.into()).to_value(),
            "offset" => status.map_or(0, |status| status.offset_ns.as_nanos()).to_value(),
            "uncertainty" => nanos_or_unknown(status.and_then(|it| it.uncertainty_ns)).to_value(),
            "asymmetry-bound" => {
                let quality = status.as_ref().map_or(SyncState::Unsynced, |status| status.quality);
                nanos_or_unknown(self.source(|source| source.asymmetry_bound(quality))).to_value()
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
            gst::StateChange::ReadyToNull => self.provided.close(),
            _ => {}
        }
        result
    }

    fn provide_clock(&self) -> Option<gst::Clock> {
        self.provided.clock().map(Cast::upcast)
    }
}

impl SwsyncClockElement {
    fn fail(&self, error: gst::ErrorMessage) -> gst::StateChangeError {
        self.post_error_message(error);
        gst::StateChangeError
    }

    /// Warns if the pipeline took another clock.
    fn check_pipelines_clock(&self) {
        let (element, chosen) = (self.obj().clone().upcast::<gst::Element>(), self.obj().clock());
        if chosen == self.provide_clock() {
            return;
        }
        let (text, remedy) = pipeline_clock::warning(&element, chosen.as_ref(), &element);
        gst::element_imp_warning!(self, gst::CoreError::Clock, ("{text}"), ["{remedy}"]);
    }

    /// Asks the time source, if the element is started.
    fn source<T>(&self, ask: impl FnOnce(&TimeSource) -> Option<T>) -> Option<T> {
        match &*self.state.lock() {
            State::Started { source, .. } => ask(source),
            State::Stopped => None,
        }
    }

    /// NULL to READY.
    fn open(&self) -> Result<(), gst::ErrorMessage> {
        let device = DeviceClock::of_this_process()
            .map_err(|error| gst::error_msg!(gst::LibraryError::Settings, ("{SIMULATED_CLOCK}: {error}")))?;
        if device.is_simulated() {
            gst::warning!(CAT, imp = self, "this device's clock is simulated ({SIMULATED_CLOCK})");
        }
        self.provided.open(device);
        Ok(())
    }

    /// READY to PAUSED: serves or follows, and waits until the clock is synced.
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let mut settings = self.settings.lock().clone();
        let resolved = settings.rig.resolve(self.obj().upcast_ref(), *CAT)?;
        self.settings.lock().rig.keep(resolved.clone());
        settings.set_resolved(resolved);
        let goes_on = settings.can_lead() && settings.source == Source::Rig;
        let clock = self.provided.begin_run(goes_on);
        clock.rig().set_path_offset(settings.path_offset()?);
        let wait = Arc::new(SyncWait::default());
        let events = EventHandler::new(&self.obj(), &settings, clock, self.provided.clone(), wait.clone())?;
        let events = Arc::new(events);
        if settings.wait_sync {
            *self.wait.lock() = Some(wait.clone());
        }
        let source = Box::new(TimeSource::start(&settings, &events)?);
        let page = settings.dashboard.as_deref().filter(|address| !address.is_empty());
        let page = page.map(|address| Page::start(address, &settings.resolved, self.obj().upcast_ref()));
        *self.state.lock() = State::Started { source, _page: page.transpose()? };
        let waited = if settings.wait_sync { self.wait_for_sync(&settings, &wait) } else { Ok(()) };
        *self.wait.lock() = None;
        waited?;
        let clock: gst::Clock = events.clock().upcast();
        let message = gst::message::ClockProvide::builder(&clock, true).src(&*self.obj()).build();
        // Fails only without a bus: then no pipeline takes the clock.
        let _ = self.obj().post_message(message);
        Ok(())
    }

    /// PAUSED to READY, and after a failure anywhere on the way to PAUSED.
    fn stop(&self) {
        *self.wait.lock() = None;
        let state = std::mem::take(&mut *self.state.lock());
        let ran = matches!(state, State::Started { .. });
        drop(state); // joins the source's threads, without the lock
        self.provided.end_run(ran);
        if ran {
            self.provided.announce(&self.obj(), SyncState::Unsynced, "");
        }
    }

    /// Ends the wait for synchronization. Returns whether there was one.
    fn cancel(&self) -> bool {
        let wait = self.wait.lock().clone();
        wait.inspect(|wait| wait.cancel()).is_some()
    }

    fn wait_for_sync(&self, settings: &Settings, wait: &SyncWait) -> Result<(), gst::ErrorMessage> {
        let progress = || self.source(|source| Some(source.progress())).unwrap_or_default();
        let timeout = Duration::from_nanos(settings.sync_timeout.nseconds());
        self.post_progress(gst::ProgressType::Start, &format!("waiting for {}", settings.sought()));
        let end = wait.until_ended(timeout, || {
            let progress = progress();
            gst::debug!(CAT, imp = self, "waiting for synchronization: {progress}");
            self.post_progress(gst::ProgressType::Continue, &format!("synchronizing: {progress}"));
        });
        match end {
            WaitEnd::Synced => {
                self.post_progress(gst::ProgressType::Complete, "the clock is in rig time");
                Ok(())
            }
            WaitEnd::TimedOut => {
                let text = format!("Not synchronized within {timeout:?}: {}", progress());
                self.post_progress(gst::ProgressType::Error, &text);
                let remedy = self.source(|source| Some(source.remedy())).unwrap_or_default();
                let key_hint = settings.key_hint().map(|hint| format!(" {hint}.")).unwrap_or_default();
                Err(gst::error_msg!(
                    gst::CoreError::Clock,
                    ("{text}{key_hint}"),
                    ["{remedy} `sync-timeout` sets how long to wait."]
                ))
            }
            WaitEnd::Cancelled => {
                let text =
                    format!("Not synchronized before the application cancelled the wait: {}", progress());
                self.post_progress(gst::ProgressType::Canceled, &text);
                Err(gst::error_msg!(gst::CoreError::StateChange, ("{text}")))
            }
        }
    }

    fn post_progress(&self, kind: gst::ProgressType, text: &str) {
        let message = gst::message::Progress::builder(kind, "sync", text).src(&*self.obj()).build();
        // Fails only without a bus.
        let _ = self.obj().post_message(message);
    }

    fn stats(&self) -> Option<gst::Structure> {
        let mut stats = self.provided.stats()?;
        let quality = self.provided.clock()?.rig().quality();
        self.source(|source| {
            source.add_stats(&mut stats, quality);
            Some(())
        });
        Some(stats)
    }
}
