//! Files that appear whole or not at all, and the manifest beside them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use swsync_core::grid::FrameNumber;
use swsync_core::manifest::FrameRecord;
use swsync_core::name::DeviceId;
use swsync_core::name::OrderId;

/// Name of the manifest in an order's folder of a device.
pub const MANIFEST: &str = "manifest.jsonl";

/// What a location without placeholders gets behind it.
const DEFAULT_PATTERN: &str = "{order}/{device}/{frame}.{ext}";

/// Why a location cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// A placeholder that does not exist.
    #[error("location has {{{0}}}, but there is only {{order}}, {{device}}, {{frame}} and {{ext}}")]
    Placeholder(String),
    /// A brace without its counterpart.
    #[error("location has a brace without its counterpart: {0}")]
    Brace(String),
    /// Files of several frames, devices or orders would overwrite one another.
    #[error("location {0} names the same file for every frame: it needs {{frame}}")]
    NotUnique(String),
    /// The folder cannot be made or written to.
    #[error("cannot write to {folder}: {error}")]
    Unwritable {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Where files go: a path with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Order,
    Device,
    Frame,
    Extension,
}

impl Location {
    /// Parses a pattern; one without placeholders is a folder, and files in it are named
    /// `{order}/{device}/{frame}.{ext}`.
    ///
    /// # Errors
    /// [`LocationError`] says what is wrong with the pattern.
    pub fn parse(pattern: &str) -> Result<Self, LocationError> {
        let pattern = if pattern.contains(['{', '}']) {
            pattern.to_owned()
        } else {
            let folder = if pattern.is_empty() { "." } else { pattern.trim_end_matches('/') };
            format!("{folder}/{DEFAULT_PATTERN}")
        };
        let mut parts = Vec::new();
        let mut rest = pattern.as_str();
        while let Some((text, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| LocationError::Brace(pattern.clone()))?;
            parts.push(Part::Text(text.to_owned()));
            parts.push(match name {
                "order" => Part::Order,
                "device" => Part::Device,
                "frame" => Part::Frame,
                "ext" => Part::Extension,
                other => return Err(LocationError::Placeholder(other.to_owned())),
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        if parts.iter().any(|part| matches!(part, Part::Text(text) if text.contains('}'))) {
            return Err(LocationError::Brace(pattern));
        }
        if !parts.contains(&Part::Frame) {
            return Err(LocationError::NotUnique(pattern));
        }
        Ok(Self { parts })
    }

    /// The file of a frame.
    #[must_use]
    pub fn path(&self, order: &OrderId, device: &DeviceId, frame: FrameNumber, extension: &str) -> PathBuf {
        let mut path = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Order => path.push_str(order.as_str()),
                Part::Device => path.push_str(device.as_str()),
                // At least eight digits, as multifilesink's %08u.
                Part::Frame => path.push_str(&format!("{frame:08}")),
                Part::Extension => path.push_str(extension),
            }
        }
        PathBuf::from(path)
    }

    /// The folder that all files are below: the pattern up to the first placeholder.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        let Some(Part::Text(text)) = self.parts.first() else { return PathBuf::from(".") };
        match text.rsplit_once('/') {
            Some(("", _)) => PathBuf::from("/"),
            Some((folder, _)) => PathBuf::from(folder),
            None => PathBuf::from("."),
        }
    }

    /// Makes the root folder, and proves that files can be written there.
    ///
    /// # Errors
    /// [`LocationError::Unwritable`].
    pub fn check(&self) -> Result<(), LocationError> {
        let folder = self.root();
        let probe = folder.join(format!(".swsync-probe-{}", std::process::id()));
        fs::create_dir_all(&folder)
            .and_then(|()| File::create(&probe))
            .and_then(|_| fs::remove_file(&probe))
            .map_err(|error| LocationError::Unwritable { folder, error })
    }
}

/// Writes `bytes` to `path` such that the file is there whole, on disk, or not at all.
///
/// # Errors
/// What the system said; then nothing is left behind under either name.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = WholeFile::create(path)?;
    file.write_all(bytes)?;
    file.commit()
}

/// A file that is there whole, on disk, or not at all.
///
/// Written under a temporary name, flushed to the disk, renamed, and the folder flushed too. Dropped
/// before it is committed, nothing of it stays.
#[derive(Debug)]
pub struct WholeFile {
    file: BufWriter<File>,
    folder: PathBuf,
    path: PathBuf,
    partial: PathBuf,
    committed: bool,
}

