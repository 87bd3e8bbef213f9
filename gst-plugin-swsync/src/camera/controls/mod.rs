//! Controls of cameras that users set: exposure, gain, white balance, focus and others.
//!
//! One table names them all. A camera says which of them it has, and their ranges ([`Ranges`]). Other settings are refused with
//! a reason.

mod rig;
mod table;

use std::collections::BTreeMap;
use std::fmt;

use gst::glib;

pub use rig::{camera_control, control_of, control_value, range_of, value_of};

/// A control that some cameras have.
#[derive(Debug)]
pub struct Control {
    /// libcamera's name of it, e.g. `ExposureTime`.
    pub name: &'static str,
    /// The property's name, e.g. `exposure-time`.
    pub property: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// What it does, for people.
    pub blurb: &'static str,
}

/// The type of a control's values. Arrays are GstValueArrays; rectangles are arrays of x, y, width, height.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Yes or no.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// One of a few names.
    Enum(EnumKind),
    /// An array of so many numbers.
    Floats(usize),
    /// An array of so many whole numbers.
    Longs(usize),
    /// Part of a picture.
    Rectangle,
    /// Any number of parts of a picture.
    Rectangles,
}

/// A GEnum of the table.
#[derive(Debug, Clone, Copy)]
pub struct EnumKind {
    /// Its type.
    pub type_: fn() -> glib::Type,
    /// A property of this type, by name, nick and blurb.
    pub property: fn(&str, &str, &str) -> glib::ParamSpec,
}

/// All controls, by the names of their properties.
#[must_use]
pub fn all() -> &'static [Control] {
    &table::CONTROLS
}

/// The control whose property has this name.
#[must_use]
pub fn by_property(property: &str) -> Option<&'static Control> {
    all().iter().find(|control| control.property == property)
}

/// The control that libcamera calls `name`.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Control> {
    all().iter().find(|control| control.name == name)
}

// The table has one row per control, so names are identity.
impl PartialEq for Control {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
impl Eq for Control {}

/// Left edge, top edge, width, height.
pub type Rectangle = [i32; 4];

/// A value of a control.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Int`], and the number of an enum's value.
    Int(i32),
    /// Of [`Kind::Float`].
    Float(f32),
    /// Of [`Kind::Floats`].
    Floats(Vec<f32>),
    /// Of [`Kind::Longs`].
    Longs(Vec<i64>),
    /// Of [`Kind::Rectangle`], one, and of [`Kind::Rectangles`].
    Rectangles(Vec<Rectangle>),
}

impl Value {
    /// Its numbers, in the order of an array; none for rectangles.
    fn numbers(&self) -> Vec<f64> {
        match self {
            Self::Bool(value) => vec![f64::from(u8::from(*value))],
            Self::Int(value) => vec![f64::from(*value)],
            Self::Float(value) => vec![f64::from(*value)],
            Self::Floats(values) => values.iter().copied().map(f64::from).collect(),
            #[expect(clippy::cast_precision_loss, reason = "compared with limits, in microseconds")]
            Self::Longs(values) => values.iter().map(|value| *value as f64).collect(),
            Self::Rectangles(_) => Vec::new(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Floats(values) => write!(f, "{values:?}"),
            Self::Longs(values) => write!(f, "{values:?}"),
            Self::Rectangles(values) => write!(f, "{values:?}"),
        }
    }
}

/// A control set to a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Which.
    pub control: &'static Control,
    /// To what.
    pub value: Value,
}

/// What a camera takes for one control.
#[derive(Debug, Clone, PartialEq)]
pub enum Range {
    /// Numbers, or each number of an array, from the first to the second.
    Numbers(f64, f64),
    /// The same, and 0 for automatic.
    NumbersOrAuto(f64, f64),
    /// Numbers of an enum or a bool.
    OneOf(Vec<i32>),
    /// Rectangles with at most this width and height.
    Within(i32, i32),
    /// Anything of its kind: the camera states no range.
    Any,
}

/// Which controls a camera has, in its present mode.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ranges {
    camera: String,
    ranges: BTreeMap<&'static str, (&'static Control, Range)>,
    /// What the camera uses where nobody has set anything, as far as it says so.
    defaults: BTreeMap<&'static str, Value>,
}

