//! Finds the panel's marker lights among the bright spots of a picture.
//!
//! The top edge is sought first: two spots with exactly one more on the line between them, nearer to one end. Then two more spots for
//! the bottom corners, with nothing on the left and right edges, so that the homography of the four puts the fifth light
//! where it is. The candidate that explains most spots is checked with the picture's pixels: the markers must be bright, and
//! the board's margin dark.

use super::map::{Map, Point};
use super::spots::{Contrast, LEVELS};
use super::{COLUMNS, Luma, Panel, Unreadable};

/// More spots than this are not a panel and what is around it.
const MOST_SPOTS: usize = 170;
/// How far a spot may be from an edge to count as on it, as a part of its length.
const ON_EDGE: f64 = 0.035;
/// How far the fifth light may be from its place, in pitches.
const NEAR_PLACE: f64 = 0.4;
/// Part of the spots on the board that must be where lights are.
const LEAST_EXPLAINED: f64 = 0.8;
/// Part of the margin that may be bright.
const MOST_BRIGHT_MARGIN: f64 = 0.1;
/// How bright each marker is at least, as a part of their mean above the dark board.
const LEAST_MARKER: f64 = 0.35;

/// How strongly the fast array's light repeats with the panel's pitch at least; see [`pitch`].
const LEAST_PITCH: f64 = 0.12;

/// The panel in the picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) map: Map,
    pub(super) corners: [Point; 4],
    /// Luma of the markers above the dark board.
    pub(super) marker: f64,
    /// Luma of the dark board.
    pub(super) dark: f64,
    /// Light a pitch away from a marker, as a part of the marker's.
    pub(super) halo: f64,
    /// Power in the middle of each four LEDs, as a part of the LEDs'.
    pub(super) gaps: f64,
}

pub(super) fn locate(luma: &Luma, panel: &Panel) -> Result<Found, Unreadable> {
    let contrast = Contrast::of(luma);
    let mut most = 0;
    let mut best: Option<(f64, Found)> = None;
    for level in LEVELS {
        let spots = contrast.spots(level);
        most = most.max(spots.len());
        if !(7..=MOST_SPOTS).contains(&spots.len()) {
            continue;
        }
        for (score, map, corners) in candidates(panel, &spots) {
            if best.is_some_and(|(least, _)| score <= least) {
                continue;
            }
            if let Some(found) = check(luma, panel, map, corners) {
                best = Some((score, found));
            }
        }
    }
    best.map(|(_, found)| found).ok_or(Unreadable::NotFound { lights: most })
}

/// Spots on the edge from `a` to `b`, by their place on it: 0 at `a`, 1 at `b`.
fn on_edge(spots: &[Point], a: usize, b: usize) -> impl Iterator<Item = (usize, f64)> {
    let (p, q) = (spots[a], spots[b]);
    let (dx, dy) = (q.0 - p.0, q.1 - p.1);
    let square = dx * dx + dy * dy;
    spots.iter().enumerate().filter_map(move |(i, s)| {
        let along = ((s.0 - p.0) * dx + (s.1 - p.1) * dy) / square;
        let aside = ((s.0 - p.0) * dy - (s.1 - p.1) * dx) / square;
        (i != a && i != b && (0.02..0.98).contains(&along) && aside.abs() < ON_EDGE).then_some((i, along))
    })
}

