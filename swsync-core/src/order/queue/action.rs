//! What an order queue wants done.

use super::backlog::SaveTicket;
use crate::grid::FrameNumber;
use crate::name::OrderId;
use crate::order::{Answer, FrameRun, JournalRecord, NamedFrames, Order};
use crate::time::{Rig, Timestamp};

/// An action to carry out. Actions are carried out in the order in which they are returned.
#[derive(Debug, Clone, PartialEq)]
pub enum OrderAction<T> {
    /// Write this record to the journal and make it durable before any later action.
    Journal(JournalRecord),
    /// The writer's work on an order begins. Comes once, before the other actions of the order.
    Begin {
        /// The order.
        order: Order,
        /// Its frames. A later stop changes their end.
        named: NamedFrames,
    },
    /// Write this frame. Call [`OrderQueue::handle_released`](super::OrderQueue::handle_released) when its memory is free again, and
    /// for a named frame [`OrderQueue::handle_written`](super::OrderQueue::handle_written) when it is durable or has failed.
    Save {
        /// The order.
        order: OrderId,
        /// Identifies the payload when it is released.
        ticket: SaveTicket,
        /// The frame's number.
        number: FrameNumber,
        /// The file that it goes into, from 0: [`NamedFrames::segment_of`] the named frame that it is written for.
        segment: u64,
        /// Why it is written.
        purpose: FramePurpose,
        /// The frame.
        payload: T,
    },
    /// These frames are missing: to be noted in the files beside the frames.
    Hole {
        /// The order.
        order: OrderId,
        /// The frames, and why they are missing.
        run: FrameRun,
    },
    /// Ask the encoder for a key frame at this frame.
    RequestKey {
        /// The frame.
        number: FrameNumber,
        /// Its instant.
        at: Timestamp<Rig>,
    },
    /// No more frames come for an order. Finish its files, report every frame, then call
    /// [`OrderQueue::handle_closed`](super::OrderQueue::handle_closed).
    Close {
        /// The order.
        order: OrderId,
    },
    /// No more frames come for an order until the device resumes. Finish its files, but not the account of the order, then
    /// call [`OrderQueue::handle_closed`](super::OrderQueue::handle_closed).
    Suspend {
        /// The order.
        order: OrderId,
        /// The frames that it named so far.
        named: NamedFrames,
    },
    /// Send this answer to whoever gave the order. Another follows if it is unfinished.
    Answer(Answer),
}

/// Why a frame is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramePurpose {
    /// The order names it.
    Named,
    /// A named frame that follows in the same file depends on it. The number of lead-in frames at the beginning of a file is
    /// the file's in-point.
    LeadIn,
}
