//! The rig at the moment an order is given: devices, statuses and rig time; and what follows from it for an order.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use swsync_core::grid::FrameGrid;
use swsync_core::name::{DeviceId, NameError, OrderId};
use swsync_core::order::{GRACE, Order, OrderKind, Targets};
use swsync_core::rig_date::RigDate;
use swsync_core::status::Status;
use swsync_core::status::{Readiness, RigAgreement};
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_rig::{Presence, Session, StatusReplies, StatusReport};

use crate::rig_time::{self, ReportedRigTime};

/// Longest wait for the devices' statuses.
pub const STATUS_TIMEOUT: Duration = Duration::from_secs(1);
/// The frame period that is assumed if no device reports one.
pub const SLOWEST_PERIOD: Span = Span::from_millis(100);
/// Devices are asked for their answers at once if the order is settled within this time. A longer order is offered, watched,
/// and asked for at its end: a device may be out of reach for a while.
const SHORT: Duration = Duration::from_secs(10);
/// How long writing files may take after the last frame.
const WRITING: Duration = Duration::from_secs(10);
/// A stop is so far in the future that every device gets it before that frame, on WiFi too.
pub const STOP_LEAD: Span = Span::from_millis(500);

/// How long a device takes to read its host, at most: the load of its processors is measured over 200 ms.
const HOST_READING: Duration = Duration::from_millis(400);
/// A reading of a host that is older than this is taken anew.
const FRESH_HOST: Span = Span::from_secs(2);

/// Whether asking again would not help.
fn has_fresh_host(status: &Status) -> bool {
    // Devices of older versions, which do not state versions, never read their host.
    status.versions.is_none() || status.host.as_ref().is_some_and(|host| host.age_ns <= FRESH_HOST)
}

/// No device knows rig time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no device knows rig time yet, so there is no instant to name: {}", Self::REMEDY)]
pub struct NoRigTime;

impl NoRigTime {
    /// What to do about it.
    pub const REMEDY: &str = "is one of the pipelines the leader (`swsyncclock role=leader`)? `swsync status` tells what each is waiting for";
}

/// The rig at one moment: its devices, their statuses, and rig time.
#[derive(Debug, Clone)]
pub struct RigSnapshot {
    /// The statuses of the devices that answered, sorted by device.
    pub reports: Vec<StatusReport>,
    /// Devices that belong to the rig but did not answer, with the reason.
    pub missed: BTreeMap<DeviceId, String>,
    /// What the devices that answered have in common.
    pub common: RigAgreement,
    clock: Option<ReportedRigTime>,
}

impl RigSnapshot {
    /// Asks all devices now.
    #[must_use]
    pub fn take(session: &Session) -> Self {
        let mut presence = session.presence(STATUS_TIMEOUT);
        let StatusReplies { reports, unreadable } = session.status_replies(STATUS_TIMEOUT);
        presence.missed.extend(unreadable);
        Self::of(presence, reports)
    }

    /// As [`take`](Self::take), with the devices' hosts: devices read these only while somebody asks, so whoever comes first asks
    /// twice.
    #[must_use]
    pub fn take_with_hosts(session: &Session) -> Self {
        let first = Self::take(session);
        // What devices differ in may be gone the next time: two rigs that meet through this session become one.
        let is_told = !first.common.disagreements().is_empty();
        if is_told || first.reports.iter().all(|report| has_fresh_host(&report.status)) {
            return first;
        }
        std::thread::sleep(HOST_READING);
        Self::take(session)
    }

    /// From what the devices said.
    #[must_use]
    pub fn of(presence: Presence, reports: Vec<StatusReport>) -> Self {
        let mut missed = presence.missed;
        // Those that answered are taken out below.
        for device in presence.here {
            missed.entry(device).or_insert_with(|| "does not say how it is".to_owned());
        }
        missed.retain(|device, _| !reports.iter().any(|report| report.status.device == *device));
        let common = rig_time::common(&reports);
        let clock = ReportedRigTime::best(&reports);
        Self { reports, missed, common, clock }
    }

    /// Fails if no device knows rig time.
    ///
    /// # Errors
    /// [`NoRigTime`].
    pub fn require_time(self) -> Result<Self, NoRigTime> {
        if self.clock.is_some() { Ok(self) } else { Err(NoRigTime) }
    }

