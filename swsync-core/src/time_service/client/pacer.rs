//! When the client sends its requests: first a burst, then ever more rarely, as the accuracy allows. docs/time.md, "How often a
//! client asks", tells the rules.
//!
//! Constants without a source were chosen by simulation over the links of `swsync-sim`.

use super::allowance::Allowance;
use super::config::ClientConfig;
use super::poll_search::PollSearch;
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
/// A burst ends in any case after this time, and after this many requests for each exchange that it is to have: half of the
/// packets of either direction may be lost.
const LAST_BURST: Span = Span::from_secs(10);
const REQUESTS_AN_EXCHANGE: u32 = 4;
/// If the server grants less than a burst needs, its requests follow each other at most so slowly, and it ends after this time
/// with this many exchanges.
const THINNEST_BURST: Span = Span::from_millis(50);
const THIN_BURSTS: [(Span, u32); 2] = [(Span::from_secs(1), 64), (Span::from_secs(2), 32)];
/// Exchanges of a burst that refreshes an estimate.
pub(super) const SHORT_BURST: u32 = 32;
/// After a burst of 300 exchanges, the interval is an 80th of the elapsed time, so it doubles every 55 requests. After a shorter
/// burst it grows faster in proportion.
const TAPER: f64 = 80.0 / 300.0;
/// First and longest interval while nobody answers.
const FIRST_CALL: Span = Span::from_millis(25);
const FIRST_CALL_IN_HOLDOVER: Span = Span::from_millis(125);
const LONGEST_CALL: Span = Span::from_secs(1);
/// A server counts as silent after so much nonsense in a row, and in a burst after so many requests without an answer: those
/// that a window lets go in 0.4 s, over a short path.
const MOST_NONSENSE: u32 = 4;
const MOST_UNANSWERED: u32 = 80;
/// A server is distrusted if it is of use again and again for fewer than so many good exchanges. The first few times are
/// forgiven: leaders change, and so do networks.
const ENOUGH_SENSE: u32 = 32;
const FORGIVEN: u32 = 3;
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
    /// Quick succession: after `sent` requests, `done` exchanges of `total` are complete.
    Burst { since: Timestamp<Local>, sent: u32, done: u32, total: u32 },
    /// The interval grows with the time since the burst began.
    Taper { since: Timestamp<Local> },
    /// As rarely as the accuracy allows.
    Steady,
    /// The fastest poll does not give the accuracy: as rarely as costs little of what accuracy there is.
    Searching,
}

/// Schedules the requests.
#[derive(Debug)]
pub(super) struct Pacer {
    phase: Phase,
    next: Timestamp<Local>,
    last_sent: Timestamp<Local>,
    /// The interval of the steady phase and of the search.
    interval: Span,
    /// The shortest interval that the server has imposed by RATE, and when.
    floor: Span,
    kissed: Timestamp<Local>,
    since_kiss: u32,
    /// The shortest interval that the server grants each of its clients.
    budget: Span,
    search: PollSearch,
    /// Requests in quick succession that may still be sent.
    allowance: Allowance,
    /// Requests since the last answer that was of use.
    unanswered: u32,
    /// Nonsense in a row.
    nonsense: u32,
    /// Good exchanges since the server was last of no use, and how often it was of none before there were enough of them.
    sense: u32,
    distrust: u32,
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
    pub fn new(config: &ClientConfig, now: Timestamp<Local>) -> Self {
        Self {
            phase: Phase::Calling { pause: FIRST_CALL },
            next: now,
            last_sent: now,
            interval: config.fastest_poll,
            floor: Span::ZERO,
            kissed: now,
            since_kiss: 0,
            budget: Span::ZERO,
            search: PollSearch::new(),
            allowance: Allowance::full(config.burst, config.fastest_poll, now),
            unanswered: 0,
            nonsense: 0,
            sense: 0,
            distrust: 0,
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
            Phase::Taper { .. } | Phase::Steady | Phase::Searching => config.burst,
        }
    }

    /// The present interval between requests.
    pub fn interval(&self, config: &ClientConfig, now: Timestamp<Local>) -> Span {
        let wanted = match self.phase {
            Phase::Calling { pause } => pause,
            Phase::Burst { .. } => self.burst_interval(),
            // Every client asks at least every `slowest_poll`, whatever a server states.
            Phase::Taper { since } => taper(config, now - since).max(self.budget.min(config.slowest_poll)),
            Phase::Steady | Phase::Searching => self.interval.max(self.budget.min(config.slowest_poll)),
        };
        wanted.max(self.least_pause(config, now))
    }

