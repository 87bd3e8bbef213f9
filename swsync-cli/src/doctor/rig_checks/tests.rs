use std::net::SocketAddr;
use std::time::Instant;

use swsync_client::{Presence, StatusReport};
use swsync_core::doctor::CheckOutcome;
use swsync_core::status::TimeSource;
use swsync_core::time::Span;
use swsync_core::time_service::AdvertKind;

use super::*;
use crate::testing::{name, status};

fn ids(check: &Check) -> Vec<&str> {
    check.findings().iter().map(|finding| finding.id.as_str()).collect()
}

fn is_ok(check: &Check) -> bool {
    matches!(check.outcome, CheckOutcome::Ok { .. })
}

fn snapshot(statuses: Vec<Status>, missed: &[&str]) -> RigSnapshot {
    let now = Instant::now();
    let reports =
        statuses.into_iter().map(|status| StatusReport { status, asked: now, heard: now }).collect();
    let missed = missed.iter().map(|device| (name(device), "lost 7 s ago".to_owned())).collect();
    RigSnapshot::of(Presence { missed, ..Presence::default() }, reports)
}

/// A device that follows a leader.
fn follows(device: &str, timescale: u64, leader: u64) -> Status {
    let mut status = status(device);
    let source = TimeSource { stratum: 1, leader, timescale, least_delay_ns: Span::ZERO };
    status.clock.as_mut().unwrap().source = Some(source);
    status
}

#[test]
fn what_devices_say_of_themselves_is_found() {
    let of = |statuses: Vec<Status>, missed: &[&str]| {
        let snapshot = snapshot(statuses, missed);
        let statuses: Vec<_> = snapshot.reports.iter().map(|report| &report.status).collect();
        devices(&snapshot, &statuses)
    };
    assert!(is_ok(&of(vec![status("a"), status("b")], &[])));
    let silent = of(vec![status("a")], &["b"]);
    assert_eq!(ids(&silent), ["device-silent"]);
    assert!(silent.findings()[0].mend.contains("swsync forget b"), "{silent:?}");
    let mut sick = status("a");
    sick.refused.push("process 7 on pi came with this id too".into());
    sick.problems.push("/takes cannot be written to".into());
    sick.clock.as_mut().unwrap().quality = SyncState::Holdover;
    assert_eq!(ids(&of(vec![sick], &[])), ["device-id-taken", "device-problem", "clock-not-synced"]);
}

fn hub(has_listen: bool, address: &str) -> HubView {
    HubView { place: name("pi0"), has_listen, addresses: vec![address.parse().unwrap()] }
}

#[test]
fn a_rig_that_is_reached_and_not_found_by_multicast_has_lost_it() {
    let connect = RigConfig::new(name("rig"), Vec::new(), vec!["tcp/10.0.0.1:40100".into()]);
    let view = |multicast: &[&str]| InView {
        multicast: multicast.iter().map(|&at| at.into()).collect(),
        ..InView::default()
    };
    let hubs = [hub(false, "10.0.0.1:40100")];
    assert!(is_ok(&multicast(&connect, &hubs, &view(&["tcp/10.0.0.1:40100"]))));
    let lost = multicast(&connect, &hubs, &view(&[]));
    assert_eq!(ids(&lost), ["multicast-lost"]);
    assert!(lost.findings()[0].found.contains("pi0 does not answer though it is reached"), "{lost:?}");
    // Somebody else's rig answers.
    assert_eq!(ids(&multicast(&connect, &hubs, &view(&["tcp/10.0.0.9:40900"]))), ["multicast-lost"]);
    // A second hub of devices that are told the address of the first.
    let fixed = [hub(true, "10.0.0.1:40100"), hub(false, "10.0.0.2:40101")];
    assert!(is_ok(&multicast(&connect, &fixed, &view(&[]))), "it is not used");
    let router = RigConfig::new(name("rig"), Vec::new(), vec!["tcp/10.0.0.1:7447".into()]);
    assert!(multicast(&router, &hubs, &view(&[])).is_unknown(), "behind a router of Zenoh");
    assert!(multicast(&connect, &[], &view(&[])).is_unknown());
}

fn advert(device: &str, addresses: &[&str]) -> TimeAdvert {
    TimeAdvert {
        server: 7,
        device: device.into(),
        kind: AdvertKind::Leads,
        priority: 0,
        clock_class: 2,
        time: None,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        room: 100,
    }
}

