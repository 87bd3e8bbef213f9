//! swsync's NTP extension field: a server's time scale, leader, path and uncertainty.

/// Type of the field, from the range 0xF000 to 0xFFFF that IANA keeps for experimental use (RFC 9748).
pub(super) const RIG_FIELD: u16 = 0xF573;

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
/// | 28..32 | uncertainty |
/// | 32 | number of hops |
/// | 33 | 1: not settled; the other bits are zero |
/// | 34..36 | zero |
/// | 36..100 | hops |
pub const RIG_FIELD_LEN: usize = 36 + 8 * MAX_HOPS;

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

/// swsync's extension field. In a request only `rig` has a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RigField {
    /// [`rig_id`] of the rig's name; 0 is unknown.
    pub rig: u64,
    /// Id of the time scale: chosen at random when the rig's time began. When it changes, clients begin anew.
    pub timescale: u64,
    /// Id of the device whose clock defines rig time; 0 is unknown.
    pub leader: u64,
    /// The path from the leader to the server, including the server unless it leads.
    pub path: ServerPath,
    /// Error of the server's rig time, 1 sigma; zero for the leader.
    pub uncertainty_ns: u32,
    /// The server's clock is not in rig time: it stands still, is being corrected, is in holdover, or has just been stepped.
    /// Clients follow it, but do not count as synced.
    pub unsettled: bool,
}

impl RigField {
    pub(super) fn to_bytes(self) -> [u8; RIG_FIELD_LEN] {
        let mut bytes = [0; RIG_FIELD_LEN];
        let length = u16::try_from(RIG_FIELD_LEN).expect("100 bytes");
        bytes[0..2].copy_from_slice(&RIG_FIELD.to_be_bytes());
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.rig.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.timescale.to_be_bytes());
        bytes[20..28].copy_from_slice(&self.leader.to_be_bytes());
        bytes[28..32].copy_from_slice(&self.uncertainty_ns.to_be_bytes());
        bytes[32] = self.path.len;
        bytes[33] = u8::from(self.unsettled);
        let (places, _) = bytes[36..].as_chunks_mut();
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
        let mut hops = [0; MAX_HOPS];
        for (i, hop) in hops.iter_mut().enumerate() {
            *hop = long(36 + 8 * i);
        }
        Some(Self {
            rig: long(4),
            timescale: long(12),
            leader: long(20),
            path: ServerPath::new(hops.get(..usize::from(bytes[32]))?)?,
            uncertainty_ns: u32::from_be_bytes(bytes[28..32].try_into().expect("four bytes")),
            unsettled: bytes[33] & 1 == 1,
        })
    }
}
