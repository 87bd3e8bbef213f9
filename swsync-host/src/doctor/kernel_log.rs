//! The kernel's log, `/dev/kmsg` (dev-kmsg in linux: Documentation/ABI/testing).

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::fs::OFlags;

use crate::HostRoot;

/// What lets this user read the log.
pub(super) const REMEDY: &str = "sudo swsync doctor, or sudo sysctl kernel.dmesg_restrict=0";

/// Longest record of the kernel, and most bytes of a log that are read: four times the kernel's usual buffer.
const RECORD: usize = 8 << 10;
const MOST: usize = 4 << 20;

/// The kernel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelLog {
    /// Its lines, each with seconds since the start; or why they are not known.
    pub lines: Result<Vec<String>, String>,
}

impl KernelLog {
    /// Reads it.
    #[must_use]
    pub fn read(root: &HostRoot) -> Self {
        let path = root.path("/dev/kmsg");
        let lines = records(&path).map(|text| text.lines().filter_map(line).collect());
        Self { lines: lines.map_err(|error| format!("/dev/kmsg cannot be read: {error}")) }
    }
}

/// All records that there are. Each read returns one, and fails where the next one is not there yet.
fn records(path: &std::path::Path) -> io::Result<String> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let (mut text, mut record) = (Vec::new(), vec![0; RECORD]);
    while text.len() < MOST {
        match file.read(&mut record) {
            Ok(0) => break,
            Ok(length) => text.extend_from_slice(&record[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // The oldest records were overwritten meanwhile.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A record `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT`. Lines that continue one begin with a blank, and are left out.
fn line(record: &str) -> Option<String> {
    let (head, text) = record.split_once(';')?;
    let micros: u64 = head.split(',').nth(2)?.parse().ok()?;
    Some(format!("[{:6}.{:06}] {text}", micros / 1_000_000, micros % 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_lines() {
        let host = crate::testing::host(&[(
            "dev/kmsg",
            "6,1,0,-;Booting Linux\n SUBSYSTEM=acpi\n4,812,61230455,-;hwmon hwmon1: Undervoltage detected!\nnonsense\n",
        )]);
        let lines = KernelLog::read(&host.root).lines.unwrap();
        assert_eq!(
            lines,
            ["[     0.000000] Booting Linux", "[    61.230455] hwmon hwmon1: Undervoltage detected!"]
        );
        let none = KernelLog::read(&crate::testing::host(&[]).root).lines;
        assert!(none.unwrap_err().starts_with("/dev/kmsg cannot be read"));
    }
}
