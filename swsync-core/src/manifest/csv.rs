//! The manifest for spreadsheets: RFC 4180, one header and one line per frame, with what is in the JSON
//! and under the same names.
//!
//! Columns keep their place from version to version; new ones are added behind the last. An empty cell is
//! something that is not known. Times are integers in nanoseconds: of rig time (since the Unix epoch), but
//! for `sensor_time_ns` (since the device's boot). docs/takes.md describes each.

use std::fmt::Write as _;

use serde_json::Value;

use super::FrameRecord;

/// Columns: the name, and where in a record's JSON the value is (RFC 6901).
const COLUMNS: [(&str, &str); 27] = [
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
];

/// The first line, with its end.
#[must_use]
pub fn header() -> String {
    let mut line = COLUMNS.map(|(name, _)| name).join(",");
    line.push_str("\r\n");
    line
}

/// A frame's line, with its end.
#[must_use]
pub fn line(record: &FrameRecord) -> String {
    let json = serde_json::to_value(record)
        .expect("a record is a plain struct with string keys, which JSON can hold");
    let mut line = String::with_capacity(256);
    for (index, (_, pointer)) in COLUMNS.iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        match json.pointer(pointer) {
            None | Some(Value::Null) => (),
            Some(Value::String(text)) => push_text(&mut line, text),
            // Numbers: no other kind is under these names. Writing to a string cannot fail.
            Some(other) => write!(line, "{other}").unwrap_or_default(),
        }
    }
    line.push_str("\r\n");
    line
}

/// Appends `text` as a cell: quoted where it holds what would end the cell.
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
    fn a_line_has_the_headers_cells() {
        let header = header();
        assert!(header.starts_with("number,rig_time_ns,utc,sensor_time_ns,exposure_start_ns,"));
        let cells = "54000000001,1800000000033333400,2027-01-15T08:00:00.033333400Z,5000000000,,,100000,1.5,67,,\
                     locked,leading,54000000001.jpg,0,7,pi1,o1,,,,,,,,,,\r\n";
        assert_eq!(line(&record()), cells);
        assert_eq!(header.matches(',').count(), cells.matches(',').count());
        assert!(header.ends_with("lux\r\n"));
    }

    #[test]
    fn what_would_end_a_cell_is_quoted() {
        let record = FrameRecord { file: "a,\"b\"\n.jpg".into(), ..record() };
        assert!(line(&record).contains(",leading,\"a,\"\"b\"\"\n.jpg\",0,"));
    }

    #[test]
    fn nothing_of_the_json_is_missing() {
        let json = serde_json::to_value(record()).unwrap();
        for name in json.as_object().unwrap().keys() {
            assert!(COLUMNS.iter().any(|(_, pointer)| pointer.split('/').nth(1) == Some(name)), "{name}");
        }
    }
}
