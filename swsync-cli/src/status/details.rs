//! `swsync status --long`: hosts and cameras, a table each, so that a column of many devices can be read at a glance.

use swsync_core::status::{CameraMode, CameraStatus, HostStatus, Status, Versions, WifiStatus};
use swsync_core::time::Span;

use crate::table::{Align, Column, NOTHING, Table};

/// The lines about these devices, with a blank line before each table.
pub fn lines<'a>(statuses: impl Iterator<Item = &'a Status> + Clone) -> Vec<String> {
    let width = statuses.clone().map(|status| status.device.as_str().len()).max().unwrap_or_default();
    let camera_rows: Vec<_> = statuses.clone().map(camera_row).collect();
    let widest =
        |column: usize| camera_rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (hosts, cameras) = (host_table(width), camera_table([width, widest(1), widest(2)]));
    let mut lines = vec![String::new(), hosts.headings()];
    lines.extend(statuses.map(|status| hosts.row(&host_row(status))));
    lines.extend([String::new(), cameras.headings()]);
    lines.extend(camera_rows.iter().map(|row| cameras.row(row)));
    lines
}

/// Headings and values of one device, for a list.
pub fn pairs(status: &Status) -> Vec<(&'static str, String)> {
    let (hosts, cameras) = (host_table(0), camera_table([0; 3]));
    let host = hosts.columns().iter().map(|column| column.heading).zip(host_row(status));
    let camera = cameras.columns().iter().map(|column| column.heading).zip(camera_row(status));
    host.chain(camera).filter(|(heading, _)| *heading != "device").collect()
}

fn column(heading: &'static str, width: usize, align: Align) -> Column {
    Column { heading, width, align }
}

fn host_table(width: usize) -> Table<11> {
    Table::new([
        column("device", width.max(6), Align::Left),
        column("temp C", 6, Align::Right),
        column("load", 4, Align::Right),
        column("throttled", 9, Align::Left),
        column("voltage", 7, Align::Left),
        column("wifi", 7, Align::Left),
        column("dBm", 4, Align::Right),
        column("Mbit/s", 6, Align::Right),
        column("sleeps", 6, Align::Left),
        column("kernel", 20, Align::Left),
        column("board", 5, Align::Left),
    ])
}

fn host_row(status: &Status) -> [String; 11] {
    let host = status.host.clone().unwrap_or_default();
    let wifi = host.wifi.first().cloned().unwrap_or_default();
    let HostStatus { temperature_celsius, cpu_load, throttled, undervoltage, board, .. } = host;
    let WifiStatus { interface, signal_dbm, tx_bitrate_bps, power_save } = wifi;
    let kernel = status.versions.as_ref().and_then(|versions| versions.kernel.clone());
    [
        status.device.to_string(),
        known(temperature_celsius, |celsius| format!("{celsius:.1}")),
        known(cpu_load, |load| format!("{:.0}%", load * 100.0)),
        known(throttled, |is_so| if is_so { "yes" } else { "no" }.into()),
        known(undervoltage, |is_so| if is_so { "low" } else { "ok" }.into()),
        known(Some(interface).filter(|name| !name.is_empty()), |name| name),
        known(signal_dbm, |signal| signal.to_string()),
        known(tx_bitrate_bps, |bps| format!("{}.{}", bps / 1_000_000, bps % 1_000_000 / 100_000)),
        known(power_save, |is_so| if is_so { "yes" } else { "no" }.into()),
        known(kernel, |kernel| kernel),
        known(board, |board| board),
    ]
}

/// `widths`: of devices, models and pictures.
fn camera_table([device, model, pictures]: [usize; 3]) -> Table<9> {
    Table::new([
        column("device", device.max(6), Align::Left),
        column("model", model.max(5), Align::Left),
        column("pictures", pictures.max(8), Align::Left),
        column("exposure ms", 11, Align::Right),
        column("gain", 5, Align::Right),
        column("left", 9, Align::Right),
        column("swsync", 7, Align::Left),
        column("GStreamer", 9, Align::Left),
        column("libcamera", 9, Align::Left),
    ])
}

