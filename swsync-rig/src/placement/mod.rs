//! Decides which devices to send an order to, and on one outcome for every device. Sans-IO.
//!
//! Every device that is present gets the order, and so does every device that joins while it is open. A device that goes before
//! it answers (it left, its process died, its WiFi is gone) has [`AWAY_GRACE`] to come back, and then gets the order again: a
//! device executes an order once even if it arrives twice. The hubs are also asked for their rosters, so that a device which this
//! session cannot reach is named rather than forgotten. While the session has no link, nobody is given up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use swsync_core::name::{DeviceId, Name};
use swsync_core::order::{Answer, Targets};

use crate::keys::Member;
use crate::members::MemberChange;
use crate::message::Roster;
use crate::outcome::DeviceOutcome;
use crate::settling::Settling;

/// How long a device that is gone is waited for. Chosen: a device whose hub is lost needs up to two seconds more than others to notice
/// that and to come back through another hub; and the operator wants to know soon.
pub(crate) const AWAY_GRACE: Duration = Duration::from_secs(4);

/// A device that is gone is not waited for longer than this from its last sign of life on: a hub reports one that hangs as gone only
/// after up to ten seconds, and what is told then is no news. Chosen: the time to notice that a hub hangs, and to come back.
const AWAY_SILENCE: Duration = Duration::from_millis(5_500);

/// How long a device is waited for that was not there from the beginning.
pub(crate) const ABSENT_GRACE: Duration = Duration::from_secs(2);

/// How long the view of the rig may take to settle after the order.
pub(crate) const SETTLE: Duration = Duration::from_secs(1);

/// How soon a device that is present, but whose query ended unanswered, gets the order again: its token can arrive before the
/// route to its queryable.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// How often the query of a present device may end unanswered: for 3.4 s. It finds out within 2 s that a hub does not reach it
/// ([`crate::reach`]).
const MAX_TRIES: u32 = 17;

/// How often a silent device that has the order is asked whether it is alive: orders can take long.
const CHECK: Duration = Duration::from_millis(500);

/// A device that does not even confirm that it is alive for this long is hung, or out of reach. Chosen: longer than it takes to notice
/// that a hub is lost and to go on with another one; and the operator wants to know soon.
pub(crate) const SILENCE: Duration = Duration::from_millis(3_500);

/// What to do next.
#[derive(Debug, PartialEq)]
pub(crate) enum PlacementAction {
    /// Send this member the order, then call [`Placement::handle_closed`] when its query ends.
    AskOrder(Member),
    /// Ask this member whether it is alive, then call [`Placement::handle_alive`] if it answers.
    AskAlive(Member),
    /// Report the outcome of a device. There is one for each.
    Report(DeviceOutcome),
}

/// An order that is being placed.
#[derive(Debug)]
pub(crate) struct Placement {
    /// Until when the view of the rig may settle; `None` afterwards.
    settle_until: Option<Instant>,
    give_up_at: Instant,
    timeout: Duration,
    targets: Targets,
    devices: BTreeMap<DeviceId, PlacedDevice>,
    settling: Settling,
    /// Whether this session has a link.
    linked: bool,
}

#[derive(Debug)]
struct PlacedDevice {
    /// Its present instances: two while the lease of an old one runs.
    present: BTreeSet<Name>,
    /// Number of queries that have not ended.
    open: usize,
    /// When it last gave a sign of life, or came.
    last_alive: Instant,
    /// When it was last asked whether it is alive.
    checked: Instant,
    progress: DeviceProgress,
    /// Why one of several present instances has refused the order.
    refused: Option<String>,
}

#[derive(Debug)]
enum DeviceProgress {
    /// The order was sent to it, for the `tries`th time since it came.
    Asked { tries: u32 },
    /// It is present, but its queries ended without an answer.
    Unanswered { tries: u32, ask_again_at: Instant },
    /// It is gone, and may come back.
    Away { since: Instant },
    /// It is named by the order or belongs to the rig, but was never present: why it may be missing.
    Absent { since: Instant, why: String },
    /// Its outcome is reported.
    Done,
}

