//! Simulated device clocks: an oscillator of `swsync-sim` drives a [`DeviceClock`].

use swsync_core::time::{Local, Span, Timestamp};
use swsync_sim::oscillator::{Oscillator, OscillatorConfig, OscillatorError};

use crate::{DeviceClock, DeviceClockError, Host, SimulatedClock};

impl SimulatedClock for Oscillator<Local> {
    fn read(&self, at: Timestamp<Host>) -> Timestamp<Local> {
        Self::read(self, at)
    }

    fn wall_offset(&self) -> Span {
        self.config().wall
    }
}

impl DeviceClock {
    /// Clocks that the oscillator of `config` drives.
    #[must_use]
    pub fn simulated(config: OscillatorConfig) -> Self {
        Self::driven_by(Oscillator::new(config))
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
    use crate::{host_now, wall_clock};

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
    fn a_bad_description_of_a_clock_is_refused() {
        let error = DeviceClock::described("offset=5parsecs").unwrap_err();
        assert!(matches!(error, DeviceClockError::Description(_)), "{error:?}");
    }
}