fn camera_row(status: &Status) -> [String; 9] {
    let CameraStatus { model, mode, exposure_ns, analogue_gain } = status.camera.clone().unwrap_or_default();
    let Versions { gstreamer, libcamera, .. } = status.versions.clone().unwrap_or_default();
    [
        status.device.to_string(),
        known(model, |model| model),
        known(mode, |mode| pictures(&mode)),
        known(exposure_ns, |exposure| format!("{:.3}", exposure.as_secs_f64() * 1e3)),
        known(analogue_gain, |gain| format!("{gain:.2}")),
        known(status.recording_left_ns, recording_left),
        status.software.clone(),
        known(gstreamer, |version| version),
        // Debian's has its own version behind a plus sign.
        known(libcamera, |version| version.split('+').next().unwrap_or_default().to_owned()),
    ]
}

fn known<T>(value: Option<T>, write: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NOTHING.to_owned(), write)
}

/// `1920x1080@30 image/jpeg`.
fn pictures(mode: &CameraMode) -> String {
    let CameraMode { width, height, rate, format } = mode;
    let rate = match rate.rate() {
        (frames, 1) => frames.to_string(),
        (frames, secs) => format!("{:.2}", f64::from(frames) / f64::from(secs)),
    };
    format!("{width}x{height}@{rate} {format}")
}

/// Rounded down, to the unit that matters.
fn recording_left(left: Span) -> String {
    let secs = left.as_nanos() / 1_000_000_000;
    match (secs / 86_400, secs / 3_600, secs / 60) {
        (days @ 2.., _, _) => format!("{days} d"),
        (_, hours @ 2.., _) => format!("{hours} h"),
        (_, _, minutes @ 2..) => format!("{minutes} min"),
        _ => format!("{secs} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::status;
    use swsync_core::grid::FrameGrid;

    #[test]
    fn a_host_and_a_camera_have_a_row_each() {
        let mut pi = status("pi");
        pi.host = Some(HostStatus {
            board: Some("Raspberry Pi 5 Model B Rev 1.0".into()),
            temperature_celsius: Some(61.835),
            throttled: Some(false),
            undervoltage: Some(true),
            cpu_load: Some(0.374),
            wifi: vec![WifiStatus {
                interface: "wlan0".into(),
                signal_dbm: Some(-54),
                tx_bitrate_bps: Some(433_300_000),
                power_save: Some(false),
            }],
            ..HostStatus::default()
        });
        pi.camera = Some(CameraStatus {
            model: Some("imx708".into()),
            mode: Some(CameraMode {
                width: 2304,
                height: 1296,
                rate: FrameGrid::new(30_000, 1_001).unwrap(),
                format: "image/jpeg".into(),
            }),
            exposure_ns: Some(Span::from_micros(4_998)),
            analogue_gain: Some(2.0),
        });
        pi.recording_left_ns = Some(Span::from_secs(7_300));
        pi.versions = Some(Versions {
            gstreamer: Some("1.26.2".into()),
            libcamera: Some("0.5.2+99-bfd68f78".into()),
            kernel: Some("6.12.25+rpt-rpi-2712".into()),
            os: None,
        });
        let host = ["pi", "61.8", "37%", "no", "low", "wlan0", "-54", "433.3", "no", "6.12.25+rpt-rpi-2712"];
        assert_eq!(host_row(&pi)[..10], host);
        let camera = [
            "pi",
            "imx708",
            "2304x1296@29.97 image/jpeg",
            "4.998",
            "2.00",
            "2 h",
            "0.1.0",
            "1.26.2",
            "0.5.2",
        ];
        assert_eq!(camera_row(&pi), camera);
        let lines = lines([&pi, &status("older")].into_iter());
        assert_eq!((lines.len(), lines[0].as_str(), lines[4].as_str()), (8, "", ""));
        assert!(
            lines[1].ends_with("board") && lines[2].ends_with("Raspberry Pi 5 Model B Rev 1.0"),
            "{lines:#?}"
        );
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let older = status("older");
        assert_eq!(host_row(&older)[1..], ["-"; 10]);
        assert_eq!(camera_row(&older)[1..6], ["-"; 5]);
    }

    #[test]
    fn recording_time_is_rounded_down() {
        let of = |secs| recording_left(Span::from_secs(secs));
        assert_eq!((of(119), of(120), of(7_199)), ("119 s".into(), "2 min".into(), "119 min".into()));
        assert_eq!((of(7_200), of(172_799), of(172_800)), ("2 h".into(), "47 h".into(), "2 d".into()));
    }
}
