//! The properties of `swsyncclock` that can be set; those that are read only are in `status.rs`.

use gst::glib;
use gst::prelude::*;
use swsync_time::DEFAULT_PORT;

use super::settings::{
    DEFAULT_ACCURACY, DEFAULT_BIND, DEFAULT_BURST, DEFAULT_KEY_ID, DEFAULT_MAX_CLIENTS, DEFAULT_MAX_SLEW_PPM,
    DEFAULT_MAX_UNCERTAINTY, DEFAULT_PRIORITY, DEFAULT_STEP_THRESHOLD, DEFAULT_SYNC_TIMEOUT,
};
use super::{Estimator, Role, Source};
use crate::rig_settings::RigProperties;

pub fn properties() -> Vec<glib::ParamSpec> {
    let mut properties = source_properties();
    properties.extend(network_properties());
    properties.extend(rig_properties());
    properties.extend(sync_properties());
    properties.extend(estimate_properties());
    properties.extend(key_properties());
    properties
}

fn text(name: &'static str, nick: &str, blurb: &str, default: Option<&str>) -> glib::ParamSpec {
    glib::ParamSpecString::builder(name)
        .nick(nick)
        .blurb(blurb)
        .default_value(default)
        .mutable_ready()
        .build()
}

fn number(
    name: &'static str,
    nick: &str,
    blurb: &str,
    range: std::ops::RangeInclusive<u32>,
    default: u32,
) -> glib::ParamSpec {
    glib::ParamSpecUInt::builder(name)
        .nick(nick)
        .blurb(blurb)
        .minimum(*range.start())
        .maximum(*range.end())
        .default_value(default)
        .mutable_ready()
        .build()
}

/// A property in nanoseconds.
fn time(name: &'static str, nick: &str, blurb: &str, default: gst::ClockTime) -> glib::ParamSpec {
    glib::ParamSpecUInt64::builder(name)
        .nick(nick)
        .blurb(blurb)
        .maximum(i64::MAX.unsigned_abs())
        .default_value(default.nseconds())
        .mutable_ready()
        .build()
}

fn flag(name: &'static str, nick: &str, blurb: &str, default: bool) -> glib::ParamSpec {
    glib::ParamSpecBoolean::builder(name)
        .nick(nick)
        .blurb(blurb)
        .default_value(default)
        .mutable_ready()
        .build()
}

fn source_properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecEnum::builder::<Role>("role")
            .nick("Role")
            .blurb("Whether this device may lead the rig, which then has its time: auto (it is elected by `priority`), leader (before all others), client (never)")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder::<Source>("source")
            .nick("Source")
            .blurb("Where time comes from: a client follows it, a leader defines rig time by it (rig: its own clock)")
            .mutable_ready()
            .build(),
        text(
            "leader",
            "Leader",
            "Where the time server is, host[:port], several separated by commas are tried in turn; if not set, source=rig finds the servers in the rig. role=leader does not need it",
            None,
        ),
        number(
            "priority",
            "Priority",
            "Who leads the rig: the device with the least number, which takes over from one with a larger number; role=leader counts as 0",
            0..=255,
            u32::from(DEFAULT_PRIORITY),
        ),
        number("ptp-domain", "PTP domain", "PTP domain to follow with source=ptp", 0..=255, 0),
        text(
            "ptp-interfaces",
            "PTP interfaces",
            "Network interfaces of source=ptp, separated by commas; all of them if not set. One choice per process: the first counts",
            None,
        ),
    ]
}

