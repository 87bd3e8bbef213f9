//! Alignment by exposure: for cameras where only that can be set (the paper, sec. V.B).
//!
//! One long frame shifts all later ones. By how much is learnt from frame to frame (`response`): phase
//! and rate of the stream are measured over some frames, an exposure is asked for that should bring the
//! phase to the grid, and when later frames have jumped and agree with each other on how far, that is
//! what this exposure does. A shift scatters by some tens of us, so to reach 20 us is a matter of
//! several attempts however well the line is known (with σ = 25 us six in ten hit). What helps is drift: a
//! stream that drifts towards the grid by itself, and will be there soon, is left alone; and a stream that
//! drifts is aimed a little before the grid, so that more of the scatter ends where drift mends it.

use super::filter::{Filter, Verdict};
use super::lock::{Evidence, HYSTERESIS, Lock};
use super::profile;
use super::response::Response;
use super::{Aim, Trouble, real};
use crate::frame::LockState;
use crate::grid::FrameGrid;
use crate::time::{Rig, Span, Timestamp};

/// Frames from which phase and rate are learnt before the first injection.
const SEARCH_FRAMES: u32 = 12;
/// Frames after a jump that tell how far it was: the median of so many stamps.
const SETTLE_FRAMES: usize = 7;
/// They agree where all but two of them are within this of their median, in ns.
const AGREE: f64 = 20_000.0;
/// A jump of less cannot be told from drift, in ns.
const JUMP: f64 = 40_000.0;
/// Frames within which an injection acts: a request waits for those before it.
const PATIENCE: u64 = 16;
/// Frames for which drift may have its way.
const DRIFT_FRAMES: f64 = 60.0;
/// Injections in a row without effect that are no chance.
const FRUITLESS: u32 = 4;
/// What two crystals and a period that is not quite the grid's amount to.
const RATE_PRIOR: f64 = 300e-6;
/// Stamps that contradict the estimate and agree until they are believed.
const AGREEING: u32 = 3;

/// What the injector works with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InjectConfig {
    /// The grid.
    pub grid: FrameGrid,
    /// Where frames are to lie after the grid's instants.
    pub phase_offset: Span,
    /// Time of one line, in ns: the quantum of exposures.
    pub line_time_ns: f64,
    /// Largest phase error of an aligned frame.
    pub tolerance: Span,
    /// Frames within the tolerance, in a row, that make a lock.
    pub settle_frames: u32,
    /// What single shifts scatter by, 1 sigma; a profile knows better.
    pub scatter: Span,
    /// The camera's response, where it is known.
    pub response: Option<profile::Response>,
    /// The longest exposure that the camera takes, where that is known.
    pub longest: Option<Span>,
}

/// What the injector makes of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// The frame's phase error, filtered.
    pub phase_error: Span,
    /// What the error of that may be, 1 sigma, by the stamps alone: the clock's is to be added.
    pub uncertainty: Span,
    /// Where the camera stands.
    pub lock: LockState,
    /// How often the lock was won.
    pub lock_count: u32,
    /// Exposure of one frame to ask for, if any.
    pub exposure: Option<Span>,
    /// Injections so far, this one included.
    pub injections: u32,
    /// What stands in the way, if anything.
    pub trouble: Option<Trouble>,
}

/// Aligns a camera by injecting long exposures.
#[derive(Debug)]
pub struct Injector {
    config: InjectConfig,
    filter: Filter,
    response: Response,
    lock: Lock,
    last: Option<(u64, Timestamp<Rig>)>,
    seen: u32,
    injections: u32,
    /// Injections in a row that shifted nothing.
    fruitless: u32,
    holdover: bool,
    pending: Option<Pending>,
}

