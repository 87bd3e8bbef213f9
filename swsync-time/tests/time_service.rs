//! Leaders and clients over real UDP on loopback.
//!
//! Bounds on time are round trips measured in the same run, or coarse enough for any machine. Waits have no bound but
//! [`TIMEOUT`].

#[path = "time_service/hostile.rs"]
mod hostile;
#[path = "time_service/networks.rs"]
mod networks;
#[path = "time_service/rigs.rs"]
mod rigs;
#[path = "time_service/support.rs"]
mod support;

use std::net::SocketAddr;

use swsync_core::frame::SyncState;
use swsync_core::time::Span;
use swsync_core::time_service::{ClientConfig, ServerRefusal};
use swsync_time::{Authority, ClockEvent, StampKind, Waiting};

use support::*;

#[test]
fn a_client_syncs_and_reports_everything() {
    let leader = Leader::at("127.0.0.1:0");
    let client = Client::of(&[leader.address()]);
    client.wait_for(SyncState::Synced);
    client.assert_agrees(&leader);
    let [source, own] = [&client.clock, &leader.clock].map(|clock| clock.status().source.unwrap());
    assert_eq!((own.stratum, source.stratum), (0, 1));
    assert_eq!((source.leader, source.timescale), (own.leader, own.timescale));
    let stats = client.stats();
    assert_eq!(stats.progress.address, Some(leader.address()));
    assert_eq!(stats.progress.waiting, Waiting::Nothing);
    assert_eq!(stats.interface.as_deref(), Some("lo"));
    assert_eq!(stats.local.unwrap().ip(), leader.address().ip());
    assert_eq!(stats.stamps.received, Some(StampKind::Kernel), "{stats:?}");
    assert_eq!(stats.stamps.sent, Some(StampKind::Kernel), "{stats:?}");
    let protocol = stats.protocol.unwrap();
    assert!(protocol.interleaved > 0, "{protocol:?}");
    let served = leader.service.stats();
    assert_eq!(served.clients, 1);
    assert!(served.protocol.interleaved > 0, "{served:?}");
    assert!(served.responses > 0 && served.responses <= served.requests, "{served:?}");
    assert_eq!(served.stamps.sent, Some(StampKind::Kernel));
}

#[test]
fn a_leader_that_comes_late_is_found() {
    let address = own_address();
    let client = Client::of(&[address]);
    client.wait_until("it is refused", |client| client.stats().progress.error.is_some());
    assert_eq!(client.clock.quality(), SyncState::Unsynced);
    let leader = Leader::at(&address.to_string());
    client.wait_for(SyncState::Synced);
    client.assert_agrees(&leader);
}

#[test]
fn a_dead_address_costs_little() {
    let leader = Leader::at("127.0.0.1:0");
    let silent = Silent::new();
    let client = Client::of(&[silent.address(), leader.address()]);
    client.wait_for(SyncState::Synced);
    assert_eq!(client.stats().progress.address, Some(leader.address()));
    assert!(silent.heard() > 0, "the silent address is tried first");
    assert!(silent.heard() < 40, "and is given up soon");
}

#[test]
fn another_address_is_tried_when_the_leader_is_gone() {
    let first = Leader::at(&own_address().to_string());
    let address = own_address();
    let client = Client::of(&[first.address(), address]);
    client.wait_for(SyncState::Synced);
    assert_eq!(client.stats().progress.address, Some(first.address()));
    let second = Leader::relaying(&first, &address.to_string());
    client.take_events();
    drop(first.service);
    client.wait_until("it follows the second", |client| client.stats().leader_changes > 0);
    assert_eq!(client.stats().progress.address, Some(second.address()));
    // The second leader has lost its own leader, and says so.
    client.wait_for(SyncState::Holdover);
    client.assert_agrees(&second);
    let events = client.take_events();
    assert!(events.contains(&ClockEvent::LeaderChanged { address: second.address() }), "{events:?}");
    // The same time scale through another server: no step.
    assert!(!events.iter().any(|event| matches!(event, ClockEvent::Stepped { .. })), "{events:?}");
    assert!(!events.contains(&ClockEvent::TimescaleChanged), "{events:?}");
}

#[test]
fn a_restarted_leader_is_another_time_scale() {
    let leader = Leader::at(&own_address().to_string());
    let address = leader.address();
    let client = Client::of(&[address]);
    client.wait_for(SyncState::Synced);
    client.take_events();
    drop(leader);
    client.wait_for(SyncState::Holdover);
    // The stats say what it waits for a moment after the quality.
    client.wait_until("it waits for its leader", |client| {
        client.stats().progress.waiting == Waiting::LeaderAgain
    });
    let leader = Leader::at(&address.to_string());
    client.wait_for(SyncState::Synced);
    client.assert_agrees(&leader);
    assert!(client.take_events().contains(&ClockEvent::TimescaleChanged));
}

