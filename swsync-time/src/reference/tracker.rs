//! Follows a clock that can be read on this device: the system's clock, or one that another library keeps (PTP).
//!
//! Reading a reference takes about a microsecond, unlike asking a leader over a network. So there is no filter: each reading
//! is the offset, and the skew is the slope of the last two seconds. The program that keeps the reference may slew or step it
//! at any time. The [`Servo`] turns that into slews and steps of rig time.

use std::collections::VecDeque;

use swsync_core::estimate::ClockEstimate;
use swsync_core::servo::Servo;
use swsync_core::time::{Local, Offset, Rig, Skew, Span, Timestamp};
use swsync_core::time_service::{ClientConfig, ClockUpdate, SyncState, Upstream};

/// Number of readings that the skew is fitted to: 2 s.
const WINDOW: usize = 16;
/// With fewer readings the skew stays as it was.
const MIN_READINGS: usize = 4;
/// Number of readings before the clock counts as synced: 1 s.
const ACQUIRE: u32 = 8;
/// Largest deviation of a reading from the fitted line, beside what slewing at 500 ppm does. More is a step, after which the
/// line is fitted anew.
const MAX_DEVIATION: Span = Span::from_micros(50);
const MAX_DEVIATION_RATE: Skew = Skew::from_ratio(500e-6);
/// How long a reference may be unreadable before the clock is in holdover.
const PATIENCE: Span = Span::from_secs(3);
/// Uncertainty of the skew before it is measured.
const UNKNOWN_SKEW: Skew = Skew::from_ratio(100e-6);
/// Least uncertainty of the skew: a nanosecond of rounding at each end of 2 s.
const LEAST_SKEW_UNCERTAINTY: Skew = Skew::from_ratio(1e-9);

/// A clock that can be read.
pub trait Reference: Send {
    /// Reads it now. `None`: it cannot be read (yet). Should not block for long.
    fn read(&mut self) -> Option<ReferenceReading>;

    /// What it is, for messages: "the system's clock".
    fn describe(&self) -> String;

    /// Its reference id for NTP clients: four characters, as GPS or PTP (RFC 5905 figure 12).
    fn id(&self) -> [u8; 4];
}

/// A reading of a reference between two of the local clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceReading {
    /// The local clock before the reference was read.
    pub before: Timestamp<Local>,
    /// The reference, as rig time.
    pub reference: Timestamp<Rig>,
    /// The local clock after the reference was read.
    pub after: Timestamp<Local>,
    /// Uncertainty of the reference itself, 1 sigma.
    pub uncertainty: Span,
    /// Why it does not know the time, and what may help. `None`: it knows the time.
    pub unsynced: Option<String>,
}

/// How a clock follows a reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReferenceConfig {
    /// Largest rate of a correction, on top of the estimated skew.
    pub max_slew: Skew,
    /// A larger error is corrected by a step even if the clock is relied on.
    pub step_threshold: Span,
    /// A clock with a larger uncertainty (1 sigma) is not synced.
    pub max_uncertainty: Span,
}

impl Default for ReferenceConfig {
    fn default() -> Self {
        let ClientConfig { max_slew, step_threshold, max_uncertainty, .. } = ClientConfig::default();
        Self { max_slew, step_threshold, max_uncertainty }
    }
}

/// The offset by one reading.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Timestamp<Local>,
    offset: Offset,
    /// Half of how long the reading took.
    half: Span,
}

impl Sample {
    fn of(reading: &ReferenceReading) -> Self {
        let half = (reading.after - reading.before) / 2;
        let at = reading.before + half;
        Self { at, offset: Offset::between(reading.reference, at), half }
    }
}

/// Result of handling a reading.
#[derive(Debug, Default)]
pub(super) struct TrackerOutput {
    pub(super) update: Option<ClockUpdate>,
    /// Why the reference cannot be used, if that is new.
    pub(super) unusable: Option<String>,
}

/// Follows a reference, sans-IO.
#[derive(Debug)]
pub(super) struct Tracker {
    pub(super) servo: Servo,
    max_uncertainty: Span,
    id: [u8; 4],
    state: SyncState,
    /// Readings since the reference became usable.
    readings: u32,
    window: VecDeque<Sample>,
    pub(super) skew: Skew,
    skew_uncertainty: Skew,
    /// Deviation of the readings from the fitted line, rms.
    scatter: Span,
    last_good: Timestamp<Local>,
    last_update: Option<ClockUpdate>,
    pub(super) unusable: Option<String>,
}

impl Tracker {
    pub(super) fn new(config: &ReferenceConfig, id: [u8; 4], now: Timestamp<Local>) -> Self {
        Self {
            servo: Servo::new(config.max_slew, config.step_threshold),
            max_uncertainty: config.max_uncertainty,
            id,
            state: SyncState::Unsynced,
            readings: 0,
            window: VecDeque::with_capacity(WINDOW),
            skew: Skew::ZERO,
            skew_uncertainty: UNKNOWN_SKEW,
            scatter: Span::ZERO,
            last_good: now,
            last_update: None,
            unusable: None,
        }
    }

    /// How well rig time is known.
    pub(super) const fn quality(&self) -> SyncState {
        self.state
    }

