//! A device at work: its desk, those who wait for answers, and the thread that carries out what the desk wants.
//!
//! `swsyncsink` and `swsyncgate` differ in their [`Outlet`]: one writes files, the other pushes downstream. Frames come
//! in on the streaming thread, orders on the control plane's threads; neither ever waits for the outlet.

#[path = "../station/coded.rs"]
mod coded;
mod stored_frame;
pub mod frame_number;
mod source_info;
mod messages;
mod settings;
mod shoot;
mod element;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::{Cast as _, ClockExt as _, ElementExt as _};
use swsync_core::control::{FrameStatus, Status, StorageStatus, TimeScale};
use swsync_core::frame::FrameInfo;
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::{
    Acknowledgement, Action, Answer, Command, Desk, Fate, FrameRun, GRACE, Journal, Kind, Order, Refused,
    Registry, Ticket,
};
use swsync_core::ring::{Coding, Limits};
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_rig::control::{ControlError, DeviceHandler, Reply};

pub use stored_frame::{Held, Stream};
pub use source_info::{Camera, settings_of};
pub use messages::served_message;
pub use settings::{RigSettings, control_error};
pub use shoot::place_shot;
pub use element::{request_key_frame, stated_latency};

use crate::clock::{SwsyncClock, rig_time, status_of};
use crate::lock::lock;

/// How often the desk looks for orders that nothing will come of any more.
const TICK: Duration = Duration::from_millis(200);

/// How long before a take files are no longer shared: what is on its way has arrived by then.
const QUIET_BEFORE: Span = Span::from_secs(2);

/// How often a key frame is asked for while what comes builds on a frame that was lost.
const ASK_EVERY: Span = Span::from_secs(1);

/// What carries out what a desk wants, on one thread.
pub trait Outlet: Send {
    /// Does one thing. Not [`Action::Answer`] and [`Action::RequestKey`], which the station does.
    fn carry_out(&mut self, station: &Station, action: Action<Held>);
    /// There is nothing more to do for the moment.
    fn rest(&mut self, station: &Station);
    /// Some time has passed.
    fn tick(&mut self, station: &Station);
}

/// What a station asks of the element that it is in.
pub trait Host: Send + Sync {
    /// The encoder shall make a key frame of the frame at this instant.
    fn request_key(&self, at: Timestamp<Rig>, period: Span);
    /// An order is answered.
    fn announce(&self, answer: &Answer);
    /// The device cannot go on, because of this.
    fn fail(&self, error: gst::ErrorMessage);
    /// How late frames arrive, by what upstream states; `None`: it states nothing.
    fn latency(&self) -> Option<Span>;
    /// What is on the disk of an order that is not remembered.
    fn on_disk(&self, order: &Order) -> OnDisk;
    /// What stands in the way just now, seen without asking the disk.
    fn problem(&self) -> Option<String> {
        None
    }
}

/// What is on the disk under the id of an order.
pub enum OnDisk {
    Nothing,
    /// The take of another order.
    Another,
    /// The take of this very order, as it was ended, and what of it is saved or missing.
    Same(Order, Vec<FrameRun>),
}

/// Work for the outlet; `None`: it is to end.
type Work = Option<Action<Held>>;

struct Inner {
    desk: Desk<Held>,
    /// Those who wait for an order's answer.
    replies: HashMap<OrderId, Vec<Reply>>,
    newest: Option<FrameInfo>,
    /// While frames build on one that was lost: when a key frame was last asked for.
    asked: Option<Timestamp<Rig>>,
    clock: Option<gst::Clock>,
    /// Of orders that the outlet has not begun with: the oldest frame that was held when they began.
    oldest_at_begin: HashMap<OrderId, FrameNumber>,
    free_bytes: Option<u64>,
    /// Files that the outlet keeps of each order, if not all.
    max_files: Option<u32>,
    problem: Option<String>,
}

/// How the wait of [`Station::suspend`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// All is done.
    Reached,
    Interrupted,
    GivenUp,
}

/// Shared by the streaming thread, the control plane's threads and the outlet's.
pub struct Station {
    device: DeviceId,
    inner: Mutex<Inner>,
    /// One order at a time is looked for on the disk and opened. Taken before `inner`.
    intake: Mutex<()>,
    /// Signalled with every answer.
    quiet: Condvar,
    host: Box<dyn Host>,
    work: mpsc::Sender<Work>,
}

/// The outlet's side of a station: call [`Duty::step`] until it is done, on one thread.
pub struct Duty {
    station: Arc<Station>,
    work: mpsc::Receiver<Work>,
    last_tick: Instant,
    /// Until then nothing is given up.
    patient_until: Instant,
    stopping: bool,
}

