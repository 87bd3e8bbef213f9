use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::align::SensorTiming;
use crate::grid::FrameGrid;
use crate::testing::XorShift;

/// An arithmetic model of a sensor: line quantum, latency, jitter, late stamps, lost writes, drops.
#[derive(Debug)]
struct Sensor {
    random: XorShift,
    line_ns: f64,
    latency: usize,
    start_ns: f64,
    sequence: u64,
    registers: u32,
    queue: VecDeque<Option<u32>>,
    lost_writes: f64,
    drops: f64,
    limits: (u32, u32),
    /// The limits that it really has.
    clamps: (u32, u32),
}

const NOMINAL_LINE: f64 = 18_904.0;

impl Sensor {
    fn new(seed: u64, phase_ns: f64, ppm: f64) -> Self {
        Self {
            random: XorShift::new(seed * 2 + 1),
            line_ns: NOMINAL_LINE * (1.0 + ppm * 1e-6),
            latency: 3,
            start_ns: 1.8e6 * 33_333_333.333_333_3 + phase_ns,
            sequence: 0,
            registers: 1763,
            queue: VecDeque::new(),
            lost_writes: 0.0,
            drops: 0.0,
            limits: (1112, 65_535),
            clamps: (0, u32::MAX),
        }
    }

    /// Count, true start and stamped start of the next delivered frame.
    fn frame(&mut self) -> (u64, f64, f64) {
        loop {
            let start = self.start_ns;
            let sequence = self.sequence;
            if self.queue.len() >= self.latency
                && let Some(Some(lines)) = self.queue.pop_front()
            {
                assert!((self.limits.0..=self.limits.1).contains(&lines), "asked for {lines}");
                self.registers = lines.clamp(self.clamps.0, self.clamps.1);
            }
            self.start_ns += f64::from(self.registers) * self.line_ns;
            self.sequence += 1;
            let mut stamp = start + (self.random.uniform() - 0.5) * 14_000.0;
            if self.random.uniform() < 0.02 {
                stamp += 20_000.0 + self.random.uniform() * 180_000.0;
            }
            if self.random.uniform() >= self.drops {
                return (sequence, start, stamp);
            }
            self.queue.push_back(None);
        }
    }

    fn ask(&mut self, lines: Option<u32>) {
        let lost = self.random.uniform() < self.lost_writes;
        self.queue.push_back(lines.filter(|_| !lost));
    }
}

fn aligner() -> Aligner {
    let sensor = SensorTiming {
        line_time_ns: NOMINAL_LINE,
        min_lines: 1112,
        max_lines: 65_535,
        nominal_lines: 1763,
        latency: 3,
        line_step: 1,
        exposure_margin: 4,
    };
    Aligner::new(AlignerConfig::new(FrameGrid::new(30, 1).unwrap(), sensor, Span::from_micros(20), 3))
}

struct Trace {
    true_errors: Vec<f64>,
    reports: Vec<AlignerReport>,
}

#[expect(clippy::cast_possible_truncation, reason = "a test's numbers are small")]
fn run(sensor: &mut Sensor, aligner: &mut Aligner, frames: usize) -> Trace {
    let grid = FrameGrid::new(30, 1).unwrap();
    let error = |ns: f64| grid.phase_error(Timestamp::from_nanos(ns as i64)).as_micros_f64();
    let mut trace = Trace { true_errors: Vec::new(), reports: Vec::new() };
    for _ in 0..frames {
        let (sequence, start, stamp) = sensor.frame();
        let report = aligner.handle_frame(sequence, Timestamp::from_nanos(stamp as i64));
        sensor.ask(report.lines);
        trace.true_errors.push(error(start));
        trace.reports.push(report);
    }
    trace
}

impl Trace {
    fn locked_at(&self) -> usize {
        self.reports.iter().position(|r| r.lock == LockState::Locked).expect("never locked")
    }
}

