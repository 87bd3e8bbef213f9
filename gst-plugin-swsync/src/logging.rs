//! Puts what swsync's crates log into the debug category `swsync`, so that `GST_DEBUG` shows all of it.
//!
//! The application's own `tracing` subscriber is left alone, and sees the same events.

use std::sync::LazyLock;

use gst::glib::GStr;
use swsync_core::log::{self, Level, Metadata};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swsync", gst::DebugColorFlags::empty(), Some("swsync core and rig"))
});

struct DebugLog;

impl log::Sink for DebugLog {
    fn is_enabled(&self, level: Level) -> bool {
        gst_level(level) <= CAT.threshold()
    }

    fn write(&self, metadata: &Metadata<'_>, text: &str) {
        let file = format!("{}\0", metadata.file().unwrap_or("?"));
        CAT.log(
            None::<&gst::Object>,
            gst_level(*metadata.level()),
            GStr::from_str_until_nul(&file).expect("ends in a nul"),
            metadata.target(),
            metadata.line().unwrap_or(0),
            format_args!("{text}"),
        );
    }
}

fn gst_level(level: Level) -> gst::DebugLevel {
    match level {
        Level::ERROR => gst::DebugLevel::Error,
        Level::WARN => gst::DebugLevel::Warning,
        Level::INFO => gst::DebugLevel::Info,
        Level::DEBUG => gst::DebugLevel::Debug,
        Level::TRACE => gst::DebugLevel::Trace,
    }
}

/// Call once, when the plugin is loaded.
pub fn init() {
    log::copy_to(&DebugLog);
}
