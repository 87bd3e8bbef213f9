//! GStreamer's own time server, for plain GstNetClientClock users. It answers once the clock is synced.

use std::net::UdpSocket;

use gst_net::NetTimeProvider;

use super::settings::Settings;
use crate::clock::SwsyncClock;

/// A provider of `clock`, not yet active; `None` if the settings want none.
pub fn net_time_provider(
    settings: &Settings,
    clock: &SwsyncClock,
) -> Result<Option<NetTimeProvider>, gst::ErrorMessage> {
    let port = settings.net_time_provider;
    if port == 0 {
        return Ok(None);
    }
    let ip = settings.ip()?;
    let refuse = |why: &dyn std::fmt::Display| {
        gst::error_msg!(
            gst::ResourceError::OpenReadWrite,
            ("net-time-provider={port}: UDP port {port} of {ip} cannot be opened: {why}"),
            ["Does something else serve there? Choose another port."]
        )
    };
    // GStreamer shares a port with others that share it, and then only one of them is asked.
    UdpSocket::bind((ip, port)).map_err(|error| refuse(&error))?;
    let provider = NetTimeProvider::new(clock, Some(&ip.to_string()), i32::from(port))
        .map_err(|error| refuse(&error))?;
    provider.set_active(false);
    Ok(Some(provider))
}
