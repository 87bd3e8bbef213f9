//! The aligner: frames in, frame lengths out, so that every frame lies on the grid.
//!
//! # Model
//!
//! A free-running sensor takes frames that are whole numbers of lines long. With line time λ, a
//! frame of L lines moves the phase of the next one by L·λ − T against the grid's period T. The
//! aligner keeps an estimate of phase and of the rate by which λ differs from its nominal value (a
//! Kalman filter over the stamps, with a gate for late ones), and the lengths that were asked for
//! but are not in effect yet. From these it predicts the phase of the first frame that it can still
//! determine, and asks for the length that brings the one after it nearest to the grid. So a
//! large error goes in one frame (the paper's frame injection, sec. V.B), and from then on whole
//! lines are dithered such that the phase stays within half a line.
//!
//! A length that never comes into effect shows as a phase that stays where it was: after a few
//! frames in agreement the filter begins anew from there, and the error is corrected again. Stamps
//! that are late one at a time move nothing.

mod filter;

use std::collections::VecDeque;

use filter::{Filter, Verdict};

use crate::frame::LockState;
use crate::grid::FrameGrid;
use crate::time::{Rig, Span, Timestamp};

/// Frames from which the phase is learnt before the first correction.
const SEARCH_FRAMES: u32 = 4;

/// Frames out of the wider tolerance before the lock counts as lost.
const LOSING_FRAMES: u32 = 3;

/// How much wider the tolerance is for keeping a lock than for winning it.
const HYSTERESIS: i64 = 3;

/// A sensor, as far as the aligner has to know it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SensorTiming {
    /// Nominal time of one line, in ns: the quantum of frame lengths.
    pub line_time_ns: f64,
    /// Shortest frame, in lines.
    pub min_lines: u32,
    /// Longest frame, in lines.
    pub max_lines: u32,
    /// Length of frames as long as nothing is asked for, in lines.
    pub nominal_lines: u32,
    /// Frames from the one at whose arrival a length is asked for to the first one that has it.
    pub latency: u32,
}

/// What the aligner works towards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlignerConfig {
    /// The grid.
    pub grid: FrameGrid,
    /// The sensor.
    pub sensor: SensorTiming,
    /// Largest phase error of a locked frame.
    pub tolerance: Span,
    /// Frames within the tolerance, in a row, that make a lock.
    pub settle_frames: u32,
}

/// What the aligner makes of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// The frame's phase error: filtered, as single stamps come late now and then.
    pub phase_error: Span,
    /// Where the camera stands.
    pub lock: LockState,
    /// Length to ask for, in lines, if any.
    pub lines: Option<u32>,
}

/// Brings one camera's frames onto the grid and holds them there.
#[derive(Debug)]
pub struct Aligner {
    config: AlignerConfig,
    filter: Filter,
    /// Lengths of the newest frame and of those after it that are already determined.
    in_flight: VecDeque<u32>,
    sequence: Option<u64>,
    lock: LockState,
    /// Frames since the filter began.
    seen: u32,
    /// Frames in a row that speak for another lock state.
    streak: u32,
}

impl Aligner {
    /// An aligner that has seen no frame.
    #[must_use]
    pub fn new(config: AlignerConfig) -> Self {
        Self {
            filter: Filter::new(config.grid.period_ns()),
            in_flight: std::iter::repeat_n(config.sensor.nominal_lines, config.sensor.latency as usize)
                .collect(),
            config,
            sequence: None,
            lock: LockState::Searching,
            seen: 0,
            streak: 0,
        }
    }

