//! A video file that is being written: the muxer and the file.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use swsync_core::grid::FrameNumber;
use swsync_core::name::OrderId;
use swsync_core::order::{Fate, Named, Recorded};
use swsync_rig::files::{NotSaved, Noted, SavedVideo, SegmentFile, TakeFolder};

use super::muxer::{Container, Muxer};
use crate::camera::mode::LeftToReaders;
use crate::order_service::{Held, Stream};

/// Bytes that are written beside a video for each of its frames, at most: in manifest, log, table and timecodes.
pub const BESIDE: u64 = 2048;

/// A video file that is being written.
pub struct Video {
    /// The segment of the order that it belongs to.
    pub index: u64,
    pub stream: Arc<Stream>,
    /// `None`: frames are written as they are.
    muxer: Option<Muxer>,
    file: SegmentFile,
    position: u64,
    duration: gst::ClockTime,
    /// Frames in it that the order names.
    numbers: Vec<FrameNumber>,
    /// Bytes of all frames in it.
    fed: u64,
    limit: Limit,
    pub flushed: Instant,
}

/// Pictures in one file, at most: some 300 B are held in memory for each until it is closed, and muxers hold as much. Two
/// hours at 30 a second.
const MOST_PICTURES: usize = 216_000;

/// When a file is to be ended, since no larger one is possible, or wise.
#[derive(Debug, Default)]
struct Limit {
    /// The most bytes that it can have.
    max: Option<u64>,
    /// Bytes before the last key frame, and the most from one key frame to the next.
    key_at: u64,
    longest: u64,
}

impl Limit {
    /// What lies beyond is for the muxer's own, and for encoders that make a key frame only when asked to.
    fn soft(max: u64) -> u64 {
        max / 4 * 3
    }

    /// A key frame comes after so many bytes and pictures: whether the file is to be ended before it.
    fn is_reached(&mut self, fed: u64, pictures: usize) -> bool {
        self.longest = self.longest.max(fed - self.key_at);
        self.key_at = fed;
        // Another as long as the longest so far has to fit.
        let is_large = |max| fed >= Self::soft(max) || fed + self.longest / 4 * 5 >= max / 20 * 19;
        pictures >= MOST_PICTURES || self.max.is_some_and(is_large)
    }

    /// Whether a key frame is to be asked for.
    fn is_near(&self, fed: u64, pictures: usize) -> bool {
        pictures >= MOST_PICTURES || self.max.is_some_and(|max| fed >= Self::soft(max))
    }
}

/// Frames of a file that is to be closed yet, and why it is not.
#[derive(Debug)]
pub struct Unclosed {
    pub numbers: Vec<FrameNumber>,
    /// The segment of a video.
    pub segment: Option<u64>,
    pub why: String,
}

/// What became of a video file.
pub struct Finished {
    /// What became of frames.
    pub fates: Vec<(RangeInclusive<FrameNumber>, Fate)>,
    /// Whether all of them are there.
    pub is_clean: bool,
    /// To be posted.
    pub message: Option<gst::Structure>,
    /// What is not decided yet, and what the folder calls it.
    pub waiting: Option<(PathBuf, Unclosed)>,
}

/// Why a video file ends.
#[derive(Debug, Clone, Copy)]
pub enum End<'a> {
    /// What it was made for is in it.
    Whole,
    /// Another one goes on from here.
    Early,
    /// Something went wrong.
    Broken(&'a str),
}

impl Video {
    /// Begins a file whose first frame is `first`.
    pub fn begin(
        folder: &mut TakeFolder,
        first: &Held,
        index: u64,
        container: Container,
        extension: &str,
    ) -> Result<Self, String> {
        let name = u32::try_from(index).map_err(|_| "a take cannot have so many files")?;
        let map = first.buffer.map_readable().map_err(|error| error.to_string())?;
        super::parameter_sets::missing(&first.stream.caps, &map)?;
        drop(map);
        let muxer = match container {
            Container::Muxer { factory, properties } => Some({
                let left = folder.take().orientation.and_then(LeftToReaders::of_exif);
                Muxer::begin(&factory, properties.as_ref(), first, left)?
            }),
            Container::Elementary | Container::Picture => None,
        };
        let file = folder
            .begin_segment(name, first.info.number, extension)
            .map_err(|error| format!("cannot begin a video file: {error}"))?;
        let limit = Limit { max: file.max_bytes(), ..Limit::default() };
        let period = first.stream.grid.period().as_nanos().unsigned_abs();
        Ok(Self {
            index,
            stream: Arc::clone(&first.stream),
            muxer,
            file,
            position: 0,
            duration: gst::ClockTime::from_nseconds(period),
            numbers: Vec::new(),
            fed: 0,
            limit,
            flushed: Instant::now(),
        })
    }

