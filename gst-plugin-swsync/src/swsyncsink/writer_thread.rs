//! The writer's thread: starts it, and waits for its start and end on a disk that may hang.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use swsync_core::log;
use swsync_files::{CameraSettingsFile, DiskActivity, LocationError, TakeStore};

use super::disk_wait::{DiskHangs, STALL_TIMEOUT, wait_for};
use super::open_take::TakeSource;
use super::saved_takes::saved_frames;
use super::writer::{Writer, WriterOptions};
use super::writer_registry::{Registration, WriterId, abandon};
use crate::order_service::{OrderService, Worker};

/// The thread on which a [`Worker`] runs a [`Writer`]. Nothing else writes or reads the takes' files.
pub struct WriterThread {
    thread: JoinHandle<()>,
    /// Disconnected when the thread ends.
    ended: Receiver<()>,
    pub activity: Arc<DiskActivity>,
    root: PathBuf,
    id: WriterId,
}

impl WriterThread {
    /// Starts the thread. It takes up what was open before a restart, and ends when the order service is closed.
    pub fn start(
        store: TakeStore,
        options: WriterOptions,
        source: TakeSource,
        mut worker: Worker,
        activity: Arc<DiskActivity>,
    ) -> Result<Self, gst::ErrorMessage> {
        let root = store.location.root();
        let registration = Registration::new(&root, &store.device).ok_or_else(|| {
            gst::error_msg!(
                gst::ResourceError::Busy,
                ("What this process has recorded before is still being written below {}", root.display()),
                ["The disk does not answer: wait until it does, choose another `location`, or end the process"]
            )
        })?;
        let id = registration.id();
        let (opened, is_open) = mpsc::sync_channel(1);
        let (ending, ended) = mpsc::sync_channel::<()>(0);
        let run = move || {
            // Dropped in reverse order: when the end is seen, another writer may start.
            let _ending = ending;
            let _registration = registration;
            // Then a file that grows too large is an error of the write, and does not end the process.
            if let Err(error) = swsync_files::survive_size_limit() {
                log::warn!(%error, "a file that grows too large may end the program");
            }
            let mut writer = match open_writer(store, options, source, worker.service()) {
                Ok(writer) => writer,
                Err(error) => return drop(opened.send(Err(error))), // fails if nobody waits any more
            };
            if opened.send(Ok(())).is_err() {
                return; // abandoned
            }
            while worker.step(&mut writer) {}
        };
        let thread = std::thread::Builder::new()
            .name("swsync-writer".into())
            .spawn(run)
            .map_err(|e| gst::error_msg!(gst::ResourceError::Failed, ("no thread to write in: {e}")))?;
        match wait_for(&is_open, &activity, STALL_TIMEOUT) {
            Ok(Some(opened)) => opened.map(|()| Self { thread, ended, activity, root, id }),
            Ok(None) => Err(gst::error_msg!(gst::ResourceError::Failed, ("the writer panicked"))),
            Err(why) => {
                abandon(id);
                Err(gst::error_msg!(
                    gst::ResourceError::OpenWrite,
                    ("Cannot save below {}: {why}", root.display()),
                    [
                        "Choose another `location`; `dmesg` may say what is wrong with the disk, or with the server that it is on"
                    ]
                ))
            }
        }
    }

    /// Waits for the end of the thread, as long as the disk answers. Close the order service first.
    ///
    /// # Errors
    /// What is not written yet, and why.
    pub fn finish(self, service: &OrderService) -> Result<(), gst::ErrorMessage> {
        wait_for(&self.ended, &self.activity, STALL_TIMEOUT)
            .inspect_err(|_| abandon(self.id))
            .map_err(|why| unfinished(service, &self.root, &why))?;
        if self.thread.join().is_err() {
            log::error!("the writer panicked");
        }
        Ok(())
    }
}

/// The writer, once what was open before a restart is taken up.
fn open_writer(
    store: TakeStore,
    options: WriterOptions,
    source: TakeSource,
    service: &OrderService,
) -> Result<Writer, gst::ErrorMessage> {
    let (kept, root) = (store.clone(), store.location.root());
    store.location.check().map_err(|e| location_error(&e))?;
    source.place.read();
    let (writer, journal) = Writer::open(store, options, source).map_err(|error| {
        gst::error_msg!(
            gst::ResourceError::OpenReadWrite,
            ("cannot read the journal below {}: {error}", root.display())
        )
    })?;
    service.restore(journal, |order| saved_frames(&kept, order));
    let settings = CameraSettingsFile::new(&kept.storage, &kept.location, &kept.device, kept.durability);
    match settings.read() {
        Ok(settings) => service.restore_settings(settings),
        Err(error) => {
            log::warn!(%error, "the rig's camera settings cannot be read: the pipeline's own are used")
        }
    }
    Ok(writer)
}

/// What is left when the writer is abandoned.
fn unfinished(service: &OrderService, root: &Path, why: &DiskHangs) -> gst::ErrorMessage {
    let (orders, bytes) = service.unwritten();
    let orders: Vec<String> = orders.iter().map(ToString::to_string).collect();
    let orders = if orders.is_empty() { "no order".to_owned() } else { orders.join(", ") };
    gst::error_msg!(
        gst::ResourceError::Write,
        (
            "Not all is written below {}: {why}. Open are {orders}; {bytes} bytes of frames wait in memory",
            root.display()
        ),
        [
            "What is on the disk stays there. As long as this process runs, the rest is written as soon as the disk answers, and only \
             then can this element be started again. If the process is ended, the frames in memory are lost; the next start \
             with the same location finishes the files and takes up the open orders. `dmesg` may say what is wrong with the disk, or \
             with the server that it is on"
        ]
    )
}

pub fn location_error(error: &LocationError) -> gst::ErrorMessage {
    match error {
        LocationError::Unwritable { .. } => gst::error_msg!(
            gst::ResourceError::OpenWrite,
            ("{error}"),
            ["Choose another `location`, or make the folder writable."]
        ),
        _ => gst::error_msg!(gst::LibraryError::Settings, ("{error}")),
    }
}
