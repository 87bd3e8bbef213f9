//! The worker: carries out what the order queue wants, on a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use swsync_core::camera_settings::SettingsLog;
use swsync_core::grid::FrameNumber;
use swsync_core::name::OrderId;
use swsync_core::order::{
    FramePurpose, FrameRun, GRACE, JournalRecord, NamedFrames, Order, OrderAction, SaveTicket,
};

use super::service::{Job, OrderService};
use super::stored_frame::StoredFrame;

/// How often the queue looks for orders of which nothing more will come.
const TICK: Duration = Duration::from_millis(200);

/// A frame that the queue wants saved.
pub struct FrameToSave {
    pub order: OrderId,
    /// Given back when the frame is no longer in memory.
    pub ticket: SaveTicket,
    pub number: FrameNumber,
    /// The segment of the order, and so the file, that it belongs to.
    pub segment: u64,
    pub purpose: FramePurpose,
    pub frame: StoredFrame,
}

impl FrameToSave {
    /// Whether the order names the frame: others are only there to decode those.
    pub fn is_named(&self) -> bool {
        self.purpose == FramePurpose::Named
    }
}

/// Where the frames of orders go: files, or downstream. Called on the worker's thread.
pub trait OrderOutput: Send {
    /// Notes what has to be known after a restart.
    fn note(&mut self, record: JournalRecord);
    /// Notes what the rig has set, for a restart.
    fn keep_settings(&mut self, settings: &SettingsLog);
    /// Frames of `order` are going to come; `oldest`: the oldest frame in the ring when it began.
    fn begin(
        &mut self,
        service: &OrderService,
        order: &Order,
        named: NamedFrames,
        oldest: Option<FrameNumber>,
    );
    fn save(&mut self, service: &OrderService, frame: FrameToSave);
    /// Frames that do not come.
    fn hole(&mut self, order: &OrderId, run: &FrameRun);
    /// Nothing more comes of an order.
    fn close(&mut self, service: &OrderService, order: &OrderId);
    /// Nothing comes of an order for now; `named`: what it names by what is known today.
    fn suspend(&mut self, service: &OrderService, order: &OrderId, named: NamedFrames);
    /// There is nothing more to do for the moment.
    fn idle(&mut self, service: &OrderService);
    /// Some time has passed.
    fn tick(&mut self, service: &OrderService);
}

/// Call [`step`](Self::step) on one thread until it returns `false`.
pub struct Worker {
    service: Arc<OrderService>,
    jobs: Receiver<Job>,
    last_tick: Instant,
    /// No order times out before this.
    patient_until: Instant,
    is_stopping: bool,
}

impl Worker {
    pub fn new(service: Arc<OrderService>, jobs: Receiver<Job>) -> Self {
        let now = Instant::now();
        Self { service, jobs, last_tick: now, patient_until: now, is_stopping: false }
    }

    /// Does one job, or waits for one a while. `false`: the service is closed, and everything is done.
    pub fn step(&mut self, output: &mut dyn OrderOutput) -> bool {
        if self.last_tick.elapsed() >= TICK {
            self.tick(output);
        }
        let job = match self.jobs.try_recv() {
            Ok(job) => job,
            Err(TryRecvError::Disconnected) => return false,
            Err(TryRecvError::Empty) => {
                output.idle(&self.service);
                if self.is_stopping && !self.service.is_idle() {
                    // An order may have come since.
                    self.service.handle_stop();
                } else if self.is_stopping {
                    // The last order may have left something to do.
                    return match self.jobs.try_recv() {
                        Ok(job) => self.do_job(output, job),
                        Err(_) => false,
                    };
                }
                match self.jobs.recv_timeout(TICK) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => return true,
                    Err(RecvTimeoutError::Disconnected) => return false,
                }
            }
        };
        self.do_job(output, job)
    }

    fn do_job(&mut self, output: &mut dyn OrderOutput, job: Job) -> bool {
        let service = &*self.service;
        let action = match job {
            Job::CarryOut(action) => action,
            Job::KeepSettings(settings) => {
                output.keep_settings(&settings);
                return true;
            }
            Job::End => {
                self.is_stopping = true;
                return true;
            }
        };
        match action {
            OrderAction::Answer(answer) => {
                output.idle(service);
                service.answer(&answer);
            }
            OrderAction::Journal(record) => output.note(record),
            OrderAction::Begin { order, named } => {
                let oldest = service.take_oldest_at_begin(order.id());
                output.begin(service, &order, named, oldest);
            }
            OrderAction::Save { order, ticket, number, segment, purpose, payload: frame } => {
                output.save(service, FrameToSave { order, ticket, number, segment, purpose, frame });
            }
            OrderAction::Hole { order, run } => output.hole(&order, &run),
            OrderAction::Close { order } => output.close(service, &order),
            OrderAction::Suspend { order, named } => output.suspend(service, &order, named),
            OrderAction::RequestKey { .. } => unreachable!("the service requests key frames itself"),
        }
        true
    }

    fn tick(&mut self, output: &mut dyn OrderOutput) {
        let before = std::mem::replace(&mut self.last_tick, Instant::now());
        // The process was stopped, or the output blocked. Frames that have come meanwhile are handled first.
        if self.last_tick - before > Duration::from_secs(1) {
            self.patient_until = self.last_tick + GRACE.to_duration();
        }
        self.service.handle_tick(self.last_tick >= self.patient_until);
        output.tick(&self.service);
    }

    pub const fn service(&self) -> &Arc<OrderService> {
        &self.service
    }
}
