//! Questions about the takes that devices list: which order was given last, and which takes share a folder.

use std::collections::{BTreeMap, BTreeSet};

use swsync_client::share::TakeEntry;
use swsync_core::name::{DeviceId, Name, OrderId};

/// The order among `takes` that was given last. It need not have the latest frames: those of another may be from the past, and
/// rig time begins anew with a new time scale.
///
/// Each device numbers the orders that it accepts by its wall clock, which may be wrong. So of two orders, that one is the
/// later which most devices that have both accepted later. If no device has both, the numbers are compared directly.
pub fn latest_order(takes: &[(DeviceId, TakeEntry)]) -> Option<&OrderId> {
    let mut counts: BTreeMap<&OrderId, BTreeMap<&DeviceId, i64>> = BTreeMap::new();
    for (device, take) in takes {
        let count = take.accepted_ns.map_or(take.started_ns.as_nanos(), |at| at.as_nanos());
        counts.entry(&take.order).or_default().insert(device, count);
    }
    let is_later = |one: &BTreeMap<&DeviceId, i64>, other: &BTreeMap<&DeviceId, i64>| {
        let both: BTreeSet<_> = one.keys().filter(|device| other.contains_key(*device)).collect();
        let later = both.iter().filter(|device| one[**device] > other[**device]).count();
        match later.cmp(&(both.len() - later)) {
            std::cmp::Ordering::Equal => one.values().max() > other.values().max(),
            more => more.is_gt(),
        }
    };
    let last = counts.iter().reduce(|last, next| if is_later(next.1, last.1) { next } else { last });
    last.map(|(order, _)| *order)
}

/// The folder that the part of `device` in `take` would share with another part on a disk that ignores case; `None` if there
/// is none, or this part comes first.
pub fn case_conflict(takes: &[(DeviceId, TakeEntry)], device: &DeviceId, take: &TakeEntry) -> Option<String> {
    let is_first = |other: &Name, name: &Name| other < name && other.is_folder_of(name);
    takes.iter().find_map(|(other, TakeEntry { order, .. })| {
        if is_first(order, &take.order) {
            return Some(order.to_string());
        }
        (*order == take.order && is_first(other, device)).then(|| format!("{order}/{other}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;
    use swsync_core::time::Timestamp;

    fn take(device: &str, order: &str, started: i64, accepted: Option<i64>) -> (DeviceId, TakeEntry) {
        let entry = TakeEntry {
            order: name(order),
            started_ns: Timestamp::from_nanos(started),
            accepted_ns: accepted.map(Timestamp::from_nanos),
            complete: true,
        };
        (name(device), entry)
    }

    fn last(takes: &[(DeviceId, TakeEntry)]) -> &str {
        latest_order(takes).unwrap().as_str()
    }

    #[test]
    fn the_last_order_is_not_the_one_with_the_latest_frames() {
        let past = [take("a", "future", 900, Some(10)), take("a", "past", 100, Some(11))];
        assert_eq!(last(&past), "past");
        let older = [take("a", "x", 900, None), take("a", "y", 1000, None)];
        assert_eq!(last(&older), "y", "without numbers, by the first frame");
        assert_eq!(latest_order(&[]), None);
    }

    #[test]
    fn a_device_with_a_wrong_clock_still_tells_the_later_of_two() {
        let takes = [
            take("right", "one", 100, Some(1_000_000)),
            take("wrong", "one", 100, Some(10)),
            take("wrong", "two", 100, Some(11)), // by this device alone
        ];
        assert_eq!(last(&takes), "two");
        let takes: Vec<_> = takes.into_iter().rev().collect();
        assert_eq!(last(&takes), "two");
    }
}
