//! The takes of a device, requested over the network.

use std::time::{Duration, Instant};

use swsync_core::name::{DeviceId, OrderId};
use swsync_core::share::{CollectedMark, MAX_TAKE_FILES, TakeNote, TakeSummary, Unreadable};
use swsync_rig::Session;
use swsync_rig::share::{Chunk, FileDigest, FileEntry, FileReply, FileRequest, Listing, TakeEntry};

/// Timeout of a request for which the device reads no whole file.
const QUICK: Duration = Duration::from_secs(5);

/// Slowest rate of a device for SHA-256, in bytes a second: a quarter of a Pi Zero.
const SLOWEST: u64 = 5_000_000;

/// Longest wait for one reply, whatever size a device states: SHA-256 of a terabyte on a Raspberry Pi 4.
const LONGEST: Duration = Duration::from_secs(3 * 3_600);

/// Files that the slowest device removes in a second, from a slow SD card.
const SLOWEST_REMOVAL: u64 = 100;

/// Most takes of one device that a client believes: more than a device with the longest list of them has.
const MOST_TAKES: usize = 100_000;

/// Pause between requests to a device that is busy or does not answer.
const RETRY: Duration = Duration::from_millis(500);

const SWITCHED_ON: &str = "is it switched on, and its pipeline running?";
const SAME_VERSION: &str = "update swsync on both to one version (`swsync --version`)";

/// Why a request for a device's files fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The device does not answer.
    #[error("{device} does not answer for its files (for {waited:?}): {SWITCHED_ON}")]
    NoAnswer {
        /// The device.
        device: DeviceId,
        /// How long it was tried.
        waited: Duration,
    },
    /// The device refuses.
    #[error("{device} refuses: {why}")]
    Refused {
        /// The device.
        device: DeviceId,
        /// Why, for a person.
        why: String,
    },
    /// The device sends another reply than was requested, or a malformed one.
    #[error("{device} answers something that cannot be read: {why}; {SAME_VERSION}")]
    Malformed {
        /// The device.
        device: DeviceId,
        /// Why, for a person.
        why: String,
    },
}

impl RemoteError {
    /// What to do about it. `None`: the device's own text says it.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::NoAnswer { .. } => Some(SWITCHED_ON.into()),
            Self::Malformed { .. } => Some(SAME_VERSION.into()),
            Self::Refused { .. } => None,
        }
    }
}

/// Called with the reason while a busy device is waited for, and with `None` when that is over.
type OnBusy<'a> = Box<dyn Fn(Option<&str>) + Send + 'a>;

/// The takes of one device. The methods block; those that read files wait while the device is busy.
pub struct RemoteTakes<'a> {
    session: &'a Session,
    device: DeviceId,
    patience: Duration,
    on_busy: OnBusy<'a>,
}

impl<'a> RemoteTakes<'a> {
    /// The takes of `device`, which may stay silent for `patience` before it is given up: it may be restarting. `on_busy` is
    /// called with the reason while a busy device is waited for, and with `None` when that is over.
    pub fn new(
        session: &'a Session,
        device: DeviceId,
        patience: Duration,
        on_busy: impl Fn(Option<&str>) + Send + 'a,
    ) -> Self {
        Self { session, device, patience, on_busy: Box::new(on_busy) }
    }

    /// The device.
    #[must_use]
    pub const fn device(&self) -> &DeviceId {
        &self.device
    }

