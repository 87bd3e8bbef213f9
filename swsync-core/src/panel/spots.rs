//! Bright spots of a picture: what stands out from its surroundings.

use super::Luma;
use super::map::Point;

/// Parts of the picture's strongest contrast at which spots are sought.
pub(super) const LEVELS: [f64; 4] = [0.6, 0.4, 0.25, 0.15];
/// Spots are sought only this far above the noise.
const ABOVE_NOISE: f64 = 4.0;
/// Least contrast, in steps of luma.
const LEAST_CONTRAST: f64 = 10.0;

/// How much each pixel, the mean of 3 x 3, is brighter than its surroundings.
pub(super) struct Contrast {
    width: usize,
    height: usize,
    values: Vec<f32>,
    /// Contrast of the brightest spots.
    strongest: f64,
    noise: f64,
}

impl Contrast {
    pub(super) fn of(luma: &Luma) -> Self {
        let (width, height) = (luma.width, luma.height);
        // Sums of all pixels above and to the left.
        let mut sums = vec![0_u64; (width + 1) * (height + 1)];
        for y in 0..height {
            let mut row = 0;
            for x in 0..width {
                row += u64::from(luma.pixels[y * luma.stride + x]);
                sums[(y + 1) * (width + 1) + x + 1] = sums[y * (width + 1) + x + 1] + row;
            }
        }
        let mean = |x: usize, y: usize, radius: usize| {
            let (left, right) = (x.saturating_sub(radius), (x + radius + 1).min(width));
            let (top, bottom) = (y.saturating_sub(radius), (y + radius + 1).min(height));
            let at = |x: usize, y: usize| sums[y * (width + 1) + x];
            let sum = at(right, bottom) + at(left, top) - at(left, bottom) - at(right, top);
            sum as f64 / ((right - left) * (bottom - top)) as f64
        };
        let around = width.min(height) / 12;
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                values.push((mean(x, y, 1) - mean(x, y, around)) as f32);
            }
        }
        let part = |values: &mut Vec<f32>, part: f64| {
            let nth = ((values.len() - 1) as f64 * part) as usize;
            f64::from(*values.select_nth_unstable_by(nth, f32::total_cmp).1)
        };
        let mut sorted = values.clone();
        let strongest = part(&mut sorted, 0.9985);
        // Noise of the means of 3 x 3, from pixels that far apart.
        let mut steps: Vec<f32> = values
            .chunks_exact(width)
            .flat_map(|row| row.windows(5).step_by(7).map(|w| (w[4] - w[0]).abs()))
            .collect();
        let noise = part(&mut steps, 0.5) * 1.05;
        Self { width, height, values, strongest, noise }
    }

    /// Centres of the spots that stand out by this part of the strongest contrast. Empty if that is not above the noise.
    pub(super) fn spots(&self, level: f64) -> Vec<Point> {
        let threshold = level * self.strongest;
        if threshold < ABOVE_NOISE * self.noise || self.strongest < LEAST_CONTRAST {
            return Vec::new();
        }
        let (width, height) = (self.width, self.height);
        let most = width * height / 60;
        let mut seen = vec![false; width * height];
        let mut spots = Vec::new();
        let mut stack = Vec::new();
        for first in 0..width * height {
            if seen[first] || f64::from(self.values[first]) <= threshold {
                continue;
            }
            stack.push(first);
            let (mut weight, mut sum_x, mut sum_y, mut count) = (0.0, 0.0, 0.0, 0_usize);
            let mut edge = false;
            while let Some(at) = stack.pop() {
                let (x, y) = (at % width, at / width);
                let value = f64::from(self.values[at]) - threshold;
                if seen[at] || value <= 0.0 {
                    continue;
                }
                seen[at] = true;
                edge |= x == 0 || y == 0 || x + 1 == width || y + 1 == height;
                weight += value;
                sum_x += value * (x as f64 + 0.5);
                sum_y += value * (y as f64 + 0.5);
                count += 1;
                stack.extend((x > 0).then(|| at - 1));
                stack.extend((x + 1 < width).then_some(at + 1));
                stack.extend((y > 0).then(|| at - width));
                stack.extend((y + 1 < height).then_some(at + width));
            }
            if (4..=most).contains(&count) && !edge {
                spots.push((sum_x / weight, sum_y / weight));
            }
        }
        spots
    }
}
