//! `swsync lab phase --stdio`: the aligner behind a pipe, for a program that plays the camera (the judge).
//!
//! Lines of JSON. First the camera says hello, then every frame is answered by exactly one line:
//!
//! ```text
//! < {"type":"hello","period_us":33333.333,"line_us":18.904,"step":1,"min_lines":1112,"max_lines":65535,
//!    "nominal_lines":1763,"vblank_delay":2}
//! < {"type":"frame","seq":0,"ts_us":701234.5,"now_us":727000.0}
//! > {}
//! < {"type":"frame","seq":1,"ts_us":734561.4,"now_us":760400.0}
//! > {"lines":2250}
//! ```
//!
//! `lines` is the length to queue as one control set, as of the first frame-start event after `now_us`;
//! `step` the quantum of lengths, in lines. With `"mode":"inject"` in hello, which then has `period_us` and
//! `line_us` only, an answer is the exposure of one long frame: `{"exposure_us":43210.5}`. Frames are to
//! start at `ts_us = m * period_us`. The end of the input ends the process.

use std::io::{self, BufRead, Read as _, Write};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use swsync_core::align::inject::{InjectConfig, Injector};
use swsync_core::align::{Aligner, AlignerConfig, SensorTiming};
use swsync_core::grid::FrameGrid;
use swsync_core::time::{Rig, Span, Timestamp};

use swsync_cli::exit;

/// Largest phase error of an aligned frame.
const TOLERANCE: Span = Span::from_micros(20);
/// So many aligned frames in a row are a lock.
const SETTLE_FRAMES: u32 = 3;
/// Scatter of injections, 1 sigma (the paper: tens of us).
const SCATTER: Span = Span::from_micros(25);
/// Longer lines are an error.
const MAX_LINE: u64 = 10_000;

/// Why an input cannot be answered.
#[derive(Debug, thiserror::Error)]
enum InputError {
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("a second hello: one process is one trial")]
    SecondHello,
    #[error("a frame before the hello that says what camera it is from")]
    NoHello,
    #[error("{field} is {value}: expected {expected}")]
    Value { field: &'static str, value: f64, expected: &'static str },
    #[error("the hello lacks {0}, which only `\"mode\":\"inject\"` does without")]
    Lacks(&'static str),
    #[error("longer than {MAX_LINE} bytes, so this is no message")]
    TooLong,
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Message {
    Hello(Hello),
    Frame(Frame),
}

#[derive(Debug, Deserialize)]
struct Hello {
    #[serde(default)]
    mode: Mode,
    period_us: f64,
    line_us: f64,
    step: Option<f64>,
    min_lines: Option<f64>,
    max_lines: Option<f64>,
    nominal_lines: Option<f64>,
    vblank_delay: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    #[serde(alias = "trim", alias = "duration")]
    Lines,
    Inject,
}

#[derive(Debug, Deserialize)]
struct Frame {
    seq: u64,
    ts_us: f64,
    now_us: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<serde_json::Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exposure_us: Option<f64>,
}

/// The aligner of the camera that hello described.
enum JudgedAligner {
    Lines {
        aligner: Box<Aligner>,
        /// Sensor lines per line of the aligner: less than one if the sensor's quantum is less than a line.
        lines_per_quantum: f64,
    },
    Inject(Box<Injector>),
}

/// Answers standard input on standard output.
///
/// # Errors
/// Standard output cannot be written.
pub fn run() -> anyhow::Result<ExitCode> {
    match answer(io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Failure::Input { line, error }) => {
            eprintln!("swsync: standard input, line {line}: {error}");
            Ok(ExitCode::from(exit::USAGE))
        }
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::from(exit::INCOMPLETE))
        }
        Err(Failure::Output(error)) => Err(anyhow::anyhow!("cannot write to standard output: {error}")),
    }
}

/// Why it ended.
#[derive(Debug)]
enum Failure {
    Input { line: u64, error: InputError },
    Output(io::Error),
}

fn answer(mut input: impl BufRead, output: &mut impl Write) -> Result<(), Failure> {
    let mut aligner = None;
    let mut text = String::new();
    let mut line = 0;
    loop {
        line += 1;
        let failed = |error| Failure::Input { line, error };
        text.clear();
        let read = input.by_ref().take(MAX_LINE).read_line(&mut text).map_err(|e| failed(e.into()))?;
        if read == 0 {
            return Ok(());
        }
        if u64::try_from(read).is_ok_and(|read| read == MAX_LINE) {
            return Err(failed(InputError::TooLong));
        }
        if text.trim().is_empty() {
            continue;
        }
        let message = serde_json::from_str(&text).map_err(|error| failed(error.into()))?;
        if let Some(answer) = handle(&mut aligner, &message).map_err(failed)? {
            let answer = serde_json::to_string(&answer).expect("numbers have a JSON form");
            writeln!(output, "{answer}").and_then(|()| output.flush()).map_err(Failure::Output)?;
        }
    }
}

