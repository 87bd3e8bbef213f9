//! The sink's outlet: what the desk wants saved becomes files.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use swsync_core::grid::FrameNumber;
use swsync_core::manifest::FrameRecord;
use swsync_core::name::OrderId;
use swsync_core::order::{Action, Fate, FrameRun, Journal, Named, Order, Recorded, Role, Ticket};
use swsync_core::time::{Span, Timestamp};
use swsync_rig::files::{JournalFile, Removal, Shelf, TakeFolder};

use super::muxer::Container;
use super::pictures::Waiting;
use super::take::{OpenTake, Origin, removed};
use super::video::Video;
use crate::station::{Held, OnDisk, Outlet, Station};

/// How often a video in progress is flushed to the disk.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// How often free space is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What the element's properties say of files.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub muxer_factory: Option<String>,
    pub muxer_properties: Option<gst::Structure>,
    pub post_messages: bool,
}

/// What the writer asks of its element.
pub trait Owner: Send {
    /// Posts an element message.
    fn post(&self, structure: gst::Structure);
    /// Where frames come from.
    fn origin(&self) -> Origin;
}

/// Writes pictures, videos and what stands beside them. On a thread of its own.
pub struct Writer {
    pub(super) shelf: Shelf,
    pub(super) options: Options,
    journal: JournalFile,
    pub(super) takes: HashMap<OrderId, OpenTake>,
    /// Pictures of one order.
    pub(super) batch: Option<(OrderId, Vec<Waiting>)>,
    pub(super) owner: Box<dyn Owner>,
    looked: Option<Instant>,
    pub(super) problem: Option<String>,
}

impl Writer {
    /// A writer, and what was open before a restart.
    ///
    /// # Errors
    /// What the system said of the journal.
    pub fn open(shelf: Shelf, options: Options, owner: impl Owner + 'static) -> io::Result<(Self, Journal)> {
        let Shelf { storage, location, device, durability, .. } = &shelf;
        let (file, journal) = JournalFile::open(storage, location, device, *durability)?;
        let this = Self {
            shelf,
            options,
            journal: file,
            takes: HashMap::new(),
            batch: None,
            owner: Box::new(owner),
            looked: None,
            problem: None,
        };
        Ok((this, journal))
    }

    /// What became of frames of `order` that is open, by what is on the disk, after what a crash left unfinished is
    /// finished or removed.
    pub fn on_disk(shelf: &Shelf, order: &Order) -> Vec<FrameRun> {
        match TakeFolder::open(shelf.clone(), OpenTake::blank(shelf, order, None)) {
            Ok((folder, records)) => fates(&folder, &records, order),
            Err(error) => {
                tracing::warn!(order = %order.id(), %error, "what was saved before the restart cannot be read");
                Vec::new()
            }
        }
    }

