use super::map::Map;
use super::{Luma, Panel, Shutter, Unreadable, read};
use crate::time::Span;

const WIDTH: usize = 400;
const HEIGHT: usize = 400;

/// A picture of the panel with its corners at `corners`; each light is a disc. On and off are found by sampling the exposure at 64
/// instants, not by the decoder's formula. `start_us` is the first row's, `readout_us` from first to last row.
fn picture(
    corners: [(f64, f64); 4],
    start_us: f64,
    exposure_us: f64,
    readout_us: f64,
    gamma: f64,
) -> Vec<u8> {
    let panel = Panel::PAPER;
    let inverse = Map::between(corners, panel.corners).unwrap();
    let mut seed = 1_u32;
    let mut pixels = Vec::new();
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let (u, v) = inverse.apply((x as f64 + 0.5, y as f64 + 0.5));
            let near = |(a, b): (f64, f64)| (u - a).hypot(v - b) < 0.35;
            let row_start = start_us + readout_us * y as f64 / (HEIGHT - 1) as f64;
            let lit = |slot_us: f64| {
                let on = (0..64_u32).filter(|&i| {
                    let at = row_start + exposure_us * (f64::from(i) + 0.5) / 64.0;
                    (at / slot_us).rem_euclid(10.0).floor() == u.floor()
                });
                on.count() as f64 / 64.0
            };
            let inside = (0.0..10.0).contains(&u) && near((u.floor() + 0.5, v.floor() + 0.5));
            let light = if panel.corners.into_iter().chain([panel.orientation]).any(near) {
                1.0
            } else if inside && (0.0..10.0).contains(&v) {
                lit(200.0)
            } else if inside && (11.0..12.0).contains(&v) {
                lit(2000.0)
            } else {
                0.0
            };
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = f64::from(seed >> 24) / 255.0 * 8.0;
            pixels.push((15.0 + 200.0 * light.powf(gamma) + noise) as u8);
        }
    }
    pixels
}

const FRONT: [(f64, f64); 4] = [(40.0, 30.0), (350.0, 30.0), (350.0, 380.0), (40.0, 380.0)];
const TILTED: [(f64, f64); 4] = [(60.0, 20.0), (330.0, 90.0), (320.0, 300.0), (70.0, 370.0)];
const UPSIDE_DOWN: [(f64, f64); 4] = [(350.0, 380.0), (40.0, 380.0), (40.0, 30.0), (350.0, 30.0)];
const MIRRORED: [(f64, f64); 4] = [(350.0, 30.0), (40.0, 30.0), (40.0, 380.0), (350.0, 380.0)];

fn luma(pixels: &[u8]) -> Luma<'_> {
    Luma { pixels, width: WIDTH, height: HEIGHT, stride: WIDTH }
}

fn shutter(exposure: Option<i64>) -> Shutter {
    Shutter { exposure: exposure.map(Span::from_micros), readout: Some(Span::from_micros(3300)), row: 0.5 }
}

#[test]
fn reads_the_chosen_row_within_its_uncertainty() {
    for (i, corners) in [FRONT, TILTED, UPSIDE_DOWN, MIRRORED].into_iter().cycle().take(24).enumerate() {
        let start = 731.0 * i as f64;
        let (exposure, gamma) = ([100.0, 150.0, 300.0][i % 3], [1.0, 0.45][i / 4 % 2]);
        let pixels = picture(corners, start, exposure, 3300.0, gamma);
        let known = (i % 5 > 1).then_some(exposure as i64);
        let reading = read(&luma(&pixels), &Panel::PAPER, &shutter(known))
            .unwrap_or_else(|e| panic!("picture {i}: {e}"));
        let truth = start + 1650.0 + exposure / 2.0;
        let error =
            (reading.middle.as_nanos() as f64 / 1e3 - truth + 10_000.0).rem_euclid(20_000.0) - 10_000.0;
        let sigma = reading.uncertainty.as_micros_f64();
        assert!(error.abs() < 3.0 * sigma, "picture {i}: {error} us, said {sigma} us");
        assert!(sigma < 100.0, "{sigma}");
    }
}

#[test]
fn refuses_what_is_no_panel() {
    let dark = vec![17; WIDTH * HEIGHT];
    let result = read(&luma(&dark), &Panel::PAPER, &shutter(Some(100)));
    assert_eq!(result, Err(Unreadable::NotFound { lights: 0 }));
    let result = read(&luma(&dark[1..]), &Panel::PAPER, &shutter(Some(100)));
    assert!(matches!(result, Err(Unreadable::Size { .. })));
}

#[test]
fn estimates_the_readout() {
    let pixels = picture(FRONT, 5_000.0, 100.0, 3300.0, 1.0);
    let unknown = Shutter { readout: None, ..shutter(Some(100)) };
    let reading = read(&luma(&pixels), &Panel::PAPER, &unknown).unwrap();
    let readout = reading.readout.unwrap().as_micros_f64();
    assert!((readout - 3_300.0).abs() < 40.0, "{readout}");
    let error = reading.middle.as_nanos() as f64 / 1e3 - 6_700.0;
    assert!(error.abs() < 3.0 * reading.uncertainty.as_micros_f64(), "{error}");
}

#[test]
fn refuses_a_panel_of_another_pace_or_a_hidden_one() {
    let pixels = picture(FRONT, 5_000.0, 100.0, 3300.0, 1.0);
    let other = Panel::PAPER.with_fast_slot(Span::from_micros(90));
    assert!(read(&luma(&pixels), &other, &shutter(Some(100))).is_err());
    let mut hidden = pixels;
    hidden[WIDTH * 100..WIDTH * 260].fill(15);
    assert!(read(&luma(&hidden), &Panel::PAPER, &shutter(Some(100))).is_err());
}
