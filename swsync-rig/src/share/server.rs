//! The device's side of sharing: serves the files of its takes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use swsync_core::message::decode_request;
use swsync_core::name::DeviceId;
use swsync_core::share::{
    FileReply, FileRequest, MAX_FILES, MAX_TAKES, MAX_UNREADABLE, TakeEntry, Unreadable, frame,
};
use zenoh::Wait;
use zenoh::query::Query;

use super::catalog::{Catalog, CatalogError};
use crate::host::lower_priority;
use crate::keys::Member;
use crate::link::Held;
use crate::{ControlError, Session};

/// Most requests that may wait: a client sends one at a time.
const QUEUE: usize = 64;

/// Says why files cannot be read now, if so: a take needs the disk and the network.
pub type Busy = Box<dyn Fn() -> Option<String> + Send>;

/// Serves a device's takes. Dropping it ends that.
pub struct Share {
    /// Holds the sender of the thread's queue, so it is dropped first: that ends the thread.
    held: Option<Held>,
    /// Reads files and replies. Started by [`Share::open`], joined on drop.
    thread: Option<JoinHandle<()>>,
    /// Ends long work of the thread.
    stop: Arc<AtomicBool>,
}

/// Why a device of a rig without a key deletes nothing when asked: everybody who can read a file knows its SHA-256.
const OPEN_RIG: &str = "the rig is open (it has no key), so files are not deleted from afar: give its devices and this command a \
                        key (`swsync key new`, then key-file= and --key-file), or delete them on the device";

impl Share {
    /// Serves the takes of `device` below `root`. `busy` is called before any file is read.
    ///
    /// # Errors
    /// [`ControlError`] if Zenoh fails.
    pub fn open(
        session: &Session,
        device: DeviceId,
        root: PathBuf,
        busy: Busy,
    ) -> Result<Self, ControlError> {
        let member = Member { device: device.clone(), instance: session.instance.clone() };
        let key = session.keys().files(&member);
        let is_open = session.is_open();
        let stop = Arc::new(AtomicBool::new(false));
        let mut catalog = Catalog::new(root, device, Arc::clone(&stop));
        let (queries, inbox) = mpsc::sync_channel(QUEUE);
        let own_key = key.clone();
        let held = session.link().hold(move |zenoh| {
            let queries = queries.clone();
            let queryable = zenoh
                .declare_queryable(&own_key)
                .callback(move |query: Query| {
                    // This is a thread of Zenoh, and disks are slow.
                    if let Err(mpsc::TrySendError::Full(query)) = queries.try_send(query) {
                        send(&query, query.key_expr().as_str(), &refused("too many questions at once"), &[]);
                    }
                })
                .wait()
                .map_err(|source| ControlError::zenoh("share files", source))?;
            Ok(Box::new(queryable))
        })?;
        let thread = std::thread::Builder::new()
            .name("swsync-share".into())
            .spawn(move || serve(&key, &inbox, &mut catalog, &busy, is_open))
            .map_err(|error| ControlError::zenoh("start a thread", error.into()))?;
        Ok(Self { held: Some(held), thread: Some(thread), stop })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.held.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            swsync_core::log::error!("the thread that serves files has panicked");
        }
    }
}

/// The niceness of the thread: cameras, encoders and the writer come first at the processor, and at the disk, whose priority
/// the kernel derives from this.
const NICENESS: i32 = 10;

/// The thread's loop, until the queryable is dropped.
fn serve(key: &str, inbox: &Receiver<Query>, catalog: &mut Catalog, busy: &Busy, is_open: bool) {
    if let Err(error) = lower_priority(NICENESS) {
        swsync_core::log::warn!(%error, "files are shared at the same priority as they are written");
    }
    while let Ok(query) = inbox.recv() {
        let payload = query.payload().map(|payload| payload.to_bytes().into_owned());
        let (reply, bytes) = match payload.as_deref().map(decode_request::<FileRequest>) {
            Some(Ok(FileRequest::Delete { .. } | FileRequest::Remove { .. })) if is_open => {
                (refused(OPEN_RIG), Vec::new())
            }
            Some(Ok(request)) => answer(request, catalog, busy, is_open),
            Some(Err(error)) => (refused(&error.to_string()), Vec::new()),
            None => (refused("there is no question in this query"), Vec::new()),
        };
        if let FileReply::Refused { why } = &reply {
            swsync_core::log::debug!(why, "refused a request for files");
        }
        send(&query, key, &reply, &bytes);
        // The device may have crashed while it removed a take, which the last look at the disk has shown.
        if catalog.has_removals() && busy().is_none() {
            catalog.finish_removals();
        }
    }
}

/// The reply to `request`, and the bytes that follow it.
fn answer(request: FileRequest, catalog: &mut Catalog, busy: &Busy, is_open: bool) -> (FileReply, Vec<u8>) {
    // Lists cost almost nothing, and a note is one small file.
    let is_light =
        matches!(request, FileRequest::Takes | FileRequest::Summaries { .. } | FileRequest::Note { .. });
    if !is_light && let Some(why) = busy() {
        return (FileReply::Busy { why }, Vec::new());
    }
    let answered = try_answer(request, catalog, is_open);
    answered.unwrap_or_else(|error| (refused(&error.to_string()), Vec::new()))
}

