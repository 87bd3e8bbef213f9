//! Whether a device is ready to serve an order, and what stands in the way.

use serde::{Deserialize, Serialize};

use super::Status;
use crate::frame::{LockState, SyncState};
use crate::name::DeviceId;
use crate::order::{Order, OrderKind};
use crate::time::{Rig, Span, Timestamp};

/// Largest uncertainty (1 sigma) of a clock that is ready. Chosen: as long as a hundred rows of a rolling shutter take, and
/// ten times what WiFi gives.
pub const MAX_UNCERTAINTY: Span = crate::time_service::MAX_KNOWN_ERROR;

/// A camera that has given no frame for longer than this is not ready.
pub const MAX_SILENCE: Span = Span::from_secs(1);

/// Recording time that must fit on the disk for an order that does not state its length.
pub const MIN_RECORDING: Span = Span::from_secs(60);

/// How many devices must be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quorum {
    /// All that the order is for.
    All,
    /// At least so many.
    AtLeast(usize),
}

impl std::str::FromStr for Quorum {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "all" => Ok(Self::All),
            Ok(count @ 1..) => Ok(Self::AtLeast(count)),
            _ => Err(format!("{text:?} is not a number of devices: write all, or 1 or more")),
        }
    }
}

impl Quorum {
    /// Whether `ready` devices of `all` are enough.
    #[must_use]
    pub const fn is_met(self, ready: usize, all: usize) -> bool {
        match self {
            Self::All => ready == all && all > 0,
            Self::AtLeast(count) => ready >= count,
        }
    }
}

/// The judgement of a device: ready if it has no problems. A value that is not known is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Readiness {
    /// The device.
    pub device: DeviceId,
    /// Whether its camera is on the grid.
    pub lock: Option<LockState>,
    /// How well it knows rig time.
    pub sync: Option<SyncState>,
    /// Uncertainty of its clock, 1 sigma.
    pub clock_uncertainty_ns: Option<Span>,
    /// Phase error of its newest frame.
    pub phase_error_ns: Option<Span>,
    /// How far back its ring reaches.
    pub ring_ns: Option<Span>,
    /// Recording time until its disk is full, at the data rate of the frames in its ring.
    pub disk_ns: Option<Span>,
    /// Free share of the queue to the writer, 0 to 1.
    pub headroom: Option<f64>,
    /// What stands in the way, as text for the operator. Empty: it is ready.
    pub problems: Vec<String>,
}

impl Readiness {
    /// A device that gave no status, because of `why`.
    #[must_use]
    pub fn unknown(device: DeviceId, why: impl Into<String>) -> Self {
        Self { problems: vec![why.into()], ..Self::empty(device) }
    }

    /// Judges the device with `status`: for this order, seen at this rig time, or with `None` for any order that may come
    /// now.
    ///
    /// It judges one device alone; [`RigAgreement`](super::RigAgreement) compares it with the others.
    #[must_use]
    pub fn judge(status: &Status, order: Option<(&Order, Timestamp<Rig>)>) -> Self {
        let mut ready = Self { problems: status.problems.clone(), ..Self::empty(status.device.clone()) };
        ready.judge_clock(status);
        ready.judge_camera(status);
        ready.judge_ring(status, order);
        ready.judge_disk(status, order.map(|(order, _)| order));
        ready
    }

