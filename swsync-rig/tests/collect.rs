//! Takes fetched from devices, over real Zenoh sessions on loopback.
//!
//! Every test has a port and a rig of its own, so that they can run at once.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use swsync_core::manifest::{Hole, Take};
use swsync_core::name::Name;
use swsync_rig::control::{RigConfig, Session};
use swsync_rig::share::collect::{CollectError, Event, collect, delete};
use swsync_rig::share::pending::{self, Pending};
use swsync_rig::share::{Listing, Remote, RemoteError, Share, Unreadable};
use tempfile::TempDir;
use zenoh::Wait;

/// Generous: only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of a device that is known to be gone.
const IMPATIENCE: Duration = Duration::from_millis(200);

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

static RIGS: AtomicU32 = AtomicU32::new(0);

/// A rig of one device `pi`, its disk, and a desk that collects.
struct Rig {
    config: RigConfig,
    disk: TempDir,
    out: TempDir,
    desk: Arc<Session>,
}

impl Rig {
    fn new() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let rig = name(&format!("share-{}-{}", std::process::id(), RIGS.fetch_add(1, Ordering::Relaxed)));
        let endpoint = vec![format!("tcp/{free}")];
        let desk = RigConfig { rig: rig.clone(), listen: endpoint.clone(), connect: Vec::new() };
        Self {
            config: RigConfig { rig, listen: Vec::new(), connect: endpoint },
            disk: tempfile::tempdir().unwrap(),
            out: tempfile::tempdir().unwrap(),
            desk: Session::open_unshared(&desk).unwrap(),
        }
    }

    fn root(&self) -> PathBuf {
        self.disk.path().join("shots")
    }

    /// The device's folder of a take.
    fn folder(&self, order: &str) -> PathBuf {
        self.root().join(order).join("pi")
    }

    /// Where that comes to.
    fn home(&self, order: &str) -> PathBuf {
        self.out.path().join(order).join("pi")
    }

    fn serve(&self) -> Device {
        self.serve_unless(|| None)
    }

    fn serve_unless(&self, busy: impl Fn() -> Option<String> + Send + 'static) -> Device {
        let session = Session::open_unshared(&self.config).unwrap();
        let share = Share::open(&session, name("pi"), self.root(), Box::new(busy)).unwrap();
        Device { _share: share, _session: session }
    }

    fn remote(&self) -> Remote<'_> {
        Remote::new(&self.desk, name("pi"), PATIENCE, |_| ())
    }

    fn collect(&self, order: &str) -> Result<usize, CollectError> {
        Ok(collect(&self.remote(), &name(order), self.out.path(), |_| ())?.fetched)
    }

    /// A take of pictures with this content on the device's disk.
    fn take(&self, order: &str, pictures: &[Vec<u8>]) {
        self.take_that_is(order, pictures, true);
    }

    fn take_that_is(&self, order: &str, pictures: &[Vec<u8>], complete: bool) {
        let folder = self.folder(order);
        fs::create_dir_all(&folder).unwrap();
        let mut manifest = String::new();
        for (index, picture) in pictures.iter().enumerate() {
            let file = format!("{:08}.jpg", 100 + index);
            fs::write(folder.join(&file), picture).unwrap();
            let line = serde_json::json!({
                "order": order, "device": "pi", "file": file, "offset": 0, "bytes": picture.len(),
                "number": 100 + index, "rig_time_ns": 0, "phase_error_ns": 0, "clock_uncertainty_ns": null,
                "sync": "synced", "lock": "locked", "exposure_ns": null, "analogue_gain": null,
                "sensor_time_ns": null,
            });
            manifest.push_str(&format!("{line}\n"));
        }
        fs::write(folder.join("frames.jsonl"), manifest).unwrap();
        fs::write(folder.join("take.json"), take_json(order, pictures.len(), complete).to_json()).unwrap();
    }
}

struct Device {
    _share: Share,
    _session: Arc<Session>,
}

fn take_json(order: &str, count: usize, complete: bool) -> Take {
    let json = serde_json::json!({
        "schema": 1, "order": order, "ordered": {}, "device": "pi", "host": "pi", "software": "test",
        "camera": null, "caps": "image/jpeg", "grid": [30, 1], "first": 100, "count": count,
        "started_ns": 1, "finished_ns": null, "complete": complete,
    });
    Take::from_json(json.to_string().as_bytes()).unwrap()
}

