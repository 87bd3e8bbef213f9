//! Arm, ready, go: whether a device would serve an order well, and what stands in the way.

use serde::{Deserialize, Serialize};

use super::{Kind, Order};
use crate::control::{FrameStatus, Status};
use crate::frame::{LockState, SyncState};
use crate::name::DeviceId;
use crate::time::{Rig, Span, Timestamp};

/// A clock that may be off by more than this (1 sigma) is not ready: a hundred rows of a rolling shutter, and ten
/// times what WiFi does.
pub const MAX_UNCERTAINTY: Span = crate::time_service::MAX_KNOWN_ERROR;

/// A camera that has given no frame for so long is not ready.
pub const MAX_SILENCE: Span = Span::from_secs(1);

/// Room for so much recording is asked for where an order does not say how long it is.
pub const LEAST_RECORDING: Span = Span::from_secs(60);

/// Which devices must be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// All that the order is for.
    All,
    /// So many at least.
    AtLeast(usize),
}

impl std::str::FromStr for Need {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "all" => Ok(Self::All),
            Ok(count @ 1..) => Ok(Self::AtLeast(count)),
            _ => Err(format!("{text:?} is no number of devices: write all, or 1 or more")),
        }
    }
}

impl Need {
    /// Whether it is met by `ready` devices of `all`.
    #[must_use]
    pub const fn is_met(self, ready: usize, all: usize) -> bool {
        match self {
            Self::All => ready == all && all > 0,
            Self::AtLeast(count) => ready >= count,
        }
    }
}

/// How ready a device is for an order. What is not known is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Readiness {
    /// The device.
    pub device: DeviceId,
    /// Whether its camera is on the grid.
    pub lock: Option<LockState>,
    /// How well it knows rig time.
    pub sync: Option<SyncState>,
    /// What the error of its clock may be, 1 sigma.
    pub clock_uncertainty_ns: Option<Span>,
    /// Its newest frame's time minus the grid instant.
    pub phase_error_ns: Option<Span>,
    /// How far back its ring reaches.
    pub ring_ns: Option<Span>,
    /// How long it can record until its disk is full, at the rate of the frames in its ring.
    pub disk_ns: Option<Span>,
    /// How much of what may wait for the writer is free, 0 to 1.
    pub headroom: Option<f64>,
    /// What stands in the way, for a person. Empty: it is ready.
    pub problems: Vec<String>,
}

impl Readiness {
    /// Of a device that gave no status, because of `why`.
    #[must_use]
    pub fn unknown(device: DeviceId, why: impl Into<String>) -> Self {
        Self {
            device,
            lock: None,
            sync: None,
            clock_uncertainty_ns: None,
            phase_error_ns: None,
            ring_ns: None,
            disk_ns: None,
            headroom: None,
            problems: vec![why.into()],
        }
    }

    /// Of the device with `status`, for `order`, at `now`.
    #[must_use]
    pub fn of(status: &Status, order: &Order, now: Timestamp<Rig>) -> Self {
        let mut ready = Self::begun(status);
        ready.judge_ring(status, order, now);
        ready.judge_disk(status, Some(order));
        ready
    }

    /// Of the device with `status`, for any order that might come now.
    #[must_use]
    pub fn now(status: &Status) -> Self {
        let mut ready = Self::begun(status);
        ready.ring_ns = status.frames.as_ref().map(held);
        ready.judge_disk(status, None);
        ready
    }

    fn begun(status: &Status) -> Self {
        let mut ready = Self::unknown(status.device.clone(), "");
        ready.problems.clone_from(&status.problems);
        ready.judge_clock(status);
        ready.judge_camera(status);
        ready
    }

