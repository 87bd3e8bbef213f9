//! Chooses the method by which a camera is aligned: by what was asked for, and what the camera can do.

use gst::glib;
use swsync_core::align::point::AlignPoint;
use swsync_core::grid::FrameGrid;
use swsync_core::time::Span;

use crate::camera::{Capabilities, ExposureControl, FrameDurationControl, Pacing};

/// How the camera is brought onto the frame grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncAlignMethod")]
pub enum AlignMethod {
    /// `inject` if the camera can, else `inject-exposure`, else `none`. Never `reset`: that stops a camera
    /// again and again for minutes, so users have to ask for it.
    #[default]
    #[enum_value(name = "Auto: inject, else inject-exposure, else none", nick = "auto")]
    Auto,
    /// One longer or shorter frame, then whole lines dithered to stay on the grid.
    #[enum_value(name = "Inject: one frame longer or shorter, then trim by lines", nick = "inject")]
    Inject,
    /// One frame of a long exposure. Its effect on the camera's phase is learnt.
    #[enum_value(
        name = "Inject exposure: one long exposure shifts all later frames",
        nick = "inject-exposure"
    )]
    InjectExposure,
    /// The camera is restarted until its phase falls right.
    #[enum_value(name = "Reset: restart the camera until its phase falls right", nick = "reset")]
    Reset,
    /// The phase error is stated, not corrected.
    #[enum_value(name = "None: the phase error is stated, not corrected", nick = "none")]
    None,
}

/// Which instant of a frame lies on the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncAlignPoint")]
pub enum AlignPointSetting {
    /// Exposure of the first row begins.
    #[default]
    #[enum_value(name = "Frame start: exposure of the first row begins", nick = "frame-start")]
    FrameStart,
    /// Middle of the middle row's exposure.
    #[enum_value(name = "Exposure center: the middle of the middle row's exposure", nick = "exposure-center")]
    ExposureCenter,
}

impl From<AlignPointSetting> for AlignPoint {
    fn from(point: AlignPointSetting) -> Self {
        match point {
            AlignPointSetting::FrameStart => Self::FrameStart,
            AlignPointSetting::ExposureCenter => Self::ExposureCenter,
        }
    }
}

/// Why a camera cannot be aligned as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlignError {
    #[error("align-method=inject: the length of single frames of {camera} cannot be set. {instead}")]
    NoFrameDuration { camera: String, instead: &'static str },
    #[error(
        "align-method=inject-exposure: the exposure of single frames of {camera} cannot be set. {instead}"
    )]
    NoExposure { camera: String, instead: &'static str },
    #[error(
        "align-method=inject-exposure: the longest exposure of {camera} is {longest:?}, and only one longer than \
         the frame period of {period:?} shifts anything: use align-method=reset, or a higher frame rate"
    )]
    ShortExposures { camera: String, longest: Span, period: Span },
    #[error(
        "{camera} takes a frame when it is asked for one: it is on the grid as it is, use align-method=auto"
    )]
    OnRequest { camera: String },
    #[error(
        "align-point=exposure-center: nothing tells how fast {camera} reads its rows out. Give a profile with \
         its line time (property `profile`), or use align-point=frame-start"
    )]
    NoReadout { camera: String },
    #[error(
        "grid-period={period} does not go with {rate} frames per second: either has to be a whole multiple of \
         the other"
    )]
    GridPeriod { period: String, rate: String },
}

/// The chosen method, with what it needs of the camera.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AlignerKind {
    Inject(FrameDurationControl),
    InjectExposure(ExposureControl),
    Reset,
    /// The phase error is stated, not corrected.
    None,
    /// Frames are requested at the grid's instants.
    OnRequest,
}

