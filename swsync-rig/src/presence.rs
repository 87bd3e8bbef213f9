//! Presence: which devices are in the rig, and which are missed, as this session and others see it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use swsync_core::message::{decode, encode};
use swsync_core::name::{DeviceId, Name};

use crate::hub::HubToken;
use crate::keys::{KeepKind, Member};
use crate::link::LinkEvent;
use crate::members::MemberChange;
use crate::message::{Departure, Forget, Roster};
use crate::session::{Inbox, Session};
use crate::settling::Settling;

/// The devices of the rig, as this session and others see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presence {
    /// Devices that are present.
    pub here: BTreeSet<DeviceId>,
    /// Devices that belong to the rig but cannot be reached, and why.
    pub missed: BTreeMap<DeviceId, String>,
}

impl Session {
    /// The present devices, sorted. Returns once the view of the rig is settled, or after `settle`.
    ///
    /// The view is settled once the hubs see no device that this session does not see.
    #[must_use]
    pub fn roster(&self, settle: Duration) -> Vec<DeviceId> {
        self.presence(settle).here.into_iter().collect()
    }

    /// As [`roster`](Self::roster), with the missed devices: those that hubs see but this session does not, and those that
    /// were lost without notice (their process hung or was killed, their power or network failed).
    #[must_use]
    pub fn presence(&self, settle: Duration) -> Presence {
        enum PresenceEvent {
            Seen(Member),
            Hub(HubToken),
            Roster(Name, Roster),
            Closed,
        }
        let _following = self.follow_members();
        let deadline = Instant::now() + settle;
        let mut settling = Settling::without(self.given_up.lock().clone());
        let (events, inbox) = mpsc::channel();
        let seen = events.clone();
        self.members().watch(move |change| match change {
            MemberChange::Came(member) => seen.send(PresenceEvent::Seen(member)).is_ok(),
            MemberChange::Left(_) => true,
        });
        let hubs = events.clone();
        self.link().watch(move |event| match event {
            LinkEvent::HubCame(hub) => hubs.send(PresenceEvent::Hub(hub)).is_ok(),
            LinkEvent::Linked | LinkEvent::Lost => true,
        });
        while !settling.is_settled() {
            match inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(PresenceEvent::Seen(member)) => settling.handle_seen(&member),
                Ok(PresenceEvent::Hub(hub)) => {
                    if settling.handle_hub() {
                        let inbox = Inbox::new(events.clone(), PresenceEvent::Closed);
                        self.ask_roster(hub, settle, inbox, PresenceEvent::Roster);
                    }
                }
                Ok(PresenceEvent::Roster(place, roster)) => {
                    self.members().learn(&roster);
                    settling.handle_roster(&place, &roster);
                }
                Ok(PresenceEvent::Closed) => settling.handle_closed(),
                Err(_) => break, // `settle` has passed
            }
        }
        let here: BTreeSet<_> = self.members().here().into_iter().map(|member| member.device).collect();
        let mut missed = self.missed();
        for (device, by) in settling.unseen() {
            self.given_up.lock().insert(device.clone());
            missed.insert(device.clone(), format!("seen by {by}, but not reachable from here"));
        }
        missed.retain(|device, _| !here.contains(device));
        Presence { here, missed }
    }

    /// Devices that were lost without notice, each with a text for a person.
    pub(crate) fn missed(&self) -> BTreeMap<DeviceId, String> {
        let why = |device: &DeviceId, since: Instant| {
            format!(
                "lost {} s ago without a word: hung, killed or out of reach; if it is not to come back: swsync forget {device}",
                since.elapsed().as_secs()
            )
        };
        let lost = self.members().gone().into_iter().filter(|(_, gone)| gone.how == Departure::Lost);
        lost.map(|(device, gone)| (device.clone(), why(&device, gone.since))).collect()
    }

    /// Devices that have left in good order since `since`, each with a text for a person: they do not answer for orders that
    /// they had open.
    #[must_use]
    pub fn left_since(&self, since: Instant) -> BTreeMap<DeviceId, String> {
        let left = self
            .members()
            .gone()
            .into_iter()
            .filter(|(_, gone)| gone.how == Departure::Left && gone.since >= since);
        let why =
            |since: Instant| format!("was stopped {} s ago, before it was asked", since.elapsed().as_secs());
        left.map(|(device, gone)| (device, why(gone.since))).collect()
    }

    /// Tells every hub not to miss `device` any more. Returns the places of hubs that do not answer: they may bring it up again. `None`:
    /// no hub is seen within `timeout`, so nobody has heard it.
    #[must_use]
    pub fn forget(&self, device: &DeviceId, timeout: Duration) -> Option<Vec<Name>> {
        let hubs = self.link().wait_for_hubs(Instant::now() + timeout);
        if hubs.is_empty() {
            return None;
        }
        self.members().forget(device);
        let (tx, rx) = mpsc::channel();
        for hub in &hubs {
            let (tx, id) = (tx.clone(), hub.id.clone());
            let key = self.keys().keep(&hub.id, KeepKind::Roster);
            let forget = encode(&Forget { forget: device.clone() });
            self.ask(&key, Some(forget), timeout, move |reply| {
                if reply.is_ok() {
                    let _ = tx.send(id.clone()); // fails if the caller has given up
                }
            });
        }
        drop(tx);
        let answered: BTreeSet<_> = rx.into_iter().collect();
        let silent = hubs.into_iter().filter(|hub| !answered.contains(&hub.id));
        Some(silent.map(|hub| hub.place).collect())
    }

    /// Asks `hub` for its roster, and puts that in `inbox`. A malformed one is dropped.
    pub(crate) fn ask_roster<E: Send + Sync + 'static>(
        &self,
        hub: HubToken,
        timeout: Duration,
        inbox: Inbox<E>,
        event: fn(Name, Roster) -> E,
    ) {
        let key = self.keys().keep(&hub.id, KeepKind::Roster);
        self.ask(&key, None, timeout, move |reply| {
            let roster = reply.and_then(|(_, bytes)| decode(&bytes).map_err(|error| error.to_string()));
            match roster {
                Ok(roster) => inbox.put(event(hub.place.clone(), roster)),
                Err(why) => swsync_core::log::debug!(why, "no roster"),
            }
        });
    }
}
