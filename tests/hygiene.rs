//! The plugin as a guest in other programs: what it does when it is loaded, and how it stands what no application should do to it.
//!
//! The short forms; `./x check --deep` has the long ones (tools/deep.sh), and docs/robustness.md the figures.

use std::process::Command;

use crate::process::{built, command, source};

/// Of which gst-inspect-1.0 shows the name alone.
const PROVIDER: &str = "swsyncdeviceprovider";

/// The elements, and the device provider.
const FEATURES: [&str; 5] = ["swsyncclock", PROVIDER, "swsyncgate", "swsyncsink", "swsyncsrc"];

/// Runs it: it has to succeed without a word on standard error. Returns what it printed.
fn runs_quietly(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let printed = text(&output.stdout);
    assert!(output.status.success() && output.stderr.is_empty(), "{printed}{}", text(&output.stderr));
    printed
}

/// What loading the plugin did, as tests/load.py tells it.
fn load(options: &[&str]) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let mut python = command("python3");
    python.arg(source("tests/load.py")).arg(built("libgstswsync.so")).args(options);
    python.env_remove("GST_PLUGIN_PATH").env("GST_REGISTRY", folder.path().join("registry.bin"));
    let told: serde_json::Value = serde_json::from_str(&runs_quietly(&mut python)).unwrap();
    assert_eq!(told["features"], serde_json::json!(FEATURES), "{told}");
    told
}

#[test]
fn loading_starts_no_thread_opens_nothing_and_handles_no_signal() {
    let told = load(&["after-libcamera"]);
    for what in ["threads", "descriptors", "signals"] {
        assert_eq!(told[what], serde_json::json!([]), "{told}");
    }
    // Debian's libcamera brings LTTng, whose library starts threads in whatever loads it, libcamera's own elements included.
    let told = load(&[]);
    let threads = told["threads"].as_array().unwrap();
    assert!(threads.iter().all(|thread| thread.as_str().unwrap().ends_with("-ust")), "{told}");
    assert_eq!(told["descriptors"], serde_json::json!([]), "{told}");
}

#[test]
fn gst_inspect_shows_every_element_without_a_warning() {
    let inspect = |name| runs_quietly(command("gst-inspect-1.0").arg(name).env("G_DEBUG", "fatal-warnings"));
    let plugin = inspect("swsync");
    for name in FEATURES {
        assert!(plugin.contains(&format!("  {name}: ")), "{name}: {plugin}");
    }
    for name in FEATURES.into_iter().filter(|name| *name != PROVIDER) {
        let shown = inspect(name);
        assert!(shown.contains("The swsync developers"), "{name}: {shown}");
    }
}

#[test]
fn the_pages_of_the_elements_are_those_of_the_plugin() {
    assert_eq!(runs_quietly(command("python3").arg(source("tools/element-pages.py"))), "");
}

/// Parts of tests/stress.py, which has to leave nothing behind.
fn stress(arguments: &[&str]) {
    let mut python = command("python3");
    python.arg(source("tests/stress.py")).args(arguments);
    // A leak is a warning, and a warning is the end. The lines say what was left.
    python.env("G_DEBUG", "fatal-warnings").env("GST_TRACERS", "leaks").env("GST_DEBUG", "GST_TRACER:7");
    python.env("SWSYNC_CONFIG", "/dev/null");
    let output = python.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn random_state_changes_from_several_threads_leave_the_elements_whole() {
    stress(&["states", "--changes", "12"]);
}

#[test]
fn flushes_and_other_formats_in_the_middle_of_a_stream_do_no_harm() {
    stress(&["flush", "caps", "--rounds", "3"]);
}

#[test]
fn branches_come_and_go_and_rigs_share_a_process() {
    stress(&["branches", "streams", "rigs", "--rounds", "4", "--rigs", "3"]);
}