    /// Whether nothing stands in the way.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.problems.is_empty()
    }

    fn judge_clock(&mut self, status: &Status) {
        let Some(clock) = status.clock else {
            self.problems.push("it has no clock yet".into());
            return;
        };
        self.sync = Some(clock.quality);
        self.clock_uncertainty_ns = clock.uncertainty_ns;
        match clock.quality {
            SyncState::Synced | SyncState::Leading | SyncState::Foreign => {}
            SyncState::Unsynced | SyncState::Acquiring | SyncState::Holdover => {
                self.problems.push(format!("its clock is {}", clock.quality.as_str()));
            }
        }
        if let Some(uncertainty) = clock.uncertainty_ns.filter(|uncertainty| *uncertainty > MAX_UNCERTAINTY) {
            let millis = uncertainty.as_secs_f64() * 1e3;
            self.problems.push(format!("its clock may be off by {millis:.1} ms (1 sigma)"));
        }
    }

    fn judge_camera(&mut self, status: &Status) {
        let Some(frames) = &status.frames else {
            self.problems.push("it has no frames yet".into());
            return;
        };
        let newest = &frames.newest;
        self.lock = newest.lock;
        self.phase_error_ns = Some(newest.phase_error_ns);
        match newest.lock {
            Some(LockState::Locked) => {}
            Some(lock) => self.problems.push(format!("its camera is {}", lock.as_str())),
            None => self.problems.push("whether its camera is on the grid is not known".into()),
        }
        let silent = status.clock.map(|clock| clock.rig_time_ns - newest.rig_time_ns);
        if let Some(silent) =
            silent.filter(|silent| *silent > MAX_SILENCE + frames.latency_ns.max(frames.rate.period()))
        {
            self.problems.push(format!("its last frame came {:.1} s ago", silent.as_secs_f64()));
        }
    }

    fn judge_ring(&mut self, status: &Status, order: &Order, now: Timestamp<Rig>) {
        let Some(frames) = &status.frames else { return };
        let oldest = frames.rate.instant(frames.oldest);
        self.ring_ns = Some(held(frames));
        if frames.rate.nearest(order.at()) < frames.oldest {
            let reach = (now - oldest).as_secs_f64();
            let asked = (now - order.at()).as_secs_f64();
            self.problems.push(format!("its ring reaches back {reach:.1} s, and {asked:.1} s are asked for"));
        }
    }

    fn judge_disk(&mut self, status: &Status, order: Option<&Order>) {
        let (Some(storage), Some(frames)) = (&status.storage, &status.frames) else { return };
        let limit = Span::from_nanos(i64::try_from(storage.queue_limit_bytes.max(1)).unwrap_or(i64::MAX));
        let queued = Span::from_nanos(i64::try_from(storage.queued_bytes).unwrap_or(i64::MAX));
        let headroom = (1.0 - queued.as_nanos_f64() / limit.as_nanos_f64()).max(0.0);
        self.headroom = Some(headroom);
        if headroom < 0.5 {
            self.problems
                .push(format!("its disk is behind: {} bytes wait to be written", storage.queued_bytes));
        }
        if frames.bytes_per_second == 0 {
            if storage.free_bytes == 0 {
                self.problems.push("its disk is full".into());
            }
            return;
        }
        let seconds = storage.free_bytes / frames.bytes_per_second;
        let room = Span::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        self.disk_ns = Some(room);
        let needed =
            order.map_or(LEAST_RECORDING, |order| needed(order, frames.rate.period(), storage.max_files));
        if room < needed {
            let (room, needed) = (room.as_secs_f64(), needed.as_secs_f64());
            self.problems.push(format!(
                "its disk has room for {room:.0} s of recording, and {needed:.0} s are needed"
            ));
        }
    }
}

/// How far back the ring reaches.
fn held(frames: &FrameStatus) -> Span {
    frames.newest.rig_time_ns - frames.rate.instant(frames.oldest)
}

/// How much recording an order may come to at a time, on a grid of `period`, where `max_files` of it are kept.
fn needed(order: &Order, period: Span, max_files: Option<u32>) -> Span {
    let all = needed_for_all(order, period);
    match (order.kind(), max_files) {
        // One more is being written.
        (Kind::Take { segment: Some(segment), .. }, Some(max)) => all.min(segment * (i64::from(max) + 1)),
        (Kind::Still { .. } | Kind::Take { .. } | Kind::Burst { .. }, _) => all,
    }
}

