//! A device's files as seen from elsewhere.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use swsync_core::control::encode;
use swsync_core::name::{DeviceId, OrderId};

use super::message::{Chunk, Digest, FileEntry, Listing, Request, Said, unframe};
use crate::control::Session;

/// How long one question may take where no file has to be read for it.
const QUICK: Duration = Duration::from_secs(5);

/// How slowly a device may count a SHA-256, in bytes a second: a quarter of what a Pi Zero does.
const SLOWEST: u64 = 5_000_000;

/// Between two tries of a device that is busy or does not answer.
const RETRY: Duration = Duration::from_millis(500);

/// Why a device's files cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// It says nothing.
    #[error(
        "{device} does not answer for its files (for {waited:?}): is it switched on, and its pipeline running?"
    )]
    NoAnswer {
        /// The device.
        device: DeviceId,
        /// How long it was asked.
        waited: Duration,
    },
    /// It says no.
    #[error("{device} refuses: {why}")]
    Refused {
        /// The device.
        device: DeviceId,
        /// Why, for a person.
        why: String,
    },
    /// It says something else than what it was asked.
    #[error("{device} answers something that cannot be read: {why}")]
    Nonsense {
        /// The device.
        device: DeviceId,
        /// Why, for a person.
        why: String,
    },
}

/// Told why a device is waited for, and with `None` that it no longer is.
type OnBusy<'a> = Box<dyn Fn(Option<&str>) + Send + 'a>;

/// One device's files. Its methods block; those that read wait for as long as the device is busy.
pub struct Remote<'a> {
    session: &'a Session,
    device: DeviceId,
    patience: Duration,
    /// Told when the device is busy, and why, and when it no longer is.
    on_busy: OnBusy<'a>,
}

impl<'a> Remote<'a> {
    /// The files of `device`, which may stay silent for `patience` before it is given up: it may be
    /// starting again. `on_busy` is told why it is waited for, and again with `None` when that is over.
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

    /// The takes that it has.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn takes(&self) -> Result<Listing, RemoteError> {
        match self.ask(&Request::Takes, QUICK)?.0 {
            Said::Takes { takes, unreadable } => Ok(Listing { takes, unreadable }),
            other => Err(self.nonsense(&other)),
        }
    }

    /// The files of a take.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn files(&self, order: &OrderId) -> Result<Vec<FileEntry>, RemoteError> {
        let mut all = Vec::new();
        loop {
            let request = Request::Files { order: order.clone(), skip: all.len() };
            match self.ask(&request, QUICK)?.0 {
                Said::Files { files, total } => {
                    let done = files.is_empty() || all.len() + files.len() >= total;
                    all.extend(files);
                    if done {
                        return Ok(all);
                    }
                }
                other => return Err(self.nonsense(&other)),
            }
        }
    }

    /// Bytes of a file from `offset` on: `length`, or fewer where it ends.
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
        let request = Request::Read { order: order.clone(), path: path.to_owned(), offset, length };
        match self.ask(&request, QUICK + Duration::from_secs(length / (SLOWEST / 50)))? {
            (Said::Chunk { chunk }, bytes) => Ok((chunk, bytes)),
            (other, _) => Err(self.nonsense(&other)),
        }
    }

    /// SHA-256 of a file of about `bytes` bytes.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn digest(&self, order: &OrderId, path: &str, bytes: u64) -> Result<Digest, RemoteError> {
        let request = Request::Digest { order: order.clone(), path: path.to_owned() };
        match self.ask(&request, QUICK + Duration::from_secs(bytes / SLOWEST))?.0 {
            Said::Digest { digest } => Ok(digest),
            other => Err(self.nonsense(&other)),
        }
    }

    /// Has it delete a file of about `bytes` bytes, provided that its SHA-256 is `sha256`. Whether it was: the device reads
    /// it once more.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn delete(&self, order: &OrderId, path: &str, bytes: u64, sha256: &str) -> Result<bool, RemoteError> {
        let request =
            Request::Delete { order: order.clone(), path: path.to_owned(), sha256: sha256.to_owned() };
        match self.ask(&request, QUICK + Duration::from_secs(bytes / SLOWEST))?.0 {
            Said::Deleted => Ok(true),
            Said::Differs { .. } => Ok(false),
            other => Err(self.nonsense(&other)),
        }
    }

    /// Asks until it answers, and is not busy.
    fn ask(&self, request: &Request, timeout: Duration) -> Result<(Said, Vec<u8>), RemoteError> {
        let mut silent_since = Instant::now();
        let mut was_busy = false;
        loop {
            match self.ask_once(request, timeout)? {
                Some((Said::Busy { why }, _)) => {
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
                        (Said::Refused { why }, _) => {
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

    /// The first answer; `None` where there is none.
    fn ask_once(&self, request: &Request, timeout: Duration) -> Result<Option<(Said, Vec<u8>)>, RemoteError> {
        let (tx, rx) = mpsc::channel();
        let key = self.session.files_keys(&self.device);
        self.session.ask(&key, Some(encode(request)), timeout, move |heard| {
            let _ = tx.send(heard); // only the first answer is waited for
        });
        // A ghost of the device, which lost power, does not answer: its query's end says so.
        for heard in rx {
            match heard {
                Ok((_, framed)) => {
                    let (said, bytes) = unframe(&framed).map_err(|error| RemoteError::Nonsense {
                        device: self.device.clone(),
                        why: error.to_string(),
                    })?;
                    return Ok(Some((said, bytes.to_owned())));
                }
                Err(why) => tracing::debug!(device = %self.device, why, "no answer for its files"),
            }
        }
        Ok(None)
    }

    fn nonsense(&self, said: &Said) -> RemoteError {
        let why = format!("{said:?}").chars().take(200).collect();
        RemoteError::Nonsense { device: self.device.clone(), why }
    }
}
