//! The state of `swsyncclock`'s clock as others read it: properties that are read only, and the `stats` structure.

use gst::glib;
use gst::prelude::*;
use swsync_core::frame::SyncState;
use swsync_core::message::TimeScale;
use swsync_core::status::ClockStatus;
use swsync_core::time::{Local, Span, Timestamp};
use swsync_time::{ReferenceStats, StampKind, TimeClientStats, TimeLeaderStats};

use super::ptp::PtpStats;

/// [`SyncState`] as a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncClockState")]
pub enum ClockState {
    #[default]
    #[enum_value(name = "Unsynced: nothing is known of the time", nick = "unsynced")]
    Unsynced,
    #[enum_value(name = "Acquiring: a first estimate, not yet a good one", nick = "acquiring")]
    Acquiring,
    #[enum_value(name = "Synced: following its source", nick = "synced")]
    Synced,
    #[enum_value(name = "Holdover: the source is silent, the clock runs on", nick = "holdover")]
    Holdover,
    #[enum_value(name = "Leading: defines rig time", nick = "leading")]
    Leading,
}

impl From<SyncState> for ClockState {
    fn from(quality: SyncState) -> Self {
        match quality {
            SyncState::Unsynced => Self::Unsynced,
            SyncState::Acquiring => Self::Acquiring,
            SyncState::Synced | SyncState::Foreign => Self::Synced,
            SyncState::Holdover => Self::Holdover,
            SyncState::Leading => Self::Leading,
        }
    }
}

/// The clock's quality as it was last announced.
#[derive(Debug, Clone, Copy)]
pub struct Announced {
    pub quality: SyncState,
    /// When it changed to this.
    pub since: Timestamp<Local>,
}

impl Announced {
    pub const fn is_synced(&self) -> bool {
        self.quality.is_synced()
    }
}

/// Nanoseconds, or -1 if unknown, as GObject properties have it.
pub fn nanos_or_unknown(span: Option<Span>) -> i64 {
    span.map_or(-1, Span::as_nanos)
}

fn span(name: &'static str, nick: &str, blurb: &str) -> glib::ParamSpec {
    glib::ParamSpecInt64::builder(name)
        .nick(nick)
        .blurb(blurb)
        .minimum(-1)
        .default_value(-1)
        .read_only()
        .build()
}

/// The properties that are read only.
pub fn properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("address")
            .nick("Address")
            .blurb("Where this device serves time once it is started, as IP:port with the port in use; not set if it does not")
            .read_only()
            .build(),
        glib::ParamSpecBoolean::builder("synced")
            .nick("Synced")
            .blurb("Whether the clock is in rig time and its source is heard (true if this device leads)")
            .read_only()
            .build(),
        glib::ParamSpecEnum::builder::<ClockState>("state")
            .nick("State")
            .blurb("How well the clock knows rig time")
            .read_only()
            .build(),
        glib::ParamSpecInt64::builder("offset")
            .nick("Offset")
            .blurb("Rig time minus this device's CLOCK_MONOTONIC, in nanoseconds")
            .read_only()
            .build(),
        span(
            "uncertainty",
            "Uncertainty",
            "What the clock's error may be (1 sigma) without `asymmetry-bound`, in nanoseconds; -1 if unknown",
        ),
        span(
            "asymmetry-bound",
            "Asymmetry bound",
            "What no two-way exchange can see: half the least round trip bounds the error of a path that is slower one way, in nanoseconds; -1 if unknown",
        ),
        span(
            "last-round-trip",
            "Last round trip",
            "Round-trip delay of the last exchange with the time source, in nanoseconds; -1 if none",
        ),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("Everything an operator asks of the clock, as application/x-swsync-clock-stats; see the element's documentation")
            .read_only()
            .build(),
    ]
}

/// The name of the `stats` structure.
pub const STATS: &str = "application/x-swsync-clock-stats";

fn stamps(kind: Option<StampKind>) -> &'static str {
    kind.map_or("none", StampKind::as_str)
}

/// The id of the time scale that the clock is on; empty if it does not know rig time.
pub fn time_scale(status: &ClockStatus) -> String {
    status.source.map_or_else(String::new, |source| TimeScale(source.timescale).to_string())
}

