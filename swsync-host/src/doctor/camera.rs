//! The cameras of the host: are they enabled, may they be opened, and does somebody have them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use swsync_core::doctor::{Check, Finding, Problem};

use super::processes::{Process, Processes};
use super::{Subject, User};
use crate::HostRoot;

/// Where the firmware of a Raspberry Pi has its settings: since bookworm, and before.
const CONFIG: [&str; 2] = ["/boot/firmware/config.txt", "/boot/config.txt"];

/// Overlays of these names are of cameras.
const SENSORS: [&str; 10] =
    ["imx", "ov", "arducam", "adv7282m", "tc358743", "camera", "mira", "gc2", "ar0", "vc-mipi"];

/// Parts of the names of video devices that are no cameras: codecs, scalers, image processors.
const NO_CAMERAS: [&str; 9] =
    ["codec", "-isp", "isp-", "hevc", "hantro", "rkvdec", "rga", "pispbe", "pisp_be"];

/// Programs that keep the cameras of a desktop open to list them, and take none by that.
const LISTERS: [&str; 4] = ["wireplumber", "pipewire", "pipewire-media-", "udevd"];

/// The settings of a Raspberry Pi's firmware that concern cameras.
pub(super) fn stack(root: &HostRoot) -> Check {
    const ID: &str = "camera-stack";
    let model = root.text("/proc/device-tree/model").ok().flatten().unwrap_or_default();
    if !model.contains("Raspberry Pi") {
        return Check::ok(ID, "no Raspberry Pi: nothing to set");
    }
    for file in CONFIG {
        match root.text(file) {
            // Since bookworm the old place has only a hint to the new one.
            Ok(Some(text)) => return judge_config(ID, file, &text),
            Ok(None) => {}
            Err(error) => {
                return Check::unknown(
                    ID,
                    format!("{file} cannot be read: {error}"),
                    format!("sudo cat {file}"),
                );
            }
        }
    }
    Check::unknown(ID, format!("there is no {}", CONFIG.join(" or ")), "a mounted /boot/firmware")
}

/// The settings that hold: the last one of a name counts. Sections of other models are taken for this one's.
fn judge_config(id: &str, file: &str, text: &str) -> Check {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let (mut legacy, mut detects, mut overlay) = (None, None, None);
    for line in lines {
        let Some((name, value)) = line.split_once('=') else { continue };
        match (name.trim(), value.trim()) {
            ("start_x", value) => legacy = (value == "1").then_some(line),
            ("camera_auto_detect", value) => detects = Some((value == "1", line)),
            ("dtoverlay", value) if SENSORS.iter().any(|sensor| value.starts_with(sensor)) => {
                overlay = Some(value);
            }
            _ => {}
        }
    }
    if let Some(line) = legacy {
        let finding = Problem::LegacyCameraStack.finding(
            "the board is set to the camera stack before libcamera: libcamera sees no camera",
            format!("{file}: {line}"),
            "sudo raspi-config, Interface Options, Legacy Camera: off; or remove start_x=1 there; then restart",
        );
        return Check::found(id, vec![finding], "");
    }
    match (detects, overlay) {
        (_, Some(overlay)) => Check::ok(id, format!("dtoverlay={overlay}")),
        (Some((true, _)), None) => Check::ok(id, "camera_auto_detect=1"),
        // The firmware looks for none unless it is told to; a USB camera needs neither.
        (Some((false, line)), None) => {
            Check::found(id, vec![not_enabled(format!("{file}: {line}, and no dtoverlay of a camera"))], "")
        }
        (None, None) => Check::found(
            id,
            vec![not_enabled(format!("{file} has neither camera_auto_detect=1 nor a dtoverlay of a camera"))],
            "",
        ),
    }
}

fn not_enabled(found: String) -> Finding {
    Problem::CameraNotEnabled.finding(
        "the board neither looks for camera modules nor names one (USB cameras work)",
        found,
        "echo camera_auto_detect=1 | sudo tee -a /boot/firmware/config.txt, then restart; modules of other makers take a dtoverlay=",
    )
}

/// A device of the kernel that cameras have.
struct CameraNode {
    /// As `/dev/video0`.
    path: String,
    /// What the driver calls it.
    name: String,
}

/// The cameras' nodes below `/dev`, sorted: capture devices, and all media devices.
fn nodes(root: &HostRoot) -> Vec<CameraNode> {
    let entries = fs::read_dir(root.path("/dev")).into_iter().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    let is_numbered =
        |name: &str, kind: &str| name.strip_prefix(kind).is_some_and(|rest| rest.parse::<u32>().is_ok());
    let read = |node: String| {
        let file = if is_numbered(&node, "video") {
            format!("/sys/class/video4linux/{node}/name")
        } else if is_numbered(&node, "media") {
            format!("/sys/bus/media/devices/{node}/model")
        } else {
            return None;
        };
        let name = root.text(file).ok().flatten().unwrap_or_default();
        let is_camera = !NO_CAMERAS.iter().any(|part| name.contains(part));
        is_camera.then(|| CameraNode { path: format!("/dev/{node}"), name })
    };
    names.into_iter().filter_map(read).collect()
}

