//! The codec of NTPv4 packets (RFC 5905 section 7.3), with swsync's extension field ([`RigField`]) and the message
//! authentication code ([`Mac`]).
//!
//! The codec does not interpret the fields; [`crate::time_service`] does. It does not allocate.

mod mac;
mod rig_field;
mod time;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Deref;

pub use mac::{Key, KeyError, Keys, MAC_LEN, Mac};
pub use rig_field::{MAX_HOPS, RIG_FIELD_LEN, RigField, ServerPath, rig_id};
pub use time::{NtpShort, NtpTimestamp};

/// Length of the header, without extension fields.
pub const HEADER_LEN: usize = 48;

/// Length of the longest packet that is sent: header, swsync's extension field, MAC.
pub const MAX_LEN: usize = HEADER_LEN + RIG_FIELD_LEN + MAC_LEN;

/// The protocol version of sent packets. Version 3, which only lacks extension fields, is understood too.
pub const VERSION: u8 = 4;

/// A client's request.
pub const MODE_CLIENT: u8 = 3;
/// A server's response.
pub const MODE_SERVER: u8 = 4;

/// Leap indicator: the server is not synchronized.
pub const LEAP_UNSYNCHRONIZED: u8 = 3;

/// Why bytes are not an NTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Shorter than a header.
    #[error("{got} bytes, but an NTP header has {HEADER_LEN}")]
    Truncated {
        /// Number of bytes.
        got: usize,
    },
    /// An unsupported version.
    #[error("NTP version {0}, but this is version 4")]
    Version(u8),
    /// An extension field that claims more bytes than there are, or too few for a field.
    #[error("an extension field at byte {at} claims {length} bytes")]
    Extension {
        /// Where it begins.
        at: usize,
        /// Its stated length.
        length: usize,
    },
    /// The last bytes are neither an extension field nor a MAC.
    #[error("{length} bytes at byte {at} are neither an extension field nor a MAC")]
    Trailing {
        /// Where they begin.
        at: usize,
        /// Number of bytes.
        length: usize,
    },
}

/// An NTP packet without its MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Leap indicator: 3 is "not synchronized".
    pub leap: u8,
    /// Version of the protocol: 4, or 3 of an old client.
    pub version: u8,
    /// 3 client, 4 server.
    pub mode: u8,
    /// Distance from the leader: 1 is the leader itself, 0 a kiss-o'-death, 16 not synchronized.
    pub stratum: u8,
    /// log2 of the poll interval in seconds.
    pub poll: i8,
    /// log2 of the clock's precision in seconds.
    pub precision: i8,
    /// Round trip to the primary source.
    pub root_delay: NtpShort,
    /// Error bound relative to the primary source.
    pub root_dispersion: NtpShort,
    /// Four characters that name the source, or a kiss code.
    pub reference_id: [u8; 4],
    /// When the clock was last set.
    pub reference: NtpTimestamp,
    /// In a response: the request's `transmit`, or in interleaved mode its `receive`, echoed.
    pub origin: NtpTimestamp,
    /// When the request arrived.
    pub receive: NtpTimestamp,
    /// When the response left; in interleaved mode, when the previous response left.
    pub transmit: NtpTimestamp,
    /// swsync's extension field.
    pub rig: Option<RigField>,
}

impl Default for Packet {
    fn default() -> Self {
        Self {
            leap: 0,
            version: VERSION,
            mode: 0,
            stratum: 0,
            poll: 0,
            precision: 0,
            root_delay: NtpShort::default(),
            root_dispersion: NtpShort::default(),
            reference_id: [0; 4],
            reference: NtpTimestamp::default(),
            origin: NtpTimestamp::default(),
            receive: NtpTimestamp::default(),
            transmit: NtpTimestamp::default(),
            rig: None,
        }
    }
}

/// What follows a packet's extension fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trailer<'a> {
    /// Nothing: the packet is not authenticated.
    Nothing,
    /// A key id of zero alone: the server could not verify the request's MAC (RFC 5905 section 7.3).
    CryptoNak,
    /// A MAC, not yet verified.
    Mac(Mac<'a>),
}

/// The bytes of a packet, ready to be sent.
#[derive(Clone, Copy)]
pub struct Datagram {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Datagram {
    const fn new() -> Self {
        Self { bytes: [0; MAX_LEN], len: 0 }
    }

    /// Appends `bytes`, which must fit.
    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }

