use std::io::Cursor;

use exif::{Exif, In, Reader, Tag};
use proptest::prelude::*;

use super::super::testing::record;
use super::*;

const ORIGIN: Origin =
    Origin { make: "Raspberry Pi", model: "imx708", software: "swsync 0.1.0", orientation: None };

/// The end of a JPEG: start of scan with some entropy-coded bytes, end of image.
const PICTURE: &[u8] = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\xaa\xff\x00\xe1\xff\xd9";
const JFIF: &[u8] = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";
/// Start of frame, baseline: 640 x 480.
const FRAME: &[u8] = b"\xff\xc0\x00\x0b\x08\x01\xe0\x02\x80\x01\x01\x11\x00";
const TABLE: &[u8] = b"\xff\xdb\x00\x04\x00\x01";

fn jpeg(segments: &[&[u8]]) -> Vec<u8> {
    [&[&b"\xff\xd8"[..]], segments, &[PICTURE]].concat().concat()
}

fn tagged(jpeg: &[u8]) -> Vec<u8> {
    let with = with_exif(jpeg, &record(), &ORIGIN).unwrap();
    let bytes = with.to_vec();
    assert_eq!(bytes.len(), with.size());
    bytes
}

/// Reads with an independent library.
fn read(jpeg: &[u8]) -> Exif {
    Reader::new().read_from_container(&mut Cursor::new(jpeg)).unwrap()
}

fn text(exif: &Exif, tag: Tag) -> Option<String> {
    Some(exif.get_field(tag, In::PRIMARY)?.display_value().to_string())
}

#[test]
fn an_independent_reader_finds_the_fields() {
    let exif = read(&tagged(&jpeg(&[JFIF, TABLE, FRAME])));
    for (tag, value) in [
        (Tag::Make, "\"Raspberry Pi\""),
        (Tag::Model, "\"imx708\""),
        (Tag::Software, "\"swsync 0.1.0\""),
        (Tag::DateTimeOriginal, "2027-01-15 08:00:00"),
        (Tag::SubSecTimeOriginal, "\"033333\""),
        (Tag::OffsetTimeOriginal, "\"+00:00\""),
        (Tag::ExposureTime, "1/10000"),
        (Tag::ExifVersion, "2.32"),
        (Tag::PhotographicSensitivity, "150"),
        (Tag::PixelXDimension, "640"),
        (Tag::PixelYDimension, "480"),
        (Tag::CameraOwnerName, "\"pi1\""),
        (Tag::BodySerialNumber, "\"pi1\""),
    ] {
        assert_eq!(text(&exif, tag).as_deref(), Some(value), "{tag}");
    }
    assert_eq!(text(&exif, Tag::Orientation), None);
    let exif::Value::Undefined(comment, _) = &exif.get_field(Tag::UserComment, In::PRIMARY).unwrap().value
    else {
        panic!("a comment is bytes of undefined type")
    };
    let json: serde_json::Value =
        serde_json::from_slice(comment.strip_prefix(b"ASCII\0\0\0").unwrap()).unwrap();
    assert_eq!(json["number"], 54_000_000_001_u64);
    assert_eq!(json["rig_time_ns"], 1_800_000_000_033_333_400_i64);
    assert_eq!((&json["device"], &json["lock"]), (&"pi1".into(), &"locked".into()));
}

#[test]
fn the_picture_is_unchanged_and_jfif_comes_first() {
    for before in [&[JFIF, TABLE][..], &[JFIF, JFIF, TABLE], &[TABLE], &[]] {
        let plain = jpeg(before);
        let bytes = tagged(&plain);
        let app0 = before.iter().take_while(|segment| **segment == JFIF).count() * JFIF.len();
        assert!(bytes.starts_with(&plain[..2 + app0]));
        assert_eq!(bytes[2 + app0..][..2], [0xff, 0xe1]);
        assert!(bytes.ends_with(&plain[2 + app0..]), "every other byte is unchanged");
    }
}

