//! Writes the metrics of a rig in the formats that Prometheus reads.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use swsync_core::name::Name;
use swsync_core::status::{Status, Versions};

use super::list::{
    ANSWERED, AnsweredView, DEVICE, DeviceView, HOST, INFO, Kind, Metric, RIG, RigView, STATUS, WIFI,
};
use crate::orders::RigSnapshot;

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Version 0.0.4: all that read metrics understand it.
    Prometheus,
    /// OpenMetrics 1.0.0, for those who ask for it.
    OpenMetrics,
}

impl Format {
    /// The format for a client that takes the media types of which `accepts` is true.
    pub fn accepted(accepts: impl Fn(&str) -> bool) -> Self {
        if accepts("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

type Labels = Vec<(&'static str, String)>;

/// A value with its labels.
#[derive(Debug, Clone)]
struct Sample {
    labels: Labels,
    value: f64,
}

/// All samples of a metric.
#[derive(Debug, Clone)]
struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    samples: Vec<Sample>,
}

/// What one scrape has seen of a rig.
#[derive(Debug, Clone)]
pub struct Observed(Vec<Family>);

impl Observed {
    /// From a snapshot of the rig; `None`: it was not found.
    pub fn new(rig: &Name, snapshot: Option<&RigSnapshot>, took: Duration) -> Self {
        let devices = snapshot.map(devices).unwrap_or_default();
        let answered = || devices.iter().filter_map(|device| Some((device, device.answered.as_ref()?)));
        let view = RigView {
            is_up: answered().next().is_some(),
            devices: devices.len(),
            ready: answered().filter(|(_, it)| it.problems == 0).count(),
            is_alike: snapshot.map(|snapshot| snapshot.is_alike(&swsync_core::order::Targets::All)),
            scrape_secs: took.as_secs_f64(),
        };
        let of_rig = || vec![("rig", rig.to_string())];
        let of = |device: &DeviceView| vec![("rig", rig.to_string()), ("device", device.name.clone())];
        let hosts = || answered().filter_map(|(device, it)| Some((of(device), it.status.host.as_ref()?)));
        let mut families = Vec::new();
        families.extend(RIG.iter().map(|metric| family(metric, std::iter::once((of_rig(), &view)))));
        families.extend(DEVICE.iter().map(|metric| family(metric, devices.iter().map(|it| (of(it), it)))));
        families.push(info(answered().map(|(device, it)| (of(device), &it.status))));
        families.extend(
            ANSWERED.iter().map(|metric| family(metric, answered().map(|(device, it)| (of(device), it)))),
        );
        let statuses = || answered().map(|(device, it)| (of(device), &it.status));
        families.extend(STATUS.iter().map(|metric| family(metric, statuses())));
        families.extend(HOST.iter().map(|metric| family(metric, hosts())));
        let links = || {
            hosts().flat_map(|(labels, host)| {
                host.wifi.iter().map(move |link| {
                    let mut labels = labels.clone();
                    labels.push(("interface", link.interface.clone()));
                    (labels, link)
                })
            })
        };
        families.extend(WIFI.iter().map(|metric| family(metric, links())));
        families.retain(|family| !family.samples.is_empty());
        Self(families)
    }

    /// In this format.
    pub fn text(&self, format: Format) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        let encoded = match format {
            Format::Prometheus => prometheus_text::encode(&mut text, &registry),
            Format::OpenMetrics => text::encode(&mut text, &registry),
        };
        encoded.expect("writing to a string cannot fail");
        text
    }
}

impl Collector for Observed {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for family in &self.0 {
            let kind = match family.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for sample in &family.samples {
                let mut metric = metric.encode_family(&sample.labels)?;
                match family.kind {
                    Kind::Gauge => metric.encode_gauge(&sample.value)?,
                    Kind::Counter => metric.encode_counter::<NoLabelSet, _, f64>(&sample.value, None)?,
                }
            }
        }
        Ok(())
    }
}

/// All devices that belong to the rig, by name.
fn devices(snapshot: &RigSnapshot) -> Vec<DeviceView> {
    let answered = snapshot.reports.iter().map(|report| {
        let status = report.status.clone();
        let (problems, warnings) = (snapshot.objections(&status).len(), status.warnings().len());
        DeviceView {
            name: status.device.to_string(),
            answered: Some(AnsweredView { status, problems, warnings }),
        }
    });
    let missed = snapshot.missed.keys().map(|device| DeviceView { name: device.to_string(), answered: None });
    let mut devices: Vec<_> = answered.chain(missed).collect();
    devices.sort_by(|one, other| one.name.cmp(&other.name));
    devices
}

fn family<'a, T: ?Sized + 'a>(metric: &Metric<T>, things: impl Iterator<Item = (Labels, &'a T)>) -> Family {
    let samples = things.filter_map(|(labels, thing)| Some(Sample { labels, value: (metric.value)(thing)? }));
    Family { name: metric.name, kind: metric.kind, help: metric.help, samples: samples.collect() }
}

fn info<'a>(statuses: impl Iterator<Item = (Labels, &'a Status)>) -> Family {
    let samples = statuses.map(|(mut labels, status)| {
        let versions = status.versions.clone().unwrap_or_default();
        let Versions { gstreamer, libcamera, kernel, os } = versions;
        let board = status.host.as_ref().and_then(|host| host.board.clone());
        let camera = status.camera.as_ref().and_then(|camera| camera.model.clone());
        let known = [
            ("software", Some(status.software.clone())),
            ("board", board),
            ("camera", camera),
            ("gstreamer", gstreamer),
            ("libcamera", libcamera),
            ("kernel", kernel),
            ("os", os),
        ];
        labels.extend(known.map(|(label, value)| (label, value.unwrap_or_default())));
        Sample { labels, value: 1.0 }
    });
    let (name, help) = INFO;
    Family { name, kind: Kind::Gauge, help, samples: samples.collect() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Instant;

    use swsync_client::{Presence, StatusReport};
    use swsync_core::status::{HostStatus, StorageStatus, TimedError, WifiStatus};
    use swsync_core::time::{Span, Timestamp};

    use super::*;
    use crate::testing::{name, status};

    /// A device of which everything is known.
    fn full(device: &str) -> Status {
        let mut full = status(device);
        full.host = Some(HostStatus {
            board: Some("Raspberry Pi \"5\"".into()),
            temperature_celsius: Some(84.5),
            throttled: Some(true),
            throttle_count: Some(12),
            undervoltage: Some(false),
            frequency_limit: Some(0.5),
            cpu_load: Some(0.25),
            wifi: vec![WifiStatus {
                interface: "wlan0".into(),
                signal_dbm: Some(-54),
                tx_bitrate_bps: Some(433_300_000),
                power_save: Some(true),
            }],
            ..HostStatus::default()
        });
        full.camera = Some(swsync_core::status::CameraStatus {
            exposure_ns: Some(Span::from_millis(5)),
            analogue_gain: Some(2.0),
            ..Default::default()
        });
        full.storage = Some(StorageStatus {
            free_bytes: 1 << 40,
            queued_bytes: 2,
            queue_limit_bytes: 9,
            max_files: None,
        });
        full.recording_left_ns = Some(Span::from_secs(4_000));
        full.last_error = Some(TimedError { text: "no".into(), rig_time_ns: Some(Timestamp::ZERO) });
        full
    }

    fn observed(statuses: Vec<Status>, missed: &[&str]) -> Observed {
        let now = Instant::now();
        let reports = statuses.into_iter().map(|status| StatusReport { status, asked: now, heard: now });
        let missed = missed.iter().map(|device| (name(device), "it is gone".into())).collect();
        let snapshot = RigSnapshot::of(Presence { missed, ..Presence::default() }, reports.collect());
        Observed::new(&name("stage"), Some(&snapshot), Duration::from_millis(250))
    }

    fn lines(observed: &Observed, format: Format) -> Vec<String> {
        observed.text(format).lines().map(str::to_owned).collect()
    }

    #[test]
    fn values_have_base_units_labels_help_and_type() {
        let lines = lines(&observed(vec![full("pi")], &[]), Format::Prometheus);
        for line in [
            "# HELP swsync_device_temperature_celsius Hottest sensor of processor or SoC",
            "# TYPE swsync_device_temperature_celsius gauge",
            r#"swsync_device_temperature_celsius{rig="stage",device="pi"} 84.5"#,
            r#"swsync_clock_uncertainty_seconds{rig="stage",device="pi"} 0.00002"#,
            r#"swsync_camera_exposure_seconds{rig="stage",device="pi"} 0.005"#,
            "# TYPE swsync_frames_saved_total counter",
            r#"swsync_frames_saved_total{rig="stage",device="pi"} 17.0"#,
            r#"swsync_wifi_signal_dbm{rig="stage",device="pi",interface="wlan0"} -54.0"#,
            r#"swsync_rig_devices{rig="stage"} 1.0"#,
        ] {
            assert!(lines.iter().any(|one| one == line), "{line} in {lines:#?}");
        }
        let info = lines.iter().find(|line| line.starts_with("swsync_device_info{")).unwrap();
        assert!(
            info.contains(r#"board="Raspberry Pi \"5\"",camera="""#) && info.ends_with("} 1.0"),
            "{info}"
        );
    }

    #[test]
    fn a_device_that_did_not_answer_says_so_and_nothing_else() {
        let lines = lines(&observed(vec![full("a")], &["b"]), Format::Prometheus);
        let of_b: Vec<_> = lines.iter().filter(|line| line.contains(r#"device="b""#)).collect();
        assert_eq!(of_b, [r#"swsync_device_up{rig="stage",device="b"} 0.0"#]);
        for line in [
            r#"swsync_device_up{rig="stage",device="a"} 1.0"#,
            r#"swsync_rig_devices{rig="stage"} 2.0"#,
            r#"swsync_rig_ready_devices{rig="stage"} 1.0"#,
        ] {
            assert!(lines.iter().any(|one| one == line), "{line} in {lines:#?}");
        }
    }

    #[test]
    fn what_is_not_known_has_no_value() {
        let text = observed(vec![status("older")], &[]).text(Format::Prometheus);
        for absent in ["celsius", "undervoltage", "wifi", "storage", "last_error"] {
            assert!(!text.contains(absent), "{absent} in {text}");
        }
        let nothing = Observed::new(&name("stage"), None, Duration::ZERO).text(Format::Prometheus);
        assert!(
            nothing.contains(r#"swsync_rig_up{rig="stage"} 0.0"#) && !nothing.contains("agreement"),
            "{nothing}"
        );
    }

    #[test]
    fn who_asks_for_openmetrics_gets_it() {
        let text = observed(vec![full("pi")], &[]).text(Format::OpenMetrics);
        assert!(text.contains("# TYPE swsync_frames_saved counter\n"), "{text}");
        assert!(text.contains("swsync_frames_saved_total{") && text.ends_with("# EOF\n"), "{text}");
        assert_eq!(Format::accepted(|_| false), Format::Prometheus);
        assert_eq!(Format::accepted(|kind| kind.contains("openmetrics")), Format::OpenMetrics);
    }

    /// Name and help of all metrics, as Prometheus shows them.
    fn all() -> Vec<(String, &'static str, &'static str)> {
        fn of<T>(metrics: &[Metric<T>], labels: &'static str) -> Vec<(String, &'static str, &'static str)> {
            let name = |metric: &Metric<T>| match metric.kind {
                Kind::Gauge => metric.name.to_owned(),
                Kind::Counter => format!("{}_total", metric.name),
            };
            metrics.iter().map(|metric| (name(metric), metric.help, labels)).collect()
        }
        let device = "rig, device";
        [
            of(RIG, "rig"),
            of(DEVICE, device),
            vec![(INFO.0.into(), INFO.1, "rig, device and those it names")],
            of(ANSWERED, device),
            of(STATUS, device),
            of(HOST, device),
            of(WIFI, "rig, device, interface"),
        ]
        .concat()
    }

    #[test]
    fn the_documentation_lists_each_metric_as_it_is() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let documented = std::fs::read_to_string(path).unwrap();
        let rows: BTreeSet<_> = documented.lines().filter(|line| line.starts_with("| `swsync_")).collect();
        let expected: Vec<_> =
            all().iter().map(|(name, help, labels)| format!("| `{name}` | {help} | {labels} |")).collect();
        let expected: BTreeSet<_> = expected.iter().map(String::as_str).collect();
        let (missing, wrong): (Vec<_>, Vec<_>) =
            (expected.difference(&rows).collect(), rows.difference(&expected).collect());
        assert!(
            missing.is_empty() && wrong.is_empty(),
            "docs/metrics.md lacks:\n{missing:#?}\nand has but should not:\n{wrong:#?}"
        );
    }

    #[test]
    fn each_metric_is_written_where_all_is_known() {
        let text = observed(vec![full("pi")], &[]).text(Format::Prometheus);
        for (name, ..) in all() {
            assert!(text.contains(&format!("# TYPE {name} ")), "{name} in {text}");
        }
    }
}
