//! When the client sends its requests: first a burst, then ever more rarely, as the accuracy allows.
//!
//! Constants without a source were chosen by simulation over the links of `swsync-sim`.

use super::config::ClientConfig;
use crate::estimate::ClockEstimate;
use crate::time::{Local, Span, Timestamp};

/// Most requests of a burst in flight: enough to keep the pace at a round trip of 24 ms, few enough not to queue behind one
/// another.
const WINDOW: usize = 8;
/// In a burst the next request follows a response, or this time: the paper's mean round trip. 300 of them fit into a second.
const BURST_INTERVAL: Span = Span::from_millis(3);
/// Shortest interval between requests of a burst. It spreads the load when many clients start at once.
const BURST_PAUSE: Span = Span::from_millis(1);
/// A request of a burst occupies a place in the window for this many mean round trips, but at least for `PATIENCE`, which one
/// in 2000 round trips over the paper's link exceeds.
const PATIENCE: Span = Span::from_millis(40);
const PATIENCE_ROUND_TRIPS: i64 = 8;
/// A burst over a long path ends after this time, if it has completed [`ENOUGH`] exchanges.
const LONGEST_BURST: Span = Span::from_secs(5);
const ENOUGH: u32 = 8;
/// Exchanges of a burst that refreshes an estimate.
pub(super) const SHORT_BURST: u32 = 32;
/// After a burst of 300 exchanges, the interval is a 80th of the elapsed time, so it doubles every 55 requests. After a shorter
/// burst it grows faster in proportion.
const TAPER: f64 = 80.0 / 300.0;
/// First and longest interval while nobody answers.
const FIRST_CALL: Span = Span::from_millis(25);
const FIRST_CALL_IN_HOLDOVER: Span = Span::from_millis(125);
const LONGEST_CALL: Span = Span::from_secs(1);
/// An unanswered request is repeated after this time, so that silence is noticed as soon at slow polls as at fast ones.
const REPEAT: Span = Span::from_millis(500);
/// Longest interval that a server can impose by RATE, and the number of responses without RATE that halves it.
const LONGEST_FLOOR: Span = Span::from_secs(16);
const FORGIVEN_AFTER: u32 = 64;
/// A server that refuses (DENY, RSTR) is not asked for this time.
const DENIED: Span = Span::from_secs(300);
/// The interval doubles after `GOOD` good estimates in a row, and halves after `POOR` poor ones. Each halving doubles the
/// number of good estimates that are needed, up to `MOST_GOOD`.
const GOOD: u32 = 16;
const MOST_GOOD: u32 = 512;
const POOR: u32 = 4;
/// The interval becomes longer only if the uncertainty stays below this part of the accuracy.
const MARGIN: f64 = 0.7;
/// Intervals vary by this part, so that clients that started together spread out.
const JITTER: f64 = 1.0 / 16.0;

/// The present pace.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// Nobody who knows the time answers.
    Calling { pause: Span },
    /// Quick succession: `done` exchanges of `total` are complete.
    Burst { since: Timestamp<Local>, done: u32, total: u32 },
    /// The interval grows with the time since the burst began.
    Taper { since: Timestamp<Local> },
    /// As rarely as the accuracy allows.
    Steady,
}

/// Schedules the requests.
#[derive(Debug)]
pub(super) struct Pacer {
    phase: Phase,
    next: Timestamp<Local>,
    last_sent: Timestamp<Local>,
    /// The steady phase's interval.
    interval: Span,
    /// The shortest interval that the server allows.
    floor: Span,
    since_kiss: u32,
    good: u32,
    /// Good estimates that are needed for a longer interval.
    good_needed: u32,
    poor: u32,
}

/// The requests in flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub requests: usize,
    pub oldest: Option<Timestamp<Local>>,
}

impl Pacer {
    pub const fn new(config: &ClientConfig, now: Timestamp<Local>) -> Self {
        Self {
            phase: Phase::Calling { pause: FIRST_CALL },
            next: now,
            last_sent: now,
            interval: config.fastest_poll,
            floor: Span::ZERO,
            since_kiss: 0,
            good: 0,
            good_needed: GOOD,
            poor: 0,
        }
    }

    /// When the next request is due.
    pub const fn next(&self) -> Timestamp<Local> {
        self.next
    }

    /// Whether a burst is running, so that the next estimates will be much better.
    pub const fn is_in_burst(&self) -> bool {
        matches!(self.phase, Phase::Burst { .. })
    }

    /// Whether nobody answers.
    pub const fn is_calling(&self) -> bool {
        matches!(self.phase, Phase::Calling { .. })
    }

    /// Completed exchanges of the burst; all of them once it is over.
    pub const fn burst_done(&self, config: &ClientConfig) -> u32 {
        match self.phase {
            Phase::Calling { .. } => 0,
            Phase::Burst { done, .. } => done,
            Phase::Taper { .. } | Phase::Steady => config.burst,
        }
    }

    /// The present interval between requests.
    pub fn interval(&self, config: &ClientConfig, now: Timestamp<Local>) -> Span {
        let wanted = match self.phase {
            Phase::Calling { pause } => pause,
            Phase::Burst { .. } => BURST_INTERVAL,
            Phase::Taper { since } => taper(config, now - since),
            Phase::Steady => self.interval,
        };
        wanted.max(self.floor).max(BURST_PAUSE)
    }

    /// How long a request of a burst occupies a place in the window, if a round trip takes `round_trip`.
    pub fn patience(round_trip: Option<Span>) -> Span {
        round_trip.map_or(PATIENCE, |span| (span * PATIENCE_ROUND_TRIPS).max(PATIENCE))
    }