impl AlignerKind {
    /// The method for `camera` with frames of `period`.
    ///
    /// # Errors
    /// The camera cannot do what `wish` asks for.
    pub fn choose(wish: AlignMethod, camera: &Capabilities, period: Span) -> Result<Self, AlignError> {
        let name = || camera.model.clone();
        let durations = match camera.pacing {
            Pacing::OnRequest => {
                return match wish {
                    AlignMethod::Auto | AlignMethod::None => Ok(Self::OnRequest),
                    AlignMethod::Inject | AlignMethod::InjectExposure | AlignMethod::Reset => {
                        Err(AlignError::OnRequest { camera: name() })
                    }
                };
            }
            Pacing::FreeRunning(control) => control,
        };
        // Only exposures longer than the period shift the stream. A tenth more is needed to learn by.
        let exposures = camera.exposure.filter(|control| control.max >= period.mul_f64(1.1));
        let instead = match (durations, exposures) {
            (Some(_), _) => "Use align-method=inject.",
            (None, Some(_)) => "Use align-method=inject-exposure.",
            (None, None) => "Use align-method=reset, or none.",
        };
        match (wish, durations, exposures, camera.exposure) {
            (AlignMethod::Auto | AlignMethod::Inject, Some(control), _, _) => Ok(Self::Inject(control)),
            (AlignMethod::Inject, None, _, _) => Err(AlignError::NoFrameDuration { camera: name(), instead }),
            (AlignMethod::Auto, None, Some(control), _) => Ok(Self::InjectExposure(control)),
            (AlignMethod::InjectExposure, _, Some(control), _) => Ok(Self::InjectExposure(control)),
            (AlignMethod::InjectExposure, _, None, Some(control)) => {
                Err(AlignError::ShortExposures { camera: name(), longest: control.max, period })
            }
            (AlignMethod::InjectExposure, _, None, None) => {
                Err(AlignError::NoExposure { camera: name(), instead })
            }
            (AlignMethod::Reset, ..) => Ok(Self::Reset),
            (AlignMethod::Auto | AlignMethod::None, ..) => Ok(Self::None),
        }
    }

    /// Its name in messages and `stats`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Inject(_) => "inject",
            Self::InjectExposure(_) => "inject-exposure",
            Self::Reset => "reset",
            Self::None => "none",
            Self::OnRequest => "on-request",
        }
    }
}

