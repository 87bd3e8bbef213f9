//! The `swsync` command of an operator: status, orders, and collecting what they yielded.
//!
//! It needs a network and a disk, nothing else: never import GStreamer, picture crates or `swsync-sim` here. Commands that
//! need those are programs of their own, `swsync-media` and `swsync-lab`, which [`handover`] runs. They import the terminal's
//! part of this library: [`table`], [`output`], [`exit`], [`log`], [`duration`], [`rig`], and [`takes`].
//!
//! Where to begin reading: [`shoot`] is the shortest command; the module `orders` has what all commands share that
//! give orders; [`collect`] fetches files; [`exit`] has the exit codes, [`error_report`] what is printed of errors.

#![forbid(unsafe_code)]

pub mod camera_settings;
pub mod certify;
pub mod collect;
pub mod config;
pub mod doctor;
pub mod documents;
pub mod duration;
pub mod error_report;
pub mod exit;
pub mod forget;
pub mod handover;
mod http;
pub mod identify;
pub mod install_device;
pub mod key;
pub mod list_takes;
pub mod lock;
pub mod log;
pub mod manual;
pub mod metrics;
pub mod name;
mod orders;
pub mod output;
pub mod own_settings;
pub mod panel;
pub mod preset;
pub mod record;
pub mod remove_takes;
pub mod rig;
pub use swsync_client::rig_time;
#[cfg(feature = "schema")]
pub mod schema;
pub mod shoot;
mod signals;
pub mod status;
pub mod table;
pub mod take_note;
pub use swsync_client::takes;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
