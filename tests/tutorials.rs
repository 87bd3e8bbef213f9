//! The tutorials of `docs/tutorials`, typed as they stand: simulated cameras with small pictures take the place of real ones.
//!
//! The info string of each block of code says who types it: `sh device=ID` runs all the time, on a device; `sh operator` has to
//! succeed, block after block; `sh hardware` needs a board, and is not run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::is_set;
use crate::process::{COMMAND_TIMEOUT, Process, built, command, poll, retry_on_drops, source};
use crate::rig::{TestBed, mentions_drops, small};

/// A block of code, and who types it.
struct Block {
    who: String,
    lines: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some(Block { who: info.to_owned(), lines: String::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.lines += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block of code is not closed");
    blocks
}

/// What a device of the tutorial runs, with a camera that is there.
fn simulated(lines: &str, seed: usize) -> String {
    let camera = format!("swsyncsrc backend=simulated simulated-seed={seed} simulated-view={seed}");
    small(&lines.replace("swsyncsrc", &camera))
}

fn shell(bed: &TestBed, folder: &Path, script: &str) -> Command {
    let mut shell = command("bash");
    let programs = built("swsync").parent().unwrap().to_owned();
    let path = std::env::join_paths(
        std::iter::once(programs).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    shell.arg("-euc").arg(script).current_dir(folder);
    shell.env("PATH", path.unwrap()).env("SWSYNC_RIG", bed.rig_name()).env("SWSYNC_CONFIG", "/dev/null");
    shell
}

/// Runs a tutorial once. `None`: cameras dropped frames, since the machine is busy.
fn try_out(page: &Path) -> Option<()> {
    let bed = TestBed::exclusive().discovering();
    let name = page.file_stem().unwrap().to_str().unwrap();
    let blocks = blocks(&fs::read_to_string(page).unwrap());
    let mut devices = Vec::new();
    let mut steps = 0;
    for block in blocks {
        match block.who.as_str() {
            "sh hardware" | "text" | "python" | "toml" => {}
            "sh operator" => {
                wait_until_ready(&bed, &mut devices);
                steps += 1;
                let mut script = shell(&bed, &folder(&bed, "operator"), &block.lines);
                let ended = Process::start(&format!("{name}-{steps}"), &bed.path("."), &mut script);
                let ended = ended.wait_for_up_to(COMMAND_TIMEOUT);
                if ended.code != Some(0) && mentions_drops(&ended.out) {
                    return None;
                }
                assert_eq!(ended.code, Some(0), "{name}: {}\n{ended:#?}", block.lines);
            }
            who => {
                let id =
                    who.strip_prefix("sh device=").unwrap_or_else(|| panic!("{name}: who types `{who}`?"));
                let seed = devices.len() + 1;
                let script = format!("exec {}", simulated(&block.lines, seed));
                let mut script = shell(&bed, &folder(&bed, id), &script);
                script.env("SWSYNC_DEVICE_ID", id);
                script.env("SWSYNC_SIMULATED_CLOCK", format!("offset={seed}.25s,skew={}ppm", seed * 9));
                devices.push(Process::start(id, &bed.path("."), &mut script));
            }
        }
    }
    assert!(steps > 0, "{name} has nothing for an operator");
    for device in devices {
        device.signal(Signal::INT);
        let ended = device.wait();
        assert_eq!(ended.code, Some(0), "{name}: {ended:#?}");
    }
    Some(())
}

fn folder(bed: &TestBed, name: &str) -> PathBuf {
    let folder = bed.path(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn wait_until_ready(bed: &TestBed, devices: &mut [Process]) {
    let count = devices.len();
    poll("all devices of the tutorial are ready", || {
        devices.iter_mut().for_each(Process::assert_running);
        let mut ask = shell(bed, &bed.path("."), "swsync status --json");
        let status: serde_json::Value = serde_json::from_slice(&ask.output().unwrap().stdout).ok()?;
        let ready = |device: &&serde_json::Value| device["status"]["frames"]["newest"]["lock"] == "locked";
        (status["devices"].as_array()?.iter().filter(ready).count() == count).then_some(())
    });
}

#[test]
fn the_tutorials_do_what_they_say() {
    if !is_set("SWSYNC_NETNS", "tutorials, whose devices find each other by multicast") {
        return;
    }
    let mut pages: Vec<_> =
        fs::read_dir(source("docs/tutorials")).unwrap().map(|it| it.unwrap().path()).collect();
    pages.sort();
    for page in pages {
        retry_on_drops(|| try_out(&page));
    }
}
