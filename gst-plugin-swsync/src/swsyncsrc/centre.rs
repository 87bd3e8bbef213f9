//! Measures the centre of a frame, if it is asked to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gst_video::prelude::*;
use parking_lot::{Condvar, Mutex};
use swsync_core::centre::{CentreColour, Colorimetry, Picture, PixelFormat, Plane, measure};
use swsync_core::grid::FrameNumber;

use crate::centre_query::MeasuredCentre;

/// No frame is to be measured.
const NONE: u64 = u64::MAX;

/// The frame that is to be measured, and the last one that was.
#[derive(Debug)]
pub struct CentreMeter {
    /// The first frame number that is to be measured.
    wanted: AtomicU64,
    newest: AtomicU64,
    measured: Mutex<Option<MeasuredCentre>>,
    changed: Condvar,
}

impl Default for CentreMeter {
    fn default() -> Self {
        Self {
            wanted: AtomicU64::new(NONE),
            newest: AtomicU64::new(0),
            measured: Mutex::default(),
            changed: Condvar::new(),
        }
    }
}

impl CentreMeter {
    /// The centre of the first frame from `from` on that is still to come. `None`: none came within `patience`.
    pub fn ask(&self, from: FrameNumber, patience: Duration) -> Option<MeasuredCentre> {
        let deadline = Instant::now() + patience;
        let mut measured = self.measured.lock();
        let from = from.max(self.newest.load(Ordering::Relaxed).saturating_add(1));
        loop {
            if let Some(measured) = measured.as_ref().filter(|measured| measured.frame >= from) {
                return Some(measured.clone());
            }
            // Again each time: somebody else may have asked for an earlier frame.
            self.wanted.store(from, Ordering::Relaxed);
            if self.changed.wait_until(&mut measured, deadline).timed_out() {
                return None;
            }
        }
    }

    /// A frame has come. Measures it only if somebody waits for it.
    pub fn handle_frame(&self, number: FrameNumber, picture: Option<&gst::Buffer>, caps: &gst::Caps) {
        self.newest.store(number, Ordering::Relaxed);
        if number < self.wanted.load(Ordering::Relaxed) {
            return;
        }
        self.wanted.store(NONE, Ordering::Relaxed);
        let colour = picture.and_then(|buffer| colour_of(buffer, caps));
        *self.measured.lock() = Some(MeasuredCentre { frame: number, colour, format: format_of(caps) });
        self.changed.notify_all();
    }
}

/// `None`: the pixels cannot be read.
fn colour_of(buffer: &gst::Buffer, caps: &gst::Caps) -> Option<CentreColour> {
    let info = gst_video::VideoInfo::from_caps(caps).ok()?;
    let format = PixelFormat::from_name(info.format().to_str())?;
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).ok()?;
    let strides = frame.plane_stride();
    let planes: Option<Vec<_>> = (0..frame.n_planes())
        .map(|plane| {
            let stride = usize::try_from(*strides.get(plane as usize)?).ok()?;
            Some(Plane { data: frame.plane_data(plane).ok()?, stride })
        })
        .collect();
    let (width, height) = (usize::try_from(info.width()).ok()?, usize::try_from(info.height()).ok()?);
    let colorimetry = colorimetry_of(&info);
    measure(&Picture { format, colorimetry, width, height, planes: &planes? })
}

fn colorimetry_of(info: &gst_video::VideoInfo) -> Colorimetry {
    let stated = info.colorimetry();
    let (red, blue) = match stated.matrix() {
        gst_video::VideoColorMatrix::Bt709 => (0.2126, 0.0722),
        gst_video::VideoColorMatrix::Bt2020 => (0.2627, 0.0593),
        _ => (0.299, 0.114),
    };
    Colorimetry { red, blue, full_range: stated.range() == gst_video::VideoColorRange::Range0_255 }
}

/// `NV12`, or `image/jpeg`.
fn format_of(caps: &gst::Caps) -> String {
    let Some(structure) = caps.structure(0) else { return String::new() };
    structure.get::<String>("format").unwrap_or_else(|_| structure.name().to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn frame(luma: u8) -> (gst::Caps, gst::Buffer) {
        gst::init().unwrap();
        let caps: gst::Caps =
            "video/x-raw,format=I420,width=64,height=48,framerate=30/1,colorimetry=bt601".parse().unwrap();
        let mut bytes = vec![luma; 64 * 48];
        bytes.extend([128; 64 * 48 / 2]);
        (caps, gst::Buffer::from_slice(bytes))
    }

    #[test]
    fn a_frame_is_measured_when_somebody_waits_for_it() {
        let meter = Arc::new(CentreMeter::default());
        let (caps, dark) = frame(16);
        meter.handle_frame(7, Some(&dark), &caps);
        assert_eq!(meter.ask(0, Duration::from_millis(1)), None, "nobody asked when it came");
        let asking = std::thread::spawn({
            let meter = Arc::clone(&meter);
            move || meter.ask(9, Duration::from_secs(60))
        });
        while meter.wanted.load(Ordering::Relaxed) != 9 {
            std::thread::yield_now();
        }
        meter.handle_frame(8, Some(&dark), &caps);
        let (caps, grey) = frame(126);
        meter.handle_frame(9, Some(&grey), &caps);
        let measured = asking.join().unwrap().unwrap();
        assert_eq!((measured.frame, measured.format.as_str()), (9, "I420"));
        assert_eq!(measured.colour, Some(CentreColour { brightness: 128, red: 128, green: 128, blue: 128 }));
        assert_eq!(meter.wanted.load(Ordering::Relaxed), NONE);
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        gst::init().unwrap();
        let jpeg: gst::Caps = "image/jpeg,width=64,height=48".parse().unwrap();
        let buffer = gst::Buffer::from_slice([0; 10]);
        assert_eq!((colour_of(&buffer, &jpeg), format_of(&jpeg).as_str()), (None, "image/jpeg"));
        let raw: gst::Caps = "video/x-raw,format=I420,width=64,height=48,framerate=30/1".parse().unwrap();
        assert_eq!(colour_of(&buffer, &raw), None, "it is too short");
    }

    #[test]
    fn a_query_carries_the_answer() {
        gst::init().unwrap();
        let mut query = crate::centre_query::ask(5);
        assert_eq!(crate::centre_query::asked(query.query()), Some(5));
        assert_eq!(crate::centre_query::answered(query.query()), None);
        let colour = Some(CentreColour { brightness: 1, red: 2, green: 3, blue: 255 });
        for colour in [colour, None] {
            let mut query = crate::centre_query::ask(5);
            let measured = MeasuredCentre { frame: 6, colour, format: "NV12".into() };
            crate::centre_query::answer(&mut query, &measured);
            assert_eq!(crate::centre_query::answered(query.query()), Some(measured));
        }
        query.structure_mut().set("frame", 3_u64);
        assert_eq!(crate::centre_query::answered(query.query()), None, "it names no format");
    }
}