#[test]
fn leadership_moves_without_a_step() {
    let first = Leader::at(&own_address().to_string());
    let second = Leader::relaying(&first, &own_address().to_string());
    let upstream = second.client.as_ref().unwrap();
    upstream.wait_for(SyncState::Synced);
    let client = Client::of(&[second.address()]);
    client.wait_for(SyncState::Synced);
    let stratum = |client: &Client| client.stats().protocol.unwrap().upstream.unwrap().stratum;
    assert_eq!(stratum(&client), 2);
    client.take_events();
    let second = second.promoted();
    client.wait_until("the second leads", |client| stratum(client) == 1);
    client.assert_agrees(&second);
    let events = client.take_events();
    let jumps =
        |event: &ClockEvent| matches!(event, ClockEvent::Stepped { .. } | ClockEvent::TimescaleChanged);
    assert!(!events.iter().any(jumps), "{events:?}");
}

#[test]
fn an_unsynced_server_says_so() {
    let silent = Silent::new();
    let leader = Leader::relaying_address(silent.address(), "127.0.0.1:0");
    let client = Client::of(&[leader.address()]);
    client.wait_until("it is reported", |client| {
        client
            .take_events()
            .iter()
            .any(|event| matches!(event, ClockEvent::Refused { refusal: ServerRefusal::Unsynchronized, .. }))
    });
    assert_eq!(client.clock.quality(), SyncState::Unsynced);
}

#[test]
fn a_wrong_key_is_named() {
    let leader = Leader::with_key("127.0.0.1:0", &key(7, 1));
    let client = |key| Client::with(&[leader.address()], ClientConfig { key, ..config() });
    let right = client(Some(key(7, 1)));
    right.wait_for(SyncState::Synced);
    assert!(right.stats().protocol.unwrap().authenticated);
    let wrong = client(Some(key(7, 2)));
    wrong.wait_until("it is reported", |client| {
        client.progress().contains("does not accept key 7: both need the same line in their key files")
    });
    let none = client(None);
    none.wait_until("it is reported", |client| {
        client.progress().contains("has it a key that this client lacks?")
    });
    for client in [wrong, none] {
        assert_eq!(client.clock.quality(), SyncState::Unsynced);
        assert_eq!(client.stats().progress.received, 0);
    }
    assert!(leader.service.stats().protocol.unauthenticated > 0);
}

#[test]
fn ipv6_and_ipv4_are_served_by_one_socket() {
    let leader = Leader::at("[::]:0");
    let v6: &[&str] = if has_ipv6("IPv6 clients") { &["[::1]"] } else { &[] };
    for ip in ["127.0.0.1", "127.0.0.9"].iter().chain(v6) {
        let address: SocketAddr = format!("{ip}:{}", leader.address().port()).parse().unwrap();
        let client = Client::of(&[address]);
        client.wait_for(SyncState::Synced);
        client.assert_agrees(&leader);
        // Kernel stamps in each family, and interleaved responses, which need the leader's stamps.
        let stats = client.stats();
        assert_eq!(
            (stats.stamps.sent, stats.stamps.received),
            (Some(StampKind::Kernel), Some(StampKind::Kernel))
        );
        assert!(stats.protocol.unwrap().interleaved > 0);
    }
    let addresses = leader.service.addresses().unwrap();
    assert!(
        !addresses.is_empty() && addresses.iter().all(|address| address.port() == leader.address().port())
    );
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    // A connected socket receives from its peer alone: an answer from another address would be lost.
    let leader = Leader::at("0.0.0.0:0");
    for last in [2, 77] {
        let client = Client::of(&[SocketAddr::from(([127, 0, 0, last], leader.address().port()))]);
        client.wait_for(SyncState::Synced);
    }
}

#[test]
fn names_are_resolved() {
    let leader = Leader::at("[::]:0");
    let client = Client::named(&[&format!("localhost:{}", leader.address().port())]);
    client.wait_for(SyncState::Synced);
    let progress = client.progress();
    assert!(progress.starts_with("leader localhost:"), "{progress}");
}

#[test]
fn an_unresolved_name_is_reported() {
    // Not a valid name: looking up a valid one could leave this host.
    let client = Client::named(&["[fe80::1%nowhere]:1"]);
    client.wait_until("it is said", |client| {
        client.progress().contains("cannot find [fe80::1%nowhere]:1: there is no network interface nowhere")
    });
    assert_eq!(client.stats().progress.waiting, Waiting::Leader);
}

#[test]
fn a_clock_that_leads_by_a_reference_says_when_it_is_lost() {
    let reference = Rubidium::default();
    let leader = Leader::by_reference(&reference, "127.0.0.1:0");
    let client = Client::of(&[leader.address()]);
    client.wait_for(SyncState::Synced);
    let upstream = client.stats().protocol.unwrap().upstream.unwrap();
    assert_eq!(upstream.stratum, 1);
    let now = client.clock.now().as_nanos();
    let apart = (now - reference.now()).abs();
    assert!(apart < 1_000_000_000, "{apart} ns");
    reference.lose("the antenna is broken");
    leader.wait_until("it is reported", |leader| {
        leader.events.lock().unwrap().iter().any(
        |event| matches!(event, ClockEvent::SourceUnusable { why } if why.contains("the antenna is broken")),
    )
    });
    assert_eq!(leader.clock.quality(), SyncState::Holdover);
}

