//! Whether the devices of a rig agree on time scale, clock and frame rate.

use std::collections::BTreeMap;

use super::Status;
use crate::frame::SyncState;
use crate::grid::FrameGrid;
use crate::message::TimeScale;
use crate::name::DeviceId;
use crate::order::groups::{Groups, Rate, timescale_name};
use crate::time::Span;

/// Tolerance when clocks that were read over a network are compared, in addition to their round trips.
const READING_TOLERANCE: Span = Span::from_millis(1);

/// A status, with the reading of its clock compared to the clock of the device that asked.
#[derive(Debug, Clone, Copy)]
pub struct TimedStatus<'a> {
    /// The status.
    pub status: &'a Status,
    /// Rig time minus the asker's clock, at the middle between question and answer.
    pub offset: Span,
    /// Half the time between question and answer.
    pub slack: Span,
}

/// What the devices of a rig have in common: the values of the majority, and who differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RigAgreement {
    timescales: Groups<Option<TimeScale>>,
    rates: Groups<Rate>,
    /// Devices whose clock reads something else than the others', and the difference.
    clock_errors: BTreeMap<DeviceId, Span>,
}

impl RigAgreement {
    /// Compares all devices that answered.
    #[must_use]
    pub fn of(answered: &[TimedStatus<'_>]) -> Self {
        let mut agreement = Self::default();
        for TimedStatus { status, .. } in answered {
            if let Some(clock) = status.clock.filter(|clock| clock.quality != SyncState::Unsynced) {
                agreement.timescales.add(clock.timescale(), &status.device);
            }
            if let Some(frames) = &status.frames {
                agreement.rates.add(Rate(frames.rate), &status.device);
            }
        }
        let timescale = agreement.timescale();
        let in_majority =
            |timed: &&TimedStatus| agreement.timescales.contains(timescale, &timed.status.device);
        if let Some(reference) = answered.iter().filter(in_majority).min_by_key(|timed| timed.slack) {
            let is_synced = |timed: &&TimedStatus| {
                timed.status.clock.is_some_and(|clock| clock.quality != SyncState::Unsynced)
            };
            for other in answered.iter().filter(is_synced) {
                let difference = other.offset - reference.offset;
                if difference.abs() > other.slack + reference.slack + READING_TOLERANCE {
                    agreement.clock_errors.insert(other.status.device.clone(), difference);
                }
            }
        }
        agreement
    }

    /// The time scale of most devices; of two with as many the lesser. `None`: no device states one.
    #[must_use]
    pub fn timescale(&self) -> Option<TimeScale> {
        self.timescales.majority(Option::is_some).flatten()
    }

    /// The frame rate of most devices.
    #[must_use]
    pub fn rate(&self) -> Option<FrameGrid> {
        self.rates.majority(|_| true).map(|rate| rate.0)
    }

    /// How the device with `status` differs from the others, as text for the operator. Empty: no difference is known.
    #[must_use]
    pub fn objections(&self, status: &Status) -> Vec<String> {
        let mut objections = Vec::new();
        let clock = status.clock.filter(|clock| clock.quality != SyncState::Unsynced);
        match (clock.map(|clock| clock.timescale()), self.timescale()) {
            (Some(Some(own)), Some(most)) if own != most => {
                objections.push(format!("its clock is on time scale {own}, and others are on {most}"));
            }
            (Some(None), Some(most)) => {
                objections.push(format!(
                    "it does not say which time scale its clock is on, and others are on {most}"
                ));
            }
            (Some(_), _) | (None, _) => {
                let error = self.clock_errors.get(&status.device).map(|error| error.as_secs_f64());
                objections
                    .extend(error.map(|error| format!("its clock is {error:+.3} s from that of the others")));
            }
        }
        let rate = status.frames.as_ref().map(|frames| frames.rate);
        if let (Some(own), Some(most)) = (rate, self.rate())
            && own != most
        {
            objections.push(format!("it takes {} frames per second, and others {}", Rate(own), Rate(most)));
        }
        objections
    }

    /// Which devices have which time scale and frame rate, if they differ, as text for the operator.
    #[must_use]
    pub fn disagreements(&self) -> Vec<String> {
        let timescales = self.timescales.describe("time scale", timescale_name);
        timescales.into_iter().chain(self.rates.describe("frame rate", Rate::to_string)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::testing::rate;
    use crate::status::testing::status;

    fn timed(status: &Status, offset: Span) -> TimedStatus<'_> {
        TimedStatus { status, offset, slack: Span::from_millis(2) }
    }

    #[test]
    fn the_majority_counts_and_unknown_values_agree_with_nothing() {
        let statuses = [
            status("a", Some(7), 30),
            status("b", Some(7), 30),
            status("c", Some(8), 30),
            status("d", None, 25),
            status("e", None, 30),
            status("f", None, 30),
        ];
        let all: Vec<_> = statuses.iter().map(|status| timed(status, Span::ZERO)).collect();
        let agreement = RigAgreement::of(&all);
        assert_eq!((agreement.timescale(), agreement.rate()), (Some(TimeScale(7)), Some(rate(30))));
        let objections: Vec<_> = statuses.iter().map(|status| agreement.objections(status).len()).collect();
        assert_eq!(objections, [0, 0, 1, 2, 1, 1]);
        assert_eq!(agreement.disagreements().len(), 2, "{:?}", agreement.disagreements());
        assert_eq!(RigAgreement::of(&[]).disagreements(), Vec::<String>::new());
    }

    #[test]
    fn without_time_scales_the_readings_are_compared() {
        let statuses = ["a", "b", "c"].map(|device| status(device, None, 30));
        let offset = [Span::ZERO, Span::from_millis(3), Span::from_secs(5)];
        let all: Vec<_> = statuses.iter().zip(offset).map(|(status, offset)| timed(status, offset)).collect();
        let agreement = RigAgreement::of(&all);
        assert!(
            agreement.objections(&statuses[0]).is_empty() && agreement.objections(&statuses[1]).is_empty()
        );
        assert_eq!(agreement.objections(&statuses[2]), ["its clock is +5.000 s from that of the others"]);
    }
}
