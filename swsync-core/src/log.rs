//! What swsync's crates log: `tracing` events, of which a host can have a copy.
//!
//! The macros of this module are those of `tracing`. Events go to the process's subscriber, if the application has set one.
//! A GStreamer plugin is not the application: it must not set a subscriber for the process. It calls [`copy_to`] instead, and gets
//! the events of swsync's crates, and of no other.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::sync::OnceLock;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Subscriber, dispatcher};

pub use tracing::{Level, Metadata};

#[doc(hidden)]
pub use tracing as __tracing;

/// Where copies of events go.
pub trait Sink: Sync {
    /// Whether events of `level` are wanted now. It is asked each time.
    fn is_enabled(&self, level: Level) -> bool;
    /// Takes an event: its message, followed by its fields.
    fn write(&self, metadata: &Metadata<'_>, text: &str);
}

/// The sink, and the dispatcher that copies events to it, twice: while a process has a single one, `tracing` asks only the current
/// dispatcher of a thread whether an event is wanted, and remembers "never".
static SINK: OnceLock<(&'static dyn Sink, [Dispatch; 2])> = OnceLock::new();

thread_local! {
    /// The event that this thread is copying.
    static COPIED: RefCell<Option<(&'static Metadata<'static>, String)>> = const { RefCell::new(None) };
}

/// Copies all further events to `sink`. The first sink of a process stays.
pub fn copy_to(sink: &'static dyn Sink) {
    SINK.get_or_init(|| (sink, [Dispatch::new(Recorder), Dispatch::new(Recorder)]));
}

/// Logs `event`, which calls the macro of `tracing`.
#[doc(hidden)]
pub fn emit(level: Level, event: impl Fn()) {
    event();
    let Some((sink, [recorder, _])) = SINK.get().filter(|(sink, _)| sink.is_enabled(level)) else { return };
    dispatcher::with_default(recorder, event);
    // Only now: the sink may call code of the application that logs too, and `tracing` drops events of a subscriber's own.
    if let Some((metadata, text)) = COPIED.take() {
        sink.write(metadata, &text);
    }
}

/// The subscriber of [`emit`], for the time of one event.
struct Recorder;

impl Subscriber for Recorder {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Never "always" or "never" for swsync's own: the sink's level changes while the process runs.
        if metadata.target().contains("swsync") { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        COPIED.set(Some((event.metadata(), line.message + &line.fields)));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        written.expect("writing to a string does not fail");
    }
}

/// As [`tracing::trace!`].
#[macro_export]
#[doc(hidden)]
macro_rules! __trace {
    ($($event:tt)+) => {
        $crate::log::emit($crate::log::Level::TRACE, || $crate::log::__tracing::trace!($($event)+))
    };
}

/// As [`tracing::debug!`].
#[macro_export]
#[doc(hidden)]
macro_rules! __debug {
    ($($event:tt)+) => {
        $crate::log::emit($crate::log::Level::DEBUG, || $crate::log::__tracing::debug!($($event)+))
    };
}

/// As [`tracing::info!`].
#[macro_export]
#[doc(hidden)]
macro_rules! __info {
    ($($event:tt)+) => {
        $crate::log::emit($crate::log::Level::INFO, || $crate::log::__tracing::info!($($event)+))
    };
}

/// As [`tracing::warn!`].
#[macro_export]
#[doc(hidden)]
macro_rules! __warn {
    ($($event:tt)+) => {
        $crate::log::emit($crate::log::Level::WARN, || $crate::log::__tracing::warn!($($event)+))
    };
}

/// As [`tracing::error!`].
#[macro_export]
#[doc(hidden)]
macro_rules! __error {
    ($($event:tt)+) => {
        $crate::log::emit($crate::log::Level::ERROR, || $crate::log::__tracing::error!($($event)+))
    };
}

pub use crate::{__debug as debug, __error as error, __info as info, __trace as trace, __warn as warn};

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// What one thread logged that names this test.
    static WRITTEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static IS_ON: AtomicBool = AtomicBool::new(false);

    struct Kept;

    impl Sink for Kept {
        fn is_enabled(&self, _: Level) -> bool {
            IS_ON.load(Ordering::Relaxed)
        }

        fn write(&self, metadata: &Metadata<'_>, text: &str) {
            if text.contains("of this test") {
                let line = format!("{} {}: {text}", metadata.level(), metadata.target());
                WRITTEN.lock().unwrap().push(line);
            }
        }
    }

    #[test]
    fn the_sink_is_asked_for_its_level_at_every_event() {
        copy_to(&Kept);
        let log = |round: u32| crate::log::debug!(round, peer = ?"a", "an event of this test");
        log(1);
        IS_ON.store(true, Ordering::Relaxed);
        log(2);
        IS_ON.store(false, Ordering::Relaxed);
        log(3);
        let expected = ["DEBUG swsync_core::log::tests: an event of this test round=2 peer=\"a\""];
        assert_eq!(*WRITTEN.lock().unwrap(), expected);
    }
}
