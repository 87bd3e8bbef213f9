//! A host for each finding: exactly that one is named, with the file and its value.

use swsync_core::doctor::{Check, CheckOutcome, Problem};
use swsync_host::doctor::{GstInspect, Takes, User, judge_gst_inspect};

use crate::host::{FakeHost, pi, pi4};

const LIB: &str = "/usr/lib/aarch64-linux-gnu";

/// What is wrong, and what the finding has to name: a file and its value.
fn sick() -> Vec<(FakeHost, Problem, &'static str)> {
    use Problem as P;
    let zero = || pi("Raspberry Pi Zero 2 W Rev 1.0");
    vec![
        (zero().wifi("wlan0", true, -50), P::WifiPowerSave, "wlan0: power save is on"),
        (zero().wifi("wlan0", false, -82), P::WifiWeak, "-82 dBm"),
        (
            pi4()
                .file("/sys/class/rfkill/rfkill0/type", "wlan\n")
                .file("/sys/class/rfkill/rfkill0/soft", "1\n"),
            P::WifiBlocked,
            "/sys/class/rfkill/rfkill0/soft: 1",
        ),
        (pi4().ethernet("eth0", "100", "half"), P::EthernetSlow, "/sys/class/net/eth0/duplex: half"),
        (pi4().ethernet("eth0", "10", "full"), P::EthernetSlow, "/sys/class/net/eth0/speed: 10"),
        (
            pi4().cpus(4, "cpufreq-dt", "powersave"),
            P::CpuGovernorPowersave,
            "scaling_governor: powersave (of 4 CPUs)",
        ),
        (
            pi4().cpus(4, "cpufreq-dt", "ondemand"),
            P::CpuGovernorVaries,
            "scaling_governor: ondemand (of 4 CPUs)",
        ),
        // There it is not a fixed frequency.
        (pi4().cpus(4, "intel_pstate", "powersave"), P::CpuGovernorVaries, "scaling_governor: powersave"),
        (
            pi4().file("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"),
            P::SlowClocksource,
            "current_clocksource: hpet",
        ),
        (pi4().firmware("0x1"), P::Undervoltage, "soc:firmware/get_throttled: 0x1"),
        (pi4().firmware("10000"), P::UndervoltageSinceBoot, "get_throttled: 0x10000"),
        (pi4().firmware("4"), P::Throttled, "get_throttled: 0x4"),
        (pi4().firmware("0x80000"), P::ThrottledSinceBoot, "get_throttled: 0x80000"),
        (
            pi4()
                .without("/sys/devices/platform/soc")
                .file("/sys/class/hwmon/hwmon0/name", "rpi_volt")
                .file("/sys/class/hwmon/hwmon0/in0_lcrit_alarm", "1"),
            P::Undervoltage,
            "in0_lcrit_alarm of the hwmon rpi_volt: 1",
        ),
        // rpi_volt clears the firmware's bits.
        (
            pi4().file("/dev/kmsg", "4,812,61230455,-;hwmon hwmon1: Undervoltage detected!\n"),
            P::UndervoltageSinceBoot,
            "the kernel's log: [    61.230455] hwmon hwmon1: Undervoltage detected!",
        ),
        (
            FakeHost::new("NVIDIA Jetson Nano Developer Kit")
                .daemon("chronyd")
                .plugin(&format!("{LIB}/gstreamer-1.0"), "")
                .file("/sys/class/thermal/cooling_device0/type", "thermal-cpufreq-0")
                .file("/sys/class/thermal/cooling_device0/cur_state", "2"),
            P::Throttled,
            "cur_state is not 0",
        ),
        (pi4().hot(84_250), P::TooHot, "sensor of the processor: 84.2 degrees"),
        (
            pi4().process(401, "chronyd", &[], &[]),
            P::TwoClockDaemons,
            "/proc/401/comm: chronyd, /proc/400/comm: systemd-timesyn",
        ),
        (pi4().process(401, "phc2sys", &["-a", "-r"], &[]), P::TwoClockDaemons, "/proc/401/comm: phc2sys"),
        (
            pi4().process(401, "ptp4l", &["-S", "-i", "wlan0"], &[]),
            P::TwoClockDaemons,
            "/proc/401/comm: ptp4l",
        ),
        (pi4().without("/proc/400"), P::NoTimeOfDay, "/sys/class/rtc has no clock"),
        (
            pi4().without("/proc/400").file("/sys/class/rtc/rtc0/since_epoch", "52"),
            P::NoTimeOfDay,
            "/sys/class/rtc/rtc0/since_epoch: 52",
        ),
        (changed(pi4(), |host| host.subject.wall_clock = 86_400), P::WallClockWrong, "86400 s after 1970"),
        // Nobody can write there, root included.
        (
            changed(pi4(), |host| host.subject.takes = Takes::At("/proc/takes".into())),
            P::DiskNotWritable,
            "in /proc",
        ),
        (
            changed(pi4(), |host| host.subject.bytes_per_second = 1 << 60),
            P::DiskNearlyFull,
            "0 s of recording",
        ),
        (
            pi4().file("/proc/meminfo", "MemTotal: 435836 kB\nMemAvailable: 21000 kB"),
            P::MemoryLow,
            "MemAvailable 21504000 bytes",
        ),
        (
            pi4().config("start_x=1\ngpu_mem=128\n"),
            P::LegacyCameraStack,
            "/boot/firmware/config.txt: start_x=1",
        ),
        (
            pi4().config("camera_auto_detect=0\ndtoverlay=vc4-kms-v3d\n"),
            P::CameraNotEnabled,
            "camera_auto_detect=0",
        ),
        (pi4().config("dtparam=audio=on\n"), P::CameraNotEnabled, "has neither"),
        (
            changed(pi4().mode("/dev/video0", 0o660).mode("/dev/media0", 0o660), |host| {
                host.subject.user = User { uid: 4_000, groups: vec![4_000] };
            }),
            P::CameraNotPermitted,
            "has mode 660",
        ),
        (
            pi4().process(700, "motion", &[], &["/dev/null", "/dev/video0"]),
            P::CameraHeld,
            "/proc/700/fd leads to /dev/video0",
        ),
        (
            pi4().process(700, "motion", &[], &["/dev/video0"]).file(
                "/proc/net/unix",
                // A claim, but of another process.
                "0000000000000000: 00000002 00000000 00010000 0001 01 77001 @swsync/camera /base/other\n",
            ),
            P::CameraHeld,
            "/proc/700/fd leads to /dev/video0",
        ),
        (
            locked(pi4().process(701, "rpicam-vid", &[], &[])),
            P::CameraHeld,
            "/proc/locks: rpicam-vid (process 701) has locked /dev/media0",
        ),
        (pi4().without(&format!("{LIB}/gstreamer-1.0")), P::PluginNotFound, "there is no libgstswsync.so in"),
        (
            pi4().plugin("/usr/local/lib/gstreamer-1.0", ""),
            P::PluginTwice,
            "/usr/local/lib/gstreamer-1.0/libgstswsync.so and",
        ),
        (
            pi4().without(&format!("{LIB}/libcamera.so.0.5")).without(&format!("{LIB}/libcamera.so.0.5.1")),
            P::LibcameraMissing,
            "needs libcamera.so.0.5, and no folder",
        ),
        (
            pi4()
                .without(&format!("{LIB}/libcamera.so.0.5"))
                .without(&format!("{LIB}/libcamera.so.0.5.1"))
                .libcamera(LIB, "0.7"),
            P::LibcameraVersion,
            "needs libcamera.so.0.5, and /usr/lib/aarch64-linux-gnu has libcamera.so.0.7",
        ),
    ]
}