#[test]
fn an_old_exif_segment_is_replaced_but_its_orientation_is_kept() {
    let mut old = app1(&record(), &Origin { model: "another", ..ORIGIN }, Some(6), None);
    let xmp = b"\xff\xe1\x00\x08http:/";
    for _ in 0..2 {
        let bytes = tagged(&jpeg(&[JFIF, xmp, &old, TABLE]));
        let exif = read(&bytes);
        assert_eq!(text(&exif, Tag::Model).as_deref(), Some("\"imx708\""));
        assert_eq!(exif.get_field(Tag::Orientation, In::PRIMARY).unwrap().value.get_uint(0), Some(6));
        assert_eq!(bytes.windows(6).filter(|window| *window == SIGNATURE).count(), 1);
        assert_eq!(bytes, tagged(&bytes), "writing it again changes nothing");
        assert!(bytes.windows(xmp.len()).any(|window| window == xmp));
        // In the other byte order, by hand: one entry, orientation 6.
        let tiff = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        old = [&b"\xff\xe1\x00\x22"[..], SIGNATURE, tiff].concat();
    }
}

#[test]
fn unknown_values_are_left_out() {
    let mut unknown = record();
    (unknown.info.exposure_ns, unknown.info.analogue_gain) = (None, None);
    let origin = Origin { make: "", model: "", software: "swsync", orientation: None };
    let plain = jpeg(&[JFIF]);
    let with = with_exif(&plain, &unknown, &origin).unwrap();
    let exif = read(&with.to_vec());
    for tag in [Tag::Make, Tag::Model, Tag::ExposureTime, Tag::PhotographicSensitivity, Tag::PixelXDimension]
    {
        assert_eq!(text(&exif, tag), None);
    }
}

#[test]
fn exposures_are_fractions() {
    for (nanos, fraction) in [
        (100_000, Some((1, 10_000))),
        (8_333_000, Some((8333, 1_000_000))),
        (1, Some((1, 1_000_000_000))),
        (2_000_000_000, Some((2, 1))),
        (6_000_001_000, Some((6_000_001, 1_000_000))),
        (0, None),
        (-5, None),
        (i64::MAX, None),
    ] {
        assert_eq!(exposure_time(Span::from_nanos(nanos)), fraction, "{nanos}");
    }
}

#[test]
fn gains_are_an_iso_speed() {
    for (analogue, digital, speed) in [
        (Some(1.0), None, Some(100)),
        (Some(2.5), Some(1.5), Some(375)),
        (Some(700.0), None, None),
        (Some(0.0), None, None),
        (Some(f64::NAN), None, None),
        (None, Some(2.0), None),
    ] {
        let mut info = record().info;
        (info.analogue_gain, info.details.digital_gain) = (analogue, digital);
        assert_eq!(iso_speed(&info), speed, "{analogue:?} {digital:?}");
    }
}

#[test]
fn long_and_non_ascii_names_are_made_safe() {
    let long = "é\0".repeat(100_000);
    let origin = Origin { make: &long, model: &long, software: "swsync", orientation: None };
    let plain = jpeg(&[JFIF]);
    let with = with_exif(&plain, &record(), &origin).unwrap();
    let exif = read(&with.to_vec());
    assert_eq!(text(&exif, Tag::Model), Some(format!("\"{}\"", "?".repeat(MAX_TEXT))));
}

#[test]
fn other_data_than_a_jpeg_is_refused() {
    let with = |bytes: &[u8]| with_exif(bytes, &record(), &ORIGIN).map(|_| ()).unwrap_err();
    assert_eq!(with(b""), JpegError::Start);
    assert_eq!(with(b"\x89PNG"), JpegError::Start);
    assert_eq!(with(b"\xff\xd8"), JpegError::Header(2));
    assert_eq!(with(b"\xff\xd8\xff\xe0\x00\x10JF"), JpegError::Header(2));
    assert_eq!(with(b"\xff\xd8\xff\xe0\x00\x00"), JpegError::Header(2));
    assert_eq!(with(b"\xff\xd8\x00"), JpegError::Header(2));
}

proptest! {
    #[test]
    fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), jpeg in any::<bool>()) {
        if jpeg && bytes.len() > 4 {
            bytes[..4].copy_from_slice(b"\xff\xd8\xff\xe1");
        }
        let _ = with_exif(&bytes, &record(), &ORIGIN);
        let _ = read_orientation(&bytes);
    }

    #[test]
    fn a_broken_exif_segment_does_not_damage_the_picture(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let length = u16::try_from(2 + SIGNATURE.len() + body.len()).unwrap().to_be_bytes();
        let old = [&b"\xff\xe1"[..], &length, SIGNATURE, &body].concat();
        let bytes = tagged(&jpeg(&[JFIF, &old, TABLE]));
        prop_assert!(bytes.ends_with(&[TABLE, PICTURE].concat()));
        prop_assert!(text(&read(&bytes), Tag::DateTimeOriginal).is_some());
    }
}
