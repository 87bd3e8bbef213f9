//! Finds out which of the host's clocks a camera stamps its frames with.
//!
//! libcamera documents `SensorTimestamp` as `CLOCK_BOOTTIME`. But V4L2 drivers stamp with `CLOCK_MONOTONIC`, and so does
//! libcamera's virtual camera. The two clocks differ by the time that the device was suspended, or by the offsets of a time
//! namespace. The age of a stamp tells its clock: a frame arrives some milliseconds after its stamp, neither before it nor
//! minutes later.
//!
//! If both clocks give a plausible age, the monotonic one is assumed, because all V4L2 drivers use it, and the result says so. A
//! boot-time stamp that is younger than the difference of the clocks would be in the monotonic clock's future, so for most such
//! cameras the first frame decides.

use std::fmt;

use crate::time::{Boottime, Local, Span, Timestamp};

/// A clock that cameras use for stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StampClock {
    /// `CLOCK_BOOTTIME`.
    Boottime,
    /// `CLOCK_MONOTONIC`.
    Monotonic,
}

impl StampClock {
    /// Its name in `stats`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boottime => "boottime",
            Self::Monotonic => "monotonic",
        }
    }
}

/// How the clock of a stamp was determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StampBasis {
    /// Both clocks read the same.
    Same,
    /// By the other clock, the stamp would be in the future or too old.
    Age,
    /// Both clocks are possible.
    Assumed,
}

impl StampBasis {
    /// Its name in `stats`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Age => "age",
            Self::Assumed => "assumed",
        }
    }
}

/// The clock of a stamp, and how it was determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StampedBy {
    /// The clock.
    pub clock: StampClock,
    /// How it was determined.
    pub basis: StampBasis,
}

/// The host's clocks at the arrival of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// `CLOCK_BOOTTIME`.
    pub boottime: Timestamp<Boottime>,
    /// `CLOCK_MONOTONIC`.
    pub monotonic: Timestamp<Local>,
}

/// A stamp that is of neither clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StampMismatch {
    /// Its age by `CLOCK_BOOTTIME`; negative: in the future.
    pub boottime_age: Span,
    /// Its age by `CLOCK_MONOTONIC`.
    pub monotonic_age: Span,
    /// Number of such stamps in a row.
    pub in_a_row: u32,
}

impl StampMismatch {
    /// Whether the camera's stamps are unusable. Single bad stamps do not count: some drivers' first ones are bad.
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        self.in_a_row >= LASTING
    }
}

impl fmt::Display for StampMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = |age: Span| {
            let seconds = age.as_secs_f64();
            if seconds < 0.0 {
                format!("{:.3} s in its future", -seconds)
            } else {
                format!("{seconds:.3} s in its past")
            }
        };
        write!(
            f,
            "when a frame comes, its stamp is {} by CLOCK_BOOTTIME, {} by CLOCK_MONOTONIC",
            age(self.boottime_age),
            age(self.monotonic_age)
        )
    }
}

/// Stamps may be this far in the future: drivers that derive them from a camera's own clock err by some milliseconds.
const FUTURE: Span = Span::from_millis(20);

/// A frame arrives at most this long, plus four frame periods, after its stamp. Chosen: far longer than any camera needs, far
/// shorter than the suspends that matter.
const LONGEST: Span = Span::from_secs(10);

/// This number of mismatches in a row means that the stamps are unusable.
const LASTING: u32 = 5;

/// Identifies the clock of one camera's stamps.
#[derive(Debug, Clone, Copy, Default)]
pub struct StampIdentifier {
    known: Option<StampedBy>,
    mismatches: u32,
}