/// Sets of four spots that may be the corners, with their maps, and how many spots they explain.
fn candidates(panel: &Panel, spots: &[Point]) -> Vec<(f64, Map, [Point; 4])> {
    let n = spots.len();
    // Spots on each edge: 0, 1, or more.
    let mut between = vec![0_u8; n * n];
    for a in 0..n {
        for b in 0..a {
            let count = on_edge(spots, a, b).take(2).count() as u8;
            between[a * n + b] = count;
            between[b * n + a] = count;
        }
    }
    let mut found: Vec<(f64, Map, [Point; 4])> = Vec::new();
    for (left, right) in (0..n * n).map(|i| (i / n, i % n)).filter(|(a, b)| a != b) {
        if between[left * n + right] != 1 {
            continue;
        }
        let Some((fifth, along)) = on_edge(spots, left, right).next() else { continue };
        if !(0.08..0.45).contains(&along) {
            continue;
        }
        let ((x0, _), (x1, _), (x, _)) = (panel.corners[0], panel.corners[1], panel.orientation);
        let part = (x - x0) / (x1 - x0);
        for lower_left in (0..n).filter(|&i| i != left && i != right && between[left * n + i] == 0) {
            for lower_right in
                (0..n).filter(|&i| between[right * n + i] == 0 && between[lower_left * n + i] < 2)
            {
                let corners = [left, right, lower_right, lower_left];
                if lower_right == left || lower_right == right || lower_right == lower_left {
                    continue;
                }
                let corners = corners.map(|i| spots[i]);
                if !along_top(corners, part).is_some_and(|place| (place - along).abs() < 0.04) {
                    continue;
                }
                if let Some((score, map)) = try_corners(panel, spots, corners, spots[fifth]) {
                    found.push((score, map, corners));
                }
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.truncate(20);
    found
}

/// How strongly the bright parts of the fast array repeat with the panel's pitch, from top to bottom: 1 if all light is in the LEDs'
/// middles, 0 if it repeats otherwise.
fn pitch(at: impl Fn(Point) -> Option<f64>, dark: f64) -> f64 {
    let values: Vec<(f64, f64)> = (0..1000_u32)
        .map(|i| (f64::from(i / 100) + 0.5, f64::from(i % 100) * 0.1 + 0.05))
        .map(|(x, y)| (at((x, y)).map_or(0.0, |value| value - dark), y))
        .collect();
    let mut sorted: Vec<f64> = values.iter().map(|v| v.0).collect();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted[250], sorted[980]);
    let least = low + 0.3 * (high - low);
    let (mut sum, mut all) = (0.0, 1e-9);
    for (value, y) in values {
        if value > least {
            sum += (value - low) * (std::f64::consts::TAU * (y - 0.5)).cos();
            all += value - low;
        }
    }
    sum / all
}

/// Where on the top edge of the picture the point is that is at `part` of the panel's, by the homography of a square.
fn along_top([a, b, c, d]: [Point; 4], part: f64) -> Option<f64> {
    let (dx1, dy1, dx2, dy2) = (b.0 - c.0, b.1 - c.1, d.0 - c.0, d.1 - c.1);
    let (sx, sy) = (a.0 - b.0 + c.0 - d.0, a.1 - b.1 + c.1 - d.1);
    let det = dx1 * dy2 - dy1 * dx2;
    let g = (sx * dy2 - sy * dx2) / det;
    let place = (1.0 + g) * part / (1.0 + g * part);
    place.is_finite().then_some(place)
}

/// The map of these corners, and how many spots it explains. `None` if the fifth light or the other spots are not where they should be.
fn try_corners(panel: &Panel, spots: &[Point], corners: [Point; 4], fifth: Point) -> Option<(f64, Map)> {
    let turn = |i: usize| {
        let (a, b, c) = (corners[i], corners[(i + 1) % 4], corners[(i + 2) % 4]);
        (b.0 - a.0) * (c.1 - b.1) - (b.1 - a.1) * (c.0 - b.0)
    };
    let turns = [0, 1, 2, 3].map(turn);
    if !(turns.iter().all(|&t| t > 0.0) || turns.iter().all(|&t| t < 0.0)) {
        return None;
    }
    let inverse = Map::between(corners, panel.corners)?;
    let near = |(x, y): Point, (u, v): Point| (x - u).hypot(y - v) < NEAR_PLACE;
    if !near(inverse.apply(fifth), panel.orientation) {
        return None;
    }
    let (mut explained, mut on_board) = (0.0, 0.0);
    for &spot in spots {
        let (x, y) = inverse.apply(spot);
        if !((-2.2..12.2).contains(&x) && (-2.2..14.2).contains(&y)) {
            continue;
        }
        on_board += 1.0;
        let marker =
            panel.corners.iter().chain([&panel.orientation]).chain(&panel.code).any(|&m| near((x, y), m));
        // Neighbours in a column or row may have merged into one spot, whose middle is on the line of their centres.
        let off = |value: f64| (value - value.floor() - 0.5).abs();
        let inside = |value: f64| value > 0.0 && value < COLUMNS as f64;
        let fast = inside(x) && inside(y) && off(x).min(off(y)) < 0.25;
        let slow = inside(x) && (y - panel.slow_y).abs() < 0.35;
        explained += f64::from(u8::from(marker || fast || slow));
    }
    let map = Map::between(panel.corners, corners)?;
    (explained >= LEAST_EXPLAINED * on_board).then_some((explained - 2.0 * (on_board - explained), map))
}

/// Whether the markers are bright and the margin is dark.
fn check(luma: &Luma, panel: &Panel, map: Map, corners: [Point; 4]) -> Option<Found> {
    let at = |point: Point| {
        let (u, v) = map.apply(point);
        luma.sample(u, v)
    };
    let markers: Vec<f64> =
        panel.corners.iter().chain([&panel.orientation]).map(|&p| at(p)).collect::<Option<_>>()?;
    let [(left, top), _, (right, bottom), _] = panel.corners;
    let mut margin = Vec::new();
    let mut points: Vec<Point> = Vec::new();
    for i in 2..=24_u32 {
        let part = f64::from(i) / 26.0;
        let (x, y) = (left + (right - left) * part, top + (bottom - top) * part);
        points.extend([(left, y), (right, y), (x, top), (x, bottom), (x, (10.0 + panel.slow_y - 0.5) / 2.0)]);
    }
    let lights = || panel.corners.iter().chain([&panel.orientation]).chain(&panel.code);
    for (x, y) in points {
        if lights().all(|&(u, v)| (x - u).hypot(y - v) > 0.9) {
            margin.push(at((x, y))?);
        }
    }
    margin.sort_by(f64::total_cmp);
    let dark = margin[margin.len() / 2];
    let marker = markers.iter().sum::<f64>() / markers.len() as f64 - dark;
    if marker < 8.0 || markers.iter().any(|value| value - dark < LEAST_MARKER * marker) {
        return None;
    }
    let bright = margin.iter().filter(|&&value| value > dark + 0.35 * marker).count();
    if bright as f64 > MOST_BRIGHT_MARGIN * margin.len() as f64 {
        return None;
    }
    let mut halo = 0.0;
    for &(x, y) in &panel.corners {
        // Towards the panel's middle: outwards may be the wall.
        for (dx, dy) in [((5.0 - x).signum(), 0.0), (0.0, (6.0 - y).signum())] {
            halo += ((at((x + dx, y + dy))? - dark) / marker).max(0.0) / 8.0;
        }
    }
    let power = |offset: f64, count: u32| {
        let value = |i: u32| {
            let (x, y) = (f64::from(i % count) + offset, f64::from(i / count) + offset);
            at((x, y)).map_or(0.0, |value| value - dark)
        };
        let values: Vec<f64> = (0..count * count).map(value).collect();
        // Above the lower ones, which show the surroundings' light.
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let low = sorted[sorted.len() / 4];
        values.iter().map(|v| (v - low) * (v - low)).sum::<f64>() / values.len() as f64
    };
    let gaps = power(1.0, 9) / power(0.5, 10).max(1e-9);
    (pitch(at, dark) > LEAST_PITCH).then_some(Found { map, corners, marker, dark, halo, gaps })
}
