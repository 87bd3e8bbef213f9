//! The units that a frame's bytes consist of: NAL units of H.264 and H.265, open bitstream units of AV1.

/// Offset of the first start code.
pub fn start_code(bytes: &[u8]) -> Option<usize> {
    bytes.windows(3).position(|window| window == [0, 0, 1])
}

/// The NAL units of a frame that are not empty. With start codes, each goes on to the end of the frame: the search for the
/// next start code is left out as long as nobody needs it, because a picture is long.
pub fn nal_units(bytes: &[u8], length_size: Option<usize>) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let unit = match length_size {
            Some(size) => {
                let (length, behind) = rest.split_at_checked(size)?;
                let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
                let (unit, behind) = behind.split_at(length.min(behind.len()));
                rest = behind;
                unit
            }
            None => {
                let begin = start_code(rest)? + 3;
                rest = &rest[begin..];
                rest
            }
        };
        Some(unit)
    })
    .filter(|unit| !unit.is_empty())
}

/// Types and payloads of supplemental enhancement information (ITU-T H.264, 7.3.2.3.1). Payloads still have their emulation
/// prevention bytes, and empty ones are left out.
pub fn sei_messages(mut rest: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    /// A number as the sum of bytes, the last of which is not 0xff.
    fn number(rest: &mut &[u8]) -> Option<usize> {
        let mut sum = 0;
        loop {
            let (byte, behind) = rest.split_first()?;
            *rest = behind;
            sum += usize::from(*byte);
            if *byte != 0xff {
                return Some(sum);
            }
        }
    }
    std::iter::from_fn(move || {
        let (kind, size) = (number(&mut rest)?, number(&mut rest)?);
        let (payload, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        (!payload.is_empty()).then_some((kind, payload))
    })
}

/// Types and payloads of AV1's open bitstream units in the low-overhead format (section 5.3).
pub struct Obus<'a>(pub &'a [u8]);

impl<'a> Iterator for Obus<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (header, mut rest) = self.0.split_first()?;
        // obu_extension_flag
        if header & 0x04 != 0 {
            rest = rest.get(1..)?;
        }
        let mut size = rest.len();
        // obu_has_size_field: leb128
        if header & 0x02 != 0 {
            size = 0;
            for shift in 0..8 {
                let (byte, behind) = rest.split_first()?;
                rest = behind;
                size |= usize::from(byte & 0x7f) << (7 * shift);
                if byte & 0x80 == 0 {
                    break;
                }
            }
        }
        let (payload, behind) = rest.split_at_checked(size)?;
        self.0 = behind;
        Some((header >> 3 & 0x0f, payload))
    }
}
