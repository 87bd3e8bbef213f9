//! Devices that fall silent without a word: they hang, or lose their power. Any of them may be the one through which the others
//! reach each other, and the one that leads.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use swsync_core::order::FrameRun;

use super::{Lan, SLACK, START, Trial};
use crate::process::{COMMAND_TIMEOUT, poll};
use crate::rig::Shot;

/// "Goes on" for these tests: a command asks for the state first (1 s), and gives a device up after 3.5 to 5.5 s of silence. That is no
/// lease of Zenoh's (10 s), nor a timeout of TCP.
const SOON: Duration = Duration::from_secs(9);
/// How soon the others are to answer orders after one that they were connected to has lost its power.
const REPLACED: Duration = Duration::from_secs(10);
/// How soon one is to be back.
const BACK: Duration = Duration::from_secs(10);

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Starts four devices, one after the other, and waits until they are together.
fn start() -> Option<(Trial, Lan)> {
    let mut trial = Trial::new("devices that fall silent")?;
    let lan = Lan::new(NAMES.len() + 1);
    let begun = Instant::now();
    for (host, name) in lan.hosts.iter().zip(NAMES) {
        trial.start(name, host, "");
        std::thread::sleep(Duration::from_millis(300));
    }
    trial.wait_until_together(operator(&lan), &[], begun, START);
    Some((trial, lan))
}

fn operator(lan: &Lan) -> &swsync_lab::net::Host {
    &lan.hosts[NAMES.len()]
}

fn all_but(lost: &str) -> Vec<&'static str> {
    NAMES.into_iter().filter(|name| *name != lost).collect()
}

/// How many TCP connections a device has.
fn connections(lan: &Lan, index: usize) -> usize {
    let mut command = super::command_on(&lan.hosts[index], "ss");
    let said = command.args(["--tcp", "--no-header", "state", "established"]).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    String::from_utf8_lossy(&said.stdout).lines().count()
}

/// Shoots until all devices have taken the picture. Hubs that have just found each other may not reach all devices for a moment, and a camera
/// that stood still comes back onto the grid: these are named then.
fn shoot_until_complete(trial: &Trial, lan: &Lan) {
    let begun = Instant::now();
    loop {
        let shot = trial.shoot(operator(lan), &[]);
        if shot.ended.code == Some(0) || begun.elapsed() > BACK + SLACK {
            return shot.assert_of(&NAMES, None);
        }
        println!("  shoot: {:?} after {:?}", shot.answered, begun.elapsed());
        assert_eq!(shot.ended.code, Some(1), "{:#?}", shot.ended);
    }
}

/// Cuts the device off that has most connections, of those that are not `lost`; its index.
fn cut_off_hub(lan: &Lan, lost: &[usize], what: &str) -> usize {
    let here = |index: &usize| !lost.contains(index);
    let hub = (0..NAMES.len()).filter(here).max_by_key(|index| connections(lan, *index)).unwrap();
    println!("{what} is {}, with {} connections", NAMES[hub], connections(lan, hub));
    lan.switch.cut_off(&[lan.ports[hub]]).unwrap();
    hub
}

#[test]
fn orders_go_on_while_any_device_hangs() {
    let Some((mut trial, lan)) = start() else { return };
    for (index, name) in NAMES.into_iter().enumerate() {
        let leader = trial.status(operator(&lan), &[]).leader;
        println!("{name} hangs, with {} connections; {leader:?} leads", connections(&lan, index));
        let begun = Instant::now();
        trial.process(name).signal(Signal::STOP);
        for _ in 0..2 {
            let shot = trial.shoot(operator(&lan), &[]);
            println!("  shoot: {:?} of the others after {:?}", shot.answered, shot.took);
            assert!(shot.took < SOON + SLACK, "{shot:#?}");
            shot.assert_of(&all_but(name), Some(name));
        }
        let asked = Instant::now();
        let state = trial.status(operator(&lan), &[]);
        println!("  status after {:?}", asked.elapsed());
        assert!(asked.elapsed() < SOON + SLACK, "{state:#?}");
        assert!(state.code == Some(1) && state.answered == all_but(name), "{state:#?}");
        assert!(state.said.contains(&format!("\"{name}\"")), "{state:#?}");
        let takes = trial.bed.path("takes");
        let collected = trial.swsync(operator(&lan), &[], &["collect", takes.to_str().unwrap(), "--last"]);
        println!("  collect: {}", collected.out.lines().last().unwrap_or_default());
        collected.assert_failed(1, &["NOT all collected: 3 of 3 parts whole", &format!("{name} ")]);
        println!("  it hung for {:?}", begun.elapsed());
        trial.process(name).signal(Signal::CONT);
        let took = trial.wait_until_together(operator(&lan), &[], Instant::now(), BACK + SLACK);
        println!("  back after {took:?}");
        shoot_until_complete(&trial, &lan);
    }
}

