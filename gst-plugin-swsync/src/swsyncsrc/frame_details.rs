//! The instants of a frame's exposure.

use swsync_core::certificate;
use swsync_core::frame::FrameDetails;
use swsync_core::time::{Rig, Span, Timestamp};

use crate::camera::{Frame, Readout, TimingError};

/// How late a single stamp may be if its host is busy: what the filters of the aligners leave out. Assumed; swsync-sim simulates as
/// much.
const LATE_STAMP: Span = Span::from_millis(1);

/// How far the time of a frame may be off because of its camera: `error` is what is known of the model. `filter` is the standard
/// deviation of the aligner's filter of stamps; `None`: the time is that of a single stamp.
pub fn timing_error(error: TimingError, filter: Option<Span>) -> TimingError {
    let unfiltered = filter.map_or(LATE_STAMP, |sigma| sigma * certificate::SIGMAS);
    TimingError { stamp: error.stamp.map(|stamp| stamp + unfiltered), ..error }
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
    use crate::camera::Shutter;
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
        assert_eq!(details(&frame(Some(Span::from_millis(4))), START, None, TimingError::NONE).exposure_middle_ns, None);
    }

    #[test]
    fn a_single_stamp_may_be_late_and_a_filtered_one_hardly() {
        let us = Span::from_micros;
        let model = TimingError { stamp: Some(us(20)), exposure_reference: Some(us(40)) };
        let filtered = timing_error(model, Some(us(2)));
        assert_eq!((filtered.stamp, filtered.exposure_reference), (Some(us(28)), Some(us(40))));
        assert_eq!(timing_error(model, None).stamp, Some(us(1_020)));
        let unknown = TimingError { stamp: None, ..model };
        assert_eq!(timing_error(unknown, Some(us(2))).stamp, None, "nothing is invented");
    }
}
