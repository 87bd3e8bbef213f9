//! Answers held against orders, and files against answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::manifest::{FRAMES_JSONL, FrameRecord};
use swsync_core::order::{Answer, Order};
use swsync_rig::control::{DeviceOutcome, Summary};

use super::Given;

/// Most violations that are printed.
const SHOWN: usize = 20;

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    seed: u64,
    devices: usize,
    kills: u32,
    took: Duration,
    orders: u64,
    stopped: u64,
    cancelled: u64,
    named: u64,
    saved: u64,
    /// Answers of devices that heard too late of a stop: they recorded more, and say so.
    late: u64,
    files: u64,
    /// Frames that are not saved, by reason.
    lost: BTreeMap<String, u64>,
    violations: Vec<String>,
}

fn grid() -> FrameGrid {
    FrameGrid::new(30, 1).expect("30/1 is a rate")
}

impl Report {
    pub fn new(seed: u64, devices: usize, kills: u32, took: Duration) -> Self {
        Self { seed, devices, kills, took, ..Self::default() }
    }

    /// Whether all is as it should be.
    pub const fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Checks one order's answers and files.
    pub(super) fn check(&mut self, given: &Given, summary: &Summary, out: &Path) {
        let Given { order, cancelled, stopped } = given;
        self.orders += 1;
        self.cancelled += u64::from(*cancelled);
        self.stopped += u64::from(*stopped);
        if summary.outcomes.len() != self.devices {
            self.complain(format!("{}: {} devices answered", order.id(), summary.outcomes.len()));
        }
        for outcome in &summary.outcomes {
            match outcome {
                DeviceOutcome::Answered(answer) => self.check_answer(order, *cancelled, answer, out),
                DeviceOutcome::NoAnswer { device, why } | DeviceOutcome::Refused { device, why } => {
                    self.complain(format!("{}, {device}: no answer: {why}", order.id()));
                }
            }
        }
    }

    fn check_answer(&mut self, order: &Order, cancelled: bool, answer: &Answer, out: &Path) {
        let whose = format!("{}, {}", order.id(), answer.device);
        self.named += answer.named();
        self.saved += answer.saved();
        for run in &answer.frames {
            if let Some(why) = run.why() {
                // Reasons that name numbers count as one.
                let why: String = why.chars().filter(|c| !c.is_ascii_digit()).collect();
                *self.lost.entry(why).or_default() += run.count - run.saved();
            }
        }
        if let Some(why) = &answer.unnumbered {
            self.complain(format!("{whose}: its frames have no numbers: {why}"));
            return;
        }
        let (account, saved) = match expand(order, answer) {
            Ok(numbers) => numbers,
            Err(why) => return self.complain(format!("{whose}: {why}")),
        };
        let named: Vec<_> = order.named(grid()).iter().into_iter().flatten().collect();
        let had_end = order.stop().is_some() || order.named(grid()).end().is_some();
        if account.len() > named.len() && account.starts_with(&named) {
            self.late += 1;
        } else if account != named && had_end && !cancelled {
            self.complain(format!(
                "{whose}: accounts for {} frames {:?}-{:?}, named are {} {:?}-{:?}",
                account.len(),
                account.first(),
                account.last(),
                named.len(),
                named.first(),
                named.last()
            ));
        }
        self.check_files(order, answer, &saved, out);
    }

    /// The files of one order on one device are those that the answer names, whole.
    fn check_files(&mut self, order: &Order, answer: &Answer, saved: &BTreeSet<FrameNumber>, out: &Path) {
        let whose = format!("{}, {}", order.id(), answer.device);
        let folder = out.join("takes").join(order.id().as_str()).join(answer.device.as_str());
        let pictures = pictures(&folder);
        let text = std::fs::read_to_string(folder.join(FRAMES_JSONL)).unwrap_or_default();
        let mut listed = BTreeSet::new();
        for line in text.lines() {
            let Ok(record) = FrameRecord::from_line(line) else {
                self.complain(format!("{whose}: a line of the manifest cannot be read: {line:?}"));
                continue;
            };
            let path = folder.join(&record.file);
            if !listed.insert(record.info.number) {
                self.complain(format!("{whose}: frame {} is in the manifest twice", record.info.number));
            }
            if let Err(why) = check_picture(&path, record.bytes) {
                self.complain(format!("{whose}: {why}"));
            }
            self.files += 1;
        }
        if listed != *saved {
            let difference: Vec<_> = listed.symmetric_difference(saved).take(5).collect();
            self.complain(format!(
                "{whose}: {} frames in the manifest, {} saved says the answer; {difference:?}",
                listed.len(),
                saved.len()
            ));
        }
        if pictures.len() != listed.len() {
            self.complain(format!("{whose}: {} files, {} in the manifest", pictures.len(), listed.len()));
        }
    }

