//! Where the files of the host are.

use std::io;
use std::path::{Path, PathBuf};

/// Environment variable with the folder that tests put in the place of the host's `/`.
pub const HOST_ROOT_VARIABLE: &str = "SWSYNC_HOST_ROOT";

/// The folder below which `/sys`, `/proc`, `/etc`, `/run` and `/boot` of a host are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRoot(PathBuf);

impl Default for HostRoot {
    fn default() -> Self {
        Self("/".into())
    }
}

impl HostRoot {
    /// A host whose files are below `folder`: a test's.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// This host; or, as an aid for tests, the one below the folder that `SWSYNC_HOST_ROOT` names.
    #[must_use]
    pub fn from_environment() -> Self {
        match std::env::var_os(HOST_ROOT_VARIABLE) {
            Some(folder) if !folder.is_empty() => Self::at(folder),
            _ => Self::default(),
        }
    }

    /// Where the host's `path` is. A leading `/` does not matter.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The text of a file of the host, without white space around it. `None`: there is no such file.
    ///
    /// # Errors
    /// The file is there, and cannot be read.
    pub fn text(&self, path: impl AsRef<Path>) -> io::Result<Option<String>> {
        match std::fs::read_to_string(self.path(path)) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_below_the_root() {
        let root = HostRoot::at("/tmp/host");
        assert_eq!(root.path("/sys/class"), Path::new("/tmp/host/sys/class"));
        assert_eq!(root.path("proc/stat"), Path::new("/tmp/host/proc/stat"));
        assert_eq!(HostRoot::default().path("/sys"), Path::new("/sys"));
    }
}
