//! The state of the client's clock: its transitions, and what is published of them.

use super::{Client, ClientAction, ClockUpdate, ServerRefusal};
use crate::estimate::ClockEstimate;
use crate::time::{Local, Skew, Span, Timestamp};
use crate::time_service::{SyncState, Upstream};

/// A clock in holdover is examined again after this time: its correction may be done.
const RECHECK: Span = Span::from_millis(250);

/// A new leader of the same time scale that is further off than this many sigmas has not kept it.
const HANDOVER_SIGMAS: f64 = 4.0;

/// The estimate of a new leader counts once it has been the surer one for this long: the first ones of a window come and go.
const SURER: Span = Span::from_secs(2);

/// A server that passes time on is not believed if it is further off than this many sigmas, and than the step threshold.
const LIE_SIGMAS: i64 = 6;

/// What moves the client from one [`SyncState`] to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientEvent {
    /// There is an estimate. `good`: the clock is right by it. `settled`: it is not from the middle of a burst.
    Estimate { good: bool, settled: bool },
    /// The server is silent or does not know the time, or there is another leader.
    Lost,
}

impl ClientEvent {
    /// The state after this event.
    const fn next_state(self, before: SyncState) -> SyncState {
        match (before, self) {
            (SyncState::Synced, Self::Estimate { good: true, .. }) => SyncState::Synced,
            // A client neither leads nor runs on a foreign clock.
            (SyncState::Leading | SyncState::Foreign, _) => before,
            (_, Self::Estimate { good: true, settled: true }) => SyncState::Synced,
            (SyncState::Unsynced | SyncState::Acquiring, Self::Estimate { .. }) => SyncState::Acquiring,
            (SyncState::Holdover | SyncState::Synced, Self::Estimate { .. } | Self::Lost) => {
                SyncState::Holdover
            }
            (SyncState::Unsynced | SyncState::Acquiring, Self::Lost) => before,
        }
    }
}

impl Client {
    /// Applies `event` to the state. Returns whether the state has changed.
    fn advance(&mut self, event: ClientEvent, now: Timestamp<Local>) -> bool {
        let before = self.state;
        self.state = event.next_state(before);
        if self.state != before {
            self.since = now;
        }
        self.state != before
    }

    /// Examines whether the clock has become right by the last estimate: a correction may be done, a hold may be over.
    pub(super) fn recheck(&mut self, now: Timestamp<Local>) {
        let good = self.last_update.is_some_and(|update| update.is_good_at(now, self.config.max_uncertainty));
        let settled = !self.pacer.is_in_burst();
        if good && settled && self.advance(ClientEvent::Estimate { good, settled }, now) {
            self.servo.rely();
            self.republish();
        }
        self.recheck = (self.state == SyncState::Holdover).then_some(now + RECHECK);
    }

    /// The server's time is not available, or must not be combined with earlier exchanges.
    pub(super) fn lose(&mut self, now: Timestamp<Local>) {
        (self.recheck, self.hands_over) = (None, false);
        if self.advance(ClientEvent::Lost, now) {
            self.republish();
        }
    }

    /// Moves the clock towards `estimate` and publishes it.
    pub(super) fn publish(
        &mut self,
        estimate: &ClockEstimate,
        round_trip: Span,
        upstream: Upstream,
        now: Timestamp<Local>,
    ) {
        let acquiring = self.pacer.is_in_burst();
        if self.is_less_certain(estimate, now) {
            self.unsure_at = now;
        }
        self.hands_over &= upstream.is_settled() && now - self.unsure_at < SURER;
        if self.hands_over && self.is_contradicted_by(estimate, now) {
            self.servo.join();
            self.lose(now);
        }
        if self.hands_over {
            // The last estimate is still better.
            if let (false, Some(update), Some(map)) = (acquiring, &mut self.last_update, self.servo.map()) {
                update.map = *map;
                self.republish();
            }
            return;
        }
        if acquiring && self.servo.is_relied_on() && self.joins_scale(&upstream) {
            return; // in holdover: the clock is still on the old time scale
        }
        if !acquiring && self.is_lie(estimate, &upstream, now) {
            self.estimator.reset();
            self.handle_unusable(ServerRefusal::Disagrees);
            return;
        }
        // An estimate from early in a burst is not good enough to move a clock that readers rely on.
        let adjustment = match (self.servo.is_relied_on(), acquiring) {
            (true, true) => None,
            (false, _) | (true, false) => Some(self.servo.update(now, estimate)),
        };
        let Some(&map) = self.servo.map() else { return };
        let quality = self.state;
        let mut update = ClockUpdate { map, estimate: *estimate, adjustment, quality, round_trip, upstream };
        let good = update.is_good_at(now, self.config.max_uncertainty);
        self.advance(ClientEvent::Estimate { good, settled: !acquiring }, now);
        if self.state == SyncState::Synced {
            self.servo.rely();
        }
        self.recheck = (self.state == SyncState::Holdover && !acquiring).then_some(now + RECHECK);
        update.quality = self.state;
        self.last_update = Some(update);
        self.actions.push_back(ClientAction::Publish(update));
    }

