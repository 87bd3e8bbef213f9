//! Leap seconds of a source that counts UTC: they are smeared, so that rig time never steps for one.
//!
//! At the end of a UTC day a leap second makes the Unix time of a source step: back by a second when one is inserted (the day's last
//! second comes twice), ahead when one is deleted. Rig time goes on smoothly instead. From then on it is the source's time plus a
//! correction of one second that decays linearly over the next 24 h, which changes the rate by 11.6 ppm. Public NTP services smear
//! in the same way, though most of them before the leap too; here nothing has to be known in advance.
//!
//! ```text
//! rig = source + c                     before the leap: c = 0
//! c = +-1 s (1 - (source - m) / 24 h)  m: the midnight; constant before it, in the repeated second; + for an inserted second
//! ```
//!
//! The correction depends on nothing but the source's time. So all devices that follow UTC and have seen the leap have the same rig
//! time, whichever of them leads.
//!
//! The repeated second is ambiguous, and sources announce leaps late, withdraw them, or execute them late. So an announcement alone
//! changes nothing. Each reading is compared with what the device's own clock expects: it is taken as it is where it fits, and with
//! the correction where that fits. After several readings in a row that need the correction, the leap counts as done.
//! Without an announcement the step has to be of a second within 50 ms, and no regular reading may have come after the midnight.
//! Everything else is a step.

use crate::time::{Rig, Span, Timestamp};

/// A UTC day, whose end may have a leap second.
const DAY: Span = Span::from_secs(86_400);
const SECOND: Span = Span::from_secs(1);
/// A reading within this of what is expected is a regular one; so is one that needs an announced correction. Chosen: well below
/// half a second, and more than a crystal can be off after an hour without readings.
const NEAR: Span = Span::from_millis(250);
/// A leap that was not announced is a step of a second within this.
const EXACT: Span = Span::from_millis(50);
/// A leap is not done earlier than this before the midnight: a deleted second is the last of the day. One second of tolerance.
const EARLY: Span = Span::from_secs(2);
/// A leap that is not done so long after the midnight does not come: it was announced by mistake.
const LATE: Span = Span::from_secs(3_600);
/// An announcement that is withdrawn earlier than this before the midnight is void.
const WITHDRAWN: Span = Span::from_secs(10);
/// So many readings in a row that need the correction ...
const CONFIRMING: u32 = 4;
/// ... over at least this time confirm the leap.
const CONFIRMING_TIME: Span = Span::from_millis(300);

/// What a source announces for the end of the UTC day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeapNotice {
    /// No leap second.
    #[default]
    None,
    /// A second is inserted.
    Insert,
    /// A second is deleted.
    Delete,
}

impl LeapNotice {
    /// NTP's leap indicator (RFC 5905 figure 9). 3, "not synchronized", announces nothing.
    #[must_use]
    pub const fn from_ntp(indicator: u8) -> Self {
        match indicator {
            1 => Self::Insert,
            2 => Self::Delete,
            _ => Self::None,
        }
    }

    /// The leap that it announces when the source reads `source`: at the end of that UTC day.
    fn leap(self, source: Timestamp<Rig>) -> Option<Leap> {
        let kind = match self {
            Self::None => return None,
            Self::Insert => LeapKind::Insert,
            Self::Delete => LeapKind::Delete,
        };
        let day = source.as_nanos().div_euclid(DAY.as_nanos());
        Some(Leap { kind, midnight: Timestamp::from_nanos(day * DAY.as_nanos()) + DAY })
    }
}

/// What happens at the end of a UTC day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeapKind {
    /// Its last second comes twice.
    Insert,
    /// Its last second is left out.
    Delete,
}

/// A leap second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leap {
    /// What happens.
    pub kind: LeapKind,
    /// The source's time at the end of the UTC day.
    pub midnight: Timestamp<Rig>,
}

impl Leap {
    /// Rig minus source time when the source, having done the leap, reads `source`: from a second in size down to zero, 24 h
    /// later.
    #[must_use]
    pub fn correction(&self, source: Timestamp<Rig>) -> Span {
        let since = (source - self.midnight).max(Span::ZERO).min(DAY);
        let left = Span::from_nanos((DAY - since).as_nanos() / (DAY.as_nanos() / SECOND.as_nanos()));
        match self.kind {
            LeapKind::Insert => left,
            LeapKind::Delete => Span::ZERO - left,
        }
    }

    /// Whether nothing is left of it when the source reads `source`; or the source has another time altogether.
    fn is_over(&self, source: Timestamp<Rig>) -> bool {
        source >= self.midnight + DAY || source < self.midnight - EARLY
    }
}

/// How far a leap has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Readings are taken as they are.
    Regular,
    /// The last readings need the correction.
    Possible {
        leap: Leap,
        announced: bool,
        readings: u32,
        /// Rig time of the first of them.
        since: Timestamp<Rig>,
    },
    /// It is done, and smeared.
    Smearing(Leap),
}

