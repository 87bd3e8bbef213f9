//! Random numbers for tests.

/// A 64-bit xorshift generator.
#[derive(Debug, Clone)]
pub struct XorShift(u64);

impl XorShift {
    /// A generator with this state, which must not be 0.
    pub const fn new(state: u64) -> Self {
        Self(state)
    }

    /// A generator with a well-mixed state.
    pub fn mixed(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..20 {
            random.bits();
        }
        random
    }

    /// 31 random bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 33
    }

    /// A uniform random number in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        f64::from(u32::try_from(self.bits()).expect("31 bits")) / f64::from(1_u32 << 31)
    }

    /// A nearly normal random number of mean 0 and variance 1.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}
