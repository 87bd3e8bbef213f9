//! One trial: simulates a camera from its start, and measures how soon it is on the grid and how well it stays there.

use swsync_core::align::SensorTiming;
use swsync_core::align::calibrate::{Calibration, CalibrationPlan, CalibrationStep};
use swsync_core::align::inject::{InjectConfig, Injector};
use swsync_core::align::reset::{Reset, ResetConfig};
use swsync_core::grid::FrameGrid;
use swsync_core::time::Host;
use swsync_core::time::{Rig, Skew, Span, Timestamp};
use swsync_sim::oscillator::{Oscillator, OscillatorConfig};
use swsync_sim::sensor::{Controls, Phone, PhoneModel, Sensor, SensorModel};

use super::method::{ArrivedFrame, Controller, Method};
use super::scenario::{CLOCK_RMS_NS, CLOCK_TAU_S, ClockError, Lengths, Phones};
use crate::split_mix::SplitMix64;

/// Largest error of an aligned frame.
const ALIGNED_NS: f64 = 20_000.0;
/// A camera is aligned after so many aligned frames in a row.
const STEADY_FRAMES: usize = 5;
/// A camera has to be aligned within so many frames.
const MAX_FRAMES: usize = 900;
/// Holding is measured over so many frames: 60 s.
const HOLD_FRAMES: usize = 1_800;
/// When trials begin: so late that the wander of clocks has developed.
const BEGIN: Timestamp<Host> = Timestamp::from_nanos(1_000_000_000_000);
/// Largest skew, in ppm, and wander, in ppm per root second (a Raspberry Pi at work).
const SKEW_PPM: f64 = 20.0;
const PHONE_SKEW_PPM: f64 = 40.0;
/// A phone that stamps frames by the crystal of its sensor. Chosen: the paper's phones stay aligned without corrections.
pub const PIXEL_SKEW_PPM: f64 = 1.0;
const WANDER_PPM: f64 = 0.01;

/// The outcome of a trial.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Frames (injections, restarts) until the camera was aligned; `None` if it never was.
    pub steps: Option<f64>,
    /// Seconds until then.
    pub seconds: Option<f64>,
    /// True errors while holding, in ns.
    pub hold_errors: Vec<f64>,
    /// Frames while holding whose length differed from the period by more than 1 %.
    pub off: usize,
}

/// A trial's random numbers: what its camera and clock are like.
fn random(seed: u64) -> SplitMix64 {
    SplitMix64::new(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x5851_f42d_4c95_7f2d)
}

/// The frame grid of all trials.
pub fn grid() -> FrameGrid {
    FrameGrid::new(30, 1).expect("30 fps is a rate")
}

/// A device's clock: an oscillator, and its error against rig time.
struct Clock {
    oscillator: Oscillator<Rig>,
    error: ClockError,
    error_ns: f64,
    last: Option<Timestamp<Host>>,
}

impl Clock {
    fn new(error: ClockError, seed: u64, random: &mut SplitMix64) -> Self {
        let wander = Skew::from_ppm(WANDER_PPM);
        let config = OscillatorConfig { wander, epoch: BEGIN, seed, ..OscillatorConfig::default() };
        let error_ns = if error == ClockError::None { 0.0 } else { CLOCK_RMS_NS * random.normal() };
        Self { oscillator: Oscillator::new(config), error, error_ns, last: None }
    }

    /// The clock's error at `at`, the time of the next frame.
    fn error_at(&mut self, at: Timestamp<Host>, random: &mut SplitMix64) -> f64 {
        let elapsed = self.last.replace(at).map_or(0.0, |last| (at - last).as_secs_f64());
        match self.error {
            ClockError::None => {}
            ClockError::Shaking => self.error_ns = CLOCK_RMS_NS * random.normal(),
            ClockError::Wandering => {
                let kept = (-elapsed / CLOCK_TAU_S).exp();
                self.error_ns =
                    kept * self.error_ns + (1.0 - kept * kept).sqrt() * CLOCK_RMS_NS * random.normal();
            }
        }
        self.error_ns
    }
}

/// The true data of a frame in a trial.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Its number, from 0. Lost frames count.
    pub frame: usize,
    /// Its true phase error.
    pub error_ns: f64,
    /// Its length, in lines.
    pub lines: u32,
    /// The frame duration that was requested when it arrived.
    pub asked: Option<Span>,
}

