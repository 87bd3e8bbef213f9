//! The wait of `swsyncclock` for synchronization, and what ends it.

mod common;

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use common::{PATIENCE, Pipeline, leader};
use gst::prelude::*;

/// A client of a leader that never answers. Its timeout is only waited out by a test that fails.
fn hopeless() -> (UdpSocket, Pipeline) {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = nobody.local_addr().unwrap();
    let timeout = (PATIENCE * 2).nseconds();
    let client =
        Pipeline::launch(&format!("swsyncclock name=c role=client leader={at} sync-timeout={timeout}"));
    (nobody, client)
}

/// The progress message of `kind`, which tells what is waited for.
fn progress(pipeline: &Pipeline, kind: gst::ProgressType) -> String {
    pipeline.wait_for("progress", |message| match message.view() {
        gst::MessageView::Progress(progress) => {
            let (of, code, text) = progress.get();
            (of == kind && code == "sync").then(|| text.to_string())
        }
        _ => None,
    })
}

fn cancel(pipeline: &Pipeline) -> bool {
    pipeline.element("c").emit_by_name("cancel", &[])
}

#[test]
fn cancel_ends_the_wait_from_another_thread() {
    let (nobody, client) = hopeless();
    assert!(!cancel(&client), "there is no wait yet");
    let waiting = client.0.clone();
    let waiter = std::thread::spawn(move || waiting.set_state(gst::State::Playing).is_err());
    let sought = progress(&client, gst::ProgressType::Start);
    assert!(sought.contains(&nobody.local_addr().unwrap().to_string()), "{sought}");
    assert!(progress(&client, gst::ProgressType::Continue).contains("0 answered"));
    assert!(cancel(&client));
    assert!(waiter.join().unwrap());
    let error = client.error();
    assert!(error.contains("cancelled") && error.contains("0 answered"), "{error}");
    assert!(!cancel(&client), "there is none any more");
    // Nor where it never came to one.
    client.element("c").set_property("key", "short");
    client.0.set_state(gst::State::Null).unwrap();
    assert!(client.0.set_state(gst::State::Paused).is_err());
    assert!(!cancel(&client));
}

#[test]
fn without_a_wait_the_application_waits() {
    let (leader, at) = leader();
    let client =
        Pipeline::launch(&format!("swsyncclock name=c role=client leader={at} burst=20 wait-sync=false"));
    let notified = Arc::new(AtomicU32::new(0));
    let counter = notified.clone();
    client.element("c").connect_notify(Some("synced"), move |_, _| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    client.reach(gst::State::Paused);
    let clock = client.element("c").provide_clock().unwrap();
    clock.wait_for_sync(PATIENCE).unwrap();
    while client.wait_for_structure("swsync-clock").get::<String>("state").unwrap() != "synced" {}
    common::eventually("synced", || client.element("c").property("synced"));
    assert!(notified.load(Ordering::SeqCst) > 0);
    let ahead =
        clock.time().nseconds().abs_diff(leader.element("c").provide_clock().unwrap().time().nseconds());
    assert!(ahead < 1_000_000_000, "{ahead}");
}

#[test]
fn without_a_leader_nothing_holds_up_an_application_that_waits_itself() {
    let (_nobody, client) = hopeless();
    client.element("c").set_property("wait-sync", false);
    client.reach(gst::State::Paused);
    let clock = client.element("c").provide_clock().unwrap();
    assert!(clock.wait_for_sync(gst::ClockTime::from_mseconds(10)).is_err());
    assert_eq!(client.element("c").property_value("state").serialize().unwrap(), "unsynced");
    client.reach(gst::State::Null);
}

/// Each of these ends the wait in a process that handles it.
#[test]
fn signals_that_the_application_handles_end_the_wait() {
    for signal in ["INT", "TERM", "HUP"] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "an_application_that_is_told_to_end"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let waits = lines.by_ref().any(|line| line.contains("waiting"));
        assert!(waits, "it ended before it waited");
        let pid = child.id().to_string();
        let kill = ["-s", signal, &pid];
        assert!(Command::new("kill").args(kill).status().unwrap().success());
        let rest: Vec<String> = lines.collect();
        assert!(child.wait().unwrap().success(), "SIG{signal}: {rest:?}");
        let named = rest.iter().any(|line| line.contains(&format!("SIG{signal}")));
        assert!(named, "{rest:?}");
    }
}

#[test]
#[ignore = "waits for a signal: signals_that_the_application_handles_end_the_wait sends it one"]
fn an_application_that_is_told_to_end() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let told = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, told.clone()).unwrap();
    }
    let (_nobody, client) = hopeless();
    let client = Arc::new(client);
    let watcher = std::thread::spawn({
        let client = client.clone();
        move || {
            progress(&client, gst::ProgressType::Start);
            println!("waiting");
        }
    });
    assert!(client.0.set_state(gst::State::Paused).is_err());
    watcher.join().unwrap();
    println!("{}", client.error());
    assert!(told.load(Ordering::SeqCst), "the application's own handler is still called");
}
