//! `swsync lab phase --svg`: draws the charts of docs/phase.md from trials. `--trace`: writes the same trials frame by frame.

mod svg;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use clap::ValueEnum as _;
use swsync_core::time::Skew;

use self::svg::{Axis, BLUE, GREEN, GREY, Mark, ORANGE, PURPLE, Panel, Scale, Series, figure};
use super::method::Method;
use super::scenario::{Camera, ClockError, Lengths, Scenario};
use super::trial::{self, Outcome, Sample};
use crate::stats::as_f64;

/// So many frames of a trial are traced.
const TRACED: usize = 400;
/// Frames in the charts of locking and of holding.
const LOCKING: usize = 100;
const HOLDING: (usize, usize) = (250, 330);

/// Writes the trials' frames to `file`, as CSV.
///
/// # Errors
/// The file cannot be written.
pub fn trace(file: &Path, scenarios: &[Scenario], methods: &[Method], seed: u64) -> anyhow::Result<()> {
    let mut csv = String::from("scenario,method,seed,frame,true_error_ns,length_lines,asked_ns\n");
    for (scenario, lengths) in with_lengths(scenarios) {
        for method in methods {
            for sample in trial::trace(*method, lengths, scenario.clock, seed, TRACED) {
                let asked = sample.asked.map_or_else(String::new, |asked| asked.as_nanos().to_string());
                // Writing to a string cannot fail.
                let _ = writeln!(
                    csv,
                    "{},{},{seed},{},{:.0},{},{asked}",
                    scenario.name,
                    method.name().replace(',', ""),
                    sample.frame,
                    sample.error_ns,
                    sample.lines
                );
            }
        }
    }
    std::fs::write(file, csv).with_context(|| format!("cannot write {}", file.display()))
}

