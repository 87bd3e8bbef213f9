//! Follows a clock that can be read on this device: the system's clock, or one that another library keeps (PTP).
//!
//! Reading a reference takes about a microsecond, unlike asking a leader over a network. So there is no filter: each reading
//! is the offset, and the skew is the slope of the last two seconds. The program that keeps the reference may slew or step it
//! at any time. The [`Servo`] turns that into slews and steps of rig time. No reading is believed alone if it deviates
//! ([`Readings`]): until the next ones have confirmed it the clock runs on as before, in holdover.

use swsync_core::estimate::ClockEstimate;
use swsync_core::leap::{Leap, LeapSmear};
use swsync_core::servo::{ClockMap, Servo};
use swsync_core::time::{Local, Offset, Rig, Skew, Span, Timestamp};
use swsync_core::time_service::{ClientConfig, ClockUpdate, SyncState, Upstream};

use super::readings::{Readings, Sample, Verdict};
use super::source::ReferenceReading;

/// Number of readings before the clock counts as synced: 1 s.
const ACQUIRE: u32 = 8;
/// How long a reference may be unreadable before the clock is in holdover.
const PATIENCE: Span = Span::from_secs(3);
/// A reading that takes longer was interrupted again and again: it says too little.
const WIDEST: Span = Span::from_millis(1);
/// Why a reference is not followed whose readings are in doubt for longer than that.
const CONTRADICTIONS: &str = "its readings contradict each other: something steps it again and again, or slews it by more than 500 ppm";

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
    line: Readings,
    leap: LeapSmear,
    /// Since when readings are in doubt; `None` while they continue the line.
    doubt: Option<Timestamp<Local>>,
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
            line: Readings::new(),
            leap: LeapSmear::default(),
            doubt: None,
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
        self.line.last().map(|sample| sample.offset)
    }

    /// Rig minus the reference's time when the local clock reads `now`, because of a leap second.
    pub(super) fn leap_correction(&self, now: Timestamp<Local>) -> Span {
        let correction = |(leap, map): (Leap, &ClockMap)| {
            let rig = map.rig_at(now);
            leap.correction(rig - leap.correction(rig))
        };
        self.leap.smearing().zip(self.servo.map()).map_or(Span::ZERO, correction)
    }

    /// Rate of the reference against the local clock.
    pub(super) const fn skew(&self) -> Skew {
        self.line.skew
    }

    /// Handles an attempt to read the reference, when the local clock read `now`.
    pub(super) fn handle(
        &mut self,
        now: Timestamp<Local>,
        reading: Option<&ReferenceReading>,
    ) -> TrackerOutput {
        match reading {
            Some(ReferenceReading { unsynced: Some(why), .. }) => self.handle_unusable(why),
            Some(reading) if reading.after - reading.before <= WIDEST => self.handle_reading(reading),
            _ if now - self.last_good > PATIENCE => self.handle_unusable("it cannot be read"),
            _ => TrackerOutput::default(),
        }
    }

    fn handle_reading(&mut self, reading: &ReferenceReading) -> TrackerOutput {
        self.last_good = reading.after;
        let rig = self.without_leaps(reading);
        let sample = Sample::of(reading, rig - reading.reference);
        if self.leap.is_in_doubt() {
            return self.handle_doubt(sample.at);
        }
        match self.line.add(sample, self.servo.is_relied_on()) {
            Verdict::InDoubt => return self.handle_doubt(sample.at),
            Verdict::Continues => {}
            // A clock that is not in use yet is acquired anew.
            Verdict::Stepped if !self.state.knows_rig_time() => self.readings = 0,
            Verdict::Stepped => {
                swsync_core::log::info!("the clock that is followed has stepped: its last readings agree");
            }
        }
        (self.unusable, self.doubt) = (None, None);
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

    /// The device has slept for `slept`, in which its local clock stood still. The clock goes on from where it would be; the next
    /// readings have to agree with each other before they move it.
    pub(super) fn handle_resume(&mut self, slept: Span) -> Option<ClockUpdate> {
        self.servo.handle_resume(slept);
        self.line.interrupt();
        (self.doubt, self.readings) = (None, 0);
        self.last_update = self.last_update.map(|update| update.resumed(slept));
        self.lose(SyncState::Unsynced)
    }

    /// Rig time of a reading: the reference's, with its leap seconds smeared.
    fn without_leaps(&mut self, reading: &ReferenceReading) -> Timestamp<Rig> {
        let expected = self.servo.map().map(|map| map.line_at(reading.middle()));
        self.leap.note(reading.leap, reading.reference);
        self.leap.observe(reading.reference, expected)
    }

    /// Handles a reading that is held back: meanwhile the clock runs on as before, and is not in sync.
    fn handle_doubt(&mut self, at: Timestamp<Local>) -> TrackerOutput {
        let since = *self.doubt.get_or_insert(at);
        self.readings = 0;
        let update = self.lose(SyncState::Acquiring);
        let lasts = at - since > PATIENCE;
        TrackerOutput { update, unusable: self.note_unusable(lasts.then_some(CONTRADICTIONS)) }
    }

    /// Handles a reference that does not know the time.
    fn handle_unusable(&mut self, why: &str) -> TrackerOutput {
        self.line.interrupt();
        self.doubt = None;
        self.readings = 0;
        let update = self.lose(SyncState::Unsynced);
        TrackerOutput { update, unusable: self.note_unusable(Some(why)) }
    }

    /// The clock runs on without the reference. Its state is holdover, or `unknown` if it never was synced.
    fn lose(&mut self, unknown: SyncState) -> Option<ClockUpdate> {
        let state = if self.state.knows_rig_time() { SyncState::Holdover } else { unknown };
        let changed = std::mem::replace(&mut self.state, state) != state;
        self.last_update.as_mut().filter(|_| changed).map(|update| {
            (update.quality, update.adjustment) = (state, None);
            *update
        })
    }

    /// Notes why the reference cannot be used. Returns it if it is new.
    fn note_unusable(&mut self, why: Option<&str>) -> Option<String> {
        let unusable = why.filter(|why| self.unusable.as_deref() != Some(*why)).map(str::to_owned);
        if unusable.is_some() {
            self.unusable.clone_from(&unusable);
        }
        unusable
    }

    fn estimate(&self, sample: Sample) -> ClockEstimate {
        ClockEstimate {
            at: sample.at,
            offset: sample.offset,
            skew: self.line.skew,
            uncertainty: sample.half + self.line.scatter,
            skew_uncertainty: self.line.skew_uncertainty,
            least_delay: sample.half * 2,
        }
    }
}

#[cfg(test)]
mod tests;
