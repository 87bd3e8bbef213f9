//! Orders that are given here: each is followed by a thread of its own, and all pages see how it stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use swsync_cli::documents::{DeviceResult, NotReadyDocument, OrderDocument, verdict};
use swsync_client::{Armed, Arming, DeviceOutcome, OrderStage, Ordered, Rig, RigSnapshot, is_stoppable};
use swsync_core::certificate::DEFAULT_MAX_ERROR;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::{FrameOutcome, Order, OrderKind, Targets};
use swsync_core::time::Span;

use crate::failure::Failure;
use crate::requests::Wanted;
use crate::state::{Dashboard, now_ms};

/// Orders that are remembered for pages that are opened later.
const REMEMBERED: usize = 20;
/// How often a running order is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long a stop may take to reach the devices.
const STOPPING: Duration = Duration::from_secs(8);

/// How an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It names frames that are still to come.
    Running,
    /// Devices are writing, and answer one after the other.
    Answering,
    /// All answers that will come are there.
    Done,
}

/// An order that was given here, and its answers so far.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderState {
    /// The order.
    pub order: OrderId,
    /// How it stands.
    pub stage: Stage,
    /// `still`, `burst` or `take`.
    pub kind: &'static str,
    /// When it was given, in milliseconds since 1970 by the clock of the dashboard's host.
    pub given_ms: i64,
    /// When its first frame is, in milliseconds of rig time since 1970.
    pub at_ms: i64,
    /// When it stops, if that is known, in milliseconds of rig time since 1970.
    pub stop_ms: Option<i64>,
    /// Whether it can be stopped with sense.
    pub stoppable: bool,
    /// The devices' answers so far, as `swsync shoot --json` has them.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<DeviceResult>"))]
    pub answers: Vec<Value>,
    /// Devices that have not answered yet.
    pub waiting: Vec<DeviceId>,
    /// How far frames of one number were apart by their own stamps, at most, in nanoseconds. Null: not two devices have one.
    pub spread_ns: Option<Span>,
    /// Devices that have not taken it, or have heard of its stop too late.
    pub problems: Vec<String>,
    /// In one line what became of it, once it is done.
    pub verdict: Option<String>,
    /// What `swsync shoot --json` prints, once it is done.
    #[cfg_attr(feature = "schema", schemars(with = "Option<OrderDocument>"))]
    pub document: Option<Value>,
}

/// A request to an order that is followed.
enum Request {
    Stop(Sender<Vec<String>>),
    Cancel(Sender<Vec<String>>),
}

/// The orders that were given here.
#[derive(Debug, Default)]
pub struct Orders(Mutex<Vec<Entry>>);

struct Entry {
    state: OrderState,
    outcomes: Vec<DeviceOutcome>,
    requests: Sender<Request>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.state.fmt(f)
    }
}

impl Orders {
    /// All, the newest last.
    pub fn all(&self) -> Vec<OrderState> {
        self.0.lock().iter().map(|entry| entry.state.clone()).collect()
    }

    /// The one with this name.
    pub fn get(&self, order: &OrderId) -> Option<OrderState> {
        self.0.lock().iter().find(|entry| entry.state.order == *order).map(|entry| entry.state.clone())
    }

    fn add(&self, entry: Entry) {
        let mut all = self.0.lock();
        all.retain(|other| other.state.order != entry.state.order);
        all.push(entry);
        // Those that still run stay, whatever their number.
        let surplus = all.len().saturating_sub(REMEMBERED);
        let mut done = 0;
        all.retain(|entry| {
            let drops = entry.state.stage == Stage::Done && done < surplus;
            done += usize::from(drops);
            !drops
        });
    }

    fn requests(&self, order: &OrderId) -> Option<Sender<Request>> {
        let all = self.0.lock();
        let entry = all.iter().find(|entry| entry.state.order == *order);
        entry.filter(|entry| entry.state.stage == Stage::Running).map(|entry| entry.requests.clone())
    }
}

impl Dashboard {
    /// Changes the state of an order, and tells all pages.
    fn update(&self, order: &OrderId, change: impl FnOnce(&mut Entry)) {
        let state = {
            let mut all = self.orders.0.lock();
            let Some(entry) = all.iter_mut().find(|entry| entry.state.order == *order) else { return };
            change(entry);
            entry.state.clone()
        };
        self.events.send("order", &state);
    }

