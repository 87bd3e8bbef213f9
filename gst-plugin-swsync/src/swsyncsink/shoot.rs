//! Orders given inside an application: placed in the background, reported on the bus.

use std::sync::Arc;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use swsync_core::name::Name;
use swsync_core::name::OrderId;
use swsync_core::order::Order;
use swsync_core::order::{Answer, Fate};
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_rig::control::{ControlError, DeviceOutcome, Session};

use super::SwsyncSink;

/// How long after the last frame's instant a device may take to write its files and answer.
const WRITE_TIME: Duration = Duration::from_secs(20);

/// The slowest frames that are waited for.
const SLOWEST_PERIOD: Span = Span::from_millis(100);

/// An order's id that sorts by time and that no other device chooses.
pub fn new_id() -> OrderId {
    let now = glib::DateTime::now_utc().and_then(|now| now.format("%Y%m%d-%H%M%S"));
    let now = now.map_or_else(|_| "undated".into(), |text| text.to_string());
    Name::new(format!("shot-{now}-{:04x}", glib::random_int() & 0xffff))
        .expect("digits, letters and dashes make a name")
}

/// Places `order` in the whole rig, without blocking, and posts on `sink`'s bus what comes of it.
///
/// The thread ends when every device has answered, or when none can be expected to any more.
pub fn place(
    sink: &SwsyncSink,
    session: Arc<Session>,
    order: Order,
    now: Timestamp<Rig>,
) -> std::io::Result<()> {
    let element = sink.downgrade();
    let settled = order.settled_at(SLOWEST_PERIOD).unwrap_or(order.at());
    let timeout = (settled - now).to_duration() + WRITE_TIME;
    std::thread::Builder::new().name("swsync-shoot".into()).spawn(move || {
        let post = |structure: gst::Structure| {
            if let Some(sink) = element.upgrade() {
                let message = gst::message::Element::builder(structure).src(&sink).build();
                // Without a bus nobody wants to know.
                let _ = sink.post_message(message);
            }
        };
        let result = session.place(&order, timeout, |outcome| post(outcome_message(&order, outcome)));
        post(done_message(&order, &result.map(|summary| summary.outcomes)));
    })?;
    Ok(())
}

/// `swsync-order`: what became of an order on one device.
fn outcome_message(order: &Order, outcome: &DeviceOutcome) -> gst::Structure {
    let (files, problems) = match outcome {
        DeviceOutcome::Answered(answer) => files_and_problems(answer),
        DeviceOutcome::NoAnswer { why, .. } | DeviceOutcome::Refused { why, .. } => {
            (Vec::new(), vec![why.clone()])
        }
    };
    gst::Structure::builder("swsync-order")
        .field("order", order.id().as_str())
        .field("device", outcome.device().as_str())
        .field("complete", outcome.is_complete())
        .field("files", gst::Array::new(files))
        .field("problems", gst::Array::new(problems))
        .build()
}

/// `swsync-order-done`: nothing more will be heard of an order.
fn done_message(order: &Order, result: &Result<Vec<DeviceOutcome>, ControlError>) -> gst::Structure {
    let builder = gst::Structure::builder("swsync-order-done").field("order", order.id().as_str());
    match result {
        Ok(outcomes) => builder
            .field("complete", outcomes.iter().all(DeviceOutcome::is_complete))
            .field("devices", u32::try_from(outcomes.len()).unwrap_or(u32::MAX))
            .build(),
        Err(error) => {
            builder.field("complete", false).field("devices", 0_u32).field("error", error.to_string()).build()
        }
    }
}

/// The files that an answer names (of those that belong together the first and the last), and for frames without
/// one the reason.
pub fn files_and_problems(answer: &Answer) -> (Vec<String>, Vec<String>) {
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    problems.extend(answer.unnumbered.clone());
    for frame in &answer.frames {
        match &frame.fate {
            Fate::Saved { file, .. } => files.push(file.clone()),
            Fate::Recorded(recorded) => {
                files.push(recorded.file.clone());
                files.extend(recorded.last_file.clone());
            }
            Fate::Missed { .. } | Fate::Failed { .. } | Fate::Partly { .. } => {
                problems.extend(frame.why().map(str::to_owned));
            }
        }
    }
    (files, problems)
}
