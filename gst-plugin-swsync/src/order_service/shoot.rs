//! Orders given inside an application: placed in the background, reported on the bus.

use std::sync::Arc;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use swsync_core::name::Name;
use swsync_core::name::OrderId;
use swsync_core::order::Order;
use swsync_core::time::Span;
use swsync_rig::control::{ControlError, DeviceOutcome, Session, Summary};

use super::Station;
use super::messages::files_and_problems;

/// How long after the last frame's instant a device may take to write its files and answer.
const WRITE_TIME: Duration = Duration::from_secs(20);

/// The slowest frames that are waited for.
const SLOWEST_PERIOD: Span = Span::from_millis(100);

/// An order's id that sorts by time and that no other device chooses.
fn new_id() -> OrderId {
    let now = glib::DateTime::now_utc().and_then(|now| now.format("%Y%m%d-%H%M%S"));
    let now = now.map_or_else(|_| "undated".into(), |text| text.to_string());
    Name::new(format!("shot-{now}-{:04x}", glib::random_int() & 0xffff))
        .expect("digits, letters and dashes make a name")
}

/// Orders `count` frames from the whole rig, the first one `delay` from now, and posts on `element`'s bus what comes
/// of it. The order's id; or why it cannot even be tried.
///
/// The thread ends when every device has answered, or when none can be expected to any more.
pub fn place_shot(
    element: &gst::Element,
    session: Arc<Session>,
    station: &Station,
    delay: Span,
    count: u32,
) -> Result<OrderId, String> {
    let now = station.rig_now().ok_or("the pipeline has no clock yet, so rig time is unknown")?;
    let order = Order::burst(new_id(), now + delay, count).map_err(|error| error.to_string())?;
    let order = order.on_timescale(station.timescale());
    let id = order.id().clone();
    let element = element.downgrade();
    let settled = order.settled_at(SLOWEST_PERIOD, station.latency()).unwrap_or(order.at());
    let timeout = (settled - now).to_duration() + WRITE_TIME;
    let run = move || {
        let post = |structure: gst::Structure| {
            if let Some(element) = element.upgrade() {
                let message = gst::message::Element::builder(structure).src(&element).build();
                // Without a bus nobody wants to know.
                let _ = element.post_message(message);
            }
        };
        let result = session.place(&order, timeout, |outcome| post(outcome_message(&order, outcome)));
        post(done_message(&order, &result));
    };
    let spawned = std::thread::Builder::new().name("swsync-shoot".into()).spawn(run);
    spawned.map_err(|error| format!("no thread to wait for the answers in: {error}"))?;
    Ok(id)
}

/// What is wrong with an answer for other frames than were asked for.
fn stray(order: &Order, outcome: &DeviceOutcome) -> Option<String> {
    match outcome {
        DeviceOutcome::Answered(answer) => answer.strays_from(order),
        DeviceOutcome::NoAnswer { .. } | DeviceOutcome::Refused { .. } => None,
    }
}

fn is_complete(order: &Order, outcome: &DeviceOutcome) -> bool {
    outcome.is_complete() && stray(order, outcome).is_none()
}

/// `swsync-order`: what became of an order on one device.
fn outcome_message(order: &Order, outcome: &DeviceOutcome) -> gst::Structure {
    let (files, mut problems) = match outcome {
        DeviceOutcome::Answered(answer) => files_and_problems(answer),
        DeviceOutcome::NoAnswer { why, .. } | DeviceOutcome::Refused { why, .. } => {
            (Vec::new(), vec![why.clone()])
        }
    };
    problems.extend(stray(order, outcome));
    gst::Structure::builder("swsync-order")
        .field("order", order.id().as_str())
        .field("device", outcome.device().as_str())
        .field("complete", is_complete(order, outcome))
        .field("files", gst::Array::new(files))
        .field("problems", gst::Array::new(problems))
        .build()
}

/// `swsync-order-done`: nothing more will be heard of an order.
fn done_message(order: &Order, result: &Result<Summary, ControlError>) -> gst::Structure {
    let builder = gst::Structure::builder("swsync-order-done").field("order", order.id().as_str());
    match result {
        Ok(summary) => builder
            .field("complete", summary.is_complete())
            .field("devices", u32::try_from(summary.outcomes.len()).unwrap_or(u32::MAX))
            .field_if(
                "differences",
                gst::Array::new(summary.differences.iter().map(|d| &d.what)),
                !summary.differences.is_empty(),
            )
            .build(),
        Err(error) => {
            builder.field("complete", false).field("devices", 0_u32).field("error", error.to_string()).build()
        }
    }
}
