//! A leader that comes back with another wall clock: rig time begins anew, and whole pipelines bear it.

use std::time::Instant;

use swsync_core::frame::{LockState, SyncQuality};
use swsync_core::time::Span;

use crate::process::{Process, poll};
use crate::rig::{Lab, Rig};

/// The leader's pipeline, whose wall clock is off by `wall`.
fn leader(lab: &Lab, wall: &str) -> Process {
    lab.leader()
        .simulated(1)
        .env("SWSYNC_SIMULATED_CLOCK", &format!("offset=1.25s,skew=-12ppm,wall={wall}"))
        .start()
}

/// The leader is killed in the middle of a take and comes back with its wall clock off by `wall`.
fn come_back(wall: &str) {
    let lab = Lab::alone();
    let mut rig = Rig::with(&lab, vec![lab.client("client").simulated(2).start(), leader(&lab, "0s")]);
    rig.wait_until_ready(LockState::Locked);
    let before = status_of(&rig, "client").expect("it is ready");
    let begun = Instant::now();
    drop(rig.take_last());
    rig.add(leader(&lab, wall));
    // Never synced and held: it runs on as it did, until it has heard of the new time.
    let after = poll("the client is in the new time", || {
        let (client, leader) = (status_of(&rig, "client")?, status_of(&rig, "leader")?);
        let apart = (client.0 - leader.0).abs();
        let held = (client.0 - before.0 - Span::from_secs_f64(begun.elapsed().as_secs_f64())).abs();
        assert!(
            client.1 != SyncQuality::Synced || apart < Span::from_secs(2) || held < Span::from_secs(3),
            "synced, {apart:?} from its leader and {held:?} from where it was"
        );
        (client.1 == SyncQuality::Synced && apart < Span::from_secs(2)).then_some(client)
    });
    assert!((after.0 - before.0).abs() > Span::from_secs(4), "{before:?} {after:?}");
    rig.wait_until_ready(LockState::Locked);
    // Frames go on, and both save the same numbers.
    let shot = crate::process::despite_drops(|| {
        let shot = rig.shoot(&["--in", "500ms", "--count", "2"]);
        (!shot.has_drops()).then_some(shot)
    });
    assert_eq!(shot.code, Some(0), "{shot:?}");
    let numbers = |device| shot.frames(device).iter().map(|run| run.first).collect::<Vec<_>>();
    assert_eq!(numbers("client"), numbers("leader"), "{shot:?}");
}

/// Rig time of `device` since the Unix epoch, and how well it is known.
fn status_of(rig: &Rig<'_>, device: &str) -> Option<(Span, SyncQuality)> {
    let statuses = rig.statuses();
    let status = statuses.iter().find(|status| status.device.as_str() == device)?;
    let clock = status.clock?;
    Some((Span::from_nanos(clock.rig_time_ns.as_nanos()), clock.quality))
}

#[test]
fn an_hour_back() {
    come_back("-3600s");
}

#[test]
fn some_seconds_back() {
    come_back("-12s");
}

#[test]
fn an_hour_ahead() {
    come_back("3600s");
}
