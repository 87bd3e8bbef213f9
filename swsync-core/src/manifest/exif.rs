//! Adds an Exif segment (CIPA DC-008, Exif 2.32) with a frame's time and number to a JPEG. The picture stays as it is.

use super::FrameRecord;
use super::utc::date;
use crate::frame::FrameInfo;
use crate::time::Span;

/// The beginning of an Exif segment, after its marker and length.
const SIGNATURE: &[u8] = b"Exif\0\0";

/// Longest text of a field, in characters.
const MAX_TEXT: usize = 200;

// Tags, Exif 2.32 tables 4 and 8.
const MAKE: u16 = 0x010f;
const MODEL: u16 = 0x0110;
const ORIENTATION: u16 = 0x0112;
const X_RESOLUTION: u16 = 0x011a;
const Y_RESOLUTION: u16 = 0x011b;
const RESOLUTION_UNIT: u16 = 0x0128;
const SOFTWARE: u16 = 0x0131;
const YCBCR_POSITIONING: u16 = 0x0213;
const EXPOSURE_TIME: u16 = 0x829a;
const EXIF_IFD: u16 = 0x8769;
const PHOTOGRAPHIC_SENSITIVITY: u16 = 0x8827;
const SENSITIVITY_TYPE: u16 = 0x8830;
const EXIF_VERSION: u16 = 0x9000;
const DATE_TIME_ORIGINAL: u16 = 0x9003;
const OFFSET_TIME_ORIGINAL: u16 = 0x9011;
const COMPONENTS_CONFIGURATION: u16 = 0x9101;
const USER_COMMENT: u16 = 0x9286;
const SUB_SEC_TIME_ORIGINAL: u16 = 0x9291;
const FLASHPIX_VERSION: u16 = 0xa000;
const COLOR_SPACE: u16 = 0xa001;
const PIXEL_X_DIMENSION: u16 = 0xa002;
const PIXEL_Y_DIMENSION: u16 = 0xa003;
const CAMERA_OWNER_NAME: u16 = 0xa430;
const BODY_SERIAL_NUMBER: u16 = 0xa431;

/// ISO speed at a gain of 1. libcamera does not report a sensor's own; rpicam-apps assumes the same.
const ISO_AT_UNIT_GAIN: f64 = 100.0;

/// Camera and software of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Maker of the camera. Empty: not known.
    pub make: &'a str,
    /// Model of the camera. Empty: not known.
    pub model: &'a str,
    /// The software, as in `swsync 0.1.0`.
    pub software: &'a str,
    /// Exif orientation, used if the JPEG has none.
    pub orientation: Option<u16>,
}

/// Why an Exif segment cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JpegError {
    /// The data does not begin like a JPEG.
    #[error("it is not a JPEG: it does not begin with a start-of-image marker")]
    Start,
    /// A segment extends beyond the end, or no picture follows the segments.
    #[error("the JPEG's header is cut short or broken at byte {0}")]
    Header(usize),
}

/// A JPEG with an Exif segment, as slices of the original and the new segment.
#[derive(Debug)]
pub struct WithExif<'a> {
    head: &'a [u8],
    segment: Vec<u8>,
    rest: Vec<&'a [u8]>,
}

impl WithExif<'_> {
    /// The slices, in order.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        [self.head, &self.segment].into_iter().chain(self.rest.iter().copied())
    }

    /// The whole JPEG.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.slices().flatten().copied().collect()
    }

    /// Size of the whole JPEG.
    #[must_use]
    pub fn size(&self) -> usize {
        self.slices().map(<[u8]>::len).sum()
    }
}

