//! The tutorials of `docs/tutorials`, typed as they stand: simulated cameras with small pictures take the place of real ones.
//!
//! The info string of each block of code says who types it:
//!
//! | info string | who |
//! | --- | --- |
//! | `sh device=ID` | runs all the time, on a device; `any-phase` behind it: its camera cannot be aligned, `no-camera`: it has none |
//! | `sh operator` | has to succeed, once all devices are ready |
//! | `sh here` | has to succeed, on a computer before there is a rig |
//! | `sh not run here: WHY` | nobody: it needs what a test machine lacks, or another test runs it |
//!
//! Pages whose devices are those of another page ("you have a rig") share one, of three devices.

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
    let usb = "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1 ! jpegenc";
    small(&lines.replace("swsyncsrc", &camera).replace("v4l2src device=/dev/video0", usb))
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

/// The devices of a page, as far as they run.
struct Devices {
    running: Vec<(String, Process)>,
    /// Devices without a camera: nobody waits for their clocks, and until these are in sync a signal ends them at once.
    clocks: Vec<Process>,
    /// How many of them have a camera that comes onto the grid, and how many have another.
    aligned: usize,
    others: usize,
}

/// What to do next with a page.
enum Outcome {
    Done,
    /// Cameras dropped frames, or took a setting a frame late, since the machine is busy.
    Dropped,
}

impl Devices {
    const fn new() -> Self {
        Self { running: Vec::new(), clocks: Vec::new(), aligned: 0, others: 0 }
    }

    /// Starts what a block says of device `id`.
    fn start(&mut self, bed: &TestBed, words: &str, lines: &str) {
        let (id, kind) = words.split_once(' ').unwrap_or((words, ""));
        let seed = self.running.len() + self.clocks.len() + 1;
        let mut script = shell(bed, &folder(bed, id), &format!("exec {}", simulated(lines, seed)));
        script.env("SWSYNC_DEVICE_ID", id);
        script.env("SWSYNC_SIMULATED_CLOCK", format!("offset={seed}.25s,skew={}ppm", seed * 9));
        let process = Process::start(id, &bed.path("."), &mut script);
        match kind {
            "" => self.aligned += 1,
            "any-phase" => self.others += 1,
            "no-camera" => return self.clocks.push(process),
            kind => panic!("what kind of device is `{kind}`?"),
        }
        self.running.push((id.to_owned(), process));
    }

    fn wait_until_ready(&mut self, bed: &TestBed) {
        poll("all devices of the tutorial are ready", || {
            self.running
                .iter_mut()
                .map(|(_, device)| device)
                .chain(&mut self.clocks)
                .for_each(Process::assert_running);
            let mut ask = shell(bed, &bed.path("."), "swsync status --json");
            let status: serde_json::Value = serde_json::from_slice(&ask.output().unwrap().stdout).ok()?;
            let of = |device: &serde_json::Value| device["status"]["frames"]["newest"].clone();
            let frames: Vec<_> = status["devices"].as_array()?.iter().map(of).collect();
            let aligned = frames.iter().filter(|newest| newest["lock"] == "locked").count();
            let flowing = frames.iter().filter(|newest| newest["number"].is_u64()).count();
            (aligned == self.aligned && flowing == self.aligned + self.others).then_some(())
        });
    }

    /// Ends them as a user does, and asserts that they end well.
    fn stop(&mut self) {
        for (id, device) in self.running.drain(..) {
            device.signal(Signal::INT);
            let ended = device.wait();
            assert_eq!(ended.code, Some(0), "{id}: {ended:#?}");
        }
        self.clocks.clear();
        (self.aligned, self.others) = (0, 0);
    }
}

