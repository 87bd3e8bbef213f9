//! The camera's streams: which ones downstream wants, how the camera is set up for them, and how one frame's
//! pictures reach all pads.

use std::sync::Arc;

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use swsync_core::grid::FrameGrid;
use swsync_core::time::Span;
use swsync_rig::clock::DeviceClock;

use super::controls;
use super::delivery::is_stand_in;
use super::framer::{Framer, StartError};
use super::imp::{CAT, State, SwsyncSrc, error_message};
use super::pads::{Offered, SwsyncSrcPad};
use crate::camera::controls::Refusal;
use crate::camera::{Camera, StreamRole, StreamSetup};
use crate::caps::grid_of;
use crate::clock::SensorTimeBridge;
use crate::lock::lock;

fn clock_span(span: Span) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(span.as_nanos().unsigned_abs())
}

/// A further stream, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Further {
    pub pad: SwsyncSrcPad,
    pub setup: StreamSetup,
}

/// What the camera streams.
#[derive(Debug, Clone, PartialEq)]
pub struct Streams {
    pub grid: FrameGrid,
    /// The first pad's; `None` where only others are linked.
    pub main: Option<StreamSetup>,
    /// In the order of a frame's further pictures.
    pub further: Arc<[Further]>,
}

impl Streams {
    /// The first one sets the rate: one request brings the pictures of all.
    fn setups(&self) -> Vec<StreamSetup> {
        let further = self.further.iter().map(|further| &further.setup);
        self.main.iter().chain(further).cloned().collect()
    }
}

/// A camera that streams and what of its controls it refuses, or the camera and why it does not.
type Begun = Result<(Box<Framer>, Vec<Refusal>), (Box<dyn Camera>, StartError)>;

impl SwsyncSrc {
    /// The first pad's role.
    pub(super) fn main_role(&self) -> StreamRole {
        let pad = self.obj().src_pad().clone().downcast::<SwsyncSrcPad>();
        pad.map_or(StreamRole::default(), |pad| pad.role())
    }

    /// The pads of further streams.
    fn further_pads(&self) -> Vec<SwsyncSrcPad> {
        let main = self.obj().src_pad().clone();
        let pads = self.obj().src_pads().into_iter().filter(|pad| *pad != main);
        pads.filter_map(|pad| pad.downcast().ok()).collect()
    }

    /// Those whose streams someone takes. They may yet have to be activated, which the first pad's thread does not wait
    /// for.
    fn linked_further_pads(&self) -> Vec<SwsyncSrcPad> {
        let mut pads = self.further_pads();
        pads.retain(PadExt::is_linked);
        pads
    }

    /// Whether someone takes a further stream. The first pad's buffers may then go nowhere, for which the base class would
    /// end the stream.
    fn goes_elsewhere(&self) -> bool {
        !self.linked_further_pads().is_empty()
    }

    /// The part of `caps` with frame rates that the further pads' peers take too, if there is one: all streams have the same.
    pub(super) fn at_rates_of_further(&self, caps: gst::Caps) -> gst::Caps {
        self.linked_further_pads().into_iter().fold(caps, |caps, pad| {
            let mut taken = gst::Caps::new_empty();
            for wanted in pad.peer_query_caps(None).iter() {
                for structure in caps.iter() {
                    let mut of_rate = gst::Caps::builder(structure.name().as_str()).any_features();
                    if let Ok(rate) = wanted.value("framerate") {
                        of_rate = of_rate.field("framerate", rate.to_owned());
                    }
                    taken.merge(of_rate.build());
                }
            }
            let both = caps.intersect_with_mode(&taken, gst::CapsIntersectMode::First);
            if both.is_empty() { caps } else { both }
        })
    }

    /// The grid of streams of `caps`.
    fn grid_of(caps: &gst::CapsRef) -> Result<FrameGrid, gst::ErrorMessage> {
        grid_of(caps).map_err(|reason| gst::error_msg!(gst::StreamError::Format, ("{caps}: {reason}")))
    }

