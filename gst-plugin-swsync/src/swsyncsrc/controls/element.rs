//! The element's interface for controls: properties, the action signal, the upstream event, and messages.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;
use swsync_core::frame::FrameInfo;
use swsync_core::grid::FrameNumber;

use super::properties::{setting, setting_of_field, to_field, to_property};
use super::{Applied, ControlQueue};
use crate::camera::controls::{Control, Refusal, Setting, all, by_property};
use crate::swsyncsrc::SwsyncSrc;

/// The action signal: `set-controls(frame number, structure) -> whether all were taken`.
const SIGNAL: &str = "set-controls";

/// The structure of the upstream event and of the message.
const CONTROLS: &str = "swsync-controls";

/// The details of a refusal's warning.
const REFUSED: &str = "swsync-control-refused";

/// The action signals.
pub fn signals() -> &'static [glib::subclass::Signal] {
    static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
        let signal = glib::subclass::Signal::builder(SIGNAL)
            .param_types([u64::static_type(), gst::Structure::static_type()])
            .return_type::<bool>()
            .action()
            .class_handler(|arguments| {
                let src = arguments[0].get::<SwsyncSrc>().ok()?;
                let number = arguments[1].get::<u64>().ok()?;
                let controls = arguments[2].get::<gst::Structure>().ok()?;
                Some(set_at(src.controls(), &src, number, &controls).to_value())
            });
        vec![signal.build()]
    });
    &SIGNALS
}

/// Sets the property of `control`; a refusal becomes a warning on the bus.
pub fn set_property(queue: &ControlQueue, src: &SwsyncSrc, control: &'static Control, value: &glib::Value) {
    let set = setting(control, value).and_then(|setting| match setting {
        Some(setting) => queue.set(setting),
        None => {
            queue.unset(control);
            Ok(())
        }
    });
    if let Err(refusal) = set {
        refuse(src, &refusal);
    }
}

/// Handles an upstream event if it sets controls; whether it does.
pub fn handle_event(queue: &ControlQueue, src: &SwsyncSrc, event: &gst::EventRef) -> bool {
    let structure = event.structure().filter(|structure| structure.name() == CONTROLS);
    let Some(structure) = structure.filter(|_| event.type_() == gst::EventType::CustomUpstream) else {
        return false;
    };
    let number = structure.value("frame-number").ok().and_then(|value| value.transform::<u64>().ok());
    let number = number.and_then(|value| value.get().ok()).unwrap_or(0);
    set_at(queue, src, number, structure);
    true
}

/// Sets the controls in the fields of `structure` from frame `number` on; 0, or a frame that is too near, means as soon as
/// possible. Returns whether all were accepted. Otherwise none is set.
fn set_at(queue: &ControlQueue, src: &SwsyncSrc, number: FrameNumber, structure: &gst::StructureRef) -> bool {
    let set = || {
        let mut settings = Vec::new();
        for (field, value) in structure.iter().filter(|(field, _)| *field != "frame-number") {
            let control = by_property(field).ok_or_else(|| unknown(field))?;
            settings.extend(setting_of_field(control, value)?);
        }
        queue.set_at(number, settings)
    };
    let done = set();
    if let Err(refusal) = &done {
        refuse(src, refusal);
    }
    done.is_ok()
}

fn unknown(field: &str) -> Refusal {
    let controls: Vec<_> = all().iter().map(|control| control.property).collect();
    Refusal::Unknown { field: field.to_owned(), controls: controls.join(", ") }
}

/// The value of the property of `control`: what the newest frame reports, or else what was set.
pub fn property(queue: &ControlQueue, control: &Control) -> glib::Value {
    to_property(control, queue.reported(control).or_else(|| queue.wanted(control)).as_ref())
}

/// Posts a warning for each refusal.
pub fn refuse_all(src: &SwsyncSrc, refusals: &[Refusal]) {
    for refusal in refusals {
        refuse(src, refusal);
    }
}

fn refuse(src: &SwsyncSrc, refusal: &Refusal) {
    let details = gst::Structure::builder(REFUSED)
        .field("control", refusal.property())
        .field("reason", refusal.to_string())
        .build();
    let error = glib::Error::new(gst::LibraryError::Settings, &refusal.to_string());
    let warning = gst::message::Warning::builder_from_error(error).details(details).src(src).build();
    // It fails without a bus, and then nobody listens.
    let _ = src.post_message(warning);
}

/// Posts a message for settings for a certain frame, once they are in effect or known not to be.
pub fn report(queue: &ControlQueue, src: &SwsyncSrc, frame: &FrameInfo) {
    for applied in queue.observe(frame) {
        say(src, &applied);
    }
}

fn say(src: &SwsyncSrc, applied: &Applied) {
    let Some(asked) = applied.asked.filter(|asked| *asked > 0) else {
        return;
    };
    let mut structure = gst::Structure::builder(CONTROLS)
        .field("asked-frame", asked)
        .field("in-effect", applied.first.is_some())
        .field_if_some("change", applied.change.as_ref().map(|change| change.as_str()))
        .build();
    if let Some(first) = applied.first {
        structure.set("frame-number", first);
    }
    for Setting { control, value } in &applied.settings {
        structure.set_value(control.property, to_field(control, value));
    }
    let message = gst::message::Element::builder(structure).src(src).build();
    let _ = src.post_message(message);
}
