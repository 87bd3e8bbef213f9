//! Tests that need a process of their own: an ignored test of the same file, which another one runs.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::process::{Child, Command, Stdio};

use super::Pipeline;

/// Runs the ignored test `name` of this file in a process of its own.
pub fn ignored_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture"]);
    command
}

/// The same in a shell, after `setup`.
pub fn ignored_test_after(setup: &str, name: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{setup}; exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"]);
    command
}

/// Waits for a test's process: the test has to pass. Returns what it printed.
pub fn passes(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let printed = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && printed.contains("1 passed"), "{}: {printed}", output.status);
    printed
}

/// Has the pipeline of the process that [`Device::start`] starts.
const PIPELINE: &str = "SWSYNC_TEST_PIPELINE";

/// A pipeline in a process of its own, which is killed when the test ends.
pub struct Device(Child);

impl Device {
    /// Plays `description`. The test's file needs an ignored test `be_a_device`, which calls [`be_a_device`].
    pub fn start(description: &str) -> Self {
        let mut command = ignored_test("be_a_device");
        command.env(PIPELINE, description).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Sends it a signal, by its name without `SIG`.
    pub fn signal(&self, signal: &str) {
        send_signal(&self.0, signal);
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Plays the pipeline of [`Device::start`] until the process is killed. Does nothing in another process.
pub fn be_a_device() {
    let Ok(description) = std::env::var(PIPELINE) else { return };
    let pipeline = Pipeline::launch(&description);
    pipeline.reach(gst::State::Playing);
    loop {
        std::thread::park();
    }
}

pub fn send_signal(child: &Child, signal: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status();
    assert!(sent.unwrap().success());
}
