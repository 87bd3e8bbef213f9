//! Asking devices something that each answers at once: whether it takes an order, that it heard a command, which
//! orders it knows.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use swsync_core::control::{decode, encode};
use swsync_core::name::DeviceId;
use swsync_core::order::{Acknowledgement, Command, Order, Registry, Targets};

use super::Session;
use super::keys::{Aspect, Member};
use super::placement::SETTLE;
use crate::lock;

/// How long one query waits: a device that is there answers within a few milliseconds. Then it is asked again.
const ASK: Duration = Duration::from_millis(800);

/// Between queries of those that gave no answer.
const AGAIN: Duration = Duration::from_millis(100);

/// What a device says, or why it says nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard<M> {
    /// The device.
    pub device: DeviceId,
    /// Its answer, or why there is none, for a person.
    pub reply: Result<M, String>,
}

/// What is known of orders in a rig.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// What those who answered know together.
    pub registry: Registry,
    /// Devices of the rig that did not answer.
    pub silent: Vec<DeviceId>,
}

impl Session {
    /// Gives every device that it is for `order`, and returns as soon as each has taken it or says why not. What
    /// becomes of it is asked by [`place`](Self::place), at leisure.
    #[must_use]
    pub fn offer(&self, order: &Order, timeout: Duration) -> Vec<Heard<Acknowledgement>> {
        self.poll(Aspect::Offer, Some(&encode(order)), order.targets(), timeout)
    }

    /// Tells every device among `targets` to stop or cancel an order.
    #[must_use]
    pub fn command(
        &self,
        command: &Command,
        targets: &Targets,
        timeout: Duration,
    ) -> Vec<Heard<Acknowledgement>> {
        self.poll(Aspect::Command, Some(&encode(command)), targets, timeout)
    }

    /// What the devices know of orders together: those that any of them has open, each with its earliest stop.
    #[must_use]
    pub fn registry(&self, timeout: Duration) -> Registry {
        self.known(timeout).registry
    }

    /// As [`registry`](Self::registry), and who did not say what it knows.
    #[must_use]
    pub fn known(&self, timeout: Duration) -> Known {
        let mut known = Known::default();
        let all = &mut known.registry;
        for heard in self.poll::<Registry>(Aspect::Registry, None, &Targets::All, timeout) {
            let Ok(registry) = heard.reply else {
                known.silent.push(heard.device);
                continue;
            };
            for order in registry.orders {
                match all.orders.iter_mut().find(|known| known.id() == order.id()) {
                    None => all.orders.push(order),
                    Some(known) => order.stop().into_iter().for_each(|stop| known.stop_at(stop)),
                }
            }
            all.commands.extend(registry.commands);
        }
        all.orders.sort_by_key(Order::at);
        known
    }

    /// Asks each device among `targets` until it answers, for `timeout` at most. Sorted by device.
    pub(super) fn poll<M: DeserializeOwned>(
        &self,
        aspect: Aspect,
        payload: Option<&[u8]>,
        targets: &Targets,
        timeout: Duration,
    ) -> Vec<Heard<M>> {
        let deadline = Instant::now() + timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        let missed = self.presence(timeout.min(SETTLE)).missed;
        let given_up = lock(&self.given_up).clone();
        let mut replies: BTreeMap<DeviceId, Result<M, String>> = BTreeMap::new();
        let mut asked = false;
        loop {
            let here: Vec<Member> = self.members.here().into_iter().collect();
            let meant = here.into_iter().filter(|member| targets.include(&member.device));
            let waiting: Vec<Member> = meant.filter(|member| !replies.contains_key(&member.device)).collect();
            // Those that were waited for in vain before are asked once.
            let only_silent = asked && waiting.iter().all(|member| given_up.contains(&member.device));
            if waiting.is_empty() || left().is_zero() || only_silent {
                lock(&self.given_up).extend(waiting.iter().map(|member| member.device.clone()));
                let silent = waiting.into_iter().map(|member| (member.device, "did not answer".to_owned()));
                let missed = missed.into_iter().filter(|(device, _)| targets.include(device));
                let absent = match targets {
                    Targets::All => Vec::new(),
                    Targets::Devices(devices) => devices.iter().cloned().collect(),
                };
                let absent = absent.into_iter().map(|device| (device, "is not in the rig".to_owned()));
                for (device, why) in silent.chain(missed).chain(absent) {
                    replies.entry(device).or_insert(Err(why));
                }
                return replies.into_iter().map(|(device, reply)| Heard { device, reply }).collect();
            }
            asked = true;
            let (tx, rx) = mpsc::channel();
            for member in waiting {
                let (key, tx) = (self.keys.aspect(&member, aspect), tx.clone());
                self.ask(&key, payload.map(<[u8]>::to_vec), left().min(ASK), move |heard| {
                    let _ = tx.send((member.device.clone(), heard)); // nobody waits any more: nothing to do
                });
            }
            drop(tx);
            let before = replies.len();
            for (device, heard) in rx {
                let reply = match heard {
                    Ok((_, bytes)) => decode(&bytes).map_err(|error| error.to_string()),
                    // Zenoh's own word for a query that nobody answered.
                    Err(why) if why == "Timeout" => continue,
                    Err(why) => Err(why),
                };
                lock(&self.given_up).remove(&device);
                replies.insert(device, reply);
            }
            if replies.len() == before {
                std::thread::sleep(left().min(AGAIN));
            }
        }
    }
}
