//! Messages about alignment, and its part of `stats`.

use swsync_core::frame::FrameInfo;

use super::{AlignProgress, IssueChange, LockCause};

/// `swsync-phase`: the lock changed, or another target was set.
pub fn phase_message(
    info: &FrameInfo,
    progress: &AlignProgress,
    cause: LockCause,
    lock_count: u32,
) -> gst::Structure {
    let mut message = gst::Structure::builder("swsync-phase")
        .field("state", info.lock_text())
        .field("cause", cause.as_str())
        .field("method", progress.method)
        .field("phase-error", info.phase_error_ns.as_nanos())
        .field("tolerance", progress.tolerance.as_nanos())
        .field("frame-number", info.number)
        .field("lock-count", lock_count)
        .field("injections", progress.injections)
        .field("restarts", progress.restarts);
    if let Some(uncertainty) = progress.uncertainty {
        message = message.field("phase-uncertainty", uncertainty.as_nanos());
    }
    message.build()
}

/// `swsync-phase-trouble`: an issue of alignment began or ended.
pub fn trouble_message(change: &IssueChange, info: &FrameInfo) -> gst::Structure {
    let (issue, active) = match change {
        IssueChange::Began(issue) => (issue, true),
        IssueChange::Ended(issue) => (issue, false),
    };
    let mut message = gst::Structure::builder("swsync-phase-trouble")
        .field("kind", issue.kind())
        .field("active", active)
        .field("text", issue.text())
        .field("frame-number", info.number)
        .build();
    for (name, number) in issue.numbers() {
        message.set(name, number);
    }
    message
}

/// Adds the state of alignment to `stats`.
pub fn add_to_stats(stats: &mut gst::StructureRef, info: Option<&FrameInfo>, progress: &AlignProgress) {
    stats.set("align-method", progress.method);
    stats.set("tolerance", progress.tolerance.as_nanos());
    if let Some(info) = info {
        stats.set("lock", info.lock_text());
        stats.set("phase-error", info.phase_error_ns.as_nanos());
    }
    if let Some(uncertainty) = progress.uncertainty {
        stats.set("phase-uncertainty", uncertainty.as_nanos());
    }
    if let Some(latency) = progress.latency {
        stats.set("control-latency", latency);
    }
    stats.set("missed-writes", progress.missed_writes);
    stats.set("injections", progress.injections);
    stats.set("restarts", progress.restarts);
    if let Some(response) = progress.response {
        stats.set("response-slope", response.slope);
        stats.set("response-overhead", response.overhead_ns);
        stats.set("response-min-exposure", response.min_exposure_ns);
        stats.set("response-scatter", response.scatter_ns);
    }
    stats.set("trouble", progress.trouble.map_or("none", |issue| issue.kind()));
}
