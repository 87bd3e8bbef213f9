//! Arming: an order is given only once enough devices are ready for it.

use std::time::{Duration, Instant};

use swsync_core::order::{Order, Targets};
use swsync_core::status::{Quorum, Readiness};
use swsync_core::time::{Rig as RigTime, Timestamp};
use swsync_rig::StatusReport;

use crate::Rig;
use crate::snapshot::RigSnapshot;

/// Time from one question to devices that are not ready to the next.
const ASK_INTERVAL: Duration = Duration::from_millis(500);

/// Which devices must be ready for an order, and how long to wait for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arming {
    /// How many of the order's devices must be ready.
    pub need: Quorum,
    /// How long to wait until they are.
    pub patience: Duration,
}

/// The result of arming.
pub enum Armed {
    /// The order can be given to these devices; with the snapshot of the rig that shows it.
    Go(Box<RigSnapshot>, Targets),
    /// Not enough devices are ready.
    NotReady(Box<NotReady>),
}

/// Who is ready and who is not, when not enough are.
#[derive(Debug, Clone)]
pub struct NotReady {
    /// The rig when it was last asked.
    pub snapshot: RigSnapshot,
    /// The devices of the order, sorted.
    pub devices: Vec<Readiness>,
}

impl NotReady {
    /// The number of devices that are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.devices.iter().filter(|ready| ready.is_ready()).count()
    }
}

impl Rig {
    /// Waits until enough devices are ready for the order that `order` makes from a snapshot of the rig and the devices that
    /// `targets` finds in it.
    ///
    /// # Errors
    /// That of `order`.
    pub fn arm<E>(
        &self,
        arming: Arming,
        targets: impl Fn(&RigSnapshot) -> Targets,
        order: impl Fn(&RigSnapshot, &Targets) -> Result<Order, E>,
    ) -> Result<Armed, E> {
        let deadline = Instant::now() + arming.patience;
        loop {
            let snapshot = self.snapshot();
            let targets = targets(&snapshot);
            let order = snapshot.time().map(|now| Ok((order(&snapshot, &targets)?, now))).transpose()?;
            let devices = readiness(&snapshot, &targets, order.as_ref());
            let not_ready = NotReady { snapshot, devices };
            if order.is_some() && arming.need.is_met(not_ready.ready(), not_ready.devices.len()) {
                return Ok(Armed::Go(Box::new(not_ready.snapshot), targets));
            }
            if Instant::now() >= deadline {
                return Ok(Armed::NotReady(Box::new(not_ready)));
            }
            std::thread::sleep(ASK_INTERVAL);
        }
    }
}

/// The readiness of each target, for `order` if rig time is known already.
fn readiness(
    snapshot: &RigSnapshot,
    targets: &Targets,
    order: Option<&(Order, Timestamp<RigTime>)>,
) -> Vec<Readiness> {
    let reports = snapshot.reports.iter().filter(|report| targets.include(&report.status.device));
    let of = |report: &StatusReport| {
        let status = &report.status;
        let mut ready = match order {
            Some((order, now)) => Readiness::judge(status, Some((order, *now))),
            None => Readiness::judge(status, None),
        };
        ready.problems.extend(snapshot.common.objections(status));
        ready
    };
    let mut all: Vec<_> = reports.map(of).collect();
    let missed = snapshot.missed.iter().filter(|(device, _)| targets.include(device));
    all.extend(missed.map(|(device, why)| Readiness::unknown(device.clone(), why.clone())));
    if let Targets::Devices(devices) = targets {
        let absent = devices.iter().filter(|device| !snapshot.devices().any(|known| known == *device));
        all.extend(absent.map(|device| {
            Readiness::unknown(device.clone(), "it is not in the rig, nor is there a group of this name")
        }));
    }
    all.sort_by(|a, b| a.device.cmp(&b.device));
    all
}
