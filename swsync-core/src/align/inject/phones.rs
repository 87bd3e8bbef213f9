//! Phones whose requests take a varying time, on simulated time.

use super::*;

const PERIOD: f64 = 33_333_333.333;
/// Seconds within which the grid has to be reached, and for which it then has to be held, in frames.
const REACH: u64 = 1_800;
const HOLD: u64 = 1_800;

/// How frames are counted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Count {
    Frames,
    /// A long frame counts as the periods that it took.
    Periods,
}

/// A phone: a request takes 3 to 6 frames and 5 to 30 ms, anew each time.
#[derive(Debug, Clone)]
struct Phone {
    random: u64,
    slope: f64,
    overhead: f64,
    ppm: f64,
    /// Of single shifts and of stamps, 1 sigma, in ns.
    scatter: f64,
    jitter: f64,
    count: Count,
    /// Of a hundred requests so many are lost.
    lossy: f64,
    /// Of a hundred stamps so many are late, and frames missing.
    late: f64,
    missing: f64,
    /// The frame after the long one is long as well, each by half of the shift.
    halves: bool,
    left: f64,
    sequence: u64,
    start: f64,
    /// Exposures on their way, and the time from which a frame can have them.
    waiting: Vec<(f64, f64)>,
    /// Requests that were made before an earlier one had shifted anything.
    confusable: u32,
}