fn network_properties() -> Vec<glib::ParamSpec> {
    vec![
        text(
            "bind-address",
            "Bind address",
            "IP address of the interface on which time is served; 0.0.0.0 is all of IPv4, :: all of IPv6 and IPv4",
            Some(DEFAULT_BIND),
        ),
        number(
            "port",
            "Port",
            "UDP port on which this device serves time; 0 is any free one. If it is taken, only role=leader fails: the others take any",
            0..=65_535,
            u32::from(DEFAULT_PORT),
        ),
        number(
            "max-clients",
            "Most clients",
            "Most devices that ask this one for the time: further ones are sent to others that know it",
            1..=100_000,
            DEFAULT_MAX_CLIENTS,
        ),
        text(
            "dashboard",
            "Dashboard",
            "Serve the rig's page and HTTP API at this address, as IP:port, while the element runs: the program swsync-dashboard is started for it. On one device is enough, whoever leads. 0.0.0.0:8080 lets phones open it; the address with its token is on standard error. Not set: no page",
            None,
        ),
        number(
            "net-time-provider",
            "Net time provider",
            "UDP port on which this clock is offered to plain GstNetClientClock users besides; 0 is off",
            0..=65_535,
            0,
        ),
    ]
}

fn rig_properties() -> Vec<glib::ParamSpec> {
    let mut properties = RigProperties::properties();
    properties.push(flag(
        "announce",
        "Announce",
        "Whether a device that can lead finds the others in the rig, and is found; one on loopback only if `listen` or `connect` is set",
        true,
    ));
    properties
}

fn sync_properties() -> Vec<glib::ParamSpec> {
    vec![
        flag(
            "wait-sync",
            "Wait for sync",
            "Whether PAUSED is reached only when the clock is synced; if not, the application waits, with gst_clock_wait_for_sync or for the message",
            true,
        ),
        time(
            "sync-timeout",
            "Sync timeout",
            "Longest wait for synchronization on the way to PAUSED before failing, in nanoseconds",
            DEFAULT_SYNC_TIMEOUT,
        ),
        number(
            "max-slew-ppm",
            "Maximum slew",
            "Bound of the rate at which the synced clock is corrected, in parts per million",
            1..=100_000,
            DEFAULT_MAX_SLEW_PPM,
        ),
        time(
            "step-threshold",
            "Step threshold",
            "Error from which the synced clock is stepped rather than slewed, in nanoseconds; 0 never steps",
            DEFAULT_STEP_THRESHOLD,
        ),
        time(
            "max-uncertainty",
            "Most uncertainty",
            "A clock whose error may be larger (1 sigma) is not synced, in nanoseconds",
            DEFAULT_MAX_UNCERTAINTY,
        ),
    ]
}

fn estimate_properties() -> Vec<glib::ParamSpec> {
    vec![
        number(
            "burst",
            "Burst",
            "Exchanges with the leader before the clock counts as synced (the paper's K); 8 at most with source=ntp",
            1..=100_000,
            DEFAULT_BURST,
        ),
        glib::ParamSpecEnum::builder::<Estimator>("estimator")
            .nick("Estimator")
            .blurb("How exchanges with the leader become an estimate of offset and skew")
            .mutable_ready()
            .build(),
        time(
            "threshold",
            "Threshold",
            "Round trip below which estimator=min has settled and above which estimator=mean leaves an exchange out, in nanoseconds; 0 is none",
            gst::ClockTime::ZERO,
        ),
        flag(
            "interleaved",
            "Interleaved",
            "Whether to use NTP's interleaved mode (RFC 9769), in which the server tells when its last response really left",
            true,
        ),
        time(
            "accuracy",
            "Accuracy",
            "Uncertainty to keep the clock within: the leader is asked as rarely as that allows, in nanoseconds",
            DEFAULT_ACCURACY,
        ),
    ]
}

fn key_properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("key")
            .nick("Key")
            .blurb("Secret that authenticates time (AES-CMAC, RFC 8573): 16 or 32 bytes, as HEX:digits or as they are; `key-file` keeps it off the command line. Cannot be read")
            .write_only()
            .mutable_ready()
            .build(),
        number(
            "key-id",
            "Key id",
            "Id of the key that a client uses, and of `key`",
            1..=u32::MAX,
            DEFAULT_KEY_ID,
        ),
    ]
}
