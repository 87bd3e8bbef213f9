//! `swsync lab table1`: Table I. Cameras that are triggered at the same time, without synchronization, beside swsync.
//!
//! The paper measured its naive triggers and gives no model of them: a maximum, a mean and a deviation each. The models here are
//! fitted to mean and deviation, so that these two agree is no result. What they add is what the same triggers come to in other
//! numbers of trials. Each camera runs freely at 30 frames per second and takes the first frame that begins after its trigger
//! arrived, so the phases alone are up to a frame apart; the rest is the trigger's delay.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use swsync_core::time::Span;
use swsync_sim::link::LinkModel;

use super::args::{CommonArgs, asymmetry, at_least_one};
use super::folder::{Csv, Findings, cell_ns};
use super::spread::Spread;
use super::table2::{CameraKind, PAPER_TRIALS, Results, TrialConfig, When};
use crate::phase::trial::grid;
use crate::split_mix::SplitMix64;
use crate::stats::quantile;
use swsync_cli::table::{Align, Column, NOTHING, Table};

/// Experiments with each naive trigger: the table has the median of their figures.
const EXPERIMENTS: u64 = 1_000;

/// Reproduce the paper's Table I: naive wired, Bluetooth and WiFi triggers, and swsync.
///
/// The naive triggers are models, fitted to the paper's mean and deviation (it gives no more): two cameras that run freely take
/// the first frame after their trigger. Wired: one phone is later by 102 ms on average, normal with 50 ms. Bluetooth: each
/// trigger takes an exponential time, 67 ms on average. WiFi: the client is later by a log-normal time with a median of 102 ms. The
/// table has the median of 1000 experiments with the paper's number of trials each. swsync: as `swsync lab table2` measures it.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
pub struct Table1Args {
    /// Trials of swsync with each camera
    #[arg(long, value_name = "N", default_value_t = PAPER_TRIALS, value_parser = at_least_one)]
    trials: usize,
    /// swsync's network: a name as `swsync lab clock` has it
    #[arg(long, value_name = "LINK", default_value = "wifi")]
    link: LinkModel,
    /// What the paths of all pairs add to the client's clock, in us, in place of what is drawn per device
    #[arg(long, value_name = "US", value_parser = asymmetry, allow_hyphen_values = true)]
    asymmetry: Option<Span>,
    #[command(flatten)]
    common: CommonArgs,
}

const HELP: &str = "\
Examples:
  swsync lab table1
  swsync lab table1 --link wifi-busy --out table1     also writes naive.csv";

/// A way to trigger two cameras without synchronization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trigger {
    Wired,
    Bluetooth,
    Wifi,
}

impl Trigger {
    const ALL: [Self; 3] = [Self::Wired, Self::Bluetooth, Self::Wifi];

    const fn name(self) -> &'static str {
        match self {
            Self::Wired => "naive wired",
            Self::Bluetooth => "naive Bluetooth",
            Self::Wifi => "naive WiFi",
        }
    }

    /// The paper's maximum, mean and deviation in ms, and its number of trials without those in which a camera failed.
    const fn paper(self) -> ([f64; 3], usize) {
        match self {
            Self::Wired => ([180.0, 103.0, 50.0], 18),
            Self::Bluetooth => ([200.0, 69.0, 65.0], 19),
            Self::Wifi => ([677.0, 123.0, 84.0], 20),
        }
    }

    /// How much later the second camera's trigger arrives, in ms.
    fn delay_ms(self, random: &mut SplitMix64) -> f64 {
        match self {
            Self::Wired => 102.0 + 50.0 * random.normal(),
            Self::Bluetooth => 67.0 * ((1.0 - random.uniform()).ln() - (1.0 - random.uniform()).ln()),
            Self::Wifi => 102.0 * (0.6126 * random.normal()).exp(),
        }
    }

    /// The time between the two cameras' frames.
    fn error(self, random: &mut SplitMix64) -> Span {
        let wait = grid().period().mul_f64(random.uniform()) - grid().period().mul_f64(random.uniform());
        Span::from_nanos_f64(1e6 * self.delay_ms(random)) + wait
    }

    /// The errors of all experiments.
    fn experiments(self, seed: u64) -> Vec<Vec<Span>> {
        let (_, trials) = self.paper();
        let one = |index: u64| {
            let mut random =
                SplitMix64::new(seed.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ index << 8 ^ self as u64);
            (0..trials).map(|_| self.error(&mut random)).collect()
        };
        (0..EXPERIMENTS).map(one).collect()
    }
}