    /// Gives an order, if enough devices are ready for it, and follows it.
    pub(crate) fn give(self: &Arc<Self>, wanted: &Wanted) -> Result<Order, Failure> {
        let rig = self.rig()?;
        let snapshot = ready(&rig, wanted)?;
        let targets = wanted.to.resolve(&snapshot).map_err(anyhow::Error::from)?;
        let order = wanted.order.clone().to(targets).make(&snapshot).map_err(of_request)?;
        let ordered = rig.give(order.clone(), snapshot, None).map_err(of_ordering)?;
        self.follow(ordered, now_ms());
        Ok(order)
    }

    fn follow(self: &Arc<Self>, ordered: Ordered, given_ms: i64) {
        let (requests, received) = mpsc::channel();
        let order = ordered.order().id().clone();
        let waiting = ordered.snapshot().devices().filter(|device| ordered.order().targets().include(device));
        let state = OrderState {
            order: order.clone(),
            stage: if ordered.is_running() { Stage::Running } else { Stage::Answering },
            kind: kind(ordered.order()),
            given_ms,
            at_ms: ordered.order().at().as_nanos() / 1_000_000,
            stop_ms: ordered.order().stop().map(|stop| stop.as_nanos() / 1_000_000),
            stoppable: is_stoppable(ordered.order()),
            answers: Vec::new(),
            waiting: waiting.cloned().collect(),
            spread_ns: None,
            problems: ordered.problems().iter().map(ToString::to_string).collect(),
            verdict: None,
            document: None,
        };
        self.orders.add(Entry { state, outcomes: Vec::new(), requests });
        self.update(&order, |_| ());
        let dashboard = Arc::clone(self);
        // Ends with the last answer, or once those are given up.
        std::thread::Builder::new()
            .name("swsync-order".into())
            .spawn(move || watch(&dashboard, ordered, &received))
            .expect("the system has room for one more thread");
    }

    /// Stops or cancels `order`, whoever gave it. Returns the devices that did not hear of it, or too late.
    pub(crate) fn end(self: &Arc<Self>, order: &OrderId, cancels: bool) -> Result<Vec<String>, Failure> {
        let (reply, problems) = mpsc::channel();
        let request = if cancels { Request::Cancel(reply) } else { Request::Stop(reply) };
        let sent = self.orders.requests(order).map(|requests| requests.send(request).is_ok());
        if sent == Some(true)
            && let Ok(problems) = problems.recv_timeout(STOPPING)
        {
            return Ok(problems);
        }
        let rig = self.rig()?;
        let found = rig.open_orders().pick(Some(order), |_| true).map_err(anyhow::Error::from)?;
        let mut ordered = rig.follow(found, rig.snapshot()).map_err(anyhow::Error::from)?;
        let problems = if cancels { ordered.cancel() } else { ordered.stop().1 };
        self.follow(ordered, now_ms());
        Ok(problems.iter().map(ToString::to_string).collect())
    }
}

fn of_request(error: swsync_client::RequestError) -> Failure {
    use swsync_client::RequestError;
    match error {
        RequestError::NoRigTime(error) => anyhow::Error::from(error).into(),
        RequestError::Order(error) => anyhow::Error::from(error).into(),
        other => anyhow::Error::from(other).into(),
    }
}

fn of_ordering(error: swsync_client::OrderingError) -> Failure {
    use swsync_client::OrderingError;
    match error {
        OrderingError::Request(error) => of_request(error),
        OrderingError::Control(error) => anyhow::Error::from(error).into(),
        other => anyhow::Error::from(other).into(),
    }
}

/// The rig now, if enough devices are ready.
fn ready(rig: &Rig, wanted: &Wanted) -> Result<RigSnapshot, Failure> {
    let Some(need) = wanted.need else { return Ok(rig.snapshot()) };
    let targets = |snapshot: &RigSnapshot| wanted.to.resolve_early(snapshot).0;
    let order = |snapshot: &RigSnapshot, targets: &Targets| {
        wanted.order.clone().to(targets.clone()).make(snapshot).map_err(of_request)
    };
    match rig.arm(Arming { need, patience: Duration::ZERO }, targets, order)? {
        Armed::Go(snapshot, _) => Ok(*snapshot),
        Armed::NotReady(not_ready) => Err(Failure::conflict(&NotReadyDocument::of(&not_ready))),
    }
}

const fn kind(order: &Order) -> &'static str {
    match order.kind() {
        OrderKind::Take { .. } => "take",
        OrderKind::Burst { .. } => "burst",
        OrderKind::Still { .. } => "still",
    }
}

