//! `swsync shoot`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use crate::rig::{Does, Ran, Rig, TIMEOUT, swsync};
use swsync_cli::testing::schemas::OfSchema as _;
use swsync_core::frame::SyncState;
use swsync_core::order::OrderKind;
use swsync_core::time::{Span, Timestamp};

#[test]
fn all_saved_is_0_and_a_row_each() {
    let rig = Rig::new().with("left", Does::Save).with("right", Does::Save).with("top", Does::Save);
    let begin = Instant::now();
    let ran = rig.run(&["shoot", "--in", "100ms"]);
    println!("{:?} from start to end\n{}", begin.elapsed(), ran.stdout);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    for (index, device) in ["left", "right", "top"].into_iter().enumerate() {
        let row = ran.row(device);
        let [order] = &rig.device(index).orders()[..] else { panic!("one order each") };
        assert_eq!(row[1], "saved");
        assert_eq!(row[3..6], ["-4.0", "21.0", "1.23 kB"]);
        assert_eq!(row[6], format!("{}/{device}/{}.jpg", order.id(), row[2]));
    }
    let end =
        "all saved: 3 of 3 devices complete, 3.70 kB; pictures of one number are at most 216.0 us apart\n";
    assert!(ran.stdout.ends_with(end), "{ran:#?}");
    let order = &rig.device(0).orders()[0];
    assert!(order.id().as_str().starts_with("shot-20300317-1746"), "{order:?}: in UTC of rig time");
}

#[test]
fn what_is_not_proven_to_be_simultaneous_is_6() {
    let rig = Rig::new().with("left", Does::Save).with("right", Does::Save);
    let ran = rig.run(&["shoot", "--max-error", "200us"]);
    assert_eq!(ran.code, 6, "{ran:#?}");
    assert!(
        ran.stderr.contains("not proven to be within 200.0 us") && ran.stdout.contains("all saved"),
        "{ran:#?}"
    );
    assert_eq!(rig.run(&["shoot", "--max-error", "none"]).code, 0);
    let json = rig.run(&["shoot", "--json"]).json_of("order");
    assert_eq!((&json["bounds"]["passes"], &json["bounds"]["worst_ns"]), (&true.into(), &216_000.into()));
}

#[test]
fn the_instant_is_in_rig_time() {
    let rig = Rig::new().with("a", Does::Save);
    let now = Timestamp::from_nanos(1_900_000_000_000_000_000);
    // The fake device's rig time stands still, and the command adds the age of the report.
    let near = |at: Timestamp<_>, expected: Timestamp<_>| {
        let late = at - expected;
        assert!(!late.is_negative() && late < Span::from_secs(2), "{late:?}");
    };
    assert_eq!(rig.run(&["shoot"]).code, 0);
    assert_eq!(rig.run(&["shoot", "--ago", "2s"]).code, 0);
    assert_eq!(rig.run(&["shoot", "--at", "5000000000", "--count", "3", "--id", "again"]).code, 0);
    let orders = rig.device(0).orders();
    near(orders[0].at(), now + Span::from_millis(500));
    near(orders[1].at(), now - Span::from_secs(2));
    assert_eq!(orders[2].at(), Timestamp::from_nanos(5_000_000_000));
    assert_eq!((orders[2].id().as_str(), orders[2].kind()), ("again", OrderKind::Burst { count: 3 }));
    assert_ne!(orders[0].id(), orders[1].id());
}

