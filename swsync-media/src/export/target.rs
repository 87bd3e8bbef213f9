//! The folder that an export is written to. All of its files appear, or none.
//!
//! Files are written into a hidden staging folder inside it, and moved to their places when all are whole. An export that fails or
//! is interrupted leaves the folder as it was.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use swsync_cli::output;
use swsync_cli::table::size;

/// Name of the staging folder of an export to a folder. That of a single file has the file's name in front.
const STAGING: &str = ".swsync-export.part";

/// The folder of an export, or of a dry run.
pub struct Target {
    root: PathBuf,
    /// The only file, if the export is one.
    file: Option<PathBuf>,
    /// `None`: a dry run.
    staging: Option<Staging>,
    copy: bool,
    /// The files so far, relative to the root, and whether each is a link.
    files: BTreeMap<PathBuf, bool>,
    bar: ProgressBar,
    /// Prints no lines.
    is_quiet: bool,
}

/// How to write an export.
#[derive(Debug, Clone, Copy)]
pub struct TargetOptions {
    /// Copy pictures rather than link them.
    pub copy: bool,
    /// Write nothing, and say what would be written.
    pub dry_run: bool,
    /// Write into a folder that has files already.
    pub force: bool,
}

/// The staging folder, removed on drop.
struct Staging {
    folder: PathBuf,
    /// The outermost folder that was made for this export, if any.
    made: Option<PathBuf>,
    /// Held as long as this process writes there.
    _lock: File,
}

impl Staging {
    fn make(root: &Path, name: &str) -> anyhow::Result<Self> {
        let made = (!root.exists()).then(|| first_to_make(root));
        let folder = root.join(name);
        let begin = || -> io::Result<File> {
            fs::create_dir_all(&folder)?;
            let lock = File::open(&folder)?;
            match lock.try_lock() {
                // Removes what a killed export left.
                Ok(()) => empty(&folder)?,
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::other("another export is writing there; wait until it is done"));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            Ok(lock)
        };
        let lock = begin().with_context(|| format!("cannot write to {}", root.display()))?;
        Ok(Self { folder, made, _lock: lock })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // The next export to that folder removes what remains.
        let _ = fs::remove_dir_all(&self.folder);
        // Removes the folders that were made for this export, if they are empty.
        let mut folder = self.folder.parent();
        while let Some(made) =
            folder.filter(|folder| self.made.as_ref().is_some_and(|made| folder.starts_with(made)))
        {
            if fs::remove_dir(made).is_err() {
                break;
            }
            folder = made.parent();
        }
    }
}

/// What an export has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Written {
    /// The folder.
    pub folder: PathBuf,
    /// The files in it.
    pub files: Vec<WrittenFile>,
    /// Bytes that were written, without files that are links. `None`: nothing was written (`--dry-run`).
    pub bytes: Option<u64>,
}

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WrittenFile {
    /// Its path in the folder.
    pub path: PathBuf,
    /// Whether it is a link to the collected file: then a change of the one changes the other.
    pub linked: bool,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (root, files) = (self.folder.display(), self.files.len());
        let Some(bytes) = self.bytes else { return write!(f, "{root}: {files} files would be written") };
        let linked = self.files.iter().filter(|file| file.linked).count();
        write!(f, "{root}: {files} files, {} written, {linked} linked", size(bytes))
    }
}

/// The outermost folder that has to be made so that `path` exists.
fn first_to_make(path: &Path) -> PathBuf {
    let absent = path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    absent.last().unwrap_or(path).to_owned()
}

/// A progress bar on standard error, shown only if that is a terminal.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} frames  {eta}")
        .expect("the template is a constant");
    ProgressBar::new(0).with_style(style)
}

fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

