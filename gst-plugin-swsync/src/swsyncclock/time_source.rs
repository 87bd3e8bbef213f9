//! What a started `swsyncclock` runs: something that follows a source of time, a time server, or both.
//!
//! Another kind of source goes here: a variant of `Source` (`mod.rs`), one of [`Followed`], and, if it is a clock that can be read on this
//! device, an implementation of [`Reference`] as `ptp.rs` has.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use swsync_core::time::Span;
use swsync_core::time_service::{Advertiser, ClockClass, Identity, Scale, SyncState, TimeAdvert};
use swsync_rig::settings::Setting;
use swsync_rig::{ControlError, Session, TimeChannel, host_name};
use swsync_time::{
    AdvertInbox, Announcements, Announcer, Authority, Reference, ReferenceConfig, ReferenceFollower,
    RigAdverts, ServingConfig, SystemReference, TimeError, TimeLeader, TimeLeaderConfig, TimeNode,
    TimeNodeConfig, Waiting, advert_queue, new_identity, wall_clock_is_kept,
};

use super::events::EventHandler;
use super::ptp::{PtpReference, PtpStats};
use super::settings::Settings;
use super::{CAT, Role, Source, status};

/// Ends when dropped.
pub struct TimeSource {
    // Dropped in this order: clients must not find a server that no longer answers, nor ask one whose clock follows nothing.
    _announcements: Option<Announcements>,
    /// Serves a time from outside the rig; a [`TimeNode`] serves the rig's by itself.
    server: Option<TimeLeader>,
    followed: Followed,
    /// Held until here, so that the session in the rig ends on the thread that stops the element.
    _adverts: Option<Arc<dyn RigAdverts>>,
}

/// What the clock follows.
enum Followed {
    /// The rig's time, or an NTP server.
    Server {
        node: TimeNode,
        source: Source,
        /// Whether `leader` names it.
        is_named: bool,
    },
    /// A clock that can be read on this device.
    Reference { follower: ReferenceFollower, ptp: Option<Arc<Mutex<PtpStats>>> },
}

impl TimeSource {
    pub fn start(settings: &Settings, events: &Arc<EventHandler>) -> Result<Self, gst::ErrorMessage> {
        if settings.source == Source::Rig {
            let (followed, adverts) = follow_rig(settings, events)?;
            return Ok(Self { _announcements: None, server: None, followed, _adverts: adverts });
        }
        let advertiser = advertiser(settings, events);
        let followed = match settings.source {
            Source::Rig | Source::Ntp => follow_ntp(settings, &advertiser.identity, events)?,
            Source::Ptp => {
                let device = events.rig.device().clone();
                let reference = PtpReference::start(settings.ptp_domain, &settings.ptp_interfaces(), device)?;
                let stats = reference.stats();
                follow_reference(settings, events, reference, Some(stats))?
            }
            Source::System => {
                let device = events.rig.device().clone();
                follow_reference(settings, events, SystemReference::new(device), None)?
            }
        };
        if !settings.can_lead() {
            return Ok(Self { _announcements: None, server: None, followed, _adverts: None });
        }
        let server = serve(settings, advertiser.identity, events)?;
        let announcer = Announcer::new(advertiser, events.rig.clone(), Some(&server));
        let (announcements, adverts) = match settings.joins_rig()? {
            true => {
                let (announcements, adverts) = announce(settings, announcer)?;
                (Some(announcements), Some(adverts))
            }
            false => (None, None),
        };
        Ok(Self { _announcements: announcements, server: Some(server), followed, _adverts: adverts })
    }

    /// Where time is served, if this device does.
    pub fn address(&self) -> Option<SocketAddr> {
        match (&self.server, &self.followed) {
            (Some(server), _) => Some(server.local_addr()),
            (None, Followed::Server { node, .. }) => node.local_addr(),
            (None, Followed::Reference { .. }) => None,
        }
    }