    /// This datagram with the MAC of `key` appended.
    #[must_use]
    pub fn sealed(mut self, key: &Key) -> Self {
        let digest = key.digest(&self);
        self.push(&key.id().to_be_bytes());
        self.push(&digest);
        self
    }

    /// This datagram with a crypto-NAK in place of a MAC.
    #[must_use]
    pub fn with_crypto_nak(mut self) -> Self {
        self.push(&[0; 4]);
        self
    }
}

impl Deref for Datagram {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
impl PartialEq for Datagram {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
impl Eq for Datagram {}
impl fmt::Debug for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Datagram({:02x?})", &**self)
    }
}

/// The bytes of `packet`: 48, or 148 with the extension field. [`Datagram::sealed`] adds a MAC.
#[must_use]
pub fn encode(packet: &Packet) -> Datagram {
    let mut datagram = Datagram::new();
    datagram.push(&[
        packet.leap << 6 | (packet.version & 7) << 3 | packet.mode & 7,
        packet.stratum,
        packet.poll.cast_unsigned(),
        packet.precision.cast_unsigned(),
    ]);
    datagram.push(&packet.root_delay.0.to_be_bytes());
    datagram.push(&packet.root_dispersion.0.to_be_bytes());
    datagram.push(&packet.reference_id);
    for stamp in [packet.reference, packet.origin, packet.receive, packet.transmit] {
        datagram.push(&stamp.0.to_be_bytes());
    }
    if let Some(rig) = &packet.rig {
        datagram.push(&rig.to_bytes());
    }
    datagram
}

/// The packet in `bytes`, and what follows its extension fields. Extension fields of other types are skipped.
///
/// # Errors
/// [`PacketError`] if the bytes are not an NTP packet.
pub fn decode(bytes: &[u8]) -> Result<(Packet, Trailer<'_>), PacketError> {
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
        return Err(PacketError::Truncated { got: bytes.len() });
    };
    let version = header[0] >> 3 & 7;
    if version != VERSION && version != 3 {
        return Err(PacketError::Version(version));
    }
    let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let stamp =
        |at: usize| NtpTimestamp(u64::from_be_bytes(header[at..at + 8].try_into().expect("eight bytes")));
    let (rig, trailer) = decode_trailer(bytes, version)?;
    let packet = Packet {
        leap: header[0] >> 6,
        version,
        mode: header[0] & 7,
        stratum: header[1],
        poll: header[2].cast_signed(),
        precision: header[3].cast_signed(),
        root_delay: NtpShort(word(4)),
        root_dispersion: NtpShort(word(8)),
        reference_id: header[12..16].try_into().expect("four bytes"),
        reference: stamp(16),
        origin: stamp(24),
        receive: stamp(32),
        transmit: stamp(40),
        rig,
    };
    Ok((packet, trailer))
}

/// swsync's field among the extension fields, and what follows them.
///
/// RFC 7822 section 7.5.1.4: the rest is a MAC if it is not longer than the longest MAC. That is why the last field of a packet
/// without a MAC has at least 28 bytes.
fn decode_trailer(bytes: &[u8], version: u8) -> Result<(Option<RigField>, Trailer<'_>), PacketError> {
    /// The longest MAC: a key id and 20 bytes of digest.
    const LONGEST_MAC: usize = 24;
    /// The shortest field: RFC 7822 section 7.5.
    const SHORTEST_FIELD: usize = 16;
    let mut at = HEADER_LEN;
    let mut rig = None;
    while version == VERSION && bytes.len() - at > LONGEST_MAC {
        let field = &bytes[at..];
        let kind = u16::from_be_bytes([field[0], field[1]]);
        let length = usize::from(u16::from_be_bytes([field[2], field[3]]));
        if length < SHORTEST_FIELD || length % 4 != 0 || length > field.len() {
            return Err(PacketError::Extension { at, length });
        }
        if kind == rig_field::RIG_FIELD {
            rig = RigField::from_bytes(&field[..length]);
        }
        at += length;
    }
    let rest = &bytes[at..];
    let trailer = match rest.len() {
        0 => Trailer::Nothing,
        4 if rest == [0; 4] => Trailer::CryptoNak,
        20 | LONGEST_MAC => Trailer::Mac(Mac::new(&bytes[..at], rest)),
        length => return Err(PacketError::Trailing { at, length }),
    };
    Ok((rig, trailer))
}
