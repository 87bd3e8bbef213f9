//! Values of controls: their types, their text on the command line, and their JSON.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{SerializeMap as _, Serializer};
use serde::{Deserialize, Serialize};

use super::control::{CameraControl, ControlKind};
use crate::time::Span;

/// A value of a control. Numbers are finite.
#[derive(Debug, Clone, PartialEq)]
pub enum ControlValue {
    /// Of [`ControlKind::Switch`].
    Switch(bool),
    /// Of [`ControlKind::Time`].
    Time(Span),
    /// Of [`ControlKind::Integer`].
    Integer(i64),
    /// Of [`ControlKind::Number`].
    Number(f64),
    /// Of [`ControlKind::Numbers`].
    Numbers(Vec<f64>),
    /// Of [`ControlKind::Choice`].
    Choice(&'static str),
}

// No value has a NaN: none is made of a text or a message that has one.
impl Eq for ControlValue {}

/// Why a text or a message is no value of a control.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// There is no such control.
    #[error("there is no control `{name}` that can be set for a rig. There are: {}", names(), name = .0)]
    Control(String),
    /// It is no value of the control.
    #[error("{control}={value}: `{control}` takes {}", control.kind())]
    Value {
        /// The control.
        control: CameraControl,
        /// What was given.
        value: String,
    },
    /// Not of the form `control=value`.
    #[error("`{0}` is not of the form control=value, like exposure-time=5000")]
    Form(String),
    /// A control is there twice.
    #[error("`{0}` is set twice")]
    Twice(CameraControl),
}

fn names() -> String {
    CameraControl::ALL.iter().map(|control| control.name()).collect::<Vec<_>>().join(", ")
}

/// A value as JSON has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub(super) enum RawValue {
    Switch(bool),
    Integer(i64),
    Number(f64),
    Numbers(#[serde(deserialize_with = "crate::bounded::list::<_, _, 9>")] Vec<f64>),
    Text(#[serde(deserialize_with = "crate::bounded::text")] String),
}

impl fmt::Display for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Numbers(values) => write!(f, "{values:?}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl ControlValue {
    /// The value of `control` that `text` says.
    ///
    /// # Errors
    /// [`ValueError::Value`].
    pub fn parse(control: CameraControl, text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::Value { control, value: text.to_owned() };
        let finite = |text: &str| text.trim().parse().ok().filter(|number: &f64| number.is_finite());
        Ok(match control.kind() {
            ControlKind::Switch => Self::Switch(text.parse().map_err(|_| wrong())?),
            ControlKind::Time => {
                let micros = text.parse().ok().filter(|micros: &u32| i32::try_from(*micros).is_ok());
                Self::Time(Span::from_micros(micros.ok_or_else(wrong)?.into()))
            }
            ControlKind::Integer => Self::Integer(text.parse::<i32>().map_err(|_| wrong())?.into()),
            ControlKind::Number => Self::Number(finite(text).ok_or_else(wrong)?),
            ControlKind::Numbers(count) => {
                let numbers: Option<Vec<f64>> = text.split(',').map(finite).collect();
                Self::Numbers(numbers.filter(|numbers| numbers.len() == count).ok_or_else(wrong)?)
            }
            ControlKind::Choice(names) => {
                let name = names.iter().find(|name| **name == text).ok_or_else(wrong)?;
                Self::Choice(name)
            }
        })
    }

    pub(super) fn from_raw(control: CameraControl, raw: RawValue) -> Result<Self, ValueError> {
        let wrong = |raw: &RawValue| ValueError::Value { control, value: raw.to_string() };
        #[expect(
            clippy::cast_precision_loss,
            reason = "a whole number where any number is taken: gains and the like"
        )]
        let value = match (control.kind(), &raw) {
            (ControlKind::Switch, RawValue::Switch(value)) => Self::Switch(*value),
            (ControlKind::Time, RawValue::Integer(micros)) if (0..=i64::from(i32::MAX)).contains(micros) => {
                Self::Time(Span::from_micros(*micros))
            }
            (ControlKind::Integer, RawValue::Integer(number)) if i32::try_from(*number).is_ok() => {
                Self::Integer(*number)
            }
            (ControlKind::Number, RawValue::Integer(number)) => Self::Number(*number as f64),
            (ControlKind::Number, RawValue::Number(number)) if number.is_finite() => Self::Number(*number),
            (ControlKind::Numbers(count), RawValue::Numbers(numbers))
                if numbers.len() == count && numbers.iter().all(|number| number.is_finite()) =>
            {
                Self::Numbers(numbers.clone())
            }
            (ControlKind::Choice(names), RawValue::Text(text)) => {
                Self::Choice(names.iter().find(|name| *name == text).ok_or_else(|| wrong(&raw))?)
            }
            _ => return Err(wrong(&raw)),
        };
        Ok(value)
    }

    pub(super) fn to_raw(&self) -> RawValue {
        match self {
            Self::Switch(value) => RawValue::Switch(*value),
            Self::Time(span) => RawValue::Integer(whole_micros(*span)),
            Self::Integer(value) => RawValue::Integer(*value),
            Self::Number(value) => RawValue::Number(*value),
            Self::Numbers(values) => RawValue::Numbers(values.clone()),
            Self::Choice(name) => RawValue::Text((*name).to_owned()),
        }
    }
}

/// As [`ControlValue::parse`] reads it.
impl fmt::Display for ControlValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(value) => write!(f, "{value}"),
            Self::Time(span) => write!(f, "{}", whole_micros(*span)),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Numbers(values) => {
                let numbers: Vec<_> = values.iter().map(ToString::to_string).collect();
                f.write_str(&numbers.join(","))
            }
            Self::Choice(name) => f.write_str(name),
        }
    }
}