    /// Says why there is no stream: without `state`, as who hears it may want that.
    fn refuse(&self, message: gst::ErrorMessage) -> gst::LoggableError {
        let refused = gst::loggable_error!(CAT, "{message}");
        self.post_error_message(message);
        refused
    }

    /// The streams that downstream wants, `caps` being those of the first pad.
    ///
    /// # Errors
    /// The pad that wants what the camera does not have.
    fn plan(&self, camera: &mut dyn Camera, caps: &gst::Caps) -> Result<Streams, gst::ErrorMessage> {
        let pads = self.linked_further_pads();
        let main = (pads.is_empty() || self.obj().src_pad().is_linked())
            .then(|| StreamSetup { role: self.main_role(), caps: caps.clone() });
        let rate_of = |caps: &gst::Caps| caps.structure(0)?.get::<gst::Fraction>("framerate").ok();
        let mut rate = main.as_ref().and_then(|main| rate_of(&main.caps));
        let mut further = Vec::new();
        for pad in pads {
            let role = pad.role();
            let mut offered = camera.caps(role);
            self.note_caps(role, &offered);
            if let Some(rate) = rate {
                offered.make_mut().iter_mut().for_each(|structure| structure.set("framerate", rate));
            }
            let wanted = pad.peer_query_caps(Some(&offered));
            let both = wanted.intersect_with_mode(&offered, gst::CapsIntersectMode::First);
            if both.is_empty() {
                let name = pad.name();
                return Err(gst::error_msg!(
                    gst::CoreError::Negotiation,
                    ("Pad {name}: the camera has no stream that downstream takes"),
                    ["a {role:?} stream could be {offered}; downstream takes {wanted}"]
                ));
            }
            let mut caps = camera.fixate(role, both);
            caps.fixate();
            rate = rate.or_else(|| rate_of(&caps));
            further.push(Further { pad, setup: StreamSetup { role, caps } });
        }
        let first = main.as_ref().or_else(|| further.first().map(|further| &further.setup));
        let grid = Self::grid_of(first.map_or(caps, |first| &first.caps))?;
        Ok(Streams { grid, main, further: further.into() })
    }

    /// Sets the camera up for `caps` in its first stream, and for what its other pads' peers want, and
    /// starts it.
    pub(super) fn stream(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let mut state = lock(&self.state);
        let (mut camera, device, settings) = match std::mem::take(&mut *state) {
            State::Stopped => return Err(gst::loggable_error!(CAT, "caps for a stopped source")),
            State::Opened { camera, device, settings } => (camera, device, settings),
            State::Streaming { framer, device, settings, .. } => {
                lock(&self.observed).reconfigured = true;
                (framer.stop(), device, settings)
            }
            State::Lost { mut streams, device, settings } => {
                // For when it is back.
                let grid = streams.main.as_mut().map(|main| {
                    main.caps.clone_from(caps);
                    Self::grid_of(caps)
                });
                let grid = grid.transpose();
                if let Ok(Some(grid)) = grid {
                    streams.grid = grid;
                }
                *state = State::Lost { streams, device, settings };
                drop(state);
                return grid.map(drop).map_err(|message| self.refuse(message));
            }
        };
        let streams = match self.plan(&mut *camera, caps) {
            Ok(streams) => streams,
            Err(message) => {
                *state = State::Opened { camera, device, settings };
                drop(state);
                return Err(self.refuse(message));
            }
        };
        let refusals = match self.begin(camera, &streams, &device) {
            Ok((framer, refusals)) => {
                *state = State::Streaming { framer, streams, device, settings };
                refusals
            }
            Err((camera, error)) => {
                *state = State::Opened { camera, device, settings };
                drop(state);
                return Err(self.refuse(match &error {
                    StartError::Camera(error) => error_message(error),
                    StartError::Align(error) => gst::error_msg!(gst::LibraryError::Settings, ("{error}")),
                }));
            }
        };
        drop(state);
        controls::refuse_all(&self.obj(), &refusals);
        self.warn_of_orientation();
        // Downstream hears of it before the first frame; further pads get it with their opening. Not by
        // gst_element_send_event, which waits for a change of state that waits for this thread.
        self.parent_send_event(gst::event::Tag::new(self.camera_tags()));
        let latency = gst::message::Latency::builder().src(&*self.obj()).build();
        // Without a bus nobody wants to know.
        let _ = self.obj().post_message(latency);
        Ok(())
    }

