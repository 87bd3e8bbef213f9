//! Reads takes that were collected to this host's disk: `<folder>/<order>/<device>/`.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use swsync_core::manifest::{
    DeviceFrames, FRAMES_JSONL, FrameRecord, NOTE_JSON, NumberSet, TAKE_JSON, Take, TakeError,
};
use swsync_core::name::{DeviceId, Name, OrderId};
use swsync_core::share::TakeNote;
use swsync_files::read_small_json;

const CHECK_PATH: &str = "name a folder that `swsync collect` wrote, and that you may read";
const COLLECT_AGAIN: &str = "collect this take again, into another folder";

/// Why a device's part of a take cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}; {CHECK_PATH}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// take.json is invalid.
    #[error("{}: {error}; {COLLECT_AGAIN}", path.display())]
    Take {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: TakeError,
    },
    /// A line of the manifest is invalid.
    #[error("{}, line {line}: {error}; {COLLECT_AGAIN}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

/// One device's part of a take.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceTake {
    /// Its folder.
    pub folder: PathBuf,
    /// Its take.json.
    pub take: Take,
    /// Its manifest, by frame number.
    pub records: Vec<FrameRecord>,
}

impl ReadError {
    /// What to do about it, as its text says too.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Io { .. } => CHECK_PATH,
            Self::Take { .. } | Self::Record { .. } => COLLECT_AGAIN,
        }
    }
}

impl DeviceTake {
    /// Reads the part that is in `folder`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(folder: &Path) -> Result<Self, ReadError> {
        let take = read_take(folder)?;
        let mut records = Vec::new();
        each_record(folder, &take, |record| records.push(record))?;
        records.sort_by_key(|record| record.info.number);
        records.dedup_by_key(|record| record.info.number);
        Ok(Self { folder: folder.to_owned(), take, records })
    }

    /// Leaves out the frames whose files are not there, and returns how many those are. A picture's line in the manifest comes before
    /// its name, so where a device lost power a line may name a picture that is still `.NAME.part`.
    pub fn leave_out_absent_files(&mut self) -> usize {
        let Self { folder, records, .. } = self;
        let mut files = FileCheck::new(folder);
        let before = records.len();
        records.retain(|record| files.has(record));
        before - records.len()
    }

    /// The media type of its caps, such as `video/x-h264`.
    #[must_use]
    pub fn media(&self) -> &str {
        self.take.caps.split(',').next().unwrap_or_default().trim()
    }

    /// The frames whose files are there, for comparison with other devices.
    #[must_use]
    pub fn frames(&self) -> DeviceFrames {
        let mut files = FileCheck::new(&self.folder);
        let numbers = self.records.iter().filter(|record| files.has(record)).map(|record| record.info.number);
        let saved = self.take.order_index().set_of(numbers);
        DeviceFrames { device: self.take.device.clone(), take: Some(self.take.clone()), saved }
    }
}

/// As [`DeviceTake::frames`] of the part in `folder`, without keeping its records in memory.
///
/// # Errors
/// [`ReadError`].
pub fn read_frames(folder: &Path) -> Result<DeviceFrames, ReadError> {
    let take = read_take(folder)?;
    let (places, mut files, mut saved) = (take.order_index(), FileCheck::new(folder), NumberSet::default());
    each_record(folder, &take, |record| {
        if files.has(&record) {
            saved.add(places.index_of(record.info.number));
        }
    })?;
    Ok(DeviceFrames { device: take.device.clone(), take: Some(take), saved })
}

/// Reads the take.json of the part in `folder`.
///
/// # Errors
/// [`ReadError`].
pub fn read_take(folder: &Path) -> Result<Take, ReadError> {
    let path = folder.join(TAKE_JSON);
    let text = fs::read(&path).map_err(|error| ReadError::Io { path: path.clone(), error })?;
    Take::from_json(&text).map_err(|error| ReadError::Take { path, error })
}

