//! What an encoded frame builds on, by its bytes: buffers' flags say too little, and parsers set them too freely (h264parse takes
//! every picture of its own for a key frame, seen with 1.26).

use swsync_core::ring::Coding;

/// What frames of a stream say one after the other.
#[derive(Debug, Default)]
pub struct Follower {
    /// When the last key frame is shown, where what follows may be shown before it.
    open_key: Option<gst::ClockTime>,
    /// Whether what comes builds on a frame that was lost.
    lacks: bool,
    /// Whether one was lost before the last key frame.
    lacked: bool,
    /// Whether there was a frame.
    begun: bool,
}

impl Follower {
    /// What the next frame builds on.
    pub fn coding(&mut self, form: &Form, buffer: &gst::BufferRef) -> Coding {
        let flags = buffer.flags();
        let is_key = !flags.contains(gst::BufferFlags::DELTA_UNIT);
        let kind = form.is_read().then(|| buffer.map_readable().ok()).flatten();
        let kind = kind.map_or(Kind::Unknown, |map| form.kind_of(&map));
        let (coding, is_open) = match (is_key, kind) {
            (true, Kind::Closed) => (Coding::Key, false),
            (true, Kind::Open) => (Coding::OpenKey, true),
            // Of a codec that nothing is known of.
            (true, Kind::Unknown) if form.may_reorder() => (Coding::OpenKey, true),
            (true, Kind::Unknown) => (Coding::Key, false),
            (_, Kind::Leading) => (Coding::Leading, false),
            (true, Kind::Other) | (false, _) => (Coding::Delta, false),
        };
        let is_apart = self.begun && flags.contains(gst::BufferFlags::DISCONT);
        self.begun = true;
        let is_spoilt = flags.contains(gst::BufferFlags::CORRUPTED);
        if coding.is_key() && !is_spoilt {
            self.lacked = is_apart || self.lacks;
            self.lacks = false;
            self.open_key = buffer.pts().filter(|_| is_open && form.leads_by_time());
            return coding;
        }
        let is_before = |key| buffer.pts().is_some_and(|shown| shown < key);
        let is_leading = coding == Coding::Leading || self.open_key.is_some_and(is_before);
        // Whatever was lost may be what later ones build on.
        self.lacks |= is_apart || is_spoilt;
        match (self.lacks, is_leading, self.lacked) {
            (true, ..) => Coding::Lost,
            (false, true, true) => Coding::Orphan,
            (false, true, false) => Coding::Leading,
            (false, false, _) => coding,
        }
    }
}

/// How the frames of a stream are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// H.264 or H.265; `prefix`: bytes of the length before each unit, or `None` where they have start codes.
    H264 {
        prefix: Option<usize>,
    },
    H265 {
        prefix: Option<usize>,
    },
    /// AV1 by temporal units.
    Av1,
    /// Frames build on others, and are shown in the order in which they are coded.
    InOrder,
    /// Frames build on no other.
    Pictures,
    /// Another one.
    Other,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A key frame, after which nothing builds on what was before.
    Closed,
    /// A key frame, before which frames are shown that come after it and build on what was before.
    Open,
    /// One of those.
    Leading,
    Other,
    /// Nothing is known of it.
    Unknown,
}

impl Form {
    /// What `caps` say.
    pub fn of(caps: &gst::CapsRef) -> Self {
        let Some(structure) = caps.structure(0) else { return Self::Other };
        let is_prefixed = structure.get::<&str>("stream-format").is_ok_and(|form| form != "byte-stream");
        let prefix = |at: usize| {
            let data = structure.get::<gst::Buffer>("codec_data").ok();
            let byte = data.and_then(|data| data.map_readable().ok()?.get(at).copied());
            is_prefixed.then(|| usize::from(byte.unwrap_or(3) & 3) + 1)
        };
        match structure.name().as_str() {
            "video/x-h264" => Self::H264 { prefix: prefix(4) },
            "video/x-h265" => Self::H265 { prefix: prefix(21) },
            "video/x-av1" if structure.get::<&str>("stream-format") != Ok("annexb") => Self::Av1,
            "video/x-av1" | "video/x-vp8" | "video/x-vp9" => Self::InOrder,
            "video/x-raw" | "video/x-bayer" => Self::Pictures,
            name if name.starts_with("image/") => Self::Pictures,
            _ => Self::Other,
        }
    }

