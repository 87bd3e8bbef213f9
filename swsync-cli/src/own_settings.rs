//! Writes what was measured of this host's own device into its configuration file.

use std::path::PathBuf;

use swsync_client::settings::{Origin, RigSettings, Setting};
use swsync_core::name::DeviceId;
use swsync_core::time::Span;

use crate::error_report::failure;

/// The device that this host is, by environment and configuration file.
///
/// # Errors
/// They cannot be used.
pub fn device() -> anyhow::Result<DeviceId> {
    Ok(surroundings()?.device()?)
}

/// Keeps the path offset of this host's device. Returns the file's path.
///
/// # Errors
/// The environment has another one, which would count first; or the file cannot be used or written.
pub fn keep_path_offset(offset: Span) -> anyhow::Result<PathBuf> {
    let origin = surroundings()?.origin(Setting::PathOffset);
    if let Origin::Environment(name) = origin {
        return Err(failure(
            format!("the path offset of this host is set by its {origin}, which counts before the file"),
            format!("change or unset {name}"),
        ));
    }
    Ok(RigSettings::keep_path_offset(offset)?)
}

fn surroundings() -> anyhow::Result<RigSettings> {
    let mut settings = RigSettings::default();
    settings.add_surroundings()?;
    Ok(settings)
}
