//! Orders: which frames to save, and what became of them.
//!
//! An [`Order`] names instants of rig time. [`Order::named`] turns them into frame numbers on a device's grid, the same
//! numbers on every device of that rate. A device serves orders with an [`OrderQueue`] and answers each with an [`Answer`],
//! which accounts for every frame that the order names.

mod answer;
mod command;
mod compare;
pub(crate) mod groups;
mod journal;
mod named;
mod queue;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};

pub use answer::{
    Answer, AnswerError, FrameOutcome, FrameRun, MAX_ANSWER_RUNS, MAX_FRAME_OFFSET, OrderProgress,
    RecordedFrames, TimeBasis,
};
pub use command::{Acknowledgement, CommandOutcome, OrderCommand, OrderRoster};
pub use compare::{Disagreement, disagreements};
pub use journal::{Journal, JournalRecord, PendingOrder};
pub use named::NamedFrames;
pub use queue::{
    Ahead, FramePurpose, MAX_AHEAD, MAX_OPEN, MAX_WAITING, Occupants, OrderAction, OrderQueue, OrderRefused,
    SOON, SaveTicket,
};

use crate::bounded;
use crate::grid::FrameGrid;
use crate::message::TimeScale;
use crate::name::{DeviceId, OrderId};
use crate::time::{Rig, Span, Timestamp};

/// Most frames of a burst. For more, record a take.
pub const MAX_BURST: u32 = 10_000;

/// Most stills of an order with a count: one per second for eleven days.
pub const MAX_STILLS: u32 = 1_000_000;

/// Most frames of an order that an answer lists one by one, with the details of each. Longer orders are accounted for by
/// runs, so that an answer stays below 1 MB; the manifest has the details.
pub const MAX_DETAILED: u64 = 1_000;

/// Shortest segment of a take: an encoder needs room between its key frames.
pub const MIN_SEGMENT: Span = Span::from_secs(1);

/// Default length of a take's files. Chosen: at 50 Mbit/s a file has 3.75 GB (FAT allows less than 4.3 GB), a broken file costs
/// no more than that, and muxers keep a few megabytes for so many frames.
pub const DEFAULT_SEGMENT: Span = Span::from_secs(600);

/// Shortest time between the stills of one order.
pub const MIN_EVERY: Span = Span::from_millis(1);

/// Most devices that an order can name. Chosen: with the longest names the open orders of a rig still fit into one message.
/// An order for more devices is given to all, or in parts.
pub const MAX_TARGETS: usize = 512;

/// How much longer than its usual latency a frame may take to arrive, because the machine is busy.
pub const GRACE: Span = Span::from_secs(2);

/// What to save: stills, a burst or a take.
///
/// All instants are rig time and may be in the future or the past. Each device saves the frames that [`Order::named`] yields
/// on its own grid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "RawOrder", into = "RawOrder")]
pub struct Order {
    id: OrderId,
    at: Timestamp<Rig>,
    stop: Option<Timestamp<Rig>>,
    kind: OrderKind,
    targets: Targets,
    timescale: Option<TimeScale>,
}

/// The kind of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum OrderKind {
    /// Single frames.
    Still {
        /// Time from one to the next, in nanoseconds. `None`: there is only one.
        #[serde(rename = "every_ns", default, skip_serializing_if = "Option::is_none")]
        every: Option<Span>,
        /// How many. `None`: until the order is stopped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u32>,
    },
    /// Consecutive frames.
    Burst {
        /// How many.
        count: u32,
    },
    /// Every frame until the order is stopped.
    Take {
        /// Length of each file in nanoseconds of rig time, counted from the start. `None`: one file.
        #[serde(rename = "segment_ns", default, skip_serializing_if = "Option::is_none")]
        segment: Option<Span>,
        /// What an export puts in place of missing frames.
        #[serde(default)]
        fill: Fill,
    },
}

/// What an export puts in place of a missing frame, so that the files of all devices have equally many frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// The frame before it, repeated.
    #[default]
    Hold,
    /// A black frame.
    Black,
    /// Nothing: the files have a gap.
    None,
}

impl Fill {
    /// Its name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Black => "black",
            Self::None => "none",
        }
    }
}

impl std::str::FromStr for Fill {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Hold, Self::Black, Self::None];
        let found = all.into_iter().find(|fill| fill.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is not a fill: use hold, black or none"))
    }
}

/// The devices that an order is for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Targets {
    /// Every device of the rig, also those that join while the order is open.
    #[default]
    All,
    /// These devices, whether they are in the rig yet or not.
    Devices(BTreeSet<DeviceId>),
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(transparent)]
        struct Devices(#[serde(deserialize_with = "bounded::list::<_, _, MAX_TARGETS>")] Vec<DeviceId>);

        let devices = Option::<Devices>::deserialize(deserializer)?;
        Ok(devices.map_or(Self::All, |devices| Self::Devices(devices.0.into_iter().collect())))
    }
}

