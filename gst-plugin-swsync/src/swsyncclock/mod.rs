//! `swsyncclock`: keeps the pipeline's clock in rig time.
//!
//! An element without pads, so that it fits into any `gst-launch-1.0` line. It provides a clock that
//! every device of the rig agrees on to microseconds, measured over ordinary UDP. It reaches PAUSED once
//! its clock is in rig time, or fails after `sync-timeout` and says what it looked for.
//!
//! ```text
//! gst-launch-1.0 swsyncclock role=auto swsyncsrc ! videoconvert ! jpegenc ! swsyncsink
//! gst-launch-1.0 swsyncclock role=client leader=pi0.local swsyncsrc ! videoconvert ! jpegenc ! swsyncsink
//! gst-launch-1.0 swsyncclock role=leader source=ptp ptp-interfaces=eth0 swsyncsrc ! videoconvert ! autovideosink
//! ```
//!
//! # Who leads
//! Time belongs to the rig. One device leads: its clock is rig time, and the others follow it. A device whose `role` is
//! `auto` (the default) leads if it is elected: by `priority`, then by whether its wall clock is kept in time, then by chance. `role=leader`
//! comes before all of those; `role=client` never leads. If the leader is silent for 1.5 s, or says that it stops, the next one
//! leads, in the same time scale and without a step. A device that starts listens for 1.5 s first. If the rig has a time scale, it
//! follows that, and takes over only once it is in sync. Only if nobody knows one does it begin one, at its wall clock.
//!
//! Every device in sync serves time, at `port` or, if that is taken and the role is not `leader`, at any free port. Devices find each other in
//! the rig, as orders do. (Zenoh uses the network interfaces that are up when a device starts: a device whose network comes up later
//! needs `leader`, or `connect`.) With `announce=false`, or on loopback without `listen` and `connect`, a device that can lead finds no
//! others; it learns of the rig's time from clients that name it by `leader=host[:port]` and ask it.
//!
//! # Where time comes from
//! `source=rig` (default): the rig's own time, as above. The other sources are the same for all roles. With `role=leader` or `auto` the device
//! passes the time on to the rig, where a time from outside comes before every other; with `role=client` it does not. `source=ntp` follows the
//! NTP server `leader` (politely: a burst of 8, then every 1 to 64 s), `source=ptp` the grandmaster of
//! `ptp-domain` (whose time usually is TAI), and `source=system` this device's wall clock, once the kernel
//! says that chrony, or ptp4l with phc2sys, keeps it in time. No single reading moves the clock: four that agree are a step. Leap seconds
//! are smeared over the 24 h after them; rig time is up to 1 s from UTC that day (`leap-correction`).
//!
//! Besides swsync's devices, NTP clients (chrony, GstNtpClock) can follow any that serves time, and with
//! `net-time-provider` GstNetClientClock can follow any swsyncclock.
//!
//! # Which rig
//! `rig`, `connect`, `listen`, `key-file` and `device-id` are set once: on this element, on the pipeline's `swsyncsink` or `swsyncgate`, by a
//! GstContext `swsync.rig`, in the environment (`SWSYNC_RIG`, ...) or in `/etc/swsync/config.toml`. `rig-settings` says what they came to and why. See
//! docs/settings.md.
//!
//! # The wait for synchronization
//! It happens on the way to PAUSED, in the state change itself. No other thread can change the state
//! meanwhile; the action signal `cancel` ends the wait from any thread (its result: whether there was one). An application that handles
//! signals calls it when it is told to end. Ctrl-C ends `gst-launch-1.0` at once: it handles SIGINT only after PAUSED, and until then there is
//! nothing to finish.
//!
//! With `wait-sync=false` PAUSED is reached at once, and the application
//! waits itself before PLAYING: `gst_clock_wait_for_sync()`, the property `synced`, or the message. Until
//! then the clock reads CLOCK_MONOTONIC; it jumps when it is synced. If a pipeline plays on it by then, the pipeline gets another
//! clock instead (CLOCK_LOST).
//!
//! # Messages
//! - element message `swsync-clock` on every change of `state`: `state` (string: `unsynced`,
//!   `acquiring`, `synced`, `holdover`, `leading`), `since` (int64, CLOCK_MONOTONIC in ns), `leader`
//!   (string), `time-scale` (string: its id in hex digits), `offset` and `uncertainty` (int64, ns; uncertainty -1 if unknown)
//! - element message `swsync-clock-stepped`, and a warning, when the clock, already in use, was wrong by more
//!   than `step-threshold`: `by` (int64, ns, positive where it jumped ahead), `held-for` (int64, ns: a clock
//!   that was ahead stands still until its time has come, and is not synced meanwhile), `anew` (boolean: it
//!   was wrong by more than 2 s, so rig time begins anew)
//! - CLOCK_LOST when rig time begins anew, and when it begins while a pipeline plays already (`wait-sync=false`). The old clock runs on, and is
//!   never synced again. A pipeline that goes
//!   through PAUSED to PLAYING, as gst-launch-1.0 does then, takes the new one and a new base time
//! - progress messages of code `sync`, once a second while waiting, that say what is waited for
//! - a warning when the pipeline plays on another clock: which, whose, and how to set this one (a `swsyncclock` in a bin
//!   with links may lose against another provider); `swsyncsrc` warns too
//! - an info message when this device begins to lead, and when it follows another one instead
//! - a warning when another device leads too for longer than a change of leader takes: who, where, and whether on the same time scale
//! - a warning when the clock joins another time scale, or the source of time becomes unusable
//!
//! # Statistics
//! The property `stats` is a structure `application/x-swsync-clock-stats`. Times are int64 in nanoseconds,
//! -1 where unknown; counts are uint64.
//!
//! | fields | of |
//! | --- | --- |
//! | `state`, `synced`, `since` (CLOCK_MONOTONIC), `time-scale` (string), `rig-time`, `offset`, `uncertainty` (1 sigma), `asymmetry-bound`, `skew-ppm` (double), `last-round-trip`, `path-offset` (as set) | every clock |
//! | `leader`, `leader-uncertainty`, `last-error`, `steps`, `unusable`, `leap-correction` (rig time minus the source's time, while a leap second is smeared) | one that follows |
//! | `leader-address`, `leader-stratum` (uint), `leader-changes`, `local-address`, `interface`, `waiting-for` (`leader`, `response`, `sync`, `leader-again`, `nothing`), `transmit-timestamps`, `receive-timestamps` (`hardware`, `kernel`, `kernel-queue`, `user-space`, `none`), `poll-interval`, `authenticated`, `requests`, `responses`, `responses-interleaved`, `lost`, `duplicates`, `bogus`, `bad-mac`, `implausible`, `refusals`, `resets`, `slewed`, `least-round-trip`, `mean-round-trip` (of the last 64) | a client of `source=rig` or `ntp` |
//! | `readings` | `source=ptp` and `system` |
//! | `ptp-updates`, `ptp-path-delay` | `source=ptp` |
//! | `served-requests`, `served-responses`, `served-clients` (addresses in the last minute), `served-interleaved`, `served-unsynchronized`, `served-limited`, `served-unauthenticated`, `served-malformed`, `served-transmit-timestamps`, `served-receive-timestamps` | one that serves |

