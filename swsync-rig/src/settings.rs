//! Which rig this is and how it is reached: the six settings that all of swsync shares, and where each of them comes from.
//!
//! A setting is looked for in this order, each by itself, and the first place that has it counts:
//!
//! 1. what was given directly: a property of an element, an argument of the command;
//! 2. in a pipeline: a property of another swsync element, then the application's GstContext;
//! 3. the environment: [`Setting::variable`];
//! 4. a configuration file: the one that `SWSYNC_CONFIG` names, else `swsync/config.toml` in `$XDG_CONFIG_HOME` (`~/.config`),
//!    else `/etc/swsync/config.toml`. One file counts, not several. Under its older name, `rig.toml`, it is still read;
//! 5. the default.
//!
//! The file is TOML, with the settings' names as keys. A relative `key-file` is looked for beside the file:
//!
//! ```toml
//! rig = "stage"
//! connect = ["tcp/pi0.local:7447", "tcp/pi1.local:7447"]   # or one text, separated by commas
//! key-file = "rig.key"
//! path-offset = "-41.5us"
//! ```
//!
//! Secrets have no place here. The key is named by the path of its file; `key` in the configuration file is refused.

mod error;
mod file;
mod secrets;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use swsync_core::key::{KeyFile, RigKey};
use swsync_core::name::{DeviceId, Name};
use swsync_core::path_offset;
use swsync_core::time::Span;

use crate::key_file;
use crate::{DEFAULT_RIG, RigConfig, default_device_id};

pub use error::SettingsError;
pub use file::{CONFIG_VARIABLE, keep};
pub use secrets::{endpoint_without_secrets, without_secrets};

/// One of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Setting {
    /// The rig's name.
    Rig,
    /// Whom to connect to: endpoints, separated by commas.
    Connect,
    /// Where others may connect: endpoints, separated by commas.
    Listen,
    /// The path of the rig's key.
    KeyFile,
    /// The device's id.
    DeviceId,
    /// Half of what the device's send latency has above its receive latency, which its clock takes off.
    PathOffset,
}

impl Setting {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Rig, Self::Connect, Self::Listen, Self::KeyFile, Self::DeviceId, Self::PathOffset];

    /// Its name: that of the property, of the argument (behind `--`), and of the key in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rig => "rig",
            Self::Connect => "connect",
            Self::Listen => "listen",
            Self::KeyFile => "key-file",
            Self::DeviceId => "device-id",
            Self::PathOffset => "path-offset",
        }
    }

    /// The environment variable.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Rig => "SWSYNC_RIG",
            Self::Connect => "SWSYNC_CONNECT",
            Self::Listen => "SWSYNC_LISTEN",
            Self::KeyFile => "SWSYNC_KEY_FILE",
            Self::DeviceId => "SWSYNC_DEVICE_ID",
            Self::PathOffset => "SWSYNC_PATH_OFFSET",
        }
    }

    /// The setting of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.name() == name)
    }

    const fn is_list(self) -> bool {
        matches!(self, Self::Connect | Self::Listen)
    }

    /// Whether two values of this setting mean the same.
    #[must_use]
    pub fn is_same(self, a: &str, b: &str) -> bool {
        match self {
            Self::Connect | Self::Listen => comma_list(a) == comma_list(b),
            Self::PathOffset => a == b || path_offset::parse(a).is_ok_and(|a| path_offset::parse(b) == Ok(a)),
            Self::Rig | Self::KeyFile | Self::DeviceId => a == b,
        }
    }

    /// `value` as it may be shown to anyone: without what may be secret in an address.
    #[must_use]
    pub fn shown(self, value: &str) -> String {
        if !self.is_list() {
            return value.to_owned();
        }
        let items: Vec<_> = comma_list(value).iter().map(|item| endpoint_without_secrets(item)).collect();
        items.join(",")
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a value comes from. `Display` says it in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Given directly, or to a pipeline: by what, in words.
    Given(String),
    /// This environment variable.
    Environment(&'static str),
    /// This configuration file.
    File(PathBuf),
    /// Nobody has set it.
    Default,
}

impl Origin {
    /// Whether it was given to this program, and not to all on this host.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        matches!(self, Self::Given(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(by) => f.write_str(by),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value, as text, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    value: String,
    origin: Origin,
}

/// The settings that are known, each with its origin.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct RigSettings {
    known: BTreeMap<Setting, Given>,
    /// The configuration file that was read.
    file: Option<PathBuf>,
}