    /// What no two-way exchange can see: half the least round trip. `quality` is the clock's.
    pub fn asymmetry_bound(&self, quality: SyncState) -> Option<Span> {
        match &self.followed {
            _ if quality == SyncState::Leading => Some(Span::ZERO),
            Followed::Server { node, .. } => Some(node.stats().protocol?.least_delay? / 2),
            Followed::Reference { ptp: Some(ptp), .. } => ptp.lock().path_delay,
            Followed::Reference { ptp: None, .. } => Some(Span::ZERO),
        }
    }

    /// How far synchronization has come, in words.
    pub fn progress(&self) -> String {
        match &self.followed {
            Followed::Server { node, .. } => {
                let progress = node.progress();
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
                "Is a device of the rig running that leads (swsyncclock role=auto or leader) and has this rig's \
                 name, was the network up when the two were started, and does it pass multicast? If not, name the \
                 leader: leader=host[:port]."
            }
            Followed::Server { .. } => {
                "Is the leader's pipeline running, is its address right, and does the network let UDP \
                 through?"
            }
            Followed::Reference { .. } => "", // its progress says it
        }
    }

    /// Adds the source's and the server's fields to the element's `stats`. `quality` is the clock's.
    pub fn add_stats(&self, stats: &mut gst::Structure, quality: SyncState) {
        match &self.followed {
            Followed::Server { node, .. } => status::add_client(stats, &node.stats()),
            Followed::Reference { follower, ptp } => {
                status::add_reference(stats, &follower.stats());
                if let Some(ptp) = ptp {
                    status::add_ptp(stats, *ptp.lock());
                }
            }
        }
        stats.set("asymmetry-bound", status::nanos_or_unknown(self.asymmetry_bound(quality)));
        let of_node = || match &self.followed {
            Followed::Server { node, .. } => node.server_stats(),
            Followed::Reference { .. } => None,
        };
        if let Some(served) = self.server.as_ref().map(TimeLeader::stats).or_else(of_node) {
            status::add_server(stats, &served);
        }
    }
}

/// What this device tells of itself in the rig.
fn advertiser(settings: &Settings, events: &EventHandler) -> Advertiser {
    let rig = settings.resolved.rig();
    let source = match settings.source {
        Source::Rig => None,
        Source::Ntp => Some("ntp".into()),
        Source::Ptp => Some(format!("ptp/{}", settings.ptp_domain)),
        Source::System => Some("system".into()),
    };
    let clock_class = match &source {
        Some(_) => ClockClass::Source,
        // A simulated wall clock is nobody's.
        None if !events.rig.device().is_simulated() && wall_clock_is_kept() => ClockClass::KeptWall,
        None => ClockClass::Free,
    };
    let random = new_identity(rig);
    let timescale = source.map_or(random.timescale, |source| Scale::id_of_source(rig, &source));
    Advertiser {
        device: settings.resolved.value(Setting::DeviceId).map_or_else(host_name, str::to_owned),
        identity: Identity { timescale, ..random },
        can_lead: settings.can_lead(),
        priority: settings.election_priority(),
        clock_class: clock_class as u8,
    }
}

/// Follows the rig's time, serves it, and leads the rig if this device is elected.
fn follow_rig(
    settings: &Settings,
    events: &Arc<EventHandler>,
) -> Result<(Followed, Option<Arc<dyn RigAdverts>>), gst::ErrorMessage> {
    let advertiser = advertiser(settings, events);
    let mut client = settings.client_config()?;
    client.device = advertiser.identity.device; // not to follow itself
    let servers = settings.named_servers();
    let is_named = !servers.is_empty();
    let sought = format!("rig {}", settings.resolved.rig());
    events.set_leader(if is_named { servers.join(",") } else { format!("of {sought}") });
    let serving = ServingConfig {
        address: settings.address()?,
        is_fixed: settings.role == Role::Leader,
        server: settings.server_config()?,
    };
    let config = TimeNodeConfig { advertiser, client, servers, sought, serving: Some(serving) };
    let announcer = Arc::new(OnceLock::<Announcer>::new());
    let rig = match settings.joins_rig()? {
        true => {
            let known = announcer.clone();
            Some(join(settings, move || known.get()?.advert())?)
        }
        false => None,
    };
    let adverts = rig.as_ref().map(|(adverts, _)| adverts.clone());
    let node = TimeNode::start(config, events.rig.clone(), rig, {
        let events = events.clone();
        move |event| events.handle(event)
    })
    .map_err(|error| time_error(&error))?;
    if let Some(address) = node.local_addr() {
        gst::info!(CAT, "time is served at {address}");
    }
    let _ = announcer.set(node.announcer().clone()); // it was empty
    Ok((Followed::Server { node, source: Source::Rig, is_named }, adverts))
}

