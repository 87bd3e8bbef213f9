//! What date rig time stands for: a note on a time scale by somebody who knows the date.
//!
//! A rig whose devices have neither a clock chip nor a network begins its time scale at some old date. The date that it really was can
//! be told to it later. That changes no frame: rig time, numbers and names of files stay. It only says how to read them.

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::message::TimeScale;
use crate::time::{Realtime, Rig, Span, Timestamp};

/// Most time scales whose dates are kept: a rig has one, and another after each time that all of it was off.
const MAX_DATES: usize = 8;

/// How far from each other rig time and the clock beside it may have been read, at most. Chosen: a phone at the edge of a network.
pub const MAX_UNCERTAINTY: Span = Span::from_secs(5);

/// Longest name of who gave a date, in bytes.
const MAX_BY: usize = 100;

/// What a date can be: 2020 to 2200. A phone that says otherwise does not know it.
const DATES: std::ops::Range<i64> = 1_577_836_800_000_000_000..7_258_118_400_000_000_000;

/// How fast rig time may gain on the true time: it runs at the rate of a crystal, of which nothing is known.
const RATE_PPM: i64 = 100;

/// "At this instant of rig time it was this date": by the clock of who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RigDate {
    /// The time scale that this is about.
    pub timescale: TimeScale,
    /// An instant of it.
    pub rig_time_ns: Timestamp<Rig>,
    /// The date at that instant, in ns since 1970, UTC.
    pub utc_ns: Timestamp<Realtime>,
    /// How far apart the two may have been read. How right the clock was that the date is from, nobody knows here.
    pub uncertainty_ns: Span,
    /// Who gave the date, for a person.
    #[serde(deserialize_with = "bounded::text")]
    pub by: String,
}

/// Why a date is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RigDateError {
    /// The date itself.
    #[error("the date is not of the years 2020 to 2199: is the clock that it comes from set?")]
    Date,
    /// What it may be off.
    #[error("rig time and the clock were read more than {} s apart, or none", MAX_UNCERTAINTY.as_secs_f64())]
    Uncertainty,
    /// Who gave it.
    #[error("who gave the date is longer than {MAX_BY} bytes, or has control characters")]
    By,
}

impl RigDate {
    /// Checks a date that came from the network.
    ///
    /// # Errors
    /// [`RigDateError`].
    pub fn check(&self) -> Result<(), RigDateError> {
        match self {
            _ if !DATES.contains(&self.utc_ns.as_nanos()) => Err(RigDateError::Date),
            _ if self.uncertainty_ns.is_negative() || self.uncertainty_ns > MAX_UNCERTAINTY => {
                Err(RigDateError::Uncertainty)
            }
            _ if self.by.len() > MAX_BY || self.by.contains(char::is_control) => Err(RigDateError::By),
            _ => Ok(()),
        }
    }

    /// What has to be added to rig time for the date.
    #[must_use]
    pub fn ahead(&self) -> Span {
        Span::from_nanos(self.utc_ns.as_nanos().saturating_sub(self.rig_time_ns.as_nanos()))
    }

    /// The date at the instant `at` of its time scale.
    #[must_use]
    pub fn utc_at(&self, at: Timestamp<Rig>) -> Timestamp<Realtime> {
        Timestamp::from_nanos(at.as_nanos().saturating_add(self.ahead().as_nanos()))
    }

    /// What [`utc_at`](Self::utc_at) may be off, if the clock was right that the date comes from: rig time runs at its own rate.
    #[must_use]
    pub fn uncertainty_at(&self, at: Timestamp<Rig>) -> Span {
        let since = at.as_nanos().saturating_sub(self.rig_time_ns.as_nanos()).saturating_abs();
        Span::from_nanos(self.uncertainty_ns.as_nanos().saturating_add(since / 1_000_000 * RATE_PPM))
    }

    /// Of two dates of a time scale the later given counts; the instant says which that is, whatever the clocks said.
    fn replaces(&self, other: &Self) -> bool {
        (self.rig_time_ns, self.utc_ns, &self.by) > (other.rig_time_ns, other.utc_ns, &other.by)
    }
}

/// The dates of the last time scales, one each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RigDates(#[serde(deserialize_with = "bounded::list::<_, _, MAX_DATES>")] Vec<RigDate>);

impl RigDates {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The date of `timescale`, if it was given.
    #[must_use]
    pub fn of(&self, timescale: TimeScale) -> Option<&RigDate> {
        self.0.iter().find(|date| date.timescale == timescale)
    }

    /// Adds a date, unless it is none, or a later one is known of its time scale. Whether it was added.
    pub fn add(&mut self, date: RigDate) -> bool {
        if date.check().is_err() || self.of(date.timescale).is_some_and(|own| !date.replaces(own)) {
            return false;
        }
        self.0.retain(|own| own.timescale != date.timescale);
        if self.0.len() >= MAX_DATES {
            self.0.remove(0);
        }
        self.0.push(date);
        true
    }

