//! The figures of an error that the paper gives: maximum, mean and standard deviation of its magnitude.

use swsync_core::time::Span;

use crate::stats::{as_f64, quantile};

/// What errors of many trials come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Number of errors.
    pub count: usize,
    /// Largest magnitude.
    pub max: Span,
    /// Mean of the magnitudes.
    pub mean_abs: Span,
    /// Standard deviation of the magnitudes.
    ///
    /// The paper does not say of what its deviations are. Those of Table II are 0.7 to 0.8 of the mean magnitudes; for errors
    /// about zero that is the deviation of magnitudes (0.76), while that of signed errors would be 1.25.
    pub deviation: Span,
    /// 95 % quantile of the magnitudes.
    pub p95: Span,
    /// Mean, with sign.
    pub bias: Span,
}

impl Spread {
    /// The figures of these errors; `None` if there are none.
    pub fn of(errors: impl IntoIterator<Item = Span>) -> Option<Self> {
        let errors: Vec<Span> = errors.into_iter().collect();
        let mut sizes: Vec<Span> = errors.iter().map(|error| error.abs()).collect();
        sizes.sort_unstable();
        let max = *sizes.last()?;
        let mean = mean(&sizes);
        let squares = sizes.iter().map(|size| (size.as_nanos_f64() - mean).powi(2)).sum::<f64>();
        Some(Self {
            count: errors.len(),
            max,
            mean_abs: Span::from_nanos_f64(mean),
            deviation: Span::from_nanos_f64((squares / as_f64(sizes.len())).sqrt()),
            p95: quantile(&sizes, 95),
            bias: Span::from_nanos_f64(self::mean(&errors)),
        })
    }

    /// As JSON, in ns.
    pub fn to_json(self) -> serde_json::Value {
        serde_json::json!({
            "count": self.count,
            "max_ns": self.max,
            "mean_abs_ns": self.mean_abs,
            "deviation_ns": self.deviation,
            "p95_ns": self.p95,
            "bias_ns": self.bias,
        })
    }
}

/// The mean in ns of `spans`, which are not empty.
pub fn mean(spans: &[Span]) -> f64 {
    spans.iter().map(|span| span.as_nanos_f64()).sum::<f64>() / as_f64(spans.len())
}

/// Mean and standard deviation of `values`; `None` if there are none.
pub fn mean_and_deviation(values: &[f64]) -> Option<(f64, f64)> {
    let n = as_f64(values.len());
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
    (!values.is_empty()).then(|| (mean, variance.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_as_computed_by_hand() {
        let us = Span::from_micros;
        let spread = Spread::of([us(-30), us(10), us(20), us(-20)]).unwrap();
        assert_eq!((spread.count, spread.max, spread.mean_abs, spread.bias), (4, us(30), us(20), us(-5)));
        // Magnitudes 30, 10, 20, 20.
        assert_eq!(spread.deviation, Span::from_nanos(7_071));
        assert_eq!((Spread::of([]), mean_and_deviation(&[])), (None, None));
        assert_eq!(mean_and_deviation(&[1.0, 3.0]), Some((2.0, 1.0)));
    }
}
