//! What `swsyncclock`'s properties set, and what they become.

use std::net::{IpAddr, SocketAddr};

use gst::glib;
use gst::prelude::*;
use swsync_core::estimate::{EstimatorConfig, EstimatorKind};
use swsync_core::key::{KeyFile, RigKey};
use swsync_core::ntp::{Key, Keys, rig_id};
use swsync_core::time::{Skew, Span};
use swsync_core::time_service::{ClientConfig, ServerConfig};
use swsync_rig::key_file::KeyFileError;
use swsync_rig::settings::{RigSettings, Setting, comma_list};
use swsync_rig::{RigConfig, key_file};
use swsync_time::DEFAULT_PORT;

use super::{Estimator, Role, Source};
use crate::rig_settings::{self, RigProperties};

pub const DEFAULT_BIND: &str = "0.0.0.0";
pub const DEFAULT_SYNC_TIMEOUT: gst::ClockTime = gst::ClockTime::from_seconds(20);
pub const DEFAULT_BURST: u32 = 300;
pub const DEFAULT_MAX_SLEW_PPM: u32 = 500;
pub const DEFAULT_STEP_THRESHOLD: gst::ClockTime = gst::ClockTime::from_mseconds(10);
pub const DEFAULT_MAX_UNCERTAINTY: gst::ClockTime = gst::ClockTime::from_mseconds(10);
pub const DEFAULT_ACCURACY: gst::ClockTime = gst::ClockTime::from_useconds(10);
pub const DEFAULT_KEY_ID: u32 = 1;
pub const DEFAULT_PRIORITY: u8 = 128;
pub const DEFAULT_MAX_CLIENTS: u32 = 500;
/// The port of NTP servers (RFC 5905 section 16).
const NTP_PORT: u16 = 123;
/// Requests in quick succession that any NTP server tolerates: as many as ntpd's iburst sends.
const NTP_BURST: u32 = 8;

/// A copy is taken on the way to PAUSED.
#[derive(Debug, Clone)]
pub struct Settings {
    pub role: Role,
    pub source: Source,
    pub leader: Option<String>,
    pub priority: u8,
    pub max_clients: u32,
    pub bind_address: String,
    pub port: u16,
    pub announce: bool,
    pub rig: RigProperties,
    /// What `rig` and all else came to, once the element starts.
    pub resolved: RigSettings,
    pub wait_sync: bool,
    pub sync_timeout: gst::ClockTime,
    pub burst: u32,
    pub estimator: Estimator,
    pub threshold: gst::ClockTime,
    pub interleaved: bool,
    pub accuracy: gst::ClockTime,
    pub max_slew_ppm: u32,
    pub step_threshold: gst::ClockTime,
    pub max_uncertainty: gst::ClockTime,
    pub key: Secret,
    /// By `resolved`.
    pub key_file: Option<String>,
    pub key_id: u32,
    pub ptp_domain: u32,
    pub ptp_interfaces: Option<String>,
    pub net_time_provider: u16,
    pub dashboard: Option<String>,
}

/// A secret, which `Debug` does not show.
#[derive(Clone)]
pub struct Secret(Option<String>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "set" } else { "not set" })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            role: Role::default(),
            source: Source::default(),
            leader: None,
            priority: DEFAULT_PRIORITY,
            max_clients: DEFAULT_MAX_CLIENTS,
            bind_address: DEFAULT_BIND.into(),
            port: DEFAULT_PORT,
            announce: true,
            rig: RigProperties::default(),
            resolved: RigSettings::default(),
            wait_sync: true,
            sync_timeout: DEFAULT_SYNC_TIMEOUT,
            burst: DEFAULT_BURST,
            estimator: Estimator::default(),
            threshold: gst::ClockTime::ZERO,
            interleaved: true,
            accuracy: DEFAULT_ACCURACY,
            max_slew_ppm: DEFAULT_MAX_SLEW_PPM,
            step_threshold: DEFAULT_STEP_THRESHOLD,
            max_uncertainty: DEFAULT_MAX_UNCERTAINTY,
            key: Secret(None),
            key_file: None,
            key_id: DEFAULT_KEY_ID,
            ptp_domain: 0,
            ptp_interfaces: None,
            net_time_provider: 0,
            dashboard: None,
        }
    }
}

