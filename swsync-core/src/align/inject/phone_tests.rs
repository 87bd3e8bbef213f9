//! Tests with simulated phones, whose requests take a varying time.

use super::*;
use crate::testing::XorShift;

const PERIOD: f64 = 33_333_333.333;
/// The grid has to be reached within this number of frames.
const REACH: u64 = 1_800;
/// The grid then has to be held for this number of frames.
const HOLD: u64 = 1_800;

/// How frames are counted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Count {
    Frames,
    /// A long frame counts as the periods that it took.
    Periods,
}

/// A phone. A request takes 3 to 6 frames and 5 to 30 ms, at random.
#[derive(Debug, Clone)]
struct Phone {
    random: XorShift,
    slope: f64,
    overhead: f64,
    ppm: f64,
    /// Scatter of single shifts, 1 sigma, in ns.
    scatter: f64,
    /// Jitter of stamps, 1 sigma, in ns.
    jitter: f64,
    count: Count,
    /// Percentage of lost requests.
    lossy: f64,
    /// Percentage of late stamps.
    late: f64,
    /// Percentage of missing frames.
    missing: f64,
    /// Two frames share the shift, half each.
    halves: bool,
    left: f64,
    sequence: u64,
    start: f64,
    /// Exposures in flight, and the time from which a frame can have them.
    waiting: Vec<(f64, f64)>,
    /// Number of requests made before an earlier one had acted.
    confusable: u32,
}

