//! End-to-end tests: they run the shipped pipelines, the `swsync` command and the examples as real processes on loopback.
//!
//! The programs come from the target folder of this test, so build the whole workspace first (`./x test` does that). Rigs
//! have simulated cameras that look at the LED panel. The tests read from a picture when it was taken, and do not trust
//! what the devices say about it.
//!
//! | environment             | what is tested in addition                                        |
//! | ----------------------- | ----------------------------------------------------------------- |
//! | SWSYNC_NETNS=1          | multicast discovery, networks with routers and faults: in its own network namespace it disturbs no one |
//! | SWSYNC_VIRTUAL_CAMERA=1 | libcamera, with the virtual camera that `./x` sets up             |
//!
//! Start reading at `rig` (how a test starts a rig) and `shots` (what a test checks).

mod bad_input;
mod camera_settings;
mod cameras;
mod chrony;
mod collect;
mod device_service;
mod documentation;
mod elections;
mod examples;
mod health;
mod hygiene;
mod lab;
mod libcamera;
mod look;
mod managing;
mod network;
mod operator;
mod panel;
mod process;
mod rig;
mod rig_date;
mod served_page;
mod shots;
mod takes;
mod time_scale;
mod tutorials;

use std::env;
use std::io::Write as _;

/// Returns whether `variable` is set. If not, prints that the test is skipped.
fn is_set(variable: &str, what: &str) -> bool {
    let set = env::var_os(variable).is_some_and(|value| !value.is_empty());
    if !set {
        // Not with eprintln!: the test harness hides that for a test that passes. Stderr may be closed.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {what} (set {variable}=1)");
    }
    set
}
