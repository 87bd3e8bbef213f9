//! The manifest for spreadsheets (RFC 4180): a header, and a line per frame with the same values and names as the JSON.
//!
//! Columns keep their place from version to version; new ones are added at the end. An empty cell means that a value is not
//! known. Times are integers in nanoseconds of rig time (since the Unix epoch), except `sensor_time_ns` (since the boot of the
//! device). docs/takes.md describes each column.

use std::fmt::Write as _;

use serde_json::Value;

use super::FrameRecord;
use crate::time::{Rig, Timestamp};

/// Columns: the name, and the JSON pointer (RFC 6901) to the value in a record.
const COLUMNS: [(&str, &str); 31] = [
    ("number", "/number"),
    ("rig_time_ns", "/rig_time_ns"),
    ("utc", "/utc"),
    ("sensor_time_ns", "/sensor_time_ns"),
    ("exposure_start_ns", "/exposure_start_ns"),
    ("exposure_middle_ns", "/exposure_middle_ns"),
    ("exposure_ns", "/exposure_ns"),
    ("analogue_gain", "/analogue_gain"),
    ("phase_error_ns", "/phase_error_ns"),
    ("clock_uncertainty_ns", "/clock_uncertainty_ns"),
    ("lock", "/lock"),
    ("sync", "/sync"),
    ("file", "/file"),
    ("offset", "/offset"),
    ("bytes", "/bytes"),
    ("device", "/device"),
    ("order", "/order"),
    ("row_time_ns", "/row_time_ns"),
    ("frame_duration_ns", "/frame_duration_ns"),
    ("digital_gain", "/digital_gain"),
    ("colour_gain_red", "/colour_gains/0"),
    ("colour_gain_blue", "/colour_gains/1"),
    ("colour_temperature_k", "/colour_temperature_k"),
    ("sensor_temperature_c", "/sensor_temperature_c"),
    ("lens_position_dpt", "/lens_position_dpt"),
    ("focus_fom", "/focus_fom"),
    ("lux", "/lux"),
    ("timescale", "/timescale"),
    ("exposure_reference_error_ns", "/exposure_reference_error_ns"),
    ("stamp_error_ns", "/stamp_error_ns"),
    ("bound_ns", "/bound_ns"),
];

/// The header line, with its line end.
#[must_use]
pub fn header() -> String {
    let mut line = COLUMNS.map(|(name, _)| name).join(",");
    line.push_str("\r\n");
    line
}

/// The line of a frame, with its line end.
#[must_use]
pub fn line(record: &FrameRecord) -> String {
    of_line(&record.to_line()).expect("what was just written can be read").text
}

/// A line of the table, made of a line of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableLine {
    /// The line, with its line end.
    pub text: String,
    /// The frame's rig time.
    pub rig_time: Timestamp<Rig>,
    /// Size of the picture, or of the coded frame.
    pub bytes: u64,
}

/// Converts a line of the manifest. `None`: `record` is not a record.
#[must_use]
pub fn of_line(record: &str) -> Option<TableLine> {
    // From the JSON text, so that numbers have the same digits in both.
    let json: Value = serde_json::from_str(record).ok()?;
    let rig_time = Timestamp::from_nanos(json.get("rig_time_ns")?.as_i64()?);
    let bytes = json.get("bytes").and_then(Value::as_u64).unwrap_or_default();
    let mut line = String::with_capacity(256);
    for (index, (_, pointer)) in COLUMNS.iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        match json.pointer(pointer) {
            None | Some(Value::Null) => (),
            Some(Value::String(text)) => push_text(&mut line, text),
            // A number. Writing to a string cannot fail.
            Some(other) => write!(line, "{other}").unwrap_or_default(),
        }
    }
    line.push_str("\r\n");
    Some(TableLine { text: line, rig_time, bytes })
}

/// Appends `text` as a cell. Quotes it if it has characters that would end the cell.
pub fn push_text(line: &mut String, text: &str) {
    if text.contains([',', '"', '\r', '\n']) {
        line.push('"');
        line.push_str(&text.replace('"', "\"\""));
        line.push('"');
    } else {
        line.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::record;
    use super::*;

    #[test]
    fn a_line_has_as_many_cells_as_the_header() {
        let header = header();
        assert!(header.starts_with("number,rig_time_ns,utc,sensor_time_ns,exposure_start_ns,"));
        let cells = "54000000001,1800000000033333400,2027-01-15T08:00:00.033333400Z,5000000000,,,100000,1.5,67,,\
                     locked,leading,54000000001.jpg,0,7,pi1,o1,,,,,,,,,,,,,,\r\n";
        assert_eq!(line(&record()), cells);
        assert_eq!(header.matches(',').count(), cells.matches(',').count());
        assert!(header.ends_with("lux,timescale,exposure_reference_error_ns,stamp_error_ns,bound_ns\r\n"));
    }

    #[test]
    fn other_text_than_a_record_has_no_line() {
        for text in ["", "{", "{}", "[1]", "{\"rig_time_ns\": \"then\"}"] {
            assert_eq!(of_line(text), None, "{text}");
        }
        let line = of_line(&record().to_line()).unwrap();
        assert_eq!((line.rig_time, line.bytes), (record().info.rig_time_ns, record().bytes));
    }

    #[test]
    fn characters_that_would_end_a_cell_are_quoted() {
        let record = FrameRecord { file: "a,\"b\"\n.jpg".into(), ..record() };
        assert!(line(&record).contains(",leading,\"a,\"\"b\"\"\n.jpg\",0,"));
    }

    #[test]
    fn every_value_of_the_json_has_a_column() {
        let record = FrameRecord::from_line(
            r#"{"order":"o","device":"d","file":"f","offset":0,"bytes":1,"number":3,"rig_time_ns":100000000,
            "phase_error_ns":0,"clock_uncertainty_ns":4,"sync":"leading","lock":"locked","exposure_ns":1000,
            "analogue_gain":1.1,"sensor_time_ns":5,"exposure_start_ns":6,"exposure_middle_ns":7,
            "row_time_ns":18904.1,"frame_duration_ns":33333333,"digital_gain":1.2,"colour_gains":[1.3,2.4],
            "colour_temperature_k":5500,"sensor_temperature_c":41.5,"lens_position_dpt":0.7,"focus_fom":900,
            "lux":120.3,"timescale":18446744073709551615,"exposure_reference_error_ns":20,"stamp_error_ns":30}"#,
        )
        .unwrap();
        let row = line(&record);
        assert!(
            row.ends_with(
                ",d,o,18904.1,33333333,1.2,1.3,2.4,5500,41.5,0.7,900,120.3,18446744073709551615,20,30,66\r\n"
            ),
            "{row}"
        );
        assert!(!row.contains(",,"), "every column has its value: {row}");
        let json: Value = serde_json::from_str(&record.to_line()).unwrap();
        for name in json.as_object().unwrap().keys() {
            assert!(COLUMNS.iter().any(|(_, pointer)| pointer.split('/').nth(1) == Some(name)), "{name}");
        }
    }
}
