//! The gate's outlet: what the desk wants saved goes downstream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, mpsc};

use gst::prelude::*;
use swsync_core::grid::FrameNumber;
use swsync_core::name::OrderId;
use swsync_core::order::{Action, Fate, FrameRun, Named, Role, Ticket};

use super::OnShort;
use crate::lock::lock;
use crate::order_service::{Held, Outlet, Station, Stream};

/// Why an order of which too little is held yields nothing.
const SHORT: &str = "the order's first frames are not held, and on-short=missed asks for all or nothing";

/// What downstream said last.
pub type Flow = Arc<Mutex<Result<gst::FlowSuccess, gst::FlowError>>>;

/// An order that is being released.
struct Release {
    segment: Option<u64>,
    /// Buffers since the segment began that are not named; `None` once one was.
    lead_in: Option<u32>,
    released: u64,
    missing: u64,
    is_short: bool,
}

/// Where the newest frame stands, whether it is released or not.
#[derive(Debug, Clone)]
pub struct Place {
    pub stream: Arc<Stream>,
    pub segment: gst::FormattedSegment<gst::ClockTime>,
    /// In the segment's time.
    pub begin: gst::ClockTime,
    pub end: gst::ClockTime,
}

impl Place {
    /// That of the frame in `buffer`, or of an absence of frames.
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

/// The newest [`Place`]: set after the station was handed the frame.
pub type Newest = Arc<Mutex<Option<Place>>>;

/// Pushes on the gate's source pad, on the pad's task.
pub struct GateOutlet {
    pad: gst::Pad,
    name: String,
    on_short: OnShort,
    /// What came from upstream and is not about frames.
    events: mpsc::Receiver<gst::Event>,
    releases: HashMap<OrderId, Release>,
    /// What downstream was told of the frames.
    stream: Option<Arc<Stream>>,
    segment: Option<gst::FormattedSegment<gst::ClockTime>>,
    newest: Newest,
    /// The place at the last rest: what is to be released of the frames up to there has been by the next.
    passed: Option<Place>,
    /// How far downstream was told of frames, or that there are none.
    told: Option<gst::ClockTime>,
    /// Whether EOS was the last event.
    has_ended: bool,
    flow: Flow,
}

/// [`Action::Save`].
struct Save {
    order: OrderId,
    ticket: Ticket,
    number: FrameNumber,
    segment: u64,
    role: Role,
    frame: Held,
}

impl GateOutlet {
    pub fn new(
        pad: gst::Pad,
        name: String,
        on_short: OnShort,
        events: mpsc::Receiver<gst::Event>,
        newest: Newest,
        flow: Flow,
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
            told: None,
            has_ended: false,
            flow,
        }
    }

    fn tell(&self, structure: gst::Structure) {
        self.pad.push_event(gst::event::CustomDownstream::new(structure));
    }

