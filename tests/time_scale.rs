//! The leader comes back with another wall clock: it joins the rig's time scale, which its client has kept.

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
    // Rig time goes on as if nothing had happened, on both devices.
    let held = |now: Span| (now - before.0 - Span::from_secs_f64(begun.elapsed().as_secs_f64())).abs();
    poll("the leader leads again", || {
        let (client, leader) = (status_of(&rig, "client")?, status_of(&rig, "leader")?);
        assert!(held(client.0) < Span::from_secs(3), "{before:?} {client:?}");
        assert!(
            leader.1 != SyncState::Leading || held(leader.0) < Span::from_secs(3),
            "{before:?} {leader:?}"
        );
        ((client.1, leader.1) == (SyncState::Synced, SyncState::Leading)).then_some(())
    });
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
fn rig_time_goes_on_when_the_leader_comes_back_an_hour_behind() {
    leader_comes_back("-3600s");
}

#[test]
fn rig_time_goes_on_when_the_leader_comes_back_seconds_behind() {
    leader_comes_back("-12s");
}

#[test]
fn rig_time_goes_on_when_the_leader_comes_back_an_hour_ahead() {
    leader_comes_back("3600s");
}
