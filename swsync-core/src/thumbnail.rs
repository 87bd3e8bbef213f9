//! A request to a device: one of the frames in its ring as a small picture, scaled there.
//!
//! A reply is a line of JSON in the control plane's envelope, followed by the JPEG ([`crate::message::frame`]).

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::grid::FrameNumber;
use crate::name::DeviceId;
use crate::time::{Rig, Timestamp};

/// Widths that can be asked for, in pixels: a bound on the device's work, and on what the network carries.
pub const WIDTHS: std::ops::RangeInclusive<u16> = 16..=640;

/// Longest picture of a reply, in bytes. Chosen: four times what a noisy picture of 640x480 takes at the quality of thumbnails.
pub const MAX_THUMBNAIL: usize = 256 << 10;

/// A request to a device. Older devices refuse it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThumbnailRequest {
    /// The frame; `None`: the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<FrameNumber>,
    /// Most pixels in a row, one of [`WIDTHS`].
    #[serde(deserialize_with = "width")]
    pub width: u16,
}

/// A device's reply, which the picture follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThumbnailReply {
    /// The device.
    pub device: DeviceId,
    /// The frame that is shown: of encoded video the last key frame until the one that was asked for.
    pub frame: FrameNumber,
    /// Its time.
    pub at_ns: Timestamp<Rig>,
    /// The picture as JPEG.
    #[serde(skip)]
    pub jpeg: Vec<u8>,
}

fn width<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let width = u16::deserialize(deserializer)?;
    match WIDTHS.contains(&width) {
        true => Ok(width),
        false => {
            Err(D::Error::custom(format_args!("width {width} is not {} to {}", WIDTHS.start(), WIDTHS.end())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{decode_request, encode, frame, unframe};
    use crate::name::Name;

    #[test]
    fn a_request_is_bounded() {
        for (width, fits) in [(15, false), (16, true), (640, true), (641, false)] {
            let request = ThumbnailRequest { frame: Some(7), width };
            let read = decode_request::<ThumbnailRequest>(&encode(&request));
            assert_eq!(read.ok(), fits.then_some(request), "{width}");
        }
    }

    #[test]
    fn the_picture_follows_the_reply() {
        let device = Name::new("a").unwrap();
        let reply = ThumbnailReply { device, frame: 7, at_ns: Timestamp::from_nanos(9), jpeg: Vec::new() };
        let framed = frame(&reply, b"\xff\xd8\n");
        assert_eq!(unframe(&framed, 3).unwrap(), (reply, &b"\xff\xd8\n"[..]));
        assert!(unframe::<ThumbnailReply>(&framed, 2).is_err(), "longer than allowed");
    }
}
