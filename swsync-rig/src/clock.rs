//! The clocks of this device, and the rig's clock derived from them.

pub(crate) mod kernel;
mod wall;

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockWriteGuard};

use rustix::time::{ClockId, clock_gettime};
use swsync_core::clock::{Adjustment, ClockMap};
use swsync_core::control::{ClockStatus, TimeSource};
use swsync_core::frame::SyncQuality;
use swsync_core::stamps::Arrival;
use swsync_core::sync::{ClockUpdate, Identity, ServerStatus};
use swsync_core::time::{Boottime, Local, Realtime, Rig, Skew, Span, Timestamp};
use swsync_sim::True;
use swsync_sim::oscillator::{Oscillator, OscillatorConfig, OscillatorError};

use self::wall::{WallMap, WallReading};
use crate::lock;

/// Environment variable that gives this device a simulated clock, e.g. `offset=2.5s,skew=31ppm`.
///
/// Of the environment, not of an element: a device has one clock, and all elements must agree on it.
pub const SIMULATED_CLOCK: &str = "SWSYNC_SIMULATED_CLOCK";

fn host<D>(id: ClockId) -> Timestamp<D> {
    let time = clock_gettime(id);
    Timestamp::ZERO + Span::from_secs(time.tv_sec) + Span::from_nanos(time.tv_nsec)
}

/// True time of the simulation: the host's `CLOCK_MONOTONIC`.
#[must_use]
pub fn true_now() -> Timestamp<True> {
    host(ClockId::Monotonic)
}

/// How far `CLOCK_BOOTTIME` is ahead of `CLOCK_MONOTONIC`: the time spent in suspend.
fn suspended() -> Span {
    let attempt = || {
        let before = host::<Local>(ClockId::Monotonic);
        let boottime = host::<Boottime>(ClockId::Boottime);
        let between = host::<Local>(ClockId::Monotonic) - before;
        let span = boottime.as_nanos().saturating_sub((before + between / 2).as_nanos());
        (between, Span::from_nanos(span))
    };
    // Whoever is interrupted between two readings tries again.
    let attempts = [attempt(), attempt(), attempt()];
    let span = attempts.into_iter().min().map_or(Span::ZERO, |(_, span)| span);
    // A suspend is long; what is shorter is the time between the readings. In a time namespace boot time may be behind.
    if span.abs() < Span::from_millis(10) { Span::ZERO } else { span }
}

/// The host's clocks now, for what drivers stamp.
#[must_use]
pub fn arrival_on_host() -> Arrival {
    let monotonic = host::<Local>(ClockId::Monotonic);
    Arrival { boottime: Timestamp::from_nanos(monotonic.as_nanos()) + suspended(), monotonic }
}

/// This device's clocks: the host's, or simulated ones derived from them.
#[derive(Debug)]
pub struct DeviceClock {
    oscillator: Option<Oscillator<Local>>,
    /// The host's wall clock against its monotonic one.
    wall: Mutex<WallMap>,
}

impl DeviceClock {
    /// The host's own clocks.
    #[must_use]
    pub const fn real() -> Self {
        Self { oscillator: None, wall: Mutex::new(WallMap::new()) }
    }

    /// Clocks that run at their own pace, with their own origin.
    #[must_use]
    pub fn simulated(config: OscillatorConfig) -> Self {
        Self { oscillator: Some(Oscillator::new(config)), ..Self::real() }
    }

    /// The clock of the device that this process is: simulated where [`SIMULATED_CLOCK`] says so.
    ///
    /// # Errors
    /// What is wrong with the environment variable. Never falls back to the real clock.
    pub fn of_this_process() -> Result<Arc<Self>, OscillatorError> {
        static CLOCK: OnceLock<Result<Arc<DeviceClock>, OscillatorError>> = OnceLock::new();
        CLOCK
            .get_or_init(|| {
                Ok(Arc::new(match std::env::var(SIMULATED_CLOCK) {
                    Ok(text) if !text.is_empty() => Self::simulated(text.parse()?),
                    _ => Self::real(),
                }))
            })
            .clone()
    }

