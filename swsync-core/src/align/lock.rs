//! The lock state of a camera: searching, aligning, locked, coasting, lost.

use super::config::AlignerTarget;
use crate::frame::LockState;
use crate::time::Span;

/// The lock is lost after this number of frames in a row beyond the wider tolerance.
const LOSING_FRAMES: u32 = 3;

/// Factor on the tolerance for keeping a lock.
pub const HYSTERESIS: i64 = 3;

/// Further factor, and least error, beyond which one frame is enough to lose the lock. Jitter and clock corrections are far
/// smaller.
const GROSS: i64 = 10;
const GROSS_LEAST: Span = Span::from_micros(300);

/// What the lock needs to know about a frame.
#[derive(Debug, Clone, Copy)]
pub struct LockInput {
    /// Magnitude of its phase error.
    pub error: Span,
    /// Whether phase and rate are known well enough.
    pub learnt: bool,
    /// Whether the clock is in holdover.
    pub holdover: bool,
}

/// The lock state, and how often the camera has locked.
#[derive(Debug)]
pub struct Lock {
    state: LockState,
    tolerance: Span,
    settle_frames: u32,
    /// Number of frames in a row that support another state.
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

    /// How often the camera has locked.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether frames are on the grid.
    pub const fn holds(&self) -> bool {
        matches!(self.state, LockState::Locked | LockState::Coasting)
    }

    /// The estimate restarted at `error` from the grid. Near the grid the lock is kept, as after a correction of the clock.
    /// Returns whether the lock is lost, so that the phase has to be learnt again.
    pub fn handle_restart(&mut self, error: Span) -> bool {
        self.streak = 0;
        self.state = match self.state {
            LockState::Locked | LockState::Coasting if error <= self.tolerance * HYSTERESIS => return false,
            LockState::Locked | LockState::Coasting | LockState::Lost => LockState::Lost,
            LockState::Searching | LockState::Aligning | LockState::Free => LockState::Searching,
        };
        true
    }

    /// Changes the tolerance and the number of settling frames.
    pub const fn set_target(&mut self, target: &AlignerTarget) {
        (self.tolerance, self.settle_frames) = (target.tolerance, target.settle_frames);
    }

    /// Frames are `error` from the grid for a known reason. If that is too far, the lock ends at once.
    pub fn handle_displacement(&mut self, error: Span) {
        if self.holds() && error > self.tolerance * HYSTERESIS {
            (self.state, self.streak) = (LockState::Aligning, 0);
        }
    }

    /// Handles a frame.
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
    fn a_lock_needs_the_tolerance_and_is_lost_at_three_times_it() {
        let mut lock = locked();
        assert!([50, 60, 61, 61, 20].iter().all(|micros| frame(&mut lock, *micros) == LockState::Locked));
        let states = [61, 61, 61, 20, 20, 20].map(|micros| frame(&mut lock, micros));
        let (locked, lost) = (LockState::Locked, LockState::Lost);
        assert_eq!(states, [locked, locked, lost, lost, lost, locked]);
        assert_eq!(lock.count(), 2);
    }

    #[test]
    fn one_gross_error_loses_the_lock() {
        let mut lock = locked();
        assert_eq!([600, 600, 20].map(|micros| frame(&mut lock, micros)), [LockState::Locked; 3]);
        assert_eq!(frame(&mut lock, 601), LockState::Lost);
    }

    #[test]
    fn there_is_no_lock_before_the_phase_is_learnt() {
        let mut lock = Lock::new(Span::from_micros(20), 1);
        lock.handle_frame(LockInput { error: Span::ZERO, learnt: false, holdover: false });
        assert_eq!(lock.state(), LockState::Searching);
    }

    #[test]
    fn a_lock_coasts_while_the_clock_is_in_holdover() {
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
    fn a_large_displacement_ends_the_lock_at_once() {
        let mut lock = locked();
        lock.handle_displacement(Span::from_micros(60));
        assert_eq!(lock.state(), LockState::Locked);
        lock.handle_displacement(Span::from_micros(61));
        assert_eq!(lock.state(), LockState::Aligning);
        let target = AlignerTarget {
            phase_offset: Span::ZERO,
            tolerance: Span::from_micros(5),
            settle_frames: 2,
            max_slew: None,
        };
        lock.set_target(&target);
        // Three of 6 us would have been a lock before.
        let states = [6, 6, 6, 5, 5].map(|micros| frame(&mut lock, micros));
        assert_eq!(states[..4], [LockState::Aligning; 4]);
        assert_eq!((states[4], lock.count()), (LockState::Locked, 2));
    }

    #[test]
    fn a_restart_far_from_the_grid_loses_the_lock() {
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