    /// Adds what another knows. Whether anything was new.
    pub fn merge(&mut self, other: &Self) -> bool {
        let added: Vec<_> = other.0.iter().map(|date| self.add(date.clone())).collect();
        added.contains(&true)
    }
}

/// A device's reply to a [`RigDate`] that it has taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RigDateReply {
    /// The date that counts there now: a later one stays.
    pub date: RigDate,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    /// 2027-01-15.
    const UTC: i64 = 1_800_000_000 * SECOND;

    fn date(timescale: u64, rig_seconds: i64) -> RigDate {
        RigDate {
            timescale: TimeScale(timescale),
            rig_time_ns: Timestamp::from_nanos(rig_seconds * SECOND),
            utc_ns: Timestamp::from_nanos(UTC),
            uncertainty_ns: Span::from_millis(12),
            by: "browser at 10.0.0.7".into(),
        }
    }

    #[test]
    fn a_date_runs_on_with_rig_time_and_its_uncertainty_grows() {
        let date = date(1, 1_000);
        let at = |seconds| Timestamp::from_nanos(seconds * SECOND);
        assert_eq!(date.utc_at(at(1_000)), date.utc_ns);
        assert_eq!(date.utc_at(at(1_090)).as_nanos(), UTC + 90 * SECOND);
        assert_eq!(date.utc_at(at(10)).as_nanos(), UTC - 990 * SECOND, "earlier instants have a date too");
        assert_eq!(date.uncertainty_at(at(1_000)), Span::from_millis(12));
        // 100 ppm of 1000 s, forwards and backwards.
        assert_eq!([2_000, 0].map(|seconds| date.uncertainty_at(at(seconds))), [Span::from_millis(112); 2]);
        assert!(
            date.uncertainty_at(Timestamp::MAX) > Span::from_secs(1)
                && date.utc_at(Timestamp::MAX) == Timestamp::MAX
        );
    }

    #[test]
    fn what_is_no_date_is_refused() {
        let good = date(1, 1_000);
        assert_eq!(good.check(), Ok(()));
        let of = |change: &dyn Fn(&mut RigDate)| {
            let mut date = good.clone();
            change(&mut date);
            date.check().unwrap_err()
        };
        assert_eq!(of(&|date| date.utc_ns = Timestamp::from_nanos(0)), RigDateError::Date);
        assert_eq!(of(&|date| date.utc_ns = Timestamp::MAX), RigDateError::Date);
        assert_eq!(of(&|date| date.uncertainty_ns = Span::from_nanos(-1)), RigDateError::Uncertainty);
        assert_eq!(of(&|date| date.uncertainty_ns = Span::from_secs(6)), RigDateError::Uncertainty);
        assert_eq!(of(&|date| date.by = "x".repeat(101)), RigDateError::By);
        assert_eq!(of(&|date| date.by = "a\u{1b}[2J".into()), RigDateError::By);
        let mut dates = RigDates::default();
        assert!(!dates.add(RigDate { utc_ns: Timestamp::MAX, ..good }) && dates.is_empty());
    }

    #[test]
    fn the_later_date_of_a_time_scale_counts_in_whatever_order_they_come() {
        let (early, late) = (date(1, 10), RigDate { by: "another phone".into(), ..date(1, 20) });
        for pair in [[&early, &late], [&late, &early]] {
            let mut dates = RigDates::default();
            for date in pair {
                dates.add(date.clone());
            }
            assert_eq!(dates.of(TimeScale(1)), Some(&late));
            assert!(!dates.add(late.clone()), "it is known");
        }
        assert_eq!(RigDates::default().of(TimeScale(1)), None);
    }

    #[test]
    fn few_dates_are_kept_and_the_newest_stay() {
        let mut dates = RigDates::default();
        for timescale in 0..20 {
            assert!(dates.add(date(timescale, 1)));
        }
        assert_eq!(
            (0..20).filter(|one| dates.of(TimeScale(*one)).is_some()).collect::<Vec<_>>(),
            (12..20).collect::<Vec<_>>()
        );
        let mut other = RigDates::default();
        assert!(other.merge(&dates) && !other.merge(&dates) && other == dates);
        let json = serde_json::to_value(&dates).unwrap();
        assert_eq!(serde_json::from_value::<RigDates>(json.clone()).unwrap(), dates);
        let mut longer = json;
        let one = longer[0].clone();
        longer.as_array_mut().unwrap().push(one);
        assert!(serde_json::from_value::<RigDates>(longer).is_err());
    }
}
