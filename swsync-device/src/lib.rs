//! Runs the pipeline of a camera device as a service of systemd.
//!
//! [`Device`](device::Device) is the pipeline and what ends it, [`flow`] counts the frames that arrive where they are to be kept, and
//! [`manager`] tells systemd what is known: that frames flow, that they went on flowing, that the service ends.
//!
//! The pipeline is GStreamer's and may have any elements. This crate imports none of ours.

#![forbid(unsafe_code)]

pub mod config;
pub mod device;
pub mod flow;
pub mod manager;
