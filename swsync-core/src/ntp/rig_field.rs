//! swsync's NTP extension field: what a device knows of the rig's time scale.

use crate::time::{Rig, Skew, Span, Timestamp};

/// Type of the field, from the range 0xF000 to 0xFFFF that IANA keeps for experimental use (RFC 9748).
pub(super) const RIG_FIELD: u16 = 0xF574;

/// Most servers on the path between a client and the leader.
pub const MAX_HOPS: usize = 8;

/// Length of the field with its header. It is constant, because a request has to be as long as its response, and longer than
/// the 28 bytes that a last field without a MAC needs (RFC 7822 section 7.5.1.4).
///
/// | bytes | |
/// | --- | --- |
/// | 0..4 | type, length |
/// | 4..12 | rig |
/// | 12..20 | time scale |
/// | 20..28 | leader |
/// | 28..36 | when the time scale began, in ns of rig time |
/// | 36..40 | uncertainty, ns |
/// | 40 | number of hops |
/// | 41 | 1: not settled; 2: the time scale follows a source outside the rig; the other bits are zero |
/// | 42..44 | how long ago the sender knew that the leader was alive, ms; 65 535: longer, or never |
/// | 44..46 | UDP port where the sender of a request serves time; 0: it does not |
/// | 46..48 | shortest poll interval that a server grants, ms; 0: any |
/// | 48..52 | uncertainty of the leader's rate, ns/s |
/// | 52..116 | hops |
pub const RIG_FIELD_LEN: usize = HOPS + 8 * MAX_HOPS;

/// Where the hops begin.
const HOPS: usize = 52;

/// A rig's id: the 64-bit FNV-1a hash of its name. It distinguishes rigs on one network; it does not protect against attackers,
/// which is what keys are for.
#[must_use]
pub const fn rig_id(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    hash
}

/// The servers from the leader to a client, nearest to the leader first, without the leader itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerPath {
    hops: [u64; MAX_HOPS],
    len: u8,
}

impl ServerPath {
    /// The path through `hops`; `None` if there are more than [`MAX_HOPS`].
    #[must_use]
    pub fn new(hops: &[u64]) -> Option<Self> {
        let mut path = Self { hops: [0; MAX_HOPS], len: u8::try_from(hops.len()).ok()? };
        path.hops.get_mut(..hops.len())?.copy_from_slice(hops);
        Some(path)
    }

    /// The servers' ids.
    #[must_use]
    pub fn hops(&self) -> &[u64] {
        &self.hops[..usize::from(self.len)]
    }

    /// This path, extended by `server`; `None` if it would be too long.
    #[must_use]
    pub fn then(mut self, server: u64) -> Option<Self> {
        *self.hops.get_mut(usize::from(self.len))? = server;
        self.len += 1;
        Some(self)
    }
}

/// swsync's extension field. A server describes its clock with it; a client does the same in its requests, so that a leader that
/// comes back learns from its clients that the rig has a time scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RigField {
    /// [`rig_id`] of the rig's name; 0 is unknown.
    pub rig: u64,
    /// Id of the time scale: chosen at random when the rig's time began. 0: the sender knows none.
    pub timescale: u64,
    /// Id of the device that leads the rig; 0 is unknown.
    pub leader: u64,
    /// When the time scale began, by itself. Rig time minus this is its age.
    pub began: Timestamp<Rig>,
    /// The time scale follows a source outside the rig (NTP, PTP, the system's clock).
    pub traceable: bool,
    /// The path from the leader to the sender, including the sender unless it leads.
    pub path: ServerPath,
    /// Error of the sender's rig time, 1 sigma; zero for the leader.
    pub uncertainty_ns: u32,
    /// The sender's clock is not in rig time: it stands still, is being corrected, is in holdover, or has just been stepped.
    /// Clients follow it, but do not count as synced.
    pub unsettled: bool,
    /// How long ago the sender knew that the leader was alive, by what it heard from it or from others; of the leader, zero. In ms
    /// on the wire, at most 65 535.
    pub silence: Span,
    /// In a request: the UDP port where the sender serves time itself; 0: it does not.
    pub port: u16,
    /// In a response: the shortest poll interval that the server grants each client, in ms; 0: any.
    pub least_poll_ms: u16,
    /// How far the leader's rate may be from that of the leader before it, 1 sigma, in ns/s; zero if it began the time scale.
    pub rate_uncertainty_ppb: u32,
}

