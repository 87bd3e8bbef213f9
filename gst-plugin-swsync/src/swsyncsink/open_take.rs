//! An order whose files are being written.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use swsync_core::grid::FrameNumber;
use swsync_core::log;
use swsync_core::manifest::{Holes, PipelineSettings, Take};
use swsync_core::name::OrderId;
use swsync_core::order::{FrameRun, JournalRecord, NamedFrames, Order};
use swsync_core::time::{Realtime, Rig, Span, Timestamp};
use swsync_files::{Removal, TakeFolder, TakeStore};

use super::kept_place::KeptPlace;
use super::saved_takes::{blank_take, removed_frames};
use super::video_file::{UnclosedFile, VideoFile};
use crate::order_service::{CameraInfo, ElementHooks, KnownDates, StoredFrame, Stream, settings_of};

/// Bytes that a frame takes in what is written at the end of its order, at most.
const TABLE_BYTES_PER_FRAME: u64 = 512;

/// Where a take's frames come from: the sink, and what is upstream of it.
#[derive(Debug, Clone)]
pub struct TakeSource {
    pub element: ElementHooks,
    /// By the newest tags.
    pub camera: Arc<Mutex<CameraInfo>>,
    pub place: KeptPlace,
    pub dates: KnownDates,
}

impl TakeSource {
    fn settings(&self) -> PipelineSettings {
        self.element.element().map(|element| settings_of(&element)).unwrap_or_default()
    }
}

pub struct OpenTake {
    order: Order,
    pub named: NamedFrames,
    accepted: Option<Timestamp<Realtime>>,
    /// Opened as soon as that is possible.
    pub folder: Option<TakeFolder>,
    holes: Holes,
    pub video: Option<VideoFile>,
    /// Why the last video broke off, until there is another.
    pub broken: Option<String>,
    /// Named frames that were to be saved, or are holes.
    pub handled: u64,
    /// Files that could not be closed yet, by their key in the folder.
    pub unclosed: HashMap<PathBuf, UnclosedFile>,
    /// The answer, which is noted when all files are closed: until then a restart takes the order up again.
    pub answered: Option<JournalRecord>,
    /// The frame at which a key frame was last requested.
    key_requested: Option<Timestamp<Rig>>,
}

impl OpenTake {
    /// `accepted`: when the device accepted the order.
    pub fn new(
        store: &TakeStore,
        order: &Order,
        named: NamedFrames,
        accepted: Option<Timestamp<Realtime>>,
    ) -> Self {
        let mut this = Self {
            order: order.clone(),
            named,
            accepted,
            folder: None,
            holes: Holes::new(named),
            video: None,
            broken: None,
            handled: 0,
            unclosed: HashMap::new(),
            answered: None,
            key_requested: None,
        };
        this.ensure_open(store).unwrap_or_else(|error| {
            log::warn!(order = %order.id(), %error, "its folder cannot be opened yet");
        });
        this
    }

    fn ensure_open(&mut self, store: &TakeStore) -> io::Result<()> {
        if self.folder.is_some() {
            return Ok(());
        }
        let accepted_ns = self.accepted;
        let take = Take { accepted_ns, ..blank_take(store, &self.order, Some(&self.named)) };
        let folder = TakeFolder::open(store.clone(), take)?;
        // Frames that were saved before a restart are not handled again.
        let mut handled = 0;
        folder.saved(|_| {
            handled += 1;
            Ok(())
        })?;
        self.handled += handled;
        let from = folder.take().removed.as_ref().map_or(0, |removed| removed.before);
        for hole in folder.take().holes.iter().filter(|hole| hole.first >= from) {
            self.handled += hole.count;
            self.holes.add(hole.first, hole.last(), hole.count, &hole.why);
        }
        if let Some(run) = removed_frames(folder.take(), &self.named) {
            self.add_run(&run);
        }
        self.folder = Some(folder);
        Ok(())
    }

    pub const fn id(&self) -> &OrderId {
        self.order.id()
    }

    /// Bytes that are still to be written of frames so far.
    pub fn pending_bytes(&self) -> u64 {
        self.video.as_ref().map_or(0, VideoFile::pending_bytes) + TABLE_BYTES_PER_FRAME * self.handled
    }

    /// Requests a key frame soon after `frame`, if none was requested within the last second.
    pub fn request_key_frame(&mut self, frame: &StoredFrame, source: &TakeSource) {
        let (at, period) = (frame.info.rig_time_ns, frame.stream.grid.period());
        if self.key_requested.is_none_or(|before| at - before >= Span::from_secs(1)) {
            self.key_requested = Some(at);
            source.element.request_key_frame(at + period * 2, period);
        }
    }

    /// Removes the oldest files, if there are more than are kept.
    pub fn remove_surplus(&mut self) -> io::Result<Option<Removal>> {
        let removal = self.folder.as_mut().map_or(Ok(None), TakeFolder::remove_surplus)?;
        if let Some(Removal { frames, why, .. }) = &removal {
            frames.iter().for_each(|(first, count)| self.add_hole(first, count, why));
        }
        Ok(removal)
    }

    /// Frames that will not be saved.
    pub fn add_run(&mut self, run: &FrameRun) {
        self.handled += run.count;
        self.holes.add(run.first, run.last, run.count, run.why().unwrap_or("not saved"));
    }

    /// The folder, for frames of `stream`.
    pub fn folder(
        &mut self,
        store: &TakeStore,
        stream: &Stream,
        source: &TakeSource,
    ) -> io::Result<&mut TakeFolder> {
        self.ensure_open(store)?;
        let folder = self.folder.as_mut().expect("opened above");
        if folder.take().caps.is_empty() {
            let (camera, settings) = (source.camera.lock().clone(), source.settings());
            let (place, date) = (source.place.place(), source.dates.of(self.order.timescale()));
            let described = folder.describe(|take| {
                take.caps = stream.caps.to_string();
                take.orientation = camera.orientation.and_then(|left| left.exif());
                (take.maker, take.camera) = (camera.maker, camera.model);
                take.settings = settings;
                take.place = place;
                take.date = date;
                take.started_ns = stream.grid.instant(take.first);
            });
            if let Err(error) = described {
                log::warn!(order = %self.order.id(), %error, "take.json is out of date");
            }
        }
        Ok(folder)
    }

    /// `count` frames from `first` on are missing.
    pub fn add_hole(&mut self, first: FrameNumber, count: u64, why: &str) {
        self.holes.add(first, first + count.saturating_sub(1), count, why);
    }

    /// A frame that was taken for missing is there.
    pub fn fill_hole(&mut self, number: FrameNumber) {
        self.holes.fill(number);
    }

    /// Writes what is known so far: no more frames come for a while.
    pub fn suspend(mut self, store: &TakeStore) -> io::Result<()> {
        self.ensure_open(store)?;
        let folder = self.folder.as_mut().expect("opened above");
        folder.suspend(self.handled, self.holes.list())
    }

    /// Writes what can only be written when no more frames come. If that fails, call it again later.
    pub fn finish(&mut self, store: &TakeStore, dates: &KnownDates, now: Timestamp<Rig>) -> io::Result<()> {
        self.ensure_open(store)?;
        let folder = self.folder.as_mut().expect("opened above");
        // It may have been said while the take was under way.
        if let Some(date) =
            dates.of(self.order.timescale()).filter(|date| folder.take().date.as_ref() != Some(date))
        {
            folder.describe(|take| take.date = Some(date))?;
        }
        folder.finish(self.handled, self.holes.list(), now)
    }
}