impl Targets {
    /// Whether `device` is one of them.
    #[must_use]
    pub fn include(&self, device: &DeviceId) -> bool {
        match self {
            Self::All => true,
            Self::Devices(devices) => devices.contains(device),
        }
    }
}

/// An order on the wire.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct RawOrder {
    order: OrderId,
    at_ns: Timestamp<Rig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stop_ns: Option<Timestamp<Rig>>,
    #[serde(flatten)]
    kind: OrderKind,
    #[serde(default, skip_serializing_if = "is_all")]
    targets: Targets,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timescale: Option<TimeScale>,
}

fn is_all(targets: &Targets) -> bool {
    *targets == Targets::All
}

/// Why an order makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// A burst of no frames, or of too many.
    #[error("a burst has 1 to {MAX_BURST} frames, not {0}: for more, record a take")]
    Burst(u32),
    /// No stills, or too many.
    #[error(
        "an order names 1 to {MAX_STILLS} stills, not {0}; without a count they go on until it is stopped"
    )]
    Stills(u32),
    /// Several stills without the time between them.
    #[error("several stills need the time from one to the next")]
    NoEvery,
    /// Stills too close together.
    #[error("stills are {} s apart at least, not {} s", MIN_EVERY.as_secs_f64(), .0.as_secs_f64())]
    Every(Span),
    /// An instant before the Unix epoch.
    #[error("an order's instant is rig time after 1970, not {} s before", -(*.0 - Timestamp::ZERO).as_secs_f64())]
    Instant(Timestamp<Rig>),
    /// A stop that is not after the start.
    #[error("an order's stop comes after its start, not {} s before it", (*at - *stop).as_secs_f64())]
    Stop {
        /// The start.
        at: Timestamp<Rig>,
        /// The stop.
        stop: Timestamp<Rig>,
    },
    /// Segments that are too short.
    #[error("a take's segments are {} s long at least, not {} s", MIN_SEGMENT.as_secs_f64(), .0.as_secs_f64())]
    Segment(Span),
    /// No devices.
    #[error("an order is for one device at least")]
    NoTargets,
    /// Too many devices.
    #[error("an order names {MAX_TARGETS} devices at most, not {0}: give it to all, or in several orders")]
    Targets(usize),
}

impl Order {
    /// An order of this kind from `at` on, before `stop` if there is one, for all devices.
    ///
    /// # Errors
    /// [`OrderError`] if no device could serve it.
    pub fn new(
        id: OrderId,
        at: Timestamp<Rig>,
        stop: Option<Timestamp<Rig>>,
        kind: OrderKind,
    ) -> Result<Self, OrderError> {
        if at < Timestamp::ZERO {
            return Err(OrderError::Instant(at));
        }
        if let Some(stop) = stop.filter(|stop| *stop <= at) {
            return Err(OrderError::Stop { at, stop });
        }
        match kind {
            OrderKind::Burst { count } if !(1..=MAX_BURST).contains(&count) => Err(OrderError::Burst(count)),
            OrderKind::Still { count: Some(count), .. } if !(1..=MAX_STILLS).contains(&count) => {
                Err(OrderError::Stills(count))
            }
            OrderKind::Still { every: Some(every), .. } if every < MIN_EVERY => Err(OrderError::Every(every)),
            OrderKind::Still { every: None, count } if count != Some(1) => Err(OrderError::NoEvery),
            OrderKind::Take { segment: Some(segment), .. } if segment < MIN_SEGMENT => {
                Err(OrderError::Segment(segment))
            }
            OrderKind::Burst { .. } | OrderKind::Still { .. } | OrderKind::Take { .. } => {
                Ok(Self { id, at, stop, kind, targets: Targets::All, timescale: None })
            }
        }
    }

    /// An order for the frame whose grid instant is nearest to `at`.
    ///
    /// # Errors
    /// [`OrderError::Instant`].
    pub fn still(id: OrderId, at: Timestamp<Rig>) -> Result<Self, OrderError> {
        Self::new(id, at, None, OrderKind::Still { every: None, count: Some(1) })
    }

    /// An order for `count` consecutive frames, the first of which is nearest to `at`.
    ///
    /// # Errors
    /// [`OrderError::Burst`] or [`OrderError::Instant`].
    pub fn burst(id: OrderId, at: Timestamp<Rig>, count: u32) -> Result<Self, OrderError> {
        Self::new(id, at, None, OrderKind::Burst { count })
    }

