//! Containers made of a row of small pieces: MPEG-TS (ISO/IEC 13818-1), AVI and FLV.

use std::io;

use crate::video_file::{Playable, VideoFile};

/// Length of a packet of an MPEG transport stream, in bytes.
const PACKET: usize = 188;
/// Number of packets that are read at once.
const PACKETS: usize = 4096;

/// Up to the last picture that another one follows: the head of a picture does not say its length.
pub(super) fn transport(video: &VideoFile<'_>) -> io::Result<Playable> {
    let (mut found, mut begun, mut at) = (Playable::default(), 0, 0);
    loop {
        let block = video.bytes(at, PACKETS * PACKET)?;
        for packet in block.as_chunks::<PACKET>().0 {
            if packet[0] != 0x47 {
                return Ok(found);
            }
            if begins_picture(packet) {
                found = Playable { length: at, pictures: begun };
                if begun == video.max_pictures {
                    return Ok(found);
                }
                begun += 1;
            }
            at += PACKET as u64;
        }
        if block.len() < PACKETS * PACKET {
            return Ok(found);
        }
    }
}

/// Whether a PES packet with a picture begins in this packet. The video's is the only stream.
fn begins_picture(packet: &[u8]) -> bool {
    let (begins, has_adaptation, has_payload) =
        (packet[1] & 0x40 != 0, packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
    let payload = if has_adaptation { 5 + usize::from(packet[4]) } else { 4 };
    begins && has_payload && packet.get(payload..).is_some_and(|payload| payload.starts_with(&[0, 0, 1]))
}

/// Up to the last whole chunk with a picture. The sizes of the lists around the chunks are only known at the end.
pub(super) fn avi(video: &VideoFile<'_>) -> io::Result<Playable> {
    let mut found = Playable::default();
    let mut at = 0;
    loop {
        let head = video.bytes(at, 12)?;
        let (Some((kind, rest)), true) = (head.split_first_chunk::<4>(), head.len() >= 8) else { break };
        let size = rest.first_chunk().map_or(0, |size| u64::from(u32::from_le_bytes(*size)));
        let is_movie = kind == b"LIST" && head.get(8..12) == Some(b"movi");
        if kind == b"RIFF" || is_movie {
            at += 12;
            continue;
        }
        let end = at + 8 + size + size % 2;
        if end > video.length || !kind.iter().all(u8::is_ascii) {
            break;
        }
        if matches!(kind, [b'0'..=b'9', b'0'..=b'9', b'd', b'b' | b'c']) {
            if found.pictures == video.max_pictures {
                break;
            }
            found = Playable { length: end, pictures: found.pictures + 1 };
        }
        at = end;
    }
    Ok(found)
}

/// Up to the last whole tag with a picture.
pub(super) fn flv(video: &VideoFile<'_>) -> io::Result<Playable> {
    const HEADER: u64 = 9 + 4;
    let mut found = Playable::default();
    let mut at = HEADER;
    loop {
        let head = video.bytes(at, 13)?;
        let [kind, a, b, c, ..] = head[..] else { break };
        let size = u64::from(u32::from_be_bytes([0, a, b, c]));
        let end = at + 11 + size + 4;
        if end > video.length {
            break;
        }
        // The parameters of H.264 have a tag of their own.
        let is_picture = match head.get(11..) {
            Some([codec, what]) if codec & 0x0f == 7 => *what == 1,
            _ => size > 0,
        };
        if kind == 9 && is_picture {
            if found.pictures == video.max_pictures {
                break;
            }
            found = Playable { length: end, pictures: found.pictures + 1 };
        }
        at = end;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salvage::tests::look;

    fn packet(begins: bool, payload: &[u8]) -> Vec<u8> {
        let stuffing = PACKET - 5 - payload.len();
        let mut packet =
            vec![0x47, if begins { 0x41 } else { 0x01 }, 0, 0x30, u8::try_from(stuffing).unwrap()];
        packet.extend(vec![0xff; stuffing]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn a_transport_stream_is_cut_before_a_picture_that_may_lack_something() {
        let table = packet(true, &[0, 0, 0xb0, 9]);
        let picture = [packet(true, &[0, 0, 1, 0xe0, 7]), packet(false, &[8; 100])].concat();
        let bytes = [&table[..], &picture, &picture, &table, &picture].concat();
        let whole = Playable { length: 6 * PACKET as u64, pictures: 2 };
        for cut in bytes.len() - PACKET..=bytes.len() {
            assert_eq!(look(&bytes[..cut], &[5; 3]), whole, "{cut}");
        }
        assert_eq!(look(&bytes[..5 * PACKET + 20], &[5; 3]).pictures, 1);
    }

    #[test]
    fn an_avi_is_cut_between_chunks() {
        let chunk = |kind: &[u8; 4], content: &[u8]| {
            let mut bytes = kind.to_vec();
            bytes.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(2), 0);
            bytes
        };
        let begin = [&b"RIFF\0\0\0\0AVI "[..], &chunk(b"LIST", b"hdrl...."), b"LIST\0\0\0\0movi"].concat();
        let bytes = [begin, chunk(b"00dc", &[1; 7]), chunk(b"00dc", &[2; 4])].concat();
        assert_eq!(look(&bytes, &[7, 4]), Playable { length: bytes.len() as u64, pictures: 2 });
        let cut = &bytes[..bytes.len() - 1];
        assert_eq!(look(cut, &[7, 4]), Playable { length: bytes.len() as u64 - 12, pictures: 1 });
    }

    #[test]
    fn an_flv_is_cut_between_tags() {
        let tag = |kind: u8, content: &[u8]| {
            let mut bytes = vec![kind, 0, 0, u8::try_from(content.len()).unwrap(), 0, 0, 0, 0, 0, 0, 0];
            bytes.extend(content);
            bytes.extend(u32::try_from(content.len() + 11).unwrap().to_be_bytes());
            bytes
        };
        let begin =
            [&b"FLV\x01\x01\0\0\0\x09\0\0\0\0"[..], &tag(18, b"onMetaData"), &tag(9, &[0x17, 0, 1])].concat();
        let bytes = [begin, tag(9, &[0x17, 1, 5, 5]), tag(9, &[0x27, 1, 6])].concat();
        assert_eq!(look(&bytes, &[2, 1]), Playable { length: bytes.len() as u64, pictures: 2 });
        let cut = &bytes[..bytes.len() - 1];
        assert_eq!(look(cut, &[2, 1]), Playable { length: bytes.len() as u64 - 18, pictures: 1 });
    }
}
