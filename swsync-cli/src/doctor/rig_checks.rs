//! What is in view of this host, and what follows from the statuses of the devices.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use swsync_client::{HubView, InView, RigConfig, Session};
use swsync_core::doctor::{Check, Finding, Problem};
use swsync_core::frame::SyncState;
use swsync_core::name::DeviceId;
use swsync_core::status::Status;
use swsync_core::time_service::TimeAdvert;

use super::time_port::{self, TimeAnswer};
use crate::orders::RigSnapshot;

/// How often multicast is tried, half a second each: busy WiFi loses some.
const SCOUTS: usize = 6;

/// How long devices have to say where they serve time.
const ADVERTS: Duration = Duration::from_secs(1);

/// How long to look for devices of the same name without the key.
const OTHERS: Duration = Duration::from_secs(3);

/// Most devices that are named in a text.
const NAMED: usize = 6;

const RUNNING: &str = "a running device of the rig; --connect tcp/HOST:PORT if multicast does not reach it";

/// All of them, of a rig that was reached. `config` is how.
pub fn all(session: &Session, snapshot: &RigSnapshot, config: &RigConfig) -> Vec<Check> {
    // These wait for answers: at the same time.
    let (view, adverts) = std::thread::scope(|scope| {
        let view = scope.spawn(|| InView::look(config, SCOUTS));
        let adverts = session.time_services(ADVERTS);
        (view.join().unwrap_or_default(), adverts)
    });
    let statuses: Vec<&Status> = snapshot.reports.iter().map(|report| &report.status).collect();
    vec![
        devices(snapshot, &statuses),
        multicast(config, &session.hub_views(), &view),
        time_ports(&adverts, &statuses, &ask_all(&adverts)),
        rig_name(snapshot),
        keys(config, &view, &|| devices_without_key(config)),
        versions(&statuses, env!("CARGO_PKG_VERSION")),
    ]
}

/// The same of a rig that was not reached, and why not.
pub fn not_reached(why: &str, config: &RigConfig) -> Vec<Check> {
    let view = InView::look(config, SCOUTS);
    let keys = keys(config, &view, &|| devices_without_key(config));
    let unknown = |id: &str| Check::unknown(id, why, RUNNING);
    vec![
        unknown("devices"),
        unknown("multicast"),
        unknown("time-port"),
        unknown("rig-name"),
        keys,
        unknown("versions"),
    ]
}

/// What each device says of itself, and who says nothing.
fn devices(snapshot: &RigSnapshot, statuses: &[&Status]) -> Check {
    const ID: &str = "devices";
    let mut findings = Vec::new();
    for (device, why) in &snapshot.missed {
        findings.push(Problem::DeviceSilent.finding(
            format!("{device} belongs to the rig and does not answer"),
            why,
            format!("start it again; if it is not to come back: swsync forget {device}"),
        ));
    }
    for status in statuses {
        let device = &status.device;
        findings.extend(status.refused.iter().map(|line| {
            Problem::DeviceIdTaken.finding(
                format!("two devices have the id {device}; the later one was refused. Copied SD cards have the same host name"),
                line,
                "sudo hostnamectl set-hostname NAME on one of them, or device-id=NAME",
            )
        }));
        findings.extend(status.problems.iter().map(|line| {
            Problem::DeviceProblem.finding(
                format!("{device} reports a problem"),
                line,
                "what the line says; swsync status shows it too",
            )
        }));
        if let Some(clock) = &status.clock
            && matches!(clock.quality, SyncState::Unsynced | SyncState::Acquiring | SyncState::Holdover)
        {
            findings.push(Problem::ClockNotSynced.finding(
                format!("the clock of {device} is not synced: its frames are not either"),
                format!("its status: clock {}", clock.quality.as_str()),
                "wait some seconds; if it stays so, look at time-port-blocked and wifi-power-save",
            ));
        }
    }
    Check::found(ID, findings, format!("{} answer", statuses.len()))
}

