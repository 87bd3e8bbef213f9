//! From nothing to synced, through silence and steps.

use crate::ntp::rig_id;
use crate::servo::Adjustment;
use crate::time::{Local, Rig, Span, Timestamp};
use crate::time_service::SyncState;
use crate::time_service::testing::{World, at_s, identity};
use crate::time_service::{ClientConfig, ClockUpdate, Identity, Server, ServerConfig, ServerStatus};

fn world(ppm: f64) -> World {
    let mut world = World::new(77, ClientConfig::default());
    world.link.ppm = ppm;
    world
}

/// Another leader goes on in the same time scale.
fn succeed(world: &mut World, device: u64) {
    let Identity { rig, timescale, .. } = identity(1);
    world.status = ServerStatus::leading(&Identity { rig, device, timescale }, Timestamp::ZERO);
}

/// Replaces the leader by one that knows nothing of the old one.
fn restart(world: &mut World, device: u64) {
    world.server = Server::new(ServerConfig::default());
    world.status = ServerStatus::leading(&identity(device), Timestamp::ZERO);
}

#[test]
fn a_client_syncs_within_the_burst_and_holds() {
    let mut world = world(40.0);
    assert_eq!(world.quality(), SyncState::Unsynced);
    world.run_until(at_s(0.1));
    assert_eq!(world.quality(), SyncState::Acquiring);
    world.run_until(at_s(1.5));
    assert_eq!(world.quality(), SyncState::Synced);
    for second in 2..60 {
        world.run_until(at_s(f64::from(second)));
        assert!(world.error().abs() < Span::from_micros(120), "at {second} s: {:?}", world.error());
    }
}

#[test]
fn a_bad_crystal_is_followed() {
    for ppm in [-400.0, 400.0] {
        let mut world = world(ppm);
        world.run_until(at_s(60.0));
        assert_eq!(world.quality(), SyncState::Synced);
        assert!(world.error().abs() < Span::from_micros(60), "{ppm}: {:?}", world.error());
        let skew = world.stats().skew.unwrap();
        assert!((skew.as_ppm() - ppm).abs() < 3.0, "{skew:?}");
    }
}

#[test]
fn the_clock_does_not_step_once_synced() {
    let mut world = world(-40.0);
    world.run_until(at_s(30.0));
    let mut synced = world.updates.iter().skip_while(|(_, u)| u.quality != SyncState::Synced);
    let &(_, mut before) = synced.next().unwrap();
    for (at, update) in synced {
        let jump = update.map.rig_at(*at) - before.map.rig_at(*at);
        assert!(jump.abs() < Span::from_nanos(3), "{jump:?} at {at:?}");
        before = *update;
    }
}

#[test]
fn a_silent_leader_causes_holdover_until_it_is_heard_again() {
    let mut world = world(20.0);
    world.run_until(at_s(40.0));
    world.up = false;
    world.run_until(at_s(42.5));
    assert_eq!(world.quality(), SyncState::Synced);
    world.run_until(at_s(44.0));
    assert_eq!(world.quality(), SyncState::Holdover);
    let at_first = world.last().uncertainty_at(world.now);
    world.run_until(at_s(60.0));
    assert!(world.error().abs() < Span::from_micros(100), "{:?}", world.error());
    assert!(world.last().uncertainty_at(world.now) > at_first);
    assert!(world.rate() <= 2, "{}", world.rate());
    world.up = true;
    world.run_until(at_s(62.0));
    assert_eq!(world.quality(), SyncState::Synced);
    assert_eq!(world.steps(), []);
}

#[test]
fn a_leader_that_comes_late_is_found() {
    let mut world = world(20.0);
    world.up = false;
    world.run_until(at_s(30.0));
    assert_eq!(world.quality(), SyncState::Unsynced);
    assert!(world.sent.len() < 45, "{}", world.sent.len());
    world.up = true;
    world.run_until(at_s(32.5));
    assert_eq!(world.quality(), SyncState::Synced);
}

