//! Starts processes, collects their output, and kills them at the end of the test.

use std::env;
use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Only a failing test waits this long.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Longer than any `swsync` command takes that waits for answers, files or exports.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(150);

/// The folder of the programs that cargo built. This test is in `target/<profile>/deps`.
static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let test = env::current_exe().expect("this executable has a path");
    test.ancestors().nth(2).expect("it is two folders deep").to_owned()
});

/// The environment in which GStreamer finds the plugin. Empty if `./x` has set it already.
static GSTREAMER: LazyLock<Vec<(&str, PathBuf)>> = LazyLock::new(|| {
    if env::var_os("GST_PLUGIN_PATH").is_some() {
        return Vec::new();
    }
    // A folder that contains only the plugin: GStreamer would scan the whole target folder.
    let folder = BUILT.join("end-to-end");
    let plugins = folder.join("plugins");
    fs::create_dir_all(&plugins).unwrap();
    let link = plugins.join("libgstswsync.so");
    let _ = fs::remove_file(&link); // left by an earlier run
    symlink(built("libgstswsync.so"), link).unwrap();
    let environment = vec![("GST_PLUGIN_PATH", plugins), ("GST_REGISTRY", folder.join("registry.bin"))];
    // Makes GStreamer build its registry once, rather than in each process.
    let mut inspect = Command::new("gst-inspect-1.0");
    let output = inspect.arg("swsync").envs(environment.iter().cloned()).output().unwrap();
    assert!(output.status.success(), "GStreamer cannot load the plugin: {output:?}");
    environment
});

/// A file that cargo built from another package of this workspace.
pub fn built(name: &str) -> PathBuf {
    let path = BUILT.join(name);
    assert!(
        path.is_file(),
        "there is no {}: cargo builds only what is tested, so build the whole workspace first (cargo \
         build --workspace; `./x test` does)",
        path.display()
    );
    path
}

/// A file of the checkout.
pub fn source(path: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().unwrap();
    tests.parent().unwrap().join(path)
}

/// A command that runs in the environment of this build.
pub fn command(program: impl AsRef<Path>) -> Command {
    // The process ends with the test, even if the test is killed. Tests that run in the background may have signals
    // ignored, and children would inherit that: hence the default handlers.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "env", "--default-signal=HUP,INT,TERM"]);
    command.arg(program.as_ref()).envs(GSTREAMER.iter().cloned());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("SWSYNC_") || name == "GST_DEBUG_FILE") {
            command.env_remove(name);
        }
    }
    command.env("GST_DEBUG_NO_COLOR", "1");
    // Most devices of tests have no camera with a known error; tests of the limit set it.
    command.env("SWSYNC_MAX_ERROR", "none");
    command
}

/// A free TCP endpoint on loopback.
pub fn free_endpoint() -> String {
    format!("tcp/{}", swsync_rig::free_loopback().unwrap())
}

/// A free UDP port on loopback.
pub fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Calls `attempt` until it returns something. After [`TIMEOUT`] it panics and names `what` it waited for.
pub fn poll<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    poll_for_up_to(TIMEOUT, what, attempt)
}

fn poll_for_up_to<T>(timeout: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(begun.elapsed() < timeout, "{what}: not within {timeout:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Repeats `attempt` until it returns something. Cameras drop frames while the machine is too busy, and say so. That is not
/// a fault: an `attempt` returns `None` then.
pub fn retry_on_drops<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    (0..10)
        .find_map(|_| attempt())
        .expect("in ten attempts cameras kept dropping frames: a fault, or a machine much too busy")
}

/// A running process. Dropping it kills it, and prints its output if the test has failed.
pub struct Process {
    name: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

/// How a process ended, and its output.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Process {
    /// Starts `command`. Its output goes to files named after `name` in `folder`.
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> Self {
        let [out, err] = ["out", "err"].map(|stream| folder.join(format!("{name}.{stream}")));
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name: name.into(), child, out, err }
    }

    /// Panics if the process has ended.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} has ended: {status}", self.name);
        }
    }

    /// What it has written to its standard output by now.
    pub fn output(&self) -> String {
        read(&self.out)
    }

    /// What it has written to its standard error by now.
    pub fn errors(&self) -> String {
        read(&self.err)
    }

    /// Sends `signal` to the process.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the process has ended.
    pub fn wait(self) -> Ended {
        self.wait_for_up_to(TIMEOUT)
    }

    /// As [`wait`](Self::wait), for a process that may take longer than usual.
    pub fn wait_for_up_to(mut self, timeout: Duration) -> Ended {
        let status = poll_for_up_to(timeout, &self.name.clone(), || self.child.try_wait().unwrap());
        Ended { code: status.code(), out: read(&self.out), err: read(&self.err) }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

impl Drop for Process {
    fn drop(&mut self) {
        // Safe if it has ended already: a child that was not waited for keeps its id.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- {}\n{}\n{}", self.name, read(&self.out), read(&self.err));
        }
    }
}

impl Ended {
    /// Asserts that the process exited with `code`, and that its output contains all of `words`.
    pub fn assert_failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for word in words {
            assert!(self.err.contains(word) || self.out.contains(word), "{word:?} in {self:#?}");
        }
    }
}
