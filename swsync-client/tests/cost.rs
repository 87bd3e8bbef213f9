//! What sharing takes costs the device: little, however many and long they are.
//!
//! One test, since it measures the process. `SWSYNC_COST=200x1000` makes it orders times pictures, and prints what it
//! measured (docs/takes.md).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use swsync_client::RemoteTakes;
use swsync_core::name::Name;
use swsync_core::share::{CollectedMark, TakeNote};
use swsync_core::time::Timestamp;
use swsync_rig::share::Share;
use swsync_rig::{RigConfig, Session};

/// Number of orders, and of pictures of each.
const SIZE: (u64, u64) = (30, 300);

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

fn size() -> (u64, u64) {
    let parse = |text: String| {
        let (orders, pictures) = text.split_once('x')?;
        Some((orders.parse().ok()?, pictures.parse().ok()?))
    };
    std::env::var("SWSYNC_COST").map_or(SIZE, |text| parse(text).expect("SWSYNC_COST is like 200x1000"))
}

/// A device's part of a take of pictures.
fn make_take(root: &Path, order: &str, pictures: u64) {
    let folder = root.join(order).join("pi");
    fs::create_dir_all(&folder).unwrap();
    let mut manifest = String::new();
    for number in 0..pictures {
        let file = format!("{number:08}.jpg");
        fs::write(folder.join(&file), "a picture").unwrap();
        let line = serde_json::json!({
            "order": order, "device": "pi", "file": file, "offset": 0, "bytes": 9, "number": number,
            "rig_time_ns": number * 1_000_000_000, "phase_error_ns": 0, "clock_uncertainty_ns": 1000,
            "sync": "synced", "lock": "locked", "exposure_ns": 10_000_000, "analogue_gain": 1.5,
            "sensor_time_ns": 5,
        });
        manifest.push_str(&format!("{line}\n"));
    }
    fs::write(folder.join("frames.jsonl"), manifest).unwrap();
    let take = serde_json::json!({
        "schema": 1, "order": order, "ordered": {}, "device": "pi", "host": "pi", "software": "test",
        "camera": null, "caps": "image/jpeg", "grid": [30, 1], "first": 0, "count": pictures,
        "started_ns": 1, "finished_ns": null, "complete": true,
    });
    fs::write(folder.join("take.json"), take.to_string()).unwrap();
}

/// Resources that the thread that shares files has used so far.
#[derive(Debug, Clone, Copy)]
struct Used {
    read: u64,
    cpu: Duration,
    niceness: i64,
}

impl Used {
    /// The folder of the thread in /proc, which has its name once it runs.
    fn task() -> Option<PathBuf> {
        let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
        let is_it = |task: &Path| {
            fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "swsync-share")
        };
        tasks.into_iter().find(|task| is_it(task))
    }

    fn now() -> Self {
        let task = Self::task().expect("the thread that shares files");
        let text = |name| fs::read_to_string(task.join(name)).unwrap();
        let field = |text: &str, at| text.split_whitespace().nth(at).unwrap().parse::<i64>().unwrap();
        let stat = text("stat");
        Self {
            read: field(&text("io"), 1).try_into().unwrap(),
            cpu: Duration::from_nanos(u64::try_from(field(&text("schedstat"), 0)).unwrap()),
            // After the name, which is in brackets; proc(5) counts from 1.
            niceness: field(stat.rsplit(')').next().unwrap(), 19 - 3),
        }
    }
}

/// Runs `work`, and prints what it cost the device: bytes read and processor time. Returns the bytes.
fn cost<T>(what: &str, work: impl FnOnce() -> T) -> (u64, T) {
    let (before, began) = (Used::now(), Instant::now());
    let result = work();
    let (took, after) = (began.elapsed(), Used::now());
    let read = after.read - before.read;
    println!("{what}: {took:?}, of which the device's processor {:?}; {read} B read", after.cpu - before.cpu);
    (read, result)
}

