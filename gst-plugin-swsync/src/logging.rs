//! Forwards what core and rig log through `tracing` to the debug category `swsync`, so that `GST_DEBUG`
//! tells the whole story.

use std::fmt::{self, Write};
use std::sync::LazyLock;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swsync", gst::DebugColorFlags::empty(), Some("swsync core and rig"))
});

struct Forward;

impl<S: Subscriber> Layer<S> for Forward {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with("swsync") && gst_level(*metadata.level()) <= CAT.threshold()
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let metadata = event.metadata();
        CAT.log(
            None::<&gst::Object>,
            gst_level(*metadata.level()),
            gst::glib::GStr::from_str_until_nul(&format!("{}\0", metadata.file().unwrap_or("?")))
                .expect("ends in a nul"),
            metadata.target(),
            metadata.line().unwrap_or(0),
            format_args!("{}{}", line.message, line.fields),
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

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let (text, written) = match field.name() {
            "message" => (&mut self.message, format!("{value:?}")),
            name => (&mut self.fields, format!(" {name}={value:?}")),
        };
        text.write_str(&written).expect("writing to a string does not fail");
    }
}

/// Installs the forwarder, unless the application has a subscriber of its own.
pub fn init() {
    let subscriber = tracing_subscriber::registry().with(Forward);
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        gst::debug!(CAT, "the application's own tracing subscriber stays");
    }
}