    /// This order for `targets` only.
    ///
    /// # Errors
    /// [`OrderError::NoTargets`] or [`OrderError::Targets`].
    pub fn with_targets(self, targets: Targets) -> Result<Self, OrderError> {
        match &targets {
            Targets::Devices(devices) if devices.is_empty() => Err(OrderError::NoTargets),
            Targets::Devices(devices) if devices.len() > MAX_TARGETS => {
                Err(OrderError::Targets(devices.len()))
            }
            Targets::Devices(_) | Targets::All => Ok(Self { targets, ..self }),
        }
    }

    /// This order with instants of `timescale`, if that is known. A device on another time scale does not serve it.
    #[must_use]
    pub fn on_timescale(self, timescale: Option<TimeScale>) -> Self {
        Self { timescale, ..self }
    }

    /// The time scale of its instants, if whoever gave the order knew it.
    #[must_use]
    pub const fn timescale(&self) -> Option<TimeScale> {
        self.timescale
    }

    /// Why a device on time scale `own` cannot serve it. `None`: nothing is known against it.
    #[must_use]
    pub fn foreign_to(&self, own: Option<TimeScale>) -> Option<String> {
        let (asked, own) = (self.timescale?, own?);
        (asked != own)
            .then(|| format!("another time scale: the order is of {asked}, and this device is on {own}"))
    }

    /// Decides which time scale its instants belong to, if whoever gave the order did not say.
    pub(crate) fn settle_timescale(&mut self, known: Option<TimeScale>) {
        self.timescale = self.timescale.or(known);
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &OrderId {
        &self.id
    }

    /// The instant of its first frame.
    #[must_use]
    pub const fn at(&self) -> Timestamp<Rig> {
        self.at
    }

    /// The instant before which its last frame lies. `None`: its kind says, or it goes on until it is stopped.
    #[must_use]
    pub const fn stop(&self) -> Option<Timestamp<Rig>> {
        self.stop
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> OrderKind {
        self.kind
    }

    /// The devices that it is for.
    #[must_use]
    pub const fn targets(&self) -> &Targets {
        &self.targets
    }

    /// Whether `other` is the same order, regardless of stops.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let of = |order: &Self| (order.at, order.kind);
        self.id == other.id && of(self) == of(other) && self.targets == other.targets
    }

    /// This order without its stop. It also names frames that were taken before a late stop arrived.
    #[must_use]
    pub fn unstopped(&self) -> Self {
        Self { stop: None, ..self.clone() }
    }

    /// Ends the order at `stop`, unless it ends earlier. Of several stops the earliest counts, so that devices agree whatever
    /// the order in which stops arrive.
    pub fn stop_at(&mut self, stop: Timestamp<Rig>) {
        self.stop = Some(self.stop.map_or(stop, |before| before.min(stop)));
    }

    /// The instant after which it names no frame, on a grid of this period. `None`: it goes on until it is stopped.
    #[must_use]
    pub fn ends_at(&self, period: Span) -> Option<Timestamp<Rig>> {
        let by_kind = match self.kind {
            OrderKind::Still { every, count } => {
                count.map(|count| self.at + every.unwrap_or(Span::ZERO) * i64::from(count - 1) + period)
            }
            OrderKind::Burst { count } => Some(self.at + period * i64::from(count)),
            OrderKind::Take { .. } => None,
        };
        [by_kind, self.stop].into_iter().flatten().min()
    }

    /// The instant by which all its frames have arrived, on a grid of this period, if frames arrive at most `latency` after
    /// their instants. `None`: it goes on until it is stopped.
    #[must_use]
    pub fn settled_at(&self, period: Span, latency: Span) -> Option<Timestamp<Rig>> {
        Some(self.ends_at(period)?.max(self.at) + latency + GRACE)
    }

    /// The frames that it names on `grid`.
    #[must_use]
    pub fn named(&self, grid: FrameGrid) -> NamedFrames {
        NamedFrames::of(self, grid)
    }
}

impl TryFrom<RawOrder> for Order {
    type Error = OrderError;
    fn try_from(raw: RawOrder) -> Result<Self, OrderError> {
        // Unlike in `new`, a stop may be before the start: the order was stopped before it began.
        let mut order = Self::new(raw.order, raw.at_ns, None, raw.kind)?.with_targets(raw.targets)?;
        order.stop = raw.stop_ns;
        Ok(order.on_timescale(raw.timescale))
    }
}
impl From<Order> for RawOrder {
    fn from(order: Order) -> Self {
        let Order { id, at, stop, kind, targets, timescale } = order;
        Self { order: id, at_ns: at, stop_ns: stop, kind, targets, timescale }
    }
}