/// The fields of every clock. All times are in nanoseconds, -1 where unknown.
pub fn stats(status: &ClockStatus, announced: Announced) -> gst::Structure {
    gst::Structure::builder(STATS)
        .field("state", announced.quality.as_str())
        .field("synced", announced.is_synced())
        .field("since", announced.since.as_nanos())
        .field("time-scale", time_scale(status))
        .field("rig-time", status.rig_time_ns.as_nanos())
        .field("offset", status.offset_ns.as_nanos())
        .field("uncertainty", nanos_or_unknown(status.uncertainty_ns))
        .field("skew-ppm", status.skew_ppm)
        .field("last-round-trip", nanos_or_unknown(status.round_trip_ns))
        .field("path-offset", status.path_offset_ns.as_nanos())
        .build()
}

/// Adds the fields of a client of a time server.
pub fn add_client(structure: &mut gst::Structure, stats: &TimeClientStats) {
    let progress = &stats.progress;
    structure.set("leader", &progress.leader);
    structure.set("leader-address", progress.address.map(|address| address.to_string()));
    structure.set("waiting-for", progress.waiting.as_str());
    structure.set("last-error", &progress.error);
    structure.set("local-address", stats.local.map(|address| address.to_string()));
    structure.set("interface", &stats.interface);
    structure.set("transmit-timestamps", stamps(stats.stamps.sent));
    structure.set("receive-timestamps", stamps(stats.stamps.received));
    structure.set("leader-changes", stats.leader_changes);
    let Some(protocol) = &stats.protocol else { return };
    structure.set("poll-interval", protocol.poll_interval.as_nanos());
    structure.set("authenticated", protocol.authenticated);
    structure.set("requests", protocol.sent);
    structure.set("responses", protocol.responses);
    structure.set("responses-interleaved", protocol.interleaved);
    structure.set("lost", protocol.lost);
    structure.set("duplicates", protocol.duplicates);
    structure.set("bogus", protocol.bogus);
    structure.set("bad-mac", protocol.bad_mac);
    structure.set("implausible", protocol.implausible);
    structure.set("refusals", protocol.kisses);
    structure.set("unusable", protocol.unusable);
    structure.set("resets", protocol.resets);
    structure.set("steps", protocol.steps);
    structure.set("slewed", protocol.slewed.as_nanos());
    structure.set("leap-correction", protocol.leap_correction.as_nanos());
    let round_trips = protocol.round_trips;
    structure.set("least-round-trip", nanos_or_unknown(round_trips.map(|it| it.least)));
    structure.set("mean-round-trip", nanos_or_unknown(round_trips.map(|it| it.mean)));
    if let Some(upstream) = protocol.upstream {
        structure.set("leader-stratum", u32::from(upstream.stratum));
        structure.set("leader-uncertainty", upstream.uncertainty().as_nanos());
    }
}

/// Adds the fields of a clock that follows one of this device.
pub fn add_reference(structure: &mut gst::Structure, stats: &ReferenceStats) {
    structure.set("leader", &stats.source);
    structure.set("readings", stats.readings);
    structure.set("unusable", stats.unusable);
    structure.set("last-error", &stats.error);
    structure.set("leader-uncertainty", nanos_or_unknown(stats.reference_uncertainty));
    structure.set("steps", stats.steps);
    structure.set("leap-correction", stats.leap_correction.as_nanos());
}

/// Adds the fields of PTP.
pub fn add_ptp(structure: &mut gst::Structure, stats: PtpStats) {
    structure.set("ptp-updates", stats.updates);
    structure.set("ptp-path-delay", nanos_or_unknown(stats.path_delay));
}

/// Adds the fields of a time server.
pub fn add_server(structure: &mut gst::Structure, stats: &TimeLeaderStats) {
    structure.set("served-requests", stats.requests);
    structure.set("served-responses", stats.responses);
    structure.set("served-clients", u64::try_from(stats.clients).unwrap_or(u64::MAX));
    structure.set("served-interleaved", stats.protocol.interleaved);
    structure.set("served-unsynchronized", stats.protocol.unsynchronized);
    structure.set("served-limited", stats.protocol.limited);
    structure.set("served-unauthenticated", stats.protocol.unauthenticated);
    structure.set("served-malformed", stats.protocol.malformed);
    structure.set("served-transmit-timestamps", stamps(stats.stamps.sent));
    structure.set("served-receive-timestamps", stamps(stats.stamps.received));
}
