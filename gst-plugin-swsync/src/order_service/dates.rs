//! What dates the rig's time scales stand for, as far as this device knows.

use std::sync::Arc;

use parking_lot::Mutex;
use swsync_core::message::TimeScale;
use swsync_core::rig_date::{RigDate, RigDates};

/// The dates, shared by who hears of them and who writes them into takes. They are not kept on the disk: a time scale lives as long as
/// a device that is in it, and whoever comes back to it learns its date from the others.
#[derive(Debug, Clone, Default)]
pub struct KnownDates(Arc<Mutex<RigDates>>);

impl KnownDates {
    /// The date of `timescale`.
    pub fn of(&self, timescale: Option<TimeScale>) -> Option<RigDate> {
        self.0.lock().of(timescale?).cloned()
    }

    /// All of them.
    pub fn all(&self) -> RigDates {
        self.0.lock().clone()
    }

    /// Learns what others know.
    pub fn learn(&self, known: &RigDates) {
        if self.0.lock().merge(known) {
            swsync_core::log::info!("what date it is was said while this device was away");
        }
    }

    /// Notes a date of the time scale `own`. Returns the date that counts now, or why this one cannot be noted.
    pub fn give(&self, date: RigDate, own: Option<TimeScale>) -> Result<RigDate, String> {
        date.check().map_err(|error| error.to_string())?;
        match own {
            Some(own) if own == date.timescale => {}
            Some(own) => {
                return Err(format!(
                    "the date is of time scale {}, and its clock is on {own}",
                    date.timescale
                ));
            }
            None => return Err("its clock is on no time scale yet".to_owned()),
        }
        let mut dates = self.0.lock();
        dates.add(date.clone());
        Ok(dates.of(date.timescale).cloned().unwrap_or(date))
    }
}

#[cfg(test)]
mod tests {
    use swsync_core::time::{Span, Timestamp};

    use super::*;

    fn date(timescale: u64, at: i64) -> RigDate {
        RigDate {
            timescale: TimeScale(timescale),
            rig_time_ns: Timestamp::from_nanos(at),
            utc_ns: Timestamp::from_nanos(1_800_000_000_000_000_000),
            uncertainty_ns: Span::from_millis(8),
            by: "a phone".into(),
        }
    }

    #[test]
    fn only_a_date_of_the_own_time_scale_is_taken() {
        let dates = KnownDates::default();
        let own = Some(TimeScale(1));
        assert_eq!(dates.give(date(1, 20), own), Ok(date(1, 20)));
        assert_eq!(dates.give(date(1, 10), own), Ok(date(1, 20)), "a later one stays");
        assert!(dates.give(date(2, 30), own).unwrap_err().contains("time scale 0000000000000002"));
        assert!(dates.give(date(1, 30), None).unwrap_err().contains("no time scale yet"));
        let wrong = RigDate { utc_ns: Timestamp::from_nanos(0), ..date(1, 30) };
        assert!(dates.give(wrong, own).unwrap_err().contains("2020"));
        assert_eq!(
            (dates.of(own), dates.of(Some(TimeScale(2))), dates.of(None)),
            (Some(date(1, 20)), None, None)
        );
        let late = KnownDates::default();
        late.learn(&dates.all());
        assert_eq!(late.of(own), Some(date(1, 20)));
    }
}
