//! The sink's output: frames that the order queue wants saved become files.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use swsync_core::camera_settings::SettingsLog;
use swsync_core::grid::FrameNumber;
use swsync_core::log;
use swsync_core::name::OrderId;
use swsync_core::order::{FrameOutcome, FrameRun, Journal, JournalRecord, NamedFrames, Order};
use swsync_core::time::Timestamp;
use swsync_files::{
    CameraSettingsFile, FileId, JournalFile, NotSaved, Removal, RetryResult, SavedFile, TakeStore,
};
use swsync_time::wall_clock;

use super::free_space::FreeSpace;
use super::muxer::Container;
use super::open_take::{OpenTake, TakeSource};
use super::picture_batch::{PendingPicture, PictureBatch, disk_bytes, file_message};
use super::video_file::{Outcomes, UnclosedFile, VideoEnd, VideoFile, closed_message, outcomes};
use crate::order_service::{FrameToSave, OrderOutput, OrderService};

/// How often a video in progress is flushed to the disk.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// How often free space is read, and closing files is tried again.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// What the element's properties say about files.
#[derive(Debug, Clone, Default)]
pub struct WriterOptions {
    pub muxer_factory: Option<String>,
    pub muxer_properties: Option<gst::Structure>,
    pub post_messages: bool,
    /// Bytes that are kept free on the disk; `None`: a share of it.
    pub keep_free: Option<u64>,
}

impl WriterOptions {
    /// The container for frames of `caps` in files of `store`, and the extension.
    pub fn container(
        &self,
        caps: &gst::CapsRef,
        extension: Option<&str>,
    ) -> Result<(Container, String), String> {
        Container::choose(caps, extension, self.muxer_factory.as_deref(), self.muxer_properties.as_ref())
    }
}

/// Writes pictures, videos and their side files. It lives on the writer's thread (`writer_thread.rs`).
pub struct Writer {
    store: TakeStore,
    options: WriterOptions,
    journal: JournalFile,
    takes: HashMap<OrderId, OpenTake>,
    /// Takes of answered orders, some of whose files could not be closed yet.
    unfinished: HashMap<OrderId, OpenTake>,
    free_space: FreeSpace,
    batch: Option<PictureBatch>,
    source: TakeSource,
    checked: Option<Instant>,
    /// What is wrong, for the device's status.
    problem: Option<String>,
    /// The same, of camera settings.
    settings_problem: Option<String>,
}

impl Writer {
    /// A writer, and what was open before a restart.
    ///
    /// # Errors
    /// What the system said of the journal.
    pub fn open(store: TakeStore, options: WriterOptions, source: TakeSource) -> io::Result<(Self, Journal)> {
        let TakeStore { storage, location, device, durability, .. } = &store;
        let (file, journal) = JournalFile::open(storage, location, device, *durability)?;
        let this = Self {
            free_space: FreeSpace::new(options.keep_free),
            store,
            options,
            journal: file,
            takes: HashMap::new(),
            unfinished: HashMap::new(),
            batch: None,
            source,
            checked: None,
            problem: None,
            settings_problem: None,
        };
        Ok((this, journal))
    }

    /// The frame is not saved.
    fn fail(&mut self, service: &OrderService, save: &FrameToSave, why: String) {
        log::warn!(order = %save.order, number = save.number, %why, "a frame is not saved");
        self.problem = Some(why.clone());
        if save.is_named() {
            if let Some(take) = self.takes.get_mut(&save.order) {
                take.add_hole(save.number, 1, &why);
            }
            let outcome = FrameOutcome::Failed { why };
            service.handle_written(&save.order, save.number..=save.number, outcome);
        }
        service.handle_released(save.ticket);
    }

    fn save_picture(&mut self, service: &OrderService, save: FrameToSave, extension: String) {
        if !save.is_named() {
            service.handle_released(save.ticket); // no picture needs another to be decoded
            return;
        }
        let max_files = self.store.max_files;
        if self.batch.as_ref().is_some_and(|batch| !batch.has_room(&save.order, max_files)) {
            self.write_batch(service);
        }
        let batch = self.batch.get_or_insert_with(|| PictureBatch::new(save.order));
        batch.push(PendingPicture { ticket: save.ticket, frame: save.frame, extension });
    }

