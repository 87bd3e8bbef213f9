use std::collections::VecDeque;

use super::*;
use proptest::prelude::*;

/// A sensor in arithmetic: line quantum, latency, jitter, late stamps, lost writes, drops.
struct Sensor {
    random: u64,
    line_ns: f64,
    latency: usize,
    start_ns: f64,
    sequence: u64,
    registers: u32,
    queue: VecDeque<Option<u32>>,
    lost_writes: f64,
    drops: f64,
    limits: (u32, u32),
}

const NOMINAL_LINE: f64 = 18_904.0;

impl Sensor {
    fn new(seed: u64, phase_ns: f64, ppm: f64) -> Self {
        Self {
            random: seed * 2 + 1,
            line_ns: NOMINAL_LINE * (1.0 + ppm * 1e-6),
            latency: 3,
            start_ns: 1.8e6 * 33_333_333.333_333_3 + phase_ns,
            sequence: 0,
            registers: 1763,
            queue: VecDeque::new(),
            lost_writes: 0.0,
            drops: 0.0,
            limits: (1112, 65_535),
        }
    }

    fn uniform(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        f64::from(u32::try_from(self.random >> 33).unwrap()) / f64::from(1_u32 << 31)
    }

    /// The true and the stamped start of the next frame that is delivered.
    fn frame(&mut self) -> (u64, f64, f64) {
        loop {
            let start = self.start_ns;
            let sequence = self.sequence;
            if self.queue.len() >= self.latency
                && let Some(Some(lines)) = self.queue.pop_front()
            {
                assert!((self.limits.0..=self.limits.1).contains(&lines), "asked for {lines}");
                self.registers = lines;
            }
            self.start_ns += f64::from(self.registers) * self.line_ns;
            self.sequence += 1;
            let mut stamp = start + (self.uniform() - 0.5) * 14_000.0;
            if self.uniform() < 0.02 {
                stamp += 20_000.0 + self.uniform() * 180_000.0;
            }
            if self.uniform() >= self.drops {
                return (sequence, start, stamp);
            }
            self.queue.push_back(None);
        }
    }

    fn ask(&mut self, lines: Option<u32>) {
        let lost = self.uniform() < self.lost_writes;
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
    reports: Vec<Report>,
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
fn an_error_goes_in_one_long_frame() {
    let mut sensor = Sensor::new(5, -9e6, 0.0);
    let trace = run(&mut sensor, &mut aligner(), 30);
    let long = trace.reports.iter().filter(|r| r.lines.is_some_and(|lines| lines > 1800)).count();
    assert_eq!(long, 1, "{:?}", trace.reports);
}

#[test]
fn lost_writes_and_drops_are_recovered_from() {
    let mut sensor = Sensor::new(17, 5e6, 10.0);
    sensor.lost_writes = 0.003;
    sensor.drops = 0.001;
    let trace = run(&mut sensor, &mut aligner(), 20_000);
    let locked = trace.locked_at();
    let off = trace.true_errors[locked..].iter().filter(|e| e.abs() > 60.0).count();
    assert!(off < 60, "{off} frames of 20000 beyond 60 us");
}

#[test]
fn a_lost_injection_is_noticed_and_repeated() {
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
fn a_clock_that_moves_is_followed() {
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
fn corrections_of_the_clock_cost_no_lock() {
    // What the servo does with an estimate that moves: 200 us, worked off with a time constant of 2 s.
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
fn losing_the_lock_is_said() {
    let mut sensor = Sensor::new(8, 1e6, 0.0);
    let mut aligner = aligner();
    run(&mut sensor, &mut aligner, 60);
    sensor.start_ns += 5e6;
    let trace = run(&mut sensor, &mut aligner, 40);
    let states: Vec<_> = trace.reports.iter().map(|r| r.lock).collect();
    assert!(states.contains(&LockState::Lost), "{states:?}");
    assert_eq!(states.last(), Some(&LockState::Locked));
}

proptest! {
    /// Whatever the sensor's true latency, limits and faults: no request outside the limits (the
    /// sensor asserts it), no stamp panics, and the phase error stays in its range.
    #[test]
    fn it_never_asks_for_the_impossible(
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
}
