//! Arguments that the tables have in common.

use std::path::PathBuf;

use clap::Args;
use swsync_core::time::Span;

/// Where the figures go, and from which seed they come.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Seed of the first trial: the same seed gives the same figures
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Prints the figures as JSON; spans in ns
    #[arg(long)]
    pub(super) json: bool,
    /// Also writes the figures (lab.json) and what they were computed from (CSV) into this folder, for `swsync report`
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
}

/// A count from 1 on.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "expected a number from 1 on".to_owned())
}

/// A finite number of microseconds, at most a millisecond: an asymmetry.
pub fn asymmetry(text: &str) -> Result<Span, String> {
    let micros: Option<f64> = text.parse().ok().filter(|micros: &f64| micros.abs() <= 1_000.0);
    micros
        .map(|micros| Span::from_nanos_f64(micros * 1e3))
        .ok_or_else(|| "expected microseconds from -1000 to 1000, as -19".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_asymmetries_are_bounded() {
        assert_eq!(at_least_one("3"), Ok(3));
        assert!(at_least_one("0").is_err() && at_least_one("-1").is_err());
        assert_eq!(asymmetry("-19.5"), Ok(Span::from_nanos(-19_500)));
        assert!(["NaN", "inf", "1001", "us"].iter().all(|text| asymmetry(text).is_err()));
    }
}
