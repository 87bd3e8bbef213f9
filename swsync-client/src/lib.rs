//! A camera rig, for a program of its operator: the `swsync` command, a page, an application. It finds the rig, watches its
//! devices, gives orders, and collects what they yielded. The API blocks; a program with an event loop calls it on a thread.
//!
//! | to | call |
//! | --- | --- |
//! | find the rig | [`Rig::connect`] |
//! | see how its devices are | [`Rig::devices`], [`Rig::snapshot`]; again and again: [`Rig::statuses`] |
//! | shoot, record | [`Rig::order`] with an [`OrderRequest`]; only if devices are ready: [`Rig::arm`] |
//! | get the answers, as they come | [`Ordered::answers`]; what they prove: [`Ordered::conclude`] |
//! | stop or cancel | [`Ordered::stop`], [`Ordered::cancel`]; an order of others: [`Rig::open_orders`], [`Rig::follow`] |
//! | fetch the files | [`Rig::collect`]; file by file: [`RemoteTakes`], [`collect`](collect::collect) |
//! | set all cameras at one frame number | [`camera_settings`] |
//! | list all takes of the rig without fetching them | [`RigTakes`](rig_takes::RigTakes) |
//! | make room on devices | [`removal`] |
//! | read what was fetched | [`takes`] |
//!
//! ```no_run
//! use std::{path::Path, time::Duration};
//! use swsync_client::{OrderRequest, Rig, RigConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let rig = Rig::connect(&RigConfig::default())?;
//! let mut ordered = rig.order(&OrderRequest::still())?;
//! for outcome in ordered.answers() {
//!     println!("{}: {}", outcome.device(), outcome.is_complete());
//! }
//! rig.collect(ordered.order().id(), ordered.order().targets(), Path::new("takes"), |_, _| ());
//! # Ok(())
//! # }
//! ```
//!
//! `examples/shoot.rs` is a whole program. Settings of a rig (environment, configuration file) are read by [`settings`].
//!
//! This crate imports `swsync-core`, `swsync-files` and `swsync-rig`. It must never import GStreamer, `swsync-time`,
//! `swsync-sim` or a terminal: programs other than the command use it too.
//!
//! Start reading at `rig.rs`, then `ordered.rs` (an order) and `collect.rs` (its files).

#![forbid(unsafe_code)]

mod arm;
pub mod camera_settings;
pub mod collect;
pub mod leaders;
mod open_orders;
mod ordered;
mod parallel;
pub mod pending;
mod remote;
pub mod removal;
mod request;
mod rig;
pub mod rig_takes;
pub mod rig_time;
pub mod snapshot;
mod statuses;
pub mod takes;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use arm::{Armed, Arming, NotReady};
pub use open_orders::{NoOrder, OpenOrders, is_stoppable};
pub use ordered::{Answers, Conclusion, OrderProblem, OrderStage, Ordered};
pub use parallel::in_parallel;
pub use remote::{RemoteError, RemoteTakes};
pub use request::{OrderRequest, RequestError};
pub use rig::{CollectedPart, OrderingError, PATIENCE, Rig};
pub use snapshot::{NoRigTime, RigSnapshot};
pub use statuses::{StatusUpdate, Statuses};
/// For programs to call first of all.
pub use swsync_rig::zenoh_threads;
pub use swsync_rig::{
    ControlError, DEFAULT_RIG, DeviceOutcome, DeviceReply, HubView, InView, PeekError, Presence, RigConfig,
    Session, StatusReport, Summary, default_device_id, host_name, key_file, settings, share,
};
