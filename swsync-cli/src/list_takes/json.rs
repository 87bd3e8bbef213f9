//! The JSON of `swsync takes`.

use serde::Serialize;
use swsync_client::rig_takes::{Collection, OrderTake, RigTakes, TakePart};
use swsync_client::share::CollectedMark;
use swsync_core::manifest::utc;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::time::Timestamp;

/// What the rig has taken.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TakesJson {
    /// By when they were ordered, the newest last.
    pub takes: Vec<OrderJson>,
    /// Devices that did not say what they have.
    pub silent: Vec<SilentJson>,
    /// What devices have and cannot read as a take.
    pub unreadable: Vec<UnreadableJson>,
}

/// What the rig has of an order.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderJson {
    /// Its name.
    pub order: OrderId,
    /// When the first file was begun, in ns since 1970, rig time.
    pub started_ns: i64,
    /// The same as a date.
    pub utc: String,
    /// When that was by a date that somebody has given for rig time (`swsync dashboard`). null: nobody has.
    pub dated: Option<DatedJson>,
    /// Frames on each device: those that the order names, or if it is under way, the most that any has saved. null: not known.
    pub frames: Option<u64>,
    /// Number of devices that have it.
    pub devices: usize,
    /// Number of devices that should have it.
    pub targets: usize,
    /// Missing frames, of all devices together.
    pub holes: u64,
    /// Size of pictures or videos of all devices. null: not known of each.
    pub bytes: Option<u64>,
    /// Whether it is under way.
    pub open: bool,
    /// Whether all that was asked for has been collected, as far as the devices know.
    pub collected: bool,
    /// A person's note.
    pub note: Option<String>,
    /// What each device has.
    pub parts: Vec<PartJson>,
    /// Devices that have nothing of it, although it was for all of the rig.
    pub lacking: Vec<DeviceId>,
}

/// When a take was begun, by a date that somebody has given for its rig time. Rig time itself stays.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DatedJson {
    /// The date.
    pub utc: String,
    /// The date minus rig time, in ns.
    pub ahead_ns: i64,
    /// What the date may be off, in ns, if the clock was right that it comes from.
    pub uncertainty_ns: i64,
    /// Who gave it.
    pub by: String,
}

/// What a device has of an order.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PartJson {
    /// The device.
    pub device: DeviceId,
    /// `complete`, `open`: under way; or `unfinished`: the device was switched off meanwhile, or cannot finish it.
    pub state: &'static str,
    /// Saved frames. null: not known.
    pub frames: Option<u64>,
    /// Missing frames.
    pub holes: u64,
    /// Size of pictures or videos. null: not known.
    pub bytes: Option<u64>,
    /// Who has collected it last. null: nobody, as far as the device knows.
    pub collected: Option<CollectedJson>,
}

/// Who has collected a part.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CollectedJson {
    /// The host.
    pub by: String,
    /// The folder there with all takes.
    pub folder: String,
    /// When, by that host's clock.
    pub utc: String,
    /// `here`; `elsewhere`; `gone`: it was here and is no longer; or `note-is-newer`: the device has a later note.
    pub state: &'static str,
}

/// A device that did not say what it has.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SilentJson {
    /// The device.
    pub device: DeviceId,
    /// Why, for a person.
    pub why: String,
}

/// Something that cannot be read as a take.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnreadableJson {
    /// The device.
    pub device: DeviceId,
    /// The path there.
    pub path: String,
    /// Why, for a person.
    pub why: String,
}

impl TakesJson {
    /// Of all takes, or of `orders` if there are any, seen from `host`.
    #[must_use]
    pub fn of(takes: &RigTakes, orders: &[OrderId], host: &str) -> Self {
        let meant = takes.orders.iter().filter(|take| orders.is_empty() || orders.contains(&take.order));
        let devices = takes.devices.len() + takes.silent.len();
        let silent = takes.silent.iter();
        let unreadable = takes.unreadable.iter();
        Self {
            takes: meant.map(|take| OrderJson::of(take, devices, host)).collect(),
            silent: silent
                .map(|(device, why)| SilentJson { device: device.clone(), why: why.clone() })
                .collect(),
            unreadable: unreadable
                .map(|(device, one)| UnreadableJson {
                    device: device.clone(),
                    path: one.path.clone(),
                    why: one.why.clone(),
                })
                .collect(),
        }
    }
}

impl OrderJson {
    /// Of `take` in a rig of so many devices, seen from `host`.
    #[must_use]
    pub fn of(take: &OrderTake, devices: usize, host: &str) -> Self {
        let parts: Vec<_> =
            take.parts.iter().map(|(device, part)| PartJson::of(device, part, host)).collect();
        let named = |part: &TakePart| match &part.progress {
            Some(progress) => Some(progress.saved),
            None => part.summary.named,
        };
        let is_collected = |(device, part): (&DeviceId, &TakePart)| {
            Collection::of(&part.summary, device, host).is_complete()
        };
        let started = take.started().unwrap_or(Timestamp::ZERO);
        let note = take.note().map(|note| note.text.clone()).filter(|text| !text.is_empty());
        Self {
            order: take.order.clone(),
            started_ns: started.as_nanos(),
            utc: utc(started),
            dated: take.date().map(|date| DatedJson {
                utc: utc(Timestamp::from_nanos(date.utc_at(started).as_nanos())),
                ahead_ns: date.ahead().as_nanos(),
                uncertainty_ns: date.uncertainty_at(started).as_nanos(),
                by: date.by.clone(),
            }),
            frames: take.parts.values().filter_map(named).max(),
            devices: take.parts.len(),
            targets: take.targets(devices),
            holes: take.parts.values().map(TakePart::missing).fold(0, u64::saturating_add),
            bytes: take.parts.values().map(TakePart::bytes).sum(),
            open: take.is_open(),
            collected: !take.is_open() && take.parts.iter().all(is_collected),
            note,
            parts,
            lacking: take.lacking.iter().cloned().collect(),
        }
    }
}

impl PartJson {
    fn of(device: &DeviceId, part: &TakePart, host: &str) -> Self {
        let collected = |mark: CollectedMark, state| CollectedJson {
            utc: utc(Timestamp::from_nanos(mark.at_ns.as_nanos())),
            by: mark.by,
            folder: mark.folder,
            state,
        };
        let collected = match Collection::of(&part.summary, device, host) {
            Collection::No => None,
            Collection::Here(mark) => Some(collected(mark, "here")),
            Collection::Elsewhere(mark) => Some(collected(mark, "elsewhere")),
            Collection::Gone(mark) => Some(collected(mark, "gone")),
            Collection::NoteIsNewer(mark) => Some(collected(mark, "note-is-newer")),
        };
        Self {
            device: device.clone(),
            state: match (&part.progress, part.summary.complete) {
                (Some(_), _) => "open",
                (None, true) => "complete",
                (None, false) => "unfinished",
            },
            frames: part.saved(),
            holes: part.missing(),
            bytes: part.bytes(),
            collected,
        }
    }
}
