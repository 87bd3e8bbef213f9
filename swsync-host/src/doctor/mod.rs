//! What is wrong with a host, as far as its own files tell: the checks of `swsync doctor` that need no network.
//!
//! Each check is a function of a [`HostRoot`], and of what a [`Subject`] adds that no file has. It reads only, but for [`disk`], which
//! writes a small file where the takes go, and removes it. What it finds are [`swsync_core::doctor::Problem`]s.
//!
//! [`mend`] does what `--fix` does.

mod camera;
mod clock;
mod cpu;
mod disk;
mod kernel_log;
pub mod mend;
mod network;
mod plugin;
mod power;
mod processes;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use swsync_core::doctor::Check;
use swsync_core::status::WifiStatus;

use crate::HostRoot;
pub use kernel_log::KernelLog;
pub use plugin::{GstInspect, judge_gst_inspect, plugin_folders};

/// A user of the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// User id; 0 is root.
    pub uid: u32,
    /// Ids of the user's groups.
    pub groups: Vec<u32>,
}

impl User {
    /// The user that runs this process.
    #[must_use]
    pub fn current() -> Self {
        let mut groups: Vec<u32> = match rustix::process::getgroups() {
            Ok(groups) => groups.into_iter().map(rustix::process::Gid::as_raw).collect(),
            Err(_) => Vec::new(),
        };
        groups.push(rustix::process::getegid().as_raw());
        Self { uid: rustix::process::geteuid().as_raw(), groups }
    }

    /// Whether it is root.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.uid == 0
    }
}

/// Where a device's takes go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Takes {
    /// It is not known.
    #[default]
    Unknown,
    /// This device writes none.
    None,
    /// Into this folder, as this process sees it.
    At(PathBuf),
    /// The disk is needed for something else now: for what.
    Busy(String),
}

/// What the checks need to know and no file of the host has.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// Where the takes go.
    pub takes: Takes,
    /// Bytes of frames per second that the device has; zero if it has none yet.
    pub bytes_per_second: u64,
    /// Whether frames of the device's camera arrive: then nobody else has the camera.
    pub frames_arrive: bool,
    /// Who would open cameras.
    pub user: User,
    /// Folders in which GStreamer looks for plugins, the first one first, as paths of the host.
    pub plugin_folders: Vec<PathBuf>,
    /// The WiFi links, of which no file tells all: [`crate::wifi::links`].
    pub wifi: Vec<WifiStatus>,
    /// The wall clock, in seconds since the Unix epoch.
    pub wall_clock: i64,
}

/// The wall clock, in seconds since the Unix epoch.
#[must_use]
pub fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Examines the host. Takes up to some seconds: a slow disk takes its time.
#[must_use]
pub fn examine(root: &HostRoot, subject: &Subject) -> Vec<Check> {
    let processes = processes::Processes::read(root);
    vec![
        network::wifi(root, &subject.wifi),
        network::ethernet(root),
        cpu::governor(root),
        cpu::clocksource(root),
        power::supply(root, &KernelLog::read(root)),
        power::temperature(root),
        cpu::memory(root),
        clock::daemons(&processes),
        clock::time_of_day(root, &processes, subject.wall_clock),
        disk::disk(root, subject),
        camera::stack(root),
        camera::permission(root, &subject.user),
        camera::holder(root, &processes, subject),
        plugin::plugin(root, &subject.plugin_folders),
        plugin::libcamera(root, &subject.plugin_folders),
    ]
}
