//! How far a frame may be from the instant of its number, and whether that is little enough: `bound_ns` and
//! `certificate.json`.
//!
//! A bound is the sum of four terms ([`ErrorTerms`]): what the frame is known to be off the grid, what the clock may be off,
//! and what the camera's model may be off in two ways. It is a claim about the picture, not about the record of it: the
//! aligned instant of the picture's exposure was no further from the grid instant of the frame's number, on the clock of the
//! rig's leader, in at least 99.9 % of frames. docs/takes.md has the formula and what it does not cover.
//!
//! | what | who makes it |
//! | --- | --- |
//! | [`terms`], [`bound`] of a frame | the manifest, the answers of devices |
//! | [`PartCertificate`]: one device's part of a take | a part of the next one |
//! | [`TakeCertificate`]: all devices | `swsync certify`, of what was collected |
//! | [`AnsweredBounds`]: what the answers to an order prove | `swsync shoot`, `swsync record` |

mod answers;
mod part;
mod take;
#[cfg(test)]
mod testing;

pub use answers::{AnsweredBounds, DeviceBound};
pub use part::{PartCertificate, PartCertifier, UnboundedFrames};
pub use take::{NumberBound, TakeCertificate, TakeCertifier};

use serde::{Deserialize, Serialize};

use crate::frame::{FrameInfo, SyncState};
use crate::time::Span;

/// Name of the file, in the folder of a collected take.
pub const CERTIFICATE_JSON: &str = "certificate.json";

/// Version of the file. Additions do not change it.
pub const SCHEMA: u32 = 1;

/// How many standard deviations of the clock a bound has.
///
/// Over all links and shapes of delays that swsync-sim knows, the clock is further off in fewer than one of a thousand readings.
/// (`./x test -p swsync-sim --test bounds`). A normal distribution would need 3.3. The estimator's errors last for seconds, and its
/// uncertainty is itself an estimate.
pub const SIGMAS: i64 = 4;

/// The largest error that is accepted by default: the paper's limit for frames that look simultaneous.
pub const DEFAULT_MAX_ERROR: Span = Span::from_micros(250);

/// The terms of a frame's bound. None is negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorTerms {
    /// Distance of the frame from the instant that it was aligned to: known, and not corrected.
    #[serde(rename = "phase_ns")]
    pub phase: Span,
    /// [`SIGMAS`] times the clock's uncertainty.
    #[serde(rename = "clock_ns")]
    pub clock: Span,
    /// How far exposure may be from where the camera's profile says it is, relative to the sensor's stamp.
    #[serde(rename = "exposure_reference_ns")]
    pub exposure_reference: Span,
    /// How far the sensor's stamp may be from the event that it stands for.
    #[serde(rename = "stamp_ns")]
    pub stamp: Span,
}

impl ErrorTerms {
    /// The sum of the terms.
    ///
    /// They are not added in quadrature: the last two are the same in every frame of a camera, so they do not average out.
    #[must_use]
    pub fn bound(&self) -> Span {
        self.phase + self.clock + self.exposure_reference + self.stamp
    }
}

/// Why a frame has no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Unbounded {
    /// The clock did not know rig time, or was another one.
    #[error("its clock was {}: `swsync status` says what it waits for", .0.as_str())]
    Clock(ClockState),
    /// The clock gave no uncertainty.
    #[error("its clock does not say how far it may be off")]
    Uncertainty,
    /// Nothing is known of the camera's stamps.
    #[error(
        "how far its camera's timestamps may be off is not known: the model was not measured, or the frame is not from \
         swsyncsrc (docs/takes.md, \"What a bound claims\")"
    )]
    Camera,
}

/// A [`SyncState`] without a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClockState {
    /// [`SyncState::Unsynced`].
    Unsynced,
    /// [`SyncState::Acquiring`].
    Acquiring,
    /// [`SyncState::Foreign`].
    Foreign,
}

impl ClockState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Unsynced => SyncState::Unsynced.as_str(),
            Self::Acquiring => SyncState::Acquiring.as_str(),
            Self::Foreign => SyncState::Foreign.as_str(),
        }
    }
}

