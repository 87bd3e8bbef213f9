//! A rig, as an operator's program sees it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use swsync_core::name::{DeviceId, Name, OrderId};
use swsync_core::order::{Order, Targets};
use swsync_core::status::LeaderSplit;
use swsync_rig::{ControlError, Presence, RigConfig, Session};

use crate::RemoteTakes;
use crate::collect::{CollectError, CollectEvent, Collected, collect};
use crate::leaders;
use crate::ordered::{OrderProblem, Ordered, offer};
use crate::parallel::in_parallel;
use crate::removal::mark_collected;
use crate::request::{OrderRequest, RequestError};
use crate::snapshot::{NoRigTime, RigSnapshot, STATUS_TIMEOUT};
use crate::statuses::Statuses;

/// How long to look for a rig. Multicast scouting repeats after a second, and busy WiFi may lose the first packet.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// How long a device may be silent before it is given up while its files are fetched: it may be restarting.
const FETCH_PATIENCE: Duration = Duration::from_secs(30);

/// How long it takes until devices that have lost their hub are back through another one, at most: they notice after 2.5 s, and the one
/// that they try first may hang, too.
const HUB_REPLACED: Duration = Duration::from_secs(6);

/// From how many devices files are fetched at once.
const PARALLEL: u8 = 4;

/// A rig that this program is connected to. Its methods block. They may be called on any thread that is not part of a
/// single-threaded tokio runtime. Clones share the connection; the last one leaves the network when it is dropped.
#[derive(Clone)]
pub struct Rig {
    session: Arc<Session>,
}

/// Why an order was not given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrderingError {
    /// It is no order.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// There is no device.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl From<NoRigTime> for OrderingError {
    fn from(error: NoRigTime) -> Self {
        Self::Request(error.into())
    }
}

/// A device's part of a collected take.
#[derive(Debug)]
pub struct CollectedPart {
    /// The device.
    pub device: DeviceId,
    /// What was collected, or why not.
    pub result: Result<Collected, CollectError>,
}

impl Rig {
    /// Finds the rig, within three seconds: a device of it at least.
    ///
    /// # Errors
    /// [`ControlError`]: what was looked for, and what to do.
    pub fn connect(config: &RigConfig) -> Result<Self, ControlError> {
        Self::connect_within(config, PATIENCE)
    }

