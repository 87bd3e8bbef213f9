//! What the lab and an observer's process tell each other: one JSON value a line.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::{Answer, Order};
use swsync_core::status::Status;
use swsync_core::time::{Host, Span, Timestamp};
use swsync_rig::DeviceOutcome;
use swsync_time::host_now;

/// To an observer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Give an order for `count` consecutive frames.
    Give {
        /// Its id.
        id: OrderId,
        /// When the first frame is, from now.
        from_now: Span,
        /// How many frames.
        count: u32,
    },
    /// Give an order once more, to get the answers of those that did not give any.
    GiveAgain(Box<Order>),
}

/// From an observer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Observation {
    /// What devices said about themselves.
    Statuses(Vec<Heard<Status>>),
    /// An order was given.
    Given(Heard<Order>),
    /// An order could not be given.
    NotGiven { id: OrderId, at: Timestamp<Host>, why: String },
    /// What became of an order on one device.
    Outcome { order: OrderId, device: DeviceId, outcome: Heard<Outcome> },
    /// There will be no more outcomes of this giving of the order.
    Ended { order: OrderId },
}

/// Something, and when it was heard.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heard<T> {
    /// When.
    pub at: Timestamp<Host>,
    /// What.
    pub what: T,
}

/// A device's answer, or why there is none.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It has accounted for all frames.
    Answered(Box<Answer>),
    /// It gave no answer.
    Nothing(String),
}

impl From<&DeviceOutcome> for Outcome {
    fn from(outcome: &DeviceOutcome) -> Self {
        match outcome {
            DeviceOutcome::Answered(answer) => Self::Answered(Box::new(answer.clone())),
            DeviceOutcome::NoAnswer { why, .. } | DeviceOutcome::Refused { why, .. } => {
                Self::Nothing(why.clone())
            }
        }
    }
}

/// `instant`, in the past, by the host's clock.
pub fn host_time(instant: Instant) -> Timestamp<Host> {
    host_now() - Span::from(instant.elapsed())
}
