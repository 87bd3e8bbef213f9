//! Files with the key of a rig: reading them, and making new ones.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use swsync_core::key::{KeyFile, KeyTextError, RigKey, SECRET_LEN};
use zeroize::Zeroizing;

/// More than a key file has. What is longer is another kind of file.
const MAX_LEN: u64 = 64 * 1024;
/// Permissions that a file with a rig's key must not have: writable by its group, anything for others. Its group may read it, so
/// that a service without root's rights can.
const FORBIDDEN: u32 = 0o027;

const NAME_KEY_FILE: &str =
    "name the file with `key-file`, and give the user that swsync runs as the right to read it";
const COPY_KEY: &str = "copy the file again, or make a new key with `swsync key new FILE`";
const OTHER_FILE: &str = "name another file, or move this one away";
const OTHER_FOLDER: &str = "name a file in a folder that exists and that you may write to";
const WAIT_FOR_RANDOM: &str = "try again once the system has started completely";

/// What makes a key file private.
fn make_private(path: &Path) -> String {
    format!("chmod 600 {}; if others have used this host, make a new key", path.display())
}

/// Why there is no key from a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It cannot be opened or read.
    #[error("the key file {} cannot be read: {source}; {NAME_KEY_FILE}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others on this host can read or replace it.
    #[error(
        "the key file {} is open to other users of this host (mode {mode:03o}): {}", path.display(), make_private(path)
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds no key.
    #[error("the key file {}: {source}; {COPY_KEY}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyTextError,
    },
    /// It is too long, or not text.
    #[error("the key file {} is not one: it is longer than 64 KiB, or not text; {COPY_KEY}", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// A new one would replace an old one.
    #[error(
        "{} is there already, and a key is never overwritten: its rig could not be reached any more; {OTHER_FILE}",
        path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A new one cannot be written.
    #[error("the key file {} cannot be written: {source}; {OTHER_FOLDER}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operating system has no random numbers.
    #[error("the operating system gives no random numbers: {0}; {WAIT_FOR_RANDOM}")]
    Random(io::Error),
}

impl KeyFileError {
    /// What to do about it, as its text says too.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Read { .. } => NAME_KEY_FILE.into(),
            Self::Permissions { path, .. } => make_private(path),
            Self::Content { .. } | Self::NotText { .. } => COPY_KEY.into(),
            Self::Exists { .. } => OTHER_FILE.into(),
            Self::Write { .. } => OTHER_FOLDER.into(),
            Self::Random(_) => WAIT_FOR_RANDOM.into(),
        }
    }
}

/// Reads the key of a rig.
///
/// # Errors
/// [`KeyFileError`], for files of NTP keys too.
pub fn read(path: impl AsRef<Path>) -> Result<RigKey, KeyFileError> {
    let path = path.as_ref();
    match read_any(path)? {
        KeyFile::Rig(key) => Ok(key),
        KeyFile::Ntp(_) => Err(KeyFileError::Content { path: path.into(), source: KeyTextError::NtpKeys }),
    }
}

/// Reads a key file of either format. That of a rig's key must not be open to others; chrony's never had to be private here.
///
/// # Errors
/// [`KeyFileError`].
pub fn read_any(path: impl AsRef<Path>) -> Result<KeyFile, KeyFileError> {
    let path = path.as_ref();
    let cannot_read = |source| KeyFileError::Read { path: path.into(), source };
    let file = File::open(path).map_err(cannot_read)?;
    let mode = file.metadata().map_err(cannot_read)?.mode() & 0o777;
    // Large enough for every key file: a buffer that grows would leave copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_LEN).expect("it fits") + 2));
    file.take(MAX_LEN + 1).read_to_end(&mut bytes).map_err(cannot_read)?;
    let text = if bytes.len() as u64 > MAX_LEN { None } else { std::str::from_utf8(&bytes).ok() };
    let text = text.ok_or_else(|| KeyFileError::NotText { path: path.into() })?;
    let content =
        KeyFile::parse(text).map_err(|source| KeyFileError::Content { path: path.into(), source })?;
    if matches!(content, KeyFile::Rig(_)) && mode & FORBIDDEN != 0 {
        return Err(KeyFileError::Permissions { path: path.into(), mode });
    }
    Ok(content)
}

/// Makes a new key and the file `path` with it, which only its owner can read. Never overwrites a file.
///
/// # Errors
/// [`KeyFileError`].
pub fn create(path: impl AsRef<Path>) -> Result<RigKey, KeyFileError> {
    let path = path.as_ref();
    let key = random_key()?;
    let cannot_write = |source: io::Error| {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::AlreadyExists => KeyFileError::Exists { path },
            _ => KeyFileError::Write { path, source },
        }
    };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(cannot_write)?;
    let written = file.write_all(key.to_file_text().as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = std::fs::remove_file(path); // a part of a key is of no use, and in the way of the next attempt
        return Err(cannot_write(error));
    }
    Ok(key)
}

/// A new key, from the operating system's random numbers.
///
/// # Errors
/// [`KeyFileError::Random`].
pub fn random_key() -> Result<RigKey, KeyFileError> {
    let mut secret = Zeroizing::new([0; SECRET_LEN]);
    getrandom::fill(secret.as_mut_slice()).map_err(|error| KeyFileError::Random(error.into()))?;
    Ok(RigKey::from_secret(secret))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn with_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_new_file_is_private_and_never_overwrites() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rig.key");
        let key = create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap(), key);
        assert!(matches!(create(&path).unwrap_err(), KeyFileError::Exists { .. }));
        assert_eq!(read(&path).unwrap(), key, "untouched");
        let other = folder.path().join("other.key");
        assert_ne!(create(&other).unwrap(), key);
        // Not through a link either, which might lead anywhere.
        let link = folder.path().join("link.key");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).unwrap();
        assert!(matches!(create(&link).unwrap_err(), KeyFileError::Exists { .. }));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rig.key");
        create(&path).unwrap();
        for (mode, is_accepted) in
            [(0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o660, false), (0o606, false)]
        {
            with_mode(&path, mode);
            match read(&path) {
                Ok(_) => assert!(is_accepted, "{mode:o}"),
                Err(error) => {
                    assert!(!is_accepted, "{mode:o}: {error}");
                    assert!(error.to_string().contains("chmod 600"), "{error}");
                }
            }
        }
    }

    #[test]
    fn chronys_files_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chrony.keys");
        std::fs::write(&path, format!("1 AES128 HEX:{}\n", "0f".repeat(16))).unwrap();
        with_mode(&path, 0o644);
        assert!(matches!(read_any(&path).unwrap(), KeyFile::Ntp(_)));
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("chrony") && error.contains("swsync key new"), "{error}");
    }

    #[test]
    fn other_files_are_refused_without_quoting_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let refused = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            with_mode(&path, 0o600);
            read(&path).unwrap_err()
        };
        assert!(matches!(refused(&vec![b'#'; 65_537]), KeyFileError::NotText { .. }));
        assert!(matches!(refused(&[0xff, 0xfe]), KeyFileError::NotText { .. }));
        let error = refused(b"my-password").to_string();
        assert!(!error.contains("my-password"), "{error}");
        assert!(matches!(read(folder.path().join("none")).unwrap_err(), KeyFileError::Read { .. }));
        assert!(matches!(read(folder.path()).unwrap_err(), KeyFileError::Read { .. }));
    }
}
