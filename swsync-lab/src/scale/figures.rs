//! The figures of a rig: what was measured, as numbers with names, and what is wanted of them.

use swsync_core::time_service::SyncState;

use super::float;
use super::measure::Measured;
use crate::stats::quantile;

/// What a figure becomes with more devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// It is taken to grow linearly.
    Linear,
    /// Of the whole rig it is taken to grow linearly; this is the share of a device.
    Share,
    /// Nothing is said of it.
    Unknown,
}

/// What a figure is.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name in JSON.
    pub key: &'static str,
    /// Its name in the table, with the unit.
    pub name: &'static str,
    /// Not more is wanted.
    pub wanted: Option<f64>,
    pub growth: Growth,
}

const fn kind(key: &'static str, name: &'static str, growth: Growth) -> Kind {
    Kind { key, name, wanted: None, growth }
}

const fn wanted(key: &'static str, name: &'static str, growth: Growth, most: f64) -> Kind {
    Kind { key, name, wanted: Some(most), growth }
}

use Growth::{Linear, Share, Unknown};

/// All figures of a rig, in the order of the table.
pub const KINDS: [Kind; 28] = [
    kind("start_s", "all in sync after the first, s", Unknown),
    wanted("control_share", "idle: control plane, packets/s per device", Share, 5.0),
    kind("control", "idle: control plane, packets/s of the rig", Linear),
    kind("control_busiest", "idle: control plane, packets/s of the busiest device", Linear),
    kind("time_share", "idle: time, packets/s per device", Share),
    kind("time", "idle: time, packets/s of the rig", Linear),
    kind("other", "idle: other (ARP, IGMP), packets/s of the rig", Linear),
    kind("join_messages", "join: control plane, packets without bare ACKs (median)", Unknown),
    wanted("join_control", "join: the same, each with an ACK (median)", Linear, 100.0),
    kind("join_control_most", "join: the same, each with an ACK (most)", Unknown),
    kind("join_own", "join: control plane, newcomer's own in 15 s", Unknown),
    kind("join_time", "join: time, packets of the rig (median)", Unknown),
    kind("join_quiet_s", "join: quiet after, s (median)", Unknown),
    kind("sight_s", "a visitor sees all devices after, s", Unknown),
    kind("order_p50_ms", "order to last answer, ms (p50)", Unknown),
    wanted("order_p99_ms", "order to last answer, ms (p99)", Unknown, 300.0),
    wanted("orders_incomplete", "orders that not all devices answered", Unknown, 0.0),
    kind("memory_mb", "memory per device, MB (median)", Unknown),
    kind("memory_own_mb", "of it the process's own, MB (median)", Unknown),
    kind("memory_busiest_mb", "memory of the largest, MB", Linear),
    kind("cpu", "processor per device, % of one (mean)", Share),
    kind("cpu_busiest", "processor of the busiest device, % of one", Linear),
    kind("cpu_leader", "processor of the leader, % of one", Linear),
    kind("error_p50_us", "error of the clock, us (p50)", Unknown),
    kind("error_p95_us", "error of the clock, us (p95)", Unknown),
    kind("error_max_us", "error of the clock, us (largest)", Unknown),
    kind("depth", "time servers on the way from the leader, at most", Unknown),
    wanted("unsynced", "samples of clocks that were not in sync, or none", Unknown, 0.0),
];