/// What `swsync takes` asks for, with a note on each take, and told that each was collected.
fn list_is_cheap(remote: &RemoteTakes<'_>, orders: u64) {
    let (read, takes) = cost("a list of all takes", || remote.summaries().unwrap().0);
    assert_eq!(takes.len() as u64, orders);
    assert!(
        read < 2_000,
        "take.json was read before, but for those of the two that changed just now: {read} B"
    );
    let at_ns = Timestamp::from_nanos(1);
    for take in &takes {
        let note = TakeNote { text: "a note".into(), at_ns, by: "laptop".into() };
        assert_eq!(remote.set_note(&take.order, &note).unwrap(), note);
        let (by, folder, sha256) = ("laptop".into(), "/takes".into(), "0a".repeat(32));
        let mark = CollectedMark { by, folder, at_ns, files: 3, sha256, note_at_ns: None, keyed: true };
        remote.mark_collected(&take.order, &mark).unwrap();
    }
    let (read, takes) = cost("the same, once all have a note and a mark", || remote.summaries().unwrap().0);
    assert!(takes.iter().all(|take| take.note.is_some() && take.is_collected() == Some(true)), "{takes:?}");
    assert!(read < orders * 1_000, "two small files a take, and no manifest, but {read} B");
    // What was changed just now may change once more without another time stamp.
    std::thread::sleep(Duration::from_millis(2_500));
    remote.summaries().unwrap();
    let (read, takes) = cost("the same, once more", || remote.summaries().unwrap().0);
    assert_eq!((takes.len() as u64, read), (orders, 0), "unchanged files are not read again");
}

#[test]
fn sharing_costs_no_more_than_a_request_needs() {
    let (orders, pictures) = size();
    let disk = tempfile::tempdir().unwrap();
    for order in 0..orders {
        make_take(disk.path(), &format!("o{order:04}"), pictures);
    }
    // Recently changed folders are read again: they may change once more without another time stamp.
    std::thread::sleep(Duration::from_millis(2_500));
    let manifest = fs::metadata(disk.path().join("o0000/pi/frames.jsonl")).unwrap().len();

    let free = swsync_rig::free_loopback().unwrap();
    let (rig, endpoint) = (name(&format!("cost-{}", std::process::id())), vec![format!("tcp/{free}")]);
    let operator = RigConfig::new(rig.clone(), endpoint.clone(), Vec::new());
    let operator = Session::open_unshared(&operator).unwrap();
    let device = Session::open_unshared(&RigConfig::new(rig, Vec::new(), endpoint)).unwrap();
    let _share = Share::open(&device, name("pi"), disk.path().to_owned(), Box::new(|| None)).unwrap();
    while Used::task().is_none() {
        std::thread::yield_now();
    }
    let remote = RemoteTakes::new(&operator, name("pi"), Duration::from_secs(60), |_| ());

    let (read, takes) = cost("all takes, the first time", || remote.takes().unwrap().takes);
    assert_eq!(takes.len() as u64, orders);
    assert!(read < orders * 1_000, "take.json alone");
    assert!(Used::now().niceness > 0, "others come first");

    let (read, takes) = cost("all takes, once more", || remote.takes().unwrap().takes);
    assert_eq!((takes.len() as u64, read), (orders, 0), "unchanged files are not read again");

    make_take(disk.path(), "o0000", pictures);
    make_take(disk.path(), "new", 1);
    let (read, takes) = cost("all takes, one changed and one new", || remote.takes().unwrap().takes);
    assert_eq!(takes.len() as u64, orders + 1);
    assert!(read < 2_000, "the two take.json, not {read} B");

    list_is_cheap(&remote, orders + 1);

    let (read, files) = cost("the files of one take", || remote.files(&name("o0001")).unwrap());
    assert_eq!(files.len() as u64, pictures + 3, "pictures, note, manifest and take.json");
    assert!(read < 2 * manifest + 2_000, "its manifest, not {read} B for one of {manifest} B");

    let (read, ()) = cost("every file of that take, fetched", || {
        for file in &files {
            let (_, bytes) = remote.read(&name("o0001"), &file.path, 0, 1 << 20).unwrap();
            assert_eq!(bytes.len() as u64, file.bytes);
        }
    });
    let content: u64 = files.iter().map(|file| file.bytes).sum();
    assert!(read < content + 2 * manifest + 1_000, "not the manifest for each file, but {read} B");

    let (read, refused) = cost("a file that is none of the take's", || {
        fs::write(disk.path().join("o0001/pi/secret"), "x").unwrap();
        remote.read(&name("o0001"), "secret", 0, 1)
    });
    assert!(refused.is_err() && read < 2 * manifest + 1_000);
}
