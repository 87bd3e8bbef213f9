//! Arithmetic that the files of this folder share.

/// A count as a float: exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "lines, frames and ns of a profile are fewer than 2^53")]
pub(crate) const fn real(n: u64) -> f64 {
    n as f64
}

/// Whole lines or frames: truncated, and saturating.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to int casts saturate, which is what a limit does"
)]
pub(super) const fn whole(n: f64) -> u32 {
    n as u32
}

/// `phase` reduced to (-period/2, period/2].
pub(super) fn wrap(phase: f64, period: f64) -> f64 {
    phase - period * (phase / period - 0.5).ceil()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_is_half_open() {
        assert_eq!([5.0, -5.0, 12.0, -12.0].map(|phase| wrap(phase, 10.0)), [5.0, 5.0, 2.0, -2.0]);
    }
}