/// The terms of the bound of a frame.
///
/// # Errors
/// A term is not known.
pub fn terms(info: &FrameInfo) -> Result<ErrorTerms, Unbounded> {
    match info.sync {
        SyncState::Synced | SyncState::Leading | SyncState::Holdover => {}
        SyncState::Unsynced => return Err(Unbounded::Clock(ClockState::Unsynced)),
        SyncState::Acquiring => return Err(Unbounded::Clock(ClockState::Acquiring)),
        SyncState::Foreign => return Err(Unbounded::Clock(ClockState::Foreign)),
    }
    // A negative one is no bound. Devices of another make may send it.
    let known = |span: Option<Span>| span.filter(|span| *span >= Span::ZERO);
    let clock = known(info.clock_uncertainty_ns).ok_or(Unbounded::Uncertainty)?;
    Ok(ErrorTerms {
        phase: info.phase_error_ns.abs(),
        clock: clock * SIGMAS,
        exposure_reference: known(info.details.exposure_reference_error_ns).ok_or(Unbounded::Camera)?,
        stamp: known(info.details.stamp_error_ns).ok_or(Unbounded::Camera)?,
    })
}

/// How far the frame may be from the instant of its number. `None`: that is not known, and [`terms`] says why.
#[must_use]
pub fn bound(info: &FrameInfo) -> Option<Span> {
    terms(info).ok().map(|terms| terms.bound())
}

/// Whether `worst` is known and within `max_error`. Without a limit everything is.
#[must_use]
pub fn passes(worst: Option<Span>, max_error: Option<Span>) -> bool {
    max_error.is_none_or(|max| worst.is_some_and(|worst| worst <= max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::testing::info;

    #[test]
    fn a_bound_is_the_sum_of_its_terms() {
        let us = Span::from_micros;
        let mut frame = info(7);
        frame.phase_error_ns = us(-9);
        frame.clock_uncertainty_ns = Some(us(10));
        (frame.details.stamp_error_ns, frame.details.exposure_reference_error_ns) =
            (Some(us(5)), Some(us(3)));
        let known = terms(&frame).unwrap();
        let expected = ErrorTerms { phase: us(9), clock: us(40), exposure_reference: us(3), stamp: us(5) };
        assert_eq!((known, known.bound()), (expected, us(57)));
        assert_eq!(bound(&frame), Some(us(57)));
        frame.sync = SyncState::Holdover;
        assert_eq!(bound(&frame), Some(us(57)), "its uncertainty grows");
    }

    #[test]
    fn a_term_that_is_not_known_is_no_bound() {
        let us = Span::from_micros;
        let mut good = info(7);
        (good.details.stamp_error_ns, good.details.exposure_reference_error_ns) = (Some(us(5)), Some(us(3)));
        assert!(bound(&good).is_some());
        for sync in [SyncState::Unsynced, SyncState::Acquiring, SyncState::Foreign] {
            let error = terms(&FrameInfo { sync, ..good }).unwrap_err();
            assert!(error.to_string().contains(sync.as_str()), "{error}");
        }
        for uncertainty in [None, Some(us(-1))] {
            let frame = FrameInfo { clock_uncertainty_ns: uncertainty, ..good };
            assert_eq!(terms(&frame), Err(Unbounded::Uncertainty));
        }
        for (stamp, reference) in [(None, Some(us(1))), (Some(us(1)), None), (Some(us(-1)), Some(us(1)))] {
            let mut frame = good;
            frame.details.stamp_error_ns = stamp;
            frame.details.exposure_reference_error_ns = reference;
            assert_eq!(terms(&frame), Err(Unbounded::Camera));
        }
    }

    #[test]
    fn what_is_not_known_passes_only_without_a_limit() {
        let us = Span::from_micros;
        assert!(passes(Some(us(250)), Some(us(250))) && !passes(Some(us(251)), Some(us(250))));
        assert!(!passes(None, Some(Span::MAX)) && passes(None, None));
    }
}
