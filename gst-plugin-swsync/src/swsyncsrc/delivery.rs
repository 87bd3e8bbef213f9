//! Takes a frame from the camera, decides whether it goes downstream, and hands its pictures to the pads.

use std::sync::Arc;

use gst::prelude::*;
use gst::subclass::prelude::*;
use swsync_core::frame::FrameInfo;
use swsync_core::time::Span;

use super::align::{AlignProgress, ClockBase, IssueChange, report};
use super::aligned_camera::AlignedFrame;
use super::category::CAT;
use super::controls;
use super::imp::SwsyncSrc;
use super::interruptions::{InterruptionMonitor, Interruptions};
use super::pads::Delivered;
use super::state::{PadStream, State};
use super::stats::{FrameDecision, NoDelivery};
use crate::camera::CameraError;
use crate::clock::{SwsyncClock, rig_time};
use crate::meta::{self, WallTime};

/// The result of asking the camera for a frame.
#[expect(clippy::large_enum_variant, reason = "nearly always it is the large one")]
pub enum NextFrame {
    Frame(AlignedFrame, Delivery),
    /// The camera was lost. It may be back the next time.
    Nothing,
}

/// What is needed to deliver a frame without the lock on `state`.
pub struct Delivery {
    decision: FrameDecision,
    period: Span,
    /// Frames are to carry their NTP time.
    ntp: bool,
    pub pads: Arc<[PadStream]>,
}

impl SwsyncSrc {
    /// The camera's next frame.
    ///
    /// # Errors
    /// [`CameraError::Flushing`] if the wait is interrupted, or the camera's own.
    pub(super) fn next_frame(&self, clock: &gst::Clock) -> Result<NextFrame, CameraError> {
        let (target, wait_lock, ntp) = {
            let settings = self.settings.lock();
            (settings.align.target(), settings.align.wait_lock, settings.add_ntp_timestamp_meta)
        };
        let mut state = self.state.lock();
        match &mut *state {
            State::Streaming { camera, bridge, streams, .. } => {
                let refused = camera.set_target(target).err();
                let mut time = ClockBase { clock, bridge, sleeper: &self.sleeper };
                let next = camera.next(&mut time).map(|mut frame| {
                    let pts = self.running_time(frame.info.rig_time_ns);
                    let grid = camera.grid();
                    let interruptions = self.interruptions.lock();
                    let interruptions =
                        interruptions.as_ref().map_or_else(Interruptions::default, InterruptionMonitor::take);
                    let progress = camera.progress();
                    let decision =
                        self.stats.lock().decide(&mut frame, progress, interruptions, wait_lock, grid, pts);
                    let delivery =
                        Delivery { decision, period: grid.period(), ntp, pads: streams.pads.clone() };
                    NextFrame::Frame(frame, delivery)
                });
                drop(state);
                if let Some(error) = refused {
                    gst::element_imp_warning!(self, gst::LibraryError::Settings, ("{error}"));
                }
                next
            }
            State::Lost { .. } => {
                drop(state);
                self.revive().map(|()| NextFrame::Nothing)
            }
            State::Stopped | State::Opened { .. } => Err(CameraError::Flushing),
        }
    }

