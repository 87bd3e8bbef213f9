//! A device at work: its desk, its writer, and those who wait for answers.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use swsync_core::control::{FrameStatus, Status};
use swsync_core::frame::FrameInfo;
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::manifest::FrameRecord;
use swsync_core::name::DeviceId;
use swsync_core::name::OrderId;
use swsync_core::order::{Acknowledgement, Action, Command, Desk, Order, Registry, Role, Ticket};
use swsync_core::order::{Answer, Fate};
use swsync_core::ring::{Entry, Limits};
use swsync_core::time::{Rig, Timestamp};
use swsync_rig::control::{DeviceHandler, Reply};
use swsync_rig::files::{FileOf, Location, append_to_manifest, write_whole};

use crate::clock::status_of;
use crate::lock::lock;

/// How often the desk looks for orders that nothing will come of any more.
const TICK: Duration = Duration::from_millis(200);

/// A frame in the ring.
#[derive(Debug, Clone)]
pub struct Held {
    pub buffer: gst::Buffer,
    pub info: FrameInfo,
    pub extension: &'static str,
}

/// Work for the writer.
#[expect(clippy::large_enum_variant, reason = "most of it is frames to write")]
enum Job {
    Write(Work),
    /// An order has no more frames.
    Close(OrderId),
}

/// A frame to write.
struct Work {
    order: OrderId,
    ticket: Ticket,
    number: FrameNumber,
    role: Role,
    frame: Held,
}

struct Inner {
    desk: Desk<Held>,
    /// Those who wait for an order's answer.
    replies: HashMap<OrderId, Vec<Reply>>,
    newest: Option<FrameInfo>,
    clock: Option<gst::Clock>,
}

type OnAnswer = Box<dyn Fn(&Answer) + Send + Sync>;

/// Shared by the streaming thread, the control plane's threads and the writer's.
pub struct Station {
    device: DeviceId,
    location: Location,
    inner: Mutex<Inner>,
    on_answer: OnAnswer,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
}

/// The writer's thread: ends, and is joined, when the station is closed.
pub struct Writer(JoinHandle<()>);

impl Station {
    /// Opens a station and starts its writer. `on_answer` is called with each order's answer, on any
    /// thread.
    pub fn open(
        device: DeviceId,
        location: Location,
        limits: Limits,
        on_answer: impl Fn(&Answer) + Send + Sync + 'static,
    ) -> std::io::Result<(Arc<Self>, Writer)> {
        let (jobs, queue) = mpsc::channel();
        let station = Arc::new(Self {
            inner: Mutex::new(Inner {
                desk: Desk::new(device.clone(), limits),
                replies: HashMap::new(),
                newest: None,
                clock: None,
            }),
            device,
            location,
            on_answer: Box::new(on_answer),
            jobs: Mutex::new(Some(jobs)),
        });
        let writer = {
            let station = station.clone();
            std::thread::Builder::new()
                .name("swsync-writer".into())
                .spawn(move || station.write_until_closed(&queue))?
        };
        Ok((station, Writer(writer)))
    }

    /// Finishes what is being written, answers every open order, and joins the writer.
    pub fn close(&self, writer: Writer) {
        let actions = lock(&self.inner).desk.handle_stop();
        self.carry_out(actions);
        *lock(&self.jobs) = None;
        if writer.0.join().is_err() {
            tracing::error!("the writer panicked");
        }
    }

    pub fn set_grid(&self, grid: FrameGrid) {
        let actions = lock(&self.inner).desk.set_grid(grid);
        self.carry_out(actions);
    }

    /// The pipeline runs on `clock` from now on.
    pub fn set_clock(&self, clock: Option<gst::Clock>) {
        lock(&self.inner).clock = clock;
    }

    /// A frame has arrived.
    pub fn handle_frame(&self, frame: Held) {
        let entry = Entry {
            number: frame.info.number,
            time: frame.info.rig_time_ns,
            bytes: frame.buffer.size(),
            key: !frame.buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
            payload: frame,
        };
        let actions = {
            let mut inner = lock(&self.inner);
            inner.newest = Some(entry.payload.info);
            inner.desk.handle_frame(entry)
        };
        self.carry_out(actions);
    }

    /// Rig time now, once there is a clock.
    pub fn rig_now(&self) -> Option<Timestamp<Rig>> {
        let clock = lock(&self.inner).clock.clone()?;
        Some(status_of(&clock).rig_time_ns)
    }

