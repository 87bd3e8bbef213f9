//! Removal of a take from a device, once it is verified that somebody has collected it, as the device was told.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use swsync_core::manifest::check_path;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::share::CollectedMark;
use swsync_core::time::{Realtime, Timestamp};
use swsync_files::digest::{Sha256, of_file};
use swsync_rig::host_name;
use swsync_rig::share::FileDigest;

use crate::collect::Collected;
use crate::{RemoteError, RemoteTakes, pending};

/// Why a part of a take is not taken to be collected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotCollected {
    /// Nobody has said that it was.
    #[error("{device}: nobody has collected it: collect it first (`swsync collect`), or --force")]
    Unknown {
        /// The device.
        device: DeviceId,
    },
    /// The device was told so by a client of a rig without a key.
    #[error(
        "{device}: whoever collected it to {by} told the device so when the rig had no key, which anybody could: collect it once \
         more (that fetches nothing anew), or --force"
    )]
    Unproven {
        /// The device.
        device: DeviceId,
        /// The host that it was collected to.
        by: String,
    },
    /// A file of the copy on this host is not that of the device.
    #[error(
        "{device}: {path} in {folder} here is gone, or differs from the device's: collect it again, or --force"
    )]
    NotHere {
        /// The device.
        device: DeviceId,
        /// The file.
        path: String,
        /// The folder with all takes.
        folder: String,
    },
    /// The device's files are not those that were collected: a note was written since, or a file has changed.
    #[error("{device}: its files are no longer those that {by} has collected: collect it again, or --force")]
    Changed {
        /// The device.
        device: DeviceId,
        /// The host that it was collected to.
        by: String,
    },
    /// The device fails.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// SHA-256 of a list of files, as in [`CollectedMark::sha256`].
#[must_use]
pub fn sha256_of_list<'a>(files: impl IntoIterator<Item = (&'a str, &'a FileDigest)>) -> String {
    let mut files: Vec<_> = files.into_iter().collect();
    files.sort_by_key(|(path, _)| *path);
    let mut sum = Sha256::default();
    for (path, digest) in files {
        sum.update(format!("{path}\t{}\t{}\n", digest.bytes, digest.sha256).as_bytes());
    }
    sum.finish()
}

/// Now, by this host's clock.
#[must_use]
pub fn wall_clock() -> Timestamp<Realtime> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Has the device keep with its part of `order` that all of it was collected to `out` on this host. Does nothing if not all of it
/// was, or if the device is of a version that cannot keep it.
///
/// # Errors
/// [`RemoteError`].
pub fn mark_collected(
    remote: &RemoteTakes<'_>,
    order: &OrderId,
    out: &Path,
    collected: &Collected,
) -> Result<(), RemoteError> {
    let Some(sha256) = collected.sha256.clone() else { return Ok(()) };
    let folder = std::path::absolute(out).unwrap_or_else(|_| out.to_owned());
    let mark = CollectedMark {
        by: host_name(),
        folder: folder.display().to_string(),
        at_ns: wall_clock(),
        files: collected.files as u64,
        sha256,
        note_at_ns: None,
        keyed: false,
    };
    match remote.mark_collected(order, &mark) {
        Err(RemoteError::Refused { device, why }) => {
            swsync_core::log::debug!(%device, %order, why, "the device does not keep that it was collected");
            Ok(())
        }
        other => other,
    }
}

/// Verifies that `remote`'s part of `order` is collected as `mark` says. The device reads every file of it. If it was collected to
/// this host (`host`), the files here are read and compared too. `on_file` is called after each file. Returns what
/// [`RemoteTakes::remove`] asks for.
///
/// # Errors
/// [`NotCollected`].
pub fn verify_collected(
    remote: &RemoteTakes<'_>,
    order: &OrderId,
    mark: Option<&CollectedMark>,
    host: &str,
    mut on_file: impl FnMut(),
) -> Result<String, NotCollected> {
    let device = remote.device();
    let mark = mark.ok_or_else(|| NotCollected::Unknown { device: device.clone() })?;
    if !mark.keyed {
        return Err(NotCollected::Unproven { device: device.clone(), by: mark.by.clone() });
    }
    let changed = || NotCollected::Changed { device: device.clone(), by: mark.by.clone() };
    let mut digests = Vec::new();
    for file in remote.files(order)? {
        check_path(&file.path).map_err(|_| changed())?;
        let digest = remote.digest(order, &file.path, file.bytes)?;
        if mark.by == host {
            let path = pending::folder(Path::new(&mark.folder), order, device).join(&file.path);
            if of_file(&path).ok() != Some((digest.bytes, digest.sha256.clone())) {
                let (device, folder) = (device.clone(), mark.folder.clone());
                return Err(NotCollected::NotHere { device, path: file.path, folder });
            }
        }
        digests.push((file.path, digest));
        on_file();
    }
    let sha256 = sha256_of_list(digests.iter().map(|(path, digest)| (path.as_str(), digest)));
    if sha256 == mark.sha256 { Ok(sha256) } else { Err(changed()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_list_does_not_depend_on_its_order() {
        let digest = |bytes: u64, digit: &str| FileDigest { bytes, modified_ns: 5, sha256: digit.repeat(64) };
        let (a, b) = (digest(1, "a"), digest(2, "b"));
        let sum = sha256_of_list([("x", &a), ("y", &b)]);
        assert_eq!(sum, sha256_of_list([("y", &b), ("x", &a)]));
        assert_eq!(sum.len(), 64);
        let other_age = FileDigest { modified_ns: 9, ..a.clone() };
        assert_eq!(sum, sha256_of_list([("x", &other_age), ("y", &b)]), "ages do not count");
        for other in [[("x", &b), ("y", &a)], [("x", &a), ("z", &b)]] {
            assert_ne!(sum, sha256_of_list(other));
        }
    }
}
