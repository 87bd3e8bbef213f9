//! Alignment by restarting the camera until its phase is right (the paper, sec. V.A): for cameras without any control.
//!
//! A camera takes 600 to 800 ms to start, so its phase is random. To make the distribution even, the camera stays stopped for a
//! random time of up to a second. Each attempt is within the tolerance with probability `2 tolerance / T`. (The paper has ε/T,
//! because its ε is the whole width of the window.)

use super::config::AlignerTarget;
use super::filter::{PhaseFilter, StampVerdict};
use crate::frame::LockState;
use crate::grid::FrameGrid;
use crate::time::{Rig, Span, Timestamp};

/// Longest time for which the camera stays stopped: N of eq. 2.
pub const LONGEST_SLEEP: Span = Span::from_secs(1);
/// Duration of one attempt: half a second of sleep, 0.7 s to start, and a frame (the paper's 1.23 s).
pub const ATTEMPT: Span = Span::from_millis(1_230);
/// Number of stamps that determine the phase.
const FRAMES: u32 = 3;
/// Factor on the tolerance for keeping the alignment.
const HYSTERESIS: i64 = 2;

/// The settings of [`Reset`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResetConfig {
    /// The frame grid.
    pub grid: FrameGrid,
    /// Intended delay of frames after the grid's instants.
    pub phase_offset: Span,
    /// Largest phase error of an aligned frame.
    pub tolerance: Span,
}

impl ResetConfig {
    /// Probability that one attempt is within the tolerance.
    #[must_use]
    pub fn chance(&self) -> f64 {
        let share = 2.0 * self.tolerance.as_nanos_f64() / self.grid.period_ns();
        share.clamp(0.0, 1.0)
    }

    /// Number of attempts that suffice with probability `confidence`: eq. 3, log(1 - confidence) / log(1 - chance).
    #[must_use]
    pub fn attempts(&self, confidence: f64) -> f64 {
        let chance = self.chance();
        if chance >= 1.0 {
            return 1.0;
        }
        ((1.0 - confidence).ln() / (-chance).ln_1p()).ceil().max(1.0)
    }

    /// Time that suffices with probability `confidence`.
    #[must_use]
    pub fn predicted(&self, confidence: f64) -> Span {
        ATTEMPT.mul_f64(self.attempts(confidence))
    }
}

/// The report on a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResetReport {
    /// The frame's phase error, filtered.
    pub phase_error: Span,
    /// Error of `phase_error`, 1 sigma, from the stamps alone, without the clock's uncertainty.
    pub uncertainty: Span,
    /// The camera's lock state.
    pub lock: LockState,
    /// Stop the camera, leave it stopped for this time, start it again and call [`Reset::handle_restarted`].
    pub restart_after: Option<Span>,
    /// Number of restarts so far.
    pub restarts: u32,
    /// How often the camera has locked.
    pub lock_count: u32,
}

/// Restarts a camera until its phase is right.
#[derive(Debug)]
pub struct Reset {
    config: ResetConfig,
    filter: PhaseFilter,
    sequence: Option<u64>,
    seen: u32,
    restarts: u32,
    aligned: bool,
    was_aligned: bool,
    holdover: bool,
    lock_count: u32,
}

impl Reset {
    /// A new one, before the first frame.
    #[must_use]
    pub fn new(config: ResetConfig) -> Self {
        Self {
            filter: PhaseFilter::new(config.grid.period_ns()),
            config,
            sequence: None,
            seen: 0,
            restarts: 0,
            aligned: false,
            was_aligned: false,
            holdover: false,
            lock_count: 0,
        }
    }

    /// Whether the clock is in holdover: a lock then counts as coasting.
    pub const fn set_holdover(&mut self, holdover: bool) {
        self.holdover = holdover;
    }

    /// From the next frame on, a frame's time means another instant, later by `by`.
    pub fn displace(&mut self, by: Span) {
        self.filter.displace(by.as_nanos_f64());
    }

    /// Changes phase offset and tolerance from the next frame on.
    pub fn set_target(&mut self, target: AlignerTarget) {
        self.displace(self.config.phase_offset - target.phase_offset);
        (self.config.phase_offset, self.config.tolerance) = (target.phase_offset, target.tolerance);
    }

    /// The camera has been restarted.
    pub const fn handle_restarted(&mut self) {
        (self.sequence, self.seen, self.aligned) = (None, 0, false);
    }

