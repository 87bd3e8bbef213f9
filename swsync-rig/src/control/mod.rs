//! The control plane: who is in the rig, what to save, how everyone is. Over Zenoh, peer to peer.
//!
//! Time itself never goes this way. A [`Session`] is a place in the network; a device joins the rig
//! through it ([`Session::join`]), and anyone may place orders ([`Session::place`]), ask how the
//! devices are ([`Session::statuses`]), or where rig time is served ([`Session::find_time`]).
//!
//! ```no_run
//! # use swsync_core::{name::Name, order::Order, time::Timestamp};
//! # use swsync_rig::control::{ControlError, RigConfig, Session};
//! # use std::time::Duration;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let session = Session::visit(&RigConfig::default(), Duration::from_secs(3))?;
//! let order = Order::still(Name::new("shot-1")?, Timestamp::from_nanos(1_800_000_000_000_000_000))?;
//! let summary = session.place(&order, Duration::from_secs(10), |outcome| println!("{outcome:?}"))?;
//! assert!(summary.is_complete());
//! # Ok(())
//! # }
//! ```

mod catch_up;
mod claims;
mod config;
mod error;
mod keys;
mod members;
mod membership;
mod message;
mod order;
mod placement;
mod poll;
mod registry;
mod session;
mod settling;
mod time_service;

pub use config::{DEFAULT_RIG, RigConfig, Search};
pub use error::ControlError;
pub use membership::{DeviceHandler, Membership, Reply};
pub use order::{DeviceOutcome, Summary};
pub use poll::{Heard, Known};
pub use session::{Presence, Session, StatusReport};
pub use time_service::TimeAnnouncement;
