//! A preset's file: TOML that a person can read, edit and share.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use swsync_core::camera_settings::{CameraControl, CameraReport, ControlValue, ControlValues};
use swsync_core::name::{DeviceId, Name};

/// Longest file that is read, in bytes: that of a thousand devices, each with thirty values of its own.
const MAX_BYTES: u64 = 1 << 20;

/// Values that hold only if an automatic is off, and the control that has it off.
const AUTOMATICS: [(CameraControl, CameraControl); 3] = [
    (CameraControl::ExposureTime, CameraControl::AeEnable),
    (CameraControl::AnalogueGain, CameraControl::AeEnable),
    (CameraControl::ColourGains, CameraControl::AwbEnable),
];

/// What cameras are set to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// When it was saved, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<String>,
    /// The rig that it was saved from, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rig: Option<Name>,
    /// What every device is set to.
    #[serde(default)]
    pub all: ControlValues,
    /// What single devices are set to, in place of that.
    #[serde(default)]
    pub device: BTreeMap<DeviceId, ControlValues>,
}

/// Why a preset cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PresetError {
    /// There is none of this name.
    #[error("there is no preset {name} ({}); there is: {there}", path.display())]
    None {
        /// The name.
        name: Name,
        /// Its file.
        path: PathBuf,
        /// The presets that there are.
        there: String,
    },
    /// There is one of this name already.
    #[error("there is a preset {name} already ({}): choose another name, or replace it with --force", path.display())]
    Exists {
        /// The name.
        name: Name,
        /// Its file.
        path: PathBuf,
    },
    /// The file is no preset.
    #[error("{}: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        why: String,
    },
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// It is not known where files of settings are.
    #[error(
        "neither XDG_CONFIG_HOME nor HOME is set, so that there is no folder for presets: set one of them"
    )]
    NoHome,
}

/// The folder of a user's presets.
///
/// # Errors
/// [`PresetError::NoHome`].
pub fn folder() -> Result<PathBuf, PresetError> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let config = config.or_else(|| Some(set("HOME")?.join(".config"))).ok_or(PresetError::NoHome)?;
    Ok(config.join("swsync/presets"))
}

/// The file of a preset in `folder`.
pub fn path(folder: &Path, name: &Name) -> PathBuf {
    folder.join(format!("{name}.toml"))
}

/// The names of all presets in `folder`, sorted; none if there is no such folder.
///
/// # Errors
/// [`PresetError::Io`].
pub fn names(folder: &Path) -> Result<Vec<Name>, PresetError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(PresetError::Io { path: folder.to_owned(), source }),
    };
    let mut names: Vec<_> = entries
        .filter_map(|entry| Name::new(entry.ok()?.file_name().to_str()?.strip_suffix(".toml")?).ok())
        .collect();
    names.sort();
    Ok(names)
}

/// The text of a preset.
///
/// # Errors
/// [`PresetError::None`] lists those that there are; or [`PresetError::Io`].
pub fn read_text(folder: &Path, name: &Name) -> Result<String, PresetError> {
    let path = path(folder, name);
    let about = std::fs::metadata(&path);
    let read = about.and_then(|about| match about.len() {
        ..=MAX_BYTES => std::fs::read_to_string(&path),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    });
    read.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => {
            let there: Vec<_> = names(folder).unwrap_or_default().iter().map(ToString::to_string).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            PresetError::None { name: name.clone(), path, there }
        }
        _ => PresetError::Io { path, source },
    })
}

/// Reads a preset.
///
/// # Errors
/// As [`read_text`]; or [`PresetError::Malformed`], with line and column.
pub fn read(folder: &Path, name: &Name) -> Result<Preset, PresetError> {
    let text = read_text(folder, name)?;
    toml::from_str(&text)
        .map_err(|error| PresetError::Malformed { path: path(folder, name), why: error.to_string() })
}

