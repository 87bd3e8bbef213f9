//! Why settings cannot be used. The texts say what to do, and never show a value that may be a secret.

use std::path::{Path, PathBuf};

use swsync_core::name::NameError;
use swsync_core::path_offset::PathOffsetError;

use super::file::CONFIG_VARIABLE;
use super::{Origin, Setting};
use crate::key_file::KeyFileError;

const SET_DEVICE_ID: &str = "set `device-id`";
const WRITE_UTF8: &str = "write it in UTF-8";
const OTHER_OFFSET: &str = "set it as `swsync measure` prints it, or leave it out";

/// What to do about a value that came from `origin`.
fn correct(origin: &Origin) -> String {
    match origin {
        Origin::File(path) => format!("correct it in {}", path.display()),
        Origin::Environment(name) => format!("correct or unset {name}"),
        Origin::Given(by) => format!("correct the {by}"),
        Origin::Default => SET_DEVICE_ID.into(),
    }
}

fn other_file() -> String {
    format!("{CONFIG_VARIABLE} names another one; /dev/null is an empty one")
}

fn merge(path: &Path, old: &Path) -> String {
    format!("move what {} says into {}, and delete the former", old.display(), path.display())
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
    #[error("the host's name cannot be a device id: {0}; {SET_DEVICE_ID}")]
    HostName(NameError),
    /// An environment variable or argument that is no text.
    #[error("{0} is not valid UTF-8; {WRITE_UTF8}")]
    NotText(&'static str),
    /// The configuration file cannot be read.
    #[error("configuration file {} cannot be read: {source}. {}", path.display(), other_file())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The configuration file cannot be written.
    #[error("configuration file {} cannot be written: {source}. {}", path.display(), other_file())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A folder has the configuration file under both of its names.
    #[error(
        "{} and {} are both there, and one configuration file counts: {}",
        path.display(), old.display(), merge(path, old)
    )]
    TwoFiles {
        /// The file.
        path: PathBuf,
        /// The one with the older name.
        old: PathBuf,
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
    #[error("path-offset: {source} (from: {origin}); {OTHER_OFFSET}")]
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

impl SettingsError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Name { origin, .. } => correct(origin),
            Self::HostName(_) => SET_DEVICE_ID.into(),
            Self::NotText(_) => WRITE_UTF8.into(),
            Self::Unreadable { .. } | Self::Unwritable { .. } => other_file(),
            Self::TwoFiles { path, old } => merge(path, old),
            Self::Key { source, .. } => source.remedy(),
            Self::PathOffset { .. } => OTHER_OFFSET.into(),
            Self::File { path, .. } => correct(&Origin::File(path.clone())),
        }
    }
}
