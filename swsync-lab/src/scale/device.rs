//! A device without a camera: a process that is in the rig as any device is, with the same session, time node and adverts. It answers
//! an order once its instant has passed, and says truthfully that it has no frame of it.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use parking_lot::Mutex;
use swsync_core::grid::FrameGrid;
use swsync_core::name::{DeviceId, Name, OrderId};
use swsync_core::order::{
    Acknowledgement, Answer, CommandOutcome, FrameOutcome, FrameRun, Order, OrderCommand, OrderRoster,
    TimeBasis,
};
use swsync_core::status::Status;
use swsync_core::time::Span;
use swsync_core::time_service::{Advertiser, ClientConfig, ClockClass, ServerConfig, SyncState, TimeAdvert};
use swsync_rig::{DeviceHandler, Reply, RigConfig, Session, TimeChannel};
use swsync_time::{
    Announcer, DEFAULT_PORT, DeviceClock, RigAdverts, RigClock, ServingConfig, TimeNode, TimeNodeConfig,
    advert_queue, new_identity,
};

use super::protocol::{Command, Sample, Told};
use super::tell;

/// What it says that it is.
pub const LABEL: &str = "device without a camera";
/// Frames a second of the frames that it does not have.
const RATE: u32 = 30;

/// Is a device until standard input ends.
///
/// # Errors
/// The rig cannot be joined, or time cannot be served.
pub fn run(rig: &Name, id: &Name, max_clients: Option<usize>) -> anyhow::Result<()> {
    let clock = Arc::new(RigClock::new(Arc::new(DeviceClock::real())));
    let session = Session::open_unshared(&RigConfig::discovering(rig.clone()))?;
    let node = start_time(&session, &clock, id, max_clients)?;
    let handler = Arc::new(Handler { id: id.clone(), clock: clock.clone(), open: Arc::default() });
    let membership = session.join(id.clone(), handler)?;
    tell(&Told::Joined);
    for line in std::io::stdin().lock().lines() {
        match serde_json::from_str(&line?).context("a command that cannot be read")? {
            Command::Sample => tell(&Told::Sample(sample(&clock, &node))),
            Command::Order { .. } => anyhow::bail!("a device gives no orders"),
        }
    }
    drop(membership);
    drop(node);
    Ok(())
}

/// The control plane, as time uses it.
struct Channel(TimeChannel);

impl RigAdverts for Channel {
    fn publish(&self, advert: &TimeAdvert) {
        self.0.publish(advert);
    }

    fn ask(&self) {
        self.0.ask();
    }
}

/// As `swsyncclock role=auto` does.
fn start_time(
    session: &Arc<Session>,
    clock: &Arc<RigClock>,
    id: &Name,
    max_clients: Option<usize>,
) -> anyhow::Result<TimeNode> {
    let identity = new_identity(session.rig().as_str());
    let advertiser = Advertiser {
        device: id.to_string(),
        identity,
        can_lead: true,
        priority: 128,
        clock_class: ClockClass::Free as u8,
    };
    let (sink, inbox) = advert_queue();
    let announcer = Arc::new(OnceLock::<Announcer>::new());
    let known = announcer.clone();
    let channel = session.join_time(move |advert| sink.put(advert), move || known.get()?.advert())?;
    let mut server = ServerConfig::default();
    server.max_clients = max_clients.unwrap_or(server.max_clients);
    let config = TimeNodeConfig {
        advertiser,
        client: ClientConfig { rig: identity.rig, device: identity.device, ..ClientConfig::default() },
        servers: Vec::new(),
        sought: format!("rig {}", session.rig()),
        serving: Some(ServingConfig {
            address: SocketAddr::from(([0, 0, 0, 0], DEFAULT_PORT)),
            is_fixed: true,
            server,
        }),
    };
    let adverts: Arc<dyn RigAdverts> = Arc::new(Channel(channel));
    let node = TimeNode::start(config, clock.clone(), Some((adverts, inbox)), |_| {})?;
    let _ = announcer.set(node.announcer().clone()); // it was empty
    Ok(node)
}

fn sample(clock: &RigClock, node: &TimeNode) -> Sample {
    let status = clock.status();
    let depth = match status.quality {
        SyncState::Leading => 0,
        _ => status.source.map_or(0, |source| source.stratum),
    };
    Sample {
        quality: status.quality,
        offset_ns: status.offset_ns,
        uncertainty_ns: status.uncertainty_ns,
        depth,
        poll_ns: node.stats().protocol.map(|protocol| protocol.poll_interval),
        served: node.server_stats().map_or(0, |stats| stats.requests),
    }
}

/// Answers orders.
#[derive(Clone)]
struct Handler {
    id: DeviceId,
    clock: Arc<RigClock>,
    /// Orders that are not answered yet.
    open: Arc<Mutex<BTreeMap<OrderId, Order>>>,
}

impl Handler {
    fn basis(&self) -> TimeBasis {
        TimeBasis { timescale: self.clock.status().timescale(), rate: FrameGrid::new(RATE, 1).ok() }
    }

    /// All frames of the order are missed: there is no camera.
    fn answer(&self, order: &Order) -> Answer {
        let basis = self.basis();
        let frames = basis.rate.map(|grid| order.named(grid)).and_then(|named| {
            let count = named.count()?;
            let last = std::iter::successors(Some(named.first()), |number| named.next_from(number + 1))
                .take(usize::try_from(count).ok()?)
                .last()?;
            let outcome = FrameOutcome::Missed { why: LABEL.to_owned() };
            Some(FrameRun { first: named.first(), last, count, outcome })
        });
        Answer {
            order: order.id().clone(),
            device: self.id.clone(),
            unnumbered: frames.is_none().then(|| LABEL.to_owned()),
            frames: frames.into_iter().collect(),
            unfinished: None,
            basis,
        }
    }
}

impl DeviceHandler for Handler {
    fn handle_order(&self, order: Order, reply: Reply) {
        let wait = (order.at() - self.clock.now()).max(Span::ZERO);
        if wait == Span::ZERO {
            return reply.send(&self.answer(&order));
        }
        self.open.lock().insert(order.id().clone(), order.clone());
        let handler = self.clone();
        std::thread::spawn(move || {
            std::thread::sleep(wait.to_duration());
            handler.open.lock().remove(order.id());
            reply.send(&handler.answer(&order));
        });
    }

    fn handle_command(&self, command: &OrderCommand) -> Acknowledgement {
        let outcome = match self.open.lock().contains_key(command.order()) {
            true => CommandOutcome::Open,
            false => CommandOutcome::Unknown,
        };
        Acknowledgement { order: command.order().clone(), device: self.id.clone(), outcome }
    }

    fn registry(&self) -> OrderRoster {
        OrderRoster { orders: self.open.lock().values().cloned().collect(), ..OrderRoster::default() }
    }

    fn status(&self) -> Status {
        Status {
            clock: Some(self.clock.status()),
            problems: vec![LABEL.to_owned()],
            ..Status::new(self.id.clone(), format!("swsync lab scale {}", env!("CARGO_PKG_VERSION")))
        }
    }
}