    fn carry_out(&self, actions: Vec<Action<Held>>) {
        for action in actions {
            match action {
                Action::Save { order, ticket, number, role, payload, .. } => {
                    self.give(Job::Write(Work { order, ticket, number, role, frame: payload }));
                }
                Action::Close { order } => self.give(Job::Close(order)),
                Action::Answer(answer) => {
                    (self.on_answer)(&answer);
                    let replies = lock(&self.inner).replies.remove(&answer.order);
                    for reply in replies.into_iter().flatten() {
                        reply.send(&answer);
                    }
                }
                Action::Journal(_)
                | Action::Begin { .. }
                | Action::Hole { .. }
                | Action::RequestKey { .. } => {}
            }
        }
    }

    /// Gives the writer work, or says that there is none any more.
    fn give(&self, job: Job) {
        let refused = match &*lock(&self.jobs) {
            Some(jobs) => jobs.send(job).map_err(|refused| refused.0).err(),
            None => Some(job),
        };
        match refused {
            Some(Job::Write(work)) => {
                self.note(&work, Fate::Failed { why: "the device is being stopped".into() });
            }
            Some(Job::Close(order)) => self.finish(&order),
            None => {}
        }
    }

    /// The writer's loop.
    fn write_until_closed(&self, queue: &mpsc::Receiver<Job>) {
        loop {
            match queue.recv_timeout(TICK) {
                Ok(Job::Write(work)) => {
                    let fate = match work.role {
                        Role::Named => self.write(&work),
                        // One file per frame has no place for what others build on.
                        Role::Support => Fate::Failed { why: "not named".into() },
                    };
                    self.note(&work, fate);
                }
                Ok(Job::Close(order)) => self.finish(&order),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(now) = self.rig_now() {
                        let actions = lock(&self.inner).desk.handle_timeout(now);
                        self.carry_out(actions);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn note(&self, work: &Work, fate: Fate) {
        let actions = {
            let desk = &mut lock(&self.inner).desk;
            if work.role == Role::Named {
                desk.handle_written(&work.order, work.number..=work.number, fate);
            }
            desk.handle_taken(work.ticket)
        };
        self.carry_out(actions);
    }

    fn finish(&self, order: &OrderId) {
        let actions = lock(&self.inner).desk.handle_closed(order);
        self.carry_out(actions);
    }

    fn write(&self, job: &Work) -> Fate {
        let Work { order, number, frame, .. } = job;
        let path = self.location.path(order, &self.device, FileOf::Picture(*number), frame.extension);
        match self.try_write(job, &path) {
            Ok(bytes) => Fate::Saved { file: path.display().to_string(), bytes, info: frame.info },
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot save a frame");
                Fate::Failed { why: format!("cannot write {}: {error}", path.display()) }
            }
        }
    }

    fn try_write(&self, job: &Work, path: &Path) -> std::io::Result<u64> {
        let map =
            job.frame.buffer.map_readable().map_err(|error| std::io::Error::other(error.to_string()))?;
        write_whole(path, &map)?;
        let bytes = map.len() as u64;
        let folder = path.parent().unwrap_or(Path::new("."));
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let record = FrameRecord {
            order: job.order.clone(),
            device: self.device.clone(),
            file: name.unwrap_or_default(),
            offset: 0,
            bytes,
            info: job.frame.info,
        };
        append_to_manifest(folder, &record).inspect_err(|_| {
            // A file that the manifest does not know of is not saved. The first error is what matters.
            let _ = std::fs::remove_file(path);
        })?;
        Ok(bytes)
    }
}

impl DeviceHandler for Station {
    fn handle_order(&self, order: Order, reply: Reply) {
        let actions = {
            let mut inner = lock(&self.inner);
            let id = order.id().clone();
            match inner.desk.handle_order(order) {
                Ok(actions) => {
                    inner.replies.entry(id).or_default().push(reply);
                    actions
                }
                Err(why) => {
                    drop(inner);
                    reply.refuse(&why.to_string());
                    return;
                }
            }
        };
        self.carry_out(actions);
    }

    fn handle_command(&self, command: &Command) -> Acknowledgement {
        let (standing, actions) = lock(&self.inner).desk.handle_command(command);
        self.carry_out(actions);
        Acknowledgement { order: command.order().clone(), device: self.device.clone(), standing }
    }

    fn registry(&self) -> Registry {
        lock(&self.inner).desk.registry()
    }

    fn status(&self) -> Status {
        let inner = lock(&self.inner);
        let ring = inner.desk.ring();
        let (saved, missed) = inner.desk.totals();
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
            }),
            storage: None,
            open: inner.desk.progress(),
            saved,
            missed,
            problems: Vec::new(),
        }
    }

    fn handle_duplicate(&self, error: &swsync_rig::control::ControlError) {
        tracing::error!(%error, "left the rig");
    }
}
