//! Queries that each device answers at once: offers of orders, commands, and which orders it knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use swsync_core::centre::{CentreReply, CentreRequest};
use swsync_core::identify::{IdentifyReply, IdentifyRequest};
use swsync_core::message::{decode, encode};
use swsync_core::name::DeviceId;
use swsync_core::order::{Acknowledgement, Order, OrderCommand, OrderRoster, Targets};
use swsync_core::place::{PlaceChange, PlaceReply};

use crate::Session;
use crate::hub::keeper::Note;
use crate::keys::{Member, QueryKind};
use crate::placement::SETTLE;

/// How long one query waits before it is repeated: a device that is there answers within a few milliseconds.
const ASK: Duration = Duration::from_millis(800);

/// Pause before queries are repeated.
const AGAIN: Duration = Duration::from_millis(100);

/// Most commands that are kept of what all devices tell: each tells of its latest 64, mostly the same.
const MAX_COMMANDS: usize = 512;

/// Most orders that are kept: each device has 64 places, mostly with the same ones.
const MAX_ORDERS: usize = 512;

/// The reply of a device, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceReply<M> {
    /// The device.
    pub device: DeviceId,
    /// Its reply, or why there is none, for a person.
    pub reply: Result<M, String>,
}

/// The orders that the devices of a rig know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownOrders {
    /// What the devices that answered know together.
    pub registry: OrderRoster,
    /// Devices of the rig that did not answer.
    pub silent: Vec<DeviceId>,
}

impl KnownOrders {
    /// Adds what `device` knows.
    fn add(&mut self, device: &DeviceId, roster: OrderRoster) {
        let all = &mut self.registry;
        for order in roster.orders {
            let is_full = all.orders.len() >= MAX_ORDERS;
            match all.orders.iter_mut().find(|known| known.id() == order.id()) {
                None if is_full => {
                    swsync_core::log::warn!(%device, "more than {MAX_ORDERS} open orders in the rig: the others are left out");
                    break;
                }
                None => all.orders.push(order),
                Some(known) => order.stop().into_iter().for_each(|stop| known.stop_at(stop)),
            }
        }
        for command in roster.commands {
            if all.commands.len() < MAX_COMMANDS && !all.commands.contains(&command) {
                all.commands.push(command);
            }
        }
    }
}

impl Session {
    /// Offers `order` to every device that it targets, and returns once each has accepted it or said why not.
    /// [`place`](Self::place) waits for its outcome.
    #[must_use]
    pub fn offer(&self, order: &Order, timeout: Duration) -> Vec<DeviceReply<Acknowledgement>> {
        self.keep(order.targets(), &Note::Order(order.clone()));
        self.poll(QueryKind::Offer, Some(&encode(order)), order.targets(), timeout)
    }

    /// Sends a command (stop or cancel) to every device among `targets`.
    #[must_use]
    pub fn command(
        &self,
        command: &OrderCommand,
        targets: &Targets,
        timeout: Duration,
    ) -> Vec<DeviceReply<Acknowledgement>> {
        self.keep(targets, &Note::Command(command.clone()));
        self.poll(QueryKind::Command, Some(&encode(command)), targets, timeout)
    }

    /// Gives `device` another group or place. It replies once that is on its disk.
    ///
    /// # Errors
    /// Why the device did not do it, for a person: it does not answer, or has no disk that it can be written to.
    pub fn name_device(
        &self,
        device: &DeviceId,
        change: &PlaceChange,
        timeout: Duration,
    ) -> Result<PlaceReply, String> {
        self.poll_one(QueryKind::Name, &encode(change), device, timeout)
    }

    /// Has `device` blink its board's LED. It replies once it does.
    ///
    /// # Errors
    /// Why it does not, for a person: it does not answer, or has no LED that it may switch.
    pub fn identify(
        &self,
        device: &DeviceId,
        request: IdentifyRequest,
        timeout: Duration,
    ) -> Result<IdentifyReply, String> {
        self.poll_one(QueryKind::Identify, &encode(&request), device, timeout)
    }

    /// The centre of a picture of each device among `targets`: of its first frame from `request.from` on.
    #[must_use]
    pub fn centres(
        &self,
        request: CentreRequest,
        targets: &Targets,
        timeout: Duration,
    ) -> Vec<DeviceReply<CentreReply>> {
        self.poll(QueryKind::Centre, Some(&encode(&request)), targets, timeout)
    }

    fn poll_one<M: DeserializeOwned>(
        &self,
        kind: QueryKind,
        payload: &[u8],
        device: &DeviceId,
        timeout: Duration,
    ) -> Result<M, String> {
        let targets = Targets::Devices(BTreeSet::from([device.clone()]));
        let replies = self.poll(kind, Some(payload), &targets, timeout);
        let reply = replies.into_iter().find(|reply| reply.device == *device);
        reply.map_or_else(|| Err("did not answer".to_owned()), |reply| reply.reply)
    }

    /// The orders that any device has open, each with its earliest stop.
    #[must_use]
    pub fn registry(&self, timeout: Duration) -> OrderRoster {
        self.known(timeout).registry
    }

