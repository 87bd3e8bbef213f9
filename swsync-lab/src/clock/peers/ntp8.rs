//! NTP's client after RFC 5905: the clock filter of eight stages (section 10 and A.5.2), the popcorn spike
//! suppressor, and the phase-locked loop of the clock discipline (section 11.3, A.5.5.6).
//!
//! One exchange a second is used: a poll exponent of 0, where the RFC allows 4 to 17, so that the loop can converge within minutes.
//! The others are ignored. As with a drift file, it starts in state `FSET` with a skew of zero; without one the RFC measures the
//! frequency for fifteen minutes first. Loop gain and time constant are those of the reference implementation: per second the clock
//! is slewed by 1/16 of the residual offset. With one server there is nothing to select or combine. The frequency-locked loop is only
//! used for polls above 2^10 s.
//!
//! Its uncertainty is NTP's: the filter's jitter and the sample's dispersion.

use std::collections::VecDeque;

use swsync_core::estimate::ClockEstimate;
use swsync_core::estimate::{Estimator, Exchange};
use swsync_core::time::{Local, Offset, Skew, Span, Timestamp};

/// `NSTAGE`.
const STAGES: usize = 8;
/// `SGATE`: a sample that differs by so many jitters is popcorn.
const GATE: f64 = 3.0;
/// `STEPT`: beyond this the clock is stepped.
const STEP: f64 = 0.128e9;
/// `WATCH`: larger offsets are taken for spikes for so long, in s.
const WATCH: f64 = 900.0;
/// `PHI`: greatest frequency error, ns/s.
const PHI: f64 = 15e3;
/// `MINDISP`: initial dispersion of a stage, the precision of both sides, ns.
const PRECISION: f64 = 1e3;
/// Dispersion of an empty stage, ns.
const MAX_DISPERSION: f64 = 16e9;
/// `CLOCK_PLL` of the reference implementation.
const PLL: f64 = 16.0;
/// The poll interval, s.
const POLL: f64 = 1.0;
/// `MAXFREQ`, ns/s.
const MAX_SKEW: f64 = 500e3;

/// A sample in the filter: offset of the disciplined clock and delay in ns.
#[derive(Debug, Clone, Copy)]
struct Stage {
    at: Timestamp<Local>,
    offset: f64,
    delay: f64,
    dispersion: f64,
}

/// An estimator that behaves like NTP.
#[derive(Debug, Default)]
pub struct Ntp8 {
    clock: Option<Disciplined>,
    stages: VecDeque<Stage>,
    next_poll: Option<Timestamp<Local>>,
    /// The sample that was used last: its time and offset.
    used: Option<(Timestamp<Local>, f64)>,
    jitter: f64,
    dispersion: f64,
    /// Since when offsets are beyond the step threshold.
    spike_since: Option<Timestamp<Local>>,
}

/// The disciplined clock: its offset and skew, and what is still to be slewed.
#[derive(Debug, Clone, Copy)]
struct Disciplined {
    at: Timestamp<Local>,
    base: Offset,
    /// Offset relative to `base`, ns.
    theta: f64,
    /// ns/s.
    skew: f64,
    /// Offset that is slewed away, ns.
    residual: f64,
    /// When `residual` was set.
    updated: Timestamp<Local>,
}

impl Disciplined {
    /// Runs the clock on to `at`.
    fn advance(&mut self, at: Timestamp<Local>) {
        let elapsed = (at - self.at).max(Span::ZERO).as_secs_f64();
        let left = self.residual * (-elapsed / (PLL * POLL)).exp();
        self.theta += self.skew * elapsed + self.residual - left;
        self.residual = left;
        self.at = self.at.max(at);
    }

    fn offset(&self) -> Span {
        self.base.as_span() + Span::from_nanos_f64(self.theta)
    }
}

impl Ntp8 {
    /// `clock_filter()`: the sample with the least delay of the last eight, unless it was used before or
    /// is popcorn.
    fn filter(&mut self, sample: Stage) -> Option<Stage> {
        let elapsed = self.stages.back().map_or(0.0, |last| (sample.at - last.at).as_secs_f64());
        for stage in &mut self.stages {
            stage.dispersion += PHI * elapsed;
        }
        self.stages.push_back(sample);
        if self.stages.len() > STAGES {
            self.stages.pop_front();
        }
        // The sort is stable and starts with the newest, so the newest of equal delays comes first.
        let mut sorted: Vec<Stage> = self.stages.iter().rev().copied().collect();
        sorted.sort_by(|a, b| a.delay.total_cmp(&b.delay));
        let best = sorted[0];
        let (mut weight, mut dispersion, mut squares) = (0.5, 0.0, 0.0);
        for k in 0..STAGES {
            dispersion += weight * sorted.get(k).map_or(MAX_DISPERSION, |stage| stage.dispersion);
            weight /= 2.0;
            squares += sorted.get(k).map_or(0.0, |stage| (stage.offset - best.offset).powi(2));
        }
        let others = crate::stats::as_f64(sorted.len().max(2) - 1);
        let before = self.jitter;
        self.dispersion = dispersion;
        self.jitter = (squares / others).sqrt().max(PRECISION);
        if let Some((at, offset)) = self.used {
            let gap = (best.at - at).as_secs_f64();
            let popcorn = (best.offset - offset).abs() > GATE * before && gap < 2.0 * POLL;
            if gap <= 0.0 || popcorn {
                return None;
            }
        }
        self.used = Some((best.at, best.offset));
        Some(best)
    }

