//! Feeds an element's order queue with frames and orders, and answers the orders.

mod control_plane;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gst::prelude::{Cast as _, ElementExt as _};
use parking_lot::{Condvar, Mutex};
use swsync_core::camera_settings::SettingsLog;
use swsync_core::frame::{FrameInfo, SyncState};
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::log;
use swsync_core::message::TimeScale;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::{
    Answer, FrameOutcome, FrameRun, Journal, Order, OrderAction, OrderKind, OrderQueue, SaveTicket,
};
use swsync_core::place::{DevicePlace, PlaceChange, PlaceReply};
use swsync_core::ring::RingLimits;
use swsync_core::status::TimeScaleHistory;
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_host::doctor::Takes;
use swsync_rig::Reply;

use super::camera_settings::CameraSettings;
use super::centre::CentreAsker;
use super::dates::KnownDates;
use super::device_description::DeviceDescription;
use super::element::ElementHooks;
use super::identify::Identifier;
use super::messages::served_message;
use super::stored_frame::{StoredFrame, Stream};
use super::thumbnail::Thumbnailer;
use crate::caps::grid_of;
use crate::clock::{SwsyncClock, status_of};

/// How often [`OrderService::suspend`] looks whether there is progress.
const SUSPEND_INTERVAL: Duration = Duration::from_millis(200);

/// How long before a take files are no longer shared: what is on its way has arrived by then.
const QUIET_BEFORE: Span = Span::from_secs(2);

/// The files of an element that writes some.
pub trait OutputStorage: Send + Sync {
    /// What is on the disk of an order that the queue does not know.
    fn saved_take(&self, order: &Order) -> SavedTake;
    /// What is wrong just now, found without asking the disk.
    fn problems(&self) -> Vec<String>;
    /// The group and the place of the device.
    fn place(&self) -> DevicePlace;
    /// Changes them, and replies once that is on the disk. Does not block.
    fn change_place(&self, change: PlaceChange, reply: Reply<PlaceReply>);
    /// The folder that all takes go to.
    fn folder(&self) -> PathBuf;
}

/// What is on the disk under the id of an order.
pub enum SavedTake {
    None,
    OfAnotherOrder,
    /// The take of this very order, as it was ended, and what of it is saved or missing.
    OfThisOrder(Order, Vec<FrameRun>),
}

/// What the worker's thread is to do.
#[expect(
    clippy::large_enum_variant,
    reason = "all jobs but the last are actions: a box would be an allocation for each frame"
)]
pub enum Job {
    CarryOut(OrderAction<StoredFrame>),
    /// Note what the rig has set, for a restart.
    KeepSettings(Arc<SettingsLog>),
    /// End, once all open orders are finished.
    End,
}

struct State {
    queue: OrderQueue<StoredFrame>,
    /// Once caps are known.
    stream: Option<Arc<Stream>>,
    /// Those who wait for an order's answer.
    replies: HashMap<OrderId, Vec<Reply>>,
    newest: Option<FrameInfo>,
    clock: Option<gst::Clock>,
    /// Of orders that the output has not begun with: the oldest frame in the ring when they began.
    oldest_at_begin: HashMap<OrderId, FrameNumber>,
    free_bytes: Option<u64>,
    /// Files that the output keeps of each order, if not all.
    max_files: Option<u32>,
    problem: Option<String>,
    /// The time scales of the clock, for the status.
    timescales: TimeScaleHistory,
}

/// How [`OrderService::suspend`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspended {
    /// All is done.
    Finished,
    Interrupted,
    TimedOut,
}

/// Shared by the streaming thread, the threads of the control plane, and the worker's.
pub struct OrderService {
    device: DeviceId,
    element: ElementHooks,
    description: DeviceDescription,
    storage: Option<Box<dyn OutputStorage>>,
    settings: CameraSettings,
    dates: KnownDates,
    state: Mutex<State>,
    /// One order at a time is looked for on the disk and opened. Taken before `state`.
    accepting: Mutex<()>,
    /// Signalled with every answer.
    answered: Condvar,
    jobs: mpsc::Sender<Job>,
    begun: Instant,
    identifier: Identifier,
    centre: CentreAsker,
    thumbnails: Thumbnailer,
}