    /// Reports a frame's news, and returns its pictures with time stamps and metas; `None` if it does not go downstream.
    pub(super) fn finish(
        &self,
        mut frame: AlignedFrame,
        Delivery { decision, period, ntp, pads }: &Delivery,
        clock: &gst::Clock,
    ) -> Option<Vec<gst::Buffer>> {
        if let Some(PadStream { setup, .. }) = pads.first() {
            self.centre.handle_frame(frame.info.number, frame.pictures.first(), &setup.caps);
        }
        self.controls.note_reported(std::mem::take(&mut frame.reported));
        controls::report(&self.controls, &self.obj(), &frame.info);
        if frame.is_news() || decision.first_copy {
            self.report(&frame, decision);
        }
        if let Some(silence) = decision.silence {
            self.report_silence(&frame.info, silence, clock);
        }
        let pts = decision.pts?;
        let wall = match (clock.is::<SwsyncClock>(), ntp) {
            (false, _) => WallTime::None,
            (true, false) => WallTime::Unix,
            (true, true) => WallTime::UnixAndNtp,
        };
        let AlignedFrame { mut pictures, info, .. } = frame;
        for picture in &mut pictures {
            let buffer = picture.make_mut();
            buffer.set_pts(pts);
            buffer.set_duration(gst::ClockTime::from_nseconds(period.as_nanos().unsigned_abs()));
            buffer.set_offset(info.number);
            buffer.set_offset_end(info.number + 1);
            if decision.discont {
                buffer.set_flags(gst::BufferFlags::DISCONT);
            }
            meta::attach(buffer, &info, decision.gap.as_ref(), *period, wall);
        }
        Some(pictures)
    }

    /// Hands the pictures of a frame to their pads. The first one, which may block, comes last.
    pub(super) fn push(&self, pads: &[PadStream], pictures: Vec<gst::Buffer>) -> Result<(), gst::FlowError> {
        let alone = pads.len() == 1;
        for (PadStream { pad, .. }, picture) in pads.iter().zip(pictures).rev() {
            match pad.deliver(picture) {
                Ok(Delivered::DroppedOldest) => {
                    self.stats.lock().branch_dropped += 1;
                    gst::debug!(CAT, obj = pad, "the branch is behind: a frame is dropped");
                }
                Ok(Delivered::Pushed | Delivered::Queued | Delivered::Refused) => {}
                // Its stream ends with the next negotiation.
                Err(gst::FlowError::NotLinked) if !alone => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Posts a frame's news.
    #[cold]
    fn report(&self, frame: &AlignedFrame, decision: &FrameDecision) {
        let info = &frame.info;
        // A copy: handlers of the messages may read `stats` immediately.
        let progress = self.stats.lock().progress;
        if let Some(progress) = progress {
            self.report_alignment(frame, &progress, decision.lock_count);
        }
        if decision.first_copy {
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

    fn report_alignment(&self, frame: &AlignedFrame, progress: &AlignProgress, lock_count: u32) {
        let info = &frame.info;
        if let Some(cause) = frame.news {
            let (state, cause_name) = (info.lock_text(), cause.as_str());
            gst::info!(CAT, imp = self, "{state} ({cause_name}), phase error {:?}", info.phase_error_ns);
            self.post_element_message(report::phase_message(info, progress, cause, lock_count));
        }
        if let Some(change) = &frame.trouble {
            match change {
                IssueChange::Began(issue) => {
                    gst::warning!(CAT, imp = self, "{}: {}", issue.kind(), issue.text())
                }
                IssueChange::Ended(issue) => gst::info!(CAT, imp = self, "no more {}", issue.kind()),
            }
            self.post_element_message(report::trouble_message(change, info));
            if let IssueChange::Began(issue) = change
                && issue.is_given_up()
            {
                gst::element_imp_warning!(
                    self,
                    gst::LibraryError::Settings,
                    ("The camera cannot be aligned: {}", issue.text()),
                    [
                        "Its frames are delivered as they come (`free`), each with its phase error. Once that is fixed, start \
                      the element again; or use align-method=reset, or none"
                    ]
                );
            }
        }
    }

    /// Warns that frames come and none goes downstream, and says what helps.
    #[cold]
    fn report_silence(&self, info: &FrameInfo, silence: NoDelivery, clock: &gst::Clock) {
        let progress = self.stats.lock().progress;
        let (why, remedy) = match silence {
            NoDelivery::HeldBack => {
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
            NoDelivery::NotPlaying => {
                let ago = rig_time(clock.time()) - info.rig_time_ns;
                let why = format!(
                    "frames are stamped with times at which the pipeline did not play (the newest: {ago:?} ago)"
                );
                let remedy = "The pipeline's clock was set, which PAUSED and PLAYING again fix, or the camera's stamps are late \
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
