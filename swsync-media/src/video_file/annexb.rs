//! NAL units of H.264 and H.265 byte streams (Annex B): puts those of one frame in order, and picks out parameters and slices.
//!
//! The access unit delimiter comes first (ITU-T H.264, 7.4.1.2.3; H.265, 7.4.2.4.4). GStreamer's parsers put the parameter sets of
//! key frames before it (seen with 1.26).

/// Puts the NAL units of a frame in order.
pub type InOrder = fn(&[u8]) -> Vec<u8>;

/// The function that puts a frame of `media` in order; `None`: it has no NAL units.
pub fn orders(media: &str) -> Option<InOrder> {
    match media {
        "video/x-h264" => Some(|frame| delimiter_first(frame, |header| header & 0x1f == 9)),
        "video/x-h265" => Some(|frame| delimiter_first(frame, |header| header >> 1 & 0x3f == 35)),
        _ => None,
    }
}

/// `frame` with its delimiter first.
fn delimiter_first(frame: &[u8], is_delimiter: impl Fn(u8) -> bool) -> Vec<u8> {
    let (delimiters, rest): (Vec<_>, Vec<_>) =
        parts(frame).into_iter().partition(|part| is_delimiter(header(part)));
    let first = delimiters.first().copied().into_iter();
    first.chain(rest).collect::<Vec<_>>().concat()
}

/// The parameter sets in `frame`. Frames with the same ones can be in one stream.
pub fn parameters(media: &str, frame: &[u8]) -> Vec<u8> {
    match media {
        "video/x-h264" => select(frame, |header| matches!(header & 0x1f, 7 | 8)),
        "video/x-h265" => select(frame, |header| matches!(header >> 1 & 0x3f, 32..=34)),
        _ => Vec::new(),
    }
}

/// The slices in `frame`: the coded picture without parameter sets, delimiters and other units.
pub fn pictures_of(media: &str, frame: &[u8]) -> Vec<u8> {
    match media {
        "video/x-h264" => select(frame, |header| matches!(header & 0x1f, 1..=5)),
        "video/x-h265" => select(frame, |header| matches!(header >> 1 & 0x3f, 0..=31)),
        _ => frame.to_vec(),
    }
}

/// The NAL units whose header byte `is_wanted`, without start codes.
fn select(frame: &[u8], is_wanted: impl Fn(u8) -> bool) -> Vec<u8> {
    let parts = parts(frame).into_iter().filter(|part| is_wanted(header(part)));
    parts.map(|part| &part[part.iter().take_while(|byte| **byte == 0).count()..]).collect::<Vec<_>>().concat()
}

/// The first byte after a unit's start code.
fn header(part: &[u8]) -> u8 {
    let zeros = part.iter().take_while(|byte| **byte == 0).count();
    part.get(zeros + 1).copied().unwrap_or(0)
}

/// The NAL units of a frame, each with its start code of three or four bytes.
fn parts(frame: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(found) = frame.get(at..).and_then(|rest| rest.windows(3).position(|w| w == [0, 0, 1])) {
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
    fn the_delimiter_comes_first_and_nothing_is_lost() {
        let (sps, pps, aud, slice) = (
            &[0, 0, 0, 1, 0x67, 1, 2][..],
            &[0, 0, 1, 0x68, 3],
            &[0, 0, 0, 1, 0x09, 0x10],
            &[0, 0, 1, 0x65, 0, 0, 3, 1],
        );
        let order = orders("video/x-h264").unwrap();
        assert_eq!(order(&[sps, pps, aud, slice].concat()), [aud, sps, pps, slice].concat());
        assert_eq!(order(&[sps, pps, slice].concat()), [sps, pps, slice].concat());
        assert_eq!(order(&[aud, sps, aud, slice].concat()), [aud, sps, slice].concat());
        assert_eq!(
            parameters("video/x-h264", &[aud, sps, pps, slice].concat()),
            [&sps[3..], &pps[2..]].concat()
        );
        assert_eq!(pictures_of("video/x-h264", &[sps, slice].concat()), slice[2..]);
        let h265 = [&[0, 0, 0, 1, 32 << 1, 1, 9][..], &[0, 0, 0, 1, 35 << 1, 1, 8], &[0, 0, 1, 1, 1, 7]];
        assert_eq!(orders("video/x-h265").unwrap()(&h265.concat()), [h265[1], h265[0], h265[2]].concat());
        assert!(orders("video/x-vp9").is_none());
    }
}
