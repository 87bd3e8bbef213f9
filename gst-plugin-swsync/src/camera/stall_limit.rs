//! How long a camera may deliver nothing before it counts as stalled.

use swsync_core::time::Span;

/// How much later than a period a frame may come, by default.
const STALL: Span = Span::from_secs(1);

/// The same for the first frame. Raspberry Pi's IPA hides about ten frames, until exposure and white balance have settled.
const STALL_AT_START: Span = Span::from_secs(3);
const HIDDEN_AT_START: i64 = 10;

/// A camera counts as stalled after so many frame periods without a frame. At least 2, because frames have jitter; 0 means a second
/// more than one period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StallLimit(pub u32);

impl StallLimit {
    /// How long the next frame may take, if frames are a `period` apart.
    #[must_use]
    pub fn next(self, period: Span) -> Span {
        if self.0 == 0 { period + STALL } else { period * i64::from(self.0.max(2)) }
    }

    /// How long the first frame may take: at least as long as a camera needs to start.
    #[must_use]
    pub fn first(self, period: Span) -> Span {
        self.next(period).max(period * HIDDEN_AT_START + STALL_AT_START)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_periods_and_is_longer_for_the_first_frame() {
        let period = Span::from_millis(20);
        assert_eq!(StallLimit::default().next(period), Span::from_millis(1_020));
        assert_eq!(StallLimit(5).next(period), Span::from_millis(100));
        assert_eq!(StallLimit(1).next(period), Span::from_millis(40), "jitter is no stall");
        assert_eq!(StallLimit(5).first(period), Span::from_millis(3_200));
        assert_eq!(StallLimit(1_000).first(period), Span::from_secs(20), "as long as any other");
    }
}
