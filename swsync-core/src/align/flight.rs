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
const REMEMBERED: f64 = 0.93;
/// So much better has another one to be.
const HYSTERESIS: f64 = 8.0;

/// See the module's documentation.
#[derive(Debug)]
pub struct Flight {
    told: u32,
    /// Asked at the arrival of frame `n`, at `n % MEMORY`; 0 where nothing was.
    asked: [u32; MEMORY],
    /// The first frame that `asked` does not cover yet.
    next: u64,
    /// Length where nothing was asked for as far back as memory goes.
    rest: u32,
    against: [f64; CANDIDATES],
    current: usize,
}

impl Flight {
    /// Nothing asked for yet: frames have `nominal` lines.
    pub fn new(latency: u32, nominal: u32) -> Self {
        let told = latency.clamp(1, MAX_LATENCY);
        Self { told, asked: [0; MEMORY], next: 0, rest: nominal, against: PRIOR, current: TOLD }
    }

    /// The latency that is believed in, in frames.
    pub fn latency(&self) -> u32 {
        self.latency_of(self.current)
    }

    /// Which candidate that is.
    pub const fn current(&self) -> usize {
        self.current
    }

    /// Whether the one that was told is not the one believed in.
    pub const fn differs(&self) -> bool {
        self.current != TOLD
    }

    const fn latency_of(&self, candidate: usize) -> u32 {
        let latency = match candidate {
            0 => self.told - 1,
            1 => self.told,
            2 => self.told + 1,
            _ => self.told + 2,
        };
        if latency == 0 { 1 } else { latency }
    }

    /// `lines` were asked for at the arrival of `frame`. Between it and the one before nothing was.
    pub fn ask(&mut self, frame: u64, lines: Option<u32>) {
        let skipped = frame.saturating_sub(self.next).min(MEMORY as u64);
        for missed in frame - skipped..frame {
            self.put(missed, 0);
        }
        self.put(frame, lines.unwrap_or(0));
        self.next = frame + 1;
    }

    fn put(&mut self, frame: u64, lines: u32) {
        let slot = &mut self.asked[slot(frame)];
        if *slot != 0 {
            self.rest = *slot;
        }
        *slot = lines;
    }

    /// Length of `frame` if `candidate` is true: what was asked for last in time for it, as registers
    /// keep their value.
    pub fn length(&self, candidate: usize, frame: u64) -> u32 {
        let oldest = self.next.saturating_sub(MEMORY as u64);
        let mut at = frame.saturating_add(1).saturating_sub(u64::from(self.latency_of(candidate)));
        at = at.min(self.next);
        while at > oldest {
            at -= 1;
            let lines = self.asked[slot(at)];
            if lines != 0 {
                return lines;
            }
        }
        self.rest
    }

    /// The residuals that a frame leaves under each candidate, in standard deviations; whether another one
    /// is believed in from now on.
    pub fn weigh(&mut self, residuals: [f64; CANDIDATES]) -> bool {
        for (against, residual) in self.against.iter_mut().zip(residuals) {
            *against = *against * REMEMBERED + (residual * residual).min(WORST);
        }
        let least = self.against.iter().copied().fold(f64::INFINITY, f64::min);
        self.against.iter_mut().for_each(|against| *against -= least);
        let best = self.against.iter().position(|against| *against <= 0.0).unwrap_or(self.current);
        let better = self.against[self.current] > HYSTERESIS;
        if better {
            self.current = best;
        }
        better
    }
}

#[expect(clippy::cast_possible_truncation, reason = "less than MEMORY")]
const fn slot(frame: u64) -> usize {
    (frame % MEMORY as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight() -> Flight {
        let mut flight = Flight::new(3, 1763);
        for (frame, lines) in (10..16).zip([1763, 2000, 1763, 1764, 1763, 1764]) {
            flight.ask(frame, Some(lines));
        }
        flight
    }

    #[test]
    fn a_length_comes_into_effect_after_the_latency() {
        let flight = flight();
        for candidate in 0..CANDIDATES {
            let long: Vec<u64> = (0..30).filter(|frame| flight.length(candidate, *frame) == 2000).collect();
            assert_eq!(long, [11 + 2 + candidate as u64]);
        }
        assert_eq!(flight.length(TOLD, 5), 1763);
        assert_eq!(flight.length(TOLD, 18), 1764);
    }

    #[test]
    fn registers_keep_their_value_where_nothing_is_asked() {
        let mut flight = flight();
        flight.ask(18, Some(1700)); // 16 and 17 were dropped
        let lengths: Vec<u32> = (18..23).map(|frame| flight.length(TOLD, frame)).collect();
        assert_eq!(lengths, [1764, 1764, 1764, 1700, 1700]);
        flight.ask(1_000, None);
        assert_eq!(flight.length(TOLD, 1_001), 1700);
        assert_eq!(flight.length(TOLD, u64::MAX), 1700);
    }

    #[test]
    fn one_frame_far_off_is_enough_and_small_ones_add_up() {
        let mut flight = flight();
        assert!(flight.weigh([400.0, 400.0, 0.3, 400.0]) || flight.weigh([3.0, 3.0, 0.3, 3.0]));
        assert_eq!((flight.latency(), flight.differs()), (4, true));
        let mut turns = 0;
        while flight.differs() {
            flight.weigh([2.0, 0.5, 2.5, 1.0]);
            turns += 1;
        }
        assert!((2..6).contains(&turns), "{turns}");
    }
}
