//! What devices write while an order runs, from their statuses: rates, time left, and what has just been lost. Without any I/O.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use swsync_client::StatusReport;
use swsync_core::name::{DeviceId, OrderId};

use crate::table::{clean, size};

/// Longest line: a terminal of 80 columns keeps the cursor in its last one.
const WIDTH: usize = 79;

/// Most devices that have a line each. With more, only those in trouble have one.
const MOST_LINES: usize = 12;

/// Room for less recording than this is trouble.
const LITTLE: Duration = Duration::from_secs(5 * 60);

/// Share of the newest measurement in the rate of writing: the time of a status jitters.
const NEWEST: f64 = 0.4;

/// A device that leaves out so many reports in a row is silent: one may get lost on WiFi.
const SILENT: u32 = 3;

/// A device and the order.
#[derive(Debug, Clone, PartialEq)]
struct DeviceProgress {
    heard: Instant,
    /// Whether the order is open there.
    open: bool,
    saved: u64,
    lost: u64,
    bytes: u64,
    /// Why the last lost frame was lost.
    why: Option<String>,
    /// Bytes a second that are written.
    rate: Option<f64>,
    /// For how long there is room at that rate.
    left: Option<Duration>,
    lock: &'static str,
    /// How many reports it has left out in a row.
    left_out: u32,
}

impl DeviceProgress {
    fn of(order: &OrderId, report: &StatusReport, before: Option<&Self>) -> Self {
        let status = &report.status;
        let progress = status.open.iter().find(|open| open.order == *order);
        let (saved, lost, bytes, why) = match (progress, before) {
            (Some(open), _) => (open.saved, open.lost, open.bytes, open.why.clone()),
            (None, Some(before)) => (before.saved, before.lost, before.bytes, before.why.clone()),
            (None, None) => (0, 0, 0, None),
        };
        let mut this = Self {
            heard: report.heard,
            open: progress.is_some(),
            saved,
            lost,
            bytes,
            why,
            rate: None,
            left: None,
            lock: status.frames.as_ref().map_or("no frames", |frames| frames.newest.lock_text()),
            left_out: 0,
        };
        let stream = status.frames.as_ref().map(|frames| frames.bytes_per_second);
        if this.open {
            this.rate = this.rate_since(before.filter(|before| before.open), stream);
        }
        let storage = status.storage.as_ref().filter(|storage| storage.max_files.is_none());
        this.left = storage.zip(this.rate.filter(|rate| *rate >= 1.0)).and_then(|(storage, rate)| {
            #[expect(clippy::cast_precision_loss, reason = "to show")]
            Duration::try_from_secs_f64(storage.free_bytes as f64 / rate).ok()
        });
        this
    }

    /// Bytes a second since `before`. `stream`: those that the camera's frames have.
    #[expect(clippy::cast_precision_loss, reason = "to show")]
    fn rate_since(&self, before: Option<&Self>, stream: Option<u64>) -> Option<f64> {
        let before = before?;
        if self.saved > before.saved && self.bytes == before.bytes {
            return stream.map(|stream| stream as f64); // a video's size is known once its file is closed
        }
        let since = self.heard.saturating_duration_since(before.heard).as_secs_f64();
        let now = self.bytes.saturating_sub(before.bytes) as f64 / since.max(0.1);
        Some(before.rate.map_or(now, |rate| NEWEST.mul_add(now - rate, rate)))
    }

    const fn is_silent(&self) -> bool {
        self.left_out >= SILENT
    }

