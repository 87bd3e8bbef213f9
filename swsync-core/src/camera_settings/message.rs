//! Requests to a device that concern its camera's settings, and its replies.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::change::{Assignments, ChangePart, SettingsChange};
use super::control::CameraControl;
use super::value::ControlValues;
use super::watch::PhaseRecord;
use crate::bounded;
use crate::frame::LockState;
use crate::grid::{FrameGrid, FrameNumber};
use crate::message::TimeScale;
use crate::name::Name;
use crate::order::MAX_TARGETS;

/// Most refusals in a reply: one for each control.
const MAX_REFUSALS: usize = 64;

/// A request to a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum SettingsRequest {
    /// Whether its camera takes what these parts set on it. Nothing is changed.
    Check {
        /// The parts of a change that may follow.
        #[serde(deserialize_with = "bounded::list::<_, _, MAX_TARGETS>")]
        parts: Vec<ChangePart>,
    },
    /// Take this change. Devices that it does not concern keep it for others.
    Set {
        /// The change.
        change: SettingsChange,
        /// Whether the device takes what its camera can, and leaves out the rest.
        #[serde(default)]
        partial: bool,
    },
    /// Take this change back, unless it has taken effect.
    Withdraw {
        /// Its id.
        change: Name,
    },
    /// What became of this change.
    Outcome {
        /// Its id.
        change: Name,
    },
    /// What the camera was set to, and what it uses.
    Report,
}

/// A device's reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum SettingsReply {
    /// To a check: the camera takes it.
    Ready {
        /// What is to be known for the choice of a frame.
        ready: Readiness,
    },
    /// The device cannot do what was asked. Nothing was changed on it.
    Refused {
        /// Why, for each control that is concerned.
        #[serde(deserialize_with = "bounded::list::<_, _, MAX_REFUSALS>")]
        refusals: Vec<ControlRefusal>,
        /// As for [`Self::Ready`], if the camera streams: for a change of what it does take.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ready: Option<Readiness>,
    },
    /// To a change: it is kept, and will take effect if it concerns this device.
    Taken,
    /// To a change: its frame is too near, or past. Nothing was changed.
    Late {
        /// The first frame that it could still take effect for.
        earliest: FrameNumber,
    },
    /// To a withdrawal.
    Withdrawn {
        /// Whether the change had gone out to the camera, so that it takes effect all the same until the next one.
        late: bool,
    },
    /// What became of a change.
    Outcome {
        /// That.
        outcome: ChangeOutcome,
    },
    /// The camera's settings.
    Report {
        /// Those.
        report: Box<CameraReport>,
    },
}

impl SettingsReply {
    /// The refusal of everything, for a person.
    #[must_use]
    pub fn refused(why: impl Into<String>) -> Self {
        let refusal = ControlRefusal { control: None, takes: None, why: why.into() };
        Self::Refused { refusals: vec![refusal], ready: None }
    }
}

/// What a device's camera needs for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// The number of its newest frame.
    pub newest: FrameNumber,
    /// The grid of its frames.
    pub rate: FrameGrid,
    /// The time scale of its frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timescale: Option<TimeScale>,
    /// Frames from the newest one to the first that a change of now can take effect for.
    pub lead: u32,
}

/// What a camera takes for a control.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlRange {
    /// The least number. Times are in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The greatest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// All of it in words.
    #[serde(deserialize_with = "bounded::text")]
    pub text: String,
}

/// Why a control cannot be set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlRefusal {
    /// The control; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<CameraControl>,
    /// What the camera takes for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes: Option<ControlRange>,
    /// The reason and a remedy, for a person.
    #[serde(deserialize_with = "bounded::text")]
    pub why: String,
}

/// What became of a change on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangeOutcome {
    /// The change.
    pub change: Name,
    /// What became of it.
    #[serde(flatten)]
    pub state: ChangeState,
}

/// What became of a change on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum ChangeState {
    /// The device does not know it: it was started since, or the change is long past.
    Unknown,
    /// It is kept for other devices.
    ForOthers,
    /// Its frame has not been taken yet.
    Waiting,
    /// It was taken back.
    Withdrawn,
    /// Its frame has been taken.
    Seen {
        /// Frame number of the frame that `used` is of: the change's, or the next one if that was lost.
        frame: FrameNumber,
        /// The first frame that had all of it; `None`: none yet, or the camera uses other values.
        first: Option<FrameNumber>,
        /// What the camera used in that frame, of the controls that were set.
        used: ControlValues,
        /// Controls that the camera does not report. They count as set when they are due.
        #[serde(
            default,
            skip_serializing_if = "Vec::is_empty",
            deserialize_with = "bounded::list::<_, _, 64>"
        )]
        unreported: Vec<CameraControl>,
        /// How the camera's frames stood with the frame grid.
        phase: PhaseRecord,
        /// Whether nothing more is to be learnt.
        done: bool,
    },
}

/// The settings of a device's camera.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CameraReport {
    /// The camera's model, once it streams.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded::optional_text")]
    pub camera: Option<String>,
    /// What the rig has set.
    pub set: Assignments,
    /// Changes that have not taken effect yet: their ids and frames.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ahead: BTreeMap<Name, FrameNumber>,
    /// The frame that `used` is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<FrameNumber>,
    /// What the camera used in its newest frame, as far as it reports that.
    pub used: ControlValues,
    /// Whether that frame was on the frame grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockState>,
    /// What the camera takes, by control.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ranges: BTreeMap<CameraControl, ControlRange>,
    /// What is wrong, as text for the operator.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded::optional_text")]
    pub problem: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{decode, decode_request, encode};

    #[test]
    fn requests_and_replies_survive_the_wire() {
        let values = ControlValues::parse(["exposure-time=5000", "colour-gains=1.5,2"]).unwrap();
        let parts = vec![ChangePart { targets: Default::default(), assign: values.clone().into() }];
        let rate = FrameGrid::new(30_000, 1001).unwrap();
        let change = Name::new("set-1").unwrap();
        let set =
            SettingsChange { change: change.clone(), frame: 54_000_000_000, rate, timescale: None, parts };
        for request in [
            SettingsRequest::Check { parts: set.parts.clone() },
            SettingsRequest::Set { change: set.clone(), partial: false },
            SettingsRequest::Withdraw { change: change.clone() },
            SettingsRequest::Outcome { change: change.clone() },
            SettingsRequest::Report,
        ] {
            assert_eq!(decode_request::<SettingsRequest>(&encode(&request)).unwrap(), request);
        }
        let state = ChangeState::Seen {
            frame: 54_000_000_000,
            first: Some(54_000_000_000),
            used: values.clone(),
            unreported: vec![CameraControl::Gamma],
            phase: PhaseRecord::default(),
            done: true,
        };
        let report = CameraReport {
            used: values,
            set: Assignments::reset([CameraControl::Gamma]),
            ..CameraReport::default()
        };
        for reply in [
            SettingsReply::Taken,
            SettingsReply::Late { earliest: 7 },
            SettingsReply::refused("no camera"),
            SettingsReply::Outcome { outcome: ChangeOutcome { change: change.clone(), state } },
            SettingsReply::Outcome { outcome: ChangeOutcome { change, state: ChangeState::Waiting } },
            SettingsReply::Report { report: Box::new(report) },
        ] {
            let json = encode(&reply);
            let read = decode::<SettingsReply>(&json)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&json)));
            assert_eq!(read, reply);
        }
    }
}
