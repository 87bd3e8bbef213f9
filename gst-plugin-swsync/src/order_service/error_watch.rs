//! Notes the errors of a pipeline, whichever element posts them, for the device's status.

use std::sync::Arc;

use gst::glib;
use gst::prelude::*;
use parking_lot::Mutex;
use swsync_core::bounded;
use swsync_core::frame::SyncState;
use swsync_core::status::TimedError;
use swsync_core::time::{Rig, Timestamp};

use crate::clock::status_of;

/// Sees the messages of a pipeline's bus until it is dropped. The application sees them as ever.
#[derive(Debug)]
pub struct ErrorWatch {
    bus: gst::Bus,
    handlers: Vec<glib::SignalHandlerId>,
}

impl ErrorWatch {
    /// Notes in `last` the errors of the pipeline that `element` is in.
    pub(super) fn start(element: &gst::Element, last: Arc<Mutex<Option<TimedError>>>) -> Option<Self> {
        let bus = pipeline_of(element)?.bus()?;
        let element = element.downgrade();
        let note = move |text: Option<String>| {
            if let (Some(text), Some(element)) = (text, element.upgrade()) {
                *last.lock() = Some(TimedError { text, rig_time_ns: rig_time_at(&element) });
            }
        };
        let note_too = note.clone();
        // Called on the thread that posts, before the application reads the message. Counted by the bus, so that others who use the
        // same signals do not mind.
        bus.enable_sync_message_emission();
        let handlers = vec![
            bus.connect_sync_message(Some("error"), move |_, message| note(error_text(message))),
            bus.connect_sync_message(Some("warning"), move |_, message| note_too(error_text(message))),
        ];
        Some(Self { bus, handlers })
    }
}

impl Drop for ErrorWatch {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            self.bus.disconnect(handler);
        }
        self.bus.disable_sync_message_emission();
    }
}

fn pipeline_of(element: &gst::Element) -> Option<gst::Pipeline> {
    let mut top = element.clone().upcast::<gst::Object>();
    while let Some(parent) = top.parent() {
        top = parent;
    }
    top.downcast().ok()
}

/// What a message says, if it is an error, or a warning of something that failed though the element goes on: a camera that is
/// started again, a disk that hangs.
fn error_text(message: &gst::Message) -> Option<String> {
    let error = match message.view() {
        gst::MessageView::Error(error) => error.error(),
        gst::MessageView::Warning(warning) => {
            let warning = warning.error();
            let failed = warning.kind::<gst::ResourceError>()? != gst::ResourceError::Settings;
            failed.then_some(warning)?
        }
        _ => return None,
    };
    let by = message.src().map(|source| format!("{}: ", source.name())).unwrap_or_default();
    Some(bounded::cut(&format!("{by}{}", error.message())))
}

fn rig_time_at(element: &gst::Element) -> Option<Timestamp<Rig>> {
    let clock = status_of(&element.clock()?);
    match clock.quality {
        SyncState::Synced | SyncState::Leading | SyncState::Holdover => Some(clock.rig_time_ns),
        SyncState::Unsynced | SyncState::Acquiring | SyncState::Foreign => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(post: impl Fn(&gst::Element)) -> Option<String> {
        gst::init().unwrap();
        let pipeline = gst::Pipeline::new();
        let make = |name| gst::ElementFactory::make("fakesink").name(name).build().unwrap();
        let (ours, other) = (make("ours"), make("camera"));
        pipeline.add_many([&ours, &other]).unwrap();
        let last = Arc::default();
        let watch = ErrorWatch::start(&ours, Arc::clone(&last)).unwrap();
        post(&other);
        drop(watch);
        gst::element_error!(other, gst::StreamError::Failed, ("nobody watches any more"));
        let noted = last.lock().take();
        noted.map(|error| error.text)
    }

    #[test]
    fn an_error_of_any_element_of_the_pipeline_is_noted() {
        let noted = texts(|camera| {
            gst::element_error!(camera, gst::ResourceError::Read, ("it is\nunplugged"), ["plug it in"]);
        });
        assert_eq!(noted.as_deref(), Some("camera: it is unplugged"));
    }

    #[test]
    fn a_warning_is_noted_where_something_failed() {
        let noted = texts(|camera| {
            gst::element_warning!(camera, gst::ResourceError::Read, ("it hangs"), ["it is started again"]);
            gst::element_warning!(camera, gst::ResourceError::Settings, ("a setting"));
            gst::element_warning!(camera, gst::StreamError::Format, ("a format"));
        });
        assert_eq!(noted.as_deref(), Some("camera: it hangs"));
        assert_eq!(texts(|_| ()), None);
    }

    #[test]
    fn an_element_without_a_pipeline_is_not_watched() {
        gst::init().unwrap();
        let alone = gst::ElementFactory::make("fakesink").build().unwrap();
        assert!(ErrorWatch::start(&alone, Arc::default()).is_none());
    }
}
