use super::*;
use crate::panel::Rect;
use crate::scene::{I420Buffer, Scene, View};
use crate::sensor::{Controls, Sensor, SensorModel};
use crate::shutter::Shutter;
use image::codecs::jpeg::JpegEncoder;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::LazyLock;
use swsync_core::time::Skew;

/// Scenes of several sizes and views. They are shared, because painting them takes long.
static SCENES: LazyLock<Vec<Scene>> = LazyLock::new(|| {
    [(160, 120, 0), (320, 240, 7), (640, 480, 1), (640, 480, 6), (1280, 720, 3)]
        .map(|(width, height, view)| Scene::new(width, height, View::new(view)).unwrap())
        .into()
});
const VGA: usize = 2;

fn timing(scene: &Scene, sensor: &SensorModel, exposure_us: i64) -> RowTiming {
    let lines_per_row = f64::from(sensor.height) / real(scene.layout().height());
    RowTiming { exposure: Span::from_micros(exposure_us), row_time_ns: sensor.line_time_ns * lines_per_row }
}

fn shoot(scene: &Scene, start: Timestamp<Host>, timing: RowTiming) -> I420Buffer {
    let mut picture = I420Buffer::new(scene.layout());
    scene.render(&Shutter { start, timing }, picture.planes_mut()).unwrap();
    picture
}

fn read(scene: &Scene, luma: &[u8], timing: RowTiming) -> Result<PanelReading, DecodeError> {
    let (width, height) = (scene.layout().width(), scene.layout().height());
    decode(&Picture::luma(luma, width, width, height).unwrap(), scene.layout(), timing)
}

fn vga() -> (&'static Scene, RowTiming, I420Buffer) {
    let scene = &SCENES[VGA];
    let timing = timing(scene, &SensorModel::imx219(), 100);
    (scene, timing, shoot(scene, Timestamp::from_nanos(987_654_321), timing))
}

/// Paints over a rectangle of the luma plane.
fn cover(luma: &mut [u8], width: usize, area: Rect, level: u8) {
    for row in luma.chunks_exact_mut(width).take(area.bottom()).skip(area.top) {
        row[area.left..area.right()].fill(level);
    }
}

#[test]
fn random_pictures_are_read_through_jpeg() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut errors: Vec<f64> = Vec::new();
    for trial in 0..400 {
        let scene = &SCENES[trial % 4];
        let sensor = &SensorModel::presets()[trial % 3];
        let timing = timing(scene, sensor, rng.random_range(100..=1000));
        let start = Timestamp::from_nanos(rng.random_range(0..100_000_000_000_000));
        let picture = shoot(scene, start, timing);

        let (width, height) = (scene.layout().width(), scene.layout().height());
        let mut jpeg = Vec::new();
        let size = |n: usize| u32::try_from(n).unwrap();
        JpegEncoder::new_with_quality(&mut jpeg, 85)
            .encode(&picture.to_rgb8(), size(width), size(height), image::ExtendedColorType::Rgb8)
            .unwrap();
        let back = image::load_from_memory(&jpeg).unwrap().to_rgb8();
        let back = Picture::rgb8(&back, width, height).unwrap();
        let reading =
            decode(&back, scene.layout(), timing).unwrap_or_else(|error| panic!("{start:?}: {error}"));

        let error = (reading.nearest(start) - start).as_micros_f64();
        assert!(error.abs() < 25.0, "{start:?} {timing:?}: {error} us");
        // The stated uncertainty is realistic: four sigma is rare.
        assert!(error.abs() < 5.0 * reading.uncertainty.as_micros_f64(), "{error} us, {reading:?}");
        assert!(reading.fit > 0.8 && reading.fit <= 1.0);
        errors.push(error.abs());
    }
    errors.sort_by(f64::total_cmp);
    assert!(errors[200] < 0.5, "median {} us", errors[200]);
    assert!(errors[380] < 5.0, "p95 {} us", errors[380]);
}

