//! The random properties of a simulated device: they follow from the rig's seed and the device's index.

use crate::split_mix::SplitMix64;

/// Clock and camera of a simulated device.
pub struct SimulatedDevice {
    seed: u64,
    index: u16,
    offset_s: f64,
    clock_ppm: f64,
    sensor_ppm: f64,
}

impl SimulatedDevice {
    /// Device `index` of the rig with this seed.
    pub fn of(seed: u64, index: u16) -> Self {
        let mut random = SplitMix64::new(seed ^ (u64::from(index) + 1).wrapping_mul(0xd1b5_4a32_d192_ed03));
        let mut uniform = || 2.0 * random.uniform() - 1.0;
        let (offset_s, clock_ppm, sensor_ppm) = (6.0 + 5.0 * uniform(), 40.0 * uniform(), 40.0 * uniform());
        Self { seed, index, offset_s, clock_ppm, sensor_ppm }
    }

    /// Its clock, for [`SIMULATED_CLOCK`](swsync_time::SIMULATED_CLOCK).
    pub fn clock(&self) -> String {
        format!("offset={:.3}s,skew={:.3}ppm", self.offset_s, self.clock_ppm)
    }

    /// Its camera, as properties of swsyncsrc.
    pub fn camera(&self) -> String {
        let seed = self.seed.wrapping_mul(100).wrapping_add(u64::from(self.index));
        format!(
            "backend=simulated simulated-seed={seed} simulated-view={} simulated-skew-ppm={:.3}",
            self.index, self.sensor_ppm
        )
    }
}
