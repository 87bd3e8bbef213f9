//! Events of a clock that follows a source of time.

use std::net::SocketAddr;

use swsync_core::frame::SyncState;
use swsync_core::time::Span;
use swsync_core::time_service::{LeadStart, ServerRefusal};

/// Something that happened to a clock and matters to its users.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ClockEvent {
    /// How well rig time is known has changed.
    QualityChanged {
        /// The quality before.
        from: SyncState,
        /// The quality now.
        to: SyncState,
    },
    /// The device has slept: its clock goes on from where it would be, in holdover until its source has settled it. A device that
    /// leads listens for a few seconds whether another one leads by now.
    Resumed {
        /// How long it has slept.
        slept: Span,
    },
    /// The clock has jumped while in use: its error was beyond the step threshold.
    Stepped {
        /// The size of the jump; positive is forward.
        by: Span,
        /// How long it stands still if it had been ahead, since it never runs backwards.
        held_for: Span,
    },
    /// The clock is about to begin anew: it was relied on, and was wrong by more than it can wait for. It still reads as
    /// before, so that its users can go on by [`RigClock::frozen`](crate::RigClock::frozen).
    Ends,
    /// The clock has begun anew: its readings must not be combined with those of before.
    Began {
        /// How wrong it had been; positive if the new time is later.
        by: Span,
    },
    /// A server answers, but cannot be followed. Sent again only if the reason changes, or after it could be followed.
    Refused {
        /// The server.
        address: SocketAddr,
        /// Why; its text says what may help.
        refusal: ServerRefusal,
    },
    /// The clock follows another time scale than before.
    TimescaleChanged,
    /// This device leads the rig from now on.
    Leads {
        /// From where.
        start: LeadStart,
    },
    /// This device has led the rig, and follows another leader from now on.
    Resigned {
        /// The server that it follows.
        address: Option<SocketAddr>,
    },
    /// Another device leads the rig too, for longer than a change of leader takes.
    TwoLeaders {
        /// The other device.
        device: String,
        /// Where it serves time.
        address: Option<SocketAddr>,
        /// Whether it is on the same time scale.
        same_scale: bool,
    },
    /// Another server's address answers than before, or the first one.
    LeaderChanged {
        /// The address.
        address: SocketAddr,
    },
    /// The source of time cannot be used now. Sent again only if the reason changes, or after it could be used.
    SourceUnusable {
        /// Why, and what may help.
        why: String,
    },
}

/// Handles events on the service's own threads, with no locks held. It must not block for long: the clock follows nothing
/// meanwhile.
pub(crate) type OnEvent = Box<dyn Fn(ClockEvent) + Send + Sync>;