fn handle(aligner: &mut Option<JudgedAligner>, message: &Message) -> Result<Option<Answer>, InputError> {
    match (message, aligner.as_mut()) {
        (Message::Hello(_), Some(_)) => Err(InputError::SecondHello),
        (Message::Frame(_), None) => Err(InputError::NoHello),
        (Message::Hello(hello), None) => {
            *aligner = Some(JudgedAligner::of(hello)?);
            Ok(None)
        }
        (Message::Frame(frame), Some(aligner)) => aligner.handle_frame(frame).map(Some),
    }
}

impl JudgedAligner {
    fn of(hello: &Hello) -> Result<Self, InputError> {
        let period_us = in_range("period_us", hello.period_us, (100.0, 1e9), "100 us to 1000 s")?;
        let line_us = in_range("line_us", hello.line_us, (0.01, period_us), "0.01 us to the period")?;
        let grid = grid_of(period_us)?;
        match hello.mode {
            Mode::Lines => Self::by_lines(hello, grid, line_us),
            Mode::Inject => Ok(Self::Inject(Box::new(Injector::new(InjectConfig {
                grid,
                phase_offset: Span::ZERO,
                line_time_ns: line_us * 1e3,
                tolerance: TOLERANCE,
                settle_frames: SETTLE_FRAMES,
                scatter: SCATTER,
                response: None,
                longest: None,
            })))),
        }
    }

    fn by_lines(hello: &Hello, grid: FrameGrid, line_us: f64) -> Result<Self, InputError> {
        let step = in_range("step", hello.step.unwrap_or(1.0), (0.001, 1e6), "0.001 to 1000000 lines")?;
        // A quantum of less than a line takes the place of the line.
        let lines_per_quantum = step.min(1.0);
        let quanta = |field, value: Option<f64>, least| {
            let value = value.ok_or(InputError::Lacks(field))?;
            let lines = in_range(field, value, (least, 4e9), "a number of lines below 4 000 000 000")?;
            Ok::<f64, InputError>((lines / lines_per_quantum).min(4e9))
        };
        let min_lines = whole(quanta("min_lines", hello.min_lines, 1.0)?.ceil());
        let max_lines = whole(quanta("max_lines", hello.max_lines, 1.0)?.floor());
        let nominal_lines = whole(quanta("nominal_lines", hello.nominal_lines, 1.0)?.round());
        if max_lines < min_lines {
            let value = f64::from(max_lines) * lines_per_quantum;
            return Err(InputError::Value { field: "max_lines", value, expected: "at least min_lines" });
        }
        let delay = hello.vblank_delay.ok_or(InputError::Lacks("vblank_delay"))?;
        let delay = in_range("vblank_delay", delay, (0.0, 16.0), "0 to 16 frames")?;
        let sensor = SensorTiming {
            line_time_ns: line_us * 1e3 * lines_per_quantum,
            min_lines,
            max_lines,
            nominal_lines,
            // A control set is applied from the start of the frame after the one that has just arrived.
            latency: whole(delay.round()) + 1,
            line_step: whole(step.max(1.0).round()),
            exposure_margin: 0,
        };
        let config = AlignerConfig::new(grid, sensor, TOLERANCE, SETTLE_FRAMES);
        Ok(Self::Lines { aligner: Box::new(Aligner::new(config)), lines_per_quantum })
    }

    fn handle_frame(&mut self, frame: &Frame) -> Result<Answer, InputError> {
        let ts_us = in_range("ts_us", frame.ts_us, (0.0, 9e15), "microseconds from 0 to 285 years")?;
        let instant = |us: f64| Timestamp::<Rig>::from_nanos(Span::from_nanos_f64(us * 1e3).as_nanos());
        let (time, now) = (instant(ts_us), instant(frame.now_us.unwrap_or(ts_us)));
        Ok(match self {
            Self::Lines { aligner, lines_per_quantum } => {
                let lines = aligner.handle_frame_at(frame.seq, time, now).lines;
                Answer { lines: lines.map(|lines| number(lines, *lines_per_quantum)), exposure_us: None }
            }
            Self::Inject(injector) => {
                let exposure = injector.handle_frame(frame.seq, time).exposure;
                Answer { lines: None, exposure_us: exposure.map(Span::as_micros_f64) }
            }
        })
    }
}

/// `quanta` in lines: an integer if quanta are lines.
fn number(quanta: u32, lines_per_quantum: f64) -> serde_json::Number {
    let fraction = || serde_json::Number::from_f64(f64::from(quanta) * lines_per_quantum);
    let fraction = (lines_per_quantum < 1.0).then(fraction).flatten();
    fraction.unwrap_or_else(|| quanta.into())
}

fn in_range(
    field: &'static str,
    value: f64,
    (least, most): (f64, f64),
    expected: &'static str,
) -> Result<f64, InputError> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(InputError::Value { field, value, expected })
    }
}