    /// A frame has arrived: the driver's count of it, and its time.
    pub fn handle_frame(&mut self, sequence: u64, time: Timestamp<Rig>) -> Report {
        let observed = self.config.grid.phase_error(time).as_nanos_f64();
        match self.sequence.replace(sequence) {
            None => self.filter.restart(observed),
            Some(before) => {
                for _ in before..sequence {
                    let lines = self.next_length();
                    self.filter.advance(self.shift(lines));
                }
                if self.filter.observe(observed) == Verdict::Restarted {
                    self.restart();
                }
            }
        }
        self.seen = self.seen.saturating_add(1);
        let lines = (self.seen >= SEARCH_FRAMES).then(|| self.choose_length());
        self.in_flight.push_back(lines.unwrap_or(self.config.sensor.nominal_lines));
        self.judge();
        Report { phase_error: Span::from_nanos_f64(self.filter.phase()), lock: self.lock, lines }
    }

    /// The length of the oldest frame in flight; where frames were dropped and nothing was asked for
    /// meanwhile, registers keep their value.
    fn next_length(&mut self) -> u32 {
        let lines = self.in_flight.pop_front().unwrap_or(self.config.sensor.nominal_lines);
        if self.in_flight.is_empty() {
            self.in_flight.push_back(lines);
        }
        lines
    }

    /// How much a frame of `lines` moves the phase of the next one, in ns, by the nominal line time.
    fn shift(&self, lines: u32) -> f64 {
        f64::from(lines) * self.config.sensor.line_time_ns - self.config.grid.period_ns()
    }

    /// The length of the first frame that can still be determined.
    fn choose_length(&self) -> u32 {
        let sensor = &self.config.sensor;
        let period = self.config.grid.period_ns();
        let rate = self.filter.rate();
        let known: f64 = self.in_flight.iter().map(|lines| self.shift(*lines) + rate).sum();
        let phase = self.filter.wrap(self.filter.phase() + known);
        let lines_for = |duration: f64| duration / sensor.line_time_ns;
        let wanted = lines_for(period - rate - phase);
        let shortest = f64::from(sensor.min_lines);
        // Late by more than two short frames make up for: one long frame instead.
        let headroom = lines_for(period) - shortest;
        let by_lengthening = lines_for(2.0 * period - rate - phase);
        let too_late = wanted < shortest - headroom.max(0.0);
        let wanted =
            if too_late && by_lengthening <= f64::from(sensor.max_lines) { by_lengthening } else { wanted };
        to_lines(wanted.clamp(shortest, f64::from(sensor.max_lines)))
    }

    /// The filter began anew. Where the phase is still near the grid (a clock that was corrected, say),
    /// nothing is lost and holding goes on; elsewhere it is learnt again before it is corrected.
    fn restart(&mut self) {
        self.streak = 0;
        self.lock = match self.lock {
            LockState::Locked if self.error() <= self.config.tolerance * HYSTERESIS => return,
            LockState::Locked | LockState::Lost => LockState::Lost,
            LockState::Searching | LockState::Aligning | LockState::Free => LockState::Searching,
        };
        self.seen = 0;
    }

    fn error(&self) -> Span {
        Span::from_nanos_f64(self.filter.phase()).abs()
    }

    fn judge(&mut self) {
        let error = self.error();
        let tolerance = self.config.tolerance;
        let learnt = self.seen >= SEARCH_FRAMES;
        let (against, enough) = match self.lock {
            LockState::Locked => (error > tolerance * HYSTERESIS, LOSING_FRAMES),
            LockState::Searching | LockState::Aligning | LockState::Lost | LockState::Free => {
                (learnt && error <= tolerance, self.config.settle_frames)
            }
        };
        self.streak = if against { self.streak + 1 } else { 0 };
        let turned = self.streak >= enough;
        if turned {
            self.streak = 0;
        }
        self.lock = match self.lock {
            LockState::Locked if turned => LockState::Lost,
            LockState::Locked => LockState::Locked,
            _ if turned => LockState::Locked,
            LockState::Searching if learnt => LockState::Aligning,
            other => other,
        };
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped between two u32 before")]
fn to_lines(lines: f64) -> u32 {
    lines.round() as u32
}

#[cfg(test)]
mod tests;
