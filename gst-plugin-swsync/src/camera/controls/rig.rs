//! Controls and values in the rig's messages (`swsync_core::camera_settings`), and in the camera's.

use gst::glib;
use swsync_core::camera_settings::{CameraControl, ControlKind, ControlRange, ControlValue};
use swsync_core::time::Span;

use super::{Control, EnumKind, Kind, Range, Value, by_property};

/// The camera's control for one of the rig.
#[must_use]
pub fn control_of(control: CameraControl) -> &'static Control {
    by_property(control.name()).expect("a test finds all of them in the table")
}

/// The rig's control for one of the camera, if it can be set for a rig.
#[must_use]
pub fn camera_control(control: &Control) -> Option<CameraControl> {
    CameraControl::from_name(control.property)
}

/// A value of `control` as the camera takes it; `None`: it has no such value.
#[must_use]
pub fn value_of(control: CameraControl, value: &ControlValue) -> Option<Value> {
    #[expect(clippy::cast_possible_truncation, reason = "cameras count in single precision")]
    let single = |number: f64| number as f32;
    Some(match (control_of(control).kind, value) {
        (Kind::Bool, ControlValue::Switch(value)) => Value::Bool(*value),
        (Kind::Int, ControlValue::Time(span)) => Value::Int(i32::try_from(span.as_nanos() / 1_000).ok()?),
        (Kind::Int, ControlValue::Integer(number)) => Value::Int(i32::try_from(*number).ok()?),
        (Kind::Float, ControlValue::Number(number)) => Value::Float(single(*number)),
        (Kind::Floats(_), ControlValue::Numbers(numbers)) => {
            Value::Floats(numbers.iter().map(|number| single(*number)).collect())
        }
        (Kind::Enum(kind), ControlValue::Choice(name)) => Value::Int(number_of(kind, name)?),
        _ => return None,
    })
}

/// A value of the camera in the rig's terms; `None`: the rig has no such control.
#[must_use]
pub fn control_value(control: &Control, value: &Value) -> Option<(CameraControl, ControlValue)> {
    let of = camera_control(control)?;
    // As short as the camera's own precision: 1.1 rather than 1.100000023841858.
    let double = |number: f32| number.to_string().parse().unwrap_or_else(|_| f64::from(number));
    let value = match (of.kind(), value) {
        (ControlKind::Switch, Value::Bool(value)) => ControlValue::Switch(*value),
        (ControlKind::Time, Value::Int(micros)) => ControlValue::Time(Span::from_micros(i64::from(*micros))),
        (ControlKind::Integer, Value::Int(number)) => ControlValue::Integer(i64::from(*number)),
        (ControlKind::Number, Value::Float(number)) => ControlValue::Number(double(*number)),
        (ControlKind::Numbers(_), Value::Floats(numbers)) => {
            ControlValue::Numbers(numbers.iter().map(|number| double(*number)).collect())
        }
        (ControlKind::Choice(names), Value::Int(number)) => {
            let Kind::Enum(kind) = control.kind else { return None };
            let nick = kind.nick(*number);
            ControlValue::Choice(names.iter().find(|name| **name == nick)?)
        }
        _ => return None,
    };
    Some((of, value))
}

/// The number of an enum's value.
fn number_of(kind: EnumKind, nick: &str) -> Option<i32> {
    Some(glib::EnumClass::with_type((kind.type_)())?.value_by_nick(nick)?.value())
}

/// What a camera takes for `control`.
#[must_use]
pub fn range_of(control: &Control, range: &Range) -> ControlRange {
    let (min, max) = match range {
        Range::Numbers(min, max) | Range::NumbersOrAuto(min, max) => (Some(*min), Some(*max)),
        Range::OneOf(_) | Range::Within(..) | Range::Any => (None, None),
    };
    ControlRange { min, max, text: control.say_range(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_of_the_rig_is_one_of_the_camera_with_the_same_values() {
        gst::init().unwrap();
        for control in CameraControl::ALL.iter().copied() {
            let camera = control_of(control);
            assert_eq!(camera_control(camera), Some(control));
            let values = match control.kind() {
                ControlKind::Switch => vec![ControlValue::Switch(true)],
                ControlKind::Time => vec![ControlValue::Time(Span::from_micros(1_234))],
                ControlKind::Integer => vec![ControlValue::Integer(5_600)],
                ControlKind::Number => vec![ControlValue::Number(1.1)],
                ControlKind::Numbers(count) => vec![ControlValue::Numbers(vec![0.3; count])],
                ControlKind::Choice(names) => names.iter().map(|name| ControlValue::Choice(name)).collect(),
            };
            for value in values {
                let there = value_of(control, &value).unwrap_or_else(|| panic!("{control}={value}"));
                assert_eq!(control_value(camera, &there), Some((control, value)));
            }
            if let (ControlKind::Choice(names), Kind::Enum(kind)) = (control.kind(), camera.kind) {
                let class = glib::EnumClass::with_type((kind.type_)()).unwrap();
                assert_eq!(class.values().len(), names.len(), "{control}");
            }
        }
    }
}
