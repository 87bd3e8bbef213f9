//! `swsync lab table3`: Table III, Fig. 7 and the supplement's Fig. 1 and 2. 10 000 messages between two phones: how symmetric their
//! delays are, and the bias of clock filters.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use swsync_core::estimate::{Estimator, EstimatorConfig, EstimatorKind, Exchange};
use swsync_core::time::{Offset, Span, Timestamp};
use swsync_sim::trace::{Scenario, Trace};

use super::args::{CommonArgs, asymmetry, at_least_one};
use super::folder::{Csv, Findings, cell_ns};
use super::parallel;
use super::spread::{Spread, mean};
use crate::clock::filter::Filter;
use crate::clock::score::Sample;
use swsync_cli::table::{Align, Column, NOTHING, Table, micros_unsigned};

/// Longer one-way delays are outliers (sec. VI.C).
const OUTLIER: Span = Span::from_millis(10);
/// Sample sizes that the paper compares.
const SIZES: [usize; 3] = [300, 1_000, 10_000];
/// A message takes less than this on average, round trip and pause: traces are made long enough.
const LONGEST_MESSAGE: Span = Span::from_millis(5);

/// Reproduce the paper's Table III: delays of messages between two phones, and the bias of the mean and min filters.
///
/// The phones are simulated: the link has the delays of the paper's Table III, the clocks differ by up to 1 ppm, and each message
/// follows the answer to the one before. swsync's own mean, min and track filters get the same messages. Messages with more than
/// 10 ms in one direction are outliers, as in the paper.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
pub struct Table3Args {
    /// Messages
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = at_least_one)]
    messages: usize,
    /// Traces for the errors of filters; delays are of the first one alone, as in the paper
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least_one)]
    traces: usize,
    /// What the path's asymmetry adds to that of the paper's phones (-19 us), in us: half of what every message to the leader
    /// takes longer
    #[arg(long, value_name = "US", default_value = "0", value_parser = asymmetry, allow_hyphen_values = true)]
    asymmetry: Span,
    #[command(flatten)]
    common: CommonArgs,
}

const HELP: &str = "\
Examples:
  swsync lab table3
  swsync lab table3 --seed 7 --out table3     also writes exchanges.csv (Fig. 7, suppl. Fig. 1) and filters.csv (suppl. Fig. 2)";

/// Runs the command.
///
/// # Errors
/// A file cannot be written, or every message is an outlier.
pub fn run(args: &Table3Args) -> anyhow::Result<ExitCode> {
    let messages = Messages::simulate(args.messages, args.asymmetry, args.common.seed)?;
    let traces = Followed::traces(args.messages, args.traces, args.asymmetry, args.common.seed)?;
    let command = format!(
        "swsync lab table3 --messages {} --traces {} --asymmetry {} --seed {}",
        args.messages,
        args.traces,
        args.asymmetry.as_micros_f64(),
        args.common.seed
    );
    let findings = Findings {
        lab: "table3",
        command,
        figures: figures(&messages, &traces),
        files: vec![messages.to_csv(), to_csv(&messages, &traces[0])],
        text: to_text(&messages, &traces),
    };
    findings.publish(&args.common)?;
    Ok(ExitCode::SUCCESS)
}

/// Delays of one exchange, by the truth.
#[derive(Debug, Clone, Copy)]
struct Delays {
    to_leader: Span,
    to_client: Span,
}

impl Delays {
    fn of(exchange: &Exchange, truth: Offset) -> Self {
        Self {
            to_leader: exchange.upper().as_span() - truth.as_span(),
            to_client: truth.as_span() - exchange.lower().as_span(),
        }
    }

    fn round_trip(self) -> Span {
        self.to_leader + self.to_client
    }

    /// The error of this exchange's offset: half of the difference.
    fn bias(self) -> Span {
        (self.to_leader - self.to_client) / 2
    }

    fn is_outlier(self) -> bool {
        self.to_leader.max(self.to_client) > OUTLIER
    }
}

/// The messages of one experiment.
struct Messages {
    /// All, with the true offset at the end of each.
    all: Vec<(Exchange, Offset)>,
    /// The delays of those that are no outliers.
    kept: Vec<Delays>,
}