impl Placement {
    pub(crate) fn new(now: Instant, timeout: Duration, targets: Targets) -> Self {
        let absent = |device: &DeviceId| {
            let why = "is not in the rig".to_owned();
            (device.clone(), PlacedDevice::new(DeviceProgress::Absent { since: now, why }, now))
        };
        let devices = match &targets {
            Targets::All => BTreeMap::new(),
            Targets::Devices(devices) => devices.iter().map(absent).collect(),
        };
        Self {
            targets,
            settle_until: Some(now + SETTLE.min(timeout)),
            give_up_at: now + timeout,
            timeout,
            devices,
            settling: Settling::default(),
            linked: true,
        }
    }

    /// Handles that `device` belongs to the rig, but is missed, and `why`.
    pub(crate) fn expect(&mut self, device: DeviceId, why: String, now: Instant) {
        if !self.targets.include(&device) {
            return;
        }
        let new = || PlacedDevice::new(DeviceProgress::Absent { since: now, why: String::new() }, now);
        let device = self.devices.entry(device).or_insert_with(new);
        if let DeviceProgress::Absent { why: known, .. } = &mut device.progress {
            *known = why;
        }
    }

    /// Handles that a device has come or gone.
    pub(crate) fn handle_change(&mut self, change: MemberChange, now: Instant) -> Vec<PlacementAction> {
        match change {
            MemberChange::Came(member) => self.handle_came(member, now),
            MemberChange::Left(member) => {
                if let Some(device) = self.devices.get_mut(&member.device) {
                    device.handle_left(&member.instance, now);
                }
                Vec::new()
            }
        }
    }

    fn handle_came(&mut self, member: Member, now: Instant) -> Vec<PlacementAction> {
        self.settling.handle_seen(&member);
        if !self.targets.include(&member.device) {
            return Vec::new();
        }
        let device = self
            .devices
            .entry(member.device.clone())
            .or_insert_with(|| PlacedDevice::new(DeviceProgress::Asked { tries: 1 }, now));
        device.present.insert(member.instance.clone());
        (device.last_alive, device.checked) = (now, now);
        if device.is_done() {
            return Vec::new();
        }
        device.progress = DeviceProgress::Asked { tries: 1 };
        device.open += 1;
        vec![PlacementAction::AskOrder(member)]
    }

    /// Handles that the link of this session is lost. Nobody can be reached, and nobody is given up for that.
    pub(crate) const fn handle_link_lost(&mut self) {
        self.linked = false;
    }

    /// Handles that there is a link again. Members are seen again through it.
    pub(crate) fn handle_linked(&mut self, now: Instant) {
        self.linked = true;
        for device in self.devices.values_mut() {
            (device.last_alive, device.checked) = (now, now);
            match &mut device.progress {
                DeviceProgress::Away { since } | DeviceProgress::Absent { since, .. } => *since = now,
                DeviceProgress::Unanswered { ask_again_at, .. } => *ask_again_at = now + ASK_AGAIN,
                DeviceProgress::Asked { .. } | DeviceProgress::Done => {}
            }
        }
    }

    /// Handles that another hub was seen. `true`: ask it for its roster, then call [`handle_roster`](Self::handle_roster) with that, and
    /// [`handle_roster_closed`](Self::handle_roster_closed) when the query ends.
    #[must_use]
    pub(crate) const fn handle_hub(&mut self) -> bool {
        self.settling.handle_hub()
    }

    /// Handles the answer of a member, or why it refuses.
    pub(crate) fn handle_reply(
        &mut self,
        member: &Member,
        reply: Result<Answer, String>,
    ) -> Vec<PlacementAction> {
        let device = member.device.clone();
        let outcome = match reply {
            Ok(answer) => DeviceOutcome::Answered(answer),
            Err(why) => {
                // Another process with this id is there: the one that came first, or the one before. It may have the order.
                let placed = self.devices.get_mut(&device);
                if let Some(placed) = placed.filter(|placed| placed.has_others(&member.instance)) {
                    placed.refused = Some(why);
                    return Vec::new();
                }
                DeviceOutcome::Refused { device, why }
            }
        };
        self.report(outcome).into_iter().collect()
    }