impl Default for RigField {
    /// A sender that knows nothing.
    fn default() -> Self {
        Self {
            rig: 0,
            timescale: 0,
            leader: 0,
            began: Timestamp::ZERO,
            traceable: false,
            path: ServerPath::default(),
            uncertainty_ns: 0,
            unsettled: false,
            silence: Span::ZERO,
            port: 0,
            least_poll_ms: 0,
            rate_uncertainty_ppb: 0,
        }
    }
}

impl RigField {
    /// Id of the sender.
    #[must_use]
    pub fn server(&self) -> u64 {
        self.path.hops().last().copied().unwrap_or(self.leader)
    }

    /// The shortest poll interval that the server grants.
    #[must_use]
    pub fn least_poll(&self) -> Span {
        Span::from_millis(i64::from(self.least_poll_ms))
    }

    /// How far the leader's rate may be from that of the leader before it, 1 sigma.
    #[must_use]
    pub fn rate_uncertainty(&self) -> Skew {
        Skew::from_ratio(f64::from(self.rate_uncertainty_ppb) * 1e-9)
    }

    pub(super) fn to_bytes(self) -> [u8; RIG_FIELD_LEN] {
        let mut bytes = [0; RIG_FIELD_LEN];
        let length = u16::try_from(RIG_FIELD_LEN).expect("116 bytes");
        bytes[0..2].copy_from_slice(&RIG_FIELD.to_be_bytes());
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.rig.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.timescale.to_be_bytes());
        bytes[20..28].copy_from_slice(&self.leader.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.began.as_nanos().to_be_bytes());
        bytes[36..40].copy_from_slice(&self.uncertainty_ns.to_be_bytes());
        bytes[40] = self.path.len;
        bytes[41] = u8::from(self.unsettled) | u8::from(self.traceable) << 1;
        let silence = u16::try_from(self.silence.as_nanos() / 1_000_000).unwrap_or(u16::MAX);
        bytes[42..44].copy_from_slice(&silence.to_be_bytes());
        bytes[44..46].copy_from_slice(&self.port.to_be_bytes());
        bytes[46..48].copy_from_slice(&self.least_poll_ms.to_be_bytes());
        bytes[48..HOPS].copy_from_slice(&self.rate_uncertainty_ppb.to_be_bytes());
        let (places, _) = bytes[HOPS..].as_chunks_mut();
        for (place, hop) in places.iter_mut().zip(self.path.hops()) {
            *place = hop.to_be_bytes();
        }
        bytes
    }

    /// The field in `bytes`, which begin with its type. `None` if they are too short or have too many hops: that is another
    /// version's field, to be skipped like one of unknown type.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<RIG_FIELD_LEN>()?;
        let long = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let short = |at: usize| u16::from_be_bytes(bytes[at..at + 2].try_into().expect("two bytes"));
        let mut hops = [0; MAX_HOPS];
        for (i, hop) in hops.iter_mut().enumerate() {
            *hop = long(HOPS + 8 * i);
        }
        Some(Self {
            rig: long(4),
            timescale: long(12),
            leader: long(20),
            began: Timestamp::from_nanos(long(28).cast_signed()),
            traceable: bytes[41] & 2 == 2,
            path: ServerPath::new(hops.get(..usize::from(bytes[40]))?)?,
            uncertainty_ns: word(36),
            unsettled: bytes[41] & 1 == 1,
            silence: Span::from_millis(i64::from(short(42))),
            port: short(44),
            least_poll_ms: short(46),
            rate_uncertainty_ppb: word(48),
        })
    }
}