/// Bytes that differ from place to place.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// What is in a folder, but for what collecting notes there.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    named
        .filter(|(name, _)| ![".collected.jsonl", ".incomplete.json"].contains(&&**name))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

#[test]
fn child_main() {
    // No test: what `Child` runs.
    let Ok(root) = std::env::var("SWSYNC_TEST_ROOT") else { return };
    let variable = |key| std::env::var(key).unwrap();
    let config = RigConfig {
        rig: name(&variable("SWSYNC_TEST_RIG")),
        listen: Vec::new(),
        connect: vec![variable("SWSYNC_TEST_CONNECT")],
    };
    let session = Session::open_unshared(&config).unwrap();
    let _share = Share::open(&session, name("pi"), root.into(), Box::new(|| None)).unwrap();
    println!("serving");
    let _ = std::io::stdin().read_line(&mut String::new()); // ends when the test does
}

/// A device in a process of its own, which can be killed as a process is.
struct Child(std::process::Child);

impl Child {
    fn of(rig: &Rig) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["child_main", "--exact", "--nocapture"])
            .env("SWSYNC_TEST_ROOT", rig.root())
            .env("SWSYNC_TEST_RIG", rig.config.rig.as_str())
            .env("SWSYNC_TEST_CONNECT", &rig.config.connect[0])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("serving")));
        Self(process)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill(); // fails if it is gone already
        let _ = self.0.wait();
    }
}

#[test]
fn a_take_comes_home_once() {
    let rig = Rig::new();
    rig.take("o1", &[noise(100), Vec::new(), noise(3_000_000)]);
    rig.take("o2", &[noise(5)]);
    let _device = rig.serve();
    let takes = rig.remote().takes().unwrap().takes;
    assert_eq!(takes.iter().map(|take| take.order.as_str()).collect::<Vec<_>>(), ["o1", "o2"]);
    assert_eq!(rig.collect("o1").unwrap(), 5);
    assert_eq!(content(&rig.home("o1")), content(&rig.folder("o1")));
    assert!(!rig.home("o2").exists());
    assert_eq!(rig.collect("o1").unwrap(), 0, "it is here already");

    // What changed on the device, or was lost here, comes again; nothing else does.
    fs::write(rig.folder("o1").join("00000100.jpg"), b"another").unwrap();
    fs::remove_file(rig.home("o1").join("00000101.jpg")).unwrap();
    assert_eq!(rig.collect("o1").unwrap(), 2);
    let mut here = content(&rig.home("o1"));
    assert_eq!(
        here.remove("00000100.kept1.jpg").unwrap(),
        noise(100),
        "what the device had before is not lost"
    );
    assert_eq!(here, content(&rig.folder("o1")));
}

