//! Where a camera stands with the grid: searching, aligning, locked, coasting, lost.

use super::AlignTarget;
use crate::frame::LockState;
use crate::time::Span;

/// Frames out of the wider tolerance before the lock counts as lost.
const LOSING_FRAMES: u32 = 3;

/// How much wider the tolerance is for keeping a lock than for winning it.
pub const HYSTERESIS: i64 = 3;

/// How much wider again it is for frames that nobody has to see twice, and the least of that: what a stamp's
/// jitter and a clock's corrections amount to is far less.
const GROSS: i64 = 10;
const GROSS_LEAST: Span = Span::from_micros(300);

/// What is judged of each frame.
#[derive(Debug, Clone, Copy)]
pub struct LockInput {
    /// Magnitude of its phase error.
    pub error: Span,
    /// Whether phase and rate are known well enough to say so.
    pub learnt: bool,
    /// Whether the clock extrapolates, with nobody to follow.
    pub holdover: bool,
}

/// The lock, and how often it was won.
#[derive(Debug)]
pub struct Lock {
    state: LockState,
    tolerance: Span,
    settle_frames: u32,
    /// Frames in a row that speak for another state.
    streak: u32,
    count: u32,
}

impl Lock {
    pub const fn new(tolerance: Span, settle_frames: u32) -> Self {
        Self { state: LockState::Searching, tolerance, settle_frames, streak: 0, count: 0 }
    }

    pub const fn state(&self) -> LockState {
        self.state
    }

    /// How often it was won.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether frames are on the grid.
    pub const fn holds(&self) -> bool {
        matches!(self.state, LockState::Locked | LockState::Coasting)
    }

    /// The estimate began anew, `error` from the grid. Near to it (a clock that was corrected, say)
    /// nothing is lost and holding goes on; otherwise the phase is to be learnt again: whether so.
    pub fn handle_restart(&mut self, error: Span) -> bool {
        self.streak = 0;
        self.state = match self.state {
            LockState::Locked | LockState::Coasting if error <= self.tolerance * HYSTERESIS => return false,
            LockState::Locked | LockState::Coasting | LockState::Lost => LockState::Lost,
            LockState::Searching | LockState::Aligning | LockState::Free => LockState::Searching,
        };
        true
    }

    /// Frames are judged by `target` from now on.
    pub const fn set_target(&mut self, target: &AlignTarget) {
        (self.tolerance, self.settle_frames) = (target.tolerance, target.settle_frames);
    }

    /// Frames are `error` from the grid, for a reason that is known: too far for a lock, and nobody has to
    /// wait for frames to say so.
    pub fn handle_displacement(&mut self, error: Span) {
        if self.holds() && error > self.tolerance * HYSTERESIS {
            (self.state, self.streak) = (LockState::Aligning, 0);
        }
    }

    /// One frame more.
    pub fn handle_frame(&mut self, input: LockInput) {
        let (against, enough) = if self.holds() {
            let wide = self.tolerance * HYSTERESIS;
            let gross = input.error > (wide * GROSS).max(GROSS_LEAST);
            (input.error > wide, if gross { 1 } else { LOSING_FRAMES })
        } else {
            (input.learnt && input.error <= self.tolerance, self.settle_frames)
        };
        self.streak = if against { self.streak.saturating_add(1) } else { 0 };
        let turned = against && self.streak >= enough;
        if turned {
            self.streak = 0;
        }
        let on_grid = if input.holdover { LockState::Coasting } else { LockState::Locked };
        self.state = match self.state {
            LockState::Locked | LockState::Coasting if turned => LockState::Lost,
            LockState::Locked | LockState::Coasting => on_grid,
            LockState::Searching | LockState::Aligning | LockState::Lost | LockState::Free if turned => {
                self.count = self.count.saturating_add(1);
                on_grid
            }
            LockState::Searching if input.learnt => LockState::Aligning,
            other @ (LockState::Searching | LockState::Aligning | LockState::Lost | LockState::Free) => other,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(lock: &mut Lock, micros: i64) -> LockState {
        lock.handle_frame(LockInput { error: Span::from_micros(micros), learnt: true, holdover: false });
        lock.state()
    }

    fn locked() -> Lock {
        let mut lock = Lock::new(Span::from_micros(20), 3);
        let states = [5_000, 10, 20, 15].map(|micros| frame(&mut lock, micros));
        assert_eq!(
            states,
            [LockState::Aligning, LockState::Aligning, LockState::Aligning, LockState::Locked]
        );
        lock
    }

    #[test]
    fn winning_takes_the_tolerance_and_losing_three_times_it() {
        let mut lock = locked();
        assert!([50, 60, 61, 61, 20].iter().all(|micros| frame(&mut lock, *micros) == LockState::Locked));
        let states = [61, 61, 61, 20, 20, 20].map(|micros| frame(&mut lock, micros));
        let (locked, lost) = (LockState::Locked, LockState::Lost);
        assert_eq!(states, [locked, locked, lost, lost, lost, locked]);
        assert_eq!(lock.count(), 2);
    }

    #[test]
    fn what_is_far_off_is_lost_at_once() {
        let mut lock = locked();
        assert_eq!([600, 600, 20].map(|micros| frame(&mut lock, micros)), [LockState::Locked; 3]);
        assert_eq!(frame(&mut lock, 601), LockState::Lost);
    }

    #[test]
    fn nothing_is_won_before_the_phase_is_learnt() {
        let mut lock = Lock::new(Span::from_micros(20), 1);
        lock.handle_frame(LockInput { error: Span::ZERO, learnt: false, holdover: false });
        assert_eq!(lock.state(), LockState::Searching);
    }

    #[test]
    fn a_clock_in_holdover_is_coasted_on() {
        let mut lock = locked();
        let coast = |lock: &mut Lock, holdover, micros| {
            lock.handle_frame(LockInput { error: Span::from_micros(micros), learnt: true, holdover });
            lock.state()
        };
        assert_eq!(coast(&mut lock, true, 5), LockState::Coasting);
        assert_eq!(coast(&mut lock, false, 5), LockState::Locked);
        let states = [100, 100, 100].map(|micros| coast(&mut lock, true, micros));
        assert_eq!(states, [LockState::Coasting, LockState::Coasting, LockState::Lost]);
        assert_eq!(lock.count(), 1, "coasting is no new lock");
    }

    #[test]
    fn a_displacement_is_a_correction_under_way_at_once() {
        let mut lock = locked();
        lock.handle_displacement(Span::from_micros(60));
        assert_eq!(lock.state(), LockState::Locked);
        lock.handle_displacement(Span::from_micros(61));
        assert_eq!(lock.state(), LockState::Aligning);
        let target = AlignTarget {
            phase_offset: Span::ZERO,
            tolerance: Span::from_micros(5),
            settle_frames: 2,
            max_slew: None,
        };
        lock.set_target(&target);
        let states = [6, 5, 5].map(|micros| frame(&mut lock, micros));
        assert_eq!(states, [LockState::Aligning, LockState::Aligning, LockState::Locked]);
        assert_eq!(lock.count(), 2);
    }

    #[test]
    fn a_restart_far_away_is_a_loss() {
        let mut lock = locked();
        assert!(!lock.handle_restart(Span::from_micros(60)));
        assert_eq!(lock.state(), LockState::Locked);
        assert!(lock.handle_restart(Span::from_micros(61)));
        assert_eq!(lock.state(), LockState::Lost);
        let mut searching = Lock::new(Span::from_micros(20), 3);
        assert!(searching.handle_restart(Span::ZERO));
        assert_eq!(searching.state(), LockState::Searching);
    }
}