    /// Whether the clocks are simulated.
    #[must_use]
    pub const fn is_simulated(&self) -> bool {
        self.oscillator.is_some()
    }

    /// `CLOCK_MONOTONIC` of this device.
    #[must_use]
    pub fn now(&self) -> Timestamp<Local> {
        self.local_from_true(true_now())
    }

    /// The wall clock of this device. Not to agree on anything: only the origin of a rig's time.
    #[must_use]
    pub fn wall_now(&self) -> Timestamp<Realtime> {
        wall_clock() + self.oscillator.as_ref().map_or(Span::ZERO, |oscillator| oscillator.config().wall)
    }

    /// `CLOCK_BOOTTIME` of this device: what its sensors' timestamps count.
    #[must_use]
    pub fn boottime_now(&self) -> Timestamp<Boottime> {
        match &self.oscillator {
            Some(_) => self.boottime_from_true(true_now()),
            None => host(ClockId::Boottime),
        }
    }

    /// This device's clocks now, for stamps of its own.
    #[must_use]
    pub fn arrival(&self) -> Arrival {
        match &self.oscillator {
            Some(_) => {
                let now = true_now();
                Arrival { boottime: self.boottime_from_true(now), monotonic: self.local_from_true(now) }
            }
            None => arrival_on_host(),
        }
    }

    /// What this device's monotonic clock reads at the instant `at` of the host's.
    #[must_use]
    pub fn local_from_true(&self, at: Timestamp<True>) -> Timestamp<Local> {
        match &self.oscillator {
            Some(oscillator) => oscillator.read(at),
            None => Timestamp::from_nanos(at.as_nanos()),
        }
    }

    /// What this device's boot-time clock reads at the instant `at` of the host's monotonic one.
    #[must_use]
    pub fn boottime_from_true(&self, at: Timestamp<True>) -> Timestamp<Boottime> {
        Timestamp::from_nanos(self.local_from_true(at).as_nanos()) + suspended()
    }

    /// What this device's boot-time clock reads when the host's reads `host`: real sensors are
    /// stamped by the host even where the device's clock is simulated.
    #[must_use]
    pub fn boottime_from_host(&self, host: Timestamp<Boottime>) -> Timestamp<Boottime> {
        match &self.oscillator {
            Some(_) => self.boottime_from_true(Timestamp::from_nanos((host - suspended()).as_nanos())),
            None => host,
        }
    }

    /// Reads the wall clock against the monotonic one. To be called before anything happens that the
    /// kernel will stamp: only between two readings can [`Self::local_from_realtime`] tell time.
    pub fn observe_wall(&self) {
        let reading = read_wall();
        if lock(&self.wall).observe(&reading) {
            tracing::info!("this device's wall clock was stepped: rig time does not depend on it");
        }
    }

    /// The local time of an instant of the host's `CLOCK_REALTIME`, as the kernel stamps packets: it
    /// was after `earliest`, and after [`Self::observe_wall`] was first called. `None` where a step of
    /// the wall clock makes that uncertain.
    #[must_use]
    pub fn local_from_realtime(
        &self,
        stamp: Timestamp<Realtime>,
        earliest: Timestamp<True>,
    ) -> Option<Timestamp<Local>> {
        let now = read_wall();
        let instant = lock(&self.wall).instant_of(stamp, earliest, &now);
        instant.map(|instant| self.local_from_true(instant))
    }
}

/// A reading of the host's clocks, the best of a few: another thread may have had the processor in the
/// middle of one.
fn read_wall() -> WallReading {
    /// What reading three clocks takes, with a margin.
    const UNDISTURBED: Span = Span::from_micros(1);
    let read = || WallReading { before: true_now(), wall: wall_clock(), after: true_now() };
    let mut best = read();
    for _ in 0..3 {
        if best.width() <= UNDISTURBED {
            break;
        }
        let next = read();
        if next.width() < best.width() {
            best = next;
        }
    }
    best
}

/// The wall clock of the host. Not a device's to agree on anything: only the origin of a rig's time.
#[must_use]
pub fn wall_clock() -> Timestamp<Realtime> {
    host(ClockId::Realtime)
}

