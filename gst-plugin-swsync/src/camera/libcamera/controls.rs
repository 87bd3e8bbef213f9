//! Converts controls between the table and libcamera's lists.

use std::sync::LazyLock;

use ::libcamera::control::{ControlInfo, ControlInfoMap, ControlList};
use ::libcamera::control_value::ControlValue;
use ::libcamera::controls::ControlId;
use ::libcamera::geometry::Rectangle;

use crate::camera::controls::{self, Control, Kind, Range, Ranges, Setting, Value};

/// Ids of libcamera's own controls: 1 and up, those of vendors from 10000 on (`control_ids.h`).
const CORE_IDS: std::ops::Range<u32> = 1..1_000;

/// The ids of the table's controls in the libcamera that this is built for. Ids, and which controls exist, change from version
/// to version.
static IDS: LazyLock<Vec<(&'static Control, u32)>> = LazyLock::new(|| {
    let known = CORE_IDS.filter_map(|id| ControlId::try_from(id).ok());
    known.filter_map(|id| Some((controls::by_name(&format!("{id:?}"))?, id.id()))).collect()
});

fn id_of(control: &Control) -> Option<u32> {
    IDS.iter().find(|(other, _)| *other == control).map(|(_, id)| *id)
}

/// The controls of the table that the camera `model` has, by its `infos`, and their ranges.
pub(super) fn ranges(model: &str, infos: &ControlInfoMap) -> Ranges {
    let has = |name| controls::by_name(name).and_then(id_of).is_some_and(|id| infos.find(id).is_ok());
    // A zero gives a control back to auto exposure; since 0.5 a mode does.
    let auto = has("AeEnable");
    IDS.iter().fold(Ranges::new(model), |ranges, (control, id)| match infos.find(*id) {
        Ok(info) => {
            let ranges = ranges.with(control, range(control, info, auto));
            match from_libcamera(control.kind, &info.def()) {
                Some(default) => ranges.with_default(control, default),
                None => ranges,
            }
        }
        Err(_) => ranges,
    })
}

fn range(control: &Control, info: &ControlInfo, auto: bool) -> Range {
    if let Kind::Enum(_) | Kind::Bool = control.kind {
        let listed: Vec<i32> =
            info.values().iter().filter_map(|value| integers(value).first().copied()).collect();
        if !listed.is_empty() {
            return Range::OneOf(listed);
        }
    }
    if let Kind::Rectangle | Kind::Rectangles = control.kind {
        return match info.max() {
            ControlValue::Rectangle(most) if !most.is_empty() => {
                let extent = |of: fn(&Rectangle) -> u32| {
                    i32::try_from(most.iter().map(of).max().unwrap_or(0)).unwrap_or(i32::MAX)
                };
                Range::Within(extent(|most| most.width), extent(|most| most.height))
            }
            _ => Range::Any,
        };
    }
    match (numbers(&info.min()).first(), numbers(&info.max()).first()) {
        (Some(min), Some(max)) if auto && matches!(control.name, "ExposureTime" | "AnalogueGain") => {
            Range::NumbersOrAuto(*min, *max)
        }
        (Some(min), Some(max)) => Range::Numbers(*min, *max),
        _ => Range::Any,
    }
}

/// Whether frames of a camera with these `infos` may report controls. Those of a virtual camera do not.
pub(super) fn may_be_reported(infos: &ControlInfoMap) -> bool {
    IDS.iter().any(|(control, id)| control.name != "FrameDurationLimits" && infos.find(*id).is_ok())
}

/// The table's controls that `metadata` reports.
pub(super) fn reported(metadata: &ControlList) -> Vec<Setting> {
    let reported = metadata.into_iter().filter_map(|(id, value)| {
        let (control, _) = *IDS.iter().find(|(_, known)| *known == id)?;
        Some(Setting { control, value: from_libcamera(control.kind, &value)? })
    });
    reported.collect()
}

fn integers(value: &ControlValue) -> Vec<i32> {
    match value {
        ControlValue::Bool(values) => values.iter().map(|value| i32::from(*value)).collect(),
        ControlValue::Int32(values) => values.to_vec(),
        _ => Vec::new(),
    }
}

fn numbers(value: &ControlValue) -> Vec<f64> {
    match value {
        ControlValue::Float(values) => values.iter().map(|value| f64::from(*value)).collect(),
        #[expect(clippy::cast_precision_loss, reason = "limits, in microseconds")]
        ControlValue::Int64(values) => values.iter().map(|value| *value as f64).collect(),
        value => integers(value).into_iter().map(f64::from).collect(),
    }
}

/// Puts `settings`, which the camera accepts, into `list`.
///
/// Since 0.5 an exposure time or a gain has an effect only in manual mode, so that is set too.
pub(super) fn put(list: &mut ControlList, settings: &[Setting]) {
    for Setting { control, value } in settings {
        let mode = match (control.name, value) {
            ("ExposureTime", Value::Int(us)) => Some(("ExposureTimeMode", *us != 0)),
            ("AnalogueGain", Value::Float(gain)) => Some(("AnalogueGainMode", *gain != 0.0)),
            _ => None,
        };
        let mode = mode.and_then(|(name, manual)| Some((controls::by_name(name).and_then(id_of)?, manual)));
        if let Some((id, manual)) = mode {
            put_raw(list, id, ControlValue::from(i32::from(manual)));
            if !manual {
                continue;
            }
        }
        let mut value = to_libcamera(value);
        if let (ControlValue::Rectangle(windows), Kind::Rectangles) = (&mut value, control.kind)
            && windows.len() == 1
        {
            // The binding writes an array of one element as a scalar.
            windows.push(windows[0]);
        }
        if let Some(id) = id_of(control) {
            put_raw(list, id, value);
        }
    }
}

