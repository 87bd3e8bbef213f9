//! How long a camera may deliver nothing before it counts as stalled.

use swsync_core::time::Span;

/// How long beyond its period a frame may take, where nobody says how many periods.
const STALL: Span = Span::from_secs(1);

/// The same for the first frame. Raspberry Pi's IPA hides frames until exposure and white balance
/// have settled, about ten.
const STALL_AT_START: Span = Span::from_secs(3);
const HIDDEN_AT_START: i64 = 10;

/// After so many frame periods without a frame a camera counts as stalled, 2 at least: each frame is late by its jitter. 0: after a
/// second beyond the period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StallLimit(pub u32);

impl StallLimit {
    /// How long the next frame may take, where frames are a `period` apart.
    #[must_use]
    pub fn next(self, period: Span) -> Span {
        if self.0 == 0 { period + STALL } else { period * i64::from(self.0.max(2)) }
    }

    /// How long the first frame may take: never less than a camera needs to start.
    #[must_use]
    pub fn first(self, period: Span) -> Span {
        self.next(period).max(period * HIDDEN_AT_START + STALL_AT_START)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_waited_for_and_starts_take_longer() {
        let period = Span::from_millis(20);
        assert_eq!(StallLimit::default().next(period), Span::from_millis(1_020));
        assert_eq!(StallLimit(5).next(period), Span::from_millis(100));
        assert_eq!(StallLimit(1).next(period), Span::from_millis(40), "jitter is no stall");
        assert_eq!(StallLimit(5).first(period), Span::from_millis(3_200));
        assert_eq!(StallLimit(1_000).first(period), Span::from_secs(20), "as long as any other");
    }
}
