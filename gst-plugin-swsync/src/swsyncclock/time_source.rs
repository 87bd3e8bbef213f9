//! What a started `swsyncclock` runs: a follower of some clock, a server of time, or both.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use swsync_core::control::TimeService;
use swsync_core::sync::{Identity, ServerConfig};
use swsync_core::time::Span;
use swsync_rig::control::{ControlError, Session, TimeAnnouncement};
use swsync_rig::time::{
    Authority, LeaderSource, Reference, ReferenceConfig, ReferenceFollower, SystemReference, TimeClient,
    TimeClientConfig, TimeError, TimeLeader, TimeLeaderConfig, Waiting, new_identity,
};

use super::imp::{CAT, Listener};
use super::ptp::{PtpReference, PtpStats};
use super::settings::Settings;
use super::{Role, Source, status};
use crate::lock::lock;

/// Ends when dropped.
pub struct Service {
    // Dropped in this order: nobody is to be led to where nothing answers, or served what nobody keeps.
    _announcement: Option<TimeAnnouncement>,
    server: Option<Arc<TimeLeader>>,
    follower: Follower,
}

/// What keeps the clock in time.
enum Follower {
    /// Nobody: the clock defines rig time.
    Nobody,
    Client {
        client: TimeClient,
        source: Source,
        named: bool,
    },
    Reference {
        follower: ReferenceFollower,
        ptp: Option<Arc<Mutex<PtpStats>>>,
    },
}

impl Service {
    pub fn start(settings: &Settings, listener: &Arc<Listener>) -> Result<Self, gst::ErrorMessage> {
        let identity = new_identity(&settings.rig);
        let follower = match (settings.role, settings.source) {
            (Role::Leader, Source::Rig) => Follower::Nobody,
            (Role::Client, Source::Rig) | (_, Source::Ntp) => ask(settings, &identity, listener)?,
            (_, Source::Ptp) => {
                let device = listener.rig.device().clone();
                let reference = PtpReference::start(settings.ptp_domain, &settings.ptp_interfaces(), device)?;
                let stats = reference.stats();
                read(settings, listener, reference, Some(stats))?
            }
            (_, Source::System) => {
                let device = listener.rig.device().clone();
                read(settings, listener, SystemReference::new(device), None)?
            }
        };
        let server = match settings.role {
            Role::Leader => Some(Arc::new(serve(settings, identity, listener)?)),
            Role::Client => None,
        };
        let announcement = match &server {
            Some(server) if settings.is_announced(server.local_addr().ip()) => {
                Some(announce(settings, server.clone())?)
            }
            _ => None,
        };
        Ok(Self { _announcement: announcement, server, follower })
    }

    /// Where time is served, if it is.
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(|server| server.local_addr())
    }

    /// Whether the clock defines rig time.
    pub const fn leads(&self) -> bool {
        matches!(self.follower, Follower::Nobody)
    }

    /// What no two-way exchange can see: half the least round trip.
    pub fn asymmetry_bound(&self) -> Option<Span> {
        match &self.follower {
            Follower::Nobody => Some(Span::ZERO),
            Follower::Client { client, .. } => Some(client.stats().protocol?.least_delay? / 2),
            // The way there and back is twice the delay of one way.
            Follower::Reference { ptp: Some(ptp), .. } => lock(ptp).path_delay,
            Follower::Reference { ptp: None, .. } => Some(Span::ZERO),
        }
    }

    /// What is waited for, in words.
    pub fn progress(&self) -> String {
        match &self.follower {
            Follower::Nobody => "defines rig time".into(),
            Follower::Client { client, .. } => {
                let progress = client.progress();
                match progress.waiting {
                    Waiting::Sync => {
                        let (done, total) = progress.burst;
                        format!("{done} of {total} exchanges done, {progress}")
                    }
                    _ => progress.to_string(),
                }
            }
            Follower::Reference { follower, .. } => {
                let stats = follower.stats();
                match stats.error {
                    Some(error) => format!("{}: {error}", stats.source),
                    None => format!("{}: read {} times", stats.source, stats.readings),
                }
            }
        }
    }

    /// What may help where synchronization takes too long.
    pub fn remedy(&self) -> &'static str {
        match &self.follower {
            Follower::Client { source: Source::Ntp, .. } => {
                "Is there an NTP server at that address, is it synchronized itself, and does the network \
                 let UDP through?"
            }
            Follower::Client { named: false, .. } => {
                "Is a leader's pipeline running (swsyncclock role=leader) in a rig of this name, was the \
                 network up when the two were started, and does it pass multicast? If not, name the \
                 leader: leader=host[:port]."
            }
            Follower::Client { .. } => {
                "Is the leader's pipeline running, is its address right, and does the network let UDP \
                 through?"
            }
            // These say so themselves.
            Follower::Nobody | Follower::Reference { .. } => "",
        }
    }

    /// Adds to the element's `stats` what only the services know.
    pub fn add_stats(&self, stats: &mut gst::Structure) {
        match &self.follower {
            Follower::Nobody => {}
            Follower::Client { client, .. } => status::add_client(stats, &client.stats()),
            Follower::Reference { follower, ptp } => {
                status::add_reference(stats, &follower.stats());
                if let Some(ptp) = ptp {
                    status::add_ptp(stats, *lock(ptp));
                }
            }
        }
        stats.set("asymmetry-bound", status::nanos_or_unknown(self.asymmetry_bound()));
        if let Some(server) = &self.server {
            status::add_server(stats, &server.stats());
        }
    }
}

