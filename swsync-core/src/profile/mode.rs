//! A sensor's modes, and finding the one that a camera runs in.

use serde::{Deserialize, Serialize};

use super::error::{ProfileError, within};
use crate::time::Span;

/// A mode of a sensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SensorMode {
    /// Columns.
    pub width: u32,
    /// Rows. All are read out.
    pub height: u32,
    /// Time of one line, in ns, by the sensor's nominal clock; frame lengths are multiples of it.
    pub line_time_ns: f64,
    /// From one row's readout to the next, in ns, if it differs from a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_time_ns: Option<f64>,
    /// Least number of lines of a frame.
    pub min_lines: u32,
    /// Largest number of lines of a frame, before the driver multiplies them for long exposures.
    pub max_lines: u32,
    /// The difference from other modes of the same size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
}

/// Shortest and longest frame that a camera allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Shortest.
    pub min: Span,
    /// Longest.
    pub max: Span,
}

/// Largest relative difference of the shortest frame from a mode's. The drivers' least blanking differs between kernels by up to
/// 5.5 % (imx219 at 640x480: 4 or 32 of 512 lines). The nearest mode wins.
const NEAR: f64 = 0.06;
/// A line time from libcamera that differs by at most this part is the mode's, more precisely.
const SAME_LINE: f64 = 0.002;

impl SensorMode {
    pub(super) fn check(&self) -> Result<(), ProfileError> {
        let Self { width, height, line_time_ns, row_time_ns, min_lines, max_lines, what: _ } = self;
        let field = |name: &str| format!("{name} of the mode {width}x{height}");
        let sides = (1.0, 100_000.0);
        within(&field("width"), f64::from(*width), sides, "1 to 100000")?;
        within(&field("height"), f64::from(*height), sides, "1 to 100000")?;
        let times = (10.0, 1e7);
        within(&field("line_time_ns"), *line_time_ns, times, "10 ns to 10 ms")?;
        within(&field("row_time_ns"), row_time_ns.unwrap_or(times.0), times, "10 ns to 10 ms")?;
        within(&field("min_lines"), f64::from(*min_lines), (1.0, f64::from(*max_lines)), "1 to max_lines")
    }

    fn shortest_ns(&self) -> f64 {
        f64::from(self.min_lines) * self.line_time_ns
    }

    fn longest_ns(&self) -> f64 {
        f64::from(self.max_lines) * self.line_time_ns
    }
}

/// The mode whose shortest frame is nearest to that of `limits`, with the line time that `limits` imply.
pub(super) fn by_limits(modes: &[SensorMode], limits: FrameLimits) -> Option<SensorMode> {
    let (shortest, longest) = (limits.min.as_nanos_f64(), limits.max.as_nanos_f64());
    // libcamera truncates to microseconds: add half of one.
    let apart = |mode: &&SensorMode| ((shortest + 500.0) / mode.shortest_ns() - 1.0).abs();
    let nearest = modes.iter().min_by(|a, b| apart(a).total_cmp(&apart(b)))?;
    if apart(&nearest) > NEAR {
        return None;
    }
    let mut mode = nearest.clone();
    // The longest frame tells the line time to a part in a million, if it consists of the same lines.
    let told = (longest + 500.0) / mode.longest_ns();
    if (told - 1.0).abs() < SAME_LINE {
        mode.line_time_ns *= told;
        mode.row_time_ns = mode.row_time_ns.map(|time| time * told);
    }
    Some(mode)
}