/// Types the blocks of a page. `devices`: those that run already.
fn type_page(bed: &TestBed, name: &str, blocks: &[Block], devices: &mut Devices) -> Outcome {
    let mut typed = 0;
    for Block { who, lines } in blocks {
        match who.as_str() {
            "text" | "python" | "toml" => continue,
            "sh operator" => devices.wait_until_ready(bed),
            "sh here" => {}
            who => {
                if let Some(device) = who.strip_prefix("sh device=") {
                    devices.start(bed, device, lines);
                } else {
                    let why = who.strip_prefix("sh not run here: ");
                    assert!(why.is_some_and(|why| why.len() > 10), "{name}: who types `{who}`?");
                }
                continue;
            }
        }
        typed += 1;
        let mounted = bed.path("rootfs");
        let lines = lines.replace("/media/rootfs", mounted.to_str().unwrap());
        let mut script = shell(bed, &folder(bed, &format!("operator-{name}")), &lines);
        let ended = Process::start(&format!("{name}-{typed}"), &bed.path("."), &mut script);
        let ended = ended.wait_for_up_to(COMMAND_TIMEOUT);
        // A camera that lost frames just then takes settings at another frame.
        let is_late =
            ended.err.contains("it used all of it from frame ") || ended.out.contains("was aligning before");
        if ended.code != Some(0) && (mentions_drops(&ended.out) || is_late) {
            return Outcome::Dropped;
        }
        assert_eq!(ended.code, Some(0), "{name}: {lines}\n{ended:#?}");
    }
    assert!(typed > 0, "{name} has nothing that is typed");
    Outcome::Done
}

fn has_cameras(blocks: &[Block]) -> bool {
    blocks.iter().any(|block| block.who.starts_with("sh device=") && !block.who.ends_with(" no-camera"))
}

fn folder(bed: &TestBed, name: &str) -> PathBuf {
    let folder = bed.path(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The tutorials' names and blocks.
fn pages() -> Vec<(String, Vec<Block>)> {
    let pages = fs::read_dir(source("docs/tutorials")).unwrap().map(|page| page.unwrap().path());
    let mut pages: Vec<_> = pages
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, blocks(&fs::read_to_string(path).unwrap()))
        })
        .collect();
    pages.sort_by(|a, b| a.0.cmp(&b.0));
    pages
}

#[test]
fn tutorials_that_start_devices_do_what_they_say() {
    if !is_set("SWSYNC_NETNS", "tutorials, whose devices find each other by multicast") {
        return;
    }
    for (name, blocks) in pages().iter().filter(|(_, blocks)| has_cameras(blocks)) {
        retry_on_drops(|| {
            let bed = TestBed::exclusive().discovering();
            let mut devices = Devices::new();
            match type_page(&bed, name, blocks, &mut devices) {
                Outcome::Dropped => None,
                Outcome::Done => {
                    devices.stop();
                    Some(())
                }
            }
        });
    }
}

/// A device of the rig that tutorials begin with.
const DEVICE: &str = "gst-launch-1.0 -e swsyncclock \
    swsyncsrc ! video/x-raw,width=1280,height=720,framerate=30/1 ! videoconvert ! jpegenc ! swsyncsink location=shots";

/// A rig of three devices, with a place for a card that is mounted. The devices are dropped first: they write to the test bed.
fn running_rig() -> (Devices, TestBed) {
    let bed = TestBed::exclusive().discovering();
    fs::create_dir_all(bed.path("rootfs/etc/swsync")).unwrap();
    let mut devices = Devices::new();
    for id in ["pi1", "pi2", "pi3"] {
        devices.start(&bed, id, DEVICE);
    }
    (devices, bed)
}

#[test]
fn tutorials_of_a_rig_that_runs_do_what_they_say() {
    if !is_set("SWSYNC_NETNS", "tutorials, whose devices find each other by multicast") {
        return;
    }
    // What one page left in the rig is what a user's rig has from the day before.
    let mut rig = None;
    for (name, blocks) in pages().iter().filter(|(_, blocks)| !has_cameras(blocks)) {
        retry_on_drops(|| {
            let (devices, bed) = rig.get_or_insert_with(running_rig);
            match type_page(bed, name, blocks, devices) {
                Outcome::Dropped => {
                    rig = None;
                    None
                }
                Outcome::Done => Some(()),
            }
        });
    }
    let (mut devices, _bed) = rig.expect("there are such pages");
    devices.stop();
}
