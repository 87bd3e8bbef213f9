//! The clocks of this device: the host's own, or simulated ones that run at a pace of their own.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use swsync_core::stamps::Arrival;
use swsync_core::time::{Boottime, Local, Realtime, Span, Timestamp};

use crate::Host;
use crate::wall_map::{WallMap, WallReading};

/// Environment variable that gives this device a simulated clock, e.g. `offset=2.5s,skew=31ppm,wall=-3600s,suspend=10s@30s`.
///
/// `wall` is the device's wall clock minus the host's. `suspend=10s@30s`: 30 s after the start of the process the device's
/// monotonic clock stands still for 10 s, while its boot-time clock goes on. `OscillatorConfig` of swsync-sim has all keys.
///
/// It is no property of an element: a device has one clock, and all elements must agree on it.
pub const SIMULATED_CLOCK: &str = "SWSYNC_SIMULATED_CLOCK";

/// Why this process has no device clock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceClockError {
    /// [`SIMULATED_CLOCK`] does not describe a clock.
    #[error("{0}")]
    Description(String),
    /// [`SIMULATED_CLOCK`] is set, but the feature `simulation` is off.
    #[error(
        "this build of swsync has no simulated clocks (cargo feature \"simulation\"): unset the variable"
    )]
    NotBuiltIn,
}

/// The monotonic clock of a simulated device.
pub trait SimulatedClock: Debug + Send + Sync {
    /// What it reads at the instant `at` of the host's monotonic clock. Never decreases as `at` increases.
    fn read(&self, at: Timestamp<Host>) -> Timestamp<Local>;

    /// The device's wall clock minus the host's.
    fn wall_offset(&self) -> Span;

    /// How long the device has slept until the instant `at` of the host's monotonic clock. Never decreases as `at` increases.
    fn slept(&self, at: Timestamp<Host>) -> Span;
}

/// The local clock, and how long the device has slept until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwakeReading {
    /// `CLOCK_MONOTONIC`, which stands still while the device sleeps.
    pub local: Timestamp<Local>,
    /// `CLOCK_BOOTTIME` minus `CLOCK_MONOTONIC`: the time in suspend, plus a constant in a time namespace. It is never too
    /// large; if the thread was interrupted, it is too small by the length of the interruption.
    pub slept: Span,
}

fn host_clock<D>(id: ClockId) -> Timestamp<D> {
    let time = clock_gettime(id);
    Timestamp::ZERO + Span::from_secs(time.tv_sec) + Span::from_nanos(time.tv_nsec)
}

/// The host's `CLOCK_MONOTONIC` now: the true time of a simulation.
#[must_use]
pub fn host_now() -> Timestamp<Host> {
    host_clock(ClockId::Monotonic)
}

/// The host's `CLOCK_REALTIME` now. Only the origin of a rig's time: devices do not agree on it.
#[must_use]
pub fn wall_clock() -> Timestamp<Realtime> {
    host_clock(ClockId::Realtime)
}

/// How far `CLOCK_BOOTTIME` is ahead of `CLOCK_MONOTONIC`: the time spent in suspend.
fn time_in_suspend() -> Span {
    let attempt = || {
        let before = host_clock::<Local>(ClockId::Monotonic);
        let boottime = host_clock::<Boottime>(ClockId::Boottime);
        let between = host_clock::<Local>(ClockId::Monotonic) - before;
        let span = boottime.as_nanos().saturating_sub((before + between / 2).as_nanos());
        (between, Span::from_nanos(span))
    };
    // The scheduler may interrupt one attempt: the shortest counts.
    let attempts = [attempt(), attempt(), attempt()];
    let span = attempts.into_iter().min().map_or(Span::ZERO, |(_, span)| span);
    // A suspend is long; a shorter span is the time between the readings. In a time namespace boot time may be behind.
    if span.abs() < Span::from_millis(10) { Span::ZERO } else { span }
}

/// The host's clocks, by two readings: see [`AwakeReading`].
fn awake_on_host() -> (Timestamp<Host>, Span) {
    // In this order: an interruption between the two makes the span smaller, which no one takes for a suspend.
    let boottime = host_clock::<Boottime>(ClockId::Boottime);
    let monotonic = host_now();
    (monotonic, Span::from_nanos(boottime.as_nanos().saturating_sub(monotonic.as_nanos())))
}

/// The host's clocks now, for what drivers stamp.
#[must_use]
pub fn arrival_on_host() -> Arrival {
    let monotonic = host_clock::<Local>(ClockId::Monotonic);
    Arrival { boottime: Timestamp::from_nanos(monotonic.as_nanos()) + time_in_suspend(), monotonic }
}

/// This device's clocks: the host's, or simulated ones derived from them.
#[derive(Debug)]
pub struct DeviceClock {
    simulated: Option<Box<dyn SimulatedClock>>,
    /// The host's wall clock against its monotonic one.
    wall: Mutex<WallMap>,
}

impl DeviceClock {
    /// The host's own clocks.
    #[must_use]
    pub const fn real() -> Self {
        Self { simulated: None, wall: Mutex::new(WallMap::new()) }
    }

    /// Clocks that run at the pace of `clock`, with its origin.
    #[must_use]
    pub fn driven_by(clock: impl SimulatedClock + 'static) -> Self {
        Self { simulated: Some(Box::new(clock)), ..Self::real() }
    }

