//! At most 256 colours that stand for those of a picture.
//!
//! Colours are counted in cells of a cube. The cube is cut into boxes, always the one whose colours differ most, at their mean
//! (Wan, Wong and Prusinkiewicz, "An algorithm for multidimensional data clustering", ACM TOMS 14, 1988). Then each colour moves to
//! the mean of the cells that it is nearest to, twice (Lloyd's algorithm).

use std::collections::BTreeMap;

use image::RgbImage;

/// Red, green and blue.
pub type Colour = [u8; 3];

/// A GIF's palette has at most so many colours.
const COLOURS: usize = 256;

/// Bits of red, green and blue that tell cells apart.
const BITS: u8 = 5;

/// Rounds of Lloyd's algorithm. More change little that can be seen.
const ROUNDS: usize = 2;

/// The mean colour of a cell, and its weight.
#[derive(Clone, Copy)]
struct Cell {
    mean: [f32; 3],
    weight: f32,
}

/// Chooses the palette of `picture`. Its colours are kept exactly if there are few enough.
pub fn palette(picture: &RgbImage) -> Vec<Colour> {
    if let Some(all) = distinct(picture) {
        return all;
    }
    let mut palette = means(&cells(picture));
    reach_out(&mut palette, picture);
    palette
}

/// The colours of `picture`, if they fit into a palette.
fn distinct(picture: &RgbImage) -> Option<Vec<Colour>> {
    let mut colours = std::collections::BTreeSet::new();
    for pixel in picture.pixels() {
        if colours.insert(pixel.0) && colours.len() > COLOURS {
            return None;
        }
    }
    Some(colours.into_iter().collect())
}

/// The cells that have pixels of `picture`. Their weight is the root of the number of pixels: small things of another colour matter
/// more to people than to a mean square error.
#[expect(clippy::cast_precision_loss, reason = "counts of pixels, for weights")]
fn cells(picture: &RgbImage) -> Vec<Cell> {
    let mut counts: BTreeMap<Colour, ([u64; 3], u64)> = BTreeMap::new();
    for pixel in picture.pixels() {
        let (sums, count) = counts.entry(pixel.0.map(|part| part >> (8 - BITS))).or_default();
        sums.iter_mut().zip(pixel.0).for_each(|(sum, part)| *sum += u64::from(part));
        *count += 1;
    }
    let cell = |(sums, count): ([u64; 3], u64)| Cell {
        mean: sums.map(|sum| sum as f32 / count as f32),
        weight: (count as f32).sqrt(),
    };
    counts.into_values().map(cell).collect()
}

/// Weighted sums of a box: by axis its mean, and its squared distances from that.
fn spread(cells: &[Cell]) -> ([f32; 3], [f32; 3]) {
    let weight: f32 = cells.iter().map(|cell| cell.weight).sum();
    let sum = |value: &dyn Fn(&Cell) -> f32| cells.iter().map(|cell| value(cell) * cell.weight).sum::<f32>();
    let mean = std::array::from_fn(|axis| sum(&|cell| cell.mean[axis]) / weight);
    let spread = std::array::from_fn(|axis| sum(&|cell| (cell.mean[axis] - mean[axis]).powi(2)));
    (mean, spread)
}

/// The axis along which a box is cut, where, and how much its colours differ along it.
fn cut(cells: &[Cell]) -> (usize, f32, f32) {
    let (mean, spread) = spread(cells);
    let axis = (0..3).max_by(|a, b| spread[*a].total_cmp(&spread[*b])).unwrap_or(0);
    (axis, mean[axis], spread[axis])
}