#[derive(Debug, Clone, Copy)]
struct State {
    map: ClockMap,
    quality: SyncQuality,
    update: Option<ClockUpdate>,
    /// Where it leads: since when, and as whom.
    leads: Option<Lead>,
    /// What has been read by the old map when this one was set.
    floor: Timestamp<Rig>,
    /// Where others are served what it follows: when it was last stepped, and how often.
    stepped: Option<Timestamp<Local>>,
    steps: u64,
    serves: bool,
}

/// A clock that is served to others counts as in sync again so long after a step: by then each of them has asked
/// and heard of it, or knows that it has not. The slowest poll, and the silence after which a server counts as lost.
const TOLD: Span = Span::from_secs(8);

/// Standing still for less than this is how a map that runs slower takes over from one that was read a moment ago.
const HELD: Span = Span::from_micros(50);

impl State {
    /// How well rig time is known now: a clock that stands still, or of whose step others have yet to hear, is not in sync.
    fn quality(&self, now: Timestamp<Local>) -> SyncQuality {
        let told = self.stepped.is_none_or(|stepped| !self.serves || now - stepped >= TOLD);
        match self.quality {
            SyncQuality::Synced if !told || self.rig_now(now) - self.map.line_at(now) > HELD => {
                SyncQuality::Holdover
            }
            quality => quality,
        }
    }

    /// Rig time now. (Of the past the map tells as well as is known now.)
    fn rig_now(&self, now: Timestamp<Local>) -> Timestamp<Rig> {
        self.map.rig_at(now).max(self.floor)
    }
}

/// What a clock read, and would read on: see [`RigClock::frozen`].
#[derive(Debug, Clone, Copy)]
pub struct FrozenClock {
    map: ClockMap,
    floor: Timestamp<Rig>,
}

impl FrozenClock {
    /// What it reads when the local clock reads `local`.
    #[must_use]
    pub fn rig_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        self.map.rig_at(local).max(self.floor)
    }
}

/// Below every time.
const NO_FLOOR: Timestamp<Rig> = Timestamp::from_nanos(i64::MIN);

#[derive(Debug, Clone, Copy)]
struct Lead {
    since: Timestamp<Rig>,
    /// What the time scale is called, once it is served or where it was followed before.
    timescale: Option<u64>,
    /// Who serves it.
    device: Option<u64>,
}

impl Lead {
    /// Where the time comes from: here.
    fn source(&self) -> Option<TimeSource> {
        let (leader, timescale) = (self.device?, self.timescale?);
        Some(TimeSource { stratum: 0, leader, timescale, least_delay_ns: Span::ZERO })
    }
}

/// The rig's clock on this device. Never runs backwards once synced, whoever reads it.
#[derive(Debug)]
pub struct RigClock {
    device: Arc<DeviceClock>,
    // Readers read the local clock under the lock, so none can combine an old reading with a newer
    // map: that could make time run backwards from one thread to another.
    state: RwLock<State>,
    /// As whom it is served to others, where it follows what is no server of swsync's.
    serves: OnceLock<Identity>,
}

impl RigClock {
    /// A clock that is not synced: it reads the wall clock until it is told better.
    #[must_use]
    pub fn new(device: Arc<DeviceClock>) -> Self {
        let map = ClockMap::fixed(device.now(), Timestamp::from_nanos(device.wall_now().as_nanos()));
        let state = State {
            map,
            quality: SyncQuality::Unsynced,
            update: None,
            leads: None,
            floor: NO_FLOOR,
            stepped: None,
            steps: 0,
            serves: false,
        };
        Self { device, state: RwLock::new(state), serves: OnceLock::new() }
    }

    /// The clock's readings as they are now, for one who goes on by them while this clock begins anew.
    #[must_use]
    pub fn frozen(&self) -> FrozenClock {
        self.read(|state, _| FrozenClock { map: state.map, floor: state.floor })
    }

    /// Others are served what this clock follows.
    pub(crate) fn serve_others(&self) {
        self.write().serves = true;
    }

    /// The clocks underneath.
    #[must_use]
    pub const fn device(&self) -> &Arc<DeviceClock> {
        &self.device
    }

