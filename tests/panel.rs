//! Reads from a picture of the LED panel when the picture was taken.

use std::path::Path;

use swsync_core::frame::FrameInfo;
use swsync_core::time::Span;
use swsync_sim::decode::{PanelReading, Picture, decode, difference};
use swsync_sim::panel::PanelLayout;
use swsync_sim::sensor::SensorModel;
use swsync_sim::shutter::RowTiming;

/// Decodes the panel in a picture of a simulated camera.
fn read(file: &Path, info: &FrameInfo) -> PanelReading {
    let picture = image::open(file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).into_rgb8();
    let (width, height) = picture.dimensions();
    let pixels = Picture::rgb8(picture.as_raw(), width as usize, height as usize).unwrap();
    let model = SensorModel::imx219();
    let row_time_ns = model.line_time_ns * f64::from(model.height) / f64::from(height);
    let exposure = info.exposure_ns.expect("a simulated camera knows its exposure");
    let layout = PanelLayout::new(width, height).unwrap();
    let reading = decode(&pixels, &layout, RowTiming { exposure, row_time_ns });
    reading.unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The time from the earliest of `pictures` to the latest.
pub fn spread<'a>(pictures: impl IntoIterator<Item = (&'a Path, &'a FrameInfo)>) -> Span {
    let readings: Vec<_> = pictures.into_iter().map(|(file, info)| read(file, info)).collect();
    let times = || readings.iter().map(|reading| difference(reading, &readings[0]));
    times().max().expect("there are pictures") - times().min().expect("there are pictures")
}
