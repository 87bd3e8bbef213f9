use proptest::prelude::*;

use super::*;

/// 2027-01-01 00:00 UTC.
const MIDNIGHT: Timestamp<Rig> = Timestamp::from_nanos(1_798_761_600_000_000_000);

fn ns(span: Span) -> i64 {
    span.as_nanos()
}

/// A source that does a leap, and the rig time that its follower should have, as functions of a time that knows no leaps. That
/// time is the source's until the leap.
#[derive(Debug, Clone, Copy)]
struct Source {
    kind: LeapKind,
    /// How long after the midnight the source does it.
    late: Span,
    /// The size of the step, instead of a second.
    size: Span,
    announces: bool,
}

impl Source {
    fn new(kind: LeapKind) -> Self {
        Self { kind, late: Span::ZERO, size: SECOND, announces: true }
    }

    fn has_leapt(&self, at: Timestamp<Rig>) -> bool {
        let first = match self.kind {
            LeapKind::Insert => MIDNIGHT,
            LeapKind::Delete => MIDNIGHT - SECOND,
        };
        at >= first + self.late
    }

    fn read(&self, at: Timestamp<Rig>) -> Timestamp<Rig> {
        match (self.has_leapt(at), self.kind) {
            (false, _) => at,
            (true, LeapKind::Insert) => at - self.size,
            (true, LeapKind::Delete) => at + self.size,
        }
    }

    fn notice(&self, at: Timestamp<Rig>) -> LeapNotice {
        match self.kind {
            _ if !self.announces || self.has_leapt(at) || at < MIDNIGHT - DAY => LeapNotice::None,
            LeapKind::Insert => LeapNotice::Insert,
            LeapKind::Delete => LeapNotice::Delete,
        }
    }

    /// Rig time by the definition, from the source's time.
    fn rig(&self, at: Timestamp<Rig>) -> Timestamp<Rig> {
        if !self.has_leapt(at) {
            return at;
        }
        let source = self.read(at);
        let part = ((source - MIDNIGHT).as_secs_f64() / 86_400.0).clamp(0.0, 1.0);
        let left = Span::from_secs_f64(1.0 - part);
        if self.kind == LeapKind::Insert { source + left } else { source - left }
    }
}

/// A follower that reads `source` at an interval, with a clock of its own that is off by `ppm`, and readings that are off by up to
/// `noise`.
struct Follower {
    source: Source,
    smear: LeapSmear,
    at: Timestamp<Rig>,
    /// Rig time by the last reading, which the own clock continues.
    last: Option<(Timestamp<Rig>, Timestamp<Rig>)>,
    ppm: f64,
    noise: Span,
    random: u64,
}

impl Follower {
    fn new(source: Source, begin: Timestamp<Rig>) -> Self {
        let smear = LeapSmear::default();
        Self { source, smear, at: begin, last: None, ppm: 30.0, noise: Span::ZERO, random: 1 }
    }

    fn random(&mut self) -> f64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.random >> 32).unwrap()) / f64::from(u32::MAX) * 2.0 - 1.0
    }

    fn expected(&self) -> Option<Timestamp<Rig>> {
        self.last.map(|(at, rig)| rig + (self.at - at).mul_f64(1.0 + self.ppm * 1e-6))
    }

    /// A reading, off by `by`. Returns the error of what becomes of it.
    fn read_off_by(&mut self, by: Span) -> Span {
        let reading = self.source.read(self.at) + by;
        self.smear.note(self.source.notice(self.at), reading);
        let rig = self.smear.observe(reading, self.expected());
        rig - self.source.rig(self.at)
    }

    fn read(&mut self) -> Span {
        let noise = self.noise.mul_f64(self.random());
        let error = self.read_off_by(noise);
        if error.abs() < NEAR {
            self.last = Some((self.at, self.source.rig(self.at) + error));
        }
        error
    }

    /// Reads at `interval` until `end`. Returns the greatest error.
    fn read_until(&mut self, end: Timestamp<Rig>, interval: Span) -> Span {
        let mut worst = Span::ZERO;
        while self.at < end {
            worst = worst.max(self.read().abs());
            self.at += interval;
        }
        worst
    }
}

const BOTH: [LeapKind; 2] = [LeapKind::Insert, LeapKind::Delete];

