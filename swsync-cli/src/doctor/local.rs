//! The checks of this host.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use swsync_core::doctor::{Check, Diagnosis, Problem};
use swsync_host::HostRoot;
use swsync_host::doctor::{
    GstInspect, Subject, Takes, User, examine as examine_files, judge_gst_inspect, plugin_folders, wall_clock,
};
use swsync_host::wifi;

use super::programs::{self, Said};
use crate::handover;

/// How long gst-inspect-1.0 may take: it looks at all plugins if its registry is new.
const GST_INSPECT: Duration = Duration::from_secs(30);
/// How long listing the modes of all cameras may take.
const CAMERAS: Duration = Duration::from_secs(30);

/// Checks that a running device knows better than another process on its host.
const OF_DEVICE: [&str; 3] = ["disk", "camera-use", "headroom"];

/// Examines this host. `takes` is where the takes go, if the user says so; `device` is what the device on this host says of itself; `rate`
/// is its frame rate, as `30/1`.
pub fn examine(
    root: &HostRoot,
    takes: Option<PathBuf>,
    device: Option<&Diagnosis>,
    rate: Option<String>,
) -> Vec<Check> {
    let subject = Subject {
        takes: takes.map_or(Takes::Unknown, Takes::At),
        bytes_per_second: 0,
        frames_arrive: false,
        user: User::current(),
        plugin_folders: plugin_folders(root, &|name| std::env::var(name).ok()),
        wifi: wifi::links(root),
        wall_clock: wall_clock(),
    };
    let mut checks = examine_files(root, &subject);
    checks.push(judge_gst_inspect(gst_inspect(), env!("CARGO_PKG_VERSION")));
    checks.push(Check::unknown("headroom", "", ""));
    for check in &mut checks {
        let known = device.and_then(|device| device.checks.iter().find(|known| known.id == check.id));
        if let Some(known) = known.filter(|known| {
            OF_DEVICE.contains(&known.id.as_str()) && (check.is_unknown() || !known.is_unknown())
        }) {
            *check = known.clone();
        } else if check.id == "headroom" {
            *check = headroom(rate.as_deref());
        }
    }
    checks
}

/// What GStreamer says of the plugin.
fn gst_inspect() -> Result<GstInspect, String> {
    let plugin = programs::ask("gst-inspect-1.0", &["swsync"], GST_INSPECT)?;
    let blacklist = programs::ask("gst-inspect-1.0", &["-b"], GST_INSPECT)?;
    Ok(inspected(&plugin, &blacklist))
}

fn inspected(plugin: &Said, blacklist: &Said) -> GstInspect {
    let value = |line: &str| Some(line.trim().strip_prefix("Version")?.trim().to_owned());
    GstInspect {
        knows_plugin: plugin.success,
        version: plugin.out.lines().find_map(value),
        blacklist: blacklist.out.clone(),
    }
}

/// Whether some mode of the camera leaves room at `rate`, as `swsync cameras` says.
fn headroom(rate: Option<&str>) -> Check {
    const ID: &str = "headroom";
    let rate = rate.unwrap_or("30");
    let program = handover::find("swsync-media");
    let said = programs::ask(&program.to_string_lossy(), &["cameras", "--json", "--fps", rate], CAMERAS);
    let needs = format!("swsync cameras --fps {rate} (program swsync-media)");
    match said {
        Err(why) => Check::unknown(ID, why, needs),
        Ok(said) => match serde_json::from_str::<Value>(&said.out) {
            Ok(json) => judge_cameras(&json, rate),
            Err(_) => Check::unknown(ID, format!("swsync cameras: {}", said.err.trim()), needs),
        },
    }
}

fn judge_cameras(json: &Value, rate: &str) -> Check {
    const ID: &str = "headroom";
    let cameras = json["cameras"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (mut findings, mut seen, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for camera in cameras {
        let model = camera["model"].as_str().unwrap_or("camera");
        let modes = camera["modes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let good = modes.iter().filter(|mode| mode["warning"].is_null()).count();
        if let Some(error) = camera["error"].as_str().filter(|_| modes.is_empty()) {
            unknown.push(format!("{model}: {error}"));
        } else if good == 0 {
            let why = modes.iter().find_map(|mode| mode["warning"].as_str()).unwrap_or("it has no modes");
            findings.push(Problem::LittleHeadroom.finding(
                format!("no mode of {model} leaves room to shift frames at {rate} fps: they cannot be held on the frame grid"),
                format!("swsync cameras --fps {rate}: {why}"),
                "choose a smaller mode, or a lower rate",
            ));
        } else {
            seen.push(format!("{model}: {good} of {} modes leave room at {rate} fps", modes.len()));
        }
    }
    if findings.is_empty() && !unknown.is_empty() {
        return Check::unknown(ID, unknown.join("; "), "the end of the program that has the camera");
    }
    let seen = if seen.is_empty() { "no camera".to_owned() } else { seen.join(", ") };
    Check::found(ID, findings, seen)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use swsync_core::doctor::CheckOutcome;

    use super::*;

    fn state(check: &Check) -> &'static str {
        match check.outcome {
            CheckOutcome::Ok { .. } => "ok",
            CheckOutcome::Found { .. } => "found",
            CheckOutcome::Unknown { .. } => "unknown",
        }
    }

    #[test]
    fn headroom_is_that_of_the_best_mode() {
        let mode = |warning: Option<&str>| json!({ "width": 1, "height": 1, "warning": warning });
        let camera =
            |modes: Vec<Value>| json!({ "cameras": [{ "model": "imx219", "modes": modes, "error": null }] });
        let tight = mode(Some("its headroom is 1.0 %"));
        assert_eq!(state(&judge_cameras(&camera(vec![tight.clone(), mode(None)]), "30")), "ok");
        let check = judge_cameras(&camera(vec![tight]), "60");
        assert_eq!(check.findings()[0].id, "little-headroom");
        assert!(check.findings()[0].found.contains("--fps 60: its headroom is 1.0 %"), "{check:?}");
        let held = json!({ "cameras": [{ "model": "imx219", "modes": [], "error": "in use" }] });
        assert_eq!(state(&judge_cameras(&held, "30")), "unknown");
        assert_eq!(state(&judge_cameras(&json!({ "cameras": [] }), "30")), "ok");
    }

    #[test]
    fn the_version_is_read_from_gst_inspect() {
        let plugin = Said {
            success: true,
            out: "Plugin Details:\n  Name     swsync\n  Version                  0.1.0\n".into(),
            err: String::new(),
        };
        let read = inspected(&plugin, &Said { success: true, out: "none".into(), err: String::new() });
        assert_eq!(
            read,
            GstInspect { knows_plugin: true, version: Some("0.1.0".into()), blacklist: "none".into() }
        );
    }
}
