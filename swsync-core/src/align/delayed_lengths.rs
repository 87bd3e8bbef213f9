//! Lengths that were asked for, and which frame has which of them.
//!
//! A sensor's driver says how many frames a write takes to act, but a set that is queued a moment too late
//! acts one frame later, and so does every one after it until the driver loses a frame-start event
//! (libcamera's `DelayedControls`); and what is known of a sensor may be wrong by one. So several latencies
//! are kept in mind, and every frame whose length depends on which is true says which it is.

/// Latencies that are kept in mind: one less than told, as told, one and two more.
pub const CANDIDATES: usize = 4;
/// Which of them is the one that was told.
const TOLD: usize = 1;
/// What each begins with: the further from what was told, the more has to speak for it.
const PRIOR: [f64; CANDIDATES] = [3.0, 0.0, 2.0, 4.0];
/// Asked lengths that are remembered: more than the largest latency and the frames of a drop.
const MEMORY: usize = 64;
/// Largest latency that can be told.
pub const MAX_LATENCY: u32 = 24;
/// A candidate that fails to explain a frame loses so much at most: a late stamp explains nothing.
const WORST: f64 = 9.0;
/// How much of what spoke against a candidate is still held against it a frame later.
const REMEMBERED: f64 = 0.95;
/// As much as is ever held against one: latencies change, and then two frames or three have to tell.
const MOST: f64 = 16.0;
/// ... and after frames were lost, when they often do.
const MOST_AFTER_LOSS: f64 = 4.0;
/// So much better has another one to be.
const HYSTERESIS: f64 = 2.0;
/// Share of frames that no latency explains: a write was lost.
const STRAY: f64 = 0.001;

/// See the module's documentation.
#[derive(Debug)]
pub struct DelayedLengths {
    told: u32,
    /// Asked at the arrival of frame `n`, at `n % MEMORY`; 0 where nothing was.
    asked: [u32; MEMORY],
    /// Whether that was after the next frame had begun, likewise.
    late: [bool; MEMORY],
    /// The first frame that `asked` does not cover yet.
    next: u64,
    /// Length where nothing was asked for as far back as memory goes.
    rest: u32,
    against: [f64; CANDIDATES],
    current: usize,
}

impl DelayedLengths {
    /// Nothing asked for yet: frames have `nominal` lines.
    pub fn new(latency: u32, nominal: u32) -> Self {
        let told = latency.clamp(1, MAX_LATENCY);
        Self {
            told,
            asked: [0; MEMORY],
            late: [false; MEMORY],
            next: 0,
            rest: nominal,
            against: PRIOR,
            current: TOLD,
        }
    }

    /// The latency that is believed in, in frames.
    pub fn latency(&self) -> u32 {
        self.latency_of(self.current)
    }

    /// Which candidate that is.
    pub const fn current(&self) -> usize {
        self.current
    }

    /// Whether the latency that was told is not the one believed in.
    pub const fn differs(&self) -> bool {
        self.current != TOLD
    }

    /// The latency that a candidate stands for, in frames.
    pub const fn latency_of(&self, candidate: usize) -> u32 {
        let latency = match candidate {
            0 => self.told - 1,
            1 => self.told,
            2 => self.told + 1,
            _ => self.told + 2,
        };
        if latency == 0 { 1 } else { latency }
    }

    /// Frames from the one that arrives, this included, whose length can no longer be determined.
    pub const fn known_frames(&self, candidate: usize, late: bool) -> u64 {
        let waits = late && candidate <= TOLD;
        self.latency_of(candidate) as u64 + waits as u64
    }

    /// `lines` were asked for at the arrival of `frame`. Between it and the one before nothing was.
    /// `late` is where the next frame had begun already.
    pub fn ask(&mut self, frame: u64, lines: Option<u32>, late: bool) {
        let skipped = frame.saturating_sub(self.next).min(MEMORY as u64);
        for missed in frame - skipped..frame {
            self.put(missed, 0, false);
        }
        self.put(frame, lines.unwrap_or(0), late);
        self.next = frame.saturating_add(1);
        // What comes late is the next frame's, of which nothing else is known yet.
        self.put(self.next, 0, false);
    }

    fn put(&mut self, frame: u64, lines: u32, late: bool) {
        let at = slot(frame);
        if self.asked[at] != 0 {
            self.rest = self.asked[at];
        }
        (self.asked[at], self.late[at]) = (lines, late);
    }

    /// What was asked for in time for the latency of `candidate` after `frame`; 0 if nothing. Where writes
    /// are delayed by a frame anyway there is always time; else one that comes late is the next frame's,
    /// unless that asks itself.
    fn asked_at(&self, candidate: usize, frame: u64) -> u32 {
        let at = slot(frame);
        if candidate > TOLD || (self.asked[at] != 0 && !self.late[at]) {
            return self.asked[at];
        }
        let before = slot(frame.wrapping_sub(1));
        if self.late[before] { self.asked[before] } else { 0 }
    }

