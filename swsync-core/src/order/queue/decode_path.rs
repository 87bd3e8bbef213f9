//! Which frames go into a file before a frame, so that it can be decoded there.

use crate::coded::Coding;
use crate::ring::FrameRing;

const REFERENCE_GONE: &str = "the frames that this one builds on are not held";
const REFERENCE_LOST: &str =
    "it builds on a frame that was lost behind the encoder: by a leaky queue there, or a network";
const LEADING: &str = "it is shown before the key frame that its file begins with, and builds on frames of before: have the \
                       encoder close its groups of pictures (x265enc option-string=open-gop=0)";

/// The end of the file that encoded frames were handed out for last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileTail {
    segment: u64,
    /// Position of the key frame from which on the file has every frame, up to the last one.
    key: u64,
    /// Position after the last frame.
    next: u64,
    /// Whether the frame at that position is missing.
    is_broken: bool,
}

impl FileTail {
    /// The file of `segment` after the frame at `position` was added by `path`.
    pub const fn after(segment: u64, path: DecodePath, position: u64) -> Self {
        Self { segment, key: path.key, next: position + 1, is_broken: false }
    }

    /// The end of the file of `segment` after the frame at `position` could not be added.
    pub fn after_failure(tail: Option<Self>, coding: Coding, segment: u64, position: u64) -> Option<Self> {
        match coding.is_leading() {
            // No other frame depends on it.
            true => tail,
            false => Some(Self { segment, key: position + 1, next: position + 1, is_broken: true }),
        }
    }

    /// The next frame is missing.
    pub const fn break_off(&mut self) {
        self.is_broken = true;
    }

    /// Whether the file of `segment` is known to lack a frame.
    pub const fn is_broken_in(&self, segment: u64) -> bool {
        self.segment == segment && self.is_broken
    }
}

/// How a frame can be decoded in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodePath {
    /// Position of the key frame that the decoder begins with.
    key: u64,
    /// Position of the first frame that the file does not have yet.
    first: u64,
}

impl DecodePath {
    const fn from_key(key: u64) -> Self {
        Self { key, first: key }
    }

    /// The path for the frame at `position` into the file of `segment`. `tail`: the end of the file that was written last.
    /// `more`: frames that are shown before this one go into the same file, and may still arrive.
    ///
    /// # Errors
    /// Why there is none, as text for the operator.
    pub fn find<T>(
        tail: Option<FileTail>,
        ring: &FrameRing<T>,
        position: u64,
        segment: u64,
        more: bool,
    ) -> Result<Self, &'static str> {
        if !ring.is_coded() {
            return Ok(Self::from_key(position));
        }
        let coding = ring.at(position).map_or(Coding::Undecodable, |frame| frame.coding);
        if matches!(coding, Coding::Undecodable | Coding::UndecodableLeading) {
            return Err(REFERENCE_LOST);
        }
        let key = ring.key_until(position).ok_or(REFERENCE_GONE)?;
        let same_file = tail.filter(|tail| tail.segment == segment);
        // A frame goes into a file only once.
        let onward = same_file
            .filter(|tail| {
                !tail.is_broken && tail.next >= ring.start() && is_complete(ring, tail.next, position)
            })
            .map(|tail| Self { key: tail.key, first: tail.next });
        let written_to = same_file.map_or(0, |tail| tail.next);
        let from_earlier_key = || {
            let earlier = ring.key_until(key.checked_sub(1)?)?;
            let is_possible = earlier >= written_to && is_complete(ring, earlier, position);
            is_possible.then_some(Self::from_key(earlier))
        };
        if coding == Coding::Leading {
            let is_later_begun = tail.is_some_and(|tail| tail.segment > segment);
            let path = onward.filter(|path| path.key < key).or_else(from_earlier_key);
            return path.filter(|_| !is_later_begun).ok_or(LEADING);
        }
        match onward {
            Some(path) if path.first >= key => Ok(path),
            None | Some(_) if key >= written_to => {
                // Leading frames are still to come, and need what is before the key frame.
                let is_open = ring.at(key).is_some_and(|frame| frame.coding == Coding::OpenKey);
                let path = if is_open && more && position == key { from_earlier_key() } else { None };
                Ok(path.unwrap_or(Self::from_key(key)))
            }
            other => other.ok_or(REFERENCE_GONE),
        }
    }

    /// Positions of the frames that go before the one at `position`: those that it may depend on.
    pub fn lead_in<T>(self, ring: &FrameRing<T>, position: u64) -> impl Iterator<Item = u64> {
        // Leading frames of the first key frame depend on frames that are not in the file.
        let is_undecodable = move |position: u64| match ring.at(position).map(|frame| frame.coding) {
            Some(Coding::UndecodableLeading) => true,
            Some(Coding::Leading) => ring.key_until(position) == Some(self.key),
            _ => false,
        };
        (self.first..position).filter(move |position| !is_undecodable(*position))
    }
}

/// Whether no frame from position `from` to `position` was lost.
fn is_complete<T>(ring: &FrameRing<T>, from: u64, position: u64) -> bool {
    (from..=position)
        .filter_map(|position| ring.at(position))
        .all(|frame| frame.coding != Coding::Undecodable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_a_file_goes_on_behind_the_frame_and_only_there_is_broken() {
        let path = DecodePath::from_key(3);
        let tail = FileTail::after(2, path, 7);
        assert_eq!(tail, FileTail { segment: 2, key: 3, next: 8, is_broken: false });
        assert!(!tail.is_broken_in(2));
        let broken = FileTail::after_failure(Some(tail), Coding::Delta, 4, 9).unwrap();
        assert_eq!(broken, FileTail { segment: 4, key: 10, next: 10, is_broken: true });
        assert!(broken.is_broken_in(4) && !broken.is_broken_in(2));
        assert_eq!(FileTail::after_failure(Some(tail), Coding::Leading, 4, 9), Some(tail));
    }
}
