//! `swsync lab clock --trace`: replays a recorded trace through estimators, one exchange at a time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use swsync_core::estimate::ClockEstimate;
use swsync_core::estimate::{Estimator, Exchange};
use swsync_core::time::{Local, Offset, Span, Timestamp};

use super::args::ClockArgs;
use super::csv::{Rows, TRACE, TRUTH};
use super::filter::Filter;
use super::row_output::RowOutput;
use super::score::{self, LeastDelays, Rules, Sample, Score, Tally};
use swsync_cli::{exit, output};

/// The columns of the answers.
const ANSWER: &str = "t3_ns,offset_ns,skew_ppb,uncertainty_ns";
/// How often progress is shown.
const PROGRESS: Duration = Duration::from_millis(500);

/// An estimator and its last estimate.
struct FilterRun {
    filter: Filter,
    estimator: Box<dyn Estimator>,
    current: Option<ClockEstimate>,
    samples: Vec<Sample>,
}

/// The true offsets of a trace, by `t3`.
type Truth = HashMap<i64, Offset>;

/// Replays the trace that `args` name.
///
/// # Errors
/// A file cannot be read or written, or a row is invalid.
pub fn run(args: &ClockArgs, trace: &Path) -> anyhow::Result<ExitCode> {
    let out_path = match (&args.out, &args.truth) {
        (Some(path), _) => Some(path.clone()),
        (None, None) => Some(PathBuf::from("-")),
        (None, Some(_)) => None,
    };
    let filters = if args.filter.is_empty() { &[Filter::Track][..] } else { &args.filter };
    if out_path.is_some() && filters.len() > 1 {
        bail!("--out takes the answers of one filter, and --filter names {}: name one", filters.len());
    }
    let truth = args.truth.as_deref().map(read_truth).transpose()?;
    let input = open(trace)?;
    let mut out = out_path.as_deref().map(RowOutput::open).transpose()?;
    on_interrupt(out.as_ref().and_then(RowOutput::partial))?;
    let mut replay = Replay::new(filters, truth);
    let shown = out_path.as_deref() == Some(Path::new("-"));
    replay.run(&mut Rows::new(input, name(trace), TRACE), out.as_mut(), &mut ProgressLine::new(shown))?;
    if let Some(out) = out {
        quietly_closed(out.finish())?;
    }
    if let Some(truth) = &args.truth {
        let report = replay.report(args, trace, truth)?;
        let text = if args.json { report.to_json().to_string() } else { report.to_table() };
        // Standard output may have the rows already.
        if shown { eprintln!("{text}") } else { output::line(&text) }
    }
    Ok(ExitCode::SUCCESS)
}

/// The name of an input in messages.
fn name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".into() } else { path.display().to_string() }
}

fn open(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Box::new(file))
}

fn read_truth(path: &Path) -> anyhow::Result<Truth> {
    let mut rows = Rows::new(open(path)?, name(path), TRUTH);
    let mut truth = Truth::new();
    while let Some([t3, offset]) = rows.next_row()? {
        truth.insert(t3, Offset::from_span(Span::from_nanos(offset)));
    }
    Ok(truth)
}

/// From now on Ctrl-C removes the unfinished file and ends the process.
fn on_interrupt(partial: Option<PathBuf>) -> anyhow::Result<()> {
    ctrlc::set_handler(move || {
        if let Some(partial) = &partial {
            let _ = std::fs::remove_file(partial); // fails if it was just renamed
        }
        std::process::exit(i32::from(exit::INTERRUPTED));
    })
    .context("cannot catch Ctrl-C")
}

/// Ends the process if the reader of the answers has gone, as `head` does.
fn quietly_closed(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            std::process::exit(i32::from(exit::INCOMPLETE))
        }
        written => written.context("cannot write the answers"),
    }
}

/// One row of the answers; its cells are empty if there is no estimate yet.
fn answer(at: Timestamp<Local>, estimate: Option<&ClockEstimate>) -> String {
    let t3 = at.as_nanos();
    let Some(estimate) = estimate else { return format!("{t3},,,") };
    let offset = Offset::between(estimate.rig_at(at), at).as_span().as_nanos();
    let skew_ppb = estimate.skew.as_ratio() * 1e9;
    format!("{t3},{offset},{skew_ppb:.0},{}", estimate.uncertainty_at(at).as_nanos())
}

struct Replay {
    runs: Vec<FilterRun>,
    truth: Option<Truth>,
    least: LeastDelays,
    begin: Option<Timestamp<Local>>,
    exchanges: usize,
    /// Exchanges whose true offset is not known.
    without_truth: usize,
}

impl Replay {
    fn new(filters: &[Filter], truth: Option<Truth>) -> Self {
        let run = |filter: &Filter| FilterRun {
            filter: *filter,
            estimator: filter.build(),
            current: None,
            samples: Vec::new(),
        };
        Self {
            runs: filters.iter().map(run).collect(),
            truth,
            least: LeastDelays::default(),
            begin: None,
            exchanges: 0,
            without_truth: 0,
        }
    }

