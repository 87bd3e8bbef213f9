//! A simulated link and clock with known truth.

use super::exchange::Exchange;
use crate::time::{Local, Rig, Span, Timestamp};

/// Exchanges over a link with exponential delays above a floor, from a 64-bit xorshift.
pub struct Link {
    pub state: u64,
    pub floor: Span,
    pub mean_excess: Span,
    pub offset: Span,
    pub ppm: f64,
}

impl Link {
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed * 2 + 1,
            floor: Span::from_micros(500),
            mean_excess: Span::from_micros(800),
            offset: Span::from_millis(-1234),
            ppm: 0.0,
        }
    }

    fn uniform(&mut self) -> f64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        f64::from(u32::try_from(self.state >> 33).unwrap() + 1) / f64::from(1_u32 << 31)
    }

    pub fn delay(&mut self) -> Span {
        self.floor + self.mean_excess.mul_f64(-self.uniform().ln())
    }

    pub fn truth(&self, at: Timestamp<Local>) -> Timestamp<Rig> {
        let elapsed = at - Timestamp::ZERO;
        Timestamp::from_nanos((elapsed + self.offset + elapsed.mul_f64(self.ppm * 1e-6)).as_nanos())
    }

    pub fn exchange(&mut self, t1: Timestamp<Local>) -> Exchange {
        let there = t1 + self.delay();
        let held = there + Span::from_micros(30);
        let t4 = held + self.delay();
        Exchange { t1, t2: self.truth(there), t3: self.truth(held), t4 }
    }
}

pub fn at_ms(ms: i64) -> Timestamp<Local> {
    Timestamp::ZERO + Span::from_millis(ms)
}
