//! The clock's part of a frame's error bound: it covers the true error of rig time, on all links, over steps, kills and losses.

#![allow(clippy::disallowed_macros, reason = "a failed test shows its numbers")]

use swsync_core::certificate::SIGMAS;
use swsync_core::time::Span;
use swsync_core::time_service::SyncState;
use swsync_sim::link::LinkModel;
use swsync_sim::rig::{DeviceConfig, Rig};

const SAMPLE: Span = Span::from_millis(100);

/// Errors of the clocks of devices against their leader's, and what they state (1 sigma).
#[derive(Default)]
struct Clocks(Vec<(Span, Span)>);

impl Clocks {
    /// Runs `rig` for `secs`, and takes what every device says that knows rig time, as a frame would.
    fn run(&mut self, rig: &mut Rig, secs: i64) {
        let end = rig.now() + Span::from_secs(secs);
        while rig.now() < end {
            rig.run_for(SAMPLE);
            let readings: Vec<_> = (0..rig.len())
                .filter(|index| rig.is_up(*index))
                .filter_map(|index| rig.reading(index))
                .collect();
            for device in &readings {
                // Devices in holdover follow a leader that may be gone: then nobody knows the true rig time.
                let is_leader =
                    |other: &&_| is_leading(other) && other.source == device.source && !is_leading(device);
                let Some(leader) = readings.iter().find(is_leader) else { continue };
                if let (SyncState::Synced | SyncState::Holdover, Some(stated)) =
                    (device.quality, device.uncertainty)
                {
                    self.0.push(((device.rig - leader.rig).abs(), stated));
                }
            }
        }
    }

    /// How many errors are beyond the bound.
    fn beyond(&self) -> usize {
        self.0.iter().filter(|(error, stated)| *error > *stated * SIGMAS).count()
    }

    /// The median bound, by the error that 999 of 1000 are within.
    fn width(&self) -> f64 {
        let mut errors: Vec<_> = self.0.iter().map(|(error, _)| *error).collect();
        let mut bounds: Vec<_> = self.0.iter().map(|(_, stated)| *stated * SIGMAS).collect();
        errors.sort();
        bounds.sort();
        bounds[bounds.len() / 2].as_nanos_f64() / errors[errors.len() * 999 / 1000].as_nanos_f64()
    }
}

fn is_leading(reading: &swsync_sim::rig::Reading) -> bool {
    reading.quality == SyncState::Leading
}

fn rig(link: &LinkModel, seed: u64) -> Rig {
    let mut rig = Rig::new(link.clone(), seed);
    for skew in [12.0, -31.0, 4.0, 40.0] {
        rig.add(DeviceConfig::auto(&format!("skew={skew}ppm,wander=0.01ppm")));
    }
    rig
}

/// What happens in a minute and a half of a rig: nothing, the leader is killed, a device is restarted or cut off.
fn live(rig: &mut Rig, what: u64, clocks: &mut Clocks) {
    clocks.run(rig, 30);
    let leader = (0..rig.len()).find(|index| rig.reading(*index).is_some_and(|r| is_leading(&r)));
    let leader = leader.unwrap_or(0);
    match what {
        0 => {}
        1 => rig.kill(leader, false),
        2 => rig.reboot((leader + 1) % rig.len(), Span::from_secs(1_800_000_777)),
        _ => rig.stop((leader + 2) % rig.len(), true),
    }
    clocks.run(rig, 12);
    if what == 3 {
        rig.stop((leader + 2) % rig.len(), false);
    }
    clocks.run(rig, 30);
}

/// The links of swsync-sim, and WiFi whose hosts send later than they receive, or the other way round.
fn links() -> Vec<LinkModel> {
    let uneven = |name, to_leader, to_client| {
        let mut link = LinkModel { name, ..LinkModel::wifi() };
        for (direction, us) in [(&mut link.to_leader, to_leader), (&mut link.to_client, to_client)] {
            direction.floor += Span::from_micros(us);
            direction.quiet_floor += Span::from_micros(us);
        }
        link
    };
    let uneven = [uneven("wifi, slow to send", 40, 0), uneven("wifi, slow to receive", 0, 40)];
    LinkModel::presets().into_iter().chain(uneven).collect()
}

#[test]
fn the_bound_of_the_clock_covers_its_true_error() {
    let (mut all, mut beyond) = (0, 0);
    let mut widths = Vec::new();
    for link in links() {
        let mut clocks = Clocks::default();
        for seed in 0..8 {
            live(&mut rig(&link, seed), seed % 4, &mut clocks);
        }
        println!(
            "{}: {} of {} beyond, {:.2} wide",
            link.name,
            clocks.beyond(),
            clocks.0.len(),
            clocks.width()
        );
        all += clocks.0.len();
        beyond += clocks.beyond();
        widths.push(clocks.width());
    }
    widths.sort_by(f64::total_cmp);
    let median = f64::midpoint(widths[widths.len() / 2], widths[(widths.len() - 1) / 2]);
    println!("{beyond} of {all} beyond; {median:.2} wide");
    assert!(all > 80_000 && beyond * 1_000 <= all, "{beyond} of {all} are beyond the bound");
    assert!(median < 3.0, "{median} wide");
}
