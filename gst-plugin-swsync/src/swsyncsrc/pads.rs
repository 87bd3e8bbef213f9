//! The pads of `swsyncsrc`. The first belongs to the base class and its thread. Each further one has a
//! thread of its own and a short queue before it, so that a branch that is slow, blocked or flushing holds up
//! neither the camera nor the other branches.
//!
//! The thread (`gst::Task` of the pad) is started when the pad is activated, and joined when it is deactivated.

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::camera::StreamRole;

glib::wrapper! {
    /// A pad with one of the camera's streams.
    pub struct SwsyncSrcPad(ObjectSubclass<imp::SwsyncSrcPad>) @extends gst::Pad, gst::Object;
}

/// What went into a branch, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    Queued,
    /// The branch is behind: its oldest waiting frame was dropped for this one.
    Dropped,
    /// The branch takes nothing: it is not active, flushing, or at its end.
    Refused,
}

impl SwsyncSrcPad {
    /// What the stream is for.
    pub fn role(&self) -> StreamRole {
        self.imp().role()
    }

    /// Whether the stream was begun since the pad was activated.
    pub fn is_begun(&self) -> bool {
        self.imp().branch.is_begun()
    }

    /// Queues a frame of `caps`. `opening` goes before everything else where the stream is not begun: what it is,
    /// and its segment.
    pub fn offer(&self, buffer: gst::Buffer, caps: &gst::Caps, opening: Option<[gst::Event; 3]>) -> Offered {
        self.imp().branch.offer(buffer, caps, opening)
    }

    /// Queues an event, after the frames that were offered before.
    pub fn queue_event(&self, event: gst::Event) {
        self.imp().branch.queue_event(event);
    }

    /// Empties the branch, and passes the event on at once.
    pub fn flush(&self, event: gst::Event) {
        let stops = event.type_() == gst::EventType::FlushStop;
        self.imp().branch.set_flushing(true);
        self.push_event(event);
        if stops {
            self.imp().branch.set_flushing(false);
            self.run();
        } else {
            let _ = self.pause_task();
        }
    }

    /// Starts or ends the thread.
    pub(super) fn set_running(&self, running: bool) -> Result<(), gst::LoggableError> {
        if running {
            self.imp().branch.restart();
            self.run();
            return Ok(());
        }
        self.imp().branch.set_flushing(true);
        self.stop_task().map_err(|error| gst::loggable_error!(super::imp::CAT, "{error}"))
    }

    fn run(&self) {
        let pad = self.downgrade();
        let started = self.start_task(move || {
            if let Some(pad) = pad.upgrade() {
                pad.imp().iterate();
            }
        });
        if let Err(error) = started {
            gst::error!(super::imp::CAT, obj = self, "no thread for the branch: {error}");
        }
    }
}

mod imp {
    use std::sync::{LazyLock, Mutex};

    use super::super::imp::CAT;
    use super::super::layout::Layout;
    use super::branch::{Branch, Item};
    use super::*;
    use crate::lock::lock;

    #[derive(Default)]
    pub struct SwsyncSrcPad {
        role: Mutex<StreamRole>,
        pub(super) branch: Branch,
        /// How downstream wants pictures laid out.
        layout: Mutex<Layout>,
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
                "stream-role" => *lock(&self.role) = value.get().expect("checked by GObject"),
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
            *lock(&self.role)
        }

        /// Passes the next thing on.
        pub(super) fn iterate(&self) {
            let pad = self.obj();
            let result = match self.branch.next() {
                Some(Item::Event(event)) => {
                    self.pass_event(event);
                    return;
                }
                Some(Item::Buffer(buffer)) => {
                    // Whoever gets it may ask anything of the pad.
                    let laid_out = lock(&self.layout).apply(buffer);
                    match laid_out {
                        Ok(buffer) => pad.push(buffer),
                        Err(reason) => {
                            gst::error!(CAT, obj = pad, "{reason}");
                            Err(gst::FlowError::Error)
                        }
                    }
                }
                None => Err(gst::FlowError::Flushing),
            };
            match result {
                // Not linked yet, or no more: that may change.
                Ok(_) | Err(gst::FlowError::NotLinked) => return,
                Err(gst::FlowError::Flushing) => {}
                Err(gst::FlowError::Eos) => self.branch.end(),
                Err(error) => {
                    self.branch.end();
                    self.post_error(error);
                    pad.push_event(gst::event::Eos::new());
                }
            }
            let _ = pad.pause_task();
        }