#[test]
fn small_displacements_keep_the_lock_and_a_large_one_ends_it() {
    let (mut sensor, mut aligner) = (Sensor::new(5, 4_000_000.0, 12.0), aligner());
    run(&mut sensor, &mut aligner, 60);
    // The aligned instant moves by 100 us within the frame, 5 us at a time: the lock stays.
    for _ in 0..20 {
        sensor.start_ns += 5_000.0;
        aligner.displace(Span::from_micros(5));
        let trace = run(&mut sensor, &mut aligner, 1);
        assert_eq!(trace.reports[0].lock, LockState::Locked);
    }
    let trace = run(&mut sensor, &mut aligner, 30);
    assert!(trace.reports.iter().all(|report| report.lock == LockState::Locked));
    assert!(trace.true_errors[20..].iter().all(|error| error.abs() < 30.0), "{:?}", trace.true_errors);
    // 2 ms at once: the lock ends with the first frame, and there is a new one after a few frames.
    sensor.start_ns += 2e6;
    aligner.displace(Span::from_millis(2));
    let trace = run(&mut sensor, &mut aligner, 30);
    assert_eq!(trace.reports[0].lock, LockState::Aligning);
    assert!(trace.locked_at() <= 12, "{}", trace.locked_at());
    assert_eq!(trace.reports[29].lock_count, 2);
}

#[test]
fn a_new_target_is_reached_at_once_or_slowly() {
    for (max_slew, most) in [(None, 12), (Some(0.01), 40)] {
        let (mut sensor, mut aligner) = (Sensor::new(9, -3_000_000.0, 12.0), aligner());
        run(&mut sensor, &mut aligner, 60);
        let target = AlignerTarget {
            phase_offset: Span::from_millis(8),
            tolerance: Span::from_micros(20),
            settle_frames: 3,
            max_slew,
        };
        aligner.set_target(target);
        aligner.set_target(target); // the second call has no effect
        let trace = run(&mut sensor, &mut aligner, 80);
        assert_eq!(trace.reports[0].lock, LockState::Aligning);
        assert!(trace.locked_at() <= most, "{}", trace.locked_at());
        assert!(trace.true_errors[70..].iter().all(|error| (error - 8_000.0).abs() < 40.0));
        if let Some(slew) = max_slew {
            let steps = trace.true_errors.windows(2).map(|pair| (pair[1] - pair[0]).abs());
            assert!(steps.fold(0.0, f64::max) <= 33_333.3 * slew + 40.0);
        }
    }
}

#[test]
fn any_phase_locks_within_a_third_of_a_second_and_holds_within_a_line() {
    for seed in 0..200_u64 {
        let phase = -16.6e6 + 33.3e6 * f64::from(u32::try_from(seed).unwrap()) / 200.0;
        let mut sensor = Sensor::new(seed + 1, phase, 40.0 - f64::from(u8::try_from(seed % 80).unwrap()));
        let trace = run(&mut sensor, &mut aligner(), 600);
        let locked = trace.locked_at();
        assert!(locked <= 16, "seed {seed}: locked at frame {locked}");
        for (frame, error) in trace.true_errors.iter().enumerate().skip(locked) {
            assert!(error.abs() < 40.0, "seed {seed}, frame {frame}: {error} us");
        }
        let mean = trace.true_errors[locked..].iter().map(|e| e.abs()).sum::<f64>()
            / f64::from(u32::try_from(600 - locked).unwrap());
        assert!(mean < 8.0, "seed {seed}: {mean} us on average");
    }
}

#[test]
fn an_error_is_corrected_by_one_long_frame() {
    let mut sensor = Sensor::new(5, -9e6, 0.0);
    let trace = run(&mut sensor, &mut aligner(), 30);
    let long = trace.reports.iter().filter(|r| r.lines.is_some_and(|lines| lines > 1800)).count();
    assert_eq!(long, 1, "{:?}", trace.reports);
}

#[test]
fn the_aligner_recovers_from_lost_writes_and_drops() {
    let mut sensor = Sensor::new(17, 5e6, 10.0);
    sensor.lost_writes = 0.003;
    sensor.drops = 0.001;
    let trace = run(&mut sensor, &mut aligner(), 20_000);
    let locked = trace.locked_at();
    let off = trace.true_errors[locked..].iter().filter(|e| e.abs() > 60.0).count();
    assert!(off < 60, "{off} frames of 20000 beyond 60 us");
}

