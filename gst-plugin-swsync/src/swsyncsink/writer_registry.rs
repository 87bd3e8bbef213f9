//! The writers of this process: no new one starts where one that was abandoned may still write.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use swsync_core::name::DeviceId;

/// One of the process's writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterId(u64);

/// Registers a writer as long as its thread keeps this.
#[derive(Debug)]
pub struct Registration(WriterId);

#[derive(Debug)]
struct RegisteredWriter {
    id: WriterId,
    root: PathBuf,
    device: DeviceId,
    /// Nobody waits for it any more, and it may still write.
    is_abandoned: bool,
}

static WRITERS: Mutex<Vec<RegisteredWriter>> = Mutex::new(Vec::new());

impl Registration {
    /// Registers a writer of `device`'s files below `root`; `None` while an abandoned one may still write them.
    pub fn new(root: &Path, device: &DeviceId) -> Option<Self> {
        let mut writers = WRITERS.lock();
        let is_abandoned = |writer: &RegisteredWriter| {
            writer.is_abandoned && writer.root == root && writer.device == *device
        };
        if writers.iter().any(is_abandoned) {
            return None;
        }
        let id = WriterId(writers.iter().map(|writer| writer.id.0 + 1).max().unwrap_or(0));
        writers.push(RegisteredWriter {
            id,
            root: root.to_owned(),
            device: device.clone(),
            is_abandoned: false,
        });
        Some(Self(id))
    }

    pub const fn id(&self) -> WriterId {
        self.0
    }
}

/// Nobody waits for this writer any more.
pub fn abandon(id: WriterId) {
    for writer in WRITERS.lock().iter_mut().filter(|writer| writer.id == id) {
        writer.is_abandoned = true;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        WRITERS.lock().retain(|writer| writer.id != self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_writer_starts_where_an_abandoned_one_may_write() {
        let (root, device) = (Path::new("/somewhere"), DeviceId::new("pi").unwrap());
        let first = Registration::new(root, &device).unwrap();
        // The rig refuses a second device of one name: it knows which of them was first.
        let second = Registration::new(root, &device).unwrap();
        assert_ne!(first.id(), second.id());
        abandon(first.id());
        assert!(Registration::new(root, &device).is_none());
        assert!(Registration::new(root, &DeviceId::new("pi2").unwrap()).is_some());
        drop(first);
        assert!(Registration::new(root, &device).is_some());
    }
}
