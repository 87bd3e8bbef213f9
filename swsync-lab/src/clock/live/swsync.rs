//! swsync's leader and client.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use swsync_core::time::Skew;
use swsync_core::time_service::{ClientConfig, ServerConfig};
use swsync_sim::oscillator::OscillatorConfig;
use swsync_time::{Authority, TimeLeader, TimeLeaderConfig, TimeNode, new_identity};
use swsync_time::{DeviceClock, RigClock};

use super::following::{FollowingClock, MeasuredError, difference};

/// The leader that swsync and chrony follow.
pub struct Leader {
    service: TimeLeader,
    clock: Arc<RigClock>,
}

impl Leader {
    /// A leader on loopback, whose clock is faster than the host's by `skew`.
    ///
    /// # Errors
    /// Its socket cannot be opened.
    pub fn start(skew: Skew) -> anyhow::Result<Self> {
        let device = DeviceClock::simulated(OscillatorConfig { skew, ..OscillatorConfig::default() });
        let clock = Arc::new(RigClock::new(Arc::new(device)));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = TimeLeaderConfig {
            address,
            authority: Authority::Own,
            identity: new_identity("lab"),
            server: ServerConfig::default(),
        };
        let service = TimeLeader::start(config, clock.clone()).context("cannot start a leader")?;
        Ok(Self { service, clock })
    }

    /// The address that it serves time at.
    pub fn address(&self) -> SocketAddr {
        self.service.local_addr()
    }

    /// Its rig clock.
    pub fn clock(&self) -> &Arc<RigClock> {
        &self.clock
    }
}

/// A client on the host's clock.
pub struct Client {
    _node: TimeNode,
    clock: Arc<RigClock>,
    leader: Arc<RigClock>,
}

impl Client {
    /// Follows the leader at `address`, whose clock is `leader`.
    ///
    /// # Errors
    /// Its threads cannot be started.
    pub fn start(address: SocketAddr, leader: &Arc<RigClock>) -> anyhow::Result<Self> {
        let clock = Arc::new(RigClock::new(Arc::new(DeviceClock::real())));
        let node =
            TimeNode::follow(vec![address.to_string()], ClientConfig::default(), clock.clone(), |_event| {})
                .context("cannot start a client")?;
        Ok(Self { _node: node, clock, leader: leader.clone() })
    }
}

impl FollowingClock for Client {
    fn name(&self) -> String {
        "swsync".into()
    }

    fn read(&mut self) -> Option<MeasuredError> {
        if !self.clock.quality().knows_rig_time() {
            return None;
        }
        let error = difference(|| self.leader.now(), || Some(self.clock.now()))?;
        Some(MeasuredError { error, uncertainty: self.clock.status().uncertainty_ns })
    }
}
