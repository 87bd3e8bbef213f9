//! The output for rows: standard output, a pipe, or a file that appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use swsync_files::WholeFile;

/// An open output.
pub enum RowOutput {
    /// Rows appear when they are flushed. For standard output, pipes and devices.
    Stream(Box<dyn Write>),
    /// The file appears at the end.
    Whole(WholeFile),
}

impl RowOutput {
    /// Opens `path`; `-` is standard output.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stream(Box::new(BufWriter::new(io::stdout().lock()))));
        }
        let context = || format!("cannot write {}", path.display());
        // A pipe or a device must not be replaced by a file.
        if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let file = File::options().write(true).open(path).with_context(context)?;
            return Ok(Self::Stream(Box::new(BufWriter::new(file))));
        }
        Ok(Self::Whole(WholeFile::create(path).with_context(context)?))
    }

    /// The unfinished file, to be removed if the process ends early.
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
    /// The system's error.
    pub fn line(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::Stream(stream) => writeln!(stream, "{line}"),
            Self::Whole(file) => writeln!(file, "{line}"),
        }
    }

    /// Flushes a stream.
    ///
    /// # Errors
    /// The system's error.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.flush(),
            Self::Whole(_) => Ok(()),
        }
    }

    /// Flushes a stream, or commits the file.
    ///
    /// # Errors
    /// The system's error.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Stream(mut stream) => stream.flush(),
            Self::Whole(file) => file.commit(),
        }
    }
}
