//! Interruptions: killed devices, changed and removed files, a busy device, a full disk.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use swsync_client::collect::{CollectError, CollectEvent, collect};
use swsync_client::pending::{self, Pending};
use swsync_client::{RemoteError, RemoteTakes};
use swsync_core::manifest::Hole;

use crate::support::{Child, IMPATIENCE, PATIENCE, Rig, content, name, noise, take_json};

#[test]
fn an_incomplete_take_is_noted_until_it_is_complete() {
    let rig = Rig::new();
    rig.take("o1", &[noise(3 << 20)]);
    rig.take_that_is("o2", &[noise(10)], false);
    let mut child = Child::of(&rig);
    let remote = RemoteTakes::new(&rig.operator, name("pi"), IMPATIENCE, |_| ());
    let until = std::time::Instant::now() + PATIENCE;
    while remote.takes().is_err() {
        assert!(std::time::Instant::now() < until, "the device does not come");
    }
    let is_here = |order| pending::is_here(rig.out.path(), &name(order), &name("pi"));
    let died = collect(&remote, &name("o1"), rig.out.path(), |event| {
        if matches!(event, CollectEvent::Bytes(_)) {
            child.kill();
        }
    });
    assert!(died.is_err() && !is_here("o1"));
    assert_eq!(Pending::of_take(&rig.out.path().join("o1")).len(), 1);

    let _again = Child::of(&rig);
    rig.collect("o1").unwrap();
    assert!(is_here("o1") && Pending::of_take(&rig.out.path().join("o1")).is_empty());
    // The whole files of an incomplete take are collected, and that is reported.
    let part = collect(&rig.remote(), &name("o2"), rig.out.path(), |_| ()).unwrap();
    assert!(!part.complete && !is_here("o2"));
    assert_eq!(content(&rig.collected("o2")), content(&rig.folder("o2")));
}

#[test]
fn collecting_goes_on_where_a_killed_device_stopped() {
    let rig = Rig::new();
    let large = noise(8 << 20);
    rig.take("o1", std::slice::from_ref(&large));
    let mut child = Child::of(&rig);
    let remote = RemoteTakes::new(&rig.operator, name("pi"), IMPATIENCE, |_| ());
    let until = std::time::Instant::now() + PATIENCE;
    while remote.takes().is_err() {
        assert!(std::time::Instant::now() < until, "the device does not come");
    }
    let mut came = 0;
    let error = collect(&remote, &name("o1"), rig.out.path(), |event| {
        if let CollectEvent::Bytes(bytes) = event {
            came += bytes;
            if came == 3 << 20 {
                child.kill();
            }
        }
    })
    .unwrap_err();
    assert!(matches!(error, CollectError::Remote(RemoteError::NoAnswer { .. })), "{error}");
    assert!(!rig.collected("o1").join("00000100.jpg").exists(), "no torn file");

    let _again = Child::of(&rig);
    let mut planned = None;
    let collected = collect(&rig.remote(), &name("o1"), rig.out.path(), |event| {
        if let CollectEvent::Planned { bytes, .. } = event {
            planned = Some(bytes);
        }
    })
    .unwrap();
    let all: u64 = content(&rig.folder("o1")).values().map(|bytes| bytes.len() as u64).sum();
    assert_eq!(planned, Some(all - came), "the fetched part is kept");
    assert_eq!((collected.fetched, collected.bytes), (3, all));
    assert_eq!(content(&rig.collected("o1")), content(&rig.folder("o1")));
}

#[test]
fn a_spoilt_part_is_noticed_and_fetched_again() {
    let rig = Rig::new();
    rig.take("o1", &[noise(2 << 20), noise(10)]);
    let _device = rig.serve();
    fs::create_dir_all(rig.collected("o1")).unwrap();
    fs::write(rig.collected("o1").join(".00000100.jpg.part"), vec![0; 1 << 20]).unwrap();
    fs::write(rig.collected("o1").join(".00000101.jpg.part"), vec![0; 11]).unwrap();
    fs::write(rig.collected("o1").join(".collected.jsonl"), "{\"path\":\"000").unwrap();
    let mut again = Vec::new();
    collect(&rig.remote(), &name("o1"), rig.out.path(), |event| {
        if let CollectEvent::Again(bytes) = event {
            again.push(bytes);
        }
    })
    .unwrap();
    assert_eq!(again, [2 << 20, 11]);
    assert_eq!(content(&rig.collected("o1")), content(&rig.folder("o1")));
    assert_eq!(rig.collect("o1").unwrap(), 0);
}

