//! What `swsync doctor --fix` does: only what can do no harm, and comes back as it was with the next start.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use swsync_core::doctor::{Finding, Problem};

use super::User;
use crate::HostRoot;

/// What became of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mended {
    /// It was mended: what was done.
    Done(String),
    /// It was not: why, and the words that do it.
    Not(String),
}

/// Who mends: below which root, as whom, and where GStreamer keeps its registry.
#[derive(Debug, Clone)]
pub struct Mender {
    root: HostRoot,
    user: User,
    registries: Vec<PathBuf>,
    iw: PathBuf,
}

impl Mender {
    /// Mends the host below `root` as `user`; `cache` is the user's folder of caches (`~/.cache`).
    #[must_use]
    pub fn new(root: HostRoot, user: User, cache: Option<PathBuf>) -> Self {
        let registries = cache.into_iter().map(|cache| cache.join("gstreamer-1.0")).collect();
        Self { root, user, registries, iw: "iw".into() }
    }

    /// The same with another program in place of `iw`.
    #[must_use]
    pub fn with_iw(self, iw: impl Into<PathBuf>) -> Self {
        Self { iw: iw.into(), ..self }
    }

    /// Mends `finding`, if that is safe.
    #[must_use]
    pub fn mend(&self, finding: &Finding) -> Mended {
        match Problem::of_id(&finding.id) {
            Some(Problem::CpuGovernorPowersave | Problem::CpuGovernorVaries) => self.governor(finding),
            Some(Problem::WifiPowerSave) => self.power_save(finding),
            Some(Problem::PluginBlacklisted) => self.registry(),
            _ => Mended::Not(format!("it is for you to do: {}", finding.mend)),
        }
    }

    fn needs_root(words: &str) -> Mended {
        Mended::Not(format!("it takes root. Type: sudo swsync doctor --fix, or: {words}"))
    }

    fn governor(&self, finding: &Finding) -> Mended {
        if !self.user.is_root() {
            return Self::needs_root(&finding.mend);
        }
        let folder = self.root.path("/sys/devices/system/cpu");
        let files = fs::read_dir(&folder).into_iter().flatten().flatten();
        let files =
            files.map(|entry| entry.path().join("cpufreq/scaling_governor")).filter(|file| file.is_file());
        let mut set = 0;
        for file in files {
            if let Err(error) = fs::write(&file, "performance") {
                return Mended::Not(format!("{} cannot be written: {error}", file.display()));
            }
            // The kernel takes what its driver knows, and only that.
            let governor = fs::read_to_string(&file).unwrap_or_default();
            if governor.trim() != "performance" {
                return Mended::Not(format!(
                    "{} stays {}: this kernel has no governor `performance`",
                    file.display(),
                    governor.trim()
                ));
            }
            set += 1;
        }
        match set {
            0 => Mended::Not("no CPU has a governor any more".to_owned()),
            _ => Mended::Done(format!(
                "the governor of {set} CPUs is performance, until the next start; for good: sudo apt install cpufrequtils, then \
                 GOVERNOR=performance in /etc/default/cpufrequtils"
            )),
        }
    }

    fn power_save(&self, finding: &Finding) -> Mended {
        let Some((interface, _)) = finding.found.split_once(':') else {
            return Mended::Not(format!("the interface is not known: {}", finding.mend));
        };
        if !self.user.is_root() {
            return Self::needs_root(&format!("sudo iw dev {interface} set power_save off"));
        }
        let asked = Command::new(&self.iw).args(["dev", interface, "set", "power_save", "off"]).output();
        match asked {
            Ok(output) if output.status.success() => Mended::Done(format!(
                "power save of {interface} is off, until it connects again; for good: sudo nmcli connection modify NAME wifi.powersave 2"
            )),
            Ok(output) => Mended::Not(format!("iw: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => {
                Mended::Not(format!("iw cannot be run ({error}): sudo apt install iw, then {}", finding.mend))
            }
        }
    }

    /// GStreamer makes its registry anew when it is missing.
    fn registry(&self) -> Mended {
        let mut removed = Vec::new();
        for entry in self.registries.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("registry.") && name.ends_with(".bin") {
                match fs::remove_file(entry.path()) {
                    Ok(()) => removed.push(entry.path().display().to_string()),
                    Err(error) => {
                        return Mended::Not(format!("{} cannot be removed: {error}", entry.path().display()));
                    }
                }
            }
        }
        match &removed[..] {
            [] => Mended::Not(
                "there is no registry of GStreamer in this user's cache: is GST_REGISTRY set?".to_owned(),
            ),
            removed => {
                Mended::Done(format!("removed {}: GStreamer looks at all plugins again", removed.join(", ")))
            }
        }
    }
}