    /// Rig time now, if any device knows it.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp<Rig>> {
        Some(self.clock?.at(Instant::now()))
    }

    /// What [`time`](Self::time) may be off because the device that told it is some way off.
    #[must_use]
    pub fn time_slack(&self) -> Option<Span> {
        Some(self.clock?.slack())
    }

    /// What date the time scale of most devices stands for, if any of them has been told.
    #[must_use]
    pub fn date(&self) -> Option<&RigDate> {
        let timescale = self.common.timescale()?;
        let all = self.reports.iter().filter_map(|report| report.status.date.as_ref());
        all.filter(|date| date.timescale == timescale && date.check().is_ok())
            .max_by_key(|date| date.rig_time_ns)
    }

    /// Rig time now. Call it only after [`require_time`](Self::require_time) or [`time`](Self::time) succeeded.
    #[must_use]
    pub fn now(&self) -> Timestamp<Rig> {
        self.time().expect("checked before an order is made")
    }

    /// The instant on this host's clock when rig time was `at`; now, if `at` is in the future.
    #[must_use]
    pub fn when(&self, at: Timestamp<Rig>) -> Instant {
        let now = Instant::now();
        now.checked_sub((self.now() - at).to_duration()).unwrap_or(now)
    }

    /// All known devices of the rig.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceId> {
        self.reports.iter().map(|report| &report.status.device).chain(self.missed.keys())
    }

    /// The frame period of the slowest camera.
    #[must_use]
    pub fn longest_period(&self) -> Span {
        let periods = self.rates().map(FrameGrid::period);
        periods.max().unwrap_or(SLOWEST_PERIOD)
    }

    /// Whether all frames of `order` come within ten seconds, so that devices are asked for their answers at once. A longer order,
    /// and every take, can be stopped.
    #[must_use]
    pub fn is_short(&self, order: &Order) -> bool {
        let left = self.settled(order).map(|settled| (settled - self.now_for(order)).to_duration());
        !matches!(order.kind(), OrderKind::Take { .. }) && left.is_some_and(|left| left < SHORT)
    }

    /// The instant by which all frames of `order` have arrived at their devices.
    #[must_use]
    pub fn settled(&self, order: &Order) -> Option<Timestamp<Rig>> {
        let frames = self.reports.iter().filter_map(|report| report.status.frames.as_ref());
        let latency = frames.map(|frames| frames.latency_ns).max().unwrap_or_default();
        order.settled_at(self.longest_period(), latency)
    }

    fn rates(&self) -> impl Iterator<Item = FrameGrid> {
        self.reports.iter().filter_map(|report| report.status.frames.as_ref().map(|frames| frames.rate))
    }

    /// The frame instant of the slowest camera nearest to `at`. Cameras of other rates have a frame there too if any instant
    /// is common to all, so that all begin and end together.
    #[must_use]
    pub fn snap_to_grid(&self, at: Timestamp<Rig>) -> Timestamp<Rig> {
        let slowest = self.rates().max_by_key(|rate| rate.period());
        slowest.map_or(at, |rate| rate.instant(rate.nearest(at)))
    }

    /// The reasons why the device with `status` is not ready, or does not fit the other devices.
    #[must_use]
    pub fn objections(&self, status: &Status) -> Vec<String> {
        let mut problems = Readiness::judge(status, None).problems;
        problems.extend(self.common.objections(status));
        problems
    }

    /// What the `targets` have in common.
    #[must_use]
    pub fn common_of(&self, targets: &Targets) -> RigAgreement {
        rig_time::common(self.reports.iter().filter(|report| targets.include(&report.status.device)))
    }

    /// Rig time now on the time scale of `order`, if a device that is on it answered; else that of most devices.
    #[must_use]
    pub fn now_for(&self, order: &Order) -> Timestamp<Rig> {
        let named = order.timescale().and_then(|own| ReportedRigTime::best_on(&self.reports, Some(own)));
        named.map_or_else(|| self.now(), |clock| clock.at(Instant::now()))
    }

    /// Whether the `targets` are on one time scale and take frames at one rate.
    #[must_use]
    pub fn is_alike(&self, targets: &Targets) -> bool {
        let meant = self.reports.iter().filter(|report| targets.include(&report.status.device));
        meant.map(|report| &report.status).all(|status| self.common.objections(status).is_empty())
    }
}

