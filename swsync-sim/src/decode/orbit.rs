//! Finds the hub and the ball, which tell the 20 ms of the second.

use super::picture::Picture;
use crate::num::{index, real};
use crate::panel::{PanelLayout, Rect};

/// The ball in the picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct DetectedBall {
    /// Radians clockwise from 12 o'clock, in (-pi, pi].
    pub(super) angle: f64,
    /// The picture row of its middle, with the fraction.
    pub(super) row: f64,
}

/// Finds the hub, then the ball; `None` if either is missing or they do not fit each other.
///
/// The ball is measured relative to the hub, because the camera's viewpoint shifts both alike.
pub(super) fn find_ball(picture: &Picture<'_>, layout: &PanelLayout) -> Option<DetectedBall> {
    let orbit = layout.orbit();
    let (cx, cy) = orbit.centre;
    let reach = orbit.radius + orbit.ball + 2.0;
    let area = clip(layout, (cx, cy), (reach + orbit.max_parallax, reach));
    let bright = Bright::of(picture, area)?;

    let near = orbit.hub + 1.5;
    let hub_area = clip(layout, (cx, cy), (near + orbit.max_parallax, near));
    let hub = bright.centre_of(picture, hub_area, |_, _| true)?;
    let area_of = |radius: f64| std::f64::consts::PI * radius * radius;
    if !(0.4..2.5).contains(&(hub.mass / area_of(orbit.hub))) {
        return None;
    }
    let apart = |x: f64, y: f64| (x - hub.x).hypot(y - hub.y);
    let on_orbit = |x: f64, y: f64| (apart(x, y) - orbit.radius).abs() < orbit.ball + 3.0;
    let rough = bright.centre_of(picture, area, on_orbit)?;
    // Repeat without other bright things.
    let close = |x: f64, y: f64| (x - rough.x).hypot(y - rough.y) < orbit.ball * 1.5 + 2.0;
    let ball = bright.centre_of(picture, area, close)?;
    let distance = apart(ball.x, ball.y);
    let plausible = (0.4..2.5).contains(&(ball.mass / area_of(orbit.ball)))
        && (distance - orbit.radius).abs() < orbit.ball * 0.5 + 1.0;
    plausible.then(|| DetectedBall { angle: (ball.x - hub.x).atan2(hub.y - ball.y), row: ball.y - 0.5 })
}

/// The brightness ramp: nothing counts below `none`, everything above `all`.
#[derive(Debug, Clone, Copy)]
struct Bright {
    none: f64,
    all: f64,
}

/// A centre of mass in pixels, and the mass in pixels of full brightness.
#[derive(Debug, Clone, Copy)]
struct Mass {
    x: f64,
    y: f64,
    mass: f64,
}

impl Bright {
    /// A ramp between the background (the median) and the bright parts (the 99th percentile) of `area`; `None` if these hardly
    /// differ.
    fn of(picture: &Picture<'_>, area: Rect) -> Option<Self> {
        const LEAST_CONTRAST: f64 = 40.0;
        let mut levels: Vec<f64> = pixels(area).map(|(x, y)| picture.at(x, y)).collect();
        levels.sort_by(f64::total_cmp);
        let quantile = |share: f64| levels.get(index(real(levels.len()) * share)).copied();
        let (dark, bright) = (quantile(0.5)?, quantile(0.99)?);
        let range = bright - dark;
        (range > LEAST_CONTRAST).then_some(Self { none: dark + 0.4 * range, all: dark + 0.65 * range })
    }

    fn centre_of(self, picture: &Picture<'_>, area: Rect, counts: impl Fn(f64, f64) -> bool) -> Option<Mass> {
        let (mut mass, mut sum_x, mut sum_y) = (0.0, 0.0, 0.0);
        for (x, y) in pixels(area) {
            let (px, py) = (real(x) + 0.5, real(y) + 0.5);
            let level = picture.at(x, y);
            if level > self.none && counts(px, py) {
                let share = ((level - self.none) / (self.all - self.none)).min(1.0);
                mass += share;
                sum_x += share * px;
                sum_y += share * py;
            }
        }
        (mass > 1.0).then(|| Mass { x: sum_x / mass, y: sum_y / mass, mass })
    }
}

fn pixels(area: Rect) -> impl Iterator<Item = (usize, usize)> {
    (area.top..area.bottom()).flat_map(move |y| (area.left..area.right()).map(move |x| (x, y)))
}

/// The part of the picture within `reach` of `centre`.
fn clip(layout: &PanelLayout, centre: (f64, f64), reach: (f64, f64)) -> Rect {
    let span = |centre: f64, reach: f64, size: usize| {
        let first = index(centre - reach).min(size);
        (first, index(centre + reach + 1.0).min(size) - first)
    };
    let (left, width) = span(centre.0, reach.0, layout.width());
    let (top, height) = span(centre.1, reach.1, layout.height());
    Rect { left, top, width, height }
}
