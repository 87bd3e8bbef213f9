//! GStreamer's network clock: a `GstNetClientClock` that follows a `GstNetTimeProvider`.

use std::net::{Ipv4Addr, SocketAddr};

use crate::relay::Relay;
use anyhow::Context;
use gst::prelude::*;
use swsync_core::time::{Rig, Timestamp};

use super::following::{FollowingClock, MeasuredError, difference};

/// A provider, a relay in front of it, and a client.
pub struct GstNet {
    leader: gst::Clock,
    client: gst_net::NetClientClock,
    _provider: gst_net::NetTimeProvider,
    _relay: Relay,
}

impl GstNet {
    /// Follows its own leader, whose clock is `ppm` faster than the host's, through a relay that `start_relay` starts in front of it.
    ///
    /// # Errors
    /// GStreamer, the provider or the relay cannot be started.
    pub fn start(
        ppm: i32,
        start_relay: impl FnOnce(SocketAddr) -> anyhow::Result<Relay>,
    ) -> anyhow::Result<Self> {
        gst::init().context("cannot start GStreamer")?;
        let leader = gst::glib::Object::new::<gst::SystemClock>().upcast::<gst::Clock>();
        let now = leader.internal_time();
        let million = 1_000_000_u64;
        let rate = million.saturating_add_signed(ppm.into());
        leader.set_calibration(now, now, rate, million);
        let provider = gst_net::NetTimeProvider::new(&leader, Some("127.0.0.1"), 0)
            .context("cannot start a GstNetTimeProvider")?;
        let port = u16::try_from(provider.port()).context("the provider's port is none")?;
        let relay = start_relay(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
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

/// The time of a GStreamer clock as rig time.
fn time(clock: &impl IsA<gst::Clock>) -> Timestamp<Rig> {
    // 2^63 ns are 292 years.
    Timestamp::from_nanos(i64::try_from(clock.time().nseconds()).unwrap_or(i64::MAX))
}

impl FollowingClock for GstNet {
    fn name(&self) -> String {
        "GstNetClientClock".into()
    }

    fn read(&mut self) -> Option<MeasuredError> {
        if !self.client.is_synced() {
            return None;
        }
        let error = difference(|| time(&self.leader), || Some(time(&self.client)))?;
        Some(MeasuredError { error, uncertainty: None })
    }
}
