//! What happens to a rig in the course of days.

use swsync_core::time::Span;
use swsync_sim::link::LinkModel;
use swsync_sim::rig::Rig;

use crate::split_mix::SplitMix64;

/// Mean time from the end of one event to the next.
const MEAN_PAUSE_S: f64 = 1_800.0;

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The leader loses power, and comes back.
    LeaderOff(usize),
    /// A device starts again.
    Reboot(usize),
    /// A device does nothing for a while.
    Hangs(usize),
    /// Others use the channel for a while.
    Busy,
    /// All devices move to another channel.
    Channel,
}

impl Event {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LeaderOff(_) => "leader off",
            Self::Reboot(_) => "reboot",
            Self::Hangs(_) => "hangs",
            Self::Busy => "busy channel",
            Self::Channel => "other channel",
        }
    }

    /// Seconds until it is over.
    pub const fn lasts_s(self) -> i64 {
        match self {
            Self::LeaderOff(_) => 60,
            Self::Hangs(_) => 30,
            Self::Busy => 600,
            Self::Reboot(_) | Self::Channel => 0,
        }
    }

    /// A random one, in a rig whose device `leader` leads.
    pub fn any(random: &mut SplitMix64, rig: &Rig, leader: usize) -> Self {
        let device = usize::try_from(random.below(rig.len() as u64)).unwrap_or(0);
        match random.below(5) {
            0 => Self::LeaderOff(leader),
            1 => Self::Reboot(device),
            2 => Self::Hangs(device),
            3 => Self::Busy,
            _ => Self::Channel,
        }
    }

    /// Time from the end of an event to the next one: half the mean, and an exponential half.
    pub fn pause(random: &mut SplitMix64) -> Span {
        Span::from_secs_f64(MEAN_PAUSE_S / 2.0 * (1.0 - (1.0 - random.uniform()).ln()))
    }

    /// It happens. Devices that start again have a wall clock an hour late.
    pub fn begin(self, rig: &mut Rig) {
        match self {
            Self::LeaderOff(device) => rig.kill(device, false),
            Self::Reboot(device) => rig.reboot(device, Span::from_secs(1_800_000_000 - 3_600)),
            Self::Hangs(device) => rig.stop(device, true),
            Self::Busy => rig.set_link(LinkModel::wifi_busy()),
            Self::Channel => rig.set_link(LinkModel::wifi()),
        }
    }

    /// It is over.
    pub fn end(self, rig: &mut Rig) {
        match self {
            Self::LeaderOff(device) => rig.start(device),
            Self::Hangs(device) => rig.stop(device, false),
            Self::Busy => rig.set_link(LinkModel::wifi()),
            Self::Reboot(_) | Self::Channel => {}
        }
    }
}