#[test]
fn times_at_the_wrap_arounds_are_read() {
    let scene = &SCENES[VGA];
    for exposure in [20, 100, 199, 200, 201, 600, 1500] {
        let timing = timing(scene, &SensorModel::imx477(), exposure);
        for ns in [
            0,
            1,
            199_999,
            200_000,
            1_999_999,
            2_000_000,
            19_999_999,
            20_000_000,
            999_999_999,
            1_000_000_000,
            -1,
        ] {
            let start = Timestamp::from_nanos(5_000_000_000 + ns);
            let reading = read(scene, &shoot(scene, start, timing).y, timing).unwrap();
            assert!((0..1_000_000_000).contains(&reading.time.as_nanos()));
            let error = reading.nearest(start) - start;
            assert!(error.abs() < Span::from_micros(2), "{start:?}, {exposure} us: {error:?}");
        }
    }
}

#[test]
fn reported_metadata_is_enough_to_read_a_picture() {
    let (scene, model) = (&SCENES[VGA], SensorModel::imx708());
    let mut sensor =
        Sensor::new(model.clone(), 3, Skew::from_ppm(25.0), Timestamp::ZERO, Controls::default());
    for _ in 0..20 {
        let frame = sensor.next_frame();
        let shutter = frame.shutter(480);
        let picture = shoot(scene, shutter.start, shutter.timing);
        // Metadata has the exposure in whole microseconds, and the line time without skew.
        let known = RowTiming { exposure: frame.reported_exposure, ..timing(scene, &model, 0) };
        let reading = read(scene, &picture.y, known).unwrap();
        let error = reading.nearest(frame.exposure_start_first_row) - frame.exposure_start_first_row;
        assert!(error.abs() < Span::from_nanos(800), "{error:?}");
    }
}

#[test]
fn pictures_without_a_panel_are_errors() {
    let (scene, timing, picture) = vga();
    let read = |luma: &[u8]| read(scene, luma, timing);
    let n = picture.y.len();
    assert!(read(&picture.y).is_ok());
    assert!(matches!(read(&vec![16; n]), Err(DecodeError::NoPanel { .. })));
    assert!(matches!(read(&vec![255; n]), Err(DecodeError::NoPanel { .. })));
    let ramp: Vec<u8> = (0..=255_u8).cycle().take(n).collect();
    assert!(matches!(read(&ramp), Err(DecodeError::NoPanel { .. })));
    let mut upside_down = picture.y.clone();
    upside_down.reverse();
    assert!(matches!(read(&upside_down), Err(DecodeError::NoPanel { .. })), "{:?}", read(&upside_down));
    for seed in 0..30 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let noise: Vec<u8> = (0..n).map(|_| rng.random()).collect();
        assert!(matches!(read(&noise), Err(DecodeError::NoPanel { .. })));
    }
}

#[test]
fn a_hidden_part_is_reported() {
    let (scene, timing, picture) = vga();
    let layout = scene.layout();
    let without = |area: Rect| {
        let mut luma = picture.y.clone();
        cover(&mut luma, layout.width(), area, 30);
        read(scene, &luma, timing)
    };
    let slow = Rect { width: layout.leds().width, ..layout.slow_led(0) };
    assert!(matches!(without(slow.outset(2)), Err(DecodeError::NoSlowRow { .. })));
    let right = Rect { left: layout.leds().right() + 20, top: 0, width: 200, height: layout.height() };
    assert_eq!(without(right), Err(DecodeError::NoBall));
    let hub = Rect { left: 470, top: 220, width: 90, height: 40 };
    assert_eq!(without(hub), Err(DecodeError::NoBall));
    // The decoder works with a third of the panel hidden.
    let leds = layout.leds();
    let reading = without(Rect { height: leds.height / 3, ..leds }).unwrap();
    let start = Timestamp::from_nanos(987_654_321);
    assert!((reading.nearest(start) - start).abs() < Span::from_micros(2));
    assert!(reading.rows < 200);
}

