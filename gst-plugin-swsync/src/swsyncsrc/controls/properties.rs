//! Controls as GObject properties, and their values in structures.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

use crate::camera::controls::{self, Control, Kind, Rectangle, Refusal, Setting, Value};

/// A property per control, with the type, range and default of libcamerasrc. The default does not apply to the camera, which decides
/// itself about controls that are not set.
pub fn properties() -> Vec<glib::ParamSpec> {
    controls::all().iter().map(property).collect()
}

fn property(control: &Control) -> glib::ParamSpec {
    let (name, nick, blurb) = (control.property, nick(control), control.blurb);
    macro_rules! numbers {
        ($builder:ident, $name:expr) => {
            glib::$builder::builder($name).nick(&nick).blurb(blurb).controllable().mutable_playing()
        };
    }
    let array = |element: &glib::ParamSpec| {
        let array = gst::ParamSpecArray::builder(name).nick(&nick).blurb(blurb).element_spec(element);
        array.controllable().mutable_playing().build()
    };
    let value = format!("{name}-value");
    let rectangle = || {
        let part = numbers!(ParamSpecInt, "rectangle-value").build();
        gst::ParamSpecArray::builder(&value).nick(&nick).blurb(blurb).element_spec(&part).build()
    };
    match control.kind {
        Kind::Bool => numbers!(ParamSpecBoolean, name).build(),
        Kind::Int => numbers!(ParamSpecInt, name).build(),
        Kind::Float => numbers!(ParamSpecFloat, name).minimum(f32::MIN).build(),
        Kind::Enum(kind) => (kind.property)(name, &nick, blurb),
        Kind::Floats(_) => array(&numbers!(ParamSpecFloat, &value).minimum(f32::MIN).build()),
        Kind::Longs(_) => array(&numbers!(ParamSpecInt64, &value).build()),
        Kind::Rectangle => array(&numbers!(ParamSpecInt, "rectangle-value").build()),
        Kind::Rectangles => array(&rectangle()),
    }
}

/// `ae-enable` becomes `AE enable`, `lens-position` `Lens position`.
fn nick(control: &Control) -> String {
    let (first, rest) = control.property.split_once('-').unwrap_or((control.property, ""));
    let first = match first {
        "ae" | "af" | "awb" => first.to_uppercase(),
        _ => first[..1].to_uppercase() + &first[1..],
    };
    format!("{first} {}", rest.replace('-', " ")).trim_end().to_owned()
}

/// The setting of `control` to `value`, which is of the property's type; `None` for an empty array, which unsets it.
///
/// # Errors
/// [`Refusal::NoValue`] if an array has another length, or a number is not finite.
pub fn setting(control: &'static Control, value: &glib::Value) -> Result<Option<Setting>, Refusal> {
    let refusal = || {
        let value = value.serialize().map_or_else(|_| format!("{value:?}"), |text| text.to_string());
        Refusal::NoValue { property: control.property, value, kind: kind_in_words(control.kind) }
    };
    if value.get::<gst::ArrayRef>().is_ok_and(|array| array.is_empty()) {
        return Ok(None);
    }
    let value = parse(control.kind, value).ok_or_else(refusal)?;
    Ok(Some(Setting { control, value }))
}

/// The same from a field of a structure. Text and numbers of other types are converted.
///
/// # Errors
/// [`Refusal::NoValue`] if it cannot be converted.
pub fn setting_of_field(control: &'static Control, value: &glib::Value) -> Result<Option<Setting>, Refusal> {
    let wanted = PROPERTIES.iter().find(|pspec| pspec.name() == control.property);
    let wanted = wanted.expect("each control has a property").value_type();
    let text = || glib::Value::deserialize(value.get::<&str>().ok()?, wanted).ok();
    let converted = text().or_else(|| value.transform_with_type(wanted).ok());
    setting(control, converted.as_ref().unwrap_or(value))
}

static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(properties);