    const fn empty(device: DeviceId) -> Self {
        Self {
            device,
            lock: None,
            sync: None,
            clock_uncertainty_ns: None,
            phase_error_ns: None,
            ring_ns: None,
            disk_ns: None,
            headroom: None,
            problems: Vec::new(),
        }
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

    fn judge_ring(&mut self, status: &Status, order: Option<(&Order, Timestamp<Rig>)>) {
        let Some(frames) = &status.frames else { return };
        let oldest = frames.rate.instant(frames.oldest);
        self.ring_ns = Some(frames.newest.rig_time_ns - oldest);
        if let Some((order, now)) = order
            && frames.rate.nearest(order.at()) < frames.oldest
        {
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
        let Some(room) = storage.recording_left(frames.bytes_per_second) else {
            if storage.free_bytes == 0 {
                self.problems.push("its disk is full".into());
            }
            return;
        };
        self.disk_ns = Some(room);
        let needed =
            order.map_or(MIN_RECORDING, |order| needed(order, frames.rate.period(), storage.max_files));
        if room < needed {
            let (room, needed) = (room.as_secs_f64(), needed.as_secs_f64());
            self.problems.push(format!(
                "its disk has room for {room:.0} s of recording, and {needed:.0} s are needed"
            ));
        }
    }
}

/// Recording time of `order` that must fit on the disk, on a grid of `period`, if `max_files` files of it are kept.
fn needed(order: &Order, period: Span, max_files: Option<u32>) -> Span {
    let all = needed_for_all_files(order, period);
    match (order.kind(), max_files) {
        // One more file is being written.
        (OrderKind::Take { segment: Some(segment), .. }, Some(max)) => {
            all.min(segment * (i64::from(max) + 1))
        }
        (OrderKind::Still { .. } | OrderKind::Take { .. } | OrderKind::Burst { .. }, _) => all,
    }
}

fn needed_for_all_files(order: &Order, period: Span) -> Span {
    match (order.kind(), order.ends_at(period)) {
        (OrderKind::Still { count: Some(count), .. }, _) => period * i64::from(count),
        (OrderKind::Take { .. } | OrderKind::Burst { .. }, Some(end)) => end - order.at(),
        (OrderKind::Still { .. } | OrderKind::Take { .. } | OrderKind::Burst { .. }, _) => MIN_RECORDING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::testing::name;
    use crate::status::StorageStatus;
    use crate::status::testing::status;

    /// Frames of the last five seconds are in the ring, and 100 s fit on the disk.
    fn good() -> Status {
        let mut status = status("pi", Some(7), 30);
        let clock = status.clock.as_mut().unwrap();
        clock.rig_time_ns += Span::from_millis(40);
        clock.uncertainty_ns = Some(Span::from_micros(20));
        let frames = status.frames.as_mut().unwrap();
        (frames.bytes_per_second, frames.oldest) = (3_000_000, 54_000_000_000 - 149);
        status.storage = Some(StorageStatus {
            free_bytes: 300_000_000,
            queued_bytes: 0,
            queue_limit_bytes: 1_000,
            max_files: None,
        });
        status
    }

    const NOW: Timestamp<Rig> = Timestamp::from_nanos(1_800_000_000_040_000_000);

    fn take(at: Span, length: Option<Span>) -> Order {
        let kind = OrderKind::Take { segment: None, fill: Default::default() };
        Order::new(name("o"), NOW + at, length.map(|length| NOW + at + length), kind).unwrap()
    }

    fn problems(change: impl Fn(&mut Status), order: &Order) -> Vec<String> {
        let mut status = good();
        change(&mut status);
        Readiness::judge(&status, Some((order, NOW))).problems
    }

    #[test]
    fn a_good_device_is_ready() {
        let order = take(Span::from_secs(1), Some(Span::from_secs(90)));
        let ready = Readiness::judge(&good(), Some((&order, NOW)));
        assert!(ready.is_ready(), "{ready:?}");
        assert_eq!((ready.disk_ns, ready.headroom), (Some(Span::from_secs(100)), Some(1.0)));
        assert_eq!(ready.ring_ns.unwrap().as_secs_f64().round(), 5.0);
    }

    #[test]
    fn each_problem_is_named() {
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
    fn a_loop_recording_needs_room_for_the_files_that_it_keeps() {
        let kind = OrderKind::Take { segment: Some(Span::from_secs(30)), fill: Default::default() };
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
    fn a_quorum_is_all_devices_or_a_number() {
        assert_eq!("all".parse(), Ok(Quorum::All));
        assert_eq!("3".parse(), Ok(Quorum::AtLeast(3)));
        assert!("0".parse::<Quorum>().is_err() && "some".parse::<Quorum>().is_err());
        assert!(Quorum::All.is_met(5, 5) && !Quorum::All.is_met(4, 5) && !Quorum::All.is_met(0, 0));
        assert!(Quorum::AtLeast(4).is_met(4, 5) && !Quorum::AtLeast(4).is_met(3, 5));
    }
}
