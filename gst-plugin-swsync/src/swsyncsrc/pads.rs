//! The pads of `swsyncsrc`: all of one kind, each with one of the camera's streams.
//!
//! The first pad, `src`, is pushed to by the streaming thread itself. Each further one has a thread of its own and a
//! short queue before it, so that a branch that is slow, blocked or flushing holds up neither the camera nor the other
//! branches.
//!
//! That thread (`gst::Task` of the pad) is started when the pad is activated, and joined when it is deactivated.

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::camera::StreamRole;

glib::wrapper! {
    /// A pad with one of the camera's streams.
    pub struct SwsyncSrcPad(ObjectSubclass<imp::SwsyncSrcPad>) @extends gst::Pad, gst::Object;
}

/// What the frames of a pad are: sent before them, as far as downstream does not know it yet.
#[derive(Debug, Clone, PartialEq)]
pub struct PadFormat {
    /// Of all streams of the element.
    pub group: gst::GroupId,
    pub caps: gst::Caps,
    pub tags: gst::TagList,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    Pushed,
    Queued,
    /// The branch is behind: its oldest waiting frame was dropped for this one.
    DroppedOldest,
    /// The branch takes nothing: it is not active, flushing, or at its end.
    Refused,
}

impl SwsyncSrcPad {
    /// What the stream is for.
    pub fn role(&self) -> StreamRole {
        self.imp().role()
    }

    /// Has the streaming thread push to this pad.
    pub fn set_direct(&self) {
        self.imp().set_direct();
    }

    /// Whether the streaming thread itself pushes to this pad.
    pub fn is_direct(&self) -> bool {
        self.imp().is_direct()
    }

    /// The format of the frames that follow.
    pub fn set_format(&self, format: PadFormat) {
        if self.is_direct() {
            self.imp().set_format(format);
        } else {
            self.imp().queue.push(Item::Format(format));
        }
    }

    /// Hands on a frame of the format that was set.
    ///
    /// # Errors
    /// What a push to a direct pad returned.
    pub fn deliver(&self, buffer: gst::Buffer) -> Result<Delivered, gst::FlowError> {
        if self.is_direct() {
            return self.imp().push(buffer).map(|_| Delivered::Pushed);
        }
        Ok(self.imp().queue.push_frame(buffer))
    }

    /// Sends an event after the frames that were handed on before.
    pub fn send_in_order(&self, event: gst::Event) {
        if self.is_direct() {
            self.push_event(event);
        } else {
            self.imp().queue.push(Item::Event(event));
        }
    }

    /// Begins a flush.
    pub fn flush_start(&self, event: gst::Event) {
        if !self.is_direct() {
            self.imp().queue.set_flushing(true);
        }
        self.push_event(event);
    }

    /// Ends a flush. The caller has the streaming thread of a direct pad started again.
    pub fn flush_stop(&self, event: gst::Event) {
        self.imp().queue.set_flushing(true);
        // The pad's thread pauses itself under this lock: not after it is started again.
        let _lock = self.stream_lock();
        self.push_event(event);
        self.imp().forget_segment();
        if !self.is_direct() {
            self.imp().queue.set_flushing(false);
            self.start_queue_thread();
        }
    }

    /// Takes frames from now on. A format may have been set before.
    pub fn activate(&self) {
        if !self.is_direct() {
            self.imp().queue.set_flushing(false);
            self.start_queue_thread();
        }
    }

    /// Ends the pad's thread, which has to be interrupted if it is the streaming thread.
    pub fn deactivate(&self) -> Result<(), gst::LoggableError> {
        self.imp().queue.set_flushing(true);
        let stopped = self.stop_task();
        self.imp().queue.clear();
        self.imp().forget_stream();
        stopped.map_err(|error| gst::loggable_error!(super::category::CAT, "{error}"))
    }

    fn start_queue_thread(&self) {
        let pad = self.downgrade();
        let started = self.start_task(move || {
            if let Some(pad) = pad.upgrade() {
                pad.imp().take_from_queue();
            }
        });
        if let Err(error) = started {
            gst::error!(super::category::CAT, obj = self, "no thread for the branch: {error}");
        }
    }
}

