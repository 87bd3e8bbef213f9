//! What an operator may ask a client.

use std::collections::VecDeque;

use super::Client;
use crate::frame::SyncQuality;
use crate::sync::Upstream;
use crate::time::{Local, Offset, Skew, Span, Timestamp};

/// Round trips that the windowed figures are of.
const WINDOW: usize = 64;

/// Round trips of the last exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTrips {
    /// The last one.
    pub last: Span,
    /// The least of the last 64.
    pub least: Span,
    /// Their mean.
    pub mean: Span,
}

/// Everything that an operator may ask a client.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientStats {
    /// How well rig time is known ...
    pub quality: SyncQuality,
    /// ... and since when it is this well.
    pub since: Timestamp<Local>,
    /// What the server last said of itself.
    pub upstream: Option<Upstream>,
    /// When the server was last heard to know the time.
    pub last_heard: Option<Timestamp<Local>>,
    /// Requests sent.
    pub sent: u64,
    /// Valid responses.
    pub responses: u64,
    /// Those in interleaved mode: with the kernel's transmit timestamp.
    pub interleaved: u64,
    /// Requests that were given up.
    pub lost: u64,
    /// Responses to what had been answered before.
    pub duplicates: u64,
    /// Datagrams that answer nothing that was asked.
    pub bogus: u64,
    /// Responses without a valid MAC where a key is set.
    pub bad_mac: u64,
    /// Exchanges whose timestamps cannot be right.
    pub implausible: u64,
    /// Kisses-o'-death.
    pub kisses: u64,
    /// Responses of servers that cannot be followed: not synchronized, of another rig, in a loop.
    pub unusable: u64,
    /// Whether responses are authenticated.
    pub authenticated: bool,
    /// The present pause between requests.
    pub poll_interval: Span,
    /// Round trips.
    pub round_trips: Option<RoundTrips>,
    /// Rig minus local time by the last estimate.
    pub offset: Option<Offset>,
    /// Rate of the rig's clock against the local one by the last estimate.
    pub skew: Option<Skew>,
    /// What the error of the clock may be now, 1 sigma.
    pub uncertainty: Option<Span>,
    /// The least round trip that the estimate rests on.
    pub least_delay: Option<Span>,
    /// Steps of the clock since it was relied on.
    pub steps: u64,
    /// Corrections worked off by slewing, all in all, whichever way.
    pub slewed: Span,
    /// How often the estimator began anew, because the leader or its time scale was another one.
    pub resets: u64,
    /// How often exchanges contradicted the estimate: a clock was stepped, or the path has changed.
    pub contradictions: u64,
}

/// Counts of what has happened.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub responses: u64,
    pub interleaved: u64,
    pub duplicates: u64,
    pub bogus: u64,
    pub bad_mac: u64,
    pub implausible: u64,
    pub kisses: u64,
    pub unusable: u64,
    pub resets: u64,
    pub contradictions: u64,
}

/// The last round trips.
#[derive(Debug)]
pub(super) struct RoundTripWindow(VecDeque<Span>);

impl RoundTripWindow {
    pub fn new() -> Self {
        Self(VecDeque::with_capacity(WINDOW))
    }

    pub fn push(&mut self, round_trip: Span) {
        if self.0.len() == WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(round_trip);
    }

    pub fn figures(&self) -> Option<RoundTrips> {
        let count = i64::try_from(self.0.len()).expect("64 at most");
        Some(RoundTrips {
            last: *self.0.back()?,
            least: *self.0.iter().min()?,
            mean: self.0.iter().copied().sum::<Span>() / count,
        })
    }
}

impl Client {
    /// Everything that an operator may ask, when the local clock reads `now`.
    #[must_use]
    pub fn stats(&self, now: Timestamp<Local>) -> ClientStats {
        let (sent, lost) = self.requests.counts();
        let Counts {
            responses,
            interleaved,
            duplicates,
            bogus,
            bad_mac,
            implausible,
            kisses,
            unusable,
            resets,
            contradictions,
        } = self.counts;
        let estimate = self.last_update.map(|update| update.estimate);
        ClientStats {
            quality: self.state.into(),
            since: self.since,
            upstream: self.upstream,
            last_heard: self.last_heard,
            sent,
            responses,
            interleaved,
            lost,
            duplicates,
            bogus,
            bad_mac,
            implausible,
            kisses,
            unusable,
            authenticated: self.config.key.is_some(),
            poll_interval: self.pacer.interval(&self.config, now),
            round_trips: self.round_trips.figures(),
            offset: estimate.map(|estimate| estimate.offset),
            skew: estimate.map(|estimate| estimate.skew),
            uncertainty: self.last_update.map(|update| update.uncertainty_at(now)),
            least_delay: estimate.map(|estimate| estimate.least_delay),
            steps: self.servo.steps(),
            slewed: self.servo.slewed(now),
            resets,
            contradictions,
        }
    }
}
