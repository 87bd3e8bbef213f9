//! The statistics of a client.

use std::collections::VecDeque;

use crate::estimate::Exchange;
use crate::time::{Local, Offset, Skew, Span, Timestamp};
use crate::time_service::{SyncState, Upstream};

/// The window of the round-trip figures: this many exchanges.
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

/// The statistics of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientStats {
    /// How well rig time is known.
    pub quality: SyncState,
    /// When `quality` last changed.
    pub since: Timestamp<Local>,
    /// The last state of the server.
    pub upstream: Option<Upstream>,
    /// When a server that knows the time last answered.
    pub last_heard: Option<Timestamp<Local>>,
    /// Requests sent.
    pub sent: u64,
    /// Valid responses.
    pub responses: u64,
    /// Responses in interleaved mode: with the kernel's transmit timestamp.
    pub interleaved: u64,
    /// Requests that were given up.
    pub lost: u64,
    /// Responses to requests that had been answered before.
    pub duplicates: u64,
    /// Datagrams that answer no request.
    pub bogus: u64,
    /// Responses without a valid MAC although a key is set.
    pub bad_mac: u64,
    /// Exchanges with impossible timestamps.
    pub implausible: u64,
    /// Kisses-o'-death.
    pub kisses: u64,
    /// Responses of servers that cannot be followed: not synchronized, of another rig, in a loop.
    pub unusable: u64,
    /// Whether responses are authenticated.
    pub authenticated: bool,
    /// Present interval between requests.
    pub poll_interval: Span,
    /// Round trips.
    pub round_trips: Option<RoundTrips>,
    /// The last exchange that the estimator got.
    pub exchange: Option<Exchange>,
    /// Rig minus local time by the last estimate.
    pub offset: Option<Offset>,
    /// Rate of rig time relative to local time by the last estimate.
    pub skew: Option<Skew>,
    /// Error of the clock, 1 sigma.
    pub uncertainty: Option<Span>,
    /// The least round trip that the estimate rests on.
    pub least_delay: Option<Span>,
    /// Steps of the clock since readers rely on it.
    pub steps: u64,
    /// Sum of the magnitudes of all corrections by slewing.
    pub slewed: Span,
    /// How often the estimator began anew because the leader or its time scale changed.
    pub resets: u64,
    /// How often exchanges contradicted the estimate, because a clock stepped or the path changed.
    pub contradictions: u64,
    /// Rig time minus the server's because of a leap second, which is smeared over 24 h; otherwise zero.
    pub leap_correction: Span,
}

/// Event counters; [`ClientStats`] explains them.
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

/// The round trips of the last [`WINDOW`] exchanges.
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
