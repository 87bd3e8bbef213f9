//! The instants of a frame's exposure.

use swsync_core::frame::FrameDetails;
use swsync_core::time::{Rig, Span, Timestamp};

use crate::camera::{Frame, Readout};

/// The camera's details of `frame`, with the instants of its exposure; that of the first row began at `start`.
pub fn details(frame: &Frame, start: Timestamp<Rig>, readout: Option<Readout>) -> FrameDetails {
    let middle = frame.exposure.zip(readout).map(|(exposure, readout)| readout.exposure_middle(exposure));
    FrameDetails {
        exposure_start_ns: Some(start),
        exposure_middle_ns: middle.map(|middle| start + middle),
        row_time_ns: readout.map(|readout| readout.timing(Span::ZERO).row_time_ns),
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
        let known = details(&frame(Some(Span::from_millis(4))), START, Some(readout));
        assert_eq!(known.exposure_start_ns, Some(START));
        assert_eq!(known.exposure_middle_ns, Some(START + Span::from_millis(3)));
        assert_eq!((known.row_time_ns, known.lux), (Some(20_000.0), Some(400.0)));
        let global = Readout { shutter: Shutter::Global, ..readout };
        let global = details(&frame(Some(Span::from_millis(4))), START, Some(global));
        assert_eq!(global.exposure_middle_ns, Some(START + Span::from_millis(2)));
    }

    #[test]
    fn an_unknown_middle_is_not_stated() {
        gst::init().unwrap();
        let readout = Readout { shutter: Shutter::Rolling, row_time_ns: 20_000.0, rows: 101 };
        assert_eq!(details(&frame(None), START, Some(readout)).exposure_middle_ns, None);
        assert_eq!(details(&frame(Some(Span::from_millis(4))), START, None).exposure_middle_ns, None);
    }
}
