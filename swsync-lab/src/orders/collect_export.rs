//! Collects and exports all that was saved, by the commands that users have: they must be able to read whatever a device saves.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, ensure};
use swsync_core::manifest::{TAKE_JSON, Take};

use super::devices::Devices;
use super::saved_part::files_below;

/// The formats of `swsync export`.
const FORMATS: [&str; 5] = ["csv", "timecode", "colmap", "freemocap", "mcap"];

/// The folder that takes are collected to.
fn collected_folder(out: &Path) -> PathBuf {
    out.join("home")
}

/// Collects all takes of `devices`, and compares them with the originals.
///
/// # Errors
/// The command failed, or a file differs.
pub fn collect(devices: &Devices) -> anyhow::Result<()> {
    let collected = collected_folder(devices.out());
    let mut command = Command::new(swsync_cli::handover::find("swsync"));
    command.arg("collect").arg(&collected).args(devices.rig_arguments());
    let ran = run(&mut command)?;
    ensure!(ran.status.success(), "swsync collect: {}", last_lines(&ran));
    let there = devices.out().join("takes");
    for path in files_below(&there) {
        let name = path.strip_prefix(&there)?;
        if name.iter().any(|part| part.to_string_lossy().starts_with('.')) {
            continue; // swsync's own files
        }
        let bytes = std::fs::read(&path)?;
        let here = std::fs::read(collected.join(name))
            .with_context(|| format!("{} was not collected", name.display()))?;
        ensure!(here == bytes, "{} is another one than on the device", name.display());
        if name.ends_with(TAKE_JSON) {
            let take = Take::from_json(&bytes).with_context(|| name.display().to_string())?;
            ensure!(take.to_json().as_bytes() == bytes, "{} is not what is read of it", name.display());
        }
    }
    Ok(())
}

/// Exports all that was collected below `out`, in every format. MCAP is left out with `b_frames`, which its players cannot decode.
/// Returns what failed.
pub fn export(out: &Path, b_frames: bool) -> Vec<String> {
    let takes: Vec<_> =
        std::fs::read_dir(collected_folder(out)).into_iter().flatten().flatten().map(|e| e.path()).collect();
    if takes.is_empty() {
        return Vec::new(); // nothing was saved
    }
    let export = |format: &&str| -> anyhow::Result<()> {
        let mut command = Command::new(swsync_cli::handover::find("swsync-media"));
        command.args(["export", format]).args(&takes).arg("--out").arg(out.join("exports").join(format));
        let ran = run(&mut command)?;
        ensure!(ran.status.success(), "swsync export {format}: {}", last_lines(&ran));
        Ok(())
    };
    let formats = FORMATS.iter().filter(|format| !(b_frames && **format == "mcap"));
    formats.filter_map(|format| export(format).err()).map(|why| format!("{why:#}")).collect()
}

fn run(command: &mut Command) -> anyhow::Result<Output> {
    command.stdin(Stdio::null()).output().context("cannot start swsync")
}

/// The last lines of its output.
fn last_lines(ran: &Output) -> String {
    let all = [&ran.stdout[..], &ran.stderr].concat();
    let text = String::from_utf8_lossy(&all);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join("; ")
}
