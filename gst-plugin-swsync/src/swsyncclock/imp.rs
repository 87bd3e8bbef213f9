use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use swsync_core::estimate::{EstimatorConfig, Method};
use swsync_core::frame::SyncQuality;
use swsync_core::sync::{ClientConfig, ServerConfig};
use swsync_core::time::{Skew, Span};
use swsync_rig::clock::{DeviceClock, RigClock, SIMULATED_CLOCK};
use swsync_rig::time::{
    Authority, ClockEvent, DEFAULT_PORT, LeaderSource, TimeClient, TimeClientConfig, TimeLeader,
    TimeLeaderConfig, new_identity,
};

use super::{Estimator, Role};
use crate::clock::SwsyncClock;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swsyncclock", gst::DebugColorFlags::empty(), Some("swsync clock"))
});

const DEFAULT_BIND: &str = "0.0.0.0";
const DEFAULT_SYNC_TIMEOUT: gst::ClockTime = gst::ClockTime::from_seconds(20);
const DEFAULT_BURST: u32 = 300;
const DEFAULT_MAX_SLEW_PPM: u32 = 500;

/// Interval of progress messages while waiting for synchronization.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
struct Settings {
    role: Role,
    leader: Option<String>,
    bind_address: String,
    port: u16,
    sync_timeout: gst::ClockTime,
    burst: u32,
    estimator: Estimator,
    max_slew_ppm: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            role: Role::default(),
            leader: None,
            bind_address: DEFAULT_BIND.into(),
            port: DEFAULT_PORT,
            sync_timeout: DEFAULT_SYNC_TIMEOUT,
            burst: DEFAULT_BURST,
            estimator: Estimator::default(),
            max_slew_ppm: DEFAULT_MAX_SLEW_PPM,
        }
    }
}

#[derive(Debug)]
enum Service {
    Leader { server: TimeLeader },
    Client { client: TimeClient },
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Stopped,
    Started {
        service: Service,
    },
}

/// Tells the thread that waits for synchronization of changes.
#[derive(Debug, Default)]
struct Changes {
    quality: Mutex<Option<SyncQuality>>,
    changed: Condvar,
}

