//! Orders that an application gives by the signal `shoot`: they are placed in the background, and messages report the outcome.

use std::sync::Arc;
use std::time::Duration;

use gst::glib;
use swsync_core::name::{Name, OrderId};
use swsync_core::order::Order;
use swsync_core::time::Span;
use swsync_rig::{ControlError, DeviceOutcome, Session, Summary};

use super::messages::files_and_problems;
use super::service::OrderService;

/// How long after the last frame's instant a device may take to write its files and answer.
const WRITE_TIME: Duration = Duration::from_secs(20);

/// The longest frame period that is waited for.
const SLOWEST_PERIOD: Span = Span::from_millis(100);

/// An order's id that sorts by time and that no other device chooses.
fn new_id() -> OrderId {
    let now = glib::DateTime::now_utc().and_then(|now| now.format("%Y%m%d-%H%M%S"));
    let now = now.map_or_else(|_| "undated".into(), |text| text.to_string());
    Name::new(format!("shot-{now}-{:04x}", glib::random_int() & 0xffff))
        .expect("digits, letters and dashes make a name")
}

/// Orders `count` frames from the whole rig, the first one `delay` from now. Returns the order's id, or why it cannot be placed.
///
/// A thread posts the outcome on the bus of the service's element. It ends when every device has answered, or when no more answers
/// can be expected.
pub fn place_shot(
    service: &OrderService,
    session: Arc<Session>,
    delay: Span,
    count: u32,
) -> Result<OrderId, String> {
    let now = service.rig_now().ok_or("the pipeline has no clock yet, so rig time is unknown")?;
    let order = Order::burst(new_id(), now + delay, count).map_err(|error| error.to_string())?;
    let order = order.on_timescale(service.timescale());
    let id = order.id().clone();
    let element = service.element().clone();
    let settled = order.settled_at(SLOWEST_PERIOD, service.latency()).unwrap_or(order.at());
    let timeout = (settled - now).to_duration() + WRITE_TIME;
    let run = move || {
        let result = session.place(&order, timeout, |outcome| element.post(outcome_message(&order, outcome)));
        element.post(done_message(&order, &result));
    };
    let spawned = std::thread::Builder::new().name("swsync-shoot".into()).spawn(run);
    spawned.map_err(|error| format!("no thread to wait for the answers in: {error}"))?;
    Ok(id)
}

/// What is wrong with an answer about other frames than the order names.
fn stray(order: &Order, outcome: &DeviceOutcome) -> Option<String> {
    match outcome {
        DeviceOutcome::Answered(answer) => answer.deviation_from(order),
        DeviceOutcome::NoAnswer { .. } | DeviceOutcome::Refused { .. } => None,
    }
}

fn is_complete(order: &Order, outcome: &DeviceOutcome) -> bool {
    outcome.is_complete() && stray(order, outcome).is_none()
}

/// `swsync-order`: the outcome of an order on one device.
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

/// `swsync-order-done`: no more answers to an order will come.
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
