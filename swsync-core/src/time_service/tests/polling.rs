//! How often a client sends requests.

use crate::estimate::ClockEstimate;
use crate::estimate::{Estimator, EstimatorConfig, EstimatorKind, Exchange};
use crate::time::{Skew, Span};
use crate::time_service::ClientConfig;
use crate::time_service::SyncState;
use crate::time_service::testing::{Faults, World, at_s};

/// An estimator whose uncertainty the test sets.
#[derive(Debug)]
struct Scripted {
    uncertainty: std::sync::Arc<std::sync::Mutex<Span>>,
    settles_after: Option<u32>,
    seen: u32,
}

impl Estimator for Scripted {
    fn handle_exchange(&mut self, exchange: &Exchange) -> Option<ClockEstimate> {
        self.seen += 1;
        Some(ClockEstimate {
            at: exchange.t4,
            offset: exchange.offset(),
            skew: Skew::ZERO,
            uncertainty: *self.uncertainty.lock().unwrap(),
            skew_uncertainty: Skew::ZERO,
            least_delay: exchange.delay(),
        })
    }
    fn has_settled(&self) -> bool {
        self.settles_after.is_some_and(|after| self.seen >= after)
    }
    fn reset(&mut self) {
        self.seen = 0;
    }
}

/// A world with a [`Scripted`] estimator, and the handle that sets its uncertainty.
fn scripted(settles_after: Option<u32>) -> (World, std::sync::Arc<std::sync::Mutex<Span>>) {
    let uncertainty = std::sync::Arc::new(std::sync::Mutex::new(Span::from_micros(1)));
    let mut world = World::plain(8);
    let estimator = Scripted { uncertainty: uncertainty.clone(), settles_after, seen: 0 };
    let client = std::mem::replace(&mut world.client, World::plain(8).client);
    world.client = client.with_estimator(Box::new(estimator));
    (world, uncertainty)
}

#[test]
fn the_burst_takes_a_second_and_tapers_off() {
    let mut world = World::plain(8);
    world.run_until(at_s(1.0));
    assert_eq!(world.quality(), SyncState::Synced);
    assert!((300..420).contains(&world.sent.len()), "{}", world.sent.len());
    world.run_until(at_s(3.0));
    assert!((20..60).contains(&world.rate()), "{}", world.rate());
    world.run_until(at_s(12.0));
    assert!((6..=11).contains(&world.rate()), "{}", world.rate());
    assert!(world.sent.len() < 650, "{}", world.sent.len());
}

#[test]
fn the_burst_ends_when_the_estimator_has_settled() {
    let (mut world, _) = scripted(Some(20));
    world.run_until(at_s(0.2));
    assert_eq!(world.quality(), SyncState::Synced);
    assert_eq!(world.client.burst_done(), 300);
    assert!(world.sent.len() < 100, "{}", world.sent.len());
}

#[test]
fn an_uncertain_estimate_does_not_sync_the_clock() {
    let (mut world, uncertainty) = scripted(Some(20));
    for (millis, synced) in [(1_900, false), (11, false), (9, true), (11, false), (9, true)] {
        *uncertainty.lock().unwrap() = Span::from_millis(millis);
        let begun = world.updates.len();
        world.run_until(world.now + Span::from_secs(5));
        // This estimator's offsets jump from exchange to exchange, so the clock is being corrected at times.
        let ever = world.updates[begun..].iter().any(|(_, update)| update.quality == SyncState::Synced);
        assert_eq!(ever, synced, "{millis} ms");
    }
}

#[test]
fn the_poll_interval_follows_the_accuracy() {
    let (mut world, uncertainty) = scripted(None);
    world.run_until(at_s(300.0));
    assert_eq!(world.stats().poll_interval, Span::from_secs(4));
    let rare = world.sent.iter().filter(|at| **at > at_s(200.0)).count();
    assert!((24..=28).contains(&rare), "{rare}");
    *uncertainty.lock().unwrap() = Span::from_micros(30);
    world.run_until(at_s(400.0));
    assert_eq!(world.stats().poll_interval, Span::from_millis(125));
    // Between the two thresholds nothing changes.
    *uncertainty.lock().unwrap() = Span::from_micros(9);
    world.run_until(at_s(460.0));
    assert_eq!(world.stats().poll_interval, Span::from_millis(125));
}

