//! Examining devices: the question to each what is wrong with it, and what is in view of this host.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use swsync_core::doctor::Diagnosis;
use swsync_core::message::{decode, encode};
use swsync_core::name::Name;
use swsync_core::order::Targets;
use swsync_core::time_service::TimeAdvert;
use zenoh::query::Query;

use crate::hub::HubKind;
use crate::key_hint::{Found, in_view};
use crate::keys::QueryKind;
use crate::queries::{refuse, respond};
use crate::{DeviceHandler, DeviceReply, RigConfig, Session};

/// How long a diagnosis is given again to whoever asks: examining writes to the disk.
const FRESH: Duration = Duration::from_secs(2);

/// Most questions that wait for a diagnosis.
const MAX_WAITING: usize = 16;

/// Most time services that are looked at: two of each device of the largest rig would be more than anybody reads.
const MAX_ADVERTS: usize = 256;

/// The diagnosis of a device: made on a thread of its own, one at a time, and given to all who ask meanwhile.
#[derive(Default)]
pub(crate) struct Examination(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The last one, and when it was made.
    last: Option<(Instant, Vec<u8>)>,
    /// Those who wait for the one that is being made, with the key of their reply. `None`: none is being made.
    waiting: Option<Vec<(Query, String)>>,
}

impl Examination {
    /// Answers `query` with a diagnosis by `handler`, once there is one.
    pub(crate) fn answer(&self, query: Query, key: &str, handler: &Arc<dyn DeviceHandler>) {
        let mut state = self.0.lock();
        if let Some((_, bytes)) = state.last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            let bytes = bytes.clone();
            drop(state);
            return respond(&query, key, bytes);
        }
        if let Some(waiting) = &mut state.waiting {
            if waiting.len() < MAX_WAITING {
                return waiting.push((query, key.to_owned()));
            }
            drop(state);
            return refuse(&query, format!("{MAX_WAITING} others wait for its diagnosis already: ask again"));
        }
        state.waiting = Some(vec![(query, key.to_owned())]);
        drop(state);
        let (shared, handler) = (Arc::clone(&self.0), Arc::clone(handler));
        // Ends by itself: a diagnosis takes some seconds at most.
        let started = std::thread::Builder::new().name("swsync-doctor".into()).spawn(move || {
            let diagnosis = handler.diagnose().map(|diagnosis| encode(&diagnosis));
            let waiting = {
                let mut state = shared.lock();
                state.last = diagnosis.clone().map(|bytes| (Instant::now(), bytes));
                state.waiting.take().unwrap_or_default()
            };
            for (query, key) in waiting {
                match &diagnosis {
                    Some(bytes) => respond(&query, &key, bytes.clone()),
                    None => refuse(&query, "this device does not examine itself".into()),
                }
            }
        });
        if let Err(error) = started {
            for (query, _) in self.0.lock().waiting.take().unwrap_or_default() {
                refuse(&query, format!("cannot start a thread: {error}"));
            }
        }
    }
}

/// A hub that a session sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubView {
    /// Its device or host.
    pub place: Name,
    /// Whether `listen` is set on it: then it does not answer to multicast.
    pub has_listen: bool,
    /// Where it can be reached.
    pub addresses: Vec<SocketAddr>,
}

/// The endpoints in view of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InView {
    /// Those that answer to multicast, of whatever rig.
    pub multicast: Vec<String>,
    /// Those that speak TLS, so that their rig has a key.
    pub keyed: Vec<String>,
    /// Those that do not: their rig is open.
    pub open: Vec<String>,
}

impl InView {
    /// What answers to multicast, asked `tries` times, and what is at the addresses that `config` names. Takes up to half a second for
    /// each try, and some for addresses that do not answer.
    #[must_use]
    pub fn look(config: &RigConfig, tries: usize) -> Self {
        let mut multicast: Vec<String> = Vec::new();
        for _ in 0..tries {
            multicast.extend(crate::link::search::scout_endpoints());
            if !multicast.is_empty() {
                break;
            }
        }
        let Found { tls: keyed, plain: open } = in_view(config, &multicast);
        Self { multicast, keyed, open }
    }
}

impl Session {
    /// What each device among `targets` finds wrong with itself. Examining takes a device some seconds; `timeout` is for all of them.
    #[must_use]
    pub fn diagnoses(&self, targets: &Targets, timeout: Duration) -> Vec<DeviceReply<Diagnosis>> {
        self.poll(QueryKind::Doctor, None, targets, timeout)
    }

    /// The hubs of the rig that this session sees, and how others find them.
    #[must_use]
    pub fn hub_views(&self) -> Vec<HubView> {
        let hubs = self.link().hubs().into_iter();
        let view = |hub: crate::hub::HubToken| HubView {
            place: hub.place,
            has_listen: hub.kind == HubKind::Fixed,
            addresses: hub.addresses,
        };
        hubs.map(view).collect()
    }

    /// The time services of the rig, by device, as they tell of themselves within `timeout`.
    #[must_use]
    pub fn time_services(&self, timeout: Duration) -> Vec<TimeAdvert> {
        let (tx, rx) = mpsc::channel();
        self.ask(&self.keys().times(), None, timeout, move |reply| {
            let _ = tx.send(reply); // fails if the caller has given up
        });
        let mut adverts = BTreeMap::new();
        for (_, bytes) in rx.into_iter().flatten() {
            match decode::<TimeAdvert>(&bytes) {
                Ok(advert) if adverts.len() < MAX_ADVERTS => {
                    adverts.insert((advert.device.clone(), advert.server), advert);
                }
                Ok(_) => {}
                Err(error) => {
                    swsync_core::log::debug!(%error, "an advert of a time service that cannot be read")
                }
            }
        }
        adverts.into_values().collect()
    }
}
