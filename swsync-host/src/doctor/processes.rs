//! The processes of the host, by `/proc`.

use std::fs;
use std::path::PathBuf;

use crate::HostRoot;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub id: u32,
    /// Its name, cut to 15 characters by the kernel (proc_pid_comm(5)).
    pub name: String,
    /// Its arguments, without the first one.
    pub arguments: Vec<String>,
    /// What its file descriptors lead to; `None`: this user may not see that.
    pub files: Option<Vec<PathBuf>>,
}

/// The processes of the host.
#[derive(Debug, Clone, Default)]
pub(super) struct Processes {
    pub all: Vec<Process>,
    /// Why there are none.
    pub failure: Option<String>,
}

impl Processes {
    pub fn read(root: &HostRoot) -> Self {
        let folder = root.path("/proc");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                return Self { all: Vec::new(), failure: Some(format!("/proc cannot be read: {error}")) };
            }
        };
        let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let mut all: Vec<_> = ids.filter_map(|id| Process::read(root, id)).collect();
        all.sort_by_key(|process| process.id);
        Self { all, failure: None }
    }

    /// How many processes do not show their open files.
    pub fn closed(&self) -> usize {
        self.all.iter().filter(|process| process.files.is_none()).count()
    }
}

impl Process {
    /// `None`: it has ended.
    fn read(root: &HostRoot, id: u32) -> Option<Self> {
        let name = root.text(format!("/proc/{id}/comm")).ok()??;
        let line = fs::read(root.path(format!("/proc/{id}/cmdline"))).unwrap_or_default();
        let arguments = line.split(|byte| *byte == 0).skip(1).filter(|argument| !argument.is_empty());
        let arguments = arguments.map(|argument| String::from_utf8_lossy(argument).into_owned()).collect();
        let files = fs::read_dir(root.path(format!("/proc/{id}/fd"))).ok().map(|entries| {
            entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect::<Vec<_>>()
        });
        Some(Self { id, name, arguments, files })
    }

    /// For a person.
    pub fn shown(&self) -> String {
        format!("{} (process {})", self.name, self.id)
    }

    /// Whether one of its arguments is `flag`.
    pub fn has_argument(&self, flag: &str) -> bool {
        self.arguments.iter().any(|argument| argument == flag)
    }

    /// The argument after `flag`.
    pub fn value_of(&self, flag: &str) -> Option<&str> {
        let at = self.arguments.iter().position(|argument| argument == flag)?;
        self.arguments.get(at + 1).map(String::as_str)
    }
}
