//! `swsync export`, `swsync report`, `swsync cameras`, `swsync calibrate` and `swsync measure`: the commands of an operator that
//! need GStreamer or pictures.
//!
//! They are the program `swsync-media`, so that the `swsync` command depends on neither; it hands these commands over
//! (`swsync_cli::handover`). Must never import `swsync-sim` or `swsync-lab`.
//!
//! Where to begin reading: [`export`] turns collected takes into other tools' layouts, one file per format; [`video_file`]
//! reads and writes videos for it through GStreamer. [`report`] makes a page about a take. [`cameras`] lists what the plugin's
//! device provider finds. [`calibrate`] measures how a camera responds to long exposures. Both say why the plugin is missing, if
//! it is. [`measure`] reads a panel's time from the pictures of takes, and says by how much devices are apart.

#![forbid(unsafe_code)]

pub mod calibrate;
pub mod cameras;
pub mod export;
pub mod measure;
mod plugin;
pub mod report;
#[cfg(feature = "schema")]
pub mod schema;
pub mod video_file;
