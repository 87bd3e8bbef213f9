//! H.264 and H.265 as a byte stream with start codes (annex B of both): selecting and ordering the units of a frame.

use super::units::start_code;

/// A codec whose frames consist of NAL units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NalCodec {
    /// ITU-T H.264.
    H264,
    /// ITU-T H.265.
    H265,
}

impl NalCodec {
    /// The codec of a media type, which is the name of GStreamer caps.
    #[must_use]
    pub fn of_media(media: &str) -> Option<Self> {
        match media {
            "video/x-h264" => Some(Self::H264),
            "video/x-h265" => Some(Self::H265),
            _ => None,
        }
    }

    /// The unit type in the first byte of a unit's header.
    pub(super) const fn unit_type(self, header: u8) -> u8 {
        match self {
            Self::H264 => header & 0x1f,
            Self::H265 => header >> 1 & 0x3f,
        }
    }

    /// Whether a unit is a part of a picture.
    pub(super) const fn is_slice(self, header: u8) -> bool {
        match self {
            Self::H264 => matches!(self.unit_type(header), 1..=5),
            Self::H265 => self.unit_type(header) <= 31,
        }
    }

    const fn is_parameter_set(self, header: u8) -> bool {
        match self {
            Self::H264 => matches!(self.unit_type(header), 7 | 8),
            Self::H265 => matches!(self.unit_type(header), 32..=34),
        }
    }

    const fn is_delimiter(self, header: u8) -> bool {
        match self {
            Self::H264 => self.unit_type(header) == 9,
            Self::H265 => self.unit_type(header) == 35,
        }
    }

    /// `frame` with its access unit delimiter first, as ITU-T H.264, 7.4.1.2.3 and H.265, 7.4.2.4.4 ask for. GStreamer's
    /// parsers put the parameter sets of key frames before it (seen with 1.26). Further delimiters are removed.
    #[must_use]
    pub fn with_delimiter_first(self, frame: &[u8]) -> Vec<u8> {
        let (delimiters, rest): (Vec<_>, Vec<_>) =
            units_with_start_codes(frame).into_iter().partition(|unit| self.is_delimiter(header(unit)));
        let first = delimiters.first().copied().into_iter();
        first.chain(rest).collect::<Vec<_>>().concat()
    }

    /// The parameter sets of `frame`, without the zeros of their start codes. A decoder that is set up for one frame can
    /// decode another with the same parameter sets.
    #[must_use]
    pub fn parameter_sets(self, frame: &[u8]) -> Vec<u8> {
        select(frame, |header| self.is_parameter_set(header))
    }

    /// The slices of `frame`, without the zeros of their start codes: the picture alone.
    #[must_use]
    pub fn slices(self, frame: &[u8]) -> Vec<u8> {
        select(frame, |header| self.is_slice(header))
    }
}

fn select(frame: &[u8], is_selected: impl Fn(u8) -> bool) -> Vec<u8> {
    let units = units_with_start_codes(frame).into_iter().filter(|unit| is_selected(header(unit)));
    units.map(|unit| &unit[zeros(unit)..]).collect::<Vec<_>>().concat()
}

fn zeros(unit: &[u8]) -> usize {
    unit.iter().take_while(|byte| **byte == 0).count()
}

/// The first byte after a unit's start code.
fn header(unit: &[u8]) -> u8 {
    unit.get(zeros(unit) + 1).copied().unwrap_or(0)
}

/// The units of a frame, each with its start code of three or four bytes.
fn units_with_start_codes(frame: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(found) = frame.get(at..).and_then(start_code) {
        let code = at + found;
        starts.push(if code > at && frame[code - 1] == 0 { code - 1 } else { code });
        at = code + 3;
    }
    starts.push(frame.len());
    starts.windows(2).map(|pair| &frame[pair[0]..pair[1]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_comes_first_and_no_other_unit_is_lost() {
        let (sps, pps, aud, slice) = (
            &[0, 0, 0, 1, 0x67, 1, 2][..],
            &[0, 0, 1, 0x68, 3],
            &[0, 0, 0, 1, 0x09, 0x10],
            &[0, 0, 1, 0x65, 0, 0, 3, 1],
        );
        let ordered = |units: &[&[u8]]| NalCodec::H264.with_delimiter_first(&units.concat());
        assert_eq!(ordered(&[sps, pps, aud, slice]), [aud, sps, pps, slice].concat());
        assert_eq!(ordered(&[sps, pps, slice]), [sps, pps, slice].concat());
        assert_eq!(ordered(&[aud, sps, aud, slice]), [aud, sps, slice].concat());
        assert_eq!(
            NalCodec::H264.parameter_sets(&[aud, sps, pps, slice].concat()),
            [&sps[3..], &pps[2..]].concat()
        );
        assert_eq!(NalCodec::H264.slices(&[sps, slice].concat()), slice[2..]);
        let h265 = [&[0, 0, 0, 1, 32 << 1, 1, 9][..], &[0, 0, 0, 1, 35 << 1, 1, 8], &[0, 0, 1, 1, 1, 7]];
        assert_eq!(
            NalCodec::of_media("video/x-h265").unwrap().with_delimiter_first(&h265.concat()),
            [h265[1], h265[0], h265[2]].concat()
        );
        assert_eq!(NalCodec::of_media("video/x-vp9"), None);
    }
}
