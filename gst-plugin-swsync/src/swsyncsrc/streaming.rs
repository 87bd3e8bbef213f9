//! The streaming thread of `swsyncsrc`: negotiates, takes frames from the camera, and hands them to the pads.
//!
//! It is the task of the pad `src`: started when that is activated, joined when it is deactivated.

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::category::CAT;
use super::delivery::NextFrame;
use super::imp::SwsyncSrc;
use super::interruptions::InterruptionMonitor;
use super::state::Interruption;
use crate::camera::CameraError;

impl SwsyncSrc {
    pub(super) fn start_streaming_thread(&self) -> Result<(), gst::LoggableError> {
        let element = self.obj().downgrade();
        let started = self.src.start_task(move || {
            if let Some(element) = element.upgrade() {
                element.imp().iterate();
            }
        });
        started.map_err(|error| gst::loggable_error!(CAT, "no streaming thread: {error}"))
    }

    fn iterate(&self) {
        match self.stream_one() {
            Ok(()) => return,
            // Who flushes starts the thread again.
            Err(gst::FlowError::Flushing) => {}
            Err(error) => {
                gst::info!(CAT, imp = self, "the stream ends: {error:?}");
                for pad in self.all_pads() {
                    pad.send_in_order(gst::event::Eos::new());
                }
            }
        }
        let _ = self.src.pause_task();
    }

    /// Takes a frame and hands it on, if it is to go downstream.
    ///
    /// # Errors
    /// Why there is no next one; an error is posted already.
    fn stream_one(&self) -> Result<(), gst::FlowError> {
        if let Err(message) = self.negotiate() {
            // Once more, should the stream be started again.
            self.request_negotiation();
            if self.control.is_flushing() {
                return Err(gst::FlowError::Flushing);
            }
            self.post_error_message(message);
            return Err(gst::FlowError::NotNegotiated);
        }
        self.control.wait_until_playing().map_err(|interruption| match interruption {
            Interruption::Flushing => gst::FlowError::Flushing,
            Interruption::Eos => gst::FlowError::Eos,
        })?;
        let Some(clock) = self.obj().clock() else {
            gst::element_imp_error!(self, gst::CoreError::Clock, ("The pipeline has no clock"));
            return Err(gst::FlowError::Error);
        };
        let (frame, delivery) = match self.next_frame(&clock) {
            Ok(NextFrame::Frame(frame, delivery)) => (frame, delivery),
            // It was interrupted: the next call finds out why.
            Ok(NextFrame::Nothing) | Err(CameraError::Flushing) => return Ok(()),
            Err(error) => return self.handle_fault(&error),
        };
        let Some(pictures) = self.finish(frame, &delivery, &clock) else {
            return Ok(());
        };
        for event in self.control.take_events() {
            self.all_pads().iter().for_each(|pad| pad.send_in_order(event.clone()));
        }
        self.control.count_frame();
        self.monitor(InterruptionMonitor::note_push);
        let pushed = self.push(&delivery.pads, pictures);
        self.monitor(InterruptionMonitor::note_pushed);
        match pushed {
            // Downstream has asked for another format since it was last asked: the frame is dropped, as GstBaseSrc does.
            Err(gst::FlowError::NotNegotiated) if self.is_negotiating() => Ok(()),
            pushed => pushed.inspect_err(|error| self.report_flow_error(*error)),
        }
    }

    /// Says that downstream takes no more, unless that is in order.
    fn report_flow_error(&self, error: gst::FlowError) {
        if matches!(error, gst::FlowError::Flushing | gst::FlowError::Eos) {
            return;
        }
        gst::element_imp_error!(
            self,
            gst::StreamError::Failed,
            ("Internal data stream error."),
            ["streaming stopped, reason {error:?}"]
        );
    }

    /// Empties all pads. What follows begins with a new segment.
    pub(super) fn flush_start(&self, event: &gst::Event) {
        for pad in self.all_pads() {
            pad.flush_start(event.clone());
        }
        self.control.set_flushing(&self.sleeper, true);
    }

    pub(super) fn flush_stop(&self, event: &gst::Event) {
        for pad in self.all_pads() {
            pad.flush_stop(event.clone());
        }
        // The streaming thread pauses itself under this lock: not after it is started again.
        let _lock = self.src.stream_lock();
        self.control.set_flushing(&self.sleeper, false);
        if self.src.is_active()
            && let Err(error) = self.start_streaming_thread()
        {
            gst::error!(CAT, imp = self, "{error}");
        }
    }
}