impl OrderService {
    /// The service of an element, and what a [`Worker`](super::Worker) is to do for it. `max_files`: files that the output keeps of
    /// each order, if not all.
    pub fn new(
        device: DeviceId,
        limits: RingLimits,
        max_files: Option<u32>,
        element: ElementHooks,
        description: DeviceDescription,
        storage: Option<Box<dyn OutputStorage>>,
        dates: KnownDates,
    ) -> (Arc<Self>, mpsc::Receiver<Job>) {
        let (jobs, received) = mpsc::channel();
        let service = Arc::new(Self {
            state: Mutex::new(State {
                queue: OrderQueue::new(device.clone(), limits).with_separate_files(max_files.is_some()),
                stream: None,
                replies: HashMap::new(),
                newest: None,
                clock: element.element().and_then(|element| element.clock()),
                oldest_at_begin: HashMap::new(),
                free_bytes: None,
                max_files,
                problem: None,
                timescales: TimeScaleHistory::default(),
            }),
            begun: Instant::now(),
            identifier: Identifier::new(),
            centre: CentreAsker::new(device.clone(), element.clone()),
            thumbnails: Thumbnailer::new(device.clone()),
            accepting: Mutex::new(()),
            settings: CameraSettings::new(device.clone(), element.clone()),
            dates,
            device,
            answered: Condvar::new(),
            element,
            description,
            storage,
            jobs,
        });
        (service, received)
    }

    pub const fn element(&self) -> &ElementHooks {
        &self.element
    }

    /// Takes up what was open before a restart; call before anything else.
    pub fn restore(&self, journal: Journal, saved: impl FnMut(&Order) -> Vec<FrameRun>) {
        self.act(|state| ((), state.queue.restore(journal, saved)));
    }

    /// Takes up what the rig had set before a restart.
    pub fn restore_settings(&self, log: SettingsLog) {
        self.settings.restore(log);
    }

    /// Has the worker note what the rig has set.
    fn keep_settings(&self, settings: Option<Arc<SettingsLog>>) {
        // Fails only after the worker has ended.
        settings.into_iter().for_each(|settings| drop(self.jobs.send(Job::KeepSettings(settings))));
    }

    /// No more frames come for now: finishes files, and answers every order with what became of it so far.
    ///
    /// Waits until that is done, for as long as `progress` changes within each `timeout`, and not if it `is_interrupted`. What was not
    /// finished by then is answered later.
    pub fn suspend(
        &self,
        timeout: Duration,
        progress: impl Fn() -> u64,
        is_interrupted: impl Fn() -> bool,
    ) -> Suspended {
        self.handle_stop();
        let (mut seen, mut since) = (progress(), Instant::now());
        let mut state = self.state.lock();
        loop {
            if state.queue.is_idle() {
                return Suspended::Finished;
            }
            if is_interrupted() {
                return Suspended::Interrupted;
            }
            let now = progress();
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() >= timeout {
                return Suspended::TimedOut;
            }
            self.answered.wait_for(&mut state, SUSPEND_INTERVAL);
        }
    }

    /// What is not written yet: open orders, and bytes of their frames.
    pub fn unwritten(&self) -> (Vec<OrderId>, usize) {
        let state = self.state.lock();
        (state.queue.open_orders().map(|order| order.id().clone()).collect(), state.queue.backlog().0)
    }

    /// Has the worker finish files, answer every open order with what became of it so far, and end.
    pub fn close(&self) {
        self.handle_stop();
        // Fails only if the worker has ended already.
        let _ = self.jobs.send(Job::End);
    }

    /// Frames of `caps` come from now on.
    ///
    /// # Errors
    /// Why they cannot be numbered, for a person.
    pub fn set_caps(&self, caps: &gst::Caps) -> Result<(), String> {
        let grid = grid_of(caps)?;
        self.act(|state| {
            state.stream = Some(Arc::new(Stream::new(caps.clone(), grid)));
            ((), state.queue.set_grid(grid))
        });
        // The camera may have been linked after this element was started.
        self.settings.sync();
        Ok(())
    }

