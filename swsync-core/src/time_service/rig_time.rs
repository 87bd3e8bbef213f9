//! Rig time on one device: what its clock reads, how well it is known, and what a server tells of it.

use super::client::{ClockUpdate, sleep_uncertainty};
use super::scale::Scale;
use super::state::SyncState;
use super::status::{Identity, ServerStatus};
use crate::estimate::CRYSTALS;
use crate::ntp::NtpShort;
use crate::servo::{Adjustment, ClockMap};
use crate::status::{ClockStatus, TimeSource};
use crate::time::{Local, Rig, Skew, Span, Timestamp};

/// After a step, a clock that is served to others counts as in sync again only after this long. By then every client has
/// polled it and learnt of the step, or has noticed that it lost its server: this is the slowest poll, and the silence
/// after which a server counts as lost.
const STEP_ANNOUNCED: Span = Span::from_secs(8);

/// A leader that has slept counts as in sync again after this long: by then it has heard whether another one leads the rig.
pub(super) const AFTER_SLEEP: Span = Span::from_secs(5);

/// A map that runs slower takes over from one that was read a moment ago by standing still for less than this.
const SHORT_HOLD: Span = Span::from_micros(50);

/// Below every time.
const NO_FLOOR: Timestamp<Rig> = Timestamp::from_nanos(i64::MIN);

/// Rig time as a function of the local clock, with all that is known of it.
#[derive(Debug, Clone, Copy)]
pub struct RigTime {
    map: ClockMap,
    quality: SyncState,
    update: Option<ClockUpdate>,
    leads: Option<Leadership>,
    /// What had been read by the old map when this one was set.
    floor: Timestamp<Rig>,
    /// When the clock was last stepped, and how often.
    stepped: Option<Timestamp<Local>>,
    steps: u64,
    /// When the device last woke up, and how long it had slept.
    resumed: Option<(Timestamp<Local>, Span)>,
    /// The leader that was last known to be alive, and when that was.
    leader_alive: Option<(u64, Timestamp<Local>)>,
    /// The server that serves this clock to others, if there is one.
    server: Option<Identity>,
    /// As client and server of this device apply it; kept here to be shown.
    path_offset: Span,
}

/// This device defines rig time.
#[derive(Debug, Clone, Copy)]
struct Leadership {
    since: Timestamp<Rig>,
    scale: Scale,
    /// How far its rate may be from that of the leader before, 1 sigma.
    rate_uncertainty: Skew,
}

/// Where the time of a leader starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LeadStart {
    /// It goes on in this time scale, from what the clock reads and at the rate that it has found: no reader sees a change.
    GoOn(Scale),
    /// A new time scale with this id begins at this wall clock, at the local rate.
    Begin {
        /// The wall clock.
        wall: Timestamp<Rig>,
        /// The id.
        id: u64,
    },
}

impl RigTime {
    /// A clock that is not synced: it reads `wall` from `now` on.
    #[must_use]
    pub const fn unsynced(now: Timestamp<Local>, wall: Timestamp<Rig>) -> Self {
        Self {
            map: ClockMap::fixed(now, wall),
            quality: SyncState::Unsynced,
            update: None,
            leads: None,
            floor: NO_FLOOR,
            stepped: None,
            steps: 0,
            resumed: None,
            leader_alive: None,
            server: None,
            path_offset: Span::ZERO,
        }
    }

    /// The client and the server of this device apply this path offset: [`Self::status`] shows it.
    pub const fn set_path_offset(&mut self, path_offset: Span) {
        self.path_offset = path_offset;
    }

    /// The clock is served to others as `identity`.
    pub const fn serve_as(&mut self, identity: Identity) {
        self.server = Some(identity);
    }

    /// How well rig time is known. A clock is not in sync while it stands still, nor while its clients may not know of its
    /// last step.
    #[must_use]
    pub fn quality(&self, now: Timestamp<Local>) -> SyncState {
        // Whoever follows a server of the rig passes its time scale on: a step of its own is no news to its clients.
        let serves_own = self.server.is_some() && self.update.is_some_and(|it| it.upstream.field.is_none());
        let step_is_known = self.stepped.is_none_or(|stepped| !serves_own || now - stepped >= STEP_ANNOUNCED);
        match self.quality {
            SyncState::Leading if self.has_just_resumed(now) => SyncState::Holdover,
            SyncState::Synced if !step_is_known || self.now(now) - self.map.line_at(now) > SHORT_HOLD => {
                SyncState::Holdover
            }
            quality => quality,
        }
    }

