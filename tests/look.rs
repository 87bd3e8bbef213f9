//! Names of devices, their LEDs, presets and cameras that look alike: one rig of three devices, as a person sets one up.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;
use swsync_core::frame::LockState;
use swsync_core::manifest::Take;

use crate::process::{COMMAND_TIMEOUT, Ended, Process, poll, retry_on_drops};
use crate::rig::{Rig, TestBed, mentions_drops};

/// A host with an LED that shows the activity of its SD card.
struct FakeHost(PathBuf);

impl FakeHost {
    fn new(folder: PathBuf) -> Self {
        let led = folder.join("sys/class/leds/ACT");
        fs::create_dir_all(&led).unwrap();
        fs::create_dir_all(folder.join("run/lock")).unwrap();
        fs::write(led.join("brightness"), "0\n").unwrap();
        fs::write(led.join("max_brightness"), "1\n").unwrap();
        let host = Self(folder);
        host.show_activity();
        host
    }

    /// The trigger as the kernel shows it: a file keeps what was written, and the kernel's file always lists all.
    fn show_activity(&self) {
        fs::write(self.0.join("sys/class/leds/ACT/trigger"), "none timer [mmc0] default-on\n").unwrap();
    }

    fn trigger(&self) -> String {
        fs::read_to_string(self.0.join("sys/class/leds/ACT/trigger")).unwrap()
    }

    fn wait_for_trigger(&self, trigger: &str) {
        poll(&format!("the LED's trigger is {trigger}"), || (self.trigger() == trigger).then_some(()));
    }
}

/// A simulated camera whose pictures get brighter with exposure, in this light. It has no auto exposure: its exposure stands for
/// what one would have found.
fn camera(seed: u8, exposure: u32, light: f64) -> String {
    format!(
        "backend=simulated simulated-seed={seed} simulated-view={seed} simulated-exposure={exposure} simulated-light={light}"
    )
}

fn start_left(bed: &TestBed, host: &FakeHost) -> Process {
    let left = bed.client("left").simulated(2).camera(&camera(2, 6000, 0.25));
    left.env("SWSYNC_HOST_ROOT", host.0.to_str().unwrap()).start()
}

/// The document that a command printed, by the schema of that name.
fn json(schema: &str, ended: &Ended) -> Value {
    let document = serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    swsync_cli::testing::schemas::check(schema, &document);
    document
}

fn run(rig: &Rig<'_>, args: &[&str]) -> Ended {
    rig.swsync(args).wait_for_up_to(COMMAND_TIMEOUT)
}

/// Runs a command that must succeed.
fn ok(rig: &Rig<'_>, args: &[&str]) -> Ended {
    let ended = run(rig, args);
    assert_eq!(ended.code, Some(0), "{args:?}: {ended:#?}");
    ended
}

/// Runs a command until it succeeds. On a busy machine a control may go out too late for its frame; the command says so, and exits
/// with 1.
fn ok_in_time(mut run: impl FnMut() -> Ended) -> Ended {
    let mut failed = Vec::new();
    for _ in 0..10 {
        let ended = run();
        match ended.code {
            Some(0) => return ended,
            Some(1 | 4) => failed.push(ended),
            _ => panic!("{ended:#?}"),
        }
    }
    panic!("ten times in vain: {failed:#?}");
}

#[test]
fn devices_are_named_found_and_made_to_look_alike() {
    let bed = TestBed::exclusive();
    let host = FakeHost::new(bed.path("left-host"));
    let bare = bed.path("bare-host");
    fs::create_dir_all(&bare).unwrap();
    let bare = bare.to_str().unwrap();
    let leader =
        bed.leader().simulated(1).camera(&camera(1, 4000, 0.25)).env("SWSYNC_HOST_ROOT", bare).start();
    let right = bed.client("right").simulated(3).camera(&camera(3, 8000, 0.375)).start();
    let mut rig = Rig::with(&bed, vec![leader, right, start_left(&bed, &host)]);
    rig.wait_until_ready(LockState::Locked);
    names(&rig, &bed);
    leds(&rig, &host);
    presets_and_locks(&rig, &bed.path("config"));
    // A device that is killed while it blinks: its place and its LED are as before.
    host.show_activity();
    ok(&rig, &["identify", "left", "--for", "10min"]);
    host.wait_for_trigger("none");
    let left = rig.take_last();
    left.signal(Signal::KILL);
    drop(left);
    run(&rig, &["name", "left", "--place", "7"]).assert_failed(1, &["left"]);
    rig.add(start_left(&bed, &host));
    host.wait_for_trigger("mmc0");
    poll("left is back where it was", || {
        let named = json("name", &rig.swsync(&["name", "--json"]).wait());
        let first = &named["devices"][0];
        (first["device"] == "left" && first["group"] == "stage" && first["place"] == 0).then_some(())
    });
}

fn names(rig: &Rig<'_>, bed: &TestBed) {
    let named = ok(rig, &["name", "left", "--group", "stage", "--place", "0"]);
    assert_eq!(named.out, "left is at place 0 of group stage\n");
    let named = ok(rig, &["name", "right", "--group", "stage", "--place", "0"]);
    assert!(named.err.contains("left and right are both at place 0 of group stage"), "{named:#?}");
    ok(rig, &["name", "right", "--place", "1"]);
    let list = ok(rig, &["name"]);
    let rows: Vec<_> =
        list.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(rows, ["group place device", "stage 0 left", "stage 1 right", "- - leader"]);
    let status = rig.swsync(&["status"]).wait();
    assert!(status.out.contains("\nstage 1  right") && status.out.starts_with("place"), "{status:#?}");
    run(rig, &["name", "ghost", "--group", "stage"])
        .assert_failed(1, &["ghost: is not in the rig", "leader, left, right"]);
    run(rig, &["shoot", "--to", "stag"])
        .assert_failed(2, &["stag is no device", "devices: leader, left, right", "groups: stage"]);
    let id = retry_on_drops(|| {
        let shot = rig.swsync(&["shoot", "--to", "stage", "--json"]).wait_for_up_to(COMMAND_TIMEOUT);
        if mentions_drops(&shot.out) {
            return None;
        }
        let shot = json("order", &shot);
        let devices: Vec<_> =
            shot["devices"].as_array().unwrap().iter().map(|device| &device["device"]).collect();
        assert_eq!(devices, ["left", "right"], "{shot:#}");
        Some(shot["order"].as_str().unwrap().to_owned())
    });
    let text = fs::read(bed.path("shots").join(id).join("right/take.json")).unwrap();
    assert_eq!(Take::from_json(&text).unwrap().place.to_string(), "stage 1");
}

