//! A take as one zip file, written while it is downloaded: nothing is kept on the dashboard's disk.
//!
//! Files are stored as they are. What could not be read is listed in `MISSING.txt`; if a device falls silent in the middle of a file, the
//! download fails, rather than end as if it were whole.

use std::io::{self, Write};

use axum::body::{Body, Bytes};
use swsync_client::Rig;
use swsync_client::rig_takes::OrderTake;
use swsync_core::name::DeviceId;
use swsync_core::share::{FileEntry, MAX_CHUNK};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use zip::ZipWriter;
use zip::write::{SimpleFileOptions, StreamWriter};

use crate::pictures::takes_of;

/// Chunks that wait for a browser that reads slowly.
const WAITING: usize = 4;
/// Bytes that are sent at once.
const CHUNK: usize = 256 << 10;

/// Hands on what is written, in chunks; fails once nobody reads it any more.
struct ToBody {
    chunks: Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for ToBody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        self.chunks.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A body of chunks as they come.
fn body(chunks: Receiver<io::Result<Bytes>>) -> Body {
    Body::from_stream(ReceiverStream::new(chunks))
}

/// All files of `take` on all its devices, as a zip file.
pub fn zip(rig: Rig, take: OrderTake) -> Body {
    let (chunks, received) = channel(WAITING);
    let failed = chunks.clone();
    // Ends with the last file, or when the browser has gone.
    tokio::task::spawn_blocking(move || {
        let out = ToBody { chunks, buffer: Vec::new() };
        if let Err(error) = write(&rig, &take, out) {
            // A body that ends in an error is seen as broken; fails if the browser has gone.
            let _ = failed.blocking_send(Err(error));
        }
    });
    body(received)
}

fn write(rig: &Rig, take: &OrderTake, out: ToBody) -> io::Result<()> {
    let mut zip = ZipWriter::new_stream(out);
    let mut missing: Vec<String> =
        take.lacking.iter().map(|device| format!("{device}: it has nothing of {}", take.order)).collect();
    for device in take.parts.keys() {
        let files = takes_of(rig, device.clone()).files(&take.order);
        match files {
            Ok(files) => files.iter().try_for_each(|file| add(rig, take, device, file, &mut zip))?,
            Err(error) => missing.push(format!("{device}: {error}")),
        }
    }
    if take.is_open() {
        missing.push(format!("{} is under way: its end is missing", take.order));
    }
    if !missing.is_empty() {
        zip.start_file(format!("{}/MISSING.txt", take.order), options())?;
        zip.write_all((missing.join("\n") + "\n").as_bytes())?;
    }
    zip.finish()?.into_inner().flush()
}

fn options() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored).large_file(true)
}

/// Adds one file, whole.
fn add(
    rig: &Rig,
    take: &OrderTake,
    device: &DeviceId,
    file: &FileEntry,
    zip: &mut ZipWriter<StreamWriter<ToBody>>,
) -> io::Result<()> {
    zip.start_file(format!("{}/{device}/{}", take.order, file.path), options())?;
    let takes = takes_of(rig, device.clone());
    let mut have = 0;
    while have < file.bytes {
        let read = takes.read(&take.order, &file.path, have, MAX_CHUNK).map_err(io::Error::other)?;
        let (chunk, bytes) = read;
        // A file that is still being written only grows.
        if bytes.is_empty() || chunk.bytes < file.bytes {
            return Err(io::Error::other(format!("{device}: {} has changed", file.path)));
        }
        let bytes = &bytes[..bytes.len().min(usize::try_from(file.bytes - have).unwrap_or(usize::MAX))];
        zip.write_all(bytes)?;
        have += bytes.len() as u64;
    }
    Ok(())
}

/// The bytes of one file as they come from the device.
pub fn file(rig: Rig, file: crate::pictures::FileId) -> Body {
    let (chunks, received) = channel(WAITING);
    // Ends with the file, or when the browser has gone.
    tokio::task::spawn_blocking(move || {
        let takes = takes_of(&rig, file.device.clone());
        let mut have = 0;
        loop {
            match takes.read(&file.order, &file.path, have, MAX_CHUNK) {
                Ok((chunk, bytes)) => {
                    have += bytes.len() as u64;
                    let is_end = bytes.is_empty() || have >= chunk.bytes;
                    if chunks.blocking_send(Ok(bytes.into())).is_err() || is_end {
                        return;
                    }
                }
                Err(error) => {
                    // Fails if the browser has gone.
                    let _ = chunks.blocking_send(Err(io::Error::other(error)));
                    return;
                }
            }
        }
    });
    body(received)
}
