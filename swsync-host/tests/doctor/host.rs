//! A host that is made of files.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use swsync_core::doctor::Check;
use swsync_core::status::WifiStatus;
use swsync_host::HostRoot;
use swsync_host::doctor::{Subject, Takes, User, examine, plugin_folders};
use tempfile::TempDir;

/// 2026-01-01.
pub const NOW: i64 = 1_767_225_600;

pub struct FakeHost {
    folder: TempDir,
    /// Where the takes go. In memory if there is such a file system: how fast the disk of a test machine is says nothing.
    takes: TempDir,
    pub subject: Subject,
}

fn temporary() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl FakeHost {
    /// A host without cameras and networks, on which nothing is wrong: a Raspberry Pi of this model, or anything else.
    pub fn new(model: &str) -> Self {
        let takes = temporary();
        let subject = Subject {
            takes: Takes::At(takes.path().to_owned()),
            bytes_per_second: 0,
            frames_arrive: false,
            user: User::current(),
            plugin_folders: Vec::new(),
            wifi: Vec::new(),
            wall_clock: NOW,
        };
        let host = Self { folder: temporary(), takes, subject }
            .file("/sys/devices/system/cpu/online", "0-3")
            .file("/sys/devices/system/clocksource/clocksource0/current_clocksource", "arch_sys_counter")
            .file("/sys/class/net/lo/operstate", "unknown")
            .file("/proc/meminfo", "MemTotal:        3884344 kB\nMemFree: 1 kB\nMemAvailable:    3100000 kB")
            .file("/proc/locks", "")
            .file("/dev/kmsg", "6,1,0,-;Booting Linux on physical CPU 0x0\n")
            .process(1, "systemd", &[], &[]);
        if model.is_empty() { host } else { host.file("/proc/device-tree/model", &format!("{model}\0")) }
    }

    pub fn root(&self) -> HostRoot {
        HostRoot::at(self.folder.path())
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root().path(path)
    }

    pub fn takes(&self) -> &Path {
        self.takes.path()
    }

    pub fn file(self, path: &str, text: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub fn without(self, path: &str) -> Self {
        let path = self.path(path);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        self
    }

    pub fn cpus(mut self, count: usize, driver: &str, governor: &str) -> Self {
        for cpu in 0..count {
            let folder = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq");
            self = self.file(&format!("{folder}/scaling_governor"), &format!("{governor}\n"));
            self = self.file(&format!("{folder}/scaling_driver"), &format!("{driver}\n"));
        }
        self
    }

    pub fn process(self, id: u32, name: &str, arguments: &[&str], files: &[&str]) -> Self {
        let line = [name].into_iter().chain(arguments.iter().copied()).collect::<Vec<_>>().join("\0");
        let this = self.file(&format!("/proc/{id}/comm"), &format!("{name}\n"));
        let this = this.file(&format!("/proc/{id}/cmdline"), &format!("{line}\0"));
        let folder = this.path(&format!("/proc/{id}/fd"));
        fs::create_dir_all(&folder).unwrap();
        for (number, file) in files.iter().enumerate() {
            symlink(file, folder.join(number.to_string())).unwrap();
        }
        this
    }

    pub fn daemon(self, name: &str) -> Self {
        self.process(400, name, &[], &[])
    }

    pub fn rtc(self) -> Self {
        self.file("/sys/class/rtc/rtc0/since_epoch", &NOW.to_string())
    }

    pub fn wifi(mut self, interface: &str, power_save: bool, signal: i32) -> Self {
        self.subject.wifi.push(WifiStatus {
            interface: interface.into(),
            power_save: Some(power_save),
            signal_dbm: Some(signal),
            tx_bitrate_bps: None,
        });
        self.wifi_card(interface)
    }

    /// One of which the kernel tells nothing.
    pub fn wifi_card(self, interface: &str) -> Self {
        self.file(&format!("/sys/class/net/{interface}/operstate"), "up")
            .file(&format!("/sys/class/net/{interface}/phy80211/name"), "phy0")
    }

    pub fn ethernet(self, interface: &str, speed: &str, duplex: &str) -> Self {
        let folder = format!("/sys/class/net/{interface}");
        self.file(&format!("{folder}/operstate"), "up\n")
            .file(&format!("{folder}/device/vendor"), "0x1")
            .file(&format!("{folder}/speed"), &format!("{speed}\n"))
            .file(&format!("{folder}/duplex"), &format!("{duplex}\n"))
    }

    pub fn firmware(self, bits: &str) -> Self {
        self.file("/sys/devices/platform/soc/soc:firmware/get_throttled", &format!("{bits}\n"))
    }

    pub fn hot(self, millidegrees: i64) -> Self {
        self.file("/sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
            .file("/sys/class/thermal/thermal_zone0/temp", &format!("{millidegrees}\n"))
    }

    pub fn config(self, text: &str) -> Self {
        self.file("/boot/firmware/config.txt", text)
    }

    pub fn video(self, number: u32, name: &str) -> Self {
        self.file(&format!("/dev/video{number}"), "")
            .file(&format!("/sys/class/video4linux/video{number}/name"), &format!("{name}\n"))
    }

    pub fn media(self, number: u32, model: &str) -> Self {
        self.file(&format!("/dev/media{number}"), "")
            .file(&format!("/sys/bus/media/devices/media{number}/model"), &format!("{model}\n"))
    }

    pub fn mode(self, path: &str, mode: u32) -> Self {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// The plugin, built with this version of libcamera; empty: without.
    pub fn plugin(self, folder: &str, libcamera: &str) -> Self {
        let needs = if libcamera.is_empty() { String::new() } else { format!("\0libcamera.so.{libcamera}") };
        self.file(
            &format!("{folder}/libgstswsync.so"),
            &format!("\u{7f}ELF\0cannot find libcamera.so.x\0libgstreamer-1.0.so.0{needs}\0libc.so.6\0"),
        )
    }

    pub fn libcamera(self, folder: &str, version: &str) -> Self {
        self.file(&format!("{folder}/libcamera.so.{version}"), "")
            .file(&format!("{folder}/libcamera.so.{version}.1"), "")
    }

    pub fn examine(&mut self) -> Vec<Check> {
        let root = self.root();
        self.subject.plugin_folders = plugin_folders(&root, &|_| None);
        examine(&root, &self.subject)
    }

    /// The ids of what is found.
    pub fn found(&mut self) -> Vec<String> {
        self.examine().iter().flat_map(Check::findings).map(|finding| finding.id.clone()).collect()
    }
}

const LIB: &str = "/usr/lib/aarch64-linux-gnu";

/// A Raspberry Pi 4 with a camera, on which nothing is wrong.
pub fn pi4() -> FakeHost {
    pi("Raspberry Pi 4 Model B Rev 1.4").ethernet("eth0", "1000", "full").wifi("wlan0", false, -48)
}

/// A Raspberry Pi of `model` with a camera and no network, on which nothing is wrong.
pub fn pi(model: &str) -> FakeHost {
    FakeHost::new(model)
        .cpus(4, "cpufreq-dt", "performance")
        .firmware("0")
        .hot(48_000)
        .config("# For more options\ncamera_auto_detect=1\ndtoverlay=vc4-kms-v3d\n[all]\n")
        .video(0, "unicam-image")
        .video(10, "bcm2835-codec-decode")
        .media(0, "unicam")
        .daemon("systemd-timesyn")
        .plugin(&format!("{LIB}/gstreamer-1.0"), "0.5")
        .libcamera(LIB, "0.5")
}
