//! The state of the devices: a table with a row for each, or JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use swsync_client::leaders::Following;
use swsync_client::{Rig, RigSnapshot};
use swsync_core::grid::FrameGrid;
use swsync_core::manifest::utc;
use swsync_core::name::DeviceId;
use swsync_core::order::Targets;
use swsync_core::place::DevicePlace;
use swsync_core::status::{FrameStatus, LeaderSplit, Status};
use swsync_core::time::{Span, Timestamp};

use super::details;
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

    /// As a table; `is_long`: with tables of hosts and cameras.
    pub fn lines(&self, is_long: bool) -> Vec<String> {
        if self.is_empty() {
            return vec!["no devices".into()];
        }
        let RigSnapshot { reports, missed, common, .. } = &self.snapshot;
        let table = self.table();
        let nowhere = DevicePlace::default();
        let mut rows: Vec<_> = reports
            .iter()
            .map(|report| &report.status)
            .map(|status| (&status.place, &status.device, row(status, common.rate())))
            .collect();
        rows.extend(missed.keys().map(|device| (&nowhere, device, no_answer(device))));
        rows.sort_by(|(place, device, _), (other, another, _)| {
            place.order(other).then_with(|| device.cmp(another))
        });
        let places = PlaceColumn::of(rows.iter().map(|(place, ..)| *place));
        let mut lines = vec![places.before("place", &table.headings())];
        lines.extend(rows.iter().map(|(place, _, row)| places.before(&place.to_string(), &table.row(row))));
        if is_long && !reports.is_empty() {
            lines.extend(details::lines(reports.iter().map(|report| &report.status)));
            lines.push(String::new());
        }
        for device in self.snapshot.devices() {
            let trouble = self.trouble(device).into_iter();
            let warnings = self.warnings(device).into_iter().map(|what| format!("warning: {what}"));
            lines.extend(trouble.chain(warnings).map(|what| clean(&format!("{device}: {what}"))));
        }
        lines.extend(self.differences());
        lines.extend(self.notices());
        lines.extend(self.path_offsets());
        lines.extend(self.time_line());
        lines.extend(self.date_line());
        lines.extend(self.is_open.then(|| OPEN.into()));
        let all = self.snapshot.devices().count();
        lines.push(format!("{} of {all} devices ready", self.ready()));
        lines
    }

    /// The table of devices.
    pub fn table(&self) -> Table<12> {
        table(self.snapshot.devices().map(|device| device.as_str().len()).max().unwrap_or_default())
    }

    /// The row of each device in the table.
    pub fn rows(&self) -> BTreeMap<&DeviceId, [String; 12]> {
        let rate = self.snapshot.common.rate();
        let answered = self.snapshot.reports.iter();
        let answered = answered.map(|report| (&report.status.device, row(&report.status, rate)));
        answered.chain(self.snapshot.missed.keys().map(|device| (device, no_answer(device)))).collect()
    }

    /// What is wrong with `device`, a line each: why it is not ready, who was refused because of it, why it does not answer.
    /// Empty: it is ready.
    pub fn trouble(&self, device: &DeviceId) -> Vec<String> {
        if let Some(why) = self.snapshot.missed.get(device) {
            return vec![why.clone()];
        }
        let status = self.snapshot.reports.iter().map(|report| &report.status);
        let Some(status) = status.into_iter().find(|status| status.device == *device) else {
            return vec!["it is not in the rig".into()];
        };
        let problems = self.snapshot.objections(status);
        let problems = (!problems.is_empty()).then(|| problems.join("; "));
        problems.into_iter().chain(status.refused.iter().cloned()).collect()
    }

    /// What the operator should know of `device` although it could serve an order, a line each.
    pub fn warnings(&self, device: &DeviceId) -> Vec<String> {
        let mut statuses = self.snapshot.reports.iter().map(|report| &report.status);
        statuses.find(|status| status.device == *device).map(Status::warnings).unwrap_or_default()
    }

    /// What concerns the rig as a whole: differences first, then what the operator should know.
    pub fn about_rig(&self) -> Vec<String> {
        let open = self.is_open.then(|| OPEN.into());
        self.differences().into_iter().chain(self.notices()).chain(open).collect()
    }

    /// Number of devices that are ready.
    pub fn ready(&self) -> usize {
        self.snapshot.reports.iter().filter(|report| self.is_ready(&report.status)).count()
    }

    /// The rig that this is of.
    pub const fn snapshot(&self) -> &RigSnapshot {
        &self.snapshot
    }

    /// Several leaders of one time scale, if any: for longer than a handover, or not.
    #[must_use]
    pub fn lasting(self, is_lasting: bool) -> Self {
        Self { is_lasting: is_lasting && self.split.is_some(), ..self }
    }

    /// Whether one time scale has several leaders now.
    pub const fn is_split(&self) -> bool {
        self.split.is_some()
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

    /// What date it is, if somebody has told the rig.
    fn date_line(&self) -> Option<String> {
        let (date, now) = (self.snapshot.date()?, self.snapshot.time()?);
        let (rig, is) = (utc(now), utc(Timestamp::from_nanos(date.utc_at(now).as_nanos())));
        let (rig, is) = (&rig[..19], &is[..19]);
        let uncertainty = date.uncertainty_at(now).as_secs_f64() * 1e3;
        Some(clean(&format!("rig time {rig} is {is} UTC +- {uncertainty:.1} ms, as {} said", date.by)))
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
                warnings: status.warnings(),
                status: Some(status.clone()),
            }
        });
        let missed = self.snapshot.missed.iter().map(|(device, why)| DeviceState {
            device: device.clone(),
            answered: false,
            ready: false,
            leader: None,
            problems: vec![why.clone()],
            warnings: Vec::new(),
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

/// The groups and places, left of the table: there only if some device has one.
struct PlaceColumn(Option<usize>);

impl PlaceColumn {
    fn of<'a>(places: impl Iterator<Item = &'a DevicePlace>) -> Self {
        let widths = places.filter(|place| !place.is_unset()).map(|place| place.to_string().len());
        Self(widths.max().map(|width| width.max("place".len())))
    }

    fn before(&self, cell: &str, line: &str) -> String {
        self.0.map_or_else(|| line.to_owned(), |width| format!("{cell:<width$}  {line}"))
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
    /// What the operator should know although it could serve an order, for a person.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
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
    use swsync_core::message::TimeScale;
    use swsync_core::rig_date::RigDate;
    use swsync_core::status::{HostStatus, TimeSource};

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
    fn the_date_that_somebody_gave_is_told() {
        let mut report = report("a");
        let clock = report.status.clock.as_mut().unwrap();
        let rig_time_ns = clock.rig_time_ns;
        let least_delay_ns = Span::ZERO;
        clock.source = Some(TimeSource { stratum: 1, leader: 1, timescale: 7, least_delay_ns });
        report.status.date = Some(RigDate {
            timescale: TimeScale(7),
            rig_time_ns,
            utc_ns: Timestamp::from_nanos(1_900_000_000_000_000_000),
            uncertainty_ns: Span::from_millis(8),
            by: "browser at 10.0.0.7".into(),
        });
        let line = rig_status(&[], vec![report.clone()]).date_line().unwrap();
        let end = " is 2030-03-17T17:46:40 UTC +- 8.0 ms, as browser at 10.0.0.7 said";
        assert!(line.starts_with("rig time 2") && line.ends_with(end), "{line}");
        report.status.date.as_mut().unwrap().timescale = TimeScale(8);
        assert_eq!(rig_status(&[], vec![report]).date_line(), None, "it is of another time scale");
    }

    #[test]
    fn a_device_that_does_not_answer_is_listed() {
        let rig_status = rig_status(&[("b", "it is gone")], vec![report("c"), report("a")]);
        assert!(!rig_status.is_whole());
        let lines = rig_status.lines(false);
        assert!(lines[2].starts_with("b       no answer"), "{lines:?}");
        assert_eq!(lines[4..], ["b: it is gone", "2 of 3 devices ready"]);
        let json = serde_json::to_value(rig_status.document()).unwrap();
        let silent = serde_json::json!({ "device": "b", "answered": false, "ready": false, "problems": ["it is gone"] });
        assert_eq!(json["devices"][1], silent);
        assert_eq!(json["devices"][0]["status"]["clock"]["quality"], "synced");
    }

    #[test]
    fn devices_are_sorted_by_their_places() {
        let mut reports = vec![report("a"), report("b"), report("c")];
        let place = |group: &str, place| DevicePlace { group: Some(name(group)), place: Some(place) };
        (reports[0].status.place, reports[2].status.place) = (place("left", 10), place("left", 2));
        let lines = rig_status(&[("d", "it is gone")], reports).lines(false);
        let begin = |line: &str| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
        let shown = lines[..5].iter().map(|line| begin(line)).collect::<Vec<_>>();
        assert_eq!(shown, ["place device clock", "left 2 c", "left 10 a", "- b synced", "- d no"]);
        assert_eq!(lines[0].find("device"), lines[1].find("c  "), "{lines:#?}");
    }

    #[test]
    fn a_device_that_is_ready_may_have_warnings() {
        let mut hot = report("a");
        hot.status.host = Some(HostStatus { temperature_celsius: Some(84.0), ..HostStatus::default() });
        let rig_status = rig_status(&[], vec![hot]);
        let lines = rig_status.lines(false);
        assert_eq!(lines[2..], ["a: warning: it is hot: 84 C", "1 of 1 devices ready"]);
        let json = serde_json::to_value(rig_status.document()).unwrap();
        assert_eq!(json["devices"][0]["warnings"], serde_json::json!(["it is hot: 84 C"]));
        assert_eq!(json["devices"][0]["ready"], true);
        let long = rig_status.lines(true);
        assert!(long[3].contains("temp C") && long[4].contains("84.0"), "{long:#?}");
    }

    #[test]
    fn path_offsets_are_named() {
        let mut reports = vec![report("a"), report("b")];
        assert_eq!(rig_status(&[], reports.clone()).path_offsets(), None);
        reports[1].status.clock.as_mut().unwrap().path_offset_ns = Span::from_nanos(-41_500);
        let lines = rig_status(&[], reports).lines(false);
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
        let lines = rig_status.lines(false).join("\n");
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
                && rig_status.lines(false).contains(&"a: process 7 on pi came with this id too".into())
        );
    }

    #[test]
    fn a_rig_without_devices_says_so() {
        let rig_status = rig_status(&[], Vec::new());
        assert!(rig_status.is_empty());
        assert_eq!(rig_status.lines(false), ["no devices"]);
    }

    #[test]
    fn an_impossible_ring_has_no_span() {
        let mut frames = status("a").frames.unwrap();
        frames.oldest = frames.newest.number + 1;
        assert_eq!(ring(&frames), "6.00 MB");
    }
}
