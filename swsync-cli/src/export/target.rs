//! Where an export is written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use swsync_rig::files::write_whole;

use super::ExportArgs;
use crate::output;
use crate::table::size;

/// A folder that files are written to, or only said to be.
pub struct Target {
    root: PathBuf,
    dry_run: bool,
    copy: bool,
    files: u64,
    linked: u64,
    bytes: u64,
    bar: ProgressBar,
}

impl Target {
    /// The folder `root`, which holds nothing yet, unless `args` say that this does not matter.
    pub fn open(root: &Path, args: &ExportArgs) -> anyhow::Result<Self> {
        let is_there = fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some());
        if (is_there || root.is_file()) && !args.force {
            bail!(
                "{} is there already: name another folder, or replace what is in it with --force",
                root.display()
            );
        }
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} frames  {eta}")
            .expect("the template is a constant");
        // On standard error, and only if that is a terminal.
        let bar = ProgressBar::new(0).with_style(style);
        let (root, dry_run, copy) = (root.to_owned(), args.dry_run, args.copy);
        Ok(Self { root, dry_run, copy, files: 0, linked: 0, bytes: 0, bar })
    }

    /// An empty folder, for tests.
    #[cfg(test)]
    pub fn to(root: &Path) -> Self {
        let root = root.to_owned();
        Self { root, dry_run: false, copy: false, files: 0, linked: 0, bytes: 0, bar: ProgressBar::hidden() }
    }

    /// Does `work` without counting what it writes: files that do not stay.
    pub fn uncounted<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        let counts = (self.files, self.linked, self.bytes);
        let result = work(self);
        (self.files, self.linked, self.bytes) = counts;
        result
    }

    /// So many frames more are to be done.
    pub fn plan(&self, frames: usize) {
        self.bar.inc_length(frames as u64);
    }

    /// A frame is done.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// Whether nothing is to be written.
    pub const fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Where `path` is to be written to, its folder made; `None` if it is only to be said.
    pub fn begin(&mut self, path: &Path) -> anyhow::Result<Option<PathBuf>> {
        self.files += 1;
        if self.dry_run {
            self.bar.suspend(|| output::line(&format!("would write {}", self.root.join(path).display())));
            return Ok(None);
        }
        let path = self.root.join(path);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.with_context(|| format!("cannot make the folder of {}", path.display()))?;
        // Never written into: it may be a link to a collected file.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot replace {}", path.display()))
            }
            _ => Ok(Some(path)),
        }
    }

    /// `path`, which was begun, is written.
    pub fn finish(&mut self, path: &Path) {
        self.bytes += fs::metadata(path).map_or(0, |about| about.len());
    }

    /// Writes a file.
    pub fn write(&mut self, path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
        if let Some(path) = self.begin(path)? {
            write_whole(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
            self.finish(&path);
        }
        Ok(())
    }

    /// Puts the file `from` here: as a link if that is possible, else as a copy, which shares its blocks where
    /// the file system can.
    pub fn place(&mut self, from: &Path, path: &Path) -> anyhow::Result<()> {
        let Some(path) = self.begin(path)? else { return Ok(()) };
        if !self.copy && fs::hard_link(from, &path).is_ok() {
            self.linked += 1;
            return Ok(());
        }
        let copied = fs::copy(from, &path);
        copied.with_context(|| format!("cannot copy {} to {}", from.display(), path.display()))?;
        self.finish(&path);
        Ok(())
    }

    /// A folder for what is needed on the way; `None` if nothing is to be written.
    pub fn scratch(&self) -> anyhow::Result<Option<tempfile::TempDir>> {
        if self.dry_run {
            return Ok(None);
        }
        fs::create_dir_all(&self.root).with_context(|| format!("cannot make {}", self.root.display()))?;
        let folder = tempfile::Builder::new().prefix(".swsync-").tempdir_in(&self.root);
        Ok(Some(folder.with_context(|| format!("cannot write to {}", self.root.display()))?))
    }

    /// What was written, in words.
    pub fn summary(&self) -> String {
        self.bar.finish_and_clear();
        let (root, files) = (self.root.display(), self.files);
        if self.dry_run {
            return format!("{root}: {files} files would be written");
        }
        format!("{root}: {files} files, {} written, {} linked", size(self.bytes), self.linked)
    }
}
