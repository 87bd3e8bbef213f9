//! Finds the playable part of a video file that a crash or a power cut left unfinished.

mod streams;

use std::io;
use std::path::Path;

use crate::mp4_index;
use crate::storage::Storage;
use crate::video_file::{Playable, VideoFile};

/// The playable part of the file `path`: fragmented MP4 (ISO/IEC 14496-12), streamed Matroska and WebM (RFC 9559), MPEG-TS,
/// AVI, FLV, or a stream without a container. `sizes` are the sizes in bytes of the pictures that were handed to the muxer, in
/// that order.
///
/// # Errors
/// The error of the system.
pub fn playable(storage: &dyn Storage, path: &Path, sizes: &[u64]) -> io::Result<Playable> {
    let video = VideoFile::open(storage, path, sizes.len() as u64)?;
    // A file with an index at its end must not be cut.
    if let Some(pictures) = mp4_index::pictures(&video)? {
        return Ok(Playable { length: video.length, pictures: pictures.min(video.max_pictures) });
    }
    let head = video.bytes(0, 8)?;
    let found = match &head[..] {
        [_, _, _, _, b'f', b't', b'y', b'p'] => mp4(&video)?,
        [0x1a, 0x45, 0xdf, 0xa3, ..] => matroska(&video)?,
        [0x47, ..] => streams::transport(&video)?,
        [b'R', b'I', b'F', b'F', ..] => streams::avi(&video)?,
        [b'F', b'L', b'V', ..] => streams::flv(&video)?,
        _ => elementary(&video, sizes)?,
    };
    Ok(found)
}

/// A stream without a container: frames as the encoder made them.
fn elementary(video: &VideoFile<'_>, sizes: &[u64]) -> io::Result<Playable> {
    let mut found = Playable::default();
    for size in sizes {
        if found.length + size > video.length {
            break;
        }
        found.length += size;
        found.pictures += 1;
    }
    Ok(found)
}

/// A box of an MP4 file: its type, the begin of its content, and its end.
struct Mp4Box {
    kind: [u8; 4],
    content: u64,
    end: u64,
}

impl Mp4Box {
    /// The box at `at`; `None` if none begins there, or it reaches beyond `limit`.
    fn read(video: &VideoFile<'_>, at: u64, limit: u64) -> io::Result<Option<Self>> {
        let head = video.bytes(at, 16)?;
        let Some((&size, rest)) = head.split_first_chunk::<4>() else { return Ok(None) };
        let Some((&kind, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let (size, content) = match (u32::from_be_bytes(size), rest.first_chunk::<8>()) {
            // A box that reaches to the end of the file may not be whole.
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
fn mp4(video: &VideoFile<'_>) -> io::Result<Playable> {
    let mut found = Playable::default();
    let (mut at, mut has_header, mut announced) = (0, false, None);
    while let Some(next) = Mp4Box::read(video, at, video.length)? {
        match &next.kind {
            b"moov" => has_header = true,
            b"moof" => announced = Some(samples(video, next.content, next.end, true)?),
            b"mdat" => match announced.take() {
                Some(pictures) if found.pictures + pictures <= video.max_pictures => {
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

/// Number of samples that a `moof` (`is_moof`), or a `traf` in it, announces. There is none in another: a broken file could nest
/// them so deep that the stack overflows.
fn samples(video: &VideoFile<'_>, mut at: u64, end: u64, is_moof: bool) -> io::Result<u64> {
    let mut count = 0;
    while let Some(next) = Mp4Box::read(video, at, end)? {
        match &next.kind {
            b"traf" if is_moof => count += samples(video, next.content, next.end, false)?,
            b"trun" => {
                let head = video.bytes(next.content + 4, 4)?; // behind version and flags
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
fn matroska(video: &VideoFile<'_>) -> io::Result<Playable> {
    let mut found = Playable::default();
    let mut at = 0;
    while let Some((id, size, content)) = element(video, at)? {
        // Blocks are looked for inside these, whose ends may be missing.
        if matches!(id, SEGMENT | CLUSTER) {
            at = content;
            continue;
        }
        let Some(end) = size.and_then(|size| content.checked_add(size)) else { break };
        if end > video.length {
            break;
        }
        if matches!(id, SIMPLE_BLOCK | BLOCK_GROUP) {
            if found.pictures == video.max_pictures {
                break;
            }
            found = Playable { length: end, pictures: found.pictures + 1 };
        }
        at = end;
    }
    Ok(found)
}

/// An element's id, its size if it is known, and the begin of its content.
fn element(video: &VideoFile<'_>, at: u64) -> io::Result<Option<(u32, Option<u64>, u64)>> {
    let head = video.bytes(at, 12)?;
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
    use super::*;
    use crate::simulated_disk::SimulatedDisk;
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

    /// A thread of a test has 2 MB of stack.
    #[test]
    fn boxes_nested_deeply_do_not_overflow_the_stack() {
        let nest = |depth: usize| (0..depth).fold(Vec::new(), |content, _| mp4_box(b"traf", &content));
        let head = [mp4_box(b"ftyp", b"isom"), mp4_box(b"moov", &[1; 50])].concat();
        let bytes =
            [&head[..], &mp4_box(b"moof", &nest(30_000)), &mp4_box(b"mdat", &[7; 9]), &fragment(4)].concat();
        assert_eq!(look(&bytes, &[5; 4]), Playable { length: bytes.len() as u64, pictures: 4 });
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
        assert_eq!(
            known,
            Playable { length: shorter as u64, pictures: 30 },
            "no more pictures than the muxer was given"
        );
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
        fn the_playable_part_is_playable_by_itself(mut bytes in Just(fragments()), at in 0_usize..400, to in any::<u8>()) {
            let at = at % bytes.len();
            bytes[at] = to;
            let found = look(&bytes, &[1; 1000]);
            let kept = look(&bytes[..usize::try_from(found.length).unwrap()], &[1; 1000]);
            prop_assert_eq!(kept, found);
        }
    }
}