    /// What is on the disk of an order that nothing else is remembered of.
    pub fn known_on_disk(shelf: &Shelf, order: &Order) -> OnDisk {
        let before = match TakeFolder::described(shelf, order.id()) {
            Ok(Some(before)) => before,
            Ok(None) => return OnDisk::Nothing,
            // Something is there, and whose it is cannot be told.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(order = %order.id(), %error, "the take of this name cannot be read");
                return OnDisk::Another;
            }
            // Nor can anything be written then, which the answer says.
            Err(error) => {
                tracing::warn!(order = %order.id(), %error, "it cannot be told whether there is a take of this name");
                return OnDisk::Nothing;
            }
        };
        let Ok(mut ordered) = serde_json::from_value::<Order>(before.ordered.clone()) else {
            return OnDisk::Another;
        };
        if !ordered.is_same(order) {
            return OnDisk::Another;
        }
        // A take that is done is over, whoever stopped it.
        if before.complete && ordered.ends_at(Span::ZERO).is_none() {
            ordered.stop_at(before.grid.instant(before.first.saturating_add(before.count)));
        }
        let frames = Self::on_disk(shelf, &ordered);
        OnDisk::Same(ordered, frames)
    }

    fn begin(&mut self, order: &Order, named: Named) {
        let take = OpenTake::new(&self.shelf, order, named);
        self.takes.insert(order.id().clone(), take);
    }

    fn save(&mut self, station: &Station, save: Save) {
        let container = {
            let Options { muxer_factory, muxer_properties, .. } = &self.options;
            let extension = self.shelf.location.extension();
            Container::choose(
                &save.frame.stream.caps,
                extension,
                muxer_factory.as_deref(),
                muxer_properties.as_ref(),
            )
        };
        match container {
            Ok((Container::Picture, extension)) => self.save_picture(station, save, extension),
            Ok((container, extension)) => {
                self.write_batch(station);
                self.save_in_video(station, save, container, &extension);
            }
            // Caps were checked when they came; but elements can be gone.
            Err(why) => self.fail(station, &save, why),
        }
    }

    fn fail(&mut self, station: &Station, save: &Save, why: String) {
        tracing::warn!(order = %save.order, number = save.number, %why, "a frame is not saved");
        self.problem = Some(why.clone());
        if save.role == Role::Named {
            if let Some(take) = self.takes.get_mut(&save.order) {
                take.add_hole(save.number, 1, &why);
            }
            station.handle_written(&save.order, save.number..=save.number, Fate::Failed { why });
        }
        station.handle_taken(save.ticket);
    }

    fn save_in_video(&mut self, station: &Station, save: Save, container: Container, extension: &str) {
        let Some(take) = self.takes.get_mut(&save.order) else {
            station.handle_taken(save.ticket);
            return;
        };
        if save.role == Role::Named {
            take.handled += 1;
        }
        let is_other = |video: &Video| video.index != save.segment || video.stream != save.frame.stream;
        if take.video.as_ref().is_some_and(is_other) {
            self.finish_video(station, &save.order);
        }
        let Some(take) = self.takes.get_mut(&save.order) else { return };
        if take.video.is_none() {
            let is_key = !save.frame.buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
            let begun = match (is_key, &take.broken) {
                (true, _) => take
                    .folder(&self.shelf, &save.frame.stream, &*self.owner)
                    .map_err(|error| error.to_string())
                    .and_then(|folder| Video::begin(folder, &save.frame, save.segment, container, extension)),
                (false, Some(why)) => Err(format!("{why}; it goes on with the next key frame")),
                (false, None) => Err("there is no key frame that it could begin with".into()),
            };
            match begun {
                Ok(video) => {
                    self.owner.post(video.opened_message(&save.order));
                    take.video = Some(video);
                    take.broken = None;
                }
                Err(why) => {
                    take.broken.get_or_insert_with(|| why.clone());
                    self.fail(station, &save, why);
                    return;
                }
            }
        }
        let pushed = take.video.as_mut().map(|video| video.push(&save.frame, save.role == Role::Named));
        station.handle_taken(save.ticket);
        if let Some(Err(why)) = pushed {
            tracing::warn!(order = %save.order, %why, "a video breaks off");
            take.broken = Some(why);
            self.finish_video(station, &save.order);
        }
    }

    /// Closes the video file that is being written for `order`, if there is one, and says what became of its frames.
    fn finish_video(&mut self, station: &Station, order: &OrderId) {
        let Some(take) = self.takes.get_mut(order) else { return };
        let Some(video) = take.video.take() else { return };
        let Some(folder) = &mut take.folder else { return };
        let named = take.named;
        let finished = video.finish(folder, &named, take.broken.as_deref());
        for (frames, fate) in &finished.fates {
            if let Fate::Failed { why } = fate {
                self.problem = Some(why.clone());
                for number in frames.clone().filter(|number| named.contains(*number)) {
                    take.add_hole(number, 1, why);
                }
            }
            station.handle_written(order, frames.clone(), fate.clone());
        }
        if finished.is_clean {
            self.problem = None;
        }
        if let Some(message) = finished.message {
            self.owner.post(message);
        }
        self.remove_surplus(station, order);
    }

    /// The oldest files of `order` go, where there are more than are kept.
    pub(super) fn remove_surplus(&mut self, station: &Station, order: &OrderId) {
        match self.takes.get_mut(order).map_or(Ok(None), OpenTake::remove_surplus) {
            Ok(None) => {}
            Ok(Some(Removal { frames, bytes, before, why })) => {
                tracing::debug!(%order, before, why, "files are removed");
                station.handle_removed(order, before, (frames.count(), bytes), &why);
            }
            Err(error) => {
                tracing::warn!(%order, %error, "more files are kept than are to be");
                self.problem = Some(format!("order {order}: its oldest files cannot be removed: {error}"));
            }
        }
    }

    /// The order goes on when the device is back: what is there is whole until then, and the rest is known to be to come.
    fn suspend(&mut self, station: &Station, order: &OrderId, named: Named) {
        self.write_batch(station);
        if let Some(take) = self.takes.get_mut(order) {
            take.named = named;
        }
        self.finish_video(station, order);
        if let Some(Err(error)) = self.takes.remove(order).map(|take| take.suspend(&self.shelf)) {
            tracing::warn!(%order, %error, "what stands beside the files is not all there");
            self.problem = Some(format!("order {order}: cannot write beside its files: {error}"));
        }
        station.handle_closed(order);
    }

    fn close(&mut self, station: &Station, order: &OrderId) {
        self.write_batch(station);
        self.finish_video(station, order);
        if let Some(take) = self.takes.remove(order) {
            let now = station.rig_now().unwrap_or(Timestamp::ZERO);
            if let Err(error) = take.finish(&self.shelf, now) {
                tracing::warn!(%order, %error, "what stands beside the files is not all there");
                self.problem = Some(format!("order {order}: cannot write beside its files: {error}"));
            }
        }
        station.handle_closed(order);
    }
}

