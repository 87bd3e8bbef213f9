//! What all commands share that give orders: the targets, the readiness check (`--arm`), and following an order from its
//! first frame to the last device's answer.

mod arm;
mod bounds;
mod follow;
mod progress;
mod relative;
pub mod report;
mod targets;

#[cfg(feature = "schema")]
pub use arm::NotReadyDocument;
pub use arm::{ArmArgs, Armed};
pub use bounds::MaxErrorArgs;
pub use follow::{FollowOrder, collect_answers, command, conclude};
pub use relative::relative;
pub use swsync_client::leaders;
pub use swsync_client::snapshot::{RigSnapshot, STOP_LEAD, default_id, timeout};
pub use targets::{TargetArgs, warn_of_unready};
