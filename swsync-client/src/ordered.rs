//! An order that was given: how it stands, its stop, and the devices' answers to it.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use swsync_core::certificate::AnsweredBounds;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::{Acknowledgement, CommandOutcome, Disagreement, Order, OrderCommand, OrderRoster};
use swsync_core::status::RigAgreement;
use swsync_core::time::{Rig as RigTime, Span, Timestamp};
use swsync_rig::{ControlError, DeviceOutcome, Session, Summary};

use crate::leaders;
use crate::snapshot::{RigSnapshot, STATUS_TIMEOUT, STOP_LEAD, timeout};

/// How long devices have to take an order, or to hear a command.
const OFFER: Duration = Duration::from_millis(2_500);

/// Time from one question about open orders to the next.
const WATCH: Duration = Duration::from_secs(1);

/// How often [`Ordered::answers`] looks whether a running order is over.
const LOOK: Duration = Duration::from_millis(50);

/// The order is over if so many times in a row every device answered and none had it open.
const CLOSED: u32 = 2;

/// How long devices have to answer for a cancelled order: they write nothing more for it.
const CANCELLED: Duration = Duration::from_secs(12);

/// How an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderStage {
    /// It names frames that are still to come.
    Running,
    /// Its last frame was taken, or it was stopped here. Devices may still be writing.
    Over,
    /// It was stopped or cancelled elsewhere, or is open on no device any more.
    EndedElsewhere,
}

/// A device that has not taken an order, or has not carried out a command for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderProblem {
    /// It has not taken the order. It learns of it when it is back in the rig.
    #[error("{device} has not taken the order: {why}")]
    NotTaken {
        /// The device.
        device: DeviceId,
        /// Why, for a person.
        why: String,
    },
    /// It heard of the stop too late.
    #[error("{device} heard too late: it has recorded {surplus} frames after that instant")]
    Late {
        /// The device.
        device: DeviceId,
        /// The frames that it recorded after the stop.
        surplus: u64,
    },
    /// It does not have the order.
    #[error("{device} does not know of order {order}")]
    Unknown {
        /// The device.
        device: DeviceId,
        /// The order.
        order: OrderId,
    },
    /// It did not reply.
    #[error("{device} may not have heard it: {why}. It learns of it when it is back in the rig")]
    Unheard {
        /// The device.
        device: DeviceId,
        /// Why, for a person.
        why: String,
    },
}

/// An order that was given, here ([`Rig::order`](crate::Rig::order)) or elsewhere ([`Rig::follow`](crate::Rig::follow)).
///
/// Dropping it changes nothing for the devices: the order stands.
pub struct Ordered {
    session: Arc<Session>,
    /// The rig when the order was given.
    snapshot: RigSnapshot,
    order: Order,
    given: Instant,
    /// Longest wait for answers, if the program set one.
    patience: Option<Duration>,
    problems: Vec<OrderProblem>,
    progress: Progress,
}

/// What is known of the order.
enum Progress {
    /// It can be stopped.
    Running {
        /// When devices are asked next whether it is open.
        ask_at: Instant,
        /// How many times in a row it was open nowhere.
        closed: u32,
    },
    /// Devices are being asked for their answers since it was given: it is short.
    Asking(Answers),
    /// It is over, and devices can be asked for their answers.
    Over(OrderStage),
}

impl Ordered {
    /// Gives `order` to the devices. A short one is asked for at once; a longer one, and every take, can be stopped.
    pub(crate) fn give(
        session: &Arc<Session>,
        order: Order,
        snapshot: RigSnapshot,
        patience: Option<Duration>,
    ) -> Result<Self, ControlError> {
        let (given, session) = (Instant::now(), Arc::clone(session));
        if snapshot.is_short(&order) {
            let timeout = patience.unwrap_or_else(|| answer_timeout(&order, &snapshot));
            let answers = Answers::ask(&session, &order, given, timeout);
            let progress = Progress::Asking(answers);
            return Ok(Self { session, snapshot, order, given, patience, problems: Vec::new(), progress });
        }
        let problems = offer(&session, &order)?;
        let progress = Progress::Running { ask_at: Instant::now() + WATCH, closed: 0 };
        Ok(Self { session, snapshot, order, given, patience, problems, progress })
    }