/// Checks that a grid of `period` seconds goes with frames on `frames`. A zero period is that of the frames.
///
/// One of the two has to be a multiple of the other. Then cameras whose rates divide each other share instants, as all grids count
/// from the epoch.
///
/// # Errors
/// [`AlignError::GridPeriod`].
pub fn check_grid(frames: FrameGrid, period: gst::Fraction) -> Result<(), AlignError> {
    let (numerator, denominator) = (i64::from(period.numer()), i64::from(period.denom()));
    if numerator == 0 {
        return Ok(());
    }
    let rate = frames.rate();
    let (frames_num, frames_den) = (i64::from(rate.0), i64::from(rate.1));
    // Frames per period of the grid are above / below.
    let (above, below) = (numerator.saturating_mul(frames_num), denominator.saturating_mul(frames_den));
    if above % below == 0 || below % above == 0 {
        return Ok(());
    }
    Err(AlignError::GridPeriod {
        period: format!("{numerator}/{denominator} s"),
        rate: format!("{frames_num}/{frames_den}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::mode::Mode;
    use crate::camera::{StampedAt, TimingError};

    const PERIOD: Span = Span::from_micros(33_333);
    const DURATIONS: FrameDurationControl = FrameDurationControl {
        line_time_ns: 18_904.0,
        min_lines: 1112,
        max_lines: 65_535,
        latency: 2,
        exposure_margin: 4,
    };
    const EXPOSURES: ExposureControl =
        ExposureControl { min: Span::from_micros(20), max: Span::from_secs(1) };

    fn camera(pacing: Pacing, exposure: Option<ExposureControl>) -> Capabilities {
        Capabilities {
            model: "test".into(),
            pacing,
            exposure,
            response: None,
            readout: None,
            stamped_at: StampedAt::ReadoutStart,
            stamp_bias: Span::ZERO,
            timing_error: TimingError::default(),
            latency: Span::ZERO,
            backlog: 4,
            mode: Mode::default(),
        }
    }

    #[test]
    fn auto_chooses_the_best_method_that_does_not_stop_the_camera() {
        let auto = |durations, exposure| {
            let camera = camera(Pacing::FreeRunning(durations), exposure);
            AlignerKind::choose(AlignMethod::Auto, &camera, PERIOD).unwrap().name()
        };
        assert_eq!(auto(Some(DURATIONS), Some(EXPOSURES)), "inject");
        assert_eq!(auto(None, Some(EXPOSURES)), "inject-exposure");
        assert_eq!(auto(None, Some(ExposureControl { max: PERIOD, ..EXPOSURES })), "none");
        assert_eq!(auto(None, None), "none");
        let virtual_camera = camera(Pacing::OnRequest, None);
        assert_eq!(
            AlignerKind::choose(AlignMethod::Auto, &virtual_camera, PERIOD),
            Ok(AlignerKind::OnRequest)
        );
    }

    #[test]
    fn methods_that_a_camera_cannot_do_are_refused_with_a_remedy() {
        let refused = |wish, durations, exposure| {
            let camera = camera(Pacing::FreeRunning(durations), exposure);
            AlignerKind::choose(wish, &camera, PERIOD).unwrap_err().to_string()
        };
        let message = refused(AlignMethod::Inject, None, Some(EXPOSURES));
        assert!(message.contains("align-method=inject-exposure"), "{message}");
        let message = refused(AlignMethod::InjectExposure, Some(DURATIONS), None);
        assert!(message.ends_with("Use align-method=inject."), "{message}");
        let message = refused(AlignMethod::Inject, None, None);
        assert!(message.contains("reset"), "{message}");
        let short = Some(ExposureControl { max: PERIOD, ..EXPOSURES });
        let message = refused(AlignMethod::InjectExposure, None, short);
        assert!(message.contains("longest exposure"), "{message}");
        let virtual_camera = camera(Pacing::OnRequest, Some(EXPOSURES));
        for wish in [AlignMethod::Inject, AlignMethod::InjectExposure, AlignMethod::Reset] {
            assert!(AlignerKind::choose(wish, &virtual_camera, PERIOD).is_err());
        }
        let all = camera(Pacing::FreeRunning(Some(DURATIONS)), Some(EXPOSURES));
        for wish in [AlignMethod::Inject, AlignMethod::InjectExposure, AlignMethod::Reset, AlignMethod::None]
        {
            assert!(AlignerKind::choose(wish, &all, PERIOD).is_ok());
        }
    }

    #[test]
    fn the_bias_of_stamps_is_taken_off() {
        use super::super::{AlignTarget, CameraAligner, ObservedFrame};
        use swsync_core::align::point::AlignPoint;
        use swsync_core::frame::SyncState;
        let start = |stamp_bias| {
            let camera = Capabilities { stamp_bias, ..camera(Pacing::FreeRunning(None), None) };
            let (point, phase_offset) = (AlignPoint::default(), Span::ZERO);
            let target =
                AlignTarget { point, phase_offset, tolerance: None, settle_frames: 3, max_slew: None };
            let grid = FrameGrid::new(30, 1).unwrap();
            let mut aligner = CameraAligner::new(AlignerKind::None, &camera, grid, target, 1).unwrap();
            let stamped = grid.instant(54_000_000_000) + Span::from_millis(9);
            let (exposure, quality) = (Some(Span::from_millis(4)), SyncState::Synced);
            let seen = ObservedFrame { sequence: 0, stamped, now: stamped, quality, exposure };
            aligner.handle_frame(&seen).start - stamped
        };
        assert_eq!(start(Span::ZERO), -Span::from_millis(4), "stamped at the end of the exposure");
        assert_eq!(start(Span::from_micros(12)), -Span::from_micros(4_012));
    }

    #[test]
    fn grids_and_rates_that_divide_each_other_go_together() {
        let goes = |rate: (u32, u32), period: (i32, i32)| {
            let frames = FrameGrid::new(rate.0, rate.1).unwrap();
            check_grid(frames, gst::Fraction::new(period.0, period.1)).is_ok()
        };
        for rate in [30, 60, 120] {
            for period in [(0, 1), (1, 30), (1, 60), (1, 120), (1, 10), (1, 1)] {
                assert!(goes((rate, 1), period), "{rate} {period:?}");
            }
            assert!(!goes((rate, 1), (1, 25)) && !goes((rate, 1), (33_333_333, 1_000_000_000)));
        }
        assert!(goes((30_000, 1001), (1001, 60_000)) && !goes((30_000, 1001), (1, 30)));
    }
}
