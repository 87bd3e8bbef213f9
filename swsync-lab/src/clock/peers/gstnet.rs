//! `GstNetClientClock`, as of GStreamer 1.26 (`gstnetclientclock.c`, and the regression of `gstclock.c`).
//!
//! Exchanges that took longer than twice the median of the last nine, or than twice a running average, are dropped. The clock's
//! calibration is a line through the last 32 pairs (client's mean time, leader's mean time), if there are at least four. While the
//! leader's answers are where the clock expects them, a jump is limited to a quarter of the average round trip. Otherwise the new
//! line is used only if the answer fits it, or after six refusals.
//!
//! The polling interval follows from the line's correlation: from 50 ms to a second, a quarter of a second after a dropped exchange.
//! Exchanges before that are ignored. It states no uncertainty.

use std::collections::VecDeque;

use swsync_core::estimate::ClockEstimate;
use swsync_core::estimate::{Estimator, Exchange};
use swsync_core::time::{Local, Offset, Rig, Skew, Span, Timestamp};

/// `DEFAULT_ROUNDTRIP_LIMIT`.
const ROUND_TRIP_LIMIT: Span = Span::from_secs(1);
/// `DEFAULT_MINIMUM_UPDATE_INTERVAL`.
const MIN_INTERVAL: Span = Span::from_millis(50);
/// `DEFAULT_TIMEOUT`: the longest interval.
const TIMEOUT: Span = Span::from_secs(1);
/// Polling interval after a dropped exchange.
const AFTER_BOGUS: Span = Span::from_millis(250);
/// `MEDIAN_PRE_FILTERING_WINDOW`.
const MEDIAN_WINDOW: usize = 9;
/// `window-size` and `window-threshold` of a `GstClock`.
const WINDOW: usize = 32;
const THRESHOLD: usize = 4;
/// `MAX_SKIPPED_UPDATES`.
const MAX_SKIPPED: u32 = 5;

/// An estimator that behaves like `GstNetClientClock`.
#[derive(Debug)]
pub struct GstNet {
    calibration: Calibration,
    /// Whether `calibration` is from observations.
    synced: bool,
    round_trips: VecDeque<Span>,
    /// Round trips until the median is used.
    missing: usize,
    average: Option<Span>,
    observations: VecDeque<(Timestamp<Local>, Timestamp<Rig>)>,
    skipped: u32,
    next_ask: Option<Timestamp<Local>>,
    last_remote: Option<Timestamp<Rig>>,
    /// The leader's time went back: version 1.26 then stops for good.
    corrupted: bool,
}

/// The line from client's time to leader's time.
#[derive(Debug, Clone, Copy)]
struct Calibration {
    internal: Timestamp<Local>,
    external: Timestamp<Rig>,
    rate: f64,
}

impl Calibration {
    fn at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        let elapsed = local - self.internal;
        self.external + elapsed + elapsed.mul_f64(self.rate - 1.0)
    }
}

impl Default for GstNet {
    fn default() -> Self {
        Self {
            calibration: Calibration { internal: Timestamp::ZERO, external: Timestamp::ZERO, rate: 1.0 },
            synced: false,
            round_trips: VecDeque::new(),
            missing: MEDIAN_WINDOW,
            average: None,
            observations: VecDeque::new(),
            skipped: 0,
            next_ask: None,
            last_remote: None,
            corrupted: false,
        }
    }
}

impl GstNet {
    /// Whether an exchange of this round trip is kept.
    fn accepts(&mut self, round_trip: Span) -> bool {
        if round_trip.is_negative() || round_trip > ROUND_TRIP_LIMIT {
            return false;
        }
        self.round_trips.push_back(round_trip);
        if self.round_trips.len() > MEDIAN_WINDOW {
            self.round_trips.pop_front();
        }
        if self.missing > 0 {
            self.missing -= 1;
        } else {
            let mut sorted: Vec<Span> = self.round_trips.iter().copied().collect();
            sorted.sort_unstable();
            if round_trip > sorted[MEDIAN_WINDOW / 2] * 2 {
                return false;
            }
        }
        // Shorter round trips weigh more.
        let average = match self.average {
            None => round_trip,
            Some(average) if round_trip < average => (average * 3 + round_trip) / 4,
            Some(average) => (average * 15 + round_trip) / 16,
        };
        self.average = Some(average);
        round_trip <= average * 2
    }