/// Draws all charts into `folder`. `outcomes` are those of many trials of the first scenario, by method.
///
/// # Errors
/// A file cannot be written.
pub fn draw(
    folder: &Path,
    scenarios: &[Scenario],
    seed: u64,
    outcomes: &[(&'static str, Vec<Outcome>)],
) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let lengths: Vec<_> = with_lengths(scenarios).collect();
    let mut pictures = vec![("phase-response.svg", response(seed))];
    if let Some(first) = lengths.first() {
        pictures.push(("phase-lock.svg", lock(&lengths, seed)));
        pictures.push(("phase-hold.svg", hold(first, seed)));
        pictures.push(("phase-latency.svg", latency(&lengths, seed)));
        pictures.push(("phase-time.svg", time(first.0, outcomes)));
    }
    for (name, picture) in pictures {
        let file = folder.join(name);
        std::fs::write(&file, picture).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn with_lengths(scenarios: &[Scenario]) -> impl Iterator<Item = (&Scenario, &Lengths)> {
    scenarios.iter().filter_map(|scenario| match &scenario.camera {
        Camera::Lengths(lengths) => Some((scenario, lengths.as_ref())),
        Camera::Exposures(_) | Camera::Nothing => None,
    })
}

const fn colour(method: Method) -> &'static str {
    match method {
        Method::Swsync => BLUE,
        Method::SwsyncSlew => GREEN,
        Method::PiSync => ORANGE,
        Method::PController => PURPLE,
    }
}

fn errors(samples: &[Sample], unit_ns: f64) -> Vec<(f64, f64)> {
    samples.iter().map(|sample| (as_f64(sample.frame), sample.error_ns / unit_ns)).collect()
}

/// Axis of phase errors in us over four decades, of both signs.
fn decades(title: &'static str) -> Axis {
    let tick = |us: f64, text: &str| [(us, text.to_owned()), (-us, format!("-{text}"))];
    let mut ticks = vec![(0.0, "0".to_owned())];
    for (us, text) in [(20.0, "20 us"), (200.0, "200 us"), (2_000.0, "2 ms"), (16_667.0, "16.7 ms")] {
        ticks.extend(tick(us, text));
    }
    Axis { title, range: (-20_000.0, 20_000.0), scale: Scale::Bilog(12.0), ticks }
}

fn lock(lengths: &[(&Scenario, &Lengths)], seed: u64) -> String {
    let sensors: Vec<_> = lengths.iter().take(3).collect();
    let last = sensors.len().saturating_sub(1);
    let panels: Vec<Panel> = sensors
        .iter()
        .enumerate()
        .map(|(index, (scenario, lengths))| Panel {
            title: scenario.about.to_owned(),
            x: Axis::linear("frame", (0.0, as_f64(LOCKING)), 10.0),
            y: decades("true phase error"),
            series: std::iter::once(Series { name: None, colour: GREY, mark: Mark::Band(-20.0, 20.0) })
                .chain(Method::value_variants().iter().rev().map(|method| Series {
                    name: Some(method.name()),
                    colour: colour(*method),
                    mark: Mark::Line(errors(
                        &trial::trace(*method, lengths, scenario.clock, seed, LOCKING),
                        1e3,
                    )),
                }))
                .collect(),
            height: 190.0,
            legend: index == last,
        })
        .collect();
    figure("One trial per sensor: onto the grid. Grey: within 20 us", &panels)
}

fn hold((scenario, lengths): &(&Scenario, &Lengths), seed: u64) -> String {
    let (from, to) = HOLDING;
    let samples = trial::trace(Method::Swsync, lengths, ClockError::None, seed, to);
    let samples = &samples[from.min(samples.len())..];
    let half = lengths.model.line_time_ns / 2e3;
    let x = || Axis::linear("frame", (as_f64(from), as_f64(to)), 10.0);
    let nominal = f64::from(lengths.model.frame_length);
    let dots =
        |mark: fn(Vec<(f64, f64)>) -> Mark, points| Series { name: None, colour: BLUE, mark: mark(points) };
    let lines: Vec<_> =
        samples.iter().map(|sample| (as_f64(sample.frame), f64::from(sample.lines) - nominal)).collect();
    let panels = [
        Panel {
            title: format!("True phase error; grey: half a line, {half:.2} us"),
            x: x(),
            y: Axis::linear("true phase error, us", (-25.0, 25.0), 10.0),
            series: vec![
                Series { name: None, colour: GREY, mark: Mark::Band(-half, half) },
                dots(Mark::Line, errors(samples, 1e3)),
                dots(Mark::Dots, errors(samples, 1e3)),
            ],
            height: 200.0,
            legend: false,
        },
        Panel {
            title: format!(
                "Length of each frame beyond {} lines: whole lines only",
                lengths.model.frame_length
            ),
            x: x(),
            y: Axis::linear("lines", (-2.0, 3.0), 1.0),
            series: vec![dots(Mark::Dots, lines)],
            height: 90.0,
            legend: false,
        },
    ];
    figure(&format!("Holding: lines dither by themselves ({})", scenario.about), &panels)
}

/// Latency: which frame's length answers which frame, for a sensor with a latency of three frames.
fn latency(lengths: &[(&Scenario, &Lengths)], seed: u64) -> String {
    let (scenario, lengths) =
        lengths.iter().find(|(_, lengths)| lengths.model.delays.vblank == 3).unwrap_or(&lengths[0]);
    let samples = trial::trace(Method::Swsync, lengths, ClockError::None, seed, 12);
    let period = trial::grid().period_ns();
    let line = lengths.model.line_time_ns;
    let asked: Vec<(f64, f64)> = samples
        .iter()
        .filter_map(|sample| Some((as_f64(sample.frame), (sample.asked?.as_nanos_f64() - period) / 1e6)))
        .collect();
    let taken: Vec<(f64, f64)> = samples
        .iter()
        .map(|sample| (as_f64(sample.frame), (f64::from(sample.lines) * line - period) / 1e6))
        .collect();
    let most = asked.iter().chain(&taken).map(|(_, ms)| ms.abs()).fold(1.0, f64::max) * 1.25;
    let longest =
        |points: &[(f64, f64)]| points.iter().copied().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
    let arrow = longest(&asked).zip(longest(&taken)).map(|(from, to)| Series {
        name: None,
        colour: GREY,
        mark: Mark::Arrow(from, to),
    });
    let x = || Axis::linear("frame", (-0.5, 11.5), 1.0);
    let step = if most > 6.0 { 4.0 } else { 1.0 };
    let mut series = vec![
        Series {
            name: Some("length that the frame has, less the period"),
            colour: GREEN,
            mark: Mark::Bars(taken),
        },
        Series {
            name: Some("asked for when the frame has arrived"),
            colour: ORANGE,
            mark: Mark::Dots(asked),
        },
    ];
    series.extend(arrow);
    let panels = [
        Panel {
            title: format!(
                "Frame lengths: a control set acts {} frames later",
                lengths.model.delays.vblank + 1
            ),
            x: x(),
            y: Axis::linear("ms beyond the period", (-most, most), step),
            series,
            height: 170.0,
            legend: true,
        },
        Panel {
            title: "What comes of it".into(),
            x: x(),
            y: decades("true phase error"),
            series: vec![
                Series { name: None, colour: GREY, mark: Mark::Band(-20.0, 20.0) },
                Series { name: None, colour: BLUE, mark: Mark::Line(errors(&samples, 1e3)) },
                Series { name: None, colour: BLUE, mark: Mark::Dots(errors(&samples, 1e3)) },
            ],
            height: 150.0,
            legend: false,
        },
    ];
    figure(&format!("An answer is the length of a later frame ({})", scenario.about), &panels)
}

fn time(scenario: &Scenario, outcomes: &[(&'static str, Vec<Outcome>)]) -> String {
    let colour_of = |name: &str| {
        let method = Method::value_variants().iter().find(|method| method.name() == name);
        method.map_or(GREY, |method| colour(*method))
    };
    let series = outcomes.iter().map(|(name, outcomes)| {
        let mut steps: Vec<f64> = outcomes.iter().filter_map(|outcome| outcome.steps).collect();
        steps.sort_by(f64::total_cmp);
        let share = |count: usize| 100.0 * as_f64(count) / as_f64(outcomes.len().max(1));
        let mut points = vec![(1.0, 0.0)];
        for (count, at) in steps.iter().enumerate() {
            points.extend([(*at, share(count)), (*at, share(count + 1))]);
        }
        points.push((900.0, share(steps.len())));
        Series { name: Some(name), colour: colour_of(name), mark: Mark::Line(points) }
    });
    let ticks = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];
    let trials = outcomes.first().map_or(0, |(_, outcomes)| outcomes.len());
    let panel = Panel {
        title: format!("{}; {trials} trials; aligned: true error within 20 us for 5 frames", scenario.about),
        x: Axis {
            title: "frames since the first one (30 are a second)",
            range: (1.0, 900.0),
            scale: Scale::Log,
            ticks: ticks.iter().map(|at| (*at, format!("{at:.0}"))).collect(),
        },
        y: Axis::linear("trials that are aligned, %", (0.0, 100.0), 20.0),
        series: series.collect(),
        height: 230.0,
        legend: true,
    };
    figure("How soon", &[panel])
}

/// Shift against exposure of the paper's phone, and the residuals of the fitted line.
fn response(seed: u64) -> String {
    let model = swsync_sim::sensor::PhoneModel::paper(trial::grid().period_ns());
    let Some((calibration, fit)) = trial::calibrate(&model, seed, Skew::ZERO)
        .and_then(|calibration| calibration.finish().ok().map(|fit| (calibration, fit)))
    else {
        return figure("The calibration failed", &[]);
    };
    let points: Vec<(f64, f64)> =
        calibration.points().iter().map(|point| (point.exposure_ns / 1e6, point.shift_ns / 1e6)).collect();
    let left: Vec<(f64, f64)> = calibration
        .points()
        .iter()
        .filter(|point| fit.explains(point))
        .map(|point| (point.exposure_ns / 1e6, (point.shift_ns - fit.shift(point.exposure_ns)) / 1e3))
        .collect();
    let ends = [fit.min_exposure_ns, 100e6].map(|exposure| (exposure / 1e6, fit.shift(exposure) / 1e6));
    let x = || Axis::linear("exposure of one frame, ms", (0.0, 105.0), 10.0);
    let scatter = fit.scatter_ns / 1e3;
    let panels = [
        Panel {
            title: format!(
                "Slope {:.4} +- {:.4}, overhead {:.3} ms, shortest {:.2} ms: {} periods",
                fit.slope,
                fit.slope_sigma,
                fit.overhead_ns() / 1e6,
                fit.min_exposure_ns / 1e6,
                fit.periods()
            ),
            x: x(),
            y: Axis::linear("shift of all later frames, ms", (-10.0, 220.0), 50.0),
            series: vec![
                Series { name: Some("fitted line"), colour: ORANGE, mark: Mark::Line(ends.to_vec()) },
                Series { name: Some("measured"), colour: BLUE, mark: Mark::Dots(points) },
            ],
            height: 220.0,
            legend: true,
        },
        Panel {
            title: format!("What the line leaves; grey: 1 sigma, {scatter:.1} us"),
            x: x(),
            y: Axis::linear("us", (-80.0, 80.0), 40.0),
            series: vec![
                Series { name: None, colour: GREY, mark: Mark::Band(-scatter, scatter) },
                Series { name: None, colour: BLUE, mark: Mark::Dots(left) },
            ],
            height: 120.0,
            legend: false,
        },
    ];
    figure("A phone's response to long exposures (paper, sec. V.B)", &panels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pictures_and_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let scenarios: Vec<Scenario> = ["imx219", "imx477"].map(|name| name.parse().unwrap()).into();
        let outcomes = [("swsync", vec![Outcome { steps: Some(6.0), ..Outcome::default() }])];
        draw(folder.path(), &scenarios, 3, &outcomes).unwrap();
        let mut count = 0;
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let svg = std::fs::read_to_string(file.unwrap().path()).unwrap();
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
            assert!(svg.len() < 100_000, "{}", svg.len());
            count += 1;
        }
        assert_eq!(count, 5);
        let csv = folder.path().join("trace.csv");
        trace(&csv, &scenarios, &[Method::Swsync], 3).unwrap();
        let text = std::fs::read_to_string(csv).unwrap();
        assert_eq!(text.lines().count(), 1 + 2 * TRACED);
        let fields = |line: &str| line.split(',').count();
        assert!(text.lines().all(|line| fields(line) == 7), "{}", text.lines().next().unwrap());
    }
}