fn changed(mut host: FakeHost, change: impl FnOnce(&mut FakeHost)) -> FakeHost {
    change(&mut host);
    host
}

/// Process 701 has locked the media device.
fn locked(host: FakeHost) -> FakeHost {
    use std::os::unix::fs::MetadataExt as _;
    let at = std::fs::metadata(host.path("/dev/media0")).unwrap();
    let (major, minor) = (rustix::fs::major(at.dev()), rustix::fs::minor(at.dev()));
    host.file(
        "/proc/locks",
        &format!("1: POSIX  ADVISORY  WRITE 701 {major:02x}:{minor:02x}:{} 0 EOF\n", at.ino()),
    )
}

#[test]
fn each_sick_host_is_told_what_it_has_and_nothing_else() {
    for (mut host, problem, names) in sick() {
        let checks = host.examine();
        let findings: Vec<_> = checks.iter().flat_map(Check::findings).collect();
        let [finding] = findings[..] else { panic!("{problem}: {findings:#?}") };
        assert_eq!(finding.id, problem.id(), "{finding:#?}");
        assert!(finding.found.contains(names), "{names} is not in {finding:#?}");
        assert!(!finding.mend.is_empty() && !finding.what.is_empty());
    }
}

#[test]
fn every_problem_of_a_host_has_a_sick_host() {
    // Those of GStreamer, of the disk (doctor/disk.rs) and of a network have tests of their own.
    let elsewhere = [
        Problem::PluginBlacklisted,
        Problem::DiskSlow,
        Problem::LittleHeadroom,
        Problem::MulticastLost,
        Problem::TimePortBlocked,
        Problem::RigNameShared,
        Problem::RigKeyDiffers,
        Problem::MixedVersions,
        Problem::DeviceSilent,
        Problem::DeviceIdTaken,
        Problem::ClockNotSynced,
        Problem::DeviceProblem,
    ];
    let set_up: Vec<_> = sick().into_iter().map(|(_, problem, _)| problem).collect();
    for problem in Problem::ALL {
        assert_ne!(set_up.contains(problem), elsewhere.contains(problem), "{problem}");
    }
}

