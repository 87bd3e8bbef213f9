//! What was measured, as text and as JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use swsync_cli::table::{Align, Column, NOTHING, Table, clean};
use swsync_core::grid::FrameNumber;
use swsync_core::name::DeviceId;
use swsync_core::path_offset;
use swsync_core::time::Span;

use super::constants::{Constant, Constants};
use super::reading::{Device, Stills};
use super::stills::{Compared, Pair, Spread};

/// The document of `swsync measure --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MeasureDocument {
    /// The devices.
    pub devices: Vec<MeasuredDevice>,
    /// Every pair of devices that have frames in common.
    pub pairs: Vec<MeasuredPair>,
    /// Readings that contradict the others: the constants are without them.
    pub left_out: Vec<LeftOutReading>,
    /// Where this host's path offset was written to. `None`: nowhere.
    pub written: Option<PathBuf>,
    /// With `--cause camera`: the models of cameras.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<MeasuredModel>>,
}

/// A device whose pictures were read.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MeasuredDevice {
    /// The device.
    pub device: DeviceId,
    /// Its camera. `None`: not known.
    pub camera: Option<String>,
    /// Whether it led the rig.
    pub leads: bool,
    /// Its pictures.
    pub pictures: usize,
    /// Pictures in which the panel was not read, by the reason.
    pub unread: BTreeMap<String, usize>,
    /// `None`: no frame compares it with others.
    pub constant: Option<MeasuredConstant>,
}

/// What is constant in a device's error.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MeasuredConstant {
    /// What the path offset should be.
    pub path_offset_ns: Span,
    /// Its uncertainty, 1 sigma.
    pub uncertainty_ns: f64,
    /// The path offset that was applied.
    pub before_ns: f64,
    /// Standard deviation of a reading.
    pub scatter_ns: f64,
    /// Frames that it rests on.
    pub frames: usize,
    /// Takes that they are of.
    pub takes: usize,
    /// The line for config.toml.
    pub setting: String,
}

/// By how much two devices are apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MeasuredPair {
    /// One device.
    pub one: DeviceId,
    /// The other.
    pub other: DeviceId,
    /// Frames that both have.
    pub frames: usize,
    /// By the panel.
    pub total: SpreadDocument,
    /// What the devices believed of it: their phase errors.
    pub phase: SpreadDocument,
    /// The rest: clocks, stamps, exposure references, and the reading.
    pub rest: SpreadDocument,
    /// The uncertainty of a reading, 1 sigma.
    pub reading_ns: f64,
    /// What the devices said of their clocks' uncertainty. `None`: nothing.
    pub clock_ns: Option<f64>,
}

/// Mean, deviation and largest value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SpreadDocument {
    /// The mean.
    pub mean_ns: f64,
    /// The standard deviation; 0 for a single value.
    pub deviation_ns: f64,
    /// The largest absolute value.
    pub largest_ns: f64,
}

/// A reading that contradicts the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeftOutReading {
    /// The device.
    pub device: DeviceId,
    /// The frame.
    pub number: FrameNumber,
}

/// What cameras of one model have in common.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MeasuredModel {
    /// The model.
    pub model: String,
    /// Devices that have it.
    pub devices: usize,
    /// By how much its stamps are later than its profile says.
    pub more_ns: f64,
    /// The uncertainty of that, 1 sigma.
    pub uncertainty_ns: f64,
    /// The profile that it was added to. `None`: none.
    pub written: Option<PathBuf>,
}

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

    /// For programs.
    pub fn document(&self, written: Option<PathBuf>) -> MeasureDocument {
        let pair = |pair: &Pair| MeasuredPair {
            one: self.name(pair.one).clone(),
            other: self.name(pair.other).clone(),
            frames: pair.count,
            total: pair.total.into(),
            phase: pair.phase.into(),
            rest: pair.rest.into(),
            reading_ns: pair.reading,
            clock_ns: pair.clock,
        };
        let constant = |constant: &Constant| MeasuredConstant {
            path_offset_ns: Span::from_nanos_f64(constant.offset),
            uncertainty_ns: constant.uncertainty,
            before_ns: constant.before,
            scatter_ns: constant.scatter,
            frames: constant.stills,
            takes: constant.takes,
            setting: setting(constant),
        };
        let device = |((name, device), own): ((&DeviceId, &Device), &Option<Constant>)| MeasuredDevice {
            device: name.clone(),
            camera: device.camera.clone(),
            leads: device.led,
            pictures: device.pictures,
            unread: device.unread.iter().map(|(why, count)| (why.clone(), *count)).collect(),
            constant: own.as_ref().map(constant),
        };
        let left_out = |still: &Compared| LeftOutReading {
            device: self.name(still.device).clone(),
            number: still.number,
        };
        MeasureDocument {
            devices: self.stills.devices.iter().zip(&self.constants.devices).map(device).collect(),
            pairs: self.pairs.iter().map(pair).collect(),
            left_out: self.constants.left_out.iter().map(left_out).collect(),
            written,
            models: None,
        }
    }
}

impl From<Spread> for SpreadDocument {
    fn from(spread: Spread) -> Self {
        Self { mean_ns: spread.mean, deviation_ns: spread.deviation, largest_ns: spread.most }
    }
}

/// The line of config.toml.
fn setting(constant: &Constant) -> String {
    // A path offset to a tenth of a microsecond: measurements are worth no more.
    let rounded = Span::from_nanos_f64((constant.offset / 100.0).round() * 100.0);
    format!("path-offset = \"{}\"", path_offset::text(rounded))
}
