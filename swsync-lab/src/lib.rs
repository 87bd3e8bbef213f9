//! The laboratory: the demo, and experiments that measure swsync and compare it with others.
//!
//! Nothing here runs in production. It is the program `swsync-lab`, to which `swsync lab` and `swsync demo` hand over; it
//! may import every crate, and no other crate may import it.
//!
//! Where to begin reading: [`demo`] runs a whole rig on this machine. [`clock`] compares clock estimators, [`phase`] methods
//! of frame alignment, [`orders`] tests pipelines with random orders and crashes, [`chaos`] whole rigs with leaders lost and networks cut, [`scale`]
//! counts what a rig of many devices costs, [`shutter`] times orders, [`steady`] reads from the pictures of a rig how far apart they are, [`soak`] lets a
//! rig run for days, [`relay`] is a network link with the delays of WiFi. [`paper`]
//! reproduces the paper's tables.

#![forbid(unsafe_code)]

pub mod chaos;
pub mod clock;
pub mod demo;
mod lab_folder;
pub mod net;
mod network;
pub mod orders;
mod panel;
pub mod paper;
pub mod phase;
mod progress;
pub mod relay;
pub mod scale;
pub mod shutter;
mod simulated_device;
mod simulated_rig;
pub mod soak;
mod split_mix;
mod stats;
pub mod steady;
