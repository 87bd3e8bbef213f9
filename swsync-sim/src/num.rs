//! The lossy conversions between numbers, so that the rest of the crate needs no casts.

/// A coordinate, a count or a byte sum as a float: exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "pictures have fewer than 2^53 pixels")]
pub(crate) const fn real(n: usize) -> f64 {
    n as f64
}

/// The whole number at or below `x` as an index: 0 for negative numbers and NaN.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to int casts saturate, which is what a clipped coordinate does"
)]
pub(crate) const fn index(x: f64) -> usize {
    x as usize
}

/// The nearest sample value, clipped to 8 bit.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to int casts saturate, which is what a pixel does"
)]
pub(crate) fn byte(x: f64) -> u8 {
    x.round() as u8
}

/// Whole lines in `x`, truncated as libcamera does; saturates.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a line count beyond 32 bit is clamped to the sensor's limits next"
)]
pub(crate) const fn lines(x: f64) -> u32 {
    x as u32
}

/// `0..=256` for a fraction in `[0, 1]`: the fixed-point weight of pixel arithmetic.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=256")]
pub(crate) fn weight(fraction: f64) -> u16 {
    (fraction.clamp(0.0, 1.0) * 256.0 + 0.5) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_clip() {
        assert_eq!(index(-3.5), 0);
        assert_eq!(index(3.9), 3);
        assert_eq!(byte(-1.0), 0);
        assert_eq!(byte(300.0), 255);
        assert_eq!(byte(1.5), 2);
        assert_eq!(lines(1763.99), 1763);
        assert_eq!(lines(f64::INFINITY), u32::MAX);
        assert_eq!(weight(1.0), 256);
        assert_eq!(weight(-0.1), 0);
    }
}