    fn read<T>(&self, f: impl FnOnce(&State, Timestamp<Local>) -> T) -> T {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        f(&state, self.device.now())
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rig time now.
    #[must_use]
    pub fn now(&self) -> Timestamp<Rig> {
        self.read(State::rig_now)
    }

    /// How well rig time is known.
    #[must_use]
    pub fn quality(&self) -> SyncQuality {
        self.read(State::quality)
    }

    /// Everything that can be said of the clock now.
    #[must_use]
    pub fn status(&self) -> ClockStatus {
        self.read(|state, now| ClockStatus {
            quality: state.quality(now),
            rig_time_ns: state.rig_now(now),
            offset_ns: state.map.offset_at(now).as_span(),
            uncertainty_ns: match (state.quality, &state.update) {
                (SyncQuality::Leading, _) => Some(Span::ZERO),
                (_, Some(update)) => Some(update.uncertainty_at(now)),
                (_, None) => None,
            },
            skew_ppm: state.map.skew().as_ppm(),
            round_trip_ns: state.update.map(|update| update.round_trip),
            source: match (state.leads, state.update) {
                (Some(lead), _) => lead.source(),
                (None, update) => {
                    update.and_then(|update| update.source().or_else(|| self.served(&update, state.steps)))
                }
            },
        })
    }

    /// Where the time comes from that others are told to be this device's own: as [`ServerStatus::following`] says it.
    /// `steps`: how often the time scale changed since.
    fn served(&self, update: &ClockUpdate, steps: u64) -> Option<TimeSource> {
        let Identity { device: leader, timescale, .. } = *self.serves.get()?;
        let timescale = timescale.wrapping_add(steps);
        let (stratum, least_delay_ns) = (update.upstream.stratum, update.estimate.least_delay);
        Some(TimeSource { stratum, leader, timescale, least_delay_ns })
    }

    /// For a server: others are told that its time is this one's.
    pub(crate) fn serve_as(&self, identity: &Identity) {
        let _ = self.serves.set(*identity); // one server has one clock
    }

    /// Rig time when the local clock reads `local`.
    #[must_use]
    pub fn rig_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        self.read(|state, _| state.map.rig_at(local))
    }

    /// This device defines rig time from now on. Where it knows rig time it goes on from there, at the
    /// rate that it has found, and its time scale stays the same; or else from the wall clock, at the
    /// local rate.
    pub fn lead(&self) {
        let mut state = self.write();
        let now = self.device.now();
        let known =
            matches!(state.quality, SyncQuality::Synced | SyncQuality::Holdover | SyncQuality::Leading);
        if !known {
            state.map = ClockMap::fixed(now, Timestamp::from_nanos(self.device.wall_now().as_nanos()));
            state.floor = NO_FLOOR;
        }
        let field = state.update.filter(|_| known).and_then(|update| update.upstream.field);
        let inherited = state.leads.filter(|_| known).and_then(|lead| lead.timescale);
        let timescale = field.map(|field| field.timescale).or(inherited);
        state.leads = Some(Lead { since: state.map.rig_at(now), timescale, device: None });
        (state.quality, state.update) = (SyncQuality::Leading, None);
    }

    /// As [`Self::lead`], for a server: the time scale is the server's own, where it is a new one.
    pub(crate) fn lead_as(&self, identity: &Identity) {
        self.lead();
        if let Some(lead) = &mut self.write().leads {
            lead.timescale.get_or_insert(identity.timescale);
            lead.device = Some(identity.device);
        }
    }

    /// What a client's protocol says.
    pub fn follow(&self, update: ClockUpdate) {
        let mut state = self.write();
        // The map goes on from what the old one read when it was made. Since then that has been read on, and
        // further than the new one is now, if that is slower or stands still.
        let floor = match update.adjustment {
            Some(Adjustment::Set(_) | Adjustment::Began { .. }) => NO_FLOOR,
            Some(Adjustment::Slewing(_) | Adjustment::Stepped { .. }) | None => {
                state.rig_now(self.device.now())
            }
        };
        if let Some(Adjustment::Stepped { .. } | Adjustment::Began { .. }) = update.adjustment {
            (state.stepped, state.steps) = (Some(self.device.now()), state.steps + 1);
        }
        let (map, quality, update) = (update.map, update.quality, Some(update));
        *state = State { map, quality, update, leads: None, floor, ..*state };
    }

