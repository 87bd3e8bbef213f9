//! How devices are: what their hosts, cameras and versions are, in their statuses and for Prometheus.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use swsync_core::frame::LockState;
use swsync_core::status::Status;

use crate::process::{Process, poll, source};
use crate::rig::{Rig, TestBed};

/// A Raspberry Pi whose supply voltage is low, and which is as hot as `celsius`.
fn raspberry_pi(bed: &TestBed, name: &str, millicelsius: &str, get_throttled: &str) -> PathBuf {
    let root = bed.path(name);
    for (path, text) in [
        ("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0"),
        ("proc/sys/kernel/osrelease", "6.12.25+rpt-rpi-2712\n"),
        ("proc/stat", "cpu  1000 0 500 8000 500 0 0 0 0 0\n"),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", millicelsius),
        ("sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled", get_throttled),
        ("proc/net/wireless", "Inter-|\n face |\n wlan0: 0000   56.  -54.  -256 0 0 0 0 0 0\n"),
    ] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

/// The metrics at `address`, for a client that takes `accept`: the media type, and the text.
fn scrape(address: &str, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{text}");
    let kind = head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).unwrap();
    (kind.to_owned(), body.to_owned())
}

/// Checks metrics with other people's parsers, where they are installed.
fn assert_parsed(folder: &Path, text: &str, format: &[&str]) {
    let Some(python) = std::env::var_os("SWSYNC_PYTHON") else {
        assert!(std::env::var_os("CI").is_none(), "SWSYNC_PYTHON is not set: see tools/python.sh");
        eprintln!("skipped: SWSYNC_PYTHON is not set, see tools/python.sh");
        return;
    };
    let file = folder.join("metrics.txt");
    std::fs::write(&file, text).unwrap();
    let ran =
        Command::new(python).arg(source("tests/metrics_parser.py")).arg(file).args(format).output().unwrap();
    assert!(ran.status.success(), "{}{text}", String::from_utf8_lossy(&ran.stderr));
}

fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

fn assert_statuses(statuses: &[Status]) {
    let [leader, left] = statuses else { panic!("{statuses:#?}") };
    let host = leader.host.as_ref().unwrap();
    assert_eq!(
        (host.temperature_celsius, host.throttled, host.undervoltage),
        (Some(84.1), Some(true), Some(true))
    );
    assert_eq!(host.wifi[0].signal_dbm, Some(-54), "{host:#?}");
    assert_eq!(left.host.as_ref().unwrap().temperature_celsius, Some(52.0));
    for status in statuses {
        assert_eq!(status.host.as_ref().unwrap().board.as_deref(), Some("Raspberry Pi 5 Model B Rev 1.0"));
        let camera = status.camera.as_ref().unwrap();
        let mode = camera.mode.as_ref().unwrap();
        assert!(
            camera.model.is_some() && camera.exposure_ns.is_some_and(|span| !span.is_negative()),
            "{camera:?}"
        );
        assert!(mode.width > 0 && mode.rate.rate() == (30, 1) && mode.format == "image/jpeg", "{mode:?}");
        assert!(status.recording_left_ns.is_some(), "{status:#?}");
        let versions = status.versions.as_ref().unwrap();
        assert_eq!(versions.kernel.as_deref(), Some("6.12.25+rpt-rpi-2712"));
        assert!(versions.gstreamer.as_ref().is_some_and(|version| version.starts_with("1.")), "{versions:?}");
        assert_eq!(status.last_error, None);
    }
}

fn assert_metrics(rig: &Rig<'_>, metrics: &Process, left: Process) {
    let name = rig.bed().rig_name();
    let address = poll("the address of the metrics", || {
        let out = metrics.output();
        let (_, rest) = out.split_once("http://")?;
        Some(rest.split_once("/metrics until")?.0.to_owned())
    });
    let of = |metric: &str, device: &str| format!("{metric}{{rig=\"{name}\",device=\"{device}\"}}");
    let folder = rig.bed().path("");
    let (kind, text) = scrape(&address, "*/*");
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(value(&text, &of("swsync_device_temperature_celsius", "leader")), Some(84.1), "{text}");
    assert_eq!(value(&text, &of("swsync_device_undervoltage", "leader")), Some(1.0), "{text}");
    assert_eq!(value(&text, &of("swsync_device_up", "left")), Some(1.0), "{text}");
    assert!(
        value(&text, &of("swsync_clock_uncertainty_seconds", "left")).is_some_and(|it| it > 0.0),
        "{text}"
    );
    assert_parsed(&folder, &text, &[]);
    let (kind, text) = scrape(&address, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    assert_parsed(&folder, &text, &["openmetrics"]);

    left.signal(Signal::KILL);
    drop(left);
    poll("the metrics say that a device does not answer", || {
        let (_, text) = scrape(&address, "*/*");
        (value(&text, &of("swsync_device_up", "left")) == Some(0.0)).then(|| {
            let others = text.lines().filter(|line| line.contains(r#"device="left""#)).count();
            assert_eq!(others, 1, "no old value is left: {text}");
            assert_eq!(value(&text, &of("swsync_device_up", "leader")), Some(1.0), "{text}");
        })
    });
}

#[test]
fn a_rig_says_how_its_hosts_and_cameras_are() {
    let bed = TestBed::exclusive();
    let hot = raspberry_pi(&bed, "hot", "84100\n", "50005\n");
    let good = raspberry_pi(&bed, "good", "52000\n", "0\n");
    let root = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let leader = bed.leader().simulated(1).env("SWSYNC_HOST_ROOT", &root(&hot)).start();
    let left = bed.client("left").simulated(2).env("SWSYNC_HOST_ROOT", &root(&good)).start();
    let mut rig = Rig::with(&bed, vec![leader, left]);
    rig.wait_until_ready(LockState::Locked);
    // How long there is room for is known once some frames have passed the sink.
    assert_statuses(&poll("both know how long there is room for", || {
        let statuses = rig.statuses();
        statuses.iter().all(|status| status.recording_left_ns.is_some()).then_some(statuses)
    }));

    let long = rig.swsync(&["status", "--long"]).wait();
    println!("{}", long.out);
    assert_eq!(long.code, Some(0), "{long:#?}");
    for words in [
        "leader: warning: its supply voltage is too low",
        "leader: warning: its processor is held down at 84 C",
        "6.12.25+rpt-rpi-2712",
        "@30 image/jpeg",
        "2 of 2 devices ready",
    ] {
        assert!(long.out.contains(words), "{words} in {}", long.out);
    }
    assert!(!long.out.contains("left: warning"), "{}", long.out);

    let metrics = rig.swsync(&["metrics", "--listen", "127.0.0.1:0"]);
    let left = rig.take_last();
    assert_metrics(&rig, &metrics, left);
}
