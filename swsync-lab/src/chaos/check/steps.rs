//! No device's rig time is stepped, but where two time scales meet.

use serde_json::json;
use swsync_core::time::{Host, Span, Timestamp};

use super::{Finding, Runs, When};
use crate::chaos::device;
use crate::chaos::event::BusMessage;
use crate::chaos::reading::Reading;
use crate::chaos::record::Record;

/// The fastest that rig time may run against true time: the crystal of the leader, and the slewing of `max-slew-ppm`.
const MAX_RATE_PPM: f64 = 700.0;
/// What readings may be off.
const TOLERANCE: Span = Span::from_micros(30);
/// How long after two scales have met devices may step.
const MERGE_TIME: Span = Span::from_secs(60);

/// The largest changes.
#[derive(Default)]
struct Largest {
    /// Of rig time against true time between two readings.
    change: Span,
    /// The time between those two.
    within: Span,
    pairs: usize,
}

/// Checks all readings of each run against those before them, and what clocks say on the bus.
pub fn check(runs: &Runs, record: &Record, when: &When) -> Finding {
    let (mut violations, mut excused) = (Vec::new(), 0);
    let mut largest = Largest::default();
    for ((device, _), readings) in &runs.readings {
        for pair in readings.windows(2) {
            let Some((change, within)) = change(&pair[0], &pair[1]) else { continue };
            largest.pairs += 1;
            let name = device::name(*device);
            if is_step(change, within) {
                match is_merging(record, *device, pair[1].at) {
                    true => excused += 1,
                    false => violations.push(format!(
                        "{name} at {}: rig time changed by {change:?} within {within:?}",
                        when.seconds(pair[1].at)
                    )),
                }
            } else if change.abs() > largest.change {
                (largest.change, largest.within) = (change.abs(), within);
            }
        }
    }
    let mut messages = 0;
    for entry in &record.bus {
        let BusMessage::Stepped { by, anew } = entry.message else { continue };
        messages += 1;
        if !is_merging(record, entry.device, entry.at) {
            let (name, anew) = (device::name(entry.device), if anew { ", and begins anew" } else { "" });
            violations
                .push(format!("{name} at {}: says that it steps by {by:?}{anew}", when.seconds(entry.at)));
        }
    }
    let Largest { change, within, pairs } = largest;
    Finding {
        what: "no rig time steps",
        figures: format!(
            "of {pairs} pairs of readings the largest change is {:.1} us in {:.0} ms; {excused} steps, and {messages} \
             messages of steps, where two scales met",
            change.as_micros_f64(),
            within.as_secs_f64() * 1e3
        ),
        json: json!({
            "pairs": pairs, "largest_change_ns": change, "within_ns": within, "steps_of_merges": excused,
            "messages": messages,
        }),
        violations,
    }
}

/// How rig time changed against true time from one reading to the next, and the time between them. `None`: the clock was not in use.
fn change(one: &Reading, next: &Reading) -> Option<(Span, Span)> {
    (one.is_in_use() && next.is_in_use()).then(|| (next.offset - one.offset, next.at - one.at))
}

fn is_step(change: Span, within: Span) -> bool {
    change.abs() > TOLERANCE + Span::from_nanos_f64(within.as_nanos_f64() * MAX_RATE_PPM / 1e6)
}

/// Whether `device` began a time scale of its own, which met the others' just before `at`.
fn is_merging(record: &Record, device: usize, at: Timestamp<Host>) -> bool {
    record.faults.iter().any(|fault| {
        let met = fault.repaired.is_some_and(|met| at >= met && at - met < MERGE_TIME);
        met && fault.apart.contains(&device)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::reading::testing::reading;
    use swsync_core::frame::SyncState;

    #[test]
    fn slewing_is_no_step_and_acquiring_is_not_looked_at() {
        use SyncState::{Acquiring, Holdover, Synced};
        let first = reading(0, 0, Span::ZERO);
        for (offset, sync, expected) in [
            (Span::from_micros(100), Synced, Some(false)),
            (Span::from_micros(-100), Holdover, Some(false)),
            (Span::from_micros(200), Synced, Some(true)),
            (Span::from_millis(-1), Holdover, Some(true)),
            (Span::from_secs(3), Acquiring, None),
        ] {
            let next = Reading { sync, ..reading(0, 200, offset) };
            let found = change(&first, &next).map(|(change, within)| is_step(change, within));
            assert_eq!(found, expected, "{offset:?} {sync:?}");
        }
    }
}
