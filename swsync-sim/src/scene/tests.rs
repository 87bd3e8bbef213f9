use super::*;
use crate::shutter::RowTiming;
use proptest::prelude::*;
use swsync_core::time::{Span, Timestamp};

fn shutter(start_ns: i64, exposure_us: i64, height: u32) -> Shutter {
    // an IMX219 at 1080 lines
    let row_time_ns = 3448.0 / 0.1824 * 1080.0 / f64::from(height);
    let timing = RowTiming { exposure: Span::from_micros(exposure_us), row_time_ns };
    Shutter { start: Timestamp::from_nanos(start_ns), timing }
}

fn picture(scene: &Scene, shutter: &Shutter) -> I420Buffer {
    let mut picture = I420Buffer::new(scene.layout());
    scene.render(shutter, picture.planes_mut()).unwrap();
    picture
}

fn mean(picture: &I420Buffer, layout: &PanelLayout, area: Rect) -> f64 {
    let rows = picture.y.chunks_exact(layout.width()).take(area.bottom()).skip(area.top);
    let sum: f64 = rows.flat_map(|row| &row[area.left..area.right()]).map(|&y| f64::from(y)).sum();
    sum / real(area.width * area.height)
}

#[test]
fn the_brightness_of_an_led_is_its_lit_fraction() {
    let scene = Scene::new(640, 480, View::CENTRE).unwrap();
    let layout = scene.layout();
    // Without a row time, all rows are exposed together.
    let level = |column: usize, start_ns: i64, exposure_us: i64| {
        let mut shutter = shutter(start_ns, exposure_us, 480);
        shutter.timing.row_time_ns = 0.0;
        mean(&picture(&scene, &shutter), layout, layout.fast_led(column, 4).inset(6))
    };
    let (dark, lit) = (level(3, 0, 100), level(0, 0, 100));
    assert!(lit - dark > 80.0, "{lit} {dark}");
    // 100 us from 150 us on: half in column 0, half in column 1
    for column in [0, 1] {
        let half = (level(column, 150_000, 100) - dark) / (lit - dark);
        assert!((half - 0.5).abs() < 0.02, "{half}");
    }
    // 800 us see any column for at most a quarter of the time
    let quarter = (level(2, 1_700_000 + 2_000_000, 800) - dark) / (lit - dark);
    assert!((quarter - 0.125).abs() < 0.02, "{quarter}");
}

#[test]
fn the_slow_row_shows_its_own_time() {
    let scene = Scene::new(640, 480, View::CENTRE).unwrap();
    let layout = scene.layout();
    let mut shutter = shutter(7_000_000, 100, 480); // fourth slow LED: 6 ms to 8 ms
    shutter.timing.row_time_ns = 0.0;
    let picture = picture(&scene, &shutter);
    let levels: Vec<f64> =
        (0..COLUMNS).map(|c| mean(&picture, layout, layout.slow_led(c).inset(6))).collect();
    assert!(levels.iter().enumerate().all(|(column, &level)| (level > 120.0) == (column == 3)), "{levels:?}");
}

#[test]
fn a_long_exposure_smears_the_ball() {
    let scene = Scene::new(640, 480, View::CENTRE).unwrap();
    let bright = |exposure_us| {
        let picture = picture(&scene, &shutter(0, exposure_us, 480));
        let right = picture.y.as_chunks::<640>().0.iter().flat_map(|row| &row[420..]);
        right.fold((0, 0), |(some, full), &y| (some + u32::from(y > 90), full + u32::from(y > 175)))
    };
    let (sharp, smeared) = (bright(100), bright(33_000));
    assert!(smeared.0 > sharp.0 + 100 && smeared.1 < sharp.1, "{sharp:?} {smeared:?}");
}

#[test]
fn small_planes_are_refused_and_padding_is_left_alone() {
    let scene = Scene::new(641, 481, View::CENTRE).unwrap();
    let shutter = shutter(123_456_789, 100, 481);
    let expected = picture(&scene, &shutter);
    let mut padded = (vec![7; 700 * 481], vec![7; 400 * 241], vec![7; 400 * 241]);
    let out = I420Mut {
        y: PlaneMut { data: &mut padded.0, stride: 700 },
        u: PlaneMut { data: &mut padded.1, stride: 400 },
        v: PlaneMut { data: &mut padded.2, stride: 400 },
    };
    scene.render(&shutter, out).unwrap();
    for (row, line) in padded.0.as_chunks::<700>().0.iter().zip(expected.y.as_chunks::<641>().0) {
        assert_eq!(&row[..641], line);
        assert!(row[641..].iter().all(|&sample| sample == 7));
    }
    let mut short = I420Buffer::new(scene.layout());
    short.v.pop();
    let error = scene.render(&shutter, short.planes_mut()).unwrap_err();
    assert_eq!((error.plane, error.width, error.height), ('V', 321, 241));
    assert!(short.y.iter().all(|&sample| sample == 16));
    let mut narrow = I420Buffer::new(scene.layout());
    let mut out = narrow.planes_mut();
    out.y.stride = 600;
    assert_eq!(scene.render(&shutter, out).unwrap_err().plane, 'Y');
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_picture_is_repeatable_and_in_range(
        start: i64, exposure in 0_i64..200_000, view in 0_u32..9, width in 160_u32..400, height in 120_u32..300,
    ) {
        if let Ok(scene) = Scene::new(width, height, View::new(view)) {
            let shutter = shutter(start, exposure, height);
            let picture_a = picture(&scene, &shutter);
            prop_assert!(picture_a == picture(&scene, &shutter));
            // nothing wrapped around from black to white
            prop_assert!(picture_a.y.iter().all(|y| (10..=241).contains(y)));
            prop_assert!(picture_a.u.iter().chain(&picture_a.v).all(|c| (16..=240).contains(c)));
        }
    }
}
