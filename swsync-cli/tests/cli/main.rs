//! The `swsync` command, as a process, against devices without cameras in this one.

mod collect;
mod config;
mod doctor;
mod errors;
mod exit_codes;
mod handover;
mod install_device;
mod key;
mod manual;
mod rig;
mod schemas;
mod shoot;
mod status;
mod takes;
mod timescales;
mod watch;