    /// Whether `next` is to begin another file, since this one would grow larger than files can be.
    pub fn is_full_before(&mut self, next: &Held) -> bool {
        let is_key = !next.buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        is_key && self.fed > 0 && self.limit.is_reached(self.fed, self.numbers.len())
    }

    /// Whether it needs a key frame soon, to go on in another file.
    pub fn needs_key(&self) -> bool {
        self.limit.is_near(self.fed, self.numbers.len())
    }

    /// Bytes that are still to be written of it, and beside it.
    pub fn owed(&self) -> u64 {
        self.fed.saturating_sub(self.file.length()) + BESIDE * self.numbers.len() as u64
    }

    /// Adds a frame. On an error the file is to be finished.
    pub fn push(&mut self, frame: &Held, is_named: bool) -> Result<(), String> {
        let bytes = frame.buffer.size() as u64;
        self.fed += bytes;
        let info = is_named.then_some(frame.info);
        if is_named {
            self.numbers.push(frame.info.number);
        }
        self.file.note(Noted { rig_time_ns: frame.info.rig_time_ns, bytes, info });
        let result = match &mut self.muxer {
            Some(muxer) => muxer.push(frame, self.duration, &mut self.file),
            None => {
                let map = frame.buffer.map_readable().map_err(|error| error.to_string())?;
                let result = self.file.write_at(self.position, &map).map_err(|error| error.to_string());
                self.position += bytes;
                result
            }
        };
        result.map_err(|error| format!("cannot write {}: {error}", self.file.path().display()))
    }

    /// Has what is there survive a power cut.
    pub fn flush(&mut self) {
        self.flushed = Instant::now();
        if let Err(error) = self.file.sync() {
            // The next frame fails with it.
            tracing::warn!(path = %self.file.path().display(), %error, "cannot flush a video");
        }
    }

    /// Closes the file.
    pub fn finish(mut self, folder: &mut TakeFolder, named: &Named, end: End<'_>) -> Finished {
        let path = self.file.path().display().to_string();
        let ended = match (self.muxer.take(), end) {
            (Some(muxer), End::Whole | End::Early) => {
                muxer.finish(&mut self.file).map_err(|why| format!("cannot finish {path}: {why}"))
            }
            // What it has not written by now is lost.
            (_, End::Broken(why)) => Err(why.to_owned()),
            (None, End::Whole | End::Early) => Ok(()),
        };
        self.numbers.sort_unstable();
        let (Some(&first), Some(&last)) = (self.numbers.first(), self.numbers.last()) else {
            self.file.discard(); // nothing but a lead-in
            return Finished { fates: Vec::new(), is_clean: true, message: None, waiting: None };
        };
        if ended.is_err() {
            self.file.break_off();
        }
        let is_whole = ended.is_ok() && matches!(end, End::Whole);
        let covers = covers(named, folder, first, last, is_whole);
        match folder.finish_segment(self.file, Some(covers)) {
            Ok(saved) => {
                let lost =
                    ended.err().or_else(|| Some(format!("cannot write {path}: {}", saved.lost.as_ref()?)));
                let why = lost.clone().unwrap_or_else(|| format!("{path} does not hold it"));
                Finished {
                    fates: fates(&self.numbers, &saved, &why),
                    is_clean: lost.is_none(),
                    message: Some(closed_message(folder.order(), self.index, &saved)),
                    waiting: None,
                }
            }
            Err(NotSaved { error, late }) => {
                let why = ended.err().unwrap_or_else(|| format!("cannot write {path}: {error}"));
                let (fates, waiting) = match late {
                    None => (vec![(first..=last, Fate::Failed { why })], None),
                    Some(key) => {
                        let why =
                            format!("{why}; what is recorded is kept, and closed once that is possible");
                        let waiting = Unclosed { numbers: self.numbers, segment: Some(self.index), why };
                        (Vec::new(), Some((key, waiting)))
                    }
                };
                Finished { fates, is_clean: false, message: None, waiting }
            }
        }
    }

