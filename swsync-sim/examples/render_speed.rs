//! Measures the time to render a simulated frame and to decode it, at several sizes.
//!
//! ```text
//! cargo run --release -p swsync-sim --example render_speed
//! ```

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a program measures time and prints"
)]

use std::error::Error;
use std::time::Instant;

use swsync_core::time::{Skew, Timestamp};
use swsync_sim::decode::{Picture, decode};
use swsync_sim::scene::{I420Buffer, Scene, View};
use swsync_sim::sensor::{Controls, Sensor, SensorModel};

const FRAMES: u32 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    for (width, height) in [(160, 120), (640, 480), (1280, 720), (1920, 1080)] {
        let began = Instant::now();
        let scene = Scene::new(width, height, View::new(0))?;
        let painted = began.elapsed();
        let mut picture = I420Buffer::new(scene.layout());
        let mut sensor =
            Sensor::new(SensorModel::imx219(), 1, Skew::ZERO, Timestamp::ZERO, Controls::default());

        let began = Instant::now();
        for _ in 0..FRAMES {
            let shutter = sensor.next_frame().shutter(height);
            scene.render(&shutter, picture.planes_mut())?;
        }
        let each = began.elapsed() / FRAMES;

        let timing = sensor.next_frame().shutter(height).timing;
        let layout = scene.layout();
        let began = Instant::now();
        let luma = Picture::luma(&picture.y, layout.width(), layout.width(), layout.height())?;
        decode(&luma, layout, timing)?;
        let read = began.elapsed();
        println!("{width}x{height}: {each:?} a frame, {read:?} to read, {painted:?} to set up");
    }
    Ok(())
}