    /// As [`connect`](Self::connect), but looks for so long.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_within(config: &RigConfig, patience: Duration) -> Result<Self, ControlError> {
        Ok(Self { session: Session::visit(config, patience)? })
    }

    /// The connection, for questions that this crate has no method for.
    #[must_use]
    pub const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The rig's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        self.session.rig()
    }

    /// Whether everybody on the network is part of the rig: it has no key.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.session.is_open()
    }

    /// The devices that are here, and those that belong to the rig but cannot be reached, with the reason.
    #[must_use]
    pub fn devices(&self) -> Presence {
        self.session.presence(STATUS_TIMEOUT)
    }

    /// How every device is, now. Takes a second if one of them does not answer.
    #[must_use]
    pub fn snapshot(&self) -> RigSnapshot {
        RigSnapshot::take(&self.session)
    }

    /// As [`snapshot`](Self::snapshot), of a rig that knows rig time. If there are devices, and none answers, they may have lost the hub
    /// through which all are reached: they come back through another one, and are asked until then.
    ///
    /// # Errors
    /// No device knows rig time.
    pub fn timed_snapshot(&self) -> Result<RigSnapshot, NoRigTime> {
        let deadline = Instant::now() + HUB_REPLACED;
        loop {
            let snapshot = self.snapshot();
            let is_cut_off = snapshot.reports.is_empty() && !snapshot.missed.is_empty();
            if !is_cut_off || Instant::now() >= deadline {
                return snapshot.require_time();
            }
        }
    }

    /// How every device is, again and again: the first time at once, then once in an `interval`.
    #[must_use]
    pub fn statuses(&self, interval: Duration) -> Statuses {
        Statuses::new(self.clone(), interval)
    }

    /// Gives the order that is requested, to devices whether they are ready or not: [`arm`](Self::arm) finds that out first.
    ///
    /// # Errors
    /// [`OrderingError`]: no device knows rig time, no device could serve it, or there is none.
    pub fn order(&self, request: &OrderRequest) -> Result<Ordered, OrderingError> {
        let snapshot = self.timed_snapshot()?;
        let order = request.make(&snapshot)?;
        self.give(order, snapshot, None)
    }

    /// Gives `order`, which was made from `snapshot`. `timeout`: the longest wait for answers; `None`: until the last frame is
    /// there, and twelve seconds for writing.
    ///
    /// # Errors
    /// [`OrderingError`]: no device knew rig time, or there is none.
    pub fn give(
        &self,
        order: Order,
        snapshot: RigSnapshot,
        timeout: Option<Duration>,
    ) -> Result<Ordered, OrderingError> {
        Ok(Ordered::give(&self.session, order, snapshot.require_time()?, timeout)?)
    }

    /// Offers `order` to every device that it is for, and does not follow it. Returns those that have not taken it.
    ///
    /// # Errors
    /// There is no device.
    pub fn offer(&self, order: &Order) -> Result<Vec<OrderProblem>, ControlError> {
        offer(&self.session, order)
    }

    /// Follows `order`, which is open ([`open_orders`](Self::open_orders)): to stop it, or to get the answers to it.
    ///
    /// # Errors
    /// No device knows rig time.
    pub fn follow(&self, order: Order, snapshot: RigSnapshot) -> Result<Ordered, NoRigTime> {
        Ok(Ordered::open(&self.session, order, snapshot.require_time()?))
    }

    /// Tells every hub not to miss `device` any more, which is gone for good. Returns the hubs that do not answer: they may bring it up
    /// again. `None`: no hub was seen within `timeout`, so nobody has heard it.
    #[must_use]
    pub fn forget(&self, device: &DeviceId, timeout: Duration) -> Option<Vec<Name>> {
        self.session.forget(device, timeout)
    }

    /// The error that no device was found within `waited`, which says how they were looked for.
    #[must_use]
    pub fn nobody_there(&self, waited: Duration) -> ControlError {
        self.session.nobody_there(waited)
    }

    /// How `targets` are split, if they follow different leaders for longer than a handover takes. `now`: a snapshot that was
    /// just taken. Returns at once unless they differ there.
    #[must_use]
    pub fn lasting_split(&self, targets: &Targets, now: &RigSnapshot) -> Option<LeaderSplit> {
        leaders::lasting_split(&self.session, targets, now)
    }

    /// The takes of `device`, one request at a time.
    #[must_use]
    pub fn takes_of(&self, device: DeviceId) -> RemoteTakes<'_> {
        RemoteTakes::new(&self.session, device, FETCH_PATIENCE, |_| ())
    }

    /// Collects what `targets` saved for `order` into `<out>/<order>/<device>/`, each file whole and verified; goes on where an
    /// earlier call stopped. There is a part for each device, sorted, also for one that cannot be reached or has nothing.
    pub fn collect(
        &self,
        order: &OrderId,
        targets: &Targets,
        out: &Path,
        on_event: impl Fn(&DeviceId, CollectEvent) + Sync,
    ) -> Vec<CollectedPart> {
        let Presence { here, missed } = self.devices();
        let here = here.into_iter().filter(|device| targets.include(device));
        let mut parts = in_parallel(PARALLEL, here, |device| {
            let takes = self.takes_of(device.clone());
            let result = collect(&takes, order, out, |event| on_event(&device, event));
            // The files are here; that their device does not know it is no error.
            if let Ok(collected) = &result
                && let Err(error) = mark_collected(&takes, order, out, collected)
            {
                swsync_core::log::warn!(%device, %order, %error, "the device does not know that it was collected");
            }
            CollectedPart { device, result }
        });
        let mut absent = missed;
        if let Targets::Devices(named) = targets {
            let unknown = named.iter().filter(|device| !parts.iter().any(|part| part.device == **device));
            let unknown: Vec<_> = unknown.cloned().collect();
            for device in unknown {
                absent.entry(device).or_insert_with(|| "it is not in the rig".into());
            }
        }
        let absent = absent.into_iter().filter(|(device, _)| targets.include(device));
        parts.extend(absent.map(|(device, why)| {
            let result = Err(CollectError::Absent { device: device.clone(), why });
            CollectedPart { device, result }
        }));
        parts.sort_by(|a, b| a.device.cmp(&b.device));
        parts
    }
}
