//! A device of the rig: it follows a time server, serves time to others, and leads the rig if it is elected.
//!
//! [`swsync_core::time_service::Node`] decides; `task.rs` does its I/O. What devices tell one another of their time services (adverts)
//! goes over the rig's control plane, which the caller brings as [`RigAdverts`].

mod announcer;
mod task;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use swsync_core::time::Timestamp;
use swsync_core::time_service::{
    Advertiser, ClientConfig, Identity, Node, NodeConfig, Seed, ServerConfig, TimeAdvert,
};
use tokio::sync::mpsc;

pub use announcer::{Announcements, Announcer};
use task::NodeTask;
pub(crate) use task::Request;

use crate::executor::Task;
use crate::leader::TimeLeader;
use crate::publisher::ClockPublisher;
use crate::resolver::Resolver;
use crate::{
    Authority, ClientProgress, ClockEvent, RigClock, TimeClientStats, TimeError, TimeLeaderConfig,
    TimeLeaderStats,
};

/// Most adverts that wait to be read: what a rig of some hundred devices answers at once. Further ones are dropped, as on a
/// network.
const ADVERTS: usize = 512;
/// Most requests whose fields wait to be read.
const REQUESTS: usize = 64;

/// Where a device's time server is.
#[derive(Debug, Clone)]
pub struct ServingConfig {
    /// The address to listen at: see [`TimeLeaderConfig::address`].
    pub address: SocketAddr,
    /// Whether it is an error if the port is taken. If not, any free port will do, and a device that cannot open any does not
    /// serve.
    pub is_fixed: bool,
    /// Keys and limits.
    pub server: ServerConfig,
}

/// The settings of a [`TimeNode`].
#[derive(Debug, Clone)]
pub struct TimeNodeConfig {
    /// What it tells of itself.
    pub advertiser: Advertiser,
    /// How it asks a server.
    pub client: ClientConfig,
    /// The servers that the user names, as `host:port`, in order of preference. A host is a name or an address; IPv6 stands in
    /// brackets and may have a scope: `[fe80::1%eth0]:11123`. None: it takes those that advertise themselves.
    pub servers: Vec<String>,
    /// Whose time it looks for if no servers are named, in words: "rig swsync".
    pub sought: String,
    /// Where it serves time; `None`: it does not.
    pub serving: Option<ServingConfig>,
}

/// The rig's control plane, as time uses it. Neither method may block.
pub trait RigAdverts: Send + Sync {
    /// Sends `advert` to all other devices of the rig.
    fn publish(&self, advert: &TimeAdvert);
    /// Asks all other devices of the rig for their adverts.
    fn ask(&self);
}

/// Where the adverts of other devices are put.
#[derive(Debug, Clone)]
pub struct AdvertSink(mpsc::Sender<TimeAdvert>);

impl AdvertSink {
    /// Puts `advert`. Never blocks: if too many wait, this one is dropped.
    pub fn put(&self, advert: TimeAdvert) {
        if self.0.try_send(advert).is_err() {
            swsync_core::log::debug!("an advert of a time service is dropped");
        }
    }
}

/// Where a [`TimeNode`] takes the adverts of other devices.
#[derive(Debug)]
pub struct AdvertInbox(mpsc::Receiver<TimeAdvert>);

/// A queue for the adverts of other devices.
#[must_use]
pub fn advert_queue() -> (AdvertSink, AdvertInbox) {
    let (sender, receiver) = mpsc::channel(ADVERTS);
    (AdvertSink(sender), AdvertInbox(receiver))
}

/// A device of the rig, until dropped. Dropping it tells the others, and waits for its task, which ends at once.
pub struct TimeNode {
    // Dropped in this order: others must not find a server that no longer answers.
    _task: Task,
    server: Option<TimeLeader>,
    announcer: Announcer,
    stats: Arc<Mutex<TimeClientStats>>,
}

impl fmt::Debug for TimeNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeNode").field("announcer", &self.announcer).finish_non_exhaustive()
    }
}