#[test]
fn a_bad_link_is_polled_eight_times_a_second() {
    let (mut world, uncertainty) = scripted(None);
    *uncertainty.lock().unwrap() = Span::from_micros(50);
    world.run_until(at_s(120.0));
    assert_eq!(world.stats().poll_interval, Span::from_millis(125));
    assert!((7..=9).contains(&world.rate()), "{}", world.rate());
}

#[test]
fn intervals_are_jittered() {
    let (mut world, uncertainty) = scripted(None);
    *uncertainty.lock().unwrap() = Span::from_micros(50);
    world.run_until(at_s(60.0));
    let pauses: Vec<_> = world.sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let steady = &pauses[pauses.len() - 200..];
    let (least, most) = (steady.iter().min().unwrap(), steady.iter().max().unwrap());
    assert!(*least > Span::from_millis(115) && *most < Span::from_millis(135), "{least:?} {most:?}");
    assert!(*most - *least > Span::from_millis(8));
}

#[test]
fn a_contradicted_estimate_is_refreshed_by_a_burst() {
    let (mut world, uncertainty) = scripted(None);
    world.run_until(at_s(300.0));
    let before = world.sent.len();
    *uncertainty.lock().unwrap() = Span::from_micros(200);
    world.run_until(at_s(305.0));
    let burst = world.sent.len() - before;
    assert!((32..100).contains(&burst), "{burst}");
    assert_eq!(world.stats().contradictions, 1);
}

#[test]
fn at_slow_polls_lost_requests_are_repeated_and_silence_is_noticed() {
    let (mut world, _) = scripted(None);
    world.run_until(at_s(300.0));
    world.up = false;
    world.run_until(at_s(308.0));
    assert_eq!(world.quality(), SyncState::Holdover);
    let (_, update) = world.updates.last().unwrap();
    assert_eq!(update.quality, SyncState::Holdover);
    world.run_until(at_s(330.0));
    assert!(world.rate() <= 2);
    world.up = true;
    world.run_until(at_s(332.0));
    assert_eq!(world.quality(), SyncState::Synced);
}

#[test]
fn a_client_syncs_over_a_lossy_link() {
    for seed in 1..10 {
        let mut world = World::plain(seed);
        world.faults = Faults { loss: 0.2, ..Faults::default() };
        world.run_until(at_s(3.0));
        assert_eq!(world.quality(), SyncState::Synced, "{:?}", world.stats());
        assert!(world.stats().lost > 50);
    }
}

#[test]
fn a_long_path_is_not_flooded() {
    // For the estimator, half of the delay may be asymmetry, so the uncertainty is large.
    let estimator = EstimatorConfig { kind: EstimatorKind::Min, ..EstimatorConfig::default() };
    let max_uncertainty = Span::from_millis(100);
    let mut world = World::new(8, ClientConfig { estimator, max_uncertainty, ..ClientConfig::default() });
    world.link.floor = Span::from_millis(150);
    world.run_until(at_s(8.0));
    assert_eq!(world.quality(), SyncState::Synced);
    assert!(world.sent.len() < 350, "{}", world.sent.len());
    assert_eq!(world.stats().lost, 0);
}

#[test]
fn at_most_eight_requests_are_in_flight() {
    let mut world = World::plain(8);
    world.link.floor = Span::from_millis(50);
    world.run_until(at_s(3.0));
    // A round trip takes more than 100 ms.
    let within =
        |from| world.sent.iter().filter(move |at| **at >= from && **at < from + Span::from_millis(100));
    let most = world.sent.iter().map(|from| within(*from).count()).max().unwrap();
    assert!((7..=8).contains(&most), "{most}");
}

#[test]
fn a_client_can_be_configured_for_a_public_server() {
    let config = ClientConfig {
        burst: 4,
        fastest_poll: Span::from_secs(2),
        slowest_poll: Span::from_secs(64),
        ..ClientConfig::default()
    };
    let mut world = World::new(8, config);
    world.run_until(at_s(60.0));
    assert!(world.sent.len() < 60, "{}", world.sent.len());
}
