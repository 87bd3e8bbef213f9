//! What of a video file that a crash or a power cut left unfinished can be played.

mod streams;

use std::io;
use std::path::Path;

use super::index;
use super::storage::Storage;

/// A part of a file that players take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Playable {
    /// Its length from the beginning, in bytes.
    pub length: u64,
    /// Pictures that it holds.
    pub pictures: u64,
}

/// The playable part of the file at `path`: fragmented MP4 (ISO/IEC 14496-12), Matroska and WebM as they are
/// streamed (RFC 9559), MPEG-TS, AVI, FLV, or a stream without container. `sizes` are those of the pictures that were handed to the
/// muxer, in bytes and in that order.
///
/// # Errors
/// What the system said.
pub fn playable(storage: &dyn Storage, path: &Path, sizes: &[u64]) -> io::Result<Playable> {
    let source = Source::of(storage, path, sizes.len() as u64)?;
    // What was finished with an index can be cut nowhere.
    if let Some(pictures) = index::pictures(&source)? {
        return Ok(Playable { length: source.length, pictures: pictures.min(source.most) });
    }
    let head = source.bytes(0, 8)?;
    let found = match &head[..] {
        [_, _, _, _, b'f', b't', b'y', b'p'] => mp4(&source)?,
        [0x1a, 0x45, 0xdf, 0xa3, ..] => matroska(&source)?,
        [0x47, ..] => streams::transport(&source)?,
        [b'R', b'I', b'F', b'F', ..] => streams::avi(&source)?,
        [b'F', b'L', b'V', ..] => streams::flv(&source)?,
        _ => elementary(&source, sizes)?,
    };
    Ok(found)
}

/// A file that is read.
pub(super) struct Source<'a> {
    /// Pictures that were handed to the muxer, as far as is known: what lies behind those is nobody's.
    most: u64,
    storage: &'a dyn Storage,
    path: &'a Path,
    pub(super) length: u64,
}

impl<'a> Source<'a> {
    /// The file at `path`, of which the first `most` pictures count.
    pub(super) fn of(storage: &'a dyn Storage, path: &'a Path, most: u64) -> io::Result<Self> {
        Ok(Self { most, storage, path, length: storage.len(path)? })
    }

    /// Up to `length` bytes.
    pub(super) fn bytes(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        self.storage.read_at(self.path, at, length)
    }
}

/// Frames one after the other, as the encoder made them.
fn elementary(source: &Source<'_>, sizes: &[u64]) -> io::Result<Playable> {
    let mut found = Playable::default();
    for size in sizes {
        if found.length + size > source.length {
            break;
        }
        found.length += size;
        found.pictures += 1;
    }
    Ok(found)
}

/// A box of an MP4 file: its type, where its content begins, and where it ends.
struct Mp4Box {
    kind: [u8; 4],
    content: u64,
    end: u64,
}

