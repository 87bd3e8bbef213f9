//! Devices of a rig that sleep (suspend to memory), in simulated time.

use proptest::prelude::*;
use swsync_core::time::Span;
use swsync_core::time_service::SyncState;
use swsync_sim::link::LinkModel;
use swsync_sim::rig::{DeviceConfig, Rig};

fn secs(secs: i64) -> Span {
    Span::from_secs(secs)
}

fn rig(seed: u64, devices: &[DeviceConfig]) -> Rig {
    let mut rig = Rig::new(LinkModel::wifi(), seed);
    for device in devices {
        rig.add(device.clone());
    }
    run(&mut rig, secs(20));
    rig
}

fn autos() -> [DeviceConfig; 4] {
    [20, -31, 4, 40].map(|skew| DeviceConfig::auto(&format!("skew={skew}ppm,wander=0.01ppm")))
}

fn leaders(rig: &Rig) -> Vec<usize> {
    let leads = |index: &usize| {
        rig.is_up(*index) && rig.reading(*index).is_some_and(|it| it.quality == SyncState::Leading)
    };
    (0..rig.len()).filter(leads).collect()
}

fn scales(rig: &Rig) -> Vec<Option<u64>> {
    let scale = |index| Some(rig.reading(index)?.source?.0);
    (0..rig.len()).map(scale).collect()
}

/// Runs for `span`. Fails if two devices that are awake and claim to be in rig time differ by more than a frame's phase may.
fn run(rig: &mut Rig, span: Span) {
    let end = rig.now() + span;
    while rig.now() < end {
        rig.run_for(Span::from_millis(50));
        check(rig);
    }
}

fn check(rig: &Rig) {
    let synced: Vec<_> = (0..rig.len())
        .filter(|index| rig.is_up(*index))
        .filter_map(|index| rig.reading(index).filter(|reading| reading.is_synced()))
        .collect();
    for (i, one) in synced.iter().enumerate() {
        for two in &synced[i + 1..] {
            let difference = (one.rig - two.rig).abs();
            assert!(difference < Span::from_millis(2), "{difference:?} at {:?}: {one:?} {two:?}", rig.now());
        }
    }
}

fn all_synced(rig: &Rig) -> bool {
    (0..rig.len()).all(|index| rig.reading(index).unwrap().is_synced())
}

fn sleep(rig: &mut Rig, device: usize, span: Span, error: Span) {
    rig.sleep(device);
    run(rig, span);
    rig.wake(device, error);
    check(rig);
    let reading = rig.reading(device).unwrap();
    assert_eq!(reading.quality, SyncState::Holdover, "the first reading after the sleep");
}

#[test]
fn a_client_that_sleeps_is_in_sync_again_when_it_has_asked_the_leader() {
    for seed in 0..10 {
        let mut rig = rig(seed, &autos());
        let [leader] = leaders(&rig)[..] else { panic!("{seed}") };
        let client = (leader + 1) % 4;
        sleep(&mut rig, client, secs(10), Span::from_millis(3));
        run(&mut rig, secs(20));
        assert!(all_synced(&rig), "{seed}");
        assert_eq!((leaders(&rig), rig.steps.as_slice()), (vec![leader], [].as_slice()), "{seed}");
    }
}

#[test]
fn a_leader_that_sleeps_finds_that_another_leads() {
    for seed in 0..10 {
        let mut rig = rig(seed, &autos());
        let [leader] = leaders(&rig)[..] else { panic!("{seed}") };
        let before = scales(&rig);
        sleep(&mut rig, leader, secs(10), Span::from_millis(-4));
        run(&mut rig, secs(20));
        let [next] = leaders(&rig)[..] else { panic!("{seed}: {:?}", leaders(&rig)) };
        assert_ne!(next, leader, "the one that was awake has the better time");
        assert!(all_synced(&rig), "{seed}");
        assert_eq!((scales(&rig), rig.steps.as_slice()), (before, [].as_slice()), "{seed}");
    }
}

#[test]
fn a_leader_without_a_rival_goes_on_in_its_scale_after_five_seconds() {
    let clients = ["skew=-30ppm", "skew=5ppm"].map(DeviceConfig::client);
    for seed in 0..10 {
        for clients in [&clients[..], &[]] {
            let mut devices = vec![DeviceConfig::leader("skew=20ppm,wander=0.01ppm")];
            devices.extend_from_slice(clients);
            let mut rig = rig(seed, &devices);
            let before = scales(&rig);
            assert_eq!(leaders(&rig), [0]);
            sleep(&mut rig, 0, secs(60), Span::from_millis(2));
            run(&mut rig, Span::from_millis(4_800));
            assert_eq!(leaders(&rig), [0; 0], "{seed}");
            run(&mut rig, secs(15));
            assert_eq!(leaders(&rig), [0], "{seed}");
            assert!(all_synced(&rig), "{seed}");
            assert_eq!((scales(&rig), rig.steps.as_slice()), (before, [].as_slice()), "{seed}");
        }
    }
}

/// Which device sleeps for how many seconds, how long until the next one, and by how many milliseconds its boot-time clock is off.
type Nap = (usize, i64, i64, i64);

/// Devices sleep and wake up, and after a minute all are in the same scale as before, with one leader, and without a step.
fn take_naps(seed: u64, naps: &[Nap]) {
    let mut rig = rig(seed, &autos());
    let before = scales(&rig);
    let mut asleep = [None; 4];
    for &(device, span, pause, error) in naps {
        if asleep[device].is_none() {
            rig.sleep(device);
            asleep[device] = Some((rig.now() + secs(span), error));
        }
        run(&mut rig, secs(pause));
        for device in 0..4 {
            if let Some((_, error)) = asleep[device].filter(|(until, _)| *until <= rig.now()) {
                rig.wake(device, Span::from_millis(error));
                asleep[device] = None;
            }
        }
    }
    for (device, nap) in asleep.iter().enumerate() {
        if let Some((_, error)) = nap {
            rig.wake(device, Span::from_millis(*error));
        }
    }
    run(&mut rig, secs(60));
    assert_eq!(leaders(&rig).len(), 1);
    assert!(all_synced(&rig));
    assert_eq!((scales(&rig), rig.steps.as_slice()), (before, [].as_slice()));
}

#[test]
fn a_device_that_is_being_corrected_takes_over_without_misleading_the_others() {
    // Device 3 wakes up 3 ms off, and is slewed when the leader falls asleep.
    take_naps(652, &[(1, 1, 5, 0), (3, 57, 56, -3), (0, 1, 50, -2), (0, 1, 5, 0)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Devices sleep and wake up, alone or together, for seconds or minutes: those that claim to be in rig time are, and at the end
    /// all are, in the same scale, with one leader. (Boot-time clocks are off by less than the smallest step.)
    #[test]
    fn a_rig_whose_devices_sleep_keeps_its_time_scale(
        seed in 0_u64..1000, naps in proptest::collection::vec((0_usize..4, 1_i64..60, 0_i64..60, -4_i64..=4), 1..6),
    ) {
        take_naps(seed, &naps);
    }
}
