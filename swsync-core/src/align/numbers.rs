//! Lossy conversions between counts and floats.

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
