//! Handles the events of a time source: the provided clock, and messages, follow them.

use std::net::SocketAddr;
use std::sync::Arc;

use gst::glib;
use gst::prelude::*;
use parking_lot::Mutex;
use swsync_core::frame::SyncState;
use swsync_core::time::Span;
use swsync_core::time_service::LeadStart;
use swsync_time::ClockEvent;
use swsync_time::RigClock;

use super::net_time_provider::net_time_provider;
use super::provided_clock::ProvidedClock;
use super::settings::Settings;
use super::sync_wait::SyncWait;
use super::{CAT, SwsyncClockElement};
use crate::clock::SwsyncClock;

/// Handles the events of one run of the element, on the threads of its time source.
pub struct EventHandler {
    pub rig: Arc<RigClock>,
    /// The clock of this run; another one once rig time has begun anew.
    clock: Mutex<SwsyncClock>,
    provided: Arc<ProvidedClock>,
    element: glib::WeakRef<SwsyncClockElement>,
    wait: Arc<SyncWait>,
    net_time_provider: Mutex<Option<gst_net::NetTimeProvider>>,
    settings: Settings,
    /// Where the time comes from, in words.
    leader: Mutex<String>,
}

impl EventHandler {
    pub fn new(
        element: &SwsyncClockElement,
        settings: &Settings,
        clock: SwsyncClock,
        provided: Arc<ProvidedClock>,
        wait: Arc<SyncWait>,
    ) -> Result<Self, gst::ErrorMessage> {
        Ok(Self {
            net_time_provider: Mutex::new(net_time_provider(settings, &clock)?),
            settings: settings.clone(),
            rig: clock.rig().clone(),
            clock: Mutex::new(clock),
            provided,
            element: element.downgrade(),
            wait,
            leader: Mutex::default(),
        })
    }

    pub fn clock(&self) -> SwsyncClock {
        self.clock.lock().clone()
    }

    /// The time comes from `leader` from now on.
    pub fn set_leader(&self, leader: String) {
        *self.leader.lock() = leader;
    }

    pub fn handle(&self, event: ClockEvent) {
        match event {
            ClockEvent::QualityChanged { to, .. } => self.handle_quality(to),
            ClockEvent::Stepped { by, held_for } => self.handle_step(by, held_for),
            ClockEvent::Ends => self.clock().end(),
            ClockEvent::Began { by } => self.handle_new_rig_time(by),
            ClockEvent::Refused { address, refusal } => {
                self.warn(
                    &format!("{address}: {refusal}"),
                    "Other servers, if there are any, are tried in turn.",
                );
            }
            ClockEvent::Resumed { slept } => self.warn(
                &format!("The device has slept for {slept:?}: its clock is in holdover"),
                "Rig time went on by the boot-time clock. It is in sync again once its source has settled it. A leader \
                 listens for five seconds whether another device leads by now.",
            ),
            ClockEvent::TimescaleChanged => self.warn(
                "The rig's time scale is another one now, and this device has joined it",
                "Two rigs of one name have met, or the rig was split. The older time scale counts.",
            ),
            ClockEvent::Leads { start } => self.handle_lead(start),
            ClockEvent::Resigned { address } => {
                self.set_leader(address.map(|address| address.to_string()).unwrap_or_default());
                self.inform("Another device leads the rig from now on; this one follows it");
            }
            ClockEvent::TwoLeaders { device, address, same_scale } => {
                self.warn_of_two_leaders(&device, address, same_scale);
            }
            ClockEvent::LeaderChanged { address } => self.set_leader(address.to_string()),
            // Before the clock is synced, progress messages say so.
            ClockEvent::SourceUnusable { why } if self.clock().is_synced() => {
                self.warn("The source of time cannot be used now", &why);
            }
            other => gst::debug!(CAT, "{other:?}"),
        }
    }

    /// This device leads from now on.
    fn handle_lead(&self, start: LeadStart) {
        self.set_leader("this device".into());
        self.inform(match start {
            LeadStart::GoOn(_) => "This device leads the rig from now on, and its time goes on",
            LeadStart::Begin { .. } => {
                "This device leads the rig: nobody knew its time, which begins at this device's wall clock"
            }
        });
    }

