//! Errors of the control plane. Their texts say what to do.

use std::time::Duration;

use swsync_core::name::{DeviceId, Name};

use crate::Search;
use crate::config::shown;
use crate::key_file::KeyFileError;
use crate::settings::endpoint_without_secrets;

const WRITE_ENDPOINT: &str = "write tcp/HOST:PORT, for example tcp/192.168.1.20:7447";
const FREE_PORT: &str = "does another pipeline, or another program, use that port?";
const CHECK_LISTEN: &str =
    "is a device of the rig running there with its `listen` at that port, and can this host reach it?";
const START_PIPELINE: &str = "is a pipeline with swsyncsink running, is the rig's name right, and does the network pass multicast \
     (many WiFi access points do not)? To go without multicast, give one device a fixed port with \
     `listen=tcp/0.0.0.0:7447` and name it here: `--connect tcp/HOST:7447`";
const OWN_ID: &str = "give each its own `device-id` (hosts installed from one image have one host name until they are renamed)";
const OTHER_ID: &str = "give each another `device-id`";
const OPEN_SESSION: &str = "try again; if it fails again, -vv shows what the network library does";

/// Why the control plane cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// A malformed address.
    #[error("{:?} is not an endpoint: {why}; {WRITE_ENDPOINT}", endpoint_without_secrets(endpoint))]
    Endpoint {
        /// The address as given.
        endpoint: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An address that cannot be listened at.
    #[error("cannot listen at {}: {source}; {FREE_PORT}", endpoint_without_secrets(endpoint))]
    Listen {
        /// The address as given.
        endpoint: String,
        /// The error of the system.
        source: std::io::Error,
    },
    /// There is something, but with a key where this side has none, or the other way round.
    #[error("no device of rig \"{rig}\" answers within {waited:?}: {hint}")]
    Key {
        /// The rig's name.
        rig: Name,
        /// What is there, and what to do.
        hint: String,
        /// How long it was tried.
        waited: Duration,
    },
    /// The file with the rig's key cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// None of the given addresses answers.
    #[error(
        "nothing answers at {} within {waited:?}: {CHECK_LISTEN}{}", shown(endpoints),
        failure.as_ref().map(|failure| format!(" (At the last attempt: {failure})")).unwrap_or_default()
    )]
    Connect {
        /// The addresses tried.
        endpoints: Vec<String>,
        /// Why an address that accepts connections is no hub of the rig.
        failure: Option<String>,
        /// How long it was tried.
        waited: Duration,
    },
    /// The network is there, but no device of the rig.
    #[error("no device of rig \"{rig}\" was found by {search} within {waited:?}: {START_PIPELINE}")]
    NobodyThere {
        /// The rig's name.
        rig: Name,
        /// How they were looked for.
        search: Search,
        /// How long it was tried.
        waited: Duration,
    },
    /// Another device of the rig has this id.
    #[error("another device of rig \"{rig}\" calls itself \"{device}\" already ({place}): {OWN_ID}")]
    DuplicateDevice {
        /// The id.
        device: DeviceId,
        /// The rig's name.
        rig: Name,
        /// Where the other device runs, for a person.
        place: String,
    },
    /// A device of the rig has an id that differs from this one's in case only.
    #[error(
        "a device of rig \"{rig}\" is called \"{other}\", and this one \"{device}\": on many disks upper and lower case are \
         one, so that both would write to one folder; {OTHER_ID}"
    )]
    AlikeDevice {
        /// The id.
        device: DeviceId,
        /// The id of the other device.
        other: DeviceId,
        /// The rig's name.
        rig: Name,
    },
    /// Zenoh fails.
    #[error("could not {doing}: {source}; {OPEN_SESSION}")]
    Zenoh {
        /// What was tried.
        doing: &'static str,
        /// The error of Zenoh.
        source: zenoh::Error,
    },
}

impl ControlError {
    /// What to do about it, as its text says too.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Endpoint { .. } => WRITE_ENDPOINT.into(),
            Self::Listen { .. } => FREE_PORT.into(),
            Self::Key { hint, .. } => hint.clone(),
            Self::KeyFile(error) => error.remedy(),
            Self::Connect { .. } => CHECK_LISTEN.into(),
            Self::NobodyThere { .. } => START_PIPELINE.into(),
            Self::DuplicateDevice { .. } => OWN_ID.into(),
            Self::AlikeDevice { .. } => OTHER_ID.into(),
            Self::Zenoh { .. } => OPEN_SESSION.into(),
        }
    }

    pub(crate) const fn zenoh(doing: &'static str, source: zenoh::Error) -> Self {
        Self::Zenoh { doing, source }
    }
}