impl Settings {
    /// Sets the property `name`. The types are those of the ParamSpecs, which GObject has checked.
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        let text = || value.get::<Option<String>>().expect("checked");
        let number = || value.get::<u32>().expect("checked");
        let flag = || value.get::<bool>().expect("checked");
        let time = || gst::ClockTime::from_nseconds(value.get().expect("checked"));
        let port = || u16::try_from(number()).expect("the ParamSpec's range is a port's");
        match name {
            "role" => self.role = value.get().expect("checked"),
            "source" => self.source = value.get().expect("checked"),
            "leader" => self.leader = text(),
            "priority" => self.priority = u8::try_from(number()).expect("the ParamSpec's range is a byte's"),
            "max-clients" => self.max_clients = number(),
            "bind-address" => self.bind_address = text().unwrap_or_else(|| DEFAULT_BIND.into()),
            "port" => self.port = port(),
            "announce" => self.announce = flag(),
            "wait-sync" => self.wait_sync = flag(),
            "sync-timeout" => self.sync_timeout = time(),
            "burst" => self.burst = number(),
            "estimator" => self.estimator = value.get().expect("checked"),
            "threshold" => self.threshold = time(),
            "interleaved" => self.interleaved = flag(),
            "accuracy" => self.accuracy = time(),
            "max-slew-ppm" => self.max_slew_ppm = number(),
            "step-threshold" => self.step_threshold = time(),
            "max-uncertainty" => self.max_uncertainty = time(),
            "key" => self.key = Secret(text()),
            "key-id" => self.key_id = number(),
            "ptp-domain" => self.ptp_domain = number(),
            "ptp-interfaces" => self.ptp_interfaces = text(),
            "net-time-provider" => self.net_time_provider = port(),
            "dashboard" => self.dashboard = text(),
            name => {
                let is_known = self.rig.set(name, value);
                debug_assert!(is_known, "no property {name}");
            }
        }
    }

    /// The property `name`; `None` if it is not one of the settings.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "role" => self.role.to_value(),
            "source" => self.source.to_value(),
            "leader" => self.leader.to_value(),
            "priority" => u32::from(self.priority).to_value(),
            "max-clients" => self.max_clients.to_value(),
            "bind-address" => self.bind_address.to_value(),
            "port" => u32::from(self.port).to_value(),
            "announce" => self.announce.to_value(),
            "wait-sync" => self.wait_sync.to_value(),
            "sync-timeout" => self.sync_timeout.nseconds().to_value(),
            "burst" => self.burst.to_value(),
            "estimator" => self.estimator.to_value(),
            "threshold" => self.threshold.nseconds().to_value(),
            "interleaved" => self.interleaved.to_value(),
            "accuracy" => self.accuracy.nseconds().to_value(),
            "max-slew-ppm" => self.max_slew_ppm.to_value(),
            "step-threshold" => self.step_threshold.nseconds().to_value(),
            "max-uncertainty" => self.max_uncertainty.nseconds().to_value(),
            "key-id" => self.key_id.to_value(),
            "ptp-domain" => self.ptp_domain.to_value(),
            "ptp-interfaces" => self.ptp_interfaces.to_value(),
            "net-time-provider" => u32::from(self.net_time_provider).to_value(),
            "dashboard" => self.dashboard.to_value(),
            name => return self.rig.get(name),
        })
    }
}

/// A setting that cannot work.
fn settings_error(what: &str) -> gst::ErrorMessage {
    gst::error_msg!(gst::LibraryError::Settings, ("{what}"))
}

impl Settings {
    /// The settings of the rig are known.
    pub fn set_resolved(&mut self, resolved: RigSettings) {
        self.key_file = resolved.value(Setting::KeyFile).map(str::to_owned);
        self.resolved = resolved;
    }

