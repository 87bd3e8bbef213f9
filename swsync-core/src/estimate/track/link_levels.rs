//! Tests of `track` on quiet links whose round trips have several levels, as from power save or another route.

use proptest::prelude::*;

use super::*;
use crate::estimate::testing::at_ms;
use crate::testing::XorShift;

/// What one level adds to the floors of both directions, in ns.
type Level = [i64; 2];

/// `count` exchanges, `spacing_us` apart, each at one of the levels.
#[derive(Debug, Clone)]
struct Phase {
    count: u32,
    spacing_us: i64,
    levels: Vec<Level>,
    /// Number of exchanges in a row at the same level.
    stay: u32,
}

#[derive(Debug, Clone)]
struct Quiet {
    seed: u64,
    ppm: f64,
    jitter_ns: i64,
    phases: Vec<Phase>,
}

/// The estimator's errors over a trace, from the end of its first burst on.
#[derive(Debug)]
struct Outcome {
    largest_uncertainty: Span,
    /// The largest error beyond twice the uncertainty and the asymmetry of the path's levels.
    beyond: Span,
}

impl Quiet {
    fn play(&self) -> Outcome {
        let mut random = XorShift::new(self.seed * 2 + 1);
        let mut below = move |limit: i64| i64::try_from(random.bits()).unwrap() % limit.max(1);
        let levels = || self.phases.iter().flat_map(|phase| &phase.levels);
        let asymmetry = levels().map(|[up, down]| (up - down).abs()).max().unwrap_or(0) / 2;
        let truth = |at: Timestamp<Local>| {
            let elapsed = at - Timestamp::ZERO;
            Timestamp::from_nanos((elapsed + elapsed.mul_f64(self.ppm * 1e-6)).as_nanos() + 5_000_000_000)
        };
        let mut track = TrackEstimator::new();
        let mut now = at_ms(0);
        let mut outcome = Outcome { largest_uncertainty: Span::ZERO, beyond: Span::from_secs(-1) };
        for (index, phase) in self.phases.iter().enumerate() {
            let mut level = phase.levels[0];
            for exchange in 0..phase.count {
                if exchange % phase.stay == 0 {
                    let at = below(i64::try_from(phase.levels.len()).unwrap());
                    level = phase.levels[usize::try_from(at).unwrap()];
                }
                now += Span::from_micros(phase.spacing_us);
                let [up, down] = level.map(|extra| Span::from_nanos(60_000 + extra + below(self.jitter_ns)));
                let (there, held) = (now + up, now + up + Span::from_micros(2));
                let t4 = held + down;
                let seen = Exchange { t1: now, t2: truth(there), t3: truth(held), t4 };
                let estimate = track.handle_exchange(&seen).unwrap();
                let uncertainty = estimate.uncertainty_at(t4);
                if index == 0 || t4 < at_ms(8_000) {
                    continue;
                }
                let error = (estimate.rig_at(t4) - truth(t4)).abs();
                outcome.largest_uncertainty = outcome.largest_uncertainty.max(uncertainty);
                outcome.beyond = outcome.beyond.max(error - uncertainty * 2 - Span::from_nanos(asymmetry));
            }
        }
        outcome
    }
}

fn polls(count: u32, spacing_ms: i64, levels: &[Level]) -> Phase {
    Phase { count, spacing_us: spacing_ms * 1000, levels: levels.to_vec(), stay: 1 }
}

fn even(micros: i64) -> Level {
    [micros * 500; 2]
}

/// A trace as it was observed: a burst at 132 us, a few odd bins at its end, then ever sparser polls at 121 us.
fn as_seen(jitter_ns: i64) -> Quiet {
    let mut phases = vec![polls(432, 2, &[even(12)])];
    phases.extend((0..6).map(|odd| polls(8, 2, &[even(4 + odd)])));
    let sparse = [even(1)];
    phases.extend([(20, 125), (20, 250), (20, 500), (60, 1000)].map(|(n, ms)| polls(n, ms, &sparse)));
    Quiet { seed: 1, ppm: 0.0, jitter_ns, phases }
}

#[test]
fn levels_do_not_disturb_the_rate() {
    for jitter_ns in [0, 10, 500, 1_500, 3_000, 5_000] {
        let outcome = as_seen(jitter_ns).play();
        assert!(outcome.largest_uncertainty < Span::from_micros(6), "{jitter_ns}: {outcome:?}");
        assert!(outcome.beyond < Span::ZERO, "{jitter_ns}: {outcome:?}");
    }
}

prop_compose! {
    fn any_phase()(
        count in 8_u32..80,
        spacing_us in prop_oneof![Just(2_000), Just(20_000), Just(125_000), Just(250_000), Just(1_000_000), Just(4_000_000)],
        extras in proptest::collection::vec(0_i64..80_000, 1..5),
        stay in prop_oneof![Just(1), Just(3), Just(8), Just(40), Just(100)],
    ) -> (u32, i64, Vec<i64>, u32) {
        (count, spacing_us, extras, stay)
    }
}

prop_compose! {
    /// A burst, a taper, and then anything. All levels split their delay between the two directions in the same proportion:
    /// otherwise a change of level would look like a step of the clock.
    fn any_quiet()(
        seed in 0_u64..1_000_000,
        ppm in -60.0..60.0,
        jitter_ns in prop_oneof![Just(0_i64), 0_i64..100, 0_i64..3_000, 3_000_i64..6_000],
        burst in 100_u32..500,
        first in any_phase(),
        forth in prop_oneof![Just(0.5), Just(0.0), Just(1.0), 0.0..1.0],
        others in proptest::collection::vec(any_phase(), 1..7),
    ) -> Quiet {
        let share = |extra: i64| {
            let up = Span::from_nanos(extra).mul_f64(forth).as_nanos();
            [up, extra - up]
        };
        let phase = |(count, spacing_us, extras, stay): &(u32, i64, Vec<i64>, u32)| Phase {
            count: *count,
            spacing_us: *spacing_us,
            levels: extras.iter().copied().map(share).collect(),
            stay: *stay,
        };
        let first = Phase { count: burst, spacing_us: 2_000, ..phase(&first) };
        let taper = [20_000, 125_000].map(|spacing_us| Phase { count: 60, spacing_us, ..first.clone() });
        let phases = std::iter::once(first).chain(taper).chain(others.iter().map(phase)).collect();
        Quiet { seed, ppm, jitter_ns, phases }
    }
}

proptest! {
    /// Before the estimator distinguished levels, the uncertainty was 5 ms and more.
    #[test]
    fn the_uncertainty_stays_small_at_any_levels(quiet in any_quiet()) {
        let outcome = quiet.play();
        prop_assert!(outcome.largest_uncertainty < Span::from_micros(150), "{outcome:?}");
        // Single polls every 4 s, each at another level, leave an error of the rate in proportion to the levels' differences.
        prop_assert!(outcome.beyond < Span::from_micros(100), "{outcome:?}");
    }
}