    /// Writes the pictures that wait.
    fn write_batch(&mut self, service: &OrderService) {
        let Some(batch) = self.batch.take() else { return };
        let order = batch.order().clone();
        let results = match self.takes.get_mut(&order) {
            Some(take) => batch.write(&self.store, take, &self.source),
            None => Vec::new(),
        };
        let pictures = batch.into_pictures();
        for (picture, result) in pictures.iter().zip(results) {
            if let Some(outcome) = self.picture_outcome(&order, picture, result) {
                let number = picture.frame.info.number;
                service.handle_written(&order, number..=number, outcome);
            }
        }
        let tickets: Vec<_> = pictures.iter().map(|picture| picture.ticket).collect();
        drop(pictures);
        tickets.into_iter().for_each(|ticket| service.handle_released(ticket));
        self.remove_surplus(service, &order);
    }

    /// What became of a picture; `None`: that is decided later.
    fn picture_outcome(
        &mut self,
        order: &OrderId,
        picture: &PendingPicture,
        result: Result<SavedFile, NotSaved>,
    ) -> Option<FrameOutcome> {
        let take = self.takes.get_mut(order)?;
        let info = picture.frame.info;
        match result {
            Ok(saved) => {
                self.problem = None;
                let path = saved.path.display().to_string();
                if self.options.post_messages {
                    self.source.element.post(file_message(order, picture, &path));
                }
                Some(FrameOutcome::Saved { file: path, bytes: saved.bytes, info })
            }
            Err(NotSaved { error, retry_as: late }) => {
                let (location, device) = (&self.store.location, &self.store.device);
                let path = location.path(order, device, FileId::Picture(info.number), &picture.extension);
                let why = format!("cannot write {}: {error}", path.display());
                log::warn!(%why, "a frame is not saved");
                self.problem = Some(why.clone());
                if let Some(key) = late {
                    let unclosed = UnclosedFile { numbers: vec![info.number], segment: None, why };
                    take.unclosed.insert(key, unclosed);
                    return None;
                }
                take.add_hole(info.number, 1, &why);
                Some(FrameOutcome::Failed { why })
            }
        }
    }

    fn save_in_video(
        &mut self,
        service: &OrderService,
        save: FrameToSave,
        container: Container,
        extension: &str,
    ) {
        let Some(take) = self.takes.get_mut(&save.order) else {
            service.handle_released(save.ticket);
            return;
        };
        let ends = take.video.as_mut().and_then(|video| {
            let is_next = video.index != save.segment;
            let ends = is_next || video.stream != save.frame.stream || video.is_full_before(&save.frame);
            // Within a segment, another file follows.
            ends.then_some(!is_next)
        });
        if let Some(is_early) = ends {
            self.finish_video(service, &save.order, is_early);
        }
        if let Err(why) = self.begin_video(&save, container, extension) {
            self.fail(service, &save, why);
            return;
        }
        let Some(take) = self.takes.get_mut(&save.order) else { return };
        let pushed = take.video.as_mut().map(|video| video.push(&save.frame, save.is_named()));
        service.handle_released(save.ticket);
        let is_broken = matches!(pushed, Some(Err(_)));
        if is_broken || take.video.as_ref().is_some_and(VideoFile::needs_key) {
            take.request_key_frame(&save.frame, &self.source);
        }
        if let Some(Err(why)) = pushed {
            log::warn!(order = %save.order, %why, "a video breaks off");
            take.broken = Some(why);
            self.finish_video(service, &save.order, false);
        }
    }

