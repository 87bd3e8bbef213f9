//! What all commands share that give orders: the targets, the readiness check (`--arm`), and following an order from its
//! first frame to the last device's answer.

mod arm;
mod bounds;
mod follow;
pub mod leaders;
mod progress;
pub mod report;
mod snapshot;
mod targets;

pub use arm::{ArmArgs, Armed};
pub use bounds::MaxErrorArgs;
pub use follow::{FollowOrder, collect_answers, command, conclude};
pub use snapshot::{RigSnapshot, STATUS_TIMEOUT, STOP_LEAD, default_id, relative, timeout};
pub use targets::TargetArgs;