#[test]
fn a_lost_correction_is_noticed_and_repeated() {
    let mut sensor = Sensor::new(5, -9e6, 0.0);
    let mut aligner = aligner();
    let mut injections = 0;
    let mut last = 0.0;
    for _ in 0..60 {
        let (sequence, start, stamp) = sensor.frame();
        #[expect(clippy::cast_possible_truncation, reason = "a test's numbers are small")]
        let report = aligner.handle_frame(sequence, Timestamp::from_nanos(stamp as i64));
        let injected = report.lines.is_some_and(|lines| lines > 1800);
        injections += usize::from(injected);
        sensor.ask(report.lines.filter(|_| !(injected && injections == 1)));
        last = start;
    }
    assert_eq!(injections, 2);
    let grid = FrameGrid::new(30, 1).unwrap();
    #[expect(clippy::cast_possible_truncation, reason = "a test's numbers are small")]
    let error = grid.phase_error(Timestamp::from_nanos(last as i64));
    assert!(error.abs() < Span::from_micros(30), "{error:?}");
}

#[test]
fn a_slewing_clock_is_followed() {
    let mut sensor = Sensor::new(8, 1e6, 0.0);
    let mut aligner = aligner();
    run(&mut sensor, &mut aligner, 100);
    // A correction of 100 us, slewed at 500 ppm: 0.2 s.
    for _ in 0..6 {
        sensor.start_ns += 16_666.0;
        run(&mut sensor, &mut aligner, 1);
    }
    let trace = run(&mut sensor, &mut aligner, 60);
    assert!(trace.true_errors[40..].iter().all(|e| e.abs() < 32.0), "{:?}", trace.true_errors);
}

#[test]
fn corrections_of_the_clock_keep_the_lock() {
    // The servo's correction of 200 us, with a time constant of 2 s.
    for seed in 1..50 {
        let mut sensor = Sensor::new(seed, 1e6, 20.0);
        let mut aligner = aligner();
        run(&mut sensor, &mut aligner, 100);
        let mut left = if seed % 2 == 0 { 200_000.0 } else { -200_000.0 };
        for frame in 0..150 {
            sensor.start_ns += left / 60.0;
            left -= left / 60.0;
            let trace = run(&mut sensor, &mut aligner, 1);
            assert_eq!(trace.reports[0].lock, LockState::Locked, "seed {seed}, frame {frame}");
            assert!(trace.true_errors[0].abs() < 60.0, "seed {seed}: {:?}", trace.true_errors);
        }
    }
}

#[test]
fn losing_the_lock_is_reported() {
    let mut sensor = Sensor::new(8, 1e6, 0.0);
    let mut aligner = aligner();
    run(&mut sensor, &mut aligner, 60);
    sensor.start_ns += 5e6;
    let trace = run(&mut sensor, &mut aligner, 40);
    let states: Vec<_> = trace.reports.iter().map(|r| r.lock).collect();
    assert!(states.contains(&LockState::Lost), "{states:?}");
    assert_eq!(states.last(), Some(&LockState::Locked));
}

#[test]
fn a_latency_that_differs_from_the_profile_is_learnt() {
    for (latency, seed) in
        [(2, 3), (3, 4), (4, 5), (5, 6)].into_iter().flat_map(|(l, s)| [(l, s), (l, s + 40)])
    {
        let mut sensor = Sensor::new(seed, 9e6, 15.0);
        sensor.latency = latency;
        let trace = run(&mut sensor, &mut aligner(), 300);
        let locked = trace.locked_at();
        assert!(locked <= 16, "latency {latency}: locked at frame {locked}");
        assert!(trace.true_errors[locked..].iter().all(|e| e.abs() < 60.0), "latency {latency}");
        let last = trace.reports.last().unwrap();
        // This sensor counts the latency from the frame that is exposed while the request arrives.
        assert_eq!(last.latency as usize, latency, "{:?}", last.problem);
        let told = last.problem.is_none();
        assert_eq!(told, latency == 3, "{:?}", last.problem);
    }
}

