//! The configuration file.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use swsync_core::path_offset;
use swsync_core::time::Span;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Setting, SettingsError};

/// The environment variable that names the file.
pub const CONFIG_VARIABLE: &str = "SWSYNC_CONFIG";

/// The file in the folder of configurations.
const NAME: &str = "swsync/config.toml";

/// Its name in swsync 0.1. It is still read where [`NAME`] is not there.
const OLD_NAME: &str = "swsync/rig.toml";

/// What a configuration file says.
pub struct ConfigFile {
    pub path: PathBuf,
    pub settings: Vec<(Setting, String)>,
}

impl ConfigFile {
    /// The file that counts, if there is one. `etc`: the folder of the system's configuration.
    pub fn find(
        variable: &dyn Fn(&str) -> Option<OsString>,
        etc: &Path,
    ) -> Result<Option<Self>, SettingsError> {
        let folder = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = folder(CONFIG_VARIABLE) {
            return match std::fs::read_to_string(&path) {
                Ok(text) => Self::parse(path, &text).map(Some),
                Err(source) => Err(SettingsError::Unreadable { path, source }),
            };
        }
        let home = own_folder(variable);
        for folder in home.iter().map(PathBuf::as_path).chain([etc]) {
            if let Some((path, text)) = read_one_of(folder)? {
                return Self::parse(path, &text).map(Some);
            }
        }
        Ok(None)
    }

    /// Errors name keys, never values: somebody may have put a secret there.
    fn parse(path: PathBuf, text: &str) -> Result<Self, SettingsError> {
        let wrong = |at: Option<usize>, why: String| SettingsError::File {
            path: path.clone(),
            line: at.map(|at| 1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()),
            why,
        };
        let table = DeTable::parse(text)
            .map_err(|error| wrong(error.span().map(|span| span.start), "it is no TOML".into()))?;
        let mut settings = Vec::new();
        for (key, value) in table.get_ref() {
            let name: &str = key.get_ref();
            let Some(setting) = Setting::of_name(name) else {
                return Err(wrong(Some(key.span().start), unknown(name)));
            };
            let value = text_of(setting, value).ok_or_else(|| {
                let kind = match setting {
                    Setting::PathOffset => "a text in quotes or a whole number of nanoseconds",
                    _ if setting.is_list() => "a text or a list of texts, in quotes",
                    _ => "a text, in quotes",
                };
                wrong(Some(key.span().start), format!("{setting} has to be {kind}"))
            })?;
            settings.push((setting, beside(&path, setting, value)));
        }
        Ok(Self { path, settings })
    }
}

/// Reads the configuration file in `folder`, under its name or its older one. Both at once is an error: each could be meant.
fn read_one_of(folder: &Path) -> Result<Option<(PathBuf, String)>, SettingsError> {
    let read = |path: PathBuf| match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if is_missing(&error) => Ok(None),
        Err(source) => Err(SettingsError::Unreadable { path, source }),
    };
    match (read(folder.join(NAME))?, read(folder.join(OLD_NAME))?) {
        (Some((path, _)), Some((old, _))) => Err(SettingsError::TwoFiles { path, old }),
        (Some(found), None) | (None, Some(found)) => Ok(Some(found)),
        (None, None) => Ok(None),
    }
}

/// The name that the configuration file at `path` should have, if it has the older one in a folder where swsync looks for it.
pub fn new_name(path: &Path) -> Option<PathBuf> {
    let folder = path.ancestors().nth(2)?;
    (folder.join(OLD_NAME) == path).then(|| folder.join(NAME))
}

/// Sets `path-offset` in the file that counts, and keeps the rest of it. Makes the user's own file if there is none.
pub fn keep_path_offset(
    variable: &dyn Fn(&str) -> Option<OsString>,
    etc: &Path,
    offset: Span,
) -> Result<PathBuf, SettingsError> {
    let (path, text) = match ConfigFile::find(variable, etc)? {
        Some(file) => match std::fs::read_to_string(&file.path) {
            Ok(text) => (file.path, text),
            Err(source) => return Err(SettingsError::Unreadable { path: file.path, source }),
        },
        None => (own_folder(variable).unwrap_or_else(|| etc.to_owned()).join(NAME), String::new()),
    };
    keep_in(path, &text, &[(Setting::PathOffset, path_offset::text(offset))])
}

/// Sets `values` in the file at `path`, and keeps the rest of it. Makes the file if there is none.
///
/// # Errors
/// [`SettingsError`]: the file is no configuration, would be none with these values, or cannot be read or written.
pub fn keep(path: &Path, values: &[(Setting, String)]) -> Result<(), SettingsError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if is_missing(&error) => String::new(),
        Err(source) => return Err(SettingsError::Unreadable { path: path.to_owned(), source }),
    };
    keep_in(path.to_owned(), &text, values).map(drop)
}

fn keep_in(path: PathBuf, text: &str, values: &[(Setting, String)]) -> Result<PathBuf, SettingsError> {
    let text = values.iter().fold(text.to_owned(), |text, (setting, value)| with(&text, *setting, value));
    // What was read as settings is read as settings again.
    ConfigFile::parse(path.clone(), &text)?;
    swsync_files::write_whole(&path, text.as_bytes())
        .map_err(|source| SettingsError::Unwritable { path: path.clone(), source })?;
    Ok(path)
}

/// `text` of a file with this value of a setting in place of any before. A file of settings has no tables, so each of its lines that
/// begins with the name is the setting.
fn with(text: &str, setting: Setting, value: &str) -> String {
    let name = setting.name();
    let is_setting = |line: &str| {
        let key = line.trim_start().strip_prefix(name);
        key.is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    let mut lines: Vec<_> = text.lines().filter(|line| !is_setting(line)).map(str::to_owned).collect();
    // A text of JSON is one of TOML.
    lines.push(format!("{name} = {}", serde_json::Value::from(value)));
    lines.join("\n") + "\n"
}

/// The folder of the user's own configurations.
fn own_folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")))
}

/// Whether the file, or a folder on the way to it, is not there.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unknown(name: &str) -> String {
    let known = Setting::ALL.map(Setting::name).join(", ");
    let hint = if name == "key" { ". A key stands in a file of its own, which `key-file` names" } else { "" };
    format!("`{name}` is no setting; there are {known}{hint}")
}

fn text_of(setting: Setting, value: &Spanned<DeValue<'_>>) -> Option<String> {
    let text = |value: &Spanned<DeValue<'_>>| value.get_ref().as_str().map(str::to_owned);
    match value.get_ref() {
        DeValue::Array(items) if setting.is_list() => {
            let items: Option<Vec<_>> = items.iter().map(text).collect();
            Some(items?.join(","))
        }
        DeValue::Integer(number) if setting == Setting::PathOffset => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|nanos| nanos.to_string())
        }
        _ => text(value),
    }
}

/// The path of a key is relative to the file that names it.
fn beside(file: &Path, setting: Setting, value: String) -> String {
    match (setting, file.parent()) {
        (Setting::KeyFile, Some(folder)) if !value.is_empty() => folder.join(value).display().to_string(),
        _ => value,
    }
}