/// Follows an NTP server.
fn follow_ntp(
    settings: &Settings,
    identity: &Identity,
    events: &Arc<EventHandler>,
) -> Result<Followed, gst::ErrorMessage> {
    let servers = settings.named_servers();
    if servers.is_empty() {
        return Err(gst::error_msg!(
            gst::LibraryError::Settings,
            ("source=ntp needs the server's address: leader=host[:port]")
        ));
    }
    events.set_leader(servers.join(","));
    let mut client = settings.client_config()?;
    if settings.can_lead() {
        client.device = identity.device; // not to follow itself
    }
    let node = TimeNode::follow(servers, client, events.rig.clone(), {
        let events = events.clone();
        move |event| events.handle(event)
    })
    .map_err(|error| time_error(&error))?;
    Ok(Followed::Server { node, source: Source::Ntp, is_named: true })
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

/// Serves a time from outside the rig.
fn serve(
    settings: &Settings,
    identity: Identity,
    events: &EventHandler,
) -> Result<TimeLeader, gst::ErrorMessage> {
    let start = |address| {
        let server = settings.server_config()?;
        let config = TimeLeaderConfig { address, authority: Authority::Borrowed, identity, server };
        Ok::<_, gst::ErrorMessage>(TimeLeader::start(config, events.rig.clone()))
    };
    let mut server = start(settings.address()?)?;
    if settings.role == Role::Auto && server.is_err() {
        server = start(SocketAddr::new(settings.ip()?, 0))?;
    }
    let server = server.map_err(|error| time_error(&error))?;
    gst::info!(CAT, "time is served at {}", server.local_addr());
    Ok(server)
}

/// The process's session in the rig. swsyncsink and swsyncgate share it, since their settings are the same.
fn session(settings: &Settings) -> Result<Arc<Session>, gst::ErrorMessage> {
    Session::open(&settings.rig_config()?).map_err(|error| match error {
        ControlError::Endpoint { .. } => gst::error_msg!(gst::LibraryError::Settings, ("{error}")),
        _ => gst::error_msg!(
            gst::ResourceError::OpenReadWrite,
            ("{error}"),
            [
                "It is needed to find the other devices. Without it work role=leader and role=auto with announce=false, and a \
                 client with leader=host[:port]."
            ]
        ),
    })
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

/// Joins what the rig tells of its time services. `answer`: what to tell those who ask.
fn join(
    settings: &Settings,
    answer: impl Fn() -> Option<TimeAdvert> + Send + Sync + 'static,
) -> Result<(Arc<dyn RigAdverts>, AdvertInbox), gst::ErrorMessage> {
    let (sink, inbox) = advert_queue();
    let channel = session(settings)?
        .join_time(move |advert| sink.put(advert), answer)
        .map_err(|error| gst::error_msg!(gst::ResourceError::OpenReadWrite, ("{error}")))?;
    Ok((Arc::new(Channel(channel)), inbox))
}

/// Tells the rig of a leader whose time comes from outside.
fn announce(
    settings: &Settings,
    announcer: Announcer,
) -> Result<(Announcements, Arc<dyn RigAdverts>), gst::ErrorMessage> {
    let known = announcer.clone();
    let (adverts, _nobody_reads) = join(settings, move || known.leading_advert())?;
    let announcements =
        Announcements::start(announcer, adverts.clone()).map_err(|error| time_error(&error))?;
    Ok((announcements, adverts))
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
