//! Converts sensor time to the time of the pipeline's clock.
//!
//! Sensors are stamped by `CLOCK_BOOTTIME`, which continues while the device is suspended. Any pipeline clock derives from
//! `CLOCK_MONOTONIC`, which stops. Both are read together at each frame, and a stamp between two readings is interpolated. So a
//! clock that slews, or has a rate of its own, causes no error.
//!
//! A suspend between two readings lengthens boot time only. A stamp from before the suspend is converted by the reading before,
//! a stamp from after it by the reading after. The monotonic clock tells which is the case: converted by the reading before, a
//! stamp from after the suspend would be in the future. (The decision is wrong only for a stamp that is older than the suspend
//! was long. Suspends take seconds, frames milliseconds.)

use crate::time::{Boottime, Local, Rig, Span, Timestamp};

/// Readings of the clocks at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockPair {
    /// The clock of the sensor's stamps.
    pub boottime: Timestamp<Boottime>,
    /// The clock that stops in suspend. It need not be read as precisely as the other two.
    pub local: Timestamp<Local>,
    /// The pipeline's clock.
    pub clock: Timestamp<Rig>,
}

/// A stamp, converted to the pipeline's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bridged {
    /// Its time on the pipeline's clock.
    pub time: Timestamp<Rig>,
    /// How long the device was suspended since the previous stamp, if it was.
    pub suspended: Option<Span>,
}

/// Converts the stamps of one sensor; see the module's documentation.
#[derive(Debug, Clone, Copy, Default)]
pub struct SensorBridge {
    last: Option<ClockPair>,
    suspend: Option<Suspend>,
}

/// The latest suspend.
#[derive(Debug, Clone, Copy)]
struct Suspend {
    /// The last reading before it.
    before: ClockPair,
    /// Time from there to the next reading, without the suspend.
    awake: Span,
}

/// A shorter difference is not a suspend: on a busy machine, time passes between reading one clock and the other.
const SUSPEND: Span = Span::from_millis(100);

/// Closer readings do not determine a rate.
const RATE_BASE: Span = Span::from_millis(1);

/// A larger difference of the rates is a step: 1/500, 2000 ppm, four times the usual slew.
const STEP_SHARE: i64 = 500;

impl SensorBridge {
    /// A bridge without readings.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: None, suspend: None }
    }

    /// Converts the sensor time `at`, which is shortly before `now`.
    pub fn convert(&mut self, now: ClockPair, at: Timestamp<Boottime>) -> Bridged {
        let before = self.last.replace(now).unwrap_or(now);
        let (boottime, awake) = (now.boottime - before.boottime, now.local - before.local);
        let suspended = Some(boottime - awake).filter(|suspended| *suspended >= SUSPEND);
        if suspended.is_some() {
            self.suspend = Some(Suspend { before, awake });
        }
        if let Some(Suspend { before, awake }) = self.suspend
            && at - before.boottime <= awake
        {
            return Bridged { time: before.clock + (at - before.boottime), suspended };
        }
        let elapsed = now.clock - before.clock;
        let steady = boottime > RATE_BASE
            && (elapsed - boottime).abs() < Span::from_nanos(boottime.as_nanos() / STEP_SHARE);
        let rate = if steady { elapsed.as_nanos_f64() / boottime.as_nanos_f64() } else { 1.0 };
        Bridged { time: now.clock - (now.boottime - at).mul_f64(rate), suspended }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A device whose clock runs fast by `ppm`, and which is suspended once.
    #[derive(Debug, Clone, Copy)]
    struct Device {
        ppm: f64,
        suspended_at: Span,
        suspended_for: Span,
    }

    impl Device {
        /// The reading of the monotonic clock when the boot-time clock reads `at`.
        fn awake(&self, at: Span) -> Span {
            if at <= self.suspended_at { at } else { (at - self.suspended_for).max(self.suspended_at) }
        }

        fn clock(&self, at: Span) -> Timestamp<Rig> {
            Timestamp::from_nanos(1_800_000_000_000_000_000) + self.awake(at).mul_f64(1.0 + self.ppm * 1e-6)
        }

        fn read(&self, at: Span) -> ClockPair {
            ClockPair {
                boottime: Timestamp::ZERO + at,
                local: Timestamp::ZERO + self.awake(at),
                clock: self.clock(at),
            }
        }
    }

    const PERIOD: Span = Span::from_nanos(33_333_333);

    /// Converts frames of `device` across its suspend; each is delivered `age` of awake time after its stamp. Returns the worst
    /// error, and the reported suspends.
    fn run(device: &Device, age: Span) -> (Span, Vec<Span>) {
        let mut bridge = SensorBridge::new();
        let (mut worst, mut suspends) = (Span::ZERO, Vec::new());
        let boot_time = |awake: Span| {
            if awake <= device.suspended_at { awake } else { awake + device.suspended_for }
        };
        for frame in 1..120 {
            let taken = PERIOD * frame + age;
            let at = boot_time(PERIOD * frame);
            let bridged = bridge.convert(device.read(boot_time(taken)), Timestamp::ZERO + at);
            worst = worst.max((bridged.time - device.clock(at)).abs());
            suspends.extend(bridged.suspended);
        }
        (worst, suspends)
    }

    #[test]
    fn a_frame_from_before_a_suspend_keeps_its_time() {
        for into_frame in 0..33 {
            let device = Device {
                ppm: 0.0,
                suspended_at: Span::from_millis(2_000 + into_frame),
                suspended_for: Span::from_secs(3_600),
            };
            let (worst, suspends) = run(&device, Span::from_millis(60));
            assert!(worst <= Span::from_nanos(2), "{worst:?}");
            assert_eq!(suspends, [Span::from_secs(3_600)]);
        }
    }

    #[test]
    fn a_slewing_clock_causes_no_error_and_a_step_is_not_a_rate() {
        let device = Device { ppm: 400.0, suspended_at: Span::from_secs(1_000), suspended_for: Span::ZERO };
        let (worst, suspends) = run(&device, Span::from_millis(60));
        // There is no rate at the first stamp: 400 ppm of 60 ms.
        assert!(worst <= Span::from_nanos(24_010), "{worst:?}");
        assert_eq!(suspends, []);

        let mut bridge = SensorBridge::new();
        let reading = |ms, stepped| ClockPair {
            clock: device.clock(Span::from_millis(ms)) + stepped,
            ..device.read(Span::from_millis(ms))
        };
        bridge.convert(reading(100, Span::ZERO), Timestamp::from_nanos(90_000_000));
        let step = Span::from_secs(5);
        let bridged = bridge.convert(reading(133, step), Timestamp::from_nanos(123_000_000));
        let truth = device.clock(Span::from_millis(123)) + step;
        assert!((bridged.time - truth).abs() < Span::from_micros(5), "{bridged:?} {truth:?}");
        assert_eq!(bridged.suspended, None);
    }

    proptest! {
        #[test]
        fn suspends_of_any_length_are_bridged(
            ppm in -400.0..400.0,
            suspended_at in 450_i64..3_500,
            suspended_for_ms in 1_000_i64..10_000_000_000,
            age_us in 0_i64..400_000,
        ) {
            let device = Device {
                ppm,
                suspended_at: Span::from_millis(suspended_at),
                suspended_for: Span::from_millis(suspended_for_ms),
            };
            let (worst, suspends) = run(&device, Span::from_micros(age_us));
            // There is no rate at the start and across the suspend: 400 ppm of up to 0.4 s and a period.
            prop_assert!(worst <= Span::from_micros(180), "{worst:?}");
            prop_assert_eq!(suspends, vec![device.suspended_for]);
        }
    }
}
