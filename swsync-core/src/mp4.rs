//! Boxes of MP4 and QuickTime files (ISO/IEC 14496-12): finding them, and setting the creation time.

use crate::time::{Rig, Timestamp};

/// Seconds from 1904, the epoch of these files, to 1970.
const FROM_1904: i64 = 2_082_844_800;

/// Type and size (with its header) of the box at the beginning of `bytes`. `None`: there is no box, or one of size 0, which
/// extends to the end of the file.
#[must_use]
pub fn box_at(bytes: &[u8]) -> Option<([u8; 4], u64)> {
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let (size, least) = match u32::from_be_bytes(*size) {
        1 => (u64::from_be_bytes(*rest.first_chunk()?), 16),
        size => (u64::from(size), 8),
    };
    (size >= least).then_some((*kind, size))
}

/// Sets the creation and modification times of the movie and of each track in the `moov` box among `boxes`, rounded down to
/// the second (their unit). Returns whether there was a field to set.
pub fn set_creation_time(boxes: &mut [u8], at: Timestamp<Rig>) -> bool {
    let seconds = u64::try_from(at.as_nanos().div_euclid(1_000_000_000) + FROM_1904).unwrap_or(0);
    set_times(boxes, seconds)
}

/// Sets the times in the boxes that `content` consists of.
fn set_times(mut content: &mut [u8], seconds: u64) -> bool {
    let mut is_set = false;
    while let Some((kind, size)) = box_at(content) {
        let Some((this, rest)) =
            usize::try_from(size).ok().and_then(|size| content.split_at_mut_checked(size))
        else {
            break;
        };
        match &kind {
            b"moov" | b"trak" | b"mdia" => is_set |= set_times(&mut this[8..], seconds),
            // Version and flags, then creation and modification time: 32 bits in version 0, 64 in version 1.
            b"mvhd" | b"tkhd" | b"mdhd" => {
                let width = if this.get(8) == Some(&1) { 8 } else { 4 };
                if let Some(times) = this.get_mut(12..12 + 2 * width) {
                    for time in times.chunks_exact_mut(width) {
                        time.copy_from_slice(&seconds.to_be_bytes()[8 - width..]);
                    }
                    is_set = true;
                }
            }
            _ => {}
        }
        content = rest;
    }
    is_set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len() + 8).unwrap();
        [&size.to_be_bytes()[..], kind, content].concat()
    }

    /// 2026-11-23T01:49:18.5Z.
    const AT: Timestamp<Rig> = Timestamp::from_nanos(1_795_398_558_500_000_000);

    #[test]
    fn movie_and_tracks_get_the_creation_time() {
        let short = |width: u8| [&[0, 0, 0, 7][..], &[width; 12]].concat();
        let long = [&[1, 0, 0, 0][..], &[9; 24]].concat();
        let track = make(b"trak", &[make(b"tkhd", &short(3)), make(b"mdia", &make(b"mdhd", &long))].concat());
        let mut moov = make(b"moov", &[make(b"mvhd", &short(2)), make(b"free", &[]), track].concat());
        let before = moov.clone();
        assert!(set_creation_time(&mut moov, AT));
        let stamp = 3_878_243_358_u32.to_be_bytes();
        let dated = [&[0, 0, 0, 7][..], &stamp, &stamp, &[3; 4]].concat();
        assert!(moov.windows(dated.len()).any(|window| window == dated));
        let dated = [&[1, 0, 0, 0, 0, 0, 0, 0][..], &stamp, &[0; 4], &stamp, &[9; 8]].concat();
        assert!(moov.windows(dated.len()).any(|window| window == dated));
        assert_eq!(moov.len(), before.len());
    }

    #[test]
    fn other_or_broken_boxes_stay_as_they_are() {
        let cut = make(b"moov", &make(b"mvhd", &[0; 12]))[..20].to_vec();
        let mut endless = make(b"moov", &make(b"trak", &[]));
        endless[8..12].fill(0xff);
        for bytes in [
            vec![],
            cut,
            make(b"moof", &make(b"mvhd", &[0; 12])),
            make(b"moov", &make(b"mvhd", &[0; 3])),
            endless,
        ] {
            let mut changed = bytes.clone();
            assert!(!set_creation_time(&mut changed, AT));
            assert_eq!(changed, bytes);
        }
    }
}
