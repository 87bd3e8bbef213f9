//! Follows the frames of a stream, and says of each what it depends on.

use super::Coding;
use super::format::{FrameType, StreamFormat};

/// A frame of a stream, as GStreamer describes it.
#[derive(Debug, Clone, Copy)]
pub struct CodedFrame<'a> {
    /// Whether it is marked as a key frame: it lacks `GST_BUFFER_FLAG_DELTA_UNIT`.
    pub is_key: bool,
    /// Whether frames before it are missing: `GST_BUFFER_FLAG_DISCONT`.
    pub is_discont: bool,
    /// Whether it is damaged: `GST_BUFFER_FLAG_CORRUPTED`.
    pub is_corrupted: bool,
    /// When it is shown, in nanoseconds.
    pub pts: Option<u64>,
    /// Its bytes. Only used if [`StreamFormat::is_parsed`].
    pub bytes: Option<&'a [u8]>,
}

/// Follows a stream in coding order.
#[derive(Debug, Default)]
pub struct DependencyTracker {
    /// PTS of the last key frame, if frames that follow it may be shown before it.
    open_key_pts: Option<u64>,
    /// Whether a frame since the last key frame was lost.
    is_reference_lost: bool,
    /// Whether a frame right before the last key frame was lost.
    is_lost_before_key: bool,
    is_started: bool,
}

