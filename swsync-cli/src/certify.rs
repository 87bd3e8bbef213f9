//! `swsync certify`: proves, of a collected take, how far its pictures may be apart.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use swsync_client::pending::Pending;
use swsync_core::certificate::{CERTIFICATE_JSON, PartCertificate, TakeCertificate, TakeCertifier};
use swsync_core::name::OrderId;
use swsync_core::time::Span;
use swsync_files::write_whole;

use crate::error_report::failure;
use crate::exit;
use crate::orders::MaxErrorArgs;
use crate::output::{self, warn};
use crate::table::{Align, Column, NOTHING, Table, clean, micros_unsigned};
use crate::takes;

/// Prove of a collected take how far its pictures of one number may be apart.
///
/// Every frame has an error bound, of what its device knew of its clock and its camera: `bound_ns` in frames.csv. Those of
/// two devices add up. The result is written to TAKE/certificate.json.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CertifyArgs {
    /// The folder of the take, as `swsync collect` wrote it: OUT/ORDER.
    #[arg(value_name = "TAKE")]
    take: PathBuf,
    #[command(flatten)]
    max_error: MaxErrorArgs,
    /// Print certificate.json instead of the table.
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  swsync certify takes/shot-1
  swsync certify takes/shot-1 --max-error 100us
  swsync certify takes/walk --json | jq .worst_ns

Columns:
  frames   how many were saved
  bound us how far the device's frames may be from the instants of their numbers, in microseconds: the largest bound
  of       what it consists of: phase + clock + exposure reference + stamp

docs/takes.md says what a bound claims, and what it does not.

Exit codes:
  0  every picture is proven to be within the limit
  1  the take cannot be read, or certificate.json cannot be written
  2  wrong arguments
  6  some pictures may be further apart, or it is not known, or a part of the take is not here";

/// Runs the command.
///
/// # Errors
/// The take cannot be read.
pub fn run(args: &CertifyArgs) -> anyhow::Result<ExitCode> {
    let certificate = certify(&args.take, args.max_error.limit())?;
    write(&args.take, &certificate)?;
    if args.json {
        output::line(certificate.to_json().trim_end());
    } else {
        print(&certificate);
    }
    Ok(ExitCode::from(if certificate.passes { 0 } else { exit::NOT_PROVEN }))
}