    /// Begins a video file with this frame, if none is being written for its order.
    fn begin_video(
        &mut self,
        save: &FrameToSave,
        container: Container,
        extension: &str,
    ) -> Result<(), String> {
        let Some(take) = self.takes.get_mut(&save.order).filter(|take| take.video.is_none()) else {
            return Ok(());
        };
        let is_key = !save.frame.buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let begun = match (is_key, &take.broken) {
            (true, _) => take
                .folder(&self.store, &save.frame.stream, &self.source)
                .map_err(|error| error.to_string())
                .and_then(|folder| VideoFile::begin(folder, &save.frame, save.segment, container, extension)),
            (false, Some(why)) => Err(format!("{why}; it goes on with the next key frame")),
            (false, None) => Err("there is no key frame that it could begin with".into()),
        };
        match begun {
            Ok(video) => {
                self.source.element.post(video.opened_message(&save.order));
                take.video = Some(video);
                take.broken = None;
                Ok(())
            }
            Err(why) => {
                take.broken.get_or_insert_with(|| why.clone());
                Err(why)
            }
        }
    }

    /// Closes the video file that is being written for `order`, if there is one, and reports its frames. `is_early`: another file of
    /// the same segment is to follow.
    fn finish_video(&mut self, service: &OrderService, order: &OrderId, is_early: bool) {
        let Some(take) = self.takes.get_mut(order) else { return };
        let Some(video) = take.video.take() else { return };
        let Some(folder) = &mut take.folder else { return };
        let end = match &take.broken {
            _ if is_early => VideoEnd::Early,
            Some(why) => VideoEnd::Broken(why),
            None => VideoEnd::Whole,
        };
        let finished = video.finish(folder, &take.named, end);
        if let Some((key, unclosed)) = finished.unclosed {
            log::warn!(%order, why = unclosed.why, "a video cannot be closed yet");
            self.problem = Some(unclosed.why.clone());
            take.unclosed.insert(key, unclosed);
        }
        self.problem = report(service, take, finished.outcomes).or(self.problem.take());
        if finished.is_clean {
            self.problem = None;
        }
        if let Some(message) = finished.message {
            self.source.element.post(message);
        }
        self.remove_surplus(service, order);
    }

    /// Tries again to close files of `order`; `is_last`: nothing more comes for it.
    fn close_files(&mut self, service: &OrderService, order: &OrderId, is_last: bool) {
        let Some(take) = self.takes.get_mut(order).or_else(|| self.unfinished.get_mut(order)) else { return };
        let Some(folder) = &mut take.folder else { return };
        for (key, settled) in folder.retry(is_last) {
            let unclosed = take.unclosed.remove(&key);
            let Some(folder) = &take.folder else { continue };
            let outcomes = match (settled, unclosed) {
                (RetryResult::Picture(record), _) => {
                    let file = folder.path_of(&record.file).display().to_string();
                    let number = record.info.number;
                    let outcome = FrameOutcome::Saved { file, bytes: record.bytes, info: record.info };
                    vec![(number..=number, outcome)]
                }
                (RetryResult::Video(saved), unclosed) => {
                    let unclosed = unclosed.unwrap_or_else(|| UnclosedFile {
                        numbers: saved.frames.iter().map(|record| record.info.number).collect(),
                        segment: None,
                        why: String::new(),
                    });
                    let index = unclosed.segment.unwrap_or(0);
                    self.source.element.post(closed_message(order, index, &saved));
                    outcomes(&unclosed.numbers, &saved, &unclosed.why)
                }
                (RetryResult::Lost(error), Some(UnclosedFile { numbers, why, .. })) => {
                    failed(&numbers, &format!("{why}; {error}"))
                }
                (RetryResult::Lost(error), None) => {
                    log::warn!(path = %key.display(), %error, "a video from before the restart is lost");
                    Vec::new()
                }
            };
            log::info!(%order, path = %key.display(), "a file could not be closed before, and now is");
            let saved =
                outcomes.iter().filter(|(_, outcome)| !matches!(outcome, FrameOutcome::Failed { .. }));
            // A video from before a restart: its frames counted as missing when the order was taken up again.
            saved.flat_map(|(frames, _)| frames.clone()).for_each(|number| take.fill_hole(number));
            report(service, take, outcomes);
        }
        self.remove_surplus(service, order);
    }