        fn pass_event(&self, event: gst::Event) {
            let pad = self.obj();
            let caps = match event.view() {
                gst::EventView::Caps(caps) => Some(caps.caps_owned()),
                _ => None,
            };
            pad.push_event(event);
            if let Some(caps) = caps {
                let mut query = gst::query::Allocation::new(Some(&caps), false);
                let answered = pad.peer_query(&mut query);
                *lock(&self.layout) = Layout::new(&caps, answered.then_some(&query));
            }
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

mod branch {
    use std::collections::VecDeque;
    use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

    use super::Offered;
    use crate::lock::lock;

    /// Frames that wait for a branch: each holds one of the camera's frame buffers.
    const WAITING: usize = 2;

    pub enum Item {
        Event(gst::Event),
        Buffer(gst::Buffer),
    }

    /// The queue before a pad's thread.
    #[derive(Default)]
    pub struct Branch {
        state: Mutex<State>,
        changed: Condvar,
    }

    struct State {
        items: VecDeque<Item>,
        flushing: bool,
        ended: bool,
        begun: bool,
        /// Frames are missing before the next one.
        gap: bool,
        caps: Option<gst::Caps>,
    }

    impl Default for State {
        /// Of a pad that is not active.
        fn default() -> Self {
            Self {
                items: VecDeque::new(),
                flushing: true,
                ended: false,
                begun: false,
                gap: false,
                caps: None,
            }
        }
    }

    impl Branch {
        /// Makes ready for a new stream.
        pub fn restart(&self) {
            *lock(&self.state) = State { flushing: false, ..State::default() };
        }

        pub fn set_flushing(&self, flushing: bool) {
            let dropped = {
                let mut state = lock(&self.state);
                state.flushing = flushing;
                if !flushing {
                    // A flush takes segments with it, and ends.
                    (state.begun, state.ended, state.caps) = (false, false, None);
                }
                std::mem::take(&mut state.items)
            };
            drop(dropped);
            self.changed.notify_all();
        }

        /// Takes no more.
        pub fn end(&self) {
            let dropped = {
                let mut state = lock(&self.state);
                state.ended = true;
                std::mem::take(&mut state.items)
            };
            drop(dropped);
        }

        pub fn is_begun(&self) -> bool {
            lock(&self.state).begun
        }

        pub fn queue_event(&self, event: gst::Event) {
            let mut state = lock(&self.state);
            if !state.flushing && !state.ended {
                state.items.push_back(Item::Event(event));
                self.changed.notify_all();
            }
        }

        pub fn offer(
            &self,
            buffer: gst::Buffer,
            caps: &gst::Caps,
            opening: Option<[gst::Event; 3]>,
        ) -> Offered {
            let mut state = lock(&self.state);
            if state.flushing || state.ended {
                return Offered::Refused;
            }
            let (start, begin) = match opening.filter(|_| !state.begun) {
                Some([start, segment, tags]) => (Some(start), Some([segment, tags])),
                None => (None, None),
            };
            state.begun |= start.is_some();
            let changed = (state.caps.as_ref() != Some(caps)).then(|| gst::event::Caps::new(caps));
            if changed.is_some() {
                state.caps = Some(caps.clone());
            }
            let begin = begin.into_iter().flatten();
            state.items.extend([start, changed].into_iter().flatten().chain(begin).map(Item::Event));
            let oldest = state.oldest_beyond(WAITING);
            let dropped = oldest.and_then(|oldest| state.items.remove(oldest));
            state.gap |= dropped.is_some();
            state.items.push_back(Item::Buffer(buffer));
            drop(state);
            self.changed.notify_all();
            // The dropped frame goes here, outside the lock.
            if dropped.is_some() { Offered::Dropped } else { Offered::Queued }
        }

        /// The next thing to pass on; waits for one. `None` when flushing.
        pub fn next(&self) -> Option<Item> {
            let mut state = lock(&self.state);
            loop {
                if state.flushing {
                    return None;
                }
                if let Some(mut item) = state.items.pop_front() {
                    // It is the oldest frame that was dropped: the gap is before the one that is left.
                    if let Item::Buffer(buffer) = &mut item
                        && std::mem::take(&mut state.gap)
                    {
                        buffer.make_mut().set_flags(gst::BufferFlags::DISCONT);
                    }
                    return Some(item);
                }
                state = self.wait(state);
            }
        }

        fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
            self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl State {
        /// The place of the oldest frame where as many as `limit` wait.
        fn oldest_beyond(&self, limit: usize) -> Option<usize> {
            let mut frames =
                self.items.iter().enumerate().filter(|(_, item)| matches!(item, Item::Buffer(_)));
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

        fn names(branch: &Branch, count: usize) -> Vec<String> {
            let name = |item| match item {
                Item::Event(event) => event.type_().name().to_string(),
                Item::Buffer(buffer) => {
                    let gap = if buffer.flags().contains(gst::BufferFlags::DISCONT) { "!" } else { "" };
                    format!("{}{gap}", buffer.offset())
                }
            };
            (0..count).map(|_| name(branch.next().unwrap())).collect()
        }

        #[test]
        fn a_branch_that_is_behind_loses_its_oldest_frames_and_no_event() {
            gst::init().unwrap();
            let caps = gst::Caps::new_empty_simple("video/x-raw");
            let branch = Branch::default();
            assert_eq!(branch.offer(frame(0), &caps, None), Offered::Refused, "not active");
            branch.restart();
            assert!(!branch.is_begun());
            let segment = gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new());
            let tags = gst::event::Tag::new(gst::TagList::new());
            let opening = [gst::event::StreamStart::new("test"), segment, tags];
            let offered: Vec<_> =
                (1..=4).map(|number| branch.offer(frame(number), &caps, Some(opening.clone()))).collect();
            assert!(branch.is_begun());
            assert_eq!(offered, [Offered::Queued, Offered::Queued, Offered::Dropped, Offered::Dropped]);
            branch.queue_event(gst::event::Eos::new());
            assert_eq!(names(&branch, 7), ["stream-start", "caps", "segment", "tag", "3!", "4", "eos"]);

            let other = gst::Caps::new_empty_simple("image/jpeg");
            branch.offer(frame(5), &other, None);
            assert_eq!(names(&branch, 2), ["caps", "5"]);
            branch.end();
            assert_eq!(branch.offer(frame(6), &other, None), Offered::Refused);
            branch.set_flushing(true);
            assert!(branch.next().is_none());
            branch.set_flushing(false);
            assert!(!branch.is_begun(), "a flush takes the segment along");
            assert_eq!(branch.offer(frame(7), &other, None), Offered::Queued);
        }
    }
}