fn try_answer(
    request: FileRequest,
    catalog: &mut Catalog,
    is_open: bool,
) -> Result<(FileReply, Vec<u8>), CatalogError> {
    let reply = match request {
        FileRequest::Summaries { after } => {
            let (takes, more) = catalog.summaries(after.as_ref());
            let unreadable = if after.is_none() { catalog.unreadable() } else { Vec::new() };
            FileReply::Summaries { takes, more, unreadable: bounded_unreadable(unreadable) }
        }
        FileRequest::Note { order, note } => FileReply::Noted { note: catalog.set_note(&order, note)? },
        FileRequest::Collected { order, mark } => {
            catalog.mark_collected(&order, mark, !is_open)?;
            FileReply::Marked
        }
        FileRequest::Remove { order, sha256 } => {
            let removed = catalog.remove(&order, sha256.as_deref())?;
            FileReply::Removed { files: removed.files, bytes: removed.bytes }
        }
        FileRequest::Takes => {
            let takes = catalog.takes();
            bounded(takes, catalog.unreadable())
        }
        FileRequest::Files { order, skip } => {
            let (files, more) = catalog.files(&order, skip, MAX_FILES)?;
            // The total is known only at the end of the list.
            let total = skip.saturating_add(files.len()).saturating_add(usize::from(more));
            FileReply::Files { files, total }
        }
        FileRequest::Read { order, path, offset, length } => {
            let (chunk, bytes) = catalog.read(&order, &path, offset, length)?;
            return Ok((FileReply::Chunk { chunk }, bytes));
        }
        FileRequest::Digest { order, path } => FileReply::Digest { digest: catalog.digest(&order, &path)? },
        FileRequest::Delete { order, path, sha256 } => match catalog.delete(&order, &path, &sha256) {
            Err(CatalogError::Differs { sha256, .. }) => FileReply::Differs { sha256 },
            done => done.map(|()| FileReply::Deleted)?,
        },
    };
    Ok((reply, Vec::new()))
}

/// The takes that fit into a reply: the newest. Says so if there are more.
fn bounded(mut takes: Vec<TakeEntry>, mut unreadable: Vec<Unreadable>) -> FileReply {
    if takes.len() > MAX_TAKES {
        let why = format!(
            "it holds {} takes, and only the newest {MAX_TAKES} are listed: move older ones away",
            takes.len()
        );
        takes.sort_by_key(|take| (take.accepted_ns, take.started_ns));
        takes.drain(..takes.len() - MAX_TAKES);
        takes.sort_by(|one, two| one.order.cmp(&two.order));
        unreadable.insert(0, Unreadable { path: ".".into(), why });
    }
    FileReply::Takes { takes, unreadable: bounded_unreadable(unreadable) }
}

/// The first things that cannot be read, and how many more there are.
fn bounded_unreadable(mut unreadable: Vec<Unreadable>) -> Vec<Unreadable> {
    if unreadable.len() > MAX_UNREADABLE {
        let more = unreadable.len() - (MAX_UNREADABLE - 1);
        unreadable.truncate(MAX_UNREADABLE - 1);
        let why = format!("{more} further things here cannot be read");
        unreadable.push(Unreadable { path: ".".into(), why });
    }
    unreadable
}

fn refused(why: &str) -> FileReply {
    FileReply::Refused { why: why.to_owned() }
}

fn send(query: &Query, key: &str, reply: &FileReply, bytes: &[u8]) {
    if let Err(error) = query.reply(key, frame(reply, bytes)).wait() {
        swsync_core::log::debug!(key, %error, "could not reply"); // the client is gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_core::name::Name;
    use swsync_core::time::Timestamp;

    #[test]
    fn a_list_that_is_too_long_says_so() {
        let take = |index: usize| TakeEntry {
            order: Name::new(format!("o{index:06}")).unwrap(),
            // Names and ages go opposite ways.
            started_ns: Timestamp::from_nanos(-i64::try_from(index).unwrap()),
            accepted_ns: None,
            complete: true,
        };
        let bad = |index: usize| Unreadable { path: index.to_string(), why: "torn".into() };
        let list =
            |takes, unreadable| bounded((0..takes).map(take).collect(), (0..unreadable).map(bad).collect());
        let FileReply::Takes { takes, unreadable } = list(MAX_TAKES, MAX_UNREADABLE) else { panic!() };
        assert_eq!((takes.len(), unreadable.len()), (MAX_TAKES, MAX_UNREADABLE));
        assert_eq!(unreadable[MAX_UNREADABLE - 1], bad(MAX_UNREADABLE - 1), "nothing is left out");
        let FileReply::Takes { takes, unreadable } = list(MAX_TAKES + 5, MAX_UNREADABLE) else { panic!() };
        assert_eq!((takes.len(), unreadable.len()), (MAX_TAKES, MAX_UNREADABLE));
        assert_eq!(takes[0].order.as_str(), "o000000", "the newest stay, by name");
        assert!(unreadable[0].why.contains("10005 takes"), "{unreadable:?}");
        assert!(unreadable[MAX_UNREADABLE - 1].why.contains("2 further"), "{unreadable:?}");
    }
}
