//! The rig's clock on this device: rig time as a function of the local clock.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use swsync_core::estimate::Exchange;
use swsync_core::exchanges::ClockExchange;
use swsync_core::frame::SyncState;
use swsync_core::status::ClockStatus;
use swsync_core::time::{Local, Rig, Skew, Span, Timestamp};
use swsync_core::time_service::{ClockUpdate, Identity, LeadStart, RigTime, ServerStatus};

use crate::recent::RecentExchanges;
use crate::{AwakeReading, DeviceClock};

/// A shorter sleep is none: the two clocks are not read at one instant.
const NOTICEABLE: Span = Span::from_millis(10);

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
    kept: RwLock<Kept>,
    /// Never locked together with `kept`.
    recent: Mutex<RecentExchanges>,
}

/// Rig time, as it is kept.
#[derive(Debug)]
struct Kept {
    time: RigTime,
    /// How long the device had slept, in all, when the map from local to rig time was last set right for that.
    slept: Span,
}

impl Kept {
    /// Whether the device has slept since then.
    fn is_behind(&self, reading: AwakeReading) -> bool {
        reading.slept - self.slept > NOTICEABLE
    }
}

impl RigClock {
    /// A clock that is not synced: it reads the wall clock until a source of time sets it.
    #[must_use]
    pub fn new(device: Arc<DeviceClock>) -> Self {
        let AwakeReading { local, slept } = awake(&device);
        let time = RigTime::unsynced(local, wall_of(&device));
        Self { device, kept: RwLock::new(Kept { time, slept }), recent: Mutex::default() }
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

    /// What `f` makes of rig time and of what the local clock reads. After a sleep of the device the first reader sets the map right.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&RigTime, Timestamp<Local>) -> T) -> T {
        {
            let kept = self.kept.read();
            let reading = self.device.now_and_slept();
            if !kept.is_behind(reading) {
                return f(&kept.time, reading.local);
            }
        }
        self.change(|kept, now| f(&kept.time, now))
    }

    /// Changes what is kept at what the local clock reads.
    fn change<T>(&self, f: impl FnOnce(&mut Kept, Timestamp<Local>) -> T) -> T {
        let mut kept = self.kept.write();
        let mut reading = self.device.now_and_slept();
        if kept.is_behind(reading) {
            reading = awake(&self.device);
            let slept = reading.slept - kept.slept;
            swsync_core::log::debug!(?slept, "the device has slept");
            kept.time.handle_resume(slept, reading.local);
            kept.slept = reading.slept;
        }
        f(&mut kept, reading.local)
    }

    /// How long the device had slept, in all, when rig time was last set right for that.
    pub(crate) fn slept(&self) -> Span {
        let _ = self.quality(); // notices a sleep
        self.kept.read().slept
    }

    /// Rig time now.
    #[must_use]
    pub fn now(&self) -> Timestamp<Rig> {
        self.read(RigTime::now)
    }

    /// Remembers an exchange that the clock's estimate rests on. One that is remembered already is left out.
    pub(crate) fn note_exchange(&self, exchange: Exchange) {
        self.recent.lock().note(exchange);
    }