#[test]
fn an_unknown_limit_is_discovered_and_reported() {
    let mut sensor = Sensor::new(11, -9e6, 0.0);
    sensor.clamps = (1_600, 1_900);
    let trace = run(&mut sensor, &mut aligner(), 120);
    let found = trace.reports.iter().find_map(|r| match r.problem {
        Some(AlignProblem::Clamped { asked, got }) => Some((asked, got)),
        _ => None,
    });
    let (asked, got) = found.expect("a report");
    assert!(asked > 2_000 && (1_890..=1_910).contains(&got), "{asked} {got}");
    assert!(trace.true_errors[110..].iter().all(|e| e.abs() < 40.0), "{:?}", trace.true_errors);
}

#[test]
fn max_slew_limits_the_lengths() {
    let config = AlignerConfig { max_slew: Some(0.01), ..aligner().config };
    let mut sensor = Sensor::new(5, 9e6, -10.0);
    let trace = run(&mut sensor, &mut Aligner::new(config), 120);
    let locked = trace.locked_at();
    assert!((25..50).contains(&locked), "{locked}");
    // 1 % of 1763 lines
    let lines = trace.reports.iter().filter_map(|r| r.lines);
    assert!(lines.clone().all(|lines| (1_746..=1_781).contains(&lines)), "{:?}", lines.collect::<Vec<_>>());
}

#[test]
fn too_little_headroom_is_reported() {
    let of = |sensor: SensorTiming, exposure| {
        let mut aligner = Aligner::new(AlignerConfig { sensor, ..aligner().config });
        aligner.set_exposure(exposure);
        let mut camera = Sensor::new(5, 9e6, 0.0);
        (camera.limits, camera.clamps) = ((0, u32::MAX), (sensor.min_lines, sensor.max_lines));
        run(&mut camera, &mut aligner, 40).reports[20].problem
    };
    let sensor = aligner().config.sensor;
    assert_eq!(of(sensor, Span::from_millis(10)), None);
    let tight = SensorTiming { min_lines: 1_760, max_lines: 1_766, ..sensor };
    let problem = of(tight, Span::ZERO);
    assert!(matches!(problem, Some(AlignProblem::LittleHeadroom { frames: 100.., .. })), "{problem:?}");
    let fast = SensorTiming { min_lines: 1_000, max_lines: 1_700, nominal_lines: 1_700, ..sensor };
    assert!(matches!(of(fast, Span::ZERO), Some(AlignProblem::OffRate { period: 1763, .. })));
    let problem = of(sensor, Span::from_millis(40));
    assert!(matches!(problem, Some(AlignProblem::ExposureTooLong { period: 1763, .. })), "{problem:?}");
}

#[test]
fn a_phase_offset_is_kept() {
    let offset = Span::from_micros(8_333);
    let config = AlignerConfig { phase_offset: offset, ..aligner().config };
    let mut sensor = Sensor::new(9, 1e6, 0.0);
    let trace = run(&mut sensor, &mut Aligner::new(config), 60);
    assert!(trace.true_errors[40..].iter().all(|e| (e - 8_333.0).abs() < 40.0), "{:?}", trace.true_errors);
    assert!(trace.reports[50].phase_error.abs() < Span::from_micros(30));
}

#[test]
fn a_multiple_of_the_rate_shares_the_grid() {
    // Every fourth frame of 120 per second is on the grid of 30 per second.
    let config = aligner().config;
    let sensor = SensorTiming { min_lines: 300, nominal_lines: 440, ..config.sensor };
    let config = AlignerConfig { grid: FrameGrid::new(120, 1).unwrap(), sensor, ..config };
    let (mut camera, mut aligner) = (Sensor::new(3, 2e6, 10.0), Aligner::new(config));
    (camera.registers, camera.limits) = (440, (300, 65_535));
    let trace = run(&mut camera, &mut aligner, 200);
    let slow = FrameGrid::new(30, 1).unwrap();
    let near = trace.true_errors[100..].iter().filter(|us| us.abs() < 40.0).count();
    assert_eq!((near, slow.rate()), (25, (30, 1)), "{:?}", trace.true_errors);
}

#[test]
fn the_lock_coasts_through_holdover() {
    let mut sensor = Sensor::new(8, 1e6, 0.0);
    let mut aligner = aligner();
    run(&mut sensor, &mut aligner, 60);
    aligner.set_holdover(true);
    let coasting = run(&mut sensor, &mut aligner, 60).reports;
    assert!(coasting.iter().all(|r| r.lock == LockState::Coasting && r.lock_count == 1));
    aligner.set_holdover(false);
    assert_eq!(run(&mut sensor, &mut aligner, 1).reports[0].lock, LockState::Locked);
}