impl Station {
    /// A station, and what is to run on the outlet's thread, which keeps `max_files` of each order, if not all.
    pub fn new(
        device: DeviceId,
        limits: Limits,
        max_files: Option<u32>,
        host: impl Host + 'static,
    ) -> (Arc<Self>, Duty) {
        let (work, queue) = mpsc::channel();
        let station = Arc::new(Self {
            inner: Mutex::new(Inner {
                desk: Desk::new(device.clone(), limits).with_files_apart(max_files.is_some()),
                replies: HashMap::new(),
                newest: None,
                asked: None,
                clock: None,
                oldest_at_begin: HashMap::new(),
                free_bytes: None,
                max_files,
                problem: None,
            }),
            intake: Mutex::new(()),
            device,
            quiet: Condvar::new(),
            host: Box::new(host),
            work,
        });
        let now = Instant::now();
        let duty = Duty {
            station: Arc::clone(&station),
            work: queue,
            last_tick: now,
            patient_until: now,
            stopping: false,
        };
        (station, duty)
    }

    /// Takes up what was open before a restart; call before anything else.
    pub fn restore(&self, journal: Journal, on_disk: impl FnMut(&Order) -> Vec<FrameRun>) {
        self.act(|inner| ((), inner.desk.restore(journal, on_disk)));
    }