impl Mp4Box {
    /// The box at `at`; `None` where none begins there, or it reaches beyond `limit`.
    fn read(source: &Source<'_>, at: u64, limit: u64) -> io::Result<Option<Self>> {
        let head = source.bytes(at, 16)?;
        let Some((&size, rest)) = head.split_first_chunk::<4>() else { return Ok(None) };
        let Some((&kind, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let (size, content) = match (u32::from_be_bytes(size), rest.first_chunk::<8>()) {
            // One that goes on to the end of the file is not whole for certain.
            (0, _) | (1, None) => return Ok(None),
            (1, Some(size)) => (u64::from_be_bytes(*size), at + 16),
            (size, _) => (u64::from(size), at + 8),
        };
        let end = at.saturating_add(size);
        let plain = kind.iter().all(|byte| (0x20..0x7f).contains(byte));
        Ok((plain && end >= content && end <= limit).then_some(Self { kind, content, end }))
    }
}

/// Up to the last fragment (`moof` and its `mdat`) that is whole.
fn mp4(source: &Source<'_>) -> io::Result<Playable> {
    let mut found = Playable::default();
    let (mut at, mut has_header, mut announced) = (0, false, None);
    while let Some(next) = Mp4Box::read(source, at, source.length)? {
        match &next.kind {
            b"moov" => has_header = true,
            b"moof" => announced = Some(samples(source, next.content, next.end)?),
            b"mdat" => match announced.take() {
                Some(pictures) if found.pictures + pictures <= source.most => {
                    found = Playable { length: next.end, pictures: found.pictures + pictures };
                }
                Some(_) | None => break,
            },
            _ => {}
        }
        at = next.end;
    }
    Ok(if has_header { found } else { Playable::default() })
}

/// Samples that a `moof` or a `traf` in it announces.
fn samples(source: &Source<'_>, mut at: u64, end: u64) -> io::Result<u64> {
    let mut count = 0;
    while let Some(next) = Mp4Box::read(source, at, end)? {
        match &next.kind {
            b"traf" => count += samples(source, next.content, next.end)?,
            b"trun" => {
                let head = source.bytes(next.content + 4, 4)?; // behind version and flags
                count += head.first_chunk().map_or(0, |count| u64::from(u32::from_be_bytes(*count)));
            }
            _ => {}
        }
        at = next.end;
    }
    Ok(count)
}

const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1f43_b675;
const BLOCK_GROUP: u32 = 0xa0;
const SIMPLE_BLOCK: u32 = 0xa3;

/// Up to the last block that is whole.
fn matroska(source: &Source<'_>) -> io::Result<Playable> {
    let mut found = Playable::default();
    let mut at = 0;
    while let Some((id, size, content)) = element(source, at)? {
        // What holds the others is stepped into, so that it may be cut short.
        if matches!(id, SEGMENT | CLUSTER) {
            at = content;
            continue;
        }
        let Some(end) = size.and_then(|size| content.checked_add(size)) else { break };
        if end > source.length {
            break;
        }
        if matches!(id, SIMPLE_BLOCK | BLOCK_GROUP) {
            if found.pictures == source.most {
                break;
            }
            found = Playable { length: end, pictures: found.pictures + 1 };
        }
        at = end;
    }
    Ok(found)
}

/// An element's id, its size where it is known, and where its content begins.
fn element(source: &Source<'_>, at: u64) -> io::Result<Option<(u32, Option<u64>, u64)>> {
    let head = source.bytes(at, 12)?;
    let Some(&first) = head.first() else { return Ok(None) };
    let id_length = first.leading_zeros() as usize + 1;
    if id_length > 4 || head.len() <= id_length {
        return Ok(None);
    }
    let id = head[..id_length].iter().fold(0_u32, |id, byte| id << 8 | u32::from(*byte));
    let size_length = head[id_length].leading_zeros() as usize + 1;
    if size_length > 8 || head.len() < id_length + size_length {
        return Ok(None);
    }
    let mask = u64::MAX >> (64 - 7 * size_length);
    let bytes = &head[id_length..id_length + size_length];
    let size = bytes.iter().fold(0_u64, |size, byte| size << 8 | u64::from(*byte)) & mask;
    let content = at + (id_length + size_length) as u64;
    Ok(Some((id, (size != mask).then_some(size), content)))
}

#[cfg(test)]
mod tests {
    use super::super::simulated::SimulatedDisk;
    use super::*;
    use proptest::prelude::*;

    fn mp4_box(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(content.len() + 8).unwrap().to_be_bytes().to_vec();
        bytes.extend(kind);
        bytes.extend(content);
        bytes
    }

    fn fragment(pictures: u8) -> Vec<u8> {
        let trun = mp4_box(b"trun", &[0, 0, 0, 1, 0, 0, 0, pictures]);
        let traf = mp4_box(b"traf", &[mp4_box(b"tfhd", &[0; 8]), trun].concat());
        [mp4_box(b"moof", &traf), mp4_box(b"mdat", &[7; 100])].concat()
    }

    fn fragments() -> Vec<u8> {
        [mp4_box(b"ftyp", b"isom"), mp4_box(b"moov", &[1; 50]), fragment(30), fragment(12)].concat()
    }

    fn streamed() -> Vec<u8> {
        let mut bytes = vec![0x1a, 0x45, 0xdf, 0xa3, 0x82, 1, 2];
        bytes.extend([0x18, 0x53, 0x80, 0x67, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        for _ in 0..2 {
            bytes.extend([0x1f, 0x43, 0xb6, 0x75, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
            bytes.extend([0xe7, 0x81, 0]); // its time
            for _ in 0..3 {
                bytes.extend([0xa3, 0x85, 0x81, 0, 0, 0x80, 9]);
            }
        }
        bytes
    }

    pub fn look(bytes: &[u8], sizes: &[u64]) -> Playable {
        let disk = SimulatedDisk::new();
        disk.create(Path::new("/f")).unwrap().write_at(0, bytes).unwrap();
        playable(&disk, Path::new("/f"), sizes).unwrap()
    }

    #[test]
    fn whole_fragments_are_playable() {
        let whole = fragments();
        assert_eq!(look(&whole, &[1; 42]), Playable { length: whole.len() as u64, pictures: 42 });
        let shorter = whole.len() - fragment(12).len();
        for cut in shorter..whole.len() {
            assert_eq!(look(&whole[..cut], &[1; 42]), Playable { length: shorter as u64, pictures: 30 });
        }
        assert_eq!(look(&whole[..40], &[1; 42]), Playable::default());
        let known = look(&whole, &[1; 41]);
        assert_eq!(known, Playable { length: shorter as u64, pictures: 30 }, "no more than is known of");
    }

    #[test]
    fn whole_blocks_are_playable() {
        let whole = streamed();
        assert_eq!(look(&whole, &[1; 6]), Playable { length: whole.len() as u64, pictures: 6 });
        let cut = &whole[..whole.len() - 1];
        assert_eq!(look(cut, &[1; 6]), Playable { length: whole.len() as u64 - 7, pictures: 5 });
    }

    #[test]
    fn a_bare_stream_is_cut_between_frames() {
        let bytes = [0, 0, 0, 1, 9, 9, 9];
        assert_eq!(look(&bytes, &[5, 2, 4]), Playable { length: 7, pictures: 2 });
        assert_eq!(look(&bytes[..6], &[5, 2]), Playable { length: 5, pictures: 1 });
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0_usize..6) {
            let start = [&b""[..], b"\0\0\0\x08ftyp", b"\x1a\x45\xdf\xa3", b"\x47", b"RIFF", b"FLV"][kind];
            let bytes = [start, &bytes].concat();
            let found = look(&bytes, &[3; 10]);
            prop_assert!(found.length <= bytes.len() as u64 && found.pictures <= 10);
        }

        #[test]
        fn what_is_playable_stays_so(mut bytes in Just(fragments()), at in 0_usize..400, to in any::<u8>()) {
            let at = at % bytes.len();
            bytes[at] = to;
            let found = look(&bytes, &[1; 1000]);
            let kept = look(&bytes[..usize::try_from(found.length).unwrap()], &[1; 1000]);
            prop_assert_eq!(kept, found);
        }
    }
}