    fn pass_events(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            match event.type_() {
                // Downstream has it already, and knows nothing of before.
                gst::EventType::FlushStop => {
                    (self.stream, self.segment, self.passed, self.told) = (None, None, None, None);
                    self.has_ended = false;
                }
                kind => {
                    self.has_ended = kind == gst::EventType::Eos;
                    self.pad.push_event(event);
                }
            }
        }
    }

    fn save(&mut self, station: &Station, save: Save) {
        let Save { order, ticket, number, segment, role, frame } = save;
        let Some(release) = self.releases.get_mut(&order) else {
            station.handle_taken(ticket);
            return;
        };
        let is_named = role == Role::Named;
        if release.is_short {
            station.handle_taken(ticket);
            if is_named {
                release.missing += 1;
                station.handle_written(&order, number..=number, Fate::Missed { why: SHORT.into() });
            }
            return;
        }
        let mut news = Vec::new();
        if release.segment != Some(segment) {
            release.segment = Some(segment);
            release.lead_in = Some(0);
            news.push(
                gst::Structure::builder("swsync-segment-begin")
                    .field("order", order.as_str())
                    .field("segment", segment)
                    .field("first-frame", number)
                    .build(),
            );
        }
        match (&mut release.lead_in, is_named) {
            (Some(count), false) => *count += 1,
            (Some(0), true) => release.lead_in = None,
            (Some(count), true) => {
                news.push(
                    gst::Structure::builder("swsync-in-point")
                        .field("order", order.as_str())
                        .field("segment", segment)
                        .field("lead-in", *count)
                        .build(),
                );
                release.lead_in = None;
            }
            (None, _) => {}
        }
        self.announce_stream(&frame.stream, &frame.segment);
        for structure in news {
            self.tell(structure);
        }
        let (info, bytes) = (frame.info, frame.buffer.size() as u64);
        let mut buffer = frame.buffer;
        let end = buffer.pts().map(|pts| pts + buffer.duration().unwrap_or_default());
        self.told = self.told.max(end);
        if !is_named {
            buffer.make_mut().set_flags(gst::BufferFlags::DECODE_ONLY);
        }
        let result = self.pad.push(buffer);
        *lock(&self.flow) = result;
        station.handle_taken(ticket);
        let Some(release) = self.releases.get_mut(&order).filter(|_| is_named) else { return };
        let fate = match result {
            Ok(_) => {
                release.released += 1;
                Fate::Saved { file: self.name.clone(), bytes, info }
            }
            Err(error) => {
                release.missing += 1;
                Fate::Failed { why: format!("downstream of {} does not take it: {error}", self.name) }
            }
        };
        station.handle_written(&order, number..=number, fate);
    }

    /// Tells downstream of what the next frames are, where that is new.
    fn announce_stream(&mut self, stream: &Arc<Stream>, segment: &gst::FormattedSegment<gst::ClockTime>) {
        if self.stream.as_ref().is_none_or(|known| known.caps != stream.caps) {
            self.pad.push_event(gst::event::Caps::new(&stream.caps));
            self.stream = Some(Arc::clone(stream));
        }
        if self.segment.as_ref() != Some(segment) {
            self.pad.push_event(gst::event::Segment::new(segment));
            self.segment = Some(segment.clone());
            self.told = None;
        }
    }

    /// Tells downstream that nothing is to be waited for, as far as that is so: whoever has other streams beside this one
    /// goes on with them.
    fn tell_gap(&mut self) {
        let newest = lock(&self.newest).clone();
        let Some(Place { stream, segment, begin, end }) = std::mem::replace(&mut self.passed, newest) else {
            return;
        };
        if self.has_ended || self.told.is_some_and(|told| told >= end) {
            return;
        }
        self.announce_stream(&stream, &segment);
        let from = self.told.unwrap_or(begin);
        self.pad.push_event(gst::event::Gap::builder(from).duration(end - from).build());
        self.told = Some(end);
    }

    fn begin(&mut self, station: &Station, order: OrderId, named: Named) {
        let oldest = station.take_oldest_at_begin(&order);
        let is_short =
            self.on_short == OnShort::Missed && oldest.is_some_and(|oldest| named.first() < oldest);
        self.tell(
            gst::Structure::builder("swsync-order-begin")
                .field("order", order.as_str())
                .field("first-frame", named.first())
                .build(),
        );
        let release = Release { segment: None, lead_in: None, released: 0, missing: 0, is_short };
        self.releases.insert(order, release);
    }

    fn hole(&mut self, order: &OrderId, run: &FrameRun) {
        let Some(release) = self.releases.get_mut(order) else { return };
        release.missing += run.count;
        self.tell(
            gst::Structure::builder("swsync-hole")
                .field("order", order.as_str())
                .field("first-frame", run.first)
                .field("frames", run.count)
                .field("why", run.why().unwrap_or_default())
                .build(),
        );
    }

    fn close(&mut self, station: &Station, order: &OrderId) {
        if let Some(release) = self.releases.remove(order) {
            self.tell(
                gst::Structure::builder("swsync-order-end")
                    .field("order", order.as_str())
                    .field("released", release.released)
                    .field("missing", release.missing)
                    .build(),
            );
        }
        station.handle_closed(order);
    }
}

impl Outlet for GateOutlet {
    fn carry_out(&mut self, station: &Station, action: Action<Held>) {
        self.pass_events();
        match action {
            // Nothing is on a disk that it would have to agree with.
            Action::Journal(_) => {}
            Action::Begin { order, named } => self.begin(station, order.id().clone(), named),
            Action::Save { order, ticket, number, segment, role, payload } => {
                self.save(station, Save { order, ticket, number, segment, role, frame: payload });
            }
            Action::Hole { order, run } => self.hole(&order, &run),
            // The next frames of a suspended one begin anew.
            Action::Close { order } | Action::Suspend { order, .. } => self.close(station, &order),
            Action::RequestKey { .. } | Action::Answer(_) => unreachable!("the station does these"),
        }
    }

    fn rest(&mut self, _station: &Station) {
        self.tell_gap();
        self.pass_events();
    }

    fn tick(&mut self, _station: &Station) {
        self.pass_events();
    }
}
