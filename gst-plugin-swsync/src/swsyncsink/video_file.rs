//! A video file that is being written: the muxer, if it needs one, and the file.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use swsync_core::grid::FrameNumber;
use swsync_core::log;
use swsync_core::name::OrderId;
use swsync_core::order::{FrameOutcome, NamedFrames, RecordedFrames};
use swsync_files::{MuxedPicture, NotSaved, SavedVideo, SegmentFile, TakeFolder};

use super::muxer::{Container, Muxer};
use super::parameter_sets;
use crate::camera::mode::RemainingTransform;
use crate::order_service::{StoredFrame, Stream};

/// Bytes that are written in side files for each frame, at most: manifest, log, table and timecodes.
pub const SIDE_BYTES_PER_FRAME: u64 = 2048;

pub struct VideoFile {
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
    frame_bytes: u64,
    limit: SizeLimit,
    pub flushed: Instant,
}

/// Pictures in one file, at most. About 300 B of memory are held for each until the file is closed, and muxers hold as much. Two
/// hours at 30 per second.
const MAX_PICTURES: usize = 216_000;

/// Decides when a file has to end: no larger one is possible, or it has enough pictures.
#[derive(Debug, Default)]
struct SizeLimit {
    /// The most bytes that the file can have.
    max: Option<u64>,
    /// Bytes before the last key frame, and the most from one key frame to the next.
    key_at: u64,
    longest: u64,
}

impl SizeLimit {
    /// The rest is for what the muxer adds, and for encoders that make a key frame only when asked to.
    fn soft(max: u64) -> u64 {
        max / 4 * 3
    }

    /// Whether the file has to end before a key frame that comes after `bytes` of frames.
    fn is_reached(&mut self, bytes: u64, pictures: usize) -> bool {
        self.longest = self.longest.max(bytes - self.key_at);
        self.key_at = bytes;
        // Another group of pictures as long as the longest so far has to fit.
        let is_large = |max| bytes >= Self::soft(max) || bytes + self.longest / 4 * 5 >= max / 20 * 19;
        pictures >= MAX_PICTURES || self.max.is_some_and(is_large)
    }

    /// Whether a key frame has to be requested, to go on in another file.
    fn is_near(&self, bytes: u64, pictures: usize) -> bool {
        pictures >= MAX_PICTURES || self.max.is_some_and(|max| bytes >= Self::soft(max))
    }
}

/// Frames of a file that could not be closed yet, and why.
#[derive(Debug)]
pub struct UnclosedFile {
    pub numbers: Vec<FrameNumber>,
    /// The segment of a video.
    pub segment: Option<u64>,
    pub why: String,
}

/// Runs of frames, and the outcome of each.
pub type Outcomes = Vec<(RangeInclusive<FrameNumber>, FrameOutcome)>;

/// A video file that was closed, or tried to.
pub struct FinishedVideo {
    pub outcomes: Outcomes,
    /// Whether all of its frames are there.
    pub is_clean: bool,
    /// To be posted.
    pub message: Option<gst::Structure>,
    /// If the file could not be closed yet: its key in the folder, and its frames.
    pub unclosed: Option<(PathBuf, UnclosedFile)>,
}

/// Why a video file ends.
#[derive(Debug, Clone, Copy)]
pub enum VideoEnd<'a> {
    /// Its segment is complete.
    Whole,
    /// Another file of the same segment follows.
    Early,
    /// Something went wrong.
    Broken(&'a str),
}

impl VideoFile {
    /// Begins a file whose first frame is `first`.
    pub fn begin(
        folder: &mut TakeFolder,
        first: &StoredFrame,
        index: u64,
        container: Container,
        extension: &str,
    ) -> Result<Self, String> {
        let name = u32::try_from(index).map_err(|_| "a take cannot have so many files")?;
        let map = first.buffer.map_readable().map_err(|error| error.to_string())?;
        parameter_sets::check(&first.stream.caps, &map)?;
        drop(map);
        let muxer = match container {
            Container::Muxer { factory, properties } => Some({
                let left = folder.take().orientation.and_then(RemainingTransform::of_exif);
                Muxer::begin(&factory, properties.as_ref(), first, left)?
            }),
            Container::Elementary | Container::Picture => None,
        };
        let file = folder
            .begin_segment(name, first.info.number, extension)
            .map_err(|error| format!("cannot begin a video file: {error}"))?;
        let limit = SizeLimit { max: file.max_bytes(), ..SizeLimit::default() };
        let period = first.stream.grid.period().as_nanos().unsigned_abs();
        Ok(Self {
            index,
            stream: Arc::clone(&first.stream),
            muxer,
            file,
            position: 0,
            duration: gst::ClockTime::from_nseconds(period),
            numbers: Vec::new(),
            frame_bytes: 0,
            limit,
            flushed: Instant::now(),
        })
    }

    /// Whether `next` has to begin another file.
    pub fn is_full_before(&mut self, next: &StoredFrame) -> bool {
        let is_key = !next.buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        is_key && self.frame_bytes > 0 && self.limit.is_reached(self.frame_bytes, self.numbers.len())
    }

    /// Whether a key frame has to be requested, to go on in another file.
    pub fn needs_key(&self) -> bool {
        self.limit.is_near(self.frame_bytes, self.numbers.len())
    }

    /// Bytes that are still to be written of frames in it, side files included.
    pub fn pending_bytes(&self) -> u64 {
        self.frame_bytes.saturating_sub(self.file.length()) + SIDE_BYTES_PER_FRAME * self.numbers.len() as u64
    }

