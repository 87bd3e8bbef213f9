//! `--report`: an archive of what to send when asking for help.
//!
//! Every text goes through [`redact`]. Files that hold secrets only (keys, connections of NetworkManager) are not read at all.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use swsync_client::settings::{RigSettings, Setting};
use swsync_host::HostRoot;
use swsync_host::doctor::KernelLog;

use super::programs;
use super::redact::redact;
use super::report::Examination;
use crate::handover;

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Files of the host that say what it is, and how it is set.
const FILES: [&str; 9] = [
    "/proc/device-tree/model",
    "/etc/os-release",
    "/proc/version",
    "/proc/cmdline",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/mounts",
    "/boot/firmware/config.txt",
    "/boot/config.txt",
];

/// Programs that say the same, with the name of what they say in the archive.
const PROGRAMS: [(&str, &[&str]); 14] = [
    ("gst-inspect-swsync.txt", &["gst-inspect-1.0", "swsync"]),
    ("gst-inspect-swsyncsrc.txt", &["gst-inspect-1.0", "swsyncsrc"]),
    ("gst-inspect-libcamerasrc.txt", &["gst-inspect-1.0", "libcamerasrc"]),
    ("gst-inspect-blacklist.txt", &["gst-inspect-1.0", "-b"]),
    ("gst-inspect-version.txt", &["gst-inspect-1.0", "--version"]),
    ("cam-l.txt", &["cam", "-l"]),
    (
        "packages.txt",
        &[
            "dpkg-query",
            "-W",
            "libcamera*",
            "gstreamer1.0*",
            "libgstreamer*",
            "linux-image*",
            "raspi-firmware*",
        ],
    ),
    ("throttled.txt", &["vcgencmd", "get_throttled"]),
    ("clock.txt", &["timedatectl", "show"]),
    ("addresses.txt", &["ip", "-brief", "address"]),
    ("routes.txt", &["ip", "route"]),
    ("wifi-link.txt", &["iw", "dev"]),
    ("multicast.txt", &["ip", "maddress"]),
    ("disks.txt", &["df", "-h"]),
];

/// Lines of the kernel's log with any of these are of interest: supply, heat, cards, cameras, WiFi, clocks, memory.
const OF_INTEREST: [&str; 26] = [
    "voltage",
    "throttl",
    "thermal",
    "mmc",
    "ext4",
    "i/o error",
    "brcm",
    "wlan",
    "cfg80211",
    "imx",
    "ov5647",
    "unicam",
    "rp1-cfe",
    "csi",
    "v4l",
    "uvc",
    "media",
    "usb",
    "oom",
    "out of memory",
    "clocksource",
    "i2c",
    "hung",
    "segfault",
    "gst-launch",
    "macb",
];

/// Most lines of the kernel's log: the newest.
const MOST_LINES: usize = 2_000;

/// Writes the archive. `settings` are those of the rig.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, examination: &Examination, settings: &RigSettings) -> anyhow::Result<()> {
    let context = || format!("cannot write the report {}", path.display());
    let file = File::create(path).with_context(context)?;
    let mut archive = Archive::new(GzEncoder::new(file, Compression::default()));
    fill(&mut archive, examination, settings).with_context(context)?;
    let mut file = archive.0.into_inner().and_then(GzEncoder::finish).with_context(context)?;
    file.flush().with_context(context)
}

fn fill(
    archive: &mut Archive<impl Write>,
    examination: &Examination,
    settings: &RigSettings,
) -> anyhow::Result<()> {
    let root = HostRoot::from_environment();
    archive.add("doctor.txt", &examination.lines().join("\n"))?;
    archive.add("doctor.json", &serde_json::to_string_pretty(examination)?)?;
    archive.add("status.json", &serde_json::to_string_pretty(&examination.statuses)?)?;
    archive.add("settings.txt", &settings_text(settings))?;
    archive.add("environment.txt", &environment())?;
    archive.add("swsync.txt", &format!("swsync {}\n", env!("CARGO_PKG_VERSION")))?;
    let files = FILES.iter().map(|file| match root.text(file) {
        Ok(Some(text)) => format!("==> {file}\n{}\n", text.trim_end_matches('\0')),
        Ok(None) => format!("==> {file}: not there\n"),
        Err(error) => format!("==> {file}: {error}\n"),
    });
    archive.add("host.txt", &files.collect::<Vec<_>>().join("\n"))?;
    archive.add("kernel.txt", &kernel_lines(&KernelLog::read(&root)))?;
    for (name, command) in PROGRAMS {
        archive.add(name, &said(command[0], &command[1..]))?;
    }
    let media = handover::find("swsync-media");
    archive.add("cameras.json", &said(&media.to_string_lossy(), &["cameras", "--json"]))?;
    Ok(())
}

