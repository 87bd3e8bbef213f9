//! An order whose files are being written.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::manifest::{Holes, SCHEMA, Settings, Take};
use swsync_core::name::OrderId;
use swsync_core::order::{Fate, Fill, FrameRun, Kind, Named, Order, Record};
use swsync_core::time::{Realtime, Rig, Span, Timestamp};
use swsync_rig::files::{Removal, Shelf, TakeFolder};

use super::video_file::{Unclosed, Video};
use super::writer::Owner;
use crate::order_service::{Camera, Held, Stream};

/// Bytes that a frame takes in what is written at the end of its order, at most.
const TABLED: u64 = 512;

/// Where a take's frames come from.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    pub camera: Camera,
    pub settings: Settings,
}

/// An order whose files are being written.
pub struct OpenTake {
    order: Order,
    pub named: Named,
    accepted: Option<Timestamp<Realtime>>,
    /// Opened as soon as that can be done.
    pub folder: Option<TakeFolder>,
    holes: Holes,
    pub video: Option<Video>,
    /// Why the last video broke off, until there is another.
    pub broken: Option<String>,
    /// Named frames that were to be saved, or are holes.
    pub handled: u64,
    /// Files that are to be closed yet, by what the folder calls them.
    pub waiting: HashMap<PathBuf, Unclosed>,
    /// The answer, which is noted when the files are closed: until then the order is taken up again after a restart.
    pub answered: Option<Record>,
    /// The frame at which a key frame was last asked for.
    asked: Option<Timestamp<Rig>>,
}

impl OpenTake {
    /// `accepted`: when the device accepted the order.
    pub fn new(shelf: &Shelf, order: &Order, named: Named, accepted: Option<Timestamp<Realtime>>) -> Self {
        let mut this = Self {
            order: order.clone(),
            named,
            accepted,
            folder: None,
            holes: Holes::new(named),
            video: None,
            broken: None,
            handled: 0,
            waiting: HashMap::new(),
            answered: None,
            asked: None,
        };
        this.open(shelf).unwrap_or_else(|error| {
            tracing::warn!(order = %order.id(), %error, "its folder cannot be opened yet");
        });
        this
    }

    /// What `take.json` says before anything is known.
    pub fn blank(shelf: &Shelf, order: &Order, named: Option<&Named>) -> Take {
        let software = env!("CARGO_PKG_VERSION");
        Take {
            schema: SCHEMA,
            order: order.id().clone(),
            ordered: serde_json::to_value(order)
                .expect("an order is a plain struct with string keys, which JSON can hold"),
            device: shelf.device.clone(),
            host: swsync_rig::host_name(),
            software: software.into(),
            camera: None,
            orientation: None,
            maker: None,
            settings: Settings::default(),
            caps: String::new(),
            grid: named.map_or_else(any_grid, Named::grid),
            first: named.map_or(0, Named::first),
            count: named.and_then(Named::count).unwrap_or(0),
            segments: Vec::new(),
            holes: Vec::new(),
            lead_in: 0,
            removed: None,
            fill: fill_of(order),
            started_ns: Timestamp::ZERO,
            accepted_ns: None,
            finished_ns: None,
            complete: false,
        }
    }

    fn open(&mut self, shelf: &Shelf) -> io::Result<()> {
        let accepted_ns = self.accepted;
        let take = Take { accepted_ns, ..Self::blank(shelf, &self.order, Some(&self.named)) };
        let folder = TakeFolder::open(shelf.clone(), take)?;
        // Of before a restart: they are not handled again.
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
        if let Some(run) = removed(folder.take(), &self.named) {
            self.add_run(&run);
        }
        self.folder = Some(folder);
        Ok(())
    }

    pub const fn id(&self) -> &OrderId {
        self.order.id()
    }

    /// Bytes that are still to be written of what was recorded.
    pub fn owed(&self) -> u64 {
        self.video.as_ref().map_or(0, Video::owed) + TABLED * self.handled
    }

    /// Has the encoder make a key frame soon after `frame`, where it was not asked to within the last second.
    pub fn ask_for_key(&mut self, frame: &Held, owner: &dyn Owner) {
        let (at, period) = (frame.info.rig_time_ns, frame.stream.grid.period());
        if self.asked.is_none_or(|asked| at - asked >= Span::from_secs(1)) {
            self.asked = Some(at);
            owner.ask_for_key(at + period * 2, period);
        }
    }

    /// The oldest files go, where there are more than are kept.
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
        shelf: &Shelf,
        stream: &Stream,
        owner: &dyn Owner,
    ) -> io::Result<&mut TakeFolder> {
        if self.folder.is_none() {
            self.open(shelf)?;
        }
        let folder = self.folder.as_mut().expect("opened above");
        if folder.take().caps.is_empty() {
            let Origin { camera, settings } = owner.origin();
            let described = folder.describe(|take| {
                take.caps = stream.caps.to_string();
                take.orientation = camera.orientation.and_then(|left| left.exif());
                (take.maker, take.camera) = (camera.maker, camera.model);
                take.settings = settings;
                take.started_ns = stream.grid.instant(take.first);
            });
            if let Err(error) = described {
                tracing::warn!(order = %self.order.id(), %error, "take.json is behind");
            }
        }
        Ok(folder)
    }

    /// Frames that are not there, one after the other.
    pub fn add_hole(&mut self, first: FrameNumber, count: u64, why: &str) {
        self.holes.add(first, first + count.saturating_sub(1), count, why);
    }

    /// A frame that was thought not to be there is.
    pub fn fill_hole(&mut self, number: FrameNumber) {
        self.holes.fill(number);
    }

    /// Writes what is known so far: nothing more comes for a while.
    pub fn suspend(mut self, shelf: &Shelf) -> io::Result<()> {
        if self.folder.is_none() {
            self.open(shelf)?;
        }
        let folder = self.folder.as_mut().expect("opened above");
        folder.suspend(self.handled, self.holes.list())
    }

    /// Writes what can only be written when nothing more comes. Call again where that failed.
    pub fn finish(&mut self, shelf: &Shelf, now: Timestamp<Rig>) -> io::Result<()> {
        if self.folder.is_none() {
            self.open(shelf)?;
        }
        let folder = self.folder.as_mut().expect("opened above");
        folder.finish(self.handled, self.holes.list(), now)
    }
}

/// What of `take` was removed before a restart: all that is named before what stays, be it that some was never there.
pub fn removed(take: &Take, named: &Named) -> Option<FrameRun> {
    let removed = take.removed.as_ref()?;
    let count = named.count_in(named.first()..removed.before);
    let (first, last) = (named.next_from(0)?, named.last_before(removed.before)?);
    Some(FrameRun { first, last, count, fate: Fate::Missed { why: removed.why.clone() } })
}

/// Stands for the grid of an order that nothing is known of yet; what is on the disk says its own.
fn any_grid() -> FrameGrid {
    FrameGrid::new(1, 1).expect("one frame a second is a rate")
}

/// What the order wants to stand in for missing frames.
fn fill_of(order: &Order) -> Fill {
    match order.kind() {
        Kind::Take { fill, .. } => fill,
        Kind::Still { .. } | Kind::Burst { .. } => Fill::None,
    }
}
