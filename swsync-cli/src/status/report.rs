//! The state of the devices: a table with a row for each, or JSON.

use serde::Serialize;
use swsync_client::leaders::Following;
use swsync_client::{Rig, RigSnapshot};
use swsync_core::grid::FrameGrid;
use swsync_core::name::DeviceId;
use swsync_core::order::Targets;
use swsync_core::status::{FrameStatus, LeaderSplit, Status};
use swsync_core::time::Span;

use crate::orders::leaders;
use crate::rig_time;
use crate::table::{Align, Column, NOTHING, Table, clean, micros, micros_unsigned, size};

/// All devices that belong to the rig, and the statuses of those that answered.
pub struct RigStatus {
    snapshot: RigSnapshot,
    /// Several leaders of one time scale, and for how long: for a moment, unless `is_lasting`.
    split: Option<LeaderSplit>,
    is_lasting: bool,
    /// The rig has no key.
    is_open: bool,
}

/// The line about a rig without a key.
const OPEN: &str =
    "open: no key, so everybody on the network is part of the rig (`swsync key new` makes one)";

impl RigStatus {
    /// From a snapshot of the rig.
    pub fn new(snapshot: RigSnapshot) -> Self {
        let split = snapshot.common.split();
        Self { snapshot, split, is_lasting: false, is_open: false }
    }

    /// Sets whether the rig is open: it has no key.
    #[must_use]
    pub fn open(self, is_open: bool) -> Self {
        Self { is_open, ..self }
    }

    /// If devices follow different leaders, waits until they agree, or until it has lasted too long for a handover.
    pub fn wait_for_handover(&mut self, rig: &Rig) {
        self.split = rig.lasting_split(&Targets::All, &self.snapshot);
        self.is_lasting = self.split.is_some();
    }

    /// Whether there is no device.
    pub fn is_empty(&self) -> bool {
        self.snapshot.reports.is_empty() && self.snapshot.missed.is_empty()
    }

    /// Whether every device that belongs to the rig answered, and none was refused.
    pub fn is_whole(&self) -> bool {
        self.snapshot.missed.is_empty()
            && self.snapshot.reports.iter().all(|report| report.status.refused.is_empty())
    }

    /// Whether all are on one time scale, of one leader, and take frames at one rate.
    pub fn is_alike(&self) -> bool {
        self.snapshot.is_alike(&Targets::All) && !self.is_lasting
    }

    /// As a table.
    pub fn lines(&self) -> Vec<String> {
        if self.is_empty() {
            return vec!["no devices".into()];
        }
        let RigSnapshot { reports, missed, common, .. } = &self.snapshot;
        let table =
            table(self.snapshot.devices().map(|device| device.as_str().len()).max().unwrap_or_default());
        let mut rows: Vec<_> = reports
            .iter()
            .map(|report| (&report.status.device, row(&report.status, common.rate())))
            .collect();
        rows.extend(missed.keys().map(|device| (device, no_answer(device))));
        rows.sort_by_key(|(device, _)| *device);
        let mut lines = vec![table.headings()];
        lines.extend(rows.iter().map(|(_, row)| table.row(row)));
        for report in reports {
            let (device, refused) = (&report.status.device, &report.status.refused);
            let problems = self.snapshot.objections(&report.status);
            lines
                .extend((!problems.is_empty()).then(|| clean(&format!("{device}: {}", problems.join("; ")))));
            lines.extend(refused.iter().map(|why| clean(&format!("{device}: {why}"))));
        }
        lines.extend(missed.iter().map(|(device, why)| clean(&format!("{device}: {why}"))));
        lines.extend(self.differences());
        lines.extend(self.notices());
        lines.extend(self.path_offsets());
        lines.extend(self.time_line());
        lines.extend(self.is_open.then(|| OPEN.into()));
        let ready = reports.iter().filter(|report| self.is_ready(&report.status)).count();
        lines.push(format!("{ready} of {} devices ready", reports.len() + missed.len()));
        lines
    }

    fn differences(&self) -> Vec<String> {
        let lasting = self.split.iter().filter(|_| self.is_lasting).map(|split| split.what.clone());
        self.snapshot.common.disagreements().into_iter().chain(lasting).collect()
    }

    /// What the operator should know although it is no difference.
    fn notices(&self) -> Vec<String> {
        let moment = self.split.iter().filter(|_| !self.is_lasting).map(|split| {
            format!("{}; if one device is taking over from another, that is over within seconds", split.what)
        });
        self.snapshot.common.notice().into_iter().chain(moment).collect()
    }

