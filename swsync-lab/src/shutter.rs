//! `swsync lab shutter`: measures the time from an order to its files on all devices, and the network's and the disk's share of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use swsync_core::name::Name;
use swsync_core::order::{Answer, FrameOutcome, FrameRun, Order};
use swsync_core::time::Span;
use swsync_files::write_whole;
use swsync_rig::{DeviceOutcome, Session};

use super::orders::{Devices, RigSetup, Source};
use crate::stats::quantile;
use swsync_cli::exit;
use swsync_cli::output;
use swsync_cli::rig_time::ReportedRigTime;
use swsync_cli::table::{Align, Column, NOTHING, Table};

/// How long devices may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two orders, so that none waits for another.
const PAUSE: Duration = Duration::from_millis(100);

/// Time the way from an order to its files on all devices.
///
/// Needs gst-launch-1.0 with the swsync plugin. Real pipelines on this machine, each with a simulated camera; every file is
/// flushed to the disk before its device answers. In the same run: how long the devices take to say how they are (the
/// network and the control plane alone), and how long files of that size take to be written and flushed by as many
/// threads at once (the disk alone).
#[derive(Debug, Clone, Args)]
pub struct ShutterArgs {
    /// Devices, the leader among them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=20))]
    devices: u16,
    /// Orders of each kind.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    shots: u32,
    /// Clocks and cameras follow from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where files go; removed in the end unless given. The disk that is measured.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
}

/// When the frame of an order is, relative to the order.
#[derive(Clone, Copy)]
struct When {
    name: &'static str,
    /// The frame's time minus the order's.
    delay: Span,
}

const WHEN: [When; 3] = [
    When { name: "500 ms ago", delay: Span::from_millis(-500) },
    When { name: "now", delay: Span::ZERO },
    When { name: "in 500 ms, from then", delay: Span::from_millis(500) },
];

/// Milliseconds, sorted.
struct Times {
    name: &'static str,
    ms: Vec<f64>,
}

impl Times {
    fn new(name: &'static str, times: impl IntoIterator<Item = Duration>) -> Self {
        let mut ms: Vec<f64> = times.into_iter().map(|time| time.as_secs_f64() * 1e3).collect();
        ms.sort_by(f64::total_cmp);
        Self { name, ms }
    }

    /// The quantile; `None` if there are no times.
    fn quantile(&self, percent: usize) -> Option<f64> {
        (!self.ms.is_empty()).then(|| quantile(&self.ms, percent))
    }

    fn cells(&self) -> [String; 6] {
        let [least, median, p95, most] = [0, 50, 95, 100].map(|percent| match self.quantile(percent) {
            Some(ms) => format!("{ms:.1}"),
            None => NOTHING.to_owned(),
        });
        [self.name.to_owned(), self.ms.len().to_string(), least, median, p95, most]
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "what": self.name, "count": self.ms.len(), "least_ms": self.quantile(0), "median_ms": self.quantile(50),
            "p95_ms": self.quantile(95), "largest_ms": self.quantile(100),
        })
    }
}

fn table() -> Table<6> {
    let right = |heading, width| Column { heading, width, align: Align::Right };
    Table::new([
        Column { heading: "ms", width: 42, align: Align::Left },
        right("count", 6),
        right("least", 8),
        right("median", 8),
        right("95 %", 8),
        right("largest", 8),
    ])
}

/// Runs the command.
///
/// # Errors
/// The rig cannot be set up, or a device does not answer.
pub fn run(args: &ShutterArgs) -> anyhow::Result<ExitCode> {
    let temporary = std::env::temp_dir().join(format!("swsync-shutter-{}", std::process::id()));
    let out = args.out.as_ref().unwrap_or(&temporary);
    let setup =
        RigSetup { count: args.devices, source: Source::Simulated, seed: args.seed, ..RigSetup::default() };
    let mut devices = Devices::start(setup, out)?;
    let measured = measure(args, &mut devices);
    drop(devices);
    if args.out.is_none() {
        // Fails if the folder was not made; then the error below has the reason.
        let _ = fs::remove_dir_all(out);
    }
    let (rows, missed) = measured?;
    if args.json {
        let rows: Vec<_> = rows.iter().map(Times::json).collect();
        let report = serde_json::json!({ "devices": args.devices, "missed": missed, "times": rows });
        output::line(&report.to_string());
    } else {
        output::line(&format!("{} devices; every one of them has its file on the disk:", args.devices));
        output::line(&table().headings());
        rows.iter().for_each(|row| output::line(&table().row(&row.cells())));
        for why in &missed {
            output::line(&format!("missed: {why}"));
        }
    }
    Ok(ExitCode::from(if missed.is_empty() { 0 } else { exit::INCOMPLETE }))
}

