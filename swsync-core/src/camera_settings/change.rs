//! A change of settings: which controls, on which devices, from which frame on.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{SerializeMap as _, Serializer};
use serde::{Deserialize, Serialize};

use super::control::CameraControl;
use super::value::{ControlValue, ControlValues, RawValue};
use crate::bounded;
use crate::grid::{FrameGrid, FrameNumber};
use crate::message::TimeScale;
use crate::name::{DeviceId, Name};
use crate::order::{MAX_TARGETS, Targets};
use crate::time::{Rig, Timestamp};

/// Most changes that are kept of a rig. Chosen: one for each device of the largest rig that orders can name.
pub const MAX_CHANGES: usize = 512;

/// What controls are set to. `None`: back to what the pipeline's properties say. JSON: an object, with null for `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignments(BTreeMap<CameraControl, Option<ControlValue>>);

impl Assignments {
    /// Sets these controls back to what the pipeline's properties say.
    #[must_use]
    pub fn reset(controls: impl IntoIterator<Item = CameraControl>) -> Self {
        Self(controls.into_iter().map(|control| (control, None)).collect())
    }

    /// What `control` is set to, if it is.
    #[must_use]
    pub fn get(&self, control: CameraControl) -> Option<Option<&ControlValue>> {
        self.0.get(&control).map(Option::as_ref)
    }

    /// Sets a control; a value is of its kind.
    pub fn insert(&mut self, control: CameraControl, value: Option<ControlValue>) {
        self.0.insert(control, value);
    }

    /// All of them, by control.
    pub fn iter(&self) -> btree_map::Iter<'_, CameraControl, Option<ControlValue>> {
        self.0.iter()
    }

    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are set to a value.
    #[must_use]
    pub fn values(&self) -> ControlValues {
        self.iter().filter_map(|(control, value)| Some((*control, value.clone()?))).collect()
    }

    pub(super) fn retain(&mut self, keep: impl Fn(CameraControl) -> bool) {
        self.0.retain(|control, _| keep(*control));
    }
}

impl From<ControlValues> for Assignments {
    fn from(values: ControlValues) -> Self {
        Self(values.iter().map(|(control, value)| (*control, Some(value.clone()))).collect())
    }
}

impl Extend<(CameraControl, Option<ControlValue>)> for Assignments {
    fn extend<I: IntoIterator<Item = (CameraControl, Option<ControlValue>)>>(&mut self, all: I) {
        self.0.extend(all);
    }
}

impl fmt::Display for Assignments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self
            .iter()
            .map(|(control, value)| match value {
                Some(value) => format!("{control}={value}"),
                None => format!("{control} as the pipeline has it"),
            })
            .collect();
        f.write_str(&texts.join(" "))
    }
}

impl Serialize for Assignments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (control, value) in self.iter() {
            map.serialize_entry(control, &value.as_ref().map(ControlValue::to_raw))?;
        }
        map.end()
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Assignments {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Assignments".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = BTreeMap::<CameraControl, Option<RawValue>>::json_schema(generator);
        let description =
            "What controls are set to, by their names. Null: back to what the pipeline's properties say.";
        schema.insert("description".into(), description.into());
        schema
    }
}

impl<'de> Deserialize<'de> for Assignments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AssignmentsVisitor;
        impl<'de> Visitor<'de> for AssignmentsVisitor {
            type Value = Assignments;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("values of controls or null, by their names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Assignments, A::Error> {
                let mut all = Assignments::default();
                while let Some((control, raw)) = map.next_entry::<CameraControl, Option<RawValue>>()? {
                    let value = raw.map(|raw| ControlValue::from_raw(control, raw)).transpose();
                    all.insert(control, value.map_err(A::Error::custom)?);
                }
                Ok(all)
            }
        }
        deserializer.deserialize_map(AssignmentsVisitor)
    }
}

/// Part of a change: what some devices are set to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangePart {
    /// The devices.
    #[serde(default, skip_serializing_if = "is_all")]
    pub targets: Targets,
    /// What their controls are set to.
    pub assign: Assignments,
}

fn is_all(targets: &Targets) -> bool {
    *targets == Targets::All
}

impl ChangePart {
    /// The controls of all `parts` that are for `device`; of several values of one control the last.
    #[must_use]
    pub fn all_for(parts: &[Self], device: &DeviceId) -> Assignments {
        let mut all = Assignments::default();
        for part in parts.iter().filter(|part| part.targets.include(device)) {
            all.extend(part.assign.iter().map(|(control, value)| (*control, value.clone())));
        }
        all
    }

    /// All devices that `parts` are for.
    #[must_use]
    pub fn targets_of(parts: &[Self]) -> Targets {
        let mut all = std::collections::BTreeSet::new();
        for part in parts {
            match &part.targets {
                Targets::All => return Targets::All,
                Targets::Devices(devices) => all.extend(devices.iter().cloned()),
            }
        }
        Targets::Devices(all)
    }
}

/// A change of the rig's camera settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsChange {
    /// Its id.
    pub change: Name,
    /// The first frame that it holds for.
    pub frame: FrameNumber,
    /// The grid that this number is of.
    pub rate: FrameGrid,
    /// The time scale that the number is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timescale: Option<TimeScale>,
    /// What it sets, and where.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_TARGETS>")]
    pub parts: Vec<ChangePart>,
}

impl SettingsChange {
    /// The instant from which on it holds. Changes are ordered by it.
    #[must_use]
    pub fn at(&self) -> Timestamp<Rig> {
        self.rate.instant(self.frame)
    }

    /// What it sets on `device`.
    #[must_use]
    pub fn for_device(&self, device: &DeviceId) -> Assignments {
        ChangePart::all_for(&self.parts, device)
    }

    /// The first frame that it holds for, on `grid`.
    #[must_use]
    pub fn frame_on(&self, grid: FrameGrid) -> FrameNumber {
        if grid == self.rate { self.frame } else { grid.nearest(self.at()) }
    }

    pub(super) fn key(&self) -> (Timestamp<Rig>, &Name) {
        (self.at(), &self.change)
    }

    /// How many devices it names.
    pub(super) fn named_devices(&self) -> usize {
        let named = |part: &ChangePart| match &part.targets {
            Targets::All => 0,
            Targets::Devices(devices) => devices.len(),
        };
        self.parts.iter().map(named).sum()
    }
}