// No two of the mutexes are held at once.
#[derive(Default)]
pub struct SwsyncClockElement {
    settings: Mutex<Settings>,
    state: Mutex<State>,
    clock: Mutex<Option<SwsyncClock>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these mutexes guard is replaced as a whole, so a panic elsewhere leaves it usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[glib::object_subclass]
impl ObjectSubclass for SwsyncClockElement {
    const NAME: &'static str = "GstSwsyncClockElement";
    type Type = super::SwsyncClockElement;
    type ParentType = gst::Element;
}

impl ObjectImpl for SwsyncClockElement {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut properties = settings_properties();
            properties.extend(status_properties());
            properties
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = lock(&self.settings);
        // The types are those of the ParamSpecs, which GObject has checked.
        match pspec.name() {
            "role" => settings.role = value.get().expect("checked"),
            "leader" => settings.leader = value.get().expect("checked"),
            "bind-address" => {
                let address: Option<String> = value.get().expect("checked");
                settings.bind_address = address.unwrap_or_else(|| DEFAULT_BIND.into());
            }
            "port" => {
                let port: u32 = value.get().expect("checked");
                settings.port = u16::try_from(port).expect("the ParamSpec's range is a port's");
            }
            "sync-timeout" => {
                settings.sync_timeout = gst::ClockTime::from_nseconds(value.get().expect("checked"));
            }
            "burst" => settings.burst = value.get().expect("checked"),
            "estimator" => settings.estimator = value.get().expect("checked"),
            "max-slew-ppm" => settings.max_slew_ppm = value.get().expect("checked"),
            name => unreachable!("no property {name}"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let status = lock(&self.clock).as_ref().map(|clock| clock.rig().status());
        let nanos = |span: Option<Span>| span.map_or(-1, Span::as_nanos);
        match pspec.name() {
            "address" => self.address().map(|address| address.to_string()).to_value(),
            "synced" => status.is_some_and(|s| is_synced(s.quality)).to_value(),
            "offset" => status.map_or(0, |s| s.offset_ns.as_nanos()).to_value(),
            "uncertainty" => nanos(status.and_then(|s| s.uncertainty_ns)).to_value(),
            "round-trip" => nanos(status.and_then(|s| s.round_trip_ns)).to_value(),
            name => {
                let settings = lock(&self.settings);
                match name {
                    "role" => settings.role.to_value(),
                    "leader" => settings.leader.to_value(),
                    "bind-address" => settings.bind_address.to_value(),
                    "port" => u32::from(settings.port).to_value(),
                    "sync-timeout" => settings.sync_timeout.nseconds().to_value(),
                    "burst" => settings.burst.to_value(),
                    "estimator" => settings.estimator.to_value(),
                    "max-slew-ppm" => settings.max_slew_ppm.to_value(),
                    name => unreachable!("no property {name}"),
                }
            }
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_element_flags(gst::ElementFlags::PROVIDE_CLOCK);
    }
}

fn settings_properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecEnum::builder::<Role>("role")
            .nick("Role")
            .blurb("Whether this device defines rig time or follows the device that does")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("leader")
            .nick("Leader")
            .blurb(
                "Where a client finds the leader: host[:port]; several separated by commas are tried in turn",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("bind-address")
            .nick("Bind address")
            .blurb("IP address of the interface on which a leader serves time; 0.0.0.0 is all of IPv4")
            .default_value(Some(DEFAULT_BIND))
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("port")
            .nick("Port")
            .blurb("UDP port on which a leader serves time; 0 is any free one")
            .maximum(65_535)
            .default_value(u32::from(DEFAULT_PORT))
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("sync-timeout")
            .nick("Sync timeout")
            .blurb("Longest wait for synchronization on the way to PAUSED before failing, in nanoseconds")
            .maximum(i64::MAX.unsigned_abs())
            .default_value(DEFAULT_SYNC_TIMEOUT.nseconds())
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("burst")
            .nick("Burst")
            .blurb("Exchanges with the leader before the clock counts as synced (the paper's K)")
            .minimum(1)
            .maximum(100_000)
            .default_value(DEFAULT_BURST)
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder::<Estimator>("estimator")
            .nick("Estimator")
            .blurb("How exchanges with the leader become an estimate of offset and skew")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("max-slew-ppm")
            .nick("Maximum slew")
            .blurb("Bound of the rate at which the synced clock is corrected, in parts per million")
            .minimum(1)
            .maximum(100_000)
            .default_value(DEFAULT_MAX_SLEW_PPM)
            .mutable_ready()
            .build(),
    ]
}

fn status_properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("address")
            .nick("Address")
            .blurb("Where a started leader serves time, as IP:port with the port in use; not set on a client")
            .read_only()
            .build(),
        glib::ParamSpecBoolean::builder("synced")
            .nick("Synced")
            .blurb("Whether the clock is in rig time and the leader is heard (true on the leader)")
            .read_only()
            .build(),
        glib::ParamSpecInt64::builder("offset")
            .nick("Offset")
            .blurb("Rig time minus this device's CLOCK_MONOTONIC, in nanoseconds")
            .read_only()
            .build(),
        glib::ParamSpecInt64::builder("uncertainty")
            .nick("Uncertainty")
            .blurb("What the clock's error may be (1 sigma), in nanoseconds; -1 if unknown")
            .minimum(-1)
            .default_value(-1)
            .read_only()
            .build(),
        glib::ParamSpecInt64::builder("round-trip")
            .nick("Round trip")
            .blurb("Round-trip delay of the last exchange with the leader, in nanoseconds; -1 if none")
            .minimum(-1)
            .default_value(-1)
            .read_only()
            .build(),
    ]
}

fn is_synced(quality: SyncQuality) -> bool {
    match quality {
        SyncQuality::Synced | SyncQuality::Leading | SyncQuality::Foreign => true,
        SyncQuality::Unsynced | SyncQuality::Acquiring | SyncQuality::Holdover => false,
    }
}

impl GstObjectImpl for SwsyncClockElement {}

impl ElementImpl for SwsyncClockElement {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Rig clock",
                "Generic/Clock/Network",
                "Provides a clock that all devices of a rig agree on to microseconds",
                "The swsync developers",
            )
        });
        Some(&METADATA)
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::NullToReady => self.open().map_err(|error| self.fail(error))?,
            gst::StateChange::ReadyToPaused => self.start().map_err(|error| self.fail(error))?,
            _ => {}
        }
        let result = self.parent_change_state(transition);
        match transition {
            gst::StateChange::PausedToReady => self.stop(),
            gst::StateChange::ReadyToNull => *lock(&self.clock) = None,
            _ => {}
        }
        result
    }

    fn provide_clock(&self) -> Option<gst::Clock> {
        lock(&self.clock).clone().map(Cast::upcast)
    }
}

