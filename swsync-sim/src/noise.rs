//! Noise as a function of its arguments.
//!
//! A generator's next draw depends on the draws before; a hash of (seed, series, knot) does not. So clocks, which are read in any
//! order, use hashes.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// 64 well-mixed bits of `(seed, series, knot)`: SplitMix64's finaliser over each in turn
/// (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
pub(crate) const fn hash(seed: u64, series: u64, knot: u64) -> u64 {
    mix(mix(mix(seed) ^ series) ^ knot)
}

const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in `[0, 1)` from 32 of the hash's bits.
pub(crate) fn uniform(hash: u64) -> f64 {
    f64::from(u32::from_be_bytes(first_half(hash))) / (f64::from(u32::MAX) + 1.0)
}

fn first_half(hash: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = hash.to_be_bytes();
    [a, b, c, d]
}

/// A nearly normal number of mean 0 and variance 1: the sum of four uniform ones, so at most 3.47 in magnitude.
pub(crate) fn gaussian(hash: u64) -> f64 {
    let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
    let sum: f64 = [[a, b], [c, d], [e, f], [g, h]]
        .into_iter()
        .map(|two| (f64::from(u16::from_be_bytes(two)) + 0.5) / 65_536.0)
        .sum();
    (sum - 2.0) * 3.0_f64.sqrt()
}

/// The generator of one series of draws; it depends on `(seed, series)` only.
pub(crate) fn generator(seed: u64, series: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(series);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::real;

    #[test]
    fn hashed_noise_has_the_moments_it_claims() {
        let n = 100_000;
        let draws: Vec<f64> = (0..n).map(|knot| gaussian(hash(7, 3, knot))).collect();
        let mean = draws.iter().sum::<f64>() / real(draws.len());
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / real(draws.len());
        let neighbours = draws.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / real(draws.len());
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
        assert!(neighbours.abs() < 0.01, "{neighbours}");
        assert!((0..n).all(|k| (0.0..1.0).contains(&uniform(hash(1, 2, k)))));
    }
}
