//! How many requests a client may send in quick succession, whatever happens.

use crate::time::{Local, Span, Timestamp};

/// Bursts in quick succession that are allowed: the first, and that of two changes of the leader. Each is followed by as many
/// requests while the interval grows.
const BURSTS: f64 = 6.0;
/// And some calls and short bursts.
const MORE: f64 = 100.0;

/// For each token, as many fastest polls have to pass.
const POLLS_A_TOKEN: f64 = 4.0;

/// A bucket of tokens, one for each request that follows the last one sooner than the fastest poll.
///
/// Without it, two leaders that answer in turn, or a server that forgets its time with every other response, would be asked in
/// bursts for ever.
#[derive(Debug)]
pub(super) struct Allowance {
    tokens: f64,
    at: Timestamp<Local>,
    most: f64,
    /// Tokens a second.
    rate: f64,
}

impl Allowance {
    /// The allowance of a client whose first burst has `burst` exchanges.
    pub fn full(burst: u32, fastest_poll: Span, now: Timestamp<Local>) -> Self {
        let most = f64::from(burst) * BURSTS + MORE;
        Self { tokens: most, at: now, most, rate: (fastest_poll.as_secs_f64() * POLLS_A_TOKEN).recip() }
    }

    fn tokens_at(&self, now: Timestamp<Local>) -> f64 {
        let elapsed = (now - self.at).max(Span::ZERO).as_secs_f64();
        (self.tokens + elapsed * self.rate).min(self.most)
    }

    /// Whether no token is left.
    pub fn is_used_up(&self, now: Timestamp<Local>) -> bool {
        self.tokens_at(now) < 1.0
    }

    /// Takes a token.
    pub fn take(&mut self, now: Timestamp<Local>) {
        self.tokens = (self.tokens_at(now) - 1.0).max(0.0);
        self.at = now;
    }
}