/// The check `id`, whose outcome must be "not known".
fn unknown(host: &mut FakeHost, id: &str) -> (String, String) {
    let check = host.examine().into_iter().find(|check| check.id == id).unwrap();
    match check.outcome {
        CheckOutcome::Unknown { why, needs } => (why, needs),
        other => panic!("{id}: {other:?}"),
    }
}

#[test]
fn what_cannot_be_looked_at_is_not_known() {
    let (why, needs) = unknown(&mut pi("Raspberry Pi Zero 2 W").wifi_card("wlan0"), "wifi");
    assert!(why.contains("wlan0") && needs.starts_with("iw dev wlan0"), "{why}, {needs}");
    let (why, needs) = unknown(&mut pi4().without("/sys/devices/platform/soc"), "power-supply");
    assert!(why.contains("rpi_volt") && needs.contains("vcgencmd"), "{why}, {needs}");
    let (_, needs) = unknown(&mut changed(pi4(), |host| host.subject.takes = Takes::Unknown), "disk");
    assert!(needs.contains("--takes"), "{needs}");
    let busy = changed(pi4(), |host| host.subject.takes = Takes::Busy("take-1 is being recorded".into()));
    assert!(unknown(&mut { busy }, "disk").0.contains("take-1"));
    unknown(&mut pi4().firmware("off"), "power-supply");
    let (why, needs) = unknown(&mut pi4().without("/dev/kmsg"), "power-supply");
    assert!(why.contains("good now") && needs.contains("dmesg_restrict"), "{why}, {needs}");
    unknown(&mut pi4().without("/boot/firmware"), "camera-stack");
    unknown(&mut pi4().without("/proc/meminfo"), "memory");
    unknown(&mut pi4().without("/sys/devices/system/clocksource"), "clocksource");
    unknown(&mut pi4().without(&format!("{LIB}/gstreamer-1.0")), "libcamera");
    // Another user's process, whose files are not shown: it may have the camera.
    let (why, needs) =
        unknown(&mut pi4().process(700, "motion", &[], &[]).without("/proc/700/fd"), "camera-use");
    assert!(why.contains("1 processes") && needs.contains("sudo"), "{why}, {needs}");
}

#[test]
fn what_gst_inspect_says_is_judged() {
    let of = |inspected| judge_gst_inspect(inspected, "0.1.0");
    let good = GstInspect {
        knows_plugin: true,
        version: Some("0.1.0".into()),
        blacklist: "Total count: 0 blacklisted files".into(),
    };
    assert!(matches!(of(Ok(good.clone())).outcome, CheckOutcome::Ok { .. }));
    let ids = |check: Check| check.findings().iter().map(|finding| finding.id.clone()).collect::<Vec<_>>();
    let blacklist =
        "Blacklisted files:\n  /usr/lib/x/gstreamer-1.0/libgstswsync.so\n\nTotal count: 1 blacklisted file\n";
    assert_eq!(
        ids(of(Ok(GstInspect { knows_plugin: false, version: None, blacklist: blacklist.into() }))),
        ["plugin-blacklisted"]
    );
    assert_eq!(ids(of(Ok(GstInspect::default()))), ["plugin-not-found"]);
    assert_eq!(ids(of(Ok(GstInspect { version: Some("0.0.9".into()), ..good }))), ["mixed-versions"]);
    assert!(of(Err("gst-inspect-1.0 is not there".into())).is_unknown());
}
