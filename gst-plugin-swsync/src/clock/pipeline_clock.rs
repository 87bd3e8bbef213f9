//! What to warn of when a pipeline plays on a clock that is not swsync's.
//!
//! A pipeline takes the clock of the provider that is furthest upstream; elements without links count as such. A
//! `swsyncclock` has no links, but a bin that it is in may have some: then another provider may win, and GStreamer says nothing.

use gst::glib;
use gst::prelude::*;

/// The outermost bin that `element` is in.
fn outermost(element: &gst::Element) -> gst::Element {
    let mut outermost = element.clone();
    while let Some(parent) = outermost.parent().and_downcast::<gst::Element>() {
        outermost = parent;
    }
    outermost
}

/// All elements of the pipeline of `element`. Not to be called under a lock: elements may come and go meanwhile.
pub fn all_around(element: &gst::Element) -> Vec<gst::Element> {
    let Ok(pipeline) = outermost(element).downcast::<gst::Bin>() else {
        return vec![element.clone()];
    };
    let mut all = Vec::new();
    let mut elements = pipeline.iterate_recurse();
    loop {
        match elements.next() {
            Ok(Some(element)) => all.push(element),
            Ok(None) | Err(gst::IteratorError::Error) => return all,
            Err(gst::IteratorError::Resync) => {
                all.clear();
                elements.resync();
            }
        }
    }
}

/// The warning of `element` that its pipeline plays on `other` rather than on the clock of `rig_clock`: which clock that is, and how to
/// set the right one.
pub fn warning(
    element: &gst::Element,
    other: Option<&gst::Clock>,
    rig_clock: &gst::Element,
) -> (String, String) {
    let rig_clock = rig_clock.name();
    let provides = |other: &gst::Clock| {
        let mut all = all_around(element).into_iter();
        all.find(|element| !element.is::<gst::Bin>() && element.provide_clock().as_ref() == Some(other))
    };
    let provider = other.and_then(provides);
    let runs = match (other, &provider) {
        (None, _) => "no clock at all".to_owned(),
        (Some(other), None) => format!("the clock {} ({})", other.name(), other.type_().name()),
        (Some(other), Some(provider)) => {
            format!("the clock {} ({}) of {}", other.name(), other.type_().name(), provider.name())
        }
    };
    let switch = provider.filter(can_refrain).map_or_else(String::new, |provider| {
        format!("Set provide-clock=false on {}, or in", provider.name())
    });
    let switch = if switch.is_empty() { "In".to_owned() } else { switch };
    (
        format!(
            "The pipeline plays on {runs}, not on rig time: its frames are not synchronized with other devices"
        ),
        format!(
            "{switch} the application: gst_pipeline_use_clock (pipeline, gst_element_provide_clock (element {rig_clock})), once that \
             element is READY"
        ),
    )
}

fn can_refrain(provider: &gst::Element) -> bool {
    provider.find_property("provide-clock").is_some_and(|property| property.value_type() == glib::Type::BOOL)
}