/// A palette for `cells`.
fn means(cells: &[Cell]) -> Vec<Colour> {
    let first = cells.to_vec();
    let mut boxes = vec![(cut(&first), first)];
    while boxes.len() < COLOURS {
        let widest = boxes.iter().enumerate().max_by(|(_, a), (_, b)| a.0.2.total_cmp(&b.0.2));
        let Some((index, ((axis, at, spread), _))) = widest else { break };
        if *spread <= 0.0 {
            break;
        }
        let (axis, at) = (*axis, *at);
        let (_, cells) = boxes.swap_remove(index);
        let (below, above): (Vec<_>, Vec<_>) = cells.into_iter().partition(|cell| cell.mean[axis] < at);
        let parts = [below, above];
        // By rounding, equal colours may seem to differ from their mean: such a box is not cut again.
        let is_cut = parts.iter().all(|part| !part.is_empty());
        boxes.extend(parts.into_iter().filter(|part| !part.is_empty()).map(|part| {
            let (axis, at, spread) = cut(&part);
            ((axis, at, if is_cut { spread } else { 0.0 }), part)
        }));
    }
    let mut colours: Vec<_> = boxes.iter().map(|(_, cells)| spread(cells).0).collect();
    for _ in 0..ROUNDS {
        colours = lloyd(&colours, cells);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "means of bytes are from 0 to 255"
    )]
    let byte = |part: f32| part.round() as u8;
    colours.into_iter().map(|colour| colour.map(byte)).collect()
}

/// Moves each colour to the mean of the cells that it is nearest to.
fn lloyd(colours: &[[f32; 3]], cells: &[Cell]) -> Vec<[f32; 3]> {
    let mut nearest: Vec<Vec<Cell>> = vec![Vec::new(); colours.len()];
    let distance = |one: &[f32; 3], other: &[f32; 3]| -> f32 {
        one.iter().zip(other).map(|(one, other)| (one - other).powi(2)).sum()
    };
    for cell in cells {
        let to = colours.iter().enumerate();
        let to = to.min_by(|a, b| distance(a.1, &cell.mean).total_cmp(&distance(b.1, &cell.mean)));
        if let Some((index, _)) = to {
            nearest[index].push(*cell);
        }
    }
    let moved = colours.iter().zip(&nearest);
    moved.map(|(colour, cells)| if cells.is_empty() { *colour } else { spread(cells).0 }).collect()
}

/// Gives the palette the outermost colours of `picture` towards each corner of the colour cube, in place of the nearest ones. The
/// others are means, so blacks and bright colours would become grey, which error diffusion cannot mend.
fn reach_out(palette: &mut [Colour], picture: &RgbImage) {
    for corner in 0..8 {
        let outwards = |colour: &Colour| -> i32 {
            let signed = |(axis, part): (usize, &u8)| {
                if corner >> axis & 1 == 1 { i32::from(*part) } else { -i32::from(*part) }
            };
            colour.iter().enumerate().map(signed).sum()
        };
        let outermost = picture.pixels().map(|pixel| pixel.0).max_by_key(outwards);
        let Some(outermost) = outermost else { return };
        let wanted = outermost.map(i32::from);
        if let Some(nearest) = palette.iter_mut().min_by_key(|colour| distance(wanted, colour)) {
            *nearest = outermost;
        }
    }
}

/// How unlike two colours are, with weights of how well eyes tell reds, greens and blues apart.
pub fn distance(one: [i32; 3], other: &Colour) -> i32 {
    let parts = one.iter().zip(other).zip([3, 6, 1]);
    parts.map(|((one, other), weight)| (one - i32::from(*other)).pow(2) * weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_colours_are_kept_exactly() {
        let colours = [[10, 20, 30], [200, 100, 0], [255, 255, 255]];
        let picture = RgbImage::from_fn(30, 20, |x, y| image::Rgb(colours[((x + y) % 3) as usize]));
        assert_eq!(palette(&picture), colours);
    }

    #[test]
    fn a_small_thing_has_colours_of_its_own() {
        // A sky of many blues, and a leaf of a hundred greens on a thousandth of it.
        let picture = RgbImage::from_fn(400, 300, |x, y| {
            let part = |value: u32| u8::try_from(value).unwrap();
            match (x, y) {
                (0..10, 0..10) => image::Rgb([20, part(100 + 10 * x + y / 2), 30]),
                _ => image::Rgb([part(100 + x / 8), part(150 + y / 5), part(200 + (x + y) / 15)]),
            }
        });
        let palette = palette(&picture);
        assert!(palette.len() <= COLOURS);
        for x in 0..10 {
            let wanted = picture.get_pixel(x, 5).0;
            let near = palette.iter().map(|colour| distance(wanted.map(i32::from), colour)).min().unwrap();
            assert!(near < 6 * 8 * 8, "no colour is near {wanted:?}: {near}");
        }
    }
}
