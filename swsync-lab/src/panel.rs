//! Reads the LED panel in pictures of simulated cameras.

use anyhow::Context;
use image::RgbImage;
use swsync_core::frame::FrameInfo;
use swsync_sim::decode::{PanelReading, Picture, decode};
use swsync_sim::panel::PanelLayout;
use swsync_sim::sensor::SensorModel;
use swsync_sim::shutter::RowTiming;

/// When `picture` was taken, as the panel in it shows. Of `info` only the exposure is used.
///
/// # Errors
/// The picture does not clearly show a time.
pub fn read(picture: &RgbImage, info: &FrameInfo) -> anyhow::Result<PanelReading> {
    let (width, height) = picture.dimensions();
    let pixels = Picture::rgb8(picture.as_raw(), width as usize, height as usize)?;
    let exposure = info.exposure_ns.context("the frame's exposure is not known")?;
    let model = SensorModel::imx219();
    let row_time_ns = model.line_time_ns * f64::from(model.height) / f64::from(height);
    Ok(decode(&pixels, &PanelLayout::new(width, height)?, RowTiming { exposure, row_time_ns })?)
}
