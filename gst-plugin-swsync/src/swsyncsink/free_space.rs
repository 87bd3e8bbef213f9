//! Room on the disk: recording ends while enough is left to close what was recorded.

use std::time::{Duration, Instant};

use swsync_rig::files::Location;

/// Of how many parts of the disk one is kept free where nothing else is said, and the most bytes that this is.
const SHARE: u64 = 20;
pub const MOST: u64 = 256 << 20;

/// How often the disk is looked at: others write, too.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Room for what is to be recorded.
#[derive(Debug)]
pub struct Room {
    /// Bytes that are kept free; `None`: a share of the disk.
    keep_free: Option<u64>,
    /// Bytes that can be written before the disk is to be looked at again.
    left: u64,
    looked: Option<Instant>,
    /// Why nothing is recorded.
    why: Option<String>,
}

impl Room {
    pub const fn new(keep_free: Option<u64>) -> Self {
        Self { keep_free, left: 0, looked: None, why: None }
    }

    /// Takes `bytes` for a frame, where `owed` are still to be written of what was recorded before.
    ///
    /// # Errors
    /// Why there is no room, and what to do.
    pub fn take(&mut self, location: &Location, bytes: u64, owed: u64) -> Result<(), String> {
        if self.keep_free == Some(0) {
            return Ok(());
        }
        if self.left < bytes || self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            self.look(location, bytes, owed);
        }
        self.left = self.left.saturating_sub(bytes);
        self.why.clone().map_or(Ok(()), Err)
    }

    fn look(&mut self, location: &Location, bytes: u64, owed: u64) {
        self.looked = Some(Instant::now());
        let Ok((free, all)) = location.space() else {
            // Whoever writes there says what is wrong.
            (self.why, self.left) = (None, bytes);
            return;
        };
        let kept = self.keep_free.unwrap_or_else(|| (all / SHARE).min(MOST));
        // Once it has ended, recording does not begin again for a frame or two.
        let again = if self.why.is_some() { kept / 4 } else { 0 };
        self.left = free.saturating_sub(kept.saturating_add(owed).saturating_add(again));
        let is_low = self.left < bytes;
        self.why = is_low.then(|| {
            format!(
                "No space left but what is kept free: {free} of {all} bytes are free, and keep-free is {kept}; make room, \
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
        // Others write at the same time: it is asked for what is far off either way.
        assert_eq!(Room::new(Some(0)).take(&location, u64::MAX, 0), Ok(()));
        assert_eq!(Room::new(Some(1)).take(&location, free / 2, 0), Ok(()));
        for (keep, bytes, owed) in [(free * 2, 1, 0), (1, free * 2, 0), (1, 1, free * 2)] {
            let why = Room::new(Some(keep)).take(&location, bytes, owed).unwrap_err();
            assert!(why.contains("No space left") && why.contains(&format!("keep-free is {keep}")), "{why}");
        }
    }
}
