//! What swsync's crates log reaches `GST_DEBUG`, and leaves an application's own `tracing` subscriber alone.
//!
//! Both are settings of a process, so each test runs in one of its own.

mod common;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use common::own_process::{ignored_test, passes};
use common::sink::Sink;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

type Lines = Arc<Mutex<Vec<String>>>;

/// An application's subscriber, which keeps all events.
struct Application(Lines);

impl Subscriber for Application {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                write!(self.0, "{field}={value:?} ").unwrap();
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Has `sink` log a warning: it gets a buffer without any time.
fn log_a_warning(sink: &mut Sink) {
    sink.harness.push(gst::Buffer::new()).unwrap();
}

const WARNING: &str = "a buffer without rig time and PTS";

/// How many of the lines have `part`. Forgets them all.
fn count(lines: &Lines, part: &str) -> usize {
    let lines = std::mem::take(&mut *lines.lock().unwrap());
    lines.iter().filter(|line| line.contains(part)).count()
}

/// What GStreamer logs from now on.
fn debug_log() -> Lines {
    let lines = Lines::default();
    let kept = lines.clone();
    gst::log::remove_default_log_function();
    gst::log::add_log_function(move |category, level, _, _, _, _, message| {
        let text = message.get().unwrap_or_default();
        kept.lock().unwrap().push(format!("{} {level:?} {text}", category.name()));
    });
    lines
}

#[test]
fn an_application_has_its_own_tracing_subscriber() {
    passes(&mut ignored_test("be_an_application_with_a_tracing_subscriber"));
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn be_an_application_with_a_tracing_subscriber() {
    let mut sink = Sink::new(); // the plugin is loaded first
    let lines = Lines::default();
    tracing::subscriber::set_global_default(Application(lines.clone())).expect("the plugin has set none");
    let debug = debug_log();
    gst::log::set_threshold_for_name("swsync", gst::DebugLevel::Trace);
    // The application logs in a callback of GStreamer, while the plugin logs.
    gst::log::add_log_function(|category, _, _, _, _, _, _| {
        if category.name() == "swsync" {
            tracing::info!("of the application's log function");
        }
    });
    tracing::info!("of the application");
    assert_eq!(count(&lines, "of the application "), 1);
    log_a_warning(&mut sink);
    let all = lines.lock().unwrap().clone();
    assert_eq!(all.iter().filter(|line| line.contains(WARNING)).count(), 1, "{all:?}");
    assert!(all.iter().any(|line| line.contains("of the application's log function")), "{all:?}");
    assert_eq!(count(&debug, WARNING), 1, "GST_DEBUG has it as well");
}

#[test]
fn a_debug_level_that_is_set_at_run_time_counts() {
    passes(&mut ignored_test("be_an_application_that_changes_debug_levels"));
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn be_an_application_that_changes_debug_levels() {
    let mut sink = Sink::new();
    let debug = debug_log();
    for (level, expected) in [
        (gst::DebugLevel::None, 0),
        (gst::DebugLevel::Warning, 1),
        (gst::DebugLevel::Error, 0),
        (gst::DebugLevel::Trace, 1),
    ] {
        gst::log::set_threshold_for_name("swsync", level);
        log_a_warning(&mut sink);
        let all = debug.lock().unwrap().clone();
        let warnings = count(&debug, &format!("swsync Warning {WARNING}"));
        assert_eq!(warnings, expected, "{level:?}: {all:?}");
    }
}
