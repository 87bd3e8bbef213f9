//! What happens to a clock that follows another.

use std::net::SocketAddr;

use swsync_core::frame::SyncQuality;
use swsync_core::sync::Refusal;
use swsync_core::time::Span;

/// Something that happened to a clock, which whoever uses it may want to know.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ClockEvent {
    /// How well rig time is known has changed.
    QualityChanged {
        /// What it was ...
        from: SyncQuality,
        /// ... and is.
        to: SyncQuality,
    },
    /// The clock, in use, has jumped: its error was beyond the step threshold.
    Stepped {
        /// By so much; positive is forward.
        by: Span,
        /// Where it had been ahead: it stands still for so long, as it never runs backwards.
        held_for: Span,
    },
    /// The clock is about to begin anew: it was relied on, and was wrong by more than can be waited for. Said while it
    /// still reads as before, so that whoever uses it can go on by [`RigClock::frozen`](crate::clock::RigClock::frozen).
    Ends,
    /// It has begun anew: its readings are not to be combined with those of before.
    Began {
        /// By how much it had been wrong; positive where the new time is later.
        by: Span,
    },
    /// A server answers, but cannot be followed. Said once, until it can or the reason is another one.
    Refused {
        /// Whom it has asked.
        address: SocketAddr,
        /// Why; says what may help.
        refusal: Refusal,
    },
    /// The leader's time scale is another one: rig time begins anew.
    TimescaleChanged,
    /// Another leader's address answers than before, or the first one.
    LeaderChanged {
        /// The address.
        address: SocketAddr,
    },
    /// The source of time is of no use now. Said once, until it is or the reason is another one.
    SourceUnusable {
        /// Why, and what may help.
        why: String,
    },
}

/// Called from the service's own threads, without locks held. It must not block for long: time is
/// not followed meanwhile.
pub(super) type OnEvent = Box<dyn Fn(ClockEvent) + Send + Sync>;
