//! The properties that concern the rig, which `swsyncclock`, `swsyncsink` and `swsyncgate` have in common: `rig`, `connect`, `listen`,
//! `key-file`, `device-id` and `path-offset`. Set on one of them, they hold for the others of the pipeline.
//!
//! On its way to PAUSED (`swsyncsink` to READY, and again to PAUSED) an element looks for each setting by itself, and takes the first of
//!
//! 1. its own property
//! 2. the property of another swsync element of the pipeline ([`around`])
//! 3. the GstContext `swsync.rig` ([`context`]), by which an application sets all pipelines, or a whole pipeline, at once
//! 4. environment and configuration file ([`swsync_rig::settings`])
//! 5. the default
//!
//! # Why elements read each other's properties
//! A GstContext that one element posts (HAVE_CONTEXT) reaches only elements that change state later, is kept by each bin apart, and never
//! replaces one of the application's. The element that has a property may be the last to change state, may sit in another bin, and its
//! property may change in READY. And a context that a bin keeps hides NEED_CONTEXT from the application, which may have different
//! answers for two devices. So elements look at the properties of the whole pipeline, whatever state it is in: that is right in any
//! order. A context comes from the application only, and no element changes or posts one.

mod around;
mod context;

use std::collections::BTreeMap;

use gst::glib;
use gst::prelude::*;
use swsync_rig::key_file::KeyFileError;
use swsync_rig::settings::{Origin, RigSettings, Setting, SettingsError};

pub use context::answer as answer_context_query;

/// Name of the structure in the property `rig-settings`.
const STRUCTURE: &str = "application/x-swsync-rig-settings";

/// The properties of an element, and what came of them.
#[derive(Debug, Clone, Default)]
pub struct RigProperties {
    /// Those that are set.
    given: BTreeMap<Setting, String>,
    /// What they and all else came to when the element was last started.
    resolved: Option<RigSettings>,
}

impl RigProperties {
    /// The ParamSpecs.
    pub fn properties() -> Vec<glib::ParamSpec> {
        let mut properties: Vec<_> = Setting::ALL.into_iter().map(param_spec).collect();
        properties.push(
            glib::ParamSpecBoxed::builder::<gst::Structure>("rig-settings")
                .nick("Rig settings")
                .blurb("Which rig the element was last started with and why: rig, connect, listen, key-file, device-id and path-offset, and where each comes from, in fields rig-from, connect-from and so on")
                .read_only()
                .build(),
        );
        properties
    }

    /// Sets a property; `false` if it is none of these.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        let Some(setting) = Setting::of_name(name) else { return false };
        match value.get::<Option<String>>().expect("checked by GObject") {
            Some(value) => drop(self.given.insert(setting, value)),
            None => drop(self.given.remove(&setting)),
        }
        true
    }

    /// A property; `None` if it is none of these.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        if name == "rig-settings" {
            return Some(self.resolved.as_ref().map(structure).to_value());
        }
        Setting::of_name(name).map(|setting| self.given.get(&setting).to_value())
    }

    /// Finds all settings of `element`, which has these properties. Says in the log where they come from.
    ///
    /// Not to be called under a lock: it reads properties of other elements, and asks the application.
    pub fn resolve(
        &self,
        element: &gst::Element,
        category: gst::DebugCategory,
    ) -> Result<RigSettings, gst::ErrorMessage> {
        let mut settings = RigSettings::default();
        for (setting, value) in &self.given {
            settings.add(*setting, value, by_property(element));
        }
        around::add(&mut settings, element)?;
        context::add(&mut settings, element)?;
        settings.add_surroundings().map_err(|error| settings_error(&error))?;
        gst::info!(category, obj = element, "{}", settings.describe());
        settings.config().map_err(|error| settings_error(&error))?;
        if settings.value(Setting::DeviceId).is_some() {
            settings.device().map_err(|error| settings_error(&error))?;
        }
        settings.path_offset().map_err(|error| settings_error(&error))?;
        Ok(settings)
    }

    /// Whether the element was started with other values than `now`.
    pub fn has_changed(&self, now: &RigSettings) -> bool {
        self.resolved.as_ref().is_some_and(|resolved| !resolved.has_values_of(now))
    }

    /// Keeps what [`resolve`](Self::resolve) found, for the property `rig-settings`.
    pub fn keep(&mut self, resolved: RigSettings) {
        self.resolved = Some(resolved);
    }
}

fn param_spec(setting: Setting) -> glib::ParamSpec {
    let (nick, blurb) = match setting {
        Setting::Rig => (
            "Rig",
            "Name of the rig. Set on one swsync element of a pipeline, it holds for all of them; if not set: GstContext swsync.rig, else SWSYNC_RIG, else config.toml, else swsync",
        ),
        Setting::Connect => (
            "Connect",
            "Zenoh endpoints of other devices to connect to, separated by commas, e.g. tcp/pi0.local:7447; one device leads to all. Holds for the whole pipeline; if not set: GstContext swsync.rig, else SWSYNC_CONNECT, else config.toml",
        ),
        Setting::Listen => (
            "Listen",
            "Zenoh endpoints where other devices can connect, separated by commas, e.g. tcp/0.0.0.0:7447; with neither this nor `connect`, devices find each other by multicast. Holds for the whole pipeline; if not set: GstContext swsync.rig, else SWSYNC_LISTEN, else config.toml",
        ),
        Setting::KeyFile => (
            "Key file",
            "File of the rig's key, as `swsync key new` makes it, or of NTP keys as chrony has them (lines of ID TYPE SECRET), which protect the time alone. Holds for the whole pipeline; if not set: GstContext swsync.rig, else SWSYNC_KEY_FILE, else config.toml",
        ),
        Setting::DeviceId => (
            "Device id",
            "This device's id, unique in the rig. Set on swsyncclock it holds for the pipeline's sink or gate, and the other way round, unless there are several; if not set: GstContext swsync.rig, else SWSYNC_DEVICE_ID, else config.toml, else the host's name",
        ),
        Setting::PathOffset => (
            "Path offset",
            "What swsyncclock takes off for this device's own path, half of what its send latency has above its receive latency, as swsync measure finds it: a time with its sign, like -41.5us; a number alone counts nanoseconds. Holds for the whole pipeline; if not set: GstContext swsync.rig, else SWSYNC_PATH_OFFSET, else config.toml, else 0",
        ),
    };
    glib::ParamSpecString::builder(setting.name()).nick(nick).blurb(blurb).mutable_ready().build()
}

/// The origin of a property of `element`.
fn by_property(element: &gst::Element) -> Origin {
    Origin::Given(format!("property of {}", element.name()))
}

/// The settings as applications read them.
fn structure(settings: &RigSettings) -> gst::Structure {
    let mut structure = gst::Structure::new_empty(STRUCTURE);
    for setting in Setting::ALL {
        structure.set(setting.name(), settings.shown(setting));
        structure.set(format!("{setting}-from"), settings.origin(setting).to_string());
    }
    structure
}

/// The error as the bus has it.
pub fn settings_error(error: &SettingsError) -> gst::ErrorMessage {
    match error {
        SettingsError::Unreadable { .. } | SettingsError::Key { source: KeyFileError::Read { .. }, .. } => {
            gst::error_msg!(gst::ResourceError::OpenRead, ("{error}"))
        }
        _ => gst::error_msg!(gst::LibraryError::Settings, ("{error}")),
    }
}
