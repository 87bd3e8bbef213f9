//! Random orders.

use swsync_core::name::Name;
use swsync_core::order::{Fill, Kind, Order};
use swsync_core::time::{Rig, Span, Timestamp};

/// SplitMix64: the same on every machine.
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Less than `limit`, which is small against 2^64.
    pub const fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn millis(&mut self, from: i64, to: i64) -> Span {
        let range = u64::try_from(to - from).unwrap_or(1);
        Span::from_millis(from + i64::try_from(self.below(range)).unwrap_or(0))
    }
}

/// The `index`th order, given at `now`: from three seconds ago to two ahead.
pub fn random_order(random: &mut Random, index: u32, now: Timestamp<Rig>) -> anyhow::Result<Order> {
    let at = now + random.millis(-3000, 2000);
    let count = |random: &mut Random, to: u64| u32::try_from(1 + random.below(to)).unwrap_or(1);
    let (kind, stop) = match random.below(11) {
        0..=2 => (Kind::Still { every: None, count: Some(1) }, None),
        3..=4 => (Kind::Burst { count: count(random, 30) }, None),
        5 => (Kind::Still { every: Some(random.millis(100, 500)), count: Some(count(random, 8)) }, None),
        6..=7 => (Kind::Take { segment: None, fill: Fill::Hold }, Some(at + random.millis(300, 3000))),
        8 => {
            let segment = Some(random.millis(1000, 1500));
            (Kind::Take { segment, fill: Fill::None }, Some(at + random.millis(1000, 3000)))
        }
        // Those that go on until they are stopped or cancelled, wherever in a file that is.
        _ => {
            let segment = (random.below(3) > 0).then(|| random.millis(1000, 2500));
            (Kind::Take { segment, fill: Fill::Hold }, None)
        }
    };
    Ok(Order::new(Name::new(format!("o{index:04}"))?, at, stop, kind)?)
}