#[test]
fn orders_go_on_when_a_hub_loses_its_power_and_then_the_next_one() {
    let Some((mut trial, lan)) = start() else { return };
    let watch = trial.begin(operator(&lan), &["status", "--watch", "--json", "--every", "500ms"]);
    let mut lost: Vec<usize> = Vec::new();
    for what in ["the first hub", "the next one"] {
        let hub = cut_off_hub(&lan, &lost, what);
        lost.push(hub);
        let rest: Vec<_> =
            (0..NAMES.len()).filter(|index| !lost.contains(index)).map(|index| NAMES[index]).collect();
        let begun = Instant::now();
        let shot = loop {
            let shot = trial.shoot(operator(&lan), &[]);
            let took = begun.elapsed();
            println!("  shoot at {:?}: {:?} after {:?}", took - shot.took, shot.answered, shot.took);
            if shot.answered == rest {
                println!("  the others answer within {took:?}");
                assert!(took < REPLACED + SLACK, "{shot:#?}");
                break shot;
            }
            assert!(took < START, "{what}: the others do not answer: {shot:#?}");
        };
        // A command that was connected to the hub goes on, too.
        poll("the command that watches hears the others", || {
            let said = watch.output();
            let newest: serde_json::Value = serde_json::from_str(said.lines().last()?).ok()?;
            let devices = newest["devices"].as_array()?.iter();
            let answered = devices.filter(|device| device["answered"] == true);
            (answered.map(|device| device["device"].as_str()).eq(rest.iter().map(|name| Some(*name))))
                .then_some(())
        });
        let took = begun.elapsed();
        println!("  a command that watches hears the others within {took:?}");
        assert!(took < REPLACED + SLACK, "a command that watches hears the others only after {took:?}");
        shot.ended.assert_failed(1, &[NAMES[hub]]);
        let takes = trial.bed.path("takes");
        let collected = trial.swsync(operator(&lan), &[], &["collect", takes.to_str().unwrap(), "--last"]);
        println!("  collect: {}", collected.out.lines().last().unwrap_or_default());
        collected.assert_failed(1, &["NOT all collected", &format!("{} ", NAMES[hub])]);
    }
    let ports: Vec<_> = lost.iter().map(|index| lan.ports[*index]).collect();
    lan.switch.move_to("main", &ports).unwrap();
    let took = trial.wait_until_together(operator(&lan), &[], Instant::now(), START);
    println!("both are back after {took:?}");
    shoot_until_complete(&trial, &lan);
}

#[test]
fn a_take_goes_on_when_a_hub_loses_its_power() {
    let Some((mut trial, lan)) = start() else { return };
    let record = trial.begin(operator(&lan), &["record", "--json", "--for", "12s"]);
    poll("the take is under way", || {
        let state = trial.status(operator(&lan), &[]);
        (state.recording == NAMES).then_some(())
    });
    let hub = cut_off_hub(&lan, &[], "the hub");
    let ended = record.wait_for_up_to(COMMAND_TIMEOUT);
    ended.assert_failed(1, &[NAMES[hub]]);
    let answers = Shot::of(&ended).answers;
    let mut answered: Vec<_> = answers.iter().map(|(device, _)| device.as_str()).collect();
    answered.sort_unstable();
    assert_eq!(answered, all_but(NAMES[hub]), "{ended:#?}");
    for (device, frames) in &answers {
        let saved: u64 = frames.iter().map(FrameRun::saved).sum();
        // Of 12 s at 10 frames a second a camera may drop some.
        assert!(saved >= 110, "{device} saved {saved} of 120: {frames:?}");
    }
    // What the hub has recorded is not lost: it answers once it is back.
    lan.switch.move_to("main", &[lan.ports[hub]]).unwrap();
    trial.wait_until_together(operator(&lan), &[], Instant::now(), START);
    let order = Shot::of(&ended).order;
    let takes = trial.bed.path("takes");
    let collected = trial.swsync(operator(&lan), &[], &["collect", takes.to_str().unwrap(), &order]);
    println!("collect: {:?}: {}", collected.code, collected.out.lines().last().unwrap_or_default());
    for name in NAMES {
        let manifest = takes.join(&order).join(name).join("frames.jsonl");
        let lines =
            std::fs::read_to_string(&manifest).unwrap_or_else(|e| panic!("{name}: {e}: {collected:#?}"));
        assert!(lines.lines().count() >= 110, "{name}: {} lines", lines.lines().count());
    }
}
