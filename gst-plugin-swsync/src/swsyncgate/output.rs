//! The gate's output: frames that the order queue wants saved go downstream.

use std::collections::HashMap;
use std::sync::{Arc, mpsc};

use gst::prelude::*;
use parking_lot::Mutex;
use swsync_core::camera_settings::SettingsLog;
use swsync_core::grid::FrameNumber;
use swsync_core::name::OrderId;
use swsync_core::order::{FrameOutcome, FrameRun, JournalRecord, NamedFrames, Order};

use super::OnShort;
use crate::order_service::{FrameToSave, OrderOutput, OrderService, Stream};

/// Why an order with `on-short=missed` yields nothing.
const SHORT: &str = "the order's first frames are not held, and on-short=missed asks for all or nothing";

/// What downstream returned last.
pub type LastFlow = Arc<Mutex<Result<gst::FlowSuccess, gst::FlowError>>>;

/// An order whose frames are being released.
struct Release {
    segment: Option<u64>,
    /// Buffers since the segment began that are not named; `None` once one was.
    lead_in: Option<u32>,
    released: u64,
    missing: u64,
    is_short: bool,
}

/// Where a frame, or a gap, is in the stream.
#[derive(Debug, Clone)]
pub struct StreamPosition {
    pub stream: Arc<Stream>,
    pub segment: gst::FormattedSegment<gst::ClockTime>,
    /// In the segment's time.
    pub begin: gst::ClockTime,
    pub end: gst::ClockTime,
}

impl StreamPosition {
    pub fn new(
        stream: &Arc<Stream>,
        segment: &gst::FormattedSegment<gst::ClockTime>,
        begin: gst::ClockTime,
        duration: Option<gst::ClockTime>,
    ) -> Self {
        let end = begin + duration.unwrap_or_default();
        Self { stream: Arc::clone(stream), segment: segment.clone(), begin, end }
    }
}

/// The position of the newest frame, released or not: set after the order service was handed the frame.
pub type NewestPosition = Arc<Mutex<Option<StreamPosition>>>;

/// Pushes on the gate's source pad, on the pad's task.
pub struct GateOutput {
    pad: gst::Pad,
    name: String,
    on_short: OnShort,
    /// Serialized events from upstream that are not about frames.
    events: mpsc::Receiver<gst::Event>,
    releases: HashMap<OrderId, Release>,
    /// The stream and segment that were last announced downstream.
    stream: Option<Arc<Stream>>,
    segment: Option<gst::FormattedSegment<gst::ClockTime>>,
    newest: NewestPosition,
    /// The newest position when the worker was last idle. When it is idle again, all frames up to there that orders name
    /// have been released.
    passed: Option<StreamPosition>,
    /// How far downstream has got frames or gaps.
    pushed_until: Option<gst::ClockTime>,
    /// Whether EOS was the last event.
    has_ended: bool,
    flow: LastFlow,
}

impl GateOutput {
    pub fn new(
        pad: gst::Pad,
        name: String,
        on_short: OnShort,
        events: mpsc::Receiver<gst::Event>,
        newest: NewestPosition,
        flow: LastFlow,
    ) -> Self {
        Self {
            pad,
            name,
            on_short,
            events,
            releases: HashMap::new(),
            stream: None,
            segment: None,
            newest,
            passed: None,
            pushed_until: None,
            has_ended: false,
            flow,
        }
    }

    fn push_custom_event(&self, structure: gst::Structure) {
        self.pad.push_event(gst::event::CustomDownstream::new(structure));
    }

    fn push_events(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            match event.type_() {
                // Downstream has it already, and has forgotten stream and segment.
                gst::EventType::FlushStop => {
                    (self.stream, self.segment, self.passed, self.pushed_until) = (None, None, None, None);
                    self.has_ended = false;
                }
                kind => {
                    self.has_ended = kind == gst::EventType::Eos;
                    self.pad.push_event(event);
                }
            }
        }
    }

    /// Announces stream and segment of the next frames, if they are new.
    fn announce_stream(&mut self, stream: &Arc<Stream>, segment: &gst::FormattedSegment<gst::ClockTime>) {
        if self.stream.as_ref().is_none_or(|known| known.caps != stream.caps) {
            self.pad.push_event(gst::event::Caps::new(&stream.caps));
            self.stream = Some(Arc::clone(stream));
        }
        if self.segment.as_ref() != Some(segment) {
            self.pad.push_event(gst::event::Segment::new(segment));
            self.segment = Some(segment.clone());
            self.pushed_until = None;
        }
    }

    /// Pushes a GAP up to the newest frame of which nothing more will be released: elements that have other streams
    /// beside this one go on with them.
    fn push_gap(&mut self) {
        let newest = self.newest.lock().clone();
        let Some(passed) = std::mem::replace(&mut self.passed, newest) else { return };
        let StreamPosition { stream, segment, begin, end } = passed;
        if self.has_ended || self.pushed_until.is_some_and(|until| until >= end) {
            return;
        }
        self.announce_stream(&stream, &segment);
        let from = self.pushed_until.unwrap_or(begin);
        self.pad.push_event(gst::event::Gap::builder(from).duration(end - from).build());
        self.pushed_until = Some(end);
    }
}

