//! Scores of stills, as a table, as JSON and as CSV.

use std::fmt::Write as _;

use serde::Serialize;
use swsync_cli::table::{Align, Column, Table, micros, micros_unsigned};
use swsync_core::time::Span;

use super::args::SteadyArgs;
use super::simulate::Still;

/// What stills have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Their number.
    stills: usize,
    /// Mean magnitude of the total error.
    #[serde(rename = "mean_ns")]
    pub mean: Span,
    /// Largest magnitude.
    #[serde(rename = "max_ns")]
    pub most: Span,
    /// Means, with sign, of the total error and of its parts.
    #[serde(rename = "bias_ns")]
    pub bias: Span,
    #[serde(rename = "clock_ns")]
    clock: Span,
    #[serde(rename = "phase_ns")]
    phase: Span,
    #[serde(rename = "exposure_reference_ns")]
    exposure_reference: Span,
    #[serde(rename = "stamp_ns")]
    stamp: Span,
    /// Stills whose pictures are further apart than the certificates of both devices claim.
    pub beyond_bound: usize,
    /// The median bound.
    #[serde(rename = "bound_ns")]
    pub bound: Span,
}

impl Summary {
    /// Of these stills.
    pub fn of<'a>(stills: impl Iterator<Item = &'a Still>) -> Self {
        let stills: Vec<&Still> = stills.collect();
        let count = i64::try_from(stills.len().max(1)).unwrap_or(i64::MAX);
        let mean = |of: fn(&Still) -> Span| stills.iter().map(|still| of(still)).sum::<Span>() / count;
        Self {
            stills: stills.len(),
            mean: mean(|still| still.total.abs()),
            most: stills.iter().map(|still| still.total.abs()).max().unwrap_or(Span::ZERO),
            bias: mean(|still| still.total),
            clock: mean(|still| still.clock),
            phase: mean(|still| still.phase),
            exposure_reference: mean(|still| still.exposure_reference),
            stamp: mean(|still| still.stamp),
            beyond_bound: stills.iter().filter(|still| still.is_beyond()).count(),
            bound: {
                let mut bounds: Vec<Span> = stills.iter().filter_map(|still| still.bound).collect();
                bounds.sort_unstable();
                bounds.get(bounds.len() / 2).copied().unwrap_or(Span::MAX)
            },
        }
    }
}

/// One device of one rig.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    rig: u64,
    device: usize,
    first_ten_seconds: Summary,
    settled: Summary,
    #[serde(rename = "path_offset_ns")]
    path_offset: Span,
    settled_with_path_offset: Summary,
}

impl Row {
    /// Of `device`, in both runs.
    pub fn of(rig: u64, device: usize, path_offset: Span, found: &[Still], corrected: &[Still]) -> Self {
        let of = |stills: &[Still], settled| {
            Summary::of(stills.iter().filter(|still| still.device == device && still.is_settled() == settled))
        };
        Self {
            rig,
            device,
            first_ten_seconds: of(found, false),
            settled: of(found, true),
            path_offset,
            settled_with_path_offset: of(corrected, true),
        }
    }
}

/// The figures as JSON.
pub fn to_json(rows: &[Row], [first, settled, corrected]: &[Summary; 3]) -> serde_json::Value {
    serde_json::json!({
        "first_ten_seconds": first,
        "settled": settled,
        "settled_with_path_offset": corrected,
        "devices": rows,
    })
}

/// Every still of runs without and with path offsets.
pub fn to_csv(runs: &[(bool, &[Still])]) -> String {
    let mut text =
        "rig,device,path_offset,at_s,total_ns,clock_ns,phase_ns,exposure_reference_ns,stamp_ns,bound_ns\n"
            .to_owned();
    for (corrected, stills) in runs {
        for still in *stills {
            let parts = [still.total, still.clock, still.phase, still.exposure_reference, still.stamp];
            let _ = write!(text, "{},{},{corrected},{:.3}", still.rig, still.device, still.at_s);
            for part in parts {
                let _ = write!(text, ",{}", part.as_nanos());
            }
            let _ = write!(text, ",");
            if let Some(bound) = still.bound {
                let _ = write!(text, "{}", bound.as_nanos());
            }
            text.push('\n'); // writing to a string cannot fail
        }
    }
    text
}

/// The figures as a table.
pub fn to_text(args: &SteadyArgs, rows: &[Row], summaries: &[Summary; 3]) -> String {
    let right = |heading, width| Column { heading, width, align: Align::Right };
    let table = Table::new([
        Column { heading: "rig, device", width: 22, align: Align::Left },
        right("first 10 s", 10),
        right("max", 6),
        right("settled", 8),
        right("max", 6),
        right("clock", 6),
        right("phase", 6),
        right("exp. ref.", 9),
        right("stamp", 6),
        right("path off.", 9),
        right("mean", 6),
        right("max", 6),
    ]);
    let mut text = format!(
        "{} rigs of {} devices, {} min each, link {}, {} Mbit/s a device; us, each client's picture minus the leader's\n",
        args.seeds, args.devices, args.minutes, args.link.name, args.traffic
    );
    text += &table.headings();
    text.push('\n');
    let mut line = |name: String, summaries: [Summary; 3], path: Option<Span>| {
        let [first, settled, corrected] = summaries;
        let cells = [
            name,
            micros_unsigned(first.mean),
            micros_unsigned(first.most),
            micros_unsigned(settled.mean),
            micros_unsigned(settled.most),
            micros(settled.clock),
            micros(settled.phase),
            micros(settled.exposure_reference),
            micros(settled.stamp),
            path.map_or_else(|| swsync_cli::table::NOTHING.to_owned(), micros),
            micros_unsigned(corrected.mean),
            micros_unsigned(corrected.most),
        ];
        text += &table.row(&cells);
        text.push('\n');
    };
    for row in rows {
        let summaries = [row.first_ten_seconds, row.settled, row.settled_with_path_offset];
        line(format!("rig {}, device {}", row.rig, row.device), summaries, Some(row.path_offset));
    }
    line("all".to_owned(), *summaries, None);
    for (when, summary) in
        ["in the first ten seconds", "settled", "settled, with path offsets"].iter().zip(summaries)
    {
        let Summary { stills, beyond_bound, bound, .. } = summary;
        let bound = micros_unsigned(*bound);
        let _ = writeln!(
            text,
            "{when}: {beyond_bound} of {stills} stills beyond their bounds, which are {bound} us in the median"
        );
    }
    text.truncate(text.trim_end().len());
    text
}