    /// What is wrong, if anything.
    fn trouble(&self) -> Option<String> {
        if self.is_silent() {
            return Some("does not answer".into());
        }
        let lost = (self.lost > 0).then(|| match &self.why {
            Some(why) => format!("{} lost: {why}", self.lost),
            None => format!("{} lost", self.lost),
        });
        let full =
            self.left.filter(|left| self.open && *left < LITTLE).map(|_| "disk nearly full".to_owned());
        let unlocked = (self.open && matches!(self.lock, "lost" | "searching" | "no frames"))
            .then(|| format!("camera: {}", self.lock));
        let all: Vec<_> = [full, unlocked, lost].into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// All devices and the order.
#[derive(Debug, Clone)]
pub struct RigProgress {
    order: OrderId,
    devices: BTreeMap<DeviceId, DeviceProgress>,
}

impl RigProgress {
    /// Nothing is known yet.
    pub const fn new(order: OrderId) -> Self {
        Self { order, devices: BTreeMap::new() }
    }

    /// Takes in what devices report now. Returns what has just happened, a line each.
    pub fn update<'a>(&mut self, reports: impl IntoIterator<Item = &'a StatusReport>) -> Vec<String> {
        let mut events = Vec::new();
        let mut before = std::mem::take(&mut self.devices);
        for report in reports {
            let device = report.status.device.clone();
            let before = before.remove(&device);
            let now = DeviceProgress::of(&self.order, report, before.as_ref());
            events.extend(event(&device, before.as_ref(), &now));
            self.devices.insert(device, now);
        }
        for (device, mut silent) in before {
            silent.left_out += 1;
            if silent.left_out == SILENT && silent.open {
                events.push(format!("{device} does not answer any more"));
            }
            self.devices.insert(device, silent);
        }
        events.iter().map(|event| clean(event)).collect()
    }

    fn writing(&self) -> impl Iterator<Item = &DeviceProgress> + Clone {
        self.devices.values().filter(|device| device.open && !device.is_silent())
    }

    /// The order, for how long it has run, and on how many devices.
    fn head(&self, elapsed: Duration) -> String {
        let secs = elapsed.as_secs();
        let (open, all) = (self.writing().count(), self.devices.len());
        format!("{}  {:02}:{:02}  {open} of {all} devices write", self.order, secs / 60, secs % 60)
    }

    /// What all devices have written together.
    fn total(&self) -> String {
        let rate: f64 = self.writing().filter_map(|device| device.rate).sum();
        let frames: u64 = self.devices.values().map(|device| device.saved).sum();
        let lost: u64 = self.devices.values().map(|device| device.lost).sum();
        let mut line = format!("{frames} frames  {}  {lost} lost", per_second(rate));
        if let Some(left) = self.writing().filter_map(|device| device.left).min() {
            let _ = write!(line, "  room for {}", length(left));
        }
        line
    }

    /// Both, as a line.
    pub fn sum(&self, elapsed: Duration) -> String {
        format!("{}  {}", self.head(elapsed), self.total())
    }

    /// The block on a terminal: the sum, and a line per device; of many devices only those in trouble.
    pub fn block(&self, elapsed: Duration) -> Vec<String> {
        let mut lines = vec![cut(&self.head(elapsed)), cut(&format!("  {}", self.total()))];
        let width = self.devices.keys().map(|device| device.as_str().len()).max().unwrap_or_default();
        let is_many = self.devices.len() > MOST_LINES;
        let mut shown: Vec<_> =
            self.devices.iter().filter(|(_, device)| !is_many || device.trouble().is_some()).collect();
        let more = shown.len().saturating_sub(MOST_LINES);
        shown.truncate(MOST_LINES);
        lines.extend(shown.into_iter().map(|(name, device)| cut(&line(name, device, width))));
        if more > 0 {
            lines.push(format!("  and {more} more devices in trouble"));
        }
        lines
    }
}

/// What has just happened to a device, if it is worth a line.
fn event(device: &DeviceId, before: Option<&DeviceProgress>, now: &DeviceProgress) -> Option<String> {
    let lost_before = before.map_or(0, |before| before.lost);
    if now.lost > lost_before {
        let more = now.lost - lost_before;
        let frames = if more == 1 { "frame" } else { "frames" };
        let why = now.why.as_deref().unwrap_or("it does not say why");
        return Some(format!(
            "{device} lost {more} {frames} ({} in all, {} saved): {why}",
            now.lost, now.saved
        ));
    }
    if before.is_some_and(DeviceProgress::is_silent) {
        return Some(format!("{device} answers again"));
    }
    let is_little = |progress: &DeviceProgress| progress.left.is_some_and(|left| left < LITTLE);
    let left = now.left.filter(|_| is_little(now) && !before.is_some_and(is_little))?;
    Some(format!("{device} has room for {} only", length(left)))
}

/// A device's line.
fn line(name: &DeviceId, device: &DeviceProgress, width: usize) -> String {
    let mut line = format!("  {name:<width$}  ");
    if device.open {
        let _ = write!(
            line,
            "{:>6} frames  {:>9}  {:<8}",
            device.saved,
            device.rate.map_or_else(String::new, per_second),
            device.lock
        );
        if let Some(left) = device.left {
            let _ = write!(line, "  {} left", length(left));
        }
    } else {
        let _ = write!(line, "{:>6} frames  done, or not begun", device.saved);
    }
    if let Some(trouble) = device.trouble() {
        let _ = write!(line, "  {trouble}");
    }
    clean(line.trim_end())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is neither negative nor huge"
)]
fn per_second(rate: f64) -> String {
    format!("{}/s", size(rate as u64))
}

