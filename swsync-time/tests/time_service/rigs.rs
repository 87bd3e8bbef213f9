//! Rigs of several nodes, whose adverts go through a hub in this process.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use swsync_core::frame::SyncState;
use swsync_core::time::Span;
use swsync_core::time_service::{AdvertKind, Advertiser, ClientConfig, LeadStart, ServerConfig, TimeAdvert};
use swsync_time::{
    AdvertSink, Announcer, ClockEvent, RigAdverts, RigClock, ServingConfig, TimeNode, TimeNodeConfig,
    advert_queue, new_identity,
};

use crate::support::{config, device, own_address, wait_until};

/// A device's place at the hub: where it hears, and what it answers.
struct Place {
    sink: AdvertSink,
    announcer: Arc<Mutex<Option<Announcer>>>,
}

/// Passes adverts on between nodes, as the rig's control plane does.
#[derive(Default)]
struct Hub {
    places: Mutex<Vec<Place>>,
    /// All adverts that were published.
    said: Mutex<Vec<TimeAdvert>>,
}

/// The hub, as the node in `place` uses it.
struct Port {
    hub: Arc<Hub>,
    place: usize,
}

impl RigAdverts for Port {
    fn publish(&self, advert: &TimeAdvert) {
        self.hub.said.lock().unwrap().push(advert.clone());
        self.hub.places.lock().unwrap().iter().for_each(|place| place.sink.put(advert.clone()));
    }

    fn ask(&self) {
        let places = self.hub.places.lock().unwrap();
        for place in places.iter() {
            let advert = place.announcer.lock().unwrap().as_ref().and_then(Announcer::advert);
            advert.into_iter().for_each(|advert| places[self.place].sink.put(advert));
        }
    }
}

/// A device of a rig.
struct Device {
    clock: Arc<RigClock>,
    node: TimeNode,
    events: Arc<Mutex<Vec<ClockEvent>>>,
    announcer: Arc<Mutex<Option<Announcer>>>,
}

impl Drop for Device {
    fn drop(&mut self) {
        *self.announcer.lock().unwrap() = None; // a device that is gone does not answer
    }
}

/// How a device is set up.
#[derive(Clone)]
struct Setup {
    can_lead: bool,
    priority: u8,
    address: SocketAddr,
    servers: Vec<String>,
    clock: Arc<RigClock>,
}

impl Setup {
    fn new(seed: i64, priority: u8) -> Self {
        let (address, clock) = (own_address(), Arc::new(RigClock::new(device(seed))));
        Self { can_lead: true, priority, address, servers: Vec::new(), clock }
    }

    fn follower(seed: i64) -> Self {
        // At the address that its requests come from, where a leader that comes back looks for its server.
        let address = "127.0.0.1:0".parse().unwrap();
        Self { can_lead: false, address, ..Self::new(seed, u8::MAX) }
    }

    /// Starts it, with the adverts of `hub` if there is one.
    fn start(&self, hub: Option<&Arc<Hub>>) -> Device {
        let identity = new_identity("rigs");
        let advertiser = Advertiser {
            device: format!("device-{}", self.priority),
            identity,
            can_lead: self.can_lead,
            priority: self.priority,
            clock_class: 2,
        };
        let config = TimeNodeConfig {
            advertiser,
            client: ClientConfig { device: identity.device, rig: identity.rig, ..config() },
            servers: self.servers.clone(),
            sought: "rig rigs".into(),
            serving: Some(ServingConfig {
                address: self.address,
                is_fixed: true,
                server: ServerConfig::default(),
            }),
        };
        let announcer = Arc::new(Mutex::new(None));
        let rig = hub.map(|hub| {
            let (sink, inbox) = advert_queue();
            let mut places = hub.places.lock().unwrap();
            places.push(Place { sink, announcer: announcer.clone() });
            let port = Port { hub: hub.clone(), place: places.len() - 1 };
            (Arc::new(port) as Arc<dyn RigAdverts>, inbox)
        });
        let events: Arc<Mutex<Vec<ClockEvent>>> = Arc::default();
        let seen = events.clone();
        let on_event = move |event| seen.lock().unwrap().push(event);
        let node = TimeNode::start(config, self.clock.clone(), rig, on_event).unwrap();
        *announcer.lock().unwrap() = Some(node.announcer().clone());
        Device { clock: self.clock.clone(), node, events, announcer }
    }
}

impl Device {
    fn wait_for(&self, quality: SyncState) {
        let state = || format!("{:?} {:?}", self.node.stats(), self.events.lock().unwrap());
        wait_until(quality.as_str(), state, || self.clock.quality() == quality);
    }

    fn timescale(&self) -> u64 {
        self.clock.status().source.expect("it knows the time").timescale
    }

    /// Fails if its clock has jumped or begun anew, or if it has joined another time scale.
    fn assert_even(&self) {
        let events = self.events.lock().unwrap();
        let jump = |event: &ClockEvent| {
            matches!(
                event,
                ClockEvent::Stepped { .. }
                    | ClockEvent::Began { .. }
                    | ClockEvent::Ends
                    | ClockEvent::TimescaleChanged
            )
        };
        assert!(!events.iter().any(jump), "{events:?}");
    }

    /// Whether its clock agrees with that of `other`, within half a round trip of a busy machine.
    fn agrees_with(&self, other: &Self) -> bool {
        let before = other.clock.now();
        let between = self.clock.now();
        let after = other.clock.now();
        (before - Span::from_micros(500)..after + Span::from_micros(500)).contains(&between)
    }

