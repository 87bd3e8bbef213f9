//! The control plane of a camera rig over Zenoh: presence, orders, settings, and sharing of a device's takes.
//!
//! A [`Session`] is a connection to the network. A device joins the rig through it ([`Session::join`]), and implements
//! [`DeviceHandler`]. Any session may place orders ([`Session::place`]), ask for statuses ([`Session::statuses`]), set cameras
//! ([`Session::settings`]), or hear
//! where rig time is served ([`Session::join_time`]). Time itself never goes this way. `swsync_core` defines the messages.
//!
//! ```no_run
//! # use swsync_core::{name::Name, order::Order, time::Timestamp};
//! # use swsync_rig::{ControlError, RigConfig, Session};
//! # use std::time::Duration;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let session = Session::visit(&RigConfig::default(), Duration::from_secs(3))?;
//! let order = Order::still(Name::new("shot-1")?, Timestamp::from_nanos(1_800_000_000_000_000_000))?;
//! let summary = session.place(&order, Duration::from_secs(10), |outcome| println!("{outcome:?}"))?;
//! assert!(summary.is_complete());
//! # Ok(())
//! # }
//! ```
//!
//! This crate imports `swsync-core` and `swsync-files`. It must never import `swsync-time`, GStreamer or `swsync-sim`.
//!
//! Start reading at `keys.rs` (what is where in Zenoh) and `hub/` (who connects to whom), then `link/` and `session.rs`, `membership.rs` (a
//! device) and `placement/` (an order).

#![deny(unsafe_code)]

mod camera_settings;
mod config;
mod device_handler;
mod doctor;
mod error;
mod host;
mod hub;
mod id_claims;
pub mod key_file;
mod key_hint;
mod keys;
mod link;
mod members;
mod membership;
mod message;
mod order_catch_up;
mod outcome;
mod peek;
mod place;
mod placement;
mod poll;
mod presence;
mod queries;
mod reach;
mod rig_date;
mod session;
pub mod settings;
mod settling;
pub mod share;
mod time_channel;
mod tls;
mod zenoh_config;
pub mod zenoh_threads;

pub use config::{DEFAULT_RIG, RigConfig, Search};
pub use device_handler::{DeviceHandler, Reply};
pub use doctor::{HubView, InView};
pub use error::ControlError;
pub use host::{default_device_id, free_loopback, host_name, lower_priority};
pub use key_hint::key_hint;
pub use membership::Membership;
pub use outcome::{DeviceOutcome, Summary};
pub use peek::PeekError;
pub use poll::{DeviceReply, KnownOrders};
pub use presence::Presence;
pub use session::{Session, StatusReplies, StatusReport};
pub use time_channel::TimeChannel;
