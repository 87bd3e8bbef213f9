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
    world.run_until(at_s(345.0));
    assert_eq!(world.stats().poll_interval, Span::from_millis(125));
}

#[test]
fn between_the_thresholds_the_poll_interval_does_not_change() {
    let (mut world, uncertainty) = scripted(None);
    world.run_until(at_s(20.0));
    let before = world.stats().poll_interval;
    assert!(before > Span::from_millis(125) && before < Span::from_secs(4), "{before:?}");
    *uncertainty.lock().unwrap() = Span::from_micros(9);
    world.run_until(at_s(160.0));
    assert_eq!(world.stats().poll_interval, before);
}

/// What the poll interval does to the uncertainty: `law(interval in s)`, in us.
fn follow_law(
    world: &mut World,
    uncertainty: &std::sync::Mutex<Span>,
    seconds: u32,
    law: impl Fn(f64) -> f64,
) {
    for _ in 0..seconds * 10 {
        let interval = world.stats().poll_interval.as_secs_f64();
        *uncertainty.lock().unwrap() = Span::from_secs_f64(law(interval) * 1e-6);
        world.run_until(world.now + Span::from_millis(100));
    }
}

/// A floor of uncertainty, and a part that is inversely proportional to the root of the number of requests.
fn law(floor: f64, at_one_second: f64) -> impl Fn(f64) -> f64 {
    move |interval| floor.hypot(at_one_second * interval.sqrt())
}

#[test]
fn if_asking_more_often_brings_nothing_a_client_asks_rarely() {
    let (mut world, uncertainty) = scripted(None);
    follow_law(&mut world, &uncertainty, 1200, law(50.0, 0.0));
    assert_eq!(world.stats().poll_interval, Span::from_secs(4));
    let before = world.sent.len();
    follow_law(&mut world, &uncertainty, 3600, law(50.0, 0.0));
    assert!(world.sent.len() - before < 1000, "{}", world.sent.len() - before);
}

#[test]
fn if_asking_more_often_helps_a_client_asks_often() {
    let (mut world, uncertainty) = scripted(None);
    follow_law(&mut world, &uncertainty, 3600, law(0.0, 100.0));
    let usual = world.sent.iter().filter(|at| **at > at_s(600.0)).count();
    // 8/s, but 4/s in a few trials of four minutes.
    assert!(usual > 21_000, "{usual}");
    assert_eq!(world.stats().poll_interval, Span::from_millis(125));
}

#[test]
fn the_search_finds_the_longest_interval_that_costs_little() {
    for at_one_second in [400.0, 200.0, 120.0, 60.0, 30.0, 10.0] {
        let law = law(60.0, at_one_second);
        let intervals = [125, 250, 500, 1000, 2000, 4000].map(|millis| f64::from(millis) / 1000.0);
        let longest = intervals.into_iter().rfind(|interval| law(*interval) < 1.3 * law(0.125)).unwrap();
        let (mut world, uncertainty) = scripted(None);
        follow_law(&mut world, &uncertainty, 3600, law);
        let settled = world.stats().poll_interval;
        assert_eq!(settled, Span::from_secs_f64(longest), "{at_one_second}");
    }
}

#[test]
fn the_search_does_not_oscillate() {
    // At the edge: 500 ms cost 42 % of uncertainty. And the medians scatter.
    for seed in 1_u32..6 {
        let (mut world, uncertainty) = scripted(None);
        let (mut changes, mut last) = ([0, 0], Span::ZERO);
        for minute in 0_u32..360 {
            let noise = 1.0 + 0.15 * f64::from((minute + 100) * seed * 7 % 11).sin();
            follow_law(&mut world, &uncertainty, 60, |interval| noise * law(50.0, 100.0)(interval));
            let interval = world.stats().poll_interval;
            changes[usize::from(minute >= 180)] += usize::from(interval != last);
            last = interval;
        }
        // A trial makes two changes, and so does measuring the fastest poll again.
        assert!(changes[0] <= 24 && changes[1] <= 14, "{changes:?} changes in three hours");
    }
}

#[test]
fn another_link_is_noticed() {
    let (mut world, uncertainty) = scripted(None);
    follow_law(&mut world, &uncertainty, 1800, law(50.0, 0.0));
    assert_eq!(world.stats().poll_interval, Span::from_secs(4));
    // Now it helps to ask more often: 210 us at 4 s, 61 at 125 ms.
    follow_law(&mut world, &uncertainty, 300, law(50.0, 100.0));
    assert!(world.stats().poll_interval <= Span::from_millis(250), "{:?}", world.stats().poll_interval);
    // And now the accuracy can be had, at any interval.
    follow_law(&mut world, &uncertainty, 600, law(5.0, 0.0));
    assert_eq!(world.stats().poll_interval, Span::from_secs(4));
    // And now it can be had only by asking often.
    follow_law(&mut world, &uncertainty, 120, law(3.0, 20.0));
    assert_eq!(world.stats().poll_interval, Span::from_millis(125));
    follow_law(&mut world, &uncertainty, 1200, law(3.0, 20.0));
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