    /// The addresses in `leader`, each with a port.
    pub fn servers(&self) -> Vec<String> {
        let port = if self.source == Source::Ntp { NTP_PORT } else { DEFAULT_PORT };
        let with_port = |host: String| {
            let bare_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
            match (bare_v6, host.starts_with('[') && host.ends_with(']'), host.contains(':')) {
                (true, _, _) => format!("[{host}]:{port}"),
                (false, false, true) => host,
                (false, true, _) | (false, false, false) => format!("{host}:{port}"),
            }
        };
        comma_list(self.leader.as_deref().unwrap_or_default()).into_iter().map(with_port).collect()
    }

    /// The servers that are to be followed, if the user names them. A leader follows whoever leads before it does.
    pub fn named_servers(&self) -> Vec<String> {
        if self.role == Role::Leader && self.source == Source::Rig { Vec::new() } else { self.servers() }
    }

    /// Whether this device leads if it is elected.
    pub const fn can_lead(&self) -> bool {
        matches!(self.role, Role::Leader | Role::Auto)
    }

    /// The priority in an election: 0 comes first.
    pub const fn election_priority(&self) -> u8 {
        match self.role {
            Role::Leader => 0,
            Role::Auto => self.priority,
            Role::Client => u8::MAX,
        }
    }

    /// How time is served.
    pub fn server_config(&self) -> Result<ServerConfig, gst::ErrorMessage> {
        let max_clients = usize::try_from(self.max_clients).expect("32 bits fit");
        let path_offset = self.path_offset()?;
        Ok(ServerConfig { keys: self.keys()?, max_clients, path_offset, ..ServerConfig::default() })
    }

    /// What this device takes off for its own path.
    pub fn path_offset(&self) -> Result<Span, gst::ErrorMessage> {
        self.resolved.path_offset().map_err(|error| rig_settings::settings_error(&error))
    }

    /// Where time is served.
    pub fn address(&self) -> Result<SocketAddr, gst::ErrorMessage> {
        Ok(SocketAddr::new(self.ip()?, self.port))
    }

    pub fn ip(&self) -> Result<IpAddr, gst::ErrorMessage> {
        let address = &self.bind_address;
        address.parse().map_err(|_| settings_error(&format!("bind-address={address} is no IP address")))
    }

    /// Whether this device takes part in what the rig tells of its time services: to find them, unless they are named, and to
    /// announce its own. One on loopback means nothing to other devices, unless `listen` and `connect` say where the rig is.
    pub fn joins_rig(&self) -> Result<bool, gst::ErrorMessage> {
        if self.role == Role::Client {
            return Ok(self.source == Source::Rig && self.servers().is_empty());
        }
        let is_set = |setting| self.resolved.value(setting).is_some();
        let has_endpoints = is_set(Setting::Listen) || is_set(Setting::Connect);
        Ok(self.announce && (has_endpoints || !self.ip()?.is_loopback()))
    }

    pub fn ptp_interfaces(&self) -> Vec<String> {
        comma_list(self.ptp_interfaces.as_deref().unwrap_or_default())
    }

    pub fn rig_config(&self) -> Result<RigConfig, gst::ErrorMessage> {
        let config = self.resolved.config().map_err(|error| rig_settings::settings_error(&error))?;
        Ok(config.with_key(self.rig_key()?))
    }

    /// Whether the rig that is there has a key and this device none, or the other way round, in words. Takes up to some seconds.
    pub fn key_hint(&self) -> Option<String> {
        if !self.joins_rig().unwrap_or(false) {
            return None;
        }
        swsync_rig::key_hint(&self.rig_config().ok()?)
    }

    pub fn estimator_config(&self) -> EstimatorConfig {
        EstimatorConfig {
            kind: match self.estimator {
                Estimator::Track => EstimatorKind::Track,
                Estimator::Mean => EstimatorKind::Mean,
                Estimator::Min => EstimatorKind::Min,
            },
            window: usize::try_from(self.burst).expect("32 bits fit"),
            threshold: (!self.threshold.is_zero()).then(|| span(self.threshold)),
        }
    }

    pub fn max_slew(&self) -> Skew {
        Skew::from_ppm(f64::from(self.max_slew_ppm))
    }

