use super::*;
use swsync_core::clock::Adjustment;

/// A local clock that is read, and a reference whose time is a function of it.
struct Bench {
    tracker: Tracker,
    now: i64,
    rate_ppm: f64,
    /// Reference minus local time, beside 1.7e18 ns.
    offset: f64,
}

const STEP: i64 = 125_000_000;

impl Bench {
    fn new(rate_ppm: f64) -> Self {
        let tracker = Tracker::new(&ReferenceConfig::default(), *b"TEST", Timestamp::from_nanos(0));
        Self { tracker, now: 0, rate_ppm, offset: 0.0 }
    }

    #[expect(clippy::cast_possible_truncation, reason = "whole nanoseconds are as good")]
    fn reference(&self) -> Timestamp<Rig> {
        Timestamp::from_nanos(self.now + 1_700_000_000_000_000_000 + self.offset as i64)
    }

    #[expect(clippy::cast_precision_loss, reason = "fractions of a second")]
    fn advance(&mut self) {
        self.now += STEP;
        self.offset += STEP as f64 * self.rate_ppm * 1e-6;
    }

    fn reading(&self, state: ReferenceState) -> Reading {
        Reading {
            before: Timestamp::from_nanos(self.now - 100),
            reference: self.reference(),
            after: Timestamp::from_nanos(self.now + 100),
            uncertainty: Span::from_micros(3),
            state,
        }
    }

    fn look(&mut self) -> Outcome {
        self.advance();
        let reading = self.reading(ReferenceState::Synced);
        self.tracker.handle(Timestamp::from_nanos(self.now), Some(&reading))
    }

    fn look_at_nothing(&mut self, why: Option<&str>) -> Outcome {
        self.advance();
        let reading = why.map(|why| self.reading(ReferenceState::Unsynced { why: why.into() }));
        self.tracker.handle(Timestamp::from_nanos(self.now), reading.as_ref())
    }

    fn error(&self) -> Span {
        self.tracker.servo.map().unwrap().rig_at(Timestamp::from_nanos(self.now)) - self.reference()
    }

    fn quality(&self) -> SyncQuality {
        self.tracker.state.into()
    }

    fn synced(rate_ppm: f64) -> Self {
        let mut bench = Self::new(rate_ppm);
        for _ in 0..40 {
            bench.look();
        }
        assert_eq!(bench.quality(), SyncQuality::Synced);
        bench
    }
}

#[test]
fn a_second_of_readings_makes_it_synced() {
    let mut bench = Bench::new(0.0);
    let qualities: Vec<_> = (0..8).map(|_| bench.look().update.unwrap().quality).collect();
    assert_eq!(qualities[..7], [SyncQuality::Acquiring; 7]);
    assert_eq!(qualities[7], SyncQuality::Synced);
}

#[test]
fn it_learns_the_rate() {
    let bench = Bench::synced(37.0);
    assert!((bench.tracker.skew.as_ppm() - 37.0).abs() < 0.01, "{:?}", bench.tracker.skew);
    assert!(bench.error().abs() < Span::from_nanos(300), "{:?}", bench.error());
}

#[test]
fn a_reference_that_is_slewed_is_followed() {
    let mut bench = Bench::synced(10.0);
    bench.rate_ppm = 410.0; // chrony works off a millisecond, say
    let mut worst = Span::ZERO;
    for _ in 0..40 {
        bench.look();
        worst = worst.max(bench.error().abs());
    }
    assert_eq!(bench.quality(), SyncQuality::Synced);
    // The slope lags by half the window, which the servo takes out over two seconds.
    assert!(worst < Span::from_millis(1), "{worst:?}");
    assert!(bench.error().abs() < Span::from_micros(150), "{:?}", bench.error());
    assert_eq!(bench.tracker.servo.steps(), 0);
}

