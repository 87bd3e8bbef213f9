//! Camera profiles: a JSON file per camera model, shipped in `swsync-core/profiles/`; users can override its fields.
//!
//! A profile says which instant of a frame the camera's timestamp is, how late its controls act, how fast it reads its rows,
//! and how a long exposure shifts its stream. libcamera tells none of this. The numbers come from drivers, from libcamera's own
//! tables (every shipped file names its sources), or from `swsync calibrate`.

mod camera;
mod error;
mod mode;
mod phase_config;
mod readout;
mod response;
mod shipped;

pub use camera::{CameraProfile, Delays, base_model};
pub use error::ProfileError;
pub use mode::{FrameLimits, SensorMode};
pub use phase_config::PhaseConfig;
pub use readout::{Readout, Shutter, StampedAt, TimingError};
pub use response::MeasuredResponse;
pub use shipped::{shipped, shipped_models};

#[cfg(test)]
mod tests;
