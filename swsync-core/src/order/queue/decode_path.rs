//! What goes into a file, so that all of it can be decoded.

use crate::ring::{Coding, FrameRing};

const UNDECODABLE: &str = "the frames that this one builds on are not held";
const ON_LOST: &str =
    "it builds on a frame that was lost behind the encoder: by a leaky queue there, or a network";
const LEADING: &str = "it is shown before the key frame that its file begins with, and builds on frames of before: have the \
                       encoder close its groups of pictures (x265enc option-string=open-gop=0)";

/// Encoded frames that were handed out for one file.
#[derive(Debug, Clone, Copy)]
pub struct FileTail {
    segment: u64,
    /// Place of the key frame from which on it lacks none, up to the last one.
    from: u64,
    /// Place after the last one.
    next: u64,
    /// Whether what comes there was lost.
    broken: bool,
}

/// How a frame can be had in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodePath {
    /// Place of the key frame that what it builds on begins with.
    key: u64,
    /// Place of the first frame that the file does not have yet.
    first: u64,
}

impl DecodePath {
    const fn from_key(key: u64) -> Self {
        Self { key, first: key }
    }

    /// Places of the frames that go before the one at `place`, which builds on them.
    pub fn supports<T>(self, ring: &FrameRing<T>, place: u64) -> impl Iterator<Item = u64> {
        // What is shown before the first key frame, and builds on what was before, decodes nowhere.
        let is_useless = move |place: u64| match ring.at(place).map(|entry| entry.coding) {
            Some(Coding::UndecodableLeading) => true,
            Some(Coding::Leading) => ring.key_until(place) == Some(self.key),
            _ => false,
        };
        (self.first..place).filter(move |place| !is_useless(*place))
    }
}

impl FileTail {
    /// The file of `segment` has the frame at `place` now, by this way.
    pub const fn with(segment: u64, way: DecodePath, place: u64) -> Self {
        Self { segment, from: way.key, next: place + 1, broken: false }
    }

    /// What comes next was lost.
    pub const fn break_off(&mut self) {
        self.broken = true;
    }
}

/// The way for the frame at `place` into the file of `segment`, where `piece` was handed out last. `more`: frames that are shown
/// before it go into that file too, and may come yet.
///
/// # Errors
/// Why there is none, for a person.
pub fn way<T>(
    piece: Option<FileTail>,
    ring: &FrameRing<T>,
    place: u64,
    segment: u64,
    more: bool,
) -> Result<DecodePath, &'static str> {
    if !ring.is_coded() {
        return Ok(DecodePath::from_key(place));
    }
    let coding = ring.at(place).map_or(Coding::Undecodable, |entry| entry.coding);
    if matches!(coding, Coding::Undecodable | Coding::UndecodableLeading) {
        return Err(ON_LOST);
    }
    let key = ring.key_until(place).ok_or(UNDECODABLE)?;
    let same = piece.filter(|piece| piece.segment == segment);
    // Nothing goes into a file twice.
    let onward =
        same.filter(|piece| !piece.broken && piece.next >= ring.base() && is_whole(ring, piece.next, place));
    let onward = onward.map(|piece| DecodePath { key: piece.from, first: piece.next });
    let begun = same.map_or(0, |piece| piece.next);
    let earlier = || {
        let earlier = ring.key_until(key.checked_sub(1)?)?;
        let is_there = earlier >= begun && is_whole(ring, earlier, place);
        is_there.then_some(DecodePath::from_key(earlier))
    };
    if coding == Coding::Leading {
        let is_over = piece.is_some_and(|piece| piece.segment > segment);
        let way = onward.filter(|way| way.key < key).or_else(earlier).filter(|_| !is_over);
        return way.ok_or(LEADING);
    }
    match onward {
        // It lacks none.
        Some(way) if way.first >= key => Ok(way),
        None | Some(_) if key >= begun => {
            let is_open = ring.at(key).is_some_and(|entry| entry.coding == Coding::OpenKey);
            let way = if is_open && more && place == key { earlier() } else { None };
            Ok(way.unwrap_or(DecodePath::from_key(key)))
        }
        other => other.ok_or(UNDECODABLE),
    }
}

/// Whether no frame was lost of those from place `from` to `place`.
fn is_whole<T>(ring: &FrameRing<T>, from: u64, place: u64) -> bool {
    (from..=place).filter_map(|place| ring.at(place)).all(|entry| entry.coding != Coding::Undecodable)
}

/// What was handed out last, after the frame at `place` could not be, which was to go into the file of `segment`.
pub fn without(piece: Option<FileTail>, coding: Coding, segment: u64, place: u64) -> Option<FileTail> {
    match coding.is_leading() {
        true => piece,
        false => Some(FileTail { segment, from: place + 1, next: place + 1, broken: true }),
    }
}

/// Whether it is known already that `piece`, of this segment, lacks something.
pub fn is_broken(piece: Option<FileTail>, segment: u64) -> bool {
    piece.is_some_and(|piece| piece.segment == segment && piece.broken)
}
