//! Figures of many values.

use super::plot::to_f64;

/// What values have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Their number.
    pub count: usize,
    /// Mean.
    pub mean: f64,
    /// Mean of the magnitudes.
    pub mean_abs: f64,
    /// Standard deviation.
    pub stdev: f64,
    /// Largest magnitude.
    pub max_abs: f64,
    /// Median.
    pub median: f64,
}

impl Summary {
    /// The figures of those of `values` that are finite. `None`: there is none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let median = quantile(&sorted, 0.5)?;
        let count = to_f64(sorted.len());
        let mean = sorted.iter().sum::<f64>() / count;
        let mean_abs = sorted.iter().map(|value| value.abs()).sum::<f64>() / count;
        let variance = sorted.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        let max_abs = sorted.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        Some(Self { count: sorted.len(), mean, mean_abs, stdev: variance.sqrt(), max_abs, median })
    }
}

/// The value that a share `part` of `sorted`, which is in ascending order, lies below: the nearest one. `None`: it is empty.
pub fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part.clamp(0.0, 1.0) * to_f64(sorted.len().checked_sub(1)?);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within the slice")]
    sorted.get(place.round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_known_values() {
        let summary = Summary::of([1.0, -3.0, f64::NAN, 2.0, 4.0]).unwrap();
        assert_eq!((summary.count, summary.mean, summary.mean_abs, summary.max_abs), (4, 1.0, 2.5, 4.0));
        assert!((summary.stdev - 6.5_f64.sqrt()).abs() < 1e-12);
        assert_eq!(Summary::of([f64::NAN]), None);
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