#[test]
fn a_small_step_is_slewed_and_leaves_the_rate_alone() {
    let mut bench = Bench::synced(10.0);
    bench.offset += 2e6; // 2 ms
    let update = bench.look().update.unwrap();
    assert!(matches!(update.adjustment, Some(Adjustment::Slewing(_))), "{update:?}");
    assert!(update.uncertainty_at(update.estimate.at) > Span::from_millis(1), "it knows that it is off");
    assert_eq!(update.quality, SyncQuality::Holdover);
    for _ in 0..3 {
        bench.look();
        assert!((bench.tracker.skew.as_ppm() - 10.0).abs() < 1.0, "{:?}", bench.tracker.skew);
    }
}

#[test]
fn a_large_step_is_stepped() {
    let mut bench = Bench::synced(10.0);
    bench.offset += 1e9;
    let update = bench.look().update.unwrap();
    assert!(matches!(update.adjustment, Some(Adjustment::Stepped { .. })), "{update:?}");
    assert!(bench.error().abs() < Span::from_micros(1));
    assert_eq!(update.quality, SyncQuality::Synced);
}

#[test]
fn a_reference_that_is_not_sure_is_not_synced() {
    let mut bench = Bench::new(0.0);
    for (uncertainty, quality) in [
        (Span::from_millis(1_900), SyncQuality::Acquiring),
        (Span::from_millis(11), SyncQuality::Acquiring),
        (Span::from_millis(9), SyncQuality::Synced),
        (Span::from_millis(11), SyncQuality::Holdover),
        (Span::from_micros(1), SyncQuality::Synced),
    ] {
        for _ in 0..20 {
            bench.advance();
            let reading = Reading { uncertainty, ..bench.reading(ReferenceState::Synced) };
            bench.tracker.handle(Timestamp::from_nanos(bench.now), Some(&reading));
        }
        assert_eq!(bench.quality(), quality, "{uncertainty:?}");
    }
}

#[test]
fn a_reference_that_goes_back_holds_or_begins_anew() {
    for (by, begins) in [(-1.5e9, false), (-3.6e12, true), (3.6e12, true)] {
        let mut bench = Bench::synced(10.0);
        bench.offset += by;
        let update = bench.look().update.unwrap();
        assert_eq!(matches!(update.adjustment, Some(Adjustment::Began { .. })), begins, "{update:?}");
        let expected = if begins { SyncQuality::Synced } else { SyncQuality::Holdover };
        assert_eq!(update.quality, expected);
        for _ in 0..16 {
            bench.look();
        }
        assert_eq!(bench.quality(), SyncQuality::Synced);
        assert!(bench.error().abs() < Span::from_micros(1));
    }
}

#[test]
fn an_unsynced_reference_says_why_and_once() {
    let mut bench = Bench::new(0.0);
    assert_eq!(bench.look_at_nothing(Some("run chrony")).unusable.as_deref(), Some("run chrony"));
    assert_eq!(bench.look_at_nothing(Some("run chrony")).unusable, None);
    assert_eq!(bench.quality(), SyncQuality::Unsynced);
    bench.look();
    assert_eq!(bench.look_at_nothing(Some("run chrony")).unusable.as_deref(), Some("run chrony"));
    assert_eq!(bench.quality(), SyncQuality::Unsynced);
}

#[test]
fn a_reference_that_is_lost_is_held_over() {
    let mut bench = Bench::synced(25.0);
    let mut updates = Vec::new();
    for _ in 0..40 {
        updates.extend(bench.look_at_nothing(None).update);
    }
    let [update] = updates[..] else { panic!("{updates:?}") };
    assert_eq!((update.quality, update.adjustment), (SyncQuality::Holdover, None));
    // 5 s at the rate that was learnt.
    assert!(bench.error().abs() < Span::from_micros(2), "{:?}", bench.error());
    assert!(update.uncertainty_at(Timestamp::from_nanos(bench.now)) > bench.error().abs());
    bench.look();
    assert_eq!(bench.quality(), SyncQuality::Synced);
}

#[test]
fn the_references_own_uncertainty_is_the_clocks() {
    let mut bench = Bench::synced(0.0);
    let update = bench.look().update.unwrap();
    let uncertainty = update.uncertainty_at(update.estimate.at);
    assert!((Span::from_micros(3)..Span::from_micros(4)).contains(&uncertainty), "{uncertainty:?}");
}
