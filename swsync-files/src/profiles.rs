//! Camera profiles in files, which override the shipped ones: written by hand, or by `swsync calibrate`.
//!
//! The file `<model>.json` is looked for in the folders of `$SWSYNC_PROFILES` (separated by colons), in
//! `$XDG_DATA_HOME/swsync/profiles` (`~/.local/share/swsync/profiles`), and in `swsync/profiles` below the folders of
//! `$XDG_DATA_DIRS` (`/usr/local/share`, `/usr/share`). The first file found overrides the fields of the shipped profile that
//! it has. A file that cannot be used is an error; it is never skipped.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use swsync_core::profile::{CameraProfile, MeasuredResponse, ProfileError, base_model, shipped};

use crate::write_whole;

/// Environment variable with folders that come before all others.
pub const FOLDERS: &str = "SWSYNC_PROFILES";
/// The folder of profiles inside a data folder.
const SUBFOLDER: &str = "swsync/profiles";
/// Data folders if `$XDG_DATA_DIRS` is not set (XDG Base Directory Specification).
const DATA_DIRS: &str = "/usr/local/share:/usr/share";
/// Largest size of a profile in bytes. Real ones have a few kB.
const LARGEST: u64 = 1 << 20;

/// A camera's profile, and its source.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundProfile {
    /// The profile.
    pub profile: CameraProfile,
    /// The source of its numbers.
    pub source: ProfileSource,
}

/// The source of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileSource {
    /// A file, which overrides the shipped profile.
    File(PathBuf),
    /// swsync itself.
    Shipped,
    /// There is no profile of this model: libcamera's guesses.
    Unknown,
}

impl std::fmt::Display for ProfileSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Shipped => f.write_str("shipped with swsync"),
            Self::Unknown => f.write_str("no profile, libcamera's guesses"),
        }
    }
}

/// Why a profile cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the camera profile {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The file is no profile of this camera.
    #[error("camera profile {path}: {error}; correct the file, or move it away to use what is shipped")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: ProfileError,
    },
    /// The file cannot be written.
    #[error("cannot write the camera profile {path}: {error}; choose another place with --output")]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// A measurement is in the profile already.
    #[error(
        "camera profile {path} already has what came {from}: measure with pictures that were taken with this profile"
    )]
    Twice {
        /// The file.
        path: PathBuf,
        /// The measurement, as it stands among the profile's sources.
        from: String,
    },
    /// There is no folder to write to.
    #[error("there is no folder for camera profiles: neither {FOLDERS}, XDG_DATA_HOME nor HOME is set")]
    NoFolder,
}

/// The folders that profiles are looked for in, in this order.
#[must_use]
pub fn folders() -> Vec<PathBuf> {
    folders_by(|name| env::var_os(name).filter(|value| !value.is_empty()))
}

fn folders_by(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = variable(FOLDERS).map_or_else(Vec::new, |value| paths(&value));
    let own = variable("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".local/share")));
    folders.extend(own.map(|folder| folder.join(SUBFOLDER)));
    let shared = variable("XDG_DATA_DIRS").unwrap_or_else(|| DATA_DIRS.into());
    folders.extend(paths(&shared).into_iter().map(|folder| folder.join(SUBFOLDER)));
    folders
}

fn paths(value: &OsString) -> Vec<PathBuf> {
    env::split_paths(value).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// The profile of `model`: from a file, the shipped one, or the assumptions for an unknown camera.
///
/// # Errors
/// If there is a file that cannot be used.
pub fn find(model: &str) -> Result<FoundProfile, Error> {
    find_in(&folders(), model)
}

/// As [`find`], in these folders.
///
/// # Errors
/// If there is a file that cannot be used.
pub fn find_in(folders: &[PathBuf], model: &str) -> Result<FoundProfile, Error> {
    let model = base_model(model);
    // Without a model name there is no file to look for.
    let names = if model.is_empty() { None } else { Some(format!("{model}.json")) };
    let path =
        names.and_then(|name| folders.iter().map(|folder| folder.join(&name)).find(|path| path.exists()));
    let source = if shipped(&model).is_some() { ProfileSource::Shipped } else { ProfileSource::Unknown };
    path.map_or_else(
        || Ok(FoundProfile { profile: CameraProfile::of_model(&model), source }),
        |path| read(&path, &model),
    )
}

/// The shipped profile of `model`, overridden by the file `path`.
///
/// # Errors
/// If the file cannot be used.
pub fn read(path: &Path, model: &str) -> Result<FoundProfile, Error> {
    let text = read_text(path).map_err(|error| Error::Read { path: path.to_owned(), error })?;
    let profile = CameraProfile::of_model(model)
        .overridden_by(&text)
        .map_err(|error| Error::Invalid { path: path.to_owned(), error })?;
    Ok(FoundProfile { profile, source: ProfileSource::File(path.to_owned()) })
}

fn read_text(path: &Path) -> io::Result<String> {
    let size = fs::metadata(path)?.len();
    if size > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{size} bytes are no camera profile"),
        ));
    }
    fs::read_to_string(path)
}

