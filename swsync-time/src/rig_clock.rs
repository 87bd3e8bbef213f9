//! The rig's clock on this device: rig time as a function of the local clock.

use std::sync::Arc;

use parking_lot::RwLock;
use swsync_core::frame::SyncState;
use swsync_core::status::ClockStatus;
use swsync_core::time::{Local, Rig, Skew, Timestamp};
use swsync_core::time_service::{ClockUpdate, Identity, LeadStart, RigTime, ServerStatus};

use crate::DeviceClock;

/// A copy of a [`RigClock`] that runs on without being set: see [`RigClock::frozen`].
#[derive(Debug, Clone, Copy)]
pub struct FrozenClock(RigTime);

impl FrozenClock {
    /// What it reads when the local clock reads `local`.
    #[must_use]
    pub fn rig_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        self.0.now(local)
    }
}

/// The rig's clock on this device. Once synced it never runs backwards, for all readers together.
#[derive(Debug)]
pub struct RigClock {
    device: Arc<DeviceClock>,
    // Readers read the local clock under the lock, so none can combine an old reading with a newer
    // map: that could make time run backwards from one thread to another.
    time: RwLock<RigTime>,
}

impl RigClock {
    /// A clock that is not synced: it reads the wall clock until a source of time sets it.
    #[must_use]
    pub fn new(device: Arc<DeviceClock>) -> Self {
        let time = RigTime::unsynced(device.now(), wall_of(&device));
        Self { device, time: RwLock::new(time) }
    }

    /// A copy of the clock as it runs now: its user can go on by it while this clock begins anew.
    #[must_use]
    pub fn frozen(&self) -> FrozenClock {
        self.read(|time, _| FrozenClock(*time))
    }

    /// The clocks underneath.
    #[must_use]
    pub const fn device(&self) -> &Arc<DeviceClock> {
        &self.device
    }

    /// What `f` makes of rig time and of what the local clock reads.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&RigTime, Timestamp<Local>) -> T) -> T {
        let time = self.time.read();
        f(&time, self.device.now())
    }

    /// Changes rig time at what the local clock reads.
    fn change<T>(&self, f: impl FnOnce(&mut RigTime, Timestamp<Local>) -> T) -> T {
        let mut time = self.time.write();
        f(&mut time, self.device.now())
    }

    /// Rig time now.
    #[must_use]
    pub fn now(&self) -> Timestamp<Rig> {
        self.read(RigTime::now)
    }

    /// How well rig time is known.
    #[must_use]
    pub fn quality(&self) -> SyncState {
        self.read(RigTime::quality)
    }

    /// Everything that can be said of the clock now.
    #[must_use]
    pub fn status(&self) -> ClockStatus {
        self.read(RigTime::status)
    }

    /// Rig time when the local clock reads or read `local`, as well as it is known now.
    #[must_use]
    pub fn rig_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        self.read(|time, _| time.rig_at(local))
    }

    /// Rate of rig time against the local clock, without corrections.
    #[must_use]
    pub fn skew(&self) -> Skew {
        self.read(|time, _| time.skew())
    }

    /// The clock is served to others as `identity`.
    pub(crate) fn serve_as(&self, identity: Identity) {
        self.change(|time, _| time.serve_as(identity));
    }

    /// Makes this device define rig time from now on: in the scale that it knows, or else in a new one with the id `new`, from
    /// its wall clock on.
    pub fn lead(&self, new: u64) {
        let wall = wall_of(&self.device);
        self.change(|time, now| {
            let begin = LeadStart::Begin { wall, id: new };
            time.lead(now, time.scale().map_or(begin, LeadStart::GoOn));
        });
    }

    /// Makes this device define rig time from `at` on.
    pub(crate) fn lead_from(&self, at: Timestamp<Local>, start: LeadStart) {
        self.change(|time, _| time.lead(at, start));
    }

    /// Sets the clock as a client or a reference follower has worked it out.
    pub fn follow(&self, update: ClockUpdate) {
        self.change(|time, now| time.follow(update, now));
    }

    /// Makes the clock unsynced: it goes on running, but nothing is known of rig time any more.
    pub fn forget(&self) {
        self.change(|time, _| time.forget());
    }

    /// Rig time now, as it is sent to clients.
    pub(crate) fn served_now(&self) -> Timestamp<Rig> {
        self.read(RigTime::served_at)
    }

    /// Rig time, with all that is known of it.
    pub(crate) fn time(&self) -> RigTime {
        *self.time.read()
    }

    /// For a server: rig time at `received` and now, and what to say of it.
    pub(crate) fn serve(
        &self,
        identity: &Identity,
        received: Timestamp<Local>,
    ) -> (Timestamp<Rig>, Timestamp<Rig>, ServerStatus) {
        self.read(|time, now| {
            (time.served_at(received), time.served_at(now), time.server_status(identity, now))
        })
    }

    /// Rig time of the local instant `local`, as it is sent to clients.
    pub(crate) fn served_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        self.read(|time, _| time.served_at(local))
    }
}

/// The wall clock of `device`, as the origin of a time scale.
pub(crate) fn wall_of(device: &DeviceClock) -> Timestamp<Rig> {
    Timestamp::from_nanos(device.wall_now().as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wall_clock;

    #[test]
    fn a_leader_reads_the_wall_clock_of_its_start() {
        let clock = RigClock::new(Arc::new(DeviceClock::real()));
        assert_eq!(clock.quality(), SyncState::Unsynced);
        clock.lead(7);
        assert_eq!(clock.quality(), SyncState::Leading);
        let away = clock.now().as_nanos() - wall_clock().as_nanos();
        assert!(away.abs() < 50_000_000, "{away}");
        assert_eq!(clock.status().uncertainty_ns, Some(swsync_core::time::Span::ZERO));
    }
}