    /// For a server: rig time at `received` and now, and what to say of it.
    pub(crate) fn serve(
        &self,
        identity: &Identity,
        received: Timestamp<Local>,
    ) -> (Timestamp<Rig>, Timestamp<Rig>, ServerStatus) {
        self.read(|state, now| {
            let status = match (&state.leads, &state.update) {
                (Some(lead), _) => {
                    let timescale = lead.timescale.unwrap_or(identity.timescale);
                    ServerStatus::leading(&Identity { timescale, ..*identity }, lead.since)
                }
                (None, Some(update)) => {
                    // After a step it is another time scale: whoever follows has to learn it anew.
                    let timescale = identity.timescale.wrapping_add(state.steps);
                    let update = ClockUpdate { quality: state.quality(now), ..*update };
                    ServerStatus::following(&Identity { timescale, ..*identity }, &update, now)
                }
                (None, None) => ServerStatus::unsynchronized(identity),
            };
            // As the clock would read if it need not stand still: whoever asks is not to learn that.
            (state.map.line_at(received), state.map.line_at(now), status)
        })
    }

    /// What whoever is served is told of the local instant `local`.
    pub(crate) fn served_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        self.read(|state, _| state.map.line_at(local))
    }

    /// Nothing is known any more.
    pub fn forget(&self) {
        let mut state = self.write();
        (state.quality, state.update, state.leads) = (SyncQuality::Unsynced, None, None);
    }

    /// Rate of rig time against the local clock, without corrections.
    #[must_use]
    pub fn skew(&self) -> Skew {
        self.read(|state, _| state.map.skew())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_stamps_become_local_time() {
        let clock = DeviceClock::real();
        clock.observe_wall();
        let earliest = true_now();
        let before = clock.now();
        let stamp = wall_clock();
        let after = clock.now();
        // Unless someone sets this machine's clock just now.
        let local = clock.local_from_realtime(stamp, earliest).unwrap();
        let slack = Span::from_millis(5);
        assert!(local > before - slack && local < after + slack, "{before:?} {local:?} {after:?}");
    }

    #[test]
    fn a_simulated_device_has_its_own_time() {
        let clock = DeviceClock::simulated("offset=5s,skew=40ppm".parse().unwrap());
        let ahead = clock.now().as_nanos() - DeviceClock::real().now().as_nanos();
        assert!(ahead > 4_000_000_000, "{ahead}");
        clock.observe_wall();
        let (earliest, before) = (true_now(), clock.now());
        let stamp = clock.local_from_realtime(wall_clock(), earliest).unwrap();
        assert!(stamp > before - Span::from_millis(5) && stamp < clock.now() + Span::from_millis(5));
    }

    #[test]
    fn real_sensors_are_stamped_in_the_simulated_devices_time() {
        let clock = DeviceClock::simulated("offset=5s".parse().unwrap());
        let host_now = host::<Boottime>(ClockId::Boottime);
        let converted = clock.boottime_from_host(host_now);
        assert!((clock.boottime_now() - converted).abs() < Span::from_millis(5));
    }

    #[test]
    fn a_bad_description_of_a_clock_is_refused() {
        assert!("offset=5parsecs".parse::<OscillatorConfig>().is_err());
    }

    #[test]
    fn a_leader_reads_the_wall_clock_of_its_start() {
        let clock = RigClock::new(Arc::new(DeviceClock::real()));
        assert_eq!(clock.quality(), SyncQuality::Unsynced);
        clock.lead();
        assert_eq!(clock.quality(), SyncQuality::Leading);
        let away = clock.now().as_nanos() - wall_clock().as_nanos();
        assert!(away.abs() < 50_000_000, "{away}");
        assert_eq!(clock.status().uncertainty_ns, Some(Span::ZERO));
    }
}