/// What became of frames of `order`, by what its folder says: what is saved, what is known to be missing, and what is
/// gone again.
fn fates(folder: &TakeFolder, records: &[FrameRecord], order: &Order) -> Vec<FrameRun> {
    let take = folder.take();
    let named = order.unstopped().named(take.grid);
    let path = |file: &str| folder.path_of(file).display().to_string();
    let saved = records.iter().map(|record| {
        let (number, file) = (record.info.number, path(&record.file));
        let fate = match folder.is_video(&record.file) {
            true => Fate::Recorded(Recorded::frame(file, record.bytes, &record.info)),
            false => Fate::Saved { file, bytes: record.bytes, info: record.info },
        };
        FrameRun::one(number, fate)
    });
    let removed = removed(take, &named);
    let from = take.removed.as_ref().map_or(0, |removed| removed.before);
    let missing = take.holes.iter().filter(|hole| hole.first >= from).filter_map(|hole| {
        let numbers = hole.first..hole.first.saturating_add(hole.count);
        let (first, last) = (named.next_from(numbers.start)?, named.last_before(numbers.end)?);
        let fate = Fate::Missed { why: hole.why.clone() };
        Some(FrameRun { first, last, count: named.count_in(numbers), fate })
    });
    let missing: Vec<_> = missing.filter(|run| run.count > 0).collect();
    removed.into_iter().chain(missing).chain(saved).collect()
}

/// [`Action::Save`].
pub(super) struct Save {
    pub order: OrderId,
    pub ticket: Ticket,
    pub number: FrameNumber,
    pub segment: u64,
    pub role: Role,
    pub frame: Held,
}

impl Outlet for Writer {
    fn carry_out(&mut self, station: &Station, action: Action<Held>) {
        match action {
            Action::Journal(record) => {
                if let Err(error) = self.journal.append(&record) {
                    // The order is served all the same; only a crash before it is answered would lose it.
                    tracing::warn!(%error, "the journal cannot be written");
                    self.problem = Some(format!("the journal cannot be written: {error}"));
                }
            }
            Action::Begin { order, named } => {
                station.take_oldest_at_begin(order.id()); // of no use here
                self.begin(&order, named);
            }
            Action::Save { order, ticket, number, segment, role, payload } => {
                self.save(station, Save { order, ticket, number, segment, role, frame: payload });
            }
            Action::Hole { order, run } => {
                if let Some(take) = self.takes.get_mut(&order) {
                    take.add_run(&run);
                }
            }
            Action::Close { order } => self.close(station, &order),
            Action::Suspend { order, named } => self.suspend(station, &order, named),
            Action::RequestKey { .. } | Action::Answer(_) => unreachable!("the station does these"),
        }
    }

    fn rest(&mut self, station: &Station) {
        self.write_batch(station);
    }

    fn tick(&mut self, station: &Station) {
        for video in self.takes.values_mut().filter_map(|take| take.video.as_mut()) {
            if video.flushed.elapsed() >= FLUSH_EVERY {
                video.flush();
            }
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            self.looked = Some(Instant::now());
            let problem = self.problem.clone().or_else(|| self.shelf.location.unwritable());
            station.set_storage(self.shelf.location.free_bytes().ok(), problem);
        }
    }
}