    /// Configures and starts `camera`. What of its controls it refuses is to be said once `state` is free.
    pub(super) fn begin(
        &self,
        mut camera: Box<dyn Camera>,
        streams: &Streams,
        device: &Arc<DeviceClock>,
    ) -> Begun {
        let bridge = SensorTimeBridge::new(device.clone());
        let alignment = lock(&self.settings).align.alignment();
        let capabilities = match camera.configure(&streams.setups()) {
            Ok(capabilities) => capabilities,
            Err(error) => return Err((camera, error.into())),
        };
        let refusals = self.desk().begin(&mut *camera, &capabilities, streams.grid);
        let desk = self.desk_of_framer();
        let framer = Framer::start(camera, capabilities, streams.grid, bridge, &alignment, desk)?;
        gst::info!(CAT, imp = self, "streaming from {}", framer.capabilities().model);
        let (can, period) = (framer.capabilities(), framer.grid().period());
        let least = can.latency + period;
        let most = least + period * i64::from(can.backlog);
        let wanted = lock(&self.settings).orientation;
        lock(&self.observed).mode = Some(can.mode);
        let mut known = lock(&self.known);
        known.latency = Some((clock_span(least), clock_span(most)));
        known.model = Some(framer.capabilities().model.clone());
        known.left_to_readers = can.mode.orientation.left_to_readers(wanted);
        drop(known);
        Ok((Box::new(framer), refusals))
    }

    /// After the base class has negotiated: starts the camera anew where other streams are wanted.
    pub(super) fn update_further(&self) -> Result<(), gst::LoggableError> {
        let Some(main) = self.obj().src_pad().current_caps() else {
            return Ok(());
        };
        let changed = {
            let mut state = lock(&self.state);
            match &mut *state {
                State::Streaming { framer, streams, .. } => {
                    self.plan(framer.camera(), &main).map(|planned| planned != *streams)
                }
                State::Stopped | State::Opened { .. } | State::Lost { .. } => Ok(false),
            }
        };
        let changed = changed.map_err(|message| self.refuse(message))?;
        if changed { self.stream(&main) } else { Ok(()) }
    }

    /// Hands the pictures of further streams to their branches.
    pub(super) fn offer(&self, further: &[Further], pictures: Vec<gst::Buffer>) {
        for (Further { pad, setup }, picture) in further.iter().zip(pictures) {
            let opening = (!pad.is_begun()).then(|| self.opening(pad));
            if pad.offer(picture, &setup.caps, opening) == Offered::Dropped {
                lock(&self.observed).branch_dropped += 1;
                gst::debug!(CAT, obj = pad, "the branch is behind: a frame is dropped");
            }
        }
    }

    /// What a branch needs to hear before its first frame.
    fn opening(&self, pad: &SwsyncSrcPad) -> [gst::Event; 3] {
        let element = self.obj();
        let id = pad.create_stream_id(&*element, Some(pad.name().as_str()));
        let mut start = gst::event::StreamStart::builder(&id);
        let main = element.src_pad().sticky_event::<gst::event::StreamStart>(0);
        if let Some(group) = main.and_then(|main| main.group_id()) {
            start = start.group_id(group);
        }
        let tags = gst::event::Tag::new(self.camera_tags());
        [start.build(), gst::event::Segment::new(&element.segment()), tags]
    }

