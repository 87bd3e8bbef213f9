//! Devices on several time scales, or with several leaders.

use std::time::{Duration, Instant};

use crate::rig::{OwnTime, Rig};
use swsync_cli::testing::schemas::OfSchema as _;
use swsync_core::message::TimeScale;
use swsync_core::status::TimeScaleChange;
use swsync_core::time::Span;

/// How long a handover may take.
const HANDOVER: Duration = Duration::from_secs(5);

fn follows(timescale: u64, leader: u64) -> OwnTime {
    OwnTime { timescale, leader, leads: false, ahead: Span::ZERO, change: None }
}

fn leads(timescale: u64, leader: u64) -> OwnTime {
    OwnTime { leads: true, ..follows(timescale, leader) }
}

#[test]
fn an_order_names_the_time_scale_of_most_and_the_devices_of_another_are_named() {
    let rig = Rig::new()
        .with_time("pi0", leads(7, 1))
        .with_time("rival", leads(8, 2))
        .with_time("left", follows(7, 1));
    let ran = rig.run(&["shoot", "--id", "o"]);
    println!("{}{}", ran.stderr, ran.stdout);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(!ran.stdout.contains("\nall saved"), "{ran:#?}");
    for words in [
        "rival is not ready: its clock is on time scale 0000000000000008 (leader rival), and others are on \
         0000000000000007 (leader pi0)",
        "time scales differ: 0000000000000007 (leader pi0) on left, pi0; 0000000000000008 (leader rival) on rival",
    ] {
        assert!(ran.stderr.contains(words), "{words} in {ran:#?}");
    }
    for device in 0..3 {
        assert_eq!(rig.device(device).orders()[0].timescale(), Some(TimeScale(7)));
    }
    let json = rig.run(&["shoot", "--json"]);
    assert_eq!((json.code, &json.json_of("order")["complete"]), (1, &false.into()));
    let expected = serde_json::json!([
        { "timescale": "0000000000000007", "leader": "pi0", "devices": ["left", "pi0"] },
        { "timescale": "0000000000000008", "leader": "rival", "devices": ["rival"] },
    ]);
    assert_eq!(json.json_of("order")["leaders"], expected);

    let status = rig.run(&["status"]);
    println!("{}", status.stdout);
    assert_eq!(status.code, 1, "{status:#?}");
    let met = "two rigs of this name seem to have met: left, pi0 (leader pi0); rival (leader rival). If they are two, give \
               one of them another name with rig=";
    assert!(status.stdout.contains(met) && status.stdout.contains("2 of 3 devices ready"), "{status:#?}");
    let status = rig.run(&["status", "--json"]);
    assert_eq!((status.code, &status.json_of("status")["leaders"]), (1, &expected));
    assert_eq!(status.json_of("status")["devices"][0]["leader"], "pi0");
    assert_eq!(status.json_of("status")["differences"][1], met);
}

#[test]
fn a_rig_of_one_time_scale_says_whose_time_it_has() {
    let rig = Rig::new().with_time("pi0", leads(7, 1)).with_time("left", follows(7, 1));
    let status = rig.run(&["status"]);
    assert_eq!(status.code, 0, "{status:#?}");
    assert!(status.stdout.contains("\ntime scale 0000000000000007, leader pi0\n"), "{status:#?}");
    assert_eq!(rig.run(&["shoot"]).code, 0);
}

#[test]
fn leaders_that_differ_while_one_takes_over_are_no_error() {
    let rig = Rig::new().with_time("pi0", leads(7, 1)).with_time("left", follows(7, 2));
    let status = rig.command(&["status"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let begin = Instant::now();
    std::thread::sleep(Duration::from_millis(1_500));
    rig.device(1).set_time(follows(7, 1));
    let status = crate::rig::Ran::from(status.wait_with_output().unwrap());
    assert_eq!(status.code, 0, "{status:#?}");
    assert!(begin.elapsed() < HANDOVER, "it does not wait longer than needed");
}

#[test]
fn leaders_that_differ_for_long_are_a_split_rig() {
    let apart = Span::from_millis(80);
    let rig = Rig::new().with_time("pi0", leads(7, 1)).with_time("left", follows(7, 2));
    let status = rig.run(&["status"]);
    let differ = "leaders of time scale 0000000000000007 differ: pi0 on pi0; 0000000000000002 on left";
    println!("{}", status.stdout);
    assert_eq!(status.code, 1, "{status:#?}");
    assert!(status.stdout.contains(differ), "{status:#?}");
    // Their frames are of the same instants nevertheless.
    let shot = rig.run(&["shoot"]);
    assert_eq!(shot.code, 0, "{shot:#?}");
    assert!(shot.stderr.contains(differ), "{shot:#?}");

    rig.device(1).set_time(OwnTime { ahead: apart, ..follows(7, 2) });
    let shot = rig.run(&["shoot", "--json"]);
    assert_eq!((shot.code, &shot.json_of("order")["complete"]), (1, &false.into()), "{shot:#?}");
    // Less what the replies of the two took differently through the hub.
    let says = |ms: u32| shot.stderr.contains(&format!("; their clocks are up to {ms}."));
    assert!((75..=85).any(says), "{shot:#?}");
}

#[test]
fn a_clock_that_reads_something_else_than_it_states_is_1() {
    let rig = Rig::new()
        .with_time("pi0", leads(7, 1))
        .with_time("left", OwnTime { ahead: Span::from_millis(-300), ..follows(7, 1) });
    for args in [&["shoot"][..], &["status"]] {
        let ran = rig.run(args);
        assert_eq!(ran.code, 1, "{ran:#?}");
        let all = [ran.stdout, ran.stderr].concat();
        // But for what the replies of the two took differently.
        let says = |ms: u32| all.contains(&format!(" -0.{ms} s from that of the others"));
        assert!(all.contains("left") && (290..=310).any(says), "{all}");
    }
}

#[test]
fn rigs_that_have_met_and_become_one_are_noticed() {
    let change = TimeScaleChange { from: TimeScale(8), to: TimeScale(7), ago_ns: Span::from_secs(40) };
    let rig = Rig::new()
        .with_time("pi0", leads(7, 1))
        .with_time("other", OwnTime { change: Some(change), ..follows(7, 1) });
    let status = rig.run(&["status"]);
    assert_eq!(status.code, 0, "they agree: {status:#?}");
    let met = "two rigs of this name seem to have met: other, on another time scale until 40 s ago; pi0.";
    assert!(status.stdout.contains(met), "{status:#?}");
    let notices = rig.run(&["status", "--json"]).json_of("status")["notices"].clone();
    assert!(notices[0].as_str().unwrap().starts_with(met), "{notices}");
}
