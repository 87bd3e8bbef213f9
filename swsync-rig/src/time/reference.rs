//! Rig time from a clock that can be read here: the system's, or one that another library keeps.
//!
//! Unlike a leader behind a network a reference is read within a microsecond or so. So no filter
//! stands between: each reading is the offset, and the skew is the slope of the last two seconds. Whoever
//! keeps the reference may slew it or step it at any time; the [`Servo`] passes that on as rig time can
//! bear it.

mod follower;
mod system;

use std::collections::VecDeque;

use swsync_core::clock::{ClockEstimate, Servo};
use swsync_core::frame::SyncQuality;
use swsync_core::sync::{ClientConfig, ClockUpdate, Upstream};
use swsync_core::time::{Local, Offset, Rig, Skew, Span, Timestamp};

pub use follower::{ReferenceFollower, ReferenceStats};
pub use system::SystemReference;

/// Readings that the skew is taken from: 2 s of them.
const WINDOW: usize = 16;
/// Fewer say nothing of the skew; what was known of it holds.
const ENOUGH: usize = 4;
/// Readings before the clock counts as synced: 1 s of them.
const ACQUIRE: u32 = 8;
/// What a reference may be off its own course from one reading to the next, beside what slewing at
/// 500 ppm does: more is a step, after which its course is learnt anew.
const COURSE: Span = Span::from_micros(50);
const COURSE_RATE: Skew = Skew::from_ratio(500e-6);
/// How long a reference may be unreadable before its clock is in holdover.
const PATIENCE: Span = Span::from_secs(3);
/// What is assumed of the skew before it is known.
const UNKNOWN_SKEW: Skew = Skew::from_ratio(100e-6);
/// Least uncertainty of a skew: over 2 s a nanosecond of rounding at each end.
const LEAST_SKEW_UNCERTAINTY: Skew = Skew::from_ratio(1e-9);

/// A clock that can be read.
pub trait Reference: Send {
    /// What it reads now. `None`: it cannot be read (yet). Should not block for long.
    fn read(&mut self) -> Option<Reading>;

    /// What it is, for messages: "the system's clock".
    fn describe(&self) -> String;

    /// Four characters that name it to NTP clients, as GPS or PTP (RFC 5905 figure 12).
    fn id(&self) -> [u8; 4];
}

/// A reading of a reference between two of the local clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The local clock, before ...
    pub before: Timestamp<Local>,
    /// ... the reference, which is to be rig time ...
    pub reference: Timestamp<Rig>,
    /// ... and the local clock after.
    pub after: Timestamp<Local>,
    /// What the error of the reference itself may be, 1 sigma.
    pub uncertainty: Span,
    /// Whether it knows the time.
    pub state: ReferenceState,
}

/// Whether a reference knows the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferenceState {
    /// It does.
    Synced,
    /// It does not.
    Unsynced {
        /// Why, and what may help.
        why: String,
    },
}

/// How a clock follows a reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReferenceConfig {
    /// Bound of the clock's rate beside the estimated skew.
    pub max_slew: Skew,
    /// An error beyond this is stepped over even when the clock is relied on.
    pub step_threshold: Span,
    /// A clock whose error may be larger (1 sigma) is not synced.
    pub max_uncertainty: Span,
}

impl Default for ReferenceConfig {
    fn default() -> Self {
        let ClientConfig { max_slew, step_threshold, max_uncertainty, .. } = ClientConfig::default();
        Self { max_slew, step_threshold, max_uncertainty }
    }
}

/// Where the clock stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unsynced,
    Acquiring { readings: u32 },
    Synced,
    Holdover,
}

impl From<State> for SyncQuality {
    fn from(state: State) -> Self {
        match state {
            State::Unsynced => Self::Unsynced,
            State::Acquiring { .. } => Self::Acquiring,
            State::Synced => Self::Synced,
            State::Holdover => Self::Holdover,
        }
    }
}

/// What one reading says.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Timestamp<Local>,
    offset: Offset,
    /// Half of how long the reading took.
    half: Span,
}

impl Sample {
    fn of(reading: &Reading) -> Self {
        let half = (reading.after - reading.before) / 2;
        let at = reading.before + half;
        Self { at, offset: Offset::between(reading.reference, at), half }
    }
}

/// What comes of looking at a reference.
#[derive(Debug, Default)]
struct Outcome {
    update: Option<ClockUpdate>,
    /// Why the reference is of no use: said once, until it is or the reason is another one.
    unusable: Option<String>,
}

