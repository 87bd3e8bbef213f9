//! How often a client asks.

use crate::clock::ClockEstimate;
use crate::estimate::{Estimator, EstimatorConfig, Exchange, Method};
use crate::frame::SyncQuality;
use crate::sync::ClientConfig;
use crate::sync::testing::{Faults, World, at_s};
use crate::time::{Skew, Span};

/// Says what a test wants of every exchange.
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

/// A world whose estimator always claims the uncertainty that is returned.
fn scripted(settles_after: Option<u32>) -> (World, std::sync::Arc<std::sync::Mutex<Span>>) {
    let uncertainty = std::sync::Arc::new(std::sync::Mutex::new(Span::from_micros(1)));
    let mut world = World::plain(8);
    let estimator = Scripted { uncertainty: uncertainty.clone(), settles_after, seen: 0 };
    let client = std::mem::replace(&mut world.client, World::plain(8).client);
    world.client = client.with_estimator(Box::new(estimator));
    (world, uncertainty)
}

#[test]
fn the_burst_takes_a_second_and_then_it_tapers_off() {
    let mut world = World::plain(8);
    world.run_until(at_s(1.0));
    assert_eq!(world.quality(), SyncQuality::Synced);
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
    assert_eq!(world.quality(), SyncQuality::Synced);
    assert_eq!(world.client.burst_done(), 300);
    assert!(world.sent.len() < 100, "{}", world.sent.len());
}

#[test]
fn an_estimate_that_is_not_known_well_is_not_synced() {
    let (mut world, uncertainty) = scripted(Some(20));
    for (millis, synced) in [(1_900, false), (11, false), (9, true), (11, false), (9, true)] {
        *uncertainty.lock().unwrap() = Span::from_millis(millis);
        let begun = world.updates.len();
        world.run_until(world.now + Span::from_secs(5));
        // The offsets are single exchanges': what they differ by is being corrected now and then.
        let ever = world.updates[begun..].iter().any(|(_, update)| update.quality == SyncQuality::Synced);
        assert_eq!(ever, synced, "{millis} ms");
    }
}

#[test]
fn polls_become_rare_where_accuracy_allows_and_frequent_again_where_not() {
    let (mut world, uncertainty) = scripted(None);
    world.run_until(at_s(300.0));
    assert_eq!(world.stats().poll_interval, Span::from_secs(4));
    let rare = world.sent.iter().filter(|at| **at > at_s(200.0)).count();
    assert!((24..=28).contains(&rare), "{rare}");
    *uncertainty.lock().unwrap() = Span::from_micros(30);
    world.run_until(at_s(400.0));
    assert_eq!(world.stats().poll_interval, Span::from_millis(125));
    // Between enough and too much nothing changes.
    *uncertainty.lock().unwrap() = Span::from_micros(9);
    world.run_until(at_s(460.0));
    assert_eq!(world.stats().poll_interval, Span::from_millis(125));
}

#[test]
fn a_link_that_is_too_bad_is_asked_eight_times_a_second() {
    let (mut world, uncertainty) = scripted(None);
    *uncertainty.lock().unwrap() = Span::from_micros(50);
    world.run_until(at_s(120.0));
    assert_eq!(world.stats().poll_interval, Span::from_millis(125));
    assert!((7..=9).contains(&world.rate()), "{}", world.rate());
}

#[test]
fn intervals_are_not_all_alike() {
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
fn an_estimate_that_is_contradicted_is_freshened_up_by_a_burst() {
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
fn at_slow_polls_a_loss_is_repeated_soon_and_silence_noticed_in_time() {
    let (mut world, _) = scripted(None);
    world.run_until(at_s(300.0));
    world.up = false;
    world.run_until(at_s(308.0));
    assert_eq!(world.quality(), SyncQuality::Holdover);
    let (_, update) = world.updates.last().unwrap();
    assert_eq!(update.quality, SyncQuality::Holdover);
    world.run_until(at_s(330.0));
    assert!(world.rate() <= 2);
    world.up = true;
    world.run_until(at_s(332.0));
    assert_eq!(world.quality(), SyncQuality::Synced);
}

#[test]
fn a_lossy_link_is_synced_all_the_same() {
    for seed in 1..10 {
        let mut world = World::plain(seed);
        world.faults = Faults { loss: 0.2, ..Faults::default() };
        world.run_until(at_s(3.0));
        assert_eq!(world.quality(), SyncQuality::Synced, "{:?}", world.stats());
        assert!(world.stats().lost > 50);
    }
}

#[test]
fn a_long_path_is_no_reason_to_flood_it() {
    // Half of it may be asymmetry, as far as the estimator knows.
    let estimator = EstimatorConfig { method: Method::Min, ..EstimatorConfig::default() };
    let max_uncertainty = Span::from_millis(100);
    let mut world = World::new(8, ClientConfig { estimator, max_uncertainty, ..ClientConfig::default() });
    world.link.floor = Span::from_millis(150);
    world.run_until(at_s(8.0));
    assert_eq!(world.quality(), SyncQuality::Synced);
    assert!(world.sent.len() < 350, "{}", world.sent.len());
    assert_eq!(world.stats().lost, 0);
}

#[test]
fn at_most_eight_requests_are_under_way() {
    let mut world = World::plain(8);
    world.link.floor = Span::from_millis(50);
    world.run_until(at_s(3.0));
    // None is answered within 100 ms.
    let within =
        |from| world.sent.iter().filter(move |at| **at >= from && **at < from + Span::from_millis(100));
    let most = world.sent.iter().map(|from| within(*from).count()).max().unwrap();
    assert!((7..=8).contains(&most), "{most}");
}

#[test]
fn a_polite_client_of_a_strangers_server() {
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