use pad_queue::Item;

mod imp {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicBool, Ordering};

    use parking_lot::Mutex;

    use super::super::SwsyncSrc;
    use super::super::category::CAT;
    use super::super::picture_layout::PictureLayout;
    use super::pad_queue::PadQueue;
    use super::*;

    #[derive(Default)]
    pub struct SwsyncSrcPad {
        role: Mutex<StreamRole>,
        direct: AtomicBool,
        pub(super) queue: PadQueue,
        sent: Mutex<Sent>,
    }

    /// What downstream knows.
    #[derive(Default)]
    struct Sent {
        stream: bool,
        segment: bool,
        /// A frame, since the segment.
        frame: bool,
        format: Option<PadFormat>,
        /// How downstream wants pictures laid out.
        layout: PictureLayout,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for SwsyncSrcPad {
        const NAME: &'static str = "GstSwsyncSrcPad";
        type Type = super::SwsyncSrcPad;
        type ParentType = gst::Pad;
    }

    impl ObjectImpl for SwsyncSrcPad {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
                vec![
                    glib::ParamSpecEnum::builder::<StreamRole>("stream-role")
                        .nick("Stream role")
                        .blurb("What the stream is for: libcamera chooses the sensor's mode and the processing by it")
                        .mutable_ready()
                        .build(),
                ]
            });
            &PROPERTIES
        }

        fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
            match pspec.name() {
                "stream-role" => *self.role.lock() = value.get().expect("checked by GObject"),
                name => unreachable!("no property {name}"),
            }
        }

        fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
            match pspec.name() {
                "stream-role" => self.role().to_value(),
                name => unreachable!("no property {name}"),
            }
        }
    }

    impl GstObjectImpl for SwsyncSrcPad {}
    impl PadImpl for SwsyncSrcPad {}

    impl SwsyncSrcPad {
        pub(super) fn role(&self) -> StreamRole {
            *self.role.lock()
        }

        pub(super) fn set_direct(&self) {
            self.direct.store(true, Ordering::Release);
        }

        pub(super) fn is_direct(&self) -> bool {
            self.direct.load(Ordering::Acquire)
        }

        pub(super) fn forget_stream(&self) {
            *self.sent.lock() = Sent::default();
        }

        /// A flush takes the segment with it.
        pub(super) fn forget_segment(&self) {
            let mut sent = self.sent.lock();
            (sent.segment, sent.frame) = (false, false);
        }

        /// Tells downstream of `format`, as far as it does not know it.
        pub(super) fn set_format(&self, format: PadFormat) {
            let pad = self.obj();
            let (begun, before) = {
                let mut sent = self.sent.lock();
                (std::mem::replace(&mut sent.stream, true), sent.format.replace(format.clone()))
            };
            if !begun && let Some(element) = pad.parent_element() {
                let id = pad.create_stream_id(&element, Some(pad.name().as_str()));
                pad.push_event(gst::event::StreamStart::builder(&id).group_id(format.group).build());
            }
            if before.as_ref().map(|before| &before.caps) != Some(&format.caps) {
                pad.push_event(gst::event::Caps::new(&format.caps));
                let mut query = gst::query::Allocation::new(Some(&format.caps), false);
                let answered = pad.peer_query(&mut query);
                self.sent.lock().layout = PictureLayout::new(&format.caps, answered.then_some(&query));
            }
            self.send_segment();
            if before.as_ref().map(|before| &before.tags) != Some(&format.tags) && format.tags.n_tags() > 0 {
                pad.push_event(gst::event::Tag::new(format.tags));
            }
        }

        fn send_segment(&self) {
            if !std::mem::replace(&mut self.sent.lock().segment, true) {
                let segment = gst::FormattedSegment::<gst::ClockTime>::new();
                self.obj().push_event(gst::event::Segment::new(&segment));
            }
        }

        /// Pushes a frame of the format that was set.
        pub(super) fn push(&self, mut buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
            self.send_segment();
            let laid_out = {
                let mut sent = self.sent.lock();
                if !std::mem::replace(&mut sent.frame, true) {
                    buffer.make_mut().set_flags(gst::BufferFlags::DISCONT);
                }
                sent.layout.apply(buffer)
            };
            // Without the lock: downstream may ask anything of the pad.
            match laid_out {
                Ok(buffer) => self.obj().push(buffer),
                Err(reason) => {
                    gst::error!(CAT, imp = self, "{reason}");
                    Err(gst::FlowError::Error)
                }
            }
        }

        /// Passes on the next item of the queue.
        pub(super) fn take_from_queue(&self) {
            let pad = self.obj();
            let result = match self.queue.next() {
                Some(Item::Event(event)) => {
                    pad.push_event(event);
                    return;
                }
                Some(Item::Format(format)) => {
                    self.set_format(format);
                    return;
                }
                Some(Item::Frame(buffer)) => self.push(buffer),
                None => Err(gst::FlowError::Flushing),
            };
            match result {
                // Not linked yet, or no more: that may change.
                Ok(_) | Err(gst::FlowError::NotLinked) => return,
                // The frame is of the old format, and the new one is on its way.
                Err(gst::FlowError::NotNegotiated) if self.is_negotiating() => return,
                Err(gst::FlowError::Flushing) => {}
                Err(gst::FlowError::Eos) => self.queue.end(),
                Err(error) => {
                    self.queue.end();
                    self.post_error(error);
                    pad.push_event(gst::event::Eos::new());
                }
            }
            let _ = pad.pause_task();
        }

        fn is_negotiating(&self) -> bool {
            let source = self.obj().parent_element().and_downcast::<SwsyncSrc>();
            source.is_some_and(|source| source.imp().is_negotiating()) || self.queue.has_format()
        }

        fn post_error(&self, error: gst::FlowError) {
            let pad = self.obj();
            if let Some(element) = pad.parent_element() {
                gst::element_error!(
                    element,
                    gst::StreamError::Failed,
                    ("The branch behind pad {} failed", pad.name()),
                    ["streaming stopped, reason {error:?}"]
                );
            }
        }
    }
}

