//! Rigs of cameras in simulated time, whose devices have errors of their own, as real ones have.
//!
//! A [`Hardware`] seed determines what stays with a device: crystals, latencies of host and radio, errors of the camera. Another
//! seed determines what differs from run to run: delays of packets, wander, late stamps, lost frames.

mod camera;

use swsync_core::grid::FrameGrid;
use swsync_core::time::{Skew, Span};
use swsync_sim::link::{AirModel, Floors, LinkModel};
use swsync_sim::rig::{DeviceConfig, Rig};
use swsync_sim::sensor::SensorModel;

pub use camera::{Camera, Taken};

use crate::split_mix::SplitMix64;

/// Longest wait until all clocks are synced.
const SYNCED_WITHIN: Span = Span::from_secs(120);
/// Rig and cameras advance in turn by this much: one frame.
pub const STEP: Span = Span::from_micros(33_333);

/// What stays with one device.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// Latencies of host and radio.
    pub floors: Floors,
    /// The camera's sensor, with its own errors.
    pub sensor: SensorModel,
    /// The sensor's crystal.
    sensor_skew: Skew,
    clock: String,
    /// What is added to its clock, as `swsync measure` would set it.
    pub path_offset: Span,
}

impl Hardware {
    /// Device `index` of the rig with this seed. Crystals are up to 40 ppm off and warm up by up to 3 ppm in 85 s, as a Raspberry
    /// Pi's; sensors alternate between the three of the Pi's cameras.
    pub fn of(seed: u64, index: usize) -> Self {
        let device = index as u64;
        let mut random = SplitMix64::new(seed ^ (device + 1).wrapping_mul(0xd1b5_4a32_d192_ed03));
        let mut uniform = |most: f64| most * (2.0 * random.uniform() - 1.0);
        let (skew, warm_up, sensor_skew) = (uniform(40.0), uniform(3.0), uniform(40.0));
        let (daily, aging) = (uniform(1.0), uniform(0.01));
        let presets = SensorModel::presets();
        Self {
            floors: Floors::wifi(seed, device),
            sensor: presets[index % presets.len()].clone().of_camera(seed, device),
            sensor_skew: Skew::from_ppm(sensor_skew),
            clock: format!(
                "skew={skew:.3}ppm,wander=0.01ppm,warmup={warm_up:.3}ppm/85s,daily={daily:.3}ppm,aging={aging:.4}ppm"
            ),
            path_offset: Span::ZERO,
        }
    }
}

/// What a rig is like.
#[derive(Debug, Clone)]
pub struct RigModel {
    /// Its devices. The first one leads.
    pub devices: Vec<Hardware>,
    /// The links, without the devices' own latencies.
    pub link: LinkModel,
    /// Data that each device sends, in Mbit/s.
    pub megabits: f64,
}

impl RigModel {
    /// The rig in simulated time, whose devices have just started. `followers` make the other devices.
    pub fn start(&self, seed: u64, followers: fn(&str) -> DeviceConfig) -> Rig {
        let air = AirModel::wifi(self.devices.len(), self.megabits);
        let mut rig = Rig::new(self.link.clone(), seed).with_air(air);
        for (index, hardware) in self.devices.iter().enumerate() {
            let device = if index == 0 { DeviceConfig::leader } else { followers };
            rig.add(device(&hardware.clock).with_floors(hardware.floors));
        }
        rig
    }

    /// What a client's clock is off by the latencies of its path to a leader, which no exchange shows: rig time by its clock minus
    /// the leader's.
    pub fn asymmetry(&self, leader: usize, client: usize) -> Span {
        let floors = |device: usize| self.devices[device].floors;
        self.link.clone().between(floors(leader), floors(client)).asymmetry()
    }
}

/// The frame grid of all cameras: 30 frames/s.
pub fn grid() -> FrameGrid {
    FrameGrid::new(30, 1).expect("30 fps is a rate")
}

/// Runs the rig until all devices are synced.
///
/// # Errors
/// They are not in time.
pub fn wait_until_synced(rig: &mut Rig) -> anyhow::Result<()> {
    let end = rig.now() + SYNCED_WITHIN;
    while !(0..rig.len()).all(|index| rig.reading(index).is_some_and(|reading| reading.is_synced())) {
        anyhow::ensure!(rig.now() < end, "some clock is not synced after {} s", SYNCED_WITHIN.as_secs_f64());
        rig.run_for(STEP);
    }
    Ok(())
}
