//! An encoded picture in these tests.

use crate::coded::Coding;

/// A frame as it comes out of the encoder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picture {
    /// How often the device was restarted before.
    pub run: usize,
    /// Its place among the frames that came out since the encoder was started.
    pub place: u64,
    pub coding: Coding,
    /// Place of the last key frame.
    pub key: u64,
    /// How many leading frames come right before this one.
    pub leading: u64,
}
