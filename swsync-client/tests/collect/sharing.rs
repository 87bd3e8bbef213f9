//! What a device shares, and what it does not.

use std::fs;

use swsync_client::RemoteError;
use swsync_client::collect::CollectError;
use swsync_rig::share::{Listing, Unreadable};
use zenoh::Wait;

use crate::support::{Rig, content, name, noise, take_json};

#[test]
fn unreadable_takes_on_the_device_are_named() {
    let rig = Rig::new();
    for order in ["o1", "o2", "o3", "o4"] {
        rig.take(order, &[noise(10)]);
    }
    let broken = |order: &str| rig.folder(order).join("take.json");
    fs::write(broken("o1"), "{\"schema\": 1").unwrap();
    let text = fs::read_to_string(broken("o2")).unwrap();
    fs::write(broken("o2"), text.replace("\"schema\": 1", "\"schema\": 99")).unwrap();
    fs::remove_file(broken("o3")).unwrap();
    // Takes of other devices are not reported by this one.
    fs::create_dir_all(rig.root().join("o1/left")).unwrap();
    fs::write(rig.root().join("o1/left/take.json"), "{}").unwrap();
    fs::write(rig.root().join("mistake.json"), "{}").unwrap();
    let _device = rig.serve();
    let listing = rig.remote().takes().unwrap();
    assert_eq!(listing.takes.iter().map(|take| take.order.as_str()).collect::<Vec<_>>(), ["o4"]);
    let mut unreadable = listing.unreadable;
    unreadable.sort();
    let reported: Vec<_> = unreadable.iter().map(|one| (one.path.as_str(), one.why.as_str())).collect();
    let [(o1, torn), (o2, newer), (o3, lost)] = reported[..] else { panic!("{reported:?}") };
    assert_eq!((o1, o2, o3), ("o1/pi/take.json", "o2/pi/take.json", "o3/pi/frames.jsonl"));
    assert!(torn.contains("it is no take.json") && newer.contains("99") && lost.contains("no take.json"));
}

#[test]
fn a_device_whose_disk_is_gone_says_so() {
    let rig = Rig::new();
    rig.take("o1", &[noise(10)]);
    let _device = rig.serve();
    assert!(rig.remote().takes().unwrap().unreadable.is_empty());
    fs::rename(rig.root(), rig.disk.path().join("elsewhere")).unwrap();
    let Listing { takes, unreadable } = rig.remote().takes().unwrap();
    assert!(takes.is_empty() && unreadable.len() == 1, "{takes:?} {unreadable:?}");
    let Unreadable { path, why } = &unreadable[0];
    assert!(path.ends_with("shots") && why.contains("No such file"), "{path}: {why}");
}

#[test]
fn a_device_whose_bytes_do_not_match_its_sums_is_named() {
    let rig = Rig::open();
    let mut config = zenoh::Config::default();
    for (key, value) in [
        ("connect/endpoints", format!("[{:?}]", rig.config.connect[0])),
        ("listen/endpoints", "[\"tcp/127.0.0.1:0\"]".into()),
        ("scouting/multicast/enabled", "false".into()),
    ] {
        config.insert_json5(key, &value).unwrap();
    }
    let liar = zenoh::open(config).wait().unwrap();
    let key = format!("swsync/{}/files/pi/liar", rig.config.rig);
    let answer_key = key.clone();
    let _queryable = liar
        .declare_queryable(key)
        .callback(move |query| {
            let ask: serde_json::Value =
                serde_json::from_slice(&query.payload().unwrap().to_bytes()).unwrap();
            let mut reply = match ask["ask"].as_str().unwrap() {
                "files" => serde_json::json!({
                    "is": "files", "total": 1, "files": [{"path": "a.jpg", "bytes": 3, "modified_ns": 1}],
                }),
                _ => serde_json::json!({
                    "is": "chunk", "bytes": 3, "modified_ns": 1, "sha256": "00".repeat(32),
                }),
            };
            reply["v"] = ask["v"].clone();
            let bytes = format!("{reply}\nabc");
            query.reply(&answer_key, bytes).wait().unwrap();
        })
        .wait()
        .unwrap();
    let error = rig.collect("o1").unwrap_err();
    let CollectError::Corrupt { path, here, there, .. } = &error else { panic!("{error}") };
    assert_eq!((path.as_str(), &here[..8], &there[..8]), ("a.jpg", "ba7816bf", "00000000"));
    assert!(content(&rig.collected("o1")).is_empty(), "no file of it stays");
}

#[test]
fn only_files_of_takes_can_be_read() {
    let rig = Rig::new();
    rig.take("o1", &[noise(10)]);
    let secret = rig.disk.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    fs::write(rig.root().join("beside"), "not of a take").unwrap();
    fs::write(rig.folder("o1").join("note.txt"), "not listed").unwrap();
    // A manifest that names files elsewhere, directly and by a link.
    std::os::unix::fs::symlink(&secret, rig.folder("o1").join("link.jpg")).unwrap();
    let manifest = rig.folder("o1").join("frames.jsonl");
    let mut lines = fs::read_to_string(&manifest).unwrap();
    let line = lines.clone();
    for file in ["../../../secret", "/etc/passwd", "link.jpg", "gone.jpg"] {
        lines.push_str(&line.replace("00000100.jpg", file));
    }
    fs::write(&manifest, lines).unwrap();
    // A take of another device on the same disk.
    let other = rig.root().join("o2/left");
    fs::create_dir_all(&other).unwrap();
    let json = take_json("o2", 0, true).to_json().replace("\"device\": \"pi\"", "\"device\": \"left\"");
    fs::write(other.join("take.json"), json).unwrap();

    let _device = rig.serve();
    let remote = rig.remote();
    let takes = remote.takes().unwrap().takes;
    assert_eq!(takes.iter().map(|take| take.order.as_str()).collect::<Vec<_>>(), ["o1"]);
    let files = remote.files(&name("o1")).unwrap();
    let files: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["00000100.jpg", "frames.jsonl", "take.json"]);
    let o1 = name("o1");
    for path in
        ["../../../secret", "/etc/passwd", "link.jpg", "note.txt", "../../beside", "", ".", "take.json/"]
    {
        let refused = |error| assert!(matches!(error, RemoteError::Refused { .. }), "{path}: {error}");
        refused(remote.read(&o1, path, 0, 10).unwrap_err());
        refused(remote.digest(&o1, path, 10).unwrap_err());
        refused(remote.delete(&o1, path, 10, "00").unwrap_err());
    }
    assert!(matches!(remote.files(&name("o2")), Err(RemoteError::Refused { .. })));
    // Reading beyond the end returns no bytes, and no error.
    assert!(remote.read(&o1, "00000100.jpg", u64::MAX, u64::MAX).unwrap().1.is_empty());
    assert_eq!(remote.read(&o1, "00000100.jpg", 8, u64::MAX).unwrap().1, noise(10)[8..]);
}
