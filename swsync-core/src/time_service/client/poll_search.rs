//! The longest poll interval that costs little accuracy, on links that do not allow the accuracy wanted.
//!
//! What a poll interval is worth depends on the link and on the estimator, so it is measured. The intervals to choose from are
//! the fastest poll times powers of two. The median of the stated uncertainty over [`PERIOD`] is recorded for the interval in
//! use, once the estimator's window holds only exchanges at that interval ([`SETTLE`]).
//!
//! The search stays at one interval, its *home*. From time to time it tries the next longer one, and more rarely each time that
//! this fails. It moves there if the record is at most [`WORTH`] times the best record of any interval, and leaves its home if
//! that turns out to be more than [`KEEP`] times the best. The gap between the two keeps it from oscillating.
//!
//! If the uncertainty at home changes much, the link is another one: the fastest poll is measured again, and all else forgotten.

use std::cmp::Ordering;

use super::config::ClientConfig;
use crate::time::{Local, Span, Timestamp};

/// Most intervals to choose from: with a fastest poll of 125 ms the longest would be four minutes.
const LEVELS: usize = 12;
/// After a change of interval nothing is recorded for this time, or for eight intervals: the estimators' window, so that it
/// holds nothing from before.
const SETTLE: Span = Span::from_secs(60);
const SETTLE_INTERVALS: i64 = 8;
/// One record is the median over this time. Shorter ones would not be independent, because the window is as long.
const PERIOD: Span = Span::from_secs(60);
/// Most and least samples of a median, and the least time between two of them.
const SAMPLES: usize = 60;
const FEWEST_SAMPLES: usize = 8;
const SAMPLING: Span = Span::from_secs(1);
/// A longer interval is taken if it costs at most this factor of uncertainty, in comparison with the best interval. Half as many
/// requests cost a factor of 1.41 on a link where nothing but their number counts, and 1 where it does not count at all. Chosen
/// between these. (The medians of the paper's WiFi scatter by 13 %, at 125 ms.)
const WORTH: f64 = 1.3;
/// It is left again if it costs more than this, by the mean of several medians.
const KEEP: f64 = 1.5;
/// A trial takes this many medians, unless their mean is below [`CLEAR`] or beyond [`KEEP`] before.
const TRIAL: u32 = 3;
const CLEAR: f64 = 1.1;
/// A trial ends early once this many samples in a row are beyond this factor, though exchanges from before it still count for
/// them. And so many samples that are so far from the record of the home mean another link.
const FAR: f64 = 2.0;
const ENOUGH_FAR: u32 = 8;
/// The link is another one, too, if this many medians in a row differ from the record by this factor. A single one does so by
/// chance.
const CHANGED: f64 = 1.5;
const ENOUGH_ODD: u32 = 2;
/// A record is the mean of the last few medians, weighted so.
const MOST_WEIGHT: u32 = 6;
/// Older records are replaced rather than averaged.
const OLD: Span = Span::from_secs(20 * 60);
/// Medians of the fastest interval before a longer one is tried for the first time: all others are compared with them.
const FIRST_MEDIANS: u32 = 2;
/// The fastest interval is measured again after this time, at a cost of 960 requests: the link may have changed so slowly that
/// nothing else shows it.
const REVISIT: Span = Span::from_secs(2 * 3600);
/// An interval that was not acceptable is tried again after this time; doubled each time, up to 64 times.
const RETRY: Span = Span::from_secs(480);
/// After a change of the link, another one counts only after this time; doubled each time, up to 64 times, and halved after each
/// [`REVISIT`] without one.
const CALM: Span = Span::from_secs(300);
const MOST_DOUBLINGS: u32 = 6;

/// What is known of one interval.
#[derive(Debug, Clone, Copy)]
struct Record {
    /// Mean of the medians, in ns; `None` before the first.
    uncertainty: Option<f64>,
    medians: u32,
    at: Timestamp<Local>,
    /// How often it turned out not to be acceptable, and when it may be tried again.
    rejections: u32,
    retry: Timestamp<Local>,
}

impl Record {
    const NOTHING: Self =
        Self { uncertainty: None, medians: 0, at: Timestamp::ZERO, rejections: 0, retry: Timestamp::ZERO };

