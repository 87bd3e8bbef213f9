//! What the answers to an order prove, before any file is collected.

use serde::{Deserialize, Serialize};

use super::{passes, terms};
use crate::name::DeviceId;
use crate::order::{Answer, FrameOutcome};
use crate::time::Span;

/// The bounds of the frames that devices have saved, by their answers.
///
/// A long answer has only the largest bound of many frames. So this is the largest bound of any frame, added to that of any
/// frame of another device, whether or not both have one number: never less than what `certificate.json` of the collected take
/// says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AnsweredBounds {
    /// The largest error that is accepted. `None`: any.
    pub max_error_ns: Option<Span>,
    /// The most that two pictures of one number may be apart. `None`: a frame has no bound, or none was saved.
    pub worst_ns: Option<Span>,
    /// Whether that is known, and within `max_error_ns`. An order that saved nothing claims nothing, and passes.
    pub passes: bool,
    /// Of each device that has saved frames.
    pub devices: Vec<DeviceBound>,
}

/// The largest bound of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceBound {
    /// The device.
    pub device: DeviceId,
    /// Its largest bound. `None`: a frame has none.
    pub worst_ns: Option<Span>,
    /// Why it has none, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl AnsweredBounds {
    /// What `answers` prove. `max_error`: what is accepted; `None`: anything.
    #[must_use]
    pub fn of<'a>(answers: impl IntoIterator<Item = &'a Answer>, max_error: Option<Span>) -> Self {
        let devices: Vec<_> = answers.into_iter().filter_map(of_device).collect();
        let mut known: Vec<_> = devices.iter().map_while(|device| device.worst_ns).collect();
        known.sort_unstable();
        let all = known.len() == devices.len() && !devices.is_empty();
        let worst_ns = all.then(|| known.iter().rev().take(2).fold(Span::ZERO, |sum, bound| sum + *bound));
        let passes = devices.is_empty() || passes(worst_ns, max_error);
        Self { max_error_ns: max_error, worst_ns, passes, devices }
    }
}

/// The bound of one device; `None`: it has saved nothing.
fn of_device(answer: &Answer) -> Option<DeviceBound> {
    let mut worst = Ok(Span::ZERO);
    let mut saved = false;
    for run in &answer.frames {
        let frame = match &run.outcome {
            FrameOutcome::Saved { info, .. } => {
                terms(info).map(|terms| terms.bound()).map_err(|why| why.to_string())
            }
            FrameOutcome::Recorded(all) => {
                all.bound_ns.filter(|bound| *bound >= Span::ZERO).ok_or_else(|| {
                    "a frame of it has no known error bound; frames.csv of the take has them all (`bound_ns`)"
                        .into()
                })
            }
            FrameOutcome::Partly { saved: 0, .. }
            | FrameOutcome::Missed { .. }
            | FrameOutcome::Failed { .. } => continue,
            FrameOutcome::Partly { .. } => {
                Err("its answer is too long to hold the error bounds; collect the take and certify that"
                    .into())
            }
        };
        saved = true;
        worst = worst.and_then(|worst: Span| Ok(worst.max(frame?)));
    }
    let device = answer.device.clone();
    saved.then_some(match worst {
        Ok(worst) => DeviceBound { device, worst_ns: Some(worst), why: None },
        Err(why) => DeviceBound { device, worst_ns: None, why: Some(why) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::testing::bounded;
    use crate::certificate::{DEFAULT_MAX_ERROR, bound};
    use crate::frame::{FrameInfo, SyncState};
    use crate::name::Name;
    use crate::order::{FrameRun, TimeBasis};

    fn answer(device: &str, outcomes: Vec<FrameOutcome>) -> Answer {
        let frames = outcomes.into_iter().zip(7..).map(|(outcome, number)| FrameRun::one(number, outcome));
        Answer {
            order: Name::new("o").unwrap(),
            device: Name::new(device).unwrap(),
            frames: frames.collect(),
            unnumbered: None,
            unfinished: None,
            basis: TimeBasis::default(),
        }
    }

    fn saved(info: FrameInfo) -> FrameOutcome {
        FrameOutcome::Saved { file: "f".into(), bytes: 1, info }
    }

    fn us(us: i64) -> Span {
        Span::from_micros(us)
    }

    #[test]
    fn the_two_worst_devices_add() {
        let rest = bound(&bounded(7, us(0))).unwrap();
        let of = |phases: &[i64]| phases.iter().map(|phase| saved(bounded(7, us(*phase)))).collect();
        let answers = [answer("a", of(&[3, 1])), answer("b", of(&[5])), answer("c", of(&[1, -9]))];
        let bounds = AnsweredBounds::of(&answers, Some(DEFAULT_MAX_ERROR));
        assert_eq!((bounds.worst_ns, bounds.passes), (Some(rest * 2 + us(14)), true));
        assert!(!AnsweredBounds::of(&answers, Some(rest)).passes);
        // The same when runs are merged.
        let merged = answers.map(Answer::condensed);
        assert_eq!(AnsweredBounds::of(&merged, Some(DEFAULT_MAX_ERROR)), bounds);
    }

    #[test]
    fn what_a_device_does_not_say_is_not_known() {
        let unsynced = FrameInfo { sync: SyncState::Unsynced, ..bounded(8, us(0)) };
        let mixed = answer("b", vec![saved(bounded(7, us(0))), saved(unsynced)]);
        for (bad, why) in [(mixed.clone(), "unsynced"), (mixed.condensed(), "bound_ns")] {
            let answers = [answer("a", vec![saved(bounded(7, us(0)))]), bad];
            let bounds = AnsweredBounds::of(&answers, Some(DEFAULT_MAX_ERROR));
            assert!(!bounds.passes && bounds.worst_ns.is_none());
            assert!(bounds.devices[1].why.as_ref().is_some_and(|text| text.contains(why)), "{bounds:?}");
            assert!(AnsweredBounds::of(&answers, None).passes);
        }
        let partly = answer("a", vec![FrameOutcome::Partly { saved: 1, lost: 0, bytes: 1 }]);
        assert!(!AnsweredBounds::of([&partly], Some(DEFAULT_MAX_ERROR)).passes);
    }

    #[test]
    fn an_order_without_frames_claims_nothing() {
        let missed = answer("a", vec![FrameOutcome::Missed { why: "late".into() }]);
        let bounds = AnsweredBounds::of([&missed], Some(DEFAULT_MAX_ERROR));
        assert!(bounds.passes && bounds.devices.is_empty() && bounds.worst_ns.is_none());
    }
}