/// The queue before a pad's own thread.
mod pad_queue {
    use std::collections::VecDeque;

    use parking_lot::{Condvar, Mutex};

    use super::{Delivered, PadFormat};

    /// Frames that wait for a branch: each holds one of the camera's frame buffers.
    const WAITING: usize = 2;

    pub enum Item {
        Event(gst::Event),
        Format(PadFormat),
        Frame(gst::Buffer),
    }

    #[derive(Default)]
    pub struct PadQueue {
        state: Mutex<State>,
        changed: Condvar,
    }

    struct State {
        items: VecDeque<Item>,
        flushing: bool,
        ended: bool,
        /// Frames are missing before the next one.
        gap: bool,
    }

    impl Default for State {
        /// Of a pad that is not active.
        fn default() -> Self {
            Self { items: VecDeque::new(), flushing: true, ended: false, gap: false }
        }
    }

    impl PadQueue {
        /// Forgets what waits, as the pad is not active.
        pub fn clear(&self) {
            *self.state.lock() = State::default();
        }

        pub fn set_flushing(&self, flushing: bool) {
            let dropped = {
                let mut state = self.state.lock();
                state.flushing = flushing;
                state.ended &= flushing;
                if flushing { state.take_frames_and_events() } else { VecDeque::new() }
            };
            drop(dropped);
            self.changed.notify_all();
        }

        /// Takes no more.
        pub fn end(&self) {
            let dropped = {
                let mut state = self.state.lock();
                state.ended = true;
                state.take_frames_and_events()
            };
            drop(dropped);
        }

        /// Whether a format is to be passed on yet.
        pub fn has_format(&self) -> bool {
            self.state.lock().items.iter().any(|item| matches!(item, Item::Format(_)))
        }

        /// Appends a format or an event.
        pub fn push(&self, item: Item) {
            let mut state = self.state.lock();
            let kept = matches!(item, Item::Format(_));
            if kept || !state.flushing && !state.ended {
                state.items.push_back(item);
                self.changed.notify_all();
            }
        }

