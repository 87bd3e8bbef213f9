//! Reads many photographs of the panel, and prints how often the reading is wrong, and how often refused.
//!
//! `cargo run -p swsync-sim --example panel_precision -- [SEED] [PHOTOGRAPHS] [THREADS]`

use std::collections::BTreeMap;

use swsync_core::panel::{Luma, Panel, Shutter, read};
use swsync_core::time::Span;
use swsync_sim::photograph::{Photograph, Setup, Trouble};

/// One photograph that was read or refused.
struct Outcome {
    number: u64,
    trouble: Trouble,
    /// Error and uncertainty, in us, and slot; or why it was refused.
    reading: Result<(f64, f64, f64), String>,
    tells: String,
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().expect("a number"));
    let seed = args.next().unwrap_or(1);
    let count = args.next().unwrap_or(10_000);
    let threads = args.next().unwrap_or(2);
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|t| scope.spawn(move || (t..count).step_by(threads as usize).map(|n| one(seed, n)).collect::<Vec<_>>()))
            .collect();
        workers.into_iter().flat_map(|w| w.join().expect("a worker that does not panic")).collect()
    });
    print(&outcomes);
}

fn one(seed: u64, number: u64) -> Outcome {
    let trouble = Trouble::ALL[number as usize % Trouble::ALL.len()];
    let (setup, stated) = Setup::draw(seed, number, trouble);
    let picture = jpeg(setup.take(seed ^ number << 20), setup.jpeg);
    let luma =
        Luma { pixels: &picture.pixels, width: picture.width, height: picture.height, stride: picture.width };
    let us = |us: f64| Span::from_nanos_f64(us * 1e3);
    let panel = Panel::PAPER.with_fast_slot(us(stated.slot_us));
    let shutter =
        Shutter { exposure: stated.exposure_us.map(us), readout: stated.readout_us.map(us), row: stated.row };
    let reading = read(&luma, &panel, &shutter)
        .map(|reading| {
            let period = reading.modulo.as_micros_f64();
            let apart = reading.middle.as_nanos() as f64 / 1e3 - setup.middle_us(stated.row);
            let error = (apart + period / 2.0).rem_euclid(period) - period / 2.0;
            (error, reading.uncertainty.as_micros_f64(), stated.slot_us)
        })
        .map_err(|e| format!("{e:?}").split([' ', '{']).next().unwrap_or_default().to_owned());
    let tells = format!(
        "{:?} {stated:?} level {:.2} {:?}",
        setup.rolling, setup.sensor.level, setup.board.layout
    );
    Outcome { number, trouble, reading, tells }
}

/// The picture after JPEG there and back.
fn jpeg(picture: Photograph, quality: Option<u8>) -> Photograph {
    let Some(quality) = quality else { return picture };
    let mut bytes = Vec::new();
    let (width, height) = (picture.width as u32, picture.height as u32);
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode(&picture.pixels, width, height, image::ExtendedColorType::L8)
        .expect("an encoded picture");
    let pixels = image::load_from_memory(&bytes).expect("the picture just encoded").into_luma8().into_raw();
    Photograph { pixels, ..picture }
}

fn print(outcomes: &[Outcome]) {
    println!("{:<14} {:>6} {:>8} {:>26} {:>28}", "trouble", "read", "refused", "error us: rms, max", "error/uncertainty: rms, max");
    let mut wrong = 0;
    for trouble in Trouble::ALL {
        let all: Vec<&Outcome> = outcomes.iter().filter(|o| o.trouble == trouble).collect();
        let mut reasons: BTreeMap<&str, u32> = BTreeMap::new();
        let (mut read, mut rms, mut most, mut ratios, mut worst, mut sigma) = (0.0_f64, 0.0, 0.0_f64, 0.0, 0.0_f64, 0.0);
        for outcome in &all {
            match &outcome.reading {
                Ok((error, uncertainty, slot)) => {
                    let ratio = error / uncertainty;
                    let scaled = error * 200.0 / slot;
                    read += 1.0;
                    rms += scaled * scaled;
                    sigma += uncertainty * 200.0 / slot;
                    most = most.max(scaled.abs());
                    ratios += ratio * ratio;
                    worst = worst.max(ratio.abs());
                    if ratio.abs() > 3.0 || !trouble.has_time() {
                        wrong += 1;
                        println!("! {trouble:?} {}: error {error:.0} us, said {uncertainty:.0} us; {}", outcome.number, outcome.tells);
                    }
                }
                Err(reason) => *reasons.entry(reason).or_default() += 1,
            }
        }
        println!(
            "{:<14} {read:>6} {:>8} {:>8.1} {most:>8.1} said {:>6.1} {:>8.2} {worst:>8.2}   {reasons:?}",
            format!("{trouble:?}"),
            all.len() as f64 - read,
            (rms / read).sqrt(),
            sigma / read,
            (ratios / read).sqrt(),
        );
    }
    println!("{wrong} confident errors in {} photographs", outcomes.len());
}
