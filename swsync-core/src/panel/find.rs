//! Finds the panel's marker lights, and the map from the panel's plane to the picture.

use super::{COLUMNS, Luma, Panel, Unreadable};

type Point = (f64, f64);

/// A homography, row by row: panel to picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Map([f64; 9]);

impl Map {
    pub(super) fn apply(&self, (x, y): Point) -> Point {
        let m = &self.0;
        let w = m[6] * x + m[7] * y + m[8];
        ((m[0] * x + m[1] * y + m[2]) / w, (m[3] * x + m[4] * y + m[5]) / w)
    }

    /// The map that takes each of `from` to the same of `to`. `None` if three of them lie on a line.
    pub(super) fn between(from: [Point; 4], to: [Point; 4]) -> Option<Self> {
        let mut rows = [[0.0; 9]; 8];
        for (i, ((x, y), (u, v))) in from.into_iter().zip(to).enumerate() {
            rows[2 * i] = [x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, u];
            rows[2 * i + 1] = [0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y, v];
        }
        let h = solve(rows)?;
        Some(Self([h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], 1.0]))
    }
}

/// Gauss-Jordan elimination with row pivots; the last column is the right side.
fn solve(mut rows: [[f64; 9]; 8]) -> Option<[f64; 8]> {
    for column in 0..8 {
        let pivot = (column..8).max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs()))?;
        rows.swap(column, pivot);
        let lead = rows[column];
        if lead[column].abs() < 1e-9 {
            return None;
        }
        for (r, row) in rows.iter_mut().enumerate() {
            if r != column {
                let factor = row[column] / lead[column];
                for (value, above) in row.iter_mut().zip(lead) {
                    *value -= factor * above;
                }
            }
        }
    }
    Some(std::array::from_fn(|i| rows[i][8] / rows[i][i]))
}

/// Map from panel to picture, and the corner lights in the picture.
pub(super) fn locate(luma: &Luma, panel: &Panel) -> Result<(Map, [Point; 4]), Unreadable> {
    let lights = bright_spots(luma);
    let missing = Unreadable::NotFound { lights: lights.len() };
    if !(7..=150).contains(&lights.len()) {
        return Err(missing);
    }
    let hull = hull(&lights);
    let n = hull.len();
    if !(4..=14).contains(&n) {
        return Err(missing);
    }
    let mut best: Option<(f64, Map, [Point; 4])> = None;
    for (a, b, c, d) in quads(n) {
        let quad = [hull[a], hull[b], hull[c], hull[d]];
        for turn in 0..8_usize {
            let corners = std::array::from_fn(|i| {
                quad[if turn < 4 { (i + turn) % 4 } else { (11 - i - turn % 4) % 4 }]
            });
            let Some(map) = Map::between(panel.corners, corners) else { continue };
            let Some(inverse) = Map::between(corners, panel.corners) else { continue };
            let score = score(panel, &inverse, &lights);
            if best.is_none_or(|(most, ..)| score > most) {
                best = Some((score, map, corners));
            }
        }
    }
    match best {
        Some((score, map, corners)) if score > 0.8 => Ok((map, corners)),
        _ => Err(missing),
    }
}

fn quads(n: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..n).flat_map(move |a| {
        (a + 1..n).flat_map(move |b| (b + 1..n).flat_map(move |c| (c + 1..n).map(move |d| (a, b, c, d))))
    })
}

/// The part of the bright spots that are where lights of the panel are; 0 if the fifth light is not seen.
fn score(panel: &Panel, inverse: &Map, lights: &[Point]) -> f64 {
    let near = |(x, y): Point, (u, v): Point| (x - u).hypot(y - v) < 0.3;
    let mut fits = 0_u32;
    let mut fifth = false;
    for &light in lights {
        let (x, y) = inverse.apply(light);
        let marker = near((x, y), panel.orientation);
        fifth |= marker;
        // Neighbours in a column or row may have merged into one spot, whose middle is on the line of their centres.
        let off = |value: f64| (value - value.floor() - 0.5).abs();
        let inside = |value: f64| value > 0.0 && value < COLUMNS as f64;
        let fast = inside(x) && inside(y) && off(x).min(off(y)) < 0.3;
        let slow = inside(x) && (y - panel.slow_y).abs() < 0.3;
        fits += u32::from(marker || fast || slow || panel.corners.iter().any(|&corner| near((x, y), corner)));
    }
    if fifth { f64::from(fits) / lights.len() as f64 } else { 0.0 }
}

/// Centres of the bright spots of at least four pixels.
fn bright_spots(luma: &Luma) -> Vec<Point> {
    let (width, height) = (luma.width, luma.height);
    let mut histogram = [0_usize; 256];
    for y in 0..height {
        for &pixel in &luma.pixels[y * luma.stride..][..width] {
            histogram[usize::from(pixel)] += 1;
        }
    }
    let level = |part: f64| {
        let mut left = (part * (width * height) as f64) as usize;
        histogram.iter().position(|&count| {
            let here = left < count;
            left = left.saturating_sub(count);
            here
        })
    };
    let (dark, bright) = (level(0.5).unwrap_or(0) as f64, level(0.9985).unwrap_or(255) as f64);
    if bright - dark < 20.0 {
        return Vec::new();
    }
    let threshold = dark + 0.4 * (bright - dark);
    let mut seen = vec![false; width * height];
    let mut spots = Vec::new();
    let mut stack = Vec::new();
    for first in 0..width * height {
        stack.push(first);
        let (mut weight, mut sum_x, mut sum_y, mut count) = (0.0, 0.0, 0.0, 0);
        while let Some(at) = stack.pop() {
            let (x, y) = (at % width, at / width);
            let value = luma.at(x, y) - threshold;
            if seen[at] || value <= 0.0 {
                continue;
            }
            seen[at] = true;
            weight += value;
            sum_x += value * (x as f64 + 0.5);
            sum_y += value * (y as f64 + 0.5);
            count += 1;
            stack.extend((x > 0).then(|| at - 1));
            stack.extend((x + 1 < width).then_some(at + 1));
            stack.extend((y > 0).then(|| at - width));
            stack.extend((y + 1 < height).then_some(at + width));
        }
        if count >= 4 {
            spots.push((sum_x / weight, sum_y / weight));
        }
    }
    spots
}

/// Convex hull of `points`, in order (Andrew's monotone chain).
fn hull(points: &[Point]) -> Vec<Point> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let chain = |points: &mut dyn Iterator<Item = Point>| {
        let mut chain: Vec<Point> = Vec::new();
        for p in points {
            while let [.., a, b] = chain[..] {
                if (b.0 - a.0) * (p.1 - a.1) - (b.1 - a.1) * (p.0 - a.0) > 0.0 {
                    break;
                }
                chain.pop();
            }
            chain.push(p);
        }
        chain.pop();
        chain
    };
    let mut hull = chain(&mut sorted.iter().copied());
    hull.extend(chain(&mut sorted.iter().rev().copied()));
    hull
}
