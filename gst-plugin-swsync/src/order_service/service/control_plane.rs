//! What the control plane asks of a device: orders, settings, its state.

use gst::prelude::Cast as _;
use swsync_core::camera_settings::{SettingsLog, SettingsReply, SettingsRequest};
use swsync_core::centre::{CentreReply, CentreRequest};
use swsync_core::doctor::Diagnosis;
use swsync_core::exchanges::ClockExchanges;
use swsync_core::identify::{IdentifyReply, IdentifyRequest};
use swsync_core::order::{Acknowledgement, Order, OrderCommand, OrderRefused, OrderRoster};
use swsync_core::place::{PlaceChange, PlaceReply};
use swsync_core::rig_date::{RigDate, RigDates};
use swsync_core::status::{FrameStatus, Status, StorageStatus};
use swsync_core::thumbnail::{ThumbnailReply, ThumbnailRequest};
use swsync_rig::{ControlError, DeviceHandler, Reply};

use super::{OrderService, SavedTake};
use crate::clock::{SwsyncClock, status_of};
use crate::order_service::camera_settings::Handled;
use crate::order_service::device_description::{host_status, versions};
use crate::order_service::examination;
use crate::order_service::settings::control_error;

/// Most who wait for the answer of one order. Chosen: ten operators, who each ask again after losing the network. A query that
/// waits takes memory, also once its sender is gone.
const MAX_REPLIES: usize = 64;

impl DeviceHandler for OrderService {
    fn handle_order(&self, order: Order, reply: Reply) {
        let id = order.id().clone();
        self.update_timescale();
        self.update_now();
        let _accepting = self.accepting.lock();
        let is_known = self.state.lock().queue.knows(&id);
        let saved = match &self.storage {
            Some(storage) if !is_known => storage.saved_take(&order),
            _ => SavedTake::None,
        };
        let refused = self.act(|state| {
            let is_wanted = reply.is_wanted();
            if is_wanted {
                let waiting = state.replies.entry(id.clone()).or_default();
                if waiting.len() >= MAX_REPLIES {
                    let why =
                        format!("{MAX_REPLIES} others wait for the answer of {id} already: ask again later");
                    return (Some((reply, why)), Vec::new());
                }
                // First: the worker may have answered before this returns.
                waiting.push(reply);
            }
            let accepted = match saved {
                SavedTake::None => state.queue.handle_order(order),
                SavedTake::OfThisOrder(order, frames) => state.queue.handle_order_on_disk(order, frames),
                SavedTake::OfAnotherOrder => Err(OrderRefused::Id(id.clone())),
            };
            match accepted {
                Ok(actions) => (None, actions),
                Err(refused) => {
                    let reply = state.replies.get_mut(&id).filter(|_| is_wanted).and_then(Vec::pop);
                    state.replies.retain(|_, waiting| !waiting.is_empty());
                    (reply.map(|reply| (reply, refused.to_string())), Vec::new())
                }
            }
        });
        if let Some((reply, why)) = refused {
            reply.refuse(&why);
        }
    }

    fn handle_command(&self, command: &OrderCommand) -> Acknowledgement {
        let outcome = self.act(|state| state.queue.handle_command(command));
        Acknowledgement { order: command.order().clone(), device: self.device.clone(), outcome }
    }

    fn registry(&self) -> OrderRoster {
        let roster = self.state.lock().queue.roster();
        OrderRoster { settings: self.settings.known(), dates: self.dates.all(), ..roster }
    }

    fn handle_settings(&self, request: &SettingsRequest) -> SettingsReply {
        let Handled { reply, keep } = self.settings.handle(request, self.known_rig_now());
        self.keep_settings(keep);
        reply
    }

    fn learn_settings(&self, known: &SettingsLog) {
        self.keep_settings(self.settings.learn(known, self.known_rig_now()));
    }

    fn handle_date(&self, date: RigDate) -> Result<RigDate, String> {
        self.dates.give(date, self.timescale())
    }

    fn learn_dates(&self, known: &RigDates) {
        self.dates.learn(known);
    }

    fn status(&self) -> Status {
        let host = host_status();
        let state = self.state.lock();
        let ring = state.queue.ring();
        let (saved, missed) = state.queue.totals();
        let (queued_bytes, queue_limit_bytes) = state.queue.backlog();
        let problems = self.storage.as_ref().map(|storage| storage.problems()).unwrap_or_default();
        let frames = state.newest.zip(ring.range()).map(|(newest, (oldest, _))| FrameStatus {
            newest,
            rate: state.queue.grid().expect("frames are numbered by it"),
            bytes_per_second: ring.bytes_per_second(),
            ring_frames: ring.len(),
            ring_bytes: ring.bytes(),
            oldest,
            latency_ns: state.queue.latency(),
        });
        let storage = state.free_bytes.map(|free_bytes| StorageStatus {
            free_bytes,
            queued_bytes,
            queue_limit_bytes,
            max_files: state.max_files,
        });
        let camera = state.stream.as_ref().filter(|_| state.newest.is_some());
        let clock = state.clock.as_ref().map(status_of);
        Status {
            device: self.device.clone(),
            software: env!("CARGO_PKG_VERSION").into(),
            date: self.dates.of(clock.and_then(|clock| clock.timescale())),
            clock,
            host,
            camera: camera.map(|stream| self.description.camera_status(stream, state.newest.as_ref())),
            recording_left_ns: storage
                .as_ref()
                .zip(frames.as_ref())
                .and_then(|(storage, frames)| storage.recording_left(frames.bytes_per_second)),
            versions: Some(versions()),
            last_error: self.description.last_error(),
            frames,
            storage,
            open: state.queue.progress(),
            saved,
            missed,
            problems: state.problem.iter().cloned().chain(problems).collect(),
            refused: Vec::new(),
            timescale_change: state.timescales.change(self.uptime()),
            place: self.storage.as_ref().map(|storage| storage.place()).unwrap_or_default(),
        }
    }

    fn handle_name(&self, change: PlaceChange, reply: Reply<PlaceReply>) {
        match &self.storage {
            Some(storage) => storage.change_place(change, reply),
            None => reply.refuse(
                "it has no disk of its own to keep a group and a place on (swsyncgate): only devices with swsyncsink do",
            ),
        }
    }

    fn handle_identify(&self, request: IdentifyRequest, reply: Reply<IdentifyReply>) {
        match self.identifier.blink(request.for_ms) {
            Ok((led, for_ms)) => reply.send(&IdentifyReply { device: self.device.clone(), led, for_ms }),
            Err(why) => reply.refuse(&why),
        }
    }

    fn handle_centre(&self, request: CentreRequest, reply: Reply<CentreReply>) {
        self.centre.ask(request, reply);
    }

    fn handle_thumbnail(&self, request: ThumbnailRequest, reply: Reply<ThumbnailReply>) {
        let shown = self.state.lock().queue.ring().shown(request.frame).cloned();
        self.thumbnails.ask(request, shown.map(|frame| frame.payload).map_err(|why| why.to_string()), reply);
    }

    fn exchanges(&self) -> Option<ClockExchanges> {
        let clock = self.clock()?;
        let exchanges = clock.downcast_ref::<SwsyncClock>()?.rig().exchanges()?;
        Some(ClockExchanges { device: self.device.clone(), exchanges })
    }

    fn diagnose(&self) -> Option<Diagnosis> {
        Some(examination::diagnose(self.device.clone(), &self.status(), self.takes(), self.element.element()))
    }

    fn handle_duplicate(&self, error: &ControlError) {
        self.element.fail(control_error(error));
    }
}