/// `jpeg` with an Exif segment about the frame of `record` and its `origin`.
///
/// | field | value |
/// | --- | --- |
/// | DateTimeOriginal, SubSecTimeOriginal, OffsetTimeOriginal | rig time in UTC, cut to the microsecond: some readers take six digits at most |
/// | UserComment | JSON with the frame's number, and what the manifest has about its time, in nanoseconds |
/// | CameraOwnerName, BodySerialNumber | the device's id, so that programs with intrinsics per camera tell devices of one model apart |
///
/// The segment is put after JFIF's (APP0), where readers expect it. It replaces an Exif segment of the JPEG, whose date would
/// contradict it, but takes over the orientation.
///
/// # Errors
/// [`JpegError`] if `jpeg` is not a JPEG. It can still be saved as it is.
pub fn with_exif<'a>(
    jpeg: &'a [u8],
    record: &FrameRecord,
    origin: &Origin,
) -> Result<WithExif<'a>, JpegError> {
    if !jpeg.starts_with(&[0xff, 0xd8]) {
        return Err(JpegError::Start);
    }
    let (mut insert_at, mut at) = (2, 2);
    let (mut orientation, mut size) = (None, None);
    let mut old = Vec::new();
    loop {
        let segment = Segment::read(jpeg, at).ok_or(JpegError::Header(at))?;
        match segment.marker {
            0xe0 if insert_at == at => insert_at = segment.end,
            0xe1 if segment.body.starts_with(SIGNATURE) => {
                orientation = orientation.or_else(|| read_orientation(&segment.body[SIGNATURE.len()..]));
                old.push((at, segment.end));
            }
            // Start of frame; 0xc4, 0xc8 and 0xcc are other segments (ITU-T T.81, table B.1).
            0xc0..=0xcf if !matches!(segment.marker, 0xc4 | 0xc8 | 0xcc) => {
                size = size.or_else(|| read_size(segment.body));
            }
            // Start of scan: the picture follows.
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
    Ok(WithExif {
        head: &jpeg[..insert_at],
        segment: app1(record, origin, orientation.or(origin.orientation), size),
        rest,
    })
}

/// A segment of the JPEG header.
struct Segment<'a> {
    marker: u8,
    body: &'a [u8],
    end: usize,
}

impl<'a> Segment<'a> {
    /// The segment whose marker is at `at`. `None`: there is no complete segment.
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

/// Width and height in the body of a start-of-frame segment (ITU-T T.81 B.2.2). `None`: it is cut short, or the height comes
/// only after the picture.
fn read_size(body: &[u8]) -> Option<(u16, u16)> {
    let u16_at = |at: usize| Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?));
    let (height, width) = (u16_at(1)?, u16_at(3)?);
    (width > 0 && height > 0).then_some((width, height))
}

/// The orientation in the TIFF part of an Exif segment. `None`: there is no valid one.
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

/// The whole APP1 segment with its marker. `size`: width and height of the picture.
fn app1(
    record: &FrameRecord,
    origin: &Origin,
    orientation: Option<u16>,
    size: Option<(u16, u16)>,
) -> Vec<u8> {
    let exif = exif_fields(record, size);
    let mut main = main_fields(origin, orientation);

    let mut tiff = b"II\x2a\0\x08\0\0\0".to_vec();
    // The second directory follows the first, whose length does not depend on the pointer in it.
    let mut length = Vec::new();
    write_ifd(&mut length, tiff.len(), &main);
    let second = tiff.len() + length.len();
    if let Some((_, pointer)) = main.last_mut() {
        *pointer = Value::Long(offset(second));
    }
    write_ifd(&mut tiff, 8, &main);
    write_ifd(&mut tiff, second, &exif);

    let length = u16::try_from(2 + SIGNATURE.len() + tiff.len())
        .expect("two dozen fields, the longest of which are cut, stay far below 64 KiB");
    let mut segment = vec![0xff, 0xe1];
    segment.extend(length.to_be_bytes());
    segment.extend(SIGNATURE);
    segment.extend(tiff);
    segment
}

/// The fields of the first directory. The last one is the pointer to the second directory, still 0.
fn main_fields(origin: &Origin, orientation: Option<u16>) -> Vec<(u16, Value)> {
    let text = |text: &str| (!text.is_empty()).then(|| Value::Ascii(text.to_owned()));
    let fields = [
        (MAKE, text(origin.make)),
        (MODEL, text(origin.model)),
        (ORIENTATION, orientation.map(Value::Short)),
        // 72 pixels per inch: the standard's value for an unknown resolution.
        (X_RESOLUTION, Some(Value::Rational(72, 1))),
        (Y_RESOLUTION, Some(Value::Rational(72, 1))),
        (RESOLUTION_UNIT, Some(Value::Short(2))),
        (SOFTWARE, text(origin.software)),
        // Centred, as in JFIF.
        (YCBCR_POSITIONING, Some(Value::Short(1))),
        (EXIF_IFD, Some(Value::Long(0))),
    ];
    known(fields)
}

