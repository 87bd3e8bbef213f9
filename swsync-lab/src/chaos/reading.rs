//! What a device says of its clock, against the truth. The device's simulated oscillator is known, so the local time that it
//! states gives the true instant, and with it how far its rig time is from true time.

use swsync_core::frame::SyncState;
use swsync_core::status::{ClockStatus, Status};
use swsync_core::time::{Host, Local, Span, Timestamp};

use super::device::RunClock;
use crate::network::Side;

/// Whose time a clock has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Whose {
    /// Id of the time scale.
    pub timescale: u64,
    /// Id of the leader.
    pub leader: u64,
}

/// The clock of one device at one instant.
#[derive(Debug, Clone)]
pub struct Reading {
    pub device: usize,
    /// The device's process: it counts from 0.
    pub run: usize,
    /// The side whose observer heard of it.
    pub side: Side,
    /// The devices that were asked together have the same.
    pub round: u64,
    /// The true instant at which the clock was read.
    pub at: Timestamp<Host>,
    /// Rig time minus true time.
    pub offset: Span,
    /// By how much rig time gains on true time, in seconds a second, without what is being slewed.
    pub rate: f64,
    /// How well the device knew rig time, as it says.
    pub sync: SyncState,
    /// Uncertainty, 1 sigma, as the device says.
    pub sigma: Span,
    /// Whose time it was, if the device says so.
    pub whose: Option<Whose>,
    /// Whether the device has frames to save.
    pub has_frames: bool,
}

impl Reading {
    /// What a device's status says, heard by the observer of `side`. `clocks` are those of the device's runs. `None`: its pipeline has no
    /// clock that knows rig time.
    pub fn of(device: usize, side: Side, round: u64, status: &Status, clocks: &[RunClock]) -> Option<Self> {
        let clock = status.clock?;
        // The two were read at the same instant.
        let local = Timestamp::from_nanos((clock.rig_time_ns - Timestamp::ZERO - clock.offset_ns).as_nanos());
        let (run, at) = instant_of(local, clocks)?;
        let crystal = clocks[run].clock.skew_at(at).as_ratio();
        Some(Self {
            device,
            run,
            side,
            round,
            at,
            offset: Span::from_nanos(clock.rig_time_ns.as_nanos().saturating_sub(at.as_nanos())),
            rate: (1.0 + clock.skew_ppm * 1e-6) * (1.0 + crystal) - 1.0,
            sync: clock.quality,
            sigma: clock.uncertainty_ns.unwrap_or(Span::ZERO),
            whose: whose(&clock),
            has_frames: status.frames.is_some(),
        })
    }

    /// Whether the device's pipeline takes the clock for rig time: exactly, or for want of a better one.
    pub const fn is_in_use(&self) -> bool {
        self.sync.knows_rig_time()
    }

    /// Whether the device leads, as it says.
    pub fn leads(&self) -> bool {
        self.sync == SyncState::Leading
    }

    /// Rig time minus true time at `instant`, shortly before or after.
    pub fn offset_at(&self, instant: Timestamp<Host>) -> Span {
        self.offset + Span::from_nanos_f64((instant - self.at).as_nanos_f64() * self.rate)
    }
}

/// Whose time a clock has.
fn whose(clock: &ClockStatus) -> Option<Whose> {
    clock.source.map(|source| Whose { timescale: source.timescale, leader: source.leader })
}

/// The run in which a device's local clock read `local`, and the true instant. The clock of a run is seconds ahead of that of the
/// run before, so by any other run's clock the instant would be before that run, or after it.
pub fn instant_of(local: Timestamp<Local>, clocks: &[RunClock]) -> Option<(usize, Timestamp<Host>)> {
    let began_later = |run: usize, at| clocks.get(run + 1).is_none_or(|next| at < next.started);
    clocks.iter().enumerate().rev().find_map(|(run, RunClock { clock, started })| {
        let at = clock.true_at(local);
        let is_past = at <= swsync_time::host_now();
        (at >= *started && is_past && began_later(run, at)).then_some((run, at))
    })
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// A synced device's clock, which was read `millis` after zero and was `offset` ahead of true time.
    pub fn reading(device: usize, millis: i64, offset: Span) -> Reading {
        Reading {
            device,
            run: 0,
            side: Side::Main,
            round: 1,
            at: Timestamp::from_nanos(millis * 1_000_000),
            offset,
            rate: 0.0,
            sync: SyncState::Synced,
            sigma: Span::from_micros(1),
            whose: Some(Whose { timescale: 1, leader: 1 }),
            has_frames: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_cli::testing::status;
    use swsync_sim::oscillator::Oscillator;

    fn runs() -> [RunClock; 2] {
        let run = |text: &str, started: i64| RunClock {
            clock: Oscillator::new(text.parse().unwrap()),
            started: Timestamp::from_nanos(started * 1_000_000_000),
        };
        [run("offset=2s,skew=40ppm", 5), run("offset=9.3s,skew=40ppm", 8)]
    }

    #[test]
    fn an_instant_belongs_to_the_run_that_it_is_within() {
        for (taken, run) in [(6, 0), (7, 0), (9, 1), (10, 1)] {
            let taken = Timestamp::from_nanos(taken * 1_000_000_000);
            let (found, at) = instant_of(runs()[run].clock.read(taken), &runs()).unwrap();
            assert_eq!(found, run);
            assert!((at - taken).abs() <= Span::from_nanos(2), "{at:?}");
        }
        assert_eq!(instant_of(Timestamp::from_nanos(1), &runs()), None);
    }

    #[test]
    fn a_status_gives_the_error_of_its_clock() {
        let mut status = status("device0");
        let at = Timestamp::from_nanos(9_000_000_000);
        let rig = Timestamp::from_nanos(1_800_000_000_000_000_000);
        let clock = status.clock.as_mut().unwrap();
        clock.rig_time_ns = rig;
        clock.offset_ns = Span::from_nanos(rig.as_nanos() - runs()[1].clock.read(at).as_nanos());
        clock.skew_ppm = -30.0;
        let reading = Reading::of(0, Side::Main, 3, &status, &runs()).unwrap();
        assert!((reading.at - at).abs() <= Span::from_nanos(2), "{reading:?}");
        assert!((reading.rate * 1e6 - 10.0).abs() < 0.01, "{reading:?}");
        let offset =
            reading.offset_at(at + Span::from_millis(100)) - (rig - Timestamp::ZERO) + Span::from_secs(9);
        assert!((offset - Span::from_micros(1)).abs() < Span::from_nanos(5), "{offset:?}");
    }
}
