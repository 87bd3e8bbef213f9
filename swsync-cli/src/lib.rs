//! The `swsync` command's parts, so that they can be tested.

#![forbid(unsafe_code)]

pub mod calibrate;
pub mod cameras;
mod chance;
pub mod clock;
pub mod collect;
pub mod demo;
mod duration;
pub mod exit;
pub mod export;
pub mod forget;
pub mod lab;
pub mod log;
mod media;
mod orders;
pub mod output;
mod panel;
pub mod record;
pub mod rig;
pub mod shoot;
mod signals;
pub mod status;
pub mod table;
pub mod takes;
#[cfg(test)]
mod testing;