    /// Warns where the camera's pictures are another way round than asked for.
    fn warn_of_orientation(&self) {
        let wanted = lock(&self.settings).orientation.nick();
        let Some(left) = lock(&self.known).left_to_readers else { return };
        let left = left.tag();
        let got = lock(&self.observed)
            .mode
            .map_or_else(|| "others".to_owned(), |mode| mode.orientation.nick().to_owned());
        gst::element_imp_warning!(
            self,
            gst::StreamError::Format,
            ("The camera cannot deliver pictures as orientation={wanted}: they are {got}"),
            [
                "The tag image-orientation={left} tells whoever shows or stores them. `videoflip video-direction=auto` turns them                  at once, orientation={got} asks for what the camera does"
            ]
        );
    }

    /// What is said of the camera to whoever stores its pictures.
    fn camera_tags(&self) -> gst::TagList {
        let mut tags = gst::TagList::new();
        let known = lock(&self.known);
        if let Some(model) = &known.model {
            tags.make_mut().add::<gst::tags::DeviceModel>(&model.as_str(), gst::TagMergeMode::Replace);
        }
        if let Some(left) = known.left_to_readers {
            tags.make_mut().add::<gst::tags::ImageOrientation>(&left.tag(), gst::TagMergeMode::Replace);
        }
        tags
    }

    /// A pad for a further stream; the camera is set up anew once it is linked.
    pub(super) fn add_further_pad(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
    ) -> Option<gst::Pad> {
        let element = self.obj();
        let taken = |name: &str| element.static_pad(name).is_some();
        let name = match name {
            Some(name) if taken(name) => return None,
            Some(name) => name.to_owned(),
            None => (0..u32::MAX).map(|number| format!("src_{number}")).find(|name| !taken(name))?,
        };
        let pad = gst::PadBuilder::<SwsyncSrcPad>::from_template(template)
            .name(name)
            .activatemode_function(|pad, _, mode, active| match mode {
                gst::PadMode::Push => pad.set_running(active),
                _ => Err(gst::loggable_error!(CAT, "a camera only pushes")),
            })
            .query_function(|pad, parent, query| {
                SwsyncSrc::catch_panic_pad_function(parent, || false, |src| src.query_further(pad, query))
            })
            .event_function(|pad, parent, event| {
                SwsyncSrc::catch_panic_pad_function(parent, || false, |src| src.event_further(pad, event))
            })
            .build();
        if element.current_state() >= gst::State::Paused || element.pending_state() >= gst::State::Paused {
            pad.set_active(true).ok()?;
        }
        element.add_pad(&pad).ok()?;
        self.followed.get_or_init(|| self.follow_first_pad());
        self.count_pads();
        element.child_added(&pad, &pad.name());
        Some(pad.upcast())
    }

    pub(super) fn remove_further_pad(&self, pad: &gst::Pad) {
        let element = self.obj();
        let _ = pad.set_active(false);
        let name = pad.name();
        if element.remove_pad(pad).is_ok() {
            self.count_pads();
            element.child_removed(pad, &name);
            element.src_pad().mark_reconfigure();
        }
    }

    /// Says whether the base class is about to name its stream: see [`pad_count`].
    pub(super) fn set_naming(&self, naming: bool) {
        let before = std::mem::replace(&mut lock(&self.known).naming, naming);
        if before || naming {
            self.count_pads();
        }
    }

    fn count_pads(&self) {
        let naming = lock(&self.known).naming;
        pad_count::set(self.obj().upcast_ref(), naming);
    }

