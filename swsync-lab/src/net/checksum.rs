//! Checksums of TCP and UDP in Ethernet frames (RFC 1071).
//!
//! The kernel leaves the checksum of a packet to the network card. Virtual interfaces have none, and pass the packet on as it is: it never
//! left the kernel. One that was read by a program and is given back has to have its checksum.

/// Length of an Ethernet header.
const ETHERNET: usize = 14;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Puts the checksum into a frame with an IPv4 or IPv6 packet of TCP or UDP. Other frames, and fragments, stay as they are.
pub(super) fn complete(frame: &mut [u8]) {
    let Some((protocol, addresses, payload)) = transport(frame) else { return };
    let at = match protocol {
        TCP => 16,
        UDP => 6,
        _ => return,
    };
    let Some(length) = payload.end.checked_sub(payload.start).filter(|length| *length >= at + 2) else {
        return;
    };
    let pseudo = sum(&frame[addresses]) + u32::from(protocol) + u32::try_from(length).unwrap_or_default();
    let segment = &mut frame[payload];
    let field = at..at + 2;
    if protocol == UDP && segment[field.clone()] == [0, 0] {
        return; // its sender does without
    }
    segment[field.clone()].fill(0);
    let checksum = !fold(pseudo + sum(segment));
    // UDP: 0 means that there is none.
    let checksum = if protocol == UDP && checksum == 0 { 0xffff } else { checksum };
    segment[field].copy_from_slice(&checksum.to_be_bytes());
}

/// The protocol of a frame's packet, and where its addresses and its payload are.
fn transport(frame: &[u8]) -> Option<(u8, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let packet = frame.get(ETHERNET..)?;
    let word = |at: usize| Some(usize::from(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?])));
    let (protocol, addresses, begin, end) = match frame.get(12..ETHERNET)? {
        [0x08, 0x00] => {
            let is_fragment = word(6)? & 0x3fff != 0;
            if is_fragment {
                return None;
            }
            (*packet.get(9)?, 12..20, usize::from(packet.first()? & 0xf) * 4, word(2)?)
        }
        [0x86, 0xdd] => (*packet.get(6)?, 8..40, 40, 40 + word(4)?),
        _ => return None,
    };
    let is_whole = begin <= end && end <= packet.len() && addresses.end <= end;
    let in_frame = |range: std::ops::Range<usize>| ETHERNET + range.start..ETHERNET + range.end;
    is_whole.then(|| (protocol, in_frame(addresses), in_frame(begin..end)))
}

/// The sum of 16 bit words, not folded. A packet of 64 kB does not overflow it.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    words.sum()
}

/// A sum in 16 bits of ones' complement.
fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("it was folded")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP packet of IPv4 from 10.0.0.1:7 to 10.0.0.2:9 with three bytes, worked by hand.
    fn frame(checksum: [u8; 2]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        frame.extend([0x45, 0, 0, 31, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0, 7, 0, 9, 0, 11]);
        frame.extend(checksum);
        frame.extend([1, 2, 3, 0, 0, 0]); // with the padding of a short frame
        frame
    }

    #[test]
    fn a_checksum_is_put_in_place_of_what_the_kernel_left_there() {
        // 0a00 + 0001 + 0a00 + 0002 (addresses) + 0011 (protocol) + 000b (length) + 0007 + 0009 + 000b + 0102 + 0300
        // = 183c; its complement is e7c3. With odd length the last byte is the upper one of its word.
        let mut some = frame([0x12, 0x34]);
        complete(&mut some);
        assert_eq!(some, frame([0xe7, 0xc3]));
        complete(&mut some);
        assert_eq!(some, frame([0xe7, 0xc3]), "a right one stays");
    }

    #[test]
    fn other_frames_stay_as_they_are() {
        let mut fragment = frame([0x12, 0x34]);
        fragment[ETHERNET + 6] = 0x20;
        let mut arp = frame([0x12, 0x34]);
        arp[13] = 0x06;
        for frame in [frame([0, 0]), fragment, arp, frame([1, 1])[..30].to_vec(), vec![0; 5]] {
            let mut completed = frame.clone();
            complete(&mut completed);
            assert_eq!(completed, frame);
        }
    }
}