fn parse(kind: Kind, value: &glib::Value) -> Option<Value> {
    Some(match kind {
        Kind::Bool => Value::Bool(value.get().ok()?),
        Kind::Int => Value::Int(value.get().ok()?),
        Kind::Float => Value::Float(value.get().ok().filter(|number: &f32| number.is_finite())?),
        Kind::Enum(_) => Value::Int(glib::EnumValue::from_value(value)?.1.value()),
        Kind::Floats(count) => {
            let numbers: Vec<f32> = elements(value)?;
            let usable = numbers.len() == count && numbers.iter().all(|number| number.is_finite());
            Value::Floats(usable.then_some(numbers)?)
        }
        Kind::Longs(count) => {
            let numbers: Vec<i64> = elements(value)?;
            Value::Longs((numbers.len() == count).then_some(numbers)?)
        }
        Kind::Rectangle => Value::Rectangles(vec![rectangle(value)?]),
        Kind::Rectangles => {
            let array = value.get::<gst::ArrayRef>().ok()?;
            let rectangles = array.iter().map(|value| rectangle(value)).collect::<Option<_>>();
            Value::Rectangles(rectangles?)
        }
    })
}

/// The elements of an array, converted to `T`.
fn elements<T>(value: &glib::Value) -> Option<Vec<T>>
where
    T: glib::value::ValueType + for<'a> glib::value::FromValue<'a>,
{
    let array = value.get::<gst::ArrayRef>().ok()?;
    array.iter().map(|value| value.transform::<T>().ok()?.get().ok()).collect()
}

fn rectangle(value: &glib::Value) -> Option<Rectangle> {
    elements(value)?.try_into().ok()
}

fn kind_in_words(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true or false".into(),
        Kind::Int => "a whole number".into(),
        Kind::Float => "a finite number".into(),
        Kind::Enum(kind) => {
            let class = glib::EnumClass::with_type((kind.type_)());
            let nicks =
                class.map(|class| class.values().iter().map(|v| v.nick().to_owned()).collect::<Vec<_>>());
            nicks.unwrap_or_default().join(", ")
        }
        Kind::Floats(count) => format!("an array of {count} finite numbers"),
        Kind::Longs(count) => format!("an array of {count} whole numbers"),
        Kind::Rectangle => "an array of x, y, width and height".into(),
        Kind::Rectangles => "an array of arrays of x, y, width and height".into(),
    }
}

/// `value` as the property of `control` has it; `None` is the value of a property that is not set.
pub fn to_property(control: &Control, value: Option<&Value>) -> glib::Value {
    match (control.kind, value) {
        (Kind::Enum(kind), value) => {
            let number = if let Some(Value::Int(number)) = value { *number } else { 0 };
            let class = glib::EnumClass::with_type((kind.type_)()).expect("it is an enum");
            class.to_value(number).or_else(|| class.to_value(0)).expect("each enum has a value 0")
        }
        (_, Some(value)) => to_field(control, value).into(),
        (Kind::Bool, None) => false.to_value(),
        (Kind::Int, None) => 0_i32.to_value(),
        (Kind::Float, None) => 0.0_f32.to_value(),
        (Kind::Floats(_) | Kind::Longs(_) | Kind::Rectangle | Kind::Rectangles, None) => {
            gst::Array::default().to_value()
        }
    }
}