/// Whether `user` may open the cameras.
pub(super) fn permission(root: &HostRoot, user: &User) -> Check {
    const ID: &str = "camera-permission";
    let nodes = nodes(root);
    let mut closed = Vec::new();
    for node in &nodes {
        let Ok(at) = fs::metadata(root.path(&node.path)) else { continue };
        let wanted = if user.is_root() {
            0
        } else if at.uid() == user.uid {
            0o600
        } else if user.groups.contains(&at.gid()) {
            0o060
        } else {
            0o006
        };
        if at.mode() & wanted != wanted {
            closed.push((node.path.clone(), at.mode() & 0o777, at.gid()));
        }
    }
    let finding = closed.first().map(|(path, mode, gid)| {
        Problem::CameraNotPermitted.finding(
            "this user may not open the cameras",
            format!(
                "{path} (and {} others) has mode {mode:o} and group {gid}, and user {} is not in it",
                closed.len() - 1,
                user.uid
            ),
            "sudo usermod -a -G video \"$USER\", then log in again",
        )
    });
    let seen = if nodes.is_empty() {
        "there are no video devices".into()
    } else {
        format!("{} devices", nodes.len())
    };
    Check::found(ID, finding.into_iter().collect(), seen)
}

/// Whether another program has a camera.
///
/// Who uses a camera through libcamera holds a lock on its media device, which `/proc/locks` shows to everyone; a pipeline of swsync also
/// holds an abstract socket named after the camera. A program that uses a video device directly has it open, which only root sees of
/// other users' programs.
pub(super) fn holder(root: &HostRoot, processes: &Processes, subject: &Subject) -> Check {
    const ID: &str = "camera-use";
    if subject.frames_arrive {
        return Check::ok(ID, "this device has its camera: frames arrive");
    }
    let nodes = nodes(root);
    if nodes.is_empty() {
        return Check::ok(ID, "there are no video devices");
    }
    if let Some(why) = &processes.failure {
        return Check::unknown(ID, why, "a mounted /proc");
    }
    let claims = claims(root);
    let mut findings = lock_holders(root, &nodes, processes, &claims);
    let mut own = Vec::new();
    for process in &processes.all {
        if process.id == std::process::id() || LISTERS.contains(&process.name.as_str()) {
            continue;
        }
        let files = process.files.as_deref().unwrap_or_default();
        let Some(node) = nodes.iter().find(|node| files.iter().any(|file| file == Path::new(&node.path)))
        else {
            continue;
        };
        if has_claim(process, &claims) {
            own.push(process.shown());
        } else if !findings.iter().any(|finding: &Finding| finding.found.contains(&process.shown())) {
            findings.push(held(
                process.shown(),
                format!("/proc/{}/fd leads to {} ({})", process.id, node.path, node.name),
                process.id,
            ));
        }
    }
    let closed = processes.closed();
    if findings.is_empty() && closed > 0 {
        return Check::unknown(
            ID,
            format!(
                "nobody uses a camera through libcamera, but the open files of {closed} processes of other users are not shown"
            ),
            "sudo swsync doctor",
        );
    }
    let seen = if own.is_empty() {
        "free".to_owned()
    } else {
        format!("in use by a pipeline of swsync: {}", own.join(", "))
    };
    Check::found(ID, findings, seen)
}

fn held(who: String, found: String, id: u32) -> Finding {
    Problem::CameraHeld.finding(
        format!("{who} has the camera: swsyncsrc cannot open it"),
        found,
        format!("end it: kill {id}; if a service started it: systemctl status {id} says which"),
    )
}

/// Inodes of the sockets by which pipelines of swsync claim cameras (`gst-plugin-swsync/src/camera/claim.rs`).
fn claims(root: &HostRoot) -> Vec<String> {
    let sockets = root.text("/proc/net/unix").ok().flatten().unwrap_or_default();
    let claims = sockets.lines().filter_map(|line| {
        let (fields, name) = line.split_once(" @swsync/")?;
        // "swsync/camera ID", or a hash of a long one.
        let is_camera = name.starts_with("camera ") || name.len() == 64;
        is_camera.then(|| fields.split_whitespace().last().map(str::to_owned))?
    });
    claims.collect()
}

fn has_claim(process: &Process, claims: &[String]) -> bool {
    let files = process.files.as_deref().unwrap_or_default();
    claims.iter().any(|inode| files.iter().any(|file| file == Path::new(&format!("socket:[{inode}]"))))
}

/// Who holds a lock on a media device (proc_locks(5)) and no claim.
fn lock_holders(
    root: &HostRoot,
    nodes: &[CameraNode],
    processes: &Processes,
    claims: &[String],
) -> Vec<Finding> {
    let locks = root.text("/proc/locks").ok().flatten().unwrap_or_default();
    let mut findings = Vec::new();
    for node in nodes {
        let Ok(at) = fs::metadata(root.path(&node.path)) else { continue };
        let (major, minor) = (rustix::fs::major(at.dev()), rustix::fs::minor(at.dev()));
        let inode = format!("{major:02x}:{minor:02x}:{}", at.ino());
        let holder = locks.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [_, "POSIX", _, _, id, of, ..] if of == inode => id.parse::<u32>().ok(),
            _ => None,
        });
        let Some(id) = holder.filter(|id| *id != std::process::id()) else { continue };
        let process = processes.all.iter().find(|process| process.id == id);
        // Whose sockets are not shown cannot be told from a pipeline of swsync; but its claim is there.
        let is_own = match process {
            Some(process) if process.files.is_some() => has_claim(process, claims),
            _ => !claims.is_empty(),
        };
        if !is_own {
            let who = process.map_or_else(|| format!("process {id}"), Process::shown);
            findings.push(held(
                who.clone(),
                format!("/proc/locks: {who} has locked {} ({})", node.path, node.name),
                id,
            ));
        }
    }
    findings
}
