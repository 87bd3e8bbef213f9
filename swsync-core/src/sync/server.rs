//! The answering side: stateless, one response per request and never longer than it.

use crate::ntp::{self, NtpTimestamp, Packet, PacketError, RigField};
use crate::time::{Rig, Timestamp};

/// Answers requests for rig time.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    timescale: u64,
    started: Timestamp<Rig>,
}

/// log2 of the precision of rig time in seconds: about 30 ns, the cost of reading a clock.
const PRECISION: i8 = -25;

impl Server {
    /// A server of the time scale `timescale` (a random number: see [`RigField::timescale`]) that began
    /// at `started`.
    #[must_use]
    pub const fn new(timescale: u64, started: Timestamp<Rig>) -> Self {
        Self { timescale, started }
    }

    /// The response to the request `bytes` that arrived at `received`, if it leaves at `transmit`.
    /// `None` for what is well-formed but no request: answering responses would let two servers
    /// ping-pong for ever.
    ///
    /// # Errors
    /// [`PacketError`] where the bytes are no NTPv4 packet.
    pub fn respond(
        &self,
        bytes: &[u8],
        received: Timestamp<Rig>,
        transmit: Timestamp<Rig>,
    ) -> Result<Option<Vec<u8>>, PacketError> {
        let request = ntp::decode(bytes)?;
        if request.mode != ntp::MODE_CLIENT {
            return Ok(None);
        }
        let response = Packet {
            mode: ntp::MODE_SERVER,
            stratum: 1,
            poll: request.poll,
            precision: PRECISION,
            reference_id: *b"SWSY",
            reference: NtpTimestamp::from_rig(self.started),
            origin: request.transmit,
            receive: NtpTimestamp::from_rig(received),
            transmit: NtpTimestamp::from_rig(transmit),
            // Only to those who sent one: no response is longer than its request.
            rig: request.rig.map(|_| RigField { timescale: self.timescale, uncertainty_ns: 0 }),
            ..Packet::default()
        };
        Ok(Some(ntp::encode(&response)))
    }
}