/// The file to write a profile of `model` to, so that it will be found: in the first folder, which is the user's own unless
/// `$SWSYNC_PROFILES` names another.
///
/// # Errors
/// [`Error::NoFolder`].
pub fn path_for(model: &str) -> Result<PathBuf, Error> {
    let has_own = [FOLDERS, "XDG_DATA_HOME", "HOME"].iter().any(|name| env::var_os(name).is_some());
    let folder = folders().into_iter().next().filter(|_| has_own).ok_or(Error::NoFolder)?;
    Ok(folder.join(format!("{}.json", base_model(model))))
}

/// Writes `profile` to `path`: the file is written whole, or stays as it was.
///
/// # Errors
/// [`Error::Write`].
pub fn write(path: &Path, profile: &CameraProfile) -> Result<(), Error> {
    write_whole(path, profile.to_json().as_bytes())
        .map_err(|error| Error::Write { path: path.to_owned(), error })
}

/// Sets `response` in the profile of `model` in the file `path`, and keeps the rest. Makes the file if there is none.
///
/// # Errors
/// If the file cannot be used or written: then it is as it was.
pub fn keep_response(path: &Path, model: &str, response: MeasuredResponse) -> Result<CameraProfile, Error> {
    let profile = with_response(path, model, response)?;
    set_fields(path, &profile, |file| {
        file.insert("responses".to_owned(), serde_json::to_value(&profile.responses)?);
        Ok(())
    })?;
    Ok(profile)
}

/// Adds `more_ns` to the stamp bias in the profile of `model` in the file `path`, with `source` among its sources, and keeps the rest.
/// Makes the file if there is none.
///
/// # Errors
/// If it has this source already: what was measured must not be added twice. If the file cannot be used or written: then it is as it
/// was.
pub fn add_stamp_bias(path: &Path, model: &str, more_ns: f64, source: &str) -> Result<CameraProfile, Error> {
    let mut profile = if path.exists() { read(path, model)?.profile } else { CameraProfile::of_model(model) };
    if profile.sources.iter().any(|known| known == source) {
        return Err(Error::Twice { path: path.to_owned(), from: source.to_owned() });
    }
    profile.stamp_bias_ns = Some((profile.stamp_bias_ns.unwrap_or(0.0) + more_ns).round());
    profile.sources.push(source.to_owned());
    let profile = CameraProfile::from_json(&profile.to_json())
        .map_err(|error| Error::Invalid { path: path.to_owned(), error })?;
    set_fields(path, &profile, |file| {
        file.insert("stamp_bias_ns".to_owned(), profile.stamp_bias_ns.into());
        file.insert("sources".to_owned(), profile.sources.clone().into());
        Ok(())
    })?;
    Ok(profile)
}

/// Changes fields of the profile in the file `path`, which has been read, if it exists.
fn set_fields(
    path: &Path,
    profile: &CameraProfile,
    change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>) -> serde_json::Result<()>,
) -> Result<(), Error> {
    let invalid = |error: serde_json::Error| Error::Invalid { path: path.to_owned(), error: error.into() };
    let mut file = match read_text(path) {
        Ok(text) => serde_json::from_str::<serde_json::Map<_, _>>(&text).map_err(invalid)?,
        // There is no file.
        Err(_) => serde_json::Map::from_iter([("model".to_owned(), profile.model.clone().into())]),
    };
    change(&mut file).map_err(invalid)?;
    let mut text = serde_json::to_string_pretty(&file).map_err(invalid)?;
    text.push('\n');
    write_whole(path, text.as_bytes()).map_err(|error| Error::Write { path: path.to_owned(), error })
}

