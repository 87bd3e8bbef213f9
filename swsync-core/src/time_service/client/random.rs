//! Random numbers of a client: the cookies of its requests, and the jitter of its polls.

use std::fmt;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::ntp::NtpTimestamp;

/// What makes a client's cookies unpredictable: 32 bytes from the operating system's generator.
#[derive(Clone, Copy)]
pub struct Seed([u8; 32]);

impl Seed {
    /// For simulations and tests: the same cookies each time, which anyone can predict.
    #[must_use]
    pub fn predictable(number: u64) -> Self {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        Self(seed)
    }
}

impl From<[u8; 32]> for Seed {
    fn from(seed: [u8; 32]) -> Self {
        Self(seed)
    }
}

impl fmt::Debug for Seed {
    /// It is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// A cryptographic generator: whoever sees some cookies, as each server does, cannot tell the next ones. With them a server that is
/// asked no more could answer in the name of the next one.
#[derive(Debug)]
pub(super) struct Random(StdRng);

impl Random {
    pub(super) fn new(Seed(seed): Seed) -> Self {
        Self(StdRng::from_seed(seed))
    }

    pub(super) fn cookie(&mut self) -> NtpTimestamp {
        NtpTimestamp(self.0.next_u64())
    }

    /// A number in [-1, 1).
    pub(super) fn jitter(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / f64::from(1_u32 << 31) - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_from_the_seed_alone_and_stay_in_range() {
        let cookies = |seed| {
            let mut random = Random::new(seed);
            [(); 8].map(|()| random.cookie().0)
        };
        let of_five = cookies(Seed::predictable(5));
        assert_eq!(of_five, cookies(Seed::predictable(5)));
        assert_ne!(of_five, cookies(Seed::predictable(6)));
        let mut random = Random::new(Seed::from([7; 32]));
        let jitter = [(); 1_000].map(|()| random.jitter());
        assert!(jitter.iter().all(|jitter| (-1.0..1.0).contains(jitter)));
        let (least, most) =
            (jitter.iter().copied().fold(1.0, f64::min), jitter.iter().copied().fold(-1.0, f64::max));
        assert!(least < -0.9 && most > 0.9, "{least} {most}");
    }

    /// The generator of before, SplitMix64, could be run backwards: a cookie told the state, and so all later cookies.
    #[test]
    fn a_cookie_does_not_tell_the_next() {
        let undo = |z: u64, shift: u32, factor: u64| {
            let z = z.wrapping_mul(factor);
            (0..64 / shift).fold(z, |undone, _| z ^ undone >> shift)
        };
        let next_by_split_mix = |cookie: u64| {
            let mut z = (0..2).fold(cookie, |undone, _| cookie ^ undone >> 31);
            z = undo(z, 27, 0x3196_42b2_d24d_8ec3);
            z = undo(z, 30, 0x96de_1b17_3f11_9089);
            let mut z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        };
        // The published first outputs of SplitMix64 from zero.
        assert_eq!(next_by_split_mix(0xe220_a839_7b1d_cdaf), 0x6e78_9e6a_a1b9_65f4, "the attack works");
        let mut random = Random::new(Seed::predictable(0));
        let [seen, next] = [(); 2].map(|()| random.cookie().0);
        assert_ne!(next_by_split_mix(seen), next);
    }

    #[test]
    fn secrets_are_not_shown() {
        let seed = Seed::from([171; 32]);
        let shown = format!("{seed:?} {:?}", Random::new(seed));
        assert!(!shown.contains("171") && !shown.to_lowercase().contains("ab, "), "{shown}");
    }
}
