//! Twenty healthy hosts.

use crate::host::{FakeHost, pi, pi4};

const X86: &str = "/usr/lib/x86_64-linux-gnu";
const ARM: &str = "/usr/lib/aarch64-linux-gnu";

fn laptop() -> FakeHost {
    FakeHost::new("")
        .file("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc")
        .cpus(8, "intel_pstate", "performance")
        .rtc()
        .hot(61_000)
        .daemon("systemd-timesyn")
        .plugin(&format!("{X86}/gstreamer-1.0"), "0.5")
        .libcamera(X86, "0.5")
}

fn jetson(model: &str) -> FakeHost {
    FakeHost::new(model)
        .cpus(6, "tegra194", "performance")
        .rtc()
        .hot(52_500)
        .daemon("chronyd")
        .video(0, "vi-output, imx219 10-0010")
        .media(0, "NVIDIA Tegra Video Input Device")
        .plugin(&format!("{ARM}/gstreamer-1.0"), "")
}

/// Each with a name.
fn hosts() -> Vec<(&'static str, FakeHost)> {
    vec![
        ("Pi 3, WiFi and a cable of 100 Mbit/s", {
            pi("Raspberry Pi 3 Model B Plus Rev 1.3")
                .wifi("wlan0", false, -61)
                .ethernet("eth0", "100", "full")
        }),
        ("Pi 4, both", pi4()),
        ("Pi 4, WiFi not in use", {
            let host =
                pi("Raspberry Pi 4 Model B Rev 1.5").ethernet("eth0", "1000", "full").wifi_card("wlan0");
            host.file("/sys/class/net/wlan0/operstate", "down")
        }),
        ("Pi 4, bookworm, overlay named", {
            pi4().config("camera_auto_detect=0\ndtoverlay=imx477,cam0\n#start_x=1\n")
        }),
        ("Pi 4, bullseye", {
            let host = pi4().without("/boot/firmware").file("/boot/config.txt", "camera_auto_detect=1\n");
            host.without("/sys/devices/platform/soc")
                .file("/sys/class/hwmon/hwmon1/name", "rpi_volt\n")
                .file("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n")
        }),
        ("Pi 5, clock without battery, chrony", {
            let host =
                pi("Raspberry Pi 5 Model B Rev 1.0").ethernet("eth0", "1000", "full").daemon("chronyd");
            host.file("/sys/class/rtc/rtc0/since_epoch", "97").video(20, "pispbe-input").media(1, "pispbe")
        }),
        ("Pi 5, clock with battery, no network time", {
            pi("Raspberry Pi 5 Model B Rev 1.1").rtc().wifi("wlan0", false, -40).without("/proc/400")
        }),
        ("Pi 5, PTP: ptp4l and phc2sys", {
            let host =
                pi("Raspberry Pi 5 Model B Rev 1.0").ethernet("eth0", "1000", "full").without("/proc/400");
            host.process(500, "ptp4l", &["-i", "eth0"], &[]).process(501, "phc2sys", &["-s", "eth0"], &[])
        }),
        ("Pi 5, timemaster: phc2sys serves chrony", {
            let host =
                pi("Raspberry Pi 5 Model B Rev 1.0").ethernet("eth0", "1000", "full").daemon("chronyd");
            host.process(501, "phc2sys", &["-a", "-E", "ntpshm"], &[]).process(502, "ptp4l", &["-H"], &[])
        }),
        ("Pi 5, as its firmware is called there", {
            let host = pi("Raspberry Pi 5 Model B Rev 1.0")
                .without("/sys/devices/platform/soc")
                .ethernet("eth0", "1000", "full");
            host.file("/sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled", "0\n")
        }),
        ("Zero 2 W", {
            let host = pi("Raspberry Pi Zero 2 W Rev 1.0").wifi("wlan0", false, -66);
            host.file("/proc/meminfo", "MemTotal:         435836 kB\nMemAvailable:     190000 kB")
        }),
        ("Zero 2 W, its camera in use by swsync", {
            let host = pi("Raspberry Pi Zero 2 W Rev 1.0").wifi("wlan0", false, -66);
            let host =
                host.process(900, "gst-launch-1.0", &["swsyncsrc"], &["/dev/video0", "socket:[77001]"]);
            host.file(
                "/proc/net/unix",
                "Num       RefCount Protocol Flags    Type St Inode Path\n\
                 0000000000000000: 00000002 00000000 00010000 0001 01 77001 @swsync/camera /base/soc/i2c0mux/imx219@10\n",
            )
        }),
        ("Compute Module 4, frames arrive", {
            let mut host = pi("Raspberry Pi Compute Module 4 Rev 1.1").ethernet("eth0", "1000", "full");
            host.subject.frames_arrive = true;
            host.process(900, "gst-launch-1.0", &[], &["/dev/video0"])
        }),
        ("Jetson Nano", {
            let host = jetson("NVIDIA Jetson Nano Developer Kit").ethernet("eth0", "1000", "full");
            host.cpus(4, "tegra_cpufreq", "performance")
        }),
        ("Jetson Orin Nano", jetson("NVIDIA Jetson Orin Nano Developer Kit").wifi("wlP1p1s0", false, -55)),
        (
            "laptop",
            laptop()
                .wifi("wlp2s0", false, -50)
                .video(0, "Integrated Camera: Integrated C")
                .media(0, "Integrated Camera"),
        ),
        ("laptop, cameras listed by WirePlumber", {
            let host = laptop().ethernet("enp0s31f6", "1000", "full").video(0, "Integrated Camera");
            host.media(0, "Integrated Camera").process(
                1500,
                "wireplumber",
                &[],
                &["/dev/video0", "/dev/media0"],
            )
        }),
        (
            "server without WiFi and camera",
            laptop().ethernet("eno1", "10000", "full").daemon("ntpd").without("/sys/class/thermal"),
        ),
        ("virtual machine", {
            let host =
                laptop().without("/sys/devices/system/cpu").file("/sys/devices/system/cpu/online", "0");
            let host =
                host.file("/sys/devices/system/clocksource/clocksource0/current_clocksource", "kvm-clock");
            host.ethernet("eth0", "-1", "unknown").process(401, "chronyd", &[], &[]).without("/proc/400")
        }),
        ("openSUSE, lib64, plugin in the user's folder", {
            let host = laptop()
                .without(X86)
                .plugin("/usr/lib64/gstreamer-1.0", "0.4")
                .libcamera("/usr/lib64", "0.4");
            host.ethernet("eth0", "2500", "full").daemon("chronyd").process(401, "chronyd", &[], &[])
        }),
    ]
}

#[test]
fn nothing_is_found_on_twenty_healthy_hosts_and_every_check_is_done() {
    let hosts = hosts();
    assert_eq!(hosts.len(), 20);
    for (name, mut host) in hosts {
        for check in host.examine() {
            assert!(
                matches!(check.outcome, swsync_core::doctor::CheckOutcome::Ok { .. }),
                "{name}: {check:#?}"
            );
        }
        assert_eq!(
            std::fs::read_dir(host.takes()).unwrap().count(),
            0,
            "{name}: nothing is left where the takes go"
        );
    }
}
