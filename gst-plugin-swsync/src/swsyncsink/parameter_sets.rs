//! Checks whether a video file can begin with a key frame. H.264 and H.265 as byte streams carry their parameter sets in the stream,
//! and some encoders (x265enc) send them only once.

/// Whether a file can begin with the key frame in `bytes`, of a stream of `caps`.
///
/// # Errors
/// What is missing, for a person.
pub fn check(caps: &gst::CapsRef, bytes: &[u8]) -> Result<(), String> {
    let Some(structure) = caps.structure(0) else { return Ok(()) };
    let parser = match (structure.name().as_str(), structure.get::<&str>("stream-format")) {
        ("video/x-h264", Ok("byte-stream")) => "h264parse",
        ("video/x-h265", Ok("byte-stream")) => "h265parse",
        _ => return Ok(()),
    };
    let kinds = bytes.windows(4).filter(|window| window[..3] == [0, 0, 1]).map(|window| match parser {
        "h264parse" => kind_of_h264(window[3]),
        _ => kind_of_h265(window[3]),
    });
    match kinds.into_iter().find(|kind| *kind != Unit::Other) {
        Some(Unit::Slice) => Err(format!(
            "the key frame lacks the parameters to decode it, which the encoder sent only once: put `{parser} \
             config-interval=-1` before swsyncsink"
        )),
        Some(Unit::Parameters | Unit::Other) | None => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// A sequence parameter set.
    Parameters,
    /// A part of the picture.
    Slice,
    Other,
}

/// ITU-T H.264, table 7-1.
const fn kind_of_h264(header: u8) -> Unit {
    match header & 0x1f {
        7 => Unit::Parameters,
        1..=5 => Unit::Slice,
        _ => Unit::Other,
    }
}

/// ITU-T H.265, table 7-1.
const fn kind_of_h265(header: u8) -> Unit {
    match header >> 1 & 0x3f {
        33 => Unit::Parameters,
        0..=31 => Unit::Slice,
        _ => Unit::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_without_parameter_sets_is_refused() {
        gst::init().unwrap();
        let caps =
            |media: &str, format: &str| gst::Caps::builder(media).field("stream-format", format).build();
        let unit = |header: u8| vec![0, 0, 0, 1, header, 9, 9];
        let (h264, h265) = (caps("video/x-h264", "byte-stream"), caps("video/x-h265", "byte-stream"));
        for (caps, delimiter, parameters, slice) in
            [(&h264, 9, 0x67, 0x65), (&h265, 35 << 1, 33 << 1, 21 << 1)]
        {
            let whole = [unit(delimiter), unit(parameters), unit(slice)].concat();
            let bare = [unit(delimiter), unit(slice)].concat();
            assert!(check(caps, &whole).is_ok() && check(caps, b"no such stream").is_ok());
            assert!(check(caps, &bare).unwrap_err().contains("config-interval=-1"));
        }
        assert!(check(&caps("video/x-h264", "avc"), &unit(0x65)).is_ok(), "they are in the caps");
    }
}