/// An injection whose effect is awaited.
#[derive(Debug)]
struct Pending {
    exposure: f64,
    /// Frame at which it was asked for.
    asked_at: u64,
    /// Phase of that frame, without the injection.
    phase: f64,
    /// How far from that line the newest frames were.
    offsets: [f64; SETTLE_FRAMES],
    frames: usize,
    /// How much longer than their number of periods the frames since took, all together.
    elapsed: f64,
    /// How far the phase should be shifted, by what is known.
    wanted: f64,
}

impl Injector {
    /// An injector that has seen no frame.
    #[must_use]
    pub fn new(config: InjectConfig) -> Self {
        let period = config.grid.period_ns();
        let unknown = || Response::unknown(period, config.line_time_ns, config.scatter.as_nanos_f64());
        let mut response = config.response.map_or_else(unknown, |known| Response::known(period, &known));
        if let Some(longest) = config.longest {
            response.limit(longest.as_nanos_f64());
        }
        Self {
            filter: Filter::with_rate_prior(period, RATE_PRIOR),
            response,
            lock: Lock::new(config.tolerance, config.settle_frames),
            config,
            last: None,
            seen: 0,
            injections: 0,
            fruitless: 0,
            holdover: false,
            pending: None,
        }
    }

    /// Whether the clock is in holdover: a lock is then said to be coasting.
    pub const fn set_holdover(&mut self, holdover: bool) {
        self.holdover = holdover;
    }

    /// The next frame's time stands for another instant than the frames' before, later by `by`.
    pub fn displace(&mut self, by: Span) {
        let by = by.as_nanos_f64();
        self.filter.displace(by);
        if let Some(pending) = &mut self.pending {
            pending.phase = self.filter.wrap(pending.phase + by);
            pending.elapsed -= by;
        } else {
            self.lock.handle_displacement(Span::from_nanos_f64(self.filter.phase()).abs());
        }
    }

    /// Frames are to lie elsewhere, or be judged otherwise, from the next one on. (A slew cannot be bounded
    /// here: one exposure is all there is.)
    pub fn set_aim(&mut self, aim: Aim) {
        let by = self.config.phase_offset - aim.phase_offset;
        self.config.phase_offset = aim.phase_offset;
        (self.config.tolerance, self.config.settle_frames) = (aim.tolerance, aim.settle_frames);
        self.lock.set_aim(&aim);
        if by != Span::ZERO {
            self.displace(by);
        }
    }

    /// What has been learnt of the camera, to be kept in its profile.
    #[must_use]
    pub fn learnt(&self) -> profile::Response {
        self.response.profile()
    }

    /// The slope of the response, and what it may be off.
    #[must_use]
    pub fn slope(&self) -> (f64, f64) {
        self.response.slope()
    }

    /// A frame has arrived: the driver's count of it, and its time.
    pub fn handle_frame(&mut self, sequence: u64, time: Timestamp<Rig>) -> Report {
        let observed = self.config.grid.phase_error(time - self.config.phase_offset).as_nanos_f64();
        match self.last.replace((sequence, time)) {
            Some((before, then)) if before < sequence => {
                let frames = real(sequence - before);
                let elapsed = (time - then).as_nanos_f64() - frames * self.config.grid.period_ns();
                self.filter.advance(0.0, frames);
                match self.pending.take() {
                    Some(pending) => self.await_effect(pending, sequence, observed, elapsed),
                    None => self.follow(observed),
                }
            }
            _ => {
                self.filter.restart(observed);
                (self.seen, self.pending) = (1, None);
            }
        }
        let learnt = self.seen >= SEARCH_FRAMES && self.pending.is_none();
        let exposure = if learnt { self.inject(sequence) } else { None };
        let error = Span::from_nanos_f64(self.filter.phase()).abs();
        self.lock.handle_frame(Evidence { error, learnt, holdover: self.holdover });
        let injections = self.fruitless;
        Report {
            phase_error: Span::from_nanos_f64(self.filter.phase()),
            uncertainty: Span::from_nanos_f64(self.filter.uncertainty()),
            trouble: (injections >= FRUITLESS).then_some(Trouble::NoEffect { injections }),
            lock: self.lock.state(),
            lock_count: self.lock.count(),
            exposure,
            injections: self.injections,
        }
    }