#[test]
fn a_ball_that_contradicts_the_panel_is_an_error() {
    let (scene, timing, mut picture) = vga();
    // The right part of a picture taken 10 ms (half a round of the slow row) later.
    let other = shoot(scene, Timestamp::from_nanos(997_654_321), timing);
    let right = scene.layout().leds().right() + 20;
    let width = scene.layout().width();
    for (row, line) in picture.y.chunks_exact_mut(width).zip(other.y.chunks_exact(width)) {
        row[right..].copy_from_slice(&line[right..]);
    }
    assert!(matches!(read(scene, &picture.y, timing), Err(DecodeError::BallElsewhere { .. })));
}

#[test]
fn wrong_parameters_are_errors() {
    let (scene, timing, picture) = vga();
    let with = |timing: RowTiming| read(scene, &picture.y, timing);
    for exposure in [Span::ZERO, Span::from_micros(-1), Span::from_millis(2), Span::from_secs(1)] {
        assert_eq!(with(RowTiming { exposure, ..timing }), Err(DecodeError::Exposure { exposure }));
    }
    for row_time_ns in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(with(RowTiming { row_time_ns, ..timing }), Err(DecodeError::RowTime { .. })));
    }
    // Another sensor's row time: the rows do not agree.
    let row_time_ns = timing.row_time_ns * 0.8;
    assert!(matches!(with(RowTiming { row_time_ns, ..timing }), Err(DecodeError::NoPanel { .. })));
    // Small errors are detected too: the first row is 8 ms before the panel's middle, so 0.2 % are 16 us.
    for factor in [0.95, 0.98, 0.99, 0.995, 0.998, 1.002, 1.01, 1.03, 1.06, 1.1] {
        let row_time_ns = timing.row_time_ns * factor;
        let wrong = with(RowTiming { row_time_ns, ..timing });
        assert!(
            matches!(wrong, Err(DecodeError::HalvesDisagree { .. } | DecodeError::NoPanel { .. })),
            "{factor}: {wrong:?}"
        );
    }
    let other = PanelLayout::new(320, 240).unwrap();
    let whole = Picture::luma(&picture.y, 640, 640, 480).unwrap();
    assert!(matches!(
        decode(&whole, &other, timing),
        Err(DecodeError::Size { got_width: 640, width: 320, .. })
    ));
}

#[test]
fn differences_are_circular() {
    let reading =
        |ns| PanelReading { time: Span::from_nanos(ns), uncertainty: Span::ZERO, fit: 1.0, rows: 1 };
    assert_eq!(difference(&reading(5), &reading(999_999_999)), Span::from_nanos(6));
    assert_eq!(difference(&reading(999_999_999), &reading(5)), Span::from_nanos(-6));
    assert_eq!(difference(&reading(500_000_000), &reading(0)), Span::from_millis(500));
    assert_eq!(difference(&reading(0), &reading(500_000_000)), Span::from_millis(500));
    assert_eq!(reading(3).nearest(Timestamp::from_nanos(-4)), Timestamp::from_nanos(3));
    assert_eq!(
        reading(999_999_999).nearest(Timestamp::from_nanos(7_000_000_001)),
        Timestamp::from_nanos(6_999_999_999)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_picture_is_read(
        which in 0_usize..5, sensor in 0_usize..3, start in -1_000_000_000_000_i64..1_000_000_000_000_000, exposure in 10_i64..1800,
    ) {
        let scene = &SCENES[which];
        let timing = timing(scene, &SensorModel::presets()[sensor], exposure);
        let start = Timestamp::from_nanos(start);
        let reading = read(scene, &shoot(scene, start, timing).y, timing);
        let error = reading.map(|reading| reading.nearest(start) - start);
        prop_assert!(error.is_ok_and(|error| error.abs() < Span::from_micros(25)), "{error:?}");
    }
}
