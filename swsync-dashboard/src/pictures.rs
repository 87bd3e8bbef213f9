//! Pictures of a take, small enough for a page: fetched from the device that has them, scaled here.

use std::collections::VecDeque;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, ImageReader, Limits};
use parking_lot::Mutex;
use swsync_client::{RemoteError, RemoteTakes, Rig};
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::share::MAX_CHUNK;

use crate::failure::Failure;

/// Pictures that are kept: a take of a hundred devices, some times over, at some ten kilobytes each.
const KEPT: usize = 512;
/// The largest picture that is read: twice that of the largest sensor of a Raspberry Pi, without compression.
const LARGEST: u64 = 128 << 20;
/// Widths that can be asked for. A bound on work, and on what is kept.
pub const WIDTHS: std::ops::RangeInclusive<u32> = 16..=1_920;
/// Chosen: differences of the panel's LEDs can be seen, and a thumbnail is some ten kilobytes.
const QUALITY: u8 = 80;
/// How long a device may be silent.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pictures that are decoded at once: the rest of the machine has other things to do.
const AT_ONCE: usize = 2;

/// A file of a device's part of a take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileId {
    /// The order.
    pub order: OrderId,
    /// The device.
    pub device: DeviceId,
    /// The path in the take's folder.
    pub path: String,
}

type Kept = (FileId, u32, Arc<[u8]>);

/// The pictures that were scaled lately.
#[derive(Debug)]
pub struct Pictures {
    kept: Mutex<VecDeque<Kept>>,
    places: tokio::sync::Semaphore,
}

impl Default for Pictures {
    fn default() -> Self {
        Self { kept: Mutex::default(), places: tokio::sync::Semaphore::new(AT_ONCE) }
    }
}

impl Pictures {
    /// The picture in `file`, `width` pixels wide at most, as JPEG.
    pub async fn scaled(&self, rig: Rig, file: FileId, width: u32) -> Result<Arc<[u8]>, Failure> {
        let known = |kept: &Kept| kept.0 == file && kept.1 == width;
        if let Some((.., bytes)) = self.kept.lock().iter().find(|kept| known(kept)) {
            return Ok(Arc::clone(bytes));
        }
        let wanted = file.clone();
        let bytes = crate::state::blocking(move || read_whole(&rig, &wanted, LARGEST)).await?;
        let _place = self.places.acquire().await;
        let path = file.path.clone();
        let bytes: Arc<[u8]> = crate::state::blocking(move || scale(&bytes, width, &path)).await?.into();
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((file, width, Arc::clone(&bytes)));
        Ok(bytes)
    }
}

/// Scales a picture to `width`, or leaves it as wide as it is if it is narrower.
fn scale(bytes: &[u8], width: u32, path: &str) -> Result<Vec<u8>, Failure> {
    let no_picture = |why: String| {
        Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("{path} cannot be shown: {why}"),
            "only JPEG pictures can; download the file, or make a report of the take (`swsync report`)",
        )
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Jpeg);
    let mut limits = Limits::default();
    limits.max_alloc = Some(LARGEST * 4);
    reader.limits(limits);
    let picture = reader.decode().map_err(|error| no_picture(error.to_string()))?;
    let picture = match picture.width() > width {
        true => picture.thumbnail(width, u32::MAX),
        false => picture,
    };
    let mut scaled = Vec::new();
    let written = picture.to_rgb8().write_with_encoder(JpegEncoder::new_with_quality(&mut scaled, QUALITY));
    written.map_err(|error| no_picture(error.to_string()))?;
    Ok(scaled)
}

/// A device's failure, with the status code that says whose it is.
pub fn of_remote(error: RemoteError) -> Failure {
    let status = match &error {
        RemoteError::Refused { .. } => StatusCode::NOT_FOUND,
        RemoteError::NoAnswer { .. } => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    let remedy = error.remedy().unwrap_or_else(|| "`swsync takes` lists what there is".into());
    Failure::new(status, error.to_string(), remedy)
}

/// The takes of `device`, which is given up soon: somebody is waiting.
pub fn takes_of(rig: &Rig, device: DeviceId) -> RemoteTakes<'_> {
    RemoteTakes::new(rig.session(), device, PATIENCE, |_| ())
}

/// Fails if no such device is here: it would be waited for in vain.
pub fn check_device(rig: &Rig, device: &DeviceId) -> Result<(), Failure> {
    match rig.devices().here.contains(device) {
        true => Ok(()),
        false => Err(Failure::not_found(
            format!("there is no device {device} in the rig now"),
            "GET /api/v1/status lists the devices",
        )),
    }
}

/// The bytes of a file that has at most `limit`.
pub fn read_whole(rig: &Rig, file: &FileId, limit: u64) -> Result<Vec<u8>, Failure> {
    check_device(rig, &file.device)?;
    let takes = takes_of(rig, file.device.clone());
    let mut all = Vec::new();
    loop {
        let (chunk, bytes) =
            takes.read(&file.order, &file.path, all.len() as u64, MAX_CHUNK).map_err(of_remote)?;
        if chunk.bytes > limit {
            return Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("{} has {} bytes, and at most {limit} are read here", file.path, chunk.bytes),
                "download it instead",
            ));
        }
        let is_end = bytes.is_empty();
        all.extend(bytes);
        if is_end || all.len() as u64 >= chunk.bytes {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    fn jpeg(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let picture = RgbImage::from_fn(width, height, |x, _| [u8::try_from(x % 256).unwrap(), 0, 0].into());
        picture.write_with_encoder(JpegEncoder::new(&mut bytes)).unwrap();
        bytes
    }

    fn size(bytes: &[u8]) -> (u32, u32) {
        let picture = image::load_from_memory(bytes).unwrap();
        (picture.width(), picture.height())
    }

    #[test]
    fn pictures_get_no_larger_and_keep_their_shape() {
        let large = jpeg(640, 480);
        assert_eq!(size(&scale(&large, 160, "a.jpg").unwrap()), (160, 120));
        assert_eq!(size(&scale(&large, 1_920, "a.jpg").unwrap()), (640, 480));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let Err(Failure::Error(status, report)) = scale(b"no picture", 160, "a.mp4") else { panic!() };
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert!(report.message.starts_with("a.mp4 cannot be shown: "), "{}", report.message);
    }
}