impl Phone {
    fn new(seed: u64) -> Self {
        let mut phone = Self {
            random: (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            slope: 0.0,
            overhead: 0.0,
            ppm: 0.0,
            scatter: 0.0,
            jitter: 0.0,
            count: Count::Frames,
            lossy: 0.0,
            late: 0.0,
            missing: 0.0,
            halves: false,
            left: 0.0,
            sequence: 0,
            start: 0.0,
            waiting: Vec::new(),
            confusable: 0,
        };
        for _ in 0..20 {
            phone.uniform();
        }
        phone.slope = 0.8 + 1.4 * phone.uniform();
        phone.overhead = 50_000.0 + 550_000.0 * phone.uniform();
        phone.ppm = 80.0 * phone.uniform() - 40.0;
        phone.start = 1.0e6 * PERIOD + PERIOD * phone.uniform();
        phone
    }

    fn uniform(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        f64::from(u32::try_from(self.random >> 33).unwrap()) / f64::from(1_u32 << 31)
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// The next frame's count, true phase and stamp.
    fn frame(&mut self) -> (u64, f64, Timestamp<Rig>) {
        loop {
            let began = self.start;
            self.start += PERIOD * (1.0 + self.ppm * 1e-6) + std::mem::take(&mut self.left);
            if let Some(at) = self.waiting.iter().position(|(from, _)| *from <= began) {
                let (_, exposure) = self.waiting.remove(at);
                let shift = self.slope * (exposure + self.overhead) + self.scatter * self.normal();
                self.left = if self.halves { 0.5 * shift } else { 0.0 };
                self.start += shift - self.left;
            }
            let mut periods = 1;
            while self.count == Count::Periods && self.start - began > PERIOD * (real(periods) + 0.5) {
                periods += 1;
            }
            self.sequence += periods;
            if 100.0 * self.uniform() >= self.missing {
                break;
            }
        }
        let late = if 100.0 * self.uniform() < self.late { 1e6 * self.uniform() } else { 0.0 };
        let stamp = self.start + self.jitter * self.normal() + late;
        let phase = self.start - PERIOD * (self.start / PERIOD).round();
        (self.sequence, phase, Timestamp::from_nanos(Span::from_nanos_f64(stamp).as_nanos()))
    }

    fn ask(&mut self, exposure: Option<Span>) {
        let Some(exposure) = exposure else { return };
        self.confusable += u32::from(!self.waiting.is_empty());
        let latency = (3.0 + 4.0 * self.uniform()).floor() * PERIOD + 5e6 + 25e6 * self.uniform();
        if 100.0 * self.uniform() >= self.lossy {
            self.waiting.push((self.start + latency, exposure.as_nanos_f64()));
        }
    }
}

/// What came of a phone.
#[derive(Debug, Clone, Copy, Default)]
struct Outcome {
    /// Injections until it was within 100 us and 20 us, for 5 frames.
    to_100: Option<u32>,
    to_20: Option<u32>,
    /// Seconds until it was within 20 us.
    seconds: f64,
    /// Mean of the error since, in ns, injections since, and the largest error of 99 frames in 100.
    held: f64,
    injections: u32,
    p99: f64,
    confusable: u32,
}

fn injector() -> Injector {
    Injector::new(InjectConfig {
        grid: FrameGrid::new(30, 1).unwrap(),
        phase_offset: Span::ZERO,
        line_time_ns: 18_904.0,
        tolerance: Span::from_micros(20),
        settle_frames: 3,
        scatter: Span::from_micros(25),
        response: None,
        longest: None,
    })
}

fn run(phone: &mut Phone) -> Outcome {
    let mut injector = injector();
    let mut outcome = Outcome::default();
    let (mut near_100, mut near_20) = (0, 0);
    let mut errors = Vec::new();
    let mut at = 0;
    for frame in 0..REACH + HOLD {
        let (sequence, phase, time) = phone.frame();
        let error = phase.abs();
        near_100 = if error <= 100_000.0 { near_100 + 1 } else { 0 };
        near_20 = if error <= 20_000.0 { near_20 + 1 } else { 0 };
        if near_100 == 5 {
            outcome.to_100 = outcome.to_100.or(Some(injector.injections));
        }
        if outcome.to_20.is_some() {
            errors.push(error);
            if frame == at + HOLD {
                break;
            }
        } else if near_20 == 5 {
            (outcome.to_20, outcome.seconds, at) = (Some(injector.injections), real(frame) / 30.0, frame);
        } else if frame == REACH {
            break;
        }
        phone.ask(injector.handle_frame(sequence, time).exposure);
    }
    errors.sort_by(f64::total_cmp);
    outcome.held = errors.iter().sum::<f64>() / real(errors.len().max(1) as u64);
    outcome.p99 = errors.get(errors.len() * 99 / 100).copied().unwrap_or(0.0);
    outcome.injections = outcome.to_20.map_or(0, |before| injector.injections - before);
    outcome.confusable = phone.confusable;
    outcome
}

/// What came of phones of so much noise, in us.
#[derive(Debug)]
struct Score {
    to_100: f64,
    to_20: f64,
    median: u32,
    p99: u32,
    seconds: f64,
    seconds_p99: f64,
    held_us: f64,
    p99_us: f64,
    injections: f64,
    confusable: u32,
}

fn score(phones: impl Iterator<Item = Phone>) -> Score {
    let outcomes: Vec<Outcome> = phones.map(|mut phone| run(&mut phone)).collect();
    let all = real(outcomes.len() as u64);
    let share = |of: &dyn Fn(&Outcome) -> bool| real(outcomes.iter().filter(|o| of(o)).count() as u64) / all;
    let mut counts: Vec<u32> = outcomes.iter().map(|o| o.to_20.unwrap_or(999)).collect();
    counts.sort_unstable();
    let mut seconds: Vec<f64> = outcomes.iter().map(|o| o.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let mean = |of: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>() / all;
    Score {
        to_100: share(&|o| o.to_100.is_some()),
        to_20: share(&|o| o.to_20.is_some()),
        median: counts[counts.len() / 2],
        p99: counts[counts.len() * 99 / 100],
        seconds: seconds[seconds.len() / 2],
        seconds_p99: seconds[seconds.len() * 99 / 100],
        held_us: mean(&|o| o.held) / 1e3,
        p99_us: mean(&|o| o.p99) / 1e3,
        injections: mean(&|o| f64::from(o.injections)),
        confusable: outcomes.iter().map(|o| o.confusable).sum(),
    }
}

fn phones(n: u64, scatter: f64, jitter: f64, count: Count, lossy: f64) -> impl Iterator<Item = Phone> {
    (0..n).map(move |seed| Phone { scatter: scatter * 1e3, jitter: jitter * 1e3, count, lossy, ..Phone::new(seed) })
}

#[test]
fn table() {
    for (scatter, jitter) in [(5.0, 2.0), (25.0, 25.0), (60.0, 60.0)] {
        for count in [Count::Frames, Count::Periods] {
            for (late, missing, halves) in [(2.0, 0.0, false), (0.0, 2.0, false), (0.0, 0.0, true), (2.0, 2.0, true)] {
                let score = score(phones(200, scatter, jitter, count, 2.0).map(|p| Phone { late, missing, halves, ..p }));
                println!("{scatter} {jitter} {count:?} {late} {missing} {halves}: {score:.3?}");
            }
        }
    }
}
