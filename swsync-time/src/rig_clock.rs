//! The rig's clock on this device: rig time as a function of the local clock.

use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use swsync_core::frame::SyncState;
use swsync_core::servo::{Adjustment, ClockMap};
use swsync_core::status::{ClockStatus, TimeSource};
use swsync_core::time::{Local, Rig, Skew, Span, Timestamp};
use swsync_core::time_service::{ClockUpdate, Identity, ServerStatus};

use crate::DeviceClock;

/// After a step, a clock that is served to others counts as in sync again only after this long. By then every client has
/// polled it and learnt of the step, or has noticed that it lost its server: this is the slowest poll, and the silence
/// after which a server counts as lost.
const STEP_ANNOUNCED: Span = Span::from_secs(8);

/// A map that runs slower takes over from one that was read a moment ago by standing still for less than this.
const SHORT_HOLD: Span = Span::from_micros(50);

/// Below every time.
const NO_FLOOR: Timestamp<Rig> = Timestamp::from_nanos(i64::MIN);

#[derive(Debug, Clone, Copy)]
struct State {
    map: ClockMap,
    quality: SyncState,
    update: Option<ClockUpdate>,
    leads: Option<Leadership>,
    /// What had been read by the old map when this one was set.
    floor: Timestamp<Rig>,
    /// When the clock was last stepped, and how often.
    stepped: Option<Timestamp<Local>>,
    steps: u64,
    /// Whether others are served the time that this clock follows.
    serves: bool,
}

impl State {
    /// How well rig time is known now. A clock is not in sync while it stands still, nor while its clients may not know of
    /// its last step.
    fn quality(&self, now: Timestamp<Local>) -> SyncState {
        let step_is_known =
            self.stepped.is_none_or(|stepped| !self.serves || now - stepped >= STEP_ANNOUNCED);
        match self.quality {
            SyncState::Synced if !step_is_known || self.rig_now(now) - self.map.line_at(now) > SHORT_HOLD => {
                SyncState::Holdover
            }
            quality => quality,
        }
    }

    /// Rig time now, which never runs backwards. For past instants ask the map.
    fn rig_now(&self, now: Timestamp<Local>) -> Timestamp<Rig> {
        self.map.rig_at(now).max(self.floor)
    }
}

/// This device defines rig time.
#[derive(Debug, Clone, Copy)]
struct Leadership {
    since: Timestamp<Rig>,
    /// The time scale's id, once it is served, or if it was followed before.
    timescale: Option<u64>,
    /// The id under which this device serves it.
    device: Option<u64>,
}

impl Leadership {
    /// The source of time, which is this device itself.
    fn source(&self) -> Option<TimeSource> {
        let (leader, timescale) = (self.device?, self.timescale?);
        Some(TimeSource { stratum: 0, leader, timescale, least_delay_ns: Span::ZERO })
    }
}

/// A copy of a [`RigClock`] that runs on without being set: see [`RigClock::frozen`].
#[derive(Debug, Clone, Copy)]
pub struct FrozenClock {
    map: ClockMap,
    floor: Timestamp<Rig>,
}

impl FrozenClock {
    /// What it reads when the local clock reads `local`.
    #[must_use]
    pub fn rig_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        self.map.rig_at(local).max(self.floor)
    }
}

/// The rig's clock on this device. Once synced it never runs backwards, for all readers together.
#[derive(Debug)]
pub struct RigClock {
    device: Arc<DeviceClock>,
    // Readers read the local clock under the lock, so none can combine an old reading with a newer
    // map: that could make time run backwards from one thread to another.
    state: RwLock<State>,
    /// The identity under which it is served to others.
    served_as: OnceLock<Identity>,
}

impl RigClock {
    /// A clock that is not synced: it reads the wall clock until a source of time sets it.
    #[must_use]
    pub fn new(device: Arc<DeviceClock>) -> Self {
        let map = ClockMap::fixed(device.now(), Timestamp::from_nanos(device.wall_now().as_nanos()));
        let state = State {
            map,
            quality: SyncState::Unsynced,
            update: None,
            leads: None,
            floor: NO_FLOOR,
            stepped: None,
            steps: 0,
            serves: false,
        };
        Self { device, state: RwLock::new(state), served_as: OnceLock::new() }
    }

    /// A copy of the clock as it runs now: its user can go on by it while this clock begins anew.
    #[must_use]
    pub fn frozen(&self) -> FrozenClock {
        self.read(|state, _| FrozenClock { map: state.map, floor: state.floor })
    }

    /// From now on others are served the time that this clock follows.
    pub(crate) fn serve_others(&self) {
        self.state.write().serves = true;
    }

    /// The clocks underneath.
    #[must_use]
    pub const fn device(&self) -> &Arc<DeviceClock> {
        &self.device
    }

    fn read<T>(&self, f: impl FnOnce(&State, Timestamp<Local>) -> T) -> T {
        let state = self.state.read();
        f(&state, self.device.now())
    }

    /// Rig time now.
    #[must_use]
    pub fn now(&self) -> Timestamp<Rig> {
        self.read(State::rig_now)
    }

    /// How well rig time is known.
    #[must_use]
    pub fn quality(&self) -> SyncState {
        self.read(State::quality)
    }

    /// Everything that can be said of the clock now.
    #[must_use]
    pub fn status(&self) -> ClockStatus {
        self.read(|state, now| ClockStatus {
            quality: state.quality(now),
            rig_time_ns: state.rig_now(now),
            offset_ns: state.map.offset_at(now).as_span(),
            uncertainty_ns: match (state.quality, &state.update) {
                (SyncState::Leading, _) => Some(Span::ZERO),
                (_, Some(update)) => Some(update.uncertainty_at(now)),
                (_, None) => None,
            },
            skew_ppm: state.map.skew().as_ppm(),
            round_trip_ns: state.update.map(|update| update.round_trip),
            source: match (state.leads, state.update) {
                (Some(lead), _) => lead.source(),
                (None, update) => update
                    .and_then(|update| update.source().or_else(|| self.own_source(&update, state.steps))),
            },
        })
    }