/// The figures of a rig, in the order of [`KINDS`]; `None`: not measured.
pub fn figures(measured: &Measured) -> [Option<f64>; KINDS.len()] {
    let Measured { devices, idle, orders, joins, .. } = measured;
    let (devices, span) = (float(*devices), idle.span.as_secs_f64());
    let packets = &idle.packets;
    let rate = |count: u64| float(count) / span;
    let busiest = packets.nodes.iter().map(|node| node.control).max().unwrap_or_default();
    let used = |of: fn(&super::measure::Used) -> f64| sorted(idle.usage.iter().map(of));
    let mega = 1_000.0;
    let (resident, own) = (used(|it| float(it.resident_kb)), used(|it| float(it.own_kb)));
    let cpu = used(|it| it.cpu_percent);
    let join = |of: fn(&super::measure::Join) -> f64| sorted(joins.iter().map(of));
    let times = sorted(orders.times.iter().map(|time| time.as_secs_f64() * 1e3));
    let errors = sorted(errors(measured).into_iter());
    let at = |values: &[f64], percent| (!values.is_empty()).then(|| quantile(values, percent));
    let clocks = || idle.samples.iter().flatten().map(|(_, sample)| sample);
    let unsynced =
        clocks().filter(|it| !matches!(it.quality, SyncState::Synced | SyncState::Leading)).count();
    let all = orders.times.len() + orders.incomplete.len();
    [
        Some(measured.start.as_secs_f64()),
        Some(rate(packets.control) / devices),
        Some(rate(packets.control)),
        Some(rate(busiest)),
        Some(rate(packets.time) / devices),
        Some(rate(packets.time)),
        Some(rate(packets.other)),
        at(&join(|it| it.messages), 50),
        at(&join(|it| it.messages * 2.0), 50),
        at(&join(|it| it.messages * 2.0), 100),
        at(&join(|it| float(it.own)), 50),
        at(&join(|it| it.time), 50),
        at(&join(|it| it.quiet.as_secs_f64()), 50),
        orders.sight.map(|sight| sight.as_secs_f64()),
        at(&times, 50),
        at(&times, 99),
        (all > 0).then(|| float(orders.incomplete.len())),
        at(&resident, 50).map(|kb| kb / mega),
        at(&own, 50).map(|kb| kb / mega),
        at(&resident, 100).map(|kb| kb / mega),
        Some(cpu.iter().sum::<f64>() / devices),
        at(&cpu, 100),
        idle.usage.get(idle.leader).map(|it| it.cpu_percent),
        at(&errors, 50),
        at(&errors, 95),
        at(&errors, 100),
        clocks().map(|it| f64::from(it.depth)).reduce(f64::max),
        Some(float(unsynced + idle.silent)),
    ]
}

/// By how much the clocks of devices that say they are in sync differ from the leader's, in us. All have the host's clock for their
/// local clock, so the leader's offset from it is the right one for all.
fn errors(measured: &Measured) -> Vec<f64> {
    let mut errors = Vec::new();
    for round in &measured.idle.samples {
        let truth = round.iter().find(|(_, sample)| sample.quality == SyncState::Leading);
        let Some((_, truth)) = truth else { continue };
        let synced = round.iter().filter(|(_, sample)| sample.quality == SyncState::Synced);
        errors.extend(synced.map(|(_, sample)| (sample.offset_ns - truth.offset_ns).as_micros_f64().abs()));
    }
    errors
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// What a figure would be at `devices` by those at `sizes`, in order of size: on the line through the two largest, or
/// through the origin.
pub fn extrapolate(growth: Growth, sizes: &[(f64, f64)], devices: f64) -> Option<f64> {
    let whole: Vec<_> = match growth {
        Growth::Linear => sizes.to_vec(),
        Growth::Share => sizes.iter().map(|(size, value)| (*size, value * size)).collect(),
        Growth::Unknown => return None,
    };
    let rig = match whole[..] {
        [] => return None,
        [(size, value)] => value / size * devices,
        [.., (size, value), (larger, more)] => more + (more - value) / (larger - size) * (devices - larger),
    };
    Some(if growth == Growth::Share { rig / devices } else { rig })
}

/// The power of the size with which a figure grows between the two largest sizes.
pub fn power(sizes: &[(f64, f64)]) -> Option<f64> {
    match sizes {
        [.., (size, value), (larger, more)] if *value > 0.0 && *more > 0.0 => {
            Some((more / value).ln() / (larger / size).ln())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() < 1e-9)
    }

    #[test]
    fn a_line_through_the_two_largest_rigs_goes_on() {
        let sizes = [(5.0, 1.0), (50.0, 100.0), (200.0, 400.0)];
        assert!(close(extrapolate(Linear, &sizes, 1_000.0), 2_000.0));
        assert!(close(extrapolate(Linear, &sizes[1..2], 1_000.0), 2_000.0));
        // 2 a device in a rig of 50 and 3 in one of 200: 100 and 600 in all, 3 267 of a thousand.
        let sizes = [(50.0, 2.0), (200.0, 3.0)];
        assert!(close(extrapolate(Share, &sizes, 1_000.0), (600.0 + 500.0 / 150.0 * 800.0) / 1_000.0));
        assert_eq!(extrapolate(Unknown, &sizes, 1_000.0), None);
        assert_eq!(extrapolate(Linear, &[], 1_000.0), None);
    }

    #[test]
    fn a_mesh_is_told_from_a_star_by_its_power() {
        assert!(close(power(&[(1.0, 9.0), (10.0, 90.0), (20.0, 360.0)]), 2.0));
        assert!(close(power(&[(10.0, 90.0), (20.0, 180.0)]), 1.0));
        assert_eq!(power(&[(10.0, 90.0)]), None);
    }
}