impl Messages {
    fn simulate(count: usize, asymmetry: Span, seed: u64) -> anyhow::Result<Self> {
        let mut scenario: Scenario = "pixel3-wifi".parse()?;
        let slower =
            if asymmetry.is_negative() { &mut scenario.link.to_client } else { &mut scenario.link.to_leader };
        slower.floor += asymmetry.abs() * 2;
        slower.quiet_floor += asymmetry.abs() * 2;
        scenario.duration = LONGEST_MESSAGE * i64::try_from(count)?;
        let Trace { mut exchanges } = scenario.simulate(seed);
        exchanges.truncate(count);
        anyhow::ensure!(
            exchanges.len() == count,
            "the simulated trace has {} messages only",
            exchanges.len()
        );
        let delays = exchanges.iter().map(|(exchange, truth)| Delays::of(exchange, *truth));
        let kept: Vec<_> = delays.filter(|delays| !delays.is_outlier()).collect();
        anyhow::ensure!(!kept.is_empty(), "all {count} messages take more than 10 ms: use more of them");
        Ok(Self { all: exchanges, kept })
    }

    /// From the first message to the last answer.
    fn took(&self) -> Span {
        let ends = self.all.first().zip(self.all.last());
        ends.map_or(Span::ZERO, |((first, _), (last, _))| last.t4 - first.t1)
    }

    fn mean(&self) -> Delays {
        let of = |delay: fn(&Delays) -> Span| {
            Span::from_nanos_f64(mean(&self.kept.iter().map(delay).collect::<Vec<_>>()))
        };
        Delays { to_leader: of(|delays| delays.to_leader), to_client: of(|delays| delays.to_client) }
    }

    /// The message with the shortest round trip.
    fn min(&self) -> Delays {
        let shortest = self.kept.iter().min_by_key(|delays| delays.round_trip());
        *shortest.expect("`simulate` fails without messages")
    }

    /// The mean, over runs of `size` messages, of the shortest round trip of each; `None` if there are too few messages.
    fn shortest_of(&self, size: usize) -> Option<Span> {
        let shortest = |run: &[(Exchange, Offset)]| run.iter().map(|(exchange, _)| exchange.delay()).min();
        let runs: Vec<Span> = self.all.chunks_exact(size).filter_map(shortest).collect();
        (!runs.is_empty()).then(|| Span::from_nanos_f64(mean(&runs)))
    }

    /// Fig. 7 (delays) and the supplement's Fig. 1 (the wedge), with outliers.
    fn to_csv(&self) -> Csv {
        let columns =
            ["message", "time_s", "to_leader_ns", "to_client_ns", "round_trip_ns", "offset_error_ns"];
        let mut csv = Csv::new("exchanges.csv", &columns);
        for (index, (exchange, truth)) in self.all.iter().enumerate() {
            let delays = Delays::of(exchange, *truth);
            let spans = [delays.to_leader, delays.to_client, exchange.delay(), delays.bias()];
            let [up, down, both, error] = spans.map(|span| cell_ns(Some(span)));
            csv.row([index.to_string(), seconds(exchange.t4 - self.all[0].0.t1), up, down, both, error]);
        }
        csv
    }
}

fn seconds(span: Span) -> String {
    format!("{:.6}", span.as_secs_f64())
}

/// A filter that follows the messages.
struct Followed {
    name: &'static str,
    about: &'static str,
    /// Its error after each message, once it has an estimate.
    errors: Vec<Option<Span>>,
}

impl Followed {
    /// The paper's filters, which accumulate all messages, and swsync's default.
    fn all(messages: &[(Exchange, Offset)]) -> Vec<Self> {
        let accumulating =
            |kind, threshold| EstimatorConfig { kind, window: messages.len(), threshold }.build();
        vec![
            Self::of(
                "mean",
                "mean of all, below 10 ms (the paper, sec. IV.A)",
                accumulating(EstimatorKind::Mean, Some(OUTLIER)),
                messages,
            ),
            Self::of(
                "min",
                "shortest of all (the paper, sec. IV.B)",
                accumulating(EstimatorKind::Min, None),
                messages,
            ),
            Self::of(
                "min-held",
                "shortest of the first 300, held (the paper's rig)",
                Filter::MinHeld.build(),
                messages,
            ),
            Self::of("track", "swsync's default", Filter::Track.build(), messages),
        ]
    }

    fn of(
        name: &'static str,
        about: &'static str,
        mut filter: Box<dyn Estimator>,
        messages: &[(Exchange, Offset)],
    ) -> Self {
        let mut current = None;
        let errors = messages.iter().enumerate().map(|(index, (exchange, truth))| {
            current = filter.handle_exchange(exchange).or(current);
            Some(Sample::of(index, current.as_ref()?, exchange.t4, *truth).error)
        });
        Self { name, about, errors: errors.collect() }
    }

