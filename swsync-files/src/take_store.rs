//! Where and how a device writes its takes.

use std::sync::Arc;

use swsync_core::name::DeviceId;

use crate::{Durability, Location, Storage};

/// What all takes of a device share: where they are written, and how.
#[derive(Debug, Clone)]
pub struct TakeStore {
    /// The file system.
    pub storage: Arc<dyn Storage>,
    /// What a file survives once the answer says that it is saved.
    pub durability: Durability,
    /// How files are named.
    pub location: Location,
    /// The device.
    pub device: DeviceId,
    /// The software that writes them, as `swsync 0.1.0`.
    pub software: String,
    /// How many files of an order are kept, if not all: see
    /// [`TakeFolder::remove_surplus`](crate::TakeFolder::remove_surplus).
    pub max_files: Option<u32>,
}