/// Calls `visit` with the record of each frame of `take` in `folder` whose file is there, once.
///
/// # Errors
/// [`ReadError`].
pub fn each_frame(folder: &Path, take: &Take, mut visit: impl FnMut(FrameRecord)) -> Result<(), ReadError> {
    let (places, mut files, mut seen) = (take.order_index(), FileCheck::new(folder), NumberSet::default());
    each_record(folder, take, |record| {
        let place = places.index_of(record.info.number);
        if !seen.contains(place) && files.has(&record) {
            seen.add(place);
            visit(record);
        }
    })
}

/// Calls `visit` with each record of `take` in `folder`.
fn each_record(folder: &Path, take: &Take, mut visit: impl FnMut(FrameRecord)) -> Result<(), ReadError> {
    let path = folder.join(FRAMES_JSONL);
    let io = |error| ReadError::Io { path: path.clone(), error };
    let mut lines = BufReader::new(File::open(&path).map_err(io)?).lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let record = FrameRecord::from_line(&line.map_err(io)?);
        if record.is_err() && !take.complete && lines.peek().is_none() {
            break; // the device was switched off while it wrote this line
        }
        let record =
            record.map_err(|error| ReadError::Record { path: path.clone(), line: index + 1, error })?;
        // A device that was switched off may have left lines of files that it had removed.
        if !take.is_removed(record.info.number) {
            visit(record);
        }
    }
    Ok(())
}

/// Tells whether a record's file is there. Looks only once for all frames of a video.
struct FileCheck<'a> {
    folder: &'a Path,
    last: Option<(String, bool)>,
}

impl<'a> FileCheck<'a> {
    const fn new(folder: &'a Path) -> Self {
        Self { folder, last: None }
    }

    fn has(&mut self, record: &FrameRecord) -> bool {
        match &self.last {
            Some((file, exists)) if *file == record.file => *exists,
            _ => {
                let exists = self.folder.join(&record.file).exists();
                self.last = Some((record.file.clone(), exists));
                exists
            }
        }
    }
}

/// The devices that have a part of `order` below `folder`, sorted by name.
#[must_use]
pub fn devices(folder: &Path, order: &OrderId) -> Vec<DeviceId> {
    let folder = folder.join(order.as_str());
    let mut devices = names(&folder);
    devices.retain(|device| folder.join(device.as_str()).join(TAKE_JSON).is_file());
    devices
}

/// The orders that any device has a part of below `folder`, sorted by name.
#[must_use]
pub fn orders(folder: &Path) -> Vec<OrderId> {
    let mut orders = names(folder);
    orders.retain(|order| !devices(folder, order).is_empty());
    orders
}

/// The folders below `folder` whose names are those of orders, sorted.
#[must_use]
pub fn folders(folder: &Path) -> Vec<OrderId> {
    let mut orders = names(folder);
    orders.retain(|order| folder.join(order.as_str()).is_dir());
    orders
}

/// The latest note on the take in `folder`, of those beside the parts of `devices`. `None`: there is none, or it was removed. For
/// each one that cannot be read `unreadable` is called with the device and why.
pub fn latest_note<'a>(
    folder: &Path,
    devices: impl IntoIterator<Item = &'a DeviceId>,
    mut unreadable: impl FnMut(&DeviceId, String),
) -> Option<TakeNote> {
    let mut latest: Option<TakeNote> = None;
    for device in devices {
        let note = match read_small_json(&folder.join(device.as_str()).join(NOTE_JSON)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => Err(error.to_string()),
            Ok(text) => serde_json::from_slice::<TakeNote>(&text).map_err(|error| error.to_string()),
        };
        match note.and_then(|note| note.check().map(|()| note).map_err(|error| error.to_string())) {
            Ok(note) if latest.as_ref().is_none_or(|latest| latest.at_ns < note.at_ns) => latest = Some(note),
            Ok(_) => {}
            Err(why) => unreadable(device, why),
        }
    }
    // A note that was removed has an empty text in its place.
    latest.filter(|note| !note.text.is_empty())
}

