//! The sink's outlet: what the desk wants saved becomes files.

use std::collections::HashMap;
use std::io;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use swsync_core::grid::FrameNumber;
use swsync_core::manifest::Take;
use swsync_core::name::OrderId;
use swsync_core::order::{
    Action, Fate, FrameRun, Journal, MAX_DETAILED, Named, Order, Record, Recorded, Role, Ticket,
};
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_rig::clock::wall_clock;
use swsync_rig::files::{JournalFile, Removal, Settled, Shelf, TakeFolder};

use super::muxer::Container;
use super::pictures::{Waiting, cost};
use super::free_space::Room;
use super::open_take::{OpenTake, Origin, removed};
use super::video_file::{End, Unclosed, Video, closed_message, fates};
use crate::order_service::{Held, OnDisk, Outlet, Station};

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
    /// Bytes that are kept free on the disk; `None`: a share of it.
    pub keep_free: Option<u64>,
}

/// What the writer asks of its element.
pub trait Owner: Send {
    /// Posts an element message.
    fn post(&self, structure: gst::Structure);
    /// Where frames come from.
    fn origin(&self) -> Origin;
    /// The encoder shall make a key frame of the frame at this instant, or of the next one.
    fn ask_for_key(&self, at: Timestamp<Rig>, period: Span);
}

/// Writes pictures, videos and what stands beside them. On a thread of its own.
pub struct Writer {
    pub(super) shelf: Shelf,
    pub(super) options: Options,
    journal: JournalFile,
    pub(super) takes: HashMap<OrderId, OpenTake>,
    /// Orders that are answered, and not all of whose files could be closed.
    unfinished: HashMap<OrderId, OpenTake>,
    room: Room,
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
        let room = Room::new(options.keep_free);
        let (file, journal) = JournalFile::open(storage, location, device, *durability)?;
        let this = Self {
            shelf,
            options,
            journal: file,
            takes: HashMap::new(),
            unfinished: HashMap::new(),
            room,
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
        let read = || -> io::Result<Vec<FrameRun>> {
            let folder = TakeFolder::open(shelf.clone(), OpenTake::blank(shelf, order, None))?;
            let take = folder.take();
            let named = order.unstopped().named(take.grid);
            let is_detailed = order.named(take.grid).count().is_some_and(|count| count <= MAX_DETAILED);
            let mut runs: Vec<_> = removed(take, &named).into_iter().collect();
            runs.extend(missing(take, &named));
            folder.saved(|record| {
                let file = folder.path_of(&record.file).display().to_string();
                let fate = match is_detailed && !folder.is_video(&record.file) {
                    true => Fate::Saved { file, bytes: record.bytes, info: record.info },
                    false => Fate::Recorded(Recorded::frame(file, record.bytes, &record.info)),
                };
                let run = FrameRun::one(record.info.number, fate);
                add_run(&mut runs, run, &named, shelf.max_files.is_some());
                Ok(())
            })?;
            Ok(runs)
        };
        read().unwrap_or_else(|error| {
            tracing::warn!(order = %order.id(), %error, "what was saved before the restart cannot be read");
            Vec::new()
        })
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
        self.unfinished.remove(order.id()); // it is opened anew
        let accepted = self.journal.accepted(order.id());
        let take = OpenTake::new(&self.shelf, order, named, accepted);
        self.takes.insert(order.id().clone(), take);
    }

