//! Why frames are missing.
//!
//! A source numbers frames by their time, so a number that it leaves out is a [`FrameGap`]; [`GapFinder`] finds gaps and their
//! causes. Each frame carries the last gap of its source, so that the gap is known even if the first frame after it is lost.
//! Where a frame is missed, [`KnownGaps`] looks up the reason. A frame that is missing and in no gap has left the source and was
//! lost downstream.

mod finder;
mod known;

pub use finder::{DeliveredFrame, GapFinder, SourceEvents};
pub use known::{KnownGaps, LOST_AFTER_ENCODER, LOST_DOWNSTREAM, UNKNOWN};

use crate::grid::FrameNumber;

macro_rules! causes {
    ($($(#[$doc:meta])* $cause:ident: $name:literal, $why:literal;)*) => {
        /// Why a source has no frame for some numbers.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum GapCause {
            $($(#[$doc])* $cause,)*
        }

        impl GapCause {
            const ALL: &[Self] = &[$(Self::$cause,)*];

            /// Its name in metas and messages.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$cause => $name,)* }
            }

            /// The reason, as text for the operator.
            #[must_use]
            pub const fn why(self) -> &'static str {
                match self { $(Self::$cause => $why,)* }
            }
        }
    };
}

causes! {
    /// The source had not started.
    Started: "started", "the camera's element was started after that instant";
    /// The camera lost frames, by the driver's count or the frames' times.
    Camera: "camera", "the camera dropped this frame";
    /// The camera stopped delivering or vanished, and was restarted.
    CameraRestarted: "camera-restarted", "the camera stood still or was gone, and was started again";
    /// The camera was restarted for another format or other streams.
    Reconfigured: "reconfigured", "the camera was started again for another format";
    /// The camera was restarted to align it (`align-method=reset`).
    AlignRestart: "align-restart", "the camera was started again to bring it onto the frame grid";
    /// A frame was made longer to align the camera (`inject`).
    AlignLonger: "align-longer", "a frame was made longer, to bring the camera onto the frame grid";
    /// Frames were held back, since the camera was not locked (`wait-lock`).
    HeldBack: "held-back", "the camera was not on the frame grid, and wait-lock holds back such frames";
    /// Rig time advanced by more than the sensor's time: it was stepped.
    Clock: "clock", "rig time was set forward past that instant";
    /// The frame before took longer than a period.
    Slow: "slow", "the camera took longer than a period for the frame before";
    /// No frame was nearest to this instant, since the camera is not on the grid.
    OffGrid: "off-grid", "the camera is not on the frame grid, and none of its frames was nearest to that instant";
    /// Downstream blocked the source.
    Blocked: "blocked", "the pipeline behind the camera was too slow to take this frame";
    /// The process did not run.
    Stopped: "stopped", "the process was stopped, or did not get to run";
    /// The machine was suspended.
    Suspended: "suspended", "the machine was suspended";
    /// The pipeline was paused.
    Paused: "paused", "the pipeline was paused";
}

impl GapCause {
    /// The cause with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cause| cause.as_str() == name)
    }
}

/// Frame numbers that a source left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameGap {
    /// Serial number of the gap at its source, from 1.
    pub serial: u32,
    /// The first of them.
    pub first: FrameNumber,
    /// How many.
    pub count: u64,
    /// Why they were left out.
    pub cause: GapCause,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_names() {
        for cause in GapCause::ALL {
            assert_eq!(GapCause::from_name(cause.as_str()), Some(*cause));
        }
        assert_eq!(GapCause::from_name("sabotage"), None);
    }
}