/// `value` of `control` as a field of a message: of the property's type; enums as their nicks.
pub fn to_field(control: &Control, value: &Value) -> glib::SendValue {
    let array_of = |rectangle: &Rectangle| gst::Array::new(rectangle);
    match (control.kind, value) {
        (Kind::Enum(kind), Value::Int(number)) => kind.nick(*number).to_send_value(),
        (_, Value::Bool(value)) => value.to_send_value(),
        (_, Value::Int(value)) => value.to_send_value(),
        (_, Value::Float(value)) => value.to_send_value(),
        (_, Value::Floats(values)) => gst::Array::new(values).to_send_value(),
        (_, Value::Longs(values)) => gst::Array::new(values).to_send_value(),
        (Kind::Rectangle, Value::Rectangles(values)) => {
            values.first().map_or_else(gst::Array::default, array_of).to_send_value()
        }
        (_, Value::Rectangles(values)) => gst::Array::new(values.iter().map(array_of)).to_send_value(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(property: &str) -> &'static Control {
        controls::by_property(property).unwrap()
    }

    #[test]
    fn values_are_the_same_after_conversion_and_back() {
        gst::init().unwrap();
        for (property, value) in [
            ("ae-enable", Value::Bool(true)),
            ("exposure-time", Value::Int(10_000)),
            ("analogue-gain", Value::Float(1.5)),
            ("awb-mode", Value::Int(5)),
            ("colour-gains", Value::Floats(vec![1.5, 2.5])),
            ("frame-duration-limits", Value::Longs(vec![33_333, 40_000])),
            ("scaler-crop", Value::Rectangles(vec![[1, 2, 3, 4]])),
            ("af-windows", Value::Rectangles(vec![[1, 2, 3, 4], [5, 6, 7, 8]])),
        ] {
            let control = control(property);
            let as_property = to_property(control, Some(&value));
            let pspec = PROPERTIES.iter().find(|pspec| pspec.name() == property).unwrap();
            assert_eq!(as_property.type_(), pspec.value_type(), "{property}");
            assert_eq!(setting(control, &as_property), Ok(Some(Setting { control, value: value.clone() })));
            let text = as_property.serialize().unwrap();
            let of_text = setting_of_field(control, &text.to_value());
            assert_eq!(of_text, Ok(Some(Setting { control, value })), "{text}");
        }
    }

    #[test]
    fn unset_properties_are_their_defaults() {
        gst::init().unwrap();
        for control in controls::all() {
            let pspec = PROPERTIES.iter().find(|pspec| pspec.name() == control.property).unwrap();
            let unset = to_property(control, None);
            assert_eq!(unset.compare(pspec.default_value()), Some(std::cmp::Ordering::Equal), "{control:?}");
        }
    }

    #[test]
    fn invalid_values_are_refused() {
        gst::init().unwrap();
        let floats = |numbers: &[f32]| gst::Array::new(numbers).to_value();
        for (property, value, word) in [
            ("colour-gains", floats(&[1.0]), "an array of 2 finite numbers"),
            ("colour-gains", floats(&[1.0, f32::NAN]), "an array of 2 finite numbers"),
            ("scaler-crop", gst::Array::new([1, 2, 3]).to_value(), "x, y, width and height"),
            ("af-windows", gst::Array::new([1, 2, 3]).to_value(), "array of arrays"),
            ("analogue-gain", f32::INFINITY.to_value(), "a finite number"),
            ("awb-mode", "moonlight".to_value(), "daylight, cloudy"),
            ("ae-enable", "perhaps".to_value(), "true or false"),
        ] {
            let refusal = setting_of_field(control(property), &value).unwrap_err().to_string();
            assert!(refusal.contains(property) && refusal.contains(word), "{refusal}");
        }
        assert_eq!(setting(control("colour-gains"), &gst::Array::default().to_value()), Ok(None));
    }

    #[test]
    fn numbers_of_other_types_are_converted() {
        gst::init().unwrap();
        let gain = setting_of_field(control("analogue-gain"), &2_i32.to_value()).unwrap().unwrap();
        assert_eq!(gain.value, Value::Float(2.0));
        let time = setting_of_field(control("exposure-time"), &10_000_i64.to_value()).unwrap().unwrap();
        assert_eq!(time.value, Value::Int(10_000));
        let gains = gst::Array::new([1.5_f64, 2.0]).to_value();
        let gains = setting_of_field(control("colour-gains"), &gains).unwrap().unwrap();
        assert_eq!(gains.value, Value::Floats(vec![1.5, 2.0]));
    }
}
