//! The requested frame lengths, and which frame has which of them.
//!
//! A driver tells how many frames a write takes to act. But a set of controls that is queued a moment too late acts one frame
//! later, and so does every set after it, until the driver loses a frame-start event (libcamera's `DelayedControls`). And a
//! profile may be wrong by one. So this module follows several latencies; each frame whose length depends on the latency tells
//! which is true (docs/phase.md, "Latency").

/// Number of candidate latencies: the profile's less one, the profile's, one more, two more.
pub const CANDIDATES: usize = 4;
/// Index of the profile's latency.
const TOLD: usize = 1;
/// Initial cost of each candidate.
const PRIOR: [f64; CANDIDATES] = [3.0, 0.0, 2.0, 4.0];
/// Number of requests that are remembered: more than the largest latency and the frames of a drop.
const MEMORY: usize = 64;
/// Largest latency of a profile.
pub const MAX_LATENCY: u32 = 24;
/// Largest cost of one frame: a late stamp fits no candidate.
const WORST: f64 = 9.0;
/// Part of a candidate's cost that remains after a frame.
const REMEMBERED: f64 = 0.95;
/// Largest cost of a candidate, so that two or three frames are enough when the latency changes.
const MOST: f64 = 16.0;
/// Largest cost after frames were lost, when the latency often changes.
const MOST_AFTER_LOSS: f64 = 4.0;
/// Another candidate has to be better by this cost.
const HYSTERESIS: f64 = 2.0;
/// Share of frames that no latency explains, because a write was lost.
const STRAY: f64 = 0.001;

/// See the module's documentation.
#[derive(Debug)]
pub struct DelayedLengths {
    told: u32,
    /// The request at the arrival of frame `n`, at index `n % MEMORY`; 0 if there was none.
    asked: [u32; MEMORY],
    /// Whether the next frame had begun before that request; same index.
    late: [bool; MEMORY],
    /// The first frame after those in `asked`.
    next: u64,
    /// Length of frames before the oldest request in memory.
    rest: u32,
    /// Cost of each candidate; the best has 0.
    costs: [f64; CANDIDATES],
    current: usize,
}

impl DelayedLengths {
    /// No requests yet: frames have `nominal` lines.
    pub fn new(latency: u32, nominal: u32) -> Self {
        let told = latency.clamp(1, MAX_LATENCY);
        Self {
            told,
            asked: [0; MEMORY],
            late: [false; MEMORY],
            next: 0,
            rest: nominal,
            costs: PRIOR,
            current: TOLD,
        }
    }

    /// The most likely latency, in frames.
    pub fn latency(&self) -> u32 {
        self.latency_of(self.current)
    }

    /// The index of the most likely candidate.
    pub const fn current(&self) -> usize {
        self.current
    }

    /// Whether the most likely latency is not the profile's.
    pub const fn differs(&self) -> bool {
        self.current != TOLD
    }

    /// The latency of a candidate, in frames.
    pub const fn latency_of(&self, candidate: usize) -> u32 {
        let latency = match candidate {
            0 => self.told - 1,
            1 => self.told,
            2 => self.told + 1,
            _ => self.told + 2,
        };
        if latency == 0 { 1 } else { latency }
    }

    /// Number of frames, from the one that arrives on, whose length can no longer be changed.
    pub const fn known_frames(&self, candidate: usize, late: bool) -> u64 {
        let waits = late && candidate <= TOLD;
        self.latency_of(candidate) as u64 + waits as u64
    }

    /// Notes the request at the arrival of `frame`, if any. `late`: the next frame had already begun.
    pub fn ask(&mut self, frame: u64, lines: Option<u32>, late: bool) {
        let skipped = frame.saturating_sub(self.next).min(MEMORY as u64);
        for missed in frame - skipped..frame {
            self.put(missed, 0, false);
        }
        self.put(frame, lines.unwrap_or(0), late);
        self.next = frame.saturating_add(1);
        // A late request counts for the next frame, which has none of its own yet.
        self.put(self.next, 0, false);
    }

    fn put(&mut self, frame: u64, lines: u32, late: bool) {
        let at = slot(frame);
        if self.asked[at] != 0 {
            self.rest = self.asked[at];
        }
        (self.asked[at], self.late[at]) = (lines, late);
    }

    /// The request that counts for `frame` if `candidate` is true; 0 if none. A late request counts for the next frame, unless
    /// that frame has a request of its own. If writes are delayed by a frame anyway, no request is late.
    fn asked_at(&self, candidate: usize, frame: u64) -> u32 {
        let at = slot(frame);
        if candidate > TOLD || (self.asked[at] != 0 && !self.late[at]) {
            return self.asked[at];
        }
        let before = slot(frame.wrapping_sub(1));
        if self.late[before] { self.asked[before] } else { 0 }
    }

    /// Length of `frame` if `candidate` is true: the last request in time for it. Registers keep their value.
    pub fn length(&self, candidate: usize, frame: u64) -> u32 {
        let oldest = self.next.saturating_sub(MEMORY as u64 - 1);
        let mut at = frame.saturating_add(1).saturating_sub(u64::from(self.latency_of(candidate)));
        at = at.min(self.next.saturating_add(1));
        while at > oldest {
            at -= 1;
            let lines = self.asked_at(candidate, at);
            if lines != 0 {
                return lines;
            }
        }
        self.rest
    }

    /// Probability of each candidate.
    pub fn odds(&self) -> [f64; CANDIDATES] {
        let weights = self.costs.map(|costs| (-0.5 * costs).exp());
        let sum: f64 = weights.iter().sum();
        weights.map(|weight| weight / sum)
    }