    /// The error from which the synced clock is stepped.
    pub fn step_threshold(&self) -> Span {
        if self.step_threshold.is_zero() { Span::MAX } else { span(self.step_threshold) }
    }

    /// The uncertainty beyond which the clock is not synced.
    pub fn max_uncertainty(&self) -> Span {
        span(self.max_uncertainty)
    }

    /// How a client asks its server.
    pub fn client_config(&self) -> Result<ClientConfig, gst::ErrorMessage> {
        // A rig's leader may be asked often; an NTP server may belong to others.
        let usual = ClientConfig::default();
        let (burst, fastest_poll, slowest_poll) = match self.source {
            Source::Ntp => (self.burst.min(NTP_BURST), Span::from_secs(1), Span::from_secs(64)),
            Source::Rig | Source::Ptp | Source::System => {
                (self.burst, usual.fastest_poll, usual.slowest_poll)
            }
        };
        Ok(ClientConfig {
            estimator: self.estimator_config(),
            burst,
            fastest_poll,
            slowest_poll,
            max_slew: self.max_slew(),
            step_threshold: self.step_threshold(),
            max_uncertainty: self.max_uncertainty(),
            accuracy: span(self.accuracy),
            interleaved: self.interleaved,
            rig: match self.source {
                Source::Rig => rig_id(self.resolved.rig()),
                Source::Ntp | Source::Ptp | Source::System => 0,
            },
            key: self.client_key()?,
            path_offset: self.path_offset()?,
            ..usual
        })
    }

    /// What `key-file` holds, if it is given: the rig's key, or NTP keys in chrony's format.
    fn key_file(&self) -> Result<Option<KeyFile>, gst::ErrorMessage> {
        let Some(path) = &self.key_file else { return Ok(None) };
        key_file::read_any(path).map(Some).map_err(|error| match error {
            KeyFileError::Read { .. } => {
                gst::error_msg!(gst::ResourceError::OpenRead, ("key-file={path}: {error}"))
            }
            error => settings_error(&format!("key-file={path}: {error}")),
        })
    }

    /// The rig's key, if `key-file` holds it.
    pub fn rig_key(&self) -> Result<Option<RigKey>, gst::ErrorMessage> {
        Ok(match self.key_file()? {
            Some(KeyFile::Rig(key)) => Some(key),
            Some(KeyFile::Ntp(_)) | None => None,
        })
    }

    /// The keys of NTP packets: those of `key` and `key-file`, and the one that the rig's key derives. Requests without a MAC by one
    /// of them are not served.
    pub fn keys(&self) -> Result<Keys, gst::ErrorMessage> {
        let mut keys = match self.key_file()? {
            Some(KeyFile::Rig(key)) => Keys::from_iter([key.ntp_key()]),
            Some(KeyFile::Ntp(keys)) => keys,
            None => Keys::default(),
        };
        if let Some(key) = &self.key.0 {
            let digits = key.strip_prefix("HEX:").map_or(key.len(), |digits| digits.len() / 2);
            let cipher = if digits > 16 { "AES256" } else { "AES128" };
            let line = format!("{} {cipher} {key}", self.key_id);
            let added = Keys::parse(&line).and_then(|added| keys.add(added));
            added.map_err(|error| settings_error(&format!("key: {}", error.problem)))?;
        }
        Ok(keys)
    }

    /// What is looked for, in words.
    pub fn sought(&self) -> String {
        match (self.source, &self.leader) {
            (Source::Rig, Some(leader)) if self.role != Role::Leader => format!("the time of {leader}"),
            (Source::Rig, _) => format!("the time of rig {}", self.resolved.rig()),
            (Source::Ntp, leader) => format!("the NTP server {}", leader.as_deref().unwrap_or_default()),
            (Source::Ptp, _) => format!("the PTP grandmaster of domain {}", self.ptp_domain),
            (Source::System, _) => "the system's clock to be in sync".into(),
        }
    }

