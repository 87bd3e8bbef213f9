//! The way of a frame from the camera to the pads: what is said of it, and what its buffers carry.

use std::sync::Arc;

use gst::prelude::*;
use gst::subclass::prelude::*;
use swsync_core::frame::FrameInfo;
use swsync_core::time::Span;

use super::align::{Change, Progress, report};
use super::controls;
use super::framer::PlacedFrame;
use super::held_up::{HeldUp, Watch};
use super::imp::{CAT, State, SwsyncSrc};
use super::stats::{Silence, Taken};
use super::streams::Further;
use crate::camera::CameraError;
use crate::clock::{SwsyncClock, rig_time};
use crate::lock::lock;
use crate::meta;

/// What came of asking the camera for a frame.
#[expect(clippy::large_enum_variant, reason = "nearly always it is the large one")]
pub enum Next {
    Frame(PlacedFrame, Delivery),
    /// It was lost: it may be back the next time.
    Nothing,
    /// It has no format yet.
    NoFormat,
}

/// What delivering a frame takes of the state.
pub struct Delivery {
    taken: Taken,
    period: Span,
    /// Whether the first picture is the first pad's.
    main: bool,
    further: Arc<[Further]>,
}

impl SwsyncSrc {
    /// The camera's next frame.
    ///
    /// # Errors
    /// [`CameraError::Flushing`] where the wait is interrupted, or the camera's own.
    pub(super) fn next_frame(&self, clock: &gst::Clock) -> Result<Next, CameraError> {
        let (target, wait_lock) = {
            let settings = lock(&self.settings);
            (settings.align.target(), settings.align.wait_lock)
        };
        let mut state = lock(&self.state);
        match &mut *state {
            State::Streaming { framer, streams, .. } => {
                let refused = framer.set_target(target).err();
                let next = framer.next(clock, &self.sleeper).map(|mut frame| {
                    let pts = self.running_time(frame.info.rig_time_ns);
                    let (grid, main) = (framer.grid(), streams.main.is_some());
                    let held_up = lock(&self.watch).as_ref().map_or_else(HeldUp::default, Watch::take);
                    let progress = framer.progress();
                    let taken =
                        lock(&self.observed).take_in(&mut frame, progress, held_up, wait_lock, grid, pts);
                    Next::Frame(
                        frame,
                        Delivery { taken, period: grid.period(), main, further: streams.further.clone() },
                    )
                });
                drop(state);
                if let Some(error) = refused {
                    gst::element_imp_warning!(self, gst::LibraryError::Settings, ("{error}"));
                }
                next
            }
            State::Lost { .. } => {
                drop(state);
                self.revive().map(|()| Next::Nothing)
            }
            State::Stopped | State::Opened { .. } => Ok(Next::NoFormat),
        }
    }

    /// Hands a frame's further pictures to their branches and returns the first pad's, unless it is held back.
    pub(super) fn deliver(
        &self,
        mut frame: PlacedFrame,
        Delivery { taken, period, main, further }: &Delivery,
        clock: &gst::Clock,
    ) -> Result<Option<gst::Buffer>, gst::FlowError> {
        self.desk().note_reported(std::mem::take(&mut frame.reported));
        controls::report(self.desk(), &self.obj(), &frame.info);
        if frame.is_news() || taken.first_copy {
            self.report(&frame, taken);
        }
        if let Some(silence) = taken.silence {
            self.report_silence(&frame.info, silence, clock);
        }
        let PlacedFrame { mut buffer, mut others, info, .. } = frame;
        let Some(pts) = taken.pts else {
            return Ok(None);
        };
        let stamp = Stamp { info: &info, pts, period: *period, unix: clock.is::<SwsyncClock>(), taken };
        for buffer in std::iter::once(&mut buffer).chain(&mut others) {
            stamp.write_on(buffer.make_mut());
        }
        if !main {
            let stand_in = stand_in(&buffer);
            others.insert(0, std::mem::replace(&mut buffer, stand_in));
        }
        self.offer(further, others);
        if !main {
            return Ok(Some(buffer));
        }
        let laid_out = lock(&self.layout).apply(buffer);
        laid_out.map(Some).map_err(|reason| {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{reason}"));
            gst::FlowError::Error
        })
    }

    /// Says what is to be known of a frame.
    #[cold]
    fn report(&self, frame: &PlacedFrame, taken: &Taken) {
        let info = &frame.info;
        // Not under the lock: who hears a message may ask for `stats` at once.
        let progress = lock(&self.observed).progress;
        if let Some(progress) = progress {
            self.report_alignment(frame, &progress, taken.lock_count);
        }
        if taken.first_copy {
            gst::warning!(CAT, imp = self, "downstream holds the camera's frame buffers: frames are copied");
            self.post_element_message(
                gst::Structure::builder("swsync-frames-copied").field("from-frame", info.number).build(),
            );
        }
        if frame.lost > 0 {
            self.post_element_message(
                gst::Structure::builder("swsync-frames-lost")
                    .field("count", frame.lost)
                    .field("before-frame", info.number)
                    .build(),
            );
        }
    }