/// What a program said, or why nothing.
fn said(program: &str, arguments: &[&str]) -> String {
    match programs::ask(program, arguments, LIMIT) {
        Ok(said) if said.err.is_empty() => said.out,
        Ok(said) => format!("{}\n--- on standard error:\n{}", said.out, said.err),
        Err(why) => why,
    }
}

/// The settings of the rig, and where each comes from. A key is named by its file only.
fn settings_text(settings: &RigSettings) -> String {
    let each = Setting::ALL.map(|setting| {
        format!(
            "{setting} = {} ({})\n",
            settings.shown(setting).unwrap_or_else(|| "none".into()),
            settings.origin(setting)
        )
    });
    each.concat()
}

/// Environment variables that change what GStreamer, libcamera or swsync do.
fn environment() -> String {
    let is_ours = |name: &str| {
        ["GST_", "LIBCAMERA_", "SWSYNC_", "RUST_LOG"].iter().any(|start| name.starts_with(start))
    };
    let all = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let mut lines: Vec<_> = all
        .filter(|(name, _)| is_ours(name))
        .map(|(name, value)| {
            let value = value.to_string_lossy().into_owned();
            let setting = Setting::ALL.into_iter().find(|setting| setting.variable() == name);
            format!("{name}={}\n", setting.map_or(value.clone(), |setting| setting.shown(&value)))
        })
        .collect();
    lines.sort();
    lines.concat()
}

fn kernel_lines(log: &KernelLog) -> String {
    let lines = match &log.lines {
        Ok(lines) => lines,
        Err(why) => return format!("{why}\n"),
    };
    let is_of_interest = |line: &&String| {
        let lower = line.to_lowercase();
        OF_INTEREST.iter().any(|word| lower.contains(word))
    };
    let chosen: Vec<_> = lines.iter().filter(is_of_interest).map(String::as_str).collect();
    chosen[chosen.len().saturating_sub(MOST_LINES)..].join("\n")
}

/// A tar archive in the making.
struct Archive<W: Write>(tar::Builder<W>);

impl<W: Write> Archive<W> {
    fn new(into: W) -> Self {
        Self(tar::Builder::new(into))
    }

    /// Adds `text`, without its secrets.
    fn add(&mut self, name: &str, text: &str) -> std::io::Result<()> {
        let text = redact(text);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
        self.0.append_data(&mut header, format!("swsync-report/{name}"), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use swsync_client::settings::Origin;
    use swsync_core::doctor::{Check, Diagnosis};

    use super::*;
    use crate::doctor::report::Examined;
    use crate::testing::{name, status};

    #[test]
    fn the_archive_has_everything_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("help.tar.gz");
        let seen = "rtsp://me:hunter2@host, 00:11:22:33:44:55, psk=hunter2";
        let host = Diagnosis {
            device: None,
            host: "pi".into(),
            software: "9".into(),
            checks: vec![Check::ok("a", seen)],
        };
        let mut examination =
            Examination::new(name("rig"), vec![Examined::Host(host)], Vec::new(), Vec::new(), None);
        let mut sick = status("a");
        sick.problems.push("cannot open rtsp://me:hunter2@host of 00:11:22:33:44:55".into());
        examination.statuses.push(sick);
        let mut settings = RigSettings::default();
        settings.add(
            Setting::Connect,
            "tcp/me:hunter2@pi0:1#key=hunter2",
            Origin::Environment("SWSYNC_CONNECT"),
        );
        write(&path, &examination, &settings).unwrap();
        let mut names = Vec::new();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(&path).unwrap()));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            assert!(!text.contains("hunter") && !text.contains("33:44"), "{name}: {text}");
            if name == "swsync-report/status.json" {
                assert!(text.contains("cannot open rtsp://host of 00:11:22:xx:xx:xx"), "{text}");
            }
            names.push(name);
        }
        for file in [
            "doctor.txt",
            "doctor.json",
            "status.json",
            "settings.txt",
            "kernel.txt",
            "host.txt",
            "gst-inspect-swsync.txt",
        ] {
            assert!(names.contains(&format!("swsync-report/{file}")), "{file} is not in {names:?}");
        }
    }

    #[test]
    fn lines_of_interest_are_chosen() {
        let log = |line: &str| KernelLog { lines: Ok(vec!["[1.0] audit: login".into(), line.into()]) };
        assert_eq!(
            kernel_lines(&log("[2.0] hwmon hwmon1: Undervoltage detected!")),
            "[2.0] hwmon hwmon1: Undervoltage detected!"
        );
        assert_eq!(kernel_lines(&KernelLog { lines: Err("no permission".into()) }), "no permission\n");
    }
}
