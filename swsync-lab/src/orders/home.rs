//! What was saved comes home and is handed on, with the commands that users have: whatever a device can save, they can read.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, ensure};
use swsync_core::manifest::{TAKE_JSON, Take};

use super::devices::Devices;
use super::files::files_below;

/// All that `swsync export` writes.
const FORMATS: [&str; 5] = ["csv", "timecode", "colmap", "freemocap", "mcap"];

/// Where takes come to.
pub fn home(out: &Path) -> PathBuf {
    out.join("home")
}

/// Collects all that `devices` have.
///
/// # Errors
/// What is not as it is there.
pub fn collect(devices: &Devices) -> anyhow::Result<()> {
    let home = home(devices.out());
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("collect").arg(&home).args(devices.reach());
    let ran = run(&mut command)?;
    ensure!(ran.status.success(), "swsync collect: {}", said(&ran));
    let there = devices.out().join("takes");
    for path in files_below(&there) {
        let name = path.strip_prefix(&there)?;
        if name.iter().any(|part| part.to_string_lossy().starts_with('.')) {
            continue; // swsync's own
        }
        let bytes = std::fs::read(&path)?;
        let here = std::fs::read(home.join(name))
            .with_context(|| format!("{} was not collected", name.display()))?;
        ensure!(here == bytes, "{} is another one than on the device", name.display());
        if name.ends_with(TAKE_JSON) {
            let take = Take::from_json(&bytes).with_context(|| name.display().to_string())?;
            ensure!(take.to_json().as_bytes() == bytes, "{} is not what is read of it", name.display());
        }
    }
    Ok(())
}

/// Exports all that was collected below `out`, in every format that can hold it: MCAP's players decode no `b_frames`. What
/// fails.
pub fn export(out: &Path, b_frames: bool) -> Vec<String> {
    let takes: Vec<_> =
        std::fs::read_dir(home(out)).into_iter().flatten().flatten().map(|e| e.path()).collect();
    if takes.is_empty() {
        return Vec::new(); // nothing was saved
    }
    let export = |format: &&str| -> anyhow::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["export", format]).args(&takes).arg("--out").arg(out.join("exports").join(format));
        let ran = run(&mut command)?;
        ensure!(ran.status.success(), "swsync export {format}: {}", said(&ran));
        Ok(())
    };
    let formats = FORMATS.iter().filter(|format| !(b_frames && **format == "mcap"));
    formats.filter_map(|format| export(format).err()).map(|why| format!("{why:#}")).collect()
}

fn run(command: &mut Command) -> anyhow::Result<Output> {
    command.stdin(Stdio::null()).output().context("cannot start swsync")
}

/// The end of what it said.
fn said(ran: &Output) -> String {
    let all = [&ran.stdout[..], &ran.stderr].concat();
    let text = String::from_utf8_lossy(&all);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join("; ")
}
