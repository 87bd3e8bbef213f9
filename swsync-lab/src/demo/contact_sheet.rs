//! The contact sheet: all views of all shots in one picture, each with its error.

use std::convert::Infallible;
use std::path::Path;

use anyhow::Context;
use embedded_graphics::mono_font::{MonoTextStyle, ascii};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::prelude::{DrawTarget, Drawable, OriginDimensions, Point, Size};
use embedded_graphics::text::Text;
use embedded_graphics::{Pixel, prelude::WebColors};
use image::imageops::{FilterType, overlay, resize};
use image::{Rgb, RgbImage};

use super::shot::Shot;

const THUMBNAIL: (u32, u32) = (384, 288);
const MARGIN: u32 = 12;
const CAPTION: u32 = 24;
const TITLE: u32 = 34;
const BACKGROUND: Rgb<u8> = Rgb([24, 26, 30]);

/// A picture that embedded-graphics can draw text on.
struct Canvas(RgbImage);

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(Point { x, y }, colour) in pixels {
            let at = u32::try_from(x).ok().zip(u32::try_from(y).ok());
            if let Some(pixel) = at.and_then(|(x, y)| self.0.get_pixel_mut_checked(x, y)) {
                *pixel = Rgb([colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

impl Canvas {
    fn text(&mut self, text: &str, x: u32, y: u32, colour: Rgb888) {
        let style = MonoTextStyle::new(&ascii::FONT_10X20, colour);
        let at = Point::new(x.cast_signed(), y.cast_signed());
        match Text::new(text, at, style).draw(self) {
            Ok(_end) => {}
            Err(never) => match never {},
        }
    }
}

/// Writes the contact sheet of `shots` to `path`, as PNG.
pub fn write(path: &Path, shots: &[Shot]) -> anyhow::Result<()> {
    let columns = shots.iter().map(|shot| shot.views.len()).max().unwrap_or(0).clamp(1, 5);
    let columns = u32::try_from(columns).expect("five at most");
    let rows_of = |shot: &Shot| u32::try_from(shot.views.len()).unwrap_or(u32::MAX).div_ceil(columns);
    let cell = (THUMBNAIL.0 + MARGIN, THUMBNAIL.1 + CAPTION + MARGIN);
    let height: u32 = shots.iter().map(|shot| TITLE + rows_of(shot) * cell.1).sum();
    let size = (columns * cell.0 + MARGIN, height + MARGIN);
    let mut canvas = Canvas(RgbImage::from_pixel(size.0, size.1, BACKGROUND));
    let mut top = MARGIN;
    for shot in shots {
        let number = shot.views.first().map_or(0, |view| view.info.number);
        let title = format!(
            "{} shot, frame {number}: spread {:.1} us {}",
            shot.name,
            shot.spread().as_micros_f64(),
            shot.source
        );
        canvas.text(&title, MARGIN, top + 18, Rgb888::WHITE);
        top += TITLE;
        for (index, view) in (0_u32..).zip(&shot.views) {
            let (x, y) = (MARGIN + index % columns * cell.0, top + index / columns * cell.1);
            let thumbnail = resize(&view.picture, THUMBNAIL.0, THUMBNAIL.1, FilterType::Triangle);
            overlay(&mut canvas.0, &thumbnail, i64::from(x), i64::from(y));
            let caption = format!("{} {:+.1} us", view.device, shot.error(view).as_micros_f64());
            canvas.text(&caption, x, y + THUMBNAIL.1 + 18, Rgb888::CSS_LIGHT_GRAY);
        }
        top += rows_of(shot) * cell.1;
    }
    canvas.0.save(path).with_context(|| format!("cannot write {}", path.display()))
}
