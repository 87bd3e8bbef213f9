//! The settings that other swsync elements of the pipeline have as properties.

use gst::prelude::*;
use swsync_rig::settings::{RigSettings, Setting};

use super::by_property;
use crate::clock::pipeline_clock::all_around;
use crate::swsyncclock::SwsyncClockElement;
use crate::swsyncgate::SwsyncGate;
use crate::swsyncsink::SwsyncSink;

/// A value that an element has as a property.
struct Given {
    element: gst::Element,
    value: String,
}

/// Whether an element takes part in the rig as a device: with an id of its own.
fn is_device(element: &gst::Element) -> bool {
    element.is::<SwsyncSink>() || element.is::<SwsyncGate>()
}

fn has_settings(element: &gst::Element) -> bool {
    is_device(element) || element.is::<SwsyncClockElement>()
}

/// Adds to `settings` of `element` what other elements of its pipeline give.
///
/// # Errors
/// Two elements differ in a setting that is the pipeline's.
pub fn add(settings: &mut RigSettings, element: &gst::Element) -> Result<(), gst::ErrorMessage> {
    let mut all: Vec<_> = all_around(element).into_iter().filter(has_settings).collect();
    // Errors name elements in the same order, whichever of them finds it.
    all.sort_by_key(|element| element.name());
    for setting in Setting::ALL.into_iter().filter(|setting| *setting != Setting::DeviceId) {
        let given = given(&all, setting);
        let Some(first) = given.first() else { continue };
        if let Some(other) = given.iter().find(|other| !setting.is_same(&first.value, &other.value)) {
            return Err(contradiction(setting, first, other));
        }
        settings.add(setting, &first.value, by_property(&first.element));
    }
    add_device_id(settings, element, &all)
}

fn given(elements: &[gst::Element], setting: Setting) -> Vec<Given> {
    let given = elements.iter().filter_map(|element| {
        let value = element.property::<Option<String>>(setting.name())?;
        Some(Given { element: element.clone(), value })
    });
    given.collect()
}

fn contradiction(setting: Setting, one: &Given, other: &Given) -> gst::ErrorMessage {
    let [a, b] = [one, other].map(|given| {
        let value = setting.shown(&given.value);
        format!("{}: {setting}={value}", given.element.name())
    });
    gst::error_msg!(
        gst::LibraryError::Settings,
        ("Two elements of one pipeline contradict each other: {a}; {b}"),
        ["Set `{setting}` on one of them: the others take it from there. Two rigs need two pipelines."]
    )
}

/// Each sink and gate is a device of its own, and several of them need different ids. So an id passes between `swsyncclock` and
/// devices, and never from device to device. `swsyncclock` takes that of a device if no other device has another.
fn add_device_id(
    settings: &mut RigSettings,
    element: &gst::Element,
    all: &[gst::Element],
) -> Result<(), gst::ErrorMessage> {
    let (devices, clocks): (Vec<_>, Vec<_>) = all.iter().cloned().partition(is_device);
    let [of_devices, of_clocks] = [devices, clocks].map(|elements| given(&elements, Setting::DeviceId));
    let differing = |given: &[Given]| given.iter().position(|other| other.value != given[0].value);
    if let Some(other) = differing(&of_clocks) {
        return Err(contradiction(Setting::DeviceId, &of_clocks[0], &of_clocks[other]));
    }
    let others = if is_device(element) { of_clocks } else { of_devices };
    if let Some(first) = others.first().filter(|_| differing(&others).is_none()) {
        settings.add(Setting::DeviceId, &first.value, by_property(&first.element));
    }
    Ok(())
}