    /// Whether frames' bytes say what they build on. Others are not mapped: they may be large, and in a camera's memory.
    pub const fn is_read(self) -> bool {
        matches!(self, Self::H264 { .. } | Self::H265 { .. } | Self::Av1)
    }

    const fn may_reorder(self) -> bool {
        matches!(self, Self::Other)
    }

    /// Whether what comes before a key frame is told by when it is shown; H.265 says it itself.
    const fn leads_by_time(self) -> bool {
        matches!(self, Self::H264 { .. } | Self::Other)
    }

    fn kind_of(self, bytes: &[u8]) -> Kind {
        match self {
            Self::H264 { prefix } => h264(units(bytes, prefix)),
            Self::H265 { prefix } => h265(units(bytes, prefix)),
            Self::Av1 => av1(bytes).unwrap_or(Kind::Unknown),
            Self::InOrder | Self::Pictures | Self::Other => Kind::Unknown,
        }
    }

    /// Whether `bytes` have no part of a picture: parameters, which belong to the frame after them.
    pub fn is_header(self, bytes: &[u8]) -> bool {
        match self {
            Self::H264 { prefix } => {
                let mut units = units(bytes, prefix).peekable();
                units.peek().is_some() && units.all(|unit| !matches!(unit[0] & 0x1f, 1..=5))
            }
            Self::H265 { prefix } => {
                let mut units = units(bytes, prefix).peekable();
                units.peek().is_some() && units.all(|unit| unit[0] >> 1 & 0x3f > 31)
            }
            Self::Av1 => {
                let mut units = Obus(bytes).peekable();
                units.peek().is_some() && units.all(|(kind, _)| !matches!(kind, 3 | 4 | 6 | 7))
            }
            Self::InOrder | Self::Pictures | Self::Other => false,
        }
    }
}

/// ITU-T H.264, tables 7-1 and D.1.
fn h264<'a>(units: impl Iterator<Item = &'a [u8]>) -> Kind {
    let mut recovers = false;
    for unit in units {
        match unit[0] & 0x1f {
            5 => return Kind::Closed,
            1..=4 => return if recovers { Kind::Open } else { Kind::Other },
            // A recovery point, with this very picture: 0 is coded as a single bit that is set.
            6 => {
                let end = start_code(unit).unwrap_or(unit.len());
                recovers |= sei(&unit[1..end]).any(|(kind, payload)| kind == 6 && payload[0] >= 0x80);
            }
            _ => {}
        }
    }
    Kind::Unknown
}

/// ITU-T H.265, table 7-1.
fn h265<'a>(units: impl Iterator<Item = &'a [u8]>) -> Kind {
    for unit in units {
        match unit[0] >> 1 & 0x3f {
            8 | 9 => return Kind::Leading,
            // BLA and IDR, of which none is followed by what cannot be decoded; but for BLA_W_LP.
            17..=20 => return Kind::Closed,
            16 | 21 => return Kind::Open,
            0..=31 => return Kind::Other,
            _ => {}
        }
    }
    Kind::Unknown
}

/// AV1, 5.9.2: whether the first frame is a key frame that is shown. One that is shown later is followed by frames that
/// build on others.
fn av1(bytes: &[u8]) -> Option<Kind> {
    for (kind, payload) in Obus(bytes) {
        match kind {
            // A still picture has no such fields.
            1 if payload.first()? & 0x08 != 0 => return Some(Kind::Closed),
            3 | 6 => return Some(if payload.first()? & 0xf0 == 0x10 { Kind::Closed } else { Kind::Other }),
            _ => {}
        }
    }
    None
}

/// The units of a frame: none is empty.
fn units(bytes: &[u8], prefix: Option<usize>) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let unit = match prefix {
            Some(width) => {
                let (length, behind) = rest.split_at_checked(width)?;
                let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
                let (unit, behind) = behind.split_at(length.min(behind.len()));
                rest = behind;
                unit
            }
            None => {
                let begin = start_code(rest)? + 3;
                rest = &rest[begin..];
                // What it ends with is of no matter here, and a picture is long.
                rest
            }
        };
        Some(unit)
    })
    .filter(|unit| !unit.is_empty())
}

