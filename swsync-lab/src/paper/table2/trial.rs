//! One trial: two devices start, elect a leader, set their clocks and align their cameras.

use std::collections::VecDeque;

use swsync_core::grid::FrameNumber;
use swsync_core::time::{Host, Skew, Span, Timestamp};
use swsync_core::time_service::SyncState;
use swsync_sim::link::{Floors, LinkModel};
use swsync_sim::rig::{DeviceConfig, Rig};

use super::camera::{Camera, CameraKind, Exposed};
use crate::phase::trial::grid;
use crate::split_mix::SplitMix64;

/// Indices of the devices in the rig.
const LEADER: usize = 0;
const CLIENT: usize = 1;
/// How often it is looked whether the clocks are set.
const LOOK: Span = Span::from_millis(50);
/// Devices that are not ready by then have failed.
const TIMEOUT: Span = Span::from_secs(120);
/// Frames of one camera that wait for those of the other: dropped frames have no partner.
const WAITING: usize = 64;

/// What trials have in common.
#[derive(Debug, Clone)]
pub struct TrialConfig {
    /// Both devices' camera.
    pub camera: CameraKind,
    /// The network.
    pub link: LinkModel,
    /// What the path adds to the client's clock; `None`: on WiFi it is drawn per device, elsewhere there is none.
    pub asymmetry: Option<Span>,
    /// Time from the first frame to the second one.
    pub settle: Span,
}

/// Errors of one pair of frames with the same number, client minus leader. The total is the sum of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errors {
    /// How much later the client's frame was because its clock was behind the leader's.
    pub clock: Span,
    /// The difference of the frames' phases, as each device knows its own.
    pub phase: Span,
    /// What stamps and profiles do not tell of the cameras: late stamps, and exposure that is not where its lines put it.
    pub camera: Span,
    /// The difference of the middle rows' true times.
    pub total: Span,
    /// The uncertainty that the client's clock stated then, 1 sigma.
    pub clock_uncertainty: Span,
}

/// The outcome of a trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// From the start of the devices to the first frame.
    pub ready_after: Span,
    /// Errors of the first frame that began after both cameras had locked.
    pub at_once: Errors,
    /// Errors of a frame later.
    pub settled: Errors,
}

/// The path between leader and client.
fn path(config: &TrialConfig, seed: u64) -> LinkModel {
    let link = config.link.clone();
    match config.asymmetry {
        // A wired device has no radio; what is drawn is assumed for WiFi.
        None if !link.name.starts_with("wifi") => link,
        None => link.between(Floors::wifi(seed, LEADER as u64), Floors::wifi(seed, CLIENT as u64)),
        Some(asymmetry) => {
            // `Floors::asymmetry` is half of the difference.
            let slower = |asymmetry: Span| asymmetry.max(Span::ZERO) * 2;
            let client = Floors { send: slower(asymmetry), receive: slower(-asymmetry) };
            link.between(Floors::NONE, client)
        }
    }
}

/// A device's frames that have no partner yet.
type Frames = VecDeque<(FrameNumber, Exposed)>;

/// Two devices with running cameras.
struct Pair {
    rig: Rig,
    cameras: [Camera; 2],
    frames: [Frames; 2],
}