/// Whether the rig is found by multicast.
fn multicast(config: &RigConfig, hubs: &[HubView], view: &InView) -> Check {
    const ID: &str = "multicast";
    let port = |endpoint: &String| endpoint.rsplit_once(':').map(|(_, port)| port.to_owned());
    let answered: BTreeSet<_> = view.multicast.iter().filter_map(port).collect();
    let has_port = |hub: &&HubView, ports: &BTreeSet<String>| {
        hub.addresses.iter().any(|address| ports.contains(&address.port().to_string()))
    };
    if hubs.is_empty() {
        return Check::unknown(ID, "no device of the rig tells how it is found", RUNNING);
    }
    if let Some(hub) = hubs.iter().find(|hub| has_port(hub, &answered)) {
        return Check::ok(ID, format!("{} answers", hub.place));
    }
    if let Some(hub) = hubs.iter().find(|hub| hub.has_listen) {
        return Check::ok(ID, format!("not used: listen= is set on {}", hub.place));
    }
    let told: BTreeSet<_> = config.connect.iter().filter_map(port).collect();
    if !told.is_empty() && !hubs.iter().any(|hub| has_port(&hub, &told)) {
        return Check::unknown(
            ID,
            "the rig is reached through a router that is no device, and devices that are told its address do not answer to multicast",
            "--connect with the address of a device",
        );
    }
    let places: BTreeSet<_> = hubs.iter().map(|hub| hub.place.to_string()).collect();
    let how = if config.is_discovering() {
        "now, though it did when this command began"
    } else {
        "though it is reached at its address"
    };
    let finding = Problem::MulticastLost.finding(
        "multicast does not pass between this host and the rig: devices that are not told addresses do not find each other",
        format!(
            "asked 224.0.0.224:7446 {SCOUTS} times: {} does not answer {how}; {} others do",
            named(places.iter().map(String::as_str)),
            view.multicast.len()
        ),
        "switch off client isolation and IGMP snooping on the access point, or set listen= on one device and connect= on the others \
         (docs/rig.md)",
    );
    Check::found(ID, vec![finding], "")
}

/// Each time service with what came of asking it.
fn ask_all(adverts: &[TimeAdvert]) -> Vec<TimeAnswer> {
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            adverts.iter().map(|advert| scope.spawn(|| time_port::ask(&advert.addresses))).collect();
        let lost = || TimeAnswer::Silent("the thread that asked has panicked".into());
        asked.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
    })
}

/// Whether those who serve time answer.
fn time_ports(adverts: &[TimeAdvert], statuses: &[&Status], answers: &[TimeAnswer]) -> Check {
    const ID: &str = "time-port";
    let (mut findings, mut unknown, mut seen) = (Vec::new(), Vec::new(), 0_usize);
    for (advert, answer) in adverts.iter().zip(answers) {
        let why = match answer {
            TimeAnswer::Answers(_) => {
                seen += 1;
                continue;
            }
            TimeAnswer::Silent(why) => why,
        };
        // A service on loopback is for its own host.
        if advert.addresses.is_empty() || advert.addresses.iter().all(|address| address.ip().is_loopback()) {
            unknown.push(advert.device.clone());
            continue;
        }
        let is_there = statuses
            .iter()
            .any(|status| status.clock.is_some_and(|clock| clock.server == Some(advert.server)));
        let by_tcp = if is_there { "its status came by TCP" } else { "its advert came by TCP" };
        let port = advert.addresses[0].port();
        findings.push(Problem::TimePortBlocked.finding(
            format!("{} serves time, and its UDP port does not answer: clients behind the same firewall cannot follow it", advert.device),
            format!("{why}; {by_tcp}"),
            format!("on {}: sudo ufw allow {port}/udp, or the like of the firewall there; else one between the two drops UDP", advert.device),
        ));
    }
    if findings.is_empty() && !unknown.is_empty() {
        return Check::unknown(
            ID,
            format!("{} serve time on their own host only", named(unknown.iter().map(String::as_str))),
            "swsync doctor on that host",
        );
    }
    if adverts.is_empty() {
        return Check::unknown(
            ID,
            "no device says where it serves time (swsyncclock announce=false, or none)",
            "announce=true",
        );
    }
    Check::found(ID, findings, format!("{seen} time services answer"))
}

