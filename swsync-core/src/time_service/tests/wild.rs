//! Times of the server that are wrong for a few requests, and leap seconds.

use proptest::prelude::*;

use crate::leap::LeapNotice;
use crate::time::Span;
use crate::time_service::testing::{World, at_s};
use crate::time_service::{ClientConfig, SyncState};

/// A client of another program's server that has been in sync for a while.
fn synced(seed: u64) -> World {
    let mut world = World::new(seed, ClientConfig::default());
    world.other_program = Some(0);
    world.run_until(at_s(30.0));
    assert_eq!(world.quality(), SyncState::Synced);
    world
}

impl World {
    /// Advances time to `end` and returns the clock's greatest error on the way, relative to the server's time plus `ahead`.
    fn worst_error(&mut self, end: f64, ahead: Span) -> Span {
        let mut worst = Span::ZERO;
        while self.now < at_s(end) {
            self.run_until((self.now + Span::from_millis(50)).min(at_s(end)));
            worst = worst.max((self.error() - ahead).abs());
        }
        worst
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Three wild exchanges, alike or not, move the clock by no more than half of what does not count as a contradiction (0.5 ms, or
    /// six sigmas); after the next good one it is in sync.
    #[test]
    fn three_wild_exchanges_step_no_clock(
        seed in 1_u64..1000, wild in proptest::collection::vec((0_u32..40, -1.0..1.0), 1..=3), alike: bool,
    ) {
        let mut world = synced(seed);
        // From 100 us to years.
        let by = |(magnitude, sign): (u32, f64)| Span::from_micros(100 << magnitude.min(39)).mul_f64(sign);
        world.wild.extend(wild.iter().map(|it| by(if alike { wild[0] } else { *it })));
        let worst = world.worst_error(60.0, Span::ZERO);
        prop_assert!(world.wild.is_empty());
        prop_assert_eq!(world.stats().steps, 0);
        prop_assert!(worst < Span::from_micros(300), "{:?}", worst);
        prop_assert_eq!(world.quality(), SyncState::Synced);
    }
}

#[test]
fn four_exchanges_make_a_step() {
    for secs in [-1, 1, 3_600] {
        let mut world = synced(7);
        world.link.offset += Span::from_secs(secs);
        let before = world.exchanges().len();
        let began = world.now;
        let stepped = |world: &World| world.stats().steps > 0;
        while !stepped(&world) && world.now < at_s(60.0) {
            world.run_until(world.now + Span::from_millis(10));
            // Until then the exchanges are held back, and the clock is in holdover.
            let responded =
                world.updates.iter().any(|(at, it)| *at > began && it.quality == SyncState::Holdover);
            assert!(!responded || stepped(&world) || world.quality() == SyncState::Holdover);
        }
        assert!(world.exchanges().len() >= before + 4, "{secs}: the estimator gets them all");
        assert_eq!(world.stats().steps, 1, "{secs}");
        world.run_until(at_s(90.0));
        assert_eq!(world.quality(), SyncState::Synced);
        assert!(world.error().abs() < Span::from_micros(200), "{secs}: {:?}", world.error());
    }
}

#[test]
fn a_wild_exchange_puts_the_clock_in_holdover_until_the_next_one() {
    let mut world = synced(5);
    let began = world.now;
    world.wild.push_back(Span::from_millis(-20));
    world.run_until(at_s(45.0));
    let after = world.updates.iter().filter(|(at, _)| *at > began);
    let held: Vec<_> = after.filter(|(_, it)| it.quality == SyncState::Holdover).collect();
    let [(at, update)] = held[..] else { panic!("{held:?}") };
    assert_eq!(update.adjustment, None);
    let again = world.updates.iter().find(|(later, _)| later > at).unwrap();
    assert_eq!(again.1.quality, SyncState::Synced);
    assert!(again.0 - *at < Span::from_millis(600), "it asks again at once: {:?}", again.0 - *at);
}

/// A world whose server is another program's, and has the end of a UTC day at 40 s.
fn before_midnight(indicator: u8) -> World {
    let mut world = World::new(3, ClientConfig::default());
    world.link.offset = Span::from_secs(1_798_761_600 - 40);
    world.other_program = Some(indicator);
    world
}

#[test]
fn a_leap_second_of_the_server_is_smeared_announced_or_not() {
    for (notice, indicator, by) in [(LeapNotice::Insert, 1, -1), (LeapNotice::Delete, 2, 1)] {
        assert_eq!(LeapNotice::from_ntp(indicator), notice);
        for announced in [true, false] {
            let mut world = before_midnight(if announced { indicator } else { 0 });
            world.run_until(at_s(if by < 0 { 40.0 } else { 39.0 }));
            assert_eq!(world.quality(), SyncState::Synced);
            world.link.offset += Span::from_secs(by);
            world.other_program = Some(0);
            let leapt = world.now;
            let ahead = Span::from_secs(-by);
            let worst = world.worst_error(60.0, ahead);
            assert!(worst < Span::from_micros(500), "{notice:?} {announced}: {worst:?}");
            assert_eq!((world.quality(), world.stats().steps), (SyncState::Synced, 0));
            let held = world.updates.iter().any(|(at, it)| *at > leapt && it.quality == SyncState::Holdover);
            assert_eq!(held, !announced, "{notice:?}");
            // After an hour the smear has done 42 ms.
            world.run_until(at_s(3_640.0));
            let left = ahead.mul_f64(1.0 - 1.0 / 24.0);
            assert!((world.error() - left).abs() < Span::from_millis(1), "{:?}", world.error());
            let stated = world.stats().leap_correction;
            assert!((stated - left).abs() < Span::from_millis(1), "{stated:?}");
        }
    }
}

#[test]
fn a_step_of_a_second_at_another_time_is_a_step() {
    let mut world = before_midnight(0);
    world.run_until(at_s(55.0));
    world.link.offset -= Span::from_secs(1);
    world.run_until(at_s(90.0));
    assert_eq!((world.stats().steps, world.stats().leap_correction), (1, Span::ZERO));
}
