//! `swsyncclock` waits for synchronization, and what ends the wait.

mod common;

use std::net::UdpSocket;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::own_process::send_signal;
use common::{PATIENCE, Pipeline, leader};
use gst::prelude::*;

/// A client of a leader that never answers. Its timeout is only waited out by a test that fails.
fn client_of_nobody() -> (UdpSocket, Pipeline) {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = nobody.local_addr().unwrap();
    let timeout = (PATIENCE * 2).nseconds();
    let client =
        Pipeline::launch(&format!("swsyncclock name=c role=client leader={at} sync-timeout={timeout}"));
    (nobody, client)
}

/// The text of the next progress message of `kind`.
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
    let (nobody, client) = client_of_nobody();
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
    // Nor is there one if the element fails before it.
    client.element("c").set_property("key", "short");
    client.0.set_state(gst::State::Null).unwrap();
    assert!(client.0.set_state(gst::State::Paused).is_err());
    assert!(!cancel(&client));
}

#[test]
fn with_wait_sync_false_the_application_can_wait() {
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
fn with_wait_sync_false_no_leader_is_needed_for_paused() {
    let (_nobody, client) = client_of_nobody();
    client.element("c").set_property("wait-sync", false);
    client.reach(gst::State::Paused);
    let clock = client.element("c").provide_clock().unwrap();
    assert!(clock.wait_for_sync(gst::ClockTime::from_mseconds(10)).is_err());
    assert_eq!(client.element("c").property_value("state").serialize().unwrap(), "unsynced");
    client.reach(gst::State::Null);
}

/// gst-launch-1.0 handles SIGINT only once the pipeline is PAUSED: until then Ctrl-C ends it.
#[test]
fn ctrl_c_ends_gst_launch_during_the_wait() {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    nobody.set_read_timeout(Some(PATIENCE.into())).unwrap();
    // Tests may run in the background, where shells have SIGINT ignored.
    let launched = Command::new("env")
        .args(["--default-signal=INT", "gst-launch-1.0"])
        .arg(format!("--gst-plugin-load={}", common::plugin().display()))
        .args(["swsyncclock", "role=client"])
        .arg(format!("leader={}", nobody.local_addr().unwrap()))
        .arg(format!("sync-timeout={}", (PATIENCE * 2).nseconds()))
        .stdout(Stdio::null())
        .spawn();
    let mut child = launched.expect("coreutils are there");
    let asked = nobody.recv_from(&mut [0; 1024]);
    send_signal(&child, "INT");
    let ended = child.wait().unwrap();
    asked.expect("the clock asks its leader");
    assert_eq!(ended.signal(), Some(2), "{ended}");
}
