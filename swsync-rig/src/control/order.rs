//! Placing an order: the loop that carries out what [`Placement`] decides.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use swsync_core::control::{decode, encode};
use swsync_core::name::DeviceId;
use swsync_core::order::{Answer, Difference, Order, differences};

use super::keys::{Aspect, Member};
use super::members::Change;
use super::message::Roster;
use super::placement::{Action, Placement, SETTLE, SILENCE};
use super::session::Inbox;
use super::{ControlError, Session};

/// How much longer Zenoh keeps a query open than [`Session::place`] waits: so that it is the latter
/// that says what was waited for.
const SLACK: Duration = Duration::from_secs(1);

/// What became of an order on one device.
#[derive(Debug, Clone, PartialEq)]
pub enum DeviceOutcome {
    /// It accounts for every frame.
    Answered(Answer),
    /// It says nothing: it left, died, is too slow or cannot be reached.
    NoAnswer {
        /// The device.
        device: DeviceId,
        /// Why, for a person.
        why: String,
    },
    /// It answers, but not with what became of the frames.
    Refused {
        /// The device.
        device: DeviceId,
        /// Why, for a person.
        why: String,
    },
}

impl DeviceOutcome {
    /// The device.
    #[must_use]
    pub const fn device(&self) -> &DeviceId {
        match self {
            Self::Answered(answer) => &answer.device,
            Self::NoAnswer { device, .. } | Self::Refused { device, .. } => device,
        }
    }

    /// Whether every frame was saved.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Answered(answer) if answer.is_complete())
    }
}

/// What became of an order in the rig: one outcome for every device, sorted by device.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The outcomes; at least one.
    pub outcomes: Vec<DeviceOutcome>,
    /// Where devices saved frames of other instants than others.
    pub differences: Vec<Difference>,
}

impl Summary {
    /// Of all `outcomes` of `order`.
    #[must_use]
    pub fn new(order: &Order, mut outcomes: Vec<DeviceOutcome>) -> Self {
        outcomes.sort_by(|a, b| a.device().cmp(b.device()));
        let answers = outcomes.iter().filter_map(|outcome| match outcome {
            DeviceOutcome::Answered(answer) => Some(answer),
            DeviceOutcome::NoAnswer { .. } | DeviceOutcome::Refused { .. } => None,
        });
        let differences = differences(order, answers);
        Self { outcomes, differences }
    }

    /// Whether every device saved every frame, and all of the same instants.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.outcomes.iter().all(DeviceOutcome::is_complete) && self.differences.is_empty()
    }

    /// Devices that saved every frame, of the same instants as most.
    #[must_use]
    pub fn complete(&self) -> usize {
        let is_odd = |device| self.differences.iter().any(|difference| difference.odd.contains(device));
        self.outcomes.iter().filter(|outcome| outcome.is_complete() && !is_odd(outcome.device())).count()
    }
}

/// What the threads of Zenoh tell the one that waits.
enum Event {
    Change(Change),
    Reply(Member, Result<Answer, String>),
    Closed(Member),
    Roster(Member, Roster),
    RosterClosed,
    Alive(Member),
}

impl Session {
    /// Sends `order` to every device and waits for what becomes of it, for `timeout` at most: long
    /// enough for its instant to come, its frames to be taken, and their files to be written.
    ///
    /// Every device that is in the rig, or joins it meanwhile, has exactly one outcome, and `on_outcome`
    /// is called with it as soon as it is known.
    ///
    /// The order stands whatever happens to who placed it. To place it again is harmless: a device
    /// serves an order of one id once, and answers again.
    ///
    /// # Errors
    /// [`ControlError::NobodyThere`] or [`ControlError::Connect`] if there is no device.
    pub fn place(
        &self,
        order: &Order,
        timeout: Duration,
        on_outcome: impl FnMut(&DeviceOutcome),
    ) -> Result<Summary, ControlError> {
        self.place_since(order, Instant::now(), timeout, on_outcome)
    }

