//! A slow disk: other programs write to it and flush it, as fast as it takes them.
//!
//! The physics: a flush waits for what the disk was given before. Four writers of 64 MB each turn a flush of 5 ms (median; 14 ms at most) into
//! one of 77 ms (183 ms), as measured on a virtual disk; SD cards that tidy up are as slow. How slow it is depends on the disk of the machine
//! that the lab runs on.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};

const WRITERS: usize = 4;
const MEGABYTES: &str = "64";

/// Programs that write to a folder. They end when this is dropped, and their files are removed.
pub struct BusyDisk {
    writers: Vec<(Child, PathBuf)>,
}

impl BusyDisk {
    /// Starts them.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let mut busy = Self { writers: Vec::new() };
        let script =
            "while :; do dd if=/dev/zero of=\"$1\" bs=1M count=\"$2\" conv=fsync status=none || exit; done";
        for index in 0..WRITERS {
            let file = folder.join(format!(".busy{index}"));
            // A group of its own, so that dd ends with the shell.
            let writer = Command::new("setpriv")
                .args(["--pdeathsig", "KILL", "--", "sh", "-c", script, "sh"])
                .arg(&file)
                .arg(MEGABYTES)
                .stdin(Stdio::null())
                .process_group(0)
                .spawn()
                .context("cannot run setpriv (util-linux)")?;
            busy.writers.push((writer, file));
        }
        Ok(busy)
    }
}

impl Drop for BusyDisk {
    fn drop(&mut self) {
        for (writer, file) in &mut self.writers {
            let _ = kill_process_group(Pid::from_child(writer), Signal::KILL); // fails if it has ended already
            let _ = writer.wait();
            let _ = std::fs::remove_file(file); // there is none yet
        }
    }
}
