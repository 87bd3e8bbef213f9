use proptest::prelude::*;

use super::*;
use crate::testing::XorShift;

const PERIOD: f64 = 33_333_333.333;

/// A camera whose one long exposure shifts all later frames.
struct Camera {
    random: XorShift,
    slope: f64,
    origin: f64,
    overhead: f64,
    ppm: f64,
    phase: f64,
    sequence: u64,
    start: f64,
    waiting: Vec<(u64, f64)>,
    latency: u64,
    lose: u32,
}

impl Camera {
    fn new(seed: u64) -> Self {
        let mut camera = Self {
            random: XorShift::mixed(seed + 1),
            slope: 1.0,
            origin: 0.0,
            overhead: 0.0,
            ppm: 0.0,
            phase: 0.0,
            sequence: 0,
            start: 0.0,
            waiting: Vec::new(),
            latency: 3,
            lose: 0,
        };
        camera.slope = 2.0_f64.powf(2.0 * camera.random.uniform() - 1.0);
        camera.origin = if camera.random.uniform() < 0.5 { PERIOD } else { 0.0 };
        camera.overhead = 500_000.0 * camera.random.uniform();
        camera.ppm = 40.0 * camera.random.uniform() - 20.0;
        camera.start = 1.0e6 * PERIOD + PERIOD * camera.random.uniform();
        camera
    }

    /// The next frame's count, true phase and stamp.
    fn frame(&mut self) -> (u64, f64, Timestamp<Rig>) {
        let sequence = self.sequence;
        self.sequence += 1;
        self.start += PERIOD * (1.0 + self.ppm * 1e-6);
        if let Some(at) = self.waiting.iter().position(|(frame, _)| *frame == sequence) {
            let (_, exposure) = self.waiting.remove(at);
            self.start +=
                self.slope * (exposure - self.origin) + self.overhead + 25_000.0 * self.random.normal();
        }
        let stamp = self.start + 2_000.0 * self.random.normal();
        self.phase = self.start - PERIOD * (self.start / PERIOD).round();
        (sequence, self.phase, Timestamp::from_nanos(Span::from_nanos_f64(stamp).as_nanos()))
    }