/// Why a setting is refused, and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The camera has no such control.
    #[error("`{property}` is refused: camera {camera} has no such control. It has: {has}")]
    Unsupported {
        /// The property.
        property: &'static str,
        /// The camera's model.
        camera: String,
        /// What could be set instead.
        has: String,
    },
    /// The camera has no such value.
    #[error("`{property}` is refused: camera {camera} does not take {value}. It takes {range}")]
    OutOfRange {
        /// The property.
        property: &'static str,
        /// The camera's model.
        camera: String,
        /// What was asked.
        value: String,
        /// What it takes in its present mode.
        range: String,
    },
    /// The aligner sets it.
    #[error(
        "`frame-duration-limits` is refused: swsyncsrc sets the length of each frame of camera {camera} itself, to keep \
         them on the frame grid. Set the frame rate in the caps; `exposure-time` bounds exposures"
    )]
    Aligned {
        /// The camera's model.
        camera: String,
    },
    /// There is no such control.
    #[error("`{field}` is refused: there is no such control. There are: {controls}")]
    Unknown {
        /// What was asked for.
        field: String,
        /// What could be.
        controls: String,
    },
    /// It is no value of this control.
    #[error("`{property}` is refused: {value} is not one of its values. It takes {kind}")]
    NoValue {
        /// The property.
        property: &'static str,
        /// What was asked.
        value: String,
        /// What it takes.
        kind: String,
    },
}

impl Refusal {
    /// The property that is refused.
    #[must_use]
    pub fn property(&self) -> &str {
        match self {
            Self::Unsupported { property, .. }
            | Self::OutOfRange { property, .. }
            | Self::NoValue { property, .. } => property,
            Self::Aligned { .. } => "frame-duration-limits",
            Self::Unknown { field, .. } => field,
        }
    }
}

impl Ranges {
    /// Those of the camera model `camera`.
    #[must_use]
    pub fn new(camera: &str) -> Self {
        Self { camera: camera.to_owned(), ..Self::default() }
    }

    /// Adds a control.
    #[must_use]
    pub fn with(mut self, control: &'static Control, range: Range) -> Self {
        self.ranges.insert(control.property, (control, range));
        self
    }

    /// Adds what the camera uses for `control` where nobody has set it.
    #[must_use]
    pub fn with_default(mut self, control: &'static Control, value: Value) -> Self {
        self.defaults.insert(control.property, value);
        self
    }

    /// The camera's model.
    #[must_use]
    pub fn camera(&self) -> &str {
        &self.camera
    }

    /// The value of `control` where nobody has set it: automatic, if the camera can do that, else its own.
    #[must_use]
    pub fn unset_value(&self, control: &Control) -> Option<Value> {
        match (self.ranges.get(control.property)?, control.kind) {
            ((_, Range::NumbersOrAuto(..)), Kind::Int) => Some(Value::Int(0)),
            ((_, Range::NumbersOrAuto(..)), Kind::Float) => Some(Value::Float(0.0)),
            _ => self.defaults.get(control.property).cloned(),
        }
    }

    /// The range of `control`.
    #[must_use]
    pub fn range(&self, control: &Control) -> Option<&Range> {
        self.ranges.get(control.property).map(|(_, range)| range)
    }

    /// The same ranges, with `most` as the upper limit of `control`.
    #[must_use]
    pub fn at_most(mut self, control: &Control, most: f64) -> Self {
        if let Some((_, Range::Numbers(_, max) | Range::NumbersOrAuto(_, max))) =
            self.ranges.get_mut(control.property)
        {
            *max = max.min(most);
        }
        self
    }

    /// Whether the camera has `control`.
    #[must_use]
    pub fn has(&self, control: &Control) -> bool {
        self.ranges.contains_key(control.property)
    }

    /// The camera's controls and their ranges, by property name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Control, &Range)> {
        self.ranges.values().map(|(control, range)| (*control, range))
    }

    /// Whether the camera takes `setting`. `aligned`: the aligner sets the lengths of its frames.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, setting: &Setting, aligned: bool) -> Result<(), Refusal> {
        let Setting { control, value } = setting;
        let camera = self.camera.clone();
        if aligned && control.name == "FrameDurationLimits" {
            return Err(Refusal::Aligned { camera });
        }
        let property = control.property;
        let Some((_, range)) = self.ranges.get(property) else {
            let has: Vec<_> = self.ranges.keys().copied().collect();
            let has = if has.is_empty() { "none at all".to_owned() } else { has.join(", ") };
            return Err(Refusal::Unsupported { property, camera, has });
        };
        if range.takes(value) {
            return Ok(());
        }
        let (value, range) = (control.say(value), control.say_range(range));
        Err(Refusal::OutOfRange { property, camera, value, range })
    }
}

impl Range {
    fn takes(&self, value: &Value) -> bool {
        let numbers = value.numbers();
        match self {
            Self::Numbers(min, max) => numbers.iter().all(|number| (min..=max).contains(&number)),
            Self::NumbersOrAuto(min, max) => {
                numbers.iter().all(|number| *number == 0.0 || (min..=max).contains(&number))
            }
            Self::OneOf(allowed) => {
                numbers.iter().all(|number| allowed.iter().any(|allowed| f64::from(*allowed) == *number))
            }
            Self::Within(width, height) => match value {
                Value::Rectangles(rectangles) => rectangles
                    .iter()
                    .all(|[_, _, w, h]| (1..=*width).contains(w) && (1..=*height).contains(h)),
                _ => false,
            },
            Self::Any => true,
        }
    }
}

