//! What all commands share that give orders: the targets, the readiness check (`--arm`), and following an order from its
//! first frame to the last device's answer.

mod arm;
pub mod bounds;
mod detach;
mod follow;
mod live;
mod progress;
mod relative;
pub mod report;
mod targets;

pub use arm::{ArmArgs, NotReadyDocument};
pub use bounds::MaxErrorArgs;
pub use follow::{FollowOrder, conclude, print_answers, warn_of};
pub use relative::relative;
pub use swsync_client::leaders;
pub use swsync_client::snapshot::{RigSnapshot, STATUS_TIMEOUT, STOP_LEAD, default_id};
pub use targets::{TargetArgs, warn_of_unready};