impl StampIdentifier {
    /// Converts the stamp `stamp_ns` to boot time. Its frame arrived at `arrival`; frames come every `period`.
    ///
    /// # Errors
    /// If the stamp fits neither clock.
    pub fn handle(
        &mut self,
        stamp_ns: i64,
        arrival: Arrival,
        period: Span,
    ) -> Result<(Timestamp<Boottime>, StampedBy), StampMismatch> {
        let of_boottime = Timestamp::<Boottime>::from_nanos(stamp_ns);
        let boottime_age = arrival.boottime - of_boottime;
        let monotonic_age = arrival.monotonic - Timestamp::from_nanos(stamp_ns);
        let longest = LONGEST + period * 4;
        let fits = |age: Span| age >= Span::ZERO - FUTURE && age <= longest;
        let ahead = boottime_age - monotonic_age;
        let assumed = StampedBy { clock: StampClock::Monotonic, basis: StampBasis::Assumed };
        let by = match (fits(boottime_age), fits(monotonic_age)) {
            (false, false) => {
                self.mismatches = self.mismatches.saturating_add(1);
                return Err(StampMismatch { boottime_age, monotonic_age, in_a_row: self.mismatches });
            }
            (true, true) if ahead == Span::ZERO => {
                StampedBy { clock: StampClock::Boottime, basis: StampBasis::Same }
            }
            (true, false) => StampedBy { clock: StampClock::Boottime, basis: StampBasis::Age },
            (false, true) => StampedBy { clock: StampClock::Monotonic, basis: StampBasis::Age },
            // An earlier frame may have decided.
            (true, true) => self.known.filter(|known| known.basis == StampBasis::Age).unwrap_or(assumed),
        };
        (self.known, self.mismatches) = (Some(by), 0);
        let time = match by.clock {
            StampClock::Boottime => of_boottime,
            StampClock::Monotonic => of_boottime + ahead,
        };
        Ok((time, by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Span = Span::from_millis(33);

    /// Stamp and arrival of a frame: stamped at 1000 s of the monotonic clock, 40 ms before its arrival. Boot time is ahead by
    /// `ahead`.
    fn frame(ahead: Span) -> (i64, Arrival) {
        let stamp = Timestamp::<Local>::from_nanos(1_000_000_000_000);
        let monotonic = stamp + Span::from_millis(40);
        let boottime = Timestamp::from_nanos(monotonic.as_nanos()) + ahead;
        (stamp.as_nanos(), Arrival { boottime, monotonic })
    }

    fn told(stamps: &mut StampIdentifier, stamp: i64, arrival: Arrival) -> (Span, StampClock, StampBasis) {
        let (time, by) = stamps.handle(stamp, arrival, PERIOD).unwrap();
        (arrival.boottime - time, by.clock, by.basis)
    }

    #[test]
    fn the_age_tells_the_clock() {
        let age = Span::from_millis(40);
        for ahead in [Span::from_secs(3600), Span::from_secs(-3600), Span::from_secs(60)] {
            let (stamp, arrival) = frame(ahead);
            let monotonic = told(&mut StampIdentifier::default(), stamp, arrival);
            assert_eq!(monotonic, (age, StampClock::Monotonic, StampBasis::Age), "{ahead:?}");
            let boottime = told(&mut StampIdentifier::default(), stamp + ahead.as_nanos(), arrival);
            assert_eq!(boottime, (age, StampClock::Boottime, StampBasis::Age), "{ahead:?}");
        }
        let (stamp, arrival) = frame(Span::ZERO);
        assert_eq!(
            told(&mut StampIdentifier::default(), stamp, arrival),
            (age, StampClock::Boottime, StampBasis::Same)
        );
    }

    #[test]
    fn after_a_short_suspend_boot_time_is_detected_and_monotonic_time_is_assumed() {
        let (age, ahead) = (Span::from_millis(40), Span::from_secs(2));
        let (stamp, arrival) = frame(ahead);
        let mut stamps = StampIdentifier::default();
        assert_eq!(told(&mut stamps, stamp, arrival), (age, StampClock::Monotonic, StampBasis::Assumed));
        let of_boottime = stamp + ahead.as_nanos();
        assert_eq!(told(&mut stamps, of_boottime, arrival), (age, StampClock::Boottime, StampBasis::Age));
        // A late stamp could be of either clock: earlier stamps decide.
        let late = of_boottime - 2_500_000_000;
        assert_eq!(told(&mut stamps, late, arrival).1, StampClock::Boottime);
    }

    #[test]
    fn a_stamp_that_fits_neither_clock_is_an_error() {
        let (stamp, arrival) = frame(Span::from_secs(3600));
        let mut stamps = StampIdentifier::default();
        let wall = 1_700_000_000_000_000_000;
        let mismatches: Vec<_> =
            (0..LASTING).map(|_| stamps.handle(wall, arrival, PERIOD).unwrap_err()).collect();
        assert!(!mismatches[0].is_lasting() && mismatches.last().unwrap().is_lasting());
        assert!(mismatches[0].to_string().contains("in its future by CLOCK_BOOTTIME"), "{}", mismatches[0]);
        told(&mut stamps, stamp, arrival);
        let old = stamp - 20_000_000_000;
        let again = stamps.handle(old, arrival, PERIOD).unwrap_err();
        assert_eq!((again.in_a_row, again.monotonic_age), (1, Span::from_millis(20_040)));
        // With long frames, an old stamp is plausible.
        stamps.handle(old, arrival, Span::from_secs(20)).unwrap();
    }
}