fn put_raw(list: &mut ControlList, id: u32, value: ControlValue) {
    // It does not fail: libcamera ignores what a camera does not have.
    let _ = list.set_raw(id, value);
}

fn to_libcamera(value: &Value) -> ControlValue {
    match value {
        Value::Bool(value) => ControlValue::from(*value),
        Value::Int(value) => ControlValue::from(*value),
        Value::Float(value) => ControlValue::from(*value),
        Value::Floats(values) => ControlValue::from(values.clone()),
        Value::Longs(values) => ControlValue::from(values.clone()),
        Value::Rectangles(values) => ControlValue::from(values.iter().map(rectangle).collect::<Vec<_>>()),
    }
}

/// `None` if `value` is not of the `kind`.
fn from_libcamera(kind: Kind, value: &ControlValue) -> Option<Value> {
    Some(match (kind, value) {
        (Kind::Bool, ControlValue::Bool(values)) => Value::Bool(*values.first()?),
        (Kind::Int | Kind::Enum(_), ControlValue::Int32(values)) => Value::Int(*values.first()?),
        (Kind::Float, ControlValue::Float(values)) => Value::Float(*values.first()?),
        (Kind::Floats(count), ControlValue::Float(values)) if values.len() == count => {
            Value::Floats(values.to_vec())
        }
        (Kind::Longs(count), ControlValue::Int64(values)) if values.len() == count => {
            Value::Longs(values.to_vec())
        }
        (Kind::Rectangle | Kind::Rectangles, ControlValue::Rectangle(values)) => {
            let side = |side: u32| i32::try_from(side).unwrap_or(i32::MAX);
            let rectangles = values.iter().map(|of| [of.x, of.y, side(of.width), side(of.height)]);
            Value::Rectangles(rectangles.collect())
        }
        _ => return None,
    })
}

fn rectangle([x, y, width, height]: &controls::Rectangle) -> Rectangle {
    let extent = |side: i32| u32::try_from(side).unwrap_or(0);
    Rectangle { x: *x, y: *y, width: extent(*width), height: extent(*height) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::libcamera::controls as ids;

    fn setting(property: &str, value: Value) -> Setting {
        Setting { control: controls::by_property(property).unwrap(), value }
    }

    #[test]
    fn libcamera_knows_the_controls_of_the_table() {
        // These exist since 0.5, all others before 0.4.
        let new = ["AnalogueGainMode", "ExposureTimeMode"];
        for control in controls::all() {
            assert!(id_of(control).is_some() || new.contains(&control.name), "{}", control.name);
        }
    }

    #[test]
    fn settings_become_libcameras_controls() {
        let mut list = ControlList::new();
        put(
            &mut list,
            &[
                setting("exposure-time", Value::Int(5_000)),
                setting("analogue-gain", Value::Float(2.5)),
                setting("ae-enable", Value::Bool(false)),
                setting("ae-metering-mode", Value::Int(1)),
                setting("colour-gains", Value::Floats(vec![1.5, 2.0])),
                setting("frame-duration-limits", Value::Longs(vec![33_333, 40_000])),
                setting("scaler-crop", Value::Rectangles(vec![[1, 2, 3, 4]])),
            ],
        );
        assert_eq!(list.get::<ids::ExposureTime>().unwrap().0, 5_000);
        assert!((list.get::<ids::AnalogueGain>().unwrap().0 - 2.5).abs() < f32::EPSILON);
        assert!(!list.get::<ids::AeEnable>().unwrap().0);
        assert_eq!(list.get::<ids::AeMeteringMode>().unwrap(), ids::AeMeteringMode::MeteringSpot);
        assert_eq!(list.get::<ids::ColourGains>().unwrap().0, [1.5, 2.0]);
        assert_eq!(list.get::<ids::FrameDurationLimits>().unwrap().0, [33_333, 40_000]);
        let crop = list.get::<ids::ScalerCrop>().unwrap().0;
        assert_eq!((crop.x, crop.y, crop.width, crop.height), (1, 2, 3, 4));
    }

    #[test]
    fn reported_controls_are_read_back() {
        let settings = [
            setting("exposure-time", Value::Int(5_000)),
            setting("ae-enable", Value::Bool(false)),
            setting("ae-metering-mode", Value::Int(1)),
            setting("colour-gains", Value::Floats(vec![1.5, 2.0])),
            setting("lens-position", Value::Float(0.5)),
            setting("scaler-crop", Value::Rectangles(vec![[1, 2, 3, 4]])),
        ];
        let mut metadata = ControlList::new();
        put(&mut metadata, &settings);
        metadata.set(ids::SensorTimestamp(1)).unwrap();
        put_raw(
            &mut metadata,
            id_of(controls::by_name("Brightness").unwrap()).unwrap(),
            ControlValue::from(7),
        );
        let reported = reported(&metadata);
        for setting in &settings {
            assert!(reported.contains(setting), "{setting:?} is not in {reported:?}");
        }
        assert!(!reported.iter().any(|of| of.control.name == "Brightness"), "it is not of its type");
    }

    #[test]
    fn a_single_focus_window_stays_an_array() {
        let mut list = ControlList::new();
        put(&mut list, &[setting("af-windows", Value::Rectangles(vec![[1, 2, 3, 4]]))]);
        assert_eq!(list.get::<ids::AfWindows>().unwrap().0.len(), 2);
    }
}
