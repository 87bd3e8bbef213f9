//! Following a clock that can be read on this device: the system's clock, or one that another library keeps (PTP).

mod follower;
mod readings;
mod source;
mod system;
mod tracker;

pub use follower::{ReferenceFollower, ReferenceStats};
pub use source::{Reference, ReferenceReading};
pub use system::SystemReference;
pub use tracker::ReferenceConfig;