/// Applies `change` at 20 s and checks that the clock never reads less than before.
fn monotonic_through(world: &mut World, change: impl FnOnce(&mut World)) {
    world.run_until(at_s(20.0));
    let begun = world.updates.len();
    change(world);
    world.run_until(at_s(40.0));
    let mut last = Timestamp::<Rig>::ZERO;
    let mut map = world.updates[begun - 1].1.map;
    let mut check = |map: &crate::servo::ClockMap, at: Timestamp<Local>| {
        let reading = map.rig_at(at);
        assert!(reading >= last, "{reading:?} after {last:?}");
        last = reading;
    };
    let mut before = at_s(20.0);
    for (at, update) in &world.updates[begun..] {
        check(&map, before + (*at - before) / 2);
        check(&map, *at);
        check(&update.map, *at);
        (before, map) = (*at, update.map);
    }
}

#[test]
fn a_restarted_leader_is_followed_by_slewing_only() {
    let mut world = world(0.0);
    monotonic_through(&mut world, |world| {
        restart(world, 2);
        world.link.offset += Span::from_millis(1);
    });
    assert!(world.error().abs() < Span::from_micros(150), "{:?}", world.error());
    assert_eq!(world.steps(), []);
    assert_eq!(world.stats().resets, 1);
    assert_eq!(world.last().source().unwrap().leader, 2);
    assert!(
        (world.stats().slewed - Span::from_millis(1)).abs() < Span::from_micros(400),
        "{:?}",
        world.stats()
    );
}

#[test]
fn a_large_error_is_stepped_over_once_it_is_certain() {
    for by in [Span::from_millis(400), Span::from_millis(-400), Span::from_millis(-1_900)] {
        let mut world = world(20.0);
        monotonic_through(&mut world, |world| world.link.offset += by);
        assert_eq!(world.quality(), SyncState::Synced);
        assert!(world.error().abs() < Span::from_micros(150), "{:?}", world.error());
        let [Adjustment::Stepped { by: stepped, held }] = world.steps()[..] else {
            panic!("{:?}", world.steps());
        };
        assert!((stepped - by).abs() < Span::from_millis(1), "{stepped:?}");
        assert!((held - (-by).max(Span::ZERO)).abs() < Span::from_millis(1), "{held:?}");
        assert_eq!(world.stats().steps, 1);
    }
}

/// The client's own wake-ups publish the end of a hold.
#[test]
fn a_clock_is_never_synced_while_it_is_held_or_known_to_be_wrong() {
    for by_ms in [-1_900, -400, -15, -9, -3, 3, 9, 15, 400, 1_900] {
        let mut world = world(20.0);
        world.run_until(at_s(20.0));
        restart(&mut world, 2);
        world.link.offset += Span::from_millis(by_ms);
        let begun = world.updates.len();
        // Slewing 15 ms at 500 ppm takes 30 s.
        world.run_until(at_s(55.0));
        let mut heard = false;
        for (at, update) in &world.updates[begun..] {
            heard |= update.quality == SyncState::Holdover;
            let error = (update.map.rig_at(*at) - world.link.truth(*at)).abs();
            if heard && update.quality == SyncState::Synced {
                assert!(error < Span::from_micros(1_200), "{by_ms} ms: {error:?} at {at:?}");
                assert_eq!(update.map.held_at(*at), Span::ZERO);
            }
        }
        assert!(heard && world.quality() == SyncState::Synced, "{by_ms}");
    }
}

#[test]
fn a_leader_with_another_wall_clock_makes_the_clock_begin_anew() {
    for by_s in [-3_600, -5, 5, 3_600] {
        let mut world = world(20.0);
        world.run_until(at_s(20.0));
        world.up = false;
        world.run_until(at_s(25.0));
        world.up = true;
        restart(&mut world, 2);
        let by = Span::from_secs(by_s);
        world.link.offset += by;
        let begun = world.updates.len();
        // The client polls once a second by then, and the burst takes a second.
        world.run_until(at_s(28.5));
        let began = |update: &ClockUpdate| matches!(update.adjustment, Some(Adjustment::Began { .. }));
        let beginnings: Vec<_> = world.updates.iter().filter(|(_, update)| began(update)).collect();
        let [(_, ClockUpdate { adjustment: Some(Adjustment::Began { by: stated }), .. })] = beginnings[..]
        else {
            panic!("{by_s}: {beginnings:?}");
        };
        assert!((*stated - by).abs() < Span::from_millis(1), "{stated:?}");
        assert_eq!(world.quality(), SyncState::Synced);
        assert!(world.error().abs() < Span::from_micros(200), "{by_s}: {:?}", world.error());
        for (at, update) in &world.updates[begun..] {
            let error = (update.map.rig_at(*at) - world.link.truth(*at)).abs();
            assert_eq!(update.map.held_at(*at), Span::ZERO);
            assert!(
                update.quality != SyncState::Synced || error < Span::from_micros(200),
                "{error:?} at {at:?}"
            );
        }
    }
}