#[test]
fn the_correction_decays_over_a_day() {
    let leap = Leap { kind: LeapKind::Insert, midnight: MIDNIGHT };
    for (secs, left_us) in [(-1, 1_000_000), (0, 1_000_000), (43_200, 500_000), (86_400, 0), (90_000, 0)] {
        assert_eq!(leap.correction(MIDNIGHT + Span::from_secs(secs)), Span::from_micros(left_us), "{secs}");
    }
    // 11.6 ppm
    let hour = leap.correction(MIDNIGHT) - leap.correction(MIDNIGHT + Span::from_secs(3_600));
    assert_eq!(hour, Span::from_nanos(41_666_667));
    let deleted = Leap { kind: LeapKind::Delete, ..leap };
    assert_eq!(deleted.correction(MIDNIGHT), Span::from_secs(-1));
}

#[test]
fn rig_time_goes_on_smoothly_at_any_interval_announced_or_not() {
    for kind in BOTH {
        for announces in [true, false] {
            for interval in [Span::from_millis(125), Span::from_secs(1), Span::from_secs(64)] {
                let source = Source { announces, ..Source::new(kind) };
                let mut follower = Follower::new(source, MIDNIGHT - Span::from_secs(200));
                let worst = follower.read_until(MIDNIGHT + Span::from_secs(400), interval);
                assert!(worst <= Span::from_nanos(1), "{worst:?} {source:?} {interval:?}");
                assert_eq!(follower.smear.smearing(), Some(Leap { kind, midnight: MIDNIGHT }));
                let worst = follower.read_until(MIDNIGHT + DAY + Span::from_secs(100), Span::from_secs(64));
                assert!(worst <= Span::from_nanos(1), "{worst:?}");
                assert_eq!(follower.smear.smearing(), None);
                assert_eq!(follower.source.read(follower.at), follower.source.rig(follower.at));
            }
        }
    }
}

#[test]
fn an_unannounced_leap_is_in_doubt_until_the_fourth_reading() {
    for (announces, expected) in [(true, [false; 5]), (false, [true, true, true, false, false])] {
        let source = Source { announces, ..Source::new(LeapKind::Insert) };
        let mut follower = Follower::new(source, MIDNIGHT - Span::from_secs(3));
        follower.read_until(MIDNIGHT, Span::from_millis(125));
        let doubts = expected.map(|_| {
            follower.read();
            follower.at += Span::from_millis(125);
            follower.smear.is_in_doubt()
        });
        assert_eq!(doubts, expected);
    }
}

#[test]
fn one_wild_reading_at_midnight_is_no_leap() {
    for announces in [true, false] {
        // It does no leap within the time of the test.
        let late = Span::from_secs(100_000);
        let source = Source { announces, late, ..Source::new(LeapKind::Insert) };
        let mut follower = Follower::new(source, MIDNIGHT - Span::from_secs(3));
        follower.read_until(MIDNIGHT, Span::from_millis(125));
        for _ in 0..3 {
            follower.read_off_by(Span::from_secs(-1));
            follower.at += Span::from_millis(125);
        }
        assert_eq!(follower.read(), Span::ZERO);
        assert!(!follower.smear.is_in_doubt() && follower.smear.smearing().is_none());
    }
}

#[test]
fn another_step_is_no_leap() {
    let of = |size_ms, late_s| {
        let (size, late) = (Span::from_millis(size_ms), Span::from_secs(late_s));
        let source = Source { announces: false, size, late, ..Source::new(LeapKind::Insert) };
        let mut follower = Follower::new(source, MIDNIGHT - Span::from_secs(3));
        follower.read_until(MIDNIGHT + Span::from_secs(late_s + 10), Span::from_millis(125));
        follower.smear.smearing()
    };
    assert!(of(1_000, 0).is_some() && of(1_040, 0).is_some() && of(960, 0).is_some());
    assert_eq!((of(900, 0), of(1_100, 0), of(2_000, 0)), (None, None, None));
    // Five seconds after the midnight, and at noon.
    assert_eq!((of(1_000, 5), of(1_000, 43_200)), (None, None));
}

#[test]
fn an_announced_leap_may_come_late() {
    for kind in BOTH {
        let source = Source { late: Span::from_secs(600), ..Source::new(kind) };
        let mut follower = Follower::new(source, MIDNIGHT - Span::from_secs(30));
        let worst = follower.read_until(MIDNIGHT + Span::from_secs(1_200), Span::from_secs(1));
        assert!(follower.smear.smearing().is_some());
        // The correction has decayed a little by then: a jump of 7 ms for 10 minutes.
        assert!(worst <= Span::from_millis(8), "{worst:?}");
    }
}