/// The first `frames` frames of a trial.
pub fn trace(method: Method, lengths: &Lengths, error: ClockError, seed: u64, frames: usize) -> Vec<Sample> {
    let mut samples = Vec::with_capacity(frames);
    align(method, lengths, error, seed, &mut |sample| {
        samples.push(sample);
        samples.len() < frames
    });
    samples
}

/// Aligns a camera whose frame lengths can be set.
pub fn lengths(method: Method, lengths: &Lengths, error: ClockError, seed: u64) -> Outcome {
    align(method, lengths, error, seed, &mut |_| true)
}

/// Runs a trial. `watch` gets every frame, and ends the trial by returning `false`.
fn align(
    method: Method,
    lengths: &Lengths,
    error: ClockError,
    seed: u64,
    watch: &mut dyn FnMut(Sample) -> bool,
) -> Outcome {
    let mut random = random(seed);
    let skew = Skew::from_ppm(SKEW_PPM * (2.0 * random.uniform() - 1.0));
    let mut model = lengths.model.clone();
    if let Some(headroom) = lengths.headroom {
        model.min_frame_length = model.frame_length - headroom;
        model.max_frame_length = model.frame_length + headroom;
    }
    let mut controller = method.build(grid(), timing(&model));
    if lengths.misleading {
        let vblank = &mut model.delays.vblank;
        *vblank = if random.uniform() < 0.5 { *vblank - 1 } else { *vblank + 1 };
    }
    let sensor = Sensor::new(model, seed, skew, BEGIN, Controls::default());
    run(sensor, controller.as_mut(), Clock::new(error, seed, &mut random), &mut random, watch)
}

/// The timing of a sensor, as controllers get it.
#[must_use]
pub fn timing(model: &SensorModel) -> SensorTiming {
    SensorTiming {
        line_time_ns: model.line_time_ns,
        min_lines: model.min_frame_length,
        max_lines: model.max_frame_length,
        nominal_lines: model.frame_length,
        latency: model.delays.vblank + 1,
        line_step: 1,
        exposure_margin: model.exposure_margin,
    }
}

fn run(
    mut sensor: Sensor,
    controller: &mut dyn Controller,
    mut clock: Clock,
    random: &mut SplitMix64,
    watch: &mut dyn FnMut(Sample) -> bool,
) -> Outcome {
    let (grid, period) = (grid(), grid().period_ns());
    let mut first = None;
    let mut outcome = Outcome::default();
    let (mut streak, mut begin) = (0, None);
    let mut last: Option<(u64, Timestamp<Rig>)> = None;
    for count in 1_usize.. {
        let frame = sensor.next_frame();
        let truth = clock.oscillator.read(frame.readout_start);
        begin = begin.or(Some(truth));
        let clock_error = clock.error_at(frame.readout_start, random);
        let error = grid.phase_error(truth).as_nanos_f64();
        let measured = truth + Span::from_nanos_f64(clock_error);
        // A camera that is never aligned is measured from the limit on.
        if outcome.steps.is_some() || count > MAX_FRAMES {
            outcome.hold_errors.push(error);
            if let Some((before, then)) = last {
                let frames = f64::from(frame.sequence) - f64::from(u32::try_from(before).unwrap_or(0));
                let excess = (truth - then).as_nanos_f64() - frames * period;
                outcome.off += usize::from(excess.abs() > 0.01 * period);
            }
            if outcome.hold_errors.len() == HOLD_FRAMES {
                return outcome;
            }
        } else {
            // By the device's own clock: no controller can do better than its clock.
            let near = grid.phase_error(measured).abs().as_nanos_f64() <= aligned_within_ns(clock.error);
            streak = if near { streak + 1 } else { 0 };
            if streak == STEADY_FRAMES {
                outcome.steps = Some(f64::from(u32::try_from(count + 1 - STEADY_FRAMES).unwrap_or(u32::MAX)));
                outcome.seconds = begin.map(|begin| (truth - begin).as_secs_f64());
            }
        }
        last = Some((u64::from(frame.sequence), truth));
        let time = clock.oscillator.read(frame.timestamp) + Span::from_nanos_f64(clock_error);
        let now = clock.oscillator.read(frame.delivered_at) + Span::from_nanos_f64(clock_error);
        let seen = ArrivedFrame { sequence: u64::from(frame.sequence), time, now, chance: random.uniform() };
        let asked = controller.handle_frame(&seen);
        if let Some(duration) = asked {
            let controls = Controls { frame_duration: Some(duration), exposure: None };
            sensor.queue_controls(frame.delivered_at, controls);
        }
        let number = usize::try_from(frame.sequence - *first.get_or_insert(frame.sequence)).unwrap_or(0);
        if !watch(Sample { frame: number, error_ns: error, lines: frame.frame_length_lines, asked }) {
            return outcome;
        }
    }
    outcome
}

