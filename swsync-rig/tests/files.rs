//! Requests for the files of devices, on real Zenoh sessions over loopback.

#[expect(dead_code, reason = "the other tests of this crate use the rest")]
mod devices;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use devices::{Device, name};
use swsync_core::key::RigKey;
use swsync_core::share::{FileReply, FileRequest};
use swsync_rig::share::Share;
use swsync_rig::{RigConfig, Session, free_loopback};

/// Generous: only a failing test waits this long.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long the rig is asked.
const LASTS: Duration = Duration::from_secs(8);

/// Set in the process with the rig: Zenoh reads the number of its threads when it starts.
const CHILD: &str = "SWSYNC_TEST_REQUESTS";

#[test]
fn no_request_is_lost_in_a_rig_with_a_key_while_visitors_come_and_go() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    // As many threads as a device has: what reads from a connection and what writes to it run at once.
    let child = child
        .args(["requests_child", "--exact", "--nocapture"])
        .env(swsync_rig::zenoh_threads::VARIABLE, swsync_rig::zenoh_threads::THREADS);
    let ended = child.env(CHILD, "1").stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    println!("{out}");
    assert!(ended.status.success() && out.contains(" 0 lost"), "{out}{err}");
}

/// Not a test: the one above runs this in a process of its own.
#[test]
fn requests_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let endpoint = format!("tcp/{}", free_loopback().unwrap());
    let key = RigKey::from_secret(zeroize::Zeroizing::new([7; 32]));
    let rig = |listen, connect| RigConfig::new(name("requests"), listen, connect).with_key(Some(key.clone()));
    let (leading, visiting) =
        (rig(vec![endpoint.clone()], Vec::new()), rig(Vec::new(), vec![endpoint.clone()]));
    let disk = tempfile::tempdir().unwrap();
    let devices = [("a", &leading), ("b", &visiting)].map(|(id, config)| {
        let device = Device::joining(config, id);
        let root = disk.path().join(id);
        let share = Share::open(device.membership().session(), name(id), root, Box::new(|| None)).unwrap();
        (device, share)
    });
    wait_until_answered(&Session::visit(&visiting, TIMEOUT).unwrap());
    let (asked, lost) = (AtomicU32::new(0), AtomicU32::new(0));
    let end = Instant::now() + LASTS;
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while Instant::now() < end {
                    visit(&visiting, &asked, &lost);
                }
            });
        }
    });
    println!("of {} requests {} lost", asked.load(Ordering::Relaxed), lost.load(Ordering::Relaxed));
    drop(devices);
}

/// A visitor asks both devices for their files, some times at once, and leaves.
fn visit(config: &RigConfig, asked: &AtomicU32, lost: &AtomicU32) {
    let visitor = Session::visit(config, TIMEOUT).unwrap();
    wait_until_answered(&visitor);
    thread::scope(|scope| {
        for device in ["a", "b", "a", "b"] {
            let visitor = &visitor;
            scope.spawn(move || {
                for _ in 0..50 {
                    asked.fetch_add(1, Ordering::Relaxed);
                    if !is_answered(visitor, device) {
                        lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

/// A session that has just connected may not have heard yet what a device shares.
fn wait_until_answered(visitor: &Session) {
    let deadline = Instant::now() + TIMEOUT;
    while !["a", "b"].iter().all(|device| is_answered(visitor, device)) {
        assert!(Instant::now() < deadline, "a device does not answer");
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_answered(visitor: &Session, device: &str) -> bool {
    let request = FileRequest::Summaries { after: None };
    let reply = visitor.request_files(&name(device), &request, TIMEOUT).unwrap();
    matches!(reply, Some((FileReply::Summaries { .. }, _)))
}