mod events;
mod imp;
mod net_time_provider;
mod page;
mod properties;
mod provided_clock;
mod ptp;
mod settings;
mod status;
mod sync_wait;
mod time_source;

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swsyncclock", gst::DebugColorFlags::empty(), Some("swsync clock"))
});

glib::wrapper! {
    /// Keeps the pipeline's clock in rig time.
    pub struct SwsyncClockElement(ObjectSubclass<imp::SwsyncClockElement>)
        @extends gst::Element, gst::Object;
}

/// Whether a device leads the rig.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncRole")]
pub enum Role {
    /// Never leads.
    #[enum_value(name = "Client: follow the rig's time, never lead", nick = "client")]
    Client,
    /// Leads before all others.
    #[enum_value(name = "Leader: lead the rig, before all others", nick = "leader")]
    Leader,
    /// Leads if it is elected.
    #[default]
    #[enum_value(name = "Auto: follow the rig's time, or lead if no better device is there", nick = "auto")]
    Auto,
}

/// Where time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncSource")]
pub enum Source {
    /// The rig's own time service.
    #[default]
    #[enum_value(name = "Rig: the rig's own time service", nick = "rig")]
    Rig,
    /// An NTP server.
    #[enum_value(name = "NTP: the NTP server that `leader` names", nick = "ntp")]
    Ntp,
    /// The PTP grandmaster of the network.
    #[enum_value(name = "PTP: the grandmaster of `ptp-domain`", nick = "ptp")]
    Ptp,
    /// This device's wall clock, kept by others.
    #[enum_value(
        name = "System: CLOCK_REALTIME, kept by chrony, ptp4l with phc2sys, or the like",
        nick = "system"
    )]
    System,
}

/// How exchanges become an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncEstimator")]
pub enum Estimator {
    /// Offset and skew from the lower envelopes of both directions.
    #[default]
    #[enum_value(name = "Track: offset and skew from the lower envelopes of both directions", nick = "track")]
    Track,
    /// The mean of the exchanges' offsets.
    #[enum_value(name = "Mean: the mean of the exchanges' offsets, as in the paper", nick = "mean")]
    Mean,
    /// The exchange with the least delay.
    #[enum_value(name = "Min: the exchange with the least delay, as in the paper", nick = "min")]
    Min,
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    Role::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    Source::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    status::ClockState::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    Estimator::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(Some(plugin), "swsyncclock", gst::Rank::NONE, SwsyncClockElement::static_type())
}