impl Phone {
    fn new(seed: u64) -> Self {
        let mut phone = Self {
            random: XorShift::mixed(seed + 1),
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
        phone.slope = 0.8 + 1.4 * phone.random.uniform();
        phone.overhead = 50_000.0 + 550_000.0 * phone.random.uniform();
        phone.ppm = 80.0 * phone.random.uniform() - 40.0;
        phone.start = 1.0e6 * PERIOD + PERIOD * phone.random.uniform();
        phone
    }

    /// The next frame's count, true phase and stamp.
    fn frame(&mut self) -> (u64, f64, Timestamp<Rig>) {
        loop {
            let began = self.start;
            self.start += PERIOD * (1.0 + self.ppm * 1e-6) + std::mem::take(&mut self.left);
            if let Some(at) = self.waiting.iter().position(|(from, _)| *from <= began) {
                let (_, exposure) = self.waiting.remove(at);
                let shift = self.slope * (exposure + self.overhead) + self.scatter * self.random.normal();
                self.left = if self.halves { 0.5 * shift } else { 0.0 };
                self.start += shift - self.left;
            }
            let mut periods = 1;
            while self.count == Count::Periods && self.start - began > PERIOD * (real(periods) + 0.5) {
                periods += 1;
            }
            self.sequence += periods;
            if 100.0 * self.random.uniform() >= self.missing {
                break;
            }
        }
        let late = if 100.0 * self.random.uniform() < self.late { 1e6 * self.random.uniform() } else { 0.0 };
        let stamp = self.start + self.jitter * self.random.normal() + late;
        let phase = self.start - PERIOD * (self.start / PERIOD).round();
        (self.sequence, phase, Timestamp::from_nanos(Span::from_nanos_f64(stamp).as_nanos()))
    }

    fn ask(&mut self, exposure: Option<Span>) {
        let Some(exposure) = exposure else { return };
        self.confusable += u32::from(!self.waiting.is_empty());
        let latency =
            (3.0 + 4.0 * self.random.uniform()).floor() * PERIOD + 5e6 + 25e6 * self.random.uniform();
        if 100.0 * self.random.uniform() >= self.lossy {
            self.waiting.push((self.start + latency, exposure.as_nanos_f64()));
        }
    }
}

/// The outcome of one phone.
#[derive(Debug, Clone, Copy, Default)]
struct Outcome {
    /// Injections until it was within 100 us for 5 frames.
    to_100: Option<u32>,
    /// Injections until it was within 20 us for 5 frames.
    to_20: Option<u32>,
    /// Mean error since then, in ns.
    held: f64,
    /// Injections since then.
    injections: u32,
    /// Number of requests made before an earlier one had acted.
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
    let (mut errors, mut left) = (0.0, REACH);
    while left > 0 {
        left -= 1;
        let (sequence, phase, time) = phone.frame();
        let error = phase.abs();
        near_100 = if error <= 100_000.0 { near_100 + 1 } else { 0 };
        near_20 = if error <= 20_000.0 { near_20 + 1 } else { 0 };
        if near_100 == 5 {
            outcome.to_100 = outcome.to_100.or(Some(injector.injections));
        }
        if outcome.to_20.is_some() {
            errors += error;
        } else if near_20 == 5 {
            (outcome.to_20, left) = (Some(injector.injections), HOLD);
        }
        let exposure = injector.handle_frame(sequence, time).exposure;
        phone.ask(exposure);
    }
    outcome.held = errors / real(HOLD);
    outcome.injections = outcome.to_20.map_or(0, |before| injector.injections - before);
    outcome.confusable = phone.confusable;
    outcome
}

/// The outcome of many phones.
#[derive(Debug)]
struct Score {
    /// Injections until they were within 20 us: median.
    median: u32,
    /// Injections until they were within 20 us: 99th percentile.
    p99: u32,
    /// Mean error since then, in us.
    held_us: f64,
    /// Mean number of injections in the minute since then.
    injections: f64,
}

/// The score of 100 phones with this noise, in us. All have to reach 100 us and 20 us without two injections in flight at once.
fn score(scatter: f64, jitter: f64, as_well: impl Fn(Phone) -> Phone) -> Score {
    let outcomes: Vec<Outcome> = (0..100)
        .map(|seed| {
            let phone = Phone { scatter: scatter * 1e3, jitter: jitter * 1e3, ..Phone::new(seed) };
            let outcome = run(&mut as_well(phone));
            assert!(outcome.to_100.is_some() && outcome.to_20.is_some(), "seed {seed}: {outcome:?}");
            assert_eq!(outcome.confusable, 0, "seed {seed}: {outcome:?}");
            outcome
        })
        .collect();
    let mut counts: Vec<u32> = outcomes.iter().filter_map(|outcome| outcome.to_20).collect();
    counts.sort_unstable();
    let mean = |of: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>() / 100.0;
    Score {
        median: counts[50],
        p99: counts[98],
        held_us: mean(&|outcome| outcome.held) / 1e3,
        injections: mean(&|outcome| f64::from(outcome.injections)),
    }
}

#[test]
fn phones_whose_requests_take_a_varying_time_reach_the_grid_and_stay() {
    // Scatter and jitter in us, and the limits of the score.
    for (scatter, jitter, p99, held_us, injections) in [
        (5.0, 5.0, 6, 22.0, 22.0),
        (25.0, 2.0, 10, 25.0, 25.0),
        (5.0, 60.0, 12, 25.0, 26.0),
        (60.0, 60.0, 25, 42.0, 50.0),
    ] {
        let score = score(scatter, jitter, |phone| phone);
        assert!(score.median <= 5 && score.p99 <= p99, "{scatter} {jitter}: {score:?}");
        assert!(score.held_us <= held_us && score.injections <= injections, "{scatter} {jitter}: {score:?}");
    }
}

#[test]
fn other_disturbances_are_not_taken_for_effects_of_an_injection() {
    type Change = fn(Phone) -> Phone;
    let cases: [(&str, Change); 4] = [
        ("requests are lost", |phone| Phone { lossy: 10.0, ..phone }),
        ("stamps are late", |phone| Phone { late: 2.0, ..phone }),
        ("frames are missing", |phone| Phone { missing: 2.0, ..phone }),
        ("frames count as periods", |phone| Phone { count: Count::Periods, missing: 2.0, ..phone }),
    ];
    for (case, as_well) in cases {
        let score = score(25.0, 25.0, as_well);
        assert!(score.median <= 5 && score.p99 <= 15, "{case}: {score:?}");
        assert!(score.held_us <= 27.0 && score.injections <= 30.0, "{case}: {score:?}");
    }
}

#[test]
fn the_injector_recovers_from_a_long_exposure_that_stays() {
    for seed in 0..30 {
        // The request that resets the exposure after an injection is lost: frames are 10 ms longer until the next request.
        let (mut phone, mut injector) = (Phone { jitter: 5e3, scatter: 5e3, ..Phone::new(seed) }, injector());
        let (mut longer, mut near, mut until) = (0.0, 0, 0);
        for frame in 0..1_200 {
            let (sequence, phase, time) = phone.frame();
            near = if phase.abs() <= 60_000.0 { near + 1 } else { 0 };
            let exposure = injector.handle_frame(sequence, time).exposure;
            if exposure.is_some() {
                (longer, until) = if injector.injections == 2 { (10e6, frame + 8) } else { (0.0, 0) };
            }
            phone.left = if frame >= until { longer } else { 0.0 };
            phone.ask(exposure);
        }
        assert!(near > 300, "seed {seed}: {near}, {:?}", injector.latency());
    }
}

#[test]
fn latency_is_learnt_with_its_spread() {
    let (mut phone, mut injector) = (Phone { scatter: 25e3, jitter: 5e3, ..Phone::new(3) }, injector());
    for _ in 0..6_000 {
        let (sequence, _, time) = phone.frame();
        let exposure = injector.handle_frame(sequence, time).exposure;
        phone.ask(exposure);
    }
    // A frame can begin with the exposure after 3 to 6 frames and 5 to 30 ms. It is then the last frame that does not move.
    let (mean, deviation) = injector.latency();
    assert!((5.5..7.0).contains(&mean) && (0.5..1.6).contains(&deviation), "{mean} {deviation}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    /// For any phone: no two injections in flight at once, and the grid is reached.
    #[test]
    fn no_two_injections_are_in_flight_at_once(
        seed in 0_u64..1_000_000,
        scatter in 5e3..60e3,
        jitter in 2e3..60e3,
        slope in 0.8..2.2,
        periods in proptest::bool::ANY,
        lossy in 0.0..10.0,
        late in 0.0..3.0,
        missing in 0.0..2.0,
        halves in proptest::bool::ANY,
    ) {
        let count = if periods { Count::Periods } else { Count::Frames };
        let new = Phone::new(seed);
        let mut phone = Phone { scatter, jitter, slope, count, lossy, late, missing, halves, ..new };
        let outcome = run(&mut phone);
        proptest::prop_assert_eq!(outcome.confusable, 0);
        proptest::prop_assert!(outcome.to_100.is_some() && outcome.to_20.is_some(), "{:?}", outcome);
    }
}