fn start_code(bytes: &[u8]) -> Option<usize> {
    bytes.windows(3).position(|window| window == [0, 0, 1])
}

/// Kinds and payloads of supplemental information; what a payload begins with has no bytes that are escaped.
fn sei(mut rest: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    fn number(rest: &mut &[u8]) -> Option<usize> {
        let mut sum = 0;
        loop {
            let (byte, behind) = rest.split_first()?;
            *rest = behind;
            sum += usize::from(*byte);
            if *byte != 0xff {
                return Some(sum);
            }
        }
    }
    std::iter::from_fn(move || {
        let (kind, size) = (number(&mut rest)?, number(&mut rest)?);
        let (payload, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        (!payload.is_empty()).then_some((kind, payload))
    })
}

/// Kinds and payloads of AV1's units, in its low-overhead form.
struct Obus<'a>(&'a [u8]);

impl<'a> Iterator for Obus<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, mut rest) = self.0.split_first()?;
        if head & 0x04 != 0 {
            rest = rest.get(1..)?;
        }
        let mut size = rest.len();
        if head & 0x02 != 0 {
            size = 0;
            for shift in 0..8 {
                let (byte, behind) = rest.split_first()?;
                rest = behind;
                size |= usize::from(byte & 0x7f) << (7 * shift);
                if byte & 0x80 == 0 {
                    break;
                }
            }
        }
        let (payload, behind) = rest.split_at_checked(size)?;
        self.0 = behind;
        Some((head >> 3 & 0x0f, payload))
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    const BYTES: &str = "stream-format=byte-stream,alignment=au";

    fn form(caps: &str) -> Form {
        gst::init().unwrap();
        Form::of(&gst::Caps::from_str(caps).unwrap())
    }

    /// Units one behind the other, with start codes.
    fn joined(units: &[&[u8]]) -> Vec<u8> {
        units.iter().flat_map(|unit| [&[0, 0, 0, 1][..], unit].concat()).collect()
    }

    /// A frame that is shown at `pts`.
    fn frame(bytes: Vec<u8>, is_key: bool, pts: u64, flags: gst::BufferFlags) -> gst::Buffer {
        let mut buffer = gst::Buffer::from_slice(bytes);
        let writable = buffer.get_mut().unwrap();
        writable.set_pts(gst::ClockTime::from_mseconds(pts));
        writable.set_flags(flags);
        if !is_key {
            writable.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        buffer
    }

    const NONE: gst::BufferFlags = gst::BufferFlags::empty();

    fn codings(form: Form, frames: &[(Vec<u8>, bool, u64, gst::BufferFlags)]) -> Vec<Coding> {
        let mut follower = Follower::default();
        let frames = frames.iter().cloned().map(|(bytes, key, pts, flags)| frame(bytes, key, pts, flags));
        frames.map(|buffer| follower.coding(&form, &buffer)).collect()
    }

    #[test]
    fn h264_begins_with_what_decodes_all_that_is_shown_later() {
        let form = form(&format!("video/x-h264,{BYTES}"));
        let (idr, slice) = (joined(&[&[0x67, 1], &[0x68, 1], &[0x65, 9]]), joined(&[&[0x41, 9]]));
        let recovery = |count: u8| joined(&[&[0x06, 5, 2, 9, 9, 6, 1, count, 0x80], &[0x41, 9]]);
        let frames = [
            (idr, true, 0, NONE),
            (slice.clone(), false, 3, NONE),
            (slice.clone(), false, 1, NONE),
            (recovery(0xc4), true, 6, NONE),
            (slice.clone(), false, 5, NONE),
            (slice.clone(), false, 7, NONE),
            // h264parse says so of every picture of its own, and of those that others come before which are not whole.
            (slice.clone(), true, 8, NONE),
            (recovery(0x44), true, 9, NONE),
        ];
        use Coding::{Delta, Key, Leading, OpenKey};
        assert_eq!(codings(form, &frames), [Key, Delta, Delta, OpenKey, Leading, Delta, Delta, Delta]);
    }

    #[test]
    fn h265_says_itself_what_its_key_frames_are_followed_by() {
        let form = form(&format!("video/x-h265,{BYTES}"));
        let unit = |kind: u8| joined(&[&[35 << 1, 1], &[kind << 1, 1, 9]]);
        let frames =
            [(19, true, 0), (1, false, 3), (21, true, 9), (9, false, 8), (7, false, 7), (1, false, 10)];
        let frames = frames.map(|(kind, key, pts)| (unit(kind), key, pts, NONE));
        use Coding::{Delta, Key, Leading, OpenKey};
        assert_eq!(codings(form, &frames), [Key, Delta, OpenKey, Leading, Delta, Delta]);
    }

    #[test]
    fn lengths_stand_for_start_codes() {
        for (caps, at) in [("video/x-h264,stream-format=avc", 4), ("video/x-h265,stream-format=hvc1", 21)] {
            gst::init().unwrap();
            let mut caps = gst::Caps::from_str(caps).unwrap();
            let mut data = vec![0; 23];
            data[at] = 1; // two bytes each
            caps.make_mut().set("codec_data", gst::Buffer::from_slice(data));
            let form = Form::of(&caps);
            let is_h264 = at == 4;
            let (other, key) = if is_h264 { ([0x06, 9], [0x65, 9]) } else { ([39 << 1, 1], [19 << 1, 1]) };
            let bytes = [&[0, 2][..], &other, &[0, 2], &key].concat();
            assert_eq!(form.kind_of(&bytes), Kind::Closed);
            assert!(form.is_header(&bytes[..4]) && !form.is_header(&bytes) && !form.is_header(&[]));
        }
    }

    #[test]
    fn av1_key_frames_are_shown_at_once() {
        let form = form("video/x-av1,stream-format=obu-stream,alignment=tu");
        let unit = |kind: u8, payload: &[u8]| {
            [&[kind << 3 | 2, u8::try_from(payload.len()).unwrap()][..], payload].concat()
        };
        let (delimiter, sequence) = (unit(2, &[]), unit(1, &[0, 0]));
        for (header, kind) in
            [(0x10, Kind::Closed), (0x00, Kind::Other), (0x30, Kind::Other), (0x90, Kind::Other)]
        {
            let bytes = [&delimiter[..], &sequence, &unit(6, &[header, 1])].concat();
            assert_eq!(form.kind_of(&bytes), kind, "{header:x}");
            assert!(!form.is_header(&bytes));
        }
        assert!(form.is_header(&[&delimiter[..], &sequence].concat()));
    }

    #[test]
    fn what_builds_on_a_lost_frame_is_of_no_use_until_a_key_frame() {
        let form = form(&format!("video/x-h264,{BYTES}"));
        let (idr, slice) = (joined(&[&[0x65, 9]]), joined(&[&[0x41, 9]]));
        let discont = gst::BufferFlags::DISCONT;
        let frames = [
            (idr.clone(), true, 0, discont),
            (slice.clone(), false, 1, NONE),
            (slice.clone(), false, 3, discont),
            (slice.clone(), false, 4, NONE),
            (idr, true, 6, discont),
            (slice.clone(), false, 7, NONE),
            (slice, false, 8, gst::BufferFlags::CORRUPTED),
        ];
        use Coding::{Delta, Key, Lost, OpenKey, Orphan};
        assert_eq!(codings(form, &frames), [Key, Delta, Lost, Lost, Key, Delta, Lost]);
        // What was lost right before an open group is missing to what is shown before its key frame.
        let form = Form::Other;
        let frames = [(true, 0, discont), (true, 6, discont), (false, 5, NONE), (false, 7, NONE)];
        let frames = frames.map(|(key, pts, flags)| (vec![1], key, pts, flags));
        assert_eq!(codings(form, &frames), [OpenKey, OpenKey, Orphan, Delta]);
    }

    #[test]
    fn of_other_codecs_times_say_it() {
        let form = form("video/mpeg,mpegversion=2,systemstream=false");
        let frames = [(true, 0), (false, 3), (true, 6), (false, 5), (false, 7)];
        let frames = frames.map(|(key, pts)| (vec![1], key, pts, NONE));
        use Coding::{Delta, Leading, OpenKey};
        assert_eq!(codings(form, &frames), [OpenKey, Delta, OpenKey, Leading, Delta]);
    }
}
