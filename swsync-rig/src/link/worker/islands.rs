//! Parts of the rig that only this host reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use swsync_core::name::Name;
use zenoh::Wait;

use super::super::search::{dial, scout};
use super::{INVITATION, Worker};
use crate::host;
use crate::hub::{HubKind, HubToken};
use crate::zenoh_config::{address_of, client_config};

impl Worker {
    /// Looks for parts of the rig that this process reaches, and the others of its rig do not: another network, which only this host
    /// belongs to as well. A hub here joins them.
    pub(super) fn tend_islands(&mut self) {
        let is_linked = self.shared.zenoh().is_some();
        if self.hub.is_some() || !is_linked || !self.islands.is_due(Instant::now()) {
            return;
        }
        let config = &self.shared.config;
        let connect = config.connect.iter().filter_map(|endpoint| address_of(endpoint)).map(str::to_owned);
        let mut addresses: Vec<String> =
            if config.connect.len() > 1 { connect.collect() } else { Vec::new() };
        if config.is_discovering() && host::networks() > 1 {
            addresses.extend(scout());
        }
        let known: BTreeSet<_> = self.shared.hubs().into_iter().flat_map(|hub| hub.addresses).collect();
        let known = |address: &SocketAddr| known.contains(address);
        let mut found = Vec::new();
        for address in &addresses {
            // Each by itself: that one answers says nothing of the others.
            if let Ok(address) = dial(std::slice::from_ref(address), known).recv()
                && !self.islands.is_known(address)
            {
                let hubs = self.island(address);
                if !hubs.is_empty() {
                    self.shared.state.lock().remember(&[address]);
                }
                found.extend(hubs);
            }
        }
        if !found.is_empty() {
            swsync_core::log::info!(
                ?found,
                "a part of the rig is reached from here only: a hub joins it with the others"
            );
            match self.start_hub(HubKind::Bridge) {
                Ok(()) => self.shared.wait_for_these_hubs(&found, Instant::now() + JOINED),
                Err(error) => swsync_core::log::warn!(%error, "cannot run a hub"),
            }
        }
        self.shared.state.lock().islands_looked_for = true;
        self.shared.changed.notify_all();
    }

    /// The hubs of the part of the rig at `address`, if that is not seen from here.
    fn island(&self, address: SocketAddr) -> Vec<Name> {
        let look = || -> zenoh::Result<Vec<HubToken>> {
            let zenoh = zenoh::open(client_config(address, self.shared.config.key.as_ref())?).wait()?;
            let tokens = zenoh.liveliness().get(self.shared.keys.hubs()).timeout(INVITATION).wait()?;
            let hubs = tokens
                .into_iter()
                .filter_map(|token| self.shared.keys.parse_hub(token.result().ok()?.key_expr()));
            let hubs = hubs.collect();
            zenoh.close().wait()?;
            Ok(hubs)
        };
        match look() {
            Ok(there) => {
                let here = self.shared.hubs();
                let is_seen = there.iter().any(|hub| here.iter().any(|known| known.id == hub.id));
                if is_seen { Vec::new() } else { there.into_iter().map(|hub| hub.id).collect() }
            }
            Err(error) => {
                swsync_core::log::debug!(%address, %error, "no part of the rig");
                Vec::new()
            }
        }
    }
}

/// When to look for parts of the rig that only this process reaches.
#[derive(Default)]
pub(super) struct Islands {
    due: Option<Instant>,
    /// Addresses that were looked at.
    looked_at: BTreeMap<SocketAddr, Instant>,
}

/// How often to look for other parts of the rig, and how long what was found at an address holds.
const LOOK_FOR_ISLANDS: Duration = Duration::from_secs(20);
const ISLAND_HOLDS: Duration = Duration::from_secs(300);

/// How long it may take until a hub that joins two parts of a rig has connections to both.
const JOINED: Duration = Duration::from_secs(3);

impl Islands {
    fn is_due(&mut self, now: Instant) -> bool {
        if self.due.is_some_and(|due| now < due) {
            return false;
        }
        // The tokens of the hubs come a moment after the connection.
        let first = self.due.is_none();
        self.due = Some(now + if first { Duration::from_millis(500) } else { LOOK_FOR_ISLANDS });
        !first
    }

    /// Whether `address` was looked at lately. It counts as looked at now.
    fn is_known(&mut self, address: SocketAddr) -> bool {
        let now = Instant::now();
        self.looked_at.retain(|_, at| now < *at + ISLAND_HOLDS);
        self.looked_at.insert(address, now).is_some()
    }
}
