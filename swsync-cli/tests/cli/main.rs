//! The `swsync` command, as a process, against devices without cameras in this one.

mod calibrate;
mod collect;
mod export;
mod export_pictures;
mod export_videos;
mod files;
mod lab_clock;
mod lab_phase;
mod rig;
mod scene;
mod shoot;
mod status;
