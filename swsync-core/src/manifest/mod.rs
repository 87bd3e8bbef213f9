//! A take on disk: what stands in the files beside the pictures and the video. Pure: values in, text and
//! bytes out.
//!
//! Each device keeps one folder per order, and in it
//!
//! | file | what | made by |
//! | --- | --- | --- |
//! | [`FRAMES_JSONL`] | the manifest: one [`FrameRecord`] per saved frame, a line of JSON each | [`FrameRecord::to_line`] |
//! | [`FRAMES_CSV`] | the same, for spreadsheets | [`csv::header`], [`csv::line`] |
//! | `*.pts` | when each picture of a file is shown, from the file's first: timecode format v2 | [`pts`] |
//! | [`TAKE_JSON`] | who took what, with what, and what is missing | [`Take`] |
//!
//! Beside that, [`exif`] writes a frame's time into a JPEG itself. docs/takes.md tells users of it.

pub mod csv;
pub mod exif;
mod holes;
mod missing;
mod order_index;
mod path;
pub mod pts;
mod record;
mod take;
mod utc;

pub use holes::{Hole, Holes};
pub use missing::{DeviceFrames, MissingFrames, missing_frames};
pub use order_index::{NumberSet, OrderIndex};
pub use path::{PathError, check_path};
pub use record::FrameRecord;
pub use take::{PipelineSettings, RemovedFrames, SCHEMA, Take, TakeError, TakeSegment};
pub use utc::utc;

/// The manifest's name in a device's folder of an order.
pub const FRAMES_JSONL: &str = "frames.jsonl";

/// Name of the manifest's copy for spreadsheets.
pub const FRAMES_CSV: &str = "frames.csv";

/// Name of the timecode file of an order's pictures; a video has its own, named as the video.
pub const FRAMES_PTS: &str = "frames.pts";

/// Name of the file that describes the take.
pub const TAKE_JSON: &str = "take.json";

#[cfg(test)]
mod testing;
