//! Video files, through GStreamer: [`FrameReader`] reads a file as coded frames or as pictures, [`Mp4Writer`] writes one.

mod frame_reader;
mod mp4_writer;
mod pipeline;

pub use frame_reader::{FrameReader, PictureReader, VideoFrame, VideoIndex, decode};
pub use mp4_writer::Mp4Writer;
pub use pipeline::{decoder_remedy, fits_mp4};