impl WholeFile {
    /// Begins a file that shall be at `path`; the folder is made where it is missing.
    ///
    /// # Errors
    /// What the system said.
    pub fn create(path: &Path) -> io::Result<Self> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder)?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_string_lossy();
        let partial = folder.join(format!(".{name}.part"));
        let file = BufWriter::new(File::create(&partial)?);
        Ok(Self { file, folder: folder.to_owned(), path: path.to_owned(), partial, committed: false })
    }

    /// The temporary name: what to remove where the process ends without dropping this.
    #[must_use]
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Has the file appear.
    ///
    /// # Errors
    /// What the system said; then nothing is left behind.
    pub fn commit(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.partial, &self.path)?;
        self.committed = true;
        File::open(&self.folder)?.sync_all()
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if !self.committed {
            // It may be gone already, and nobody is there to be told.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Appends `record` to the manifest in `folder`.
///
/// A line cut short by a power cut is dropped first, so that every line of the file is whole.
///
/// # Errors
/// What the system said.
pub fn append_to_manifest(folder: &Path, record: &FrameRecord) -> io::Result<()> {
    let path = folder.join(MANIFEST);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let whole = whole_lines(&mut file)?;
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    file.write_all(record.to_line().as_bytes())?;
    file.sync_all()
}

/// Length of `file` up to the end of its last whole line.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    use io::Read;
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut byte = [0];
    while end > 0 {
        file.seek(SeekFrom::Start(end - 1))?;
        file.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            break;
        }
        end -= 1;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_core::frame::SyncQuality;
    use swsync_core::frame::{FrameDetails, FrameInfo, LockState};
    use swsync_core::name::Name;
    use swsync_core::time::{Span, Timestamp};

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_folder_gets_the_default_pattern() {
        let location = Location::parse("/data/shots/").unwrap();
        let path = location.path(&name("o"), &name("pi"), 54_000_000_001, "jpg");
        assert_eq!(path, Path::new("/data/shots/o/pi/54000000001.jpg"));
        assert_eq!(location.root(), Path::new("/data/shots"));
        let here = Location::parse("").unwrap();
        assert_eq!(here.path(&name("o"), &name("pi"), 7, "raw"), Path::new("./o/pi/00000007.raw"));
    }

    #[test]
    fn patterns_are_checked() {
        let location = Location::parse("x/{device}-{frame}.{ext}").unwrap();
        assert_eq!(location.path(&name("o"), &name("pi"), 1, "png"), Path::new("x/pi-00000001.png"));
        assert_eq!(location.root(), Path::new("x"));
        assert!(matches!(Location::parse("{take}/{frame}"), Err(LocationError::Placeholder(_))));
        assert!(matches!(Location::parse("{frame"), Err(LocationError::Brace(_))));
        assert!(matches!(Location::parse("{device}}"), Err(LocationError::Brace(_))));
        assert!(matches!(Location::parse("{device}.jpg"), Err(LocationError::NotUnique(_))));
    }

    #[test]
    fn an_unwritable_root_is_named() {
        let folder = folder();
        let file = folder.path().join("a file");
        fs::write(&file, "").unwrap();
        let location = Location::parse(&format!("{}/sub", file.display())).unwrap();
        let error = location.check().unwrap_err().to_string();
        assert!(error.contains("a file/sub"), "{error}");
        assert!(Location::parse(folder.path().to_str().unwrap()).unwrap().check().is_ok());
    }

    #[test]
    fn files_are_whole_and_nothing_else_is_left() {
        let folder = folder();
        let path = folder.path().join("deep/er/1.jpg");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = folder();
        let path = folder.path().join("taken");
        fs::create_dir_all(path.join("by a folder")).unwrap();
        assert!(write_whole(&path, b"x").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_torn_line_is_dropped() {
        let folder = folder();
        let record = FrameRecord {
            order: name("o"),
            device: name("pi"),
            file: "1.jpg".into(),
            offset: 0,
            bytes: 3,
            info: FrameInfo {
                number: 1,
                rig_time_ns: Timestamp::ZERO,
                phase_error_ns: Span::ZERO,
                clock_uncertainty_ns: None,
                sync: SyncQuality::Synced,
                lock: LockState::Free,
                exposure_ns: None,
                analogue_gain: None,
                sensor_time_ns: None,
                details: FrameDetails::default(),
            },
        };
        append_to_manifest(folder.path(), &record).unwrap();
        let path = folder.path().join(MANIFEST);
        let mut torn = fs::read(&path).unwrap();
        torn.extend(b"{\"order\":\"o");
        fs::write(&path, torn).unwrap();
        append_to_manifest(folder.path(), &record).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<FrameRecord> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines, [record.clone(), record]);
    }
}