    /// Tries again to close all files that could not be closed.
    fn close_all_files(&mut self, service: &OrderService) {
        let open: Vec<_> = self.takes.keys().cloned().collect();
        open.iter().for_each(|order| self.close_files(service, order, false));
        let unfinished: Vec<_> = self.unfinished.keys().cloned().collect();
        for order in unfinished {
            self.close_files(service, &order, true);
            let now = service.rig_now().unwrap_or(Timestamp::ZERO);
            let Some(take) = self.unfinished.get_mut(&order) else { continue };
            match take.finish(&self.store, &self.source.dates, now) {
                Err(error) => self.problem = Some(unfinished_problem(&order, &error)),
                Ok(()) => {
                    log::info!(%order, "all of its files are closed now");
                    self.problem = None;
                    let answered = self.unfinished.remove(&order).and_then(|take| take.answered);
                    answered.iter().for_each(|record| self.write_journal(record));
                }
            }
        }
    }

    fn write_journal(&mut self, record: &JournalRecord) {
        if let Err(error) = self.journal.append(record, wall_clock()) {
            // The order is served all the same; only a crash before the answer would lose it.
            log::warn!(%error, "the journal cannot be written");
            self.problem = Some(format!("the journal cannot be written: {error}"));
        }
    }

    /// Removes the oldest files of `order`, if there are more than are kept.
    fn remove_surplus(&mut self, service: &OrderService, order: &OrderId) {
        match self.takes.get_mut(order).map_or(Ok(None), OpenTake::remove_surplus) {
            Ok(None) => {}
            Ok(Some(Removal { frames, bytes, before, why })) => {
                log::debug!(%order, before, why, "files are removed");
                service.handle_removed(order, before, (frames.count(), bytes), &why);
            }
            Err(error) => {
                log::warn!(%order, %error, "files beyond max-files cannot be removed");
                self.problem = Some(format!("order {order}: its oldest files cannot be removed: {error}"));
            }
        }
    }
}

fn unfinished_problem(order: &OrderId, error: &io::Error) -> String {
    format!("order {order}: not all of its files can be closed yet, which is tried again: {error}")
}

fn failed(numbers: &[FrameNumber], why: &str) -> Outcomes {
    numbers.iter().map(|number| (*number..=*number, FrameOutcome::Failed { why: why.to_owned() })).collect()
}

/// Reports what became of frames. Returns why some are not saved, if any.
fn report(service: &OrderService, take: &mut OpenTake, outcomes: Outcomes) -> Option<String> {
    let mut problem = None;
    for (frames, outcome) in outcomes {
        if let FrameOutcome::Failed { why } = &outcome {
            let named = take.named;
            frames.clone().filter(|number| named.contains(*number)).for_each(|n| take.add_hole(n, 1, why));
            problem = Some(why.clone());
        }
        service.handle_written(take.id(), frames, outcome);
    }
    problem
}

impl OrderOutput for Writer {
    fn note(&mut self, record: JournalRecord) {
        if let JournalRecord::Answered { answer } = &record
            && let Some(take) = self.unfinished.get_mut(&answer.order)
        {
            take.answered = Some(record);
        } else {
            self.write_journal(&record);
        }
    }

    fn keep_settings(&mut self, settings: &SettingsLog) {
        let TakeStore { storage, location, device, durability, .. } = &self.store;
        let file = CameraSettingsFile::new(storage, location, device, *durability);
        self.settings_problem = file.write(settings).err().map(|error| {
            format!("what the rig has set on its camera cannot be kept over a restart: {error}")
        });
        if let Some(problem) = &self.settings_problem {
            log::warn!("{problem}");
        }
    }

    fn begin(
        &mut self,
        _service: &OrderService,
        order: &Order,
        named: NamedFrames,
        _oldest: Option<FrameNumber>,
    ) {
        self.unfinished.remove(order.id()); // its files are opened again here
        let accepted = self.journal.accepted(order.id());
        let take = OpenTake::new(&self.store, order, named, accepted);
        self.takes.insert(order.id().clone(), take);
    }

