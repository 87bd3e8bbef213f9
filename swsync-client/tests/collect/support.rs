//! A rig with one device that shares its takes, and an operator who collects them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use swsync_client::RemoteTakes;
use swsync_client::collect::{CollectError, collect};
use swsync_core::key::RigKey;
use swsync_core::manifest::Take;
use swsync_core::name::Name;
use swsync_rig::share::Share;
use swsync_rig::{RigConfig, Session, key_file};
use tempfile::TempDir;

/// Generous: only a failing test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// For a device that is known to be gone.
pub const IMPATIENCE: Duration = Duration::from_millis(200);

pub fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

pub static RIGS: AtomicU32 = AtomicU32::new(0);

/// A rig with one device `pi`, its disk, and an operator who collects.
pub struct Rig {
    pub config: RigConfig,
    pub disk: TempDir,
    pub out: TempDir,
    /// The folder with the rig's key, in `rig.key`.
    pub keys: TempDir,
    pub operator: Arc<Session>,
}

impl Rig {
    pub fn new() -> Self {
        let keys = tempfile::tempdir().unwrap();
        // Only a rig with a key lets files be deleted.
        let key = key_file::create(keys.path().join("rig.key")).unwrap();
        Self::with_key(keys, Some(key))
    }

    /// A rig without a key, which programs that only speak Zenoh can join.
    pub fn open() -> Self {
        Self::with_key(tempfile::tempdir().unwrap(), None)
    }

    fn with_key(keys: TempDir, key: Option<RigKey>) -> Self {
        let free = swsync_rig::free_loopback().unwrap();
        let rig = name(&format!("share-{}-{}", std::process::id(), RIGS.fetch_add(1, Ordering::Relaxed)));
        let endpoint = vec![format!("tcp/{free}")];
        let operator = RigConfig::new(rig.clone(), endpoint.clone(), Vec::new()).with_key(key.clone());
        Self {
            config: RigConfig::new(rig, Vec::new(), endpoint).with_key(key),
            disk: tempfile::tempdir().unwrap(),
            out: tempfile::tempdir().unwrap(),
            keys,
            operator: Session::open_unshared(&operator).unwrap(),
        }
    }

    pub fn root(&self) -> PathBuf {
        self.disk.path().join("shots")
    }

    /// The device's folder of a take.
    pub fn folder(&self, order: &str) -> PathBuf {
        self.root().join(order).join("pi")
    }

    /// The folder that it is collected into.
    pub fn collected(&self, order: &str) -> PathBuf {
        self.out.path().join(order).join("pi")
    }

    pub fn serve(&self) -> Device {
        self.serve_unless(|| None)
    }

    pub fn serve_unless(&self, busy: impl Fn() -> Option<String> + Send + 'static) -> Device {
        let session = Session::open_unshared(&self.config).unwrap();
        let share = Share::open(&session, name("pi"), self.root(), Box::new(busy)).unwrap();
        Device { _share: share, _session: session }
    }

    pub fn remote(&self) -> RemoteTakes<'_> {
        RemoteTakes::new(&self.operator, name("pi"), PATIENCE, |_| ())
    }

    pub fn collect(&self, order: &str) -> Result<usize, CollectError> {
        Ok(collect(&self.remote(), &name(order), self.out.path(), |_| ())?.fetched)
    }

    /// A take of pictures with this content on the device's disk.
    pub fn take(&self, order: &str, pictures: &[Vec<u8>]) {
        self.take_that_is(order, pictures, true);
    }

    pub fn take_that_is(&self, order: &str, pictures: &[Vec<u8>], complete: bool) {
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

pub struct Device {
    _share: Share,
    _session: Arc<Session>,
}

pub fn take_json(order: &str, count: usize, complete: bool) -> Take {
    let json = serde_json::json!({
        "schema": 1, "order": order, "ordered": {}, "device": "pi", "host": "pi", "software": "test",
        "camera": null, "caps": "image/jpeg", "grid": [30, 1], "first": 100, "count": count,
        "started_ns": 1, "finished_ns": null, "complete": complete,
    });
    Take::from_json(json.to_string().as_bytes()).unwrap()
}

/// Bytes that differ from place to place.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// The files in a folder, without the notes of the collector.
pub fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    named
        .filter(|(name, _)| ![".collected.jsonl", ".incomplete.json"].contains(&&**name))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

/// A device in a process of its own, which can be killed.
pub struct Child(std::process::Child);

impl Child {
    pub fn of(rig: &Rig) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["child_main", "--exact", "--nocapture"])
            .env("SWSYNC_TEST_ROOT", rig.root())
            .env("SWSYNC_TEST_RIG", rig.config.rig.as_str())
            .env("SWSYNC_TEST_CONNECT", &rig.config.connect[0])
            .env("SWSYNC_KEY_FILE", rig.keys.path().join("rig.key"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("serving")));
        Self(process)
    }

    pub fn kill(&mut self) {
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