    /// The interval between requests of a burst, unless responses allow a shorter one.
    fn burst_interval(&self) -> Span {
        self.budget.min(THINNEST_BURST).max(BURST_INTERVAL)
    }

    /// Shortest interval whatever happens.
    fn least_pause(&self, config: &ClientConfig, now: Timestamp<Local>) -> Span {
        let allowed = if self.allowance.is_used_up(now) { config.fastest_poll } else { BURST_PAUSE };
        allowed.max(self.floor).max(self.distrustful_pause())
    }

    /// Shortest interval while the server is distrusted: 25 ms, doubled up to a second.
    fn distrustful_pause(&self) -> Span {
        match self.distrust.checked_sub(FORGIVEN) {
            None => Span::ZERO,
            Some(doublings) => (FIRST_CALL * (1 << doublings.min(16))).min(LONGEST_CALL),
        }
    }

    /// The server is of no use at present.
    const fn distrust(&mut self) {
        self.sense = 0;
        self.distrust = self.distrust.saturating_add(1);
    }

    /// The shortest interval that the server grants each of its clients; zero: any.
    pub fn set_budget(&mut self, least: Span) {
        self.budget = least.max(Span::ZERO);
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
        if now - self.last_sent < config.fastest_poll {
            self.allowance.take(now);
        }
        self.last_sent = now;
        self.bound_burst(config, now);
        let interval = self.interval(config, now);
        let pause = match (&mut self.phase, in_flight.oldest) {
            (Phase::Calling { pause }, _) => {
                *pause = (*pause * 2).min(LONGEST_CALL);
                jittered(interval, jitter)
            }
            (Phase::Burst { .. }, Some(oldest)) if in_flight.requests >= WINDOW => oldest + patience - now,
            (Phase::Burst { .. }, _) => interval,
            // The response will set the whole interval.
            (Phase::Taper { .. } | Phase::Steady | Phase::Searching, _) => {
                jittered(interval.min(REPEAT), jitter)
            }
        };
        self.next = now + pause.max(self.least_pause(config, now));
    }

    /// Counts a request, and ends a burst that does not come to its end.
    fn bound_burst(&mut self, config: &ClientConfig, now: Timestamp<Local>) {
        self.unanswered = self.unanswered.saturating_add(1);
        if self.is_in_burst() && self.unanswered > MOST_UNANSWERED {
            self.call(false);
        }
        if let Phase::Burst { since, sent, total, .. } = &mut self.phase {
            *sent += 1;
            if now - *since > LAST_BURST || *sent > total.saturating_mul(REQUESTS_AN_EXCHANGE) {
                self.leave_burst(config);
            }
        }
    }