    /// Nothing half done lies about.
    pub fn check_leftovers(&mut self, out: &Path) {
        for path in files_below(&out.join("takes")) {
            if path.extension().is_some_and(|extension| extension == "part") {
                self.complain(format!("{} was left behind", path.display()));
            }
        }
    }

    fn complain(&mut self, what: String) {
        self.violations.push(what);
    }

    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "seed {}: {} orders ({} stopped, {} cancelled) to {} devices, {} killed and restarted, in {:.0} s",
                self.seed,
                self.orders,
                self.stopped,
                self.cancelled,
                self.devices,
                self.kills,
                self.took.as_secs_f64()
            ),
            format!(
                "{} frames named, {} saved in {} whole files; {} answers went on after a stop that they heard too late",
                self.named, self.saved, self.files, self.late
            ),
        ];
        lines.extend(self.lost.iter().map(|(why, count)| format!("  {count} lost: {why}")));
        lines.extend(self.violations.iter().take(SHOWN).map(|what| format!("  WRONG: {what}")));
        lines.push(match self.violations.len() {
            0 => "every frame accounted for, every file whole".into(),
            count => format!("{count} violations"),
        });
        lines
    }

    pub fn json(&self) -> Value {
        json!({
            "seed": self.seed, "devices": self.devices, "orders": self.orders, "stopped": self.stopped,
            "cancelled": self.cancelled, "kills": self.kills, "seconds": self.took.as_secs_f64(),
            "named": self.named, "saved": self.saved, "files": self.files, "late_stops": self.late,
            "lost": self.lost, "violations": self.violations,
        })
    }
}

/// The numbers that an answer accounts for, and those of them that it says are saved.
fn expand(order: &Order, answer: &Answer) -> Result<(Vec<FrameNumber>, BTreeSet<FrameNumber>), String> {
    let unstopped = order.unstopped().named(grid());
    let (mut account, mut saved) = (Vec::new(), BTreeSet::new());
    for run in &answer.frames {
        let numbers: Vec<_> =
            std::iter::successors(unstopped.next_from(run.first), |number| unstopped.next_from(number + 1))
                .take_while(|number| *number <= run.last)
                .collect();
        if numbers.len() as u64 != run.count || account.last().is_some_and(|last| *last >= run.first) {
            return Err(format!("frames {} to {} are not {} of those named", run.first, run.last, run.count));
        }
        if run.saved() == run.count {
            saved.extend(&numbers);
        }
        account.extend(numbers);
    }
    Ok((account, saved))
}

/// Whether there is a whole JPEG of `bytes` bytes.
fn check_picture(path: &Path, bytes: u64) -> Result<(), String> {
    let shown = path.display();
    let content = std::fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
    if content.len() as u64 != bytes {
        return Err(format!("{shown} has {} bytes, {bytes} in the manifest", content.len()));
    }
    let whole = content.starts_with(&[0xff, 0xd8]) && content.ends_with(&[0xff, 0xd9]);
    if whole { Ok(()) } else { Err(format!("{shown} is no whole JPEG")) }
}

fn pictures(folder: &Path) -> Vec<PathBuf> {
    let mut files = files_below(folder);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jpg"));
    files
}

/// All files in `folder` and below; none where it is not there.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{missed, name, saved};
    use swsync_core::time::Timestamp;

    #[test]
    fn an_answer_that_names_others_is_found() {
        let order = Order::burst(name("o1"), Timestamp::from_nanos(1_000_000_000), 3).unwrap();
        let answer = |frames| Answer { order: name("o1"), device: name("a"), frames, unnumbered: None };
        let good = answer(vec![saved(30), missed(31, "x"), saved(32)]);
        assert_eq!(expand(&order, &good).unwrap(), (vec![30, 31, 32], [30, 32].into()));
        assert!(expand(&order, &answer(vec![saved(31), saved(30)])).is_err());
        assert!(expand(&order, &answer(vec![saved(40)])).is_err());
    }
}
