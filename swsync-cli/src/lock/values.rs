//! The values that cameras are locked at, and what each camera is set to for that.

use std::collections::BTreeSet;

use serde::Serialize;
use swsync_core::camera_settings::{
    Assignments, CameraControl, CameraReport, ChangePart, ControlValue, ControlValues,
};
use swsync_core::name::DeviceId;
use swsync_core::order::Targets;

/// What has the automatics off, by the value that it makes room for. Newer libcameras have modes in place of the switch.
const AUTOMATICS: [(CameraControl, CameraControl, ControlValue); 5] = [
    (CameraControl::ExposureTime, CameraControl::AeEnable, ControlValue::Switch(false)),
    (CameraControl::AnalogueGain, CameraControl::AeEnable, ControlValue::Switch(false)),
    (CameraControl::ColourGains, CameraControl::AwbEnable, ControlValue::Switch(false)),
    (CameraControl::LensPosition, CameraControl::AfMode, ControlValue::Choice("manual")),
    (CameraControl::ExposureTime, CameraControl::ExposureTimeMode, ControlValue::Choice("manual")),
];

/// What the 3A set. A camera without a lens that moves needs no focus.
const SET: [CameraControl; 4] = [
    CameraControl::ExposureTime,
    CameraControl::AnalogueGain,
    CameraControl::ColourGains,
    CameraControl::LensPosition,
];

/// Values of exposure time, analogue gain, colour gains and lens position, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct LockedValues(ControlValues);

impl LockedValues {
    /// Those of one camera.
    pub fn of(used: &ControlValues) -> Self {
        Self(SET.into_iter().filter_map(|control| Some((control, used.get(control)?.clone()))).collect())
    }

    /// Means of all cameras that report a value. Exposure and gains are ratios: their means are geometric ones. The lens's
    /// position is in dioptres, which add up.
    pub fn mean<'a>(cameras: impl IntoIterator<Item = &'a ControlValues>) -> Self {
        let all: Vec<_> = cameras.into_iter().collect();
        let mean = |control| {
            let values: Vec<_> = all.iter().filter_map(|used| used.get(control)).collect();
            Some((control, mean_of(control, &values)?))
        };
        Self(SET.into_iter().filter_map(mean).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, control: CameraControl) -> Option<&ControlValue> {
        self.0.get(control)
    }
}

impl std::fmt::Display for LockedValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

fn mean_of(control: CameraControl, values: &[&ControlValue]) -> Option<ControlValue> {
    match values.first()? {
        ControlValue::Time(_) => {
            let times = values.iter().filter_map(|value| match value {
                ControlValue::Time(span) => Some(span.as_micros_f64()),
                _ => None,
            });
            // Whole microseconds, as cameras count.
            ControlValue::parse(control, &format!("{:.0}", geometric(times)?)).ok()
        }
        ControlValue::Number(_) => {
            let numbers = values.iter().filter_map(|value| match value {
                ControlValue::Number(number) => Some(*number),
                _ => None,
            });
            let mean =
                if control == CameraControl::LensPosition { arithmetic(numbers) } else { geometric(numbers) };
            Some(ControlValue::Number(rounded(mean?)))
        }
        ControlValue::Numbers(first) => {
            let of = |index: usize| {
                geometric(values.iter().filter_map(move |value| match value {
                    ControlValue::Numbers(numbers) => numbers.get(index).copied(),
                    _ => None,
                }))
                .map(rounded)
            };
            (0..first.len()).map(of).collect::<Option<_>>().map(ControlValue::Numbers)
        }
        ControlValue::Switch(_) | ControlValue::Integer(_) | ControlValue::Choice(_) => None,
    }
}