/// A leader that follows another clock becomes unsettled or uncertain.
#[test]
fn a_client_of_an_unsettled_leader_is_not_synced() {
    let mut world = world(20.0);
    world.run_until(at_s(20.0));
    assert_eq!(world.quality(), SyncState::Synced);
    world.status.field.unsettled = true;
    world.run_until(at_s(25.0));
    assert_eq!(world.quality(), SyncState::Holdover);
    world.status.field.unsettled = false;
    world.run_until(at_s(30.0));
    assert_eq!(world.quality(), SyncState::Synced);
    // The largest value, 1.9 s, and just above `max_uncertainty`.
    for uncertainty_ns in [u32::MAX, 1_900_000_000, 11_000_000] {
        world.status.field.uncertainty_ns = uncertainty_ns;
        world.run_until(world.now + Span::from_secs(5));
        assert_eq!(world.quality(), SyncState::Holdover, "{uncertainty_ns}");
        world.status.field.uncertainty_ns = 100;
        world.run_until(world.now + Span::from_secs(5));
        assert_eq!(world.quality(), SyncState::Synced, "{uncertainty_ns}");
    }
    // The estimator was not reset for that.
    assert_eq!((world.stats().resets, world.steps()), (0, vec![]));
}

#[test]
fn a_new_client_waits_for_an_unsettled_leader() {
    let mut world = world(20.0);
    world.status.field.unsettled = true;
    world.run_until(at_s(10.0));
    assert_eq!(world.quality(), SyncState::Acquiring);
    world.status.field.unsettled = false;
    world.run_until(at_s(15.0));
    assert_eq!(world.quality(), SyncState::Synced);
}

/// The time scale stays the same, so the estimator has to notice the step.
#[test]
fn a_step_of_the_leaders_clock_is_noticed() {
    for by in [Span::from_millis(40), Span::from_millis(-40)] {
        let mut world = world(20.0);
        monotonic_through(&mut world, |world| world.link.offset += by);
        assert!(world.error().abs() < Span::from_micros(150), "{:?}", world.error());
        assert_eq!(world.steps().len(), 1);
    }
}

#[test]
fn a_small_step_is_slewed_over() {
    let mut world = world(20.0);
    monotonic_through(&mut world, |world| world.link.offset += Span::from_millis(-2));
    assert!(world.error().abs() < Span::from_micros(200), "{:?}", world.error());
    assert_eq!(world.steps(), []);
}

/// As when a device roams to an access point nearer or further away.
#[test]
fn a_changed_path_keeps_the_clock_synced() {
    for floor in [Span::from_micros(200), Span::from_micros(2500)] {
        let mut world = world(20.0);
        monotonic_through(&mut world, |world| world.link.floor = floor);
        assert_eq!(world.quality(), SyncState::Synced);
        assert!(world.error().abs() < Span::from_micros(150), "{:?}", world.error());
        assert_eq!(world.steps(), []);
    }
}

/// An exchange that began in the old time scale is not completed in the new one.
#[test]
fn a_change_of_time_scale_leaves_no_mixed_exchange() {
    let mut world = World::plain(5);
    world.run_until(at_s(10.0));
    let before = world.exchanges().len();
    let changed = world.now;
    // The same server with the same table, but another clock.
    world.status = ServerStatus::leading(&identity(2), Timestamp::ZERO);
    world.link.offset += Span::from_secs(100);
    world.run_until(at_s(12.0));
    let exchanges = world.exchanges();
    assert!(exchanges.len() > before + 100);
    for (exchange, _) in &exchanges[before..] {
        assert!(exchange.t4 > changed && exchange.delay() < Span::from_secs(1), "{exchange:?}");
    }
    assert_eq!(world.stats().implausible, 0);
}

