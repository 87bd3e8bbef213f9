//! What an operator is told and what stays behind: rigs that are not as they should be, and commands that are ended.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use swsync_core::frame::LockState;

use crate::process::{Ended, Process, free_endpoint, poll};
use crate::rig::{Lab, Rig};

/// Longer than any command here takes that waits for answers.
const PATIENCE: Duration = Duration::from_secs(150);

/// As far as these tests care, "at once": far less than any wait for a lease, a timeout or the end of a take.
const SOON: Duration = Duration::from_secs(9);

fn status(rig: &Rig<'_>) -> Ended {
    rig.swsync(&["status"]).wait()
}

#[test]
fn devices_of_two_leaders_are_never_ready_or_complete_together() {
    let lab = Lab::alone();
    let leader = lab.leader().simulated(1).start();
    let client = lab.client("left").simulated(2).start();
    let rival = lab.rival("rival").simulated(3).env("SWSYNC_SIMULATED_CLOCK", "offset=5s,skew=10ppm").start();
    let mut rig = Rig::with(&lab, vec![leader, client, rival]);
    rig.wait_until_ready(LockState::Locked);
    let ended = status(&rig);
    ended.assert_failed(1, &["time scales differ: ", "on leader, left", "on rival", "2 of 3 devices ready"]);
    for args in [
        &["shoot"][..],
        &["shoot", "--need", "3", "--arm=1s"],
        &["record", "--for", "1s"],
        &["record", "--for", "1s", "--arm=1s"],
    ] {
        let ended = rig.swsync(args).wait_for_up_to(PATIENCE);
        let armed = args.iter().any(|arg| arg.starts_with("--arm"));
        let (code, last) = if armed { (4, "2 of 3 devices are ready") } else { (1, "NOT all saved: ") };
        ended.assert_failed(code, &["time scale", "rival", last]);
        assert!(!ended.out.contains("\nall saved"), "{ended:#?}");
    }
    let given = rig.swsync(&["record", "--detach", "--id", "apart"]).wait();
    given.assert_failed(1, &["rival is not ready: its clock is on time scale"]);
    rig.swsync(&["stop", "apart"])
        .wait_for_up_to(PATIENCE)
        .assert_failed(1, &["time scale", "NOT all saved"]);
}

#[test]
fn a_device_of_another_frame_rate_is_named_and_nothing_is_all_saved() {
    let lab = Lab::alone();
    let leader = lab.leader().simulated(1).start();
    let format = "video/x-raw,framerate=25/1";
    let slow = lab.client("slow").simulated(2).env("SWSYNC_FORMAT", format).start();
    let mut rig = Rig::with(&lab, vec![leader, slow]);
    rig.wait_until_ready(LockState::Locked);
    status(&rig).assert_failed(1, &["frame rates differ: 25 on slow; 30 on leader", "!"]);
    let shot = rig.swsync(&["shoot"]).wait_for_up_to(PATIENCE);
    shot.assert_failed(1, &["frame rates differ: 25 on slow; 30 on leader", "NOT all saved"]);
}

#[test]
fn who_hangs_or_is_killed_is_named_by_every_command() {
    let lab = Lab::alone();
    let mut rig = lab.rig(&["left", "victim"]);
    let victim = rig.take_last();
    victim.signal(Signal::STOP);
    let asked = |rig: &Rig<'_>, args: &[&str], words: &[&str]| {
        let begin = Instant::now();
        let ended = rig.swsync(args).wait_for_up_to(PATIENCE);
        let took = begin.elapsed();
        ended.assert_failed(1, &[&["victim"][..], words].concat());
        assert!(took < SOON, "{args:?} took {took:?}");
        println!("{args:?}: {took:?}");
    };
    let all = |rig: &Rig<'_>| {
        asked(rig, &["status"], &["no answer", "2 of 3 devices ready"]);
        asked(rig, &["shoot"], &["no answer", "NOT all saved: 2 of 3"]);
        asked(rig, &["record", "--for", "1s"], &["no answer", "NOT all saved: 2 of 3"]);
    };
    all(&rig);
    let open = rig.swsync(&["record", "--detach", "--id", "open"]).wait();
    assert_eq!(open.code, Some(1), "who has not taken it is named: {open:#?}");
    asked(&rig, &["stop", "open"], &["no answer"]);
    victim.signal(Signal::CONT);
    poll("it is back", || (status(&rig).code == Some(0)).then_some(()));
    // And for good: the others have long missed it when somebody asks.
    victim.signal(Signal::KILL);
    drop(victim);
    all(&rig);
    let forgotten = rig.swsync(&["forget", "victim"]).wait();
    assert_eq!(forgotten.code, Some(0), "{forgotten:#?}");
    let ended = status(&rig);
    assert!(ended.code == Some(0) && ended.out.contains("2 of 2 devices ready"), "{ended:#?}");
    // One that is stopped in good order is not missed.
    let left = rig.take_last();
    left.signal(Signal::INT);
    left.wait();
    let ended = status(&rig);
    assert!(ended.code == Some(0) && ended.out.contains("1 of 1 devices ready"), "{ended:#?}");
}

/// Waits until `id` is being recorded by all.
fn wait_until_recording(rig: &Rig<'_>, devices: usize) {
    poll("the take is under way everywhere", || {
        let statuses = rig.statuses();
        let begun = |status: &swsync_core::control::Status| status.open.iter().any(|open| open.saved >= 5);
        (statuses.len() == devices && statuses.iter().all(begun)).then_some(())
    });
}