/// Rounded up: cameras round down to whole lines, so a value that a camera has used, set again, has to give the same lines.
const fn whole_micros(span: Span) -> i64 {
    span.as_nanos().saturating_add(999).div_euclid(1_000)
}

/// Values of controls. JSON: an object, with times in whole microseconds as in libcamera.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlValues(BTreeMap<CameraControl, ControlValue>);

impl ControlValues {
    /// Those of `texts`, each of the form `control=value`.
    ///
    /// # Errors
    /// [`ValueError`] for the first that is wrong.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, ValueError> {
        let mut values = Self::default();
        for text in texts {
            let (name, value) = text.split_once('=').ok_or_else(|| ValueError::Form(text.to_owned()))?;
            let control =
                CameraControl::from_name(name).ok_or_else(|| ValueError::Control(name.to_owned()))?;
            if values.insert(control, ControlValue::parse(control, value)?).is_some() {
                return Err(ValueError::Twice(control));
            }
        }
        Ok(values)
    }

    /// The value of `control`.
    #[must_use]
    pub fn get(&self, control: CameraControl) -> Option<&ControlValue> {
        self.0.get(&control)
    }

    /// Sets a value, which is of the control's kind; returns the previous one.
    pub fn insert(&mut self, control: CameraControl, value: ControlValue) -> Option<ControlValue> {
        self.0.insert(control, value)
    }

    /// All values, by control.
    pub fn iter(&self) -> btree_map::Iter<'_, CameraControl, ControlValue> {
        self.0.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<(CameraControl, ControlValue)> for ControlValues {
    fn from_iter<I: IntoIterator<Item = (CameraControl, ControlValue)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// As [`ControlValues::parse`] reads it, with spaces between.
impl fmt::Display for ControlValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.iter().map(|(control, value)| format!("{control}={value}")).collect();
        f.write_str(&texts.join(" "))
    }
}

impl Serialize for ControlValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (control, value) in self.iter() {
            map.serialize_entry(control, &value.to_raw())?;
        }
        map.end()
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for ControlValues {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ControlValues".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = BTreeMap::<CameraControl, RawValue>::json_schema(generator);
        schema.insert(
            "description".into(),
            "Values of controls, by their names. Times are in microseconds.".into(),
        );
        schema
    }
}

impl<'de> Deserialize<'de> for ControlValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValuesVisitor;
        impl<'de> Visitor<'de> for ValuesVisitor {
            type Value = ControlValues;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("values of controls, by their names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ControlValues, A::Error> {
                let mut values = ControlValues::default();
                while let Some((control, raw)) = map.next_entry::<CameraControl, RawValue>()? {
                    let value = ControlValue::from_raw(control, raw).map_err(A::Error::custom)?;
                    values.insert(control, value);
                }
                Ok(values)
            }
        }
        deserializer.deserialize_map(ValuesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "ae-enable=false analogue-gain=2.5 awb-mode=daylight colour-gains=1.5,2 colour-temperature=5600 \
                       exposure-time=5000";

    #[test]
    fn values_are_read_back_from_text_and_json() {
        let values = ControlValues::parse(ALL.split(' ')).unwrap();
        assert_eq!(values.to_string(), ALL);
        let exposure = values.get(CameraControl::ExposureTime);
        assert_eq!(exposure, Some(&ControlValue::Time(Span::from_millis(5))));
        let json = serde_json::to_string(&values).unwrap();
        assert!(
            json.contains(r#""exposure-time":5000"#) && json.contains(r#""colour-gains":[1.5,2.0]"#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<ControlValues>(&json).unwrap(), values);
        let whole: ControlValues = serde_json::from_str(r#"{"analogue-gain":2}"#).unwrap();
        assert_eq!(whole.get(CameraControl::AnalogueGain), Some(&ControlValue::Number(2.0)));
    }

    #[test]
    fn a_wrong_value_is_refused_with_what_is_taken() {
        for (text, word) in [
            ("exposure-time=5ms", "whole microseconds"),
            ("exposure-time=-1", "whole microseconds"),
            ("exposure-time=3000000000", "whole microseconds"),
            ("analogue-gain=NaN", "a number"),
            ("colour-gains=1", "2 numbers"),
            ("awb-mode=moonlight", "daylight, cloudy"),
            ("ae-enable=yes", "true or false"),
            ("exposure-tyme=1", "exposure-time, exposure-time-mode"),
            ("exposure-time", "control=value"),
        ] {
            let why = ControlValues::parse([text]).unwrap_err().to_string();
            assert!(why.contains(word), "{text}: {why}");
        }
        let twice = ControlValues::parse(["gamma=1", "gamma=2"]);
        assert_eq!(twice, Err(ValueError::Twice(CameraControl::Gamma)));
    }

    #[test]
    fn messages_cannot_have_other_values() {
        for json in [
            r#"{"exposure-time":5000.5}"#,
            r#"{"exposure-time":-5}"#,
            r#"{"exposure-time":"5000"}"#,
            r#"{"awb-enable":1}"#,
            r#"{"colour-gains":[1,2,3]}"#,
            r#"{"awb-mode":"moonlight"}"#,
            r#"{"frame-duration-limits":[1,2]}"#,
            r#"{"colour-correction-matrix":[1,2,3,4,5,6,7,8,9,10]}"#,
        ] {
            assert!(serde_json::from_str::<ControlValues>(json).is_err(), "{json}");
        }
    }
}