/// Asks a server of time.
fn ask(
    settings: &Settings,
    identity: &Identity,
    listener: &Arc<Listener>,
) -> Result<Follower, gst::ErrorMessage> {
    let servers = settings.servers();
    let named = !servers.is_empty();
    let source = match (named, settings.source) {
        (true, _) => {
            listener.set_leader(servers.join(","));
            LeaderSource::Addresses(servers)
        }
        (false, Source::Ntp) => {
            return Err(gst::error_msg!(
                gst::LibraryError::Settings,
                ("source=ntp needs the server's address: leader=host[:port]")
            ));
        }
        (false, _) => {
            listener.set_leader(format!("of rig {}", settings.rig));
            LeaderSource::Discovered(session(settings)?)
        }
    };
    let mut client = settings.client_config()?;
    if settings.role == Role::Leader {
        client.device = identity.device; // not to follow itself
    }
    let config = TimeClientConfig { source, client };
    let client = TimeClient::start(config, listener.rig.clone(), {
        let listener = listener.clone();
        move |event| listener.handle(event)
    })
    .map_err(|error| time_error(&error))?;
    Ok(Follower::Client { client, source: settings.source, named })
}

/// Reads another clock of this device.
fn read(
    settings: &Settings,
    listener: &Arc<Listener>,
    reference: impl Reference + 'static,
    ptp: Option<Arc<Mutex<PtpStats>>>,
) -> Result<Follower, gst::ErrorMessage> {
    listener.set_leader(reference.describe());
    let config = ReferenceConfig {
        max_slew: settings.max_slew(),
        step_threshold: settings.step_threshold(),
        max_uncertainty: settings.max_uncertainty(),
    };
    let follower = ReferenceFollower::start(reference, &config, listener.rig.clone(), {
        let listener = listener.clone();
        move |event| listener.handle(event)
    })
    .map_err(|error| time_error(&error))?;
    Ok(Follower::Reference { follower, ptp })
}

fn serve(
    settings: &Settings,
    identity: Identity,
    listener: &Listener,
) -> Result<TimeLeader, gst::ErrorMessage> {
    let authority = match settings.source {
        Source::Rig => Authority::Own,
        Source::Ntp | Source::Ptp | Source::System => Authority::Borrowed,
    };
    let server = ServerConfig { keys: settings.keys()?, ..ServerConfig::default() };
    let config = TimeLeaderConfig { address: settings.address()?, authority, identity, server };
    let server = TimeLeader::start(config, listener.rig.clone()).map_err(|error| time_error(&error))?;
    gst::info!(CAT, "time is served at {}", server.local_addr());
    if authority == Authority::Own {
        listener.set_leader(server.local_addr().to_string());
    }
    Ok(server)
}

/// The process's session in the rig; swsyncsink has the same one where `rig`, `listen` and
/// `connect` are the same.
fn session(settings: &Settings) -> Result<Arc<Session>, gst::ErrorMessage> {
    Session::open(&settings.rig_config()?).map_err(|error| match error {
        ControlError::Endpoint { .. } => gst::error_msg!(gst::LibraryError::Settings, ("{error}")),
        _ => gst::error_msg!(
            gst::ResourceError::OpenReadWrite,
            ("{error}"),
            ["A leader goes without with announce=false, a client with leader=host[:port]."]
        ),
    })
}

/// Tells the rig where time is served, so that clients need not be told. Where that is said anew to each
/// who asks: the network may come up later, or change.
fn announce(settings: &Settings, server: Arc<TimeLeader>) -> Result<TimeAnnouncement, gst::ErrorMessage> {
    let service = move || {
        let addresses = server.addresses().unwrap_or_else(|error| {
            gst::warning!(CAT, "this device's addresses cannot be told: {error}");
            Vec::new()
        });
        TimeService { addresses }
    };
    gst::info!(CAT, "announced in rig {}: {:?}", settings.rig, service());
    let announced = session(settings)?.announce_time(service);
    announced.map_err(|error| gst::error_msg!(gst::ResourceError::OpenReadWrite, ("{error}")))
}

fn time_error(error: &TimeError) -> gst::ErrorMessage {
    match error {
        TimeError::Socket { .. } => gst::error_msg!(
            gst::ResourceError::OpenReadWrite,
            ("{error}"),
            ["Does something else serve time on this device? Choose another `port`."]
        ),
        _ => gst::error_msg!(gst::ResourceError::Failed, ("{error}")),
    }
}