/// A length of time with one unit: `45 s`, `12 min`, `5 h`, `3 d`.
fn length(span: Duration) -> String {
    match span.as_secs() {
        secs @ ..120 => format!("{secs} s"),
        secs @ 120..7_200 => format!("{} min", secs / 60),
        secs @ 7_200..172_800 => format!("{} h", secs / 3_600),
        secs => format!("{} d", secs / 86_400),
    }
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(WIDTH) {
        None => line.to_owned(),
        Some(_) => line.chars().take(WIDTH - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{name, status};
    use swsync_core::status::StorageStatus;

    /// A report `secs` after `begin` of a device that has saved 30 frames and 3 MB a second, and has room for an hour.
    fn report(device: &str, begin: Instant, secs: u64) -> StatusReport {
        let mut status = status(device);
        (status.open[0].saved, status.open[0].bytes) = (30 * secs, 3_000_000 * secs);
        status.storage = Some(StorageStatus {
            free_bytes: 3_600 * 3_000_000,
            queued_bytes: 0,
            queue_limit_bytes: 1,
            max_files: None,
        });
        let heard = begin + Duration::from_secs(secs);
        StatusReport { status, asked: heard, heard }
    }

    fn losing(device: &str, begin: Instant, secs: u64, lost: u64) -> StatusReport {
        let mut report = report(device, begin, secs);
        report.status.open[0].lost = lost;
        report.status.open[0].why = Some("the camera dropped this frame".into());
        report
    }

    #[test]
    fn each_device_shows_frames_rate_and_time_left() {
        let begin = Instant::now();
        let mut rig = RigProgress::new(name("o1"));
        for secs in 0..4 {
            assert!(rig.update(&[report("left", begin, secs), report("r", begin, secs)]).is_empty());
        }
        assert_eq!(
            rig.block(Duration::from_secs(63)),
            [
                "o1  01:03  2 of 2 devices write",
                "  180 frames  6.00 MB/s  0 lost  room for 60 min",
                "  left      90 frames  3.00 MB/s  locked    60 min left",
                "  r         90 frames  3.00 MB/s  locked    60 min left",
            ]
        );
    }

    #[test]
    fn lost_frames_are_said_once_with_their_reason() {
        let begin = Instant::now();
        let mut rig = RigProgress::new(name("o1"));
        rig.update(&[report("a", begin, 1)]);
        let events = rig.update(&[losing("a", begin, 2, 2)]);
        assert_eq!(events, ["a lost 2 frames (2 in all, 60 saved): the camera dropped this frame"]);
        assert!(rig.update(&[losing("a", begin, 3, 2)]).is_empty());
        assert_eq!(rig.update(&[losing("a", begin, 4, 3)]).len(), 1);
        let block = rig.block(Duration::ZERO);
        assert!(block[2].ends_with("…") && block[2].contains("3 lost: the camera"), "{block:?}");
    }

    #[test]
    fn a_device_that_falls_silent_and_comes_back_is_said() {
        let begin = Instant::now();
        let mut rig = RigProgress::new(name("o1"));
        rig.update(&[report("a", begin, 1), report("b", begin, 1)]);
        let events: Vec<_> = (2..6).map(|secs| rig.update(&[report("a", begin, secs)])).collect();
        assert_eq!(events, [vec![], vec![], vec!["b does not answer any more".to_owned()], vec![]]);
        assert!(rig.block(Duration::ZERO)[3].ends_with("does not answer"));
        assert!(rig.sum(Duration::ZERO).contains("1 of 2 devices write"));
        assert_eq!(rig.update(&[report("b", begin, 6)]), ["b answers again"]);
    }

    #[test]
    fn a_disk_that_is_nearly_full_is_said_once() {
        let begin = Instant::now();
        let mut rig = RigProgress::new(name("o1"));
        let full = |secs| {
            let mut report = report("a", begin, secs);
            report.status.storage.as_mut().unwrap().free_bytes = 90 * 3_000_000;
            report
        };
        assert!(rig.update(&[full(1)]).is_empty(), "no rate is known yet");
        assert_eq!(rig.update(&[full(2)]), ["a has room for 90 s only"]);
        assert!(rig.update(&[full(3)]).is_empty());
        assert!(rig.block(Duration::ZERO)[2].contains("90 s left  disk nearly full"));
    }

    #[test]
    fn a_hundred_devices_fit_a_terminal() {
        let begin = Instant::now();
        let mut rig = RigProgress::new(name("take-20261130-112200-beef"));
        let reports = |secs, losers: u64| -> Vec<_> {
            let of = |index: u64| {
                let device = format!("camera-{index:03}");
                let mut report = losing(&device, begin, secs, u64::from(index < losers));
                report.status.open[0].order = name("take-20261130-112200-beef");
                report
            };
            (0..100).map(of).collect()
        };
        rig.update(&reports(1, 0));
        rig.update(&reports(2, 0));
        assert_eq!(rig.block(Duration::from_secs(3)).len(), 2, "none is in trouble");
        rig.update(&reports(3, 3));
        assert_eq!(rig.block(Duration::from_secs(3)).len(), 5);
        rig.update(&reports(4, 50));
        let block = rig.block(Duration::from_secs(60));
        assert_eq!(block.len(), 15);
        assert_eq!(block[14], "  and 38 more devices in trouble");
        assert!(block.iter().all(|line| line.chars().count() < 80), "{block:#?}");
        assert!(block[0].ends_with("100 of 100 devices write"), "{}", block[0]);
        assert_eq!(block[1], "  12000 frames  300 MB/s  50 lost  room for 60 min");
    }

    #[test]
    fn a_video_whose_size_is_not_known_yet_has_the_rate_of_its_frames() {
        let begin = Instant::now();
        let mut rig = RigProgress::new(name("o1"));
        for secs in 1..3 {
            let mut report = report("a", begin, secs);
            report.status.open[0].bytes = 0;
            rig.update(&[report]);
        }
        assert!(rig.block(Duration::ZERO)[2].contains("3.00 MB/s"));
        let mut done = report("a", begin, 3);
        done.status.open.clear();
        rig.update(&[done]);
        assert_eq!(rig.block(Duration::ZERO)[2], "  a      60 frames  done, or not begun");
    }
}