    /// The error after `count` messages.
    fn after(&self, count: usize) -> Option<Span> {
        self.errors.get(count.checked_sub(1)?).copied().flatten()
    }

    /// The filters of each trace, from this seed on.
    fn traces(messages: usize, traces: usize, asymmetry: Span, seed: u64) -> anyhow::Result<Vec<Vec<Self>>> {
        let follow = |index: usize| {
            let seed = seed.wrapping_add(u64::try_from(index)?);
            Ok(Self::all(&Messages::simulate(messages, asymmetry, seed)?.all))
        };
        parallel::trials("table3", traces, follow).into_iter().collect()
    }

    /// The errors after `count` messages of the filter with this index, one of each trace.
    fn spread_after(traces: &[Vec<Self>], index: usize, count: usize) -> Option<Spread> {
        Spread::of(traces.iter().filter_map(|filters| filters[index].after(count)))
    }
}

/// The supplement's Fig. 2: how the filters converge.
fn to_csv(messages: &Messages, filters: &[Followed]) -> Csv {
    let columns: Vec<String> = ["messages", "time_s"]
        .into_iter()
        .map(str::to_owned)
        .chain(filters.iter().map(|filter| format!("{}_error_ns", filter.name.replace('-', "_"))))
        .collect();
    let mut csv = Csv::new("filters.csv", &columns.iter().map(String::as_str).collect::<Vec<_>>());
    let begin: Timestamp<_> = messages.all[0].0.t1;
    for (index, (exchange, _)) in messages.all.iter().enumerate() {
        let errors: Vec<String> = filters.iter().map(|filter| cell_ns(filter.errors[index])).collect();
        csv.row([(index + 1).to_string(), seconds(exchange.t4 - begin), errors.join(",")]);
    }
    csv
}

fn figures(messages: &Messages, traces: &[Vec<Followed>]) -> serde_json::Value {
    let delays = |delays: Delays| {
        serde_json::json!({
            "leader_to_client_ns": delays.to_client,
            "client_to_leader_ns": delays.to_leader,
            "round_trip_ns": delays.round_trip(),
            "bias_ns": delays.bias(),
        })
    };
    let shortest = SIZES.map(
        |size| serde_json::json!({ "messages": size, "shortest_round_trip_ns": messages.shortest_of(size) }),
    );
    let after = |index: usize, size: usize| {
        let spread = Followed::spread_after(traces, index, size).map(Spread::to_json);
        serde_json::json!({ "messages": size, "first_trace_ns": traces[0][index].after(size), "errors": spread })
    };
    let filters: Vec<_> = traces[0]
        .iter()
        .enumerate()
        .map(|(index, filter)| {
            serde_json::json!({ "filter": filter.name, "after": SIZES.map(|size| after(index, size)) })
        })
        .collect();
    serde_json::json!({
        "messages": messages.all.len(),
        "traces": traces.len(),
        "outliers": messages.all.len() - messages.kept.len(),
        "seconds": messages.took().as_secs_f64(),
        "mean": delays(messages.mean()),
        "min": delays(messages.min()),
        "shortest": shortest,
        "filters": filters,
    })
}

