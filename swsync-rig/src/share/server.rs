//! The device's side of sharing: serves the files of its takes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use swsync_core::message::decode;
use swsync_core::name::DeviceId;
use zenoh::Wait;
use zenoh::query::{Query, Queryable};

use super::catalog::{Catalog, CatalogError};
use super::message::{FileReply, FileRequest, MAX_FILES, frame};
use crate::{ControlError, Session};

/// Most requests that may wait: a client sends one at a time.
const QUEUE: usize = 64;

/// Says why files cannot be read now, if so: a take needs the disk and the network.
pub type Busy = Box<dyn Fn() -> Option<String> + Send>;

/// Serves a device's takes. Dropping it ends that.
pub struct Share {
    /// Holds the sender of the thread's queue, so it is dropped first: that ends the thread.
    queryable: Option<Queryable<()>>,
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
        let key = session.files_key(&device);
        let is_open = session.is_open();
        let stop = Arc::new(AtomicBool::new(false));
        let mut catalog = Catalog::new(root, device, Arc::clone(&stop));
        let (queries, inbox) = mpsc::sync_channel(QUEUE);
        let queryable = session
            .zenoh()
            .declare_queryable(&key)
            .callback(move |query: Query| {
                // This is a thread of Zenoh, and disks are slow.
                if let Err(mpsc::TrySendError::Full(query)) = queries.try_send(query) {
                    send(&query, query.key_expr().as_str(), &refused("too many questions at once"), &[]);
                }
            })
            .wait()
            .map_err(|source| ControlError::zenoh("share files", source))?;
        let thread = std::thread::Builder::new()
            .name("swsync-share".into())
            .spawn(move || serve(&key, &inbox, &mut catalog, &busy, is_open))
            .map_err(|error| ControlError::zenoh("start a thread", error.into()))?;
        Ok(Self { queryable: Some(queryable), thread: Some(thread), stop })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.queryable.take());
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
    // On Linux the priority belongs to a thread.
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS) {
        swsync_core::log::warn!(%error, "files are shared at the same priority as they are written");
    }
    while let Ok(query) = inbox.recv() {
        let payload = query.payload().map(|payload| payload.to_bytes().into_owned());
        let (reply, bytes) = match payload.as_deref().map(decode::<FileRequest>) {
            Some(Ok(FileRequest::Delete { .. })) if is_open => (refused(OPEN_RIG), Vec::new()),
            Some(Ok(request)) => answer(request, catalog, busy),
            Some(Err(error)) => (refused(&error.to_string()), Vec::new()),
            None => (refused("there is no question in this query"), Vec::new()),
        };
        if let FileReply::Refused { why } = &reply {
            swsync_core::log::debug!(why, "refused a request for files");
        }
        send(&query, key, &reply, &bytes);
    }
}

/// The reply to `request`, and the bytes that follow it.
fn answer(request: FileRequest, catalog: &mut Catalog, busy: &Busy) -> (FileReply, Vec<u8>) {
    // The list of takes costs almost nothing.
    if !matches!(request, FileRequest::Takes)
        && let Some(why) = busy()
    {
        return (FileReply::Busy { why }, Vec::new());
    }
    try_answer(request, catalog).unwrap_or_else(|error| (refused(&error.to_string()), Vec::new()))
}

fn try_answer(request: FileRequest, catalog: &mut Catalog) -> Result<(FileReply, Vec<u8>), CatalogError> {
    let reply = match request {
        FileRequest::Takes => FileReply::Takes { takes: catalog.takes(), unreadable: catalog.unreadable() },
        FileRequest::Files { order, skip } => {
            let (files, more) = catalog.files(&order, skip, MAX_FILES)?;
            // The total is known only at the end of the list.
            let total = skip + files.len() + usize::from(more);
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

fn refused(why: &str) -> FileReply {
    FileReply::Refused { why: why.to_owned() }
}

fn send(query: &Query, key: &str, reply: &FileReply, bytes: &[u8]) {
    if let Err(error) = query.reply(key, frame(reply, bytes)).wait() {
        swsync_core::log::debug!(key, %error, "could not reply"); // the client is gone
    }
}
