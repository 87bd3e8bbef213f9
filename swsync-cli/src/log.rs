//! Log events on standard error.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The option `-v` of swsync's programs.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Verbosity {
    /// Say more on standard error: -v decisions, -vv every packet.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Shows log events: without `-v` warnings of swsync's own, with one its decisions, with two
/// everything, the network library's too.
pub fn init(verbosity: Verbosity) {
    let (swsync, others) = match verbosity.verbose {
        0 => (LevelFilter::WARN, LevelFilter::OFF),
        1 => (LevelFilter::DEBUG, LevelFilter::WARN),
        _ => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    // A prefix: all of swsync's crates.
    let targets = Targets::new().with_default(others).with_target("swsync", swsync);
    let format = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(format).with(targets).init();
}
