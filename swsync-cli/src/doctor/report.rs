//! What was found, for people and as JSON.

use serde::Serialize;
use swsync_core::doctor::{Check, CheckOutcome, Diagnosis, Finding};
use swsync_core::name::{DeviceId, Name};
use swsync_core::status::Status;
use swsync_host::doctor::mend::{Mended, Mender};

use crate::exit;
use crate::orders::RigSnapshot;
use crate::table::clean;

/// Longest line, in characters; words that are longer go beyond.
const WIDTH: usize = 100;
/// Before what belongs to a finding.
const INDENT: usize = 11;

/// A device or host, and what its checks say.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Examined {
    /// It was examined.
    Host(Diagnosis),
    /// The device did not answer, or cannot examine itself.
    Silent {
        /// The device.
        device: DeviceId,
        /// Why.
        why: String,
    },
}

/// What `--fix` did about a finding.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Mend {
    /// The finding's id.
    pub id: String,
    /// Whether it was mended.
    pub done: bool,
    /// What was done; or why not, and the words that do it.
    pub text: String,
}

impl Mend {
    /// Mends `finding`, if that is safe.
    pub fn of(mender: &Mender, finding: &Finding) -> Self {
        let (done, text) = match mender.mend(finding) {
            Mended::Done(text) => (true, text),
            Mended::Not(text) => (false, text),
        };
        Self { id: finding.id.clone(), done, text }
    }
}

/// The result of `swsync doctor`.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Examination {
    /// The rig's name.
    pub rig: Name,
    /// The devices, or this host.
    pub devices: Vec<Examined>,
    /// The network, and what devices have in common.
    pub network: Vec<Check>,
    /// What `--fix` did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mends: Vec<Mend>,
    /// The statuses of the devices, for the report.
    #[serde(skip)]
    pub statuses: Vec<Status>,
}

impl Examination {
    pub(crate) fn new(
        rig: Name,
        devices: Vec<Examined>,
        network: Vec<Check>,
        mends: Vec<Mend>,
        snapshot: Option<RigSnapshot>,
    ) -> Self {
        let reports = snapshot.map(|snapshot| snapshot.reports).unwrap_or_default();
        let statuses = reports.into_iter().map(|report| report.status).collect();
        Self { rig, devices, network, mends, statuses }
    }

    fn checks(&self) -> impl Iterator<Item = &Check> {
        let of_devices = self.devices.iter().flat_map(|device| match device {
            Examined::Host(diagnosis) => &diagnosis.checks[..],
            Examined::Silent { .. } => &[],
        });
        of_devices.chain(&self.network)
    }

    fn silent(&self) -> usize {
        self.devices.iter().filter(|device| matches!(device, Examined::Silent { .. })).count()
    }

    /// 0 if every check was done and found nothing.
    pub fn exit_code(&self) -> u8 {
        if self.silent() > 0 || self.checks().any(|check| !check.findings().is_empty()) {
            exit::INCOMPLETE
        } else if self.checks().any(Check::is_unknown) {
            exit::NOT_PROVEN
        } else {
            0
        }
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let is_alone = self.devices.len() == 1;
        for device in &self.devices {
            match device {
                Examined::Host(diagnosis) => {
                    let name = match &diagnosis.device {
                        Some(device) if device.as_str() == diagnosis.host => device.to_string(),
                        Some(device) => format!("{device} (host {})", diagnosis.host),
                        None => format!("host {}", diagnosis.host),
                    };
                    let heading =
                        format!("{name}, swsync {}: {}", diagnosis.software, counts(&diagnosis.checks));
                    part(&mut lines, &heading, &diagnosis.checks, is_alone);
                }
                Examined::Silent { device, why } => {
                    lines.push(clean(&format!("{device}: not examined: {why}")));
                    lines.push(String::new());
                }
            }
        }
        let heading = format!("rig {} and network, seen from here: {}", self.rig, counts(&self.network));
        part(&mut lines, &heading, &self.network, is_alone);
        for mend in &self.mends {
            let word = if mend.done { "mended" } else { "not mended" };
            lines.extend(wrapped("", &format!("{word} {}: {}", mend.id, mend.text), 4));
        }
        lines.push(self.last_line());
        lines
    }

    fn last_line(&self) -> String {
        let findings: Vec<_> = self.checks().flat_map(Check::findings).collect();
        let unknown = self.checks().filter(|check| check.is_unknown()).count();
        let silent = match self.silent() {
            0 => String::new(),
            silent => format!(", {silent} devices not examined"),
        };
        match (findings.len(), unknown) {
            (0, 0) if silent.is_empty() => "every check was done, and nothing was found".to_owned(),
            (0, unknown) => format!("nothing was found; {unknown} checks could not be done{silent}"),
            (found, unknown) => {
                let mended = findings.iter().filter(|finding| finding.mended_by_doctor).count();
                let fix = match mended {
                    0 => String::new(),
                    mended if self.mends.is_empty() => {
                        let place = if self.devices.len() > 1 { " on the device" } else { "" };
                        format!("; `sudo swsync doctor --fix`{place} mends {mended} of them")
                    }
                    _ => String::new(),
                };
                format!("{found} found, {unknown} not known{silent}{fix}")
            }
        }
    }
}