fn needed_for_all(order: &Order, period: Span) -> Span {
    match (order.kind(), order.ends_at(period)) {
        (Kind::Still { count: Some(count), .. }, _) => period * i64::from(count),
        (Kind::Take { .. } | Kind::Burst { .. }, Some(end)) => end - order.at(),
        (Kind::Still { .. } | Kind::Take { .. } | Kind::Burst { .. }, _) => LEAST_RECORDING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{ClockStatus, StorageStatus};
    use crate::grid::FrameGrid;
    use crate::name::Name;
    use crate::order::testing::info;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn status() -> Status {
        let rate = FrameGrid::new(30, 1).unwrap();
        let newest = info(54_000_000_000);
        Status {
            device: name("pi"),
            software: "test".into(),
            clock: Some(ClockStatus {
                quality: SyncState::Synced,
                rig_time_ns: newest.rig_time_ns + Span::from_millis(40),
                offset_ns: Span::ZERO,
                uncertainty_ns: Some(Span::from_micros(20)),
                skew_ppm: 0.0,
                round_trip_ns: None,
                source: None,
            }),
            frames: Some(FrameStatus {
                newest,
                rate,
                bytes_per_second: 3_000_000,
                ring_frames: 150,
                ring_bytes: 15_000_000,
                oldest: 54_000_000_000 - 149,
                latency_ns: Span::ZERO,
            }),
            storage: Some(StorageStatus {
                free_bytes: 300_000_000,
                queued_bytes: 0,
                queue_limit_bytes: 1_000,
                max_files: None,
            }),
            open: Vec::new(),
            saved: 0,
            missed: 0,
            problems: Vec::new(),
            refused: Vec::new(),
        }
    }

    const NOW: Timestamp<Rig> = Timestamp::from_nanos(1_800_000_000_040_000_000);

    fn take(at: Span, length: Option<Span>) -> Order {
        let kind = Kind::Take { segment: None, fill: Default::default() };
        Order::new(name("o"), NOW + at, length.map(|length| NOW + at + length), kind).unwrap()
    }

    fn problems(change: impl Fn(&mut Status), order: &Order) -> Vec<String> {
        let mut status = status();
        change(&mut status);
        Readiness::of(&status, order, NOW).problems
    }

    #[test]
    fn a_good_device_is_ready_and_says_its_figures() {
        let ready = Readiness::of(&status(), &take(Span::from_secs(1), Some(Span::from_secs(90))), NOW);
        assert!(ready.is_ready(), "{ready:?}");
        assert_eq!((ready.disk_ns, ready.headroom), (Some(Span::from_secs(100)), Some(1.0)));
        assert_eq!(ready.ring_ns.unwrap().as_secs_f64().round(), 5.0);
    }

    #[test]
    fn what_stands_in_the_way_is_named() {
        let soon = take(Span::from_secs(1), None);
        let of = |change: fn(&mut Status)| problems(change, &soon).join("; ");
        assert_eq!(of(|s| s.clock = None), "it has no clock yet");
        assert_eq!(of(|s| s.frames = None), "it has no frames yet");
        assert_eq!(of(|s| s.clock.as_mut().unwrap().quality = SyncState::Holdover), "its clock is holdover");
        assert!(
            of(|s| s.clock.as_mut().unwrap().uncertainty_ns = Some(Span::from_millis(3))).contains("3.0 ms")
        );
        assert_eq!(
            of(|s| s.frames.as_mut().unwrap().newest.lock = Some(LockState::Free)),
            "its camera is free"
        );
        assert!(of(|s| s.clock.as_mut().unwrap().rig_time_ns += Span::from_secs(4)).contains("4.0 s ago"));
        assert!(of(|s| s.storage.as_mut().unwrap().free_bytes = 90_000_000).contains("30 s of recording"));
        assert!(of(|s| s.storage.as_mut().unwrap().queued_bytes = 800).contains("behind"));
        assert_eq!(of(|s| s.problems.push("the stick is gone".into())), "the stick is gone");
        let past = problems(|_| (), &take(Span::from_secs(-10), Some(Span::from_secs(10))));
        assert_eq!(past, ["its ring reaches back 5.0 s, and 10.0 s are asked for"]);
        let long = problems(|_| (), &take(Span::ZERO, Some(Span::from_secs(600))));
        assert_eq!(long, ["its disk has room for 100 s of recording, and 600 s are needed"]);
    }

    #[test]
    fn a_loop_needs_room_for_the_files_that_are_kept() {
        let kind = Kind::Take { segment: Some(Span::from_secs(30)), fill: Default::default() };
        let hour = NOW + Span::from_secs(3_600);
        let order = Order::new(name("o"), NOW, Some(hour), kind).unwrap();
        let of = |max_files| {
            problems(move |status| status.storage.as_mut().unwrap().max_files = max_files, &order).join("; ")
        };
        assert_eq!(of(Some(2)), "");
        assert_eq!(of(Some(3)), "its disk has room for 100 s of recording, and 120 s are needed");
        assert!(of(None).contains("3600 s are needed"));
    }

    #[test]
    fn a_quorum_is_all_or_so_many() {
        assert_eq!("all".parse(), Ok(Need::All));
        assert_eq!("3".parse(), Ok(Need::AtLeast(3)));
        assert!("0".parse::<Need>().is_err() && "some".parse::<Need>().is_err());
        assert!(Need::All.is_met(5, 5) && !Need::All.is_met(4, 5) && !Need::All.is_met(0, 0));
        assert!(Need::AtLeast(4).is_met(4, 5) && !Need::AtLeast(4).is_met(3, 5));
    }
}
