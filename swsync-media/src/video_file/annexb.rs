//! H.264 and H.265 as a byte stream (their annexes B): the order of what belongs to one frame.
//!
//! A frame's delimiter comes first (ITU-T H.264, 7.4.1.2.3; H.265, 7.4.2.4.4). GStreamer's parsers put the parameters of key frames
//! before it (seen with 1.26).

/// Puts the parts of a frame in order.
pub type InOrder = fn(&[u8]) -> Vec<u8>;

/// What puts the parts of a frame of `media` in order; `None` where there are no such parts.
pub fn orders(media: &str) -> Option<InOrder> {
    match media {
        "video/x-h264" => Some(|frame| delimiter_first(frame, |header| header & 0x1f == 9)),
        "video/x-h265" => Some(|frame| delimiter_first(frame, |header| header >> 1 & 0x3f == 35)),
        _ => None,
    }
}

/// `frame` with the delimiter before all else.
fn delimiter_first(frame: &[u8], is_delimiter: impl Fn(u8) -> bool) -> Vec<u8> {
    let (delimiters, rest): (Vec<_>, Vec<_>) =
        parts(frame).into_iter().partition(|part| is_delimiter(header(part)));
    let first = delimiters.first().copied().into_iter();
    first.chain(rest).collect::<Vec<_>>().concat()
}

/// The parameters that `frame`, of `media`, brings: what decodes one frame decodes another if these are alike.
pub fn parameters(media: &str, frame: &[u8]) -> Vec<u8> {
    match media {
        "video/x-h264" => select(frame, |header| matches!(header & 0x1f, 7 | 8)),
        "video/x-h265" => select(frame, |header| matches!(header >> 1 & 0x3f, 32..=34)),
        _ => Vec::new(),
    }
}

/// What `frame`, of `media`, shows, whatever stands around that.
pub fn pictures_of(media: &str, frame: &[u8]) -> Vec<u8> {
    match media {
        "video/x-h264" => select(frame, |header| matches!(header & 0x1f, 1..=5)),
        "video/x-h265" => select(frame, |header| matches!(header >> 1 & 0x3f, 0..=31)),
        _ => frame.to_vec(),
    }
}

/// The parts whose header is such, without start codes.
fn select(frame: &[u8], is_wanted: impl Fn(u8) -> bool) -> Vec<u8> {
    let parts = parts(frame).into_iter().filter(|part| is_wanted(header(part)));
    parts.map(|part| &part[part.iter().take_while(|byte| **byte == 0).count()..]).collect::<Vec<_>>().concat()
}

/// The first byte behind a part's start code.
fn header(part: &[u8]) -> u8 {
    let zeros = part.iter().take_while(|byte| **byte == 0).count();
    part.get(zeros + 1).copied().unwrap_or(0)
}

/// The parts of a frame, each with its start code of three or four bytes.
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
