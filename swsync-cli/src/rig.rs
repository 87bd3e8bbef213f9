//! The arguments that name a rig, and how a command connects to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use swsync_client::settings::{Origin, RigSettings, Setting, SettingsError};
use swsync_client::{PATIENCE, Rig, Session};
use swsync_core::name::Name;

/// Which rig, and how to reach it.
///
/// What is not given comes from the environment, then from the configuration file: [`swsync_client::settings`].
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Rig")]
pub struct RigArgs {
    /// Name of the rig. [env: SWSYNC_RIG, also for pipelines] [default: swsync]
    #[arg(long, value_name = "NAME")]
    pub rig: Option<Name>,
    /// A device (or Zenoh router) of the rig to connect to, as tcp/HOST:PORT; it leads to the others.
    /// Repeatable, or separated by commas. Without it (and --listen) devices are found by multicast.
    /// [env: SWSYNC_CONNECT, also for pipelines]
    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',')]
    pub connect: Vec<String>,
    /// Where to wait for devices that are set to connect to this host, as tcp/ADDRESS:PORT. Repeatable.
    /// (SWSYNC_LISTEN is where the device of this host waits: the command connects there.)
    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',')]
    pub listen: Vec<String>,
    /// File of the rig's key. [env: SWSYNC_KEY_FILE, also for pipelines]
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

impl RigArgs {
    /// All settings, and where each comes from.
    ///
    /// # Errors
    /// [`SettingsError`]: the configuration file is wrong, or the path of the key is no text.
    pub fn settings(&self) -> Result<RigSettings, SettingsError> {
        let mut settings = RigSettings::default();
        let mut add = |setting: Setting, value: String| {
            settings.add(setting, value, Origin::Given(format!("argument --{setting}")));
        };
        if let Some(rig) = &self.rig {
            add(Setting::Rig, rig.to_string());
        }
        for (setting, list) in [(Setting::Connect, &self.connect), (Setting::Listen, &self.listen)] {
            if !list.is_empty() {
                add(setting, list.join(","));
            }
        }
        if let Some(path) = &self.key_file {
            let path = path.to_str().ok_or(SettingsError::NotText("--key-file"))?;
            add(Setting::KeyFile, path.to_owned());
        }
        settings.add_surroundings()?;
        Ok(settings)
    }

    /// Connects to the rig.
    ///
    /// # Errors
    /// [`SettingsError`]; [`ControlError`](swsync_client::ControlError): there is no rig, or no device in it.
    pub fn connect(&self) -> anyhow::Result<Rig> {
        self.connect_within(None)
    }

    /// As [`connect`](Self::connect), but waits for devices as long as `patience`.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_within(&self, patience: Option<Duration>) -> anyhow::Result<Rig> {
        let config = self.settings()?.visitor_config()?;
        Ok(Rig::connect_within(&config, patience.unwrap_or_default().max(PATIENCE))?)
    }

    /// As [`connect`](Self::connect), for a command that needs the session itself.
    ///
    /// # Errors
    /// [`SettingsError`]; [`ControlError`](swsync_client::ControlError): there is no rig, or no device in it.
    pub fn visit(&self) -> anyhow::Result<Arc<Session>> {
        Ok(Arc::clone(self.connect()?.session()))
    }
}
