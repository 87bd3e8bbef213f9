//! Negotiates formats with libcamera: which ones a camera's streams can have together, and which it prefers.

use ::libcamera::camera::CameraConfiguration;
use ::libcamera::geometry::Size;
use ::libcamera::pixel_format::PixelFormat;

use super::colour;
use super::formats::{FORMATS, Picture, camera_caps, check_stream, default_configuration};
use super::picture::StreamFormat;
use super::sensor::{self, Limits, REQUESTS};
use super::session::CameraSession;
use crate::camera::{CameraError, DEFAULT_FRAME_RATE, StreamRole, StreamSetup, fixate_nearest};

/// Spare frame buffers beyond the requests in flight, for downstream to hold: one in each of a few elements.
const SPARE: u32 = 4;
/// The same for frames larger than [`LARGE`]: memory that cameras can write to is scarce on small boards.
const SPARE_LARGE: u32 = 2;
/// In bytes; a frame of 2304x1296 in NV12 is below it, one of 4056x3040 above.
const LARGE: u32 = 8 << 20;

impl CameraSession {
    /// All formats of a stream of `role`.
    pub(super) fn caps(&self, role: StreamRole) -> gst::Caps {
        let on_request = self.description.on_request;
        // Before `configure`, only the limits of virtual cameras are valid.
        let limits = sensor::frame_duration_limits(self.camera.get().controls()).filter(|_| on_request);
        let fastest = limits.map(|limits| limits.min_us);
        camera_caps(self.camera.get(), (role, &self.mode), fastest, !on_request || has_dma_buf_heap())
    }

    /// Fixates `caps` to the size and format nearest to libcamera's preference for `role`, to a rate that the mode reaches, and
    /// to the colorimetry that the camera will deliver.
    pub(super) fn fixate(&mut self, role: StreamRole, caps: &gst::Caps) -> gst::Caps {
        let Some(configuration) = default_configuration(self.camera.get(), &[role]) else {
            return caps.clone();
        };
        let preferred = configuration.get(0).map(|stream| (stream.get_pixel_format(), stream.get_size()));
        let Some((pixel, size)) = preferred else {
            return caps.clone();
        };
        let mut caps = nearest_structure(caps, pixel, size);
        if let Some(structure) = caps.make_mut().structure_mut(0) {
            self.limit_rate(role, structure);
        }
        let side = |side| i32::try_from(side).unwrap_or(i32::MAX);
        fixate_nearest(&mut caps, (side(size.width), side(size.height)), DEFAULT_FRAME_RATE);
        for name in colours_asked_for(&caps) {
            let mut candidate = caps.clone();
            if let (Some(structure), Some(name)) = (candidate.make_mut().structure_mut(0), name) {
                structure.set("colorimetry", name);
            }
            candidate.fixate();
            let setup = StreamSetup { role, caps: candidate.clone() };
            let Ok(wanted) = StreamFormat::parse(&setup) else {
                continue;
            };
            if let Ok(configuration) = self.validated(std::slice::from_ref(&wanted)) {
                let space = configuration.get(0).and_then(|stream| stream.get_color_space());
                if let (Some(space), Picture::Raw(_), Some(structure)) =
                    (space, wanted.picture, candidate.make_mut().structure_mut(0))
                {
                    structure.set("colorimetry", colour::colorimetry(space).to_string());
                }
                return candidate;
            }
        }
        caps
    }

    /// Removes rates from `structure`, whose size is fixed, that the mode does not reach. That takes configuring the camera,
    /// so it is left out while the camera streams.
    fn limit_rate(&mut self, role: StreamRole, structure: &mut gst::StructureRef) {
        let mut trial: gst::Caps = structure.to_owned().into();
        fixate_nearest(&mut trial, (0, 0), DEFAULT_FRAME_RATE);
        trial.fixate();
        let Ok(wanted) = StreamFormat::parse(&StreamSetup { role, caps: trial }) else {
            return;
        };
        if self.description.on_request || self.streaming {
            return;
        }
        let limits = self.validated(&[wanted]).ok().and_then(|mut configuration| {
            self.configured = None;
            self.camera.get_mut().configure(&mut configuration).ok()?;
            sensor::frame_duration_limits(self.camera.get().controls())
        });
        if let Some(limits) = limits {
            let asked = gst::Caps::from(structure.to_owned());
            let reached = gst::Caps::builder(structure.name().as_str()).field("framerate", rates_of(limits));
            let both = asked.intersect(&reached.build());
            if let Some(rate) = both.structure(0).and_then(|both| both.value("framerate").ok()) {
                structure.set_value("framerate", rate.clone());
            }
        }
    }