/// Writes a preset; `replace`: also in place of one of this name.
///
/// # Errors
/// [`PresetError::Exists`] or [`PresetError::Io`].
pub fn write(folder: &Path, name: &Name, preset: &Preset, replace: bool) -> Result<PathBuf, PresetError> {
    let path = path(folder, name);
    if !replace && path.exists() {
        return Err(PresetError::Exists { name: name.clone(), path });
    }
    match swsync_files::write_whole(&path, preset.to_text().as_bytes()) {
        Ok(()) => Ok(path),
        Err(source) => Err(PresetError::Io { path, source }),
    }
}

impl Preset {
    /// What these cameras use. Values that all have in common are for every device.
    ///
    /// An automatic counts as off where its result is saved: cameras are set to what it had found.
    pub fn of<'a>(cameras: impl IntoIterator<Item = (&'a DeviceId, &'a CameraReport)>) -> Self {
        let mut device: BTreeMap<_, _> =
            cameras.into_iter().map(|(device, report)| (device.clone(), fixed_values(report))).collect();
        let mut all = ControlValues::default();
        if let Some(first) = device.values().next().cloned() {
            for (control, value) in first.iter() {
                if device.len() > 1 && device.values().all(|values| values.get(*control) == Some(value)) {
                    all.insert(*control, value.clone());
                }
            }
        }
        for values in device.values_mut() {
            let own = values.iter().filter(|(control, _)| all.get(**control).is_none());
            *values = own.map(|(control, value)| (*control, value.clone())).collect();
        }
        device.retain(|_, values| !values.is_empty());
        Self { saved: None, rig: None, all, device }
    }

    /// Whether it sets nothing.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.device.is_empty()
    }

    /// The file's text, which `read` reads.
    pub fn to_text(&self) -> String {
        let mut text = String::from(
            "# A preset of swsync: what cameras are set to (`swsync preset apply`). Controls are named as `swsync set` names\n\
             # them; times are in microseconds. [all] holds for every device, [device.NAME] for one, in place of that.\n",
        );
        // Writing to a string cannot fail.
        for (key, value) in [("saved", self.saved.clone()), ("rig", self.rig.as_ref().map(Name::to_string))] {
            if let Some(value) = value {
                let _ = writeln!(text, "{key} = {}", quoted(&value));
            }
        }
        let mut section = |heading: &str, values: &ControlValues| {
            let _ = writeln!(text, "\n[{heading}]");
            for (control, value) in values.iter() {
                let _ = writeln!(text, "{control} = {}", toml_value(value));
            }
        };
        if !self.all.is_empty() || self.device.is_empty() {
            section("all", &self.all);
        }
        for (device, values) in &self.device {
            // Dots would make it a table in a table.
            section(&format!("device.{}", quoted(device.as_str())), values);
        }
        text
    }
}

/// What a camera is to be set to so that it goes on as it is.
fn fixed_values(report: &CameraReport) -> ControlValues {
    let set = report.set.values();
    let can = |control: &CameraControl| report.ranges.contains_key(control);
    let mut values: ControlValues = report
        .used
        .iter()
        .chain(set.iter())
        .filter(|(control, _)| can(control))
        .map(|(control, value)| (*control, value.clone()))
        .collect();
    for (value, automatic) in AUTOMATICS {
        if values.get(value).is_some() && can(&automatic) {
            values.insert(automatic, ControlValue::Switch(false));
        }
    }
    // A camera takes only one of the two, and the gains say more.
    let by_gains = values.get(CameraControl::ColourGains).is_some();
    let all =
        values.iter().filter(|(control, _)| !(by_gains && **control == CameraControl::ColourTemperature));
    all.map(|(control, value)| (*control, value.clone())).collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}