    /// Length of `frame` if `candidate` is true: what was asked for last in time for it, as registers
    /// keep their value.
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

    /// How likely each candidate is.
    pub fn odds(&self) -> [f64; CANDIDATES] {
        let weights = self.against.map(|against| (-0.5 * against).exp());
        let sum: f64 = weights.iter().sum();
        weights.map(|weight| weight / sum)
    }

    /// How likely it is of each candidate that a frame had the length that it says, by the residuals that
    /// the frame leaves, in standard deviations.
    pub fn shares(&self, residuals: [f64; CANDIDATES]) -> [f64; CANDIDATES] {
        let odds = self.odds();
        let likely = |residual: f64| (-0.5 * cost(residual).min(2.0 * WORST)).exp();
        let shares: [f64; CANDIDATES] = std::array::from_fn(|i| odds[i].max(STRAY) * likely(residuals[i]));
        let sum: f64 = shares.iter().sum();
        shares.map(|share| share / sum)
    }

    /// Takes in the residuals that a frame leaves under each candidate, in standard deviations.
    pub fn weigh(&mut self, residuals: [f64; CANDIDATES]) {
        for (against, residual) in self.against.iter_mut().zip(residuals) {
            *against = *against * REMEMBERED + cost(residual).min(WORST);
        }
        self.settle(HYSTERESIS);
    }

    /// A stamp can be explained by the candidates that `possible` names alone.
    pub fn exclude(&mut self, possible: [bool; CANDIDATES]) {
        for (against, possible) in self.against.iter_mut().zip(possible) {
            *against += if possible { 0.0 } else { 2.0 * MOST };
        }
        self.settle(0.0);
    }

    /// Frames were lost, and with them perhaps what delayed all writes.
    pub fn handle_loss(&mut self) {
        self.against.iter_mut().for_each(|against| *against = against.min(MOST_AFTER_LOSS));
    }

    /// Counts from the best one, and believes in it where it is so much better.
    fn settle(&mut self, hysteresis: f64) {
        let least = self.against.iter().copied().fold(f64::INFINITY, f64::min);
        self.against.iter_mut().for_each(|against| *against = (*against - least).min(MOST));
        if self.against[self.current] > hysteresis {
            let best = self.against.iter().position(|against| *against <= 0.0);
            self.current = best.unwrap_or(self.current);
        }
    }
}

/// What speaks against an explanation that leaves `residual`, in standard deviations: its square, but that
/// stamps come late more often than early, by an exponential's tail.
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
    fn a_length_comes_into_effect_after_the_latency() {
        let lengths = lengths();
        for candidate in 0..CANDIDATES {
            let long: Vec<u64> = (0..30).filter(|frame| lengths.length(candidate, *frame) == 2000).collect();
            assert_eq!(long, [11 + 2 + candidate as u64]);
        }
        assert_eq!(lengths.length(TOLD, 5), 1763);
        assert_eq!(lengths.length(TOLD, 18), 1764);
    }

    #[test]
    fn registers_keep_their_value_where_nothing_is_asked() {
        let mut lengths = lengths();
        lengths.ask(18, Some(1700), false); // 16 and 17 were dropped
        let asked: Vec<u32> = (18..23).map(|frame| lengths.length(TOLD, frame)).collect();
        assert_eq!(asked, [1764, 1764, 1764, 1700, 1700]);
        lengths.ask(1_000, None, false);
        assert_eq!(lengths.length(TOLD, 1_001), 1700);
        assert_eq!(lengths.length(TOLD, u64::MAX), 1700);
    }

    #[test]
    fn a_late_request_is_the_next_frames_unless_writes_wait_anyway() {
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
    fn what_a_latency_cannot_explain_speaks_for_another() {
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
    fn shares_follow_the_stamp_but_not_a_late_one() {
        let mut lengths = lengths();
        for _ in 0..20 {
            lengths.weigh([4.0, 0.5, 4.0, 4.0]);
        }
        assert!(lengths.shares([4.0, 0.5, 4.0, 4.0])[TOLD] > 0.99);
        // A write was lost: the length before it, that of the candidate one later, explains the frame.
        assert!(lengths.shares([-5.0, -5.0, -0.3, -5.0])[2] > 0.8);
        // ... unless a stamp that came late explains it as well.
        let share = lengths.shares([4.0, 4.0, 0.3, 4.0])[2];
        assert!((0.02..0.8).contains(&share), "{share}");
        assert!(lengths.shares([30.0, 30.0, 26.0, 30.0])[TOLD] > 0.95, "nothing explains this one");
    }
}
