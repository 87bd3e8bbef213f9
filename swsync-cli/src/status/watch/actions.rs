//! What keys do to the rig: shoot, record, stop. Each runs in a thread of its own and tells what happens.

use std::time::Duration;

use swsync_client::{
    Armed, Arming, DeviceOutcome, NotReady, OrderProblem, OrderRequest, Ordered, Rig, is_stoppable,
};
use swsync_core::name::OrderId;
use swsync_core::order::{FrameOutcome, Targets};
use swsync_core::status::Quorum;

use crate::orders::{bounds, report};

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A still with all devices.
    Shoot,
    /// A take of this name with all devices, until it is stopped.
    Record(OrderId),
    /// Stop this order.
    Stop(OrderId),
}

/// How a message is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It is so.
    Plain,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
}

/// A line for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// How it is meant.
    pub tone: Tone,
    /// What happened.
    pub text: String,
}

impl Message {
    /// A message.
    pub fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { tone, text: text.into() }
    }
}

impl Action {
    /// Does it, and tells what happens. Returns whether an order was given, or stopped.
    pub fn run(&self, rig: &Rig, tell: &dyn Fn(Message)) -> bool {
        let done = match self {
            Self::Shoot => shoot(rig, tell),
            Self::Record(id) => record(rig, id, tell),
            Self::Stop(order) => stop(rig, order, tell).map(|()| true),
        };
        done.unwrap_or_else(|error| {
            tell(Message::new(Tone::Bad, format!("NOT {}: {error:#}", self.done())));
            false
        })
    }

    const fn done(&self) -> &'static str {
        match self {
            Self::Shoot => "shot",
            Self::Record(_) => "recorded",
            Self::Stop(_) => "stopped",
        }
    }
}

/// Gives what is requested, if all devices are ready for it.
fn give(
    rig: &Rig,
    request: &OrderRequest,
    what: &str,
    tell: &dyn Fn(Message),
) -> anyhow::Result<Option<Ordered>> {
    let arming = Arming { need: Quorum::All, patience: Duration::ZERO };
    let snapshot = match rig.arm(arming, |_| Targets::All, |snapshot, _| request.make(snapshot))? {
        Armed::Go(snapshot, _) => *snapshot,
        Armed::NotReady(not_ready) => {
            tell(Message::new(Tone::Bad, format!("NOT {what}: {}", who(&not_ready))));
            return Ok(None);
        }
    };
    let ordered = rig.give(request.make(&snapshot)?, snapshot, None)?;
    Ok(Some(ordered))
}

/// Who is not ready, and why.
fn who(not_ready: &NotReady) -> String {
    let problems = not_ready.devices.iter().filter(|ready| !ready.is_ready());
    let problems: Vec<_> = problems
        .map(|ready| format!("{} is not ready: {}", ready.device, ready.problems.join(", ")))
        .collect();
    match &problems[..] {
        [] => "no device knows rig time".into(),
        problems => problems.join("; "),
    }
}

fn shoot(rig: &Rig, tell: &dyn Fn(Message)) -> anyhow::Result<bool> {
    let Some(mut ordered) = give(rig, &OrderRequest::still(), "shot", tell)? else { return Ok(false) };
    tell(Message::new(Tone::Plain, format!("{}: shooting", ordered.order().id())));
    answers(&mut ordered, tell)?;
    Ok(true)
}

fn record(rig: &Rig, id: &OrderId, tell: &dyn Fn(Message)) -> anyhow::Result<bool> {
    let request = OrderRequest::take(None).named(id.clone());
    let Some(ordered) = give(rig, &request, "recorded", tell)? else { return Ok(false) };
    warn(ordered.problems(), tell);
    tell(Message::new(
        Tone::Plain,
        format!("{id}: recording from in 1 s on; r stops it, and so does swsync stop"),
    ));
    Ok(true)
}

fn stop(rig: &Rig, order: &OrderId, tell: &dyn Fn(Message)) -> anyhow::Result<()> {
    let order = rig.open_orders().pick(Some(order), is_stoppable)?;
    let mut ordered = rig.follow(order, rig.snapshot())?;
    let (at, problems) = ordered.stop();
    warn(&problems, tell);
    let length = (at - ordered.order().at()).as_secs_f64().max(0.0);
    let text = format!("{}: stopped after {length:.1} s; waiting for whole files", ordered.order().id());
    tell(Message::new(Tone::Plain, text));
    answers(&mut ordered, tell)
}

fn warn(problems: &[OrderProblem], tell: &dyn Fn(Message)) {
    problems.iter().for_each(|problem| tell(Message::new(Tone::Bad, problem.to_string())));
}

/// Waits for the answers; tells at once who has not saved everything, and at the end the result.
fn answers(ordered: &mut Ordered, tell: &dyn Fn(Message)) -> anyhow::Result<()> {
    let mut answers = ordered.answers();
    for outcome in answers.by_ref().filter(|outcome| !outcome.is_complete()) {
        tell(Message::new(Tone::Bad, format!("{}: {}", outcome.device(), why(&outcome))));
    }
    let conclusion = ordered.conclude(answers.summary()?, None);
    for difference in &conclusion.summary.differences {
        tell(Message::new(Tone::Bad, difference.what.clone()));
    }
    let tone = if conclusion.is_complete() { Tone::Good } else { Tone::Bad };
    let text = format!(
        "{}: {}{}",
        ordered.order().id(),
        report::verdict(&conclusion.summary),
        bounds::text(&conclusion.bounds)
    );
    tell(Message::new(tone, text));
    Ok(())
}

/// Why a device has not saved everything.
fn why(outcome: &DeviceOutcome) -> String {
    match outcome {
        DeviceOutcome::NoAnswer { why, .. } => format!("no answer: {why}"),
        DeviceOutcome::Refused { why, .. } => format!("refused: {why}"),
        DeviceOutcome::Answered(answer) => {
            let lost = answer
                .frames
                .iter()
                .filter(|run| !matches!(run.outcome, FrameOutcome::Saved { .. } | FrameOutcome::Recorded(_)));
            let reasons = lost.filter_map(|run| run.why());
            let notes = answer.unnumbered.iter().chain(&answer.unfinished).map(String::as_str);
            let reason = reasons.chain(notes).next().unwrap_or("no reason is known");
            format!("saved {} of {} frames: {reason}", answer.saved(), answer.named())
        }
    }
}