/// Largest error of an aligned frame by a clock with such errors. A shaking clock is allowed twice its RMS more.
const fn aligned_within_ns(error: ClockError) -> f64 {
    match error {
        ClockError::None | ClockError::Wandering => ALIGNED_NS,
        ClockError::Shaking => ALIGNED_NS + 2.0 * CLOCK_RMS_NS,
    }
}

/// Methods to align by exposure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExposureMethod {
    /// swsync's injector, which learns the response.
    Swsync,
    /// swsync's injector, with the response from a calibration of the same phone.
    Calibrated,
    /// libsoftwaresync's method, with its constants for a Pixel 3.
    Libsoftwaresync,
}

/// Injections are tried for so many frames.
const MAX_INJECTION_FRAMES: usize = 1_800;
/// Seeds of calibrations minus those of their trials.
const CALIBRATION_SEED: u64 = 1 << 40;
/// libsoftwaresync settles for 400 ms between injections.
const SETTLE_FRAMES: u64 = 12;
/// Its overhead for a Pixel 3.
const PIXEL_OVERHEAD_NS: f64 = 200_000.0;

/// A phone, with random slope and overhead unless it is the paper's. Steady phones have the paper's scatter and jitter.
fn random_phone(phones: Phones, random: &mut SplitMix64) -> PhoneModel {
    if phones == Phones::Pixel3 {
        return PhoneModel::paper(grid().period_ns());
    }
    if phones == Phones::Varying {
        let mut between = |least: f64, most: f64| least + (most - least) * random.uniform();
        let slope = between(0.8, 2.2);
        let mut micros = |least, most| Span::from_nanos_f64(1e3 * between(least, most));
        return PhoneModel {
            period_ns: grid().period_ns(),
            slope,
            origin: Span::ZERO,
            overhead: micros(50.0, 600.0).mul_f64(slope),
            scatter: micros(5.0, 60.0),
            jitter: micros(5.0, 60.0),
            // A request takes 3 to 6 frames and 5 to 30 ms.
            latency: 5,
            latency_spread: 3,
        };
    }
    PhoneModel {
        period_ns: grid().period_ns(),
        slope: 2.0_f64.powf(2.0 * random.uniform() - 1.0),
        origin: if random.uniform() < 0.5 { Span::ZERO } else { grid().period() },
        overhead: Span::from_nanos_f64(500_000.0 * random.uniform()),
        scatter: Span::from_micros(25),
        jitter: Span::from_micros(2),
        latency: if random.uniform() < 0.5 { 2 } else { 3 },
        latency_spread: 0,
    }
}

/// What `swsync calibrate` measures on such a phone; `None` if it fails.
pub fn calibrate(model: &PhoneModel, seed: u64, skew: Skew) -> Option<Calibration> {
    let mut phone = Phone::new(*model, seed, skew, BEGIN);
    let clock = Clock::new(ClockError::None, seed, &mut random(seed)).oscillator;
    let mut calibration = Calibration::new(CalibrationPlan::new(grid().period())).ok()?;
    loop {
        let frame = phone.next_frame();
        match calibration.handle_frame(frame.sequence, clock.read(frame.stamp) - Timestamp::ZERO) {
            CalibrationStep::Wait => {}
            // An exposure that fits into a frame shifts nothing.
            CalibrationStep::Expose(exposure) if exposure <= grid().period() => {}
            CalibrationStep::Expose(exposure) => phone.inject(exposure),
            CalibrationStep::Done => return Some(calibration),
        }
    }
}

