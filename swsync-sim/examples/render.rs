//! Writes the simulated camera's picture at a given time as a PNG.
//!
//! ```text
//! cargo run -p swsync-sim --example render -- OUT.png [WIDTHxHEIGHT] [TIME_MS] [EXPOSURE_US] [VIEW]
//! ```

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a program reads arguments and prints"
)]

use std::error::Error;

use image::RgbImage;
use swsync_core::time::{Span, Timestamp};
use swsync_sim::scene::{I420Buffer, Scene, View};
use swsync_sim::sensor::SensorModel;
use swsync_sim::shutter::{RowTiming, Shutter};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap_or_else(|| "render.png".to_owned());
    let size = args.next().unwrap_or_else(|| "640x480".to_owned());
    let (width, height) = size.split_once('x').ok_or("a size is WIDTHxHEIGHT")?;
    let (width, height): (u32, u32) = (width.parse()?, height.parse()?);
    let millis: f64 = args.next().map_or(Ok(137.3), |text| text.parse())?;
    let exposure: i64 = args.next().map_or(Ok(100), |text| text.parse())?;
    let view: u32 = args.next().map_or(Ok(2), |text| text.parse())?;

    let sensor = SensorModel::imx219();
    let shutter = Shutter {
        start: Timestamp::from_nanos(0) + Span::from_secs_f64(millis / 1e3),
        timing: RowTiming {
            exposure: Span::from_micros(exposure),
            row_time_ns: sensor.line_time_ns * f64::from(sensor.height) / f64::from(height),
        },
    };
    let scene = Scene::new(width, height, View::new(view))?;
    let mut picture = I420Buffer::new(scene.layout());
    scene.render(&shutter, picture.planes_mut())?;
    let image = RgbImage::from_raw(width, height, picture.to_rgb8()).ok_or("the picture has another size")?;
    image.save(&path)?;
    println!("{path}: {width}x{height} at {millis} ms, exposed for {exposure} us");
    Ok(())
}
