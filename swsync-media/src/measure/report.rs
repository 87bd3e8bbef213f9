//! What was measured, as text and as JSON.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use swsync_cli::table::{Align, Column, NOTHING, Table, clean};
use swsync_core::name::DeviceId;
use swsync_core::path_offset;
use swsync_core::time::Span;

use super::constants::{Constant, Constants};
use super::reading::{Device, Stills};
use super::stills::Pair;

/// What was measured.
pub struct Report<'a> {
    pub stills: &'a Stills,
    pub pairs: Vec<Pair>,
    pub constants: &'a Constants,
}

/// How many pictures of each device were read, and why others were not.
pub fn pictures(stills: &Stills) -> Vec<String> {
    let lines = stills.devices.iter().map(|(name, device)| {
        let unread: usize = device.unread.values().sum();
        let mut line = format!(
            "{name}: the panel was read in {} of {} pictures",
            device.pictures - unread,
            device.pictures
        );
        for (why, count) in &device.unread {
            line += &format!("; {count} not: {why}");
        }
        clean(&line)
    });
    lines.collect()
}

/// What to add to the error that nothing can be compared.
pub fn why_unread(stills: &Stills) -> String {
    let lines = pictures(stills);
    if lines.is_empty() { "there are no pictures".into() } else { lines.join("\n") }
}

fn column<const RIGHT: bool>(heading: &'static str, width: usize) -> Column {
    Column { heading, width, align: if RIGHT { Align::Right } else { Align::Left } }
}

fn us(nanos: f64) -> String {
    format!("{:.1}", nanos / 1e3)
}

fn signed(nanos: f64) -> String {
    format!("{:+.1}", nanos / 1e3)
}

impl Report<'_> {
    fn name(&self, index: usize) -> &DeviceId {
        self.stills.devices.keys().nth(index).expect("an index of a device")
    }

    fn width(&self) -> usize {
        self.stills.devices.keys().map(|name| name.as_str().len()).max().unwrap_or(0).max(6)
    }

    /// As text, without what to set.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![String::new()];
        lines.extend(self.pair_lines());
        lines.push(String::new());
        lines.extend(self.device_lines());
        if !self.constants.left_out.is_empty() {
            lines.push(format!(
                "{} readings contradict the others and are left out of the constants",
                self.constants.left_out.len()
            ));
        }
        lines.push(String::new());
        lines.push(
            "A constant is the asymmetry of the device's path and the bias of its camera's stamps together: pictures cannot tell them \
             apart. docs/measure.md says what can."
                .into(),
        );
        lines
    }

    fn pair_lines(&self) -> Vec<String> {
        let width = self.width();
        let table = Table::new([
            column::<false>("one", width),
            column::<false>("other", width),
            column::<true>("frames", 6),
            column::<true>("total us", 9),
            column::<true>("largest", 8),
            column::<true>("phase us", 9),
            column::<true>("constant us", 11),
            column::<true>("scatter us", 10),
            column::<true>("(reading)", 9),
            column::<true>("clock us", 8),
        ]);
        let row = |pair: &Pair| {
            table.row(&[
                self.name(pair.one).to_string(),
                self.name(pair.other).to_string(),
                pair.count.to_string(),
                signed(pair.total.mean),
                us(pair.total.most),
                signed(pair.phase.mean),
                signed(pair.rest.mean),
                us(pair.rest.deviation),
                format!("({})", us(pair.reading)),
                pair.clock.map_or(NOTHING.into(), us),
            ])
        };
        [table.headings()].into_iter().chain(self.pairs.iter().map(row)).collect()
    }

    fn device_lines(&self) -> Vec<String> {
        let table = Table::new([
            // With the mark of the leader.
            column::<false>("device", self.width() + 8),
            column::<false>("camera", 8),
            column::<true>("frames", 6),
            column::<true>("takes", 5),
            column::<true>("scatter us", 10),
            column::<true>("path offset us", 14),
            column::<true>("+-", 6),
            column::<true>("before", 8),
        ]);
        let row = |((name, device), constant): ((&DeviceId, &Device), &Option<Constant>)| {
            let leads = if device.led { " (leads)" } else { "" };
            let cell = |of: fn(&Constant) -> String| constant.as_ref().map_or(NOTHING.into(), of);
            table.row(&[
                format!("{name}{leads}"),
                device.camera.clone().unwrap_or_else(|| NOTHING.into()),
                cell(|constant| constant.stills.to_string()),
                cell(|constant| constant.takes.to_string()),
                cell(|constant| us(constant.scatter)),
                cell(|constant| signed(constant.offset)),
                cell(|constant| us(constant.uncertainty)),
                cell(|constant| signed(constant.before)),
            ])
        };
        let rows = self.stills.devices.iter().zip(&self.constants.devices).map(row);
        [table.headings()].into_iter().chain(rows).collect()
    }

    /// The lines that set the path offsets. `written`: what was written where.
    pub fn settings_lines(&self, written: Option<&(DeviceId, PathBuf)>) -> Vec<String> {
        let mut lines = Vec::new();
        let known = self.stills.devices.keys().zip(&self.constants.devices);
        for (name, constant) in known.filter_map(|(name, constant)| Some((name, constant.as_ref()?))) {
            let line = setting(constant);
            lines.push(match written {
                Some((here, path)) if here == name => {
                    format!("{name}: {line}   (written to {})", path.display())
                }
                _ if constant.is_within_uncertainty() => {
                    format!("{name}: {line}   (within its uncertainty of what is set: not worth a change)")
                }
                _ => format!("{name}: {line}   (into config.toml there, then restart its pipeline)"),
            });
        }
        lines
    }

    /// As JSON.
    pub fn json(&self, written: Option<&Path>) -> Value {
        let spread = |spread: &super::stills::Spread| json!({ "mean_ns": spread.mean, "deviation_ns": spread.deviation, "largest_ns": spread.most });
        let pairs: Vec<_> = self
            .pairs
            .iter()
            .map(|pair| {
                json!({
                    "one": self.name(pair.one), "other": self.name(pair.other), "frames": pair.count,
                    "total": spread(&pair.total), "phase": spread(&pair.phase), "rest": spread(&pair.rest),
                    "reading_ns": pair.reading, "clock_ns": pair.clock,
                })
            })
            .collect();
        let devices: Vec<_> = self
            .stills
            .devices
            .iter()
            .zip(&self.constants.devices)
            .map(|((name, device), constant)| {
                let constant = constant.map(|constant| {
                    json!({
                        "path_offset_ns": Span::from_nanos_f64(constant.offset), "uncertainty_ns": constant.uncertainty,
                        "before_ns": constant.before, "scatter_ns": constant.scatter,
                        "frames": constant.stills, "takes": constant.takes, "setting": setting(&constant),
                    })
                });
                json!({
                    "device": name, "camera": device.camera, "leads": device.led, "pictures": device.pictures,
                    "unread": device.unread, "constant": constant,
                })
            })
            .collect();
        let left_out: Vec<_> = self
            .constants
            .left_out
            .iter()
            .map(|still| json!({ "device": self.name(still.device), "number": still.number }))
            .collect();
        json!({ "devices": devices, "pairs": pairs, "left_out": left_out, "written": written })
    }
}

/// The line of config.toml.
fn setting(constant: &Constant) -> String {
    // A path offset to a tenth of a microsecond: measurements are worth no more.
    let rounded = Span::from_nanos_f64((constant.offset / 100.0).round() * 100.0);
    format!("path-offset = \"{}\"", path_offset::text(rounded))
}