#[test]
fn a_known_displacement_is_corrected() {
    let mut sensor = Sensor::new(8, 1e6, 0.0);
    let mut aligner = aligner();
    run(&mut sensor, &mut aligner, 60);
    // Exposure shrinks by 4 ms: its middle is 2 ms later.
    sensor.start_ns += 2e6;
    aligner.displace(Span::from_millis(2));
    let trace = run(&mut sensor, &mut aligner, 40);
    assert!((trace.reports[0].phase_error - Span::from_millis(2)).abs() < Span::from_micros(40));
    assert_eq!(trace.reports[0].lock, LockState::Aligning, "reported at once");
    assert_eq!((trace.reports[39].lock, trace.reports[39].lock_count), (LockState::Locked, 2));
}

#[test]
fn frames_in_a_batch_trigger_no_requests() {
    let grid = FrameGrid::new(30, 1).unwrap();
    let at = |ns: f64| Timestamp::from_nanos(Span::from_nanos_f64(ns).as_nanos());
    let (mut sensor, mut aligner) = (Sensor::new(3, 9e6, 20.0), aligner());
    let mut held_until = 0.0;
    for frame in 0..200 {
        let (sequence, start, stamp) = sensor.frame();
        // The pipeline takes four frames to start, and stalls for three frames later on.
        let stall = [(0, 130e6), (100, 100e6)].iter().find(|(begin, _)| *begin == frame);
        held_until = stall.map_or(held_until, |(_, span)| start + span);
        let report = aligner.handle_frame_at(sequence, at(stamp), at(held_until.max(start + 25e6)));
        let waited = start + 25e6 < held_until && stall.is_none();
        assert!(!waited || report.lines.is_none(), "frame {frame}: {report:?}");
        sensor.ask(report.lines);
        let error = grid.phase_error(at(start)).abs();
        assert!(frame < 12 || error < Span::from_micros(150), "frame {frame}: {error:?}");
        assert!(frame < 130 || report.lock == LockState::Locked, "frame {frame}: {report:?}");
    }
}

#[test]
fn short_frames_that_all_arrive_late_are_lengthened() {
    let grid = FrameGrid::new(30, 1).unwrap();
    let (mut sensor, mut aligner) = (Sensor::new(8, 6e6, 12.0), aligner());
    let mut last = None;
    for frame in 0..200 {
        let (sequence, start, stamp) = sensor.frame();
        let at = |ns: f64| Timestamp::from_nanos(Span::from_nanos_f64(ns).as_nanos());
        // Delivered 27 ms after their start: late if frames are short. The frame after the first correction is always late.
        let delivered = stamp + if frame == 3 { 40e6 } else { 27e6 };
        let report = aligner.handle_frame_at(sequence, at(stamp), at(delivered));
        sensor.ask(report.lines);
        last = Some((report.lock, grid.phase_error(at(start)).abs()));
    }
    let (lock, error) = last.unwrap();
    assert!(lock == LockState::Locked && error < Span::from_micros(60), "{lock:?} {error:?}");
}

#[test]
fn the_aligner_recovers_from_restarted_counts_and_long_gaps() {
    let mut sensor = Sensor::new(8, 1e6, 0.0);
    let mut aligner = aligner();
    run(&mut sensor, &mut aligner, 60);
    for sequence in [0, 1_000_000_000_000, u64::MAX - 50] {
        sensor.sequence = sequence;
        let trace = run(&mut sensor, &mut aligner, 40);
        assert_ne!(trace.reports[1].lock, LockState::Locked);
        assert_eq!(trace.reports[39].lock, LockState::Locked);
    }
}