/// Aligns a phone; steps are injections.
pub fn exposures(method: ExposureMethod, phones: Phones, seed: u64) -> Outcome {
    let mut random = random(seed);
    let period = grid().period_ns();
    let model = random_phone(phones, &mut random);
    let most_ppm = match phones {
        Phones::Steady => SKEW_PPM,
        Phones::Pixel3 => PIXEL_SKEW_PPM,
        Phones::Varying => PHONE_SKEW_PPM,
    };
    let skew = Skew::from_ppm(most_ppm * (2.0 * random.uniform() - 1.0));
    let started = BEGIN + grid().period().mul_f64(random.uniform());
    let mut phone = Phone::new(model, seed, skew, started);
    let clock = Clock::new(ClockError::None, seed, &mut random).oscillator;
    // The calibration has other random numbers than the trial.
    let response = (method == ExposureMethod::Calibrated)
        .then(|| calibrate(&model, seed.wrapping_add(CALIBRATION_SEED), skew)?.finish().ok())
        .flatten()
        .map(|fit| fit.response().response);
    let mut injector = Injector::new(InjectConfig {
        grid: grid(),
        phase_offset: Span::ZERO,
        line_time_ns: 18_904.0,
        tolerance: Span::from_micros(20),
        settle_frames: 3,
        scatter: Span::from_micros(25),
        response,
        longest: None,
    });
    let (mut streak, mut injections, mut next) = (0, 0_u32, SETTLE_FRAMES);
    let (mut outcome, mut last) = (Outcome::default(), None);
    for count in 1_usize.. {
        let frame = phone.next_frame();
        let error = grid().phase_error(clock.read(frame.start)).as_nanos_f64();
        let took = last.replace(frame.start).map_or(period, |last| (frame.start - last).as_nanos_f64());
        // A camera that is never aligned is measured from the limit on.
        if outcome.steps.is_some() || count > MAX_INJECTION_FRAMES {
            outcome.hold_errors.push(error);
            outcome.off += usize::from((took - period).abs() > 0.01 * period);
            if outcome.hold_errors.len() == HOLD_FRAMES {
                break;
            }
        } else {
            streak = if error.abs() <= ALIGNED_NS { streak + 1 } else { 0 };
            if streak == STEADY_FRAMES {
                outcome.steps = Some(injections.into());
                outcome.seconds = Some((frame.start - started).as_secs_f64());
            }
        }
        let stamp = clock.read(frame.stamp);
        let exposure = match method {
            ExposureMethod::Swsync | ExposureMethod::Calibrated => {
                injector.handle_frame(frame.sequence, stamp).exposure
            }
            ExposureMethod::Libsoftwaresync => (frame.sequence >= next).then(|| {
                next = frame.sequence + SETTLE_FRAMES;
                let wanted = (-grid().phase_error(stamp).as_nanos_f64()).rem_euclid(period);
                let exposure = (period + wanted / 2.0 - PIXEL_OVERHEAD_NS).max(33_370_000.0);
                Span::from_nanos_f64(exposure)
            }),
        };
        if let Some(exposure) = exposure {
            injections += 1;
            phone.inject(exposure);
        }
    }
    outcome
}

/// Tolerance of reset sampling in the scenario `reset`.
pub const RESET_TOLERANCE: Span = Span::from_millis(1);
/// Time limit of reset sampling.
const RESET_TIMEOUT: Span = Span::from_secs(600);

/// Restarts a camera until its phase error is at most `tolerance`; steps are restarts.
pub fn resets(seed: u64, tolerance: Span) -> Outcome {
    let mut random = random(seed);
    let skew = Skew::from_ppm(SKEW_PPM * (2.0 * random.uniform() - 1.0));
    let clock = Clock::new(ClockError::None, seed, &mut random).oscillator;
    let mut reset = Reset::new(reset_config(tolerance));
    let mut started = BEGIN;
    for restarts in 0_u32.. {
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(u64::from(restarts));
        let mut sensor = Sensor::new(SensorModel::imx219(), seed, skew, started, Controls::default());
        let mut streak = 0;
        let asked = loop {
            let frame = sensor.next_frame();
            let error = grid().phase_error(clock.read(frame.readout_start)).abs();
            streak = if error <= tolerance { streak + 1 } else { 0 };
            let report =
                reset.handle_frame(u64::from(frame.sequence), clock.read(frame.timestamp), random.uniform());
            if let Some(sleep) = report.restart_after {
                break Some(frame.delivered_at + sleep);
            }
            if streak == STEADY_FRAMES {
                let seconds = (frame.delivered_at - BEGIN).as_secs_f64();
                let steps = Some(f64::from(restarts));
                return Outcome { steps, seconds: Some(seconds), ..Outcome::default() };
            }
            if frame.delivered_at - BEGIN > RESET_TIMEOUT {
                break None;
            }
        };
        match asked {
            Some(at) if at - BEGIN <= RESET_TIMEOUT => started = at,
            _ => break,
        }
        reset.handle_restarted();
    }
    Outcome::default()
}

/// Configuration of reset sampling.
pub fn reset_config(tolerance: Span) -> ResetConfig {
    ResetConfig { grid: grid(), phase_offset: Span::ZERO, tolerance }
}
