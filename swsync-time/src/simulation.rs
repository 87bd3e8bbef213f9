//! Simulated device clocks: an oscillator of `swsync-sim` drives a [`DeviceClock`].

use swsync_core::time::{Local, Span, Timestamp};
use swsync_sim::oscillator::{Oscillator, OscillatorConfig, OscillatorError};

use crate::{DeviceClock, DeviceClockError, Host, SimulatedClock, host_now};

/// The clocks of a simulated device: an oscillator that stands still while the device sleeps.
#[derive(Debug)]
struct SimulatedDevice {
    oscillator: Oscillator<Local>,
    /// When the clocks were made.
    start: Timestamp<Host>,
}

impl SimulatedClock for SimulatedDevice {
    fn read(&self, at: Timestamp<Host>) -> Timestamp<Local> {
        self.oscillator.read(at - self.slept(at))
    }

    fn wall_offset(&self) -> Span {
        self.oscillator.config().wall
    }

    fn slept(&self, at: Timestamp<Host>) -> Span {
        self.oscillator.config().suspend.map_or(Span::ZERO, |suspend| suspend.slept(at - self.start))
    }
}

impl DeviceClock {
    /// Clocks that the oscillator of `config` drives. A suspend in `config` is counted from now.
    #[must_use]
    pub fn simulated(config: OscillatorConfig) -> Self {
        Self::driven_by(SimulatedDevice { oscillator: Oscillator::new(config), start: host_now() })
    }

    /// The simulated clock that `text` describes.
    pub(crate) fn described(text: &str) -> Result<Self, DeviceClockError> {
        let config = text.parse();
        config
            .map(Self::simulated)
            .map_err(|error: OscillatorError| DeviceClockError::Description(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use swsync_core::time::Boottime;

    use super::*;
    use crate::wall_clock;

    #[test]
    fn a_simulated_device_has_its_own_time() {
        let clock = DeviceClock::simulated("offset=5s,skew=40ppm".parse().unwrap());
        let ahead = clock.now().as_nanos() - DeviceClock::real().now().as_nanos();
        assert!(ahead > 4_000_000_000, "{ahead}");
        clock.observe_wall();
        let (earliest, before) = (host_now(), clock.now());
        let stamp = clock.local_from_realtime(wall_clock(), earliest).unwrap();
        assert!(stamp > before - Span::from_millis(5) && stamp < clock.now() + Span::from_millis(5));
    }

    #[test]
    fn stamps_of_real_sensors_become_the_simulated_devices_time() {
        let clock = DeviceClock::simulated("offset=5s".parse().unwrap());
        let host: Timestamp<Boottime> = DeviceClock::real().boottime_now();
        let converted = clock.boottime_from_host(host);
        assert!((clock.boottime_now() - converted).abs() < Span::from_millis(5));
    }

    #[test]
    fn a_simulated_device_sleeps_while_its_boot_time_goes_on() {
        let device = SimulatedDevice {
            oscillator: Oscillator::new("offset=5s,suspend=10s@30s".parse().unwrap()),
            start: Timestamp::from_nanos(1_000_000_000_000),
        };
        let start = device.start;
        let clock = DeviceClock::driven_by(device);
        let asleep_on_host = clock.boottime_at(start).as_nanos() - clock.local_at(start).as_nanos();
        for (secs, awake, slept) in [(0, 0, 0), (30, 30, 0), (35, 30, 5), (40, 30, 10), (50, 40, 10)] {
            let at = start + Span::from_secs(secs);
            assert_eq!(clock.local_at(at), clock.local_at(start) + Span::from_secs(awake), "{secs} s");
            let ahead = clock.boottime_at(at).as_nanos() - clock.local_at(at).as_nanos();
            // The host's own part is measured anew by each call.
            let error = Span::from_nanos(ahead - asleep_on_host) - Span::from_secs(slept);
            assert!(error.abs() < Span::from_millis(5), "{secs} s: {error:?}");
        }
    }

    #[test]
    fn a_bad_description_of_a_clock_is_refused() {
        let error = DeviceClock::described("offset=5parsecs").unwrap_err();
        assert!(matches!(error, DeviceClockError::Description(_)), "{error:?}");
    }
}