    fn assert_agrees(&self, other: &Self) {
        wait_until("they agree", String::new, || self.agrees_with(other));
    }
}

#[test]
fn the_first_by_priority_leads_and_its_successor_goes_on_in_the_same_time_scale() {
    let hub = Arc::new(Hub::default());
    let devices =
        [(2, 30), (3, 10), (4, 20)].map(|(seed, priority)| Setup::new(seed, priority).start(Some(&hub)));
    let [third, first, second] = devices;
    first.wait_for(SyncState::Leading);
    [&second, &third].iter().for_each(|device| device.wait_for(SyncState::Synced));
    let scale = first.timescale();
    assert_eq!([second.timescale(), third.timescale()], [scale; 2]);
    assert_eq!(third.node.stats().progress.leader, "device-10");
    // It says goodbye: nobody waits for its silence.
    drop(first);
    let begun = Instant::now();
    second.wait_for(SyncState::Leading);
    println!("the next one leads after {:?}", begun.elapsed());
    wait_until("the third follows the second", String::new, || {
        third.node.stats().progress.address == second.node.local_addr()
            && third.clock.quality() == SyncState::Synced
    });
    third.assert_agrees(&second);
    assert_eq!([second.timescale(), third.timescale()], [scale; 2]);
    [&second, &third].into_iter().for_each(Device::assert_even);
    let said = hub.said.lock().unwrap();
    assert!(said.iter().any(|advert| advert.kind == AdvertKind::Leaves && advert.priority == 10));
}

#[test]
fn a_leader_that_comes_back_joins_the_time_scale_and_leads_again() {
    let hub = Arc::new(Hub::default());
    let first = Setup::new(2, 0);
    let leader = first.start(Some(&hub));
    let other = Setup::new(3, 50).start(Some(&hub));
    other.wait_for(SyncState::Synced);
    let scale = leader.timescale();
    drop(leader);
    other.wait_for(SyncState::Leading);
    // As after a reboot: its clock knows nothing.
    let leader = Setup { clock: Arc::new(RigClock::new(device(5))), ..first }.start(Some(&hub));
    leader.wait_for(SyncState::Leading);
    other.wait_for(SyncState::Synced);
    other.assert_agrees(&leader);
    assert_eq!([leader.timescale(), other.timescale()], [scale; 2]);
    [&leader, &other].into_iter().for_each(Device::assert_even);
    let resigned = |event: &ClockEvent| matches!(event, ClockEvent::Resigned { address } if *address == leader.node.local_addr());
    assert!(other.events.lock().unwrap().iter().any(resigned));
}

#[test]
fn without_adverts_a_leader_learns_of_the_time_scale_from_those_who_ask_it() {
    let leading = Setup::new(2, 0);
    let leader = leading.start(None);
    let follower = Setup { servers: vec![leading.address.to_string()], ..Setup::follower(3) };
    let follower = follower.start(None);
    follower.wait_for(SyncState::Synced);
    let (scale, before) = (leader.timescale(), follower.clock.now());
    drop(leader);
    // Its wall clock does not matter: the clock that it had knows nothing of the rig any more.
    let leader = Setup { clock: Arc::new(RigClock::new(device(7))), ..leading }.start(None);
    leader.wait_for(SyncState::Leading);
    let goes_on = |event: &ClockEvent| matches!(event, ClockEvent::Leads { start: LeadStart::GoOn(_) });
    assert!(leader.events.lock().unwrap().iter().any(goes_on), "{:?}", leader.events.lock().unwrap());
    follower.wait_for(SyncState::Synced);
    follower.assert_agrees(&leader);
    assert_eq!([leader.timescale(), follower.timescale()], [scale; 2]);
    assert!((follower.clock.now() - before).abs() < Span::from_secs(60));
    follower.assert_even();
}

#[test]
fn a_device_that_knows_the_time_goes_on_from_it_when_it_starts_again() {
    let setup = Setup::new(2, 0);
    let device = setup.start(None);
    device.wait_for(SyncState::Leading);
    let (scale, before) = (device.timescale(), device.clock.now());
    drop(device);
    let device = setup.start(None);
    assert_eq!(device.clock.quality(), SyncState::Unsynced, "others may know better");
    device.wait_for(SyncState::Leading);
    assert_eq!(device.timescale(), scale);
    let passed = device.clock.now() - before;
    assert!((Span::ZERO..Span::from_secs(30)).contains(&passed), "{passed:?}");
}

#[test]
fn two_leaders_that_cannot_follow_one_another_are_told() {
    let hub = Arc::new(Hub::default());
    let leader = Setup::new(2, 0).start(Some(&hub));
    leader.wait_for(SyncState::Leading);
    // A second one of the same name, whose time service is out of reach.
    let mut foreign = leader.node.announcer().advert().unwrap();
    (foreign.server, foreign.device) = (foreign.server ^ 1, "stranger".into());
    foreign.addresses = vec!["127.0.0.1:9".parse().unwrap()];
    if let Some(time) = &mut foreign.time {
        time.leader = foreign.server;
        time.scale.id ^= 1;
    }
    let told = |event: &ClockEvent| matches!(event, ClockEvent::TwoLeaders { device, same_scale: false, .. } if device == "stranger");
    wait_until("two leaders are told", String::new, || {
        if let Some(time) = &mut foreign.time {
            time.now = leader.clock.now();
        }
        hub.places.lock().unwrap()[0].sink.put(foreign.clone());
        std::thread::sleep(Duration::from_millis(400));
        leader.events.lock().unwrap().iter().any(told)
    });
    assert_eq!(leader.clock.quality(), SyncState::Leading);
}
