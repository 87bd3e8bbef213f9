//! What a device tells others of the time that it serves.

use std::sync::Arc;
use std::time::Duration;

use swsync_core::time_service::{AdvertKind, Advertiser, TimeAdvert};
use tokio::sync::watch;

use super::RigAdverts;
use crate::executor::Task;
use crate::leader::{ServerAddress, TimeLeader};
use crate::{RigClock, TimeError};

/// How often a leader tells that it leads, as `swsync_core`'s node does.
const INTERVAL: Duration = Duration::from_millis(500);

/// Tells others of a time server.
#[derive(Debug, Clone)]
pub struct Announcer {
    advertiser: Advertiser,
    clock: Arc<RigClock>,
    server: Option<ServerAddress>,
}

impl Announcer {
    /// Of `server`, which serves `clock`.
    #[must_use]
    pub fn new(advertiser: Advertiser, clock: Arc<RigClock>, server: Option<&TimeLeader>) -> Self {
        Self { advertiser, clock, server: server.map(TimeLeader::address) }
    }

    /// What to tell now; `None`: the device does not serve.
    #[must_use]
    pub fn advert(&self) -> Option<TimeAdvert> {
        let server = self.server.as_ref()?;
        let mut advert = self.clock.read(|time, now| self.advertiser.advert(time, now));
        match server.addresses() {
            Ok(addresses) => advert.addresses = addresses,
            Err(error) => swsync_core::log::warn!(%error, "this device's addresses cannot be found"),
        }
        advert.room = server.room();
        Some(advert)
    }

    /// As [`Announcer::advert`], if the device leads.
    #[must_use]
    pub fn leading_advert(&self) -> Option<TimeAdvert> {
        self.advert().filter(|advert| advert.kind == AdvertKind::Leads)
    }

    /// That the device stops serving; `None`: nobody misses it, so nobody is to be told.
    #[must_use]
    pub(super) fn farewell(&self) -> Option<TimeAdvert> {
        let advert = self.advert()?;
        let has_clients = self.server.as_ref().is_some_and(ServerAddress::has_clients);
        let is_missed = has_clients || advert.kind == AdvertKind::Leads;
        is_missed.then_some(TimeAdvert { kind: AdvertKind::Leaves, ..advert })
    }
}

/// The adverts of a leader that follows a source outside the rig, and so is in no election: until dropped.
#[derive(Debug)]
pub struct Announcements {
    _task: Task,
}

impl Announcements {
    /// Tells the rig twice a second that `announcer`'s device leads, once its clock knows the time.
    ///
    /// # Errors
    /// [`TimeError::Runtime`].
    pub fn start(announcer: Announcer, adverts: Arc<dyn RigAdverts>) -> Result<Self, TimeError> {
        Ok(Self { _task: Task::spawn(|stopped| announce(announcer, adverts, stopped))? })
    }
}

async fn announce(announcer: Announcer, adverts: Arc<dyn RigAdverts>, mut stopped: watch::Receiver<bool>) {
    let mut told = false;
    loop {
        if let Some(advert) = announcer.leading_advert() {
            adverts.publish(&advert);
            told = true;
        }
        if tokio::time::timeout(INTERVAL, stopped.wait_for(|stop| *stop)).await.is_ok() {
            break;
        }
    }
    if let Some(advert) = announcer.farewell().filter(|_| told) {
        adverts.publish(&advert);
    }
}