#[test]
fn no_client_is_synced_by_a_leader_whose_source_is_uncertain() {
    let reference = Rubidium::default();
    reference.set_uncertainty(Span::from_millis(1_900));
    let leader = Leader::by_reference(&reference, &own_address().to_string());
    let client = Client::of(&[leader.address()]);
    client.wait_until("it knows that its leader does not know the time", |client| {
        client
            .take_events()
            .iter()
            .any(|event| matches!(event, ClockEvent::Refused { refusal: ServerRefusal::Unsynchronized, .. }))
    });
    assert_eq!(leader.clock.quality(), SyncState::Acquiring);
    reference.set_uncertainty(Span::from_micros(1));
    client.wait_for(SyncState::Synced);
    reference.set_uncertainty(Span::from_millis(30));
    client.wait_for(SyncState::Holdover);
    assert_eq!(leader.clock.quality(), SyncState::Holdover);
}

/// A leader and two clients, while the source of the leader steps: all clocks that say they are synced agree.
#[test]
fn all_synced_clocks_agree_while_the_source_steps() {
    let reference = Rubidium::default();
    let leader = Leader::by_reference(&reference, &own_address().to_string());
    let clients = [Client::of(&[leader.address()]), Client::of(&[leader.address()])];
    clients.iter().for_each(|client| client.wait_for(SyncState::Synced));
    for by in [Span::from_millis(-300), Span::from_secs(-60), Span::from_millis(500)] {
        clients.iter().for_each(|client| drop(client.take_events()));
        reference.step(by);
        let clocks = || std::iter::once(&leader.clock).chain(clients.iter().map(|client| &client.clock));
        leader.wait_until("the leader has noticed", |leader| leader.clock.quality() == SyncState::Holdover);
        leader.wait_until("all are synced again", |_| {
            let begun = reference.device.now();
            let synced: Vec<_> = clocks()
                .map(|clock| clock.status())
                .filter(|status| status.quality == SyncState::Synced)
                .map(|status| status.rig_time_ns)
                .collect();
            let between = reference.device.now() - begun;
            for (one, other) in synced.iter().zip(synced.iter().skip(1)) {
                assert!((*other - *one).abs() < between + Span::from_millis(5), "{by:?}: {synced:?}");
            }
            synced.len() == 3
        });
        for client in &clients {
            client.assert_agrees(&leader);
            assert!(
                client.take_events().contains(&ClockEvent::TimescaleChanged),
                "the leader says so at once"
            );
        }
    }
}

#[test]
fn everything_ends_at_once() {
    let leader = Leader::at("127.0.0.1:0");
    let silent = Silent::new();
    let clients = [
        Client::of(&[leader.address()]),
        Client::of(&[silent.address()]),
        Client::named(&["[fe80::1%nowhere]:1"]),
        Client::of(&[leader.address()]),
    ];
    clients[3].wait_for(SyncState::Synced);
    // Nothing waits for ever: this test ends. How soon is measured, not asserted.
    let begun = std::time::Instant::now();
    drop(clients);
    drop(leader);
    println!("four clients and a leader ended within {:?}", begun.elapsed());
}

#[test]
fn an_event_may_end_its_client() {
    let leader = Leader::at("127.0.0.1:0");
    let client = Client::ending_itself(&leader);
    client.wait_until("it has ended itself", |client| client.has_ended());
    assert_eq!(leader.authority, Authority::Own);
}

#[test]
fn a_client_whose_device_sleeps_is_not_in_sync_until_it_has_asked_again() {
    let leader = Leader::at("127.0.0.1:0");
    let client = Client::on("offset=3.25s,skew=-20ppm,suspend=2s@6s", leader.address());
    let device = client.clock.device().clone();
    let slept = || device.now_and_slept().slept;
    let before = slept();
    client.wait_for(SyncState::Synced);
    client.wait_until("it falls asleep", |_| slept() - before > Span::from_millis(100));
    assert_eq!(client.clock.quality(), SyncState::Holdover);
    client.wait_until("it wakes up", |_| slept() - before > Span::from_millis(1_990));
    client.wait_for(SyncState::Synced);
    client.assert_agrees(&leader);
    let told = |event: &ClockEvent| match event {
        ClockEvent::Resumed { slept } => Some(*slept),
        _ => None,
    };
    let mut all: Vec<Span> = Vec::new();
    client.wait_until("it has told of all its sleep", |client| {
        all.extend(client.take_events().iter().filter_map(told));
        let sum = all.iter().fold(Span::ZERO, |sum, slept| sum + *slept);
        (sum - Span::from_secs(2)).abs() < Span::from_millis(20)
    });
    assert!(all.len() <= 4, "{all:?}");
}
