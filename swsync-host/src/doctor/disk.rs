//! The disk where the takes go: can it be written to, how full is it, how long does it take.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use swsync_core::doctor::{Check, Problem};

use super::{Subject, Takes};
use crate::HostRoot;

const ID: &str = "disk";

/// What is written and flushed once: as much as a picture of 1080p in JPEG has.
const CHUNK: usize = 256 << 10;
/// How often.
const WRITES: usize = 8;
/// Longest median of these writes. Chosen: an order flushes some five files, one after the other; half a second then.
const SLOW: Duration = Duration::from_millis(100);
/// The measurement ends after this, however few writes were made.
const MOST: Duration = Duration::from_secs(3);
/// Nearly full: less than this, or less than [`SOON`] of recording. Chosen: twice what swsyncsink keeps free.
const LITTLE_SPACE: u64 = 1 << 30;
/// Less recording than this is little.
const SOON: u64 = 600;

/// The disk.
pub(super) fn disk(root: &HostRoot, subject: &Subject) -> Check {
    let folder = match &subject.takes {
        Takes::At(folder) => folder,
        Takes::None => return Check::ok(ID, "this device writes no takes"),
        Takes::Unknown => {
            return Check::unknown(
                ID,
                "it is not known where the takes go",
                "--takes FOLDER, or the device's pipeline has to run",
            );
        }
        Takes::Busy(why) => {
            return Check::unknown(
                ID,
                format!("the disk is not measured now: {why}"),
                "the end of that recording",
            );
        }
    };
    // Before the first order the folder itself need not be there.
    let Some(existing) = folder.ancestors().find(|folder| folder.is_dir()) else {
        return Check::unknown(
            ID,
            format!("there is no folder {}", folder.display()),
            "--takes with a folder that is there",
        );
    };
    judge(root, subject, existing, &|file: &File| file.sync_all())
}

/// As [`disk`]; `flush` puts on the disk what was written.
fn judge(
    root: &HostRoot,
    subject: &Subject,
    folder: &Path,
    flush: &dyn Fn(&File) -> io::Result<()>,
) -> Check {
    let shown = if folder.as_os_str().is_empty() { ".".into() } else { folder.display().to_string() };
    let device = device_of(root, folder);
    let times = match measure(folder, flush) {
        Ok(times) => times,
        Err(error) => {
            let finding = Problem::DiskNotWritable.finding(
                "files cannot be written where the takes go: no order can be served",
                format!("writing a small file in {shown}{device}: {error}"),
                format!("sudo chown \"$USER\" {shown}; of a file system that became read-only: sudo dmesg | tail, sudo fsck, or another card"),
            );
            return Check::found(ID, vec![finding], "");
        }
    };
    let mut findings = Vec::new();
    let median = times[times.len() / 2];
    if median > SLOW {
        findings.push(Problem::DiskSlow.finding(
            "the disk takes long to write something for good: orders are answered late, and frames may be lost while it is busy",
            format!(
                "{} writes of {} kB in {shown}{device}, flushed one by one: median {} ms, longest {} ms; more than {} ms is slow",
                times.len(),
                CHUNK / 1000,
                median.as_millis(),
                times[times.len() - 1].as_millis(),
                SLOW.as_millis()
            ),
            "a faster card (class A2), or a USB SSD; swsyncsink location= names where. Or swsyncsink durability=fast, which loses the last \
             seconds if the power fails",
        ));
    }
    let space = rustix::fs::statvfs(folder)
        .map(|space| (space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize));
    match space {
        Ok((free, all)) => {
            let seconds = free.checked_div(subject.bytes_per_second);
            if free < LITTLE_SPACE.min(all / 10) || seconds.is_some_and(|seconds| seconds < SOON) {
                let left = seconds.map_or_else(String::new, |seconds| {
                    format!(", {seconds} s of recording at the present rate")
                });
                findings.push(Problem::DiskNearlyFull.finding(
                    "the disk is nearly full: frames that do not fit are lost",
                    format!("{shown}{device}: {} of {} MB are free{left}", free / 1_000_000, all / 1_000_000),
                    "swsync collect, then remove what was collected (swsync takes, swsync rm)",
                ));
            }
            let seen = format!(
                "{shown}{device}: {} GB free, a flushed write takes {} ms",
                free / 1_000_000_000,
                median.as_millis()
            );
            Check::found(ID, findings, seen)
        }
        Err(error) if findings.is_empty() => Check::unknown(
            ID,
            format!("the free space of {shown} is not known: {error}"),
            format!("df {shown}"),
        ),
        Err(_) => Check::found(ID, findings, ""),
    }
}

