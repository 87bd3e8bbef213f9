//! The format of a stream, and what the bytes of a frame say about it.

use super::NalCodec;
use super::units::{Obus, nal_units, sei_messages, start_code};

/// How the frames of a stream are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamFormat {
    /// H.264 or H.265.
    NalUnits {
        /// Which of the two.
        codec: NalCodec,
        /// Bytes of the length before each unit. `None`: units have start codes.
        length_size: Option<usize>,
    },
    /// AV1 in its low-overhead format; a frame is a temporal unit.
    Av1,
    /// Frames depend on others, and are shown in coding order.
    InOrder,
    /// Every frame stands alone.
    Intra,
    /// Any other codec.
    Unknown,
}

/// What a frame is, by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameType {
    /// A key frame. No later frame depends on earlier ones.
    ClosedKey,
    /// A key frame that leading frames may follow.
    OpenKey,
    /// A leading frame.
    Leading,
    /// Any other frame.
    Other,
    /// The bytes do not tell.
    Unknown,
}

impl StreamFormat {
    /// The format that GStreamer caps describe, by their name and their fields `stream-format` and `codec_data`.
    #[must_use]
    pub fn new(media: &str, stream_format: Option<&str>, codec_data: Option<&[u8]>) -> Self {
        if let Some(codec) = NalCodec::of_media(media) {
            // lengthSizeMinusOne of ISO/IEC 14496-15, sections 5.3.3.1 and 8.3.3.1.
            let at = match codec {
                NalCodec::H264 => 4,
                NalCodec::H265 => 21,
            };
            let size =
                || codec_data.and_then(|data| data.get(at)).map_or(4, |byte| usize::from(byte & 3) + 1);
            let length_size = stream_format.filter(|format| *format != "byte-stream").map(|_| size());
            return Self::NalUnits { codec, length_size };
        }
        match media {
            "video/x-av1" if stream_format != Some("annexb") => Self::Av1,
            "video/x-av1" | "video/x-vp8" | "video/x-vp9" => Self::InOrder,
            "video/x-raw" | "video/x-bayer" => Self::Intra,
            _ if media.starts_with("image/") => Self::Intra,
            _ => Self::Unknown,
        }
    }

    /// Whether the bytes of frames are needed. Frames of other formats need not be mapped: they may be large, and in the
    /// memory of a camera.
    #[must_use]
    pub const fn is_parsed(self) -> bool {
        matches!(self, Self::NalUnits { .. } | Self::Av1)
    }

    /// Whether `bytes` hold no part of a picture, but only headers or parameter sets, which belong to the next frame.
    #[must_use]
    pub fn is_header(self, bytes: &[u8]) -> bool {
        match self {
            Self::NalUnits { codec, length_size } => {
                let mut units = nal_units(bytes, length_size).peekable();
                units.peek().is_some() && units.all(|unit| !codec.is_slice(unit[0]))
            }
            Self::Av1 => {
                let mut units = Obus(bytes).peekable();
                // OBU_FRAME_HEADER, OBU_TILE_GROUP, OBU_FRAME and OBU_REDUNDANT_FRAME_HEADER.
                units.peek().is_some() && units.all(|(kind, _)| !matches!(kind, 3 | 4 | 6 | 7))
            }
            Self::InOrder | Self::Intra | Self::Unknown => false,
        }
    }

    /// Whether leading frames are told by their PTS. H.265 has a unit type for them.
    pub(super) const fn tells_leading_by_pts(self) -> bool {
        matches!(self, Self::NalUnits { codec: NalCodec::H264, .. } | Self::Unknown)
    }

    pub(super) fn frame_type(self, bytes: &[u8]) -> FrameType {
        match self {
            Self::NalUnits { codec: NalCodec::H264, length_size } => h264(nal_units(bytes, length_size)),
            Self::NalUnits { codec: NalCodec::H265, length_size } => h265(nal_units(bytes, length_size)),
            Self::Av1 => av1(bytes).unwrap_or(FrameType::Unknown),
            Self::InOrder | Self::Intra | Self::Unknown => FrameType::Unknown,
        }
    }
}