    /// Handles the end of an order query. Its reply, if any, came before.
    pub(crate) fn handle_closed(&mut self, member: &Member, now: Instant) {
        if let Some(device) = self.devices.get_mut(&member.device) {
            device.handle_closed(now);
        }
    }

    /// Handles a sign of life of a member.
    pub(crate) fn handle_alive(&mut self, member: &Member, now: Instant) {
        if let Some(device) = self.devices.get_mut(&member.device) {
            device.last_alive = now;
        }
    }

    /// Handles the roster of the hub at `by`.
    pub(crate) fn handle_roster(&mut self, by: &Name, roster: &Roster) {
        self.settling.handle_roster(by, roster);
    }

    /// Handles the end of a query for a roster. Its reply, if any, came before.
    pub(crate) const fn handle_roster_closed(&mut self) {
        self.settling.handle_closed();
    }

    /// Handles that time has passed. Early calls are no-ops.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<PlacementAction> {
        let mut actions = Vec::new();
        if !self.linked && now < self.give_up_at {
            return actions;
        }
        if self.settle_until.take_if(|until| now >= *until).is_some() {
            actions.extend(self.name_unreachable(now));
        }
        let ids: Vec<_> = self.devices.keys().cloned().collect();
        for id in ids {
            actions.extend(self.check(&id, now));
        }
        actions
    }

    /// Reports devices that others see but this session does not.
    fn name_unreachable(&mut self, now: Instant) -> Vec<PlacementAction> {
        let mut outcomes = Vec::new();
        for (device, by) in self.settling.unseen().filter(|(device, _)| self.targets.include(device)) {
            let progress = DeviceProgress::Asked { tries: 0 };
            self.devices.entry(device.clone()).or_insert_with(|| PlacedDevice::new(progress, now));
            let why = format!("seen by {by}, but not reachable from here");
            outcomes.push(DeviceOutcome::NoAnswer { device: device.clone(), why });
        }
        outcomes.into_iter().filter_map(|outcome| self.report(outcome)).collect()
    }

    /// Decides whether to ask a device again or to give it up.
    fn check(&mut self, id: &DeviceId, now: Instant) -> Vec<PlacementAction> {
        let (give_up, timeout) = (now >= self.give_up_at, self.timeout);
        let Some(device) = self.devices.get_mut(id) else {
            return Vec::new();
        };
        let why = match &device.progress {
            DeviceProgress::Away { since } if now >= device.away_until(*since) => {
                "left the rig before it answered".to_owned()
            }
            DeviceProgress::Absent { since, why } if now >= *since + ABSENT_GRACE => why.clone(),
            DeviceProgress::Asked { .. }
            | DeviceProgress::Unanswered { .. }
            | DeviceProgress::Away { .. }
            | DeviceProgress::Absent { .. }
                if give_up =>
            {
                format!("did not answer within {timeout:?}")
            }
            DeviceProgress::Asked { .. } if now >= device.last_alive + SILENCE => {
                let silent = (now - device.last_alive).as_secs_f64();
                format!("has said nothing for {silent:.1} s: it is hung, or out of reach")
            }
            DeviceProgress::Asked { .. } if now >= device.checked + CHECK => {
                device.checked = now;
                return device.members(id).map(PlacementAction::AskAlive).collect();
            }
            &DeviceProgress::Unanswered { tries, ask_again_at } if now >= ask_again_at => {
                if tries < MAX_TRIES {
                    return device.ask_again(id, tries);
                }
                format!("gave no answer, asked {tries} times")
            }
            DeviceProgress::Asked { .. }
            | DeviceProgress::Unanswered { .. }
            | DeviceProgress::Away { .. }
            | DeviceProgress::Absent { .. }
            | DeviceProgress::Done => {
                return Vec::new();
            }
        };
        let device = id.clone();
        let outcome = match self.devices.get_mut(id).and_then(|placed| placed.refused.take()) {
            Some(why) => DeviceOutcome::Refused { device, why },
            None => DeviceOutcome::NoAnswer { device, why },
        };
        self.report(outcome).into_iter().collect()
    }

    /// Reports the device's outcome, unless it has one.
    fn report(&mut self, outcome: DeviceOutcome) -> Option<PlacementAction> {
        let device = self.devices.get_mut(outcome.device())?;
        if device.is_done() {
            return None;
        }
        device.progress = DeviceProgress::Done;
        Some(PlacementAction::Report(outcome))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        if !self.linked {
            return self.give_up_at;
        }
        let due = self.devices.values().filter_map(|device| match device.progress {
            DeviceProgress::Unanswered { ask_again_at, .. } => Some(ask_again_at),
            DeviceProgress::Away { since } => Some(device.away_until(since)),
            DeviceProgress::Absent { since, .. } => Some(since + ABSENT_GRACE),
            DeviceProgress::Asked { .. } => Some((device.last_alive + SILENCE).min(device.checked + CHECK)),
            DeviceProgress::Done => None,
        });
        let settle = self.settle_until.filter(|_| !self.settling.is_settled());
        due.chain(settle).fold(self.give_up_at, Instant::min)
    }

    /// Whether every device has an outcome.
    pub(crate) fn is_done(&self) -> bool {
        (self.settling.is_settled() || self.settle_until.is_none())
            && self.devices.values().all(PlacedDevice::is_done)
    }
}

