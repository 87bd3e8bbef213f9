use proptest::prelude::*;

use super::*;
use crate::estimate::testing::{Link, at_ms};

/// Errors at each exchange after the `skip`-th, and the uncertainties.
fn errors(link: &mut Link, spacing_ms: i64, count: i64, skip: i64) -> Vec<(Span, Span)> {
    let mut track = TrackEstimator::new();
    follow(&mut track, link, 0, spacing_ms, count).split_off(usize::try_from(skip).unwrap())
}

/// Gives `track` `count` exchanges from `from_ms` on.
fn follow(
    track: &mut TrackEstimator,
    link: &mut Link,
    from_ms: i64,
    spacing_ms: i64,
    count: i64,
) -> Vec<(Span, Span)> {
    (0..count)
        .map(|i| {
            let exchange = link.exchange(at_ms(from_ms + i * spacing_ms));
            let estimate = track.handle_exchange(&exchange).unwrap();
            let error = estimate.rig_at(exchange.t4) - link.truth(exchange.t4);
            (error, estimate.uncertainty_at(exchange.t4))
        })
        .collect()
}

fn worst(errors: &[(Span, Span)]) -> Span {
    errors.iter().map(|(error, _)| error.abs()).max().unwrap()
}

#[test]
fn three_hundred_exchanges_suffice() {
    for seed in 0..10 {
        let mut link = Link::new(seed);
        link.ppm = 40.0;
        let errors = errors(&mut link, 4, 320, 300);
        assert!(worst(&errors) < Span::from_micros(120), "{seed}: {:?}", worst(&errors));
    }
}

#[test]
fn it_follows_a_bad_crystal_for_minutes() {
    for ppm in [-400.0, 40.0, 400.0] {
        let mut link = Link::new(11);
        link.ppm = ppm;
        let errors = errors(&mut link, 125, 1500, 400);
        assert!(worst(&errors) < Span::from_micros(60), "{ppm}: {:?}", worst(&errors));
    }
}

#[test]
fn nineteen_errors_of_twenty_are_within_twice_the_uncertainty() {
    let (mut within, mut all) = (0_usize, 0_usize);
    for seed in 0..40 {
        let mut link = Link::new(seed + 100);
        link.ppm = 15.0;
        let errors = errors(&mut link, 50, 600, 20);
        within += errors.iter().filter(|(e, u)| e.abs() <= *u * 2).count();
        all += errors.len();
    }
    assert!(within * 100 > all * 95, "{within} of {all}");
}

#[test]
fn steps_of_a_clock_are_noticed() {
    for step_us in [40_000, -40_000, 3_000, -3_000] {
        let mut link = Link::new(9);
        let mut track = TrackEstimator::new();
        follow(&mut track, &mut link, 0, 20, 600);
        link.offset += Span::from_micros(step_us);
        follow(&mut track, &mut link, 12_000, 20, 200);
        let after = follow(&mut track, &mut link, 16_000, 20, 200);
        assert!(worst(&after) < Span::from_micros(150), "{step_us}: {:?}", worst(&after));
    }
}

#[test]
fn a_step_that_no_exchange_contradicts_is_noticed() {
    // 600 us are less than a one-way delay and its excess, but the floors show them.
    for seed in 0..10 {
        let mut link = Link::new(seed);
        link.mean_excess = Span::from_micros(100);
        let mut track = TrackEstimator::new();
        follow(&mut track, &mut link, 0, 50, 400);
        link.offset += Span::from_micros(400);
        follow(&mut track, &mut link, 20_000, 50, 100);
        let after = follow(&mut track, &mut link, 25_000, 50, 200);
        assert!(worst(&after) < Span::from_micros(60), "{seed}: {:?}", worst(&after));
    }
}

#[test]
fn another_rate_is_learnt() {
    // A leader with another crystal takes over without a step, with or without an outage.
    for (seed, ppm) in [-86.0, 50.0, 180.0, -300.0].into_iter().enumerate() {
        for outage_ms in [0, 14_000, 50_000] {
            for mean_excess_us in [20, 200, 800] {
                let mut link = Link::new(u64::try_from(seed).unwrap() + 3);
                link.mean_excess = Span::from_micros(mean_excess_us);
                let mut track = TrackEstimator::new();
                follow(&mut track, &mut link, 0, 125, 800);
                let then = 100_000 + outage_ms;
                link.offset -= Span::from_millis(then).mul_f64(ppm * 1e-6);
                link.ppm = ppm;
                follow(&mut track, &mut link, then, 125, 800);
                let after = follow(&mut track, &mut link, then + 100_000, 125, 80);
                let case = (ppm, outage_ms, mean_excess_us, worst(&after), track.rate);
                assert!(worst(&after) < Span::from_micros(20 + mean_excess_us), "{case:?}");
            }
        }
    }
}

