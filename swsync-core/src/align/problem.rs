//! Problems that keep frames off the grid.

/// A problem that keeps frames off the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AlignProblem {
    /// The sensor has no frames as long as the period.
    #[error(
        "frames of {min} to {max} lines cannot follow a grid of {period} lines: choose another frame rate \
         or sensor mode"
    )]
    OffRate {
        /// Shortest frame, in lines.
        min: u32,
        /// Longest frame, in lines.
        max: u32,
        /// The period, in lines, rounded.
        period: u32,
    },
    /// The exposure makes frames longer than the period.
    #[error(
        "an exposure of {exposure} lines does not fit into a frame of {period}: shorten it, or limit auto \
         exposure"
    )]
    ExposureTooLong {
        /// Exposure, in lines.
        exposure: u32,
        /// The period, in lines, rounded.
        period: u32,
    },
    /// The correction takes many frames, because lengths can hardly vary.
    #[error(
        "it takes {frames} frames to reach the grid, because frames may only have {min} to {max} lines: a lower \
         frame rate, a shorter exposure or a larger max-slew leaves more room"
    )]
    LittleHeadroom {
        /// Frames until the grid is reached.
        frames: u32,
        /// Shortest frame, in lines.
        min: u32,
        /// Longest frame, in lines.
        max: u32,
    },
    /// The sensor did not make the requested length.
    #[error("asked for {asked} lines, the sensor made {got}: its limits are not what its profile says")]
    Clamped {
        /// Requested length, in lines.
        asked: u32,
        /// Actual length, in lines.
        got: u32,
    },
    /// Long exposures do not shift the frames.
    #[error(
        "{injections} long exposures in a row shifted no frame: the camera ignores them, or it keeps a constant frame \
         rate (switch that off)"
    )]
    NoEffect {
        /// Number of injections in a row without effect.
        injections: u32,
    },
    /// Requests take effect later or sooner than the profile says.
    #[error("lengths take effect after {found} frames, the profile says {told}")]
    Latency {
        /// Latency in frames, by the profile.
        told: u32,
        /// Latency in frames, as measured.
        found: u32,
    },
}

impl AlignProblem {
    /// Its name in messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::OffRate { .. } => "off-rate",
            Self::ExposureTooLong { .. } => "exposure-too-long",
            Self::LittleHeadroom { .. } => "little-headroom",
            Self::Clamped { .. } => "clamped",
            Self::NoEffect { .. } => "no-effect",
            Self::Latency { .. } => "latency",
        }
    }
}
