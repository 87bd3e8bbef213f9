//! The property `dashboard` of `swsyncclock`: the rig's page beside a pipeline.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use rustix::process::Signal;

use crate::process::{Process, built, command, free_endpoint, poll};

/// A device without a camera that serves its rig's page at `address`.
fn device(folder: &Path, name: &str, address: &str) -> Process {
    let endpoint = free_endpoint();
    let mut gst = command("gst-launch-1.0");
    // As installed programs are.
    let programs = built("swsync-dashboard");
    let path = std::env::var("PATH").unwrap();
    gst.env("PATH", format!("{}:{path}", programs.parent().unwrap().display()));
    gst.args(["-e", "swsyncclock", "role=leader", "bind-address=127.0.0.1", "port=0"]);
    gst.args([&format!("rig=page-{}-{name}", std::process::id()), &format!("listen={endpoint}")]);
    gst.args([&format!("dashboard={address}"), "device-id=lead"]);
    gst.args([
        "videotestsrc",
        "is-live=true",
        "!",
        "video/x-raw,format=I420,width=160,height=120,framerate=30/1",
    ]);
    gst.args(["!", "swsyncsink", &format!("location={}", folder.display())]);
    Process::start(name, folder, &mut gst)
}

/// What the page's API answers; `None`: nobody is there.
fn ask(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

fn free_address() -> String {
    swsync_rig::free_loopback().unwrap().to_string()
}

#[test]
fn a_pipeline_serves_the_page_of_its_rig_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    for (name, signal) in [("stopped", Signal::INT), ("killed", Signal::KILL)] {
        let address = free_address();
        let device = device(folder.path(), name, &address);
        poll("the page tells of the device", || {
            ask(&address, "/api/v1/status").filter(|answer| answer.contains(r#""device":"lead""#))
        });
        poll("the page has a live picture", || {
            ask(&address, "/api/v1/devices/lead/thumbnail").filter(|answer| answer.contains("image/jpeg"))
        });
        device.signal(signal);
        device.wait();
        poll("the page is gone", || TcpStream::connect(&address).is_err().then_some(()));
    }
}

#[test]
fn an_address_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let ended = device(folder.path(), "nonsense", "8080").wait();
    ended.assert_failed(255, &["dashboard=8080 is no address with a port", "127.0.0.1:8080"]);
    // A port that is taken is found by the page alone, and the pipeline goes on.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = taken.local_addr().unwrap();
    let mut device = device(folder.path(), "taken", &address.to_string());
    poll("a warning", || {
        let said = device.output() + &device.errors();
        said.contains(&format!("The dashboard at {address} has ended")).then_some(())
    });
    device.assert_running();
    device.signal(Signal::INT);
    assert_eq!(device.wait().code, Some(0));
}