/// Nobody says that the scale is another one, and its time is.
#[test]
fn a_successor_that_is_off_is_noticed_in_the_burst() {
    for by_ms in [-400, -20, -5, 5, 20, 400] {
        let mut world = world(20.0);
        world.run_until(at_s(60.0));
        succeed(&mut world, 2);
        world.link.offset += Span::from_millis(by_ms);
        let begun = world.updates.len();
        world.run_until(at_s(100.0));
        let heard =
            world.updates[begun..].iter().position(|(_, update)| update.source().unwrap().leader == 2);
        let first = begun + heard.unwrap();
        let (since, _) = world.updates[first];
        for (at, update) in &world.updates[first..] {
            let error = (update.map.rig_at(*at) - world.link.truth(*at)).abs();
            let noticed = *at - since > Span::from_millis(100);
            assert!(
                !noticed || update.quality != SyncState::Synced || error < Span::from_micros(1_200),
                "{by_ms} ms: {error:?} at {at:?}"
            );
        }
        assert_eq!(world.quality(), SyncState::Synced, "{by_ms}");
    }
}

/// The time scale continues, at the rate that the new leader has found.
#[test]
fn a_new_leader_of_the_same_time_scale_causes_a_burst() {
    let mut world = world(20.0);
    world.run_until(at_s(60.0));
    let successor = crate::time_service::Identity { rig: rig_id("swsync"), device: 9, timescale: 1001 };
    world.status = ServerStatus::leading(&successor, Timestamp::ZERO);
    // It is off by 1 ppm, without a step.
    world.link.offset += Span::from_secs(60).mul_f64(-1e-6);
    world.link.ppm = 21.0;
    for second in 61..90 {
        world.run_until(at_s(f64::from(second)));
        assert_eq!((world.stats().resets, world.quality()), (1, SyncState::Synced));
        let (error, stated) = (world.error().abs(), world.last().uncertainty_at(world.now));
        assert!(error < Span::from_micros(200) && error < stated * 4, "{second} s: {error:?}, {stated:?}");
    }
    assert_eq!(world.stats().upstream.unwrap().field.unwrap().leader, 9);
}

#[test]
fn stats_are_complete() {
    let mut world = world(20.0);
    world.run_until(at_s(30.0));
    let stats = world.stats();
    assert_eq!(stats.quality, SyncState::Synced);
    assert!(stats.since < at_s(2.0) && stats.last_heard.unwrap() > at_s(29.0));
    assert_eq!(stats.upstream.unwrap().stratum, 1);
    assert_eq!(stats.sent, u64::try_from(world.sent.len()).unwrap());
    assert!(stats.responses + 16 >= stats.sent && stats.responses <= stats.sent);
    let trips = stats.round_trips.unwrap();
    assert!(trips.least >= Span::from_millis(1) && trips.least <= trips.mean);
    assert!((trips.mean - Span::from_micros(2_600)).abs() < Span::from_millis(1), "{trips:?}");
    assert!((stats.skew.unwrap().as_ppm() - 20.0).abs() < 5.0);
    assert!(stats.uncertainty.unwrap() < Span::from_micros(150));
    assert!(stats.least_delay.is_some() && !stats.authenticated);
}

/// What a client takes off and what a server adds move its clock by just that, in opposite directions.
#[test]
fn path_offsets_of_client_and_server_move_the_clock() {
    let error = |client: i64, server: i64| {
        let path_offset = Span::from_micros(client);
        let mut world = World::new(5, ClientConfig { path_offset, ..ClientConfig::default() });
        let path_offset = Span::from_micros(server);
        world.server = Server::new(ServerConfig { path_offset, ..ServerConfig::default() });
        world.run_until(at_s(60.0));
        world.error()
    };
    let (plain, both) = (error(0, 0), error(40, 40));
    for (client, server, expected) in [(40, 0, -40), (0, 40, 40), (-40, 10, 50)] {
        let moved = error(client, server) - plain;
        assert!(
            (moved - Span::from_micros(expected)).abs() < Span::from_micros(5),
            "{client} {server}: {moved:?}"
        );
    }
    assert!(
        (both - plain).abs() < Span::from_micros(5),
        "equal devices need no correction: {both:?} {plain:?}"
    );
}