#[test]
fn a_file_that_changes_meanwhile_is_collected_in_its_last_form() {
    let rig = Rig::new();
    rig.take("o1", &[noise(3 << 20)]);
    let _device = rig.serve();
    let mut change = Some(rig.folder("o1").join("00000100.jpg"));
    collect(&rig.remote(), &name("o1"), rig.out.path(), |event| {
        if matches!(event, CollectEvent::Bytes(_))
            && let Some(path) = change.take()
        {
            fs::write(path, noise(2 << 20)).unwrap();
        }
    })
    .unwrap();
    assert_eq!(content(&rig.collected("o1")), content(&rig.folder("o1")));
}

#[test]
fn a_file_that_is_removed_meanwhile_is_a_hole() {
    let rig = Rig::new();
    let pictures = [noise(2 << 20), noise(10), noise(20)];
    rig.take("o1", &pictures);
    let _device = rig.serve();
    let folder = rig.folder("o1");
    let mut is_there = true;
    let collected = collect(&rig.remote(), &name("o1"), rig.out.path(), |event| {
        if matches!(event, CollectEvent::Bytes(_)) && std::mem::take(&mut is_there) {
            fs::remove_file(folder.join("00000101.jpg")).unwrap();
            let lines = fs::read_to_string(folder.join("frames.jsonl")).unwrap();
            let left = lines.lines().filter(|line| !line.contains("00000101.jpg"));
            fs::write(folder.join("frames.jsonl"), left.map(|line| format!("{line}\n")).collect::<String>())
                .unwrap();
            let mut take = take_json("o1", 3, true);
            take.holes.push(Hole::run(101, 1, "removed: max-files=1"));
            fs::write(folder.join("take.json"), take.to_json()).unwrap();
        }
    })
    .unwrap();
    assert_eq!((collected.files, collected.fetched, collected.gone), (4, 4, 1));
    assert_eq!(
        content(&rig.collected("o1")),
        content(&rig.folder("o1")),
        "as the remaining files are described"
    );
    assert_eq!(rig.collect("o1").unwrap(), 0);
}

#[test]
fn collecting_waits_for_a_running_take() {
    let rig = Rig::new();
    rig.take("o1", &[noise(10), noise(20)]);
    let running = Arc::new(AtomicBool::new(true));
    let (on_device, calls) = (running.clone(), AtomicU32::new(0));
    let _device =
        rig.serve_unless(move || on_device.load(Ordering::Relaxed).then(|| "a take is running".into()));
    let remote = RemoteTakes::new(&rig.operator, name("pi"), PATIENCE, |busy| match busy {
        Some(why) => {
            assert_eq!(why, "a take is running");
            calls.fetch_add(1, Ordering::Relaxed);
            running.store(false, Ordering::Relaxed);
        }
        None => {
            calls.fetch_add(10, Ordering::Relaxed);
        }
    });
    collect(&remote, &name("o1"), rig.out.path(), |_| ()).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 11, "it pauses and goes on");
    assert_eq!(content(&rig.collected("o1")), content(&rig.folder("o1")));
}

/// Needs a mount namespace of its own, like the tests in a network namespace.
#[test]
fn a_full_disk_is_named_and_collecting_goes_on_later() {
    if std::env::var_os("SWSYNC_NETNS").is_none() {
        println!("skipped: needs a namespace of its own (SWSYNC_NETNS)");
        return;
    }
    let rig = Rig::new();
    rig.take("o1", &[noise(4 << 20)]);
    let _device = rig.serve();
    let mount = |options: &str| {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none", rig.out.path().to_str().unwrap()])
            .status();
        assert!(status.unwrap().success());
    };
    mount("size=2m");
    let error = rig.collect("o1").unwrap_err();
    assert!(matches!(error, CollectError::Local { .. }), "{error}");
    assert!(error.to_string().contains("make room"), "{error}");
    assert!(!rig.collected("o1").join("00000100.jpg").exists());
    mount("remount,size=20m");
    assert_eq!(rig.collect("o1").unwrap(), 3);
    assert_eq!(content(&rig.collected("o1")), content(&rig.folder("o1")));
    assert!(Command::new("umount").arg(rig.out.path()).status().unwrap().success());
}
