//! `swsync lab phase`: runs many trials of every scenario, on all processors.

use std::num::NonZero;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::ValueEnum as _;
use parking_lot::Mutex;

use super::args::PhaseArgs;
use super::charts;
use super::method::Method;
use super::scenario::{Camera, ClockError, Scenario};
use super::score::{self, Score};
use super::trial::{self, ExposureMethod, Outcome};
use swsync_cli::output;

/// Runs what `args` ask for and prints it.
///
/// # Errors
/// A picture or a trace cannot be written.
pub fn run(args: &PhaseArgs) -> anyhow::Result<ExitCode> {
    let scenarios = if args.sensor.is_empty() { Scenario::presets() } else { args.sensor.clone() };
    let mut json = Vec::new();
    let mut first = Vec::new();
    for scenario in &scenarios {
        let outcomes = outcomes(scenario, args);
        let scores: Vec<_> = outcomes.iter().map(|(name, outcomes)| (*name, Score::of(outcomes))).collect();
        if first.is_empty() && matches!(scenario.camera, Camera::Lengths(_)) {
            first = outcomes;
        }
        if args.json {
            let methods: Vec<_> = scores.iter().map(|(name, score)| score.to_json(name)).collect();
            json.push(serde_json::json!({ "scenario": scenario.name, "methods": methods }));
        } else {
            output::line(&to_table(scenario, args, &scores));
        }
    }
    if args.json {
        output::line(
            &serde_json::json!({ "trials": args.trials, "seed": args.seed, "scenarios": json }).to_string(),
        );
    }
    if let Some(folder) = &args.svg {
        charts::draw(folder, &scenarios, args.seed, &first)?;
    }
    if let Some(file) = &args.trace {
        let methods = if args.method.is_empty() { Method::value_variants() } else { &args.method };
        charts::trace(file, &scenarios, methods, args.seed)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A method to align the cameras of a scenario.
#[derive(Debug, Clone, Copy)]
enum TrialKind {
    Lengths(Method),
    Exposures(ExposureMethod),
    Resets,
}

impl TrialKind {
    fn all(scenario: &Scenario) -> Vec<(&'static str, Self)> {
        match &scenario.camera {
            Camera::Lengths(_) => {
                Method::value_variants().iter().map(|m| (m.name(), Self::Lengths(*m))).collect()
            }
            Camera::Exposures(_) => vec![
                ("swsync", Self::Exposures(ExposureMethod::Swsync)),
                ("swsync, calibrated", Self::Exposures(ExposureMethod::Calibrated)),
                ("libsoftwaresync", Self::Exposures(ExposureMethod::Libsoftwaresync)),
            ],
            Camera::Nothing => vec![("swsync reset", Self::Resets)],
        }
    }

    fn trial(self, scenario: &Scenario, seed: u64) -> Outcome {
        match (self, &scenario.camera) {
            (Self::Lengths(method), Camera::Lengths(lengths)) => {
                trial::lengths(method, lengths, scenario.clock, seed)
            }
            (Self::Exposures(way), Camera::Exposures(phones)) => trial::exposures(way, *phones, seed),
            (Self::Resets | Self::Lengths(_) | Self::Exposures(_), _) => {
                trial::resets(seed, trial::RESET_TOLERANCE)
            }
        }
    }
}

/// The outcomes of all trials of a scenario, by method.
fn outcomes(scenario: &Scenario, args: &PhaseArgs) -> Vec<(&'static str, Vec<Outcome>)> {
    let ways = TrialKind::all(scenario);
    let chosen = |name: &str| args.method.is_empty() || args.method.iter().any(|m| m.name() == name);
    let ways: Vec<_> = match scenario.camera {
        Camera::Lengths(_) => ways.into_iter().filter(|(name, _)| chosen(name)).collect(),
        Camera::Exposures(_) | Camera::Nothing => ways,
    };
    ways.into_iter()
        .map(|(name, way)| (name, trials(scenario, args, |seed| way.trial(scenario, seed))))
        .collect()
}

/// The outcomes of all trials, in the order of their seeds.
fn trials(scenario: &Scenario, args: &PhaseArgs, trial: impl Fn(u64) -> Outcome + Sync) -> Vec<Outcome> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(vec![Outcome::default(); args.trials]));
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= args.trials {
                break;
            }
            output::status_line(&format!("{}: trial {} of {}", scenario.name, index + 1, args.trials));
            let seed = args.seed.wrapping_add(u64::try_from(index).unwrap_or(u64::MAX));
            let outcome = trial(seed);
            done.lock()[index] = outcome;
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(args.trials);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    output::status_line("");
    done.into_inner()
}

fn to_table(scenario: &Scenario, args: &PhaseArgs, scores: &[(&'static str, Score)]) -> String {
    let (steps, about) = match &scenario.camera {
        Camera::Lengths(_) => ("frames", String::new()),
        Camera::Exposures(_) => ("injections", String::new()),
        Camera::Nothing => {
            let config = trial::reset_config(trial::RESET_TOLERANCE);
            let about = format!(
                "; eq. 3: {:.0} restarts in half of all trials, {:.0} in 99 of 100",
                config.attempts(0.5),
                config.attempts(0.99)
            );
            ("restarts", about)
        }
    };
    let clock =
        if scenario.clock == ClockError::Shaking { " (aligned: within 60 us by that clock)" } else { "" };
    let mut text = format!("{}: {}{about}{clock}; {} trials\n", scenario.name, scenario.about, args.trials);
    let table = score::table(steps);
    text += &table.headings();
    text.push('\n');
    for (name, score) in scores {
        text += &table.row(&score.cells(name));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::args::testing::args;
    use super::*;

    fn swsync(scenario: &str, arguments: &[&str]) -> Score {
        let scenario: Scenario = scenario.parse().unwrap();
        Score::of(&outcomes(&scenario, &args(arguments)).remove(0).1)
    }

    #[test]
    fn the_sensors_lock_and_hold() {
        for sensor in ["imx219", "imx477", "imx708"] {
            let score = swsync(sensor, &["--trials", "10", "--method", "swsync"]);
            let (median, p99) = score.steps.unwrap();
            assert!(score.success > 0.999 && median <= 10.0 && p99 <= 20.0, "{sensor}: {score:?}");
            let (mean, p95, most) = score.hold_us.unwrap();
            assert!(mean <= 6.0 && p95 <= 11.0 && most <= 60.0 && score.off == 0, "{sensor}: {score:?}");
        }
    }

    #[test]
    fn phones_reach_the_grid_and_stay() {
        let score = swsync("phone", &["--trials", "20"]);
        let (median, p99) = score.steps.unwrap();
        assert!(score.success > 0.999 && median <= 6.0 && p99 <= 30.0, "{score:?}");
        assert!(score.hold_us.unwrap().0 <= 35.0, "{score:?}");
    }

    #[test]
    fn the_table_does_not_depend_on_the_threads() {
        let of = |seed: &str| swsync("tight", &["--trials", "6", "--seed", seed, "--method", "swsync"]);
        assert_eq!(of("1"), of("1"));
        assert_ne!(of("1"), of("2"));
    }
}