/// The entries of `folder` whose names a device or an order can have, sorted.
fn names(folder: &Path) -> Vec<Name> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.filter_map(|entry| Name::new(entry.file_name().into_string().ok()?).ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{device_take, name};
    use swsync_core::time::Timestamp;

    #[test]
    fn the_latest_note_counts_unless_it_was_removed() {
        let root = tempfile::tempdir().unwrap();
        let (devices, take) = (["a", "b", "c"].map(name), root.path().join("o1"));
        let write = |device: &str, text: &str| {
            fs::create_dir_all(take.join(device)).unwrap();
            fs::write(take.join(device).join(NOTE_JSON), text).unwrap();
        };
        let note =
            |text: &str, at| TakeNote::new(text, Timestamp::from_nanos(at), "laptop").unwrap().to_json();
        let read = || {
            let mut unreadable = Vec::new();
            let latest =
                latest_note(&take, &devices, |device, why| unreadable.push((device.to_string(), why)));
            (latest.map(|note| note.text), unreadable)
        };
        assert_eq!(read(), (None, Vec::new()), "there is none");
        write("a", &note("second try", 20));
        write("b", &note("first try", 10));
        assert_eq!(read(), (Some("second try".into()), Vec::new()));
        write("c", &note("", 30));
        assert_eq!(read(), (None, Vec::new()), "it was removed");
        for bad in ["{".to_owned(), "x".repeat(1 << 20)] {
            write("c", &bad);
            let (latest, unreadable) = read();
            assert_eq!((latest.as_deref(), unreadable.len()), (Some("second try"), 1), "{unreadable:?}");
            assert_eq!(unreadable[0].0, "c");
        }
    }

    #[test]
    fn a_part_reads_back_by_frame_number() {
        let root = tempfile::tempdir().unwrap();
        let take = device_take(root.path(), "o1", "b", &[102, 100, 102]);
        device_take(root.path(), "o1", "a", &[100]);
        fs::create_dir(root.path().join("not-a-take")).unwrap();
        assert_eq!(orders(root.path()), [name("o1")]);
        assert_eq!(devices(root.path(), &name("o1")), [name("a"), name("b")]);
        let read = DeviceTake::read(&take).unwrap();
        let numbers: Vec<_> = read.records.iter().map(|record| record.info.number).collect();
        assert_eq!(numbers, [100, 102]);
        assert_eq!(read.frames().saved.count(), 2);
        assert_eq!(read_frames(&take).unwrap(), read.frames(), "the same, without keeping the records");
        fs::remove_file(take.join("00000102.jpg")).unwrap();
        assert_eq!(read.frames().saved.count(), 1, "a frame without its file does not count");
        // As a device leaves it that is killed while it records a loop.
        let path = take.join(TAKE_JSON);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen('{', r#"{"removed":{"before":102,"why":"removed: max-files=1"},"#, 1))
            .unwrap();
        let numbers: Vec<_> =
            DeviceTake::read(&take).unwrap().records.iter().map(|r| r.info.number).collect();
        assert_eq!(numbers, [102]);
    }

    #[test]
    fn an_error_names_file_and_line() {
        let root = tempfile::tempdir().unwrap();
        let take = device_take(root.path(), "o1", "a", &[100]);
        let manifest = take.join(FRAMES_JSONL);
        fs::write(&manifest, format!("{}{{", fs::read_to_string(&manifest).unwrap())).unwrap();
        let error = DeviceTake::read(&take).unwrap_err().to_string();
        assert!(error.contains("frames.jsonl, line 2: "), "{error}");
        fs::write(take.join(TAKE_JSON), "{}").unwrap();
        let error = DeviceTake::read(&take).unwrap_err().to_string();
        assert!(error.contains("take.json: it is no take.json"), "{error}");
    }
}
