//! Following a clock that can be read on this device: the system's clock, or one that another library keeps (PTP).

mod follower;
mod system;
mod tracker;

pub use follower::{ReferenceFollower, ReferenceStats};
pub use system::SystemReference;
pub use tracker::{Reference, ReferenceConfig, ReferenceReading};
