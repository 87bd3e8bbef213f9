//! Random orders.

use swsync_core::name::Name;
use swsync_core::order::{Fill, Order, OrderKind};
use swsync_core::time::{Rig, Span, Timestamp};

use crate::split_mix::SplitMix64;

fn millis(random: &mut SplitMix64, from: i64, to: i64) -> Span {
    let range = u64::try_from(to - from).unwrap_or(1);
    Span::from_millis(from + i64::try_from(random.below(range)).unwrap_or(0))
}

/// The `index`th order, given at `now`: from three seconds ago to two ahead.
pub fn random_order(random: &mut SplitMix64, index: u32, now: Timestamp<Rig>) -> anyhow::Result<Order> {
    let at = now + millis(random, -3000, 2000);
    let count = |random: &mut SplitMix64, to: u64| u32::try_from(1 + random.below(to)).unwrap_or(1);
    let (kind, stop) = match random.below(11) {
        0..=2 => (OrderKind::Still { every: None, count: Some(1) }, None),
        3..=4 => (OrderKind::Burst { count: count(random, 30) }, None),
        5 => {
            (OrderKind::Still { every: Some(millis(random, 100, 500)), count: Some(count(random, 8)) }, None)
        }
        6..=7 => (OrderKind::Take { segment: None, fill: Fill::Hold }, Some(at + millis(random, 300, 3000))),
        8 => {
            let segment = Some(millis(random, 1000, 1500));
            (OrderKind::Take { segment, fill: Fill::None }, Some(at + millis(random, 1000, 3000)))
        }
        // Takes that go on until they are stopped or cancelled, anywhere within a file.
        _ => {
            let segment = (random.below(3) > 0).then(|| millis(random, 1000, 2500));
            (OrderKind::Take { segment, fill: Fill::Hold }, None)
        }
    };
    Ok(Order::new(Name::new(format!("o{index:04}"))?, at, stop, kind)?)
}