#[test]
fn steps_one_after_the_other_on_a_long_path_are_followed() {
    for seed in 0..20 {
        let mut link = Link::new(seed);
        link.floor = Span::from_micros(10_800);
        link.mean_excess = Span::from_micros(200);
        let mut track = TrackEstimator::new();
        let mut then = 0;
        for (step_us, for_ms) in [(0, 12_500), (4_040, 3_500), (0, 9_100), (-12_650, 60_000)] {
            link.offset += Span::from_micros(step_us);
            follow(&mut track, &mut link, then, 125, for_ms / 125);
            then += for_ms;
        }
        let after = follow(&mut track, &mut link, then, 125, 100);
        assert!(worst(&after) < Span::from_micros(200), "{seed}: {:?} {:?}", worst(&after), track.rate);
    }
}

#[test]
fn a_new_path_adds_no_error() {
    // WiFi roams: both ways become longer, later shorter than at first.
    for floors_us in [[500, 2_500], [2_500, 500]] {
        let mut link = Link::new(4);
        let mut track = TrackEstimator::new();
        link.floor = Span::from_micros(floors_us[0]);
        follow(&mut track, &mut link, 0, 50, 600);
        link.floor = Span::from_micros(floors_us[1]);
        let after = follow(&mut track, &mut link, 30_000, 50, 3_000);
        assert!(worst(&after) < Span::from_micros(250), "{floors_us:?}: {:?}", worst(&after));
    }
}

#[test]
fn a_quiet_moment_of_one_direction_alone_does_not_count() {
    for (seed, forth) in (0..20).map(|seed| (seed, seed % 2 == 0)) {
        let mut link = Link::new(seed);
        link.floor = Span::from_millis(1);
        link.mean_excess = Span::from_micros(200);
        let mut track = TrackEstimator::new();
        follow(&mut track, &mut link, 0, 40, 500);
        let mut shorter = link.exchange(at_ms(20_000));
        let early = Span::from_micros(500);
        if forth {
            shorter.t2 = link.truth(shorter.t1 + early);
        } else {
            shorter.t3 = link.truth(shorter.t4 - early);
        }
        track.handle_exchange(&shorter);
        let after = follow(&mut track, &mut link, 20_040, 40, 1_000);
        assert!(worst(&after) < Span::from_micros(60), "{seed}: {:?}", worst(&after));
    }
}

#[test]
fn reordered_and_repeated_exchanges_do_no_harm() {
    let mut link = Link::new(7);
    link.ppm = -30.0;
    let mut exchanges: Vec<_> = (0..1200).map(|i| link.exchange(at_ms(i * 50))).collect();
    for i in (0..1190).step_by(7) {
        exchanges.swap(i, i + 5);
        exchanges[i + 1] = exchanges[i];
    }
    let mut track = TrackEstimator::new();
    for (i, exchange) in exchanges.iter().enumerate() {
        let estimate = track.handle_exchange(exchange).unwrap();
        let error = estimate.rig_at(exchange.t4) - link.truth(exchange.t4);
        assert!(i < 300 || error.abs() < Span::from_micros(80), "{i}: {error:?}");
    }
}

#[test]
fn a_long_silence_empties_the_window_but_keeps_the_rate() {
    let mut link = Link::new(21);
    link.ppm = 80.0;
    let mut track = TrackEstimator::new();
    follow(&mut track, &mut link, 0, 50, 1200);
    let after = follow(&mut track, &mut link, 600_000, 50, 100);
    assert!(worst(&after[50..]) < Span::from_micros(300), "{:?}", worst(&after[50..]));
    assert!((track.rate.mean - 80e3).abs() < 2e3, "{:?}", track.rate);
}

#[test]
fn normal_delays_have_no_floor_but_a_centre() {
    // 3 ms +- 1 ms to the leader, 3 ms +- 0.1 ms back: the floors differ by 2.5 ms, the centres do not.
    let mut mean = [0.0; 2];
    for seed in 0..20 {
        for (widths, mean) in [[1_000.0, 1_000.0], [1_000.0, 100.0]].into_iter().zip(&mut mean) {
            let mut random = crate::testing::XorShift::mixed(seed);
            let mut delay = |width: f64| Span::from_nanos_f64((3e6 + width * 1e3 * random.normal()).max(1e3));
            let mut track = TrackEstimator::new();
            let mut error = Span::ZERO;
            for k in 0..300 {
                let t1 = at_ms(k * 125);
                let there = t1 + delay(widths[0]);
                let t4 = there + delay(widths[1]);
                let rig = |at: Timestamp<Local>| Timestamp::from_nanos(at.as_nanos() + 5_000_000_000);
                let estimate =
                    track.handle_exchange(&Exchange { t1, t2: rig(there), t3: rig(there), t4 }).unwrap();
                error = estimate.rig_at(t4) - rig(t4);
            }
            *mean += error.abs().as_micros_f64() / 20.0;
        }
    }
    // A regression over the same exchanges: 82 and 58 us. The floors alone: 280 and 1300.
    assert!(mean[0] < 105.0 && mean[1] < 90.0, "{mean:?}");
}

