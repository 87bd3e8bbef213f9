use super::*;
use swsync_core::servo::Adjustment;

/// A local clock, and a reference whose time is a function of it.
struct Setup {
    tracker: Tracker,
    now: i64,
    rate_ppm: f64,
    /// Reference minus local time, beside 1.7e18 ns.
    offset: f64,
}

const STEP: i64 = 125_000_000;

impl Setup {
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

    fn reading(&self, unsynced: Option<&str>) -> ReferenceReading {
        ReferenceReading {
            before: Timestamp::from_nanos(self.now - 100),
            reference: self.reference(),
            after: Timestamp::from_nanos(self.now + 100),
            uncertainty: Span::from_micros(3),
            unsynced: unsynced.map(str::to_owned),
        }
    }

    fn read(&mut self) -> TrackerOutput {
        self.advance();
        let reading = self.reading(None);
        self.tracker.handle(Timestamp::from_nanos(self.now), Some(&reading))
    }

    fn read_nothing(&mut self, why: Option<&str>) -> TrackerOutput {
        self.advance();
        let reading = why.map(|why| self.reading(Some(why)));
        self.tracker.handle(Timestamp::from_nanos(self.now), reading.as_ref())
    }

    fn error(&self) -> Span {
        self.tracker.servo.map().unwrap().rig_at(Timestamp::from_nanos(self.now)) - self.reference()
    }

    fn quality(&self) -> SyncState {
        self.tracker.state
    }

    fn synced(rate_ppm: f64) -> Self {
        let mut setup = Self::new(rate_ppm);
        for _ in 0..40 {
            setup.read();
        }
        assert_eq!(setup.quality(), SyncState::Synced);
        setup
    }
}

#[test]
fn a_second_of_readings_makes_it_synced() {
    let mut setup = Setup::new(0.0);
    let qualities: Vec<_> = (0..8).map(|_| setup.read().update.unwrap().quality).collect();
    assert_eq!(qualities[..7], [SyncState::Acquiring; 7]);
    assert_eq!(qualities[7], SyncState::Synced);
}

#[test]
fn it_learns_the_rate() {
    let setup = Setup::synced(37.0);
    assert!((setup.tracker.skew.as_ppm() - 37.0).abs() < 0.01, "{:?}", setup.tracker.skew);
    assert!(setup.error().abs() < Span::from_nanos(300), "{:?}", setup.error());
}

#[test]
fn a_reference_that_is_slewed_is_followed() {
    let mut setup = Setup::synced(10.0);
    setup.rate_ppm = 410.0; // chrony works off a millisecond, say
    let mut worst = Span::ZERO;
    for _ in 0..40 {
        setup.read();
        worst = worst.max(setup.error().abs());
    }
    assert_eq!(setup.quality(), SyncState::Synced);
    // The slope lags by half the window. The servo corrects that over two seconds.
    assert!(worst < Span::from_millis(1), "{worst:?}");
    assert!(setup.error().abs() < Span::from_micros(150), "{:?}", setup.error());
    assert_eq!(setup.tracker.servo.steps(), 0);
}

#[test]
fn a_small_step_is_slewed_and_leaves_the_rate_alone() {
    let mut setup = Setup::synced(10.0);
    setup.offset += 2e6; // 2 ms
    let update = setup.read().update.unwrap();
    assert!(matches!(update.adjustment, Some(Adjustment::Slewing(_))), "{update:?}");
    assert!(
        update.uncertainty_at(update.estimate.at) > Span::from_millis(1),
        "the uncertainty covers the error"
    );
    assert_eq!(update.quality, SyncState::Holdover);
    for _ in 0..3 {
        setup.read();
        assert!((setup.tracker.skew.as_ppm() - 10.0).abs() < 1.0, "{:?}", setup.tracker.skew);
    }
}

#[test]
fn a_large_step_is_stepped() {
    let mut setup = Setup::synced(10.0);
    setup.offset += 1e9;
    let update = setup.read().update.unwrap();
    assert!(matches!(update.adjustment, Some(Adjustment::Stepped { .. })), "{update:?}");
    assert!(setup.error().abs() < Span::from_micros(1));
    assert_eq!(update.quality, SyncState::Synced);
}

#[test]
fn a_reference_with_a_large_uncertainty_is_not_synced() {
    let mut setup = Setup::new(0.0);
    for (uncertainty, quality) in [
        (Span::from_millis(1_900), SyncState::Acquiring),
        (Span::from_millis(11), SyncState::Acquiring),
        (Span::from_millis(9), SyncState::Synced),
        (Span::from_millis(11), SyncState::Holdover),
        (Span::from_micros(1), SyncState::Synced),
    ] {
        for _ in 0..20 {
            setup.advance();
            let reading = ReferenceReading { uncertainty, ..setup.reading(None) };
            setup.tracker.handle(Timestamp::from_nanos(setup.now), Some(&reading));
        }
        assert_eq!(setup.quality(), quality, "{uncertainty:?}");
    }
}

#[test]
fn a_clock_whose_reference_jumps_holds_or_begins_anew() {
    for (by, begins) in [(-1.5e9, false), (-3.6e12, true), (3.6e12, true)] {
        let mut setup = Setup::synced(10.0);
        setup.offset += by;
        let update = setup.read().update.unwrap();
        assert_eq!(matches!(update.adjustment, Some(Adjustment::Began { .. })), begins, "{update:?}");
        let expected = if begins { SyncState::Synced } else { SyncState::Holdover };
        assert_eq!(update.quality, expected);
        for _ in 0..16 {
            setup.read();
        }
        assert_eq!(setup.quality(), SyncState::Synced);
        assert!(setup.error().abs() < Span::from_micros(1));
    }
}

#[test]
fn an_unsynced_reference_says_why_once() {
    let mut setup = Setup::new(0.0);
    assert_eq!(setup.read_nothing(Some("run chrony")).unusable.as_deref(), Some("run chrony"));
    assert_eq!(setup.read_nothing(Some("run chrony")).unusable, None);
    assert_eq!(setup.quality(), SyncState::Unsynced);
    setup.read();
    assert_eq!(setup.read_nothing(Some("run chrony")).unusable.as_deref(), Some("run chrony"));
    assert_eq!(setup.quality(), SyncState::Unsynced);
}

#[test]
fn a_clock_whose_reference_is_lost_is_in_holdover() {
    let mut setup = Setup::synced(25.0);
    let mut updates = Vec::new();
    for _ in 0..40 {
        updates.extend(setup.read_nothing(None).update);
    }
    let [update] = updates[..] else { panic!("{updates:?}") };
    assert_eq!((update.quality, update.adjustment), (SyncState::Holdover, None));
    // 5 s at the rate that was measured.
    assert!(setup.error().abs() < Span::from_micros(2), "{:?}", setup.error());
    assert!(update.uncertainty_at(Timestamp::from_nanos(setup.now)) > setup.error().abs());
    setup.read();
    assert_eq!(setup.quality(), SyncState::Synced);
}

#[test]
fn the_clock_has_the_uncertainty_of_the_reference() {
    let mut setup = Setup::synced(0.0);
    let update = setup.read().update.unwrap();
    let uncertainty = update.uncertainty_at(update.estimate.at);
    assert!((Span::from_micros(3)..Span::from_micros(4)).contains(&uncertainty), "{uncertainty:?}");
}
