//! Caps: the template of cameras, the frame grid of a stream, and file extensions.

use swsync_core::grid::FrameGrid;

/// Caps feature of dma-bufs.
#[cfg(any(feature = "libcamera", feature = "simulation"))]
pub const DMABUF: &str = "memory:DMABuf";

/// All formats that any camera may deliver.
///
/// Raw video in dma-bufs has no format here. From 1.24 on GStreamer names these as DRM does (`format=DMA_DRM`), before as
/// others. The camera's caps say which.
#[cfg(any(feature = "libcamera", feature = "simulation"))]
pub fn template_caps() -> gst::Caps {
    let mut dma_bufs = gst_video::VideoCapsBuilder::new().features([DMABUF]).build();
    dma_bufs.make_mut().iter_mut().for_each(|structure| structure.remove_field("format"));
    [
        gst_video::VideoCapsBuilder::new().build(),
        dma_bufs,
        gst::Caps::new_empty_simple("image/jpeg"),
        gst::Caps::new_empty_simple("video/x-bayer"),
    ]
    .into_iter()
    .collect()
}

/// The frame grid of fixed `caps`.
///
/// # Errors
/// Why they have none, for people.
pub fn grid_of(caps: &gst::CapsRef) -> Result<FrameGrid, String> {
    check_alignment(caps)?;
    let rate = caps
        .structure(0)
        .and_then(|s| s.get::<gst::Fraction>("framerate").ok())
        .ok_or("frames are numbered by their rate, but the caps have no framerate")?;
    let part = |number: i32| u32::try_from(number).unwrap_or(0);
    FrameGrid::new(part(rate.numer()), part(rate.denom())).map_err(|error| error.to_string())
}

/// Checks that each buffer of `caps` is a whole frame.
fn check_alignment(caps: &gst::CapsRef) -> Result<(), String> {
    let Some(structure) = caps.structure(0) else { return Ok(()) };
    let Ok(alignment) = structure.get::<&str>("alignment") else { return Ok(()) };
    let (media, parser, whole) = match structure.name().as_str() {
        // h264parse 1.26 fails to convert parts of frames to other stream formats.
        media @ "video/x-h264" => (media, "h264parse", "stream-format=byte-stream,alignment=au"),
        media @ "video/x-h265" => (media, "h265parse", "stream-format=byte-stream,alignment=au"),
        media @ "video/x-av1" => (media, "av1parse", "alignment=tu"),
        media @ "video/x-vp9" => (media, "vp9parse", "alignment=super-frame"),
        _ => return Ok(()),
    };
    if whole.ends_with(&format!("alignment={alignment}")) {
        return Ok(());
    }
    Err(format!(
        "buffers with alignment={alignment} are parts of frames: put `{parser} ! {media},{whole}` before this element, \
         and leave out what asks for alignment={alignment}"
    ))
}

/// The extension of files that hold buffers of fixed `caps`.
pub fn extension_of(caps: &gst::CapsRef) -> &'static str {
    match caps.structure(0).map(|structure| structure.name().as_str()) {
        Some("image/jpeg") => "jpg",
        Some("image/png") => "png",
        Some("image/tiff") => "tif",
        Some("image/webp") => "webp",
        Some("video/x-h264") => "h264",
        Some("video/x-h265") => "h265",
        Some("video/x-bayer") => "bayer",
        _ => "raw",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    #[test]
    fn caps_tell_grid_and_extension() {
        gst::init().unwrap();
        let caps = gst::Caps::from_str("image/jpeg,framerate=30000/1001").unwrap();
        assert_eq!(grid_of(&caps).unwrap().rate(), (30_000, 1_001));
        assert_eq!(extension_of(&caps), "jpg");
        for none in ["video/x-raw", "video/x-raw,framerate=0/1"] {
            let caps = gst::Caps::from_str(none).unwrap();
            assert!(grid_of(&caps).is_err());
            assert_eq!(extension_of(&caps), "raw");
        }
        for (part, remedy) in [
            ("video/x-h264,alignment=nal", "h264parse ! video/x-h264,stream-format=byte-stream,alignment=au"),
            ("video/x-av1,alignment=obu", "av1parse ! video/x-av1,alignment=tu"),
            ("video/x-vp9,alignment=frame", "vp9parse ! video/x-vp9,alignment=super-frame"),
        ] {
            let caps = gst::Caps::from_str(&format!("{part},framerate=30/1")).unwrap();
            assert!(grid_of(&caps).unwrap_err().contains(remedy));
        }
    }
}