    /// What devices take off for their own paths.
    fn path_offsets(&self) -> Option<String> {
        let all = self.snapshot.reports.iter().filter_map(|report| {
            let offset = report.status.clock?.path_offset_ns;
            (offset != Span::ZERO).then(|| format!("{} {} us", report.status.device, micros(offset)))
        });
        let all: Vec<_> = all.collect();
        (!all.is_empty()).then(|| format!("path offsets, taken off: {}", all.join(", ")))
    }

    /// Whose time all have, if they agree.
    fn time_line(&self) -> Option<String> {
        let mut all = self.snapshot.common.leaders();
        let (timescale, leaders) = all.next()?;
        let [(leader, _)] = leaders[..] else { return None };
        let leader = self.snapshot.common.leader_name(leader);
        all.next().is_none().then(|| format!("time scale {timescale}, leader {leader}"))
    }

    fn is_ready(&self, status: &Status) -> bool {
        self.snapshot.objections(status).is_empty()
    }

    /// As a document, with each device's status unchanged.
    pub fn document(&self) -> StatusDocument {
        let common = &self.snapshot.common;
        let answered = self.snapshot.reports.iter().map(|report| {
            let status = &report.status;
            let source = status.clock.and_then(|clock| clock.source);
            DeviceState {
                device: status.device.clone(),
                answered: true,
                ready: self.is_ready(status),
                leader: source.map(|source| common.leader_name(source.leader)),
                problems: self.snapshot.objections(status),
                status: Some(status.clone()),
            }
        });
        let missed = self.snapshot.missed.iter().map(|(device, why)| DeviceState {
            device: device.clone(),
            answered: false,
            ready: false,
            leader: None,
            problems: vec![why.clone()],
            status: None,
        });
        let mut devices: Vec<_> = answered.chain(missed).collect();
        devices.sort_by(|a, b| a.device.cmp(&b.device));
        StatusDocument {
            devices,
            leaders: leaders::followings(common),
            differences: self.differences(),
            notices: self.notices(),
            open: self.is_open,
        }
    }
}

/// The document of `swsync status --json`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StatusDocument {
    /// Every device of the rig, by id.
    devices: Vec<DeviceState>,
    leaders: Vec<Following>,
    /// In what devices differ, for a person.
    differences: Vec<String>,
    /// What the operator should know although it is no difference.
    notices: Vec<String>,
    /// The rig has no key: everybody on the network is part of it.
    open: bool,
}

/// A device, and what it says of itself.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceState {
    device: DeviceId,
    /// Whether it answered.
    answered: bool,
    /// Whether it could serve an order.
    ready: bool,
    /// The leader whose time it has, if it states one.
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<String>,
    /// Why it is not ready, or did not answer, for a person.
    problems: Vec<String>,
    /// What it says of itself, if it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

fn table(width: usize) -> Table<12> {
    let column = |heading, width, align| Column { heading, width, align };
    Table::new([
        column("device", width.max(6), Align::Left),
        column("clock", 9, Align::Left),
        column("offset s", 17, Align::Right),
        column("+- us", 8, Align::Right),
        column("skew ppm", 8, Align::Right),
        column("camera", 9, Align::Left),
        column("fps", 6, Align::Right),
        column("phase us", 8, Align::Right),
        column("ring", 14, Align::Left),
        column("open", 4, Align::Right),
        column("saved", 6, Align::Right),
        column("missed", 6, Align::Right),
    ])
}

fn empty() -> [String; 12] {
    [const { String::new() }; 12].map(|_| NOTHING.to_owned())
}

/// The row of a device that did not answer.
fn no_answer(device: &DeviceId) -> [String; 12] {
    let mut cells = empty();
    cells[0] = device.to_string();
    cells[1] = "no answer".into();
    cells
}

/// A device's row. `most` is the frame rate that most devices have.
fn row(status: &Status, most: Option<FrameGrid>) -> [String; 12] {
    let mut cells = empty();
    cells[0] = status.device.to_string();
    if let Some(clock) = &status.clock {
        cells[1] = clock.quality.as_str().into();
        cells[2] = format!("{:.6}", clock.offset_ns.as_secs_f64());
        cells[3] = clock.uncertainty_ns.map_or(NOTHING.into(), micros_unsigned);
        cells[4] = format!("{:+.3}", clock.skew_ppm);
    }
    if let Some(frames) = &status.frames {
        cells[5] = frames.newest.lock_text().into();
        cells[6] = rate(frames.rate, most);
        cells[7] = micros(frames.newest.phase_error_ns);
        cells[8] = ring(frames);
    }
    cells[9] = status.open.len().to_string();
    cells[10] = status.saved.to_string();
    cells[11] = status.missed.to_string();
    cells
}

/// Frames per second, marked with ! if most devices have another rate.
fn rate(rate: FrameGrid, most: Option<FrameGrid>) -> String {
    let mark = if most.is_some_and(|most| most != rate) { "!" } else { "" };
    match rate.rate() {
        (frames, 1) => format!("{mark}{frames}"),
        (frames, seconds) => format!("{mark}{:.3}", f64::from(frames) / f64::from(seconds)),
    }
}

