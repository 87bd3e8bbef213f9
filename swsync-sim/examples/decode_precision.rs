//! Measures the precision of reading the time back out of simulated JPEG pictures.
//!
//! ```text
//! cargo run --release -p swsync-sim --example decode_precision -- [TRIALS] [QUALITY]
//! ```

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a program reads arguments and prints"
)]

use std::error::Error;

use image::codecs::jpeg::JpegEncoder;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swsync_core::time::{Host, Span, Timestamp};
use swsync_sim::decode::{Picture, decode};
use swsync_sim::scene::{I420Buffer, Scene, View};
use swsync_sim::sensor::SensorModel;
use swsync_sim::shutter::{RowTiming, Shutter};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let trials: usize = args.next().map_or(Ok(200), |text| text.parse())?;
    let quality: u8 = args.next().map_or(Ok(85), |text| text.parse())?;
    println!("size       exposure  median |e|      p95      max     bias   sigma claimed least fit  failed");
    for (width, height) in [(160, 120), (320, 240), (640, 480), (1280, 720), (1920, 1080)] {
        let scenes = (0..4)
            .map(|view| Scene::new(width, height, View::new(2 * view + 1)))
            .collect::<Result<Vec<_>, _>>()?;
        for exposure_us in [50, 95, 200, 500, 1000, 1500, 1800, 1900] {
            let mut rng = ChaCha8Rng::seed_from_u64(7);
            let mut errors = Vec::new();
            let (mut claimed, mut least_fit) = (0.0, 1.0_f64);
            for trial in 0..trials {
                let sensors = SensorModel::presets();
                let sensor = &sensors[trial % sensors.len()];
                let lines_per_row = f64::from(sensor.height) / f64::from(height);
                let timing = RowTiming {
                    exposure: Span::from_micros(exposure_us),
                    row_time_ns: sensor.line_time_ns * lines_per_row,
                };
                let start = Timestamp::<Host>::from_nanos(rng.random_range(0..10_000_000_000_000));
                let scene = &scenes[rng.random_range(0..scenes.len())];
                let mut picture = I420Buffer::new(scene.layout());
                scene.render(&Shutter { start, timing }, picture.planes_mut())?;
                let mut jpeg = Vec::new();
                JpegEncoder::new_with_quality(&mut jpeg, quality).encode(
                    &picture.to_rgb8(),
                    width,
                    height,
                    image::ExtendedColorType::Rgb8,
                )?;
                let back = image::load_from_memory(&jpeg)?.to_rgb8();
                let layout = scene.layout();
                let picture = Picture::rgb8(&back, layout.width(), layout.height())?;
                match decode(&picture, layout, timing) {
                    Ok(reading) => {
                        errors.push((reading.nearest(start) - start).as_micros_f64());
                        least_fit = least_fit.min(reading.fit);
                        claimed += reading.uncertainty.as_micros_f64();
                    }
                    Err(error) => eprintln!("{width}x{height} at {start:?}, {timing:?}: {error}"),
                }
            }
            report(&format!("{width}x{height}"), exposure_us, &errors, claimed, least_fit, trials);
        }
    }
    Ok(())
}

fn report(size: &str, exposure_us: i64, errors: &[f64], claimed: f64, least_fit: f64, trials: usize) {
    let mut sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let count = u32::try_from(errors.len()).map_or(1.0, f64::from).max(1.0);
    let at = |percent: usize| {
        sizes.get(sizes.len().saturating_sub(1) * percent / 100).copied().unwrap_or(f64::NAN)
    };
    let (bias, claimed) = (errors.iter().sum::<f64>() / count, claimed / count);
    let failed = trials - errors.len();
    println!(
        "{size:<10} {exposure_us:>5} us {:>8.2} us {:>8.2} {:>8.2} {bias:>8.2} {claimed:>15.2} {least_fit:>9.3} {failed:>7}",
        at(50),
        at(95),
        at(100)
    );
}
