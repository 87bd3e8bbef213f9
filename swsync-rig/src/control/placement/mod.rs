//! What becomes of an order that was placed: whom to ask, and one outcome for every device. Sans-IO.
//!
//! Every device that is present is asked, and so is whoever comes while the order is open. A device
//! that goes before it answered (it left, its process died, its WiFi went) has [`AWAY_GRACE`] to come
//! back and is asked again then: an order that arrives twice is served once. Some devices are also
//! asked whom they see, so that one which this session cannot reach is named rather than forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use swsync_core::name::{DeviceId, Name};
use swsync_core::order::{Answer, Targets};

use super::DeviceOutcome;
use super::keys::Member;
use super::members::Change;
use super::message::Roster;
use super::settling::Settling;

/// How long a device that is gone is waited for. Chosen: Zenoh reconnects within a second or two, and
/// who asked wants to know soon.
pub(super) const AWAY_GRACE: Duration = Duration::from_secs(2);

/// How long after the order the picture of who is present may take to become complete.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

/// When a device that is present but whose query ended unanswered is asked again: its token can be
/// here before the way to its queryable is.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// How often a present device's query may end unanswered.
const MAX_TRIES: u32 = 10;

/// When a device that has the order, and says nothing, is asked whether it is well: orders can take long.
const CHECK: Duration = Duration::from_millis(500);

/// A device that does not even say that it is well for so long is hung, or out of reach. Chosen: WiFi loses a device for a
/// second now and then, and who asked wants to know soon.
pub(super) const SILENCE: Duration = Duration::from_millis(2_500);

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Send this member the order, then call [`Placement::handle_closed`] when its query ends.
    AskOrder(Member),
    /// Ask this member whom it sees, then call [`Placement::handle_roster`] with what it says and
    /// [`Placement::handle_roster_closed`] when the query ends.
    AskRoster(Member),
    /// Ask this member whether it is well, then call [`Placement::handle_alive`] if it says so.
    AskAlive(Member),
    /// A device's outcome: one for each.
    Report(DeviceOutcome),
}

/// An order on its way through the rig.
#[derive(Debug)]
pub(super) struct Placement {
    /// Until when the picture may take to settle; `None` afterwards.
    settle_until: Option<Instant>,
    give_up_at: Instant,
    timeout: Duration,
    targets: Targets,
    devices: BTreeMap<DeviceId, Device>,
    settling: Settling,
}

#[derive(Debug)]
struct Device {
    /// Under which instances it is present: two for as long as an old one's lease runs.
    present: BTreeSet<Name>,
    /// Queries that have not ended.
    open: usize,
    /// When something was heard of it last, or it came.
    heard: Instant,
    /// When it was asked last whether it is well.
    checked: Instant,
    standing: Standing,
}

#[derive(Debug)]
enum Standing {
    /// It has the order, by the `tries`th try since it came.
    Asked { tries: u32 },
    /// It is there, but its queries ended without an answer.
    Unanswered { tries: u32, ask_again_at: Instant },
    /// It is gone and may come back.
    Away { since: Instant },
    /// It is meant by name or belongs to the rig, but was never here: why it may be missing.
    Absent { since: Instant, why: String },
    /// Reported.
    Done,
}

impl Placement {
    pub(super) fn new(now: Instant, timeout: Duration, targets: Targets) -> Self {
        let absent = |device: &DeviceId| {
            let why = "is not in the rig".to_owned();
            (device.clone(), Device::new(Standing::Absent { since: now, why }, now))
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
        }
    }

    /// `device` belongs to the rig, but is missed: `why`.
    pub(super) fn expect(&mut self, device: DeviceId, why: String, now: Instant) {
        if !self.targets.include(&device) {
            return;
        }
        let new = || Device::new(Standing::Absent { since: now, why: String::new() }, now);
        let device = self.devices.entry(device).or_insert_with(new);
        if let Standing::Absent { why: known, .. } = &mut device.standing {
            *known = why;
        }
    }

