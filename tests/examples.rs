//! Runs the Rust, Python and C examples as a user does.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{
    COMMAND_TIMEOUT, Ended, Process, built, command, free_port, poll, retry_on_drops, source,
};
use crate::rig::{TestBed, mentions_drops};
use crate::shots::{assert_only_complete_files, files_below};

fn rust() -> Command {
    command(built("swsync-example"))
}

fn python() -> Command {
    let mut python = command("python3");
    python.arg(source("examples/python/shoot.py"));
    python
}

/// Runs `example` as the only device of a rig.
fn run(bed: &TestBed, mut example: Command, location: &Path, camera: &[&str]) -> Ended {
    example
        .args(["--rig", bed.rig_name(), "--device-id", "device", "--listen", bed.endpoint()])
        .args(["--bind-address", "127.0.0.1", "--port", "0", "--location"])
        .arg(location)
        .args(camera);
    Process::start("example", &bed.path("."), &mut example).wait()
}

#[test]
fn the_rust_example_takes_a_picture() {
    assert_takes_a_picture(rust);
}

#[test]
fn the_python_example_takes_a_picture() {
    assert_takes_a_picture(python);
}

fn assert_takes_a_picture(example: fn() -> Command) {
    let bed = TestBed::exclusive();
    let (ended, folder) = retry_on_drops(|| {
        let folder = tempfile::tempdir().unwrap();
        let ended = run(&bed, example(), folder.path(), &["--simulated"]);
        (!mentions_drops(&ended.out)).then_some((ended, folder))
    });
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:#?}");
    assert!(ended.out.contains("camera locked"), "{ended:#?}");
    assert!(ended.out.ends_with("complete, devices: 1\n"), "{ended:#?}");
    let files = files_below(folder.path());
    assert_only_complete_files(&files);
    let pictures = files.iter().filter(|file| file.extension().is_some_and(|e| e == "jpg"));
    let pictures: Vec<_> = pictures.map(|file| format!("device: {}", file.display())).collect();
    let [picture] = &pictures[..] else { panic!("one picture: {files:?}") };
    assert!(ended.out.lines().any(|line| line == picture), "{picture} in {ended:#?}");
}

/// Of the Pico's panel: the slots are as long as they are said to be, by the instructions' cycles.
#[test]
fn the_panel_of_the_pico_keeps_its_slots() {
    let mut python = command("python3");
    python.arg(source("tests/pico_panel.py")).arg(source("examples/pico"));
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"the panel keeps its slots\n");
}

#[test]
fn the_rust_example_reports_errors() {
    assert_reports_errors(rust);
}

#[test]
fn the_python_example_reports_errors() {
    assert_reports_errors(python);
}

fn assert_reports_errors(example: fn() -> Command) {
    let bed = TestBed::shared();
    let ended = run(&bed, example(), Path::new("/dev/null/x"), &["--simulated"]);
    ended.assert_failed(1, &["cannot write to /dev/null/x", "Choose another `location`"]);
    let ended = run(&bed, example(), &bed.path("shots"), &["--camera-name", "nope"]);
    ended.assert_failed(1, &["nope"]);
}

/// The environment of an example that is the only device of its rig.
fn alone(bed: &TestBed, mut example: Command) -> Command {
    example.env("SWSYNC_RIG", bed.rig_name()).env("SWSYNC_CONFIG", "/dev/null").current_dir(bed.path("."));
    example
}

#[test]
fn the_c_example_compiles_without_a_warning_and_takes_a_picture() {
    let bed = TestBed::exclusive();
    let program = bed.path("shoot");
    let line = format!(
        "cc -std=c99 -Wall -Wextra -Werror {} -o {} $(pkg-config --cflags --libs gstreamer-1.0)",
        source("examples/c/shoot.c").display(),
        program.display()
    );
    let compiled = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let ended = retry_on_drops(|| {
        let mut example = alone(&bed, command(&program));
        let ended = Process::start("shoot", &bed.path("."), example.arg("simulated")).wait();
        (ended.code == Some(0)).then_some(ended)
    });
    assert!(
        ended.out.contains("camera locked") && ended.out.ends_with("complete, devices: 1\n"),
        "{ended:#?}"
    );
}

/// A Python example with numpy and OpenCV; `None` without the tools' environment, which CI has.
fn python_with_numpy(example: &str) -> Option<Command> {
    let Some(python) = std::env::var_os("SWSYNC_PYTHON").map(PathBuf::from) else {
        assert!(!crate::is_set("CI", "examples with numpy: no SWSYNC_PYTHON"));
        return None;
    };
    // numpy and OpenCV are in the tools' own environment, GStreamer's bindings in the system's.
    let library = python.parent().unwrap().parent().unwrap().join("lib");
    let version = fs::read_dir(library).unwrap().next().unwrap().unwrap().path();
    let mut example = {
        let mut python = command("python3");
        python.arg(source(example));
        python
    };
    example.env("PYTHONPATH", version.join("site-packages"));
    Some(example)
}