    /// A request is sent. `jitter` is a random number in [-1, 1).
    pub fn handle_sent(
        &mut self,
        config: &ClientConfig,
        now: Timestamp<Local>,
        in_flight: InFlight,
        patience: Span,
        jitter: f64,
    ) {
        self.last_sent = now;
        let interval = self.interval(config, now);
        let pause = match (&mut self.phase, in_flight.oldest) {
            (Phase::Calling { pause }, _) => {
                *pause = (*pause * 2).min(LONGEST_CALL);
                jittered(interval, jitter)
            }
            (Phase::Burst { .. }, Some(oldest)) if in_flight.requests >= WINDOW => oldest + patience - now,
            (Phase::Burst { .. }, _) => BURST_INTERVAL,
            // The response will set the whole interval.
            (Phase::Taper { .. } | Phase::Steady, _) => jittered(interval.min(REPEAT), jitter),
        };
        self.next = now + pause.max(self.floor);
    }

    /// A server that knows the time has answered.
    pub fn handle_response(&mut self, config: &ClientConfig, now: Timestamp<Local>, jitter: f64) {
        self.since_kiss += 1;
        if self.since_kiss.is_multiple_of(FORGIVEN_AFTER) {
            self.floor = self.floor / 2;
            if self.floor < config.fastest_poll {
                self.floor = Span::ZERO;
            }
        }
        match &mut self.phase {
            Phase::Calling { .. } => self.phase = Phase::Steady,
            Phase::Burst { done, .. } => *done += 1,
            Phase::Taper { .. } | Phase::Steady => {}
        }
        self.next = match self.phase {
            Phase::Burst { .. } => (self.last_sent + BURST_PAUSE.max(self.floor)).max(now),
            _ => (self.last_sent + jittered(self.interval(config, now), jitter)).max(now),
        };
    }

    /// Ends the burst if it has completed enough exchanges.
    pub fn end_burst(&mut self, config: &ClientConfig, now: Timestamp<Local>, settled: bool) {
        if let Phase::Burst { since, done, total } = self.phase {
            let long = now - since > LONGEST_BURST || self.floor > Span::ZERO;
            if done >= total || settled || long && done >= ENOUGH {
                self.phase = if total == config.burst { Phase::Taper { since } } else { Phase::Steady };
            }
        }
    }

    /// Starts a burst of `total` exchanges.
    pub fn start_burst(&mut self, config: &ClientConfig, now: Timestamp<Local>, total: u32) {
        self.phase = Phase::Burst { since: now, done: 0, total };
        self.interval = config.fastest_poll;
        self.next = now + self.floor;
    }

    /// Nobody who knows the time has answered for long.
    pub fn call(&mut self, synced_once: bool) {
        if !self.is_calling() {
            let pause = if synced_once { FIRST_CALL_IN_HOLDOVER } else { FIRST_CALL };
            self.phase = Phase::Calling { pause };
        }
    }

    /// Has the next request sent at once, unless the last one was sent just now.
    pub fn ask_now(&mut self, now: Timestamp<Local>) {
        self.next = self.next.min((self.last_sent + FIRST_CALL_IN_HOLDOVER).max(now));
    }

    /// Requests go to another server from now on.
    pub fn restart(&mut self, now: Timestamp<Local>) {
        self.phase = Phase::Calling { pause: FIRST_CALL };
        self.floor = Span::ZERO;
        self.next = now;
    }

    /// Adapts the interval to an estimate.
    pub fn handle_estimate(
        &mut self,
        config: &ClientConfig,
        now: Timestamp<Local>,
        estimate: &ClockEstimate,
    ) {
        if let Phase::Taper { since } = self.phase
            && taper(config, now - since) >= config.fastest_poll
        {
            self.phase = Phase::Steady;
            self.interval = config.fastest_poll;
        }
        if self.phase != Phase::Steady {
            return;
        }
        let at = |intervals: i64| estimate.uncertainty_at(now + self.interval * intervals);
        if at(1) > config.accuracy {
            (self.good, self.poor) = (0, self.poor + 1);
            if self.poor >= POOR && self.interval > config.fastest_poll {
                self.interval = (self.interval / 2).max(config.fastest_poll);
                self.good_needed = (self.good_needed * 2).min(MOST_GOOD);
                self.poor = 0;
            }
        } else if at(2) < config.accuracy.mul_f64(MARGIN) {
            (self.good, self.poor) = (self.good + 1, 0);
            if self.good >= self.good_needed {
                self.interval = (self.interval * 2).min(config.slowest_poll);
                self.good = 0;
            }
        } else {
            (self.good, self.poor) = (0, 0);
        }
    }

    /// The server asks to slow down (RFC 5905 section 7.4): double the interval.
    pub fn handle_rate(&mut self, config: &ClientConfig, now: Timestamp<Local>) {
        let least = self.interval(config, now).max(config.fastest_poll);
        self.floor = (least * 2).min(LONGEST_FLOOR);
        self.since_kiss = 0;
        self.next = now + self.floor;
    }

    /// The server refuses to serve.
    pub fn handle_denial(&mut self, now: Timestamp<Local>) {
        self.phase = Phase::Calling { pause: LONGEST_CALL };
        self.next = now + DENIED;
    }
}

/// `interval`, varied by `jitter` in [-1, 1).
fn jittered(interval: Span, jitter: f64) -> Span {
    interval.mul_f64(1.0 + JITTER * jitter)
}

/// The interval at `elapsed` since the beginning of the burst.
fn taper(config: &ClientConfig, elapsed: Span) -> Span {
    let exchanges = f64::from(config.burst.max(1)) * TAPER;
    elapsed.mul_f64(1.0 / exchanges).max(BURST_INTERVAL).min(config.fastest_poll)
}