/// The profile as [`keep_response`] would write it.
///
/// # Errors
/// If the file there cannot be used.
pub fn with_response(path: &Path, model: &str, response: MeasuredResponse) -> Result<CameraProfile, Error> {
    let mut profile = if path.exists() { read(path, model)?.profile } else { CameraProfile::of_model(model) };
    profile.set_response(response);
    let profile = CameraProfile::from_json(&profile.to_json());
    profile.map_err(|error| Error::Invalid { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_core::profile::PhaseConfig;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn folders_come_in_order() {
        let of = |pairs: &'static [(&str, &str)]| {
            folders_by(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
        };
        let all = of(&[("SWSYNC_PROFILES", "/a:/b"), ("XDG_DATA_HOME", "/own"), ("XDG_DATA_DIRS", "/x:/y")]);
        let expected = ["/a", "/b", "/own/swsync/profiles", "/x/swsync/profiles", "/y/swsync/profiles"]
            .map(PathBuf::from);
        assert_eq!(all, expected);
        let usual = of(&[("HOME", "/home/me"), ("XDG_DATA_HOME", "/home/me/.local/share")]);
        assert_eq!(usual, of(&[("HOME", "/home/me")]));
        let names = ["/home/me/.local/share/", "/usr/local/share/", "/usr/share/"];
        assert_eq!(usual, names.map(|name| PathBuf::from(format!("{name}swsync/profiles"))));
    }

    #[test]
    fn the_first_file_overrides_the_shipped_profile() {
        let (first, second) = (folder(), folder());
        let folders = [first.path().to_owned(), second.path().to_owned()];
        let shipped = find_in(&folders, "imx708_wide").unwrap();
        assert_eq!((shipped.source, shipped.profile.model.as_str()), (ProfileSource::Shipped, "imx708"));
        let path = second.path().join("imx708.json");
        fs::write(&path, r#"{"model": "imx708", "stamped_at": "exposure-start"}"#).unwrap();
        let found = find_in(&folders, "imx708_wide").unwrap();
        assert_eq!(found.source, ProfileSource::File(path));
        assert_eq!(found.profile.stamped_at, swsync_core::profile::StampedAt::ExposureStart);
        assert_eq!(found.profile.modes, shipped.profile.modes);
        fs::write(first.path().join("imx708.json"), r#"{"model": "imx708"}"#).unwrap();
        assert_eq!(find_in(&folders, "imx708").unwrap().profile, shipped.profile);
        let stranger = find_in(&folders, "HD Webcam").unwrap();
        assert_eq!((stranger.source, stranger.profile.model.as_str()), (ProfileSource::Unknown, "hdwebcam"));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_an_error_that_names_it() {
        let folder = folder();
        let path = folder.path().join("imx219.json");
        let folders = [folder.path().to_owned()];
        let error = || find_in(&folders, "imx219").unwrap_err().to_string();
        fs::write(&path, r#"{"modes": 3}"#).unwrap();
        let said = error();
        assert!(said.contains(path.to_str().unwrap()) && said.contains("move it away"), "{said}");
        fs::write(&path, r#"{"model": "imx477"}"#).unwrap();
        assert!(error().contains("the profile of imx477, not of imx219"));
        fs::write(&path, vec![b' '; 2 << 20]).unwrap();
        assert!(error().contains("2097152 bytes are no camera profile"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(error().contains("cannot read"));
    }

    #[test]
    fn a_response_is_added_to_the_other_fields_of_a_file() {
        let folder = folder();
        let path = folder.path().join("imx219.json");
        let text = r#"{"periodNs": 33320000, "goalPhaseNs": 7000000, "alignThresholdNs": 100000,
            "overheadNs": 200000, "minExposureNs": 33370000}"#;
        let response = PhaseConfig::from_json(text).unwrap().response();
        assert_eq!(with_response(&path, "imx219", response.clone()).unwrap().responses.len(), 1);
        assert!(!path.exists());
        keep_response(&path, "imx219", response.clone()).unwrap();
        let kept = fs::read_to_string(&path).unwrap();
        assert!(kept.contains("slope") && !kept.contains("modes"), "only what differs: {kept}");
        fs::write(&path, r#"{"model": "imx219", "stamped_at": "frame-end"}"#).unwrap();
        keep_response(&path, "imx219", response.clone()).unwrap();
        let profile = read(&path, "imx219").unwrap().profile;
        assert_eq!(profile.stamped_at, swsync_core::profile::StampedAt::FrameEnd);
        assert_eq!(profile.responses, std::slice::from_ref(&response));
        let nonsense = MeasuredResponse { period_ns: -1.0, ..response.clone() };
        let before = fs::read_to_string(&path).unwrap();
        assert!(
            keep_response(&path, "imx219", nonsense).unwrap_err().to_string().contains("period_ns is -1")
        );
        fs::write(&path, "{").unwrap();
        assert!(keep_response(&path, "imx219", response).is_err());
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), before.len() > 1), ("{", true));
    }

    #[test]
    fn a_measured_stamp_bias_is_added_once() {
        let folder = folder();
        let path = folder.path().join("imx219.json");
        assert_eq!(CameraProfile::of_model("imx219").stamp_bias_ns, None);
        add_stamp_bias(&path, "imx219", 12_345.6, "takes 1").unwrap();
        let kept = fs::read_to_string(&path).unwrap();
        assert!(kept.contains("12346") && !kept.contains("modes"), "only what differs: {kept}");
        let profile = add_stamp_bias(&path, "imx219", -20_000.0, "takes 2").unwrap();
        assert_eq!(profile.stamp_bias().as_nanos(), -7_654);
        assert_eq!(read(&path, "imx219").unwrap().profile, profile);
        let kept = fs::read_to_string(&path).unwrap();
        let error = add_stamp_bias(&path, "imx219", 5.0, "takes 1").unwrap_err().to_string();
        assert!(error.contains("takes 1") && error.contains("imx219.json"), "{error}");
        let error = add_stamp_bias(&path, "imx219", 1e9, "takes 3").unwrap_err().to_string();
        assert!(error.contains("stamp_bias_ns"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), kept);
    }

    #[test]
    fn a_written_profile_is_found_and_no_other_file_is_left() {
        let folder = folder();
        let path = folder.path().join("deep/er/imx219.json");
        let profile = CameraProfile::of_model("imx219");
        write(&path, &profile).unwrap();
        write(&path, &profile).unwrap();
        assert_eq!(read(&path, "imx219").unwrap().profile, profile);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let occupied = folder.path().join("deep");
        assert!(write(&occupied, &profile).unwrap_err().to_string().contains("--output"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no half file");
    }
}
