//! The pipeline that a configuration gets.

use clap::ValueEnum;
use swsync_core::name::Name;

/// The property of swsyncclock that a further camera's pipeline has its id in.
pub const DEVICE_ID: &str = "device-id=";

/// How frames are saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Encoder {
    /// One JPEG file for each frame.
    Jpeg,
    /// H.264 by the encoder of a Raspberry Pi 4 or earlier, in MP4 files.
    #[value(name = "h264-pi4")]
    H264Pi4,
    /// H.264 in software (x264), in MP4 files. A Raspberry Pi 5 manages 1920x1080 at 30/s.
    H264,
}

/// What there is to choose.
pub struct Pipeline {
    /// In the pipeline, since config.toml has that of another one.
    pub device_id: Option<Name>,
    pub camera: Option<String>,
    pub simulated: bool,
    pub size: (u32, u32),
    pub fps: u32,
    pub encoder: Encoder,
    pub location: String,
}

impl Pipeline {
    /// The file that swsync-device reads.
    pub fn configuration(&self) -> String {
        let source = match (&self.camera, self.simulated) {
            (Some(camera), _) => format!("swsyncsrc camera-name=\"{camera}\""),
            (None, true) => "swsyncsrc backend=simulated".to_owned(),
            (None, false) => "swsyncsrc".to_owned(),
        };
        let id = self.device_id.as_ref().map(|id| format!(" {DEVICE_ID}{id}")).unwrap_or_default();
        let (width, height) = self.size;
        let fps = self.fps;
        let encoder = match self.encoder {
            Encoder::Jpeg => "videoconvert ! jpegenc".to_owned(),
            // The level is what makes the encoder take 1080p30; headers before each key frame, so that any take can begin there.
            Encoder::H264Pi4 => format!(
                "v4l2h264enc extra-controls=\"controls,repeat_sequence_header=1,h264_i_frame_period={fps}\"\n    \
                 ! video/x-h264,level=(string)4.2 ! h264parse"
            ),
            Encoder::H264 => {
                format!(
                    "videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast bframes=0 key-int-max={fps} ! h264parse"
                )
            }
        };
        format!(
            "# A camera of this device, for swsync-device@.service; by swsync install-device.\n\
             # The pipeline is written as for gst-launch-1.0. Which rig it joins is in /etc/swsync/config.toml.\n\n\
             pipeline = '''\n\
             swsyncclock{id}\n\
             {source}\n    \
             ! video/x-raw,width={width},height={height},framerate={fps}/1\n    \
             ! {encoder}\n    \
             ! swsyncsink location=\"{}\"\n\
             '''\n",
            self.location
        )
    }
}

/// A size, as `1920x1080`.
pub fn size(text: &str) -> Result<(u32, u32), String> {
    let sides =
        text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    sides
        .filter(|(width, height)| (16..=16384).contains(width) && (16..=16384).contains(height))
        .ok_or_else(|| "a size is WIDTHxHEIGHT in pixels, for instance 1920x1080".to_owned())
}

pub fn size_text((width, height): (u32, u32)) -> String {
    format!("{width}x{height}")
}

pub fn rate(text: &str) -> Result<u32, String> {
    let rate = text.parse().ok().filter(|rate| (1..=1000).contains(rate));
    rate.ok_or_else(|| "a rate is a whole number of frames per second, from 1 to 1000".to_owned())
}

/// A folder.
pub fn location(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("a folder is an absolute path".to_owned());
    }
    quotable(text)
}

/// What can stand between double quotes in a pipeline, inside a text of TOML between three single ones.
pub fn quotable(text: &str) -> Result<String, String> {
    if text.contains(['"', '\'', '\\', '\n']) {
        return Err("it may have neither quotes nor backslashes".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_rates_and_folders() {
        assert_eq!(size("1280x720"), Ok((1280, 720)));
        assert!(size("1280").is_err() && size("0x0").is_err() && size("99999x9").is_err());
        assert_eq!(rate("60"), Ok(60));
        assert!(rate("0").is_err() && rate("29.97").is_err());
        assert!(location("/media/stick").is_ok());
        assert!(location("takes").is_err() && location("/a\"b").is_err());
    }
}