    fn run<R: Read>(
        &mut self,
        rows: &mut Rows<R, 4>,
        mut out: Option<&mut RowOutput>,
        progress: &mut ProgressLine,
    ) -> anyhow::Result<()> {
        if let Some(out) = &mut out {
            quietly_closed(out.line(ANSWER))?;
        }
        loop {
            // A program that feeds line by line waits for the answer before it sends the next line.
            if let Some(out) = out.as_mut().filter(|_| rows.may_block()) {
                quietly_closed(out.flush())?;
            }
            let Some([t0, t1, t2, t3]) = rows.next_row()? else { break };
            let exchange = Exchange {
                t1: Timestamp::from_nanos(t0),
                t2: Timestamp::from_nanos(t1),
                t3: Timestamp::from_nanos(t2),
                t4: Timestamp::from_nanos(t3),
            };
            self.exchange(&exchange);
            if let (Some(out), [run, ..]) = (&mut out, self.runs.as_slice()) {
                quietly_closed(out.line(&answer(exchange.t4, run.current.as_ref())))?;
            }
            progress.at(self.exchanges);
        }
        progress.end();
        Ok(())
    }

    fn exchange(&mut self, exchange: &Exchange) {
        self.exchanges += 1;
        self.begin.get_or_insert(exchange.t4);
        let truth = self.truth.as_ref().map(|truth| truth.get(&exchange.t4.as_nanos()).copied());
        match truth {
            Some(Some(truth)) => self.least.add(exchange, truth),
            Some(None) => self.without_truth += 1,
            None => {}
        }
        for run in &mut self.runs {
            run.current = run.estimator.handle_exchange(exchange).or(run.current);
            if let (Some(Some(truth)), Some(estimate)) = (truth, &run.current) {
                run.samples.push(Sample::of(self.exchanges - 1, estimate, exchange.t4, truth));
            }
        }
    }

    /// The scores of the filters.
    fn report(&self, args: &ClockArgs, trace: &Path, truth: &Path) -> anyhow::Result<Report> {
        let Some(begin) = self.begin.filter(|_| self.without_truth < self.exchanges) else {
            bail!("{}: no exchange of {} has its t3_ns there", name(truth), name(trace));
        };
        let asymmetry = args.asymmetry.unwrap_or_else(|| self.least.asymmetry());
        let rules = Rules { after: args.after, asymmetry };
        let score = |run: &FilterRun| {
            let mut tally = Tally::default();
            tally.add(&run.samples, begin, rules);
            let score = tally.score().with_context(|| {
                format!(
                    "{}: {} has {} estimates and --after {} leaves none: a smaller --after counts some",
                    name(trace),
                    run.filter.name(),
                    run.samples.len(),
                    args.after
                )
            })?;
            Ok((run.filter, score))
        };
        Ok(Report {
            trace: name(trace),
            exchanges: self.exchanges,
            without_truth: self.without_truth,
            after: args.after,
            asymmetry,
            scores: self.runs.iter().map(score).collect::<anyhow::Result<_>>()?,
        })
    }
}

/// The scores on a trace with known true offsets.
struct Report {
    trace: String,
    exchanges: usize,
    without_truth: usize,
    after: usize,
    asymmetry: Span,
    scores: Vec<(Filter, Score)>,
}

impl Report {
    fn to_table(&self) -> String {
        let Self { trace, exchanges, after, .. } = self;
        let mut text = format!(
            "{trace}: {exchanges} exchanges, the first {after} not counted\nerrors in us; asymmetry of the \
             path {:+.1} us, taken off for the last column\n",
            self.asymmetry.as_micros_f64(),
        );
        if self.without_truth > 0 {
            text += &format!("{} of the exchanges have no true offset\n", self.without_truth);
        }
        let table = score::table();
        text += &table.headings();
        for (filter, score) in &self.scores {
            text.push('\n');
            text += &table.row(&score.cells(*filter));
        }
        text
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "trace": self.trace,
            "exchanges": self.exchanges,
            "without_truth": self.without_truth,
            "after": self.after,
            "asymmetry_ns": self.asymmetry,
            "filters": self.scores.iter().map(|(filter, score)| score.to_json(*filter)).collect::<Vec<_>>(),
        })
    }
}

/// Shows the progress of a long replay.
struct ProgressLine {
    /// When to show it next; `None`: never.
    next: Option<Instant>,
}

impl ProgressLine {
    /// Shows nothing if the rows go to the same terminal.
    fn new(rows_are_shown: bool) -> Self {
        let is_free = !(rows_are_shown && io::stdout().is_terminal());
        Self { next: is_free.then(|| Instant::now() + PROGRESS) }
    }

    fn at(&mut self, exchanges: usize) {
        if self.next.is_some_and(|next| Instant::now() >= next) {
            output::status_line(&format!("{exchanges} exchanges"));
            self.next = Some(Instant::now() + PROGRESS);
        }
    }

    fn end(&self) {
        if self.next.is_some() {
            output::status_line("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_core::time::Skew;

    #[test]
    fn an_answer_is_the_estimate_at_t3() {
        let at = Timestamp::from_nanos(3_000_000_000);
        let estimate = ClockEstimate {
            at: Timestamp::from_nanos(1_000_000_000),
            offset: Offset::from_span(Span::from_nanos(500)),
            skew: Skew::from_ppm(-1.5),
            uncertainty: Span::from_nanos(800),
            skew_uncertainty: Skew::ZERO,
            least_delay: Span::ZERO,
        };
        let row = answer(at, Some(&estimate));
        assert!(row.starts_with("3000000000,-2500,-1500,"), "{row}");
        assert_eq!(answer(at, None), "3000000000,,,");
    }
}