impl Release {
    /// A frame of `order` follows: the events that come before it.
    fn events_before(&mut self, frame: &FrameToSave) -> Vec<gst::Structure> {
        let (order, segment) = (frame.order.as_str(), frame.segment);
        let mut events = Vec::new();
        if self.segment != Some(segment) {
            self.segment = Some(segment);
            self.lead_in = Some(0);
            events.push(
                gst::Structure::builder("swsync-segment-begin")
                    .field("order", order)
                    .field("segment", segment)
                    .field("first-frame", frame.number)
                    .build(),
            );
        }
        match (&mut self.lead_in, frame.is_named()) {
            (Some(count), false) => *count += 1,
            (Some(count), true) => {
                if *count > 0 {
                    events.push(
                        gst::Structure::builder("swsync-in-point")
                            .field("order", order)
                            .field("segment", segment)
                            .field("lead-in", *count)
                            .build(),
                    );
                }
                self.lead_in = None;
            }
            (None, _) => {}
        }
        events
    }
}

impl OrderOutput for GateOutput {
    fn note(&mut self, _record: JournalRecord) {
        self.push_events(); // a gate keeps no journal
    }

    fn keep_settings(&mut self, _settings: &SettingsLog) {
        self.push_events(); // nor does it have a disk: after a restart it learns them from other devices
    }

    fn begin(
        &mut self,
        _service: &OrderService,
        order: &Order,
        named: NamedFrames,
        oldest: Option<FrameNumber>,
    ) {
        self.push_events();
        let is_short =
            self.on_short == OnShort::Missed && oldest.is_some_and(|oldest| named.first() < oldest);
        self.push_custom_event(
            gst::Structure::builder("swsync-order-begin")
                .field("order", order.id().as_str())
                .field("first-frame", named.first())
                .build(),
        );
        let release = Release { segment: None, lead_in: None, released: 0, missing: 0, is_short };
        self.releases.insert(order.id().clone(), release);
    }

    fn save(&mut self, service: &OrderService, save: FrameToSave) {
        self.push_events();
        let (number, is_named) = (save.number, save.is_named());
        let Some(release) = self.releases.get_mut(&save.order) else {
            service.handle_released(save.ticket);
            return;
        };
        if release.is_short {
            service.handle_released(save.ticket);
            if is_named {
                release.missing += 1;
                let outcome = FrameOutcome::Missed { why: SHORT.into() };
                service.handle_written(&save.order, number..=number, outcome);
            }
            return;
        }
        let events = release.events_before(&save);
        let FrameToSave { order, ticket, frame, .. } = save;
        self.announce_stream(&frame.stream, &frame.segment);
        for structure in events {
            self.push_custom_event(structure);
        }
        let (info, bytes) = (frame.info, frame.buffer.size() as u64);
        let mut buffer = frame.buffer;
        let end = buffer.pts().map(|pts| pts + buffer.duration().unwrap_or_default());
        self.pushed_until = self.pushed_until.max(end);
        if !is_named {
            buffer.make_mut().set_flags(gst::BufferFlags::DECODE_ONLY);
        }
        let result = self.pad.push(buffer);
        *self.flow.lock() = result;
        service.handle_released(ticket);
        let Some(release) = self.releases.get_mut(&order).filter(|_| is_named) else { return };
        let outcome = match result {
            Ok(_) => {
                release.released += 1;
                FrameOutcome::Saved { file: self.name.clone(), bytes, info }
            }
            Err(error) => {
                release.missing += 1;
                FrameOutcome::Failed { why: format!("downstream of {} does not take it: {error}", self.name) }
            }
        };
        service.handle_written(&order, number..=number, outcome);
    }

    fn hole(&mut self, order: &OrderId, run: &FrameRun) {
        self.push_events();
        let Some(release) = self.releases.get_mut(order) else { return };
        release.missing += run.count;
        self.push_custom_event(
            gst::Structure::builder("swsync-hole")
                .field("order", order.as_str())
                .field("first-frame", run.first)
                .field("frames", run.count)
                .field("why", run.why().unwrap_or_default())
                .build(),
        );
    }

    fn close(&mut self, service: &OrderService, order: &OrderId) {
        self.push_events();
        if let Some(release) = self.releases.remove(order) {
            self.push_custom_event(
                gst::Structure::builder("swsync-order-end")
                    .field("order", order.as_str())
                    .field("released", release.released)
                    .field("missing", release.missing)
                    .build(),
            );
        }
        service.handle_closed(order);
    }

    fn suspend(&mut self, service: &OrderService, order: &OrderId, _named: NamedFrames) {
        self.close(service, order); // when frames come again, the order begins anew
    }

    fn idle(&mut self, _service: &OrderService) {
        self.push_gap();
        self.push_events();
    }

    fn tick(&mut self, _service: &OrderService) {
        self.push_events();
    }
}
