//! Which time scale a device has left lately: two rigs of one name that meet agree on one within seconds, and would then look
//! like one rig.

use serde::{Deserialize, Serialize};

use crate::message::TimeScale;
use crate::time::Span;

/// How long a change is reported. Chosen: as long as a device of another's id is.
const REPORTED: Span = Span::from_secs(600);

/// A device that has been on a time scale for less than this did not belong to another rig: it has just been started.
const SETTLED: Span = Span::from_secs(60);

/// A device has left a time scale for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TimeScaleChange {
    /// The time scale that it was on.
    pub from: TimeScale,
    /// The one that it is on.
    pub to: TimeScale,
    /// How long ago that was.
    pub ago_ns: Span,
}

/// The time scales of a device's clock since its pipeline was started. Times are counted from then.
#[derive(Debug, Clone, Copy, Default)]
pub struct TimeScaleHistory {
    /// The present one, and since when.
    present: Option<(TimeScale, Span)>,
    /// The one before, and when it was left.
    left: Option<(TimeScale, Span)>,
}

impl TimeScaleHistory {
    /// The clock is on `timescale` at `now`. `None`: it states none.
    pub fn note(&mut self, timescale: Option<TimeScale>, now: Span) {
        let Some(timescale) = timescale else { return };
        match self.present {
            Some((present, _)) if present == timescale => return,
            Some((present, since)) if now - since >= SETTLED => self.left = Some((present, now)),
            // What it was on before that for longer counts.
            Some(_) | None => {}
        }
        self.present = Some((timescale, now));
    }

    /// The last change, if it was lately.
    #[must_use]
    pub fn change(&self, now: Span) -> Option<TimeScaleChange> {
        let ((to, _), (from, when)) = (self.present?, self.left?);
        let ago_ns = now - when;
        (ago_ns <= REPORTED && from != to).then_some(TimeScaleChange { from, to, ago_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_reported_for_a_while() {
        let (secs, [a, b]) = (Span::from_secs, [7, 8].map(TimeScale));
        let mut history = TimeScaleHistory::default();
        history.note(Some(a), secs(2));
        history.note(None, secs(50));
        history.note(Some(a), secs(55));
        assert_eq!(history.change(secs(99)), None);
        history.note(Some(b), secs(100));
        assert_eq!(history.change(secs(130)), Some(TimeScaleChange { from: a, to: b, ago_ns: secs(30) }));
        assert_eq!(history.change(secs(701)), None);
    }

    #[test]
    fn a_device_that_has_just_been_started_has_left_nothing() {
        let (secs, [a, b, c]) = (Span::from_secs, [7, 8, 9].map(TimeScale));
        let mut history = TimeScaleHistory::default();
        history.note(Some(a), secs(2));
        history.note(Some(b), secs(20));
        assert_eq!(history.change(secs(21)), None);
        history.note(Some(c), secs(90));
        history.note(Some(a), secs(95));
        let change = TimeScaleChange { from: b, to: a, ago_ns: secs(10) };
        assert_eq!(history.change(secs(100)), Some(change), "c was only on the way");
        history.note(Some(b), secs(110));
        assert_eq!(history.change(secs(111)), None, "it is back");
    }
}
