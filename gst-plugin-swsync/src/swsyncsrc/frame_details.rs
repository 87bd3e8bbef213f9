//! The instants of a frame's exposure.

use swsync_core::align::point::AlignPoint;
use swsync_core::certificate;
use swsync_core::frame::FrameDetails;
use swsync_core::time::{Rig, Span, Timestamp};

use crate::camera::{Capabilities, Frame, Readout, StampedAt, TimingError};

/// How late a single stamp may be if its host is busy: what the filters of the aligners leave out. Assumed; swsync-sim simulates as
/// much.
const LATE_STAMP: Span = Span::from_millis(1);

/// How far the time of `frame` may be off because of its camera. `filter` is the standard deviation of the aligner's filter of
/// stamps; `None`: the time is that of a single stamp.
pub fn timing_error(
    frame: &Frame,
    camera: &Capabilities,
    point: AlignPoint,
    filter: Option<Span>,
) -> TimingError {
    let Capabilities { stamped_at, timing_error: error, readout, .. } = camera;
    let unfiltered = filter.map_or(LATE_STAMP, |sigma| sigma * certificate::SIGMAS);
    // Where the exposure is relative to the stamp.
    let needs_exposure = *stamped_at != StampedAt::ExposureStart || point == AlignPoint::ExposureCenter;
    let needs_readout = *stamped_at == StampedAt::FrameEnd || point == AlignPoint::ExposureCenter;
    let is_placed = (frame.exposure.is_some() || !needs_exposure) && (readout.is_some() || !needs_readout);
    TimingError {
        stamp: error.stamp.map(|stamp| stamp + unfiltered),
        exposure_reference: error.exposure_reference.filter(|_| is_placed),
    }
}

/// The camera's details of `frame`, with the instants of its exposure; that of the first row began at `start`. `error`: of these.
pub fn details(
    frame: &Frame,
    start: Timestamp<Rig>,
    readout: Option<Readout>,
    error: TimingError,
) -> FrameDetails {
    let middle = frame.exposure.zip(readout).map(|(exposure, readout)| readout.exposure_middle(exposure));
    FrameDetails {
        exposure_start_ns: Some(start),
        exposure_middle_ns: middle.map(|middle| start + middle),
        row_time_ns: readout.map(|readout| readout.timing(Span::ZERO).row_time_ns),
        exposure_reference_error_ns: error.exposure_reference,
        stamp_error_ns: error.stamp,
        ..frame.details
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::mode::Mode;
    use crate::camera::{Pacing, Shutter};
    use swsync_core::stamps::{StampBasis, StampClock, StampedBy};

    const START: Timestamp<Rig> = Timestamp::from_nanos(1_800_000_000_000_000_000);

    fn frame(exposure: Option<Span>) -> Frame {
        Frame {
            pictures: Vec::new(),
            copied: false,
            sequence: 0,
            sensor_time: Timestamp::from_nanos(0),
            stamped_by: StampedBy { clock: StampClock::Boottime, basis: StampBasis::Same },
            exposure,
            analogue_gain: None,
            reported: Vec::new(),
            details: FrameDetails { lux: Some(400.0), ..FrameDetails::default() },
        }
    }

    #[test]
    fn the_middle_is_half_the_exposure_and_half_the_rows_later() {
        gst::init().unwrap();
        let readout = Readout { shutter: Shutter::Rolling, row_time_ns: 20_000.0, rows: 101 };
        let known = details(&frame(Some(Span::from_millis(4))), START, Some(readout), TimingError::NONE);
        assert_eq!(known.exposure_start_ns, Some(START));
        assert_eq!(known.exposure_middle_ns, Some(START + Span::from_millis(3)));
        assert_eq!((known.row_time_ns, known.lux), (Some(20_000.0), Some(400.0)));
        let global = Readout { shutter: Shutter::Global, ..readout };
        let global = details(&frame(Some(Span::from_millis(4))), START, Some(global), TimingError::NONE);
        assert_eq!(global.exposure_middle_ns, Some(START + Span::from_millis(2)));
    }

    #[test]
    fn an_unknown_middle_is_not_stated() {
        gst::init().unwrap();
        let readout = Readout { shutter: Shutter::Rolling, row_time_ns: 20_000.0, rows: 101 };
        assert_eq!(details(&frame(None), START, Some(readout), TimingError::NONE).exposure_middle_ns, None);
        assert_eq!(
            details(&frame(Some(Span::from_millis(4))), START, None, TimingError::NONE).exposure_middle_ns,
            None
        );
    }

    #[test]
    fn a_single_stamp_may_be_late_and_a_filtered_one_hardly() {
        gst::init().unwrap();
        let us = Span::from_micros;
        let error = TimingError { stamp: Some(us(20)), exposure_reference: Some(us(40)) };
        let of = |error, stamped_at, readout, exposure, filter| {
            let camera = Capabilities {
                model: "test".into(),
                pacing: Pacing::FreeRunning(None),
                exposure: None,
                response: None,
                readout,
                stamped_at,
                stamp_bias: Span::ZERO,
                timing_error: error,
                latency: Span::ZERO,
                backlog: 4,
                mode: Mode::default(),
            };
            let known = timing_error(&frame(exposure), &camera, AlignPoint::FrameStart, filter);
            (known.stamp, known.exposure_reference)
        };
        let (exposure, sigma) = (Some(us(4_000)), Some(us(2)));
        let readout = Some(Readout { shutter: Shutter::Rolling, row_time_ns: 20_000.0, rows: 101 });
        let start = StampedAt::ReadoutStart;
        assert_eq!(of(error, start, readout, exposure, sigma), (Some(us(28)), Some(us(40))));
        assert_eq!(of(error, start, readout, exposure, None), (Some(us(1_020)), Some(us(40))));
        // Nothing is invented.
        let unknown = TimingError { stamp: None, ..error };
        assert_eq!(of(unknown, start, readout, exposure, sigma), (None, Some(us(40))));
        assert_eq!(
            of(error, start, readout, None, sigma).1,
            None,
            "the exposure ended at the stamp, and began?"
        );
        assert_eq!(of(error, StampedAt::ExposureStart, None, None, sigma).1, Some(us(40)));
        assert_eq!(of(error, StampedAt::FrameEnd, None, exposure, sigma).1, None);
        assert_eq!(of(error, StampedAt::FrameEnd, readout, exposure, sigma).1, Some(us(40)));
    }
}
