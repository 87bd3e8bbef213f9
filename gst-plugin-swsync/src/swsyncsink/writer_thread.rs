//! The thread that writes: how it starts, and how it ends, on a disk that may hang.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use swsync_rig::files::{Activity, LocationError, Shelf};

use super::disk_wait::{GivenUp, Number, STALL, Writes, give_up, wait_for};
use super::writer::{Options, Owner, Writer};
use crate::signals::Signals;
use crate::order_service::{Duty, Station};

/// The writer's thread, and what it does.
pub struct Writing {
    thread: JoinHandle<()>,
    /// Ends when the thread does.
    ended: Receiver<()>,
    pub activity: Arc<Activity>,
    root: PathBuf,
    number: Number,
}

impl Writing {
    /// Starts the writer's thread, which ends when the station is closed, and takes up what was open before a restart.
    pub fn start(
        shelf: Shelf,
        options: Options,
        owner: impl Owner + 'static,
        mut duty: Duty,
        activity: Arc<Activity>,
    ) -> Result<Self, gst::ErrorMessage> {
        let root = shelf.location.root();
        let writes = Writes::below(&root, &shelf.device).ok_or_else(|| {
            gst::error_msg!(
                gst::ResourceError::Busy,
                ("What this process has recorded before is still being written below {}", root.display()),
                ["The disk does not answer: wait until it does, choose another `location`, or end the process"]
            )
        })?;
        let number = writes.number();
        let (opened, is_open) = mpsc::sync_channel(1);
        let (ending, ended) = mpsc::sync_channel::<()>(0);
        let run = move || {
            // In this order: whoever sees the end may start another writer.
            let _ending = ending;
            let _writes = writes;
            // Where files may not grow any larger, writing says so, and nothing ends.
            if let Err(error) = swsync_rig::files::survive_size_limit() {
                tracing::warn!(%error, "a file that grows too large may end the program");
            }
            let mut writer = match open_writer(shelf, options, owner, &duty) {
                Ok(writer) => writer,
                Err(error) => return drop(opened.send(Err(error))), // who waited may have given up
            };
            if opened.send(Ok(())).is_err() {
                return; // it took too long
            }
            while duty.step(&mut writer) {}
        };
        let thread = std::thread::Builder::new()
            .name("swsync-writer".into())
            .spawn(run)
            .map_err(|e| gst::error_msg!(gst::ResourceError::Failed, ("no thread to write in: {e}")))?;
        match wait_for(&is_open, &activity, STALL, &Signals::watch()) {
            Ok(Some(opened)) => opened.map(|()| Self { thread, ended, activity, root, number }),
            Ok(None) => Err(gst::error_msg!(gst::ResourceError::Failed, ("the writer panicked"))),
            Err(why) => {
                give_up(number);
                Err(gst::error_msg!(
                    gst::ResourceError::OpenWrite,
                    ("Cannot save below {}: {why}", root.display()),
                    [
                        "Choose another `location`; `dmesg` may say what the disk, or the server that it is on, suffers from"
                    ]
                ))
            }
        }
    }

    /// Waits for the end of the thread, which is told to end, as long as the disk answers.
    ///
    /// # Errors
    /// What is left, and why.
    pub fn finish(self, station: &Station) -> Result<(), gst::ErrorMessage> {
        wait_for(&self.ended, &self.activity, STALL, &Signals::watch())
            .inspect_err(|_| give_up(self.number))
            .map_err(|why| unfinished(station, &self.root, &why))?;
        if self.thread.join().is_err() {
            tracing::error!("the writer panicked");
        }
        Ok(())
    }
}

/// The writer, once what was open before a restart is taken up. Asks the disk.
fn open_writer(
    shelf: Shelf,
    options: Options,
    owner: impl Owner + 'static,
    duty: &Duty,
) -> Result<Writer, gst::ErrorMessage> {
    let (known, root) = (shelf.clone(), shelf.location.root());
    shelf.location.check().map_err(|e| location_error(&e))?;
    let (writer, journal) = Writer::open(shelf, options, owner).map_err(|error| {
        gst::error_msg!(
            gst::ResourceError::OpenReadWrite,
            ("cannot read the journal below {}: {error}", root.display())
        )
    })?;
    duty.station().restore(journal, |order| Writer::on_disk(&known, order));
    Ok(writer)
}

/// Says what is left where the writer was given up.
fn unfinished(station: &Station, root: &Path, why: &GivenUp) -> gst::ErrorMessage {
    let (orders, bytes) = station.left();
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
             with the same location finishes the files and takes up the open orders. `dmesg` may say what the disk, or the \
             server that it is on, suffers from"
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
