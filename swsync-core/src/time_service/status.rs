//! What a server tells its clients about its clock.

use super::client::ClockUpdate;
use super::scale::Scale;
use super::state::SyncState;
use super::upstream::UNSYNCHRONIZED;
use crate::ntp::{self, NtpShort, RigField, ServerPath};
use crate::time::{Local, Rig, Timestamp};

/// Identifies a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// [`ntp::rig_id`] of the rig.
    pub rig: u64,
    /// This time server: random.
    pub device: u64,
    /// The id of the time scale that this device begins if it leads: random, or that of the source which it follows
    /// ([`Scale::id_of_source`]).
    pub timescale: u64,
}

/// What a server tells its clients about its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerStatus {
    /// 3: not synchronized.
    pub leap: u8,
    /// Distance from the leader: 1 is the leader itself, 16 not synchronized.
    pub stratum: u8,
    /// Names the source.
    pub reference_id: [u8; 4],
    /// When the clock was last set.
    pub reference: Timestamp<Rig>,
    /// Round trip to the leader.
    pub root_delay: NtpShort,
    /// Error bound relative to the leader.
    pub root_dispersion: NtpShort,
    /// The time scale, in swsync's extension field.
    pub field: RigField,
}

impl ServerStatus {
    /// The status of a server that does not know the time: nobody must follow it.
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

    /// The status of the leader, which has led since `since`.
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
                began: since,
                ..RigField::default()
            },
        }
    }

    /// The status of a client that serves rig time in turn, one stratum below its server, by `update` when its local clock
    /// reads `now`.
    ///
    /// It is unsynchronized if the client never was synced or the path to the leader is too long. In holdover it is
    /// unsettled, with growing uncertainty. If the client's server is not a swsync server, this device leads its rig.
    #[must_use]
    pub fn following(identity: &Identity, update: &ClockUpdate, now: Timestamp<Local>) -> Self {
        let upstream = update.upstream;
        let uncertainty = update.uncertainty_at(now);
        let (scale, leader, path) = match upstream.field {
            Some(field) => (Scale::of(&field), field.leader, field.path.then(identity.device)),
            None => (Scale::of_source(identity.timescale), identity.device, Some(ServerPath::default())),
        };
        let known = matches!(update.quality, SyncState::Synced | SyncState::Holdover);
        let stratum = upstream.stratum.saturating_add(1);
        let (true, Some(path), true) = (known, path, stratum < UNSYNCHRONIZED) else {
            return Self::unsynchronized(identity);
        };
        // Asymmetry of the path adds at most half the root delay, as in RFC 5905.
        let dispersion = upstream.root_dispersion + uncertainty * 3;
        // The name of a reference clock, or else part of the server's id.
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
                timescale: scale.id,
                began: scale.began,
                traceable: scale.traceable,
                leader,
                path,
                uncertainty_ns: u32::try_from(uncertainty.as_nanos()).unwrap_or(u32::MAX),
                unsettled: update.quality != SyncState::Synced,
                rate_uncertainty_ppb: upstream.field.map_or(0, |field| field.rate_uncertainty_ppb),
                ..RigField::default()
            },
        }
    }
}
