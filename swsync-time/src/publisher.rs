//! Sets a clock, and reports the events that follow from that.

use std::sync::Arc;

use swsync_core::frame::SyncState;
use swsync_core::servo::Adjustment;
use swsync_core::time::{Local, Span, Timestamp};
use swsync_core::time_service::{ClockUpdate, LeadStart};

use crate::event::OnEvent;
use crate::{ClockEvent, RigClock};

/// Sets a clock, and reports the events that follow from that.
pub(crate) struct ClockPublisher {
    pub(crate) clock: Arc<RigClock>,
    pub(crate) on_event: OnEvent,
    timescale: Option<u64>,
    /// The quality that was last reported.
    reported: SyncState,
    /// How long the device had slept when its user last heard of it.
    slept: Span,
}

impl ClockPublisher {
    pub(crate) fn new(clock: Arc<RigClock>, on_event: OnEvent) -> Self {
        let (reported, slept) = (clock.quality(), clock.slept());
        Self { clock, on_event, timescale: None, reported, slept }
    }

    /// How long the device has slept since the last call, if it has. Whoever works out updates has to be told before it works out
    /// the next one: see [`Self::publish`].
    pub(crate) fn take_sleep(&mut self) -> Option<Span> {
        let slept = self.clock.slept();
        let since = slept - std::mem::replace(&mut self.slept, slept);
        if since == Span::ZERO {
            return None;
        }
        (self.on_event)(ClockEvent::Resumed { slept: since });
        self.report_quality();
        Some(since)
    }

    /// Follows a server or a reference, unless the device has slept since [`Self::take_sleep`] was last called: then the update is
    /// out of date.
    pub(crate) fn publish(&mut self, update: ClockUpdate) {
        if self.clock.slept() != self.slept {
            return;
        }
        if let Some(Adjustment::Began { .. }) = update.adjustment {
            (self.on_event)(ClockEvent::Ends);
        }
        if !self.clock.follow_unless_slept(update, self.slept) {
            return;
        }
        if let Some(timescale) = update.upstream.field.map(|field| field.timescale) {
            if self.timescale.is_some_and(|before| before != timescale) {
                (self.on_event)(ClockEvent::TimescaleChanged);
            }
            self.timescale = Some(timescale);
        }
        match update.adjustment {
            Some(Adjustment::Stepped { by, held }) => {
                (self.on_event)(ClockEvent::Stepped { by, held_for: held });
            }
            Some(Adjustment::Began { by }) => (self.on_event)(ClockEvent::Began { by }),
            Some(Adjustment::Set(_) | Adjustment::Slewing(_)) | None => {}
        }
        self.report_quality();
    }

    /// Leads from `at` on.
    pub(crate) fn lead(&mut self, at: Timestamp<Local>, start: LeadStart) {
        self.clock.lead_from(at, start);
        self.timescale = Some(match start {
            LeadStart::GoOn(scale) => scale.id,
            LeadStart::Begin { id, .. } => id,
        });
        self.report_quality();
    }

    /// Does not lead any more; who does is not known yet.
    pub(crate) fn stand_down(&mut self) {
        self.clock.stand_down();
        self.report_quality();
    }

    /// Reports a change of the clock's quality, which may come without an update: a hold after a step ends by itself.
    /// Returns whether the clock is in holdover, and so to be checked again.
    pub(crate) fn report_quality(&mut self) -> bool {
        let (from, to) = (self.reported, self.clock.quality());
        if from != to {
            self.reported = to;
            swsync_core::log::info!(from = from.as_str(), to = to.as_str(), "clock");
            (self.on_event)(ClockEvent::QualityChanged { from, to });
        }
        to == SyncState::Holdover
    }
}
