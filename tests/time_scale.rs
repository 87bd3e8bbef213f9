//! The leader comes back with another wall clock: it joins the rig's time scale, which its client has kept. What is open when a rig
//! was switched off is of the time scale that ended.

use std::time::Instant;

use serde_json::Value;
use swsync_core::frame::{LockState, SyncState};
use swsync_core::order::FrameOutcome;
use swsync_core::time::Span;

use crate::process::{COMMAND_TIMEOUT, Process, free_endpoint, poll, retry_on_drops};
use crate::rig::{Rig, Shot, TestBed};

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

/// A client whose wall clock is off by `wall`.
fn client(bed: &TestBed, wall: &str) -> Process {
    bed.client("client")
        .simulated(2)
        .env("SWSYNC_SIMULATED_CLOCK", &format!("offset=2.25s,skew=24ppm,wall={wall}"))
        .start()
}

#[test]
fn orders_of_a_rig_that_was_switched_off_end_with_its_time_scale() {
    let bed = TestBed::exclusive();
    let mut rig = Rig::with(&bed, vec![client(&bed, "0s"), leader(&bed, "0s")]);
    rig.wait_until_ready(LockState::Locked);
    let now = status_of(&rig, "leader").expect("it is ready").0;
    let at = (now + Span::from_secs(2)).as_nanos().to_string();
    let lapse = ["shoot", "--json", "--id", "lapse", "--at", &at, "--every", "200ms", "--count", "9000"];
    let take = ["record", "--json", "--id", "take", "--at", &at];
    let given = [&lapse[..], &take].map(|args| rig.swsync(args));
    poll("the orders are under way", || {
        let statuses = rig.statuses();
        let of = |id: &str| {
            let open = statuses.iter().flat_map(|status| &status.open);
            open.filter(|open| open.order.as_str() == id && open.saved > 3).count()
        };
        (of("lapse") == 2 && of("take") == 2).then_some(())
    });
    drop(given); // SIGKILL: the orders stand
    drop(rig.take_last());
    drop(rig.take_last());
    // Nobody remembers the time scale, and the wall clocks are others.
    rig.add(client(&bed, "-3600s"));
    rig.add(leader(&bed, "-3600s"));
    rig.wait_until_ready(LockState::Locked);
    poll("nothing is open any more", || {
        let statuses = rig.statuses();
        (statuses.len() == 2 && statuses.iter().all(|status| status.open.is_empty())).then_some(())
    });

    let ended = rig.swsync(&lapse).wait_for_up_to(COMMAND_TIMEOUT);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let shot = Shot::of(&ended);
    for (device, frames) in &shot.answers {
        let last = frames.last().expect("it has frames");
        assert_eq!(frames.iter().map(|run| run.count).sum::<u64>(), 9_000, "{device}: {frames:?}");
        assert!(frames.iter().map(|run| run.saved()).sum::<u64>() > 3, "{device}: {frames:?}");
        let FrameOutcome::Missed { why } = &last.outcome else { panic!("{device}: {last:?}") };
        assert!(why.starts_with("another time scale: the order is of "), "{device}: {why}");
    }
    assert_eq!(shot.answers.len(), 2);

    let ended = rig.swsync(&take).wait_for_up_to(COMMAND_TIMEOUT);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let json: Value = serde_json::from_str(&ended.out).unwrap();
    for device in json["devices"].as_array().unwrap() {
        let why = device["unfinished"].as_str().unwrap_or_else(|| panic!("{device}"));
        assert!(why.contains("another time scale: the order is of "), "{why}");
        assert_one_time_scale(&bed, "take", device["device"].as_str().unwrap());
    }
    let shot = retry_on_drops(|| {
        let shot = rig.shoot(&["--in", "500ms"]);
        (!shot.has_drops()).then_some(shot)
    });
    assert_eq!(shot.code, Some(0), "the next order is of the new time scale: {shot:?}");
}

/// Asserts that what `device` saved of `order` is of one time scale, and whole.
fn assert_one_time_scale(bed: &TestBed, order: &str, device: &str) {
    let folder = bed.path("shots").join(order).join(device);
    let manifest = std::fs::read_to_string(folder.join("frames.jsonl")).unwrap();
    let lines: Vec<Value> = manifest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() > 3, "{manifest}");
    for line in &lines {
        assert_eq!(line["timescale"], lines[0]["timescale"], "{line}");
        assert!(line["timescale"].is_u64(), "{line}");
        let file = folder.join(line["file"].as_str().unwrap());
        assert_eq!(std::fs::metadata(&file).unwrap().len(), line["bytes"].as_u64().unwrap(), "{file:?}");
    }
}

#[test]
fn two_rigs_of_one_name_are_noticed() {
    let bed = TestBed::exclusive();
    let endpoint = free_endpoint();
    let rig = bed.rig(&["left"]);
    // It does not see the other two, so it leads a rig of its own.
    let other = bed.isolated("other", &endpoint).simulated(3).start();
    poll("the other rig is ready", || {
        let status = rig.swsync_at(&endpoint, &["status"]).wait();
        status.out.contains("1 of 1 devices ready").then_some(())
    });
    let status = rig.swsync(&["status", "--connect", &endpoint]).wait();
    status.assert_failed(
        1,
        &[
            "time scales differ: ",
            "two rigs of this name seem to have met: ",
            "leader, left (leader leader)",
            "other (leader other)",
            "another name with rig=",
        ],
    );
    drop(other);
}