/// Follows a reference, sans-IO.
#[derive(Debug)]
struct Tracker {
    servo: Servo,
    max_uncertainty: Span,
    id: [u8; 4],
    state: State,
    window: VecDeque<Sample>,
    skew: Skew,
    skew_uncertainty: Skew,
    /// Readings apart from their course, rms.
    scatter: Span,
    last_good: Timestamp<Local>,
    last_update: Option<ClockUpdate>,
    unusable: Option<String>,
}

impl Tracker {
    fn new(config: &ReferenceConfig, id: [u8; 4], now: Timestamp<Local>) -> Self {
        Self {
            servo: Servo::new(config.max_slew, config.step_threshold),
            max_uncertainty: config.max_uncertainty,
            id,
            state: State::Unsynced,
            window: VecDeque::with_capacity(WINDOW),
            skew: Skew::ZERO,
            skew_uncertainty: UNKNOWN_SKEW,
            scatter: Span::ZERO,
            last_good: now,
            last_update: None,
            unusable: None,
        }
    }

    /// The reference has been looked at when the local clock read `now`.
    fn handle(&mut self, now: Timestamp<Local>, reading: Option<&Reading>) -> Outcome {
        match reading {
            Some(reading) => match &reading.state {
                ReferenceState::Synced => self.handle_reading(reading),
                ReferenceState::Unsynced { why } => self.handle_unusable(why),
            },
            None if now - self.last_good > PATIENCE => self.handle_unusable("it cannot be read"),
            None => Outcome::default(),
        }
    }

    fn handle_reading(&mut self, reading: &Reading) -> Outcome {
        self.unusable = None;
        self.last_good = reading.after;
        let sample = Sample::of(reading);
        self.take_in(sample);
        let estimate = self.estimate(sample);
        let adjustment = self.servo.update(reading.after, &estimate);
        let mut update = ClockUpdate {
            map: *self.servo.map().expect("it has just been updated"),
            estimate,
            adjustment: Some(adjustment),
            quality: self.state.into(),
            round_trip: reading.after - reading.before,
            upstream: Upstream {
                stratum: 0,
                reference_id: self.id,
                root_delay: Span::ZERO,
                // A bound, where the uncertainty is one sigma.
                root_dispersion: reading.uncertainty * 3,
                field: None,
            },
        };
        let good = update.is_good_at(reading.after, self.max_uncertainty);
        self.state = match self.state {
            State::Unsynced => State::Acquiring { readings: 1 },
            State::Acquiring { readings } if readings + 1 < ACQUIRE || !good => {
                State::Acquiring { readings: (readings + 1).min(ACQUIRE) }
            }
            State::Acquiring { .. } => State::Synced,
            State::Synced | State::Holdover if good => State::Synced,
            State::Synced | State::Holdover => State::Holdover,
        };
        if self.state == State::Synced {
            self.servo.rely();
        }
        update.quality = self.state.into();
        let update = Some(update);
        self.last_update = update;
        Outcome { update, unusable: None }
    }

    /// The reference does not know the time.
    fn handle_unusable(&mut self, why: &str) -> Outcome {
        self.window.clear();
        let state = match self.state {
            State::Unsynced | State::Acquiring { .. } => State::Unsynced,
            State::Synced | State::Holdover => State::Holdover,
        };
        let changed = std::mem::replace(&mut self.state, state) != state;
        let update = self.last_update.as_mut().filter(|_| changed).map(|update| {
            (update.quality, update.adjustment) = (state.into(), None);
            *update
        });
        let unusable = (self.unusable.as_deref() != Some(why)).then(|| why.to_owned());
        if unusable.is_some() {
            self.unusable.clone_from(&unusable);
        }
        Outcome { update, unusable }
    }

    /// Learns the reference's course from another reading.
    fn take_in(&mut self, sample: Sample) {
        if let Some(last) = self.window.back() {
            let elapsed = sample.at - last.at;
            let expected = last.offset.as_span() + self.skew.over(elapsed);
            let off_course = (sample.offset.as_span() - expected).abs();
            let slack = COURSE + COURSE_RATE.over(elapsed) + self.skew_uncertainty.over(elapsed);
            if off_course > slack + sample.half + last.half {
                self.window.clear();
            }
        }
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(sample);
        if self.window.len() >= ENOUGH {
            self.fit();
        }
    }

    /// Least squares: a line through the window's readings, whose last one is the origin.
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