    /// As [`place`](Self::place), for an order that was given at `since`: devices that have left since then are named, too.
    ///
    /// # Errors
    /// As [`place`](Self::place).
    pub fn place_since(
        &self,
        order: &Order,
        since: Instant,
        timeout: Duration,
        mut on_outcome: impl FnMut(&DeviceOutcome),
    ) -> Result<Summary, ControlError> {
        let begin = Instant::now();
        let give_up_at = begin + timeout;
        let mut placement = Placement::new(begin, timeout, order.targets().clone());
        let expected = || self.missed().into_iter().chain(self.left_since(since));
        for (device, why) in expected() {
            placement.expect(device, why, begin);
        }
        let (events, inbox) = mpsc::channel();
        let changes = events.clone();
        self.members.watch(move |change| changes.send(Event::Change(change)).is_ok());

        let mut outcomes = Vec::new();
        while !placement.is_done() {
            let wait = placement.deadline().saturating_duration_since(Instant::now());
            let actions = match inbox.recv_timeout(wait) {
                Ok(Event::Change(change)) => placement.handle_change(change, Instant::now()),
                Ok(Event::Reply(member, reply)) => placement.handle_reply(&member, reply),
                Ok(Event::Closed(member)) => {
                    placement.handle_closed(&member, Instant::now());
                    Vec::new()
                }
                Ok(Event::Roster(member, roster)) => {
                    self.learn(&roster);
                    placement.handle_roster(&member, &roster);
                    for (device, why) in expected() {
                        placement.expect(device, why, Instant::now());
                    }
                    Vec::new()
                }
                Ok(Event::RosterClosed) => {
                    placement.handle_roster_closed();
                    Vec::new()
                }
                Ok(Event::Alive(member)) => {
                    placement.handle_alive(&member, Instant::now());
                    Vec::new()
                }
                Err(RecvTimeoutError::Timeout) => placement.handle_timeout(Instant::now()),
                Err(RecvTimeoutError::Disconnected) => unreachable!("`events` is held above"),
            };
            for action in actions {
                match action {
                    Action::AskOrder(member) => self.ask_order(order, member, give_up_at, events.clone()),
                    Action::AskRoster(member) => {
                        let inbox = Inbox::new(events.clone(), Event::RosterClosed);
                        self.ask_roster(member, SETTLE, inbox, Event::Roster);
                    }
                    Action::AskAlive(member) => self.ask_alive(member, events.clone()),
                    Action::Report(outcome) => {
                        on_outcome(&outcome);
                        outcomes.push(outcome);
                    }
                }
            }
        }
        if outcomes.is_empty() {
            return Err(self.nobody_there(begin.elapsed()));
        }
        Ok(Summary::new(order, outcomes))
    }

    fn ask_alive(&self, member: Member, events: Sender<Event>) {
        let key = self.keys.aspect(&member, Aspect::Status);
        self.ask(&key, None, SILENCE, move |heard| {
            if heard.is_ok() {
                let _ = events.send(Event::Alive(member.clone())); // nobody waits any more: nothing to do
            }
        });
    }

    fn ask_order(&self, order: &Order, member: Member, give_up_at: Instant, events: Sender<Event>) {
        let key = self.keys.aspect(&member, Aspect::Order);
        let timeout = give_up_at.saturating_duration_since(Instant::now()) + SLACK;
        let id = order.id().clone();
        let inbox = Inbox::new(events, Event::Closed(member.clone()));
        self.ask(&key, Some(encode(order)), timeout, move |heard| {
            let reply = heard.and_then(|(_, bytes)| decode(&bytes).map_err(|error| error.to_string()));
            let reply = reply.and_then(|answer: Answer| {
                if answer.order == id && answer.device == member.device {
                    Ok(answer)
                } else {
                    Err(format!("answered as {} for order {}", answer.device, answer.order))
                }
            });
            inbox.put(Event::Reply(member.clone(), reply));
        });
    }
}