    /// The list of its takes.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn takes(&self) -> Result<Listing, RemoteError> {
        match self.request(&FileRequest::Takes, QUICK)?.0 {
            FileReply::Takes { takes, unreadable } => Ok(Listing { takes, unreadable }),
            other => Err(self.malformed(&other)),
        }
    }

    /// What there is to list of its takes, and other things that may be takes. An older device tells no counts.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn summaries(&self) -> Result<(Vec<TakeSummary>, Vec<Unreadable>), RemoteError> {
        let (mut all, mut unreadable): (Vec<TakeSummary>, _) = (Vec::new(), Vec::new());
        loop {
            let after = all.last().map(|take| take.order.clone());
            match self.request(&FileRequest::Summaries { after: after.clone() }, QUICK) {
                Ok((FileReply::Summaries { takes, more, unreadable: others }, _)) => {
                    let rises =
                        takes.iter().map(|take| Some(&take.order)).is_sorted_by(|one, next| one < next);
                    let follows =
                        takes.first().is_none_or(|first| after.is_none_or(|after| first.order > after));
                    if !rises || !follows || (more && takes.is_empty()) || all.len() > MOST_TAKES {
                        return Err(self.unbelievable("its list of takes is not in order".into()));
                    }
                    all.extend(takes);
                    unreadable.extend(others);
                    if !more {
                        return Ok((all, unreadable));
                    }
                }
                // An older device does not know this request.
                Err(RemoteError::Refused { .. }) if after.is_none() => {
                    let Listing { takes, unreadable } = self.takes()?;
                    return Ok((takes.into_iter().map(without_counts).collect(), unreadable));
                }
                Ok((other, _)) => return Err(self.malformed(&other)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Has the device keep a note with a take. Returns the note that it has then: a later one stays.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn set_note(&self, order: &OrderId, note: &TakeNote) -> Result<TakeNote, RemoteError> {
        match self.request(&FileRequest::Note { order: order.clone(), note: note.clone() }, QUICK)?.0 {
            FileReply::Noted { note } => Ok(note),
            other => Err(self.malformed(&other)),
        }
    }

    /// Has the device keep with a take who has collected it.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn mark_collected(&self, order: &OrderId, mark: &CollectedMark) -> Result<(), RemoteError> {
        match self.request(&FileRequest::Collected { order: order.clone(), mark: mark.clone() }, QUICK)?.0 {
            FileReply::Marked => Ok(()),
            other => Err(self.malformed(&other)),
        }
    }

    /// Removes a take of about `frames` frames: what [`verify_collected`](crate::removal::verify_collected) has verified by
    /// `sha256`, or whatever it is. Returns the number of its files and their bytes; none if it was gone already.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn remove(
        &self,
        order: &OrderId,
        sha256: Option<&str>,
        frames: u64,
    ) -> Result<(u64, u64), RemoteError> {
        let request = FileRequest::Remove { order: order.clone(), sha256: sha256.map(str::to_owned) };
        match self.request(&request, time_for(frames, SLOWEST_REMOVAL))?.0 {
            FileReply::Removed { files, bytes } => Ok((files, bytes)),
            other => Err(self.malformed(&other)),
        }
    }

    /// The list of files of a take.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn files(&self, order: &OrderId) -> Result<Vec<FileEntry>, RemoteError> {
        let mut all = Vec::new();
        loop {
            let request = FileRequest::Files { order: order.clone(), skip: all.len() };
            match self.request(&request, QUICK)?.0 {
                FileReply::Files { files, .. } if all.len() + files.len() > MAX_TAKE_FILES => {
                    return Err(self.unbelievable(format!(
                        "it lists more than {MAX_TAKE_FILES} files of {order}, the last of them {:?}",
                        files.last().map(|file| &file.path)
                    )));
                }
                FileReply::Files { files, total } => {
                    let done = files.is_empty() || all.len() + files.len() >= total;
                    all.extend(files);
                    if done {
                        return Ok(all);
                    }
                }
                other => return Err(self.malformed(&other)),
            }
        }
    }

    /// `length` bytes of a file from `offset` on, or fewer at its end.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn read(
        &self,
        order: &OrderId,
        path: &str,
        offset: u64,
        length: u64,
    ) -> Result<(Chunk, Vec<u8>), RemoteError> {
        let request = FileRequest::Read { order: order.clone(), path: path.to_owned(), offset, length };
        match self.request(&request, time_for(length, SLOWEST / 50))? {
            (FileReply::Chunk { .. }, bytes) if bytes.len() as u64 > length => Err(self.unbelievable(
                format!("it sends {} bytes of {path:?}, and was asked for {length}", bytes.len()),
            )),
            (FileReply::Chunk { chunk }, bytes) => Ok((chunk, bytes)),
            (other, _) => Err(self.malformed(&other)),
        }
    }

    /// The SHA-256 of a file of about `bytes` bytes.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn digest(&self, order: &OrderId, path: &str, bytes: u64) -> Result<FileDigest, RemoteError> {
        let request = FileRequest::Digest { order: order.clone(), path: path.to_owned() };
        match self.request(&request, time_for(bytes, SLOWEST))?.0 {
            FileReply::Digest { digest } => Ok(digest),
            other => Err(self.malformed(&other)),
        }
    }

    /// Deletes a file of about `bytes` bytes on the device if its SHA-256, which the device computes anew, is `sha256`. Returns
    /// whether it was.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn delete(&self, order: &OrderId, path: &str, bytes: u64, sha256: &str) -> Result<bool, RemoteError> {
        let request =
            FileRequest::Delete { order: order.clone(), path: path.to_owned(), sha256: sha256.to_owned() };
        match self.request(&request, time_for(bytes, SLOWEST))?.0 {
            FileReply::Deleted => Ok(true),
            FileReply::Differs { .. } => Ok(false),
            other => Err(self.malformed(&other)),
        }
    }

    /// Repeats a request until the device answers and is not busy.
    fn request(&self, request: &FileRequest, timeout: Duration) -> Result<(FileReply, Vec<u8>), RemoteError> {
        let mut silent_since = Instant::now();
        let mut was_busy = false;
        loop {
            match self.request_once(request, timeout)? {
                Some((FileReply::Busy { why }, _)) => {
                    was_busy = true;
                    (self.on_busy)(Some(&why));
                    std::thread::sleep(RETRY);
                    silent_since = Instant::now();
                }
                Some(answer) => {
                    if was_busy {
                        (self.on_busy)(None);
                    }
                    return match answer {
                        (FileReply::Refused { why }, _) => {
                            Err(RemoteError::Refused { device: self.device.clone(), why })
                        }
                        answer => Ok(answer),
                    };
                }
                None if silent_since.elapsed() >= self.patience => {
                    let waited = Duration::from_secs(silent_since.elapsed().as_secs());
                    return Err(RemoteError::NoAnswer { device: self.device.clone(), waited });
                }
                None => std::thread::sleep(RETRY),
            }
        }
    }

    /// Sends a request once. `None`: there was no reply.
    fn request_once(
        &self,
        request: &FileRequest,
        timeout: Duration,
    ) -> Result<Option<(FileReply, Vec<u8>)>, RemoteError> {
        self.session
            .request_files(&self.device, request, timeout)
            .map_err(|error| RemoteError::Malformed { device: self.device.clone(), why: error.to_string() })
    }

    fn malformed(&self, reply: &FileReply) -> RemoteError {
        self.unbelievable(format!("{reply:?}").chars().take(200).collect())
    }

    fn unbelievable(&self, why: String) -> RemoteError {
        RemoteError::Malformed { device: self.device.clone(), why }
    }
}

/// How long a reply may take for which the device reads `bytes` bytes at `rate` bytes a second; or removes files.
fn time_for(bytes: u64, rate: u64) -> Duration {
    (QUICK + Duration::from_secs(bytes / rate)).min(LONGEST)
}

/// What an older device tells of a take.
fn without_counts(take: TakeEntry) -> TakeSummary {
    let TakeEntry { order, started_ns, accepted_ns, complete } = take;
    TakeSummary {
        order,
        started_ns,
        accepted_ns,
        complete,
        named: None,
        missing: 0,
        bytes: None,
        targets: None,
        note: None,
        collected: None,
        timescale: None,
        date: None,
    }
}
