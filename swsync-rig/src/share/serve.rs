//! A device's side: its takes are there for whoever asks.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use swsync_core::control::decode;
use swsync_core::name::DeviceId;
use zenoh::Wait;
use zenoh::query::{Query, Queryable};

use super::catalog::{Catalog, CatalogError};
use super::message::{MAX_FILES, Request, Said, frame};
use crate::control::{ControlError, Session};

/// Questions that may wait: one who fetches asks one at a time.
const QUEUE: usize = 64;

/// Says why files cannot be read now, if so: the disk and the network are needed for a take.
pub type Busy = Box<dyn Fn() -> Option<String> + Send>;

/// A device's takes, served. Dropping it ends that.
pub struct Share {
    /// Holds the sender whose end ends the thread, so it goes first.
    queryable: Option<Queryable<()>>,
    /// Started by [`Share::open`], joined on drop: reads files and answers.
    thread: Option<JoinHandle<()>>,
    /// Ends what the thread is at.
    stop: Arc<AtomicBool>,
}

impl Share {
    /// Serves the takes of `device` below `root`. `busy` is asked before anything is read.
    ///
    /// # Errors
    /// [`ControlError`] where Zenoh refuses.
    pub fn open(
        session: &Session,
        device: DeviceId,
        root: PathBuf,
        busy: Busy,
    ) -> Result<Self, ControlError> {
        let key = session.files_key(&device);
        let stop = Arc::new(AtomicBool::new(false));
        let mut catalog = Catalog::new(root, device, Arc::clone(&stop));
        let (queries, inbox) = mpsc::sync_channel(QUEUE);
        let queryable = session
            .zenoh()
            .declare_queryable(&key)
            .callback(move |query: Query| {
                // Disks are slow, and this is a thread of the network's.
                if let Err(mpsc::TrySendError::Full(query)) = queries.try_send(query) {
                    reply(&query, query.key_expr().as_str(), &refused("too many questions at once"), &[]);
                }
            })
            .wait()
            .map_err(|source| ControlError::zenoh("share files", source))?;
        let thread = std::thread::Builder::new()
            .name("swsync-share".into())
            .spawn(move || serve(&key, &inbox, &mut catalog, &busy))
            .map_err(|error| ControlError::zenoh("start a thread", error.into()))?;
        Ok(Self { queryable: Some(queryable), thread: Some(thread), stop })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.queryable.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that serves files has panicked");
        }
    }
}

/// How much the thread leaves to others: cameras, encoders and the writer's thread come first, at the processor and, as
/// the kernel derives it from this, at the disk.
const NICENESS: i32 = 10;

/// The thread's loop: until the queryable is gone.
fn serve(key: &str, inbox: &Receiver<Query>, catalog: &mut Catalog, busy: &Busy) {
    // On Linux it is a thread's own.
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS) {
        tracing::warn!(%error, "files are shared at the same priority as they are written");
    }
    while let Ok(query) = inbox.recv() {
        let payload = query.payload().map(|payload| payload.to_bytes().into_owned());
        let (said, bytes) = match payload.as_deref().map(decode::<Request>) {
            Some(Ok(request)) => answer(request, catalog, busy),
            Some(Err(error)) => (refused(&error.to_string()), Vec::new()),
            None => (refused("there is no question in this query"), Vec::new()),
        };
        if let Said::Refused { why } = &said {
            tracing::debug!(why, "refused a question for files");
        }
        reply(&query, key, &said, &bytes);
    }
}

/// What to say to `request`, and the bytes behind it.
fn answer(request: Request, catalog: &mut Catalog, busy: &Busy) -> (Said, Vec<u8>) {
    // Which takes there are costs next to nothing.
    if !matches!(request, Request::Takes)
        && let Some(why) = busy()
    {
        return (Said::Busy { why }, Vec::new());
    }
    try_answer(request, catalog).unwrap_or_else(|error| (refused(&error.to_string()), Vec::new()))
}

fn try_answer(request: Request, catalog: &mut Catalog) -> Result<(Said, Vec<u8>), CatalogError> {
    let said = match request {
        Request::Takes => Said::Takes { takes: catalog.takes(), unreadable: catalog.unreadable() },
        Request::Files { order, skip } => {
            let (files, more) = catalog.files(&order, skip, MAX_FILES)?;
            // Where it ends is known once it is there.
            let total = skip + files.len() + usize::from(more);
            Said::Files { files, total }
        }
        Request::Read { order, path, offset, length } => {
            let (chunk, bytes) = catalog.read(&order, &path, offset, length)?;
            return Ok((Said::Chunk { chunk }, bytes));
        }
        Request::Digest { order, path } => Said::Digest { digest: catalog.digest(&order, &path)? },
        Request::Delete { order, path, sha256 } => match catalog.delete(&order, &path, &sha256) {
            Err(CatalogError::Differs { sha256, .. }) => Said::Differs { sha256 },
            done => done.map(|()| Said::Deleted)?,
        },
    };
    Ok((said, Vec::new()))
}

fn refused(why: &str) -> Said {
    Said::Refused { why: why.to_owned() }
}

fn reply(query: &Query, key: &str, said: &Said, bytes: &[u8]) {
    if let Err(error) = query.reply(key, frame(said, bytes)).wait() {
        tracing::debug!(key, %error, "could not reply"); // whoever asked is gone
    }
}