    /// An order that is open already.
    pub(crate) fn open(session: &Arc<Session>, order: Order, snapshot: RigSnapshot) -> Self {
        let given = snapshot.when(order.at());
        let progress = Progress::Running { ask_at: Instant::now(), closed: 0 };
        let session = Arc::clone(session);
        Self { session, snapshot, order, given, patience: None, problems: Vec::new(), progress }
    }

    /// Sets the longest wait for answers; `None`: until the last frame is there, and twelve seconds for writing.
    #[must_use]
    pub fn with_timeout(self, patience: Option<Duration>) -> Self {
        Self { patience, ..self }
    }

    /// The order, with its stop once there is one.
    #[must_use]
    pub const fn order(&self) -> &Order {
        &self.order
    }

    /// The rig when the order was given.
    #[must_use]
    pub const fn snapshot(&self) -> &RigSnapshot {
        &self.snapshot
    }

    /// Whether the order was still running when it was last looked at, and so can be stopped.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self.progress, Progress::Running { .. })
    }

    /// The devices that have not taken a longer order. (Those that do not take a short one say so in their answers.)
    #[must_use]
    pub fn problems(&self) -> &[OrderProblem] {
        &self.problems
    }

    /// How the order stands. Asks the devices, but only a second after the last time; else it returns at once.
    pub fn poll(&mut self) -> OrderStage {
        let (ask_at, closed) = match self.progress {
            Progress::Running { ask_at, closed } => (ask_at, closed),
            Progress::Asking(_) => return OrderStage::Over,
            Progress::Over(stage) => return stage,
        };
        let now = self.snapshot.now_for(&self.order);
        if self.order.ends_at(self.snapshot.longest_period()).is_some_and(|end| end <= now) {
            return self.over(OrderStage::Over);
        }
        if Instant::now() < ask_at {
            return OrderStage::Running;
        }
        let known = self.session.known(STATUS_TIMEOUT);
        let is_open = known.registry.orders.iter().any(|open| open.id() == self.order.id());
        // An order that is open nowhere was cancelled, or stopped with its device.
        let closed = if is_open || !known.silent.is_empty() { 0 } else { closed + 1 };
        if apply_changes(&mut self.order, &known.registry) || closed >= CLOSED {
            return self.over(OrderStage::EndedElsewhere);
        }
        self.progress = Progress::Running { ask_at: Instant::now() + WATCH, closed };
        OrderStage::Running
    }

    fn over(&mut self, stage: OrderStage) -> OrderStage {
        self.progress = Progress::Over(stage);
        stage
    }

    /// Stops the order on all devices at one instant, half a second from now, and returns it together with the devices that
    /// did not hear of it, or too late. Returns before that instant.
    pub fn stop(&mut self) -> (Timestamp<RigTime>, Vec<OrderProblem>) {
        self.stop_in(STOP_LEAD)
    }

    /// As [`stop`](Self::stop), so long from now. Every device must have heard of it by then.
    pub fn stop_in(&mut self, lead: Span) -> (Timestamp<RigTime>, Vec<OrderProblem>) {
        // Instants of another time scale would end it too early, or never.
        let at = self.snapshot.now_for(&self.order) + lead;
        self.order.stop_at(at);
        let problems = self.command(&OrderCommand::Stop { order: self.order.id().clone(), at_ns: at });
        (at, problems)
    }

    /// Cancels the order on all devices: what is not on disk need not be. Returns the devices that did not hear of it.
    pub fn cancel(&mut self) -> Vec<OrderProblem> {
        let problems = self.command(&OrderCommand::Cancel { order: self.order.id().clone() });
        self.patience = self.patience.or(Some(CANCELLED));
        self.over(OrderStage::Over);
        problems
    }

    fn command(&self, command: &OrderCommand) -> Vec<OrderProblem> {
        let heard = self.session.command(command, self.order.targets(), OFFER);
        let problem = |device: DeviceId, reply: Result<CommandOutcome, String>| match reply {
            Ok(CommandOutcome::Late { surplus }) => Some(OrderProblem::Late { device, surplus }),
            Ok(CommandOutcome::Unknown) => {
                Some(OrderProblem::Unknown { device, order: self.order.id().clone() })
            }
            Ok(CommandOutcome::Open | CommandOutcome::Answered) => None,
            Err(why) => Some(OrderProblem::Unheard { device, why }),
        };
        let outcome = |reply: Result<Acknowledgement, _>| reply.map(|ack| ack.outcome);
        heard.into_iter().filter_map(|heard| problem(heard.device, outcome(heard.reply))).collect()
    }

    /// The devices' answers, as they come. Waits first until a running order is over, however long that takes.
    pub fn answers(&mut self) -> Answers {
        while self.poll() == OrderStage::Running {
            std::thread::sleep(LOOK);
        }
        match std::mem::replace(&mut self.progress, Progress::Over(OrderStage::Over)) {
            Progress::Asking(answers) => answers,
            over => {
                self.progress = over;
                let timeout = self.patience.unwrap_or_else(|| answer_timeout(&self.order, &self.snapshot));
                Answers::ask(&self.session, &self.order, self.given, timeout)
            }
        }
    }

    /// What the answers prove, and what the operator should know. `max_error`: how far pictures of one number may be apart;
    /// `None`: as they like. Asks for the devices' statuses again if the order took long.
    #[must_use]
    pub fn conclude(&self, mut summary: Summary, max_error: Option<Span>) -> Conclusion {
        let later = (self.given.elapsed() > leaders::HANDOVER).then(|| RigSnapshot::take(&self.session));
        let snapshot = later.as_ref().unwrap_or(&self.snapshot);
        let common = snapshot.common_of(self.order.targets());
        summary.differences.extend(common.clock_disagreements());
        for difference in &mut summary.differences {
            difference.what = common.with_leaders(&difference.what);
        }
        let mut notices = Vec::new();
        if let Some(split) = leaders::lasting_split(&self.session, self.order.targets(), snapshot) {
            match split.is_apart {
                true => summary.differences.push(Disagreement { what: split.what, devices: split.devices }),
                false => notices.push(split.what),
            }
        }
        let answers = summary.outcomes.iter().filter_map(|outcome| match outcome {
            DeviceOutcome::Answered(answer) => Some(answer),
            DeviceOutcome::NoAnswer { .. } | DeviceOutcome::Refused { .. } => None,
        });
        let bounds = AnsweredBounds::of(answers, max_error);
        Conclusion { summary, notices, bounds, common }
    }
}

