//! The settings of a client.

use crate::estimate::EstimatorConfig;
use crate::ntp::Key;
use crate::time::{Skew, Span};

/// The settings of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientConfig {
    /// The estimator.
    pub estimator: EstimatorConfig,
    /// Exchanges of the first burst, before the clock counts as synced; fewer if the estimator settles earlier. The paper's K.
    pub burst: u32,
    /// Bound of the clock's rate on top of the estimated skew.
    pub max_slew: Skew,
    /// The servo steps over a larger error even if readers rely on the clock.
    pub step_threshold: Span,
    /// A clock with a larger uncertainty (1 sigma) is not synced.
    pub max_uncertainty: Span,
    /// The uncertainty to keep: polls become rarer as long as it is kept.
    pub accuracy: Span,
    /// Shortest poll interval after the burst.
    pub fastest_poll: Span,
    /// Longest poll interval.
    pub slowest_poll: Span,
    /// Whether to use interleaved mode if the server supports it.
    pub interleaved: bool,
    /// [`rig_id`](crate::ntp::rig_id) of the rig: servers of other rigs are not followed. 0: any rig.
    pub rig: u64,
    /// This device's id ([`Identity::device`](super::super::Identity::device)), so that it does not follow itself. 0: it does
    /// not serve.
    pub device: u64,
    /// The key that authenticates requests and responses.
    pub key: Option<Key>,
    /// Half of what this device's send latency has above its receive latency: by so much its rig time would be ahead if it followed
    /// a server without latencies. It is taken off the offset to the server. The server corrects its own part
    /// ([`ServerConfig::path_offset`](super::super::ServerConfig::path_offset)).
    pub path_offset: Span,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            estimator: EstimatorConfig::default(),
            burst: 300,
            max_slew: Skew::from_ratio(500e-6),
            step_threshold: Span::from_millis(10),
            // A third of a frame at 30 frames/s: beyond it two devices may give one number to two instants. Over the
            // paper's WiFi the uncertainty is some 0.1 ms at the end of the burst.
            max_uncertainty: Span::from_millis(10),
            accuracy: Span::from_micros(10),
            fastest_poll: Span::from_millis(125),
            slowest_poll: Span::from_secs(4),
            interleaved: true,
            rig: 0,
            device: 0,
            key: None,
            path_offset: Span::ZERO,
        }
    }
}
