//! The debug category of `swsyncsrc` and its pads.

use std::sync::LazyLock;

pub static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swsyncsrc", gst::DebugColorFlags::empty(), Some("swsync camera source"))
});
