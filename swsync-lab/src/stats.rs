//! Statistics that several experiments share.

/// A count as a float.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of exchanges and frames are far below 2^53")]
pub const fn as_f64(count: usize) -> f64 {
    count as f64
}

/// The nearest rank: the smallest of the `sorted` values (not empty) that `percent` % of them do not exceed.
#[must_use]
pub fn quantile<T: Copy>(sorted: &[T], percent: usize) -> T {
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let hundred: Vec<u8> = (1..=100).collect();
        assert_eq!([95, 99, 100].map(|percent| quantile(&hundred, percent)), [95, 99, 100]);
        assert_eq!(quantile(&hundred[..1], 95), 1);
    }
}