    /// A device has come or gone.
    pub(super) fn handle_change(&mut self, change: Change, now: Instant) -> Vec<Action> {
        match change {
            Change::Came(member) => self.handle_came(member, now),
            Change::Left(member) => {
                if let Some(device) = self.devices.get_mut(&member.device) {
                    device.handle_left(&member.instance, now);
                }
                Vec::new()
            }
        }
    }

    fn handle_came(&mut self, member: Member, now: Instant) -> Vec<Action> {
        if !self.targets.include(&member.device) {
            return self.ask_roster(member).into_iter().collect();
        }
        let device = self
            .devices
            .entry(member.device.clone())
            .or_insert_with(|| Device::new(Standing::Asked { tries: 1 }, now));
        device.present.insert(member.instance.clone());
        (device.heard, device.checked) = (now, now);
        if device.is_done() {
            return Vec::new();
        }
        device.standing = Standing::Asked { tries: 1 };
        device.open += 1;
        let ask_order = Action::AskOrder(member.clone());
        [ask_order].into_iter().chain(self.ask_roster(member)).collect()
    }

    fn ask_roster(&mut self, member: Member) -> Option<Action> {
        self.settling.handle_seen(&member).then_some(Action::AskRoster(member))
    }

    /// A member's answer, or why it refuses.
    pub(super) fn handle_reply(&mut self, member: &Member, reply: Result<Answer, String>) -> Vec<Action> {
        let device = member.device.clone();
        let outcome = match reply {
            Ok(answer) => DeviceOutcome::Answered(answer),
            Err(why) => DeviceOutcome::Refused { device, why },
        };
        self.report(outcome).into_iter().collect()
    }

    /// A query for the order has ended. Its reply, if there was one, came before.
    pub(super) fn handle_closed(&mut self, member: &Member, now: Instant) {
        if let Some(device) = self.devices.get_mut(&member.device) {
            device.handle_closed(now);
        }
    }

    /// A member has said that it is well.
    pub(super) fn handle_alive(&mut self, member: &Member, now: Instant) {
        if let Some(device) = self.devices.get_mut(&member.device) {
            device.heard = now;
        }
    }

    /// `by` has said whom it sees.
    pub(super) fn handle_roster(&mut self, by: &Member, roster: &Roster) {
        self.settling.handle_roster(&by.device, roster);
    }

    /// A query for a roster has ended. Its reply, if there was one, came before.
    pub(super) const fn handle_roster_closed(&mut self) {
        self.settling.handle_closed();
    }