    fn report_alignment(&self, frame: &PlacedFrame, progress: &Progress, lock_count: u32) {
        let info = &frame.info;
        if let Some(cause) = frame.news {
            let (state, cause_name) = (info.lock_text(), cause.as_str());
            gst::info!(CAT, imp = self, "{state} ({cause_name}), phase error {:?}", info.phase_error_ns);
            self.post_element_message(report::phase_message(info, progress, cause, lock_count));
        }
        if let Some(change) = &frame.trouble {
            match change {
                Change::Began(issue) => gst::warning!(CAT, imp = self, "{}: {}", issue.kind(), issue.text()),
                Change::Ended(issue) => gst::info!(CAT, imp = self, "no more {}", issue.kind()),
            }
            self.post_element_message(report::trouble_message(change, info));
            if let Change::Began(issue) = change
                && issue.is_given_up()
            {
                gst::element_imp_warning!(
                    self,
                    gst::LibraryError::Settings,
                    ("The camera cannot be aligned: {}", issue.text()),
                    [
                        "Its frames are delivered as they come (`free`), each with its phase error. Once that is mended, start \
                      the element again; or use align-method=reset, or none"
                    ]
                );
            }
        }
    }

    /// Says that frames come and none goes downstream, and what helps.
    #[cold]
    fn report_silence(&self, info: &FrameInfo, silence: Silence, clock: &gst::Clock) {
        let progress = lock(&self.observed).progress;
        let (why, remedy) = match silence {
            Silence::HeldBack => {
                let off = info.phase_error_ns;
                let issue = progress.and_then(|progress| progress.trouble).map(|issue| issue.text());
                let issue = issue.map_or_else(String::new, |issue| format!(": {issue}"));
                let (method, tolerance) =
                    progress.map_or(("none", Span::ZERO), |progress| (progress.method, progress.tolerance));
                let why =
                    format!("the camera is not on the frame grid ({}, {off:?} off){issue}", info.lock_text());
                let chance = if method == "reset" {
                    " It is restarted until its phase falls right by chance."
                } else {
                    ""
                };
                let remedy = format!(
                    "align-method is {method}, the tolerance {tolerance:?}.{chance} A larger `tolerance` is reached sooner; \
                     wait-lock=false delivers frames meanwhile, each with its phase error; align-method=none leaves the \
                     camera as it is"
                );
                (why, remedy)
            }
            Silence::NotPlaying => {
                let ago = rig_time(clock.time()) - info.rig_time_ns;
                let why = format!(
                    "frames are stamped with times at which the pipeline did not play (the newest: {ago:?} ago)"
                );
                let remedy = "The pipeline's clock was set, which PAUSED and PLAYING again mend, or the camera's stamps are late \
                              (`sensor-clock` and `sensor-clock-basis` in `stats` say which clock they are taken to be of)";
                (why, remedy.to_owned())
            }
        };
        gst::element_imp_warning!(
            self,
            gst::ResourceError::Read,
            ("No frame has been delivered for 5 s: {why}"),
            ["{remedy}"]
        );
    }
}

/// What the base class gets, to count and to go on with, where the first pad has no stream. The pad drops it.
fn stand_in(picture: &gst::BufferRef) -> gst::Buffer {
    let mut buffer = gst::Buffer::new();
    let stand_in = buffer.make_mut();
    stand_in.set_pts(picture.pts());
    stand_in.set_duration(picture.duration());
    buffer
}

/// Whether it is one: a picture has memory.
pub(super) fn is_stand_in(buffer: &gst::BufferRef) -> bool {
    buffer.n_memory() == 0
}

/// What all pictures of an instant carry.
struct Stamp<'f> {
    info: &'f FrameInfo,
    pts: gst::ClockTime,
    period: Span,
    /// Whether rig time counts from the Unix epoch.
    unix: bool,
    taken: &'f Taken,
}

impl Stamp<'_> {
    fn write_on(&self, buffer: &mut gst::BufferRef) {
        buffer.set_pts(self.pts);
        buffer.set_duration(gst::ClockTime::from_nseconds(self.period.as_nanos().unsigned_abs()));
        buffer.set_offset(self.info.number);
        buffer.set_offset_end(self.info.number + 1);
        if self.taken.discont {
            buffer.set_flags(gst::BufferFlags::DISCONT);
        }
        meta::attach(buffer, self.info, self.taken.gap.as_ref(), self.period, self.unix);
    }
}
