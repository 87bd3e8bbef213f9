//! The wall clock: who steers it, and where it comes from.

use std::collections::BTreeMap;

use swsync_core::doctor::{Check, Problem};

use super::processes::{Process, Processes};
use crate::HostRoot;

/// 2025-01-01. A wall clock before it has not been set: this program is younger.
const PLAUSIBLE: i64 = 1_735_689_600;

/// The service of a process that steers the wall clock, by what its name and arguments say.
///
/// A daemon may have helper processes of the same name. ptp4l steers a network card's clock, unless time stamps are made by software
/// (`-S`); phc2sys steers the wall clock, unless it is told to steer another clock (`-c`) or to serve a daemon (`-E`).
fn steers(process: &Process) -> Option<&'static str> {
    match process.name.as_str() {
        "chronyd" if !process.has_argument("-x") => Some("chrony"),
        "systemd-timesyn" => Some("systemd-timesyncd"),
        "ntpd" => Some("ntp"),
        "openntpd" => Some("openntpd"),
        "phc2sys" => {
            let serves = process.value_of("-E").is_some_and(|servo| servo != "pi" && servo != "linreg");
            let other = process.value_of("-c").is_some_and(|clock| clock != "CLOCK_REALTIME");
            (!serves && !other).then_some("phc2sys")
        }
        "ptp4l" if process.has_argument("-S") => Some("ptp4l"),
        _ => None,
    }
}

fn steering(processes: &Processes) -> BTreeMap<&'static str, &Process> {
    let mut steering = BTreeMap::new();
    for process in &processes.all {
        if let Some(service) = steers(process) {
            steering.entry(service).or_insert(process);
        }
    }
    steering
}

/// Who steers the wall clock.
pub(super) fn daemons(processes: &Processes) -> Check {
    const ID: &str = "clock-daemons";
    if let Some(why) = &processes.failure {
        return Check::unknown(ID, why, "a mounted /proc");
    }
    let steering = steering(processes);
    let services: Vec<_> = steering.keys().copied().collect();
    let found: Vec<_> =
        steering.values().map(|process| format!("/proc/{}/comm: {}", process.id, process.name)).collect();
    if services.len() < 2 {
        return Check::ok(ID, services.first().map_or("none", |service| *service));
    }
    // The one that keeps better time stays.
    let keep = ["phc2sys", "ptp4l", "chrony"].into_iter().find(|better| services.contains(better));
    let keep = keep.unwrap_or(services[0]);
    let others: Vec<_> = services.iter().filter(|service| **service != keep).copied().collect();
    let finding = Problem::TwoClockDaemons.finding(
        format!(
            "{} steer the wall clock against each other. CLOCK_MONOTONIC, from which swsync's clock is made, gets the rate of both",
            services.join(" and ")
        ),
        found.join(", "),
        format!("sudo systemctl disable --now {}", others.join(" ")),
    );
    Check::found(ID, vec![finding], "")
}

/// Where the time of day comes from, and whether it is plausible.
pub(super) fn time_of_day(root: &HostRoot, processes: &Processes, wall_clock: i64) -> Check {
    const ID: &str = "time-of-day";
    let mut findings = Vec::new();
    if wall_clock < PLAUSIBLE {
        findings.push(Problem::WallClockWrong.finding(
            "the wall clock is plainly wrong: files get wrong dates, and a rig that this device leads begins its time there",
            format!("the wall clock is {wall_clock} s after 1970, before this program was made"),
            "sudo timedatectl set-ntp true, with a network; or sudo date -s 'YYYY-MM-DD hh:mm:ss'",
        ));
    }
    let rtc = Rtc::read(root);
    let daemon = steering(processes).keys().next().copied();
    let seen = match (&rtc, daemon) {
        (Rtc::Set(name), Some(daemon)) => format!("{name} and {daemon}"),
        (Rtc::Set(name), None) => name.clone(),
        (Rtc::Missing(_), Some(daemon)) => daemon.to_owned(),
        (Rtc::Missing(_), None) if processes.failure.is_some() => {
            return Check::unknown(
                ID,
                "there is no real-time clock, and /proc cannot be read",
                "a mounted /proc",
            );
        }
        (Rtc::Missing(why), None) => {
            findings.push(Problem::NoTimeOfDay.finding(
                "this host does not learn the time of day when it starts: a rig that it leads begins its time anywhere, and files of two \
                 days may have the same date",
                format!("{why}, and none of chronyd, systemd-timesyncd, ntpd, phc2sys runs"),
                "sudo timedatectl set-ntp true (with a network), or a real-time clock: a battery on the Raspberry Pi 5, a DS3231 on others",
            ));
            String::new()
        }
    };
    Check::found(ID, findings, seen)
}

/// The real-time clock.
enum Rtc {
    /// There is one, and it has been set.
    Set(String),
    /// There is none, or it has never been set: why.
    Missing(String),
}

impl Rtc {
    fn read(root: &HostRoot) -> Self {
        let names = std::fs::read_dir(root.path("/sys/class/rtc")).into_iter().flatten();
        let mut names: Vec<_> =
            names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        let mut why = "/sys/class/rtc has no clock".to_owned();
        for name in names {
            let file = format!("/sys/class/rtc/{name}/since_epoch");
            match root.text(&file).ok().flatten().and_then(|text| text.parse::<i64>().ok()) {
                Some(seconds) if seconds >= PLAUSIBLE => return Self::Set(name),
                Some(seconds) => why = format!("{file}: {seconds}, so it was never set, or has no battery"),
                None => why = format!("{file} has no time"),
            }
        }
        Self::Missing(why)
    }
}