    /// Offset of the last reading.
    pub(super) fn offset(&self) -> Option<Offset> {
        self.window.back().map(|sample| sample.offset)
    }

    /// Handles an attempt to read the reference, when the local clock read `now`.
    pub(super) fn handle(
        &mut self,
        now: Timestamp<Local>,
        reading: Option<&ReferenceReading>,
    ) -> TrackerOutput {
        match reading {
            Some(reading) => match &reading.unsynced {
                None => self.handle_reading(reading),
                Some(why) => self.handle_unusable(why),
            },
            None if now - self.last_good > PATIENCE => self.handle_unusable("it cannot be read"),
            None => TrackerOutput::default(),
        }
    }

    fn handle_reading(&mut self, reading: &ReferenceReading) -> TrackerOutput {
        self.unusable = None;
        self.last_good = reading.after;
        let sample = Sample::of(reading);
        self.add_sample(sample);
        let estimate = self.estimate(sample);
        let adjustment = self.servo.update(reading.after, &estimate);
        let mut update = ClockUpdate {
            map: *self.servo.map().expect("it has just been updated"),
            estimate,
            adjustment: Some(adjustment),
            quality: self.state,
            round_trip: reading.after - reading.before,
            upstream: Upstream {
                stratum: 0,
                reference_id: self.id,
                root_delay: Span::ZERO,
                // A bound of three sigmas.
                root_dispersion: reading.uncertainty * 3,
                field: None,
            },
        };
        let good = update.is_good_at(reading.after, self.max_uncertainty);
        self.readings = (self.readings + 1).min(ACQUIRE);
        self.state = match (self.state.knows_rig_time(), good) {
            (true, true) => SyncState::Synced,
            (true, false) => SyncState::Holdover,
            (false, true) if self.readings == ACQUIRE => SyncState::Synced,
            (false, _) => SyncState::Acquiring,
        };
        if self.state.is_synced() {
            self.servo.rely();
        }
        update.quality = self.state;
        let update = Some(update);
        self.last_update = update;
        TrackerOutput { update, unusable: None }
    }

    /// Handles a reference that does not know the time.
    fn handle_unusable(&mut self, why: &str) -> TrackerOutput {
        self.window.clear();
        self.readings = 0;
        let state = if self.state.knows_rig_time() { SyncState::Holdover } else { SyncState::Unsynced };
        let changed = std::mem::replace(&mut self.state, state) != state;
        let update = self.last_update.as_mut().filter(|_| changed).map(|update| {
            (update.quality, update.adjustment) = (state, None);
            *update
        });
        let unusable = (self.unusable.as_deref() != Some(why)).then(|| why.to_owned());
        if unusable.is_some() {
            self.unusable.clone_from(&unusable);
        }
        TrackerOutput { update, unusable }
    }

    /// Adds a sample to the window, or begins a new window after a step of the reference, and fits the line.
    fn add_sample(&mut self, sample: Sample) {
        if let Some(last) = self.window.back() {
            let elapsed = sample.at - last.at;
            let expected = last.offset.as_span() + self.skew.over(elapsed);
            let deviation = (sample.offset.as_span() - expected).abs();
            let slack =
                MAX_DEVIATION + MAX_DEVIATION_RATE.over(elapsed) + self.skew_uncertainty.over(elapsed);
            if deviation > slack + sample.half + last.half {
                self.window.clear();
            }
        }
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(sample);
        if self.window.len() >= MIN_READINGS {
            self.fit();
        }
    }

    /// Fits a line to the window's samples by least squares. The last sample is the origin.
    fn fit(&mut self) {
        let Some(origin) = self.window.back().copied() else { return };
        let points = || {
            self.window.iter().map(|sample| {
                let offset = sample.offset.as_span() - origin.offset.as_span();
                ((sample.at - origin.at).as_secs_f64(), offset.as_secs_f64())
            })
        };
        #[expect(clippy::cast_precision_loss, reason = "16 at most")]
        let count = self.window.len() as f64;
        let (sum_t, sum_y) = points().fold((0.0, 0.0), |(t, y), point| (t + point.0, y + point.1));
        let (mean_t, mean_y) = (sum_t / count, sum_y / count);
        let spread: f64 = points().map(|(t, _)| (t - mean_t).powi(2)).sum();
        if spread <= 0.0 {
            return; // all at one instant
        }
        let slope = points().map(|(t, y)| (t - mean_t) * (y - mean_y)).sum::<f64>() / spread;
        let rest: f64 = points().map(|(t, y)| (y - mean_y - slope * (t - mean_t)).powi(2)).sum();
        let scatter = (rest / (count - 2.0)).sqrt();
        self.skew = Skew::from_ratio(slope);
        self.skew_uncertainty =
            Skew::from_ratio((scatter / spread.sqrt()).max(LEAST_SKEW_UNCERTAINTY.as_ratio()));
        self.scatter = Span::from_secs_f64(scatter);
    }

    fn estimate(&self, sample: Sample) -> ClockEstimate {
        ClockEstimate {
            at: sample.at,
            offset: sample.offset,
            skew: self.skew,
            uncertainty: sample.half + self.scatter,
            skew_uncertainty: self.skew_uncertainty,
            least_delay: sample.half * 2,
        }
    }
}

#[cfg(test)]
mod tests;