#[test]
fn python_gets_frames_with_their_instants() {
    let bed = TestBed::exclusive();
    let Some(example) = python_with_numpy("examples/python/capture_times.py") else { return };
    let mut example = alone(&bed, example);
    example.args(["--simulated", "--frames", "10"]);
    let ended = Process::start("python", &bed.path("."), example.args(["--opencv", "last.png"])).wait();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let frames: Vec<(i64, i64)> = ended
        .out
        .lines()
        .map(|line| {
            let mut words = line.split(' ').map(|word| word.parse::<i64>());
            (words.next().unwrap().unwrap(), words.next().unwrap().unwrap())
        })
        .collect();
    assert_eq!(frames.len(), 10, "{ended:#?}");
    for (number, time) in frames {
        let off = time - i64::try_from(i128::from(number) * 1_000_000_000 / 30).unwrap();
        assert!(off.abs() < 1_000_000, "frame {number} is {off} ns off the grid: {ended:#?}");
    }
    assert!(bed.path("last.png").is_file(), "OpenCV wrote no picture");
}

/// How many numbers the receiver looks at: enough for one that is missing to be 0.1 %.
const SETS: u32 = 1000;

/// Of streams that come by RTP, through queues and encoders of their own: sets are found by the instants of capture that came along.
#[test]
fn a_receiver_puts_streams_side_by_side_by_capture_time() {
    let bed = TestBed::exclusive();
    retry_on_drops(|| side_by_side(&bed));
}

/// `None`: the cameras dropped many frames, since the machine is busy.
fn side_by_side(bed: &TestBed) -> Option<()> {
    let mut receiver = alone(bed, python_with_numpy("examples/python/side_by_side.py")?);
    let ports = [free_port(), free_port()];
    let picture = bed.path("set.jpg");
    let view = format!("jpegenc snapshot=true ! filesink location={}", picture.display());
    receiver.args(["--rate", "45", "--sets", &SETS.to_string(), "--view", &view]);
    receiver.args(ports.map(|port| port.to_string()));
    let devices: Vec<_> = (0..).zip(ports).map(|(seed, port)| sender(bed, seed, port)).collect();
    let ended = Process::start("receiver", &bed.path("."), &mut receiver).wait_for_up_to(COMMAND_TIMEOUT);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:#?}");
    println!("{}", ended.out);
    let words: Vec<_> = ended.out.trim().split([' ', ',']).collect();
    let ["sets:", sets, _, "complete:", complete, _, "furthest", "apart:", apart, "us"] = words[..] else {
        panic!("{ended:#?}")
    };
    let [sets, complete] = [sets, complete].map(|count| count.parse::<u32>().unwrap());
    // A camera loses a frame in a thousand, and says so. These have been nowhere to be received.
    let lost: u32 = devices.iter().map(lost_frames).sum();
    if lost > sets / 50 {
        return None;
    }
    assert!(
        sets >= SETS && f64::from(complete + lost) >= 0.999 * f64::from(sets),
        "{lost} frames were lost before they were sent: {ended:#?}"
    );
    assert!(apart.parse::<f64>().unwrap() <= 100.0, "{ended:#?}");
    let size = image::image_dimensions(&picture).unwrap();
    assert_eq!(size, (320, 120), "two pictures of 160 x 120 side by side");
    Some(())
}

/// The frames that the camera of a device has lost.
fn lost_frames(device: &Process) -> u32 {
    let output = device.output();
    let lost =
        output.lines().filter_map(|line| line.split_once("swsync-frames-lost")?.1.split_once("count=("));
    // Then `uint)2, before-frame=...`.
    let count =
        |(_, typed): (&str, &str)| typed.split([')', ',', ';']).nth(1).unwrap().parse::<u32>().unwrap();
    lost.map(count).sum()
}

/// A device that sends its frames by RTP, as the receiver's documentation has it.
fn sender(bed: &TestBed, seed: u16, port: u16) -> Process {
    let role = if seed == 0 {
        format!(
            "role=leader bind-address=127.0.0.1 port={} listen={}",
            bed.time_address().rsplit(':').next().unwrap(),
            bed.endpoint()
        )
    } else {
        format!(
            "role=client leader={} connect={} sync-timeout=60000000000",
            bed.time_address(),
            bed.endpoint()
        )
    };
    let camera = seed + 1;
    let line = format!(
        "swsyncclock rig={} {role} \
         swsyncsrc backend=simulated simulated-seed={camera} add-ntp-timestamp-meta=true wait-lock=true \
         ! video/x-raw,width=160,height=120,framerate=45/1 ! videoconvert ! jpegenc \
         ! rtpjpegpay ! application/x-rtp,extmap-1=urn:ietf:params:rtp-hdrext:ntp-64 ! udpsink host=127.0.0.1 port={port}",
        bed.rig_name()
    );
    let mut sender = command("gst-launch-1.0");
    sender.arg("-m").args(line.split_whitespace());
    sender.env("SWSYNC_SIMULATED_CLOCK", format!("offset={seed}.5s,skew={}ppm", 7 * seed));
    Process::start(&format!("sender{seed}"), &bed.path("."), &mut sender)
}