impl Target {
    /// Opens the folder `root`. It must be empty, unless `options` have `force`.
    pub fn open(root: &Path, options: TargetOptions) -> anyhow::Result<Self> {
        let others = |entry: io::Result<fs::DirEntry>| entry.is_ok_and(|entry| entry.file_name() != STAGING);
        let is_there = fs::read_dir(root).is_ok_and(|entries| entries.into_iter().any(others));
        if (is_there || root.is_file()) && !options.force {
            bail!(
                "{} is there already: name another folder, or replace what is in it with --force",
                root.display()
            );
        }
        let staging = if options.dry_run { None } else { Some(Staging::make(root, STAGING)?) };
        Ok(Self::new(root, staging, options.copy, bar()))
    }

    /// Opens an export that is the single file `path`. It must not exist, unless `options` have `force`.
    pub fn open_file(path: &Path, options: TargetOptions) -> anyhow::Result<Self> {
        ensure!(
            !path.exists() || options.force,
            "{} is there already: name another file, or replace it with --force",
            path.display()
        );
        let name = path.file_name().with_context(|| format!("{} is no file", path.display()))?;
        let root = path.parent().filter(|root| !root.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let hidden = format!(".{}{STAGING}", name.to_string_lossy());
        let staging = if options.dry_run { None } else { Some(Staging::make(root, &hidden)?) };
        let this = Self::new(root, staging, options.copy, bar());
        Ok(Self { file: Some(name.into()), ..this })
    }

    fn new(root: &Path, staging: Option<Staging>, copy: bool, bar: ProgressBar) -> Self {
        Self {
            root: root.to_owned(),
            file: None,
            staging,
            copy,
            files: BTreeMap::new(),
            bar,
            is_quiet: false,
        }
    }

    /// An empty folder, for tests.
    #[cfg(test)]
    pub fn to(root: &Path) -> Self {
        Self::new(root, Some(Staging::make(root, STAGING).unwrap()), false, ProgressBar::hidden())
    }

    /// Adds `frames` to the length of the progress bar.
    pub fn plan(&self, frames: usize) {
        self.bar.inc_length(frames as u64);
    }

    /// Advances the progress bar by one frame.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// Whether nothing is to be written.
    pub const fn is_dry_run(&self) -> bool {
        self.staging.is_none()
    }

    /// Whether [`print`](Self::print) does nothing.
    pub const fn set_quiet(&mut self, is_quiet: bool) {
        self.is_quiet = is_quiet;
    }

    /// Prints a line above the progress bar.
    pub fn print(&self, text: &str) {
        if self.is_quiet {
            return;
        }
        self.bar.suspend(|| output::line(text));
    }

    /// The staging path for the file `path`, whose folder is made; `None` in a dry run.
    pub fn begin(&mut self, path: &Path) -> anyhow::Result<Option<PathBuf>> {
        let is_new = self.files.insert(path.to_owned(), false).is_none();
        let place = self.root.join(path);
        ensure!(is_new, "two files would be called {}: export the takes one by one", place.display());
        let Some(staging) = &self.staging else {
            self.print(&format!("would write {}", place.display()));
            return Ok(None);
        };
        ensure!(!place.is_dir(), "cannot write {}: it is a folder", place.display());
        let path = staging.folder.join(path);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.with_context(|| format!("cannot make the folder of {}", place.display()))?;
        Ok(Some(path))
    }

    /// The staging path for the single file that [`open_file`](Self::open_file) named; `None` in a dry run.
    pub fn begin_file(&mut self) -> anyhow::Result<Option<PathBuf>> {
        let file = self.file.clone().context("the export is a folder")?;
        if self.is_dry_run() { Ok(None) } else { self.begin(&file) }
    }

    /// Writes a file.
    pub fn write(&mut self, path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
        if let Some(place) = self.begin(path)? {
            fs::write(&place, bytes)
                .with_context(|| format!("cannot write {}", self.root.join(path).display()))?;
        }
        Ok(())
    }

    /// Adds the file `from` as `path`: a link if possible, else a copy, which shares its blocks if the file system supports that.
    pub fn place(&mut self, from: &Path, path: &Path) -> anyhow::Result<()> {
        let Some(place) = self.begin(path)? else { return Ok(()) };
        if !self.copy && fs::hard_link(from, &place).is_ok() {
            self.files.insert(path.to_owned(), true);
            return Ok(());
        }
        let copied = fs::copy(from, &place);
        copied.with_context(|| {
            format!("cannot copy {} to {}", from.display(), self.root.join(path).display())
        })?;
        Ok(())
    }

    /// Moves all files to their places.
    pub fn finish(self) -> anyhow::Result<Written> {
        self.bar.finish_and_clear();
        let files =
            self.files.iter().map(|(path, is_link)| WrittenFile { path: path.clone(), linked: *is_link });
        let (folder, files) = (self.root.clone(), files.collect());
        let Some(staging) = self.staging else { return Ok(Written { folder, files, bytes: None }) };
        let mut bytes = 0;
        // On some file systems a full disk shows only on flush.
        for (path, _) in self.files.iter().filter(|(_, is_link)| !**is_link) {
            let written = File::open(staging.folder.join(path)).and_then(|file| {
                file.sync_all()?;
                file.metadata()
            });
            let about =
                written.with_context(|| format!("cannot write {}", self.root.join(path).display()))?;
            bytes += about.len();
        }
        for (path, is_link) in &self.files {
            let place = self.root.join(path);
            let moved = place.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
                let from = staging.folder.join(path);
                fs::rename(&from, &place)?;
                // rename does nothing if both names are links to one file.
                if *is_link && from.exists() { fs::remove_file(from) } else { Ok(()) }
            });
            moved.with_context(|| format!("cannot write {}", place.display()))?;
        }
        Ok(Written { folder, files, bytes: Some(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn all_files_appear_or_none() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("new/out");
        let mut target = Target::to(&out);
        target.write(Path::new("a/1"), b"one").unwrap();
        assert_eq!(names(&out), [STAGING]);
        drop(target);
        assert_eq!(names(root.path()), [""; 0], "and the folders that were made for it are gone again");

        let mut target = Target::to(&out);
        target.write(Path::new("a/1"), b"one").unwrap();
        target.write(Path::new("2"), b"two").unwrap();
        let error = target.write(Path::new("2"), b"other").unwrap_err().to_string();
        assert!(error.contains("two files would be called"), "{error}");
        assert!(target.finish().unwrap().to_string().ends_with("2 files, 6 B written, 0 linked"));
        assert_eq!((names(&out), names(&out.join("a"))), (vec!["2".into(), "a".into()], vec!["1".into()]));
    }

    #[test]
    fn existing_files_stay_until_all_is_written() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("1"), b"old").unwrap();
        let mut target = Target::to(root.path());
        target.write(Path::new("1"), b"new").unwrap();
        assert_eq!(fs::read(root.path().join("1")).unwrap(), b"old");
        drop(target);
        assert_eq!(names(root.path()), ["1"]);
        let mut target = Target::to(root.path());
        target.place(&root.path().join("1"), Path::new("1")).unwrap();
        target.finish().unwrap();
        assert_eq!(names(root.path()), ["1"], "linked to itself");
        fs::create_dir(root.path().join("2")).unwrap();
        let error = Target::to(root.path()).write(Path::new("2"), b"").unwrap_err().to_string();
        assert!(error.contains("it is a folder"), "{error}");
    }

    #[test]
    fn leftovers_are_removed_unless_their_export_still_runs() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(STAGING).join("a")).unwrap();
        fs::write(root.path().join(STAGING).join("a/1"), b"half").unwrap();
        let target = Target::to(root.path());
        assert_eq!(names(&root.path().join(STAGING)), [""; 0]);
        let error = format!("{:#}", Staging::make(root.path(), STAGING).err().unwrap());
        assert!(error.contains("another export"), "{error}");
        drop(target);
        assert_eq!(names(root.path()), [""; 0]);
    }
}