/// Turns the time of a source that counts UTC into rig time, without its leap seconds. See the module's documentation.
#[derive(Debug)]
pub struct LeapSmear {
    state: State,
    announced: Option<Leap>,
    /// Rig time of the last reading that was taken as it is.
    regular: Option<Timestamp<Rig>>,
}

impl Default for LeapSmear {
    fn default() -> Self {
        Self { state: State::Regular, announced: None, regular: None }
    }
}

impl LeapSmear {
    /// The leap that is being smeared.
    #[must_use]
    pub const fn smearing(&self) -> Option<Leap> {
        match self.state {
            State::Smearing(leap) => Some(leap),
            State::Regular | State::Possible { .. } => None,
        }
    }

    /// The leap that the source has announced, until it is done or void.
    #[must_use]
    pub const fn announced(&self) -> Option<Leap> {
        self.announced
    }

    /// Whether the last readings may show a leap that was not announced, or a step.
    #[must_use]
    pub const fn is_in_doubt(&self) -> bool {
        matches!(self.state, State::Possible { announced: false, .. })
    }

    /// The source announces `notice` when it reads `source`. Call it with each reading, before [`Self::observe`].
    pub fn note(&mut self, notice: LeapNotice, source: Timestamp<Rig>) {
        if let Some(leap) = self.announced {
            // The source may forget it as soon as it is done, or go on announcing it.
            let stands = if source < leap.midnight - WITHDRAWN {
                notice.leap(source) == Some(leap)
            } else {
                source <= leap.midnight + LATE
            };
            if stands {
                return;
            }
            crate::log::info!("the leap second that was announced does not come");
            self.announced = None;
        }
        if self.smearing().is_none()
            && let Some(leap) = notice.leap(source)
        {
            crate::log::info!(?leap, "a leap second is announced");
            self.announced = Some(leap);
        }
    }

    /// Rig time of a reading of the source; `expected` is what the device's own clock expects of rig time at that instant.
    pub fn observe(&mut self, source: Timestamp<Rig>, expected: Option<Timestamp<Rig>>) -> Timestamp<Rig> {
        if let State::Smearing(leap) = self.state {
            if !leap.is_over(source) {
                return source + leap.correction(source);
            }
            crate::log::info!("the leap second is smeared: rig time is the source's time again");
            *self = Self { announced: self.announced, ..Self::default() };
        }
        let Some(expected) = expected else { return source };
        if is_near(source, expected) {
            (self.state, self.regular) = (State::Regular, Some(expected));
            return source;
        }
        let Some((leap, announced)) = self.explanation(source, expected) else { return source };
        self.count(leap, announced, expected);
        source + leap.correction(source)
    }

    /// As [`Self::observe`], for another instant of the same exchange, which confirms nothing.
    #[must_use]
    pub fn rig_time(&self, source: Timestamp<Rig>, expected: Option<Timestamp<Rig>>) -> Timestamp<Rig> {
        let leap = match self.state {
            State::Smearing(leap) => (!leap.is_over(source)).then_some(leap),
            State::Regular | State::Possible { .. } => expected
                .filter(|expected| !is_near(source, *expected))
                .and_then(|expected| Some(self.explanation(source, expected)?.0)),
        };
        source + leap.map_or(Span::ZERO, |leap| leap.correction(source))
    }

    /// The leap that makes `source` fit what is expected, and whether it was announced.
    fn explanation(&self, source: Timestamp<Rig>, expected: Timestamp<Rig>) -> Option<(Leap, bool)> {
        let begun = (expected + EARLY).as_nanos().div_euclid(DAY.as_nanos());
        let midnight = Timestamp::from_nanos(begun * DAY.as_nanos());
        if expected > midnight + LATE {
            return None;
        }
        let unannounced = self.regular.is_some_and(|regular| regular <= midnight + EARLY);
        [LeapKind::Insert, LeapKind::Delete].into_iter().find_map(|kind| {
            let leap = Leap { kind, midnight };
            let deviation = (source + leap.correction(source) - expected).abs();
            let announced = self.announced == Some(leap);
            let fits = announced && deviation <= NEAR || unannounced && deviation <= EXACT;
            fits.then_some((leap, announced))
        })
    }

    /// Counts a reading that `leap` explains.
    fn count(&mut self, leap: Leap, announced: bool, expected: Timestamp<Rig>) {
        let (readings, since) = match self.state {
            State::Possible { leap: before, readings, since, .. } if before == leap => (readings + 1, since),
            State::Possible { .. } | State::Regular | State::Smearing(_) => (1, expected),
        };
        self.state = State::Possible { leap, announced, readings, since };
        if readings >= CONFIRMING && expected - since >= CONFIRMING_TIME {
            crate::log::warn!(
                ?leap,
                "a leap second: rig time is up to 1 s from UTC for 24 h, and nears it by 11.6 ppm"
            );
            (self.state, self.announced) = (State::Smearing(leap), None);
        }
    }
}

fn is_near(source: Timestamp<Rig>, expected: Timestamp<Rig>) -> bool {
    (source - expected).abs() <= NEAR
}

#[cfg(test)]
mod tests;