/// `<kind>-<UTC date>-<time>-<random>`, so that ids sort by the time of the pictures.
///
/// # Errors
/// [`NameError`]: `kind` has characters that no name has, or is too long.
pub fn default_id(kind: &str, at: Timestamp<Rig>, random: u16) -> Result<OrderId, NameError> {
    let time = jiff::Timestamp::from_nanosecond(at.as_nanos().into()).unwrap_or(jiff::Timestamp::MAX);
    OrderId::new(format!("{kind}-{}-{random:04x}", time.strftime("%Y%m%d-%H%M%S")))
}

/// How long to wait for answers: until all frames have arrived, or are known not to come, and are written.
#[must_use]
pub fn timeout(order: &Order, now: Timestamp<Rig>, settled: Option<Timestamp<Rig>>) -> Duration {
    let settled = settled.unwrap_or(order.at()) - now;
    settled.max(GRACE).to_duration() + WRITING
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{name, status};

    const NOW: Timestamp<Rig> = Timestamp::from_nanos(1_800_000_000_000_000_000);

    #[test]
    fn ids_sort_by_time_and_differ() {
        assert_eq!(default_id("shot", NOW, 0xbeef).unwrap().as_str(), "shot-20270115-080000-beef");
        assert_eq!(default_id("take", Timestamp::ZERO, 7).unwrap().as_str(), "take-19700101-000000-0007");
    }

    #[test]
    fn the_timeout_covers_instant_frames_and_writing() {
        let period = Span::from_millis(100);
        let order = |at, count| Order::burst(name("o1"), at, count).unwrap();
        let in_5_s = order(NOW + Span::from_secs(5), 30);
        assert_eq!(
            timeout(&in_5_s, NOW, in_5_s.settled_at(period, Span::ZERO)),
            Duration::from_secs(5 + 3 + 2 + 10)
        );
        let long_ago = order(NOW - Span::from_secs(3600), 1);
        assert_eq!(timeout(&long_ago, NOW, long_ago.settled_at(period, Span::ZERO)), Duration::from_secs(12));
    }

    #[test]
    fn instants_are_snapped_to_the_slowest_camera() {
        let now = Instant::now();
        let report = |rate| {
            let mut status = status("a");
            status.frames.as_mut().unwrap().rate = FrameGrid::new(rate, 1).unwrap();
            StatusReport { status, asked: now, heard: now }
        };
        let reports = vec![report(60), report(30)];
        let snapshot = RigSnapshot::of(Presence::default(), reports);
        assert_eq!(snapshot.longest_period(), Span::from_nanos(33_333_333));
        assert_eq!(snapshot.snap_to_grid(NOW + Span::from_millis(18)), NOW + Span::from_nanos(33_333_333));
    }

    #[test]
    fn an_order_is_stopped_in_its_own_time() {
        use swsync_core::message::TimeScale;
        use swsync_core::status::TimeSource;
        let (hour, asked) = (Span::from_secs(3_600), Instant::now());
        let report = |device: &str, timescale, rig_time_ns| {
            let mut status = status(device);
            let source = TimeSource { stratum: 1, leader: 1, timescale, least_delay_ns: Span::ZERO };
            let clock = status.clock.as_mut().unwrap();
            (clock.source, clock.rig_time_ns) = (Some(source), rig_time_ns);
            StatusReport { status, asked, heard: asked }
        };
        let reports = vec![report("a", 7, NOW), report("b", 7, NOW), report("c", 8, NOW - hour)];
        let snapshot = RigSnapshot::of(Presence::default(), reports);
        let now_for = |timescale: Option<u64>| {
            let order = Order::still(name("o"), NOW).unwrap().on_timescale(timescale.map(TimeScale));
            snapshot.now_for(&order)
        };
        let near = |at: Timestamp<Rig>, expected: Timestamp<Rig>| (at - expected).abs() < Span::from_secs(60);
        assert!(near(now_for(Some(8)), NOW - hour), "two devices of three are on the other one");
        assert!([Some(7), Some(9), None].into_iter().all(|timescale| near(now_for(timescale), NOW)));
    }
}
