//! Sensor modes and orientations in libcamera's configurations.

use ::libcamera::camera::{CameraConfiguration, Orientation as LibcameraOrientation, SensorConfiguration};
use ::libcamera::geometry::Rectangle;

use super::formats::{default_configuration, depth_of, listed_formats};
use super::session::CameraSession;
use crate::camera::mode::{Mode, Orientation, SensorConfig};
use crate::camera::{CameraError, StreamRole};

const fn to_libcamera(orientation: Orientation) -> LibcameraOrientation {
    match orientation {
        Orientation::Rotate0 => LibcameraOrientation::Rotate0,
        Orientation::Rotate0Mirror => LibcameraOrientation::Rotate0Mirror,
        Orientation::Rotate180 => LibcameraOrientation::Rotate180,
        Orientation::Rotate180Mirror => LibcameraOrientation::Rotate180Mirror,
        Orientation::Rotate90Mirror => LibcameraOrientation::Rotate90Mirror,
        Orientation::Rotate270 => LibcameraOrientation::Rotate270,
        Orientation::Rotate270Mirror => LibcameraOrientation::Rotate270Mirror,
        Orientation::Rotate90 => LibcameraOrientation::Rotate90,
    }
}

fn sensor_configuration(wanted: &SensorConfig) -> SensorConfiguration {
    let mut sensor = SensorConfiguration::new();
    let (width, height) = wanted.size;
    sensor.set_output_size(width, height);
    sensor.set_bit_depth(wanted.depth);
    if let Some((x, y)) = wanted.binning {
        sensor.set_binning(x, y);
    }
    if let Some([x_odd, x_even, y_odd, y_even]) = wanted.skipping {
        sensor.set_skipping(x_odd, x_even, y_odd, y_even);
    }
    if let Some((x, y, width, height)) = wanted.crop {
        sensor.set_analog_crop(Rectangle { x, y, width, height });
    }
    sensor
}

impl Mode {
    /// Asks for this mode. To be called before each validation, which writes the adjusted mode into the configuration.
    pub(super) fn ask(&self, configuration: &mut CameraConfiguration) {
        configuration.set_orientation(to_libcamera(self.orientation));
        if let Some(sensor) = &self.sensor {
            configuration.set_sensor_configuration(sensor_configuration(sensor));
        }
    }

    /// This mode as a validated `configuration` has it.
    ///
    /// # Errors
    /// The sensor's mode is not the one asked for.
    pub(super) fn in_effect(&self, configuration: &CameraConfiguration) -> Result<Self, String> {
        let got = configuration.orientation();
        let orientation =
            Orientation::ALL.into_iter().find(|one| to_libcamera(*one) == got).unwrap_or_default();
        if let (Some(wanted), Some(got)) = (&self.sensor, configuration.sensor_configuration()) {
            let size = got.output_size();
            if (size.width, size.height, got.bit_depth()) != (wanted.size.0, wanted.size.1, wanted.depth) {
                return Err(format!(
                    "the nearest it offers is width={},height={},depth={}",
                    size.width,
                    size.height,
                    got.bit_depth()
                ));
            }
        }
        Ok(Self { sensor: self.sensor, orientation })
    }
}

impl CameraSession {
    /// The sensor's modes: size and bits per pixel.
    fn sensor_modes(&self) -> Vec<(u32, u32, u32)> {
        let Some(configuration) = default_configuration(self.camera(), &[StreamRole::Raw]) else {
            return Vec::new();
        };
        let Some(stream) = configuration.get(0) else {
            return Vec::new();
        };
        let formats = stream.formats();
        let mut modes: Vec<_> = listed_formats(&configuration)
            .into_iter()
            .filter_map(|pixel| Some((pixel, depth_of(pixel)?)))
            .flat_map(|(pixel, depth)| {
                formats.sizes(pixel).into_iter().map(move |size| (size.width, size.height, depth))
            })
            .collect();
        modes.sort_unstable();
        modes.dedup();
        modes
    }

    /// Uses the camera in `mode` from now on.
    ///
    /// # Errors
    /// [`CameraError::Mode`] if the sensor does not have it.
    pub(super) fn set_mode(&mut self, mode: Mode) -> Result<(), CameraError> {
        if let Some(sensor) = &mode.sensor {
            check(sensor, &self.sensor_modes()).map_err(|reason| CameraError::Mode {
                camera: self.description().id.clone(),
                asked: sensor.structure().to_string(),
                reason,
            })?;
        }
        self.change_mode(mode);
        Ok(())
    }
}

/// Whether `wanted` is one of `modes`.
fn check(wanted: &SensorConfig, modes: &[(u32, u32, u32)]) -> Result<(), String> {
    if modes.is_empty() {
        return Err("it tells of no modes of its sensor to choose from, as USB and virtual cameras do not. Leave sensor-config \
                    unset, and choose the size by caps"
            .into());
    }
    let (width, height) = wanted.size;
    if modes.contains(&(width, height, wanted.depth)) {
        return Ok(());
    }
    let there: Vec<String> = modes
        .iter()
        .map(|(width, height, depth)| format!("width={width},height={height},depth={depth}"))
        .collect();
    Err(format!("its sensor has: {}", there.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_that_the_sensor_lacks_is_refused_with_those_that_it_has() {
        let wanted =
            SensorConfig { size: (2304, 1296), depth: 10, binning: None, skipping: None, crop: None };
        let there = [(1536, 864, 10), (2304, 1296, 10), (4608, 2592, 10)];
        assert_eq!(check(&wanted, &there), Ok(()));
        let refused = check(&SensorConfig { depth: 12, ..wanted }, &there).unwrap_err();
        assert!(refused.contains("width=1536,height=864,depth=10; width=2304"), "{refused}");
        let refused = check(&wanted, &[]).unwrap_err();
        assert!(refused.contains("Leave sensor-config unset"), "{refused}");
    }
}