#[test]
fn a_time_service_that_does_not_answer_is_blocked() {
    let at: SocketAddr = "10.0.0.1:31123".parse().unwrap();
    let adverts = [advert("pi0", &["10.0.0.1:31123"])];
    let mut server = status("pi0");
    server.clock.as_mut().unwrap().server = Some(7);
    assert!(is_ok(&time_ports(&adverts, &[&server], &[TimeAnswer::Answers(at)])));
    let silent = [TimeAnswer::Silent("udp/10.0.0.1:31123: nothing came back".into())];
    let blocked = time_ports(&adverts, &[&server], &silent);
    assert_eq!(ids(&blocked), ["time-port-blocked"]);
    let finding = &blocked.findings()[0];
    assert!(
        finding.found.ends_with("its status came by TCP") && finding.mend.contains("31123/udp"),
        "{finding:?}"
    );
    assert!(time_ports(&[], &[&server], &[]).is_unknown(), "nobody says where");
    assert!(
        time_ports(&[advert("pi0", &["127.0.0.1:9"])], &[&server], &silent).is_unknown(),
        "it is for its own host"
    );
}

#[test]
fn two_leaders_are_two_rigs() {
    assert!(is_ok(&rig_name(&snapshot(vec![follows("a", 7, 1), follows("b", 7, 1)], &[]))));
    let two = rig_name(&snapshot(vec![follows("a", 7, 1), follows("b", 8, 2)], &[]));
    assert_eq!(ids(&two), ["rig-name-shared"]);
    assert!(
        two.findings()[0].found.contains("on a; ") && two.findings()[0].found.ends_with("on b"),
        "{two:?}"
    );
    assert_eq!(
        ids(&rig_name(&snapshot(vec![follows("a", 7, 1), follows("b", 7, 2)], &[]))),
        ["rig-name-shared"]
    );
}

#[test]
fn keys_that_differ_are_found_from_both_sides() {
    let open = RigConfig::default();
    let folder = tempfile::tempdir().unwrap();
    let key = swsync_client::key_file::create(folder.path().join("rig.key")).unwrap();
    let keyed = RigConfig::default().with_key(Some(key));
    let view = |tls: &[&str], plain: &[&str]| {
        let owned = |list: &[&str]| list.iter().map(|&at| at.to_owned()).collect();
        InView { keyed: owned(tls), open: owned(plain), ..InView::default() }
    };
    let nobody = || Vec::new();
    let somebody = || vec![name("pi4")];
    assert!(is_ok(&keys(&open, &view(&[], &["tcp/a:1"]), &nobody)));
    assert!(is_ok(&keys(&keyed, &view(&["tls/a:1"], &[]), &nobody)));
    assert!(is_ok(&keys(&keyed, &view(&["tls/a:1"], &["tcp/b:1"]), &nobody)), "another rig that is open");
    assert_eq!(ids(&keys(&open, &view(&["tls/a:1"], &["tcp/b:1"]), &nobody)), ["rig-key-differs"]);
    let check = keys(&keyed, &view(&["tls/a:1"], &["tcp/b:1"]), &somebody);
    assert_eq!(ids(&check), ["rig-key-differs"]);
    assert!(check.findings()[0].found.contains("leads to pi4"), "{check:?}");
}

#[test]
fn versions_that_differ_are_listed_with_their_devices() {
    let (a, mut b) = (status("a"), status("b"));
    assert!(is_ok(&versions(&[&a, &b], "0.1.0")));
    b.software = "0.0.9".into();
    let mixed = versions(&[&a, &b], "0.1.0");
    assert_eq!(ids(&mixed), ["mixed-versions"]);
    assert!(mixed.findings()[0].found.contains("0.0.9 on b; 0.1.0 on a; this command: 0.1.0"), "{mixed:?}");
    assert_eq!(ids(&versions(&[&a], "0.2.0")), ["mixed-versions"], "the command's is another");
}

#[test]
fn of_a_rig_that_is_not_reached_nothing_is_well() {
    // Nothing listens there, and no multicast is used.
    let config = RigConfig::new(name("rig"), Vec::new(), vec!["tcp/127.0.0.1:1".into()]);
    let checks = not_reached("nothing answers", &config);
    assert!(checks.iter().filter(|check| check.id != "rig-key").all(Check::is_unknown), "{checks:?}");
}

#[test]
fn many_names_are_shortened() {
    let many: Vec<_> = (0..9).map(|number| format!("pi{number}")).collect();
    assert_eq!(named(many.iter().map(String::as_str)), "pi0, pi1, pi2, pi3, pi4, pi5 and 3 more");
}
