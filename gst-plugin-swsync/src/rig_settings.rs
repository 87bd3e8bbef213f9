//! The properties `rig`, `listen` and `connect` of `swsyncclock`, `swsyncsink` and `swsyncgate`: where a rig is found.

use gst::glib;
use gst::prelude::*;
use swsync_core::name::Name;
use swsync_rig::{DEFAULT_RIG, RigConfig};

/// A copy is taken on the way to PAUSED.
#[derive(Debug, Clone)]
pub struct RigSettings {
    pub rig: String,
    pub listen: Option<String>,
    pub connect: Option<String>,
}

impl Default for RigSettings {
    fn default() -> Self {
        Self { rig: DEFAULT_RIG.into(), listen: None, connect: None }
    }
}

impl RigSettings {
    /// Sets a property; `false` if it is none of these.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        let text = || value.get::<Option<String>>().expect("checked by GObject");
        match name {
            "rig" => self.rig = text().unwrap_or_else(|| DEFAULT_RIG.into()),
            "listen" => self.listen = text(),
            "connect" => self.connect = text(),
            _ => return false,
        }
        true
    }

    /// A property; `None` if it is none of these.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "rig" => self.rig.to_value(),
            "listen" => self.listen.to_value(),
            "connect" => self.connect.to_value(),
            _ => return None,
        })
    }

    pub fn config(&self) -> Result<RigConfig, gst::ErrorMessage> {
        let rig = Name::new(self.rig.clone())
            .map_err(|error| gst::error_msg!(gst::LibraryError::Settings, ("rig: {error}")))?;
        let (listen, connect) = (comma_list(self.listen.as_deref()), comma_list(self.connect.as_deref()));
        Ok(RigConfig::new(rig, listen, connect))
    }
}

/// The items of a property that lists them, separated by commas.
pub fn comma_list(text: Option<&str>) -> Vec<String> {
    let items = text.unwrap_or_default().split(',').map(str::trim);
    items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
