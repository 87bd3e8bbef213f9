use super::*;
use proptest::prelude::*;
use swsync_core::leap::LeapNotice;
use swsync_core::servo::Adjustment;
use swsync_core::time::Rig;

/// A local clock, and a reference whose time is a function of it.
struct Setup {
    tracker: Tracker,
    now: i64,
    rate_ppm: f64,
    /// Reference minus local time, beside 1.7e18 ns.
    offset: f64,
    leap: LeapNotice,
}

const STEP: i64 = 125_000_000;

impl Setup {
    fn new(rate_ppm: f64) -> Self {
        let tracker = Tracker::new(&ReferenceConfig::default(), *b"TEST", Timestamp::from_nanos(0));
        Self { tracker, now: 0, rate_ppm, offset: 0.0, leap: LeapNotice::None }
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
            leap: self.leap,
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
    assert!((setup.tracker.skew().as_ppm() - 37.0).abs() < 0.01, "{:?}", setup.tracker.skew());
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

/// Reads three times what a step has made of the reference: it is held back. Returns what the fourth reading does.
fn confirm(setup: &mut Setup) -> ClockUpdate {
    let before = *setup.tracker.servo.map().unwrap();
    let held_back: Vec<_> = (0..3).filter_map(|_| setup.read().update).collect();
    let [doubt] = held_back[..] else { panic!("{held_back:?}") };
    assert_eq!((doubt.quality, doubt.adjustment, doubt.map), (SyncState::Holdover, None, before));
    assert_eq!(setup.quality(), SyncState::Holdover);
    setup.read().update.unwrap()
}

#[test]
fn a_small_step_is_slewed_and_leaves_the_rate_alone() {
    let mut setup = Setup::synced(10.0);
    setup.offset += 2e6; // 2 ms
    let update = confirm(&mut setup);
    assert!(matches!(update.adjustment, Some(Adjustment::Slewing(_))), "{update:?}");
    assert!(
        update.uncertainty_at(update.estimate.at) > Span::from_millis(1),
        "the uncertainty covers the error"
    );
    assert_eq!(update.quality, SyncState::Holdover);
    for _ in 0..3 {
        setup.read();
        assert!((setup.tracker.skew().as_ppm() - 10.0).abs() < 1.0, "{:?}", setup.tracker.skew());
    }
}

#[test]
fn a_large_step_is_stepped() {
    let mut setup = Setup::synced(10.0);
    setup.offset += 1e9;
    let update = confirm(&mut setup);
    assert!(matches!(update.adjustment, Some(Adjustment::Stepped { .. })), "{update:?}");
    assert!(setup.error().abs() < Span::from_micros(1));
    assert_eq!(update.quality, SyncState::Synced);
}

#[test]
fn a_wild_reading_changes_nothing_but_the_state() {
    let mut setup = Setup::synced(10.0);
    for by in [1e9, -3.6e12, 2e6] {
        setup.offset += by;
        assert_eq!(setup.read().update.unwrap().quality, SyncState::Holdover);
        setup.offset -= by;
        assert_eq!(setup.read().update.unwrap().quality, SyncState::Synced);
        assert!(setup.error().abs() < Span::from_micros(1), "{:?}", setup.error());
    }
    assert_eq!(setup.tracker.servo.steps(), 0);
}

#[test]
fn a_reference_that_contradicts_itself_for_long_is_reported_once_and_followed_again() {
    let mut setup = Setup::synced(10.0);
    let mut whys = Vec::new();
    for _ in 0..60 {
        setup.offset += 20e6; // a step with each reading
        whys.extend(setup.read().unusable);
        assert_eq!(setup.quality(), SyncState::Holdover);
    }
    assert_eq!(whys, [CONTRADICTIONS]);
    setup.offset += 20e6; // the last one
    confirm_later(&mut setup);
    assert_eq!(setup.tracker.unusable, None);
}

/// Reads until the clock is in sync, which takes four readings that agree.
fn confirm_later(setup: &mut Setup) {
    let qualities: Vec<_> = (0..4)
        .map(|_| {
            setup.read();
            setup.quality()
        })
        .collect();
    assert_eq!(qualities[..3], [SyncState::Holdover; 3]);
    assert_eq!(qualities[3], SyncState::Synced);
    assert!(setup.error().abs() < Span::from_micros(1));
}

#[test]
fn a_reference_that_returns_with_another_time_is_not_believed_at_once() {
    let mut setup = Setup::synced(10.0);
    setup.read_nothing(Some("run chrony"));
    setup.offset += 3.6e12;
    confirm_later(&mut setup);
}

#[test]
fn a_reading_that_was_interrupted_is_left_out() {
    let mut setup = Setup::synced(10.0);
    setup.advance();
    let reading = setup.reading(None);
    let late = ReferenceReading { after: reading.after + Span::from_millis(40), ..reading };
    let output = setup.tracker.handle(late.after, Some(&late));
    assert!(output.update.is_none() && output.unusable.is_none());
    setup.read();
    assert!(setup.error().abs() < Span::from_micros(1));
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
        let update = confirm(&mut setup);
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
    confirm_later(&mut setup);
}

#[test]
fn the_clock_has_the_uncertainty_of_the_reference() {
    let mut setup = Setup::synced(0.0);
    let update = setup.read().update.unwrap();
    let uncertainty = update.uncertainty_at(update.estimate.at);
    assert!((Span::from_micros(3)..Span::from_micros(4)).contains(&uncertainty), "{uncertainty:?}");
}

#[test]
fn after_a_sleep_four_readings_settle_the_clock() {
    let mut setup = Setup::synced(10.0);
    // The local clock stood still for an hour; the boot-time clock was off by 3 ms.
    setup.offset += 3.6e12;
    let slept = Span::from_secs(3_600) - Span::from_millis(3);
    let update = setup.tracker.handle_resume(slept).unwrap();
    assert_eq!((update.quality, update.adjustment), (SyncState::Holdover, None));
    let error = setup.error() + Span::from_millis(3);
    assert!(error.abs() < Span::from_micros(1), "{error:?}");
    let uncertainty = update.uncertainty_at(update.estimate.at);
    assert!((Span::from_millis(180)..Span::from_millis(200)).contains(&uncertainty), "{uncertainty:?}");
    for _ in 0..3 {
        assert!(setup.read().update.is_none());
    }
    assert!(matches!(setup.read().update.unwrap().adjustment, Some(Adjustment::Slewing(_))));
    for _ in 0..120 {
        setup.read();
    }
    assert_eq!(setup.quality(), SyncState::Synced);
    assert!(setup.error().abs() < Span::from_micros(50), "{:?}", setup.error());
    assert_eq!(setup.tracker.servo.steps(), 0);
}

/// A setup whose reference is in sync and comes to the end of a UTC day two seconds later.
fn before_midnight() -> Setup {
    let mut setup = Setup::new(10.0);
    let day = 86_400_000_000_000_i64;
    let until_midnight = day - setup.reference().as_nanos().rem_euclid(day);
    #[expect(clippy::cast_precision_loss, reason = "a day in nanoseconds is exact")]
    let until_midnight = until_midnight as f64;
    setup.offset = until_midnight - 12e9;
    for _ in 0..80 {
        setup.read();
    }
    assert_eq!(setup.quality(), SyncState::Synced);
    setup
}

#[test]
fn a_leap_second_is_smeared_announced_or_not() {
    for (leap, by) in [(LeapNotice::Insert, -1e9), (LeapNotice::Delete, 1e9)] {
        for announced in [true, false] {
            let mut setup = before_midnight();
            setup.leap = if announced { leap } else { LeapNotice::None };
            let until = if by < 0.0 { 16 } else { 8 };
            for _ in 0..until {
                setup.read();
                assert_eq!(setup.quality(), SyncState::Synced);
            }
            setup.offset += by;
            let qualities: Vec<_> = (0..4)
                .map(|_| {
                    setup.read();
                    setup.quality()
                })
                .collect();
            let during = if announced { SyncState::Synced } else { SyncState::Holdover };
            assert_eq!(qualities[..3], [during; 3], "{leap:?} {announced}");
            assert_eq!(qualities[3], SyncState::Synced);
            for _ in 0..80 {
                setup.read();
            }
            assert_eq!(setup.tracker.servo.steps(), 0);
            // The reference is a second off, less the 0.1 ms of ten seconds.
            let off = Span::from_secs_f64(-by * 1e-9);
            let error = setup.error() - off;
            assert!(error.abs() > Span::from_micros(90) && error.abs() < Span::from_micros(130), "{error:?}");
            let now = Timestamp::from_nanos(setup.now);
            let stated = setup.tracker.leap_correction(now) - setup.error();
            assert!(stated.abs() < Span::from_micros(5), "{stated:?}");
        }
    }
}

#[test]
fn a_step_of_a_second_at_another_time_is_a_step() {
    let mut setup = Setup::synced(10.0);
    setup.offset -= 1e9;
    confirm(&mut setup);
    assert_eq!(setup.tracker.servo.steps(), 1);
    assert_eq!(setup.tracker.leap_correction(Timestamp::from_nanos(setup.now)), Span::ZERO);
}

/// A wild reading's deviation: of any size, but above what slewing and the reference's uncertainty explain over half a second. What
/// is smaller is followed, at the rate at which clocks are slewed.
fn any_wild() -> impl Strategy<Value = f64> {
    (prop_oneof![7e-4_f64..1e-2, 1e-2_f64..2.0, 2.0_f64..1e8], any::<bool>())
        .prop_map(|(secs, behind): (f64, bool)| if behind { -secs * 1e9 } else { secs * 1e9 })
}

proptest! {
    /// Up to three wild readings in a row, alike or not, move no clock. While they last it is in holdover.
    #[test]
    fn wild_readings_move_nothing(
        rate in -80.0..80.0,
        rounds in proptest::collection::vec((1_usize..20, proptest::collection::vec(any_wild(), 1..=3), any::<bool>()), 1..20),
    ) {
        let mut setup = Setup::synced(rate);
        for (good, wild, alike) in rounds {
            for by in &wild {
                let by = if alike { wild[0] } else { *by };
                setup.offset += by;
                setup.read();
                setup.offset -= by;
                prop_assert_eq!(setup.quality(), SyncState::Holdover, "{}", by);
                prop_assert!(setup.error().abs() < Span::from_micros(5), "{:?}", setup.error());
            }
            for _ in 0..good {
                setup.read();
                prop_assert_eq!(setup.quality(), SyncState::Synced);
                prop_assert!(setup.error().abs() < Span::from_micros(5), "{:?}", setup.error());
            }
        }
        prop_assert_eq!(setup.tracker.servo.steps(), 0);
    }

    /// A step of any size is believed by the fourth reading, at any rate; until then the clock is in holdover. It is never in sync
    /// while it is wrong by more than is allowed.
    #[test]
    fn a_step_is_believed_by_the_fourth_reading(rate in -80.0..80.0, steps in proptest::collection::vec((any_wild(), 0_usize..60), 1..6)) {
        let mut setup = Setup::synced(rate);
        for (by, then) in steps {
            prop_assume!(by.abs() < 1e9 || by > 0.0 || setup.reference().as_nanos() > 1_600_000_000_000_000_000);
            let stepped = setup.tracker.servo.steps();
            setup.offset += by;
            for _ in 0..3 {
                setup.read();
                prop_assert_eq!(setup.quality(), SyncState::Holdover);
            }
            setup.read();
            let slewed = setup.error().abs() > Span::from_micros(5);
            prop_assert!(slewed || setup.tracker.servo.steps() == stepped + 1, "{:?}", setup.error());
            for _ in 0..then {
                setup.read();
                let wrong = setup.error().abs() > Span::from_millis(1);
                prop_assert!(!(wrong && setup.quality() == SyncState::Synced), "{:?}", setup.error());
            }
            // 10 ms are slewed at 500 ppm, which takes 20 s, and the last of it exponentially.
            for _ in 0..320 {
                setup.read();
            }
            prop_assert_eq!(setup.quality(), SyncState::Synced);
            prop_assert!(setup.error().abs() < Span::from_micros(5), "{:?}", setup.error());
        }
    }

    /// A reference that is slewed, at most by 500 ppm in either direction, is never in doubt.
    #[test]
    fn slewing_is_no_step(crystal in -50.0..50.0, slews in proptest::collection::vec((-500.0..500.0, 1_usize..40), 1..20)) {
        let mut setup = Setup::synced(crystal);
        for (slew, readings) in slews {
            setup.rate_ppm = crystal + slew;
            for _ in 0..readings {
                setup.read();
                prop_assert_eq!(setup.tracker.doubt, None);
                prop_assert!(setup.error().abs() < Span::from_millis(2), "{:?}", setup.error());
            }
        }
        prop_assert_eq!(setup.tracker.servo.steps(), 0);
    }
}
