//! Pictures of one order that wait to be written together: they share the flushes of the disk.

use std::io;

use swsync_core::name::OrderId;
use swsync_core::order::SaveTicket;
use swsync_files::{NotSaved, Picture, SavedFile, TakeStore};

use super::open_take::{OpenTake, TakeSource};
use super::video_file::SIDE_BYTES_PER_FRAME;
use crate::order_service::StoredFrame;

/// Pictures in a batch, and their bytes, at most: enough to share flushes, and not so many that the first waits for long.
const MAX_PICTURES: usize = 32;
const MAX_BYTES: usize = 8 << 20;

pub struct PictureBatch {
    order: OrderId,
    pictures: Vec<PendingPicture>,
    bytes: usize,
}

/// A picture that waits for its batch.
pub struct PendingPicture {
    pub ticket: SaveTicket,
    pub frame: StoredFrame,
    pub extension: String,
}

/// Bytes of the disk that a frame takes with its line in the manifest: file systems count in blocks.
pub const fn disk_bytes(bytes: usize) -> u64 {
    (bytes as u64).next_multiple_of(4096) + SIDE_BYTES_PER_FRAME
}

impl PictureBatch {
    pub const fn new(order: OrderId) -> Self {
        Self { order, pictures: Vec::new(), bytes: 0 }
    }

    pub const fn order(&self) -> &OrderId {
        &self.order
    }

    /// Whether another picture of `order` can be added; `max_files`: files that are kept of it, if not all.
    pub fn has_room(&self, order: &OrderId, max_files: Option<u32>) -> bool {
        // More than are kept would be written only to be removed at once.
        let max = max_files.map_or(MAX_PICTURES, |max| MAX_PICTURES.min(max as usize));
        self.order == *order && self.pictures.len() < max && self.bytes < MAX_BYTES
    }

    pub fn push(&mut self, picture: PendingPicture) {
        self.bytes += picture.frame.buffer.size();
        self.pictures.push(picture);
    }

    /// Bytes of the disk that it is going to take.
    pub fn disk_bytes(&self) -> u64 {
        self.pictures.iter().map(|picture| disk_bytes(picture.frame.buffer.size())).sum()
    }

    /// Writes the pictures: each is there whole and in the manifest, or says why not.
    pub fn write(
        &self,
        store: &TakeStore,
        take: &mut OpenTake,
        source: &TakeSource,
    ) -> Vec<Result<SavedFile, NotSaved>> {
        let maps: Vec<_> = self.pictures.iter().map(|picture| picture.frame.buffer.map_readable()).collect();
        let pictures: Vec<_> = self
            .pictures
            .iter()
            .zip(&maps)
            .map(|(picture, map)| Picture {
                info: &picture.frame.info,
                extension: &picture.extension,
                bytes: map.as_ref().map_or(&[], |map| map.as_slice()),
            })
            .collect();
        let Some(first) = self.pictures.first() else { return Vec::new() };
        match take.folder(store, &first.frame.stream, source) {
            Ok(folder) => folder.save_pictures(&pictures),
            Err(error) => {
                let failed = || Err(io::Error::new(error.kind(), error.to_string()).into());
                pictures.iter().map(|_| failed()).collect()
            }
        }
    }

    pub fn into_pictures(self) -> Vec<PendingPicture> {
        self.pictures
    }
}

/// `swsync-file`: a picture of `order` is saved at `path`.
pub fn file_message(order: &OrderId, picture: &PendingPicture, path: &str) -> gst::Structure {
    let frame = &picture.frame;
    let pts = frame.buffer.pts();
    gst::Structure::builder("swsync-file")
        .field("filename", path)
        .field("order", order.as_str())
        .field("frame", frame.info.number)
        .field("timestamp", pts)
        .field("running-time", pts.and_then(|pts| frame.segment.to_running_time(pts)))
        .field("duration", frame.buffer.duration())
        .field("rig-time", frame.info.rig_time_ns.as_nanos())
        .build()
}
