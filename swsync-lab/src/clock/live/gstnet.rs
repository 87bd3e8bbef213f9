//! GStreamer's own network clock: `GstNetClientClock` after a `GstNetTimeProvider`.

use std::net::{Ipv4Addr, SocketAddr};

use crate::relay::Relay;
use anyhow::Context;
use gst::prelude::*;
use swsync_core::time::{Rig, Timestamp};

use super::{ClockArgs, Follower, Reading, difference};

/// A provider, the relay before it, and the client behind.
pub struct GstNet {
    leader: gst::Clock,
    client: gst_net::NetClientClock,
    _provider: gst_net::NetTimeProvider,
    _relay: Relay,
}

impl GstNet {
    /// Follows a leader of its own, whose clock runs faster than the host's by `ppm`.
    ///
    /// # Errors
    /// Where GStreamer, the provider or the relay cannot be started.
    pub fn start(args: &ClockArgs, ppm: i32) -> anyhow::Result<Self> {
        gst::init().context("cannot start GStreamer")?;
        let leader = gst::glib::Object::new::<gst::SystemClock>().upcast::<gst::Clock>();
        let now = leader.internal_time();
        let million = 1_000_000_u64;
        let rate = million.saturating_add_signed(ppm.into());
        leader.set_calibration(now, now, rate, million);
        let provider = gst_net::NetTimeProvider::new(&leader, Some("127.0.0.1"), 0)
            .context("cannot start a GstNetTimeProvider")?;
        let port = u16::try_from(provider.port()).context("the provider's port is none")?;
        let relay = super::relay(args, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let through = relay.local_addr();
        let client = gst_net::NetClientClock::new(
            None,
            &through.ip().to_string(),
            through.port().into(),
            gst::ClockTime::ZERO,
        );
        Ok(Self { leader, client, _provider: provider, _relay: relay })
    }
}

/// What a GStreamer clock reads, as an instant of the leader's time.
fn time(clock: &impl IsA<gst::Clock>) -> Timestamp<Rig> {
    // 2^63 ns are 292 years.
    Timestamp::from_nanos(i64::try_from(clock.time().nseconds()).unwrap_or(i64::MAX))
}

impl Follower for GstNet {
    fn name(&self) -> String {
        "GstNetClientClock".into()
    }

    fn read(&mut self) -> Option<Reading> {
        if !self.client.is_synced() {
            return None;
        }
        let error = difference(|| time(&self.leader), || Some(time(&self.client)))?;
        Some(Reading { error, uncertainty: None })
    }
}
