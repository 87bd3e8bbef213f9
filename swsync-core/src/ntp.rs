//! NTPv4 packets (RFC 5905 section 7.3), and the extension field that carries what NTP has no field
//! for.
//!
//! The codec holds a packet's fields as they are on the wire and judges none of them; [`crate::sync`]
//! decides what a packet means.

use crate::time::{Rig, Span, Timestamp};

/// Length of the header, without extension fields.
pub const HEADER_LEN: usize = 48;

/// Seconds from the NTP epoch (1900) to the Unix epoch (1970).
const UNIX_EPOCH: i64 = 2_208_988_800;

/// Type of swsync's extension field, from the range 0xF000 to 0xFFFF that IANA keeps for experimental
/// use (RFC 9748).
const RIG_FIELD: u16 = 0xF573;

/// Length of swsync's extension field with its header. 28 is the least that a last field without a
/// MAC may have (RFC 7822 section 7.5.1.4).
pub const RIG_FIELD_LEN: u16 = 28;

/// Length of a packet with swsync's extension field.
pub const ENCODED_LEN: usize = HEADER_LEN + RIG_FIELD_LEN as usize;

/// A client's request.
pub const MODE_CLIENT: u8 = 3;
/// A server's response.
pub const MODE_SERVER: u8 = 4;

/// Why bytes are not an NTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Shorter than a header.
    #[error("{got} bytes, but an NTP header has {HEADER_LEN}")]
    Truncated {
        /// Bytes there were.
        got: usize,
    },
    /// A version that is not spoken here.
    #[error("NTP version {0}, but this is version 4")]
    Version(u8),
    /// An extension field that claims more bytes than there are, or too few for a field.
    #[error("an extension field at byte {at} claims {length} bytes")]
    Extension {
        /// Where it begins.
        at: usize,
        /// What it says.
        length: usize,
    },
}

/// A 64-bit NTP timestamp: seconds since 1900 (modulo 2^32) and a binary fraction.
///
/// Also carries a client's cookie, which is no time at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct NtpTimestamp(pub u64);

impl NtpTimestamp {
    /// The NTP timestamp of `at`, to the nearest 2^-32 s (0.23 ns).
    #[must_use]
    pub fn from_rig(at: Timestamp<Rig>) -> Self {
        let nanos = i128::from(at.as_nanos()) + i128::from(UNIX_EPOCH) * 1_000_000_000;
        let ticks = ((nanos << 32) + 500_000_000).div_euclid(1_000_000_000);
        // The era (bits from 2^64 on) is not on the wire.
        Self(u64::try_from(ticks.rem_euclid(1 << 64)).expect("reduced modulo 2^64"))
    }

    /// The instant nearest to `pivot` with this timestamp: the era is the one that fits (RFC 5905
    /// section 6).
    #[must_use]
    pub fn to_rig(self, pivot: Timestamp<Rig>) -> Timestamp<Rig> {
        let near = Self::from_rig(pivot);
        let ticks = self.0.wrapping_sub(near.0).cast_signed();
        let nanos = (i128::from(ticks) * 1_000_000_000 + (1 << 31)) >> 32;
        pivot + Span::from_nanos(i64::try_from(nanos).expect("2^63 ticks are 2.1e18 ns"))
    }
}

/// What a leader says of its time scale, beyond NTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RigField {
    /// Chosen at random when the rig's time began: another number is another time scale, and clients
    /// begin anew.
    pub timescale: u64,
    /// What the error of the server's idea of rig time may be, 1 sigma; zero for the leader.
    pub uncertainty_ns: u32,
}

/// An NTPv4 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Packet {
    /// Leap indicator: 3 is "not synchronized".
    pub leap: u8,
    /// 3 client, 4 server.
    pub mode: u8,
    /// Distance from the leader: 1 is the leader itself, 0 a kiss-o'-death.
    pub stratum: u8,
    /// log2 of the poll interval in seconds.
    pub poll: i8,
    /// log2 of the clock's precision in seconds.
    pub precision: i8,
    /// Round trip to the primary source, NTP short format.
    pub root_delay: u32,
    /// Error bound against the primary source, NTP short format.
    pub root_dispersion: u32,
    /// Four characters that name the source, or a kiss code.
    pub reference_id: [u8; 4],
    /// When the clock was last set.
    pub reference: NtpTimestamp,
    /// The request's `transmit`, echoed.
    pub origin: NtpTimestamp,
    /// When the request arrived.
    pub receive: NtpTimestamp,
    /// When the response left.
    pub transmit: NtpTimestamp,
    /// swsync's extension field.
    pub rig: Option<RigField>,
}

/// The shortest of `packet`'s encodings: 48 bytes, or 76 with the extension field.
#[must_use]
pub fn encode(packet: &Packet) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ENCODED_LEN);
    bytes.push(packet.leap << 6 | 4 << 3 | packet.mode & 7);
    bytes.push(packet.stratum);
    bytes.push(packet.poll.cast_unsigned());
    bytes.push(packet.precision.cast_unsigned());
    bytes.extend(packet.root_delay.to_be_bytes());
    bytes.extend(packet.root_dispersion.to_be_bytes());
    bytes.extend(packet.reference_id);
    for stamp in [packet.reference, packet.origin, packet.receive, packet.transmit] {
        bytes.extend(stamp.0.to_be_bytes());
    }
    if let Some(rig) = packet.rig {
        bytes.extend(RIG_FIELD.to_be_bytes());
        bytes.extend(RIG_FIELD_LEN.to_be_bytes());
        bytes.extend(rig.timescale.to_be_bytes());
        bytes.extend(rig.uncertainty_ns.to_be_bytes());
        bytes.resize(ENCODED_LEN, 0);
    }
    bytes
}