    /// The clock of the device that this process is: simulated if [`SIMULATED_CLOCK`] says so.
    ///
    /// # Errors
    /// What is wrong with the environment variable. Never falls back to the real clock.
    pub fn of_this_process() -> Result<Arc<Self>, DeviceClockError> {
        static CLOCK: OnceLock<Result<Arc<DeviceClock>, DeviceClockError>> = OnceLock::new();
        let read = || match std::env::var_os(SIMULATED_CLOCK) {
            Some(text) if !text.is_empty() => Self::described(&text.to_string_lossy()),
            _ => Ok(Self::real()),
        };
        CLOCK.get_or_init(|| read().map(Arc::new)).clone()
    }

    #[cfg(not(feature = "simulation"))]
    const fn described(_: &str) -> Result<Self, DeviceClockError> {
        Err(DeviceClockError::NotBuiltIn)
    }

    /// Whether the clocks are simulated.
    #[must_use]
    pub const fn is_simulated(&self) -> bool {
        self.simulated.is_some()
    }

    /// `CLOCK_MONOTONIC` of this device.
    #[must_use]
    pub fn now(&self) -> Timestamp<Local> {
        self.local_at(host_now())
    }

    /// [`Self::now`], and how long the device has slept until then. Costs one more clock reading.
    #[must_use]
    pub fn now_and_slept(&self) -> AwakeReading {
        let (at, slept) = awake_on_host();
        match &self.simulated {
            Some(clock) => AwakeReading { local: clock.read(at), slept: slept + clock.slept(at) },
            None => AwakeReading { local: self.local_at(at), slept },
        }
    }

    /// The wall clock of this device. Only the origin of a rig's time: devices do not agree on it.
    #[must_use]
    pub fn wall_now(&self) -> Timestamp<Realtime> {
        wall_clock() + self.simulated.as_ref().map_or(Span::ZERO, |clock| clock.wall_offset())
    }

    /// `CLOCK_BOOTTIME` of this device: what its sensors' timestamps count.
    #[must_use]
    pub fn boottime_now(&self) -> Timestamp<Boottime> {
        match &self.simulated {
            Some(_) => self.boottime_at(host_now()),
            None => host_clock(ClockId::Boottime),
        }
    }

    /// This device's clocks now, for stamps of its own.
    #[must_use]
    pub fn arrival(&self) -> Arrival {
        match &self.simulated {
            Some(_) => {
                let now = host_now();
                Arrival { boottime: self.boottime_at(now), monotonic: self.local_at(now) }
            }
            None => arrival_on_host(),
        }
    }

    /// What this device's monotonic clock reads at the instant `at` of the host's.
    #[must_use]
    pub fn local_at(&self, at: Timestamp<Host>) -> Timestamp<Local> {
        match &self.simulated {
            Some(clock) => clock.read(at),
            None => Timestamp::from_nanos(at.as_nanos()),
        }
    }

    /// What this device's boot-time clock reads at the instant `at` of the host's monotonic one.
    #[must_use]
    pub fn boottime_at(&self, at: Timestamp<Host>) -> Timestamp<Boottime> {
        let slept = self.simulated.as_ref().map_or(Span::ZERO, |clock| clock.slept(at));
        Timestamp::from_nanos(self.local_at(at).as_nanos()) + time_in_suspend() + slept
    }

    /// What this device's boot-time clock reads when the host's reads `host`: real sensors are
    /// stamped by the host even if the device's clock is simulated.
    #[must_use]
    pub fn boottime_from_host(&self, host: Timestamp<Boottime>) -> Timestamp<Boottime> {
        match &self.simulated {
            Some(_) => self.boottime_at(Timestamp::from_nanos((host - time_in_suspend()).as_nanos())),
            None => host,
        }
    }

    /// Reads the wall clock against the monotonic one. Call it before anything happens that the kernel will stamp:
    /// [`Self::local_from_realtime`] can only convert stamps between two readings.
    pub fn observe_wall(&self) {
        let reading = read_wall();
        if self.wall.lock().observe(&reading) {
            swsync_core::log::info!("this device's wall clock was stepped: rig time does not depend on it");
        }
    }

    /// The local time of an instant of the host's `CLOCK_REALTIME`, as the kernel stamps packets. The instant was after
    /// `earliest`, and after the first call of [`Self::observe_wall`]. `None` if a step of the wall clock makes the
    /// result uncertain.
    #[must_use]
    pub fn local_from_realtime(
        &self,
        stamp: Timestamp<Realtime>,
        earliest: Timestamp<Host>,
    ) -> Option<Timestamp<Local>> {
        let now = read_wall();
        let instant = self.wall.lock().instant_of(stamp, earliest, &now);
        instant.map(|instant| self.local_at(instant))
    }
}

/// The best of a few readings of the host's clocks: another thread may have taken the processor in the middle of one.
fn read_wall() -> WallReading {
    /// What reading three clocks takes, with a margin.
    const UNDISTURBED: Span = Span::from_micros(1);
    let read = || WallReading { before: host_now(), wall: wall_clock(), after: host_now() };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_has_slept_is_never_too_long() {
        let clock = DeviceClock::real();
        let slept = time_in_suspend();
        let mut previous = clock.now();
        for _ in 0..1_000 {
            let reading = clock.now_and_slept();
            assert!(reading.local >= previous);
            // Unless this machine falls asleep just now.
            assert!(reading.slept < slept + Span::from_millis(10), "{reading:?} {slept:?}");
            previous = reading.local;
        }
    }

    #[test]
    fn packet_stamps_become_local_time() {
        let clock = DeviceClock::real();
        clock.observe_wall();
        let earliest = host_now();
        let before = clock.now();
        let stamp = wall_clock();
        let after = clock.now();
        // Unless someone sets this machine's clock just now.
        let local = clock.local_from_realtime(stamp, earliest).unwrap();
        let slack = Span::from_millis(5);
        assert!(local > before - slack && local < after + slack, "{before:?} {local:?} {after:?}");
    }
}