    /// Adds an accepted exchange. Returns the interval until the next one.
    fn observe(&mut self, exchange: &Exchange) -> Span {
        let local = exchange.t1 + (exchange.t4 - exchange.t1) / 2;
        let remote = exchange.t2 + (exchange.t3 - exchange.t2) / 2;
        self.observations.push_back((local, remote));
        if self.observations.len() > WINDOW {
            self.observations.pop_front();
        }
        let Some((mut line, r_squared)) = self.regression() else { return Span::ZERO };
        let max_jump = self.average.unwrap_or_default() / 4;
        let fits = |line: &Calibration| {
            line.at(exchange.t1) - remote < max_jump && remote - line.at(exchange.t4) < max_jump
        };
        let before = self.calibration.at(exchange.t4);
        let was_synced = self.synced && fits(&self.calibration);
        let jump = line.at(exchange.t4) - before;
        if was_synced && jump.abs() > max_jump {
            let allowed = if jump.is_negative() { -max_jump } else { max_jump };
            line.external += allowed - jump;
        }
        if was_synced || fits(&line) || self.skipped > MAX_SKIPPED {
            self.calibration = line;
            self.synced = true;
            self.skipped = 0;
            let wait = 1e-3 / (1.0 - r_squared.min(0.99999));
            return Span::from_secs_f64(wait).min(TIMEOUT);
        }
        self.skipped += 1;
        Span::ZERO
    }

    /// The least-squares line through the observations, and their squared correlation. `None` below the threshold, or if all
    /// have one time.
    fn regression(&self) -> Option<(Calibration, f64)> {
        if self.observations.len() < THRESHOLD {
            return None;
        }
        let (x0, y0) = *self.observations.front()?;
        let points =
            || self.observations.iter().map(|(x, y)| ((*x - x0).as_nanos_f64(), (*y - y0).as_nanos_f64()));
        let n = crate::stats::as_f64(self.observations.len());
        let (x_mean, y_mean) =
            points().fold((0.0, 0.0), |(sum_x, sum_y), (x, y)| (sum_x + x / n, sum_y + y / n));
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for (x, y) in points() {
            let (x, y) = (x - x_mean, y - y_mean);
            xx += x * x;
            xy += x * y;
            yy += y * y;
        }
        if xx <= 0.0 || yy <= 0.0 {
            return None;
        }
        let rate = xy / xx;
        let line = Calibration {
            internal: x0 + Span::from_nanos_f64(x_mean),
            external: y0 + Span::from_nanos_f64(y_mean),
            rate,
        };
        Some((line, xy * xy / (xx * yy)))
    }

    fn estimate(&self, at: Timestamp<Local>) -> Option<ClockEstimate> {
        let average = self.average.filter(|_| self.synced)?;
        Some(ClockEstimate {
            at,
            offset: Offset::between(self.calibration.at(at), at),
            skew: Skew::from_ratio(self.calibration.rate - 1.0),
            // The original states none. This is the bound for an average exchange.
            uncertainty: average / 2,
            skew_uncertainty: Skew::ZERO,
            least_delay: self.round_trips.iter().copied().min().unwrap_or(average),
        })
    }
}