    fn query_further(&self, pad: &SwsyncSrcPad, query: &mut gst::QueryRef) -> bool {
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
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    fn event_further(&self, pad: &SwsyncSrcPad, event: gst::Event) -> bool {
        match event.type_() {
            // The streaming thread asks all pads anew.
            gst::EventType::Reconfigure => {
                self.obj().src_pad().mark_reconfigure();
                true
            }
            // What is asked of one stream, such as controls, is asked of the camera.
            gst::EventType::CustomUpstream => self.event(&event),
            _ => gst::Pad::event_default(pad, Some(&*self.obj()), event),
        }
    }

    /// From now on the first pad's events concern others, and its buffers may go nowhere.
    fn follow_first_pad(&self) {
        let first = self.obj().src_pad().clone();
        let element = self.obj().downgrade();
        let mirrored = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::EVENT_FLUSH;
        first.add_probe(mirrored, move |_, info| {
            if let (Some(element), Some(event)) = (element.upgrade(), info.event()) {
                element.imp().mirror(event);
            }
            gst::PadProbeReturn::Ok
        });
        let element = self.obj().downgrade();
        first.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let nowhere = info.buffer().is_some_and(|buffer| {
                is_stand_in(buffer)
                    || !pad.is_linked() && element.upgrade().is_some_and(|src| src.imp().goes_elsewhere())
            });
            if nowhere { gst::PadProbeReturn::Drop } else { gst::PadProbeReturn::Ok }
        });
    }

    /// Passes on to all branches what ends or empties the first pad's stream.
    fn mirror(&self, event: &gst::EventRef) {
        for pad in self.further_pads() {
            match event.type_() {
                gst::EventType::Eos => pad.queue_event(event.to_owned()),
                gst::EventType::FlushStart | gst::EventType::FlushStop => pad.flush(event.to_owned()),
                _ => {}
            }
        }
    }
}

/// The number of source pads that GStreamer believes an element to have.
///
/// GstBaseSrc names its stream in a way that is only allowed to elements with a single source pad
/// (`gst_pad_create_stream_id` without a name of the stream); all others get a critical warning and no stream. It
/// does so once, between `start` and the first `negotiate`: for that while there is one pad.
mod pad_count {
    use gst::prelude::*;

    /// Sets the number to one, or to what it is.
    pub(super) fn set(element: &gst::Element, one: bool) {
        let element = element.clone();
        let object = element.as_ptr();
        let _guard = element.object_lock();
        // SAFETY: `element` keeps its structure alive, and its own lock, held here, guards this part of it: its
        // lists of pads and their number.
        unsafe {
            let pads = gst::glib::ffi::g_list_length((*object).srcpads);
            (*object).numsrcpads = if one { 1 } else { u16::try_from(pads).unwrap_or(u16::MAX) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use gst::prelude::*;
    use gst::subclass::prelude::*;

    #[test]
    fn no_error_is_posted_under_a_lock() {
        gst::init().unwrap();
        crate::plugin_register_static().unwrap();
        let camera = "swsyncsrc name=s backend=simulated";
        for wrong in [
            format!("{camera} ! fakesink s.src_0 ! video/x-raw,format=RGB ! fakesink"),
            format!("{camera} profile=/no/such/profile ! fakesink"),
            format!("{camera} align-method=inject simulated-control=none ! fakesink"),
        ] {
            let pipeline = gst::parse::launch(&wrong).unwrap().downcast::<gst::Pipeline>().unwrap();
            let source = pipeline.by_name("s").unwrap().downcast::<super::super::SwsyncSrc>().unwrap();
            let (tx, errors) = mpsc::channel();
            let heard = source.downgrade();
            pipeline.bus().unwrap().set_sync_handler(move |_, message| {
                if let (gst::MessageView::Error(_), Some(source)) = (message.view(), heard.upgrade())
                    && message.src() == Some(source.upcast_ref())
                {
                    let _ = tx.send(source.imp().state.try_lock().is_ok()); // the test is over
                }
                gst::BusSyncReply::Pass
            });
            let _ = pipeline.set_state(gst::State::Playing); // it fails, or will
            let free = errors.recv_timeout(Duration::from_secs(30)).expect("an error in time");
            pipeline.set_state(gst::State::Null).unwrap();
            assert!(free, "{wrong}");
        }
    }
}