    /// Adds a median, in ns.
    fn push(&mut self, now: Timestamp<Local>, median: f64) {
        let before = self.uncertainty.filter(|_| now - self.at < OLD);
        self.at = now;
        self.medians = before.map_or(1, |_| (self.medians + 1).min(MOST_WEIGHT));
        let mean = before.map_or(median, |before| before + (median - before) / f64::from(self.medians));
        self.uncertainty = Some(mean);
    }

    /// Whether `median` differs much from those before.
    fn is_odd(&self, median: f64) -> bool {
        self.uncertainty.is_some_and(|mean| median > mean * CHANGED || median * CHANGED < mean)
    }
}

/// The search.
#[derive(Debug)]
pub(super) struct PollSearch {
    /// The present interval is the fastest poll times two to this power.
    level: usize,
    /// The level to return to, unless the present one proves to be as good.
    home: usize,
    /// When the present period began; before it nothing is recorded.
    begin: Timestamp<Local>,
    /// Uncertainties in ns, of which `count` are valid.
    samples: [f64; SAMPLES],
    count: usize,
    sampled: Timestamp<Local>,
    /// Medians since the present interval began.
    medians: u32,
    /// Samples in a row that are far too large.
    far: u32,
    /// Medians in a row at home that differ much from those before.
    odd: u32,
    records: [Record; LEVELS],
    /// Before this a change of the link is not acted upon.
    calm: Timestamp<Local>,
    changes: u32,
}

impl PollSearch {
    pub const fn new() -> Self {
        Self {
            level: 0,
            home: 0,
            begin: Timestamp::ZERO,
            samples: [0.0; SAMPLES],
            count: 0,
            sampled: Timestamp::ZERO,
            medians: 0,
            far: 0,
            odd: 0,
            records: [Record::NOTHING; LEVELS],
            calm: Timestamp::ZERO,
            changes: 0,
        }
    }

    /// The present interval.
    pub fn interval(&self, config: &ClientConfig) -> Span {
        at_level(config, self.level)
    }

    /// Begins at the fastest poll. What is known of longer intervals is kept, and holds if the fastest one is as before.
    pub fn begin(&mut self, config: &ClientConfig, now: Timestamp<Local>) {
        self.go_to(config, 0, now);
    }

    /// Forgets what is known of the link.
    pub fn forget(&mut self) {
        *self = Self::new();
    }

    fn go_to(&mut self, config: &ClientConfig, level: usize, now: Timestamp<Local>) {
        if level != self.level {
            crate::log::debug!(from = self.level, to = level, home = self.home, "another poll interval");
        }
        self.level = level;
        self.begin = now + SETTLE.max(self.interval(config) * SETTLE_INTERVALS);
        (self.count, self.far, self.odd) = (0, 0, 0);
        self.medians = 0;
    }

    /// Takes the uncertainty of an estimate, as it will be when the next one is due. Returns the median of a period that ends
    /// with it.
    pub fn handle_uncertainty(
        &mut self,
        config: &ClientConfig,
        now: Timestamp<Local>,
        uncertainty: Span,
    ) -> Option<Span> {
        if now - self.sampled < SAMPLING {
            return None;
        }
        self.sampled = now;
        let uncertainty = uncertainty.as_nanos_f64();
        if self.is_far(config, uncertainty) {
            match self.level.cmp(&self.home) {
                Ordering::Greater => self.reject(config, self.level, now),
                Ordering::Equal if now >= self.calm => self.begin_anew(config, now, uncertainty),
                Ordering::Less | Ordering::Equal => {}
            }
            return None;
        }
        if now < self.begin {
            return None;
        }
        if self.count < SAMPLES {
            self.samples[self.count] = uncertainty;
            self.count += 1;
        }
        if now - self.begin < PERIOD || self.count < FEWEST_SAMPLES {
            return None;
        }
        let samples = &mut self.samples[..self.count];
        samples.sort_unstable_by(f64::total_cmp);
        let median = samples[samples.len() / 2];
        (self.count, self.begin) = (0, now);
        self.end_period(config, now, median);
        Some(Span::from_nanos_f64(median))
    }

    /// Whether the last samples were all far too large, with this one in ns.
    fn is_far(&mut self, config: &ClientConfig, uncertainty: f64) -> bool {
        let most = match self.level > self.home {
            true => self.most(config, FAR),
            false => self.records[self.level].uncertainty.map_or(f64::INFINITY, |mean| mean * FAR),
        };
        self.far = if uncertainty > most { self.far + 1 } else { 0 };
        self.far >= ENOUGH_FAR
    }