/// Follows an order to its end. Runs on a thread of its own.
fn watch(dashboard: &Dashboard, mut ordered: Ordered, requests: &Receiver<Request>) {
    let id = ordered.order().id().clone();
    while ordered.poll() == OrderStage::Running {
        let (problems, reply) = match requests.recv_timeout(LOOK) {
            Ok(Request::Stop(reply)) => (ordered.stop().1, reply),
            Ok(Request::Cancel(reply)) => (ordered.cancel(), reply),
            Err(RecvTimeoutError::Timeout) => continue,
            // Forgotten: the order stands, and nobody can ask here any more.
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(LOOK);
                continue;
            }
        };
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let stop = ordered.order().stop().map(|stop| stop.as_nanos() / 1_000_000);
        dashboard.update(&id, |entry| {
            entry.state.stop_ms = stop;
            entry.state.problems.extend(problems.clone());
        });
        // Fails if whoever asked has gone.
        let _ = reply.send(problems);
    }
    let stop = ordered.order().stop().map(|stop| stop.as_nanos() / 1_000_000);
    dashboard.update(&id, |entry| (entry.state.stage, entry.state.stop_ms) = (Stage::Answering, stop));
    let mut answers = ordered.answers();
    for outcome in &mut answers {
        dashboard.update(&id, |entry| entry.add(outcome));
    }
    let (line, document) = match answers.summary() {
        Ok(summary) => {
            let concluded = ordered.conclude(summary, Some(DEFAULT_MAX_ERROR));
            let bounds = Some(concluded.bounds);
            let document = OrderDocument::new(ordered.order(), &concluded.summary, &concluded.common, bounds);
            (verdict(&concluded.summary), serde_json::to_value(document).ok())
        }
        Err(error) => (error.to_string(), None),
    };
    dashboard.update(&id, |entry| {
        let state = &mut entry.state;
        (state.stage, state.verdict, state.document) = (Stage::Done, Some(line), document);
    });
}

impl Entry {
    fn add(&mut self, outcome: DeviceOutcome) {
        self.state.waiting.retain(|device| device != outcome.device());
        self.state.answers.push(serde_json::to_value(DeviceResult::from(&outcome)).unwrap_or_default());
        self.outcomes.push(outcome);
        self.state.spread_ns = spread(&self.outcomes);
    }
}

/// How far frames of one number are apart, at most.
fn spread(outcomes: &[DeviceOutcome]) -> Option<Span> {
    let mut times: BTreeMap<u64, (Span, Span, usize)> = BTreeMap::new();
    for outcome in outcomes {
        let DeviceOutcome::Answered(answer) = outcome else { continue };
        for run in &answer.frames {
            let FrameOutcome::Saved { info, .. } = &run.outcome else { continue };
            let phase = info.phase_error_ns;
            let (least, most, count) = times.entry(info.number).or_insert((phase, phase, 0));
            (*least, *most, *count) = ((*least).min(phase), (*most).max(phase), *count + 1);
        }
    }
    times.into_values().filter(|(.., count)| *count > 1).map(|(least, most, _)| most - least).max()
}

#[cfg(test)]
mod tests {
    use swsync_cli::testing::{answer, name, saved};
    use swsync_core::order::FrameRun;

    use super::*;

    fn outcome(device: &str, frames: &[(u64, i64)]) -> DeviceOutcome {
        let runs = frames.iter().map(|(number, phase)| {
            let FrameRun { outcome, .. } = saved(*number);
            let FrameOutcome::Saved { file, bytes, mut info } = outcome else { panic!("it is saved") };
            (info.number, info.phase_error_ns) = (*number, Span::from_micros(*phase));
            FrameRun::one(*number, FrameOutcome::Saved { file, bytes, info })
        });
        let mut answer = answer(runs.collect());
        answer.device = name(device);
        DeviceOutcome::Answered(answer)
    }

    #[test]
    fn the_spread_is_of_frames_of_one_number() {
        let one = outcome("a", &[(7, -4), (8, 100)]);
        assert_eq!(spread(std::slice::from_ref(&one)), None, "one device has none");
        assert_eq!(spread(&[one.clone(), outcome("b", &[(7, 9)])]), Some(Span::from_micros(13)));
        assert_eq!(spread(&[one, outcome("b", &[(9, 9)])]), None, "another number");
    }
}