#[test]
fn a_missed_frame_is_1_and_says_why() {
    let rig = Rig::new().with("good", Does::Save).with("bad", Does::Miss);
    let ran = rig.run(&["shoot"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert_eq!(ran.row("good")[1], "saved");
    let bad = ran.row("bad");
    assert_eq!((bad[1], bad.last().copied()), ("missed", Some("the camera dropped this frame")));
    assert!(ran.stdout.contains("NOT all saved: 1 of 2"), "{ran:#?}");

    let burst = rig.run(&["shoot", "--count", "3"]);
    assert_eq!(burst.code, 1);
    assert_eq!(burst.row("bad")[1], "saved 1/3");
    assert_eq!(burst.row("good")[1], "saved");
}

#[test]
fn an_answer_for_other_frames_than_asked_for_is_1_and_names_the_device() {
    let rig = Rig::new().with("good", Does::Save).with("stray", Does::Stray);
    let ran = rig.run(&["shoot", "--id", "again", "--count", "3"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(
        ran.stderr.contains("warning: stray answers for frames from") && !ran.stderr.contains("good"),
        "{ran:#?}"
    );
    assert!(ran.stderr.contains("10.000 s from there"), "{ran:#?}");
    assert!(ran.stdout.contains("NOT all saved: 1 of 2 devices complete"), "{ran:#?}");
    let ran = rig.run(&["shoot", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (ran.code, json["complete"].as_bool(), json["differences"].as_array().map(Vec::len)),
        (1, Some(false), Some(1))
    );
}

#[test]
fn no_answer_is_1_and_the_others_are_not_held_up() {
    let rig = Rig::new().with("a", Does::Save).with("hung", Does::Hang);
    let ran = rig.run(&["shoot", "--timeout", "300ms"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert_eq!(ran.row("a")[1], "saved");
    assert_eq!(ran.row("hung")[1], "no answer");
    assert!(ran.stdout.contains("did not answer within 300ms"), "{ran:#?}");
}

#[test]
fn json_is_one_document() {
    let rig = Rig::new().with("a", Does::Save).with("bad", Does::Miss);
    let ran = rig.run(&["shoot", "--json", "--id", "j1"]);
    assert_eq!(ran.code, 1);
    let json = ran.json();
    assert_eq!((&json["order"], &json["complete"]), (&"j1".into(), &false.into()));
    let number = &json["devices"][0]["frames"][0]["number"];
    assert!(number.is_u64());
    assert_eq!(number, &json["devices"][1]["frames"][0]["number"], "the same everywhere");
    assert_eq!(json["devices"][1]["frames"][0]["fate"], "missed");
}

#[test]
fn devices_that_are_not_ready_are_named_first() {
    let rig = Rig::new().with("good", Does::Save).with_clock("lost", Does::Save, SyncState::Holdover);
    let ran = rig.run(&["shoot"]);
    assert_eq!(ran.code, 0, "a warning, no more: {ran:#?}");
    assert_eq!(ran.stderr, "swsync: warning: lost is not ready: its clock is holdover\n");
}

#[test]
fn without_rig_time_nothing_is_ordered() {
    let rig = Rig::new().with_clock("a", Does::Save, SyncState::Unsynced);
    let ran = rig.run(&["shoot"]);
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.stderr.contains("role=leader"), "{ran:#?}");
    assert!(rig.device(0).orders().is_empty());
}

#[test]
fn arm_waits_while_no_device_knows_rig_time() {
    let rig = Rig::new().with_clock("a", Does::Save, SyncState::Unsynced);
    let begin = Instant::now();
    let ran = rig.run(&["shoot", "--arm=700ms"]);
    assert!(begin.elapsed().as_millis() >= 700);
    assert_eq!(ran.code, 4, "{ran:#?}");
    assert!(ran.stdout.contains("its clock is unsynced") && ran.stdout.contains("0 of 1"), "{ran:#?}");
    assert!(rig.device(0).orders().is_empty());
}

#[test]
fn nobody_there_is_3_and_says_what_to_do() {
    let empty = Rig::new();
    let ran = empty.run(&["shoot"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{ran:#?}");
    assert!(ran.stderr.contains("nothing answers at tcp/127.0.0.1:"), "{ran:#?}");

    let rig = Rig::new().with("a", Does::Save);
    let ran = Ran::of(&mut {
        let mut other = rig.command(&["shoot"]);
        other.env("SWSYNC_RIG", "other-rig");
        other
    });
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.stderr.contains("no device of rig \"other-rig\""), "{ran:#?}");
    assert!(ran.stderr.contains("--connect tcp/HOST:7447"), "{ran:#?}");
}

#[test]
fn bad_arguments_are_2_and_reach_nobody() {
    let rig = Rig::new().with("a", Does::Save);
    for (args, expected) in [
        (&["shoot", "--in", "soon"][..], "--in"),
        (&["shoot", "--in", "1s", "--ago", "1s"], "cannot be used with"),
        (&["shoot", "--in", "-1s"], "unexpected argument"),
        (&["shoot", "--every", "0s"], "longer than nothing"),
        (&["shoot", "--every", "1us"], "0.001 s apart at least, not 0.000001 s"),
        (&["shoot", "--timeout", "0s"], "longer than nothing"),
        (&["record", "--for", "0s"], "longer than nothing"),
        (&["record", "--last", "0s"], "longer than nothing"),
        (&["record", "--segment", "10ms"], "1 s long at least, not 0.01 s"),
        (&["record", "--until", "5"], "comes after its start"),
        (&["record", "--in", "300years"], "ten years"),
        (&["status", "--watch", "--every", "0s"], "longer than nothing"),
        (&["shoot", "--count", "0"], "1..=10000"),
        (&["shoot", "--count", "10001"], "1..=10000"),
        (&["shoot", "--id", "../etc"], "not a name"),
        (&["shoot", "--rig", "a/b"], "not a name"),
        (&["shoot", "--connect", "pi0:7447"], "write tcp/HOST:PORT"),
        (&["shoot", "--listen", "udp/0.0.0.0:1"], "tcp only"),
        (&["shoot", "please"], "unexpected argument"),
        (&["shot"], "unrecognized subcommand"),
        (&[], "Usage"),
    ] {
        let ran = rig.run(args);
        assert_eq!(ran.code, 2, "{args:?}: {ran:#?}");
        assert!(ran.stderr.contains(expected), "{args:?}: {ran:#?}");
    }
    assert!(rig.device(0).orders().is_empty());
}

#[test]
fn interrupted_is_130_and_the_order_stands() {
    let rig = Rig::new().with("a", Does::Save).with("hung", Does::Hang);
    let mut child = rig
        .command(&["shoot", "--id", "i1", "--timeout", "60s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("a ")), "a's row comes while the other hangs");
    let begin = Instant::now();
    while rig.device(1).orders().is_empty() {
        assert!(begin.elapsed() < TIMEOUT);
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:#?}");
    assert!(ran.stderr.contains("the order stands: 1 of 2"), "{ran:#?}");
    assert!(ran.stderr.contains("swsync shoot --id i1 --at "), "{ran:#?}");
}

#[test]
fn the_rig_can_be_named_by_options_too() {
    let rig = Rig::new().with("a", Does::Save);
    let ran = Ran::of(&mut swsync(&["shoot", "--rig", &rig.name, "--connect", &rig.endpoint]));
    assert_eq!(ran.code, 0, "{ran:#?}");
}

#[test]
fn help_has_units_defaults_examples_and_exit_codes() {
    let help = Ran::of(&mut swsync(&["shoot", "--help"]));
    assert_eq!(help.code, 0);
    for part in ["500ms", "SWSYNC_CONNECT", "tcp/HOST:PORT", "Examples:", "Exit codes:", "--ago"] {
        assert!(help.stdout.contains(part), "{part} in {}", help.stdout);
    }
}
