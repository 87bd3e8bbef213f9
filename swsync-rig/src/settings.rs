//! Which rig this is and how it is reached: the six settings that all of swsync shares, and where each of them comes from.
//!
//! A setting is looked for in this order, each by itself, and the first place that has it counts:
//!
//! 1. what was given directly: a property of an element, an argument of the command;
//! 2. in a pipeline: a property of another swsync element, then the application's GstContext;
//! 3. the environment: [`Setting::variable`];
//! 4. a configuration file: the one that `SWSYNC_CONFIG` names, else `swsync/rig.toml` in `$XDG_CONFIG_HOME` (`~/.config`), else
//!    `/etc/swsync/rig.toml`. One file counts, not several;
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

mod file;
mod secrets;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use swsync_core::key::{KeyFile, RigKey};
use swsync_core::name::{DeviceId, Name, NameError};
use swsync_core::path_offset::{self, PathOffsetError};
use swsync_core::time::Span;

use crate::key_file::{self, KeyFileError};
use crate::{DEFAULT_RIG, RigConfig, host_name};

pub use file::CONFIG_VARIABLE;
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

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A rig's name or a device's id that cannot be one.
    #[error("{setting}: {source} (from: {origin})")]
    Name {
        /// Which of the two.
        setting: Setting,
        /// Where it comes from.
        origin: Origin,
        /// What is wrong with it.
        source: NameError,
    },
    /// The host's name, which is the default, is no device id.
    #[error("the host's name cannot be a device id: {0}. Set `device-id`")]
    HostName(NameError),
    /// An environment variable or argument that is no text.
    #[error("{0} is not valid UTF-8")]
    NotText(&'static str),
    /// The configuration file cannot be read.
    #[error(
        "configuration file {} cannot be read: {source}. {CONFIG_VARIABLE} names another one; /dev/null is an empty one", path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The configuration file cannot be written.
    #[error("configuration file {} cannot be written: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is no key in the key file.
    #[error("key-file: {source} (from: {origin})")]
    Key {
        /// Where its path comes from.
        origin: Origin,
        /// What is wrong with it.
        source: KeyFileError,
    },
    /// A path offset that cannot be one.
    #[error("path-offset: {source} (from: {origin})")]
    PathOffset {
        /// Where it comes from.
        origin: Origin,
        /// What is wrong with it.
        source: PathOffsetError,
    },
    /// The configuration file is wrong.
    #[error("configuration file {}{}: {why}", path.display(), line.map_or_else(String::new, |line| format!(", line {line}")))]
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, if it is known.
        line: Option<usize>,
        /// What is wrong. Never a value: somebody may have put a secret there.
        why: String,
    },
}

/// A value, as text, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    value: String,
    origin: Origin,
}

/// The settings that are known, each with its origin.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct RigSettings(BTreeMap<Setting, Given>);