#[test]
fn the_uncertainty_does_not_jump() {
    for seed in 0..20 {
        let mut link = Link::new(seed);
        link.ppm = 15.0;
        let errors = errors(&mut link, 50, 1500, 100);
        let jumps = errors.windows(2).filter(|pair| {
            let change = pair[1].1.as_nanos_f64() / pair[0].1.as_nanos_f64();
            !(0.67..1.5).contains(&change)
        });
        assert!(jumps.count() <= 1, "{seed}");
    }
}

#[test]
fn another_leader_at_the_known_rate_costs_only_the_offset() {
    let (mut kept, mut reset) = (Span::ZERO, Span::ZERO);
    for seed in 0..20 {
        for keep in [true, false] {
            let mut link = Link::new(seed);
            link.ppm = 40.0;
            let mut track = TrackEstimator::new();
            follow(&mut track, &mut link, 0, 125, 400);
            if keep {
                track.reset_keeping_rate(Skew::from_ppm(0.5))
            } else {
                track.reset()
            }
            follow(&mut track, &mut link, 50_000, 4, 32);
            let estimate = track.solution.unwrap().estimate;
            let later = at_ms(54_000);
            let error = (estimate.rig_at(later) - link.truth(later)).abs();
            assert!(!keep || error < estimate.uncertainty_at(later) * 3, "{seed}: {error:?} {estimate:?}");
            *(if keep { &mut kept } else { &mut reset }) += error;
        }
    }
    // 4 s after the burst; without the rate it is 40 ppm off.
    assert!(kept / 20 < Span::from_micros(80) && kept * 2 < reset, "{:?} {:?}", kept / 20, reset / 20);
}

/// What was known of the rate may be wrong, if the new leader did not know it. It must not count for ever.
#[test]
fn a_rate_that_turns_out_wrong_is_forgotten() {
    for (seed, off) in (0..20).zip([5.0, -10.0, 20.0, -40.0].into_iter().cycle()) {
        let mut link = Link::new(seed);
        let mut track = TrackEstimator::new();
        follow(&mut track, &mut link, 0, 125, 400);
        track.reset_keeping_rate(Skew::from_ppm(0.5));
        link.ppm = off;
        let errors = follow(&mut track, &mut link, 50_000, 125, 1600);
        let late = worst(&errors[1200..]);
        assert!(late < Span::from_micros(60), "{seed}, {off} ppm: {late:?} two and a half minutes later");
        let skew = track.solution.unwrap().estimate.skew.as_ppm();
        assert!((skew - off).abs() < 1.0, "{seed}: {skew} of {off} ppm");
    }
}

proptest! {
    /// For any exchanges: no panic, and a positive uncertainty.
    #[test]
    fn no_exchanges_make_it_panic(times in proptest::collection::vec(any::<[i64; 4]>(), 1..60), near in any::<bool>()) {
        let mut track = TrackEstimator::new();
        for [a, b, c, d] in times {
            let bring = |t: i64| if near { t % 5_000_000_000 } else { t };
            let (t1, t4) = (bring(a).min(bring(d)), bring(a).max(bring(d)));
            let exchange = Exchange {
                t1: Timestamp::from_nanos(t1),
                t2: Timestamp::from_nanos(bring(b)),
                t3: Timestamp::from_nanos(bring(c)),
                t4: Timestamp::from_nanos(t4),
            };
            if let Some(estimate) = track.handle_exchange(&exchange) {
                prop_assert!(estimate.uncertainty > Span::ZERO);
                prop_assert!(estimate.least_delay >= Span::ZERO);
            }
        }
    }

    /// At any rate of exchanges, memory is bounded and the clock is followed.
    #[test]
    fn any_poll_rate_works(seed in 0_u64..1000, spacing_ms in prop_oneof![1_i64..10, 100_i64..4000]) {
        let mut link = Link::new(seed);
        link.ppm = 20.0;
        let mut track = TrackEstimator::new();
        let errors = follow(&mut track, &mut link, 0, spacing_ms, 3000);
        prop_assert!(track.window.bins().len() <= 256);
        prop_assert!(worst(&errors[1000..]) < Span::from_millis(3), "{:?}", worst(&errors[1000..]));
    }
}