/// Cameras have steps of a hundredth or so: more digits are only noise.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[expect(clippy::cast_precision_loss, reason = "a rig has few cameras")]
fn arithmetic(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// `None` if a value is not positive.
fn geometric(values: impl Iterator<Item = f64>) -> Option<f64> {
    let logs: Option<Vec<_>> = values.map(|value| (value > 0.0).then(|| value.ln())).collect();
    arithmetic(logs?.into_iter()).map(f64::exp)
}

/// What `device` is set to so that it uses `values`; and what its camera cannot take, in words.
pub fn locking_part(
    device: &DeviceId,
    report: &CameraReport,
    values: &LockedValues,
) -> (ChangePart, Vec<String>) {
    let mut assign = Assignments::default();
    let mut lacking = Vec::new();
    for control in SET {
        let Some(value) = values.get(control) else { continue };
        if report.ranges.contains_key(&control) {
            assign.insert(control, Some(value.clone()));
        } else if control != CameraControl::LensPosition {
            lacking
                .push(format!("{device}: its camera has no {control} that can be set, so it stays as it is"));
        }
    }
    for (control, automatic, off) in AUTOMATICS {
        if assign.get(control).is_some() && report.ranges.contains_key(&automatic) {
            assign.insert(automatic, Some(off));
        }
    }
    if assign.get(CameraControl::AnalogueGain).is_some()
        && report.ranges.contains_key(&CameraControl::AnalogueGainMode)
    {
        assign.insert(CameraControl::AnalogueGainMode, Some(ControlValue::Choice("manual")));
    }
    (only(device, assign), lacking)
}

/// What gives `device` its automatics back; `None` if it has none and nothing was set.
pub fn unlocking_part(device: &DeviceId, report: &CameraReport) -> Option<ChangePart> {
    let mut assign = Assignments::default();
    let modes = [CameraControl::ExposureTimeMode, CameraControl::AnalogueGainMode];
    let involved = SET.into_iter().chain(modes).chain([CameraControl::AfMode]);
    for control in involved.filter(|control| report.set.get(*control).is_some_and(|set| set.is_some())) {
        assign.insert(control, None);
    }
    for automatic in [CameraControl::AeEnable, CameraControl::AwbEnable] {
        if report.ranges.contains_key(&automatic) {
            assign.insert(automatic, Some(ControlValue::Switch(true)));
        }
    }
    (!assign.is_empty()).then(|| only(device, assign))
}

fn only(device: &DeviceId, assign: Assignments) -> ChangePart {
    ChangePart { targets: Targets::Devices(BTreeSet::from([device.clone()])), assign }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;

    fn values(texts: &[&str]) -> ControlValues {
        ControlValues::parse(texts.iter().copied()).unwrap()
    }

    fn camera(has: &[CameraControl], used: &[&str]) -> CameraReport {
        let ranges = has.iter().map(|control| (*control, Default::default())).collect();
        CameraReport { ranges, used: values(used), ..CameraReport::default() }
    }

    #[test]
    fn means_of_exposure_and_gains_are_geometric() {
        let all = [
            values(&["exposure-time=2000", "analogue-gain=1", "colour-gains=1,2", "lens-position=1"]),
            values(&["exposure-time=8000", "analogue-gain=4", "colour-gains=4,2", "lens-position=3"]),
            values(&["brightness=0.5"]),
        ];
        let mean = LockedValues::mean(&all);
        assert_eq!(
            mean.0,
            values(&["exposure-time=4000", "analogue-gain=2", "colour-gains=2,2", "lens-position=2"])
        );
        assert!(LockedValues::mean(&all[2..]).is_empty());
        assert_eq!(LockedValues::of(&all[0]).0, all[0]);
    }

    #[test]
    fn automatics_are_off_only_where_a_camera_has_them() {
        use CameraControl::*;
        let locked = LockedValues::of(&values(&["exposure-time=4000", "analogue-gain=2", "lens-position=2"]));
        let (part, lacking) = locking_part(
            &name("a"),
            &camera(&[AeEnable, AwbEnable, ExposureTime, AnalogueGain], &[]),
            &locked,
        );
        assert_eq!(
            part.assign.values(),
            values(&["ae-enable=false", "exposure-time=4000", "analogue-gain=2"])
        );
        assert!(lacking.is_empty(), "no lens that moves: {lacking:?}");
        let (part, lacking) =
            locking_part(&name("b"), &camera(&[ExposureTime, AfMode, LensPosition], &[]), &locked);
        assert_eq!(
            part.assign.values(),
            values(&["exposure-time=4000", "af-mode=manual", "lens-position=2"])
        );
        assert_eq!(lacking, ["b: its camera has no analogue-gain that can be set, so it stays as it is"]);
    }

    #[test]
    fn unlocking_gives_back_what_was_set() {
        use CameraControl::*;
        let set = values(&["ae-enable=false", "exposure-time=4000", "gamma=2"]).into();
        let report = CameraReport { set, ..camera(&[AeEnable, ExposureTime], &[]) };
        let part = unlocking_part(&name("a"), &report).unwrap();
        assert_eq!(part.assign.get(ExposureTime), Some(None), "as the pipeline has it");
        assert_eq!(part.assign.get(AeEnable), Some(Some(&ControlValue::Switch(true))));
        assert_eq!(part.assign.get(Gamma), None);
        assert_eq!(unlocking_part(&name("a"), &camera(&[ExposureTime], &[])), None);
    }
}