/// Any sensor, with any faults.
fn any_sensor() -> impl Strategy<Value = (Sensor, AlignerConfig)> {
    let nature = (1_u64..1_000_000, -16.0e6..16.0e6, -50.0..50.0, 1_usize..6);
    let faults = (0.0..0.05, 0.0..0.02, 1_200_u32..1_740, 1_790_u32..4_000);
    (nature, faults).prop_map(|((seed, phase, ppm, latency), (drops, lost, min, max))| {
        let mut sensor = Sensor::new(seed, phase, ppm);
        sensor.latency = latency;
        (sensor.drops, sensor.lost_writes, sensor.limits) = (drops, lost, (min, max));
        let mut config = aligner().config;
        (config.sensor.min_lines, config.sensor.max_lines) = (min, max);
        // The configured latency is off by at most one.
        config.sensor.latency =
            u32::try_from(latency).unwrap().saturating_sub(u32::from(seed % 3 == 0)).max(1);
        (sensor, config)
    })
}

proptest! {
    /// For any latency, limits and faults: no request is outside the limits (the sensor asserts it), nothing panics, and the phase
    /// error stays in its range.
    #[test]
    fn requests_stay_within_the_limits(
        seed in 1_u64..1_000_000, phase in -16.0e6..16.0e6, ppm in -200.0..200.0, latency in 1_usize..7,
        min in 1000_u32..1763, max in 1764_u32..4000, drops in 0.0..0.2,
    ) {
        let mut sensor = Sensor::new(seed, phase, ppm);
        (sensor.latency, sensor.drops, sensor.limits) = (latency, drops, (min, max));
        let mut config = aligner().config;
        (config.sensor.min_lines, config.sensor.max_lines) = (min, max);
        let trace = run(&mut sensor, &mut Aligner::new(config), 300);
        for report in trace.reports {
            prop_assert!(report.phase_error.abs() <= Span::from_nanos(16_666_668));
        }
    }

    /// For any sensor and faults, the aligner locks again after every displacement.
    #[test]
    fn it_always_locks_again((mut sensor, config) in any_sensor()) {
        let mut aligner = Aligner::new(config);
        for kick in [0.0, 7e6, -3e5] {
            sensor.start_ns += kick;
            let trace = run(&mut sensor, &mut aligner, 400);
            let locked = trace.reports.iter().skip(10).any(|r| r.lock == LockState::Locked);
            prop_assert!(locked, "never locked after {kick}");
            let near = trace.true_errors[100..].iter().filter(|us| us.abs() < 100.0).count();
            prop_assert!(near > 200, "{near} of 300 frames near the grid after {kick}");
        }
    }

    /// For any stamps.
    #[test]
    fn requests_stay_within_the_limits_for_any_stamps(
        stamps in proptest::collection::vec((0_u64..100, 0_i64..4_000_000_000_000_000_000), 1..200),
        exposure in 0_i64..100_000_000, slew in proptest::option::of(0.0..2.0), step in 1_u32..40,
    ) {
        let mut config = AlignerConfig { max_slew: slew, ..aligner().config };
        config.sensor.line_step = step;
        let mut aligner = Aligner::new(config);
        aligner.set_exposure(Span::from_nanos(exposure));
        let mut sequence = 0;
        for (step, time) in stamps {
            sequence += step;
            let report = aligner.handle_frame(sequence, Timestamp::from_nanos(time));
            if let Some(lines) = report.lines {
                prop_assert!((1112..=65_535).contains(&lines), "{lines}");
            }
            prop_assert!(report.phase_error.abs() <= Span::from_nanos(16_666_668));
        }
    }
}

#[test]
#[expect(clippy::cast_possible_truncation, reason = "times of this century")]
fn a_frame_far_off_the_grid_is_never_locked() {
    let mut aligner = aligner();
    let mut sensor = Sensor::new(5, 9e6, 20.0);
    let mut displaced = 0;
    for i in 0..2000 {
        // Now and then the sensor makes a long frame without a request.
        if i % 400 == 399 {
            sensor.start_ns += 14e6;
        }
        let (sequence, start, stamp) = sensor.frame();
        let report = aligner.handle_frame(sequence, Timestamp::from_nanos(stamp as i64));
        let error = aligner.config.grid.phase_error(Timestamp::from_nanos(start as i64)).abs();
        if error > Span::from_millis(2) {
            displaced += 1;
            assert_ne!(report.lock, LockState::Locked, "{i}: {error:?}");
            assert!((report.phase_error.abs() - error).abs() < Span::from_millis(1), "{i}: {report:?}");
        }
        sensor.ask(report.lines);
    }
    assert!(displaced > 8, "{displaced}");
}