    /// Whether a leader's time is what the boot-time clock made of a sleep, and others may know better.
    fn has_just_resumed(&self, now: Timestamp<Local>) -> bool {
        self.resumed.is_some_and(|(at, _)| now - at < AFTER_SLEEP)
    }

    /// Uncertainty of a leader's time. It defines rig time, but may have lost it in its sleep.
    fn sleep_uncertainty(&self, now: Timestamp<Local>) -> Span {
        let resumed = self.resumed.filter(|_| self.has_just_resumed(now));
        resumed.map_or(Span::ZERO, |(_, slept)| sleep_uncertainty(slept))
    }

    /// Rig time when the local clock reads `now`, the present, which never runs backwards. For other instants:
    /// [`Self::rig_at`].
    #[must_use]
    pub fn now(&self, now: Timestamp<Local>) -> Timestamp<Rig> {
        self.map.rig_at(now).max(self.floor)
    }

    /// Rig time when the local clock reads or read `local`, as well as it is known now.
    #[must_use]
    pub fn rig_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        self.map.rig_at(local)
    }

    /// Rig time of the local instant `local`, as it is sent to clients: the line goes on while the clock stands still after a
    /// step, which clients must not copy.
    #[must_use]
    pub fn served_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        self.map.line_at(local)
    }

    /// The map from local to rig time.
    #[must_use]
    pub const fn map(&self) -> &ClockMap {
        &self.map
    }

    /// Rate of rig time against the local clock, without corrections.
    #[must_use]
    pub const fn skew(&self) -> Skew {
        self.map.skew()
    }

    /// The time scale, if the clock knows rig time.
    #[must_use]
    pub fn scale(&self) -> Option<Scale> {
        match (&self.leads, &self.update) {
            (Some(lead), _) => Some(lead.scale),
            (None, Some(update)) if self.quality.knows_rig_time() => match update.upstream.field {
                Some(field) => Some(Scale::of(&field)),
                None => self.server.map(|server| Scale::of_source(self.own_scale_id(&server))),
            },
            (None, _) => None,
        }
    }

    /// Whether this device defines rig time.
    #[must_use]
    pub const fn is_leading(&self) -> bool {
        self.leads.is_some()
    }

    /// The last update of a clock that follows.
    #[must_use]
    pub const fn update(&self) -> Option<&ClockUpdate> {
        self.update.as_ref()
    }

    /// Id of the scale of a clock that follows no server of swsync's. Each of its steps begins another one, so that clients
    /// measure it anew.
    const fn own_scale_id(&self, server: &Identity) -> u64 {
        server.timescale.wrapping_add(self.steps)
    }

    /// Everything that can be said of the clock now.
    #[must_use]
    pub fn status(&self, now: Timestamp<Local>) -> ClockStatus {
        ClockStatus {
            quality: self.quality(now),
            rig_time_ns: self.now(now),
            offset_ns: self.map.offset_at(now).as_span(),
            uncertainty_ns: match (self.quality, &self.update) {
                (SyncState::Leading, _) => Some(self.sleep_uncertainty(now)),
                (_, Some(update)) => Some(update.uncertainty_at(now)),
                (_, None) => None,
            },
            skew_ppm: self.map.skew().as_ppm(),
            round_trip_ns: self.update.map(|update| update.round_trip),
            source: self.source(),
            server: self.server.map(|server| server.device),
            path_offset_ns: self.path_offset,
        }
    }

    fn source(&self) -> Option<TimeSource> {
        let server = || self.server.map(|server| server.device);
        if let Some(lead) = &self.leads {
            let (leader, timescale) = (server()?, lead.scale.id);
            return Some(TimeSource { stratum: 0, leader, timescale, least_delay_ns: Span::ZERO });
        }
        let update = self.update?;
        // A clock that follows something else than a server of swsync's leads its rig, as its clients are told.
        update.source().or_else(|| {
            Some(TimeSource {
                stratum: update.upstream.stratum,
                leader: server()?,
                timescale: self.own_scale_id(&self.server?),
                least_delay_ns: update.estimate.least_delay,
            })
        })
    }

    /// Makes this device define rig time from `now` on.
    pub fn lead(&mut self, now: Timestamp<Local>, start: LeadStart) {
        let (scale, rate_uncertainty) = match start {
            LeadStart::GoOn(scale) => {
                // Who follows would take a correction for the rate of this clock.
                self.map = self.map.uncorrected(now);
                (scale, self.update.map_or(CRYSTALS, |update| update.estimate.skew_uncertainty))
            }
            LeadStart::Begin { wall, id } => {
                (self.map, self.floor) = (ClockMap::fixed(now, wall), NO_FLOOR);
                (Scale { id, began: wall, traceable: false }, Skew::ZERO)
            }
        };
        self.leads = Some(Leadership { since: self.map.rig_at(now), scale, rate_uncertainty });
        self.resumed = None;
        (self.quality, self.update) = (SyncState::Leading, None);
    }

    /// The device has slept for `slept`: its local clock stood still, and reads `now`. The clock goes on from where it would be, and
    /// is not in sync until its source has settled it, or, if it leads, for five seconds.
    ///
    /// Instants before the sleep are converted as if they were after it: what was captured then and is converted only now is off
    /// by `slept`, and not marked as in sync.
    pub fn handle_resume(&mut self, slept: Span, now: Timestamp<Local>) {
        self.map = self.map.ahead_by(slept);
        self.update = self.update.map(|update| update.resumed(slept));
        self.resumed = Some((now, slept));
        if self.quality == SyncState::Synced {
            self.quality = SyncState::Holdover;
        }
    }

    /// This device does not define rig time any more; whoever does so now is not known yet. The clock goes on in holdover.
    pub const fn stand_down(&mut self) {
        if self.leads.is_some() {
            (self.quality, self.update, self.leads) = (SyncState::Holdover, None, None);
        }
    }

    /// Sets the clock as a client or a reference follower has worked it out.
    pub fn follow(&mut self, update: ClockUpdate, now: Timestamp<Local>) {
        // The new map begins where the old one was when the new one was made. Since then readers may have seen later times
        // by the old map than the new one shows now, if it is slower or stands still.
        self.floor = match update.adjustment {
            Some(Adjustment::Set(_) | Adjustment::Began { .. }) => NO_FLOOR,
            Some(Adjustment::Slewing(_) | Adjustment::Stepped { .. }) | None => self.now(now),
        };
        if let Some(Adjustment::Stepped { .. } | Adjustment::Began { .. }) = update.adjustment {
            (self.stepped, self.steps) = (Some(now), self.steps + 1);
        }
        (self.map, self.quality, self.update, self.leads) = (update.map, update.quality, Some(update), None);
    }

    /// `leader` was alive at `at`: it was heard, or somebody who heard it has said so. Returns whether that is news.
    pub fn note_leader(&mut self, leader: u64, at: Timestamp<Local>) -> bool {
        let is_news = self.leader_alive.is_none_or(|(known, then)| known != leader || then < at);
        if is_news {
            self.leader_alive = Some((leader, at));
        }
        is_news
    }

    /// How long ago `leader` was known to be alive.
    fn silence_of(&self, leader: u64, now: Timestamp<Local>) -> Span {
        let alive = self.leader_alive.filter(|(alive, _)| *alive == leader);
        alive.map_or(Span::MAX, |(_, at)| (now - at).max(Span::ZERO))
    }

    /// Makes the clock unsynced: it goes on running, but nothing is known of rig time any more.
    pub const fn forget(&mut self) {
        (self.quality, self.update, self.leads) = (SyncState::Unsynced, None, None);
    }

    /// What a server with this identity tells of the clock.
    #[must_use]
    pub fn server_status(&self, identity: &Identity, now: Timestamp<Local>) -> ServerStatus {
        match (&self.leads, &self.update) {
            (Some(Leadership { since, scale, rate_uncertainty }), _) => {
                let mut status =
                    ServerStatus::leading(&Identity { timescale: scale.id, ..*identity }, *since);
                (status.field.began, status.field.traceable) = (scale.began, scale.traceable);
                let uncertainty = self.sleep_uncertainty(now);
                status.root_dispersion = NtpShort::from_span(uncertainty * 3);
                let rate_uncertainty = Span::from_nanos_f64(rate_uncertainty.as_ratio() * 1e9);
                status.field.rate_uncertainty_ppb =
                    u32::try_from(rate_uncertainty.as_nanos()).unwrap_or(u32::MAX);
                status.field.uncertainty_ns = u32::try_from(uncertainty.as_nanos()).unwrap_or(u32::MAX);
                status.field.unsettled = self.quality(now) != SyncState::Leading;
                status
            }
            (None, Some(update)) => {
                let timescale = self.own_scale_id(identity);
                let update = ClockUpdate { quality: self.quality(now), ..*update };
                let mut status = ServerStatus::following(&Identity { timescale, ..*identity }, &update, now);
                if let Some(field) = update.upstream.field {
                    status.field.silence = self.silence_of(field.leader, now);
                }
                status
            }
            (None, None) => ServerStatus::unsynchronized(identity),
        }
    }
}