/// Changes a byte of the file at `path`, and gives it the age that it had.
fn flip_a_byte(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[3] ^= 1;
    fs::write(path, bytes).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

#[test]
fn sums_decide_and_nothing_is_overwritten() {
    let rig = Rig::new();
    rig.take("o1", &[noise(10), noise(20), noise(30)]);
    let _device = rig.serve();
    rig.collect("o1").unwrap();
    let there = content(&rig.folder("o1"));
    let again = |kept: &[&str], fetched| {
        let collected = collect(&rig.remote(), &name("o1"), rig.out.path(), |_| ()).unwrap();
        assert_eq!(
            (collected.kept, collected.fetched),
            (kept.iter().map(|k| (*k).to_owned()).collect(), fetched)
        );
    };
    again(&[], 0);
    // Of another age, but the same: here, there, and where the list of what came is lost.
    for path in [rig.home("o1").join("00000100.jpg"), rig.folder("o1").join("00000101.jpg")] {
        fs::File::options().write(true).open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    again(&[], 0);
    fs::remove_file(rig.home("o1").join(".collected.jsonl")).unwrap();
    again(&[], 0);

    let here = rig.home("o1");
    flip_a_byte(&here.join("00000100.jpg"));
    fs::write(here.join("00000101.jpg"), "edited, and longer than it was").unwrap();
    fs::write(here.join("take.json"), "{}").unwrap();
    again(&["00000100.kept1.jpg", "00000101.kept1.jpg", "take.kept1.json"], 3);
    fs::write(here.join("00000101.jpg"), "edited again").unwrap();
    again(&["00000101.kept2.jpg"], 1);
    let mut all = content(&here);
    assert_eq!(all.remove("00000101.kept1.jpg").unwrap(), b"edited, and longer than it was");
    assert_eq!(all.remove("00000101.kept2.jpg").unwrap(), b"edited again");
    all.retain(|name, _| !name.contains("kept"));
    assert_eq!(all, there);

    flip_a_byte(&rig.folder("o1").join("00000102.jpg"));
    again(&["00000102.kept1.jpg"], 1);
    assert_eq!(fs::read(here.join("00000102.kept1.jpg")).unwrap(), noise(30));
}

#[test]
fn what_rots_on_the_device_is_not_a_loop() {
    let rig = Rig::new();
    rig.take("o1", &[noise(10), noise(3 << 20)]);
    let _device = rig.serve();
    rig.collect("o1").unwrap();
    let (there, list) = (rig.folder("o1").join("00000101.jpg"), rig.home("o1").join(".collected.jsonl"));
    let modified = || {
        let files = rig.remote().files(&name("o1")).unwrap();
        files.iter().find(|file| file.path == "00000101.jpg").unwrap().modified_ns.to_string()
    };
    // A disk that fails changes no times: so it is as if this were the time that it always had.
    let before = modified();
    flip_a_byte(&there);
    let text = fs::read_to_string(&list).unwrap();
    assert!(text.contains(&before));
    fs::write(&list, text.replace(&before, &modified())).unwrap();
    assert_eq!(rig.collect("o1").unwrap(), 0, "what is here is what the device had");
    let deleted = delete(&rig.remote(), &name("o1"), rig.out.path()).unwrap();
    assert_eq!((deleted.files, deleted.kept), (4, vec!["00000101.kept1.jpg".to_owned()]));
    assert_eq!(fs::read(rig.home("o1").join("00000101.kept1.jpg")).unwrap(), noise(3 << 20));
    assert!(!rig.root().join("o1").exists());
}

#[test]
fn one_device_is_never_written_over_another() {
    let rig = Rig::new();
    rig.take("o1", &[noise(10)]);
    rig.take("O1", &[noise(20)]);
    let _device = rig.serve();
    rig.collect("o1").unwrap();
    let error = rig.collect("O1").unwrap_err();
    assert!(matches!(&error, CollectError::Alike { name, .. } if name.as_str() == "O1"), "{error}");
    fs::rename(rig.out.path().join("o1"), rig.out.path().join("O1")).unwrap();
    fs::rename(rig.home("O1"), rig.out.path().join("O1/PI")).unwrap();
    let error = rig.collect("O1").unwrap_err().to_string();
    assert!(error.contains("O1/PI is here already, and is the folder of pi too"), "{error}");
}

#[test]
fn what_was_begun_is_remembered_until_it_is_whole() {
    let rig = Rig::new();
    rig.take("o1", &[noise(3 << 20)]);
    rig.take_that_is("o2", &[noise(10)], false);
    let mut child = Child::of(&rig);
    let remote = Remote::new(&rig.desk, name("pi"), IMPATIENCE, |_| ());
    let until = std::time::Instant::now() + PATIENCE;
    while remote.takes().is_err() {
        assert!(std::time::Instant::now() < until, "it does not come");
    }
    let is_here = |order| pending::is_here(rig.out.path(), &name(order), &name("pi"));
    let died = collect(&remote, &name("o1"), rig.out.path(), |event| {
        if matches!(event, Event::Bytes(_)) {
            child.kill();
        }
    });
    assert!(died.is_err() && !is_here("o1"));
    assert_eq!(Pending::of_take(&rig.out.path().join("o1")).len(), 1);

    let _again = Child::of(&rig);
    rig.collect("o1").unwrap();
    assert!(is_here("o1") && Pending::of_take(&rig.out.path().join("o1")).is_empty());
    // What is whole of a take that is not: that is said.
    let part = collect(&rig.remote(), &name("o2"), rig.out.path(), |_| ()).unwrap();
    assert!(!part.complete && !is_here("o2"));
    assert_eq!(content(&rig.home("o2")), content(&rig.folder("o2")));
}

#[test]
fn what_cannot_be_read_on_the_device_is_named() {
    let rig = Rig::new();
    for order in ["o1", "o2", "o3", "o4"] {
        rig.take(order, &[noise(10)]);
    }
    let broken = |order: &str| rig.folder(order).join("take.json");
    fs::write(broken("o1"), "{\"schema\": 1").unwrap();
    let text = fs::read_to_string(broken("o2")).unwrap();
    fs::write(broken("o2"), text.replace("\"schema\": 1", "\"schema\": 99")).unwrap();
    fs::remove_file(broken("o3")).unwrap();
    // Those of others are not this device's to tell of.
    fs::create_dir_all(rig.root().join("o1/left")).unwrap();
    fs::write(rig.root().join("o1/left/take.json"), "{}").unwrap();
    fs::write(rig.root().join("mistake.json"), "{}").unwrap();
    let _device = rig.serve();
    let listing = rig.remote().takes().unwrap();
    assert_eq!(listing.takes.iter().map(|take| take.order.as_str()).collect::<Vec<_>>(), ["o4"]);
    let mut unreadable = listing.unreadable;
    unreadable.sort();
    let told: Vec<_> = unreadable.iter().map(|one| (one.path.as_str(), one.why.as_str())).collect();
    let [(o1, torn), (o2, newer), (o3, lost)] = told[..] else { panic!("{told:?}") };
    assert_eq!((o1, o2, o3), ("o1/pi/take.json", "o2/pi/take.json", "o3/pi/frames.jsonl"));
    assert!(torn.contains("it is no take.json") && newer.contains("99") && lost.contains("no take.json"));
}

#[test]
fn what_is_left_of_a_broken_video_comes_home_and_goes_with_the_take() {
    let rig = Rig::new();
    // All of its video was lost in a crash.
    rig.take("o1", &[]);
    fs::write(rig.folder("o1").join("frames.jsonl"), "").unwrap();
    fs::write(rig.folder("o1").join("0000.mp4.broken"), noise(100)).unwrap();
    let _device = rig.serve();
    rig.collect("o1").unwrap();
    assert_eq!(content(&rig.home("o1")), content(&rig.folder("o1")));
    assert_eq!(content(&rig.home("o1"))["0000.mp4.broken"], noise(100));
    delete(&rig.remote(), &name("o1"), rig.out.path()).unwrap();
    assert!(!rig.folder("o1").exists());
}

#[test]
fn a_disk_that_is_gone_is_no_device_without_takes() {
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
fn a_killed_device_is_gone_on_with_where_it_stopped() {
    let rig = Rig::new();
    let large = noise(8 << 20);
    rig.take("o1", std::slice::from_ref(&large));
    let mut child = Child::of(&rig);
    let remote = Remote::new(&rig.desk, name("pi"), IMPATIENCE, |_| ());
    let until = std::time::Instant::now() + PATIENCE;
    while remote.takes().is_err() {
        assert!(std::time::Instant::now() < until, "it does not come");
    }
    let mut came = 0;
    let error = collect(&remote, &name("o1"), rig.out.path(), |event| {
        if let Event::Bytes(bytes) = event {
            came += bytes;
            if came == 3 << 20 {
                child.kill();
            }
        }
    })
    .unwrap_err();
    assert!(matches!(error, CollectError::Remote(RemoteError::NoAnswer { .. })), "{error}");
    assert!(!rig.home("o1").join("00000100.jpg").exists(), "nothing torn");

    let _again = Child::of(&rig);
    let mut planned = None;
    let collected = collect(&rig.remote(), &name("o1"), rig.out.path(), |event| {
        if let Event::Planned { bytes, .. } = event {
            planned = Some(bytes);
        }
    })
    .unwrap();
    let all: u64 = content(&rig.folder("o1")).values().map(|bytes| bytes.len() as u64).sum();
    assert_eq!(planned, Some(all - came), "what came is kept");
    assert_eq!((collected.fetched, collected.bytes), (3, all));
    assert_eq!(content(&rig.home("o1")), content(&rig.folder("o1")));
}

#[test]
fn a_spoilt_beginning_is_noticed_and_fetched_anew() {
    let rig = Rig::new();
    rig.take("o1", &[noise(2 << 20), noise(10)]);
    let _device = rig.serve();
    fs::create_dir_all(rig.home("o1")).unwrap();
    fs::write(rig.home("o1").join(".00000100.jpg.part"), vec![0; 1 << 20]).unwrap();
    fs::write(rig.home("o1").join(".00000101.jpg.part"), vec![0; 11]).unwrap();
    fs::write(rig.home("o1").join(".collected.jsonl"), "{\"path\":\"000").unwrap();
    let mut again = Vec::new();
    collect(&rig.remote(), &name("o1"), rig.out.path(), |event| {
        if let Event::Again(bytes) = event {
            again.push(bytes);
        }
    })
    .unwrap();
    assert_eq!(again, [2 << 20, 11]);
    assert_eq!(content(&rig.home("o1")), content(&rig.folder("o1")));
    assert_eq!(rig.collect("o1").unwrap(), 0);
}

#[test]
fn a_file_that_changes_meanwhile_comes_as_it_is_in_the_end() {
    let rig = Rig::new();
    rig.take("o1", &[noise(3 << 20)]);
    let _device = rig.serve();
    let mut change = Some(rig.folder("o1").join("00000100.jpg"));
    collect(&rig.remote(), &name("o1"), rig.out.path(), |event| {
        if matches!(event, Event::Bytes(_))
            && let Some(path) = change.take()
        {
            fs::write(path, noise(2 << 20)).unwrap();
        }
    })
    .unwrap();
    assert_eq!(content(&rig.home("o1")), content(&rig.folder("o1")));
}

#[test]
fn a_file_that_is_removed_meanwhile_is_a_gap() {
    let rig = Rig::new();
    let pictures = [noise(2 << 20), noise(10), noise(20)];
    rig.take("o1", &pictures);
    let _device = rig.serve();
    let folder = rig.folder("o1");
    let mut is_there = true;
    let collected = collect(&rig.remote(), &name("o1"), rig.out.path(), |event| {
        if matches!(event, Event::Bytes(_)) && std::mem::take(&mut is_there) {
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
    assert_eq!(content(&rig.home("o1")), content(&rig.folder("o1")), "as what is left is described");
    assert_eq!(rig.collect("o1").unwrap(), 0);
}

#[test]
fn a_device_whose_bytes_are_not_what_it_says_is_named() {
    let rig = Rig::new();
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
            let mut said = match ask["ask"].as_str().unwrap() {
                "files" => serde_json::json!({
                    "is": "files", "total": 1, "files": [{"path": "a.jpg", "bytes": 3, "modified_ns": 1}],
                }),
                _ => serde_json::json!({
                    "is": "chunk", "bytes": 3, "modified_ns": 1, "sha256": "00",
                }),
            };
            said["v"] = ask["v"].clone();
            let bytes = format!("{said}\nabc");
            query.reply(&answer_key, bytes).wait().unwrap();
        })
        .wait()
        .unwrap();
    let error = rig.collect("o1").unwrap_err();
    let CollectError::Corrupt { path, here, there, .. } = &error else { panic!("{error}") };
    assert_eq!((path.as_str(), &here[..8], there.as_str()), ("a.jpg", "ba7816bf", "00"));
    assert!(content(&rig.home("o1")).is_empty(), "nothing of it stays");
}

#[test]
fn nothing_but_the_takes_can_be_had() {
    let rig = Rig::new();
    rig.take("o1", &[noise(10)]);
    let secret = rig.disk.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    fs::write(rig.root().join("beside"), "not of a take").unwrap();
    fs::write(rig.folder("o1").join("note.txt"), "not listed").unwrap();
    // A manifest that names what is elsewhere, plainly and by a link.
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
    // Beyond the end there is nothing, and no harm.
    assert!(remote.read(&o1, "00000100.jpg", u64::MAX, u64::MAX).unwrap().1.is_empty());
    assert_eq!(remote.read(&o1, "00000100.jpg", 8, u64::MAX).unwrap().1, noise(10)[8..]);
}

#[test]
fn collecting_waits_for_a_take_that_runs() {
    let rig = Rig::new();
    rig.take("o1", &[noise(10), noise(20)]);
    let running = Arc::new(AtomicBool::new(true));
    let (on_device, heard) = (running.clone(), AtomicU32::new(0));
    let _device =
        rig.serve_unless(move || on_device.load(Ordering::Relaxed).then(|| "a take is running".into()));
    let remote = Remote::new(&rig.desk, name("pi"), PATIENCE, |busy| match busy {
        Some(why) => {
            assert_eq!(why, "a take is running");
            heard.fetch_add(1, Ordering::Relaxed);
            running.store(false, Ordering::Relaxed);
        }
        None => {
            heard.fetch_add(10, Ordering::Relaxed);
        }
    });
    collect(&remote, &name("o1"), rig.out.path(), |_| ()).unwrap();
    assert_eq!(heard.load(Ordering::Relaxed), 11, "paused, and gone on");
    assert_eq!(content(&rig.home("o1")), content(&rig.folder("o1")));
}

#[test]
fn only_what_is_here_and_right_is_deleted() {
    let rig = Rig::new();
    rig.take("o1", &[noise(10), noise(20)]);
    rig.take("o2", &[noise(5)]);
    let _device = rig.serve();
    let (remote, o1) = (rig.remote(), name("o1"));
    let on_device = content(&rig.folder("o1"));
    let refused = |error| assert!(matches!(error, CollectError::NotHere { .. }), "{error}");

    refused(delete(&remote, &o1, rig.out.path()).unwrap_err());
    rig.collect("o1").unwrap();
    let spoilt = rig.home("o1").join("00000101.jpg");
    fs::write(&spoilt, vec![0; 20]).unwrap();
    refused(delete(&remote, &o1, rig.out.path()).unwrap_err());
    fs::write(&spoilt, noise(20)).unwrap();
    // As if it had been written to in the same instant, to the same length.
    let changed = rig.folder("o1").join("00000100.jpg");
    let times = fs::FileTimes::new().set_modified(fs::metadata(&changed).unwrap().modified().unwrap());
    fs::write(&changed, vec![0; 10]).unwrap();
    fs::File::options().write(true).open(&changed).unwrap().set_times(times).unwrap();
    refused(delete(&remote, &o1, rig.out.path()).unwrap_err());
    assert_eq!(content(&rig.folder("o1")).len(), on_device.len(), "nothing is gone");

    fs::write(&changed, noise(10)).unwrap();
    rig.collect("o1").unwrap();
    assert_eq!(delete(&remote, &o1, rig.out.path()).unwrap().files, 4);
    assert!(!rig.root().join("o1").exists(), "nor its empty folders");
    let mut here = content(&rig.home("o1"));
    assert!(here.remove("00000100.kept1.jpg").is_none(), "it was never here as it was for a while");
    assert_eq!(here, on_device);
    assert_eq!(remote.takes().unwrap().takes.len(), 1);
    assert!(rig.folder("o2").join("take.json").exists());
}

#[test]
fn a_take_that_is_not_finished_is_not_deleted() {
    let rig = Rig::new();
    rig.take_that_is("o1", &[noise(10)], false);
    let _device = rig.serve();
    assert!(!rig.remote().takes().unwrap().takes[0].complete);
    rig.collect("o1").unwrap();
    let error = delete(&rig.remote(), &name("o1"), rig.out.path()).unwrap_err();
    assert!(error.to_string().contains("is not finished"), "{error}");
    assert_eq!(content(&rig.folder("o1")).len(), 3);
}

#[test]
fn one_take_is_collected_by_one_process_at_a_time() {
    let rig = Rig::new();
    rig.take("o1", &[noise(10)]);
    let _device = rig.serve();
    let mut second = None;
    collect(&rig.remote(), &name("o1"), rig.out.path(), |event| {
        if matches!(event, Event::Planned { .. }) {
            second = Some(rig.collect("o1"));
        }
    })
    .unwrap();
    assert!(matches!(second, Some(Err(CollectError::Locked { .. }))));
}

/// Needs a mount namespace of its own, as the network namespace's tests have.
#[test]
fn a_full_disk_is_named_and_gone_on_with() {
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
    assert!(!rig.home("o1").join("00000100.jpg").exists());
    mount("remount,size=20m");
    assert_eq!(rig.collect("o1").unwrap(), 3);
    assert_eq!(content(&rig.home("o1")), content(&rig.folder("o1")));
    assert!(Command::new("umount").arg(rig.out.path()).status().unwrap().success());
}
