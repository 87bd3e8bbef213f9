//! CPU frequency, the kernel's source of time, and memory.

use std::collections::BTreeMap;
use std::fs;

use swsync_core::doctor::{Check, Problem};

use crate::HostRoot;

/// Drivers whose governor `powersave` follows the load: those that let the processor choose its frequency.
/// (linux: Documentation/admin-guide/pm/intel_pstate.rst, amd-pstate.rst.)
const CHOOSES_BY_ITSELF: [&str; 2] = ["intel_pstate", "amd-pstate-epp"];

/// Sources of time that every processor reads in some tens of nanoseconds, and that do not change with its frequency.
const GOOD_SOURCES: [&str; 8] = [
    "tsc",
    "arch_sys_counter",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "riscv_clocksource",
    "timebase",
    "xen",
    "tegra-tsc",
];

/// Less memory than this left, and encoders or the ring fail soon. Chosen: a picture of 12 Mpx in YUV has 18 MB, and some are in flight.
const LITTLE_MEMORY: u64 = 48 << 20;

/// The cpufreq governor of each CPU.
pub(super) fn governor(root: &HostRoot) -> Check {
    const ID: &str = "cpu-governor";
    let folder = "/sys/devices/system/cpu";
    let cpus = match fs::read_dir(root.path(folder)) {
        Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()),
        Err(error) => {
            return Check::unknown(ID, format!("{folder} cannot be read: {error}"), "a mounted /sys");
        }
    };
    let is_cpu = |name: &String| name.strip_prefix("cpu").is_some_and(|id| id.parse::<u32>().is_ok());
    let mut governors: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for cpu in cpus.filter(is_cpu) {
        let file = |name: &str| root.text(format!("{folder}/{cpu}/cpufreq/{name}"));
        match file("scaling_governor") {
            Ok(Some(governor)) => {
                let driver = file("scaling_driver").ok().flatten().unwrap_or_default();
                governors.entry((governor, driver)).or_default().push(cpu);
            }
            Ok(None) => {}
            Err(error) => {
                let file = format!("{folder}/{cpu}/cpufreq/scaling_governor");
                return Check::unknown(
                    ID,
                    format!("{file} cannot be read: {error}"),
                    format!("permission to read it: sudo cat {file}"),
                );
            }
        }
    }
    if governors.is_empty() {
        return Check::ok(ID, "this kernel does not change the CPU's frequency");
    }
    let mut findings = Vec::new();
    for ((governor, driver), mut cpus) in governors.clone() {
        cpus.sort();
        let found =
            format!("{folder}/{}/cpufreq/scaling_governor: {governor} (of {} CPUs)", cpus[0], cpus.len());
        let mend = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor   # until the next start";
        match governor.as_str() {
            "performance" => {}
            "powersave" if !CHOOSES_BY_ITSELF.contains(&driver.as_str()) => {
                findings.push(Problem::CpuGovernorPowersave.finding(
                    "the CPU stays at its lowest frequency: frames and packets are handled late, and encoders do not keep up",
                    found,
                    mend,
                ));
            }
            _ => findings.push(Problem::CpuGovernorVaries.finding(
                "the CPU's frequency follows its load: the time from a packet's arrival to its time stamp changes with it, by some tens \
                 of microseconds, which the clock cannot tell from the network",
                found,
                mend,
            )),
        }
    }
    Check::found(ID, findings, "performance")
}

/// What the kernel reads the time from.
pub(super) fn clocksource(root: &HostRoot) -> Check {
    const ID: &str = "clocksource";
    let file = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    match root.text(file) {
        Ok(Some(source)) if GOOD_SOURCES.contains(&source.as_str()) => Check::ok(ID, source),
        // Those of small boards are timers of the chip: as good, a little slower.
        Ok(Some(source)) if !["hpet", "acpi_pm", "jiffies", "refined-jiffies"].contains(&source.as_str()) => {
            Check::ok(ID, source)
        }
        Ok(Some(source)) => {
            let finding = Problem::SlowClocksource.finding(
                "the kernel reads the time from a slow or coarse source: each time stamp costs a microsecond or is a tick off",
                format!("{file}: {source}"),
                "sudo dmesg | grep -i clocksource says why the better one (tsc) was given up; often the BIOS or the virtual machine is",
            );
            Check::found(ID, vec![finding], "")
        }
        Ok(None) => Check::unknown(ID, format!("there is no {file}"), "a mounted /sys"),
        Err(error) => Check::unknown(ID, format!("{file} cannot be read: {error}"), "a mounted /sys"),
    }
}

/// Memory that is left.
pub(super) fn memory(root: &HostRoot) -> Check {
    const ID: &str = "memory";
    let text = match root.text("/proc/meminfo") {
        Ok(Some(text)) => text,
        Ok(None) => return Check::unknown(ID, "there is no /proc/meminfo", "a mounted /proc"),
        Err(error) => {
            return Check::unknown(ID, format!("/proc/meminfo cannot be read: {error}"), "a mounted /proc");
        }
    };
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib << 10)
    };
    let Some((available, total)) = value("MemAvailable").zip(value("MemTotal")) else {
        return Check::unknown(ID, "/proc/meminfo lacks MemAvailable or MemTotal", "Linux 3.14 or later");
    };
    let seen = format!("{} of {} MB available", available / 1_000_000, total / 1_000_000);
    let finding = (available < LITTLE_MEMORY).then(|| {
        Problem::MemoryLow.finding(
            "little memory is left: frames cannot be kept, and the kernel may end the pipeline",
            format!("/proc/meminfo: MemAvailable {available} bytes"),
            "end other programs, give swsyncsink a smaller ring-bytes=, or choose a smaller camera mode; `ps aux --sort -rss | head` \
             shows who uses most",
        )
    });
    Check::found(ID, finding.into_iter().collect(), seen)
}
