//! MP4 and QuickTime files (ISO/IEC 14496-12): when what they hold was taken.

use crate::time::{Rig, Timestamp};

/// Seconds from 1904, where these files count from, to 1970.
const FROM_1904: i64 = 2_082_844_800;

/// Kind and size, header included, of the box that `bytes` begin with; `None` where none does, or it goes on to the end of
/// the file.
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

/// Has a file say that it was made `at`, for the whole and for each of its tracks, in the `moov` that is among `boxes`. To the
/// second, since it counts no finer. Returns whether there was a place to say so.
pub fn set_creation_time(boxes: &mut [u8], at: Timestamp<Rig>) -> bool {
    let seconds = u64::try_from(at.as_nanos().div_euclid(1_000_000_000) + FROM_1904).unwrap_or(0);
    set_in(boxes, seconds)
}

/// Sets the times in the boxes that `content` is made of.
fn set_in(mut content: &mut [u8], seconds: u64) -> bool {
    let mut is_set = false;
    while let Some((kind, size)) = box_at(content) {
        let Some((this, rest)) =
            usize::try_from(size).ok().and_then(|size| content.split_at_mut_checked(size))
        else {
            break;
        };
        match &kind {
            b"moov" | b"trak" | b"mdia" => is_set |= set_in(&mut this[8..], seconds),
            // Version and flags, then time of creation and of the last change.
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

    /// 2026-11-23T01:49:18Z and a half.
    const AT: Timestamp<Rig> = Timestamp::from_nanos(1_795_398_558_500_000_000);

    #[test]
    fn the_whole_and_its_tracks_are_dated() {
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
    fn what_is_no_index_stays_as_it_is() {
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