/// The packet in `bytes`. Extension fields of other types are passed over; a MAC (a last 20 or 24
/// bytes that are no field, RFC 7822 section 7.5.1.4) is not looked at.
///
/// # Errors
/// [`PacketError`] where the bytes are not an NTPv4 packet.
pub fn decode(bytes: &[u8]) -> Result<Packet, PacketError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
        return Err(PacketError::Truncated { got: bytes.len() });
    };
    let version = header[0] >> 3 & 7;
    if version != 4 {
        return Err(PacketError::Version(version));
    }
    let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let stamp =
        |at: usize| NtpTimestamp(u64::from_be_bytes(header[at..at + 8].try_into().expect("eight bytes")));
    Ok(Packet {
        leap: header[0] >> 6,
        mode: header[0] & 7,
        stratum: header[1],
        poll: header[2].cast_signed(),
        precision: header[3].cast_signed(),
        root_delay: word(4),
        root_dispersion: word(8),
        reference_id: header[12..16].try_into().expect("four bytes"),
        reference: stamp(16),
        origin: stamp(24),
        receive: stamp(32),
        transmit: stamp(40),
        rig: decode_fields(rest)?,
    })
}

/// swsync's field among the extension fields in `rest`, the bytes behind the header.
fn decode_fields(rest: &[u8]) -> Result<Option<RigField>, PacketError> {
    /// The longest MAC: a key id and 20 bytes of digest. What is left is a MAC if it is no longer.
    const MAX_MAC: usize = 24;
    let mut at = 0;
    let mut rig = None;
    while rest.len() - at > MAX_MAC {
        let field = &rest[at..];
        let kind = u16::from_be_bytes([field[0], field[1]]);
        let length = usize::from(u16::from_be_bytes([field[2], field[3]]));
        if length < 16 || length % 4 != 0 || length > field.len() {
            return Err(PacketError::Extension { at: HEADER_LEN + at, length });
        }
        if kind == RIG_FIELD {
            rig = Some(RigField {
                timescale: u64::from_be_bytes(field[4..12].try_into().expect("eight bytes")),
                uncertainty_ns: u32::from_be_bytes(field[12..16].try_into().expect("four bytes")),
            });
        }
        at += length;
    }
    Ok(rig)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet() -> Packet {
        Packet {
            leap: 0,
            mode: MODE_SERVER,
            stratum: 1,
            poll: -3,
            precision: -25,
            reference_id: *b"SWSY",
            origin: NtpTimestamp(0x0123_4567_89ab_cdef),
            receive: NtpTimestamp::from_rig(Timestamp::from_nanos(1_800_000_000_123_456_789)),
            transmit: NtpTimestamp(u64::MAX),
            rig: Some(RigField { timescale: 7, uncertainty_ns: 1_000 }),
            ..Packet::default()
        }
    }

    #[test]
    fn the_layout_is_rfc_5905s() {
        let bytes = encode(&packet());
        assert_eq!(bytes.len(), ENCODED_LEN);
        assert_eq!(bytes[0], 0b00_100_100); // leap 0, version 4, mode 4
        assert_eq!(&bytes[12..16], b"SWSY");
        assert_eq!(bytes[24..32], 0x0123_4567_89ab_cdef_u64.to_be_bytes());
        assert_eq!(bytes[48..52], [0xF5, 0x73, 0, 28]);
    }

    #[test]
    fn the_unix_epoch_is_where_it_should_be() {
        assert_eq!(NtpTimestamp::from_rig(Timestamp::ZERO).0 >> 32, 2_208_988_800);
        let half = NtpTimestamp::from_rig(Timestamp::from_nanos(500_000_000));
        assert_eq!(half.0 & 0xffff_ffff, 1 << 31);
    }

    #[test]
    fn the_era_after_2036_is_found_from_the_pivot() {
        let at = Timestamp::<Rig>::from_nanos(2_100_000_000_000_000_001); // in 2036, era 1
        let pivot = at + Span::from_secs(86_400 * 300);
        assert_eq!(NtpTimestamp::from_rig(at).to_rig(pivot), at);
    }

    #[test]
    fn bad_bytes_are_named() {
        assert_eq!(decode(&[0x23; 47]), Err(PacketError::Truncated { got: 47 }));
        assert_eq!(decode(&[0x1b; 48]), Err(PacketError::Version(3)));
        let mut bytes = encode(&packet());
        bytes[51] = 200;
        assert_eq!(decode(&bytes), Err(PacketError::Extension { at: 48, length: 200 }));
        bytes[51] = 0;
        assert_eq!(decode(&bytes), Err(PacketError::Extension { at: 48, length: 0 }));
    }

    #[test]
    fn a_mac_is_no_extension_field() {
        let mut bytes = encode(&Packet { rig: None, ..packet() });
        bytes.extend([0, 0, 0, 1]);
        bytes.extend([0xaa; 16]);
        assert_eq!(decode(&bytes).unwrap().rig, None);
    }

    proptest! {
        #[test]
        fn what_decodes_decodes_again_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
            if let Ok(packet) = decode(&bytes) {
                let again = encode(&packet);
                prop_assert_eq!(decode(&again).unwrap(), packet);
            }
        }

        #[test]
        fn times_survive_to_the_nanosecond(ns in 0_i64..4_000_000_000_000_000_000, away in -1_000_000_000_000_i64..1_000_000_000_000) {
            let at = Timestamp::<Rig>::from_nanos(ns);
            let pivot = at + Span::from_nanos(away);
            prop_assert_eq!(NtpTimestamp::from_rig(at).to_rig(pivot), at);
        }
    }
}
