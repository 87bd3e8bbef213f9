//! A camera's viewpoint.

use crate::noise::{hash, uniform};

/// Number of places on the arc around the scene; further cameras start again at its left end.
const STANDS: u32 = 8;

/// One camera's viewpoint and colours. The panel has the same place in every picture, as if every tripod had been adjusted to it.
/// The ball's orbit and the lights behind shift sideways by their parallax.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Shift of the ball's orbit as a fraction of the layout's `max_parallax`, in `[-1, 1]`.
    pub parallax: f64,
    /// Gain of red, green and blue: brightness and tint, about 1.
    pub gain: [f64; 3],
}

impl View {
    /// The middle, in neutral colours.
    pub const CENTRE: Self = Self { parallax: 0.0, gain: [1.0; 3] };

    /// The view of camera `index`: eight of them stand side by side from left to right, each with
    /// its own slight tint and brightness.
    #[must_use]
    pub fn new(index: u32) -> Self {
        let stand = f64::from(index % STANDS) / f64::from(STANDS - 1);
        let draw = |series| 2.0 * uniform(hash(0x71e3, series, u64::from(index))) - 1.0;
        let brightness = 1.0 + 0.06 * draw(0);
        Self {
            parallax: 2.0 * stand - 1.0,
            gain: [
                brightness * (1.0 + 0.03 * draw(1)),
                brightness * (1.0 + 0.01 * draw(2)),
                brightness * (1.0 + 0.03 * draw(3)),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_differ_a_little() {
        let views: Vec<View> = (0..8).map(View::new).collect();
        assert!(views.windows(2).all(|pair| pair[0].parallax < pair[1].parallax));
        assert!(views.iter().all(|view| view.parallax.abs() <= 1.0));
        assert!(views.iter().flat_map(|view| view.gain).all(|gain| (0.9..1.1).contains(&gain)));
        assert!((View::new(8).parallax - View::new(0).parallax).abs() < 1e-9);
    }
}