impl SwsyncClockElement {
    fn fail(&self, error: gst::ErrorMessage) -> gst::StateChangeError {
        self.post_error_message(error);
        gst::StateChangeError
    }

    /// NULL to READY: the clock exists from here on, so that a pipeline can choose it.
    fn open(&self) -> Result<(), gst::ErrorMessage> {
        let device = DeviceClock::of_this_process()
            .map_err(|error| gst::error_msg!(gst::LibraryError::Settings, ("{SIMULATED_CLOCK}: {error}")))?;
        if device.is_simulated() {
            gst::warning!(CAT, imp = self, "this device's clock is simulated ({SIMULATED_CLOCK})");
        }
        let rig = Arc::new(RigClock::new(device));
        *lock(&self.clock) = Some(SwsyncClock::new("SwsyncClock", rig));
        Ok(())
    }

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let clock = lock(&self.clock).clone().expect("made on the way to READY");
        let service = match settings.role {
            Role::Leader => self.lead(&settings, &clock)?,
            Role::Client => self.follow(&settings, &clock)?,
        };
        *lock(&self.state) = State::Started { service };
        let clock: &gst::Clock = clock.upcast_ref();
        let message = gst::message::ClockProvide::builder(clock, true).src(&*self.obj()).build();
        // Without a bus no pipeline wants a clock.
        let _ = self.obj().post_message(message);
        Ok(())
    }

    /// Where time is served, if it is.
    fn address(&self) -> Option<SocketAddr> {
        match &*lock(&self.state) {
            State::Started { service: Service::Leader { server } } => Some(server.local_addr()),
            State::Started { service: Service::Client { .. } } | State::Stopped => None,
        }
    }

    fn stop(&self) {
        let state = std::mem::take(&mut *lock(&self.state));
        drop(state); // joins the service's task, without the lock
        if let Some(clock) = lock(&self.clock).as_ref() {
            clock.rig().forget();
            clock.set_synced(false);
        }
    }

    fn lead(&self, settings: &Settings, clock: &SwsyncClock) -> Result<Service, gst::ErrorMessage> {
        let ip: IpAddr = settings.bind_address.parse().map_err(|_| {
            gst::error_msg!(
                gst::LibraryError::Settings,
                ("bind-address={} is no IP address", settings.bind_address)
            )
        })?;
        let config = TimeLeaderConfig {
            address: SocketAddr::new(ip, settings.port),
            authority: Authority::Own,
            identity: new_identity("swsync"),
            server: ServerConfig::default(),
        };
        let server = TimeLeader::start(config, clock.rig().clone()).map_err(|error| {
            gst::error_msg!(
                gst::ResourceError::OpenReadWrite,
                ("{error}"),
                ["Is another leader running on this device? Choose another `port` for this one."]
            )
        })?;
        clock.set_synced(true);
        gst::info!(CAT, imp = self, "leading; time is served at {}", server.local_addr());
        self.announce(SyncQuality::Leading, &server.local_addr().to_string());
        Ok(Service::Leader { server })
    }

    /// Follows the leader, and waits until the clock is synced.
    ///
    /// A blocking wait, as a pipeline with a live source does not wait for asynchronous elements: it
    /// would go to PLAYING and take its base time from a clock that is still going to step.
    fn follow(&self, settings: &Settings, clock: &SwsyncClock) -> Result<Service, gst::ErrorMessage> {
        let leaders = leader_addresses(settings)?;
        let changes = Arc::new(Changes::default());
        let client = {
            let (changes, element, clock) = (changes.clone(), self.obj().downgrade(), clock.clone());
            let leader = leaders.join(",");
            let config = TimeClientConfig {
                source: LeaderSource::Addresses(leaders),
                client: ClientConfig {
                    estimator: EstimatorConfig {
                        method: match settings.estimator {
                            Estimator::Track => Method::Track,
                            Estimator::Mean => Method::Mean,
                            Estimator::Min => Method::Min,
                        },
                        window: usize::try_from(settings.burst).expect("32 bits fit"),
                        threshold: None,
                    },
                    burst: settings.burst,
                    max_slew: Skew::from_ppm(f64::from(settings.max_slew_ppm)),
                    ..ClientConfig::default()
                },
            };
            TimeClient::start(config, clock.rig().clone(), move |event| {
                let ClockEvent::QualityChanged { to: quality, .. } = event else { return };
                if quality == SyncQuality::Synced {
                    clock.set_synced(true);
                }
                *lock(&changes.quality) = Some(quality);
                changes.changed.notify_all();
                if let Some(element) = element.upgrade() {
                    element.imp().announce(quality, &leader);
                }
            })
        }
        .map_err(|error| gst::error_msg!(gst::ResourceError::OpenReadWrite, ("{error}")))?;
        self.wait_for_sync(settings.sync_timeout, &client, &changes)?;
        Ok(Service::Client { client })
    }

    fn wait_for_sync(
        &self,
        timeout: gst::ClockTime,
        client: &TimeClient,
        changes: &Changes,
    ) -> Result<(), gst::ErrorMessage> {
        let begun = Instant::now();
        let timeout = Duration::from_nanos(timeout.nseconds());
        let mut quality = lock(&changes.quality);
        while *quality != Some(SyncQuality::Synced) {
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                drop(quality);
                let progress = client.progress();
                return Err(gst::error_msg!(
                    gst::CoreError::Clock,
                    ("Not synchronized within {timeout:?}: {progress}"),
                    ["Is the leader's pipeline running, is its address right, and does the \
                         network let UDP through? `sync-timeout` sets how long to wait."]
                ));
            }
            quality = changes
                .changed
                .wait_timeout(quality, left.min(PROGRESS_INTERVAL))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if *quality != Some(SyncQuality::Synced) {
                drop(quality);
                self.report_progress(client);
                quality = lock(&changes.quality);
            }
        }
        drop(quality);
        self.post_progress(gst::ProgressType::Complete, "the clock is in rig time");
        Ok(())
    }

    fn report_progress(&self, client: &TimeClient) {
        let progress = client.progress();
        let (done, total) = progress.burst;
        gst::debug!(CAT, imp = self, "waiting for synchronization: {progress}");
        let text = format!("synchronizing ({done} of {total} exchanges): {progress}");
        self.post_progress(gst::ProgressType::Continue, &text);
    }

    fn post_progress(&self, kind: gst::ProgressType, text: &str) {
        let message = gst::message::Progress::builder(kind, "sync", text).src(&*self.obj()).build();
        // Without a bus nobody wants to know.
        let _ = self.obj().post_message(message);
    }

    /// Says on the bus how well rig time is known now.
    fn announce(&self, quality: SyncQuality, leader: &str) {
        let status = lock(&self.clock).as_ref().map(|clock| clock.rig().status());
        let uncertainty = status.and_then(|status| status.uncertainty_ns).map_or(-1, Span::as_nanos);
        let structure = gst::Structure::builder("swsync-clock")
            .field("state", quality.as_str())
            .field("leader", leader)
            .field("offset", status.map_or(0, |status| status.offset_ns.as_nanos()))
            .field("uncertainty", uncertainty)
            .build();
        let message = gst::message::Element::builder(structure).src(&*self.obj()).build();
        let _ = self.obj().post_message(message);
    }
}

