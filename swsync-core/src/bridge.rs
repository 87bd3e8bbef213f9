//! From sensor time to the time of the pipeline's clock.
//!
//! Sensors are stamped by `CLOCK_BOOTTIME`, which goes on while the device is suspended. A pipeline's clock, whatever it
//! is, is made of `CLOCK_MONOTONIC`, which does not. Both are read together with each frame, and a stamp between
//! two readings is interpolated, so that a clock that slews meanwhile, or runs at a rate of its own, costs nothing.
//!
//! A suspend between two readings lengthens boot time alone. A stamp from before it counts from the reading before, one
//! from after it from the reading after; which it is, the monotonic clock tells: counted from the reading before,
//! a stamp from after the suspend would lie in the future. (So would one from before count as from after, if it came later
//! than the suspend was long; suspends take seconds, frames milliseconds.)

use crate::time::{Boottime, Local, Rig, Span, Timestamp};

/// The clocks at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockPair {
    /// What sensors are stamped by.
    pub boottime: Timestamp<Boottime>,
    /// What stands still in suspend; need not be read as precisely as the other two.
    pub local: Timestamp<Local>,
    /// The pipeline's clock.
    pub clock: Timestamp<Rig>,
}

/// A stamp on the pipeline's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bridged {
    /// When it was.
    pub time: Timestamp<Rig>,
    /// How long the device was suspended since the stamp before, if it was.
    pub suspended: Option<Span>,
}

/// See the module's documentation.
#[derive(Debug, Clone, Copy, Default)]
pub struct SensorBridge {
    last: Option<ClockPair>,
    suspend: Option<Suspend>,
}

/// The latest suspend.
#[derive(Debug, Clone, Copy)]
struct Suspend {
    /// The reading before it.
    before: ClockPair,
    /// From there to the reading after it, without the suspend.
    awake: Span,
}

/// What is shorter is no suspend, but the time between reading one clock and the other on a busy machine.
const SUSPEND: Span = Span::from_millis(100);

/// Readings closer to each other give no rate.
const RATE_BASE: Span = Span::from_millis(1);

/// Clocks that run at rates further apart were stepped: 2000 ppm, four times what a clock is slewed by.
const STEP_SHARE: i64 = 500;

impl SensorBridge {
    /// A bridge that has read nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: None, suspend: None }
    }

    /// The time of the clock at the sensor time `at`, shortly before `now`.
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

    /// A device whose clock runs fast by `ppm`, in true time since it was started, suspended once.
    #[derive(Debug, Clone, Copy)]
    struct Device {
        ppm: f64,
        suspended_at: Span,
        suspended_for: Span,
    }

    impl Device {
        /// Boot time that this device's monotonic clock had when its boot-time clock read `at`.
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

    /// Frames of `device`, each stamped `age` of awake time before it is taken, across its suspend: the worst error, and how
    /// often a suspend was said.
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
    fn a_frame_taken_before_a_suspend_and_delivered_after_it_keeps_its_time() {
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
    fn a_slewing_clock_costs_nothing_and_a_step_is_no_rate() {
        let device = Device { ppm: 400.0, suspended_at: Span::from_secs(1_000), suspended_for: Span::ZERO };
        let (worst, suspends) = run(&device, Span::from_millis(60));
        // The first stamp has no rate yet: 400 ppm of 60 ms.
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
            // Without a rate, at the start and across the suspend: 400 ppm of up to 0.4 s and a period.
            prop_assert!(worst <= Span::from_micros(180), "{worst:?}");
            prop_assert_eq!(suspends, vec![device.suspended_for]);
        }
    }
}
