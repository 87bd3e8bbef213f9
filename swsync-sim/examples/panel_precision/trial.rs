//! One photograph: drawn, taken, compressed, read. Shared by the example and by `tests/panel.rs`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "sizes of pictures, and times of some seconds in microseconds"
)]

use swsync_core::panel::{Luma, Panel, Shutter, read};
use swsync_core::time::Span;
use swsync_sim::photograph::{Photograph, Setup, Stated, Trouble};

/// One photograph that was read or refused.
pub struct Outcome {
    pub number: u64,
    pub trouble: Trouble,
    /// The reading, or why it was refused.
    pub reading: Result<Read, String>,
    /// Setup, to look into an error.
    pub tells: String,
}

/// What was read, in microseconds.
pub struct Read {
    pub error: f64,
    pub uncertainty: f64,
    pub slot: f64,
}

impl Outcome {
    /// Whether it claims what is not so: an error beyond three times the uncertainty, or a time where there is none.
    pub fn is_wrong(&self) -> bool {
        let far = |read: &Read| read.error.abs() > 3.0 * read.uncertainty || !self.trouble.has_time();
        self.reading.as_ref().is_ok_and(far)
    }
}

/// Photograph `number` of the series of `seed`. Troubles take turns.
pub fn trial(seed: u64, number: u64) -> Outcome {
    let trouble = Trouble::ALL[number as usize % Trouble::ALL.len()];
    let (setup, stated) = Setup::draw(seed, number, trouble);
    let picture = jpeg(setup.take(seed ^ (number << 20)), setup.jpeg);
    let (panel, shutter) = told(&stated);
    let reading = read(&luma(&picture), &panel, &shutter)
        .map(|reading| {
            let period = reading.modulo.as_micros_f64();
            let apart = reading.middle.as_nanos() as f64 / 1e3 - setup.middle_us(stated.row);
            let error = (apart + period / 2.0).rem_euclid(period) - period / 2.0;
            Read { error, uncertainty: reading.uncertainty.as_micros_f64(), slot: stated.slot_us }
        })
        .map_err(|e| format!("{e:?}").split([' ', '{']).next().unwrap_or_default().to_owned());
    let tells =
        format!("{:?} {stated:?} level {:.2} {:?}", setup.rolling, setup.sensor.level, setup.board.layout);
    Outcome { number, trouble, reading, tells }
}

/// What the decoder is told.
pub fn told(stated: &Stated) -> (Panel, Shutter) {
    let us = |us: f64| Span::from_nanos_f64(us * 1e3);
    let shutter =
        Shutter { exposure: stated.exposure_us.map(us), readout: stated.readout_us.map(us), row: stated.row };
    (Panel::PAPER.with_fast_slot(us(stated.slot_us)), shutter)
}

pub fn luma(picture: &Photograph) -> Luma<'_> {
    Luma { pixels: &picture.pixels, width: picture.width, height: picture.height, stride: picture.width }
}

/// The picture after JPEG there and back.
pub fn jpeg(picture: Photograph, quality: Option<u8>) -> Photograph {
    let Some(quality) = quality else { return picture };
    let mut bytes = Vec::new();
    let (width, height) = (picture.width as u32, picture.height as u32);
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode(&picture.pixels, width, height, image::ExtendedColorType::L8)
        .expect("an encoded picture");
    let pixels = image::load_from_memory(&bytes).expect("the picture just encoded").into_luma8().into_raw();
    Photograph { pixels, ..picture }
}
