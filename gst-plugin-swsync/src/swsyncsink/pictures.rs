//! Pictures on their way to the disk: several in one go, which share its flushes.

use std::io;

use swsync_core::name::OrderId;
use swsync_core::order::{Fate, Role, Ticket};
use swsync_rig::files::{NotSaved, Picture};

use super::video_file::{BESIDE, Unclosed};
use super::writer::{Save, Writer};
use crate::order_service::{Held, Station};

/// Pictures written in one go, at most, and their bytes: with the flushes shared, and the first not kept waiting
/// for the last.
const BATCH: (usize, usize) = (32, 8 << 20);

/// A picture that waits for its batch.
pub(super) struct Waiting {
    ticket: Ticket,
    frame: Held,
    extension: String,
}

/// Bytes of the disk that a frame takes, with what is written beside it: file systems count in blocks.
pub(super) const fn cost(bytes: usize) -> u64 {
    (bytes as u64).next_multiple_of(4096) + BESIDE
}

impl Waiting {
    pub(super) fn cost(&self) -> u64 {
        cost(self.frame.buffer.size())
    }
}

impl Writer {
    pub(super) fn save_picture(&mut self, station: &Station, save: Save, extension: String) {
        if save.role == Role::Support {
            station.handle_taken(save.ticket); // nothing builds on it
            return;
        }
        let bytes = |batch: &[Waiting]| batch.iter().map(|w| w.frame.buffer.size()).sum::<usize>();
        // More than are kept would be written only to go at once.
        let most = self.shelf.max_files.map_or(BATCH.0, |max| BATCH.0.min(max as usize));
        let full = self.batch.as_ref().is_some_and(|(order, batch)| {
            *order != save.order || batch.len() >= most || bytes(batch) >= BATCH.1
        });
        if full {
            self.write_batch(station);
        }
        let (_, batch) = self.batch.get_or_insert_with(|| (save.order.clone(), Vec::new()));
        batch.push(Waiting { ticket: save.ticket, frame: save.frame, extension });
    }

    /// Writes the pictures that wait.
    pub(super) fn write_batch(&mut self, station: &Station) {
        let Some((order, batch)) = self.batch.take() else { return };
        let maps: Vec<_> = batch.iter().map(|waiting| waiting.frame.buffer.map_readable()).collect();
        let pictures = batch.iter().zip(&maps).map(|(waiting, map)| Picture {
            info: &waiting.frame.info,
            extension: &waiting.extension,
            bytes: map.as_ref().map_or(&[], |map| map.as_slice()),
        });
        let pictures: Vec<_> = pictures.collect();
        let results = match self
            .takes
            .get_mut(&order)
            .map(|take| take.folder(&self.shelf, &batch[0].frame.stream, &*self.owner))
        {
            Some(Ok(folder)) => folder.save_pictures(&pictures),
            Some(Err(error)) => {
                let failed = || Err(io::Error::new(error.kind(), error.to_string()).into());
                pictures.iter().map(|_| failed()).collect()
            }
            None => Vec::new(),
        };
        for (waiting, result) in batch.iter().zip(results) {
            let info = waiting.frame.info;
            let Some(take) = self.takes.get_mut(&order) else { continue };
            let fate = match result {
                Ok(saved) => {
                    self.problem = None;
                    let path = saved.path.display().to_string();
                    self.tell_picture(&order, waiting, &path);
                    Fate::Saved { file: path, bytes: saved.bytes, info }
                }
                Err(NotSaved { error, late }) => {
                    let of = swsync_rig::files::FileOf::Picture(info.number);
                    let location = &self.shelf.location;
                    let path = location.path(&order, &self.shelf.device, of, &waiting.extension);
                    let why = format!("cannot write {}: {error}", path.display());
                    tracing::warn!(%why, "a frame is not saved");
                    self.problem = Some(why.clone());
                    if let Some(key) = late {
                        let unclosed = Unclosed { numbers: vec![info.number], segment: None, why };
                        take.waiting.insert(key, unclosed);
                        continue;
                    }
                    take.add_hole(info.number, 1, &why);
                    Fate::Failed { why }
                }
            };
            station.handle_written(&order, info.number..=info.number, fate);
        }
        drop(maps);
        let tickets: Vec<_> = batch.iter().map(|waiting| waiting.ticket).collect();
        drop(batch);
        for ticket in tickets {
            station.handle_taken(ticket);
        }
        self.remove_surplus(station, &order);
    }

    fn tell_picture(&self, order: &OrderId, waiting: &Waiting, path: &str) {
        if self.options.post_messages {
            let buffer = &waiting.frame.buffer;
            let running = buffer.pts().and_then(|pts| waiting.frame.segment.to_running_time(pts));
            self.owner.post(
                gst::Structure::builder("swsync-file")
                    .field("filename", path)
                    .field("order", order.as_str())
                    .field("frame", waiting.frame.info.number)
                    .field("timestamp", buffer.pts())
                    .field("running-time", running)
                    .field("duration", buffer.duration())
                    .field("rig-time", waiting.frame.info.rig_time_ns.as_nanos())
                    .build(),
            );
        }
    }
}
