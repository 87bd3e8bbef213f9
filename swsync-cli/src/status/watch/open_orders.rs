//! The orders under way, as the devices' statuses tell, a line each.

use std::collections::BTreeMap;

use swsync_client::RigSnapshot;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::OrderProgress;
use swsync_core::time::{Rig, Span, Timestamp};

use crate::table::size;

/// Cells of a progress bar.
const BAR: usize = 10;

/// An order that some devices have open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOrder {
    /// Its name.
    pub id: OrderId,
    at: Timestamp<Rig>,
    stop: Option<Timestamp<Rig>>,
    /// Frames that it names on a device.
    named: Option<u64>,
    devices: usize,
    /// The fewest and the most frames that a device has saved.
    saved: (u64, u64),
    bytes: u64,
    lost: u64,
    /// The device that lost the most, how many, and why the last of them.
    worst: Option<(DeviceId, u64, String)>,
}

impl OpenOrder {
    /// The orders that any device has open, the earliest first.
    pub fn of(snapshot: &RigSnapshot) -> Vec<Self> {
        let mut all: BTreeMap<&OrderId, Self> = BTreeMap::new();
        for report in &snapshot.reports {
            for progress in &report.status.open {
                let order = all.entry(&progress.order).or_insert_with(|| Self::new(progress));
                order.add(&report.status.device, progress);
            }
        }
        let mut all: Vec<_> = all.into_values().collect();
        all.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        all
    }

    fn new(progress: &OrderProgress) -> Self {
        Self {
            id: progress.order.clone(),
            at: progress.at_ns,
            stop: progress.stop_ns,
            named: progress.named,
            devices: 0,
            saved: (u64::MAX, 0),
            bytes: 0,
            lost: 0,
            worst: None,
        }
    }

    fn add(&mut self, device: &DeviceId, progress: &OrderProgress) {
        self.devices += 1;
        self.saved = (self.saved.0.min(progress.saved), self.saved.1.max(progress.saved));
        self.bytes = self.bytes.saturating_add(progress.bytes);
        self.lost = self.lost.saturating_add(progress.lost);
        self.stop = self.stop.into_iter().chain(progress.stop_ns).min();
        self.named = self.named.or(progress.named);
        if progress.lost > self.worst.as_ref().map_or(0, |(_, lost, _)| *lost) {
            let why = progress.why.clone().unwrap_or_else(|| "no reason is known".into());
            self.worst = Some((device.clone(), progress.lost, why));
        }
    }

    /// Whether it goes on until it is stopped.
    pub const fn is_endless(&self) -> bool {
        self.stop.is_none() && self.named.is_none()
    }

    /// Whether some frames of it are lost.
    pub const fn has_losses(&self) -> bool {
        self.lost > 0
    }

    /// The part of it that is done, from 0 to 1; `None`: it has no known end.
    fn done(&self, now: Option<Timestamp<Rig>>) -> Option<f64> {
        match (self.named, self.stop, now) {
            #[expect(clippy::cast_precision_loss, reason = "for a bar of ten cells")]
            (Some(named @ 1..), _, _) => Some((self.saved.0 as f64 / named as f64).clamp(0.0, 1.0)),
            (_, Some(stop), Some(now)) => {
                let length = (stop - self.at).as_secs_f64().max(f64::MIN_POSITIVE);
                Some(((now - self.at).as_secs_f64() / length).clamp(0.0, 1.0))
            }
            _ => None,
        }
    }

    /// In words. `now`: rig time, if it is known.
    pub fn line(&self, now: Option<Timestamp<Rig>>, devices: usize) -> String {
        let when = now.map_or(String::new(), |now| {
            let since = now - self.at;
            if since < Span::ZERO { format!("in {:.1} s", (-since).as_secs_f64()) } else { clock_text(since) }
        });
        let (least, most) = self.saved;
        let frames = if least == most { most.to_string() } else { format!("{least}-{most}") };
        let of = self.named.map_or(String::new(), |named| format!(" of {named}"));
        let mut line = format!("{}  {when}", self.id);
        if let Some(done) = self.done(now) {
            line.push_str(&format!("  {}", bar(done)));
        }
        line.push_str(&format!(
            "  {} of {devices} devices  {frames}{of} frames  {}",
            self.devices,
            size(self.bytes)
        ));
        if let Some((device, lost, why)) = &self.worst {
            line.push_str(&format!("  {} lost, {lost} on {device}: {why}", self.lost));
        }
        line
    }
}

/// Minutes and seconds, with hours if there are any.
fn clock_text(span: Span) -> String {
    let secs = span.to_duration().as_secs();
    match secs / 3_600 {
        0 => format!("{:02}:{:02}", secs / 60, secs % 60),
        hours => format!("{hours}:{:02}:{:02}", secs / 60 % 60, secs % 60),
    }
}

fn bar(done: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "0 to 1 times ten"
    )]
    let cells = ((done * BAR as f64) as usize).min(BAR);
    format!("{}{} {:3.0} %", "█".repeat(cells), "░".repeat(BAR - cells), (done * 100.0).floor())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::testing::status;
    use swsync_client::{Presence, StatusReport};

    fn snapshot(progress: &[(&str, u64, u64)]) -> RigSnapshot {
        let now = Instant::now();
        let reports = progress.iter().map(|(device, saved, lost)| {
            let mut status = status(device);
            (status.open[0].saved, status.open[0].lost) = (*saved, *lost);
            status.open[0].why = (*lost > 0).then(|| "the disk is slow".into());
            StatusReport { status, asked: now, heard: now }
        });
        RigSnapshot::of(Presence::default(), reports.collect())
    }

    #[test]
    fn a_line_sums_up_the_devices_and_names_who_loses_frames() {
        let [order] = &OpenOrder::of(&snapshot(&[("a", 40, 0), ("b", 38, 2), ("c", 39, 1)]))[..] else {
            panic!("one order")
        };
        let now = order.at + Span::from_millis(72_500);
        let expected = "o1  01:12  3 of 4 devices  38-40 frames  12.0 MB  3 lost, 2 on b: the disk is slow";
        assert_eq!(order.line(Some(now), 4), expected);
        assert!(order.is_endless() && order.has_losses());
        assert!(order.line(Some(order.at - Span::from_millis(300)), 4).starts_with("o1  in 0.3 s  "));
    }

    #[test]
    fn an_order_with_an_end_has_a_bar() {
        let mut order = OpenOrder::of(&snapshot(&[("a", 40, 0)])).remove(0);
        order.named = Some(80);
        assert!(order.line(None, 1).contains("█████░░░░░  50 %  1 of 1 devices  40 of 80 frames"));
        (order.named, order.stop) = (None, Some(order.at + Span::from_secs(4_000)));
        let line = order.line(Some(order.at + Span::from_secs(3_900)), 1);
        assert!(line.contains("  1:05:00  █████████░  97 %"), "{line}");
    }
}
