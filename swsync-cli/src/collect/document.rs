//! The result of collecting, as JSON.

use std::path::{Path, PathBuf};

use serde::Serialize;
use swsync_client::collect::Collected;
use swsync_core::manifest::MissingFrames;
use swsync_core::name::{DeviceId, OrderId};

use super::result::{CollectResult, PartOutcome};

/// The document of `swsync collect --json`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CollectDocument {
    /// The folder that was collected to.
    out: PathBuf,
    /// Whether everything that the devices have is here.
    complete: bool,
    /// Each device's part of each order.
    parts: Vec<PartDocument>,
    /// Devices that do not say what they have.
    silent: Vec<SilentDevice>,
    /// Parts that are here and cannot be read, for a person.
    unreadable: Vec<String>,
    /// Folders on devices that cannot be read as takes.
    unreadable_there: Vec<UnreadableThere>,
    /// Parts that were not whole before, and that no device has now.
    pending: Vec<PendingPart>,
    /// Frames that some devices lack.
    gaps: Vec<Gap>,
}

/// One device's part of an order.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PartDocument {
    order: OrderId,
    device: DeviceId,
    #[serde(flatten)]
    state: PartState,
}

/// What has come of a part.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum PartState {
    /// All of it is here.
    Whole {
        /// What is here.
        #[serde(flatten)]
        here: FilesHere,
        /// How many of its files were deleted on the device.
        deleted: usize,
    },
    /// The device is not done with it; what is whole is here.
    Partial(FilesHere),
    /// The device is not done with it.
    Unfinished,
    /// It could not be fetched.
    Failed {
        /// Why, for a person.
        why: String,
    },
}

/// Files of a part.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FilesHere {
    folder: PathBuf,
    files: usize,
    bytes: u64,
    /// Files that came this time.
    new: usize,
    /// Files that the device removed meanwhile.
    gone: usize,
    /// New names of files that were here and are not what the device has.
    kept: Vec<String>,
}

/// A device that does not say what it has.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SilentDevice {
    device: DeviceId,
    why: String,
}

/// A folder on a device that cannot be read as a take.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnreadableThere {
    device: DeviceId,
    path: String,
    why: String,
}

/// A part that is not whole here, and that no device has now.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PendingPart {
    order: OrderId,
    device: DeviceId,
    why: String,
}

/// Frames of an order that a device lacks.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Gap {
    order: OrderId,
    #[serde(flatten)]
    missing: MissingFrames,
}

impl From<&Collected> for FilesHere {
    fn from(collected: &Collected) -> Self {
        Self {
            folder: collected.folder.clone(),
            files: collected.files,
            bytes: collected.bytes,
            new: collected.fetched,
            gone: collected.gone,
            kept: collected.kept.clone(),
        }
    }
}

impl From<&PartOutcome> for PartState {
    fn from(outcome: &PartOutcome) -> Self {
        match outcome {
            PartOutcome::Here { collected, deleted } => {
                Self::Whole { here: collected.into(), deleted: *deleted }
            }
            PartOutcome::Partial(collected) => Self::Partial(collected.into()),
            PartOutcome::Unfinished => Self::Unfinished,
            PartOutcome::Failed(error) => Self::Failed { why: error.to_string() },
        }
    }
}

impl CollectDocument {
    /// The document of `result`, collected to `out`.
    pub fn new(out: &Path, result: &CollectResult) -> Self {
        let parts = result.parts.iter().map(|part| PartDocument {
            order: part.order.clone(),
            device: part.device.clone(),
            state: (&part.outcome).into(),
        });
        let silent = result.silent.iter().cloned().map(|(device, why)| SilentDevice { device, why });
        let unreadable_there = result.unreadable_there.iter().cloned();
        let pending = result.pending.iter().cloned();
        let gaps = result.gaps.iter().cloned();
        Self {
            out: out.to_owned(),
            complete: result.is_whole(),
            parts: parts.collect(),
            silent: silent.collect(),
            unreadable: result.unreadable.clone(),
            unreadable_there: unreadable_there
                .map(|(device, there)| UnreadableThere { device, path: there.path, why: there.why })
                .collect(),
            pending: pending
                .map(|(order, device, pending)| PendingPart { order, device, why: pending.why })
                .collect(),
            gaps: gaps.map(|(order, missing)| Gap { order, missing }).collect(),
        }
    }
}
