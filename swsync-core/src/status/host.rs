//! What a device says of the machine that it runs on, of its camera and of its versions.
//!
//! What is not known is `None`, never zero: a host without a sensor for something has no value of it.

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::grid::FrameGrid;
use crate::time::{Rig, Span, Timestamp};

/// A processor this hot or hotter is a problem, in degrees Celsius. Raspberry Pi boards slow down from 80 on.
pub const HOT_CELSIUS: f64 = 80.0;

/// A WiFi signal this weak or weaker is a problem, in dBm. Chosen: below it, adapters fall back to low bitrates and lose packets.
pub const WEAK_SIGNAL_DBM: i32 = -75;

/// Less recording time than this is worth a word, though the device is ready as long as
/// [`MIN_RECORDING`](super::MIN_RECORDING) fits.
pub const LITTLE_RECORDING: Span = Span::from_secs(600);

/// Most WiFi links of a host that a status lists.
pub const MAX_WIFI: usize = 4;

/// The machine of a device, as it was `age_ns` before the status.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct HostStatus {
    /// How long before the status this was read.
    pub age_ns: Span,
    /// The model of the board or computer.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "bounded::optional_text")]
    pub board: Option<String>,
    /// The hottest sensor of processor or SoC, in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<f64>,
    /// Whether processor speed is held down now, because of heat or low voltage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled: Option<bool>,
    /// How often the processor has throttled itself since the machine was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle_count: Option<u64>,
    /// Whether the supply voltage is too low now, or was within about two seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undervoltage: Option<bool>,
    /// The highest frequency that the processor may take now, relative to the highest that it can: 1 is no limit. The least of
    /// all cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_limit: Option<f64>,
    /// The part of all processors' time that was not idle since the reading before, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_load: Option<f64>,
    /// WiFi links that are connected.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::list::<_, _, MAX_WIFI>")]
    pub wifi: Vec<WifiStatus>,
}

/// A WiFi link of a device to its access point.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct WifiStatus {
    /// The interface: `wlan0`.
    #[serde(deserialize_with = "bounded::text")]
    pub interface: String,
    /// Strength of the access point's signal, in dBm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal_dbm: Option<i32>,
    /// Bitrate to the access point, in bits per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_bitrate_bps: Option<u64>,
    /// Whether the adapter sleeps between packets. That delays packets by up to some 100 ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_save: Option<bool>,
}

impl HostStatus {
    /// What the operator should do something about, as text: heat, throttling, low voltage, a weak signal.
    ///
    /// None of it keeps a device from serving an order. What is not known is not named.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.undervoltage == Some(true) {
            warnings
                .push("its supply voltage is too low: use a stronger power supply or a shorter cable".into());
        }
        let hot = self.temperature_celsius.filter(|celsius| *celsius >= HOT_CELSIUS);
        match (self.throttled, hot) {
            (Some(true), Some(celsius)) => {
                warnings.push(format!("its processor is held down at {celsius:.0} C: cool it"));
            }
            (Some(true), None) => {
                warnings.push("its processor is held down, by heat or low voltage".into());
            }
            (_, Some(celsius)) => warnings.push(format!("it is hot: {celsius:.0} C")),
            (Some(false) | None, None) => {}
        }
        warnings.extend(self.wifi.iter().filter_map(WifiStatus::warning));
        warnings
    }
}

impl WifiStatus {
    fn warning(&self) -> Option<String> {
        let signal = self.signal_dbm.filter(|signal| *signal <= WEAK_SIGNAL_DBM)?;
        Some(format!(
            "its WiFi signal is weak: {signal} dBm on {}; bring the access point nearer",
            self.interface
        ))
    }
}

/// The pictures that a camera gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CameraMode {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Pictures per second.
    pub rate: FrameGrid,
    /// The format of the stream that the device serves orders from: a media type of GStreamer, and for raw video its format.
    #[serde(deserialize_with = "bounded::text")]
    pub format: String,
}

/// The camera of a device.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CameraStatus {
    /// Its model, as the stream's tags have it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "bounded::optional_text")]
    pub model: Option<String>,
    /// Its pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<CameraMode>,
    /// Exposure time of the newest frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposure_ns: Option<Span>,
    /// Analogue gain of the newest frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analogue_gain: Option<f64>,
}

/// The versions of what a device runs on. Its own is [`Status::software`](super::Status::software).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Versions {
    /// GStreamer's.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "bounded::optional_text")]
    pub gstreamer: Option<String>,
    /// libcamera's. `None`: it is not known, or this swsync was built without it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "bounded::optional_text")]
    pub libcamera: Option<String>,
    /// The kernel's.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "bounded::optional_text")]
    pub kernel: Option<String>,
    /// The operating system's name and version.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "bounded::optional_text")]
    pub os: Option<String>,
}

/// An error of a device that is over or not, and when it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TimedError {
    /// What happened.
    #[serde(deserialize_with = "bounded::text")]
    pub text: String,
    /// Rig time then. `None`: it was not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rig_time_ns: Option<Timestamp<Rig>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_no_warning() {
        assert!(HostStatus::default().warnings().is_empty());
        assert_eq!(serde_json::to_string(&HostStatus::default()).unwrap(), r#"{"age_ns":0}"#);
    }

    #[test]
    fn warnings_begin_at_their_limits() {
        let of = |change: fn(&mut HostStatus)| {
            let mut host = HostStatus::default();
            change(&mut host);
            host.warnings().join("; ")
        };
        let wifi = |signal_dbm| {
            vec![WifiStatus { interface: "wlan0".into(), signal_dbm: Some(signal_dbm), ..Default::default() }]
        };
        assert_eq!(of(|host| host.temperature_celsius = Some(79.9)), "");
        assert_eq!(of(|host| host.temperature_celsius = Some(80.0)), "it is hot: 80 C");
        assert_eq!(of(|host| host.throttled = Some(false)), "");
        assert_eq!(
            of(|host| (host.throttled, host.temperature_celsius) = (Some(true), Some(84.6))),
            "its processor is held down at 85 C: cool it"
        );
        assert!(of(|host| host.throttled = Some(true)).contains("by heat or low voltage"));
        assert!(of(|host| host.undervoltage = Some(true)).contains("stronger power supply"));
        let signal = |signal| HostStatus { wifi: wifi(signal), ..Default::default() }.warnings();
        assert_eq!(signal(-74), [""; 0]);
        assert_eq!(signal(-75), ["its WiFi signal is weak: -75 dBm on wlan0; bring the access point nearer"]);
    }

    #[test]
    fn more_links_than_any_host_has_are_refused() {
        let link = r#"{"interface":"wlan0"}"#;
        let json = format!(r#"{{"wifi":[{}]}}"#, [link; MAX_WIFI + 1].join(","));
        assert!(
            serde_json::from_str::<HostStatus>(&json).unwrap_err().to_string().contains("more than the 4")
        );
        let one: HostStatus = serde_json::from_str(&format!(r#"{{"wifi":[{link}],"fan_rpm":900}}"#)).unwrap();
        assert_eq!((one.wifi[0].interface.as_str(), one.wifi[0].signal_dbm), ("wlan0", None));
    }
}
