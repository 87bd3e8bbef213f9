//! What a status says of a device beside clock, frames and orders: its camera, its host, its versions, its last error.

use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use swsync_core::frame::FrameInfo;
use swsync_core::status::{CameraMode, CameraStatus, HostStatus, TimedError, Versions};
use swsync_host::{HostRoot, HostSampler, board};

use super::element::ElementHooks;
use super::error_watch::ErrorWatch;
use super::source_info::CameraInfo;
use super::stored_frame::Stream;

/// One for all elements of the process: they run on one host.
static HOST: LazyLock<HostSampler> = LazyLock::new(|| HostSampler::new(HostRoot::from_environment()));

/// They stay as they are while the process runs, but for libcamera's, which is known once it is used.
static VERSIONS: LazyLock<Versions> = LazyLock::new(|| {
    let root = HostRoot::from_environment();
    let (major, minor, micro, _) = gst::version();
    Versions {
        gstreamer: Some(format!("{major}.{minor}.{micro}")),
        libcamera: None,
        kernel: board::kernel(&root),
        os: board::os(&root),
    }
});

/// What is known of a device, by its element.
#[derive(Debug, Clone, Default)]
pub struct DeviceDescription {
    /// The camera, by the newest tags.
    pub camera: Arc<Mutex<CameraInfo>>,
    /// The last error of the pipeline. It outlives a restart of the element.
    last_error: Arc<Mutex<Option<TimedError>>>,
}

impl DeviceDescription {
    /// Notes errors of the element's pipeline as long as the result lives. `None`: it is in no pipeline.
    #[must_use]
    pub fn watch_errors(&self, element: &ElementHooks) -> Option<ErrorWatch> {
        ErrorWatch::start(&element.element()?, Arc::clone(&self.last_error))
    }

    /// The last error that was noted.
    pub fn last_error(&self) -> Option<TimedError> {
        self.last_error.lock().clone()
    }

    /// The camera that the frames of `stream` come from.
    pub fn camera_status(&self, stream: &Stream, newest: Option<&FrameInfo>) -> CameraStatus {
        CameraStatus {
            model: self.camera.lock().model.clone(),
            mode: mode_of(stream),
            exposure_ns: newest.and_then(|frame| frame.exposure_ns),
            analogue_gain: newest.and_then(|frame| frame.analogue_gain),
        }
    }
}

/// The host as it was read last. Does not wait.
pub fn host_status() -> Option<HostStatus> {
    HOST.latest()
}

/// What this process runs on.
pub fn versions() -> Versions {
    #[cfg(feature = "libcamera")]
    let libcamera = crate::camera::libcamera::version();
    #[cfg(not(feature = "libcamera"))]
    let libcamera = None;
    Versions { libcamera, ..VERSIONS.clone() }
}

fn mode_of(stream: &Stream) -> Option<CameraMode> {
    let structure = stream.caps.structure(0)?;
    let side = |name: &str| u32::try_from(structure.get::<i32>(name).ok()?).ok();
    let media = structure.name().as_str();
    let format = match structure.get::<&str>("format") {
        Ok(format) => format!("{media} {format}"),
        Err(_) => media.to_owned(),
    };
    Some(CameraMode { width: side("width")?, height: side("height")?, rate: stream.grid, format })
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use swsync_core::time::{Span, Timestamp};

    use super::*;
    use crate::caps::grid_of;

    fn mode(caps: &str) -> Option<CameraMode> {
        gst::init().unwrap();
        let caps = gst::Caps::from_str(caps).unwrap();
        let grid = grid_of(&caps).unwrap();
        mode_of(&Stream::new(caps, grid))
    }

    #[test]
    fn caps_say_the_mode() {
        let jpeg = mode("image/jpeg,width=640,height=480,framerate=30/1").unwrap();
        assert_eq!((jpeg.width, jpeg.height, jpeg.format.as_str()), (640, 480, "image/jpeg"));
        assert_eq!(
            mode("video/x-raw,format=I420,width=64,height=48,framerate=5/1").unwrap().format,
            "video/x-raw I420"
        );
        assert_eq!(mode("image/jpeg,framerate=30/1"), None);
    }

    #[test]
    fn exposure_and_gain_are_those_of_the_newest_frame() {
        gst::init().unwrap();
        let caps = gst::Caps::from_str("image/jpeg,width=640,height=480,framerate=30/1").unwrap();
        let stream = Stream::new(caps.clone(), grid_of(&caps).unwrap());
        let mut frame = FrameInfo::new(1, Timestamp::ZERO, Span::ZERO);
        frame.exposure_ns = Some(Span::from_micros(5_000));
        let description = DeviceDescription::default();
        description.camera.lock().model = Some("imx219".into());
        let camera = description.camera_status(&stream, Some(&frame));
        assert_eq!((camera.model.as_deref(), camera.exposure_ns), (Some("imx219"), frame.exposure_ns));
        assert_eq!(camera.analogue_gain, None);
        assert_eq!(description.camera_status(&stream, None).exposure_ns, None);
    }

    #[test]
    fn versions_are_those_of_this_process() {
        gst::init().unwrap();
        let versions = versions();
        assert!(gst::version_string().to_string().contains(&versions.gstreamer.unwrap()));
        assert!(
            versions.kernel.is_some_and(|kernel| kernel.starts_with(|first: char| first.is_ascii_digit()))
        );
    }
}
