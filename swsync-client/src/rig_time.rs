//! Rig time as the devices report it. The command needs no rig clock of its own: it names one instant for all devices, and
//! may choose that instant some milliseconds off.

use std::time::Instant;

use swsync_core::frame::FrameInfo;
use swsync_core::frame::SyncState;
use swsync_core::message::TimeScale;
use swsync_core::status::ClockStatus;
use swsync_core::status::{RigAgreement, TimedStatus};
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_rig::StatusReport;

/// Rig time as one device reported it, run on by this host's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportedRigTime {
    rig: Timestamp<Rig>,
    /// When it was read, by this host's clock.
    at: Instant,
    /// That instant may be wrong by so much.
    slack: Span,
}

impl ReportedRigTime {
    /// The best clock among `reports` on the time scale that most are on: the leader's, else the least uncertain of its
    /// followers. `None`: no device knows rig time.
    #[must_use]
    pub fn best(reports: &[StatusReport]) -> Option<Self> {
        Self::best_on(reports, common(reports).timescale())
    }

    /// As [`best`](Self::best), on `timescale`.
    #[must_use]
    pub fn best_on(reports: &[StatusReport], timescale: Option<TimeScale>) -> Option<Self> {
        let clocks = reports.iter().filter_map(|report| Some((report, report.status.clock?)));
        let clocks = clocks.filter(|(_, clock)| clock.timescale() == timescale);
        clocks
            .filter_map(|(report, clock)| Some((rank(&clock)?, report, clock)))
            .min_by_key(|(rank, _, _)| *rank)
            .map(|(_, report, clock)| Self {
                rig: clock.rig_time_ns,
                // It was read between question and answer, most likely in the middle.
                at: report.asked + (report.heard - report.asked) / 2,
                slack: Span::from(report.heard - report.asked) / 2,
            })
    }

    /// What [`at`](Self::at) may be off because of the network. The device's own clock may be off as well.
    #[must_use]
    pub const fn slack(&self) -> Span {
        self.slack
    }

    /// Rig time at `instant`.
    #[must_use]
    pub fn at(&self, instant: Instant) -> Timestamp<Rig> {
        self.rig + Span::from(instant.saturating_duration_since(self.at))
    }
}

/// A lower rank is better.
fn rank(clock: &ClockStatus) -> Option<(u8, Span)> {
    let class = match clock.quality {
        SyncState::Leading => 0,
        SyncState::Synced | SyncState::Foreign => 1,
        SyncState::Holdover => 2,
        SyncState::Acquiring => 3,
        SyncState::Unsynced => return None,
    };
    Some((class, clock.uncertainty_ns.unwrap_or(Span::MAX)))
}

/// The frame period, from the number of a frame and its instant: numbers count from the epoch. `None` for impossible numbers.
#[must_use]
pub fn period(frame: &FrameInfo) -> Option<Span> {
    let instant = (frame.rig_time_ns - Timestamp::ZERO) - frame.phase_error_ns;
    let number = i64::try_from(frame.number).ok().filter(|number| *number > 0)?;
    // Half a nanosecond of rounding.
    Some((instant + Span::from_nanos(number / 2)) / number)
}

/// What the devices that reported have in common.
#[must_use]
pub fn common<'a>(reports: impl IntoIterator<Item = &'a StatusReport>) -> RigAgreement {
    let reports: Vec<_> = reports.into_iter().collect();
    let Some(epoch) = reports.iter().map(|report| report.asked).min() else { return RigAgreement::default() };
    let statuses = reports.iter().map(|report| {
        let slack = Span::from(report.heard.saturating_duration_since(report.asked)) / 2;
        let read = Span::from(report.asked.saturating_duration_since(epoch)) + slack;
        let rig = report.status.clock.map_or(Span::ZERO, |clock| clock.rig_time_ns - Timestamp::ZERO);
        TimedStatus { status: &report.status, offset: rig - read, slack }
    });
    RigAgreement::of(&statuses.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use swsync_core::grid::FrameGrid;

    use super::*;
    use crate::testing::{frame, status};

    const RIG: i64 = 1_800_000_000_000_000_000;

    fn report(quality: SyncState, uncertainty: i64, rig: i64, begin: Instant) -> StatusReport {
        let mut status = status("a");
        let clock = status.clock.as_mut().unwrap();
        clock.quality = quality;
        clock.uncertainty_ns = Some(Span::from_micros(uncertainty));
        clock.rig_time_ns = Timestamp::from_nanos(rig);
        StatusReport { status, asked: begin, heard: begin + Duration::from_millis(10) }
    }

    #[test]
    fn the_leader_is_best_then_the_least_uncertain() {
        use SyncState::{Acquiring, Holdover, Leading, Synced, Unsynced};
        let now = Instant::now();
        let best = |clocks: &[(SyncState, i64)]| {
            let reports: Vec<_> =
                (0..).zip(clocks).map(|(n, (quality, sigma))| report(*quality, *sigma, n, now)).collect();
            ReportedRigTime::best(&reports).map(|clock| clock.rig.as_nanos())
        };
        assert_eq!(best(&[(Synced, 5), (Leading, 9), (Synced, 1)]), Some(1));
        assert_eq!(best(&[(Synced, 5), (Synced, 3), (Acquiring, 1)]), Some(1));
        assert_eq!(best(&[(Acquiring, 1), (Holdover, 50)]), Some(1));
        assert_eq!(best(&[(Unsynced, 0)]), None);
        assert_eq!(best(&[]), None);
    }

    #[test]
    fn rig_time_is_taken_as_read_half_a_round_trip_ago() {
        let begin = Instant::now();
        let clock = ReportedRigTime::best(&[report(SyncState::Leading, 1, RIG, begin)]).unwrap();
        let later = begin + Duration::from_millis(30);
        assert_eq!(clock.at(later), Timestamp::from_nanos(RIG) + Span::from_millis(25));
        assert_eq!(clock.slack(), Span::from_millis(5));
    }

    #[test]
    fn the_period_follows_from_number_and_instant() {
        for (num, den) in [(30, 1), (30_000, 1001), (120, 1), (1, 10)] {
            let grid = FrameGrid::new(num, den).unwrap();
            let number = grid.nearest(Timestamp::from_nanos(RIG));
            let newest = FrameInfo {
                number,
                rig_time_ns: grid.instant(number) + Span::from_micros(321),
                phase_error_ns: Span::from_micros(321),
                ..frame(0)
            };
            assert_eq!(period(&newest), Some(grid.period()));
        }
        assert_eq!(period(&frame(0)), None);
    }
}