    /// `local_clock()`: from an offset to a step, or to phase and frequency corrections.
    fn discipline(&mut self, best: Stage) {
        let Some(clock) = &mut self.clock else { return };
        if best.offset.abs() > STEP {
            let since = *self.spike_since.get_or_insert(best.at);
            if (best.at - since).as_secs_f64() < WATCH {
                return;
            }
            clock.theta += best.offset;
            clock.residual = 0.0;
            clock.updated = best.at;
            (self.spike_since, self.used) = (None, None);
            self.stages.clear();
            return;
        }
        self.spike_since = None;
        let interval = (best.at - clock.updated).as_secs_f64().clamp(0.0, POLL);
        clock.skew += best.offset * interval / (4.0 * PLL * POLL).powi(2);
        clock.skew = clock.skew.clamp(-MAX_SKEW, MAX_SKEW);
        clock.residual = best.offset;
        clock.updated = best.at;
    }
}

impl Estimator for Ntp8 {
    fn handle_exchange(&mut self, exchange: &Exchange) -> Option<ClockEstimate> {
        let asked = self.next_poll.is_none_or(|next| exchange.t1 >= next);
        if asked && exchange.is_plausible() {
            self.next_poll = Some(exchange.t1 + Span::from_secs_f64(POLL));
            // The first sample steps the clock.
            let clock = self.clock.get_or_insert(Disciplined {
                at: exchange.t4,
                base: exchange.offset(),
                theta: 0.0,
                skew: 0.0,
                residual: 0.0,
                updated: exchange.t4,
            });
            clock.advance(exchange.t4);
            let sample = Stage {
                at: exchange.t4,
                offset: (exchange.offset().as_span() - clock.offset()).as_nanos_f64(),
                delay: exchange.delay().as_nanos_f64(),
                dispersion: PRECISION + PHI * (exchange.t4 - exchange.t1).as_secs_f64(),
            };
            if let Some(best) = self.filter(sample) {
                self.discipline(best);
            }
        }
        let clock = self.clock.as_mut()?;
        clock.advance(exchange.t4);
        Some(ClockEstimate {
            at: clock.at,
            offset: Offset::from_span(clock.offset()),
            skew: Skew::from_ratio(clock.skew * 1e-9),
            uncertainty: Span::from_nanos_f64(self.jitter + self.dispersion),
            skew_uncertainty: Skew::from_ratio(PHI * 1e-9),
            least_delay: self.stages.iter().map(|stage| Span::from_nanos_f64(stage.delay)).min()?,
        })
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{errors, ethernet, ideal, mean, worst};
    use super::*;

    #[test]
    fn the_loop_pulls_in() {
        let exchanges = ideal(7200, 1000, 100.0).simulate(1).exchanges;
        let errors = errors(&mut Ntp8::default(), &exchanges, 0);
        // 60 to 100 ppm have to be learned first, and the loop is overdamped: its slow pole is at 1/240 s if every sample is used,
        // and one in five is.
        assert!(worst(&errors[..60]) > 300.0, "{}", worst(&errors[..60]));
        assert!(errors[600..].chunks(1200).map(worst).is_sorted_by(|a, b| a > b));
        assert!(worst(&errors[7000..]) < 20.0, "{}", worst(&errors[7000..]));
    }

    #[test]
    fn it_is_unbiased_on_a_symmetric_link() {
        let exchanges = ethernet(7200, 1000, 15.0).simulate(1).exchanges;
        let errors = errors(&mut Ntp8::default(), &exchanges, 5000);
        assert!(mean(&errors).abs() < 10.0 && worst(&errors) < 50.0, "{} {}", mean(&errors), worst(&errors));
    }

    #[test]
    fn popcorn_is_dropped_and_the_least_delay_wins() {
        let mut ntp = Ntp8::default();
        let stage = |secs: i64, offset: f64, delay: f64| Stage {
            at: Timestamp::ZERO + Span::from_secs(secs),
            offset,
            delay,
            dispersion: PRECISION,
        };
        assert!(ntp.filter(stage(1, 10e3, 100e3)).is_some());
        assert!(ntp.filter(stage(2, 20e3, 150e3)).is_none(), "the first one is still the best, and was used");
        assert!(ntp.filter(stage(2, 12e3, 90e3)).is_some_and(|best| best.delay < 91e3));
        assert!(ntp.filter(stage(3, 900e3, 80e3)).is_none(), "popcorn");
    }
}
