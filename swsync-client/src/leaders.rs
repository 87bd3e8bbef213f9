//! One time scale with several leaders. While one device takes over from another that is so for a moment; if it lasts, the rig
//! is split.

use std::time::{Duration, Instant};

use serde::Serialize;
use swsync_core::name::DeviceId;
use swsync_core::order::Targets;
use swsync_core::status::{LeaderSplit, RigAgreement};
use swsync_rig::Session;

use crate::snapshot::RigSnapshot;

/// How long devices may follow different leaders. Chosen: an election takes three seconds at most, and clients ask at least
/// every four.
pub const HANDOVER: Duration = Duration::from_secs(5);

/// Time from one question to the next.
const ASK_INTERVAL: Duration = Duration::from_millis(500);

/// How the `targets` are split, if they follow different leaders for longer than a handover takes. `now`: a snapshot that was
/// just taken. Asks only if they differ there.
#[must_use]
pub fn lasting_split(session: &Session, targets: &Targets, now: &RigSnapshot) -> Option<LeaderSplit> {
    let begun = Instant::now();
    let mut split = now.common_of(targets).split()?;
    while begun.elapsed() < HANDOVER {
        std::thread::sleep(ASK_INTERVAL);
        split = RigSnapshot::take(session).common_of(targets).split()?;
    }
    Some(split)
}

/// A time scale and one of its leaders, with the devices that follow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Following {
    /// The time scale's id, as 16 hexadecimal digits.
    pub timescale: String,
    /// The leader: the device's id, or the id of its time server if it did not answer.
    pub leader: String,
    /// The devices that follow it.
    pub devices: Vec<DeviceId>,
}

/// Each time scale and leader, with the devices that follow it.
#[must_use]
pub fn followings(common: &RigAgreement) -> Vec<Following> {
    let leaders = common.leaders().flat_map(|(timescale, leaders)| {
        leaders.into_iter().map(move |(leader, devices)| Following {
            timescale: timescale.to_string(),
            leader: common.leader_name(leader),
            devices: devices.into_iter().cloned().collect(),
        })
    });
    leaders.collect()
}