/// Whether one rig has this name.
fn rig_name(snapshot: &RigSnapshot) -> Check {
    const ID: &str = "rig-name";
    let scales: Vec<_> = snapshot.common.leaders().collect();
    let leaders: BTreeMap<_, _> = scales
        .iter()
        .flat_map(|(scale, leaders)| {
            leaders.iter().map(move |(leader, devices)| ((*scale, *leader), *devices))
        })
        .collect();
    if leaders.len() < 2 {
        return Check::ok(ID, "one time scale and one leader");
    }
    let each = leaders.iter().map(|((scale, leader), devices)| {
        format!(
            "time scale {scale} of leader {} on {}",
            snapshot.common.leader_name(*leader),
            named(devices.iter().map(DeviceId::as_str))
        )
    });
    let finding = Problem::RigNameShared.finding(
        "two rigs of this name are in view, or one was cut in two: orders are served by a part of the devices only",
        each.collect::<Vec<_>>().join("; "),
        "give one of them another name: rig=NAME on each of its devices (SWSYNC_RIG); if it is one rig, look at multicast-lost",
    );
    Check::found(ID, vec![finding], "")
}

/// Whether all that is in view has a key, or nothing has. `others` looks for devices of this name without the key.
fn keys(config: &RigConfig, view: &InView, others: &dyn Fn() -> Vec<DeviceId>) -> Check {
    const ID: &str = "rig-key";
    let finding: Option<Finding> = match (&config.key, view.keyed.first(), view.open.first()) {
        (None, Some(keyed), _) => Some(Problem::RigKeyDiffers.finding(
            "something in view has a key, and this side has none: devices of this rig that have it cannot be seen from here",
            format!("{keyed} speaks TLS"),
            "if it is of this rig: key-file=, --key-file, SWSYNC_KEY_FILE; if it is another rig, all is well",
        )),
        (Some(key), _, Some(open)) => {
            let seen = others();
            (!seen.is_empty()).then(|| {
                Problem::RigKeyDiffers.finding(
                    "devices of this rig's name have no key: those with one do not see them",
                    format!("{open} is open, and leads to {}; this side has the key {}", named(seen.iter().map(DeviceId::as_str)), key.fingerprint()),
                    "give them the key file (key-file=, SWSYNC_KEY_FILE), or another rig name",
                )
            })
        }
        (None, None, _) | (Some(_), _, None) => None,
    };
    let seen =
        if config.key.is_some() { "all that is in view has a key" } else { "nothing in view has a key" };
    Check::found(ID, finding.into_iter().collect(), seen)
}

/// Devices of the rig's name that have no key.
fn devices_without_key(config: &RigConfig) -> Vec<DeviceId> {
    let open = config.clone().with_key(None);
    Session::visit(&open, OTHERS).map(|session| session.roster(OTHERS)).unwrap_or_default()
}

/// Whether all have one version of swsync, which is `own`.
fn versions(statuses: &[&Status], own: &str) -> Check {
    const ID: &str = "versions";
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for status in statuses {
        versions.entry(&status.software).or_default().push(status.device.as_str());
    }
    let is_alike = versions.keys().all(|version| *version == own);
    let finding = (!is_alike).then(|| {
        let each = versions.iter().map(|(version, devices)| format!("{version} on {}", named(devices.iter().copied())));
        Problem::MixedVersions.finding(
            "different versions of swsync: what one does not know, it leaves out",
            format!("their statuses: {}; this command: {own}", each.collect::<Vec<_>>().join("; ")),
            "install the same version on all: sudo meson install -C build --no-rebuild, and start the pipelines again",
        )
    });
    Check::found(ID, finding.into_iter().collect(), format!("{own} on all"))
}

/// Some names, and how many more there are.
fn named<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    let shown = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
