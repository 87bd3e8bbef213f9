//! JSON Schema of what the commands of this crate print: see [`swsync_cli::schema`].

use swsync_cli::schema::{SchemaFile, of};

use crate::calibrate::CalibrationDocument;
use crate::cameras::CamerasDocument;
use crate::export::{BullettimeDocument, ExportDocument, N3dvDocument};
use crate::measure::MeasureDocument;
use crate::report::ReportDocument;

/// Those of this crate's commands. Another document is another line.
pub const OWN: &[SchemaFile] = &[
    of::<BullettimeDocument>("bullettime"),
    of::<CalibrationDocument<'_>>("calibrate"),
    of::<CamerasDocument<'_>>("cameras"),
    of::<ExportDocument>("export"),
    of::<MeasureDocument>("measure"),
    of::<N3dvDocument>("n3dv"),
    of::<ReportDocument>("report"),
];