/// ITU-T H.264, tables 7-1 and D.1.
fn h264<'a>(units: impl Iterator<Item = &'a [u8]>) -> FrameType {
    let mut is_recovery_point = false;
    for unit in units {
        match NalCodec::H264.unit_type(unit[0]) {
            5 => return FrameType::ClosedKey,
            1..=4 => return if is_recovery_point { FrameType::OpenKey } else { FrameType::Other },
            // A recovery point with recovery_frame_cnt 0: this very picture is right. As ue(v), 0 is a single bit that is
            // set.
            6 => {
                let end = start_code(unit).unwrap_or(unit.len());
                is_recovery_point |=
                    sei_messages(&unit[1..end]).any(|(kind, payload)| kind == 6 && payload[0] >= 0x80);
            }
            _ => {}
        }
    }
    FrameType::Unknown
}

/// ITU-T H.265, table 7-1.
fn h265<'a>(units: impl Iterator<Item = &'a [u8]>) -> FrameType {
    for unit in units {
        match NalCodec::H265.unit_type(unit[0]) {
            // RASL
            8 | 9 => return FrameType::Leading,
            // BLA_W_RADL, BLA_N_LP, IDR_W_RADL, IDR_N_LP: no RASL frames follow.
            17..=20 => return FrameType::ClosedKey,
            // BLA_W_LP and CRA.
            16 | 21 => return FrameType::OpenKey,
            0..=31 => return FrameType::Other,
            _ => {}
        }
    }
    FrameType::Unknown
}

/// AV1, section 5.9.2: whether the first frame is a key frame that is shown. A key frame that is shown later is followed by
/// frames that depend on others.
fn av1(bytes: &[u8]) -> Option<FrameType> {
    for (kind, payload) in Obus(bytes) {
        match kind {
            // The sequence header of a still picture: its frame header may lack the fields that are read below.
            1 if payload.first()? & 0x08 != 0 => return Some(FrameType::ClosedKey),
            // show_existing_frame, frame_type (2 bits), show_frame.
            3 | 6 if payload.first()? & 0xf0 == 0x10 => return Some(FrameType::ClosedKey),
            3 | 6 => return Some(FrameType::Other),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_stand_for_start_codes() {
        for (media, stream_format, at) in [("video/x-h264", "avc", 4), ("video/x-h265", "hvc1", 21)] {
            let mut codec_data = vec![0; 23];
            codec_data[at] = 1; // lengths of two bytes
            let format = StreamFormat::new(media, Some(stream_format), Some(&codec_data));
            let is_h264 = at == 4;
            let (other, key) = if is_h264 { ([0x06, 9], [0x65, 9]) } else { ([39 << 1, 1], [19 << 1, 1]) };
            let bytes = [&[0, 2][..], &other, &[0, 2], &key].concat();
            assert_eq!(format.frame_type(&bytes), FrameType::ClosedKey);
            assert!(format.is_header(&bytes[..4]) && !format.is_header(&bytes) && !format.is_header(&[]));
        }
    }

    #[test]
    fn caps_tell_the_format() {
        let of = |media, format| StreamFormat::new(media, format, None);
        let h264 = |length_size| StreamFormat::NalUnits { codec: NalCodec::H264, length_size };
        assert_eq!(of("video/x-h264", Some("byte-stream")), h264(None));
        assert_eq!(of("video/x-h264", Some("avc")), h264(Some(4)));
        assert_eq!(of("video/x-h264", None), h264(None));
        assert_eq!(of("video/x-av1", Some("obu-stream")), StreamFormat::Av1);
        assert_eq!(of("video/x-av1", Some("annexb")), StreamFormat::InOrder);
        assert_eq!(of("image/jpeg", None), StreamFormat::Intra);
        assert_eq!(of("video/mpeg", None), StreamFormat::Unknown);
    }

    #[test]
    fn an_av1_key_frame_is_one_only_if_it_is_shown_at_once() {
        let unit = |kind: u8, payload: &[u8]| {
            [&[kind << 3 | 2, u8::try_from(payload.len()).unwrap()][..], payload].concat()
        };
        let (delimiter, sequence) = (unit(2, &[]), unit(1, &[0, 0]));
        for (header, expected) in [
            (0x10, FrameType::ClosedKey),
            (0x00, FrameType::Other),
            (0x30, FrameType::Other),
            (0x90, FrameType::Other),
        ] {
            let bytes = [&delimiter[..], &sequence, &unit(6, &[header, 1])].concat();
            assert_eq!(StreamFormat::Av1.frame_type(&bytes), expected, "{header:x}");
            assert!(!StreamFormat::Av1.is_header(&bytes));
        }
        assert!(StreamFormat::Av1.is_header(&[&delimiter[..], &sequence].concat()));
    }
}
