//! The files of a take beside pictures and video: their text and bytes, without any I/O.
//!
//! Each device keeps one folder per order, with
//!
//! | file | what | made by |
//! | --- | --- | --- |
//! | [`FRAMES_JSONL`] | the manifest: one [`FrameRecord`] per saved frame, a line of JSON each | [`FrameRecord::to_line`] |
//! | [`FRAMES_CSV`] | the same for spreadsheets | [`csv::header`], [`csv::line`] |
//! | `*.pts` | when each picture of a file is shown, in timecode format v2 | [`pts`] |
//! | [`TAKE_JSON`] | order, device, settings, video files and missing frames | [`Take`] |
//! | [`NOTE_JSON`] | a person's note, if there is one | [`TakeNote`](crate::share::TakeNote) |
//!
//! In addition [`exif`] writes a frame's time into a JPEG. docs/takes.md documents the files for users.

pub mod csv;
pub mod exif;
mod holes;
mod missing;
mod number_set;
mod order_index;
mod path;
pub mod pts;
mod record;
mod take;
mod utc;

pub use holes::{Hole, Holes};
pub use missing::{DeviceFrames, MissingFrames, missing_frames};
pub use number_set::NumberSet;
pub use order_index::OrderIndex;
pub use path::{MAX_PATH, PathError, check_path};
pub use record::FrameRecord;
pub use take::{PipelineSettings, RemovedFrames, SCHEMA, Take, TakeError, TakeSegment};
pub use utc::utc;

/// Name of the manifest.
pub const FRAMES_JSONL: &str = "frames.jsonl";

/// Name of the copy of the manifest for spreadsheets.
pub const FRAMES_CSV: &str = "frames.csv";

/// Name of the timecode file of pictures. Each video has its own, named after the video.
pub const FRAMES_PTS: &str = "frames.pts";

/// Name of the file that describes the take.
pub const TAKE_JSON: &str = "take.json";

/// Name of the file with a person's note on the take: a [`TakeNote`](crate::share::TakeNote) in JSON.
pub const NOTE_JSON: &str = "note.json";

#[cfg(test)]
mod testing;
