//! The sources of time of `swsyncclock`, and its `stats`.

mod common;

use std::net::TcpListener;

use common::{Pipeline, leader};
use gst::prelude::*;

const KEY: &str = "HEX:000102030405060708090a0b0c0d0e0f";
const OTHER_KEY: &str = "HEX:f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";

fn launch(properties: &str) -> Pipeline {
    Pipeline::launch(&format!("swsyncclock name=c burst=20 {properties}"))
}

fn address(leader: &Pipeline) -> String {
    leader.element("c").property::<Option<String>>("address").expect("a started leader has one")
}

fn stats(pipeline: &Pipeline) -> gst::Structure {
    pipeline.element("c").property("stats")
}

fn assert_synced(pipeline: &Pipeline) {
    pipeline.reach(gst::State::Paused);
    assert!(pipeline.element("c").property::<bool>("synced"));
}

#[test]
fn a_client_finds_the_leader_that_announces_itself() {
    // A port that is free just now.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let leader = launch(&format!(
        "role=leader rig=discovery bind-address=127.0.0.1 port=0 listen=tcp/127.0.0.1:{port}"
    ));
    leader.reach(gst::State::Playing);
    let client = launch(&format!("role=client rig=discovery connect=tcp/127.0.0.1:{port}"));
    assert_synced(&client);
    assert_eq!(stats(&client).get::<String>("leader-address").unwrap(), address(&leader));
}

#[test]
fn the_error_says_that_no_leader_was_found() {
    let client = launch("role=client rig=lonely connect=tcp/127.0.0.1:9 sync-timeout=2000000000");
    let error = client.try_reach(gst::State::Paused).unwrap_err();
    for part in ["role=auto or leader", "the time of rig lonely", "leader=host[:port]"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn an_ntp_server_is_followed_and_served_on() {
    let (leader, at) = leader();
    let relay =
        launch(&format!("role=leader source=ntp leader={at} announce=false bind-address=127.0.0.1 port=0"));
    assert_synced(&relay);
    let client = launch(&format!("role=client leader={}", address(&relay)));
    assert_synced(&client);
    assert_eq!(stats(&client).get::<u32>("leader-stratum").unwrap(), 2);
    assert!(stats(&relay).get::<u64>("served-responses").unwrap() > 0);
    assert!(stats(&leader).get::<u64>("served-clients").unwrap() > 0);
}

#[test]
fn keys_have_to_be_the_same() {
    let leader = launch(&format!("role=leader bind-address=127.0.0.1 port=0 key={KEY}"));
    leader.reach(gst::State::Paused);
    let at = address(&leader);
    let friend = launch(&format!("role=client leader={at} key={KEY}"));
    assert_synced(&friend);
    assert!(stats(&friend).get::<bool>("authenticated").unwrap());
    for stranger in [String::new(), format!("key={OTHER_KEY}"), format!("key={KEY} key-id=2")] {
        let client = launch(&format!("role=client leader={at} wait-sync=false {stranger}"));
        client.reach(gst::State::Paused);
        common::eventually("the reason is known", || last_error(&client).contains("key"));
        assert!(!client.element("c").property::<bool>("synced"));
    }
    // The application gets a warning as well.
    let client = launch(&format!("role=client leader={at} wait-sync=false"));
    client.reach(gst::State::Paused);
    let warning = client.wait_for("a warning", |message| match message.view() {
        gst::MessageView::Warning(warning) => Some(warning.error().to_string()),
        _ => None,
    });
    assert!(warning.contains("key"), "{warning}");
}

/// The last error in `stats`.
fn last_error(pipeline: &Pipeline) -> String {
    stats(pipeline).get::<Option<String>>("last-error").unwrap().unwrap_or_default()
}

#[test]
fn the_system_clock_is_followed_if_it_is_in_sync() {
    let client = launch("role=client source=system wait-sync=false");
    client.reach(gst::State::Paused);
    let element = client.element("c");
    // If nothing keeps this machine's clock in sync, the error says that.
    let unkept = || ["chrony", "STA_UNSYNC"].iter().all(|part| last_error(&client).contains(part));
    common::eventually("it is known", || element.property("synced") || unkept());
    if element.property("synced") {
        let wall = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
        let rig = i64::try_from(element.provide_clock().unwrap().time().nseconds()).unwrap();
        assert!((rig - wall).abs() < 1_000_000_000, "{rig} {wall}");
    }
}

#[test]
fn stats_have_what_an_operator_asks_for() {
    let (leader, at) = leader();
    let client = launch(&format!("role=client leader={at}"));
    assert_synced(&client);
    let stats = stats(&client);
    assert_eq!(stats.name(), "application/x-swsync-clock-stats");
    assert_eq!(stats.get::<String>("state").unwrap(), "synced");
    for (field, least) in [
        ("since", 1),
        ("rig-time", 1_600_000_000_000_000_000),
        ("uncertainty", 0),
        ("asymmetry-bound", 1),
        ("last-round-trip", 1),
        ("least-round-trip", 1),
        ("mean-round-trip", 1),
        ("poll-interval", 1),
        ("slewed", 0),
        ("leader-uncertainty", 0),
    ] {
        let value = stats.get::<i64>(field).unwrap_or_else(|error| panic!("{field}: {error}"));
        assert!(value >= least, "{field}: {value}");
    }
    for field in ["requests", "responses"] {
        // How many it takes to be synced depends on the estimator.
        assert!(stats.get::<u64>(field).unwrap() >= 5, "{field}: {stats}");
    }
    assert_eq!(stats.get::<String>("interface").unwrap(), "lo");
    assert_eq!(stats.get::<String>("receive-timestamps").unwrap(), "kernel");
    let bound: i64 = client.element("c").property("asymmetry-bound");
    assert!(bound > 0, "{bound}");
    // A leader knows the time by definition; an element in NULL has no stats.
    let of_leader: gst::Structure = leader.element("c").property("stats");
    assert_eq!(of_leader.get::<i64>("asymmetry-bound").unwrap(), 0);
    client.reach(gst::State::Null);
    assert!(client.element("c").property::<Option<gst::Structure>>("stats").is_none());
}