    /// What the last caps said.
    pub fn stream(&self) -> Option<Arc<Stream>> {
        self.state.lock().stream.clone()
    }

    /// The pipeline runs on `clock` from now on.
    pub fn set_clock(&self, clock: Option<&gst::Clock>) {
        let before = std::mem::replace(&mut self.state.lock().clock, clock.cloned());
        let has_ended = before
            .is_some_and(|clock| clock.downcast_ref::<SwsyncClock>().is_some_and(SwsyncClock::has_ended));
        if has_ended {
            // If the new clock says which time scale it is on, that is the reason.
            self.update_timescale();
            self.act(|state| ((), state.queue.handle_new_time()));
        }
    }

    fn clock(&self) -> Option<gst::Clock> {
        self.state.lock().clock.clone()
    }

    /// A buffer of `stream` has arrived, in this segment. `false`: it has parameters for the next frame, and no frame.
    pub fn handle_buffer(
        &self,
        buffer: gst::Buffer,
        stream: &Arc<Stream>,
        segment: &gst::FormattedSegment<gst::ClockTime>,
    ) -> bool {
        let Some(buffer) = stream.with_parameters(buffer) else { return false };
        let Some(element) = self.element.element() else { return true };
        match StoredFrame::new(buffer, stream, segment, element.clock().as_ref(), element.base_time()) {
            Some(frame) => {
                log::trace!(number = frame.info.number, "a frame");
                self.handle_frame(frame);
                if let Some((text, remedy)) = stream.warning() {
                    gst::element_warning!(element, gst::StreamError::Format, ("{text}"), ["{remedy}"]);
                }
            }
            None => {
                log::warn!("a buffer without rig time and PTS, or with the number of another, is dropped");
            }
        }
        true
    }

    fn handle_frame(&self, frame: StoredFrame) {
        self.act(|state| {
            let info = frame.info;
            let mut actions = Vec::new();
            if let Some(clock) = state.clock.as_ref().map(status_of) {
                actions = state.queue.set_timescale(clock.timescale());
                state.queue.handle_age(clock.rig_time_ns - info.rig_time_ns);
            }
            state.newest = Some(info);
            actions.extend(state.queue.handle_frame(frame.into_ring_frame()));
            ((), actions)
        });
    }

    /// Rig time now, once there is a clock.
    pub fn rig_now(&self) -> Option<Timestamp<Rig>> {
        Some(status_of(&self.clock()?).rig_time_ns)
    }

    /// The time scale of the pipeline's clock, if it has one.
    pub fn timescale(&self) -> Option<TimeScale> {
        status_of(&self.clock()?).timescale()
    }

    /// How long after their instants frames arrive, at most.
    pub fn latency(&self) -> Span {
        self.state.lock().queue.latency()
    }

    /// Some time has passed: updates what the queue knows of time scale and latency. `gives_up`: it answers orders whose frames
    /// are overdue.
    pub(super) fn handle_tick(&self, gives_up: bool) {
        self.update_timescale();
        self.update_now();
        if let Some(latency) = self.element.upstream_latency() {
            self.state.lock().queue.set_latency(latency);
        }
        if let Some(now) = self.rig_now().filter(|_| gives_up) {
            self.act(|state| ((), state.queue.handle_timeout(now)));
        }
    }

    /// Rig time now, if the clock knows it.
    fn known_rig_now(&self) -> Option<Timestamp<Rig>> {
        let status = status_of(&self.clock()?);
        let is_known =
            !matches!(status.quality, SyncState::Unsynced | SyncState::Acquiring | SyncState::Foreign);
        is_known.then_some(status.rig_time_ns)
    }

    /// Tells the queue what time it is, and ends orders that begin too far ahead.
    fn update_now(&self) {
        if let Some(now) = self.known_rig_now() {
            self.act(|state| ((), state.queue.set_now(now)));
        }
    }

    /// Time since it was made.
    fn uptime(&self) -> Span {
        Span::from(self.begun.elapsed())
    }