fn toml_value(value: &ControlValue) -> String {
    match value {
        ControlValue::Switch(_) | ControlValue::Integer(_) | ControlValue::Time(_) => value.to_string(),
        // TOML tells numbers from whole numbers by their dot.
        ControlValue::Number(number) => format!("{number:?}"),
        ControlValue::Numbers(numbers) => format!("{numbers:?}"),
        ControlValue::Choice(name) => quoted(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;

    fn values(texts: &[&str]) -> ControlValues {
        ControlValues::parse(texts.iter().copied()).unwrap()
    }

    fn camera(used: &[&str], more: &[CameraControl]) -> CameraReport {
        let used = values(used);
        let ranges =
            used.iter().map(|(control, _)| control).chain(more).map(|control| (*control, Default::default()));
        CameraReport { ranges: ranges.collect(), used, ..CameraReport::default() }
    }

    #[test]
    fn a_preset_survives_its_file() {
        let preset = Preset {
            saved: Some("2026-11-30T12:00:00Z".into()),
            rig: Some(name("stage")),
            all: values(&["exposure-time=5000", "ae-enable=false", "analogue-gain=2", "af-mode=manual"]),
            device: BTreeMap::from([(
                name("pi.3"),
                values(&["colour-gains=1.5,2", "colour-temperature=5000"]),
            )]),
        };
        assert_eq!(toml::from_str::<Preset>(&preset.to_text()).unwrap(), preset);
        assert_eq!(
            preset.to_text().lines().skip(2).collect::<Vec<_>>(),
            [
                "saved = \"2026-11-30T12:00:00Z\"",
                "rig = \"stage\"",
                "",
                "[all]",
                "ae-enable = false",
                "af-mode = \"manual\"",
                "analogue-gain = 2.0",
                "exposure-time = 5000",
                "",
                "[device.\"pi.3\"]",
                "colour-gains = [1.5, 2.0]",
                "colour-temperature = 5000",
            ]
        );
        let text = Preset::default().to_text();
        assert_eq!(toml::from_str::<Preset>(&text).unwrap(), Preset::default(), "{text}");
    }

    #[test]
    fn what_all_use_is_said_once_and_automatics_are_off() {
        use CameraControl::*;
        let a = camera(&["exposure-time=5000", "analogue-gain=2"], &[AeEnable]);
        let b = camera(
            &["exposure-time=5000", "analogue-gain=4", "colour-gains=1,2", "colour-temperature=5000"],
            &[AeEnable],
        );
        let (left, right) = (name("left"), name("right"));
        let preset = Preset::of([(&left, &a), (&right, &b)]);
        assert_eq!(preset.all, values(&["ae-enable=false", "exposure-time=5000"]));
        assert_eq!(preset.device[&left], values(&["analogue-gain=2"]));
        assert_eq!(preset.device[&right], values(&["analogue-gain=4", "colour-gains=1,2"]));
        // What a camera reports and cannot be set to is no part of it.
        let bound = CameraReport { ranges: BTreeMap::new(), ..a };
        assert!(Preset::of([(&left, &bound)]).is_empty());
    }

    #[test]
    fn a_file_that_a_person_got_wrong_says_where() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, stage) = (folder.path(), name("stage"));
        let why = read(folder, &stage).unwrap_err().to_string();
        assert!(why.starts_with("there is no preset stage") && why.ends_with("there is: none"), "{why}");
        write(folder, &name("other"), &Preset::default(), false).unwrap();
        assert!(read(folder, &stage).unwrap_err().to_string().ends_with("there is: other"));
        assert!(matches!(
            write(folder, &name("other"), &Preset::default(), false),
            Err(PresetError::Exists { .. })
        ));
        write(folder, &name("other"), &Preset::default(), true).unwrap();
        for (text, says) in [
            ("[all]\nexposure-time = \"long\"\n", "exposure-time"),
            ("[all]\nexposure = 5\n", "exposure"),
            ("[devices.a]\n", "devices"),
            ("[all\n", "line 1"),
        ] {
            std::fs::write(path(folder, &stage), text).unwrap();
            let why = read(folder, &stage).unwrap_err().to_string();
            assert!(why.contains("stage.toml") && why.contains(says), "{text:?}: {why}");
        }
    }
}