/// The medians, over experiments, of the figures of each.
fn medians(experiments: &[Vec<Span>]) -> Option<[Span; 3]> {
    let spreads: Vec<Spread> =
        experiments.iter().filter_map(|errors| Spread::of(errors.iter().copied())).collect();
    let of = |figure: fn(&Spread) -> Span| {
        let mut values: Vec<Span> = spreads.iter().map(figure).collect();
        values.sort_unstable();
        (!values.is_empty()).then(|| quantile(&values, 50))
    };
    Some([of(|spread| spread.max)?, of(|spread| spread.mean_abs)?, of(|spread| spread.deviation)?])
}

/// Runs the command.
///
/// # Errors
/// A file cannot be written.
pub fn run(args: &Table1Args) -> anyhow::Result<ExitCode> {
    let seed = args.common.seed;
    let naive: Vec<_> = Trigger::ALL.iter().map(|trigger| (*trigger, trigger.experiments(seed))).collect();
    let ours: Vec<_> = CameraKind::value_variants()
        .iter()
        .map(|camera| {
            let config = TrialConfig {
                camera: *camera,
                link: args.link.clone(),
                asymmetry: args.asymmetry,
                settle: Span::ZERO,
            };
            let results = Results::run(&config, args.trials, seed);
            (*camera, results.spread(When::AtOnce, |errors| errors.total), results.failed())
        })
        .collect();
    let mut command =
        format!("swsync lab table1 --trials {} --link {} --seed {seed}", args.trials, args.link.name);
    if let Some(asymmetry) = args.asymmetry {
        let _ = write!(command, " --asymmetry {}", asymmetry.as_micros_f64()); // writing to a string cannot fail
    }
    let naive_json = naive.iter().map(|(trigger, experiments)| {
        let figures = medians(experiments);
        serde_json::json!({
            "method": trigger.name(),
            "model": true,
            "trials": trigger.paper().1,
            "experiments": EXPERIMENTS,
            "max_ns": figures.map(|[max, _, _]| max),
            "mean_abs_ns": figures.map(|[_, mean, _]| mean),
            "deviation_ns": figures.map(|[_, _, deviation]| deviation),
        })
    });
    let ours_json = ours.iter().map(|(camera, spread, failed)| {
        serde_json::json!({
            "method": format!("swsync, {}", camera.name()), "model": false, "failed": failed,
            "total": spread.map(Spread::to_json),
        })
    });
    let findings = Findings {
        lab: "table1",
        command,
        figures: serde_json::json!({
            "link": args.link.name,
            "asymmetry_ns": args.asymmetry,
            "naive": naive_json.collect::<Vec<_>>(),
            "swsync": ours_json.collect::<Vec<_>>(),
        }),
        files: vec![to_csv(&naive)],
        text: to_text(args, &naive, &ours),
    };
    findings.publish(&args.common)?;
    Ok(ExitCode::SUCCESS)
}