/// As [`RigSettings::describe`]: without what may be secret.
impl fmt::Debug for RigSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl RigSettings {
    /// Adds a value, unless one is known: add those first that count most. An empty value means none, and is known too.
    pub fn add(&mut self, setting: Setting, value: impl Into<String>, origin: Origin) {
        self.0.entry(setting).or_insert_with(|| Given { value: value.into(), origin });
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
        }
        Ok(())
    }

    /// A setting's value; `None` if there is none.
    #[must_use]
    pub fn value(&self, setting: Setting) -> Option<&str> {
        self.0.get(&setting).map(|given| given.value.as_str()).filter(|value| !value.is_empty())
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
        self.0.get(&setting).map_or(Origin::Default, |given| given.origin.clone())
    }

    /// A setting as it may be shown to anyone, with the default where there is one. `None`: it is not set.
    #[must_use]
    pub fn shown(&self, setting: Setting) -> Option<String> {
        let default = || match setting {
            Setting::Rig => Some(DEFAULT_RIG.to_owned()),
            Setting::DeviceId => Some(host_name()),
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
            None => Name::new(host_name()).map_err(SettingsError::HostName),
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
        let (mut listen, mut connect) = (self.endpoints(Setting::Listen), self.endpoints(Setting::Connect));
        if !self.origin(Setting::Listen).is_given() {
            for address in listen.drain(..).map(|endpoint| reachable(&endpoint)) {
                if !connect.contains(&address) {
                    connect.push(address);
                }
            }
        }
        self.config_with(listen, connect)
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
mod tests {
    use super::*;

    /// What environment and files say. `files`: name below a folder of the test, and content.
    fn surroundings(
        variables: &[(&str, &str)],
        files: &[(&str, &str)],
    ) -> (tempfile::TempDir, Result<RigSettings, SettingsError>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let variable = |name: &str| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some(value.replace("FOLDER", folder.path().to_str().unwrap()).into())
        };
        let mut settings = RigSettings::default();
        let added = settings.add_surroundings_of(&variable, &folder.path().join("etc"));
        (folder, added.map(|()| settings))
    }

    fn found(variables: &[(&str, &str)], files: &[(&str, &str)]) -> RigSettings {
        surroundings(variables, files).1.unwrap()
    }

    const ETC: &str = "etc/swsync/rig.toml";

    #[test]
    fn each_setting_comes_from_the_first_place_that_has_it() {
        let variables =
            [("SWSYNC_RIG", "of-environment"), ("SWSYNC_LISTEN", ""), ("SWSYNC_CONNECT", "tcp/b:2")];
        let file =
            "rig = 'of-file'\nlisten = 'tcp/0.0.0.0:7447'\nconnect = ['tcp/c:3']\ndevice-id = 'left'\n";
        let (folder, settings) = surroundings(&variables, &[(ETC, file)]);
        let mut settings = settings.unwrap();
        let mut direct = RigSettings::default();
        direct.add(Setting::Connect, "tcp/a:1", Origin::Given("argument".into()));
        assert_eq!(settings.value(Setting::Rig), Some("of-environment"));
        assert_eq!(settings.origin(Setting::Rig), Origin::Environment("SWSYNC_RIG"));
        assert_eq!(settings.value(Setting::Listen), Some("tcp/0.0.0.0:7447"), "an empty variable is not set");
        assert_eq!(settings.origin(Setting::Listen), Origin::File(folder.path().join(ETC)));
        assert_eq!(settings.value(Setting::Connect), Some("tcp/b:2"));
        assert_eq!(settings.device().unwrap().as_str(), "left");
        assert_eq!(settings.origin(Setting::KeyFile), Origin::Default);
        settings.add(Setting::Rig, "late", Origin::Given("late".into()));
        assert_eq!(settings.rig(), "of-environment", "what is known stays");
    }

    #[test]
    fn settings_with_the_same_values_are_told_from_others() {
        let with = |connect: &str, origin| {
            let mut settings = RigSettings::default();
            settings.add(Setting::Connect, connect, origin);
            settings
        };
        let one = with("tcp/a:1,tcp/b:2", Origin::Given("property of c".into()));
        assert!(one.has_values_of(&with("tcp/a:1, tcp/b:2", Origin::Environment("SWSYNC_CONNECT"))));
        assert!(!one.has_values_of(&with("tcp/a:1", Origin::Given("property of c".into()))));
        assert!(with("", Origin::Default).has_values_of(&RigSettings::default()));
    }

    #[test]
    fn what_is_given_as_empty_is_none() {
        let mut settings = RigSettings::default();
        settings.add(Setting::Connect, "", Origin::Given("argument".into()));
        settings.add(Setting::Connect, "tcp/pi0:7447", Origin::Environment("SWSYNC_CONNECT"));
        assert!(settings.config().unwrap().connect.is_empty());
    }

    #[test]
    fn one_file_counts() {
        let home = "home/.config/swsync/rig.toml";
        let files = [
            (ETC, "rig = 'etc'\nconnect = 'tcp/a:1'"),
            (home, "rig = 'home'"),
            ("xdg/swsync/rig.toml", "rig = 'xdg'"),
            ("my.toml", "rig = 'mine'"),
        ];
        let (home, xdg) = (("HOME", "FOLDER/home"), ("XDG_CONFIG_HOME", "FOLDER/xdg"));
        let mine = ("SWSYNC_CONFIG", "FOLDER/my.toml");
        for (variables, rig, connect) in [
            (&[][..], "etc", Some("tcp/a:1")),
            (&[home], "home", None),
            (&[home, xdg], "xdg", None),
            (&[home, xdg, mine], "mine", None),
            (&[home, ("SWSYNC_CONFIG", "/dev/null")], DEFAULT_RIG, None),
            (&[("HOME", "FOLDER/nowhere")], "etc", Some("tcp/a:1")),
        ] {
            let settings = found(variables, &files);
            assert_eq!((settings.rig(), settings.value(Setting::Connect)), (rig, connect), "{variables:?}");
        }
    }

    #[test]
    fn a_key_beside_the_file_is_found_from_anywhere() {
        let (folder, settings) = surroundings(&[], &[(ETC, "key-file = 'rig.key'")]);
        let expected = folder.path().join("etc/swsync/rig.key");
        assert_eq!(settings.unwrap().value(Setting::KeyFile), expected.to_str());
        assert_eq!(
            found(&[], &[(ETC, "key-file = '/a/rig.key'")]).value(Setting::KeyFile),
            Some("/a/rig.key")
        );
    }

    #[test]
    fn a_wrong_file_is_told_without_its_values() {
        let secret = "0123456789abcdef";
        for (content, parts) in [
            (format!("rig = 'stage'\nkey = '{secret}'"), &["line 2", "`key`", "key-file"][..]),
            (
                "rigg = 'stage'".into(),
                &["line 1", "`rigg`", "rig, connect, listen, key-file, device-id, path-offset"],
            ),
            (format!("rig = 'a'\n\nconnect = ['x'\nkey='{secret}'"), &["line"]),
            (format!("key-file = {{ secret = '{secret}' }}"), &["line 1", "key-file"]),
            (format!("listen = [['{secret}']]"), &["line 1", "listen"]),
            (format!("rig = ['{secret}']"), &["line 1", "rig"]),
        ] {
            let error = surroundings(&[], &[(ETC, &content)]).1.unwrap_err().to_string();
            assert!(error.contains(ETC) && !error.contains(secret), "{error}");
            assert!(parts.iter().all(|part| error.contains(part)), "{content}: {error}");
        }
        let missing = [("SWSYNC_CONFIG", "FOLDER/no.toml")];
        let error = surroundings(&missing, &[]).1.unwrap_err().to_string();
        assert!(error.contains("no.toml cannot be read") && error.contains("SWSYNC_CONFIG"), "{error}");
    }

    #[test]
    fn names_that_cannot_be_are_told_with_their_origin() {
        let settings =
            found(&[("SWSYNC_RIG", "rig=stage connect=tcp/pi0:7447"), ("SWSYNC_DEVICE_ID", "a/b")], &[]);
        let error = settings.config().unwrap_err().to_string();
        assert!(error.starts_with("rig: ") && error.contains("SWSYNC_RIG"), "{error}");
        let error = settings.device().unwrap_err().to_string();
        assert!(error.starts_with("device-id: ") && error.contains("SWSYNC_DEVICE_ID"), "{error}");
    }

    #[test]
    fn a_path_offset_is_a_text_or_a_number_of_nanoseconds() {
        let of_file = |value: &str| found(&[], &[(ETC, &format!("path-offset = {value}"))]).path_offset();
        assert_eq!(of_file("'-41.5us'").unwrap(), Span::from_nanos(-41_500));
        assert_eq!(of_file("-41_500").unwrap(), Span::from_nanos(-41_500));
        assert_eq!(RigSettings::default().path_offset().unwrap(), Span::ZERO);
        let error = found(&[("SWSYNC_PATH_OFFSET", "40s")], &[]).path_offset().unwrap_err().to_string();
        assert!(error.starts_with("path-offset: ") && error.contains("SWSYNC_PATH_OFFSET"), "{error}");
        assert!(Setting::PathOffset.is_same("40us", "40000") && !Setting::PathOffset.is_same("40us", "40"));
        let error = surroundings(&[], &[(ETC, "path-offset = true")]).1.unwrap_err().to_string();
        assert!(error.contains("path-offset has to be a text in quotes or a whole number"), "{error}");
    }

    #[test]
    fn a_path_offset_is_kept_in_the_file_that_counts() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home").into_os_string();
        let variable = |name: &str| (name == "HOME").then(|| home.clone());
        let etc = folder.path().join("etc");
        let keep = |micros| file::keep_path_offset(&variable, &etc, Span::from_micros(micros));
        let own = folder.path().join("home/.config/swsync/rig.toml");
        assert_eq!(keep(-7).unwrap(), own);
        let text = "# ours\nrig = 'stage'\n  path-offset=3 # old\nconnect = ['tcp/a:1',\n  'tcp/b:2']\n";
        std::fs::write(&own, text).unwrap();
        assert_eq!(keep(12).unwrap(), own);
        let kept = std::fs::read_to_string(&own).unwrap();
        assert_eq!(
            kept,
            "# ours\nrig = 'stage'\nconnect = ['tcp/a:1',\n  'tcp/b:2']\npath-offset = \"12us\"\n"
        );
        std::fs::write(&own, "rig = ").unwrap();
        keep(1).unwrap_err();
        assert_eq!(std::fs::read_to_string(&own).unwrap(), "rig = ", "a wrong file stays as it was");
    }

    #[test]
    fn a_command_connects_where_its_host_listens() {
        let of_host =
            [("SWSYNC_LISTEN", "tcp/0.0.0.0:7447,tcp/[::]:7448"), ("SWSYNC_CONNECT", "tcp/pi1:7447")];
        let settings = found(&of_host, &[]);
        let command = settings.visitor_config().unwrap();
        assert_eq!(command.connect, ["tcp/pi1:7447", "tcp/127.0.0.1:7447", "tcp/[::1]:7448"]);
        assert!(command.listen.is_empty());
        assert_eq!(settings.config().unwrap().listen, ["tcp/0.0.0.0:7447", "tcp/[::]:7448"]);
        let mut settings = RigSettings::default();
        settings.add(Setting::Listen, "tcp/0.0.0.0:7447", Origin::Given("argument --listen".into()));
        assert_eq!(settings.visitor_config().unwrap().listen, ["tcp/0.0.0.0:7447"]);
    }

    #[test]
    fn the_key_is_read_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rig.key");
        let made = key_file::create(&path).unwrap();
        let with = |path: &Path, origin| {
            let mut settings = RigSettings::default();
            settings.add(Setting::KeyFile, path.to_str().unwrap(), origin);
            settings
        };
        let (given, of_host) = (Origin::Given("--key-file".into()), Origin::Environment("SWSYNC_KEY_FILE"));
        let settings = with(&path, given.clone());
        assert_eq!(settings.config().unwrap().key, Some(made.clone()));
        assert_eq!(settings.visitor_config().unwrap().key, Some(made));
        let shown = settings.describe();
        assert!(shown.contains(path.to_str().unwrap()), "{shown}");

        let error = with(&folder.path().join("none"), of_host.clone()).config().unwrap_err().to_string();
        assert!(error.contains("SWSYNC_KEY_FILE") && error.contains("none"), "{error}");
        let ntp = folder.path().join("ntp.keys");
        std::fs::write(&ntp, format!("1 AES128 HEX:{}", "0f".repeat(16))).unwrap();
        assert_eq!(with(&ntp, of_host.clone()).config().unwrap().key, None);
        assert_eq!(with(&ntp, of_host).visitor_config().unwrap().key, None);
        with(&ntp, given).visitor_config().unwrap_err();
    }

    #[test]
    fn settings_are_shown_without_secrets() {
        let mut settings = RigSettings::default();
        let origin = Origin::Given("property of s".into());
        settings.add(Setting::Connect, "tcp/me:s3cret@pi0:7447?token=s3cret, tcp/pi1:1#key=s3cret", origin);
        for text in [settings.describe(), format!("{settings:?}")] {
            assert!(text.contains("connect=tcp/pi0:7447,tcp/pi1:1 (property of s)"), "{text}");
            assert!(text.contains("rig=swsync (default)") && !text.contains("s3cret"), "{text}");
        }
    }
}
