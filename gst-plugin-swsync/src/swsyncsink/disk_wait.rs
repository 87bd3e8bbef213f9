//! Waits for a disk that may never answer again: each ends, and says what is left.
//!
//! A call to a file system that hangs cannot be taken back. So all that asks the disk is on a thread of its own, and whoever
//! waits for that gives up once the disk has answered nothing for [`STALL`]: as long as it answers, however slowly, what is
//! recorded is written. What was given up goes on by itself when the disk is back; until then nobody else may write there.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use swsync_core::name::DeviceId;
use swsync_rig::files::Activity;

use crate::lock::lock;
use crate::signals::{SIGNAL_INTERVAL, Signals};

/// For so long a disk may take to answer one call: flushing what others have written to a slow card takes seconds.
pub const STALL: Duration = Duration::from_secs(30);

/// For so long leaving the rig may take, where a file is being fetched from a disk that hangs.
const LEAVING: Duration = Duration::from_secs(10);

/// Why a wait was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GivenUp {
    /// The disk answers nothing. What it was asked, if that is known, and for how long.
    Hangs(Option<String>, Duration),
    /// The application was told to end, by this signal.
    Signal(&'static str),
}

impl std::fmt::Display for GivenUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hangs(Some(what), how_long) => {
                write!(f, "the disk has not answered for {} s ({what})", how_long.as_secs())
            }
            Self::Hangs(None, how_long) => {
                write!(f, "the disk has not answered for {} s", how_long.as_secs())
            }
            Self::Signal(name) => write!(f, "{name} came while the disk was waited for"),
        }
    }
}

/// Waits for what `ended` brings as long as the disk answers.
///
/// # Errors
/// Why not, with `None` of what ended without a word: its thread panicked.
pub fn wait_for<T>(
    ended: &Receiver<T>,
    activity: &Activity,
    stall: Duration,
    signals: &Signals,
) -> Result<Option<T>, GivenUp> {
    let mut answered = activity.answered();
    let mut since = Instant::now();
    loop {
        match ended.recv_timeout(SIGNAL_INTERVAL) {
            Ok(result) => return Ok(Some(result)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(signal) = signals.arrived() {
            return Err(GivenUp::Signal(signal));
        }
        let now = activity.answered();
        if now != answered {
            (answered, since) = (now, Instant::now());
        } else if since.elapsed() >= stall {
            return Err(GivenUp::Hangs(activity.longest().map(|(what, _)| what), since.elapsed()));
        }
    }
}

/// Drops `what` on a thread of its own, which is waited for a while.
pub fn leave(what: impl Send + 'static) {
    let (left, has_left) = mpsc::sync_channel::<()>(0);
    let dropping = std::thread::Builder::new().name("swsync-leave".into()).spawn(move || {
        drop(what);
        drop(left);
    });
    match dropping {
        Ok(_) => {
            if let Err(RecvTimeoutError::Timeout) = has_left.recv_timeout(LEAVING) {
                tracing::warn!(
                    "the rig is left later: a file is being fetched, and the disk does not answer"
                );
            }
        }
        Err(error) => tracing::error!(%error, "no thread to leave the rig in"), // it was dropped all the same
    }
}

/// A writer, as long as its thread keeps this.
#[derive(Debug)]
pub struct Writes(Number);

/// One of the process's writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number(u64);

#[derive(Debug)]
struct Known {
    number: Number,
    root: PathBuf,
    device: DeviceId,
    /// Nobody waits for it any more, and it may still write.
    is_given_up: bool,
}

static WRITERS: Mutex<Vec<Known>> = Mutex::new(Vec::new());

impl Writes {
    /// Begins to write files of `device` below `root`; `None` while one that was given up may still write them.
    pub fn below(root: &Path, device: &DeviceId) -> Option<Self> {
        let mut writers = lock(&WRITERS);
        if writers.iter().any(|known| known.is_given_up && known.root == root && known.device == *device) {
            return None;
        }
        let number = Number(writers.iter().map(|known| known.number.0 + 1).max().unwrap_or(0));
        writers.push(Known { number, root: root.to_owned(), device: device.clone(), is_given_up: false });
        Some(Self(number))
    }

    pub const fn number(&self) -> Number {
        self.0
    }
}

/// Nobody waits for this writer any more.
pub fn give_up(number: Number) {
    for known in lock(&WRITERS).iter_mut().filter(|known| known.number == number) {
        known.is_given_up = true;
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        lock(&WRITERS).retain(|known| known.number != self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Never waited out by a test that passes.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_disk_that_answers_is_waited_for_and_one_that_hangs_is_named() {
        let activity = Arc::new(Activity::default());
        let none = Signals(Vec::new());
        let (tx, ended) = mpsc::channel();
        let stall = Duration::from_millis(300);
        let slow = std::thread::spawn({
            let activity = activity.clone();
            move || {
                for _ in 0..8 {
                    activity.during("writing", Path::new("/a"), || std::thread::sleep(stall / 3));
                }
                tx.send(7).unwrap();
            }
        });
        // On a busy machine a sleep takes longer; then again.
        while let Err(why) = wait_for(&ended, &activity, stall, &none).map(|got| assert_eq!(got, Some(7))) {
            assert!(matches!(why, GivenUp::Hangs(..)), "{why}");
        }
        slow.join().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let (tx, ended) = mpsc::channel::<()>();
        let hung = std::thread::spawn({
            let activity = activity.clone();
            move || {
                activity.during("writing", Path::new("/b"), || held.recv().unwrap());
                drop(tx);
            }
        });
        while activity.longest().is_none() {
            std::thread::yield_now();
        }
        let why = wait_for(&ended, &activity, Duration::from_millis(50), &none).unwrap_err();
        assert!(why.to_string().contains("(writing /b)"), "{why}");
        release.send(()).unwrap();
        assert_eq!(wait_for(&ended, &activity, LONG, &none), Ok(None));
        hung.join().unwrap();
    }

    #[test]
    fn nobody_writes_where_one_that_was_given_up_may() {
        let (root, device) = (Path::new("/somewhere"), DeviceId::new("pi").unwrap());
        let first = Writes::below(root, &device).unwrap();
        // That is the rig's to refuse, which knows better who was first.
        let second = Writes::below(root, &device).unwrap();
        assert_ne!(first.number(), second.number());
        give_up(first.number());
        assert!(Writes::below(root, &device).is_none());
        assert!(Writes::below(root, &DeviceId::new("pi2").unwrap()).is_some());
        drop(first);
        assert!(Writes::below(root, &device).is_some());
    }
}