    fn warn_of_two_leaders(&self, device: &str, address: Option<SocketAddr>, same_scale: bool) {
        let rig = self.settings.resolved.rig();
        let address = address.map_or_else(|| "an unknown address".into(), |address| address.to_string());
        let scale = if same_scale { "the same time scale" } else { "another time scale" };
        self.warn(
            &format!("Device {device} at {address} leads rig {rig} too, on {scale}"),
            "Are there two rigs of this name? Then give one of them another: `rig`. If it is one rig, its devices do not all \
             reach one another.",
        );
    }

    pub fn handle_quality(&self, quality: SyncState) {
        if quality.is_synced() {
            self.start_clock();
            if let Some(provider) = &*self.net_time_provider.lock() {
                provider.set_active(true);
            }
        }
        self.clock().recheck();
        if let Some(element) = self.element.upgrade() {
            let leader = self.leader.lock().clone();
            self.provided.announce(&element, quality, &leader);
        }
        if quality.is_synced() {
            self.wait.succeed();
        }
    }

    /// Rig time is known: the clock reads it from now on.
    ///
    /// If a pipeline already plays on the clock, it gets another one instead: this one would jump forward by decades, and all running times
    /// with it.
    fn start_clock(&self) {
        let clock = self.clock();
        let plays = |element: SwsyncClockElement| plays_on(element.upcast(), clock.upcast_ref());
        if clock.has_started() || !self.element.upgrade().is_some_and(plays) {
            clock.start();
            return;
        }
        clock.end();
        self.warn(
            "Rig time is known now, but the pipeline plays on a clock that does not read it",
            "With wait-sync=false that is so until the pipeline, told by CLOCK_LOST, has gone through PAUSED to PLAYING.",
        );
        self.replace_clock();
    }

    /// Rig time has begun anew: it had been off by so much.
    fn handle_new_rig_time(&self, by: Span) {
        if let Some(element) = self.element.upgrade() {
            post_step(&element, by, Span::ZERO, true);
        }
        self.warn(
            &format!("Rig time has begun anew: it had been {by:?} off"),
            "The rig was split or two rigs have met, and the older time scale counts; or the leader's source has stepped. Frames are not synced \
             until the pipeline, told by CLOCK_LOST, has gone through PAUSED to PLAYING.",
        );
        self.replace_clock();
    }

    /// Has the pipeline take another clock, and with it another base time.
    fn replace_clock(&self) {
        let new = self.provided.replace(self.rig.clone());
        let old = std::mem::replace(&mut *self.clock.lock(), new.clone());
        {
            let mut provider = self.net_time_provider.lock();
            if provider.take().is_some() {
                match net_time_provider(&self.settings, &new) {
                    Ok(new) => *provider = new.inspect(|new| new.set_active(true)),
                    Err(error) => gst::error!(CAT, "GStreamer's time server ends: {error}"),
                }
            }
        }
        let Some(element) = self.element.upgrade() else { return };
        let lost = gst::message::ClockLost::builder(old.upcast_ref::<gst::Clock>()).src(&element).build();
        let _ = element.post_message(lost); // fails only without a bus
    }

    fn handle_step(&self, by: Span, held_for: Span) {
        self.clock().recheck();
        let Some(element) = self.element.upgrade() else { return };
        post_step(&element, by, held_for, false);
        self.warn(
            &format!("The clock was wrong by {by:?} and has been stepped"),
            "An error beyond `step-threshold` is not slewed. A clock that was ahead stands still until its time has come.",
        );
    }

    fn inform(&self, text: &str) {
        if let Some(element) = self.element.upgrade() {
            gst::info!(CAT, obj = element, "{text}");
            // gst-launch-1.0 prints the debug part alone.
            gst::element_info!(element, gst::CoreError::Clock, ("{text}"), ["{text}"]);
        }
    }

    fn warn(&self, text: &str, debug: &str) {
        if let Some(element) = self.element.upgrade() {
            gst::element_warning!(element, gst::CoreError::Clock, ("{text}"), ["{debug}"]);
        }
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

fn post_step(element: &SwsyncClockElement, by: Span, held_for: Span, anew: bool) {
    let structure = gst::Structure::builder("swsync-clock-stepped")
        .field("by", by.as_nanos())
        .field("held-for", held_for.as_nanos())
        .field("anew", anew)
        .build();
    let message = gst::message::Element::builder(structure).src(element).build();
    let _ = element.post_message(message); // fails only without a bus
}
