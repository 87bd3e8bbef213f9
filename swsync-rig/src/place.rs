//! Places an order in the rig: does the I/O that [`Placement`] decides on.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use swsync_core::message::{decode, encode};
use swsync_core::name::Name;
use swsync_core::order::{Answer, Order, Targets};

use crate::hub::keeper::Note;
use crate::keys::{KeepKind, Member, QueryKind};
use crate::link::LinkEvent;
use crate::members::MemberChange;
use crate::message::Roster;
use crate::placement::{Placement, PlacementAction, SETTLE, SILENCE};
use crate::session::Inbox;
use crate::{ControlError, DeviceOutcome, Session, Summary};

/// How much longer Zenoh keeps a query open than [`Session::place`] waits, so that the latter's message says what it waited
/// for.
const SLACK: Duration = Duration::from_secs(1);

/// Events from Zenoh's threads for the thread that waits.
enum PlacementEvent {
    Change(MemberChange),
    Reply(Member, Result<Answer, String>),
    Closed(Member),
    Link(LinkEvent),
    Roster(Name, Roster),
    RosterClosed,
    Alive(Member),
}

impl Session {
    /// Sends `order` to every device and waits for its outcome, for `timeout` at most: long enough for its instant to come,
    /// its frames to be taken, and their files to be written.
    ///
    /// Every device that is in the rig, or joins it meanwhile, has exactly one outcome. `on_outcome` is called with it as soon
    /// as it is known.
    ///
    /// The order stands even if its sender disappears. Placing it again is harmless: a device executes an order of one id
    /// once, and answers again.
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

    /// As [`place`](Self::place), for an order that was given at `since`: devices that have left since then have an outcome too.
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
        let _following = self.follow_members();
        self.keep(order.targets(), &Note::Order(order.clone()));
        let begin = Instant::now();
        let give_up_at = begin + timeout;
        let mut placement = Placement::new(begin, timeout, order.targets().clone());
        let expected = || self.missed().into_iter().chain(self.left_since(since));
        for (device, why) in expected() {
            placement.expect(device, why, begin);
        }
        let (events, inbox) = mpsc::channel();
        let changes = events.clone();
        self.members().watch(move |change| changes.send(PlacementEvent::Change(change)).is_ok());
        let link = events.clone();
        self.link().watch(move |event| link.send(PlacementEvent::Link(event)).is_ok());

        let mut outcomes = Vec::new();
        while !placement.is_done() {
            let wait = placement.deadline().saturating_duration_since(Instant::now());
            let actions = match inbox.recv_timeout(wait) {
                Ok(PlacementEvent::Change(change)) => placement.handle_change(change, Instant::now()),
                Ok(PlacementEvent::Reply(member, reply)) => placement.handle_reply(&member, reply),
                Ok(PlacementEvent::Closed(member)) => {
                    placement.handle_closed(&member, Instant::now());
                    Vec::new()
                }
                Ok(PlacementEvent::Link(event)) => {
                    self.handle_link(&mut placement, event, &events);
                    Vec::new()
                }
                Ok(PlacementEvent::Roster(place, roster)) => {
                    self.members().learn(&roster);
                    placement.handle_roster(&place, &roster);
                    for (device, why) in expected() {
                        placement.expect(device, why, Instant::now());
                    }
                    Vec::new()
                }
                Ok(PlacementEvent::RosterClosed) => {
                    placement.handle_roster_closed();
                    Vec::new()
                }
                Ok(PlacementEvent::Alive(member)) => {
                    placement.handle_alive(&member, Instant::now());
                    Vec::new()
                }
                Err(RecvTimeoutError::Timeout) => placement.handle_timeout(Instant::now()),
                Err(RecvTimeoutError::Disconnected) => unreachable!("`events` is held above"),
            };
            for action in actions {
                match action {
                    PlacementAction::AskOrder(member) => {
                        self.ask_order(order, member, give_up_at, events.clone())
                    }
                    PlacementAction::AskAlive(member) => self.ask_alive(member, events.clone()),
                    PlacementAction::Report(outcome) => {
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

    fn handle_link(&self, placement: &mut Placement, event: LinkEvent, events: &Sender<PlacementEvent>) {
        match event {
            LinkEvent::Linked => placement.handle_linked(Instant::now()),
            LinkEvent::Lost => placement.handle_link_lost(),
            LinkEvent::HubCame(hub) => {
                if placement.handle_hub() {
                    let inbox = Inbox::new(events.clone(), PlacementEvent::RosterClosed);
                    self.ask_roster(hub, SETTLE, inbox, PlacementEvent::Roster);
                }
            }
        }
    }

    /// Has the hubs keep what is for some devices only: the hubs' own may not be among them.
    pub(crate) fn keep(&self, targets: &Targets, note: &Note) {
        if let Targets::Devices(_) = targets {
            let key = self.keys().keep_all(KeepKind::Note);
            self.ask(&key, Some(encode(note)), SETTLE, |_| ());
        }
    }

    fn ask_alive(&self, member: Member, events: Sender<PlacementEvent>) {
        let key = self.keys().query(&member, QueryKind::Status);
        self.ask(&key, None, SILENCE, move |reply| {
            if reply.is_ok() {
                let _ = events.send(PlacementEvent::Alive(member.clone())); // fails if the caller has given up
            }
        });
    }

    fn ask_order(&self, order: &Order, member: Member, give_up_at: Instant, events: Sender<PlacementEvent>) {
        let key = self.keys().query(&member, QueryKind::Order);
        let timeout = give_up_at.saturating_duration_since(Instant::now()) + SLACK;
        let id = order.id().clone();
        let inbox = Inbox::new(events, PlacementEvent::Closed(member.clone()));
        self.ask(&key, Some(encode(order)), timeout, move |reply| {
            let reply = reply.and_then(|(_, bytes)| decode(&bytes).map_err(|error| error.to_string()));
            let reply = reply.and_then(|answer: Answer| {
                if answer.order == id && answer.device == member.device {
                    Ok(answer)
                } else {
                    Err(format!("answered as {} for order {}", answer.device, answer.order))
                }
            });
            inbox.put(PlacementEvent::Reply(member.clone(), reply));
        });
    }
}