impl TimeNode {
    /// Keeps `clock` in the rig's time. If it knows that from an earlier run, the node goes on from it. The node's task calls
    /// `on_event`, which must not block for long. `rig`: how it hears of other devices, if it does.
    ///
    /// # Errors
    /// [`TimeError::Socket`] if time cannot be served at a fixed address, [`TimeError::Runtime`]. A server that is not there
    /// yet is no error: see [`TimeNode::progress`].
    pub fn start(
        config: TimeNodeConfig,
        clock: Arc<RigClock>,
        rig: Option<(Arc<dyn RigAdverts>, AdvertInbox)>,
        on_event: impl Fn(ClockEvent) + Send + Sync + 'static,
    ) -> Result<Self, TimeError> {
        let (requests_out, requests) = mpsc::channel(REQUESTS);
        let identity = config.advertiser.identity;
        let known = clock.time();
        // Whether that is still the rig's time is to be found out.
        clock.forget();
        let server = match &config.serving {
            Some(serving) => serve(serving, identity, &clock, &requests_out)?,
            None => None,
        };
        let announcer = Announcer::new(config.advertiser.clone(), clock.clone(), server.as_ref());
        let named = !config.servers.is_empty();
        let stats = Arc::new(Mutex::new(TimeClientStats::default()));
        let sought = if named { config.servers.join(", ") } else { config.sought };
        stats.lock().progress = ClientProgress { leader: sought.clone(), named, ..ClientProgress::default() };
        let now = clock.device().now();
        let wall = Timestamp::from_nanos(clock.device().wall_now().as_nanos()) - now;
        let port = server.as_ref().map_or(0, |server| server.local_addr().port());
        let node = NodeConfig {
            device: config.advertiser.device.clone(),
            identity,
            can_lead: config.advertiser.can_lead,
            priority: config.advertiser.priority,
            clock_class: config.advertiser.clock_class,
            client: config.client,
            named,
            wall,
            port,
        };
        let (adverts, inbox) = match rig {
            Some((adverts, inbox)) => (Some(adverts), inbox.0),
            None => (None, advert_queue().1.0),
        };
        stats.lock().progress.burst.1 = node.client.burst;
        let task = NodeTask::new(task::Parts {
            node: Node::new(node, known, now, Seed::from(rand::random::<[u8; 32]>())),
            publisher: ClockPublisher::new(clock, Box::new(on_event)),
            stats: stats.clone(),
            announcer: announcer.clone(),
            adverts,
            inbox,
            requests,
            resolver: Resolver::new(&config.servers),
            sought,
        });
        let task = Task::spawn(|stopped| task.run(stopped))?;
        Ok(Self { _task: task, server, announcer, stats })
    }

    /// Follows one of `servers` and neither serves nor leads: see [`TimeNodeConfig::servers`] and [`TimeNode::start`].
    ///
    /// # Errors
    /// [`TimeError::Runtime`].
    pub fn follow(
        servers: Vec<String>,
        client: ClientConfig,
        clock: Arc<RigClock>,
        on_event: impl Fn(ClockEvent) + Send + Sync + 'static,
    ) -> Result<Self, TimeError> {
        let identity = Identity { rig: client.rig, device: client.device, timescale: 0 };
        let advertiser = Advertiser {
            device: String::new(),
            identity,
            can_lead: false,
            priority: u8::MAX,
            clock_class: u8::MAX,
        };
        let config = TimeNodeConfig { advertiser, client, servers, sought: String::new(), serving: None };
        Self::start(config, clock, None, on_event)
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> ClientProgress {
        self.stats.lock().progress.clone()
    }

    /// Statistics of its client, as of the last event.
    #[must_use]
    pub fn stats(&self) -> TimeClientStats {
        self.stats.lock().clone()
    }

    /// Statistics of its server.
    #[must_use]
    pub fn server_stats(&self) -> Option<TimeLeaderStats> {
        self.server.as_ref().map(TimeLeader::stats)
    }

    /// Where it serves time.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(TimeLeader::local_addr)
    }

    /// What tells others of its time service.
    #[must_use]
    pub const fn announcer(&self) -> &Announcer {
        &self.announcer
    }
}

/// Serves the time of `clock`, which a node sets.
fn serve(
    serving: &ServingConfig,
    identity: Identity,
    clock: &Arc<RigClock>,
    requests: &mpsc::Sender<Request>,
) -> Result<Option<TimeLeader>, TimeError> {
    let start = |address| {
        let server = serving.server.clone();
        let config = TimeLeaderConfig { address, authority: Authority::Borrowed, identity, server };
        TimeLeader::start_telling(config, clock.clone(), Some(requests.clone()))
    };
    let error = match start(serving.address) {
        Ok(server) => return Ok(Some(server)),
        Err(error) if serving.is_fixed => return Err(error),
        Err(error) => error,
    };
    swsync_core::log::info!(%error, "serving time at another port");
    match start(SocketAddr::new(serving.address.ip(), 0)) {
        Ok(server) => Ok(Some(server)),
        Err(error) => {
            swsync_core::log::warn!(%error, "this device does not serve time to others");
            Ok(None)
        }
    }
}