    /// Whether `upstream` is on another time scale than the clock.
    fn joins_scale(&self, upstream: &Upstream) -> bool {
        let scale = |upstream: &Upstream| upstream.field.map(|field| field.timescale);
        self.last_update.is_some_and(|update| scale(&update.upstream) != scale(upstream))
    }

    /// Whether the last estimate, of another leader, is still worth more than `estimate`.
    fn is_less_certain(&self, estimate: &ClockEstimate, now: Timestamp<Local>) -> bool {
        let before = self.last_update.map_or(Span::ZERO, |update| update.estimate.uncertainty_at(now));
        estimate.uncertainty_at(now) > before
    }

    /// Whether a server that passes on the time that this device followed until now contradicts it grossly. The leader itself
    /// defines what is right.
    fn is_lie(&self, estimate: &ClockEstimate, upstream: &Upstream, now: Timestamp<Local>) -> bool {
        let (Some(field), Some(update)) = (upstream.field, &self.last_update) else { return false };
        let same = update.upstream.field.is_some_and(|before| before.timescale == field.timescale);
        let away = (estimate.rig_at(now) - update.estimate.rig_at(now)).abs();
        let may = update.uncertainty_at(now) + estimate.uncertainty_at(now);
        same && !field.path.hops().is_empty()
            && self.state.knows_rig_time()
            && away > (may * LIE_SIGMAS).max(self.config.step_threshold)
    }

    /// Whether `estimate` and the last one cannot both be right: the new leader does not go on where the old one was.
    fn is_contradicted_by(&self, estimate: &ClockEstimate, now: Timestamp<Local>) -> bool {
        self.last_update.is_some_and(|update| {
            let before = update.estimate;
            let difference = (estimate.rig_at(now) - before.rig_at(now)).abs();
            let sigma =
                estimate.uncertainty_at(now).as_nanos_f64().hypot(update.uncertainty_at(now).as_nanos_f64());
            difference.as_nanos_f64() > HANDOVER_SIGMAS * sigma
        })
    }

    /// The clock goes on by its last estimate, now as the time of another leader of the same time scale.
    /// Its rate may differ by `doubt`, 1 sigma.
    pub(super) fn hand_over(&mut self, upstream: Upstream, doubt: Skew) {
        self.hands_over = self.state == SyncState::Synced;
        if let Some(update) = &mut self.last_update {
            update.upstream = upstream;
            // The new leader knew the time about as well as this device.
            let estimate = &mut update.estimate;
            estimate.uncertainty = estimate.uncertainty.mul_f64(std::f64::consts::SQRT_2);
            let skew_uncertainty = estimate.skew_uncertainty.as_ratio().hypot(doubt.as_ratio());
            estimate.skew_uncertainty = Skew::from_ratio(skew_uncertainty);
        }
        self.republish();
    }

    /// Publishes a change of state without an exchange.
    fn republish(&mut self) {
        let quality = self.state;
        if let Some(update) = &mut self.last_update {
            (update.quality, update.adjustment) = (quality, None);
            self.actions.push_back(ClientAction::Publish(*update));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transition_is_as_intended() {
        use SyncState::{Acquiring, Holdover, Synced, Unsynced};
        let estimate = |good, settled| ClientEvent::Estimate { good, settled };
        for (state, event, next) in [
            (Unsynced, estimate(false, true), Acquiring),
            (Unsynced, estimate(true, false), Acquiring),
            (Unsynced, estimate(true, true), Synced),
            (Unsynced, ClientEvent::Lost, Unsynced),
            (Acquiring, estimate(false, true), Acquiring),
            (Acquiring, estimate(true, false), Acquiring),
            (Acquiring, estimate(true, true), Synced),
            (Acquiring, ClientEvent::Lost, Acquiring),
            (Synced, estimate(false, true), Holdover),
            (Synced, estimate(false, false), Holdover),
            (Synced, estimate(true, false), Synced),
            (Synced, estimate(true, true), Synced),
            (Synced, ClientEvent::Lost, Holdover),
            (Holdover, estimate(false, true), Holdover),
            (Holdover, estimate(true, false), Holdover),
            (Holdover, estimate(true, true), Synced),
            (Holdover, ClientEvent::Lost, Holdover),
        ] {
            assert_eq!(event.next_state(state), next, "{state:?} {event:?}");
        }
    }
}
