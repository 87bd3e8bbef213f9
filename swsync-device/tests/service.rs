//! The program as systemd would run it: a socket that it tells things, a watchdog, and a signal at the end.
//!
//! The pipelines have GStreamer's own elements only. tests/device_service.rs has one with ours.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Only a failing test waits this long.
const TIMEOUT: Duration = Duration::from_secs(60);
const WATCHDOG: Duration = Duration::from_secs(1);

struct Service {
    child: Child,
    notify: UnixDatagram,
    folder: TempDir,
}

impl Service {
    /// Starts the program with a configuration.
    fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config.replace("FOLDER", folder.path().to_str().unwrap());
        let file = folder.path().join("camera.conf");
        std::fs::write(&file, config).unwrap();
        let socket = folder.path().join("notify");
        let notify = UnixDatagram::bind(&socket).unwrap();
        notify.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_swsync-device"));
        command.arg(&file).env("NOTIFY_SOCKET", &socket).stderr(Stdio::piped());
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        Self { child: command.spawn().unwrap(), notify, folder }
    }

    /// What it says next within `time`.
    fn said_within(&self, time: Duration) -> Option<String> {
        let deadline = Instant::now() + time;
        let mut buffer = [0; 1024];
        while Instant::now() < deadline {
            if let Ok(length) = self.notify.recv(&mut buffer) {
                return Some(String::from_utf8(buffer[..length].to_vec()).unwrap());
            }
        }
        None
    }

    fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline {
            if self.said_within(TIMEOUT).is_some_and(|said| said.contains(text)) {
                return;
            }
        }
        panic!("it never says {text}");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How it ends, and what it wrote to standard error.
    fn end(mut self) -> (ExitStatus, String, TempDir) {
        let mut stderr = self.child.stderr.take().unwrap();
        let said = std::io::read_to_string(&mut stderr).unwrap();
        (self.child.wait().unwrap(), said, self.folder)
    }
}

/// A file that can be played: its index is written at its very end.
fn is_whole(video: &Path) -> bool {
    std::fs::read(video).unwrap().windows(4).any(|it| it == b"moov")
}

#[test]
fn it_is_ready_with_frames_and_ends_files_on_sigterm() {
    let service = Service::start(
        "pipeline = '''videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=30/1 ! jpegenc !\n\
         qtmux ! filesink location=FOLDER/video.mov'''",
    );
    service.wait_for("READY=1");
    service.wait_for("WATCHDOG=1");
    service.signal(Signal::TERM);
    service.wait_for("STOPPING=1");
    let (status, said, folder) = service.end();
    assert!(status.success(), "{status} {said}");
    assert!(is_whole(&folder.path().join("video.mov")), "{said}");
}

#[test]
fn frames_feed_the_watchdog_and_nothing_else_does() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let service = Service::start(&format!("pipeline = 'tcpclientsrc host=127.0.0.1 port={port} ! fakesink'"));
    let mut frames: TcpStream = server.accept().unwrap().0;
    assert!(service.said_within(2 * WATCHDOG).is_none_or(|said| said.starts_with("STATUS=waiting")));
    assert!(service.said_within(2 * WATCHDOG).is_none(), "ready without a frame");
    frames.write_all(b"frame").unwrap();
    service.wait_for("READY=1");
    service.wait_for("WATCHDOG=1");
    // No frames from here on, while the connection and the program live.
    let silent = Instant::now();
    while silent.elapsed() < 3 * WATCHDOG {
        if let Some(said) = service.said_within(WATCHDOG) {
            assert!(!said.contains("WATCHDOG=1") || silent.elapsed() < WATCHDOG, "fed by nothing");
        }
    }
    frames.write_all(b"frame").unwrap();
    service.wait_for("WATCHDOG=1");
    drop(frames);
    let (status, said, _) = service.end();
    assert_eq!(status.code(), Some(1), "an end that nobody asked for makes systemd start it again");
    assert!(said.contains("ended by itself"), "{said}");
}

#[test]
fn what_is_wrong_with_a_configuration_is_said() {
    for (config, code, why) in [
        ("pipeline = 'videotestsrc ! nosuchelement'", 2, "nosuchelement"),
        ("pipeline = 'videotestsrc'", 2, "one element"),
        ("pipelin = ''", 2, "pipelin"),
        ("pipeline = 'filesrc location=/nonexistent ! fakesink'", 1, "/nonexistent"),
    ] {
        let (status, said, _) = Service::start(config).end();
        assert_eq!(status.code(), Some(code), "{config}: {said}");
        assert!(said.contains(why), "{config}: {said}");
    }
}