/// The grid whose period is nearest to `period_us`, as a fraction: 33333.333333 is 1/30 s.
fn grid_of(period_us: f64) -> Result<FrameGrid, InputError> {
    let seconds = period_us / 1e6;
    // Convergents of the continued fraction are the best approximations.
    let (mut before, mut this) = ((0.0, 1.0), (1.0, 0.0));
    let mut rest = seconds;
    for _ in 0..40 {
        let digit = rest.floor();
        let next = (digit * this.0 + before.0, digit * this.1 + before.1);
        if next.0 > f64::from(u32::MAX) || next.1 > f64::from(u32::MAX) {
            break;
        }
        (before, this) = (this, next);
        let error = (this.0 / this.1 - seconds).abs();
        if rest - digit < 1e-12 || error <= seconds * 1e-15 {
            break;
        }
        rest = (rest - digit).recip();
    }
    let value = InputError::Value { field: "period_us", value: period_us, expected: "a period of frames" };
    FrameGrid::new(whole(this.1), whole(this.0)).map_err(|_| value)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to int casts saturate, and ranges were checked"
)]
const fn whole(n: f64) -> u32 {
    n as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = r#"{"type":"hello","period_us":33333.333333,"line_us":18.904,"step":1,
        "min_lines":1112,"max_lines":65535,"nominal_lines":1763,"vblank_delay":2}"#;

    fn ask(input: &str) -> (Vec<serde_json::Value>, Option<String>) {
        let mut output = Vec::new();
        let failure = match answer(input.as_bytes(), &mut output) {
            Ok(()) => None,
            Err(Failure::Input { line, error }) => Some(format!("line {line}: {error}")),
            Err(Failure::Output(error)) => panic!("{error}"),
        };
        let lines = String::from_utf8(output).unwrap();
        (lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), failure)
    }

    fn hello() -> String {
        HELLO.replace('\n', " ") + "\n"
    }

    fn frames(n: u32) -> String {
        (0..n)
            .map(|seq| {
                let ts = 705_000.0 + f64::from(seq) * 33_326.885;
                format!("{{\"type\":\"frame\",\"seq\":{seq},\"ts_us\":{ts},\"now_us\":{}}}\n", ts + 27e3)
            })
            .collect()
    }

    #[test]
    fn every_frame_is_answered_by_one_line() {
        let (answers, failure) = ask(&(hello() + &frames(30)));
        assert_eq!((answers.len(), failure), (30, None));
        assert_eq!(answers[0], serde_json::json!({}));
        // 705 ms are 5 ms after the 21st instant: 264 lines shorter
        let first = answers.iter().find_map(|answer| answer["lines"].as_u64()).unwrap();
        assert!((1_498..=1_503).contains(&first), "{first}");
    }

    #[test]
    fn injections_are_exposures() {
        let hello = r#"{"type":"hello","mode":"inject","period_us":33333.333333,"line_us":18.904}"#;
        let (answers, failure) = ask(&format!("{hello}\n{}", frames(40)));
        assert_eq!((answers.len(), failure), (40, None));
        let exposures: Vec<f64> =
            answers.iter().filter_map(|answer| answer["exposure_us"].as_f64()).collect();
        assert!(!exposures.is_empty() && exposures.iter().all(|us| (33e3..140e3).contains(us)));
    }

    #[test]
    fn lengths_are_multiples_of_the_quantum() {
        for (step, quantum) in [("4", 4.0), ("0.25", 0.25)] {
            let hello = hello().replace("\"step\":1", &format!("\"step\":{step}"));
            let hello = hello.replace("1763", "1764");
            let (answers, failure) = ask(&(hello + &frames(30)));
            assert_eq!(failure, None);
            for lines in answers.iter().filter_map(|answer| answer["lines"].as_f64()) {
                assert!((lines / quantum).fract() < 1e-9, "{lines}");
            }
        }
    }

    #[test]
    fn bad_input_is_named_with_its_line() {
        let failure = |input: &str| ask(input).1.unwrap();
        assert!(failure("{\n").starts_with("line 1: "));
        assert!(failure(&frames(1)).contains("line 1: a frame before the hello"));
        assert!(failure(&(hello() + &hello())).contains("line 2: a second hello"));
        let lacking = hello().replace("vblank_delay", "vblank");
        assert!(failure(&lacking).contains("line 1: the hello lacks vblank_delay"));
        let negative = hello() + "{\"type\":\"frame\",\"seq\":0,\"ts_us\":-1,\"now_us\":0}\n";
        assert!(failure(&negative).contains("line 2: ts_us is -1"));
        assert!(failure(&" ".repeat(20_000)).contains("10000 bytes"));
        assert!(failure(&hello().replace("33333.333333", "0")).contains("period_us is 0"));
    }

    #[test]
    fn periods_are_fractions() {
        let rate = |us: f64| grid_of(us).unwrap().rate();
        assert_eq!(rate(1e6 / 30.0), (30, 1));
        assert_eq!(rate(1e6 / 120.0), (120, 1));
        assert_eq!(rate(1_001e6 / 30_000.0), (30_000, 1001));
        for us in [33_333.333, 33_320.0, 33_333.333_333, 8_333.3, 16_666.7, 123_456.789] {
            let error = (grid_of(us).unwrap().period_ns() / 1e3 - us) / us;
            assert!(error.abs() < 2e-11, "{us}: {error:e}");
        }
    }
}
