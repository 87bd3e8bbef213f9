//! What commands print with `--json`, for programs that say the same in other ways: the dashboard.

pub use crate::camera_settings::report::{GetDocument, NotSetDocument, SetDocument, objections};
pub use crate::list_takes::{OrderJson, TakesJson};
pub use crate::lock::{LockReport, UnlockReport};
pub use crate::orders::report::{DeviceResult, GivenDocument, OrderDocument, verdict};
pub use crate::orders::{NotReadyDocument, TargetArgs};
pub use crate::preset::{ListedPreset, PresetResult};
pub use crate::status::{RigStatus, StatusDocument};
pub use crate::take_note::{NotNoted, NoteJson};