fn counts(checks: &[Check]) -> String {
    let findings: usize = checks.iter().map(|check| check.findings().len()).sum();
    let unknown = checks.iter().filter(|check| check.is_unknown()).count();
    let mut parts = Vec::new();
    if findings > 0 {
        parts.push(format!("{findings} found"));
    }
    if unknown > 0 {
        parts.push(format!("{unknown} not known"));
    }
    let ok = checks.iter().filter(|check| matches!(check.outcome, CheckOutcome::Ok { .. })).count();
    parts.push(format!("{ok} ok"));
    parts.join(", ")
}

/// A device or the network: what matters most first; what is good only if `all`.
fn part(lines: &mut Vec<String>, heading: &str, checks: &[Check], all: bool) {
    lines.push(clean(heading));
    let mut findings: Vec<&Finding> = checks.iter().flat_map(Check::findings).collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    for finding in findings {
        lines.extend(wrapped(
            &format!("  {:<9}", finding.severity),
            &format!("{}: {}", finding.id, finding.what),
            INDENT,
        ));
        let blank = " ".repeat(INDENT);
        lines.extend(wrapped(&format!("{blank}found: "), &finding.found, INDENT + 7));
        let fix = if finding.mended_by_doctor { " (--fix does it)" } else { "" };
        lines.extend(wrapped(&format!("{blank}mend:  "), &format!("{}{fix}", finding.mend), INDENT + 7));
    }
    for check in checks {
        if let CheckOutcome::Unknown { why, needs } = &check.outcome {
            lines.extend(wrapped("  unknown  ", &format!("{}: {why}", check.id), INDENT));
            lines.extend(wrapped(&format!("{}needs: ", " ".repeat(INDENT)), needs, INDENT + 7));
        }
    }
    for check in checks {
        if let CheckOutcome::Ok { seen } = &check.outcome
            && all
        {
            lines.extend(wrapped("  ok       ", &format!("{}: {seen}", check.id), INDENT));
        }
    }
    lines.push(String::new());
}

/// `text` behind `first`, in lines of [`WIDTH`]; further lines begin with `indent` blanks.
fn wrapped(first: &str, text: &str, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in clean(text).split(' ') {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use swsync_core::doctor::Problem;

    use super::*;
    use crate::testing::name;

    fn examination(checks: Vec<Check>) -> Examination {
        let host = Diagnosis { device: None, host: "pi".into(), software: "0.1.0".into(), checks };
        Examination::new(name("swsync"), vec![Examined::Host(host)], Vec::new(), Vec::new(), None)
    }

    #[test]
    fn the_exit_code_is_0_only_if_all_was_done_and_nothing_found() {
        let ok = || Check::ok("a", "fine");
        let unknown = || Check::unknown("b", "why", "needs");
        let found = || Check::found("c", vec![Problem::DiskSlow.finding("w", "f", "m")], "");
        assert_eq!(examination(vec![ok()]).exit_code(), 0);
        assert_eq!(examination(vec![ok(), unknown()]).exit_code(), 6);
        assert_eq!(examination(vec![ok(), unknown(), found()]).exit_code(), 1);
        let mut silent = examination(vec![ok()]);
        silent.devices.push(Examined::Silent { device: name("b"), why: "gone".into() });
        assert_eq!(silent.exit_code(), 1);
        assert!(silent.lines().concat().contains("b: not examined: gone"));
    }

    #[test]
    fn findings_come_first_with_what_mends_them_and_no_control_characters() {
        let findings = vec![
            Problem::CpuGovernorVaries.finding("note", "f1", "m1"),
            Problem::Undervoltage.finding("bad\u{1b}[2J", "f2", "m2"),
        ];
        let checks = vec![
            Check::ok("x", "fine"),
            Check::unknown("y", "no file", "sudo"),
            Check::found("z", findings, ""),
        ];
        let lines = examination(checks).lines();
        assert_eq!(lines[0], "host pi, swsync 0.1.0: 2 found, 1 not known, 1 ok");
        assert!(lines[1].starts_with("  error    undervoltage: bad"), "{lines:#?}");
        assert_eq!(lines[2..4], ["           found: f2", "           mend:  m2"]);
        assert!(lines[6].ends_with("m1 (--fix does it)"), "{lines:#?}");
        assert_eq!(lines[7..9], ["  unknown  y: no file", "           needs: sudo"]);
        assert!(lines.concat().chars().all(|c| !c.is_control()));
        assert!(lines.last().unwrap().contains("--fix` mends 1"), "{lines:#?}");
    }

    #[test]
    fn long_texts_are_wrapped() {
        let text = "word ".repeat(60);
        let lines = wrapped("  ok       ", &text, INDENT);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:#?}");
        assert!(lines[1].starts_with("           word"));
    }
}