    /// A frame has arrived; `sequence` is the driver's count, `time` the frame's time. `random` is a new uniform number in 0..1 for
    /// every frame; it determines how long the camera stays stopped.
    pub fn handle_frame(&mut self, sequence: u64, time: Timestamp<Rig>, random: f64) -> ResetReport {
        let observed = self.config.grid.phase_error(time - self.config.phase_offset).as_nanos_f64();
        match self.sequence.replace(sequence) {
            Some(before) if before < sequence => {
                self.filter.advance(0.0, f64::from(u32::try_from(sequence - before).unwrap_or(u32::MAX)));
                match self.filter.observe(observed, 2) {
                    StampVerdict::Used => self.seen = self.seen.saturating_add(1),
                    StampVerdict::Late { .. } => {}
                    StampVerdict::Restarted { .. } => self.seen = 2,
                }
            }
            _ => {
                self.filter.restart(observed);
                self.seen = 1;
            }
        }
        let error = Span::from_nanos_f64(self.filter.phase()).abs();
        let mut restart_after = None;
        if self.seen >= FRAMES {
            let bound = if self.aligned { self.config.tolerance * HYSTERESIS } else { self.config.tolerance };
            let aligned = error <= bound;
            self.lock_count = self.lock_count.saturating_add(u32::from(aligned && !self.aligned));
            self.aligned = aligned;
            self.was_aligned |= self.aligned;
            if !self.aligned {
                restart_after = Some(LONGEST_SLEEP.mul_f64(random.clamp(0.0, 1.0)));
                self.restarts = self.restarts.saturating_add(1);
                self.seen = 0; // frames that are still in flight must not cause another restart
            }
        }
        let lock = match (self.aligned, self.was_aligned) {
            (true, _) if self.holdover => LockState::Coasting,
            (true, _) => LockState::Locked,
            (false, true) => LockState::Lost,
            (false, false) => LockState::Searching,
        };
        ResetReport {
            phase_error: Span::from_nanos_f64(self.filter.phase()),
            uncertainty: Span::from_nanos_f64(self.filter.uncertainty()),
            lock,
            restart_after,
            restarts: self.restarts,
            lock_count: self.lock_count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(tolerance: Span) -> ResetConfig {
        let grid = FrameGrid::new(30, 1).unwrap();
        ResetConfig { grid, phase_offset: Span::ZERO, tolerance }
    }

    #[test]
    fn equation_3() {
        // The paper: R = 98 for a window of 1 ms in all, T = 33 ms.
        let paper = config(Span::from_micros(500));
        assert!((97.0..=99.0).contains(&paper.attempts(0.95)), "{}", paper.attempts(0.95));
        assert!((config(Span::from_millis(1)).attempts(0.95) - 49.0).abs() < 1.5);
        assert_eq!(config(Span::from_millis(40)).predicted(0.95), ATTEMPT);
    }

    #[test]
    fn it_restarts_until_the_phase_is_right() {
        let config = config(Span::from_millis(1));
        let mut reset = Reset::new(config);
        for (phase_us, restarts) in [(9_000, true), (-1_100, true), (900, false)] {
            reset.handle_restarted();
            let mut asked = None;
            for frame in 0..20 {
                let time = config.grid.instant(1_000 + frame) + Span::from_micros(phase_us);
                let report = reset.handle_frame(frame, time, 0.25);
                asked = asked.or(report.restart_after);
                if asked.is_some() {
                    break;
                }
            }
            assert_eq!(asked, restarts.then_some(Span::from_millis(250)));
        }
        assert_eq!(reset.restarts, 2);
    }

    #[test]
    fn drifting_away_is_reported_and_causes_a_restart() {
        let config = config(Span::from_millis(1));
        let mut reset = Reset::new(config);
        let mut states = Vec::new();
        for frame in 0..2_000_i64 {
            // 40 ppm: 1.3 us a frame
            let time = config.grid.instant(1_000 + frame.unsigned_abs()) + Span::from_nanos(1_300 * frame);
            let report = reset.handle_frame(frame.unsigned_abs(), time, 0.5);
            states.push((report.lock, report.restart_after.is_some()));
        }
        let lost = states.iter().position(|(_, restart)| *restart).unwrap();
        assert!((1_500..1_700).contains(&lost), "{lost}");
        assert_eq!((states[lost - 1].0, states[lost].0), (LockState::Locked, LockState::Lost));
    }
}