impl Control {
    /// `value` as a user writes it.
    #[must_use]
    pub fn say(&self, value: &Value) -> String {
        match (self.kind, value) {
            (Kind::Enum(kind), Value::Int(number)) => kind.nick(*number),
            _ => value.to_string(),
        }
    }

    /// `range` in words.
    #[must_use]
    pub fn say_range(&self, range: &Range) -> String {
        match range {
            Range::Numbers(min, max) => format!("{min} to {max}"),
            Range::NumbersOrAuto(min, max) => format!("{min} to {max}, or 0 for auto"),
            Range::OneOf(values) => {
                let names = values.iter().map(|value| match self.kind {
                    Kind::Bool => (*value != 0).to_string(),
                    Kind::Enum(kind) => kind.nick(*value),
                    _ => value.to_string(),
                });
                names.collect::<Vec<_>>().join(", ")
            }
            Range::Within(width, height) => format!("rectangles of up to {width} x {height} pixels"),
            Range::Any => "anything".to_owned(),
        }
    }
}

impl EnumKind {
    /// The nick of libcamera's value `number`.
    #[must_use]
    pub fn nick(self, number: i32) -> String {
        let class = glib::EnumClass::with_type((self.type_)());
        let nick = class.and_then(|class| Some(class.value(number)?.nick().to_owned()));
        nick.unwrap_or_else(|| number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(property: &str) -> &'static Control {
        by_property(property).unwrap()
    }

    fn ranges() -> Ranges {
        Ranges::new("imx219")
            .with(control("exposure-time"), Range::NumbersOrAuto(75.0, 11_766_829.0))
            .with(control("analogue-gain"), Range::Numbers(1.0, 10.666_667))
            .with(control("ae-metering-mode"), Range::OneOf(vec![0, 2]))
            .with(control("colour-gains"), Range::Numbers(0.0, 32.0))
            .with(control("scaler-crop"), Range::Within(3280, 2464))
    }

    fn check(property: &str, value: Value) -> Result<(), String> {
        let setting = Setting { control: control(property), value };
        ranges().check(&setting, false).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn properties_are_named_as_in_libcamera_in_kebab_case() {
        for control in all() {
            let mut kebab = String::new();
            for letter in control.name.chars() {
                if letter.is_uppercase() && !kebab.is_empty() {
                    kebab.push('-');
                }
                kebab.extend(letter.to_lowercase());
            }
            assert_eq!(control.property, kebab);
            assert_eq!(by_name(control.name), Some(control));
        }
        assert!(all().is_sorted_by_key(|control| control.property));
    }

    #[test]
    fn values_within_the_range_are_taken() {
        for (property, value) in [
            ("exposure-time", Value::Int(75)),
            ("exposure-time", Value::Int(0)),
            ("analogue-gain", Value::Float(1.0)),
            ("ae-metering-mode", Value::Int(2)),
            ("colour-gains", Value::Floats(vec![0.0, 32.0])),
            ("scaler-crop", Value::Rectangles(vec![[0, 0, 3280, 2464]])),
        ] {
            assert_eq!(check(property, value), Ok(()), "{property}");
        }
    }

    #[test]
    fn refusals_name_control_range_and_camera() {
        gst::init().unwrap();
        for (property, value, words) in [
            ("exposure-time", Value::Int(74), ["74", "75 to 11766829, or 0 for auto"]),
            ("analogue-gain", Value::Float(0.0), ["0", "1 to 10.666667"]),
            ("analogue-gain", Value::Float(f32::NAN), ["NaN", "1 to 10.666667"]),
            ("ae-metering-mode", Value::Int(1), ["spot", "centre-weighted, matrix"]),
            ("colour-gains", Value::Floats(vec![1.0, 33.0]), ["[1.0, 33.0]", "0 to 32"]),
            ("scaler-crop", Value::Rectangles(vec![[0, 0, 0, 10]]), ["[0, 0, 0, 10]", "3280 x 2464"]),
            ("af-mode", Value::Int(0), ["no such control", "ae-metering-mode, analogue-gain"]),
        ] {
            let refusal = check(property, value).unwrap_err();
            for word in [property, "imx219"].into_iter().chain(words) {
                assert!(refusal.contains(word), "{word}: {refusal}");
            }
        }
    }

    #[test]
    fn only_the_aligner_sets_frame_durations() {
        let limits =
            Setting { control: control("frame-duration-limits"), value: Value::Longs(vec![33_333; 2]) };
        let ranges = ranges().with(limits.control, Range::Numbers(1_000.0, 100_000.0));
        assert_eq!(ranges.check(&limits, false), Ok(()));
        let refusal = ranges.check(&limits, true).unwrap_err().to_string();
        assert!(refusal.contains("frame grid") && refusal.contains("caps"), "{refusal}");
    }
}
