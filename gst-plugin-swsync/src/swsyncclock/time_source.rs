//! What a started `swsyncclock` runs: something that follows a source of time, a time server, or both.
//!
//! Another kind of source goes here: a variant of `Source` (`mod.rs`), one of [`Followed`], and, if it is a clock that can be read on this
//! device, an implementation of [`Reference`] as `ptp.rs` has.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use swsync_core::message::TimeService;
use swsync_core::time::Span;
use swsync_core::time_service::{Identity, ServerConfig};
use swsync_rig::{ControlError, Session, TimeAnnouncement};
use swsync_time::{
    Authority, LeaderSource, Reference, ReferenceConfig, ReferenceFollower, SystemReference, TimeClient,
    TimeClientConfig, TimeError, TimeLeader, TimeLeaderConfig, Waiting, new_identity,
};

use super::events::EventHandler;
use super::ptp::{PtpReference, PtpStats};
use super::settings::Settings;
use super::{CAT, Role, Source, status};

/// Ends when dropped.
pub struct TimeSource {
    // Dropped in this order: clients must not find a server that no longer answers, nor ask one whose clock follows nothing.
    _announcement: Option<TimeAnnouncement>,
    server: Option<Arc<TimeLeader>>,
    followed: Followed,
}

/// What the clock follows.
enum Followed {
    /// Nothing: it defines rig time.
    Nothing,
    /// A time server.
    Server {
        client: TimeClient,
        source: Source,
        /// Whether `leader` names it.
        is_named: bool,
    },
    /// A clock that can be read on this device.
    Reference { follower: ReferenceFollower, ptp: Option<Arc<Mutex<PtpStats>>> },
}

impl TimeSource {
    pub fn start(settings: &Settings, events: &Arc<EventHandler>) -> Result<Self, gst::ErrorMessage> {
        let identity = new_identity(&settings.rig.rig);
        let followed = match (settings.role, settings.source) {
            (Role::Leader, Source::Rig) => Followed::Nothing,
            (Role::Client, Source::Rig) | (_, Source::Ntp) => follow_server(settings, &identity, events)?,
            (_, Source::Ptp) => {
                let device = events.rig.device().clone();
                let reference = PtpReference::start(settings.ptp_domain, &settings.ptp_interfaces(), device)?;
                let stats = reference.stats();
                follow_reference(settings, events, reference, Some(stats))?
            }
            (_, Source::System) => {
                let device = events.rig.device().clone();
                follow_reference(settings, events, SystemReference::new(device), None)?
            }
        };
        let server = match settings.role {
            Role::Leader => Some(Arc::new(serve(settings, identity, events)?)),
            Role::Client => None,
        };
        let announcement = match &server {
            Some(server) if settings.is_announced(server.local_addr().ip()) => {
                Some(announce(settings, server.clone())?)
            }
            _ => None,
        };
        Ok(Self { _announcement: announcement, server, followed })
    }

    /// Where time is served, if this device does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(|server| server.local_addr())
    }

    /// Whether the clock defines rig time.
    pub const fn leads(&self) -> bool {
        matches!(self.followed, Followed::Nothing)
    }

    /// What no two-way exchange can see: half the least round trip.
    pub fn asymmetry_bound(&self) -> Option<Span> {
        match &self.followed {
            Followed::Nothing => Some(Span::ZERO),
            Followed::Server { client, .. } => Some(client.stats().protocol?.least_delay? / 2),
            Followed::Reference { ptp: Some(ptp), .. } => ptp.lock().path_delay,
            Followed::Reference { ptp: None, .. } => Some(Span::ZERO),
        }
    }

    /// How far synchronization has come, in words.
    pub fn progress(&self) -> String {
        match &self.followed {
            Followed::Nothing => "defines rig time".into(),
            Followed::Server { client, .. } => {
                let progress = client.progress();
                match progress.waiting {
                    Waiting::Sync => {
                        let (done, total) = progress.burst;
                        format!("{done} of {total} exchanges done, {progress}")
                    }
                    _ => progress.to_string(),
                }
            }
            Followed::Reference { follower, .. } => {
                let stats = follower.stats();
                match stats.error {
                    Some(error) => format!("{}: {error}", stats.source),
                    None => format!("{}: read {} times", stats.source, stats.readings),
                }
            }
        }
    }

    /// What may help if synchronization takes too long.
    pub fn remedy(&self) -> &'static str {
        match &self.followed {
            Followed::Server { source: Source::Ntp, .. } => {
                "Is there an NTP server at that address, is it synchronized itself, and does the network \
                 let UDP through?"
            }
            Followed::Server { is_named: false, .. } => {
                "Is a leader's pipeline running (swsyncclock role=leader) in a rig of this name, was the \
                 network up when the two were started, and does it pass multicast? If not, name the \
                 leader: leader=host[:port]."
            }
            Followed::Server { .. } => {
                "Is the leader's pipeline running, is its address right, and does the network let UDP \
                 through?"
            }
            // Their progress says it.
            Followed::Nothing | Followed::Reference { .. } => "",
        }
    }

    /// Adds the source's and the server's fields to the element's `stats`.
    pub fn add_stats(&self, stats: &mut gst::Structure) {
        match &self.followed {
            Followed::Nothing => {}
            Followed::Server { client, .. } => status::add_client(stats, &client.stats()),
            Followed::Reference { follower, ptp } => {
                status::add_reference(stats, &follower.stats());
                if let Some(ptp) = ptp {
                    status::add_ptp(stats, *ptp.lock());
                }
            }
        }
        stats.set("asymmetry-bound", status::nanos_or_unknown(self.asymmetry_bound()));
        if let Some(server) = &self.server {
            status::add_server(stats, &server.stats());
        }
    }
}