fn assert_nothing_open(rig: &Rig<'_>) {
    for status in rig.statuses() {
        assert!(status.open.is_empty(), "{status:#?}");
    }
}

#[test]
fn a_record_that_is_ended_by_any_signal_stops_the_take() {
    let lab = Lab::alone();
    let rig = lab.rig(&["left"]);
    let (take, lapse) = (&["record", "--for", "10min"][..], &["shoot", "--every", "200ms"][..]);
    for (signal, args) in [(Signal::HUP, take), (Signal::TERM, lapse), (Signal::INT, take)] {
        let recording = rig.swsync(args);
        wait_until_recording(&rig, 2);
        let begin = Instant::now();
        // As a shell and the kernel do it together, when a connection is lost.
        recording.signal(signal);
        if signal != Signal::INT {
            recording.signal(signal);
        }
        let ended = recording.wait_for_up_to(PATIENCE);
        assert!(begin.elapsed() < SOON, "{signal:?}: {:?}", begin.elapsed());
        assert!(ended.err.contains("swsync: stopping "), "{signal:?}: {ended:#?}");
        assert!(ended.out.contains("of 2 devices complete"), "{signal:?}: {ended:#?}");
        assert_nothing_open(&rig);
    }
}

#[test]
fn stop_without_a_name_ends_a_take_of_a_given_length_and_whoever_records_learns_of_it() {
    let lab = Lab::alone();
    let rig = lab.rig(&["left"]);
    for end in [&["stop", "--in", "3s"][..], &["cancel"]] {
        let recording: Process = rig.swsync(&["record", "--for", "10min"]);
        wait_until_recording(&rig, 2);
        let begin = Instant::now();
        let ended = rig.swsync(end).wait_for_up_to(PATIENCE);
        assert!(ended.code.is_some_and(|code| code <= 1), "{ended:#?}");
        assert_eq!(end == ["cancel"], ended.out.contains("cancelled on 2 of 2 devices"), "{ended:#?}");
        let recorded = recording.wait_for_up_to(PATIENCE);
        assert!(begin.elapsed() < SOON * 2, "{end:?}: {:?}", begin.elapsed());
        assert!(recorded.out.contains("of 2 devices complete"), "{recorded:#?}");
        assert_nothing_open(&rig);
    }
}

#[test]
fn of_two_devices_of_one_id_that_meet_late_the_second_ends_with_an_error() {
    let lab = Lab::alone();
    let rig = lab.rig(&[]);
    let recording = rig.swsync(&["record", "--for", "10min"]);
    wait_until_recording(&rig, 1);
    let endpoint = free_endpoint();
    let sink = format!("device-id=leader location=\"{}\"", lab.path("second").display());
    let second = lab.apart("second", &endpoint).simulated(2).env("SWSYNC_SINK", &sink).start();
    poll("the second one is there", || {
        let status = rig.swsync_at(&endpoint, &["status"]).wait();
        status.out.contains("leader").then_some(())
    });
    let bridge = rig.swsync(&["status", "--watch", "--connect", &endpoint]);
    second.wait().assert_failed(1, &["calls itself \"leader\" already (process ", "`device-id`"]);
    drop(bridge);
    status(&rig).assert_failed(
        1,
        &["leader: process ", "came with this id too", "give it its own device-id", "1 of 1 devices ready"],
    );
    recording.signal(Signal::INT);
    let ended = recording.wait_for_up_to(PATIENCE);
    assert!(ended.out.contains("of 1 devices complete"), "the first one has gone on: {ended:#?}");
    assert_nothing_open(&rig);
}

/// A small disk of its own where devices save; gone when dropped.
struct Disk(std::path::PathBuf);

impl Disk {
    /// `None` where this process may not mount: nowhere that `./x` runs tests.
    fn mount(point: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&point).unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", "size=64m", "tmpfs"], &point);
        assert!(mounted || std::env::var_os("SWSYNC_NETNS").is_none(), "./x gives the right to mount");
        mounted.then_some(Self(point))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(how: &[&str], point: &std::path::Path) -> bool {
    Command::new("mount").args(how).arg(point).status().is_ok_and(|status| status.success())
}

#[test]
fn a_disk_that_takes_nothing_is_not_ready_and_nothing_is_all_saved() {
    let lab = Lab::alone();
    let Some(disk) = Disk::mount(lab.path("shots")) else {
        eprintln!("skipped: no right to mount a small file system");
        return;
    };
    let rig = lab.rig(&[]);
    status(&rig);
    let status_says = |parts: [&str; 2]| {
        poll(parts[0], || {
            let out = status(&rig).out;
            parts.iter().all(|part| out.contains(part)).then_some(())
        });
    };
    // What is opened from now on: the device has its journal open, and a disk that is written to cannot be made read-only.
    let shots = disk.0.to_str().unwrap();
    assert!(mount(&["--bind", "-o", "ro", shots], &disk.0));
    status_says(["0 of 1 devices ready", "Read-only"]);
    let shot = rig.swsync(&["shoot"]).wait_for_up_to(PATIENCE);
    shot.assert_failed(1, &["Read-only", "NOT all saved"]);
    assert!(Command::new("umount").arg(&disk.0).status().unwrap().success());
    status_says(["1 of 1 devices ready", "leader"]);
    std::fs::write(disk.0.join("other"), vec![1; 60 << 20]).unwrap();
    status_says(["0 of 1 devices ready", "disk"]);
    let shot = rig.swsync(&["shoot", "--count", "200"]).wait_for_up_to(PATIENCE);
    shot.assert_failed(1, &["No space left", "NOT all saved"]);
}