    /// The recent exchanges with the time server, the oldest first, against the clock as it is now. `None`: it follows no time server.
    #[must_use]
    pub fn exchanges(&self) -> Option<Vec<ClockExchange>> {
        let recent = self.recent.lock().clone();
        self.read(|time, now| {
            let follows =
                matches!(time.quality(now), SyncState::Synced | SyncState::Acquiring | SyncState::Holdover);
            let told = recent.told(now, |local| time.rig_at(local));
            (follows && !told.is_empty()).then_some(told)
        })
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

    /// The client and the server of this device apply this path offset: [`Self::status`] shows it.
    pub fn set_path_offset(&self, path_offset: Span) {
        self.change(|kept, _| kept.time.set_path_offset(path_offset));
    }

    /// The clock is served to others as `identity`.
    pub(crate) fn serve_as(&self, identity: Identity) {
        self.change(|kept, _| kept.time.serve_as(identity));
    }

    /// Makes this device define rig time from now on: in the scale that it knows, or else in a new one with the id `new`, from
    /// its wall clock on.
    pub fn lead(&self, new: u64) {
        let wall = wall_of(&self.device);
        self.change(|Kept { time, .. }, now| {
            let begin = LeadStart::Begin { wall, id: new };
            time.lead(now, time.scale().map_or(begin, LeadStart::GoOn));
        });
    }

    /// Makes this device define rig time from `at` on.
    pub(crate) fn lead_from(&self, at: Timestamp<Local>, start: LeadStart) {
        self.change(|kept, _| kept.time.lead(at, start));
    }

    /// Sets the clock as a client or a reference follower has worked it out.
    pub fn follow(&self, update: ClockUpdate) {
        self.change(|kept, now| kept.time.follow(update, now));
    }

    /// As [`Self::follow`], for an update that was worked out when the device had slept for `slept` in all. If it has slept since
    /// then, the update is of no use, and nothing happens. Returns whether the clock was set.
    pub(crate) fn follow_unless_slept(&self, update: ClockUpdate, slept: Span) -> bool {
        self.change(|kept, now| {
            let valid = kept.slept == slept;
            if valid {
                kept.time.follow(update, now);
            }
            valid
        })
    }

    /// `leader` was alive at `at`.
    pub(crate) fn note_leader(&self, leader: u64, at: Timestamp<Local>) {
        self.change(|kept, _| kept.time.note_leader(leader, at));
    }

    /// Ends this device's leadership, until it is known who leads: see [`RigTime::stand_down`].
    pub fn stand_down(&self) {
        self.change(|kept, _| kept.time.stand_down());
    }

    /// Makes the clock unsynced: it goes on running, but nothing is known of rig time any more.
    pub fn forget(&self) {
        self.change(|kept, _| kept.time.forget());
    }

    /// Rig time now, as it is sent to clients.
    pub(crate) fn served_now(&self) -> Timestamp<Rig> {
        self.read(RigTime::served_at)
    }

    /// Rig time, with all that is known of it.
    pub(crate) fn time(&self) -> RigTime {
        self.read(|time, _| *time)
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

/// The longest time that the device has slept by a few readings: interruptions only make it shorter.
fn awake(device: &DeviceClock) -> AwakeReading {
    let readings = [device.now_and_slept(), device.now_and_slept(), device.now_and_slept()];
    let slept = readings.iter().map(|reading| reading.slept).max().unwrap_or_default();
    AwakeReading { slept, ..readings[2] }
}

/// The wall clock of `device`, as the origin of a time scale.
pub(crate) fn wall_of(device: &DeviceClock) -> Timestamp<Rig> {
    Timestamp::from_nanos(device.wall_now().as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Host, SimulatedClock, host_now, wall_clock};
    use std::sync::atomic::{AtomicI64, Ordering};

    /// A device that sleeps when it is told to: its local clock is behind the host's by what it has slept.
    #[derive(Debug, Clone, Default)]
    struct Sleeper(Arc<AtomicI64>);

    impl Sleeper {
        fn sleep(&self, span: Span) {
            self.0.fetch_add(span.as_nanos(), Ordering::SeqCst);
        }
    }

    impl SimulatedClock for Sleeper {
        fn read(&self, at: Timestamp<Host>) -> Timestamp<Local> {
            Timestamp::from_nanos((at - self.slept(at)).as_nanos())
        }

        fn wall_offset(&self) -> Span {
            Span::ZERO
        }

        fn slept(&self, _: Timestamp<Host>) -> Span {
            Span::from_nanos(self.0.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn the_first_reading_after_a_sleep_is_right_and_not_in_sync() {
        let sleeper = Sleeper::default();
        let clock = RigClock::new(Arc::new(DeviceClock::driven_by(sleeper.clone())));
        clock.lead(7);
        let offset = |clock: &RigClock| clock.now().as_nanos() - host_now().as_nanos();
        let before = offset(&clock);
        let slept = clock.slept();
        sleeper.sleep(Span::from_millis(5)); // too short to be told from an interruption
        assert_eq!(clock.quality(), SyncState::Leading);
        sleeper.sleep(Span::from_secs(3_600));
        assert_eq!(clock.quality(), SyncState::Holdover);
        // Rig time has gone on while the device slept.
        let moved = Span::from_nanos(offset(&clock) - before);
        assert!(moved.abs() < Span::from_millis(5), "{moved:?}");
        assert!(clock.status().uncertainty_ns.unwrap() > Span::from_millis(100)); // 50 ppm of an hour
        let hour = clock.slept() - slept - Span::from_secs(3_600);
        assert!(hour.abs() < Span::from_millis(10), "{hour:?}");
        clock.stand_down();
        assert_eq!((clock.quality(), clock.status().source), (SyncState::Holdover, None));
    }

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
