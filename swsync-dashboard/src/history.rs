//! The last ten minutes of each device's clock and phase, for plots: sampled whenever devices are asked.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use swsync_core::name::DeviceId;

use crate::row::{DeviceCondition, DeviceRow};

/// Samples that are kept of a device: ten minutes, one a second.
pub const SAMPLES: usize = 600;

/// One moment of a device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sample(
    /// Milliseconds since 1970, by the clock of the dashboard's host.
    pub i64,
    /// Phase error, in microseconds.
    pub Option<f64>,
    /// What the error of the clock may be, 1 sigma, in microseconds.
    pub Option<f64>,
    /// Round trip to the time server, in microseconds.
    pub Option<f64>,
);

/// The samples of all devices.
#[derive(Debug, Default)]
pub struct History(BTreeMap<DeviceId, VecDeque<Sample>>);

impl History {
    /// Adds what a device told at `at_ms`. A device that is silent has told nothing: the plot has a gap there.
    pub fn add(&mut self, device: &DeviceId, at_ms: i64, row: &DeviceRow) {
        let samples = self.0.entry(device.clone()).or_default();
        if samples.len() >= SAMPLES {
            samples.pop_front();
        }
        samples.push_back(match row.condition {
            DeviceCondition::Silent => Sample(at_ms, None, None, None),
            _ => Sample(at_ms, row.phase_us, row.clock_us, row.round_trip_us),
        });
    }

    /// Forgets devices that are in the rig no more.
    pub fn retain(&mut self, is_here: impl Fn(&DeviceId) -> bool) {
        self.0.retain(|device, _| is_here(device));
    }

    /// The last `count` samples of each device that `is_wanted`.
    pub fn last(
        &self,
        count: usize,
        is_wanted: impl Fn(&DeviceId) -> bool,
    ) -> BTreeMap<DeviceId, Vec<Sample>> {
        let wanted = self.0.iter().filter(|(device, _)| is_wanted(device));
        let cut = |samples: &VecDeque<Sample>| {
            samples.iter().skip(samples.len().saturating_sub(count)).copied().collect()
        };
        wanted.map(|(device, samples)| (device.clone(), cut(samples))).collect()
    }
}