    fn save(&mut self, station: &Station, save: Save) {
        if let Some(take) = self.takes.get_mut(&save.order).filter(|_| save.role == Role::Named) {
            take.handled += 1;
        }
        let batch = self.batch.iter().flat_map(|(_, batch)| batch).map(Waiting::cost).sum::<u64>();
        let owed = self.takes.values().map(OpenTake::owed).sum::<u64>() + batch;
        if let Err(why) = self.room.take(&self.shelf.location, cost(save.frame.buffer.size()), owed) {
            self.write_batch(station);
            if let Some(take) = self.takes.get_mut(&save.order) {
                take.broken.get_or_insert_with(|| why.clone());
            }
            self.finish_video(station, &save.order, true);
            self.fail(station, &save, why);
            return;
        }
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
        // Another file of the same segment goes on where this one ends.
        let ends = take.video.as_mut().and_then(|video| {
            let is_next = video.index != save.segment;
            let ends = is_next || video.stream != save.frame.stream || video.is_full_before(&save.frame);
            ends.then_some(!is_next)
        });
        if let Some(is_early) = ends {
            self.finish_video(station, &save.order, is_early);
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
        let is_broken = matches!(pushed, Some(Err(_)));
        if is_broken || take.video.as_ref().is_some_and(Video::needs_key) {
            take.ask_for_key(&save.frame, &*self.owner);
        }
        if let Some(Err(why)) = pushed {
            tracing::warn!(order = %save.order, %why, "a video breaks off");
            take.broken = Some(why);
            self.finish_video(station, &save.order, false);
        }
    }

    /// Closes the video file that is being written for `order`, if there is one, and says what became of its frames.
    /// `is_early`: another one is to go on from here.
    fn finish_video(&mut self, station: &Station, order: &OrderId, is_early: bool) {
        let Some(take) = self.takes.get_mut(order) else { return };
        let Some(video) = take.video.take() else { return };
        let Some(folder) = &mut take.folder else { return };
        let end = match &take.broken {
            _ if is_early => End::Early,
            Some(why) => End::Broken(why),
            None => End::Whole,
        };
        let finished = video.finish(folder, &take.named, end);
        if let Some((key, waiting)) = finished.waiting {
            tracing::warn!(%order, why = waiting.why, "a video cannot be closed yet");
            self.problem = Some(waiting.why.clone());
            take.waiting.insert(key, waiting);
        }
        self.problem = tell(station, take, finished.fates).or(self.problem.take());
        if finished.is_clean {
            self.problem = None;
        }
        if let Some(message) = finished.message {
            self.owner.post(message);
        }
        self.remove_surplus(station, order);
    }

    /// Goes on with what of `order` could not be closed; `is_last`: nothing more comes for it.
    fn retry(&mut self, station: &Station, order: &OrderId, is_last: bool) {
        let Some(take) = self.takes.get_mut(order).or_else(|| self.unfinished.get_mut(order)) else { return };
        let Some(folder) = &mut take.folder else { return };
        for (key, settled) in folder.retry(is_last) {
            let waiting = take.waiting.remove(&key);
            let Some(folder) = &take.folder else { continue };
            let fates = match (settled, waiting) {
                (Settled::Picture(record), _) => {
                    let file = folder.path_of(&record.file).display().to_string();
                    let number = record.info.number;
                    vec![(number..=number, Fate::Saved { file, bytes: record.bytes, info: record.info })]
                }
                (Settled::Video(saved), waiting) => {
                    let waiting = waiting.unwrap_or_else(|| Unclosed {
                        numbers: saved.frames.iter().map(|record| record.info.number).collect(),
                        segment: None,
                        why: String::new(),
                    });
                    self.owner.post(closed_message(order, waiting.segment.unwrap_or(0), &saved));
                    fates(&waiting.numbers, &saved, &waiting.why)
                }
                (Settled::Lost(error), Some(Unclosed { numbers, why, .. })) => {
                    let why = format!("{why}; {error}");
                    numbers.iter().map(|n| (*n..=*n, Fate::Failed { why: why.clone() })).collect()
                }
                (Settled::Lost(error), None) => {
                    tracing::warn!(path = %key.display(), %error, "a video of before the restart is lost");
                    Vec::new()
                }
            };
            tracing::info!(%order, path = %key.display(), "what could not be closed before is");
            let saved = fates.iter().filter(|(_, fate)| !matches!(fate, Fate::Failed { .. }));
            // A video of before a restart was not there when the order was taken up again.
            saved.flat_map(|(frames, _)| frames.clone()).for_each(|number| take.fill_hole(number));
            tell(station, take, fates);
        }
        self.remove_surplus(station, order);
    }

    /// Closes what could not be closed before, where that is possible now.
    fn retry_all(&mut self, station: &Station) {
        let open: Vec<_> = self.takes.keys().cloned().collect();
        open.iter().for_each(|order| self.retry(station, order, false));
        let unfinished: Vec<_> = self.unfinished.keys().cloned().collect();
        for order in unfinished {
            self.retry(station, &order, true);
            let now = station.rig_now().unwrap_or(Timestamp::ZERO);
            let Some(take) = self.unfinished.get_mut(&order) else { continue };
            match take.finish(&self.shelf, now) {
                Err(error) => self.problem = Some(unfinished_problem(&order, &error)),
                Ok(()) => {
                    tracing::info!(%order, "its files are closed at last");
                    self.problem = None;
                    let answered = self.unfinished.remove(&order).and_then(|take| take.answered);
                    answered.iter().for_each(|record| self.note(record));
                }
            }
        }
    }

    /// Notes a record in the journal.
    fn note(&mut self, record: &Record) {
        if let Err(error) = self.journal.append(record, wall_clock()) {
            // The order is served all the same; only a crash before it is answered would lose it.
            tracing::warn!(%error, "the journal cannot be written");
            self.problem = Some(format!("the journal cannot be written: {error}"));
        }
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
        self.finish_video(station, order, true);
        if let Some(Err(error)) = self.takes.remove(order).map(|take| take.suspend(&self.shelf)) {
            tracing::warn!(%order, %error, "what stands beside the files is not all there");
            self.problem = Some(format!("order {order}: cannot write beside its files: {error}"));
        }
        station.handle_closed(order);
    }

    fn close(&mut self, station: &Station, order: &OrderId) {
        self.write_batch(station);
        self.finish_video(station, order, false);
        self.retry(station, order, true);
        if let Some(mut take) = self.takes.remove(order) {
            for Unclosed { numbers, why, .. } in take.waiting.values() {
                let fate = |why: &String| Fate::Failed { why: why.clone() };
                numbers.iter().for_each(|n| station.handle_written(order, *n..=*n, fate(why)));
            }
            let now = station.rig_now().unwrap_or(Timestamp::ZERO);
            if let Err(error) = take.finish(&self.shelf, now) {
                tracing::warn!(%order, %error, "what stands beside the files is not all there");
                self.problem = Some(unfinished_problem(order, &error));
                self.unfinished.insert(order.clone(), take);
            }
        }
        station.handle_closed(order);
    }
}

/// What is known to be missing of a take, but for what was removed.
fn missing(take: &Take, named: &Named) -> Vec<FrameRun> {
    let from = take.removed.as_ref().map_or(0, |removed| removed.before);
    let runs = take.holes.iter().filter(|hole| hole.first >= from).filter_map(|hole| {
        let end = hole.last().saturating_add(1);
        let (first, last) = (named.next_from(hole.first)?, named.last_before(end)?);
        // Of holes that were summed up it is not known which frames are meant.
        let is_exact = named.count_in(hole.first..end) == hole.count;
        let fate = Fate::Missed { why: hole.why.clone() };
        is_exact.then_some(FrameRun { first, last, count: hole.count, fate })
    });
    runs.collect()
}

fn unfinished_problem(order: &OrderId, error: &io::Error) -> String {
    format!("order {order}: not all of its files can be closed yet, which is tried again: {error}")
}

/// Says what became of frames. Why they are not saved, if some are not.
fn tell(
    station: &Station,
    take: &mut OpenTake,
    fates: Vec<(RangeInclusive<FrameNumber>, Fate)>,
) -> Option<String> {
    let mut problem = None;
    for (frames, fate) in fates {
        if let Fate::Failed { why } = &fate {
            let named = take.named;
            frames.clone().filter(|number| named.contains(*number)).for_each(|n| take.add_hole(n, 1, why));
            problem = Some(why.clone());
        }
        station.handle_written(take.id(), frames, fate);
    }
    problem
}

/// Adds a frame to `runs`: to the last of them, where it follows that one. Frames of different files are to be `apart`, or
/// not.
fn add_run(runs: &mut Vec<FrameRun>, one: FrameRun, named: &Named, apart: bool) {
    if let (Some(last), Fate::Recorded(next)) = (runs.last_mut(), &one.fate)
        && last.last < one.first
        && named.count_in(last.last + 1..one.first) == 0
        && let Fate::Recorded(all) = &mut last.fate
        && (!apart || all.file == next.file)
    {
        all.append(next.clone());
        last.last = one.last;
        last.count += one.count;
    } else {
        runs.push(one);
    }
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
                if let Record::Answered { answer } = &record
                    && let Some(take) = self.unfinished.get_mut(&answer.order)
                {
                    take.answered = Some(record);
                } else {
                    self.note(&record);
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
            self.retry_all(station);
            // What failed is told for as long as something waits for it, or until it would not fail again.
            let is_idle = self.takes.is_empty() && self.unfinished.is_empty();
            if self.problem.is_some() && is_idle && self.shelf.location.check().is_ok() {
                self.problem = None;
            }
            let free = self.shelf.location.space().ok().map(|(free, _)| free);
            let problem = self.problem.clone().or_else(|| self.shelf.location.unwritable());
            station.set_storage(free, problem);
        }
    }
}