fn leds(rig: &Rig<'_>, host: &FakeHost) {
    let blinks = ok(rig, &["identify", "left", "--for", "10min"]);
    assert_eq!(blinks.out, "left: its LED ACT blinks for 600 s\n");
    host.wait_for_trigger("none");
    ok(rig, &["identify", "left", "--for", "0s"]);
    host.wait_for_trigger("mmc0");
    run(rig, &["identify", "leader"])
        .assert_failed(1, &["leader: there is no LED", "bare-host/sys/class/leds", "ACT"]);
}

/// Exposures by device, as `swsync get` has them.
fn exposures(rig: &Rig<'_>) -> Vec<(String, f64)> {
    let got = json("get", &ok(rig, &["get", "--json"]));
    let devices = got["devices"].as_array().unwrap().iter();
    devices
        .map(|device| {
            let exposure = device["used"]["exposure-time"].as_f64().unwrap_or_else(|| panic!("{device:#}"));
            (device["device"].as_str().unwrap().to_owned(), exposure)
        })
        .collect()
}

/// Whether exposures are as given, to two lines of the sensor.
fn are_near(exposures: &[(String, f64)], expected: [f64; 3]) -> bool {
    exposures.iter().zip(expected).all(|((_, exposure), expected)| (exposure - expected).abs() < 40.0)
}

/// Locks, and returns the brightness by device.
fn lock(rig: &Rig<'_>, args: &[&str]) -> (Value, Vec<u64>) {
    let locked = json("lock", &ok_in_time(|| run(rig, &[&["lock", "3a", "--json"], args].concat())));
    let devices = locked["devices"].as_array().unwrap().iter();
    let brightness = devices.map(|device| device["centre"]["brightness"].as_u64().unwrap());
    let brightness = brightness.collect();
    (locked, brightness)
}

fn presets_and_locks(rig: &Rig<'_>, config: &Path) {
    let preset = |args: &[&str]| {
        let args = [&["preset"], args].concat();
        rig.swsync_with(&[("XDG_CONFIG_HOME", config)], &args).wait_for_up_to(COMMAND_TIMEOUT)
    };
    let found = [4000.0, 6000.0, 8000.0];
    assert!(are_near(&exposures(rig), found), "{:?}", exposures(rig));
    let saved = preset(&["save", "evening"]);
    assert_eq!(saved.code, Some(0), "{saved:#?}");
    let text = fs::read_to_string(config.join("swsync/presets/evening.toml")).unwrap();
    assert!(text.contains("[all]\nanalogue-gain = 1.0\n") && text.contains("[device.\"left\"]\n"), "{text}");
    preset(&["save", "evening"]).assert_failed(1, &["there is a preset evening already", "--force"]);
    // Locked at the geometric mean, and then at what the darkest has.
    let (locked, bright) = lock(rig, &[]);
    // Cameras round down to a line, 19 us, each time that it is tried again.
    let mean: Vec<_> = exposures(rig).into_iter().map(|(_, exposure)| exposure).collect();
    let is_mean = mean.iter().all(|exposure| (5500.0..5800.0).contains(exposure) && *exposure == mean[0]);
    assert!(is_mean, "{locked:#} {mean:?}");
    let all_at = ok_in_time(|| run(rig, &["set", "exposure-time=4000"]));
    let (locked, dark) = lock(rig, &["--from", "leader"]);
    assert!(are_near(&exposures(rig), [4000.0; 3]), "{locked:#} {all_at:?}");
    // The pictures were measured, not the values: they are darker, and the one in more light is still brighter.
    assert!(bright.iter().zip(&dark).all(|(bright, dark)| bright > dark), "{bright:?} {dark:?}");
    let difference = &locked["differences"][0];
    assert!(difference["of"] == "brightness" && difference["greatest"][0] == "right", "{locked:#}");
    assert!(difference["percent"].as_f64().unwrap() > 15.0, "{locked:#}");
    let applied = ok_in_time(|| preset(&["apply", "evening"]));
    assert!(are_near(&exposures(rig), found), "{:?} {applied:#?}", exposures(rig));
    // Not again: what is unlocked has nothing to give back. A late control is in the exit code.
    let unlocked = run(rig, &["unlock", "3a"]);
    assert!(unlocked.code.is_some_and(|code| code <= 1), "{unlocked:#?}");
    assert!(unlocked.out.contains(" of 3 cameras, from frame "), "{unlocked:#?}");
    assert!(
        unlocked.out.contains("without automatics") && unlocked.out.contains(": leader, left, right"),
        "{unlocked:#?}"
    );
    poll("the cameras are as their pipelines say", || are_near(&exposures(rig), found).then_some(()));
    assert!(ok(rig, &["unlock", "3a"]).out.starts_with("nothing is locked"), "unlocking twice does no harm");
    preset(&["apply", "morning"]).assert_failed(1, &["there is no preset morning", "there is: evening"]);
}
