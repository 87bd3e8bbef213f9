//! How a run goes on, in a line.

use std::collections::BTreeMap;
use std::time::Duration;

use swsync_core::time::Span;
use swsync_time::host_now;

use super::record::Record;
use super::rig::Rig;
use super::timeline::Presence;
use crate::network::Side;

/// How the run, which takes `duration`, goes on.
pub fn line(rig: &Rig, record: &Record, elapsed: Duration, duration: Duration) -> String {
    let up = |side| {
        (0..rig.devices.len()).filter(|device| rig.timeline.now(*device) == Presence::Up(side)).count()
    };
    let mut newest = BTreeMap::new();
    let since = host_now() - Span::from_secs(1);
    for reading in record.readings.iter().rev().take_while(|reading| reading.at > since) {
        newest.entry(reading.device).or_insert(reading);
    }
    let synced: Vec<_> = newest.values().filter(|reading| reading.sync.is_synced()).collect();
    let offsets = || synced.iter().filter(|reading| reading.side == Side::Main).map(|reading| reading.offset);
    let spread = offsets().max().unwrap_or_default() - offsets().min().unwrap_or_default();
    let leader = rig.leader(Side::Main).map_or("no leader".to_owned(), |index| format!("leader {index}"));
    let open = record.orders.values().filter(|given| given.going > 0).count();
    format!(
        "{:.0} of {:.0} s: {} devices up and {} apart, {} synced within {:.0} us, {leader}, {} orders ({open} open), \
         {} faults",
        elapsed.as_secs_f64(),
        duration.as_secs_f64(),
        up(Side::Main),
        up(Side::Apart),
        synced.len(),
        spread.as_micros_f64(),
        record.orders.len(),
        record.faults.len(),
    )
}
