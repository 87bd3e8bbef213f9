//! A simulated link and clock with known truth.

use super::exchange::Exchange;
use crate::testing::XorShift;
use crate::time::{Local, Rig, Span, Timestamp};

/// Exchanges over a link with exponential delays above a floor.
pub struct Link {
    random: XorShift,
    pub floor: Span,
    pub mean_excess: Span,
    pub offset: Span,
    pub ppm: f64,
}

impl Link {
    pub fn new(seed: u64) -> Self {
        Self {
            random: XorShift::new(seed * 2 + 1),
            floor: Span::from_micros(500),
            mean_excess: Span::from_micros(800),
            offset: Span::from_millis(-1234),
            ppm: 0.0,
        }
    }

    pub fn delay(&mut self) -> Span {
        let uniform = self.random.uniform() + 2.0_f64.powi(-31); // in (0, 1]
        self.floor + self.mean_excess.mul_f64(-uniform.ln())
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