impl Estimator for GstNet {
    fn handle_exchange(&mut self, exchange: &Exchange) -> Option<ClockEstimate> {
        let asked = self.next_ask.is_none_or(|next| exchange.t1 >= next);
        if asked && !self.corrupted {
            self.corrupted = self.last_remote.is_some_and(|last| last > exchange.t2);
            self.last_remote = Some(exchange.t2);
            let round_trip = exchange.delay();
            let in_order = exchange.t4 >= exchange.t1 && exchange.t3 >= exchange.t2;
            if in_order && !self.corrupted {
                let wait = if self.accepts(round_trip) {
                    self.observe(exchange).max(MIN_INTERVAL - round_trip)
                } else {
                    AFTER_BOGUS
                };
                self.next_ask = Some(exchange.t4 + wait);
            }
        }
        self.estimate(exchange.t4)
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{errors, ethernet, ideal, mean, worst};
    use super::*;
    use swsync_sim::trace::Scenario;

    #[test]
    fn it_is_exact_without_noise() {
        let exchanges = ideal(60, 10, 100.0).simulate(1).exchanges;
        assert!(worst(&errors(&mut GstNet::default(), &exchanges, 300)) < 0.1);
    }

    /// Compares the line with that of GStreamer from the same observations.
    #[test]
    fn the_regression_is_gstreamers() {
        use gst::prelude::*;
        gst::init().unwrap();
        let theirs = gst::glib::Object::new::<gst::SystemClock>();
        let mut ours = GstNet::default();
        let scenario: Scenario = "drifting".parse().unwrap();
        let time = |nanos: i64| gst::ClockTime::from_nseconds(nanos.unsigned_abs());
        for (count, (exchange, _)) in scenario.simulate(4).exchanges.iter().step_by(20).take(100).enumerate()
        {
            ours.observe(exchange);
            let &(local, remote) = ours.observations.back().unwrap();
            let line = theirs.add_observation_unapplied(time(local.as_nanos()), time(remote.as_nanos()));
            assert_eq!(line.is_some(), count + 1 >= THRESHOLD, "{count}");
            let Some((r_squared, internal, external, rate_num, rate_den)) = line else { continue };
            let at = local + Span::from_secs(1);
            let expected = gst::Clock::adjust_with_calibration(
                time(at.as_nanos()),
                internal,
                external,
                *rate_num,
                *rate_den,
            );
            let (line, ours_squared) = ours.regression().unwrap();
            let apart = line.at(at).as_nanos() - i64::try_from(expected.nseconds()).unwrap();
            // GStreamer computes in integers of few bits.
            assert!(apart.abs() < 1000, "{count}: {apart} ns");
            assert!((r_squared - ours_squared).abs() < 1e-6);
        }
    }

    #[test]
    fn it_is_unbiased_on_a_symmetric_link() {
        let exchanges = ethernet(120, 20, 15.0).simulate(1).exchanges;
        let errors = errors(&mut GstNet::default(), &exchanges, 1000);
        assert!(mean(&errors).abs() < 3.0 && worst(&errors) < 30.0, "{} {}", mean(&errors), worst(&errors));
    }

    #[test]
    fn wifi_biases_it_by_half_the_difference_of_the_means() {
        let scenario: Scenario = "drifting".parse().unwrap();
        let errors = errors(&mut GstNet::default(), &scenario.simulate(3).exchanges, 300);
        // (1878 - 1133) / 2 = 372, less what the round trips of twice the median would add.
        assert!((200.0..450.0).contains(&mean(&errors)), "{}", mean(&errors));
    }

    #[test]
    fn it_polls_once_a_second_on_a_good_link() {
        let mut gstnet = GstNet::default();
        for (exchange, _) in &ideal(20, 10, 10.0).simulate(1).exchanges {
            gstnet.handle_exchange(exchange);
        }
        // Four at the least interval of 50 ms, then one a second.
        assert!((20..=25).contains(&gstnet.observations.len()), "{}", gstnet.observations.len());
    }

    #[test]
    fn it_stops_when_the_leaders_time_goes_back() {
        let mut exchanges = ideal(20, 100, 10.0).simulate(1).exchanges;
        let mut gstnet = GstNet::default();
        errors(&mut gstnet, &exchanges, 50);
        let before = gstnet.estimate(Timestamp::ZERO);
        let back = Span::from_secs(30);
        for (exchange, _) in &mut exchanges {
            exchange.t1 += Span::from_secs(20);
            exchange.t4 += Span::from_secs(20);
            exchange.t2 = exchange.t2 - back;
            exchange.t3 = exchange.t3 - back;
            gstnet.handle_exchange(exchange);
        }
        assert!(gstnet.corrupted);
        assert_eq!(gstnet.estimate(Timestamp::ZERO), before);
    }
}
