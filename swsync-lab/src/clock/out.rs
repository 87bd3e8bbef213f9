//! Where rows go: standard output, or a file that appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use swsync_rig::files::WholeFile;

/// An open output.
pub enum Out {
    /// Rows appear when they are flushed; also for what is no regular file, as a pipe.
    Stream(Box<dyn Write>),
    /// Rows appear together at the end.
    Whole(WholeFile),
}

impl Out {
    /// Opens `path`; `-` is standard output.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stream(Box::new(BufWriter::new(io::stdout().lock()))));
        }
        let context = || format!("cannot write {}", path.display());
        // To put a file in a pipe's or a device's place would be a surprise.
        if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let file = File::options().write(true).open(path).with_context(context)?;
            return Ok(Self::Stream(Box::new(BufWriter::new(file))));
        }
        Ok(Self::Whole(WholeFile::create(path).with_context(context)?))
    }

    /// What to remove where the process ends early.
    #[must_use]
    pub fn partial(&self) -> Option<PathBuf> {
        match self {
            Self::Stream(_) => None,
            Self::Whole(file) => Some(file.partial().to_owned()),
        }
    }

    /// Writes one line.
    ///
    /// # Errors
    /// What the system said.
    pub fn line(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::Stream(stream) => writeln!(stream, "{line}"),
            Self::Whole(file) => writeln!(file, "{line}"),
        }
    }

    /// Has whoever reads a stream see what was written.
    ///
    /// # Errors
    /// What the system said.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.flush(),
            Self::Whole(_) => Ok(()),
        }
    }

    /// Has everything be where it belongs.
    ///
    /// # Errors
    /// What the system said.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Stream(mut stream) => stream.flush(),
            Self::Whole(file) => file.commit(),
        }
    }
}