    /// `swsync-fragment-opened`.
    pub fn opened_message(&self, order: &OrderId) -> gst::Structure {
        gst::Structure::builder("swsync-fragment-opened")
            .field("location", self.file.path().display().to_string())
            .field("order", order.as_str())
            .field("fragment-id", u32::try_from(self.index).unwrap_or(u32::MAX))
            .build()
    }
}

/// `swsync-fragment-closed`.
pub fn closed_message(order: &OrderId, index: u64, saved: &SavedVideo) -> gst::Structure {
    let (first, last) = (saved.frames.first(), saved.frames.last());
    gst::Structure::builder("swsync-fragment-closed")
        .field("location", saved.file.path.display().to_string())
        .field("order", order.as_str())
        .field("fragment-id", u32::try_from(index).unwrap_or(u32::MAX))
        .field("bytes", saved.file.bytes)
        .field("frames", saved.frames.len() as u64)
        .field("first-frame", first.map_or(0, |record| record.info.number))
        .field("last-frame", last.map_or(0, |record| record.info.number))
        .build()
}

/// The frame numbers that a file with frames `first` to `last` stands for, the first and how many: of a take its
/// whole segment, unless it broke off; of stills the one that it shows.
fn covers(
    named: &Named,
    folder: &TakeFolder,
    first: FrameNumber,
    last: FrameNumber,
    is_whole: bool,
) -> (FrameNumber, u64) {
    let index = named.segment_of(first);
    let mut begin = first;
    while begin > named.first() && named.segment_of(begin - 1) == index {
        begin -= 1;
    }
    let before = folder.covered();
    // What lies between stills is in no file.
    let begin = named.next_from(begin.max(before)).map_or(first, |begin| begin.min(first));
    let end = named.next_cut(first).or(named.end()).filter(|end| is_whole && *end > last);
    (begin, named.count_in(begin..end.unwrap_or(last + 1)))
}

/// What became of the frames `numbers` of a file, by runs.
pub fn fates(
    numbers: &[FrameNumber],
    saved: &SavedVideo,
    why: &str,
) -> Vec<(RangeInclusive<FrameNumber>, Fate)> {
    let file = saved.file.path.display().to_string();
    let mut records = saved.frames.iter().peekable();
    let mut fates: Vec<(RangeInclusive<FrameNumber>, Fate)> = Vec::new();
    for number in numbers {
        let record = records.next_if(|record| record.info.number == *number);
        let fate = match record {
            Some(record) => Fate::Recorded(Recorded::frame(file.clone(), record.bytes, &record.info)),
            None => Fate::Failed { why: why.to_owned() },
        };
        match (fates.last_mut(), fate) {
            (Some((run, Fate::Recorded(all))), Fate::Recorded(one)) => {
                all.append(one);
                *run = *run.start()..=*number;
            }
            (Some((run, Fate::Failed { .. })), Fate::Failed { .. }) => *run = *run.start()..=*number,
            (_, fate) => fates.push((*number..=*number, fate)),
        }
    }
    fates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_ends_before_it_is_too_large_and_before_memory_is() {
        let mut free = Limit::default();
        assert!(!free.is_reached(1, MOST_PICTURES - 1) && !free.is_near(1 << 60, MOST_PICTURES - 1));
        assert!(free.is_reached(2, MOST_PICTURES) && free.is_near(1, MOST_PICTURES));
        let mut small = Limit { max: Some(1000), ..Limit::default() };
        assert!(!small.is_reached(400, 1), "as much again has room");
        assert!(small.is_reached(800, 2) && small.is_near(800, 2) && !small.is_near(700, 2));
    }
}
