//! A clock that can be read on this device.

use swsync_core::leap::LeapNotice;
use swsync_core::time::{Local, Rig, Span, Timestamp};

/// A clock that can be read.
pub trait Reference: Send {
    /// Reads it now. `None`: it cannot be read (yet). Should not block for long.
    fn read(&mut self) -> Option<ReferenceReading>;

    /// What it is, for messages: "the system's clock".
    fn describe(&self) -> String;

    /// Its reference id for NTP clients: four characters, as GPS or PTP (RFC 5905 figure 12).
    fn id(&self) -> [u8; 4];
}

/// A reading of a reference between two of the local clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceReading {
    /// The local clock before the reference was read.
    pub before: Timestamp<Local>,
    /// The reference, as rig time. If it counts UTC, leap seconds and all.
    pub reference: Timestamp<Rig>,
    /// The local clock after the reference was read.
    pub after: Timestamp<Local>,
    /// The leap second that it announces for the end of the UTC day.
    pub leap: LeapNotice,
    /// Uncertainty of the reference itself, 1 sigma.
    pub uncertainty: Span,
    /// Why it does not know the time, and what may help. `None`: it knows the time.
    pub unsynced: Option<String>,
}

impl ReferenceReading {
    /// The local time that the reference was read at, to half of how long the reading took.
    pub(super) fn middle(&self) -> Timestamp<Local> {
        self.before + (self.after - self.before) / 2
    }
}
