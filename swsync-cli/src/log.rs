//! Log events on standard error.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Shows log events: without `-v` warnings of swsync's own, with one its decisions, with two
/// everything, the network library's too.
pub fn init(verbose: u8) {
    let (swsync, others) = match verbose {
        0 => (LevelFilter::WARN, LevelFilter::OFF),
        1 => (LevelFilter::DEBUG, LevelFilter::WARN),
        _ => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    // A prefix: all of swsync's crates.
    let targets = Targets::new().with_default(others).with_target("swsync", swsync);
    let format = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(format).with(targets).init();
}
