//! The pipelines of `pipelines/*.conf`, run by `swsync-device` as systemd would, with simulated cameras and small pictures.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Process, built, command, free_port, poll, source};
use crate::rig::{TestBed, small};

/// What boards have, and this machine not. A pipeline with one of them is skipped, which is said.
const HARDWARE: [&str; 2] = ["v4l2h264enc", "nvv4l2h264enc"];

/// A configuration as shipped, but for the camera, the size of its frames, the folder and the port.
fn simulated(config: &str, takes: &Path) -> String {
    let text = config
        .replace(
            "v4l2src device=/dev/video0",
            "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1 ! jpegenc",
        )
        .replace("swsyncsrc", "swsyncsrc backend=simulated")
        .replace("/var/lib/swsync/takes", takes.to_str().unwrap())
        .replace("host=192.168.8.2", "host=127.0.0.1")
        .replace("port=5000", &format!("port={}", free_port()));
    small(&text)
}

fn has(element: &str) -> bool {
    let mut inspect = Command::new("gst-inspect-1.0");
    inspect.arg("--exists").arg(element).status().unwrap().success()
}

#[test]
fn every_shipped_pipeline_runs_as_a_service() {
    let bed = TestBed::exclusive();
    let mut configs: Vec<_> =
        fs::read_dir(source("pipelines")).unwrap().map(|it| it.unwrap().path()).collect();
    configs.retain(|path| path.extension().is_some_and(|it| it == "conf"));
    configs.sort();
    assert!(configs.len() >= 9, "{configs:?}");
    let mut skipped = Vec::new();
    for path in configs {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        if let Some(missing) = HARDWARE.iter().find(|it| text.contains(*it) && !has(it)) {
            skipped.push(format!("{name} ({missing})"));
            continue;
        }
        runs(&bed, name, &simulated(&text, &bed.path("takes")));
    }
    eprintln!("not run here: {skipped:?}");
    assert!(skipped.len() <= HARDWARE.len(), "{skipped:?}");
}

/// Runs one until frames flow, and then until it has ended well.
fn runs(bed: &TestBed, name: &str, config: &str) {
    let file = bed.path(&format!("{name}.conf"));
    fs::write(&file, config).unwrap();
    let socket = bed.path(&format!("{name}.notify"));
    let notify = UnixDatagram::bind(&socket).unwrap();
    notify.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut command = command(built("swsync-device"));
    command.arg(&file).env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "2000000");
    // A rig of its own, with one device, which leads at once.
    command.env("SWSYNC_RIG", format!("{}-{name}", bed.rig_name())).env("SWSYNC_CONFIG", "/dev/null");
    command.env("SWSYNC_DEVICE_ID", name);
    let mut service = Process::start(name, &bed.path(""), &mut command);
    let mut buffer = [0; 1024];
    let mut wait_for = |text: &str| {
        poll(&format!("{name} says {text}"), || {
            service.assert_running();
            let length = notify.recv(&mut buffer).ok()?;
            std::str::from_utf8(&buffer[..length]).unwrap().contains(text).then_some(())
        });
    };
    wait_for("READY=1");
    wait_for("WATCHDOG=1");
    service.signal(Signal::TERM);
    let ended = service.wait();
    assert_eq!(ended.code, Some(0), "{name}: {ended:#?}");
}