    /// The key that a client uses, if any: within the rig the rig's, or else the one with `key-id`.
    pub fn client_key(&self) -> Result<Option<Key>, gst::ErrorMessage> {
        if self.source == Source::Rig
            && let Some(key) = self.rig_key()?
        {
            return Ok(Some(key.ntp_key()));
        }
        if self.key.0.is_none() && !matches!(self.key_file()?, Some(KeyFile::Ntp(_))) {
            return Ok(None);
        }
        let found = self.keys()?.get(self.key_id).cloned();
        found.map(Some).ok_or_else(|| settings_error(&format!("there is no key with key-id={}", self.key_id)))
    }
}

fn span(time: gst::ClockTime) -> Span {
    Span::from_nanos(i64::try_from(time.nseconds()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(leader: &str, source: Source) -> Vec<String> {
        Settings { leader: Some(leader.into()), source, ..Settings::default() }.servers()
    }

    #[test]
    fn servers_get_the_default_port_of_their_source() {
        let leaders = |leader| servers(leader, Source::Rig);
        assert_eq!(leaders("pi0.local"), ["pi0.local:11123"]);
        assert_eq!(leaders("pi0:5, 10.0.0.1,"), ["pi0:5", "10.0.0.1:11123"]);
        assert_eq!(leaders("fe80::1"), ["[fe80::1]:11123"]);
        assert_eq!(leaders("[::1]:7,[::1]"), ["[::1]:7", "[::1]:11123"]);
        assert_eq!(servers("pool, other:1123", Source::Ntp), ["pool:123", "other:1123"]);
        assert!(Settings::default().servers().is_empty());
    }

    fn with_key(key: &str, key_id: u32) -> Settings {
        Settings { key: Secret(Some(key.into())), key_id, ..Settings::default() }
    }

    #[test]
    fn a_key_has_the_length_of_its_cipher() {
        gst::init().unwrap();
        let hex = |bytes: usize| format!("HEX:{}", "5a".repeat(bytes));
        for good in [hex(16), hex(32), "sixteen-letters.".into()] {
            let key = with_key(&good, 7).client_key().unwrap().unwrap();
            assert_eq!(key.id(), 7);
        }
        for bad in [hex(15), hex(17), "HEX:xyz".into(), "short".into()] {
            assert!(with_key(&bad, 7).client_key().is_err(), "{bad}");
        }
        assert_eq!(Settings::default().client_key().unwrap(), None);
    }

    #[test]
    fn a_key_file_has_the_form_of_chronys() {
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, format!("# of the studio\n12 AES128 HEX:{}\n", "0f".repeat(16))).unwrap();
        let settings =
            |key_id| Settings { key_file: Some(path.display().to_string()), key_id, ..Settings::default() };
        assert_eq!(settings(12).client_key().unwrap().unwrap().id(), 12);
        assert!(settings(13).client_key().is_err(), "no such key");
        std::fs::remove_file(&path).unwrap();
        assert!(settings(12).client_key().is_err(), "no such file");
    }

    #[test]
    fn a_key_file_with_the_rigs_key_is_used_for_the_time_and_the_rig() {
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rig.key");
        let key = key_file::create(&path).unwrap();
        let settings =
            Settings { key_file: Some(path.display().to_string()), key_id: 12, ..Settings::default() };
        assert_eq!(settings.client_key().unwrap().unwrap().id(), key.ntp_key().id(), "whatever key-id is");
        assert_eq!(settings.rig_config().unwrap().key, Some(key.clone()));
        assert!(settings.keys().unwrap().get(key.ntp_key().id()).is_some());
        // A key of its own for NTP clients that are not of the rig, as chrony.
        let hex = Secret(Some(format!("HEX:{}", "5a".repeat(16))));
        let both = Settings { key: hex, ..settings.clone() };
        assert!(both.keys().unwrap().get(12).is_some());
        assert_eq!(both.client_key().unwrap().unwrap().id(), key.ntp_key().id());
        // An NTP server outside the rig does not have the rig's key.
        let outside = Settings { source: Source::Ntp, ..settings.clone() };
        assert_eq!(outside.client_key().unwrap(), None);
        let shown = format!("{both:?}");
        assert!(!shown.contains("5a5a"), "{shown}");
    }
}