/// The leader's addresses, each with a port.
fn leader_addresses(settings: &Settings) -> Result<Vec<String>, gst::ErrorMessage> {
    let leader = settings.leader.as_deref().unwrap_or_default();
    let addresses: Vec<_> = leader
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty())
        .map(|host| {
            let bare_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
            match (bare_v6, host.contains(':')) {
                (true, _) => format!("[{host}]:{DEFAULT_PORT}"),
                (false, true) => host.to_owned(),
                (false, false) => format!("{host}:{DEFAULT_PORT}"),
            }
        })
        .collect();
    if addresses.is_empty() {
        return Err(gst::error_msg!(
            gst::LibraryError::Settings,
            ("role=client needs the leader's address: leader=host[:port]")
        ));
    }
    Ok(addresses)
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Self::Client { client } = self {
            gst::debug!(CAT, "no longer following: {}", client.progress());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(leader: &str) -> Vec<String> {
        let settings = Settings { leader: Some(leader.into()), ..Settings::default() };
        leader_addresses(&settings).unwrap()
    }

    #[test]
    fn leaders_get_the_default_port() {
        assert_eq!(addresses("pi0.local"), ["pi0.local:11123"]);
        assert_eq!(addresses("pi0:5, 10.0.0.1"), ["pi0:5", "10.0.0.1:11123"]);
        assert_eq!(addresses("fe80::1"), ["[fe80::1]:11123"]);
        assert_eq!(addresses("[::1]:7"), ["[::1]:7"]);
    }

    #[test]
    fn a_client_needs_a_leader() {
        gst::init().unwrap();
        assert!(leader_addresses(&Settings::default()).is_err());
    }
}