/// The fields of the second directory.
fn exif_fields(record: &FrameRecord, size: Option<(u16, u16)>) -> Vec<(u16, Value)> {
    let info = &record.info;
    let date = date(info.rig_time_ns);
    let device = || Some(Value::Ascii(record.device.to_string()));
    let iso = iso_speed(info);
    let fields = [
        (
            EXPOSURE_TIME,
            info.exposure_ns.and_then(exposure_time).map(|(count, per)| Value::Rational(count, per)),
        ),
        (PHOTOGRAPHIC_SENSITIVITY, iso.map(Value::Short)),
        // 0: it is not known which definition of ISO 12232 applies.
        (SENSITIVITY_TYPE, iso.map(|_| Value::Short(0))),
        (EXIF_VERSION, Some(Value::Undefined(b"0232".to_vec()))),
        (DATE_TIME_ORIGINAL, Some(Value::Ascii(date.strftime("%Y:%m:%d %H:%M:%S").to_string()))),
        (OFFSET_TIME_ORIGINAL, Some(Value::Ascii("+00:00".into()))),
        // Y, Cb, Cr.
        (COMPONENTS_CONFIGURATION, Some(Value::Undefined(vec![1, 2, 3, 0]))),
        (USER_COMMENT, Some(Value::Undefined(user_comment(record)))),
        (SUB_SEC_TIME_ORIGINAL, Some(Value::Ascii(date.strftime("%6f").to_string()))),
        (FLASHPIX_VERSION, Some(Value::Undefined(b"0100".to_vec()))),
        // sRGB.
        (COLOR_SPACE, Some(Value::Short(1))),
        (PIXEL_X_DIMENSION, size.map(|(width, _)| Value::Long(width.into()))),
        (PIXEL_Y_DIMENSION, size.map(|(_, height)| Value::Long(height.into()))),
        (CAMERA_OWNER_NAME, device()),
        (BODY_SERIAL_NUMBER, device()),
    ];
    known(fields)
}

/// The fields that have a value.
fn known<const N: usize>(fields: [(u16, Option<Value>); N]) -> Vec<(u16, Value)> {
    fields.into_iter().filter_map(|(tag, value)| Some((tag, value?))).collect()
}

/// The ISO speed of the gains. `None`: the camera does not report them, or the field cannot hold the value.
fn iso_speed(info: &FrameInfo) -> Option<u16> {
    let gain = info.analogue_gain? * info.details.digital_gain.map_or(1.0, f64::from);
    let speed = (gain * ISO_AT_UNIT_GAIN).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the range of u16, and whole"
    )]
    (1.0..f64::from(u16::MAX)).contains(&speed).then_some(speed as u16)
}

/// What the manifest has about the frame's time, as JSON after the name of the character set.
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

/// An exposure time in seconds as a fraction, exact to the nanosecond below 4 s and to the microsecond above.
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
    /// Field type, count and bytes (TIFF 6.0, section 2).
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

/// Appends a directory at offset `at` of the TIFF, and the data of its fields. Fields must be ordered by tag.
fn write_ifd(tiff: &mut Vec<u8>, at: usize, fields: &[(u16, Value)]) {
    let mut data = Vec::new();
    let data_at = at + 2 + 12 * fields.len() + 4;
    tiff.extend(u16::try_from(fields.len()).expect("two dozen fields").to_le_bytes());
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
            // Values are at even offsets.
            data.resize(data.len().next_multiple_of(2), 0);
        }
    }
    tiff.extend([0; 4]); // no directory follows
    tiff.extend(data);
}

/// A length or offset of TIFF.
fn offset(value: usize) -> u32 {
    u32::try_from(value).expect("two dozen fields, the longest of which are cut")
}

#[cfg(test)]
mod tests;
