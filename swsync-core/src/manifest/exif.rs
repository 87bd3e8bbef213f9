//! A frame's time and number, written into the JPEG itself: an Exif segment (CIPA DC-008, Exif 2.32), put
//! in without touching a byte of the picture.

use super::FrameRecord;
use super::utc::date;
use crate::time::Span;

/// What the Exif segment of a JPEG begins with, behind its marker and length.
const SIGNATURE: &[u8] = b"Exif\0\0";

/// Longest text that is put into a field.
const MAX_TEXT: usize = 200;

// Tags, Exif 2.32 tables 4 and 8.
const MAKE: u16 = 0x010f;
const MODEL: u16 = 0x0110;
const ORIENTATION: u16 = 0x0112;
const SOFTWARE: u16 = 0x0131;
const EXPOSURE_TIME: u16 = 0x829a;
const EXIF_IFD: u16 = 0x8769;
const EXIF_VERSION: u16 = 0x9000;
const DATE_TIME_ORIGINAL: u16 = 0x9003;
const OFFSET_TIME_ORIGINAL: u16 = 0x9011;
const USER_COMMENT: u16 = 0x9286;
const SUB_SEC_TIME_ORIGINAL: u16 = 0x9291;

/// Whose picture it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The camera's maker; empty where it is not known.
    pub make: &'a str,
    /// The camera's model; empty where it is not known.
    pub model: &'a str,
    /// What took it, as `swsync 0.1.0`.
    pub software: &'a str,
}

/// Why a file cannot be given an Exif segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JpegError {
    /// It does not begin as a JPEG does.
    #[error("it is no JPEG: it does not begin with a start-of-image marker")]
    Start,
    /// Its segments lead beyond its end, or no picture follows them.
    #[error("the JPEG's header is cut short or broken at byte {0}")]
    Header(usize),
}

/// A JPEG with an Exif segment, in pieces that share the picture's bytes.
#[derive(Debug)]
pub struct WithExif<'a> {
    head: &'a [u8],
    segment: Vec<u8>,
    rest: Vec<&'a [u8]>,
}

impl WithExif<'_> {
    /// The pieces, one after the other.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        [self.head, &self.segment].into_iter().chain(self.rest.iter().copied())
    }

    /// Bytes of all pieces together.
    #[must_use]
    pub fn size(&self) -> usize {
        self.slices().map(<[u8]>::len).sum()
    }
}

/// `jpeg` with an Exif segment that tells of `record`'s frame and of its `origin`.
///
/// DateTimeOriginal, with SubSecTimeOriginal and OffsetTimeOriginal, is the frame's rig time in UTC, to the
/// nanosecond; UserComment is the frame's number and what else the manifest knows of its time, as JSON. The
/// segment stands behind JFIF's (APP0), where readers look for it. One that the JPEG had before is replaced,
/// since a JPEG has but one and its date would contradict: the orientation is carried over.
///
/// # Errors
/// [`JpegError`] where `jpeg` is none. It can be saved as it is all the same.
pub fn with_exif<'a>(
    jpeg: &'a [u8],
    record: &FrameRecord,
    origin: &Origin,
) -> Result<WithExif<'a>, JpegError> {
    if !jpeg.starts_with(&[0xff, 0xd8]) {
        return Err(JpegError::Start);
    }
    let (mut insert_at, mut at) = (2, 2);
    let mut orientation = None;
    let mut old = Vec::new();
    loop {
        let segment = Segment::read(jpeg, at).ok_or(JpegError::Header(at))?;
        match segment.marker {
            0xe0 if insert_at == at => insert_at = segment.end,
            0xe1 if segment.body.starts_with(SIGNATURE) => {
                orientation = orientation.or_else(|| read_orientation(&segment.body[SIGNATURE.len()..]));
                old.push((at, segment.end));
            }
            // Start of scan: the picture itself follows.
            0xda => break,
            _ => (),
        }
        at = segment.end;
    }
    let mut rest = Vec::with_capacity(1 + old.len());
    let mut from = insert_at;
    for (start, end) in old {
        rest.push(&jpeg[from..start]);
        from = end;
    }
    rest.push(&jpeg[from..]);
    Ok(WithExif { head: &jpeg[..insert_at], segment: app1(record, origin, orientation), rest })
}

