//! What an operator sees if a rig has a fault (two leaders, other frame rates, devices that hang, full disks), and if a
//! command is ended by a signal.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use swsync_core::frame::LockState;
use swsync_core::status::Status;

use crate::process::{COMMAND_TIMEOUT, Ended, Process, free_endpoint, poll, retry_on_drops};
use crate::rig::{Rig, TestBed, mentions_drops};

/// "At once" for these tests: far less than any wait for a lease, a timeout or the end of a take.
const SOON: Duration = Duration::from_secs(9);

fn status(rig: &Rig<'_>) -> Ended {
    rig.swsync(&["status"]).wait()
}

#[test]
fn devices_of_two_leaders_are_never_ready_or_complete_together() {
    let bed = TestBed::exclusive();
    let leader = bed.leader().simulated(1).start();
    let client = bed.client("left").simulated(2).start();
    let rival =
        bed.second_leader("rival").simulated(3).env("SWSYNC_SIMULATED_CLOCK", "offset=5s,skew=10ppm").start();
    let mut rig = Rig::with(&bed, vec![leader, client, rival]);
    rig.wait_until_ready(LockState::Locked);
    let ended = status(&rig);
    ended.assert_failed(1, &["time scales differ: ", "on leader, left", "on rival", "2 of 3 devices ready"]);
    for args in [
        &["shoot"][..],
        &["shoot", "--need", "3", "--arm=1s"],
        &["record", "--for", "1s"],
        &["record", "--for", "1s", "--arm=1s"],
    ] {
        let ended = rig.swsync(args).wait_for_up_to(COMMAND_TIMEOUT);
        let armed = args.iter().any(|arg| arg.starts_with("--arm"));
        let (code, last) = if armed { (4, "2 of 3 devices are ready") } else { (1, "NOT all saved: ") };
        ended.assert_failed(code, &["time scale", "rival", last]);
        assert!(!ended.out.contains("\nall saved"), "{ended:#?}");
    }
    let given = rig.swsync(&["record", "--detach", "--id", "apart"]).wait();
    given.assert_failed(1, &["rival is not ready: its clock is on time scale"]);
    rig.swsync(&["stop", "apart"])
        .wait_for_up_to(COMMAND_TIMEOUT)
        .assert_failed(1, &["time scale", "NOT all saved"]);
}

#[test]
fn a_device_of_another_frame_rate_is_named_and_no_order_is_all_saved() {
    let bed = TestBed::exclusive();
    let leader = bed.leader().simulated(1).start();
    let format = "video/x-raw,framerate=25/1";
    let slow = bed.client("slow").simulated(2).env("SWSYNC_FORMAT", format).start();
    let mut rig = Rig::with(&bed, vec![leader, slow]);
    rig.wait_until_ready(LockState::Locked);
    status(&rig).assert_failed(1, &["frame rates differ: 25 on slow; 30 on leader", "!"]);
    let shot = rig.swsync(&["shoot"]).wait_for_up_to(COMMAND_TIMEOUT);
    shot.assert_failed(1, &["frame rates differ: 25 on slow; 30 on leader", "NOT all saved"]);
}

#[test]
fn a_device_that_hangs_or_is_killed_is_named_by_every_command() {
    let bed = TestBed::exclusive();
    let mut rig = bed.rig(&["left", "victim"]);
    let victim = rig.take_last();
    victim.signal(Signal::STOP);
    let asked = |rig: &Rig<'_>, args: &[&str], words: &[&str]| {
        // The simulated camera drops one frame in a thousand.
        let (ended, took) = retry_on_drops(|| {
            let begin = Instant::now();
            let ended = rig.swsync(args).wait_for_up_to(COMMAND_TIMEOUT);
            (!mentions_drops(&ended.out)).then(|| (ended, begin.elapsed()))
        });
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
    assert_eq!(open.code, Some(1), "the device that has not taken the order is named: {open:#?}");
    asked(&rig, &["stop", "open"], &["no answer"]);
    victim.signal(Signal::CONT);
    poll("the device is back", || (status(&rig).code == Some(0)).then_some(()));
    // Now it is killed. The others have missed it for a while when the commands ask.
    victim.signal(Signal::KILL);
    drop(victim);
    all(&rig);
    let forgotten = rig.swsync(&["forget", "victim"]).wait();
    assert_eq!(forgotten.code, Some(0), "{forgotten:#?}");
    let ended = status(&rig);
    assert!(ended.code == Some(0) && ended.out.contains("2 of 2 devices ready"), "{ended:#?}");
    // A device that is stopped in good order is not missed.
    let left = rig.take_last();
    left.signal(Signal::INT);
    left.wait();
    let ended = status(&rig);
    assert!(ended.code == Some(0) && ended.out.contains("1 of 1 devices ready"), "{ended:#?}");
}

/// Waits until all `devices` have saved some frames of the open order.
fn wait_until_recording(rig: &Rig<'_>, devices: usize) {
    poll("the take is under way everywhere", || {
        let statuses = rig.statuses();
        let begun = |status: &Status| status.open.iter().any(|open| open.saved >= 5);
        (statuses.len() == devices && statuses.iter().all(begun)).then_some(())
    });
}

fn assert_nothing_open(rig: &Rig<'_>) {
    for status in rig.statuses() {
        assert!(status.open.is_empty(), "{status:#?}");
    }
}

