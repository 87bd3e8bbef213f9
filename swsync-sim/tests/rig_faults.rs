//! Any sequence of faults of a rig, in simulated time: nobody is synced who is not, and the rig always comes together again.

#![allow(clippy::disallowed_macros, reason = "a failed test shows its numbers")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use swsync_core::servo::Adjustment;
use swsync_core::time::Span;
use swsync_core::time_service::SyncState;
use swsync_sim::link::LinkModel;
use swsync_sim::rig::{DeviceConfig, Rig};

/// The wall clock of a device without faults.
const WALL: Span = Span::from_secs(1_800_000_000);
/// How long a rig without faults takes to come together: a leader that was hung is noticed, the better one measured, and a
/// difference of 30 ms slewed.
const QUIET: Span = Span::from_secs(75);
/// How often the devices are compared.
const OFTEN: Span = Span::from_millis(100);
const SELDOM: Span = Span::from_millis(700);

#[derive(Debug, Clone, Copy)]
enum Fault {
    Leaves,
    LosesPower,
    /// Starts, with this wall clock relative to the true one, in s.
    Starts(i64),
    /// Loses power and starts at once.
    Reboots(i64),
    Hangs,
    GoesOn,
    /// Goes to this part of the network.
    Moves(usize),
}

fn any_wall() -> impl Strategy<Value = i64> {
    // Right, an hour back, 1970, 2040, anything.
    prop_oneof![Just(0), Just(-3_600), Just(-1_800_000_000), Just(400_000_000), -100_000_i64..100_000]
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        1 => Just(Fault::Leaves),
        2 => Just(Fault::LosesPower),
        3 => any_wall().prop_map(Fault::Starts),
        3 => any_wall().prop_map(Fault::Reboots),
        2 => Just(Fault::Hangs),
        3 => Just(Fault::GoesOn),
        3 => (0_usize..3).prop_map(Fault::Moves),
    ]
}

/// Of an index that any number gives.
fn suffer(rig: &mut Rig, index: usize, fault: Fault) {
    let wall = |secs| WALL + Span::from_secs(secs);
    match fault {
        Fault::Leaves => rig.kill(index, true),
        Fault::LosesPower => rig.kill(index, false),
        Fault::Starts(secs) if rig.reading(index).is_none() => rig.reboot(index, wall(secs)),
        Fault::Starts(_) => {}
        Fault::Reboots(secs) => rig.reboot(index, wall(secs)),
        Fault::Hangs => rig.stop(index, true),
        Fault::GoesOn => rig.stop(index, false),
        Fault::Moves(part) => rig.move_to(index, part),
    }
}

/// Runs for `span` and checks at every `sample` that devices that claim to be synced by one scale and leader agree.
fn run(rig: &mut Rig, span: Span, sample: Span) -> Result<(), TestCaseError> {
    let end = rig.now() + span;
    while rig.now() < end {
        rig.run_for(sample);
        let synced: Vec<_> = (0..rig.len())
            .filter(|index| rig.is_up(*index))
            .filter_map(|index| Some((index, rig.reading(index).filter(|reading| reading.is_synced())?)))
            .collect();
        for (i, (one, a)) in synced.iter().enumerate() {
            for (two, b) in synced[i + 1..].iter().filter(|(_, b)| b.source == a.source) {
                let difference = (a.rig - b.rig).abs();
                let stated = a.uncertainty.unwrap_or(Span::MAX) + b.uncertainty.unwrap_or(Span::MAX);
                prop_assert!(
                    difference <= stated * 5 + Span::from_micros(60) && difference < Span::from_millis(5),
                    "{one} and {two} differ by {difference:?} at {:?}: {a:?}, {b:?}",
                    rig.now()
                );
            }
        }
    }
    Ok(())
}

/// The devices of `part` that are up.
fn members(rig: &Rig, part: usize) -> Vec<usize> {
    (0..rig.len()).filter(|index| rig.is_up(*index) && rig.part(*index) == part).collect()
}