/// The certificate of the take in `folder`, as its files are now.
///
/// # Errors
/// There is no take, or it cannot be read.
pub fn certify(folder: &Path, max_error: Option<Span>) -> anyhow::Result<TakeCertificate> {
    // `takes/o1/`, `.` and the like have a name too.
    let full = fs::canonicalize(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let name = full.file_name().and_then(|name| name.to_str()).and_then(|name| OrderId::new(name).ok());
    let (Some(order), Some(out)) = (name, full.parent()) else {
        return Err(not_a_take(folder, "is not the folder of a take"));
    };
    let devices = takes::devices(out, &order);
    let pending = Pending::of_take(&full);
    if devices.is_empty() && pending.is_empty() {
        return Err(not_a_take(folder, "has no device's part of a take"));
    }
    let mut certifier = TakeCertifier::new(order);
    for (device, note) in pending.iter().filter(|(_, note)| !note.given_up) {
        certifier.add_problem(format!("the part of {device} is not all here: {}", note.why));
    }
    for device in &devices {
        let part = full.join(device.as_str());
        let take = takes::read_take(&part)?;
        if !take.complete {
            certifier.add_problem(format!("the part of {device} is not finished: its take.json says so"));
        }
        certifier.add_part(device, take.grid, |each| {
            takes::each_frame(&part, &take, |record| each(&record.info))
        })?;
    }
    Ok(certifier.finish(max_error))
}

fn not_a_take(folder: &Path, why: &str) -> anyhow::Error {
    let remedy = "give the folder of one order, as `swsync collect OUT` writes it: OUT/ORDER";
    failure(format!("{} {why}", folder.display()), remedy)
}

/// Writes certificate.json into the folder of a take, for the usual limit.
///
/// # Errors
/// Those of [`certify`], and of the system.
pub fn renew(folder: &Path) -> anyhow::Result<()> {
    write(folder, &certify(folder, MaxErrorArgs::default().limit())?)
}

/// Writes certificate.json into `folder`, whole or not at all.
fn write(folder: &Path, certificate: &TakeCertificate) -> anyhow::Result<()> {
    let path = folder.join(CERTIFICATE_JSON);
    let written = write_whole(&path, certificate.to_json().as_bytes());
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn print(certificate: &TakeCertificate) {
    let column = |heading, width, align| Column { heading, width, align };
    let width = certificate.devices.iter().map(|part| part.device.as_str().len()).max().unwrap_or_default();
    let table = Table::new([
        column("device", width.max(6), Align::Left),
        column("frames", 8, Align::Right),
        column("bound us", 8, Align::Right),
        column("of", 2, Align::Left),
    ]);
    output::line(&table.headings());
    for part in &certificate.devices {
        output::line(&table.row(&row(part)));
    }
    for problem in &certificate.problems {
        warn(problem);
    }
    output::line(&verdict(certificate));
}

fn row(part: &PartCertificate) -> [String; 4] {
    let terms = part.terms.map(|terms| {
        let terms = [terms.phase, terms.clock, terms.exposure_reference, terms.stamp].map(micros_unsigned);
        format!("{} (frame {})", terms.join(" + "), part.worst_frame.unwrap_or_default())
    });
    let unknown = part.unbounded.iter().map(|frames| {
        let range = match frames.count {
            1 => format!("frame {} has no bound", frames.first),
            count => format!("{count} frames from {} to {} have no bound", frames.first, frames.last),
        };
        format!("{range}: {}", clean(&frames.why))
    });
    [
        part.device.to_string(),
        part.frames.to_string(),
        part.worst_ns.map_or(NOTHING.to_owned(), micros_unsigned),
        terms.into_iter().chain(unknown).collect::<Vec<_>>().join("; "),
    ]
}

/// The last line.
fn verdict(certificate: &TakeCertificate) -> String {
    let word = if certificate.passes { "proven" } else { "NOT proven" };
    let limit = certificate.max_error_ns.map(|limit| format!("; the limit is {} us", micros_unsigned(limit)));
    let limit = limit.unwrap_or_default();
    let Some(worst) = certificate.worst_ns else {
        return format!("{word}: how far its pictures may be apart is not known{limit}");
    };
    let at = certificate.worst().map(|number| {
        let devices: Vec<_> = number.devices.iter().map(|device| device.as_str()).collect();
        format!(" (frame {}, {})", number.number, devices.join(" and "))
    });
    let what = match certificate.devices.len() {
        1 => "its pictures are at most {} us from the instants of their numbers",
        _ => "pictures of one number are at most {} us apart",
    };
    let what = what.replace("{}", &micros_unsigned(worst));
    format!("{word}: {what}{}{limit}", at.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{device_take, name};

    const LIMIT: Option<Span> = Some(Span::from_micros(300));

    #[test]
    fn a_take_is_certified_by_its_worst_pair() {
        let root = tempfile::tempdir().unwrap();
        for device in ["a", "b"] {
            device_take(root.path(), "o1", device, &[100, 101]);
        }
        let folder = root.path().join("o1");
        let good = certify(&folder, LIMIT).unwrap();
        // Of each: 3 us of phase, 4 x 20 of the clock, 20 of the camera.
        assert_eq!((good.worst_ns, good.passes), (Some(Span::from_micros(2 * 103)), true));
        assert_eq!(good.numbers.len(), 2);
        let text = verdict(&good);
        assert!(
            text.starts_with("proven: pictures of one number are at most 206.0 us apart (frame 10"),
            "{text}"
        );
        assert!(text.ends_with("; the limit is 300.0 us"), "{text}");
        assert_eq!(row(&good.devices[0])[1..3], ["2", "103.0"]);
        assert!(!certify(&folder, Some(Span::from_micros(205))).unwrap().passes);

        write(&folder, &good).unwrap();
        let text = fs::read(folder.join(CERTIFICATE_JSON)).unwrap();
        assert_eq!(serde_json::from_slice::<TakeCertificate>(&text).unwrap(), good);
        assert_eq!(takes::devices(root.path(), &name("o1")).len(), 2, "it is no device");
        assert_eq!(certify(&folder, LIMIT).unwrap(), good, "again, beside the first one");
    }

    #[test]
    fn what_is_not_here_or_has_no_bound_is_not_proven() {
        let root = tempfile::tempdir().unwrap();
        let part = device_take(root.path(), "o1", "a", &[100, 101]);
        let folder = root.path().join("o1");
        let missing = Pending { why: "it left".into(), given_up: false };
        missing.remember(root.path(), &name("o1"), &name("b")).unwrap();
        let certificate = certify(&folder, LIMIT).unwrap();
        assert!(!certificate.passes && certificate.problems[0].contains("b is not all here: it left"));
        Pending { given_up: true, ..missing }.remember(root.path(), &name("o1"), &name("b")).unwrap();
        assert!(certify(&folder, LIMIT).unwrap().passes, "it was given up");

        let manifest = part.join(swsync_core::manifest::FRAMES_JSONL);
        let text = fs::read_to_string(&manifest).unwrap().replacen("\"synced\"", "\"unsynced\"", 1);
        fs::write(&manifest, text).unwrap();
        let certificate = certify(&folder, LIMIT).unwrap();
        assert!(!certificate.passes && certificate.worst_ns.is_none());
        let [.., of] = row(&certificate.devices[0]);
        assert!(of.contains("frame 100 has no bound: its clock was unsynced"), "{of}");
        assert!(verdict(&certificate).starts_with("NOT proven: how far"), "{}", verdict(&certificate));
    }

    #[test]
    fn another_folder_is_refused_with_the_remedy() {
        let root = tempfile::tempdir().unwrap();
        device_take(root.path(), "o1", "a", &[100]);
        for folder in [root.path().to_owned(), root.path().join("o1/a")] {
            let error = certify(&folder, LIMIT).unwrap_err().to_string();
            assert!(error.contains("OUT/ORDER"), "{error}");
        }
        assert!(certify(&root.path().join("o2"), LIMIT).is_err());
    }
}