/// What became of an order.
#[derive(Debug, Clone)]
pub struct Conclusion {
    /// The outcome on each device, and where devices saved frames of different instants.
    pub summary: Summary,
    /// What the operator should know although it is no difference.
    pub notices: Vec<String>,
    /// How far pictures of one number may be apart, by what is known of clocks and cameras.
    pub bounds: AnsweredBounds,
    /// What the devices of the order have in common.
    pub common: RigAgreement,
}

impl Conclusion {
    /// Whether every device saved every frame, of the same instants.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.summary.is_complete()
    }
}

/// How long to wait for answers.
fn answer_timeout(order: &Order, snapshot: &RigSnapshot) -> Duration {
    timeout(order, snapshot.now_for(order), snapshot.settled(order))
}

/// Offers `order` to the devices: those that do not take it. Fails if there is no device.
pub(crate) fn offer(session: &Session, order: &Order) -> Result<Vec<OrderProblem>, ControlError> {
    let heard = session.offer(order, OFFER);
    if heard.is_empty() {
        return Err(session.nobody_there(OFFER));
    }
    let not_taken = heard.into_iter().filter_map(|heard| Some((heard.device, heard.reply.err()?)));
    Ok(not_taken.map(|(device, why)| OrderProblem::NotTaken { device, why }).collect())
}

