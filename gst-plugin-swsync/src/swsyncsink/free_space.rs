//! Keeps disk space free: recording ends while there is enough left to close what was recorded.

use std::time::{Duration, Instant};

use swsync_files::Location;

/// What is kept free by default: this part of the disk, and at most so many bytes.
const DEFAULT_PART: u64 = 20;
const DEFAULT_MAX: u64 = 256 << 20;

/// How often the disk is asked: others write, too.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct FreeSpace {
    /// Bytes that are kept free; `None`: the default.
    keep_free: Option<u64>,
    /// Bytes that can be written before the disk has to be asked again.
    left: u64,
    checked: Option<Instant>,
    /// Why nothing is recorded.
    why_full: Option<String>,
}

impl FreeSpace {
    pub const fn new(keep_free: Option<u64>) -> Self {
        Self { keep_free, left: 0, checked: None, why_full: None }
    }

    /// Takes `bytes` for a frame; `pending` bytes of earlier frames are still to be written.
    ///
    /// # Errors
    /// Why there is no space, and what to do.
    pub fn take(&mut self, location: &Location, bytes: u64, pending: u64) -> Result<(), String> {
        if self.keep_free == Some(0) {
            return Ok(());
        }
        if self.left < bytes || self.checked.is_none_or(|checked| checked.elapsed() >= CHECK_INTERVAL) {
            self.check(location, bytes, pending);
        }
        self.left = self.left.saturating_sub(bytes);
        self.why_full.clone().map_or(Ok(()), Err)
    }

    fn check(&mut self, location: &Location, bytes: u64, pending: u64) {
        self.checked = Some(Instant::now());
        let Ok((free, all)) = location.space() else {
            // Writing will fail, with the reason.
            (self.why_full, self.left) = (None, bytes);
            return;
        };
        let kept = self.keep_free.unwrap_or_else(|| (all / DEFAULT_PART).min(DEFAULT_MAX));
        // Once it has ended, recording does not begin again for a frame or two.
        let margin = if self.why_full.is_some() { kept / 4 } else { 0 };
        self.left = free.saturating_sub(kept.saturating_add(pending).saturating_add(margin));
        let is_full = self.left < bytes;
        self.why_full = is_full.then(|| {
            format!(
                "No space left but what is kept free: {free} of {all} bytes are free, and keep-free is {kept}; free some space, \
                 or set swsyncsink's keep-free lower"
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_free_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::parse(folder.path().to_str().unwrap()).unwrap();
        let (free, _) = location.space().unwrap();
        // Others write at the same time, so each case is far off either way.
        assert_eq!(FreeSpace::new(Some(0)).take(&location, u64::MAX, 0), Ok(()));
        assert_eq!(FreeSpace::new(Some(1)).take(&location, free / 2, 0), Ok(()));
        for (keep, bytes, pending) in [(free * 2, 1, 0), (1, free * 2, 0), (1, 1, free * 2)] {
            let why = FreeSpace::new(Some(keep)).take(&location, bytes, pending).unwrap_err();
            assert!(why.contains("No space left") && why.contains(&format!("keep-free is {keep}")), "{why}");
        }
    }
}
