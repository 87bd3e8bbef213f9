//! The arguments that name a rig, and how a command connects to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use swsync_core::name::Name;
use swsync_rig::key_file::{self, KeyFileError};
use swsync_rig::{ControlError, DEFAULT_RIG, RigConfig, Session};

/// How long to look for a rig. Multicast scouting repeats after a second, and busy WiFi may lose the first packet.
const PATIENCE: Duration = Duration::from_secs(3);

/// Which rig, and how to reach it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Rig")]
pub struct RigArgs {
    /// Name of the rig; for pipelines too, where SWSYNC_RIG is set.
    #[arg(long, value_name = "NAME", env = "SWSYNC_RIG", default_value = DEFAULT_RIG)]
    pub rig: Name,
    /// A device (or Zenoh router) of the rig to connect to, as tcp/HOST:PORT; it leads to the others.
    /// Repeatable, or separated by commas. Without it (and --listen) devices are found by multicast.
    #[arg(long, value_name = "ENDPOINT", env = "SWSYNC_CONNECT", value_delimiter = ',')]
    pub connect: Vec<String>,
    /// Where to wait for devices that are set to connect to this host, as tcp/ADDRESS:PORT. Repeatable.
    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',')]
    pub listen: Vec<String>,
    /// The file with the rig's key (`swsync key new`). Without it only an open rig can be reached.
    #[arg(long, value_name = "FILE", env = "SWSYNC_KEY_FILE")]
    pub key_file: Option<PathBuf>,
}

impl RigArgs {
    /// The rig's configuration.
    ///
    /// # Errors
    /// The key file cannot be used.
    pub fn config(&self) -> Result<RigConfig, KeyFileError> {
        // An environment variable that is set but empty means "none".
        let given = |list: &[String]| list.iter().filter(|item| !item.is_empty()).cloned().collect();
        let key_file = self.key_file.as_ref().filter(|path| !path.as_os_str().is_empty());
        let key = key_file.map(key_file::read).transpose()?;
        Ok(RigConfig::new(self.rig.clone(), given(&self.listen), given(&self.connect)).with_key(key))
    }

    /// Connects to the rig.
    ///
    /// # Errors
    /// [`ControlError`]: there is no rig, or no device in it, or the key file cannot be used.
    pub fn visit(&self) -> Result<Arc<Session>, ControlError> {
        self.visit_for(None)
    }

    /// As [`visit`](Self::visit), but waits for devices as long as `patience`.
    ///
    /// # Errors
    /// As [`visit`](Self::visit).
    pub fn visit_for(&self, patience: Option<Duration>) -> Result<Arc<Session>, ControlError> {
        Session::visit(&self.config()?, patience.unwrap_or_default().max(PATIENCE))
    }
}