    /// The source of time if this clock follows something that is no server of swsync's: this device itself, as
    /// [`ServerStatus::following`] tells clients. Each of `steps` steps began another time scale.
    fn own_source(&self, update: &ClockUpdate, steps: u64) -> Option<TimeSource> {
        let Identity { device: leader, timescale, .. } = *self.served_as.get()?;
        let timescale = timescale.wrapping_add(steps);
        let (stratum, least_delay_ns) = (update.upstream.stratum, update.estimate.least_delay);
        Some(TimeSource { stratum, leader, timescale, least_delay_ns })
    }

    /// Called by a server that serves this clock as `identity`.
    pub(crate) fn serve_as(&self, identity: &Identity) {
        let _ = self.served_as.set(*identity); // a clock has one server
    }

    /// Rig time when the local clock reads or read `local`, as well as it is known now.
    #[must_use]
    pub fn rig_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        self.read(|state, _| state.map.rig_at(local))
    }

    /// Makes this device define rig time from now on. If it knows rig time, it goes on from there at the rate that it has
    /// found, and the time scale stays the same. Otherwise it begins at the wall clock, at the local rate.
    pub fn lead(&self) {
        let mut state = self.state.write();
        let now = self.device.now();
        let known = state.quality.knows_rig_time();
        if !known {
            state.map = ClockMap::fixed(now, Timestamp::from_nanos(self.device.wall_now().as_nanos()));
            state.floor = NO_FLOOR;
        }
        let field = state.update.filter(|_| known).and_then(|update| update.upstream.field);
        let inherited = state.leads.filter(|_| known).and_then(|lead| lead.timescale);
        let timescale = field.map(|field| field.timescale).or(inherited);
        state.leads = Some(Leadership { since: state.map.rig_at(now), timescale, device: None });
        (state.quality, state.update) = (SyncState::Leading, None);
    }

    /// As [`Self::lead`], for a server: a new time scale is the server's own.
    pub(crate) fn lead_as(&self, identity: &Identity) {
        self.lead();
        if let Some(lead) = &mut self.state.write().leads {
            lead.timescale.get_or_insert(identity.timescale);
            lead.device = Some(identity.device);
        }
    }

    /// Sets the clock as a client or a reference follower has worked it out.
    pub fn follow(&self, update: ClockUpdate) {
        let mut state = self.state.write();
        // The new map begins where the old one was when the new one was made. Since then readers may have seen later times
        // by the old map than the new one shows now, if it is slower or stands still.
        let floor = match update.adjustment {
            Some(Adjustment::Set(_) | Adjustment::Began { .. }) => NO_FLOOR,
            Some(Adjustment::Slewing(_) | Adjustment::Stepped { .. }) | None => {
                state.rig_now(self.device.now())
            }
        };
        if let Some(Adjustment::Stepped { .. } | Adjustment::Began { .. }) = update.adjustment {
            (state.stepped, state.steps) = (Some(self.device.now()), state.steps + 1);
        }
        let (map, quality, update) = (update.map, update.quality, Some(update));
        *state = State { map, quality, update, leads: None, floor, ..*state };
    }

    /// For a server: rig time at `received` and now, and what to say of it.
    pub(crate) fn serve(
        &self,
        identity: &Identity,
        received: Timestamp<Local>,
    ) -> (Timestamp<Rig>, Timestamp<Rig>, ServerStatus) {
        self.read(|state, now| {
            let status = match (&state.leads, &state.update) {
                (Some(lead), _) => {
                    let timescale = lead.timescale.unwrap_or(identity.timescale);
                    ServerStatus::leading(&Identity { timescale, ..*identity }, lead.since)
                }
                (None, Some(update)) => {
                    // A step begins another time scale, so that clients measure it anew.
                    let timescale = identity.timescale.wrapping_add(state.steps);
                    let update = ClockUpdate { quality: state.quality(now), ..*update };
                    ServerStatus::following(&Identity { timescale, ..*identity }, &update, now)
                }
                (None, None) => ServerStatus::unsynchronized(identity),
            };
            // The line goes on while the clock stands still after a step: clients must not copy that.
            (state.map.line_at(received), state.map.line_at(now), status)
        })
    }

    /// Rig time of the local instant `local`, as it is sent to clients.
    pub(crate) fn served_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        self.read(|state, _| state.map.line_at(local))
    }

    /// Makes the clock unsynced: it goes on running, but nothing is known of rig time any more.
    pub fn forget(&self) {
        let mut state = self.state.write();
        (state.quality, state.update, state.leads) = (SyncState::Unsynced, None, None);
    }

    /// Rate of rig time against the local clock, without corrections.
    #[must_use]
    pub fn skew(&self) -> Skew {
        self.read(|state, _| state.map.skew())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wall_clock;

    #[test]
    fn a_leader_reads_the_wall_clock_of_its_start() {
        let clock = RigClock::new(Arc::new(DeviceClock::real()));
        assert_eq!(clock.quality(), SyncState::Unsynced);
        clock.lead();
        assert_eq!(clock.quality(), SyncState::Leading);
        let away = clock.now().as_nanos() - wall_clock().as_nanos();
        assert!(away.abs() < 50_000_000, "{away}");
        assert_eq!(clock.status().uncertainty_ns, Some(Span::ZERO));
    }
}