#[test]
fn a_signal_to_record_stops_the_take_on_all_devices() {
    let bed = TestBed::exclusive();
    let rig = bed.rig(&["left"]);
    let (take, lapse) = (&["record", "--for", "10min"][..], &["shoot", "--every", "200ms"][..]);
    for (signal, args) in [(Signal::HUP, take), (Signal::TERM, lapse), (Signal::INT, take)] {
        let recording = rig.swsync(args);
        wait_until_recording(&rig, 2);
        let begin = Instant::now();
        // Twice: if a connection is lost, both the shell and the kernel send the signal.
        recording.signal(signal);
        if signal != Signal::INT {
            recording.signal(signal);
        }
        let ended = recording.wait_for_up_to(COMMAND_TIMEOUT);
        assert!(begin.elapsed() < SOON, "{signal:?}: {:?}", begin.elapsed());
        assert!(ended.err.contains("swsync: stopping "), "{signal:?}: {ended:#?}");
        assert!(ended.out.contains("of 2 devices complete"), "{signal:?}: {ended:#?}");
        assert_nothing_open(&rig);
    }
}

#[test]
fn stop_and_cancel_without_a_name_end_a_take_and_the_record_command_reports_it() {
    let bed = TestBed::exclusive();
    let rig = bed.rig(&["left"]);
    for end in [&["stop", "--in", "3s"][..], &["cancel"]] {
        let recording: Process = rig.swsync(&["record", "--for", "10min"]);
        wait_until_recording(&rig, 2);
        let begin = Instant::now();
        let ended = rig.swsync(end).wait_for_up_to(COMMAND_TIMEOUT);
        assert!(ended.code.is_some_and(|code| code <= 1), "{ended:#?}");
        assert_eq!(end == ["cancel"], ended.out.contains("cancelled on 2 of 2 devices"), "{ended:#?}");
        let recorded = recording.wait_for_up_to(COMMAND_TIMEOUT);
        assert!(begin.elapsed() < SOON * 2, "{end:?}: {:?}", begin.elapsed());
        assert!(recorded.out.contains("of 2 devices complete"), "{recorded:#?}");
        assert_nothing_open(&rig);
    }
}

#[test]
fn the_second_of_two_devices_with_one_id_ends_with_an_error_when_they_meet() {
    let bed = TestBed::exclusive();
    let rig = bed.rig(&[]);
    let recording = rig.swsync(&["record", "--for", "10min"]);
    wait_until_recording(&rig, 1);
    let endpoint = free_endpoint();
    let sink = format!("device-id=leader location=\"{}\"", bed.path("second").display());
    let second = bed.isolated("second", &endpoint).simulated(2).env("SWSYNC_SINK", &sink).start();
    // Ready: while a pipeline prerolls, gst-launch-1.0 does not end at an error.
    poll("the second one is ready", || {
        let status = rig.swsync_at(&endpoint, &["status"]).wait();
        status.out.contains("1 of 1 devices ready").then_some(())
    });
    let bridge = rig.swsync(&["status", "--watch", "--connect", &endpoint]);
    second.wait().assert_failed(1, &["calls itself \"leader\" already (process ", "`device-id`"]);
    drop(bridge);
    status(&rig).assert_failed(
        1,
        &["leader: process ", "came with this id too", "give it its own device-id", "1 of 1 devices ready"],
    );
    recording.signal(Signal::INT);
    let ended = recording.wait_for_up_to(COMMAND_TIMEOUT);
    let has_continued = ended.out.contains("of 1 devices complete") && !ended.out.contains("no answer");
    assert!(has_continued, "{ended:#?}");
    assert_nothing_open(&rig);
}

/// A small file system where devices save. Dropping it unmounts it.
struct Disk(PathBuf);

impl Disk {
    /// `None` if this process may not mount. `./x` always gives that right.
    fn mount(point: PathBuf) -> Option<Self> {
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

fn mount(how: &[&str], point: &Path) -> bool {
    Command::new("mount").args(how).arg(point).status().is_ok_and(|status| status.success())
}

#[test]
fn a_device_with_a_read_only_or_full_disk_is_not_ready_and_no_order_is_all_saved() {
    let bed = TestBed::exclusive();
    let Some(disk) = Disk::mount(bed.path("shots")) else {
        eprintln!("skipped: no right to mount a small file system");
        return;
    };
    let rig = bed.rig(&[]);
    status(&rig);
    let status_says = |parts: [&str; 2]| {
        poll(parts[0], || {
            let out = status(&rig).out;
            parts.iter().all(|part| out.contains(part)).then_some(())
        });
    };
    // A read-only bind mount affects files that are opened from now on. The file system itself cannot be made read-only, as
    // the device has its journal open for writing.
    let shots = disk.0.to_str().unwrap();
    assert!(mount(&["--bind", "-o", "ro", shots], &disk.0));
    status_says(["0 of 1 devices ready", "Read-only"]);
    let shot = rig.swsync(&["shoot"]).wait_for_up_to(COMMAND_TIMEOUT);
    shot.assert_failed(1, &["Read-only", "NOT all saved"]);
    assert!(Command::new("umount").arg(&disk.0).status().unwrap().success());
    status_says(["1 of 1 devices ready", "leader"]);
    std::fs::write(disk.0.join("other"), vec![1; 60 << 20]).unwrap();
    status_says(["0 of 1 devices ready", "disk"]);
    let shot = rig.swsync(&["shoot", "--count", "200"]).wait_for_up_to(COMMAND_TIMEOUT);
    shot.assert_failed(1, &["No space left", "NOT all saved"]);
}