/// A segment of a JPEG's header.
struct Segment<'a> {
    marker: u8,
    body: &'a [u8],
    end: usize,
}

impl<'a> Segment<'a> {
    /// The segment whose marker is at `at`; `None` if there is none, whole.
    fn read(jpeg: &'a [u8], mut at: usize) -> Option<Self> {
        if *jpeg.get(at)? != 0xff {
            return None;
        }
        // Any number of 0xff may stand before a marker (ITU-T T.81 B.1.1.2).
        while *jpeg.get(at)? == 0xff {
            at += 1;
        }
        let marker = *jpeg.get(at)?;
        let length = usize::from(u16::from_be_bytes([*jpeg.get(at + 1)?, *jpeg.get(at + 2)?]));
        let end = at + 1 + length;
        Some(Self { marker, body: jpeg.get(at + 3..end)?, end })
    }
}

/// The orientation in an Exif segment's TIFF; `None` where there is none that a reader could use.
fn read_orientation(tiff: &[u8]) -> Option<u16> {
    let big = match tiff.get(..2)? {
        b"MM" => true,
        b"II" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes: [u8; 2] = tiff.get(at..at + 2)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let u32_at = |at: usize| {
        let bytes: [u8; 4] = tiff.get(at..at + 4)?.try_into().ok()?;
        Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let ifd = usize::try_from(u32_at(4)?).ok()?;
    let entries = usize::from(u16_at(ifd)?);
    let entry = (0..entries).map(|index| ifd + 2 + 12 * index).find(|at| u16_at(*at) == Some(ORIENTATION))?;
    u16_at(entry + 8).filter(|value| (1..=8).contains(value))
}

/// The whole APP1 segment, with its marker.
fn app1(record: &FrameRecord, origin: &Origin, orientation: Option<u16>) -> Vec<u8> {
    let date = date(record.info.rig_time_ns);
    let mut exif = vec![
        (EXIF_VERSION, Value::Undefined(b"0232".to_vec())),
        (DATE_TIME_ORIGINAL, Value::Ascii(date.strftime("%Y:%m:%d %H:%M:%S").to_string())),
        (OFFSET_TIME_ORIGINAL, Value::Ascii("+00:00".into())),
        (USER_COMMENT, Value::Undefined(user_comment(record))),
        (SUB_SEC_TIME_ORIGINAL, Value::Ascii(date.strftime("%9f").to_string())),
    ];
    if let Some((seconds, per)) = record.info.exposure_ns.and_then(exposure_time) {
        exif.insert(0, (EXPOSURE_TIME, Value::Rational(seconds, per)));
    }
    let mut main = Vec::new();
    for (tag, text) in [(MAKE, origin.make), (MODEL, origin.model)] {
        if !text.is_empty() {
            main.push((tag, Value::Ascii(text.to_owned())));
        }
    }
    if let Some(orientation) = orientation {
        main.push((ORIENTATION, Value::Short(orientation)));
    }
    main.push((SOFTWARE, Value::Ascii(origin.software.to_owned())));
    main.push((EXIF_IFD, Value::Long(0)));

    let mut tiff = b"II\x2a\0\x08\0\0\0".to_vec();
    // The second directory follows the first, whose length does not depend on where it points.
    let mut length = Vec::new();
    write_ifd(&mut length, tiff.len(), &main);
    let second = tiff.len() + length.len();
    if let Some((_, pointer)) = main.last_mut() {
        *pointer = Value::Long(offset(second));
    }
    write_ifd(&mut tiff, 8, &main);
    write_ifd(&mut tiff, second, &exif);

    let length = u16::try_from(2 + SIGNATURE.len() + tiff.len())
        .expect("a dozen fields, the longest of which are cut, stay far below 64 KiB");
    let mut segment = vec![0xff, 0xe1];
    segment.extend(length.to_be_bytes());
    segment.extend(SIGNATURE);
    segment.extend(tiff);
    segment
}

/// What the manifest says of the frame's time, as JSON behind the name of its character set.
fn user_comment(record: &FrameRecord) -> Vec<u8> {
    let info = &record.info;
    let json = serde_json::json!({
        "order": record.order,
        "device": record.device,
        "number": info.number,
        "rig_time_ns": info.rig_time_ns,
        "phase_error_ns": info.phase_error_ns,
        "clock_uncertainty_ns": info.clock_uncertainty_ns,
        "lock": info.lock,
        "sync": info.sync,
    });
    let mut comment = b"ASCII\0\0\0".to_vec();
    comment.extend(json.to_string().into_bytes());
    comment
}

/// An exposure as seconds over units of a second, exact to the nanosecond below 4 s and to the microsecond
/// above.
fn exposure_time(exposure: Span) -> Option<(u32, u32)> {
    let nanos = u64::try_from(exposure.as_nanos()).ok().filter(|nanos| *nanos > 0)?;
    let reduced = |count: u64, per: u64| {
        let (mut a, mut b) = (count, per);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Some((u32::try_from(count / a).ok()?, u32::try_from(per / a).ok()?))
    };
    reduced(nanos, 1_000_000_000).or_else(|| reduced(nanos / 1000, 1_000_000))
}

/// A field's value.
enum Value {
    Ascii(String),
    Short(u16),
    Long(u32),
    Rational(u32, u32),
    Undefined(Vec<u8>),
}

impl Value {
    /// Type, count and bytes.
    fn encode(&self) -> (u16, usize, Vec<u8>) {
        match self {
            Self::Ascii(text) => {
                // 7-bit only, and the text ends at the first zero.
                let plain = |c: char| if c.is_ascii() && !c.is_ascii_control() { c } else { '?' };
                let mut bytes = text.chars().take(MAX_TEXT).map(plain).collect::<String>().into_bytes();
                bytes.push(0);
                (2, bytes.len(), bytes)
            }
            Self::Short(value) => (3, 1, value.to_le_bytes().to_vec()),
            Self::Long(value) => (4, 1, value.to_le_bytes().to_vec()),
            Self::Rational(count, per) => (5, 1, [count.to_le_bytes(), per.to_le_bytes()].concat()),
            Self::Undefined(bytes) => (7, bytes.len(), bytes.clone()),
        }
    }
}

/// Appends a directory that stands `at` bytes from the TIFF's start, and what its fields hold. Fields are in
/// the order of their tags.
fn write_ifd(tiff: &mut Vec<u8>, at: usize, fields: &[(u16, Value)]) {
    let mut data = Vec::new();
    let data_at = at + 2 + 12 * fields.len() + 4;
    tiff.extend(u16::try_from(fields.len()).expect("a dozen fields").to_le_bytes());
    for (tag, value) in fields {
        let (kind, count, mut bytes) = value.encode();
        tiff.extend(tag.to_le_bytes());
        tiff.extend(kind.to_le_bytes());
        tiff.extend(offset(count).to_le_bytes());
        if bytes.len() <= 4 {
            bytes.resize(4, 0);
            tiff.extend(bytes);
        } else {
            tiff.extend(offset(data_at + data.len()).to_le_bytes());
            data.extend(bytes);
            // Values stand at even offsets.
            data.resize(data.len().next_multiple_of(2), 0);
        }
    }
    tiff.extend([0; 4]); // no directory follows
    tiff.extend(data);
}

/// A length or an offset as TIFF has it.
fn offset(value: usize) -> u32 {
    u32::try_from(value).expect("a dozen fields, the longest of which are cut")
}

#[cfg(test)]
mod tests;