        pub fn push_frame(&self, buffer: gst::Buffer) -> Delivered {
            let mut state = self.state.lock();
            if state.flushing || state.ended {
                return Delivered::Refused;
            }
            let oldest = state.oldest_beyond(WAITING);
            let dropped = oldest.and_then(|oldest| state.items.remove(oldest));
            state.gap |= dropped.is_some();
            state.items.push_back(Item::Frame(buffer));
            drop(state);
            self.changed.notify_all();
            // The dropped frame is freed here, without the lock.
            if dropped.is_some() { Delivered::DroppedOldest } else { Delivered::Queued }
        }

        /// The next item to pass on; waits for one. `None` when flushing.
        pub fn next(&self) -> Option<Item> {
            let mut state = self.state.lock();
            loop {
                if state.flushing {
                    return None;
                }
                if let Some(mut item) = state.items.pop_front() {
                    // The oldest frames are dropped, so the gap is before the first one left.
                    if let Item::Frame(buffer) = &mut item
                        && std::mem::take(&mut state.gap)
                    {
                        buffer.make_mut().set_flags(gst::BufferFlags::DISCONT);
                    }
                    return Some(item);
                }
                self.changed.wait(&mut state);
            }
        }
    }

    impl State {
        /// Empties the queue, but for formats: these are not sent again.
        fn take_frames_and_events(&mut self) -> VecDeque<Item> {
            let items = std::mem::take(&mut self.items).into_iter();
            let (kept, dropped) = items.partition(|item| matches!(item, Item::Format(_)));
            self.items = kept;
            dropped
        }

        /// The place of the oldest frame if as many as `limit` wait.
        fn oldest_beyond(&self, limit: usize) -> Option<usize> {
            let mut frames = self.items.iter().enumerate().filter(|(_, item)| matches!(item, Item::Frame(_)));
            let oldest = frames.next()?.0;
            (frames.count() + 1 >= limit).then_some(oldest)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn frame(number: u64) -> gst::Buffer {
            let mut buffer = gst::Buffer::new();
            buffer.get_mut().unwrap().set_offset(number);
            buffer
        }

        fn format(media: &str) -> Item {
            let caps = gst::Caps::new_empty_simple(media);
            Item::Format(PadFormat { group: gst::GroupId::next(), caps, tags: gst::TagList::new() })
        }

        fn names(queue: &PadQueue, count: usize) -> Vec<String> {
            let name = |item| match item {
                Item::Event(event) => event.type_().name().to_string(),
                Item::Format(format) => format.caps.to_string(),
                Item::Frame(buffer) => {
                    let gap = if buffer.flags().contains(gst::BufferFlags::DISCONT) { "!" } else { "" };
                    format!("{}{gap}", buffer.offset())
                }
            };
            (0..count).map(|_| name(queue.next().unwrap())).collect()
        }

        #[test]
        fn a_branch_that_is_behind_loses_its_oldest_frames_and_no_event() {
            gst::init().unwrap();
            let queue = PadQueue::default();
            assert_eq!(queue.push_frame(frame(0)), Delivered::Refused, "not active");
            queue.set_flushing(false);
            queue.push(format("video/x-raw"));
            let offered: Vec<_> = (1..=4).map(|number| queue.push_frame(frame(number))).collect();
            let (queued, dropped) = (Delivered::Queued, Delivered::DroppedOldest);
            assert_eq!(offered, [queued, queued, dropped, dropped]);
            queue.push(Item::Event(gst::event::Eos::new()));
            assert_eq!(names(&queue, 4), ["video/x-raw", "3!", "4", "eos"]);

            queue.push(format("image/jpeg"));
            queue.push_frame(frame(5));
            assert_eq!(names(&queue, 2), ["image/jpeg", "5"]);
            queue.end();
            assert_eq!(queue.push_frame(frame(6)), Delivered::Refused);
            queue.push(format("video/x-bayer"));
            queue.set_flushing(true);
            assert!(queue.next().is_none());
            queue.set_flushing(false);
            assert_eq!(queue.push_frame(frame(7)), Delivered::Queued);
            assert_eq!(names(&queue, 2), ["video/x-bayer", "7"], "a flush leaves the format");
        }
    }
}