#[test]
fn an_announcement_that_is_withdrawn_or_comes_to_nothing_ends() {
    let mut smear = LeapSmear::default();
    smear.note(LeapNotice::Insert, MIDNIGHT - Span::from_secs(4_000));
    assert_eq!(smear.announced(), Some(Leap { kind: LeapKind::Insert, midnight: MIDNIGHT }));
    smear.note(LeapNotice::None, MIDNIGHT - Span::from_secs(3_000));
    assert_eq!(smear.announced(), None);
    smear.note(LeapNotice::Delete, MIDNIGHT - Span::from_secs(60));
    for (secs, stands) in [(-5, true), (5, true), (3_500, true), (3_700, false)] {
        smear.note(LeapNotice::None, MIDNIGHT + Span::from_secs(secs));
        assert_eq!(smear.announced().is_some(), stands, "{secs}");
    }
    // One that is announced for the whole month is for the next midnight, each day.
    smear.note(LeapNotice::Insert, MIDNIGHT + Span::from_secs(3_800));
    assert_eq!(smear.announced().unwrap().midnight, MIDNIGHT + DAY);
}

#[test]
fn without_an_own_clock_a_reading_is_taken_as_it_is() {
    let mut smear = LeapSmear::default();
    smear.note(LeapNotice::Insert, MIDNIGHT - Span::from_secs(1));
    assert_eq!(smear.observe(MIDNIGHT, None), MIDNIGHT);
    assert_eq!(smear.rig_time(MIDNIGHT, None), MIDNIGHT);
}

#[test]
fn ntp_announces_with_two_bits() {
    let expected = [LeapNotice::None, LeapNotice::Insert, LeapNotice::Delete, LeapNotice::None];
    assert_eq!([0, 1, 2, 3].map(LeapNotice::from_ntp), expected);
}

proptest! {
    /// Readings at any interval and phase, with noise, by a clock that is off: rig time is right to the noise, at each reading, from
    /// the day before the leap to the day after its end.
    #[test]
    fn rig_time_is_smooth(
        deletes: bool, announces: bool, ppm in -60.0..60.0, phase_ms in 0_i64..70_000, noise_us in 0_i64..15_000, seed: u64,
        interval_ms in prop_oneof![Just(125_i64), Just(64_000), 10_i64..70_000],
    ) {
        let kind = BOTH[usize::from(deletes)];
        let source = Source { announces, ..Source::new(kind) };
        let begin = MIDNIGHT - Span::from_secs(150) - Span::from_millis(phase_ms);
        let (noise, random) = (Span::from_micros(noise_us), seed);
        let mut follower = Follower { ppm, noise, random, ..Follower::new(source, begin) };
        let interval = Span::from_millis(interval_ms);
        // The correction depends on the reading, and so on its noise: by 11.6 ppm of it.
        let tolerance = ns(noise) + ns(noise) / 80_000 + 3;
        let worst = follower.read_until(MIDNIGHT + Span::from_secs(10).max(interval * 6), interval);
        prop_assert!(ns(worst) <= tolerance, "{:?}", worst);
        prop_assert_eq!(follower.smear.smearing(), Some(Leap { kind, midnight: MIDNIGHT }));
        let worst = follower.read_until(MIDNIGHT + DAY + Span::from_secs(300), Span::from_secs(61));
        prop_assert!(ns(worst) <= tolerance, "{:?}", worst);
        prop_assert_eq!(follower.smear.smearing(), None);
    }

    /// Whatever the source says and reads: rig time is the source's time, or that corrected by a second at most.
    #[test]
    fn it_never_corrects_by_more_than_a_second(
        readings in proptest::collection::vec((0_u8..4, -20_000_000_000_i64..20_000_000_000, -2_000_000_000_i64..2_000_000_000), 1..60),
    ) {
        let mut smear = LeapSmear::default();
        for (bits, after, off) in readings {
            let source = MIDNIGHT + Span::from_nanos(after);
            smear.note(LeapNotice::from_ntp(bits), source);
            let expected = Some(source + Span::from_nanos(off));
            let foreseen = smear.rig_time(source, expected);
            let rig = smear.observe(source, expected);
            prop_assert!((rig - source).abs() <= SECOND);
            prop_assert_eq!(rig, foreseen);
        }
    }
}