/// A figure of Table III: its name, the paper's mean and min in us, and ours from the delays.
type Line = (&'static str, i64, i64, fn(Delays) -> Span);

const LINES: [Line; 5] = [
    ("leader to client", 1_133, 517, |delays| delays.to_client),
    ("client to leader", 1_878, 479, |delays| delays.to_leader),
    ("abs. latency difference", 746, 38, |delays| (delays.to_leader - delays.to_client).abs()),
    ("round-trip latency", 3_012, 996, |delays| delays.round_trip()),
    ("NTP bias", 372, 19, |delays| delays.bias().abs()),
];

fn to_text(messages: &Messages, traces: &[Vec<Followed>]) -> String {
    let right = |heading, width| Column { heading, width, align: Align::Right };
    let mut text = format!(
        "{} messages between two phones in {:.1} s; {} outliers (paper: 10000 in 34.3 s, 64 outliers)\n\n",
        messages.all.len(),
        messages.took().as_secs_f64(),
        messages.all.len() - messages.kept.len(),
    );
    let mut line = |line: &str| {
        let _ = writeln!(text, "{line}"); // writing to a string cannot fail
    };
    let table = Table::new([
        Column { heading: "Table III, us", width: 24, align: Align::Left },
        right("mean", 8),
        right("paper", 8),
        right("min", 8),
        right("paper", 8),
    ]);
    line(&table.headings());
    let (mean, min) = (messages.mean(), messages.min());
    for (name, paper_mean, paper_min, of) in LINES {
        let [ours_mean, ours_min] = [mean, min].map(|delays| micros_unsigned(of(delays)));
        line(&table.row(&[
            name.to_owned(),
            ours_mean,
            paper_mean.to_string(),
            ours_min,
            paper_min.to_string(),
        ]));
    }
    line("");
    let table = Table::new([
        Column { heading: "shortest round trip of K, us", width: 28, align: Align::Left },
        right("ours", 8),
        right("paper", 8),
    ]);
    line(&table.headings());
    for (size, paper) in SIZES.into_iter().zip(["1870", "1020", "996"]) {
        let ours = messages.shortest_of(size).map_or_else(|| NOTHING.to_owned(), micros_unsigned);
        line(&table.row(&[format!("K = {size}"), ours, paper.to_owned()]));
    }
    line("");
    let table = Table::new([
        Column { heading: "mean abs, max error after K, us", width: 32, align: Align::Left },
        right("300", 14),
        right("1000", 14),
        right("10000", 14),
        Column { heading: "filter", width: 20, align: Align::Left },
    ]);
    line(&table.headings());
    for (index, filter) in traces[0].iter().enumerate() {
        let [a, b, c] = SIZES.map(|size| {
            let spread = Followed::spread_after(traces, index, size);
            spread.map_or_else(
                || NOTHING.to_owned(),
                |spread| format!("{}, {}", micros_unsigned(spread.mean_abs), micros_unsigned(spread.max)),
            )
        });
        line(&table.row(&[filter.name.to_owned(), a, b, c, filter.about.to_owned()]));
    }
    let _ = write!(
        text,
        "Errors of filters: of {} traces with other random numbers, at the end of the K-th message. The clocks differ by 0.6 to 1 ppm,\n\
         so an offset that is held ages. The shortest messages are asymmetric by 19 us as the paper's are, the others are not but for\n\
         their mean: so `track`, which uses all messages, has no bias here. A real path may have one (--asymmetry).",
        traces.len()
    ); // writing to a string cannot fail
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seed of the recorded figures.
    const SEED: u64 = 1;

    #[test]
    fn delays_are_those_of_the_paper() {
        let messages = Messages::simulate(10_000, Span::ZERO, SEED).unwrap();
        let within = |ours: Span, paper: f64, tolerance: f64| {
            assert!((ours.as_micros_f64() - paper).abs() <= tolerance, "{ours:?}, the paper: {paper} us");
        };
        within(messages.mean().to_client, 1_133.0, 20.0);
        within(messages.mean().to_leader, 1_878.0, 30.0);
        within(messages.min().round_trip(), 996.0, 50.0);
        within(messages.took(), 34.3e6, 1.5e6);
        let outliers = messages.all.len() - messages.kept.len();
        assert!((40..90).contains(&outliers), "{outliers}");
    }

    /// Mean magnitude of the error in us of 12 traces after 300 messages: of swsync's default, and of the paper's filters. Recorded.
    const RECORDED: [(&str, f64); 3] = [("track", 12.5), ("min", 26.3), ("mean", 374.3)];

    #[test]
    fn filters_err_as_little_as_they_did() {
        let traces = Followed::traces(1_000, 12, Span::ZERO, SEED).unwrap();
        for (name, recorded) in RECORDED {
            let index = traces[0].iter().position(|filter| filter.name == name).unwrap();
            let error = Followed::spread_after(&traces, index, 300).unwrap().mean_abs.as_micros_f64();
            assert!(error <= 1.2 * recorded, "{name}: {error}, recorded: {recorded}");
        }
    }

    #[test]
    fn an_asymmetry_is_in_the_delays_and_in_the_errors() {
        let bias = |us| {
            let asymmetry = Span::from_micros(us);
            let filters = Followed::all(&Messages::simulate(400, asymmetry, SEED).unwrap().all);
            filters.into_iter().map(|filter| filter.after(400).unwrap().as_micros_f64()).collect::<Vec<_>>()
        };
        for ((plain, slower), faster) in bias(0).into_iter().zip(bias(30)).zip(bias(-30)) {
            // The messages are sent at other times, so their random delays differ in part.
            assert!((slower - plain - 30.0).abs() < 12.0 && (plain - faster - 30.0).abs() < 12.0, "{plain}");
        }
    }
}
