//! What is random about a simulated device, from its rig's seed and its index.

/// See the module's documentation.
pub struct SimulatedDevice {
    seed: u64,
    index: u16,
    offset_s: f64,
    clock_ppm: f64,
    sensor_ppm: f64,
}

impl SimulatedDevice {
    /// The device `index` of the rig of this seed.
    pub fn of(seed: u64, index: u16) -> Self {
        // SplitMix64: three uniform numbers in [-1, 1).
        let mut state = seed ^ (u64::from(index) + 1).wrapping_mul(0xd1b5_4a32_d192_ed03);
        let mut uniform = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            let top = u32::try_from((z ^ z >> 31) >> 32).expect("32 bits are left");
            f64::from(top) / f64::from(1_u32 << 31) - 1.0
        };
        let (offset_s, clock_ppm, sensor_ppm) = (6.0 + 5.0 * uniform(), 40.0 * uniform(), 40.0 * uniform());
        Self { seed, index, offset_s, clock_ppm, sensor_ppm }
    }

    /// Its clock, for [`SIMULATED_CLOCK`](swsync_rig::clock::SIMULATED_CLOCK).
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
