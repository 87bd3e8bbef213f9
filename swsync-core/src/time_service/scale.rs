//! Time scales, and which of two counts.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::ntp::{RigField, rig_id};
use crate::time::{Rig, Span, Timestamp};

/// Ages that differ by less count as equal: they are compared over a network, and devices that are switched on together begin
/// their scales together.
const SAME_AGE: Span = Span::from_millis(500);

/// A time scale: one run of rig time. It outlives the device that began it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// Its id.
    pub id: u64,
    /// When it began, by itself.
    #[serde(rename = "began_ns")]
    pub began: Timestamp<Rig>,
    /// It follows a source outside the rig: NTP, PTP, the system's clock.
    #[serde(default)]
    pub traceable: bool,
}

impl Scale {
    /// The scale that the sender of `field` is on.
    #[must_use]
    pub const fn of(field: &RigField) -> Self {
        Self { id: field.timescale, began: field.began, traceable: field.traceable }
    }

    /// The scale `id` that a source outside the rig keeps. It is as old as time: a leader that comes back to the source is
    /// on the same scale.
    #[must_use]
    pub const fn of_source(id: u64) -> Self {
        Self { id, began: Timestamp::ZERO, traceable: true }
    }

    /// The id of the scale that `rig` is on if its leader follows `source`.
    #[must_use]
    pub fn id_of_source(rig: &str, source: &str) -> u64 {
        rig_id(&format!("{rig}\n{source}"))
    }

    /// Which of two scales counts, each read at `now` of its own time: [`Ordering::Less`] if this one does.
    ///
    /// One that can be traced to a source comes first, then the older one. So a rig that was split agrees on the scale that
    /// it began with, and a newcomer never takes a rig over with a scale of its own.
    #[must_use]
    pub fn compare(&self, now: Timestamp<Rig>, other: &Self, other_now: Timestamp<Rig>) -> Ordering {
        if self.id == other.id {
            return Ordering::Equal;
        }
        let (age, other_age) = (now - self.began, other_now - other.began);
        other.traceable.cmp(&self.traceable).then_with(|| match age - other_age {
            difference if difference > SAME_AGE => Ordering::Less,
            difference if -difference > SAME_AGE => Ordering::Greater,
            _ => self.id.cmp(&other.id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(id: u64, began_s: i64) -> Scale {
        Scale { id, began: Timestamp::ZERO + Span::from_secs(began_s), traceable: false }
    }

    #[test]
    fn the_older_scale_counts_whatever_its_wall_clock() {
        let at = |secs| Timestamp::ZERO + Span::from_secs(secs);
        // An hour old by a wall clock in 1970, against a minute old by one in 2040.
        let (old, young) = (scale(9, 100), scale(1, 2_200_000_000));
        let now = (at(3_700), at(2_200_000_060));
        assert_eq!(old.compare(now.0, &young, now.1), Ordering::Less);
        assert_eq!(young.compare(now.1, &old, now.0), Ordering::Greater);
        assert_eq!(old.compare(now.0, &Scale { id: 9, ..young }, now.1), Ordering::Equal);
    }

    #[test]
    fn of_two_as_old_the_lesser_id_counts_and_a_source_before_all() {
        let at = Timestamp::ZERO + Span::from_secs(50);
        assert_eq!(scale(1, 10).compare(at, &scale(2, 10), at + Span::from_millis(300)), Ordering::Less);
        assert_eq!(scale(2, 10).compare(at, &scale(1, 10), at), Ordering::Greater);
        let source = Scale { traceable: true, ..scale(7, 49) };
        assert_eq!(source.compare(at, &scale(1, 0), at), Ordering::Less);
        assert_eq!(scale(1, 0).compare(at, &source, at), Ordering::Greater);
    }
}