/// How long each of some small writes takes, sorted. The file is removed.
fn measure(folder: &Path, flush: &dyn Fn(&File) -> io::Result<()>) -> io::Result<Vec<Duration>> {
    let path = folder.join(format!(".swsync-doctor-{}-{:x}", std::process::id(), unique()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let times = time_writes(&file, flush);
    let removed = fs::remove_file(&path);
    let mut times = times?;
    removed?;
    times.sort();
    Ok(times)
}

/// Differs between threads that measure at once.
fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn time_writes(mut file: &File, flush: &dyn Fn(&File) -> io::Result<()>) -> io::Result<Vec<Duration>> {
    let (chunk, begin) = (vec![0x5a; CHUNK], Instant::now());
    let mut times = Vec::with_capacity(WRITES);
    while times.len() < WRITES && begin.elapsed() < MOST {
        let before = Instant::now();
        file.write_all(&chunk)?;
        flush(file)?;
        times.push(before.elapsed());
    }
    Ok(times)
}

/// The block device of `folder` for a person, as ` (mmcblk0, SD card SC64G)`; empty if it is not known.
fn device_of(root: &HostRoot, folder: &Path) -> String {
    let Ok(at) = fs::metadata(folder) else { return String::new() };
    let number = format!("{}:{}", rustix::fs::major(at.dev()), rustix::fs::minor(at.dev()));
    let Ok(place) = fs::canonicalize(root.path(format!("/sys/dev/block/{number}"))) else {
        return String::new();
    };
    // A partition is inside of its disk's folder.
    let disk: PathBuf = if place.join("partition").exists() {
        place.parent().map(Into::into).unwrap_or_default()
    } else {
        place
    };
    let Some(name) = disk.file_name().and_then(|name| name.to_str()) else { return String::new() };
    let text = |file: &str| fs::read_to_string(disk.join(file)).ok().map(|text| text.trim().to_owned());
    let kind = match (text("device/type").as_deref(), text("queue/rotational").as_deref()) {
        (Some("SD"), _) => ", SD card",
        (Some("MMC"), _) => ", eMMC",
        (_, Some("1")) => ", rotating",
        _ => "",
    };
    let model = text("device/name").or_else(|| text("device/model")).map(|model| format!(" {model}"));
    format!(" ({name}{kind}{})", model.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(check: &Check) -> Vec<&str> {
        check.findings().iter().map(|finding| finding.id.as_str()).collect()
    }

    #[test]
    fn a_slow_disk_is_found_by_writing_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let slow = |_: &File| {
            std::thread::sleep(SLOW + Duration::from_millis(20));
            Ok(())
        };
        let check = judge(&HostRoot::default(), &Subject::default(), folder.path(), &slow);
        assert_eq!(ids(&check), ["disk-slow"], "{check:?}");
        assert!(check.findings()[0].found.contains("median 12"), "{check:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the file is removed");
        let quick = judge(&HostRoot::default(), &Subject::default(), folder.path(), &|_| Ok(()));
        assert!(!ids(&quick).contains(&"disk-slow"), "{quick:?}");
    }

    #[test]
    fn a_disk_that_fails_is_not_writable() {
        let folder = tempfile::tempdir().unwrap();
        let fails = |_: &File| Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        let check = judge(&HostRoot::default(), &Subject::default(), folder.path(), &fails);
        assert_eq!(ids(&check), ["disk-not-writable"], "{check:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the file is removed");
        let gone = judge(&HostRoot::default(), &Subject::default(), &folder.path().join("gone"), &|_| Ok(()));
        assert_eq!(ids(&gone), ["disk-not-writable"], "{gone:?}");
    }

    #[test]
    fn what_fills_the_disk_soon_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let subject = Subject { bytes_per_second: 1 << 60, ..Subject::default() };
        let check = judge(&HostRoot::default(), &subject, folder.path(), &|_| Ok(()));
        assert_eq!(ids(&check), ["disk-nearly-full"], "{check:?}");
    }

    #[test]
    fn where_nothing_is_known_of_takes_nothing_is_well() {
        let check = disk(&HostRoot::default(), &Subject::default());
        assert!(check.is_unknown(), "{check:?}");
    }
}
