//! A phone's camera, where only the exposure can be set: one long frame shifts all later ones.
//!
//! The paper (sec. V.B) found that the shift is linear in the exposure, with a scatter of tens of microseconds. Slope and overhead
//! depend on the phone. Lines and limits are not simulated: [`SensorModel`](super::SensorModel) does that.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use swsync_core::time::{Host, Skew, Span, Timestamp};

use crate::noise::generator;

/// A model of a phone's camera.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PhoneModel {
    /// From one frame's start to the next, by its own crystal.
    pub period_ns: f64,
    /// Shift per exposure.
    pub slope: f64,
    /// Exposure without a shift: zero, or the period.
    pub origin: Span,
    /// Additional shift of every injection.
    pub overhead: Span,
    /// Scatter of single shifts, 1 sigma.
    pub scatter: Span,
    /// Jitter of stamps, 1 sigma.
    pub jitter: Span,
    /// Least number of frames from the request of an exposure to the first frame that it shifts.
    pub latency: u64,
    /// Largest random addition to `latency`.
    pub latency_spread: u64,
}

/// A frame of a phone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PhoneFrame {
    /// The camera's own count, from 0.
    pub sequence: u64,
    /// Its true time.
    pub start: Timestamp<Host>,
    /// Its timestamp.
    pub stamp: Timestamp<Host>,
    /// The long exposure that was injected with it, if any.
    pub injected: Option<Span>,
}

impl PhoneModel {
    /// The paper's phone (sec. V.B), with libsoftwaresync's overhead of its Pixel 3 and a frame every `period_ns`.
    #[must_use]
    pub const fn paper(period_ns: f64) -> Self {
        Self {
            period_ns,
            slope: 2.0,
            origin: Span::ZERO,
            overhead: Span::from_micros(400),
            scatter: Span::from_micros(25),
            jitter: Span::from_micros(2),
            latency: 2,
            latency_spread: 0,
        }
    }
}

/// A running camera of a phone.
#[derive(Debug, Clone)]
pub struct Phone {
    model: PhoneModel,
    rng: ChaCha8Rng,
    period_ns: f64,
    started_at: Timestamp<Host>,
    /// Time of the next frame since then.
    after_ns: f64,
    sequence: u64,
    waiting: Vec<(u64, Span)>,
}

impl Phone {
    /// Starts a camera whose crystal runs fast by `skew`.
    #[must_use]
    pub fn new(model: PhoneModel, seed: u64, skew: Skew, started_at: Timestamp<Host>) -> Self {
        Self {
            model,
            rng: generator(seed, 0),
            period_ns: model.period_ns / (1.0 + skew.as_ratio()),
            started_at,
            after_ns: 0.0,
            sequence: 0,
            waiting: Vec::new(),
        }
    }

    /// The next frame.
    pub fn next_frame(&mut self) -> PhoneFrame {
        let due = |(frame, _): &(u64, Span)| *frame <= self.sequence;
        if let Some(at) = self.waiting.iter().position(due) {
            let (_, exposure) = self.waiting.swap_remove(at);
            let scatter: f64 = self.rng.sample(StandardNormal);
            let shift = (exposure - self.model.origin).mul_f64(self.model.slope)
                + self.model.overhead
                + self.model.scatter.mul_f64(scatter);
            // Limit negative shifts: frames must not overlap.
            self.after_ns += shift.as_nanos_f64().max(-0.5 * self.period_ns);
        }
        let jitter: f64 = self.rng.sample(StandardNormal);
        let start = self.started_at + Span::from_nanos_f64(self.after_ns);
        // The frame after a long exposure is shifted.
        let long = self.waiting.iter().find(|(frame, _)| *frame == self.sequence + 1);
        let frame = PhoneFrame {
            sequence: self.sequence,
            start,
            stamp: start + self.model.jitter.mul_f64(jitter),
            injected: long.map(|(_, exposure)| *exposure),
        };
        self.after_ns += self.period_ns;
        self.sequence += 1;
        frame
    }

    /// Requests this exposure for one frame, after the last delivered frame.
    pub fn inject(&mut self, exposure: Span) {
        let spread = self.model.latency_spread;
        let more = if spread == 0 { 0 } else { self.rng.random_range(0..=spread) };
        let frame = self.sequence.saturating_sub(1) + self.model.latency.max(1) + more;
        self.waiting.push((frame, exposure));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_injection_shifts_all_later_frames() {
        let model = PhoneModel {
            period_ns: 33_000_000.0,
            slope: 2.0,
            origin: Span::ZERO,
            overhead: Span::from_micros(400),
            scatter: Span::ZERO,
            jitter: Span::ZERO,
            latency: 3,
            latency_spread: 0,
        };
        let mut phone = Phone::new(model, 1, Skew::ZERO, Timestamp::ZERO);
        let (mut starts, mut injected) = (Vec::new(), Vec::new());
        for frame in 0..8 {
            let next = phone.next_frame();
            starts.push(next.start.as_nanos());
            injected.extend(next.injected.map(|exposure| (next.sequence, exposure)));
            if frame == 1 {
                phone.inject(Span::from_millis(40));
            }
        }
        let intervals: Vec<i64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let long = 33_000_000 + 80_000_000 + 400_000;
        assert_eq!(injected, [(3, Span::from_millis(40))]);
        assert_eq!(intervals, [33_000_000, 33_000_000, 33_000_000, long, 33_000_000, 33_000_000, 33_000_000]);
    }
    #[test]
    fn latency_takes_all_values_of_its_spread() {
        let model = PhoneModel { latency: 3, latency_spread: 2, ..PhoneModel::paper(33_000_000.0) };
        let mut phone = Phone::new(model, 1, Skew::ZERO, Timestamp::ZERO);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..60 {
            let asked_at = phone.next_frame().sequence;
            phone.inject(Span::from_millis(40));
            let long = std::iter::repeat_with(|| phone.next_frame()).find(|frame| frame.injected.is_some());
            seen.extend(long.map(|frame| frame.sequence + 1 - asked_at));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
    }
}