/// Applies to `order` what was done to it elsewhere. Returns whether it was cancelled.
fn apply_changes(order: &mut Order, known: &OrderRoster) -> bool {
    let id = order.id().clone();
    let mut cancelled = false;
    if let Some(stop) = known.orders.iter().find(|known| *known.id() == id).and_then(Order::stop) {
        order.stop_at(stop);
    }
    for command in known.commands.iter().filter(|command| *command.order() == id) {
        match command {
            OrderCommand::Stop { at_ns, .. } => order.stop_at(*at_ns),
            OrderCommand::Cancel { .. } => cancelled = true,
        }
    }
    cancelled
}

/// The answers of the devices to an order, as they come: an iterator that blocks until the next one, and ends with the last.
///
/// A thread asks the devices, until all have answered or the time is over, also if this is dropped before.
pub struct Answers {
    outcomes: Receiver<DeviceOutcome>,
    /// `None` once its result was taken.
    worker: Option<JoinHandle<Result<Summary, ControlError>>>,
}

impl Answers {
    fn ask(session: &Arc<Session>, order: &Order, since: Instant, timeout: Duration) -> Self {
        let (tx, outcomes) = mpsc::channel();
        let (session, order) = (Arc::clone(session), order.clone());
        let ask = move || {
            session.place_since(&order, since, timeout, |outcome| {
                let _ = tx.send(outcome.clone()); // fails if nobody reads them
            })
        };
        let worker = std::thread::Builder::new().name("swsync-answers".into()).spawn(ask);
        Self { outcomes, worker: Some(worker.expect("the system has room for one more thread")) }
    }

    /// The answer that has come, if any.
    pub fn try_next(&mut self) -> Option<DeviceOutcome> {
        self.outcomes.try_recv().ok()
    }

    /// Whether all have come, so that [`summary`](Self::summary) returns at once.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.worker.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// All answers together. Waits for those that are still to come.
    ///
    /// # Errors
    /// There is no device.
    pub fn summary(mut self) -> Result<Summary, ControlError> {
        let worker = self.worker.take().expect("only this method takes it, and it consumes the answers");
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Iterator for Answers {
    type Item = DeviceOutcome;

    fn next(&mut self) -> Option<DeviceOutcome> {
        self.outcomes.recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;
    use swsync_core::order::{Fill, OrderKind};

    #[test]
    fn stops_and_cancellations_from_elsewhere_are_applied() {
        let at = Timestamp::from_nanos;
        let kind = OrderKind::Take { segment: None, fill: Fill::Hold };
        let take = |id: &str, stop| Order::new(name(id), at(5), stop, kind).unwrap();
        let stop = |id: &str, ns| OrderCommand::Stop { order: name(id), at_ns: at(ns) };
        let applied = |orders: Vec<Order>, commands: Vec<OrderCommand>| {
            let mut order = take("t", None);
            let cancelled =
                apply_changes(&mut order, &OrderRoster { orders, commands, ..OrderRoster::default() });
            (order.stop(), cancelled)
        };
        assert_eq!(applied(vec![take("t", None), take("u", Some(at(7)))], vec![stop("u", 7)]), (None, false));
        assert_eq!(applied(vec![take("t", Some(at(9)))], Vec::new()), (Some(at(9)), false));
        assert_eq!(
            applied(Vec::new(), vec![stop("t", 9), stop("t", 8)]),
            (Some(at(8)), false),
            "answered everywhere"
        );
        assert_eq!(applied(Vec::new(), vec![OrderCommand::Cancel { order: name("t") }]), (None, true));
    }
}
