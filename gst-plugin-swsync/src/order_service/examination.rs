//! What `swsync doctor` asks a device: what is wrong with it, its host, and its camera.

use std::fs;
use std::path::{Path, PathBuf};

use gst::prelude::*;
use swsync_core::doctor::{Check, Diagnosis, Problem};
use swsync_core::name::DeviceId;
use swsync_core::status::Status;
use swsync_core::time::{Span, Timestamp};
use swsync_host::HostRoot;
use swsync_host::doctor::{Subject, Takes, User, examine, plugin_folders, wall_clock};
use swsync_host::wifi;
use swsync_rig::host_name;

use super::source_info::all_upstream;

/// A camera whose newest frame is younger than this is in use by this device.
const FRAMES_ARRIVE: Span = Span::from_secs(2);

/// Examines the device with this `status`, whose takes go to `takes`; `element` is the one that serves its orders. Takes up to some
/// seconds.
pub(super) fn diagnose(
    device: DeviceId,
    status: &Status,
    takes: Takes,
    element: Option<gst::Element>,
) -> Diagnosis {
    let root = HostRoot::from_environment();
    let subject = Subject {
        takes,
        bytes_per_second: status.frames.as_ref().map_or(0, |frames| frames.bytes_per_second),
        frames_arrive: frames_arrive(status),
        user: User::current(),
        plugin_folders: own_folder(&root)
            .into_iter()
            .chain(plugin_folders(&root, &|name| std::env::var(name).ok()))
            .collect(),
        wifi: wifi::links(&root),
        wall_clock: wall_clock(),
    };
    let mut checks = examine(&root, &subject);
    checks.push(headroom(element.as_ref()));
    Diagnosis {
        device: Some(device),
        host: host_name(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        checks,
    }
}

fn frames_arrive(status: &Status) -> bool {
    let newest = status.frames.as_ref().map(|frames| frames.newest.rig_time_ns);
    let now = status.clock.map(|clock| clock.rig_time_ns);
    let is_young = |(newest, now): (Timestamp<_>, Timestamp<_>)| now - newest < FRAMES_ARRIVE;
    newest.zip(now).is_some_and(is_young)
}

/// The folder that this plugin was loaded from, by the kernel's list of mapped files.
fn own_folder(root: &HostRoot) -> Option<PathBuf> {
    if !root.is_this_host() {
        return None;
    }
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps
        .lines()
        .find_map(|line| Some(&line[line.find('/').filter(|_| line.ends_with("/libgstswsync.so"))?..]))?;
    Path::new(path).parent().map(Path::to_owned)
}

/// Whether frames can be made short enough, as the aligner of the `swsyncsrc` upstream of `element` has found.
fn headroom(element: Option<&gst::Element>) -> Check {
    const ID: &str = "headroom";
    let elements = element.map(all_upstream).unwrap_or_default();
    let is_source =
        |element: &&gst::Element| element.factory().is_some_and(|factory| factory.name() == "swsyncsrc");
    let Some(source) = elements.iter().find(is_source) else {
        return Check::ok(ID, "frames are not from swsyncsrc, so none is shifted");
    };
    let Some(stats) = source.property::<Option<gst::Structure>>("stats") else {
        return Check::unknown(ID, "the camera has not delivered a frame yet", "a running camera");
    };
    let trouble = stats.get::<String>("trouble").unwrap_or_default();
    let method = stats.get::<String>("align-method").unwrap_or_default();
    let finding = matches!(trouble.as_str(), "little-headroom" | "off-rate" | "exposure-too-long").then(|| {
        Problem::LittleHeadroom.finding(
            "the camera's frames cannot be made short enough to be held on the frame grid",
            format!("property stats of {}: trouble={trouble}", source.name()),
            "swsync cameras --fps RATE shows the modes: choose a smaller one, or a lower rate; or a shorter exposure-time=",
        )
    });
    Check::found(ID, finding.into_iter().collect(), format!("{}: {method}, trouble={trouble}", source.name()))
}
