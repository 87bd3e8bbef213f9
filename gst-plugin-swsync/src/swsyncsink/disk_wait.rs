//! Waits for a disk that may never answer: gives up when it has not answered for a while.
//!
//! A system call to a file system that hangs cannot be cancelled. So only the writer's thread asks the disk. Others wait for that thread, and give
//! up once the disk has answered nothing for [`STALL_TIMEOUT`]; as long as it answers, however slowly, the wait goes on. A writer that was
//! abandoned goes on by itself when the disk is back ([`writer_registry`](super::writer_registry)).

use std::fmt;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use swsync_core::log;
use swsync_files::DiskActivity;

/// How long a disk may take to answer one call. Flushing what others have written to a slow card takes seconds.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long leaving the rig may take: a file may be being fetched from a disk that hangs.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a wait looks whether the disk has answered.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// The disk has not answered for so long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskHangs {
    /// The call that hangs, if that is known.
    pub call: Option<String>,
    pub how_long: Duration,
}

impl fmt::Display for DiskHangs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the disk has not answered for {} s", self.how_long.as_secs())?;
        self.call.as_ref().map_or(Ok(()), |call| write!(f, " ({call})"))
    }
}

/// Waits for a message from a thread that asks the disk. `None`: the thread ended without one.
///
/// # Errors
/// The disk has not answered anything for `stall`.
pub fn wait_for<T>(
    thread: &Receiver<T>,
    activity: &DiskActivity,
    stall: Duration,
) -> Result<Option<T>, DiskHangs> {
    let mut answered = activity.answered();
    let mut since = Instant::now();
    loop {
        match thread.recv_timeout(CHECK_INTERVAL) {
            Ok(message) => return Ok(Some(message)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = activity.answered();
        if now != answered {
            (answered, since) = (now, Instant::now());
        } else if since.elapsed() >= stall {
            let call = activity.longest().map(|(call, _)| call);
            return Err(DiskHangs { call, how_long: since.elapsed() });
        }
    }
}

/// Leaves the rig by dropping `what` on a thread of its own, and waits a while for that.
pub fn leave_rig(what: impl Send + 'static) {
    let (done, is_done) = mpsc::sync_channel::<()>(0);
    let dropping = std::thread::Builder::new().name("swsync-leave".into()).spawn(move || {
        drop(what);
        drop(done);
    });
    match dropping {
        Ok(_) => {
            if let Err(RecvTimeoutError::Timeout) = is_done.recv_timeout(LEAVE_TIMEOUT) {
                log::warn!("the rig is left later: a file is being fetched, and the disk does not answer");
            }
        }
        // The closure, and `what` with it, has been dropped here.
        Err(error) => log::error!(%error, "no thread to leave the rig in"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;

    /// Never waited out by a test that passes.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_slow_disk_is_waited_for_and_a_call_that_hangs_is_named() {
        let activity = Arc::new(DiskActivity::default());
        let (tx, thread) = mpsc::channel();
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
        // On a busy machine a sleep may take longer: then wait again.
        while let Err(why) = wait_for(&thread, &activity, stall).map(|got| assert_eq!(got, Some(7))) {
            assert!(why.how_long >= stall, "{why}");
        }
        slow.join().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let (tx, thread) = mpsc::channel::<()>();
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
        let why = wait_for(&thread, &activity, Duration::from_millis(50)).unwrap_err();
        assert!(why.to_string().contains("(writing /b)"), "{why}");
        release.send(()).unwrap();
        assert_eq!(wait_for(&thread, &activity, LONG), Ok(None));
        hung.join().unwrap();
    }
}
