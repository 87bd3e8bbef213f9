//! Where the files of the host are.

use std::io;
use std::path::{Path, PathBuf};

/// Environment variable with the folder that tests put in the place of the host's `/`.
pub const HOST_ROOT_VARIABLE: &str = "SWSYNC_HOST_ROOT";

/// Most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 1024;

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

    /// Whether this is the real host, of which more than files can be asked.
    #[must_use]
    pub fn is_this_host(&self) -> bool {
        self.0 == Path::new("/")
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

    /// The text of a file as [`text`](Self::text), if it can be read and is not empty.
    #[must_use]
    pub fn known_text(&self, path: impl AsRef<Path>) -> Option<String> {
        self.text(path).ok().flatten().filter(|text| !text.is_empty())
    }

    /// The decimal number in a file, if it can be read and is one.
    #[must_use]
    pub fn number<N: std::str::FromStr>(&self, path: impl AsRef<Path>) -> Option<N> {
        self.known_text(path)?.parse().ok()
    }

    /// The names in a folder of the host that `is_wanted`, in order; none if it cannot be read.
    #[must_use]
    pub fn names(&self, folder: impl AsRef<Path>, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(folder)) else { return Vec::new() };
        let names = entries.take(MAX_ENTRIES).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| is_wanted(name)).collect();
        names.sort();
        names
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
        assert!(HostRoot::default().is_this_host() && !root.is_this_host());
    }

    #[test]
    fn what_is_no_number_is_not_known() {
        let host = crate::testing::host(&[("sys/a", "42000\n"), ("sys/b", "none\n"), ("sys/c", "\n")]);
        assert_eq!(host.root.number::<i64>("/sys/a"), Some(42_000));
        assert_eq!(host.root.number::<i64>("/sys/b"), None);
        assert_eq!(host.root.number::<i64>("/sys/d"), None);
        assert_eq!(host.root.known_text("/sys/c"), None);
        assert_eq!(host.root.names("/sys", |name| name != "b"), ["a", "c"]);
        assert!(host.root.names("/proc", |_| true).is_empty());
    }
}
