//! When files were last changed, as the messages of [`swsync_core::share`] tell it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// When a file was last changed, or its age was set, in nanoseconds since the Unix epoch. With mtime alone, a file that was
/// changed and then given its old age would count as unchanged.
pub(super) fn modified(about: &Metadata) -> i64 {
    let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    nanos(about.mtime(), about.mtime_nsec()).max(nanos(about.ctime(), about.ctime_nsec()))
}