/// Runs the trial with this seed; `None` if the devices were not ready in time.
pub fn run(config: &TrialConfig, seed: u64) -> Option<Trial> {
    let mut random = SplitMix64::new(seed.wrapping_mul(0x9e6c_63d0_876a_3f6b) ^ 0x2545_f491_4f6c_dd1d);
    let mut ppm = |most: f64| most * (2.0 * random.uniform() - 1.0);
    let (of_sensor, of_clock) = config.camera.skews_ppm();
    let clocks = [ppm(of_clock), ppm(of_clock)];
    // By true time: a phone's sensor follows its clock.
    let sensors = match config.camera {
        CameraKind::Imx219 => [ppm(of_sensor), ppm(of_sensor)],
        CameraKind::Pixel3 => clocks.map(|clock| clock + ppm(of_sensor)),
    };
    let mut rig = Rig::new(path(config, seed), seed);
    let clock = |ppm: f64| format!("skew={ppm:.4}ppm,wander=0.01ppm");
    rig.add(DeviceConfig::leader(&clock(clocks[LEADER])));
    rig.add(DeviceConfig::client(&clock(clocks[CLIENT])));
    while !are_set(&rig) {
        if rig.now() - Timestamp::ZERO > TIMEOUT {
            return None;
        }
        rig.run_for(LOOK);
    }
    let now = rig.now();
    let cameras = [LEADER, CLIENT].map(|index| {
        let seed = seed.wrapping_mul(2).wrapping_add(index as u64);
        config.camera.start(seed, Skew::from_ppm(sensors[index]), now, random.uniform())
    });
    let mut pair = Pair { rig, cameras, frames: [Frames::new(), Frames::new()] };
    pair.wait_until_locked()?;
    let (ready, at_once) = pair.next_pair(pair.rig.now());
    let (_, settled) = pair.next_pair(ready + config.settle);
    Some(Trial { ready_after: ready - Timestamp::ZERO, at_once, settled })
}

/// Whether the client's clock follows the leader's.
fn are_set(rig: &Rig) -> bool {
    let quality = |index| rig.reading(index).map(|reading| reading.quality);
    quality(LEADER) == Some(SyncState::Leading) && quality(CLIENT) == Some(SyncState::Synced)
}

impl Pair {
    /// Advances to the next frame of either camera. Returns the device and the frame.
    fn next_frame(&mut self) -> (usize, Exposed) {
        let [leader, client] = self.cameras.each_ref().map(Camera::next_delivery);
        let index = if leader <= client { LEADER } else { CLIENT };
        let at = leader.min(client).max(self.rig.now());
        self.rig.run_for(at - self.rig.now());
        let rig = &self.rig;
        let clock = |at| rig.rig_time(index, at).expect("no device is switched off");
        (index, self.cameras[index].handle_frame(clock))
    }

    /// Runs until both cameras are locked; `None` if that takes too long.
    fn wait_until_locked(&mut self) -> Option<()> {
        let mut locked = [false; 2];
        while locked != [true; 2] {
            let (index, frame) = self.next_frame();
            locked[index] = frame.locked && are_set(&self.rig);
            if self.rig.now() - Timestamp::ZERO > TIMEOUT {
                return None;
            }
        }
        Some(())
    }

    /// The errors of the first pair of frames with the same number that begin after `after`, and the leader's time of it.
    fn next_pair(&mut self, after: Timestamp<Host>) -> (Timestamp<Host>, Errors) {
        self.frames = [Frames::new(), Frames::new()];
        loop {
            let (index, frame) = self.next_frame();
            if frame.start <= after {
                continue;
            }
            // By the device's own clock, as swsync numbers frames.
            let number = grid().nearest(frame.seen);
            let partner = self.frames[1 - index].iter().find(|(other, _)| *other == number).copied();
            if let Some((_, partner)) = partner {
                let (leader, client) = if index == LEADER { (frame, partner) } else { (partner, frame) };
                return (leader.start, self.errors(&leader, &client));
            }
            self.frames[index].push_back((number, frame));
            if self.frames[index].len() > WAITING {
                self.frames[index].pop_front();
            }
        }
    }

    fn errors(&self, leader: &Exposed, client: &Exposed) -> Errors {
        let by = |index, at| self.rig.rig_time(index, at).expect("no device is switched off");
        // A clock that is ahead makes the frame early.
        let clock = by(LEADER, client.start) - by(CLIENT, client.start);
        let phase = client.phase - leader.phase;
        let total = client.middle - leader.middle;
        let stated = self.rig.reading(CLIENT).and_then(|reading| reading.uncertainty);
        let clock_uncertainty = stated.expect("a client that was synced states an uncertainty");
        Errors { clock, phase, camera: total - clock - phase, total, clock_uncertainty }
    }
}
