//! The configuration of a device's service: `/etc/swsync/device.d/NAME.conf`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;

/// Where the configurations are.
pub const FOLDER: &str = "/etc/swsync/device.d";

/// A configuration, in TOML.
///
/// ```
/// let config: swsync_device::config::DeviceConfig = swsync_device::config::parse(r#"
/// pipeline = "swsyncclock swsyncsrc ! videoconvert ! jpegenc ! swsyncsink location=/var/lib/swsync/takes"
/// stop-timeout = "20s"
/// "#).unwrap();
/// assert_eq!(config.stop_timeout.as_secs(), 20);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DeviceConfig {
    /// The pipeline, as gst-launch-1.0 has it. Lines may be broken anywhere between words.
    pub pipeline: String,
    /// How long files may take to end once the service is to stop. Later they are left as after a power cut, from which the next start recovers them.
    #[serde(default = "stop_timeout", deserialize_with = "duration")]
    pub stop_timeout: Duration,
}

const fn stop_timeout() -> Duration {
    Duration::from_secs(20)
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|error| serde::de::Error::custom(format!("`{text}`: {error}; write 20s or 1m")))
}

/// The file of a configuration: a path as it is, or the name of one in [`FOLDER`].
#[must_use]
pub fn file(name: &str) -> PathBuf {
    if name.contains('/') { name.into() } else { Path::new(FOLDER).join(format!("{name}.conf")) }
}

/// # Errors
/// The text is no configuration: which line, and why.
pub fn parse(text: &str) -> anyhow::Result<DeviceConfig> {
    let config: DeviceConfig = toml::from_str(text)?;
    if config.pipeline.trim().is_empty() {
        bail!("`pipeline` is empty: write there what gst-launch-1.0 would be given");
    }
    Ok(config)
}

/// # Errors
/// The file is not there, or is no configuration.
pub fn read(path: &Path) -> anyhow::Result<DeviceConfig> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read (`swsync install-device` writes one)", path.display()))?;
    parse(&text).with_context(|| format!("{} is no configuration of a device", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_of_the_folder() {
        assert_eq!(file("left"), Path::new("/etc/swsync/device.d/left.conf"));
        assert_eq!(file("./left.conf"), Path::new("./left.conf"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let why = |text: &str| format!("{:#}", parse(text).unwrap_err());
        assert!(why("").contains("missing field `pipeline`"), "{}", why(""));
        assert!(why("pipeline = ' '").contains("gst-launch-1.0"));
        assert!(why("pipeline = 'a'\npipelines = 'b'").contains("unknown field `pipelines`"));
        assert!(why("pipeline = 'a'\nstop-timeout = '20'").contains("write 20s"));
        assert!(why("pipeline = 'a").contains("line 1"), "{}", why("pipeline = 'a"));
        let why = format!("{:#}", read(Path::new("/nonexistent/x.conf")).unwrap_err());
        assert!(why.contains("/nonexistent/x.conf") && why.contains("install-device"), "{why}");
    }
}