    fn follow(&mut self, observed: f64) {
        match self.filter.observe(observed, AGREEING) {
            Verdict::Used => self.seen = self.seen.saturating_add(1),
            Verdict::PassedOver { .. } => {}
            Verdict::Restarted { .. } => {
                self.seen = AGREEING;
                self.lock.handle_restart(Span::from_nanos_f64(self.filter.phase()).abs());
            }
        }
    }

    /// One frame more after an injection.
    fn await_effect(&mut self, mut pending: Pending, sequence: u64, observed: f64, elapsed: f64) {
        let since = sequence - pending.asked_at;
        let line = pending.phase + self.filter.rate() * real(since);
        let newest = self.filter.wrap(observed - line);
        pending.offsets.rotate_left(1);
        pending.offsets[SETTLE_FRAMES - 1] = newest;
        pending.frames += 1;
        pending.elapsed += elapsed;
        let (offset, agree) = self.agreement(&pending);
        let jumped = pending.elapsed > self.config.grid.period_ns() / 4.0 || offset.abs() > JUMP;
        if agree && (jumped || since >= PATIENCE) {
            // Where nothing jumped although it should have, the injection was lost, and nothing learnt.
            let fruitless = !jumped && pending.wanted.abs() > JUMP;
            self.fruitless = if fruitless { self.fruitless.saturating_add(1) } else { 0 };
            if !fruitless {
                self.response.learn(pending.exposure, offset, pending.elapsed);
            }
            self.filter.restart(self.filter.wrap(line + offset));
            self.filter.settled(SETTLE_FRAMES);
            self.seen = SEARCH_FRAMES;
        } else if since > 2 * PATIENCE {
            self.filter.restart(observed);
            self.seen = 1;
        } else {
            self.pending = Some(pending);
        }
    }

    /// The median of the last offsets, and whether they agree on it.
    fn agreement(&self, pending: &Pending) -> (f64, bool) {
        let newest = pending.offsets[SETTLE_FRAMES - 1];
        // Around the newest, so that half a period is no place where they fall apart.
        let mut offsets = pending.offsets.map(|offset| self.filter.wrap(offset - newest));
        offsets.sort_by(f64::total_cmp);
        let median = offsets[SETTLE_FRAMES / 2];
        let near = offsets.iter().filter(|offset| (**offset - median).abs() <= AGREE).count();
        let agree = pending.frames >= SETTLE_FRAMES && near + 2 >= SETTLE_FRAMES;
        (self.filter.wrap(median + newest), agree)
    }

    /// An injection, if the stream needs one.
    fn inject(&mut self, sequence: u64) -> Option<Span> {
        let (phase, rate) = (self.filter.phase(), self.filter.rate());
        let tolerance = self.config.tolerance.as_nanos_f64();
        let bound = if self.lock.holds() { tolerance * real(HYSTERESIS.unsigned_abs()) } else { tolerance };
        if phase.abs() <= bound {
            return None;
        }
        let frames_back = (phase.abs() - 0.7 * tolerance) / (-rate * phase.signum());
        if (0.0..DRIFT_FRAMES).contains(&frames_back) {
            return None; // the drift is bringing it there
        }
        let ahead = (0.5 * rate * DRIFT_FRAMES * self.filter.rate_known()).clamp(-tolerance, tolerance);
        let wanted = self.filter.wrap(-phase - ahead - rate * real(SETTLE_FRAMES as u64));
        let exposure = self.response.exposure_for(wanted);
        self.injections = self.injections.saturating_add(1);
        self.pending = Some(Pending {
            exposure,
            asked_at: sequence,
            phase,
            offsets: [0.0; SETTLE_FRAMES],
            frames: 0,
            elapsed: 0.0,
            wanted,
        });
        Some(Span::from_nanos_f64(exposure))
    }
}

#[cfg(test)]
mod tests;