/// Each part of the network is one rig again: one leader, one scale, everyone synced.
fn check_whole(rig: &Rig) -> Result<(), TestCaseError> {
    for part in 0..3 {
        let members = members(rig, part);
        let readings: Vec<_> = members.iter().filter_map(|index| rig.reading(*index)).collect();
        let leaders = readings.iter().filter(|reading| reading.quality == SyncState::Leading).count();
        let can_lead = members.iter().any(|index| rig.can_lead(*index));
        if !can_lead {
            prop_assert!(readings.iter().all(|reading| !reading.is_synced()), "{readings:?}");
            continue;
        }
        prop_assert_eq!(leaders, 1, "part {} {:?}", part, &readings);
        let sources: BTreeSet<_> = readings.iter().map(|reading| reading.source).collect();
        prop_assert_eq!(sources.len(), 1, "part {} {:?}", part, &readings);
        prop_assert!(readings.iter().all(swsync_sim::rig::Reading::is_synced), "part {part} {readings:?}");
    }
    Ok(())
}

prop_compose! {
    fn any_device()(
        skew in -50.0..50.0, role in 0_usize..5, wall in any_wall(),
    ) -> DeviceConfig {
        let clock = format!("skew={skew:.3}ppm,wander=0.01ppm");
        let config = match role {
            0 => DeviceConfig::leader(&clock),
            1 => DeviceConfig::client(&clock),
            _ => DeviceConfig::auto(&clock),
        };
        DeviceConfig { wall: WALL + Span::from_secs(wall), ..config }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_rig_comes_together_after_any_faults(
        devices in proptest::collection::vec(any_device(), 2..6),
        faults in proptest::collection::vec((0_usize..6, any_fault(), 0.0..12.0), 1..12),
        seed: u64,
    ) {
        let mut rig = Rig::new(LinkModel::wifi(), seed);
        for device in devices {
            rig.add(device);
        }
        for (index, fault, pause) in faults {
            let index = index % rig.len();
            suffer(&mut rig, index, fault);
            run(&mut rig, Span::from_secs_f64(pause), OFTEN)?;
        }
        run(&mut rig, QUIET, OFTEN)?;
        check_whole(&rig)?;
    }
}

/// A day of a rig of four that never loses all of its devices: it keeps one time scale, whatever the wall clocks of those that
/// come back, and nobody's time ever steps.
#[test]
fn a_day_of_faults_keeps_one_time_scale_without_a_step() {
    let mut rig = Rig::new(LinkModel::ethernet(), 7);
    for skew in [-31, 12, 40, 4] {
        rig.add(DeviceConfig::auto(&format!("skew={skew}ppm,wander=0.005ppm")));
    }
    run(&mut rig, Span::from_secs(30), SELDOM).unwrap();
    let scale = rig.reading(0).unwrap().source.unwrap().0;
    let mut random = 5_u64;
    let mut next = |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % most
    };
    let mut elections = 0;
    let mut leader = None;
    while rig.now() < swsync_core::time::Timestamp::ZERO + Span::from_secs(86_400) {
        let index = usize::try_from(next(4)).unwrap();
        let wall = [0, -3_600, -1_800_000_000, 400_000_000][usize::try_from(next(4)).unwrap()];
        let fault = match next(4) {
            0 => Fault::Leaves,
            1 => Fault::LosesPower,
            2 => Fault::Hangs,
            _ => Fault::Reboots(wall),
        };
        suffer(&mut rig, index, fault);
        // From a moment to some minutes. Then the device is back, before another one is gone.
        run(&mut rig, Span::from_millis(i64::try_from(next(240_000)).unwrap()), SELDOM).unwrap();
        match fault {
            Fault::Hangs => rig.stop(index, false),
            Fault::Reboots(_) => {}
            _ => rig.reboot(index, WALL + Span::from_secs(wall)),
        }
        let pause = Span::from_secs(30) + Span::from_millis(i64::try_from(next(240_000)).unwrap());
        run(&mut rig, pause, SELDOM).unwrap();
        for index in 0..4 {
            let reading = rig.reading(index).unwrap();
            assert!(reading.is_synced(), "{index} at {:?}: {reading:?}", rig.now());
            assert_eq!(reading.source.unwrap().0, scale, "{index} at {:?}", rig.now());
        }
        let present = rig.reading(0).unwrap().source.map(|(_, leader)| leader);
        elections += u32::from(std::mem::replace(&mut leader, present) != present);
    }
    println!("{elections} leaders");
    assert!(elections > 50, "{elections}");
    let stepped = rig.steps.iter().filter(|step| !matches!(step.adjustment, Adjustment::Set(_))).count();
    assert_eq!(stepped, 0, "{:?}", rig.steps);
}