    fn update_timescale(&self) {
        self.act(|state| {
            // Without a clock nothing is known; the pipeline may be between two.
            let timescale = state.clock.as_ref().and_then(|clock| status_of(clock).timescale());
            state.timescales.note(timescale, self.uptime());
            ((), state.queue.set_timescale(timescale))
        });
    }

    /// The frame that was handed out under `ticket` is no longer in memory.
    pub fn handle_released(&self, ticket: SaveTicket) {
        self.act(|state| ((), state.queue.handle_released(ticket)));
    }

    /// What became of named frames.
    pub fn handle_written(
        &self,
        order: &OrderId,
        frames: RangeInclusive<FrameNumber>,
        outcome: FrameOutcome,
    ) {
        self.state.lock().queue.handle_written(order, frames, outcome);
    }

    /// Saved frames were removed again: see [`OrderQueue::handle_removed`].
    pub fn handle_removed(&self, order: &OrderId, before: FrameNumber, size: (u64, u64), why: &str) {
        self.state.lock().queue.handle_removed(order, before, size, why);
    }

    /// The output is done with an order.
    pub fn handle_closed(&self, order: &OrderId) {
        self.act(|state| ((), state.queue.handle_closed(order)));
    }

    pub(super) fn handle_stop(&self) {
        self.act(|state| ((), state.queue.handle_stop()));
    }

    /// Free bytes for files, and what is wrong with them, if anything.
    pub fn set_storage(&self, free_bytes: Option<u64>, problem: Option<String>) {
        let mut state = self.state.lock();
        state.free_bytes = free_bytes;
        state.problem = problem;
    }

    /// Why files should not be shared now: a take or a burst runs, or will soon, and needs disk and network.
    pub fn busy(&self) -> Option<String> {
        let now = self.rig_now()?;
        let state = self.state.lock();
        let runs = |order: &&Order| {
            !matches!(order.kind(), OrderKind::Still { .. }) && order.at() - QUIET_BEFORE <= now
        };
        state.queue.open_orders().find(runs).map(|order| format!("{} is being recorded", order.id()))
    }

    /// Where files go, unless the disk should be left alone now.
    fn takes(&self) -> Takes {
        match (self.busy(), &self.storage) {
            (Some(why), Some(_)) => Takes::Busy(why),
            (None, Some(storage)) => Takes::At(storage.folder()),
            (_, None) => Takes::None,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state.lock().queue.is_idle()
    }

    /// The oldest frame in the ring when `order` began; known once.
    pub(super) fn take_oldest_at_begin(&self, order: &OrderId) -> Option<FrameNumber> {
        self.state.lock().oldest_at_begin.remove(order)
    }

    /// Has the queue do something, and hands what it wants to the worker.
    fn act<R>(&self, ask: impl FnOnce(&mut State) -> (R, Vec<OrderAction<StoredFrame>>)) -> R {
        let mut keys = Vec::new();
        let result = {
            let mut state = self.state.lock();
            let (result, actions) = ask(&mut state);
            for action in actions {
                if let (OrderAction::Begin { order, .. }, Some((oldest, _))) =
                    (&action, state.queue.ring().range())
                {
                    state.oldest_at_begin.insert(order.id().clone(), oldest);
                }
                match action {
                    OrderAction::RequestKey { at, .. } => {
                        let period = state.queue.grid().map_or(Span::ZERO, FrameGrid::period);
                        keys.push((at, period));
                    }
                    // Under the lock, so that the actions of two threads keep their order. It does not block, and
                    // fails only after the worker has ended, when nothing is open any more.
                    other => drop(self.jobs.send(Job::CarryOut(other))),
                }
            }
            result
        };
        for (at, period) in keys {
            self.element.request_key_frame(at, period);
        }
        result
    }

    /// Sends `answer` to all who wait for it, and posts it.
    pub(super) fn answer(&self, answer: &Answer) {
        self.element.post(served_message(answer));
        let replies = self.state.lock().replies.remove(&answer.order);
        for reply in replies.into_iter().flatten() {
            reply.send(answer);
        }
        self.answered.notify_all();
    }
}
