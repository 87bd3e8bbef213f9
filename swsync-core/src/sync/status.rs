//! What a server says of its clock, and what a client has been told.

use super::client::ClockUpdate;
use crate::frame::SyncQuality;
use crate::ntp::{self, NtpShort, Path, RigField};
use crate::time::{Local, Rig, Span, Timestamp};

/// Stratum of a server that does not know the time.
pub(super) const UNSYNCHRONIZED: u8 = 16;

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// [`ntp::rig_id`] of the rig.
    pub rig: u64,
    /// This device: random, or a hash of its name.
    pub device: u64,
    /// A random number of this device: names the time scale where it is the one that defines it.
    pub timescale: u64,
}

/// What the server that a client follows says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream {
    /// Distance from the leader: 1 is the leader itself.
    pub stratum: u8,
    /// Four characters that name its source.
    pub reference_id: [u8; 4],
    /// Round trip from it to its primary source.
    pub root_delay: Span,
    /// Its error bound against the primary source.
    pub root_dispersion: Span,
    /// What it says of its time scale; `None`: it is no server of swsync's.
    pub field: Option<RigField>,
}

impl Upstream {
    /// Whether the server is in sync itself, as far as it says.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.field.is_none_or(|field| !field.unsettled)
    }

    /// What the error of the server itself may be, 1 sigma.
    ///
    /// A server that does not say has a dispersion, which is a bound: a third of it, and of half the
    /// round trip to its source.
    #[must_use]
    pub fn uncertainty(&self) -> Span {
        match self.field {
            Some(field) => Span::from_nanos(i64::from(field.uncertainty_ns)),
            None => (self.root_dispersion + self.root_delay / 2) / 3,
        }
    }
}

/// What a server says of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerStatus {
    /// 3: not synchronized.
    pub leap: u8,
    /// 1: the leader. 16: not synchronized.
    pub stratum: u8,
    /// Names the source.
    pub reference_id: [u8; 4],
    /// When the clock was last set.
    pub reference: Timestamp<Rig>,
    /// Round trip to the leader.
    pub root_delay: NtpShort,
    /// Error bound against the leader.
    pub root_dispersion: NtpShort,
    /// What NTP has no field for.
    pub field: RigField,
}

impl ServerStatus {
    /// Of one that does not know the time: nobody must follow.
    #[must_use]
    pub fn unsynchronized(identity: &Identity) -> Self {
        Self {
            leap: ntp::LEAP_UNSYNCHRONIZED,
            stratum: UNSYNCHRONIZED,
            reference_id: *b"INIT",
            reference: Timestamp::ZERO,
            root_delay: NtpShort::default(),
            root_dispersion: NtpShort(u32::MAX),
            field: RigField { rig: identity.rig, ..RigField::default() },
        }
    }

    /// Of the leader, which began to lead at `since`.
    #[must_use]
    pub fn leading(identity: &Identity, since: Timestamp<Rig>) -> Self {
        Self {
            leap: 0,
            stratum: 1,
            reference_id: *b"SWSY",
            reference: since,
            root_delay: NtpShort::default(),
            root_dispersion: NtpShort::default(),
            field: RigField {
                rig: identity.rig,
                timescale: identity.timescale,
                leader: identity.device,
                path: Path::default(),
                ..RigField::default()
            },
        }
    }

    /// Of a client that serves in turn what it knows of rig time by `update` when its local clock reads
    /// `now`: one stratum further than its server. Not synchronized where the client never was, or too many servers
    /// are between it and the leader; in holdover it is not settled, with growing uncertainty.
    ///
    /// Where the client's server is not of swsync's, this device is the rig's leader.
    #[must_use]
    pub fn following(identity: &Identity, update: &ClockUpdate, now: Timestamp<Local>) -> Self {
        let upstream = update.upstream;
        let uncertainty = update.uncertainty_at(now);
        let (timescale, leader, path) = match upstream.field {
            Some(field) => (field.timescale, field.leader, field.path.then(identity.device)),
            None => (identity.timescale, identity.device, Some(Path::default())),
        };
        let known = matches!(update.quality, SyncQuality::Synced | SyncQuality::Holdover);
        let stratum = upstream.stratum.saturating_add(1);
        let (true, Some(path), true) = (known, path, stratum < UNSYNCHRONIZED) else {
            return Self::unsynchronized(identity);
        };
        // What the asymmetry of the path may add is within half the root delay, as in RFC 5905.
        let dispersion = upstream.root_dispersion + uncertainty * 3;
        // The reference's own name where one is followed, or else part of the id of the server.
        let server = |field: RigField| field.path.hops().last().copied().unwrap_or(field.leader);
        let reference_id = match upstream.stratum {
            0 => upstream.reference_id,
            _ => {
                let id = upstream.field.map_or(0, server).to_be_bytes();
                [id[4], id[5], id[6], id[7]]
            }
        };
        Self {
            leap: 0,
            stratum,
            reference_id,
            reference: update.map.rig_at(update.estimate.at),
            root_delay: NtpShort::from_span(upstream.root_delay + update.estimate.least_delay),
            root_dispersion: NtpShort::from_span(dispersion),
            field: RigField {
                rig: identity.rig,
                timescale,
                leader,
                path,
                uncertainty_ns: u32::try_from(uncertainty.as_nanos()).unwrap_or(u32::MAX),
                unsettled: update.quality != SyncQuality::Synced,
            },
        }
    }
}
