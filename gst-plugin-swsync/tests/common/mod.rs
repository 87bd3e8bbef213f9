//! Shared by the element tests: set-up, pipelines, and waits with a deadline.

#![allow(dead_code, reason = "each test file uses some of it")]

pub mod coded;
pub mod own_process;
pub mod play;
pub mod sink;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;
use std::time::{Duration, Instant};

use gst::prelude::*;

/// Long enough for anything on a busy machine: only ever waited out by a test that fails.
pub const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(30);

/// GStreamer with the elements, registered from this executable.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstswsync::plugin_register_static().unwrap();
    });
}

/// Whether element `name` is installed here; prints if it is not.
pub fn installed(name: &str) -> bool {
    init();
    let is_installed = gst::ElementFactory::find(name).is_some();
    if !is_installed {
        eprintln!("skipped: no {name} here");
    }
    is_installed
}

/// A pipeline that is stopped when the test ends.
pub struct Pipeline(pub gst::Pipeline);

impl Pipeline {
    /// A pipeline as gst-launch-1.0 makes it.
    pub fn launch(description: &str) -> Self {
        init();
        let parsed = gst::parse::launch(description).unwrap_or_else(|e| panic!("{description}: {e}"));
        match parsed.downcast::<gst::Pipeline>() {
            Ok(pipeline) => Self(pipeline),
            Err(element) => {
                let pipeline = gst::Pipeline::new();
                pipeline.add(&element).unwrap();
                Self(pipeline)
            }
        }
    }

    pub fn element(&self, name: &str) -> gst::Element {
        self.0.by_name(name).unwrap_or_else(|| panic!("no element {name}"))
    }

    /// Sets the state, and waits until it is reached.
    pub fn reach(&self, state: gst::State) {
        if let Err(error) = self.try_reach(state) {
            panic!("{state:?}: {error}");
        }
    }

    /// As [`reach`](Self::reach); the error is the one that is posted on the bus.
    pub fn try_reach(&self, state: gst::State) -> Result<(), String> {
        let reached = self.0.set_state(state).is_ok() && self.0.state(PATIENCE).0.is_ok();
        if reached { Ok(()) } else { Err(self.error()) }
    }

    pub fn bus(&self) -> gst::Bus {
        self.0.bus().expect("a pipeline has a bus")
    }

    /// The first error on the bus, or that there is none.
    pub fn error(&self) -> String {
        match self.bus().timed_pop_filtered(PATIENCE, &[gst::MessageType::Error]) {
            Some(message) => error_text(&message),
            None => "no error was posted".into(),
        }
    }

    /// Waits for the first message of which `wanted` returns something. An error message fails the test.
    pub fn wait_for<T>(&self, what: &str, mut wanted: impl FnMut(&gst::Message) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from(PATIENCE);
        while Instant::now() < deadline {
            let Some(message) = self.bus().timed_pop(gst::ClockTime::from_mseconds(200)) else { continue };
            if let Some(found) = wanted(&message) {
                return found;
            }
            assert_ne!(message.type_(), gst::MessageType::Error, "{what}: {}", error_text(&message));
        }
        panic!("{what}: not within {PATIENCE}");
    }

    /// Waits for the element message `name`.
    pub fn wait_for_structure(&self, name: &str) -> gst::Structure {
        self.wait_for(name, |message| {
            let structure = message.structure()?;
            (message.type_() == gst::MessageType::Element && structure.name() == name)
                .then(|| structure.to_owned())
        })
    }

    /// The warnings on the bus by now: who posted them, and their text with the debug part.
    pub fn warnings(&self) -> Vec<(String, String)> {
        warnings(&self.bus())
    }

    pub fn wait_for_eos(&self) {
        self.wait_for("EOS", |message| (message.type_() == gst::MessageType::Eos).then_some(()));
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.0.set_state(gst::State::Null).unwrap();
    }
}

/// The warnings on `bus` by now: who posted them, and their text with the debug part.
pub fn warnings(bus: &gst::Bus) -> Vec<(String, String)> {
    let messages = bus.iter_filtered(&[gst::MessageType::Warning]);
    let said = messages.filter_map(|message| match message.view() {
        gst::MessageView::Warning(warning) => {
            let who = message.src()?.name().to_string();
            Some((who, format!("{} {}", warning.error(), warning.debug().unwrap_or_default())))
        }
        _ => None,
    });
    said.collect()
}

/// An error message's text, with its debug part, domain and code.
fn error_text(message: &gst::Message) -> String {
    match message.view() {
        gst::MessageView::Error(error) => {
            format!("{} ({}) {:?}", error.error(), error.debug().unwrap_or_default(), error.error())
        }
        _ => "no error".into(),
    }
}

/// Waits until `condition` holds, if there is no message to wait for.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from(PATIENCE);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A leader on loopback, at a port of the system's choice, and its address.
pub fn leader() -> (Pipeline, SocketAddr) {
    let pipeline = Pipeline::launch(LEADER);
    pipeline.reach(gst::State::Playing);
    let address: Option<String> = pipeline.element("c").property("address");
    (pipeline, address.expect("a started leader has one").parse().unwrap())
}

/// A leader's clock; several tests can run one at the same time.
pub const LEADER: &str = "swsyncclock name=c role=leader bind-address=127.0.0.1 port=0";

/// A small simulated camera.
pub const CAMERA: &str =
    "swsyncsrc name=s backend=simulated ! video/x-raw,width=160,height=120,framerate=30/1";

/// The plugin beside this test's executable: `target/PROFILE/libgstswsync.so`.
pub fn plugin() -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    let profile = executable.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps/TEST");
    let plugin = profile.join("libgstswsync.so");
    assert!(plugin.exists(), "{} is not built", plugin.display());
    plugin
}

/// Runs one of GStreamer's tools with the plugin; `None` if it is not installed.
pub fn tool(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Option<Output> {
    let output = Command::new(name)
        .arg(format!("--gst-plugin-load={}", plugin().display()))
        .args(arguments)
        .envs(environment.iter().copied())
        .output();
    match output {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: no {name} here");
            None
        }
        Err(error) => panic!("{name}: {error}"),
    }
}

/// Runs a script of tests/tools with the packages of tools/python.txt; `None` if they are not installed, as in a plain `cargo test`.
pub fn python(script: &str, files: &[&Path]) -> Option<String> {
    let Some(python) = std::env::var_os("SWSYNC_PYTHON") else {
        assert!(std::env::var_os("CI").is_none(), "SWSYNC_PYTHON is not set: see tools/python.sh");
        eprintln!("skipped: SWSYNC_PYTHON is not set, see tools/python.sh");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools").join(script);
    let ran = Command::new(python).arg(script).args(files).output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(ran.status.success() && ran.stderr.is_empty(), "{}{}", text(&ran.stdout), text(&ran.stderr));
    Some(text(&ran.stdout))
}