    /// As [`registry`](Self::registry), with the devices that did not answer.
    #[must_use]
    pub fn known(&self, timeout: Duration) -> KnownOrders {
        let mut known = KnownOrders::default();
        for device_reply in self.poll::<OrderRoster>(QueryKind::Registry, None, &Targets::All, timeout) {
            match device_reply.reply {
                Ok(roster) => known.add(&device_reply.device, roster),
                Err(_) => known.silent.push(device_reply.device),
            }
        }
        known.registry.orders.sort_by_key(Order::at);
        known
    }

    /// Asks each device among `targets` until it answers, for `timeout` at most. Sorted by device.
    pub(crate) fn poll<M: DeserializeOwned>(
        &self,
        kind: QueryKind,
        payload: Option<&[u8]>,
        targets: &Targets,
        timeout: Duration,
    ) -> Vec<DeviceReply<M>> {
        let _following = self.follow_members();
        let deadline = Instant::now() + timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        let missed = self.presence(timeout.min(SETTLE)).missed;
        let given_up = self.given_up.lock().clone();
        let mut replies: BTreeMap<DeviceId, Result<M, String>> = BTreeMap::new();
        let mut asked: BTreeSet<DeviceId> = BTreeSet::new();
        loop {
            let here: Vec<Member> = self.members().here().into_iter().collect();
            let meant = here.into_iter().filter(|member| targets.include(&member.device));
            let waiting: Vec<Member> = meant.filter(|member| !replies.contains_key(&member.device)).collect();
            // Devices that an earlier call gave up are asked once.
            let only_silent =
                !asked.is_empty() && waiting.iter().all(|member| given_up.contains(&member.device));
            if waiting.is_empty() || left().is_zero() || only_silent {
                self.given_up.lock().extend(waiting.iter().map(|member| member.device.clone()));
                let silent = waiting.into_iter().map(|member| (member.device, "did not answer".to_owned()));
                let missed = missed.into_iter().filter(|(device, _)| targets.include(device));
                let absent = match targets {
                    Targets::All => Vec::new(),
                    Targets::Devices(devices) => devices.iter().cloned().collect(),
                };
                let absent = absent.into_iter().map(|device| (device, "is not in the rig".to_owned()));
                let gone =
                    asked.into_iter().map(|device| (device, "left the rig before it answered".to_owned()));
                for (device, why) in silent.chain(missed).chain(gone).chain(absent) {
                    replies.entry(device).or_insert(Err(why));
                }
                return replies.into_iter().map(|(device, reply)| DeviceReply { device, reply }).collect();
            }
            asked.extend(waiting.iter().map(|member| member.device.clone()));
            let (tx, rx) = mpsc::channel();
            for member in waiting {
                let (key, tx) = (self.keys().query(&member, kind), tx.clone());
                self.ask(&key, payload.map(<[u8]>::to_vec), left().min(ASK), move |reply| {
                    let _ = tx.send((member.device.clone(), reply)); // fails if the caller has given up
                });
            }
            drop(tx);
            let before = replies.len();
            for (device, reply) in rx {
                let reply = match reply {
                    Ok((_, bytes)) => decode(&bytes).map_err(|error| error.to_string()),
                    // Zenoh's own error for a query without a reply.
                    Err(why) if why == "Timeout" => continue,
                    Err(why) => Err(why),
                };
                self.given_up.lock().remove(&device);
                replies.entry(device).or_insert(reply); // the first one counts
            }
            if replies.len() == before {
                std::thread::sleep(left().min(AGAIN));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use swsync_core::name::Name;
    use swsync_core::time::{Span, Timestamp};

    use super::*;

    fn order(number: usize) -> Order {
        let id = Name::new(format!("order-{number}")).unwrap();
        Order::still(id, Timestamp::from_nanos(1_800_000_000_000_000_000)).unwrap()
    }

    #[test]
    fn what_many_devices_say_of_orders_is_bounded_in_all() {
        let mut known = KnownOrders::default();
        let device = DeviceId::new("a").unwrap();
        for number in 0..MAX_COMMANDS + 8 {
            let command = OrderCommand::Cancel { order: order(number).id().clone() };
            known.add(
                &device,
                OrderRoster {
                    orders: vec![order(number)],
                    commands: vec![command],
                    ..OrderRoster::default()
                },
            );
        }
        assert_eq!((known.registry.orders.len(), known.registry.commands.len()), (MAX_ORDERS, MAX_COMMANDS));
    }

    #[test]
    fn of_an_order_that_two_devices_know_the_earliest_stop_counts() {
        let mut known = KnownOrders::default();
        let device = DeviceId::new("a").unwrap();
        let stops = [Span::from_secs(5), Span::from_secs(3), Span::from_secs(4)];
        for stop in stops {
            let mut order = order(1);
            order.stop_at(order.at() + stop);
            known.add(&device, OrderRoster { orders: vec![order], ..OrderRoster::default() });
        }
        let [order] = &known.registry.orders[..] else { panic!("{known:?}") };
        assert_eq!(order.stop(), Some(order.at() + Span::from_secs(3)));
    }
}