    /// A configuration of these streams that libcamera accepts.
    ///
    /// # Errors
    /// [`CameraError::Format`] with the nearest that libcamera offers.
    pub(super) fn validated(&self, wanted: &[StreamFormat]) -> Result<CameraConfiguration, CameraError> {
        let id = &self.description.id;
        let first =
            wanted.first().ok_or_else(|| CameraError::failed(id, "configuring it", "no stream is wanted"))?;
        let roles: Vec<StreamRole> = wanted.iter().map(|wanted| wanted.role).collect();
        let mut configuration = default_configuration(self.camera.get(), &roles).ok_or_else(|| {
            let nicks: Vec<String> = roles.iter().map(|role| format!("{role:?}")).collect();
            let streams = nicks.join(" + ");
            first.refused(id, format!("libcamera has no configuration with the streams {streams}"))
        })?;
        for (index, wanted) in wanted.iter().enumerate() {
            let mut stream = configuration
                .get_mut(index)
                .ok_or_else(|| wanted.refused(id, "libcamera left out the stream".into()))?;
            stream.set_pixel_format(wanted.pixel);
            stream.set_size(wanted.size);
            if wanted.colour.is_some() {
                stream.set_color_space(wanted.colour);
            }
            let spare = if wanted.bytes() > LARGE { SPARE_LARGE } else { SPARE };
            let buffers = stream.get_buffer_count().max(REQUESTS) + spare;
            stream.set_buffer_count(buffers);
        }
        self.mode.ask(&mut configuration);
        if configuration.validate().is_invalid() {
            let reason = match &self.mode.sensor {
                Some(sensor) => {
                    format!("libcamera calls it invalid together with sensor-config={}", sensor.structure())
                }
                None => "libcamera calls the configuration invalid".to_owned(),
            };
            return Err(first.refused(id, reason));
        }
        for (index, wanted) in wanted.iter().enumerate() {
            check_stream(&configuration, index, wanted.pixel, wanted.size)
                .map_err(|reason| wanted.refused(id, reason))?;
            let got = configuration.get(index).and_then(|stream| stream.get_color_space());
            if let (Some(asked), Some(got)) = (wanted.colour, got)
                && asked != got
            {
                let nearest = colour::colorimetry(got);
                return Err(
                    wanted.refused(id, format!("the nearest colorimetry that it offers is {nearest}"))
                );
            }
        }
        Ok(configuration)
    }
}

/// The frame rates of a mode with these limits.
fn rates_of(limits: Limits) -> gst::FractionRange {
    // Half a microsecond to either side is the same limit: see `formats::rates`.
    let rate =
        |half_us: i64| gst::Fraction::new(2_000_000, i32::try_from(half_us.max(1)).unwrap_or(i32::MAX));
    let slowest = rate(limits.max_us.saturating_mul(2).saturating_add(1));
    let fastest = rate(limits.min_us.saturating_mul(2) - 1);
    gst::FractionRange::new(slowest.min(fastest), fastest)
}

/// The structure of `caps` that is nearest to `size`, with its size fixed. Among equals: the one with the pixel format that
/// libcamera prefers, then the first.
fn nearest_structure(caps: &gst::Caps, pixel: PixelFormat, size: Size) -> gst::Caps {
    let preferred = FORMATS.iter().find(|(known, _)| *known == pixel).map(|(_, picture)| *picture);
    let side = |side: u32| i32::try_from(side).unwrap_or(i32::MAX);
    let (width, height) = (side(size.width), side(size.height));
    let candidates = caps.iter_with_features().map(|(structure, features)| {
        let mut structure = structure.to_owned();
        structure.fixate_field_nearest_int("width", width);
        structure.fixate_field_nearest_int("height", height);
        if let Some(Picture::Raw(format)) = preferred {
            structure.fixate_field_str("format", format.to_str());
        }
        let off = |name: &str, wanted: i32| {
            structure.get::<i32>(name).map_or(i64::MAX / 4, |got| (i64::from(got) - i64::from(wanted)).abs())
        };
        let distance = off("width", width) + off("height", height);
        let other_pixels = !preferred.is_some_and(|preferred| preferred.is_in(&structure));
        (distance, other_pixels, structure, features.to_owned())
    });
    let Some((.., structure, features)) = candidates.min_by_key(|(distance, other, ..)| (*distance, *other))
    else {
        return caps.clone();
    };
    let mut nearest = gst::Caps::new_empty();
    nearest.make_mut().append_structure_full(structure, Some(features));
    nearest
}

/// The colorimetries in `caps` to try, in order of preference; `None` is the camera's choice.
fn colours_asked_for(caps: &gst::Caps) -> Vec<Option<String>> {
    let value = caps.structure(0).and_then(|structure| structure.value("colorimetry").ok());
    let Some(value) = value else {
        return vec![None];
    };
    match value.get::<gst::List>() {
        Ok(list) => list.iter().filter_map(|value| value.get::<String>().ok().map(Some)).collect(),
        Err(_) => vec![value.get::<String>().ok()],
    }
}

/// Whether there is a dma-buf heap. libcamera looks in these places.
pub(super) fn has_dma_buf_heap() -> bool {
    let any = |folder: &str| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    any("/dev/dma_heap") || std::path::Path::new("/dev/udmabuf").exists()
}
