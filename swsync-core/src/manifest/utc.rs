//! Rig time as a date.

use crate::time::{Rig, Timestamp};

/// `at` as ISO 8601 in UTC with nanoseconds: `2027-01-15T08:00:00.033333400Z`.
///
/// The date is as right as the leader's wall clock was when the time scale began.
#[must_use]
pub fn utc(at: Timestamp<Rig>) -> String {
    format!("{:.9}", date(at))
}

/// `at` as a calendar date.
pub(super) fn date(at: Timestamp<Rig>) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(at.as_nanos().into())
        .expect("64 bits of nanoseconds reach from 1677 to 2262, and jiff's years from -9999 to 9999")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instant_has_a_date() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (1, "1970-01-01T00:00:00.000000001Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000000Z"),
            (1_800_000_000_033_333_400, "2027-01-15T08:00:00.033333400Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
            (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
        ] {
            assert_eq!(utc(Timestamp::from_nanos(nanos)), text);
        }
    }
}
