//! End to end: the shipped pipelines, the `swsync` command and the examples as real processes, on
//! loopback.
//!
//! They are those of the target folder that this test is in, so the whole workspace has to be built
//! first (`./x test` does that). Rigs have simulated cameras that look at the LED panel: when a picture
//! was taken is read from the picture, not from what the devices say of it.
//!
//! | environment             | what else is tested                                             |
//! | ----------------------- | --------------------------------------------------------------- |
//! | SWSYNC_NETNS=1          | multicast discovery: in a network of its own it disturbs no one |
//! | SWSYNC_VIRTUAL_CAMERA=1 | libcamera, with the virtual camera that `./x` sets up           |

mod bad_input;
mod cameras;
mod chrony;
mod collect;
mod examples;
mod lab_orders;
mod libcamera;
mod operator;
mod panel;
mod process;
mod rig;
mod shots;
mod takes;
mod timescale;

use std::env;
use std::io::Write as _;

/// Whether `variable` is set; if not, says that the test is skipped.
fn is_set(variable: &str, what: &str) -> bool {
    let set = env::var_os(variable).is_some_and(|value| !value.is_empty());
    if !set {
        // Not by eprintln!, which the test harness keeps to itself where a test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {what} (set {variable}=1)"); // it may be closed
    }
    set
}
