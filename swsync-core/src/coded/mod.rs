//! Encoded video: which frames depend on which, read from the bytes of H.264, H.265 and AV1.
//!
//! GStreamer's buffer flags are not enough: they do not tell open groups of pictures from closed ones, and parsers mark too
//! many frames as key frames (h264parse marks every intra picture, seen with 1.26).

mod annex_b;
mod dependency;
mod format;
mod units;

pub use annex_b::NalCodec;
pub use dependency::{CodedFrame, DependencyTracker};
pub use format::StreamFormat;

/// Which other frames a frame depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// A key frame that closes what was before: neither it nor a later frame depends on earlier frames. Pictures that are
    /// not encoded as video are such frames too.
    Key,
    /// The key frame of an open group of pictures: [leading](Self::Leading) frames may follow it.
    OpenKey,
    /// It depends on frames since the last key frame.
    Delta,
    /// It follows a key frame, is shown before it, and depends on frames before it.
    Leading,
    /// A leading frame that depends on a frame that was lost.
    UndecodableLeading,
    /// It, or a frame that it may depend on, was lost. So are all frames up to the next key frame.
    Undecodable,
}

impl Coding {
    /// Whether it can be decoded without other frames.
    #[must_use]
    pub const fn is_key(self) -> bool {
        matches!(self, Self::Key | Self::OpenKey)
    }

    /// Whether no frame that is shown after the last key frame depends on it.
    #[must_use]
    pub const fn is_leading(self) -> bool {
        matches!(self, Self::Leading | Self::UndecodableLeading)
    }
}
