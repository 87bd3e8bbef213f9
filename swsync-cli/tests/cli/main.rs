//! The `swsync` command, as a process, against devices without cameras in this one.

mod collect;
mod config;
mod handover;
mod install_device;
mod key;
mod rig;
mod shoot;
mod status;
mod timescales;