fn to_text(
    args: &Table1Args,
    naive: &[(Trigger, Vec<Vec<Span>>)],
    ours: &[(CameraKind, Option<Spread>, usize)],
) -> String {
    let right = |heading, width| Column { heading, width, align: Align::Right };
    let table = Table::new([
        Column { heading: "Table I, ms", width: 24, align: Align::Left },
        right("max", 8),
        right("paper", 8),
        right("mean abs", 9),
        right("paper", 8),
        right("stdev", 8),
        right("paper", 8),
    ]);
    let mut text = format!("{}\n", table.headings());
    let mut line = |line: String| {
        let _ = writeln!(text, "{line}"); // writing to a string cannot fail
    };
    let ms = |span: Span, digits: usize| format!("{:.digits$}", span.as_secs_f64() * 1e3);
    let row = |name: String, ours: Option<[Span; 3]>, paper: [String; 3], digits| {
        let [max, mean, deviation] =
            ours.map_or_else(|| [NOTHING; 3].map(str::to_owned), |ours| ours.map(|span| ms(span, digits)));
        let [paper_max, paper_mean, paper_deviation] = paper;
        table.row(&[name, max, paper_max, mean, paper_mean, deviation, paper_deviation])
    };
    for (trigger, experiments) in naive {
        let paper = trigger.paper().0.map(|ms| format!("{ms:.0}"));
        line(row(format!("{} (fitted)", trigger.name()), medians(experiments), paper, 0));
    }
    for (camera, spread, _) in ours {
        let figures = spread.map(|spread| [spread.max, spread.mean_abs, spread.deviation]);
        let paper = ["0.121", "0.032", "0.025"].map(str::to_owned);
        line(row(format!("swsync, {}", camera.name()), figures, paper, 3));
    }
    let failed: usize = ours.iter().map(|(_, _, failed)| failed).sum();
    let _ = write!(
        text,
        "Naive triggers: a model fitted to the paper's mean and stdev; medians of {EXPERIMENTS} experiments with 18, 19 and 20 trials.\n\
         The paper's WiFi row contradicts itself: 20 errors with a maximum of 677 and a mean of 123 have a stdev of 127 at least.\n\
         swsync: {} trials each on `{}`, the first frame that both devices have; {failed} without figures.",
        args.trials, args.link.name,
    ); // writing to a string cannot fail
    text
}

/// The first experiments' errors: a row for each trial, with empty cells where the paper had fewer trials.
fn to_csv(naive: &[(Trigger, Vec<Vec<Span>>)]) -> Csv {
    let columns = ["trial", "wired_error_ns", "bluetooth_error_ns", "wifi_error_ns"];
    let mut csv = Csv::new("naive.csv", &columns);
    let most = naive.iter().map(|(trigger, _)| trigger.paper().1).max().unwrap_or(0);
    for trial in 0..most {
        let cell = |index: usize| {
            let first = naive.get(index).and_then(|(_, experiments)| experiments.first());
            cell_ns(first.and_then(|errors| errors.get(trial)).copied())
        };
        csv.row([trial.to_string(), cell(0), cell(1), cell(2)]);
    }
    csv
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_have_the_papers_mean_and_deviation() {
        for trigger in Trigger::ALL {
            let errors: Vec<Span> = trigger.experiments(1).concat();
            let spread = Spread::of(errors).unwrap();
            let ([_, mean, deviation], _) = trigger.paper();
            for (ours, paper) in [(spread.mean_abs, mean), (spread.deviation, deviation)] {
                let ours = ours.as_secs_f64() * 1e3;
                assert!(
                    (ours / paper - 1.0).abs() < 0.04,
                    "{}: {ours}, the paper: {paper} ms",
                    trigger.name()
                );
            }
        }
    }

    /// Whatever the other 19 errors are: those that differ least from each other are all equal.
    #[test]
    fn no_20_errors_have_the_papers_figures_of_wifi() {
        let rest = Span::from_nanos_f64(1e6 * (20.0 * 123.0 - 677.0) / 19.0);
        let mut errors = vec![rest; 19];
        errors.push(Span::from_millis(677));
        let spread = Spread::of(errors).unwrap();
        assert_eq!(spread.mean_abs.as_nanos() / 1_000, 123_000);
        assert!(spread.deviation > Span::from_millis(127), "{:?}", spread.deviation);
    }
}