/// As [`RigSettings::describe`]: without what may be secret.
impl fmt::Debug for RigSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl RigSettings {
    /// Adds a value, unless one is known: add those first that count most. An empty value means none, and is known too.
    pub fn add(&mut self, setting: Setting, value: impl Into<String>, origin: Origin) {
        self.known.entry(setting).or_insert_with(|| Given { value: value.into(), origin });
    }

    /// Adds what the environment and the configuration file say.
    ///
    /// # Errors
    /// A variable is no text, or the file is wrong.
    pub fn add_surroundings(&mut self) -> Result<(), SettingsError> {
        self.add_surroundings_of(&|name| std::env::var_os(name), Path::new("/etc"))
    }

    /// Sets `path-offset` in the configuration file that counts, and keeps the rest of it. Makes the user's own file if there is none.
    /// Returns the file's path.
    ///
    /// # Errors
    /// The file is wrong, or cannot be read or written.
    pub fn keep_path_offset(offset: Span) -> Result<PathBuf, SettingsError> {
        file::keep_path_offset(&|name| std::env::var_os(name), Path::new("/etc"), offset)
    }

    fn add_surroundings_of(
        &mut self,
        variable: &dyn Fn(&str) -> Option<OsString>,
        etc: &Path,
    ) -> Result<(), SettingsError> {
        for setting in Setting::ALL {
            let name = setting.variable();
            // One that is set but empty counts as not set.
            if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
                let value = value.into_string().map_err(|_| SettingsError::NotText(name))?;
                self.add(setting, value, Origin::Environment(name));
            }
        }
        if let Some(file) = file::ConfigFile::find(variable, etc)? {
            for (setting, value) in file.settings {
                self.add(setting, value, Origin::File(file.path.clone()));
            }
            self.file = Some(file.path);
        }
        Ok(())
    }

    /// A setting's value; `None` if there is none.
    #[must_use]
    pub fn value(&self, setting: Setting) -> Option<&str> {
        self.known.get(&setting).map(|given| given.value.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether all values are the same, wherever they come from.
    #[must_use]
    pub fn has_values_of(&self, other: &Self) -> bool {
        let value = |settings: &Self, setting| settings.value(setting).unwrap_or_default().to_owned();
        Setting::ALL.into_iter().all(|each| each.is_same(&value(self, each), &value(other, each)))
    }

    /// Where a setting comes from.
    #[must_use]
    pub fn origin(&self, setting: Setting) -> Origin {
        self.known.get(&setting).map_or(Origin::Default, |given| given.origin.clone())
    }

    /// The configuration file that was read. `None`: there is none.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The file that was read and the name that it should have, if it has its older name.
    #[must_use]
    pub fn renaming(&self) -> Option<(&Path, PathBuf)> {
        let file = self.file()?;
        Some((file, file::new_name(file)?))
    }

    /// A setting as it may be shown to anyone, with the default where there is one. `None`: it is not set.
    #[must_use]
    pub fn shown(&self, setting: Setting) -> Option<String> {
        let default = || match setting {
            Setting::Rig => Some(DEFAULT_RIG.to_owned()),
            Setting::DeviceId => Some(default_device_id()),
            Setting::Connect | Setting::Listen | Setting::KeyFile | Setting::PathOffset => None,
        };
        self.value(setting).map(|value| setting.shown(value)).or_else(default)
    }

    /// All settings and where they come from, in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        let each = Setting::ALL.map(|setting| {
            let value = self.shown(setting).unwrap_or_else(|| "none".into());
            format!("{setting}={value} ({})", self.origin(setting))
        });
        each.join(", ")
    }

    fn name(&self, setting: Setting, value: &str) -> Result<Name, SettingsError> {
        Name::new(value).map_err(|source| SettingsError::Name {
            setting,
            origin: self.origin(setting),
            source,
        })
    }

    /// The rig's name.
    #[must_use]
    pub fn rig(&self) -> &str {
        self.value(Setting::Rig).unwrap_or(DEFAULT_RIG)
    }

    /// The device's id: the host's name, if none is set.
    ///
    /// # Errors
    /// It cannot be one.
    pub fn device(&self) -> Result<DeviceId, SettingsError> {
        match self.value(Setting::DeviceId) {
            Some(id) => self.name(Setting::DeviceId, id),
            None => Name::new(default_device_id()).map_err(SettingsError::HostName),
        }
    }

    /// What the device's clock takes off for its own path: zero, if it is not set.
    ///
    /// # Errors
    /// It is no path offset.
    pub fn path_offset(&self) -> Result<Span, SettingsError> {
        let text = self.value(Setting::PathOffset).unwrap_or("0");
        path_offset::parse(text)
            .map_err(|source| SettingsError::PathOffset { origin: self.origin(Setting::PathOffset), source })
    }

    fn endpoints(&self, setting: Setting) -> Vec<String> {
        comma_list(self.value(setting).unwrap_or_default())
    }

    /// The rig, for a device. Reads the key.
    ///
    /// # Errors
    /// The rig's name cannot be one, or the key file is no key file.
    pub fn config(&self) -> Result<RigConfig, SettingsError> {
        let (listen, connect) = (self.endpoints(Setting::Listen), self.endpoints(Setting::Connect));
        self.config_with(listen, connect)
    }

    /// The rig's key. A file of NTP keys (chrony's format) holds none: these protect the time alone.
    ///
    /// # Errors
    /// The file cannot be read, or is no key file.
    pub fn key(&self) -> Result<Option<RigKey>, SettingsError> {
        let Some(path) = self.value(Setting::KeyFile) else { return Ok(None) };
        match key_file::read_any(path) {
            Ok(KeyFile::Rig(key)) => Ok(Some(key)),
            Ok(KeyFile::Ntp(_)) => Ok(None),
            Err(source) => Err(SettingsError::Key { origin: self.origin(Setting::KeyFile), source }),
        }
    }

    /// The rig, for a command on the host of a device.
    ///
    /// `listen` from environment or file is where the *device* of this host listens. The command cannot listen there too: it
    /// connects there. A file of NTP keys is an error, if it is given to the command: it has no use for them.
    ///
    /// # Errors
    /// As [`config`](Self::config).
    pub fn visitor_config(&self) -> Result<RigConfig, SettingsError> {
        let key_origin = self.origin(Setting::KeyFile);
        if let Some(path) = self.value(Setting::KeyFile).filter(|_| key_origin.is_given()) {
            key_file::read(path).map_err(|source| SettingsError::Key { origin: key_origin, source })?;
        }
        match self.origin(Setting::Listen).is_given() {
            true => self.config_with(self.endpoints(Setting::Listen), self.endpoints(Setting::Connect)),
            false => self.config_with(Vec::new(), self.endpoints_for_this_host()),
        }
    }

    /// Where another program on this host reaches the rig: where the device connects to, and where it listens itself.
    #[must_use]
    pub fn endpoints_for_this_host(&self) -> Vec<String> {
        let mut connect = self.endpoints(Setting::Connect);
        for address in self.endpoints(Setting::Listen).iter().map(|endpoint| reachable(endpoint)) {
            // A port that is chosen by the system is not known.
            if !connect.contains(&address) && !address.ends_with(":0") {
                connect.push(address);
            }
        }
        connect
    }

    fn config_with(&self, listen: Vec<String>, connect: Vec<String>) -> Result<RigConfig, SettingsError> {
        let rig = self.name(Setting::Rig, self.rig())?;
        Ok(RigConfig::new(rig, listen, connect).with_key(self.key()?))
    }
}

/// Where a process on this host reaches one that listens at `endpoint`.
fn reachable(endpoint: &str) -> String {
    endpoint.replacen("/0.0.0.0:", "/127.0.0.1:", 1).replacen("/[::]:", "/[::1]:", 1)
}

/// The items of a value that lists them, separated by commas.
#[must_use]
pub fn comma_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