/// All rows of the table, and the reasons of missed frames.
fn measure(args: &ShutterArgs, devices: &mut Devices) -> anyhow::Result<(Vec<Times>, Vec<String>)> {
    let session = devices.session()?;
    let all = usize::from(args.devices);
    let clock = devices.wait_until_ready(&session)?;
    // So that the rings reach back far enough for orders in the past.
    std::thread::sleep(Duration::from_secs(1));
    let (mut rows, mut missed, mut bytes) = (Vec::new(), Vec::new(), 0);
    for When { name, delay } in WHEN {
        let mut times = Vec::new();
        for shot in 0..args.shots {
            devices.check()?;
            std::thread::sleep(PAUSE);
            let id = Name::new(format!("shot-{}-{shot}", delay.as_nanos() / 1_000_000))?;
            let (time, answers) = shoot(&session, &clock, id, delay, all)?;
            match answers.iter().find(|answer| !answer.is_complete()) {
                Some(short) => {
                    missed.extend(short.frames.iter().filter_map(|run| Some(run.why()?.to_owned())))
                }
                None => times.push(time),
            }
            bytes = answers
                .iter()
                .flat_map(|answer| &answer.frames)
                .map(size_of)
                .max()
                .filter(|bytes| *bytes > 0)
                .unwrap_or(bytes);
        }
        rows.push(Times::new(name, times));
    }
    let asked = (0..args.shots).map(|_| ask(&session, all));
    rows.push(Times::new("beside it: to say how they are", asked.collect::<Result<Vec<_>, _>>()?));
    let picture = vec![0x5a; usize::try_from(bytes).unwrap_or(usize::MAX)];
    let written = (0..args.shots).map(|_| write_files(&devices.out().join("bare"), all, &picture));
    rows.push(Times::new(
        "beside it: to write and flush such files",
        written.collect::<Result<Vec<_>, _>>()?,
    ));
    Ok((rows, missed))
}

/// Orders one frame. Returns the time from the order, or from the frame's instant if that is later, to the last device's answer.
fn shoot(
    session: &Session,
    clock: &ReportedRigTime,
    id: Name,
    delay: Span,
    all: usize,
) -> anyhow::Result<(Duration, Vec<Answer>)> {
    let pressed = Instant::now();
    let order = Order::still(id, clock.at(pressed) + delay)?;
    let mut last = pressed;
    let mut answers = Vec::new();
    session.place(&order, ANSWER_TIMEOUT, |outcome| {
        last = Instant::now();
        answers.push(outcome.clone());
    })?;
    let answers: Vec<_> = answers
        .into_iter()
        .map(|outcome| match outcome {
            DeviceOutcome::Answered(answer) => Ok(answer),
            DeviceOutcome::NoAnswer { device, why } | DeviceOutcome::Refused { device, why } => {
                Err(anyhow!("{device}: {why}"))
            }
        })
        .collect::<Result<_, _>>()?;
    ensure!(answers.len() == all, "{} of {all} devices answered", answers.len());
    // An order for the past is timed from the order itself.
    Ok((last.saturating_duration_since(pressed + delay.to_duration()), answers))
}

/// How long it takes until all devices have reported their status.
fn ask(session: &Session, all: usize) -> anyhow::Result<Duration> {
    std::thread::sleep(PAUSE);
    let begun = Instant::now();
    let reports = session.statuses(ANSWER_TIMEOUT);
    ensure!(reports.len() == all, "{} of {all} devices answered", reports.len());
    let last = reports.iter().map(|report| report.heard).max().unwrap_or(begun);
    Ok(last.saturating_duration_since(begun))
}

/// How long it takes until `count` threads have each written `bytes` to a file, flushed and renamed as devices do it.
fn write_files(folder: &Path, count: usize, bytes: &[u8]) -> anyhow::Result<Duration> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let write = |index: usize| write_whole(&folder.join(index.to_string()), bytes);
    std::thread::sleep(PAUSE);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|index| scope.spawn(move || write(index))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("writing does not panic"))
    })?;
    Ok(begun.elapsed())
}

/// Bytes of the one file that a run of frames names.
const fn size_of(run: &FrameRun) -> u64 {
    match &run.outcome {
        FrameOutcome::Saved { bytes, .. } => *bytes,
        FrameOutcome::Recorded(recorded) => recorded.bytes,
        FrameOutcome::Missed { .. } | FrameOutcome::Failed { .. } | FrameOutcome::Partly { .. } => 0,
    }
}