impl DependencyTracker {
    /// What the next frame depends on.
    pub fn coding(&mut self, format: StreamFormat, frame: &CodedFrame<'_>) -> Coding {
        let frame_type = frame.bytes.map_or(FrameType::Unknown, |bytes| format.frame_type(bytes));
        let coding = match (frame.is_key, frame_type) {
            (true, FrameType::ClosedKey) => Coding::Key,
            (true, FrameType::OpenKey) => Coding::OpenKey,
            (true, FrameType::Unknown) if format == StreamFormat::Unknown => Coding::OpenKey,
            (true, FrameType::Unknown) => Coding::Key,
            (_, FrameType::Leading) => Coding::Leading,
            (true, FrameType::Other) | (false, _) => Coding::Delta,
        };
        // The first frame is always marked.
        let is_after_loss = self.is_started && frame.is_discont;
        self.is_started = true;
        if coding.is_key() && !frame.is_corrupted {
            self.is_lost_before_key = is_after_loss || self.is_reference_lost;
            self.is_reference_lost = false;
            let is_open = coding == Coding::OpenKey;
            self.open_key_pts = frame.pts.filter(|_| is_open && format.tells_leading_by_pts());
            return coding;
        }
        let is_shown_before = |key| frame.pts.is_some_and(|pts| pts < key);
        let is_leading = coding == Coding::Leading || self.open_key_pts.is_some_and(is_shown_before);
        // Later frames may depend on any frame that was lost.
        self.is_reference_lost |= is_after_loss || frame.is_corrupted;
        match (self.is_reference_lost, is_leading, self.is_lost_before_key) {
            (true, ..) => Coding::Undecodable,
            (false, true, true) => Coding::UndecodableLeading,
            (false, true, false) => Coding::Leading,
            (false, false, _) => coding,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coded::NalCodec;

    const H264: StreamFormat = StreamFormat::NalUnits { codec: NalCodec::H264, length_size: None };
    const H265: StreamFormat = StreamFormat::NalUnits { codec: NalCodec::H265, length_size: None };

    /// NAL units with start codes.
    fn joined(units: &[&[u8]]) -> Vec<u8> {
        units.iter().flat_map(|unit| [&[0, 0, 0, 1][..], unit].concat()).collect()
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Flag {
        None,
        Discont,
        Corrupted,
    }

    /// The codings of frames: their bytes, whether they are marked as key frames, PTS, flag.
    fn codings(format: StreamFormat, frames: &[(Vec<u8>, bool, u64, Flag)]) -> Vec<Coding> {
        let mut tracker = DependencyTracker::default();
        let frames = frames.iter().map(|(bytes, is_key, pts, flag)| CodedFrame {
            is_key: *is_key,
            is_discont: *flag == Flag::Discont,
            is_corrupted: *flag == Flag::Corrupted,
            pts: Some(*pts),
            bytes: format.is_parsed().then_some(bytes),
        });
        frames.map(|frame| tracker.coding(format, &frame)).collect()
    }

    #[test]
    fn h264_tells_open_groups_by_recovery_points_and_leading_frames_by_pts() {
        let (idr, slice) = (joined(&[&[0x67, 1], &[0x68, 1], &[0x65, 9]]), joined(&[&[0x41, 9]]));
        let recovery = |count: u8| joined(&[&[0x06, 5, 2, 9, 9, 6, 1, count, 0x80], &[0x41, 9]]);
        let frames = [
            (idr, true, 0, Flag::None),
            (slice.clone(), false, 3, Flag::None),
            (slice.clone(), false, 1, Flag::None),
            (recovery(0xc4), true, 6, Flag::None),
            (slice.clone(), false, 5, Flag::None),
            (slice.clone(), false, 7, Flag::None),
            // h264parse marks every intra picture as a key frame, and every recovery point, also if later frames must
            // be decoded before the picture is right.
            (slice, true, 8, Flag::None),
            (recovery(0x44), true, 9, Flag::None),
        ];
        use Coding::{Delta, Key, Leading, OpenKey};
        assert_eq!(codings(H264, &frames), [Key, Delta, Delta, OpenKey, Leading, Delta, Delta, Delta]);
    }

    #[test]
    fn h265_names_key_and_leading_frames_in_the_unit_type() {
        let unit = |kind: u8| joined(&[&[35 << 1, 1], &[kind << 1, 1, 9]]);
        let frames =
            [(19, true, 0), (1, false, 3), (21, true, 9), (9, false, 8), (7, false, 7), (1, false, 10)];
        let frames = frames.map(|(kind, is_key, pts)| (unit(kind), is_key, pts, Flag::None));
        use Coding::{Delta, Key, Leading, OpenKey};
        assert_eq!(codings(H265, &frames), [Key, Delta, OpenKey, Leading, Delta, Delta]);
    }

    #[test]
    fn frames_after_a_lost_one_are_undecodable_up_to_the_next_key_frame() {
        let (idr, slice) = (joined(&[&[0x65, 9]]), joined(&[&[0x41, 9]]));
        let frames = [
            (idr.clone(), true, 0, Flag::Discont),
            (slice.clone(), false, 1, Flag::None),
            (slice.clone(), false, 3, Flag::Discont),
            (slice.clone(), false, 4, Flag::None),
            (idr, true, 6, Flag::Discont),
            (slice.clone(), false, 7, Flag::None),
            (slice, false, 8, Flag::Corrupted),
        ];
        use Coding::{Delta, Key, OpenKey, Undecodable, UndecodableLeading};
        assert_eq!(codings(H264, &frames), [Key, Delta, Undecodable, Undecodable, Key, Delta, Undecodable]);
        // A leading frame may depend on the frame that was lost right before the key frame.
        let frames = [
            (true, 0, Flag::Discont),
            (true, 6, Flag::Discont),
            (false, 5, Flag::None),
            (false, 7, Flag::None),
        ];
        let frames = frames.map(|(is_key, pts, flag)| (vec![1], is_key, pts, flag));
        assert_eq!(codings(StreamFormat::Unknown, &frames), [OpenKey, OpenKey, UndecodableLeading, Delta]);
    }

    #[test]
    fn an_unknown_codec_tells_leading_frames_by_pts() {
        let frames = [(true, 0), (false, 3), (true, 6), (false, 5), (false, 7)];
        let frames = frames.map(|(is_key, pts)| (vec![1], is_key, pts, Flag::None));
        use Coding::{Delta, Leading, OpenKey};
        assert_eq!(codings(StreamFormat::Unknown, &frames), [OpenKey, Delta, OpenKey, Leading, Delta]);
    }
}
