//! How long after their instants frames arrive.

use crate::time::Span;

/// A greater age is an error of the clock: no exposure or encoder takes so long.
const MAX_AGE: Span = Span::from_secs(600);

/// The latency of arriving frames.
#[derive(Debug, Clone, Copy, Default)]
pub struct Latency {
    /// By what the elements upstream state.
    stated: Span,
    /// The largest of late. Decays by 1/64 per frame, so that a single delay is forgotten.
    seen: Span,
}

impl Latency {
    pub const fn set_stated(&mut self, stated: Span) {
        self.stated = stated;
    }

    /// A frame of this age arrives.
    pub fn handle_age(&mut self, age: Span) {
        if age < MAX_AGE {
            self.seen = age.max(self.seen - self.seen / 64);
        }
    }

    /// The latency, but at least `period`: an exposure may last that long.
    pub fn max_on(self, period: Span) -> Span {
        self.stated.max(self.seen).max(period)
    }
}
