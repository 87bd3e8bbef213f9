//! How the devices are: a row for each, or JSON.

use serde_json::{Value, json};
use swsync_core::control::{FrameStatus, Status};
use swsync_core::name::DeviceId;
use swsync_core::time::Span;
use swsync_rig::control::StatusReport;

use crate::clock;
use crate::table::{Align, Column, NOTHING, Table, micros, micros_unsigned, size};

/// Everyone who is there, and what those who answered say.
#[derive(Debug)]
pub struct Picture {
    devices: Vec<(DeviceId, Option<Status>)>,
}

impl Picture {
    /// Of everyone in `roster` and `reports`.
    pub fn new(roster: Vec<DeviceId>, reports: Vec<StatusReport>) -> Self {
        let mut devices: Vec<_> =
            reports.into_iter().map(|report| (report.status.device.clone(), Some(report.status))).collect();
        for device in roster {
            if !devices.iter().any(|(known, _)| *known == device) {
                devices.push((device, None));
            }
        }
        devices.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self { devices }
    }

    /// Whether nobody is there.
    pub const fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Whether everyone answered.
    pub fn is_whole(&self) -> bool {
        self.devices.iter().all(|(_, status)| status.is_some())
    }

    /// As a table.
    pub fn lines(&self) -> Vec<String> {
        if self.is_empty() {
            return vec!["no devices".into()];
        }
        let names = self.devices.iter().map(|(device, _)| device.as_str().len());
        let table = table(names.max().unwrap_or_default());
        let rows = self.devices.iter().map(|(device, status)| table.row(&row(device, status.as_ref())));
        let ready = self.devices.iter().filter(|(_, status)| status.as_ref().is_some_and(Status::is_ready));
        let verdict = format!("{} of {} devices ready", ready.count(), self.devices.len());
        std::iter::once(table.headings()).chain(rows).chain([verdict]).collect()
    }

    /// As JSON: what the devices said, as they said it.
    pub fn json(&self) -> Value {
        let device = |(device, status): &(DeviceId, Option<Status>)| match status {
            Some(status) => json!({
                "device": device,
                "answered": true,
                "ready": status.is_ready(),
                "status": status,
            }),
            None => json!({ "device": device, "answered": false, "ready": false }),
        };
        json!({ "devices": self.devices.iter().map(device).collect::<Vec<_>>() })
    }
}

fn table(width: usize) -> Table<11> {
    let column = |heading, width, align| Column { heading, width, align };
    Table::new([
        column("device", width.max(6), Align::Left),
        column("clock", 9, Align::Left),
        column("offset s", 17, Align::Right),
        column("+- us", 8, Align::Right),
        column("skew ppm", 8, Align::Right),
        column("camera", 9, Align::Left),
        column("phase us", 8, Align::Right),
        column("ring", 14, Align::Left),
        column("open", 4, Align::Right),
        column("saved", 6, Align::Right),
        column("missed", 6, Align::Right),
    ])
}

fn row(device: &DeviceId, status: Option<&Status>) -> [String; 11] {
    let mut cells = [const { String::new() }; 11].map(|_| NOTHING.to_owned());
    cells[0] = device.to_string();
    let Some(status) = status else {
        cells[1] = "no answer".into();
        return cells;
    };
    if let Some(clock) = &status.clock {
        cells[1] = clock.quality.as_str().into();
        cells[2] = format!("{:.6}", clock.offset_ns.as_secs_f64());
        cells[3] = clock.uncertainty_ns.map_or(NOTHING.into(), micros_unsigned);
        cells[4] = format!("{:+.3}", clock.skew_ppm);
    }
    if let Some(frames) = &status.frames {
        cells[5] = frames.newest.lock.as_str().into();
        cells[6] = micros(frames.newest.phase_error_ns);
        cells[7] = ring(frames);
    }
    cells[8] = status.open.len().to_string();
    cells[9] = status.saved.to_string();
    cells[10] = status.missed.to_string();
    cells
}

/// How far orders in the past can reach, and what memory that takes.
fn ring(frames: &FrameStatus) -> String {
    let bytes = size(u64::try_from(frames.ring_bytes).unwrap_or(u64::MAX));
    match span(frames) {
        Some(span) => format!("{:.1} s, {bytes}", span.as_secs_f64()),
        None => bytes,
    }
}

/// From the oldest frame to the newest.
fn span(frames: &FrameStatus) -> Option<Span> {
    let periods = frames.newest.number.checked_sub(frames.oldest)?;
    Some(clock::period(&frames.newest)? * i64::try_from(periods).ok()?)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::testing::{name, status};

    fn report(device: &str) -> StatusReport {
        let now = Instant::now();
        StatusReport { status: status(device), asked: now, heard: now }
    }

    #[test]
    fn a_row_has_it_all() {
        assert_eq!(
            row(&name("a"), Some(&status("a"))),
            [
                "a",
                "synced",
                "1.500000",
                "20.0",
                "-12.300",
                "locked",
                "+3.0",
                "2.0 s, 6.00 MB",
                "1",
                "17",
                "2"
            ]
        );
    }

    #[test]
    fn a_device_without_clock_or_camera_has_a_row_too() {
        let bare = Status { clock: None, frames: None, ..status("a") };
        assert_eq!(row(&name("a"), Some(&bare))[1..8], ["-"; 7]);
        assert_eq!(row(&name("a"), None)[1], "no answer");
    }

    #[test]
    fn whoever_is_there_but_silent_is_listed() {
        let picture = Picture::new(vec![name("a"), name("b"), name("c")], vec![report("c"), report("a")]);
        assert!(!picture.is_whole());
        let lines = picture.lines();
        assert!(lines[2].starts_with("b       no answer"), "{lines:?}");
        assert_eq!(lines[4], "2 of 3 devices ready");
        let json = picture.json();
        assert_eq!(json["devices"][1], json!({ "device": "b", "answered": false, "ready": false }));
        assert_eq!(json["devices"][0]["status"]["clock"]["quality"], "synced");
    }

    #[test]
    fn nobody_is_said_plainly() {
        let picture = Picture::new(Vec::new(), Vec::new());
        assert!(picture.is_empty());
        assert_eq!(picture.lines(), ["no devices"]);
    }

    #[test]
    fn an_impossible_ring_has_no_span() {
        let mut frames = status("a").frames.unwrap();
        frames.oldest = frames.newest.number + 1;
        assert_eq!(ring(&frames), "6.00 MB");
    }
}