    fn ask(&mut self, exposure: Option<Span>) {
        if let Some(exposure) = exposure {
            if self.lose > 0 {
                self.lose -= 1;
                return;
            }
            self.waiting.push((self.sequence - 1 + self.latency, exposure.as_nanos_f64()));
        }
    }
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

/// Number of injections until the stream is truly on the grid.
fn converge(camera: &mut Camera, injector: &mut Injector) -> Option<u32> {
    for _ in 0..600 {
        let (sequence, phase, time) = camera.frame();
        let report = injector.handle_frame(sequence, time);
        camera.ask(report.exposure);
        if report.lock == LockState::Locked && phase.abs() <= 22_000.0 {
            return Some(report.injections);
        }
    }
    None
}

#[test]
fn an_unknown_slope_converges_in_a_few_injections() {
    let mut counts: Vec<u32> =
        (0..400).map(|seed| converge(&mut Camera::new(seed), &mut injector()).unwrap_or(99)).collect();
    counts.sort_unstable();
    assert!(counts[200] <= 3, "median {}", counts[200]);
    assert!(counts[396] <= 9, "p99 {}", counts[396]);
}

#[test]
fn a_lost_injection_is_repeated() {
    for seed in 0..20 {
        let (mut camera, mut injector) = (Camera::new(seed), injector());
        camera.lose = 1;
        let count = converge(&mut camera, &mut injector).expect("it converges all the same");
        assert!(count >= 2 && injector.slope().1 < 0.6, "{count}");
    }
}

#[test]
fn a_known_response_needs_no_learning() {
    let known = ExposureResponse {
        slope: 2.0,
        overhead_ns: 200_000.0,
        min_exposure_ns: 33_370_000.0,
        scatter_ns: 25_000.0,
        uncertainty: None,
    };
    let mut counts: Vec<u32> = (0..200)
        .map(|seed| {
            let mut camera = Camera::new(seed);
            (camera.slope, camera.origin, camera.overhead) = (2.0, 0.0, 400_000.0);
            let config = InjectConfig { response: Some(known), ..injector().config };
            converge(&mut camera, &mut Injector::new(config)).unwrap_or(99)
        })
        .collect();
    counts.sort_unstable();
    assert!(counts[100] <= 2 && counts[198] <= 7, "{counts:?}");
}

#[test]
fn no_exposure_is_longer_than_the_camera_supports() {
    let longest = Span::from_millis(70);
    let mut counts: Vec<u32> = (0..100)
        .map(|seed| {
            let (mut camera, mut injector) = (Camera::new(seed), injector());
            injector = Injector::new(InjectConfig { longest: Some(longest), ..injector.config });
            for _ in 0..600 {
                let (sequence, phase, time) = camera.frame();
                let report = injector.handle_frame(sequence, time);
                assert!(report.exposure.is_none_or(|exposure| exposure <= longest), "{report:?}");
                camera.ask(report.exposure);
                if report.lock == LockState::Locked && phase.abs() <= 22_000.0 {
                    return report.injections;
                }
            }
            99
        })
        .collect();
    counts.sort_unstable();
    assert!(counts[50] <= 4 && counts[95] <= 20, "{counts:?}");
}

#[test]
fn a_camera_that_ignores_long_exposures_is_reported() {
    let (mut camera, mut injector) = (Camera::new(7), injector());
    camera.lose = u32::MAX;
    let mut problem = None;
    for _ in 0..600 {
        let (sequence, _, time) = camera.frame();
        let report = injector.handle_frame(sequence, time);
        camera.ask(report.exposure);
        problem = problem.or(report.problem);
    }
    assert_eq!(problem, Some(AlignProblem::NoEffect { injections: MAX_INEFFECTIVE }));
}

#[test]
fn a_new_target_is_reached_with_the_learnt_response() {
    let (mut camera, mut injector) = (Camera::new(3), injector());
    converge(&mut camera, &mut injector).expect("it converges");
    let target = AlignerTarget {
        phase_offset: Span::from_millis(8),
        tolerance: Span::from_micros(50),
        settle_frames: 5,
        max_slew: None,
    };
    injector.set_target(target);
    let (mut states, mut error) = (Vec::new(), f64::MAX);
    let before = injector.injections;
    for _ in 0..300 {
        let (sequence, phase, time) = camera.frame();
        let report = injector.handle_frame(sequence, time);
        camera.ask(report.exposure);
        states.push(report.lock);
        error = phase - 8e6;
    }
    assert_eq!(states[0], LockState::Aligning);
    assert!(states[299] == LockState::Locked && error.abs() < 200_000.0, "{error}");
    assert!(injector.injections - before <= 4);
}

proptest! {
    /// For any stamps: no panic, and every exposure makes a long frame.
    #[test]
    fn exposures_are_plausible_for_any_stamps(
        steps in proptest::collection::vec((0_u64..4, -100_000_000_i64..400_000_000), 1..300),
    ) {
        let mut injector = injector();
        let (mut sequence, mut time) = (0, 1_000_000_000_000);
        for (step, span) in steps {
            (sequence, time) = (sequence + step, time + span);
            let report = injector.handle_frame(sequence, Timestamp::from_nanos(time));
            if let Some(exposure) = report.exposure {
                let periods = exposure.as_nanos_f64() / PERIOD;
                prop_assert!((1.0..16.0).contains(&periods), "{periods}");
            }
            prop_assert!(report.phase_error.abs() <= Span::from_nanos(16_666_668));
            let learnt = injector.learnt();
            prop_assert!(learnt.slope >= 0.1 && learnt.overhead_ns.is_finite(), "{learnt:?}");
        }
    }

    /// For any shifts between frames of a steady stream.
    #[test]
    fn any_response_is_survived(
        shifts in proptest::collection::vec(-200_000_000_i64..200_000_000, 1..12), latency in 1_u64..8,
    ) {
        let mut injector = injector();
        let (mut time, mut due, mut shifts) = (1_000_000_000_000_i64, None, shifts.into_iter());
        for sequence in 0..600 {
            if due == Some(sequence) {
                time += shifts.next().unwrap_or(0).max(-33_000_000);
            }
            let report = injector.handle_frame(sequence, Timestamp::from_nanos(time));
            if report.exposure.is_some() {
                due = Some(sequence + latency);
            }
            time += 33_333_333;
        }
        let learnt = injector.learnt();
        prop_assert!(learnt.slope >= 0.1 && learnt.overhead_ns.is_finite(), "{learnt:?}");
    }
}