/// How far back orders can reach, and the memory for it.
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
    Some(rig_time::period(&frames.newest)? * i64::try_from(periods).ok()?)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::testing::{name, status};
    use swsync_client::{Presence, StatusReport};
    use swsync_core::status::TimeSource;

    fn report(device: &str) -> StatusReport {
        let now = Instant::now();
        StatusReport { status: status(device), asked: now, heard: now }
    }

    fn rig_status(missed: &[(&str, &str)], reports: Vec<StatusReport>) -> RigStatus {
        let missed = missed.iter().map(|(device, why)| (name(device), (*why).to_owned())).collect();
        RigStatus::new(RigSnapshot::of(Presence { missed, ..Presence::default() }, reports))
    }

    #[test]
    fn a_row_has_clock_camera_ring_and_counts() {
        let expected = [
            "a",
            "synced",
            "1.500000",
            "20.0",
            "-12.300",
            "locked",
            "30",
            "+3.0",
            "2.0 s, 6.00 MB",
            "1",
            "17",
            "2",
        ];
        assert_eq!(row(&status("a"), None), expected);
    }

    #[test]
    fn a_device_without_clock_or_camera_has_a_row_too() {
        let bare = Status { clock: None, frames: None, ..status("a") };
        assert_eq!(row(&bare, None)[1..9], ["-"; 8]);
        assert_eq!(no_answer(&name("a"))[1], "no answer");
    }

    #[test]
    fn a_device_that_does_not_answer_is_listed() {
        let rig_status = rig_status(&[("b", "it is gone")], vec![report("c"), report("a")]);
        assert!(!rig_status.is_whole());
        let lines = rig_status.lines();
        assert!(lines[2].starts_with("b       no answer"), "{lines:?}");
        assert_eq!(lines[4..], ["b: it is gone", "2 of 3 devices ready"]);
        let json = serde_json::to_value(rig_status.document()).unwrap();
        let silent = serde_json::json!({ "device": "b", "answered": false, "ready": false, "problems": ["it is gone"] });
        assert_eq!(json["devices"][1], silent);
        assert_eq!(json["devices"][0]["status"]["clock"]["quality"], "synced");
    }

    #[test]
    fn path_offsets_are_named() {
        let mut reports = vec![report("a"), report("b")];
        assert_eq!(rig_status(&[], reports.clone()).path_offsets(), None);
        reports[1].status.clock.as_mut().unwrap().path_offset_ns = Span::from_nanos(-41_500);
        let lines = rig_status(&[], reports).lines();
        assert!(lines.contains(&"path offsets, taken off: b -41.5 us".into()), "{lines:?}");
    }

    #[test]
    fn devices_that_differ_are_named_and_not_ready() {
        let mut reports = vec![report("a"), report("b"), report("c")];
        for (report, timescale) in reports.iter_mut().zip([7, 7, 8]) {
            let source = TimeSource { stratum: 1, leader: 1, timescale, least_delay_ns: Span::ZERO };
            report.status.clock.as_mut().unwrap().source = Some(source);
        }
        reports[1].status.frames.as_mut().unwrap().rate = FrameGrid::new(25, 1).unwrap();
        let rig_status = rig_status(&[], reports);
        assert!(rig_status.is_whole() && !rig_status.is_alike());
        let lines = rig_status.lines().join("\n");
        assert!(lines.contains("  !25  ") && lines.contains("1 of 3 devices ready"), "{lines}");
        assert!(
            lines.contains(
                "time scales differ: 0000000000000007 (leader 0000000000000001) on a, b; 0000000000000008 (leader \
                 0000000000000001) on c"
            ),
            "{lines}"
        );
        assert!(lines.contains("frame rates differ: 25 on b; 30 on a, c"), "{lines}");
    }

    #[test]
    fn a_second_device_of_one_id_is_shown() {
        let mut second = report("a");
        second.status.refused.push("process 7 on pi came with this id too".into());
        let rig_status = rig_status(&[], vec![second]);
        assert!(
            !rig_status.is_whole()
                && rig_status.lines().contains(&"a: process 7 on pi came with this id too".into())
        );
    }

    #[test]
    fn a_rig_without_devices_says_so() {
        let rig_status = rig_status(&[], Vec::new());
        assert!(rig_status.is_empty());
        assert_eq!(rig_status.lines(), ["no devices"]);
    }

    #[test]
    fn an_impossible_ring_has_no_span() {
        let mut frames = status("a").frames.unwrap();
        frames.oldest = frames.newest.number + 1;
        assert_eq!(ring(&frames), "6.00 MB");
    }
}