    /// Decides on the interval after a period with this median, in ns.
    fn end_period(&mut self, config: &ClientConfig, now: Timestamp<Local>, median: f64) {
        self.medians += 1;
        let odd = self.records[self.level].is_odd(median);
        self.odd = if odd && self.level == self.home { self.odd + 1 } else { 0 };
        if self.odd >= ENOUGH_ODD && now >= self.calm {
            return self.begin_anew(config, now, median);
        }
        // One odd median is not averaged: either chance, or the next one tells.
        if self.odd != 1 {
            self.records[self.level].push(now, median);
        }
        match self.level.cmp(&self.home) {
            Ordering::Greater if self.is_within(config, self.level, CLEAR) => self.home = self.level,
            Ordering::Greater if self.medians < TRIAL && self.is_within(config, self.level, KEEP) => {}
            Ordering::Greater if self.is_within(config, self.level, WORTH) => self.home = self.level,
            Ordering::Greater => self.reject(config, self.level, now),
            Ordering::Less | Ordering::Equal if self.home > 0 && !self.is_within(config, self.home, KEEP) => {
                let left = self.home;
                self.home = self.longest_acceptable(config, left);
                self.reject(config, left, now);
            }
            Ordering::Less => self.go_to(config, self.home, now),
            Ordering::Equal if self.home > 0 && now - self.records[0].at > REVISIT => {
                self.changes = self.changes.saturating_sub(1);
                self.go_to(config, 0, now);
            }
            Ordering::Equal if self.may_try(config, self.home + 1, now) => {
                self.go_to(config, self.home + 1, now);
            }
            Ordering::Equal => {}
        }
    }

    /// Begins anew at the fastest poll, with nothing known but the present interval's `uncertainty`, in ns: the link is another
    /// one.
    fn begin_anew(&mut self, config: &ClientConfig, now: Timestamp<Local>, uncertainty: f64) {
        crate::log::debug!(uncertainty_ns = uncertainty, level = self.level, "the link has changed");
        self.records = [Record::NOTHING; LEVELS];
        self.records[self.level].push(now, uncertainty);
        self.calm = now + CALM * (1 << self.changes);
        self.changes = (self.changes + 1).min(MOST_DOUBLINGS);
        self.go_to(config, 0, now);
    }

    /// Returns home from an interval that is not acceptable.
    fn reject(&mut self, config: &ClientConfig, level: usize, now: Timestamp<Local>) {
        let record = &mut self.records[level];
        record.retry = now + RETRY * (1 << record.rejections);
        record.rejections = (record.rejections + 1).min(MOST_DOUBLINGS);
        self.go_to(config, self.home, now);
    }

    /// The largest uncertainty, in ns, that is within `factor` of the best.
    fn most(&self, config: &ClientConfig, factor: f64) -> f64 {
        let known = self.records.iter().filter_map(|record| record.uncertainty);
        let best = known.fold(f64::INFINITY, f64::min);
        let accuracy = config.accuracy.as_nanos_f64();
        // If the accuracy can be had, it is wanted.
        if best <= accuracy { accuracy } else { best * factor }
    }

    fn is_within(&self, config: &ClientConfig, level: usize, factor: f64) -> bool {
        self.records[level].uncertainty.is_some_and(|uncertainty| uncertainty <= self.most(config, factor))
    }

    /// The longest interval below `level` that is known to be acceptable, else the fastest.
    fn longest_acceptable(&self, config: &ClientConfig, level: usize) -> usize {
        (0..level).rev().find(|level| self.is_within(config, *level, WORTH)).unwrap_or(0)
    }

    fn may_try(&self, config: &ClientConfig, level: usize, now: Timestamp<Local>) -> bool {
        level < LEVELS
            && at_level(config, level - 1) < config.slowest_poll
            && now >= self.records[level].retry
            && (self.home > 0 || self.records[0].medians >= FIRST_MEDIANS)
    }
}

/// The interval at a level.
fn at_level(config: &ClientConfig, level: usize) -> Span {
    (config.fastest_poll * (1 << level)).min(config.slowest_poll)
}