/// Follows a time server.
fn follow_server(
    settings: &Settings,
    identity: &Identity,
    events: &Arc<EventHandler>,
) -> Result<Followed, gst::ErrorMessage> {
    let servers = settings.servers();
    let is_named = !servers.is_empty();
    let source = match (is_named, settings.source) {
        (true, _) => {
            events.set_leader(servers.join(","));
            LeaderSource::Addresses(servers)
        }
        (false, Source::Ntp) => {
            return Err(gst::error_msg!(
                gst::LibraryError::Settings,
                ("source=ntp needs the server's address: leader=host[:port]")
            ));
        }
        (false, _) => {
            events.set_leader(format!("of rig {}", settings.rig.rig));
            {
                let session = session(settings)?;
                let name = format!("the time service of rig {}", session.rig());
                LeaderSource::discovered(name, move |timeout| {
                    session.find_time(timeout).map_err(|error| error.to_string())
                })
            }
        }
    };
    let mut client = settings.client_config()?;
    if settings.role == Role::Leader {
        client.device = identity.device; // not to follow itself
    }
    let config = TimeClientConfig { source, client };
    let client = TimeClient::start(config, events.rig.clone(), {
        let events = events.clone();
        move |event| events.handle(event)
    })
    .map_err(|error| time_error(&error))?;
    Ok(Followed::Server { client, source: settings.source, is_named })
}

/// Follows a clock that can be read on this device.
fn follow_reference(
    settings: &Settings,
    events: &Arc<EventHandler>,
    reference: impl Reference + 'static,
    ptp: Option<Arc<Mutex<PtpStats>>>,
) -> Result<Followed, gst::ErrorMessage> {
    events.set_leader(reference.describe());
    let config = ReferenceConfig {
        max_slew: settings.max_slew(),
        step_threshold: settings.step_threshold(),
        max_uncertainty: settings.max_uncertainty(),
    };
    let follower = ReferenceFollower::start(reference, &config, events.rig.clone(), {
        let events = events.clone();
        move |event| events.handle(event)
    })
    .map_err(|error| time_error(&error))?;
    Ok(Followed::Reference { follower, ptp })
}

fn serve(
    settings: &Settings,
    identity: Identity,
    events: &EventHandler,
) -> Result<TimeLeader, gst::ErrorMessage> {
    let authority = match settings.source {
        Source::Rig => Authority::Own,
        Source::Ntp | Source::Ptp | Source::System => Authority::Borrowed,
    };
    let server = ServerConfig { keys: settings.keys()?, ..ServerConfig::default() };
    let config = TimeLeaderConfig { address: settings.address()?, authority, identity, server };
    let server = TimeLeader::start(config, events.rig.clone()).map_err(|error| time_error(&error))?;
    gst::info!(CAT, "time is served at {}", server.local_addr());
    if authority == Authority::Own {
        events.set_leader(server.local_addr().to_string());
    }
    Ok(server)
}

/// The process's session in the rig. swsyncsink shares it if its `rig`, `listen` and `connect` are the same.
fn session(settings: &Settings) -> Result<Arc<Session>, gst::ErrorMessage> {
    Session::open(&settings.rig_config()?).map_err(|error| match error {
        ControlError::Endpoint { .. } => gst::error_msg!(gst::LibraryError::Settings, ("{error}")),
        _ => gst::error_msg!(
            gst::ResourceError::OpenReadWrite,
            ("{error}"),
            ["A leader does not need it with announce=false, a client with leader=host[:port]."]
        ),
    })
}

/// Announces in the rig where time is served, for clients without `leader`. The addresses are found anew for each client that asks: the
/// network may come up later, or change.
fn announce(settings: &Settings, server: Arc<TimeLeader>) -> Result<TimeAnnouncement, gst::ErrorMessage> {
    let service = move || {
        let addresses = server.addresses().unwrap_or_else(|error| {
            gst::warning!(CAT, "this device's addresses cannot be found: {error}");
            Vec::new()
        });
        TimeService { addresses }
    };
    gst::info!(CAT, "announced in rig {}: {:?}", settings.rig.rig, service());
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