impl PlacedDevice {
    const fn new(progress: DeviceProgress, now: Instant) -> Self {
        Self { present: BTreeSet::new(), open: 0, last_alive: now, checked: now, progress, refused: None }
    }

    fn members(&self, id: &DeviceId) -> impl Iterator<Item = Member> {
        self.present.iter().map(|instance| Member { device: id.clone(), instance: instance.clone() })
    }

    const fn is_done(&self) -> bool {
        matches!(self.progress, DeviceProgress::Done)
    }

    fn has_others(&self, instance: &Name) -> bool {
        self.present.iter().any(|present| present != instance)
    }

    /// How long it is waited for, if it is gone since `since`.
    fn away_until(&self, since: Instant) -> Instant {
        (since + AWAY_GRACE).min(self.last_alive + AWAY_SILENCE)
    }

    fn handle_left(&mut self, instance: &Name, now: Instant) {
        self.present.remove(instance);
        match self.progress {
            DeviceProgress::Asked { .. } | DeviceProgress::Unanswered { .. } if self.present.is_empty() => {
                // Its answer may still come if it left in good order.
                self.progress = DeviceProgress::Away { since: now };
            }
            DeviceProgress::Asked { .. }
            | DeviceProgress::Unanswered { .. }
            | DeviceProgress::Away { .. }
            | DeviceProgress::Absent { .. }
            | DeviceProgress::Done => {}
        }
    }

    fn handle_closed(&mut self, now: Instant) {
        self.open = self.open.saturating_sub(1);
        match self.progress {
            // Its token is still there: either its loss is the next event, or the query found no route yet.
            DeviceProgress::Asked { tries } if self.open == 0 => {
                self.progress = DeviceProgress::Unanswered { tries, ask_again_at: now + ASK_AGAIN };
            }
            DeviceProgress::Asked { .. }
            | DeviceProgress::Unanswered { .. }
            | DeviceProgress::Away { .. }
            | DeviceProgress::Absent { .. }
            | DeviceProgress::Done => {}
        }
    }

    fn ask_again(&mut self, id: &DeviceId, tries: u32) -> Vec<PlacementAction> {
        self.progress = DeviceProgress::Asked { tries: tries + 1 };
        self.open += self.present.len();
        self.members(id).map(PlacementAction::AskOrder).collect()
    }
}

#[cfg(test)]
mod tests;