    /// Adds a frame. After an error, finish the file.
    pub fn push(&mut self, frame: &StoredFrame, is_named: bool) -> Result<(), String> {
        let bytes = frame.buffer.size() as u64;
        self.frame_bytes += bytes;
        let info = is_named.then_some(frame.info);
        if is_named {
            self.numbers.push(frame.info.number);
        }
        self.file.note(MuxedPicture { rig_time_ns: frame.info.rig_time_ns, bytes, info });
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

    /// Flushes the file to the disk, so that a power cut does not take it.
    pub fn flush(&mut self) {
        self.flushed = Instant::now();
        if let Err(error) = self.file.sync() {
            // The next frame will fail with it.
            log::warn!(path = %self.file.path().display(), %error, "cannot flush a video");
        }
    }

    /// Closes the file.
    pub fn finish(
        mut self,
        folder: &mut TakeFolder,
        named: &NamedFrames,
        end: VideoEnd<'_>,
    ) -> FinishedVideo {
        let path = self.file.path().display().to_string();
        let ended = match (self.muxer.take(), end) {
            (Some(muxer), VideoEnd::Whole | VideoEnd::Early) => {
                muxer.finish(&mut self.file).map_err(|why| format!("cannot finish {path}: {why}"))
            }
            // What the muxer has not written by now is lost.
            (_, VideoEnd::Broken(why)) => Err(why.to_owned()),
            (None, VideoEnd::Whole | VideoEnd::Early) => Ok(()),
        };
        self.numbers.sort_unstable();
        let (Some(&first), Some(&last)) = (self.numbers.first(), self.numbers.last()) else {
            self.file.discard(); // nothing but a lead-in
            return FinishedVideo { outcomes: Vec::new(), is_clean: true, message: None, unclosed: None };
        };
        if ended.is_err() {
            self.file.break_off();
        }
        let is_whole = ended.is_ok() && matches!(end, VideoEnd::Whole);
        let covers = covers(named, folder, first, last, is_whole);
        match folder.finish_segment(self.file, Some(covers)) {
            Ok(saved) => {
                let lost =
                    ended.err().or_else(|| Some(format!("cannot write {path}: {}", saved.lost.as_ref()?)));
                let why = lost.clone().unwrap_or_else(|| format!("{path} does not hold it"));
                FinishedVideo {
                    outcomes: outcomes(&self.numbers, &saved, &why),
                    is_clean: lost.is_none(),
                    message: Some(closed_message(folder.order(), self.index, &saved)),
                    unclosed: None,
                }
            }
            Err(NotSaved { error, retry_as: late }) => {
                let why = ended.err().unwrap_or_else(|| format!("cannot write {path}: {error}"));
                let (outcomes, unclosed) = match late {
                    None => (vec![(first..=last, FrameOutcome::Failed { why })], None),
                    Some(key) => {
                        let why =
                            format!("{why}; what is recorded is kept, and closed once that is possible");
                        let unclosed = UnclosedFile { numbers: self.numbers, segment: Some(self.index), why };
                        (Vec::new(), Some((key, unclosed)))
                    }
                };
                FinishedVideo { outcomes, is_clean: false, message: None, unclosed }
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

/// The frame numbers that a file with frames `first` to `last` covers, the first and how many: of a take the whole
/// segment, unless the file broke off; of stills the one in it.
fn covers(
    named: &NamedFrames,
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
    // Frames between stills are in no file.
    let begin = named.next_from(begin.max(before)).map_or(first, |begin| begin.min(first));
    let end = named.next_cut(first).or(named.end()).filter(|end| is_whole && *end > last);
    (begin, named.count_in(begin..end.unwrap_or(last + 1)))
}

/// The outcomes of the frames `numbers` of a file, by runs; `why` those that are not in it failed.
pub fn outcomes(numbers: &[FrameNumber], saved: &SavedVideo, why: &str) -> Outcomes {
    let file = saved.file.path.display().to_string();
    let mut records = saved.frames.iter().peekable();
    let mut outcomes = Outcomes::new();
    for number in numbers {
        let record = records.next_if(|record| record.info.number == *number);
        let outcome = match record {
            Some(record) => {
                let recorded = RecordedFrames::frame(file.clone(), record.bytes, &record.info);
                FrameOutcome::Recorded(recorded)
            }
            None => FrameOutcome::Failed { why: why.to_owned() },
        };
        match (outcomes.last_mut(), outcome) {
            (Some((run, FrameOutcome::Recorded(all))), FrameOutcome::Recorded(one)) => {
                all.append(one);
                *run = *run.start()..=*number;
            }
            (Some((run, FrameOutcome::Failed { .. })), FrameOutcome::Failed { .. }) => {
                *run = *run.start()..=*number;
            }
            (_, outcome) => outcomes.push((*number..=*number, outcome)),
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_ends_before_it_has_too_many_bytes_or_pictures() {
        let mut free = SizeLimit::default();
        assert!(!free.is_reached(1, MAX_PICTURES - 1) && !free.is_near(1 << 60, MAX_PICTURES - 1));
        assert!(free.is_reached(2, MAX_PICTURES) && free.is_near(1, MAX_PICTURES));
        let mut small = SizeLimit { max: Some(1000), ..SizeLimit::default() };
        assert!(!small.is_reached(400, 1), "as much again fits");
        assert!(small.is_reached(800, 2) && small.is_near(800, 2) && !small.is_near(700, 2));
    }
}