    /// Probability that a frame had each candidate's length, given its residuals in standard deviations.
    pub fn shares(&self, residuals: [f64; CANDIDATES]) -> [f64; CANDIDATES] {
        let odds = self.odds();
        let likely = |residual: f64| (-0.5 * cost(residual).min(2.0 * WORST)).exp();
        let shares: [f64; CANDIDATES] = std::array::from_fn(|i| odds[i].max(STRAY) * likely(residuals[i]));
        let sum: f64 = shares.iter().sum();
        shares.map(|share| share / sum)
    }

    /// Updates the costs with a frame's residuals under each candidate, in standard deviations.
    pub fn weigh(&mut self, residuals: [f64; CANDIDATES]) {
        for (total, residual) in self.costs.iter_mut().zip(residuals) {
            *total = *total * REMEMBERED + cost(residual).min(WORST);
        }
        self.settle(HYSTERESIS);
    }

    /// Only the `possible` candidates explain the last stamp.
    pub fn exclude(&mut self, possible: [bool; CANDIDATES]) {
        for (total, possible) in self.costs.iter_mut().zip(possible) {
            *total += if possible { 0.0 } else { 2.0 * MOST };
        }
        self.settle(0.0);
    }

    /// Frames were lost, so the latency may have changed.
    pub fn handle_loss(&mut self) {
        self.costs.iter_mut().for_each(|cost| *cost = cost.min(MOST_AFTER_LOSS));
    }

    /// Normalizes the costs, and switches to the best candidate if it is better by `hysteresis`.
    fn settle(&mut self, hysteresis: f64) {
        let least = self.costs.iter().copied().fold(f64::INFINITY, f64::min);
        self.costs.iter_mut().for_each(|cost| *cost = (*cost - least).min(MOST));
        if self.costs[self.current] > hysteresis {
            let best = self.costs.iter().position(|cost| *cost <= 0.0);
            self.current = best.unwrap_or(self.current);
        }
    }
}

/// Cost of a residual, in standard deviations: its square, with an exponential tail on the late side.
fn cost(residual: f64) -> f64 {
    let square = residual * residual;
    if residual > 0.0 { square.min(1.5 * residual + 2.8) } else { square }
}

#[expect(clippy::cast_possible_truncation, reason = "less than MEMORY")]
const fn slot(frame: u64) -> usize {
    (frame % MEMORY as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths() -> DelayedLengths {
        let mut lengths = DelayedLengths::new(3, 1763);
        for (frame, lines) in (10..16).zip([1763, 2000, 1763, 1764, 1763, 1764]) {
            lengths.ask(frame, Some(lines), false);
        }
        lengths
    }

    #[test]
    fn a_request_takes_effect_after_the_latency() {
        let lengths = lengths();
        for candidate in 0..CANDIDATES {
            let long: Vec<u64> = (0..30).filter(|frame| lengths.length(candidate, *frame) == 2000).collect();
            assert_eq!(long, [11 + 2 + candidate as u64]);
        }
        assert_eq!(lengths.length(TOLD, 5), 1763);
        assert_eq!(lengths.length(TOLD, 18), 1764);
    }

    #[test]
    fn registers_keep_their_value_without_requests() {
        let mut lengths = lengths();
        lengths.ask(18, Some(1700), false); // 16 and 17 were dropped
        let asked: Vec<u32> = (18..23).map(|frame| lengths.length(TOLD, frame)).collect();
        assert_eq!(asked, [1764, 1764, 1764, 1700, 1700]);
        lengths.ask(1_000, None, false);
        assert_eq!(lengths.length(TOLD, 1_001), 1700);
        assert_eq!(lengths.length(TOLD, u64::MAX), 1700);
    }

    #[test]
    fn a_late_request_counts_for_the_next_frame() {
        let mut lengths = DelayedLengths::new(3, 1763);
        lengths.ask(10, Some(1763), false);
        lengths.ask(11, Some(2000), true);
        let long =
            |lengths: &DelayedLengths, candidate| (0..30).find(|n| lengths.length(candidate, *n) == 2000);
        assert_eq!((long(&lengths, TOLD), long(&lengths, 2)), (Some(15), Some(15)));
        lengths.ask(12, Some(1764), false);
        assert_eq!((long(&lengths, TOLD), long(&lengths, 2)), (None, Some(15)));
        assert_eq!(lengths.length(TOLD, 15), 1764);
    }

    #[test]
    fn the_latency_changes_if_it_cannot_explain_frames() {
        let mut lengths = lengths();
        lengths.exclude([false, false, true, true]);
        assert_eq!((lengths.latency(), lengths.differs()), (4, true));
        assert!(lengths.odds()[2] > 0.5 && lengths.odds()[TOLD] < 0.01);
        let mut turns = 0;
        while lengths.differs() {
            lengths.weigh([3.0, 0.3, 3.0, 3.0]);
            turns += 1;
        }
        assert!((2..6).contains(&turns), "{turns}");
    }

    #[test]
    fn shares_follow_a_stamp_unless_it_is_late() {
        let mut lengths = lengths();
        for _ in 0..20 {
            lengths.weigh([4.0, 0.5, 4.0, 4.0]);
        }
        assert!(lengths.shares([4.0, 0.5, 4.0, 4.0])[TOLD] > 0.99);
        // A write was lost: the previous length, which the candidate one later has, explains the frame.
        assert!(lengths.shares([-5.0, -5.0, -0.3, -5.0])[2] > 0.8);
        // A late stamp would explain it as well.
        let share = lengths.shares([4.0, 4.0, 0.3, 4.0])[2];
        assert!((0.02..0.8).contains(&share), "{share}");
        assert!(lengths.shares([30.0, 30.0, 26.0, 30.0])[TOLD] > 0.95, "nothing explains this one");
    }
}
