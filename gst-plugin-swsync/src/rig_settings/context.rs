//! The GstContext `swsync.rig`: the settings that an application gives to a pipeline, or to all of its pipelines.
//!
//! Its structure has a text field for each setting, named as the property: `rig`, `connect`, `listen`, `key-file`, `device-id`,
//! `path-offset`. A //! context is found as GStreamer's elements find them: on the element itself, from elements downstream and upstream, and at last by
//! NEED_CONTEXT, which a bin answers or the application's sync handler.
//!
//! ```python
//! context = Gst.Context.new("swsync.rig", True)
//! context.writable_structure().set_value("rig", "stage")
//! pipeline.set_context(context)
//! ```

use gst::prelude::*;
use swsync_rig::settings::{Origin, RigSettings, Setting};

/// The context's type.
pub const CONTEXT: &str = "swsync.rig";

/// Adds to `settings` of `element` what the application's context says.
///
/// # Errors
/// A field of the context is no text.
pub fn add(settings: &mut RigSettings, element: &gst::Element) -> Result<(), gst::ErrorMessage> {
    let Some(context) = find(element) else { return Ok(()) };
    let structure = context.structure();
    for (name, value) in structure.iter() {
        let Some(setting) = Setting::of_name(name) else {
            return Err(wrong(
                name,
                "is no setting; there are rig, connect, listen, key-file, device-id and path-offset",
            ));
        };
        let Ok(value) = value.get::<Option<String>>() else {
            return Err(wrong(name, "has to be a text"));
        };
        if let Some(value) = value {
            settings.add(setting, value, Origin::Given(format!("GstContext {CONTEXT}")));
        }
    }
    Ok(())
}

fn wrong(field: &str, why: &str) -> gst::ErrorMessage {
    gst::error_msg!(gst::LibraryError::Settings, ("GstContext {CONTEXT}: field {field} {why}"))
}

/// The context that holds for `element`.
fn find(element: &gst::Element) -> Option<gst::Context> {
    let known = || element.context(CONTEXT);
    known().or_else(|| ask_neighbours(element)).or_else(|| {
        let message = gst::message::NeedContext::builder(CONTEXT).src(element).build();
        // Fails only without a bus: then nobody answers. The answer is set on the element before this returns.
        let _ = element.post_message(message);
        known()
    })
}

/// Asks downstream, then upstream.
fn ask_neighbours(element: &gst::Element) -> Option<gst::Context> {
    let ask = |pad: &gst::Pad| {
        let mut query = gst::query::Context::new(CONTEXT);
        pad.peer_query(&mut query).then(|| query.context_owned()).flatten()
    };
    let (downstream, upstream) = (element.src_pads(), element.sink_pads());
    let found = downstream.iter().chain(&upstream).find_map(ask)?;
    element.set_context(&found);
    Some(found)
}

/// Answers a neighbour's query, if it is for this context and `element` has it. `false`: it is for somebody else.
pub fn answer(element: &impl IsA<gst::Element>, query: &mut gst::QueryRef) -> bool {
    let gst::QueryViewMut::Context(query) = query.view_mut() else { return false };
    if query.context_type() != CONTEXT {
        return false;
    }
    let Some(context) = element.as_ref().context(CONTEXT) else { return false };
    query.set_context(&context);
    true
}
