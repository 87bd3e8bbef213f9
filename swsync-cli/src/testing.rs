//! Helpers of the tests of this crate, of swsync-media and of swsync-lab: valid values, of which a test changes one field,
//! takes on disk, and runs of a program.

#![expect(missing_docs, reason = "only for tests")]

mod program;
#[cfg(feature = "schema")]
pub mod schemas;
mod takes;

pub use program::{Ran, command};
pub use swsync_client::testing::*;
pub use takes::{FIRST, TakeBuilder, info};