    /// No more frames come for now: files are finished, and every order is answered with what became of it so far. Returns
    /// when that is done, with how it ended. `progress` rises while there is hope: without any for `patience`, it is given up,
    /// as where it `is_interrupted`. What was not in time is still answered later.
    pub fn suspend(
        &self,
        patience: Duration,
        progress: impl Fn() -> u64,
        is_interrupted: impl Fn() -> bool,
    ) -> Rest {
        self.act(|inner| ((), inner.desk.handle_stop()));
        let (mut seen, mut since) = (progress(), Instant::now());
        let mut inner = lock(&self.inner);
        loop {
            if inner.desk.is_at_rest() {
                return Rest::Reached;
            }
            if is_interrupted() {
                return Rest::Interrupted;
            }
            let now = progress();
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() >= patience {
                return Rest::GivenUp;
            }
            let waited = self.quiet.wait_timeout(inner, TICK);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What is not written yet: open orders, and bytes of their frames.
    pub fn left(&self) -> (Vec<OrderId>, usize) {
        let inner = lock(&self.inner);
        (inner.desk.open_orders().map(|order| order.id().clone()).collect(), inner.desk.backlog().0)
    }

    /// Has the outlet's thread finish files, answer every open order with what became of it so far, and end.
    pub fn close(&self) {
        self.act(|inner| ((), inner.desk.handle_stop()));
        // It has ended already where this fails.
        let _ = self.work.send(None);
    }

    pub fn set_grid(&self, grid: FrameGrid) {
        self.act(|inner| ((), inner.desk.set_grid(grid)));
    }

    /// The pipeline runs on `clock` from now on.
    pub fn set_clock(&self, clock: Option<gst::Clock>) {
        let before = std::mem::replace(&mut lock(&self.inner).clock, clock);
        let ended = before
            .is_some_and(|clock| clock.downcast_ref::<SwsyncClock>().is_some_and(SwsyncClock::has_ended));
        if ended {
            self.act(|inner| ((), inner.desk.handle_new_time()));
        }
    }

    pub fn clock(&self) -> Option<gst::Clock> {
        lock(&self.inner).clock.clone()
    }

    /// A buffer of `stream` has arrived at `element`, in this segment. `false`: it is not a frame, but belongs to the next one.
    pub fn handle_buffer(
        &self,
        element: &gst::Element,
        buffer: gst::Buffer,
        stream: &Arc<Stream>,
        segment: &gst::FormattedSegment<gst::ClockTime>,
    ) -> bool {
        // Parameters that come by themselves belong to the next frame.
        let Some(buffer) = stream.whole(buffer) else { return false };
        match Held::new(buffer, stream, segment, element.clock().as_ref(), element.base_time()) {
            Some(frame) => {
                tracing::trace!(number = frame.info.number, "a frame");
                self.handle_frame(frame);
                if let Some((text, remedy)) = stream.remark() {
                    gst::element_warning!(element, gst::StreamError::Format, ("{text}"), ["{remedy}"]);
                }
            }
            None => {
                tracing::warn!(
                    "a buffer without rig time and PTS, or with the number of another, is dropped"
                );
            }
        }
        true
    }

    fn handle_frame(&self, frame: Held) {
        let (info, period) = (frame.info, frame.stream.grid.period());
        {
            let mut inner = lock(&self.inner);
            inner.newest = Some(info);
            if let Some(clock) = &inner.clock {
                let age = rig_time(clock.time()) - info.rig_time_ns;
                inner.desk.handle_age(age);
            }
            // What comes is of no use before the next key frame: it is asked for at once, and again.
            let is_lost = frame.coding == Coding::Lost;
            let asks = is_lost && inner.asked.is_none_or(|at| (info.rig_time_ns - at).abs() >= ASK_EVERY);
            if asks || !is_lost {
                inner.asked = is_lost.then_some(info.rig_time_ns);
            }
            drop(inner);
            if asks {
                self.host.request_key(info.rig_time_ns, period);
            }
        }
        self.act(|inner| ((), inner.desk.handle_frame(frame.into_entry())));
    }

    /// Rig time now, once there is a clock.
    pub fn rig_now(&self) -> Option<Timestamp<Rig>> {
        Some(status_of(&self.clock()?).rig_time_ns)
    }

    /// The time scale of the pipeline's clock, where it says so.
    pub fn timescale(&self) -> Option<TimeScale> {
        status_of(&self.clock()?).timescale()
    }

    /// How long after their instants frames arrive, at most.
    pub fn latency(&self) -> Span {
        lock(&self.inner).desk.latency()
    }

    /// Has the desk know the time scale that the clock is on now.
    fn heed_timescale(&self) {
        let timescale = self.timescale();
        lock(&self.inner).desk.set_timescale(timescale);
    }

    /// What was handed out under `ticket` needs no memory any more.
    pub fn handle_taken(&self, ticket: Ticket) {
        self.act(|inner| ((), inner.desk.handle_taken(ticket)));
    }

    /// What became of named frames.
    pub fn handle_written(&self, order: &OrderId, frames: RangeInclusive<FrameNumber>, fate: Fate) {
        lock(&self.inner).desk.handle_written(order, frames, fate);
    }

    /// What became of frames of before: see [`Desk::handle_removed`].
    pub fn handle_removed(&self, order: &OrderId, before: FrameNumber, size: (u64, u64), why: &str) {
        lock(&self.inner).desk.handle_removed(order, before, size, why);
    }

    /// All that concerns an order is done.
    pub fn handle_closed(&self, order: &OrderId) {
        self.act(|inner| ((), inner.desk.handle_closed(order)));
    }

    /// Room for files, and what is wrong with them if something is.
    pub fn set_storage(&self, free_bytes: Option<u64>, problem: Option<String>) {
        let mut inner = lock(&self.inner);
        inner.free_bytes = free_bytes;
        inner.problem = problem;
    }

    /// Why the disk and the network are needed for something else than sharing files, if they are: a take or a
    /// burst runs, or will soon.
    pub fn busy(&self) -> Option<String> {
        let now = self.rig_now()?;
        let inner = lock(&self.inner);
        let runs =
            |order: &&Order| !matches!(order.kind(), Kind::Still { .. }) && order.at() - QUIET_BEFORE <= now;
        inner.desk.open_orders().find(runs).map(|order| format!("{} is being recorded", order.id()))
    }

    fn is_at_rest(&self) -> bool {
        lock(&self.inner).desk.is_at_rest()
    }

    /// The oldest frame that was held when an order began. Once.
    pub fn take_oldest_at_begin(&self, order: &OrderId) -> Option<FrameNumber> {
        lock(&self.inner).oldest_at_begin.remove(order)
    }

    /// Has the desk do something, and hands what it wants to the outlet.
    fn act<R>(&self, ask: impl FnOnce(&mut Inner) -> (R, Vec<Action<Held>>)) -> R {
        let mut keys = Vec::new();
        let result = {
            let mut inner = lock(&self.inner);
            let (result, actions) = ask(&mut inner);
            for action in actions {
                if let (Action::Begin { order, .. }, Some((oldest, _))) = (&action, inner.desk.ring().range())
                {
                    inner.oldest_at_begin.insert(order.id().clone(), oldest);
                }
                match action {
                    Action::RequestKey { at, .. } => {
                        let period = inner.desk.grid().map_or(Span::ZERO, FrameGrid::period);
                        keys.push((at, period));
                    }
                    // Under the lock: what two threads ask for must not change its order. It does not block, and
                    // fails only after the outlet has ended, when nothing is open any more.
                    other => drop(self.work.send(Some(other))),
                }
            }
            result
        };
        for (at, period) in keys {
            self.host.request_key(at, period);
        }
        result
    }

    fn answer(&self, answer: &Answer) {
        self.host.announce(answer);
        let replies = lock(&self.inner).replies.remove(&answer.order);
        for reply in replies.into_iter().flatten() {
            reply.send(answer);
        }
        self.quiet.notify_all();
    }
}

impl Duty {
    /// Does what there is to do, or waits for it a while. `false`: the station is closed, and everything is done.
    pub fn step(&mut self, outlet: &mut dyn Outlet) -> bool {
        if self.last_tick.elapsed() >= TICK {
            self.tick(outlet);
        }
        let work = match self.work.try_recv() {
            Ok(work) => work,
            Err(TryRecvError::Disconnected) => return false,
            Err(TryRecvError::Empty) => {
                outlet.rest(&self.station);
                if self.stopping && !self.station.is_at_rest() {
                    // One may have come since.
                    self.station.act(|inner| ((), inner.desk.handle_stop()));
                } else if self.stopping {
                    // What the last of them wanted is still there.
                    return match self.work.try_recv() {
                        Ok(work) => self.carry_out(outlet, work),
                        Err(_) => false,
                    };
                }
                match self.work.recv_timeout(TICK) {
                    Ok(work) => work,
                    Err(RecvTimeoutError::Timeout) => return true,
                    Err(RecvTimeoutError::Disconnected) => return false,
                }
            }
        };
        self.carry_out(outlet, work)
    }

    fn carry_out(&mut self, outlet: &mut dyn Outlet, work: Work) -> bool {
        match work {
            Some(Action::Answer(answer)) => {
                outlet.rest(&self.station);
                self.station.answer(&answer);
            }
            Some(action) => outlet.carry_out(&self.station, action),
            None => self.stopping = true,
        }
        true
    }

    fn tick(&mut self, outlet: &mut dyn Outlet) {
        let before = std::mem::replace(&mut self.last_tick, Instant::now());
        // The process was stopped, or the outlet held up: what has come meanwhile is to be seen first.
        if self.last_tick - before > Duration::from_secs(1) {
            self.patient_until = self.last_tick + GRACE.to_duration();
        }
        self.station.heed_timescale();
        if let Some(latency) = self.station.host.latency() {
            lock(&self.station.inner).desk.set_latency(latency);
        }
        if let Some(now) = self.station.rig_now().filter(|_| self.last_tick >= self.patient_until) {
            self.station.act(|inner| ((), inner.desk.handle_timeout(now)));
        }
        outlet.tick(&self.station);
    }

    pub const fn station(&self) -> &Arc<Station> {
        &self.station
    }
}

impl DeviceHandler for Station {
    fn handle_order(&self, order: Order, reply: Reply) {
        let id = order.id().clone();
        self.heed_timescale();
        let _intake = lock(&self.intake);
        let is_known = lock(&self.inner).desk.knows(&id);
        let on_disk = if is_known { OnDisk::Nothing } else { self.host.on_disk(&order) };
        let refused = self.act(|inner| {
            // First: the outlet may have answered before this returns.
            inner.replies.entry(id.clone()).or_default().push(reply);
            let taken = match on_disk {
                OnDisk::Nothing => inner.desk.handle_order(order),
                OnDisk::Same(order, frames) => inner.desk.handle_order_on_disk(order, frames),
                OnDisk::Another => Err(Refused::Id(id.clone())),
            };
            match taken {
                Ok(actions) => (None, actions),
                Err(refused) => {
                    let reply = inner.replies.get_mut(&id).and_then(Vec::pop);
                    inner.replies.retain(|_, waiting| !waiting.is_empty());
                    (reply.map(|reply| (reply, refused)), Vec::new())
                }
            }
        });
        if let Some((reply, refused)) = refused {
            reply.refuse(&refused.to_string());
        }
    }

    fn handle_command(&self, command: &Command) -> Acknowledgement {
        let standing = self.act(|inner| inner.desk.handle_command(command));
        Acknowledgement { order: command.order().clone(), device: self.device.clone(), standing }
    }

    fn registry(&self) -> Registry {
        lock(&self.inner).desk.registry()
    }

    fn status(&self) -> Status {
        let inner = lock(&self.inner);
        let ring = inner.desk.ring();
        let (saved, missed) = inner.desk.totals();
        let (queued_bytes, queue_limit_bytes) = inner.desk.backlog();
        Status {
            device: self.device.clone(),
            software: env!("CARGO_PKG_VERSION").into(),
            clock: inner.clock.as_ref().map(status_of),
            frames: inner.newest.zip(ring.range()).map(|(newest, (oldest, _))| FrameStatus {
                newest,
                rate: inner.desk.grid().expect("frames are numbered by it"),
                bytes_per_second: ring.bytes_per_second(),
                ring_frames: ring.len(),
                ring_bytes: ring.bytes(),
                oldest,
                latency_ns: inner.desk.latency(),
            }),
            storage: inner.free_bytes.map(|free_bytes| StorageStatus {
                free_bytes,
                queued_bytes,
                queue_limit_bytes,
                max_files: inner.max_files,
            }),
            open: inner.desk.progress(),
            saved,
            missed,
            problems: inner.problem.iter().cloned().chain(self.host.problem()).collect(),
            refused: Vec::new(),
        }
    }

    fn handle_duplicate(&self, error: &ControlError) {
        self.host.fail(control_error(error));
    }
}