    /// A server that knows the time has answered.
    pub fn handle_response(&mut self, config: &ClientConfig, now: Timestamp<Local>, jitter: f64) {
        self.unanswered = 0;
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
            Phase::Taper { .. } | Phase::Steady | Phase::Searching => {}
        }
        let pause = match self.phase {
            Phase::Burst { .. } if self.burst_interval() == BURST_INTERVAL => self.least_pause(config, now),
            Phase::Burst { .. } => self.interval(config, now),
            _ => jittered(self.interval(config, now), jitter),
        };
        self.next = (self.last_sent + pause).max(now);
    }

    /// Ends the burst if it has completed enough exchanges.
    pub fn end_burst(&mut self, config: &ClientConfig, now: Timestamp<Local>, settled: bool) {
        if let Phase::Burst { since, done, total, .. } = self.phase {
            let long = now - since > LONGEST_BURST || self.floor > Span::ZERO;
            let thin = self.burst_interval() > BURST_INTERVAL
                && THIN_BURSTS.iter().any(|(time, enough)| now - since >= *time && done >= *enough);
            if done >= total || settled || long && done >= ENOUGH || thin {
                self.leave_burst(config);
            }
        }
    }

    fn leave_burst(&mut self, config: &ClientConfig) {
        if let Phase::Burst { since, total, .. } = self.phase {
            self.phase = if total == config.burst { Phase::Taper { since } } else { Phase::Steady };
        }
    }

    /// Starts a burst of `total` exchanges.
    pub fn start_burst(&mut self, config: &ClientConfig, now: Timestamp<Local>, total: u32) {
        if self.is_in_burst() {
            self.distrust();
        }
        self.phase = Phase::Burst { since: now, sent: 0, done: 0, total };
        self.interval = config.fastest_poll;
        self.next = (self.last_sent + self.least_pause(config, now)).max(now + self.floor);
    }

    /// Nobody who knows the time has answered for long.
    pub fn call(&mut self, synced_once: bool) {
        if !self.is_calling() {
            self.distrust();
            let pause = if synced_once { FIRST_CALL_IN_HOLDOVER } else { FIRST_CALL };
            self.phase = Phase::Calling { pause };
            self.next = self.next.max(self.last_sent + pause.max(self.distrustful_pause()));
        }
    }

    /// The server has answered with nonsense, such as impossible timestamps.
    pub fn handle_nonsense(&mut self, synced_once: bool) {
        self.nonsense += 1;
        if self.nonsense >= MOST_NONSENSE {
            self.nonsense = 0;
            self.call(synced_once);
        }
    }

    /// Has the next request sent at once, unless the last one was sent just now.
    pub fn ask_now(&mut self, now: Timestamp<Local>) {
        let pause = FIRST_CALL_IN_HOLDOVER.max(self.floor).max(self.distrustful_pause());
        self.next = self.next.min((self.last_sent + pause).max(now));
    }

    /// Requests go to another server from now on.
    pub fn restart(&mut self, config: &ClientConfig, now: Timestamp<Local>) {
        self.phase = Phase::Calling { pause: FIRST_CALL };
        (self.floor, self.budget) = (Span::ZERO, Span::ZERO);
        (self.nonsense, self.sense, self.distrust) = (0, 0, 0);
        self.search.forget();
        self.next = (self.last_sent + self.least_pause(config, now)).max(now);
    }

    /// Adapts the interval to an estimate.
    pub fn handle_estimate(
        &mut self,
        config: &ClientConfig,
        now: Timestamp<Local>,
        estimate: &ClockEstimate,
    ) {
        (self.nonsense, self.sense) = (0, self.sense.saturating_add(1));
        if self.sense >= ENOUGH_SENSE {
            self.distrust = 0;
        }
        if let Phase::Taper { since } = self.phase
            && taper(config, now - since) >= config.fastest_poll
        {
            self.phase = Phase::Steady;
            self.interval = config.fastest_poll;
        }
        match self.phase {
            Phase::Steady => self.follow_accuracy(config, now, estimate),
            Phase::Searching => self.search(config, now, estimate),
            Phase::Calling { .. } | Phase::Burst { .. } | Phase::Taper { .. } => {}
        }
    }

    /// Doubles or halves the interval, as the accuracy allows.
    fn follow_accuracy(&mut self, config: &ClientConfig, now: Timestamp<Local>, estimate: &ClockEstimate) {
        let interval = self.interval(config, now);
        let at = |intervals: i64| estimate.uncertainty_at(now + interval * intervals);
        if at(1) > config.accuracy {
            (self.good, self.poor) = (0, self.poor + 1);
            if self.poor < POOR {
                return;
            }
            self.poor = 0;
            if self.interval > config.fastest_poll {
                self.interval = (self.interval / 2).max(config.fastest_poll);
                self.good_needed = (self.good_needed * 2).min(MOST_GOOD);
            } else {
                self.phase = Phase::Searching;
                self.search.begin(config, now);
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

    /// Lets the search choose the interval, until the accuracy can be had.
    fn search(&mut self, config: &ClientConfig, now: Timestamp<Local>, estimate: &ClockEstimate) {
        let next = estimate.uncertainty_at(now + self.interval(config, now));
        let median = self.search.handle_uncertainty(config, now, next);
        if median.is_some_and(|median| median < config.accuracy.mul_f64(MARGIN)) {
            self.phase = Phase::Steady;
            (self.good, self.good_needed, self.poor) = (0, GOOD, 0);
        } else {
            self.interval = self.search.interval(config);
        }
    }

    /// The server asks to slow down (RFC 5905 section 7.4): double the interval, once for all requests that were in flight.
    pub fn handle_rate(&mut self, config: &ClientConfig, now: Timestamp<Local>) {
        if now < self.kissed + self.floor {
            return;
        }
        self.kissed = now;
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

#[cfg(test)]
mod tests;
