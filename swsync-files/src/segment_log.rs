//! The log beside an unfinished video file: which pictures are in it, so that a crash loses only its end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use swsync_core::frame::FrameInfo;
use swsync_core::grid::FrameNumber;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::time::{Rig, Timestamp};

use crate::line_file::{LineFile, read_lines};
use crate::storage::{Durability, Storage, final_of, folder_of};

/// Room on the disk that is reserved for later lines, in bytes: more than a second of pictures.
const LOG_ROOM: u64 = 32 << 10;

/// A picture that was handed to the muxer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MuxedPicture {
    /// Its time.
    pub rig_time_ns: Timestamp<Rig>,
    /// Its size as it came from the encoder.
    pub bytes: u64,
    /// Its frame; `None`: the order does not name it, but decoding a named picture needs it.
    pub info: Option<FrameInfo>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum LogLine {
    /// A picture was handed to the muxer.
    Picture(Box<MuxedPicture>),
    /// This many bytes of the video are on the disk. After a power cut the bytes behind them may be anything, even zeros in a
    /// file that looks whole. With [`Durability::Fast`] it is written at the end only.
    Flushed { flushed: u64 },
    /// The order and the device of the video: the first line.
    Owner(LogOwner),
}

/// The order and the device of a video.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogOwner {
    pub order: OrderId,
    pub device: DeviceId,
}

impl LogLine {
    pub(crate) fn to_text(&self) -> String {
        let mut line = serde_json::to_string(self)
            .expect("a line is a plain struct with string keys, which JSON can hold");
        line.push('\n');
        line
    }
}

/// The log while its video is written. The video goes on if the log cannot be written, and each append tries again.
#[derive(Debug)]
pub(crate) struct SegmentLog {
    pub path: PathBuf,
    pub file: Option<LineFile>,
    /// The first lines.
    pub begin: String,
    /// Number of pictures in it.
    pub pictures: usize,
}

impl SegmentLog {
    pub(crate) fn append(
        &mut self,
        storage: &Arc<dyn Storage>,
        durability: Durability,
        lines: &str,
    ) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.append(lines)?;
            file.reserve(LOG_ROOM);
            return Ok(());
        }
        let mut file = LineFile::open(storage, &self.path, durability)?;
        file.truncate(0)?; // lines of an earlier attempt
        file.append(&format!("{}{lines}", self.begin))?;
        file.reserve(LOG_ROOM);
        self.file = Some(file);
        Ok(())
    }
}

/// The log of the video file `path`.
pub(crate) fn log_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    folder_of(path).join(format!(".{name}.frames.part"))
}

/// The video file of the log `log`; `None`: it is no log.
pub(crate) fn video_of(log: &Path) -> Option<PathBuf> {
    let named = final_of(log)?;
    (named.extension()? == "frames").then(|| named.with_extension(""))
}

/// What a crash left of a log.
#[derive(Debug, Default)]
pub(crate) struct LogContent {
    pub owner: Option<LogOwner>,
    pub pictures: Vec<MuxedPicture>,
    /// How many bytes of the video were on the disk.
    pub flushed: Option<u64>,
}

impl LogContent {
    /// Numbers of the pictures that the order names.
    pub(crate) fn named(&self) -> impl Iterator<Item = FrameNumber> {
        self.pictures.iter().filter_map(|picture| Some(picture.info?.number))
    }
}

/// Reads a log up to the first malformed line.
///
/// # Errors
/// The error of the system.
pub(crate) fn read_log(storage: &dyn Storage, log: &Path) -> io::Result<LogContent> {
    let (mut content, mut whole) = (LogContent::default(), true);
    read_lines(storage, log, |line| match serde_json::from_str(line) {
        Ok(LogLine::Picture(picture)) if whole => content.pictures.push(*picture),
        Ok(LogLine::Flushed { flushed }) if whole => content.flushed = Some(flushed),
        Ok(LogLine::Owner(owner)) if whole => content.owner = Some(owner),
        _ => whole = false,
    })?;
    Ok(content)
}