    /// Time has passed. Early calls are no-ops.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.settle_until.take_if(|until| now >= *until).is_some() {
            actions.extend(self.name_unreachable(now));
        }
        let ids: Vec<_> = self.devices.keys().cloned().collect();
        for id in ids {
            actions.extend(self.check(&id, now));
        }
        actions
    }

    /// Those that others see but this session does not.
    fn name_unreachable(&mut self, now: Instant) -> Vec<Action> {
        let mut outcomes = Vec::new();
        for (device, by) in self.settling.unseen().filter(|(device, _)| self.targets.include(device)) {
            let standing = Standing::Asked { tries: 0 };
            self.devices.entry(device.clone()).or_insert_with(|| Device::new(standing, now));
            let why = format!("seen by {by}, but not reachable from here");
            outcomes.push(DeviceOutcome::NoAnswer { device: device.clone(), why });
        }
        outcomes.into_iter().filter_map(|outcome| self.report(outcome)).collect()
    }

    /// Whether a device is to be asked again or given up.
    fn check(&mut self, id: &DeviceId, now: Instant) -> Vec<Action> {
        let (give_up, timeout) = (now >= self.give_up_at, self.timeout);
        let Some(device) = self.devices.get_mut(id) else {
            return Vec::new();
        };
        let why = match &device.standing {
            Standing::Away { since } if now >= *since + AWAY_GRACE => {
                "left the rig before it answered".to_owned()
            }
            Standing::Absent { since, why } if now >= *since + AWAY_GRACE => why.clone(),
            Standing::Asked { .. }
            | Standing::Unanswered { .. }
            | Standing::Away { .. }
            | Standing::Absent { .. }
                if give_up =>
            {
                format!("did not answer within {timeout:?}")
            }
            Standing::Asked { .. } if now >= device.heard + SILENCE => {
                let silent = (now - device.heard).as_secs_f64();
                format!("has said nothing for {silent:.1} s: it is hung, or out of reach")
            }
            Standing::Asked { .. } if now >= device.checked + CHECK => {
                device.checked = now;
                return device.members(id).map(Action::AskAlive).collect();
            }
            &Standing::Unanswered { tries, ask_again_at } if now >= ask_again_at => {
                if tries < MAX_TRIES {
                    return device.ask_again(id, tries);
                }
                format!("gave no answer, asked {tries} times")
            }
            Standing::Asked { .. }
            | Standing::Unanswered { .. }
            | Standing::Away { .. }
            | Standing::Absent { .. }
            | Standing::Done => {
                return Vec::new();
            }
        };
        self.report(DeviceOutcome::NoAnswer { device: id.clone(), why }).into_iter().collect()
    }

    /// The device's outcome, if it has none yet.
    fn report(&mut self, outcome: DeviceOutcome) -> Option<Action> {
        let device = self.devices.get_mut(outcome.device())?;
        if device.is_done() {
            return None;
        }
        device.standing = Standing::Done;
        Some(Action::Report(outcome))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due at the latest.
    pub(super) fn deadline(&self) -> Instant {
        let due = self.devices.values().filter_map(|device| match device.standing {
            Standing::Unanswered { ask_again_at, .. } => Some(ask_again_at),
            Standing::Away { since } | Standing::Absent { since, .. } => Some(since + AWAY_GRACE),
            Standing::Asked { .. } => Some((device.heard + SILENCE).min(device.checked + CHECK)),
            Standing::Done => None,
        });
        let settle = self.settle_until.filter(|_| !self.settling.is_settled());
        due.chain(settle).fold(self.give_up_at, Instant::min)
    }

    /// Whether everyone has an outcome.
    pub(super) fn is_done(&self) -> bool {
        (self.settling.is_settled() || self.settle_until.is_none())
            && self.devices.values().all(Device::is_done)
    }
}

impl Device {
    const fn new(standing: Standing, now: Instant) -> Self {
        Self { present: BTreeSet::new(), open: 0, heard: now, checked: now, standing }
    }

    fn members(&self, id: &DeviceId) -> impl Iterator<Item = Member> {
        self.present.iter().map(|instance| Member { device: id.clone(), instance: instance.clone() })
    }

    const fn is_done(&self) -> bool {
        matches!(self.standing, Standing::Done)
    }

    fn handle_left(&mut self, instance: &Name, now: Instant) {
        self.present.remove(instance);
        match self.standing {
            Standing::Asked { .. } | Standing::Unanswered { .. } if self.present.is_empty() => {
                // Its answer may still come, if it left in good order.
                self.standing = Standing::Away { since: now };
            }
            Standing::Asked { .. }
            | Standing::Unanswered { .. }
            | Standing::Away { .. }
            | Standing::Absent { .. }
            | Standing::Done => {}
        }
    }

    fn handle_closed(&mut self, now: Instant) {
        self.open = self.open.saturating_sub(1);
        match self.standing {
            // With a token still here: either its loss is the next thing heard, or the query found no
            // way yet.
            Standing::Asked { tries } if self.open == 0 => {
                self.standing = Standing::Unanswered { tries, ask_again_at: now + ASK_AGAIN };
            }
            Standing::Asked { .. }
            | Standing::Unanswered { .. }
            | Standing::Away { .. }
            | Standing::Absent { .. }
            | Standing::Done => {}
        }
    }

    fn ask_again(&mut self, id: &DeviceId, tries: u32) -> Vec<Action> {
        self.standing = Standing::Asked { tries: tries + 1 };
        self.open += self.present.len();
        self.members(id).map(Action::AskOrder).collect()
    }
}

#[cfg(test)]
mod tests;