#[test]
fn the_key_press_example_records_on_all_devices() {
    let bed = TestBed::exclusive();
    retry_on_drops(|| record_by_key(&bed));
}

fn record_by_key(bed: &TestBed) -> Option<()> {
    let rig = bed.rig(&["left"]);
    let keys = bed.path("keys");
    let _ = fs::remove_file(&keys);
    assert!(Command::new("mkfifo").arg(&keys).status().unwrap().success());
    let mut example = command("bash");
    example.args(["-c", r#"exec "$0" <"$1""#]).arg(built("swsync-example-record")).arg(&keys);
    example.env("SWSYNC_CONFIG", "/dev/null");
    example.env("SWSYNC_RIG", bed.rig_name()).env("SWSYNC_CONNECT", bed.endpoint());
    let mut example = Process::start("record", &bed.path("."), &mut example);
    // Opening it waits for the reader.
    let mut keys = fs::File::options().write(true).open(&keys).unwrap();
    let mut wait_for = |text: &str| {
        poll(text, || {
            example.assert_running();
            example.output().contains(text).then_some(())
        });
    };
    wait_for("Enter begins a take");
    writeln!(keys).unwrap();
    wait_for("recording ");
    writeln!(keys).unwrap();
    wait_for("is complete on ");
    writeln!(keys, "q").unwrap();
    let ended = example.wait();
    if mentions_drops(&ended.out) || ended.out.contains("NOT saved") {
        return None;
    }
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:#?}");
    assert!(ended.out.contains("is complete on 2 of 2 devices"), "{ended:#?}");
    let pictures = files_below(&bed.path("shots"));
    let of = |device: &str| pictures.iter().filter(|file| file.to_str().unwrap().contains(device)).count();
    assert!(of("/leader/") > 10 && of("/leader/") == of("/left/"), "half a second at least: {pictures:?}");
    drop(rig);
    fs::remove_dir_all(bed.path("shots")).unwrap();
    Some(())
}

/// As in the plugin's `tests/ptp.rs`: a real grandmaster at the other end of a veth pair. `$1`: where its log and sockets go; then the example.
const BESIDE_A_GRANDMASTER: &str = r#"
set -eu
log=$1; shift
ip link set lo up
ip link add v0 type veth peer name v1
unshare --net sleep 1000 &
other=$!
grandmaster=
trap 'kill $other $grandmaster 2>/dev/null || true' EXIT
until ip link set v1 netns $other 2>/dev/null && ! ip link show v1 >/dev/null 2>&1; do sleep 0.05; done
ip address add 10.99.0.2/24 dev v0
ip link set v0 up
ip route add 224.0.0.0/4 dev v0
inside="nsenter --net=/proc/$other/ns/net"
$inside ip address add 10.99.0.1/24 dev v1
$inside ip link set v1 up
$inside ip route add 224.0.0.0/4 dev v1
$inside ptp4l -4 -S -i v1 --serverOnly 1 --logAnnounceInterval -2 --announceReceiptTimeout 2 \
    --logSyncInterval -3 --logMinDelayReqInterval -3 \
    --uds_address "$log.uds" --uds_ro_address "$log.uds-ro" -m -q >"$log" 2>&1 &
grandmaster=$!
"$@"
"#;

#[test]
fn the_ptp_example_has_frames_in_the_grandmasters_time() {
    if !crate::is_set("SWSYNC_NETNS", "the source on a PTP clock") {
        return;
    }
    let bed = TestBed::exclusive();
    let mut example = command("unshare");
    example
        .args(["--net", "--kill-child", "sh", "-c", BESIDE_A_GRANDMASTER, "sh"])
        .arg(bed.path("ptp4l.log"));
    example.arg(built("swsync-example-ptp")).args(["--simulated", "--frames", "30"]);
    let ended = Process::start("ptp", &bed.path("."), &mut example).wait_for_up_to(COMMAND_TIMEOUT);
    assert_eq!(
        ended.code,
        Some(0),
        "{ended:#?}\n{}",
        fs::read_to_string(bed.path("ptp4l.log")).unwrap_or_default()
    );
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let frames: Vec<_> = ended.out.lines().map(|line| line.split(' ').collect::<Vec<_>>()).collect();
    assert_eq!(frames.len(), 30, "{ended:#?}");
    for frame in frames {
        let [number, time, "locked"] = frame[..] else { panic!("{ended:#?}") };
        let [number, time] = [number, time].map(|text| text.parse::<u128>().unwrap());
        let off = time.abs_diff(number * 1_000_000_000 / 30);
        assert!(off < 1_000_000, "frame {number} is {off} ns off the grandmaster's grid: {ended:#?}");
        // ptp4l with software timestamps serves this machine's wall clock.
        assert!(now.abs_diff(time) < 60_000_000_000, "{ended:#?}");
    }
}
