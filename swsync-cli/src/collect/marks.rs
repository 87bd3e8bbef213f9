//! What devices are told when their takes are collected: that they are, and the latest note of any device.

use std::collections::BTreeMap;
use std::path::Path;

use swsync_client::RemoteTakes;
use swsync_client::collect::Collected;
use swsync_client::removal::mark_collected;
use swsync_client::share::{TakeEntry, TakeNote, TakeSummary};
use swsync_core::name::{DeviceId, OrderId};

use crate::output::warn;

/// Notes by order and device. `None`: a device has a part of the take, and no note.
pub type Notes = BTreeMap<OrderId, BTreeMap<DeviceId, Option<TakeNote>>>;

/// What a device lists of a take, and its note.
pub fn split(take: TakeSummary) -> (TakeEntry, Option<TakeNote>) {
    let TakeSummary { order, started_ns, accepted_ns, complete, note, .. } = take;
    (TakeEntry { order, started_ns, accepted_ns, complete }, note)
}

/// Brings the latest note on each of `orders` to the devices that have none or an earlier one: they may have been away.
pub fn spread_notes<'a>(notes: &Notes, orders: &[OrderId], remote: impl Fn(&DeviceId) -> RemoteTakes<'a>) {
    for (order, device, note) in to_spread(notes, orders) {
        if let Err(error) = remote(device).set_note(order, note) {
            warn(&format!("{device} does not get the latest note on {order}: {error}"));
        }
    }
}

/// Devices that lack the latest note on one of `orders`.
fn to_spread<'a>(notes: &'a Notes, orders: &[OrderId]) -> Vec<(&'a OrderId, &'a DeviceId, &'a TakeNote)> {
    let mut lacking = Vec::new();
    for (order, devices) in notes.iter().filter(|(order, _)| orders.contains(order)) {
        let Some(latest) = devices.values().flatten().max_by_key(|note| note.at_ns) else { continue };
        let has_earlier =
            |note: &Option<TakeNote>| note.as_ref().is_none_or(|note| note.at_ns < latest.at_ns);
        let earlier = devices.iter().filter(|(_, note)| has_earlier(note));
        lacking.extend(earlier.map(|(device, _)| (order, device, latest)));
    }
    lacking
}

/// Has the device keep with its take that all of it was collected to `out`.
pub fn mark(remote: &RemoteTakes<'_>, order: &OrderId, out: &Path, collected: &Collected) {
    if let Err(error) = mark_collected(remote, order, out, collected) {
        warn(&format!("{order} is here, and its device does not know it: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;

    fn note(at: i64) -> Option<TakeNote> {
        Some(serde_json::from_value(serde_json::json!({"text": "x", "at_ns": at, "by": "laptop"})).unwrap())
    }

    #[test]
    fn the_latest_note_goes_to_devices_that_lack_it() {
        let devices =
            |notes: [Option<TakeNote>; 3]| ["a", "b", "c"].map(name).into_iter().zip(notes).collect();
        let notes = Notes::from([
            (name("o1"), devices([note(5), None, note(4)])),
            (name("o2"), devices([note(5), note(5), note(5)])),
            (name("o3"), devices([None, None, None])),
            (name("other"), devices([note(5), None, None])),
        ]);
        let spread = to_spread(&notes, &[name("o1"), name("o2"), name("o3")]);
        let spread: Vec<_> = spread
            .iter()
            .map(|(order, device, note)| (order.as_str(), device.as_str(), note.at_ns.as_nanos()))
            .collect();
        assert_eq!(spread, [("o1", "b", 5), ("o1", "c", 5)]);
    }
}
