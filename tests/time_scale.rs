//! The leader comes back with another wall clock: rig time begins anew, and the pipelines continue in the new time scale.

use std::time::Instant;

use swsync_core::frame::{LockState, SyncState};
use swsync_core::time::Span;

use crate::process::{Process, poll, retry_on_drops};
use crate::rig::{Rig, TestBed};

/// Starts the leader's pipeline with a wall clock that is off by `wall`.
fn leader(bed: &TestBed, wall: &str) -> Process {
    bed.leader()
        .simulated(1)
        .env("SWSYNC_SIMULATED_CLOCK", &format!("offset=1.25s,skew=-12ppm,wall={wall}"))
        .start()
}

/// Kills the leader and starts it again with its wall clock off by `wall`.
fn leader_comes_back(wall: &str) {
    let bed = TestBed::exclusive();
    let mut rig = Rig::with(&bed, vec![bed.client("client").simulated(2).start(), leader(&bed, "0s")]);
    rig.wait_until_ready(LockState::Locked);
    let before = status_of(&rig, "client").expect("it is ready");
    let begun = Instant::now();
    drop(rig.take_last());
    rig.add(leader(&bed, wall));
    // Whenever the client says that it is synced, it is either in the new time, or its clock still runs on as before.
    let after = poll("the client is in the new time", || {
        let (client, leader) = (status_of(&rig, "client")?, status_of(&rig, "leader")?);
        let apart = (client.0 - leader.0).abs();
        let held = (client.0 - before.0 - Span::from_secs_f64(begun.elapsed().as_secs_f64())).abs();
        assert!(
            client.1 != SyncState::Synced || apart < Span::from_secs(2) || held < Span::from_secs(3),
            "synced, {apart:?} from its leader and {held:?} from where it was"
        );
        (client.1 == SyncState::Synced && apart < Span::from_secs(2)).then_some(client)
    });
    assert!((after.0 - before.0).abs() > Span::from_secs(4), "{before:?} {after:?}");
    rig.wait_until_ready(LockState::Locked);
    // Frames continue, and both devices save the same numbers.
    let shot = retry_on_drops(|| {
        let shot = rig.shoot(&["--in", "500ms", "--count", "2"]);
        (!shot.has_drops()).then_some(shot)
    });
    assert_eq!(shot.code, Some(0), "{shot:?}");
    let numbers = |device| shot.frames(device).iter().map(|run| run.first).collect::<Vec<_>>();
    assert_eq!(numbers("client"), numbers("leader"), "{shot:?}");
}

/// Rig time of `device` since the Unix epoch, and the state of its clock.
fn status_of(rig: &Rig<'_>, device: &str) -> Option<(Span, SyncState)> {
    let statuses = rig.statuses();
    let status = statuses.iter().find(|status| status.device.as_str() == device)?;
    let clock = status.clock?;
    Some((Span::from_nanos(clock.rig_time_ns.as_nanos()), clock.quality))
}

#[test]
fn a_client_follows_a_leader_that_comes_back_an_hour_behind() {
    leader_comes_back("-3600s");
}

#[test]
fn a_client_follows_a_leader_that_comes_back_seconds_behind() {
    leader_comes_back("-12s");
}

#[test]
fn a_client_follows_a_leader_that_comes_back_an_hour_ahead() {
    leader_comes_back("3600s");
}