    fn save(&mut self, service: &OrderService, save: FrameToSave) {
        if let Some(take) = self.takes.get_mut(&save.order).filter(|_| save.is_named()) {
            take.handled += 1;
        }
        let pending = self.takes.values().map(OpenTake::pending_bytes).sum::<u64>()
            + self.batch.as_ref().map_or(0, PictureBatch::disk_bytes);
        let bytes = disk_bytes(save.frame.buffer.size());
        if let Err(why) = self.free_space.take(&self.store.location, bytes, pending) {
            self.write_batch(service);
            if let Some(take) = self.takes.get_mut(&save.order) {
                take.broken.get_or_insert_with(|| why.clone());
            }
            self.finish_video(service, &save.order, true);
            self.fail(service, &save, why);
            return;
        }
        match self.options.container(&save.frame.stream.caps, self.store.location.extension()) {
            Ok((Container::Picture, extension)) => self.save_picture(service, save, extension),
            Ok((container, extension)) => {
                self.write_batch(service);
                self.save_in_video(service, save, container, &extension);
            }
            // Caps were checked when they came, but a plugin may be gone since.
            Err(why) => self.fail(service, &save, why),
        }
    }

    fn hole(&mut self, order: &OrderId, run: &FrameRun) {
        if let Some(take) = self.takes.get_mut(order) {
            take.add_run(run);
        }
    }

    fn close(&mut self, service: &OrderService, order: &OrderId) {
        self.write_batch(service);
        self.finish_video(service, order, false);
        self.close_files(service, order, true);
        if let Some(mut take) = self.takes.remove(order) {
            for UnclosedFile { numbers, why, .. } in take.unclosed.values() {
                for (frames, outcome) in failed(numbers, why) {
                    service.handle_written(order, frames, outcome);
                }
            }
            let now = service.rig_now().unwrap_or(Timestamp::ZERO);
            if let Err(error) = take.finish(&self.store, &self.source.dates, now) {
                log::warn!(%order, %error, "the side files of a take are not complete");
                self.problem = Some(unfinished_problem(order, &error));
                self.unfinished.insert(order.clone(), take);
            }
        }
        service.handle_closed(order);
    }

    /// Leaves the order's files whole, for the order to go on when the device is back.
    fn suspend(&mut self, service: &OrderService, order: &OrderId, named: NamedFrames) {
        self.write_batch(service);
        if let Some(take) = self.takes.get_mut(order) {
            take.named = named;
        }
        self.finish_video(service, order, true);
        if let Some(Err(error)) = self.takes.remove(order).map(|take| take.suspend(&self.store)) {
            log::warn!(%order, %error, "the side files of a take are not complete");
            self.problem = Some(format!("order {order}: cannot write beside its files: {error}"));
        }
        service.handle_closed(order);
    }

    fn idle(&mut self, service: &OrderService) {
        self.write_batch(service);
    }

    fn tick(&mut self, service: &OrderService) {
        for video in self.takes.values_mut().filter_map(|take| take.video.as_mut()) {
            if video.flushed.elapsed() >= FLUSH_INTERVAL {
                video.flush();
            }
        }
        if self.checked.is_none_or(|checked| checked.elapsed() >= CHECK_INTERVAL) {
            self.checked = Some(Instant::now());
            self.close_all_files(service);
            // A problem is reported as long as something is open, or the location cannot be written.
            let is_idle = self.takes.is_empty() && self.unfinished.is_empty();
            if self.problem.is_some() && is_idle && self.store.location.check().is_ok() {
                self.problem = None;
            }
            let free = self.store.location.space().ok().map(|(free, _)| free);
            let problem = self
                .problem
                .clone()
                .or_else(|| self.settings_problem.clone())
                .or_else(|| self.store.location.unwritable());
            service.set_storage(free, problem);
        }
    }
}
