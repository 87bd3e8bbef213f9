//! One line of the manifest.

use serde::{Deserialize, Serialize, Serializer};

use super::utc;
use crate::certificate;
use crate::frame::FrameInfo;
use crate::name::{DeviceId, OrderId};
use crate::time::Span;

/// A saved frame, and where it is.
///
/// The JSON also has `utc`, rig time as ISO 8601 with nanoseconds, and `bound_ns`, the frame's error bound. Neither is read back:
/// both follow from the rest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct FrameRecord {
    /// The order that asked for the frame.
    pub order: OrderId,
    /// The device that took it.
    pub device: DeviceId,
    /// The file, relative to the manifest's folder.
    pub file: String,
    /// Index of the frame in the file, in the order in which frames are shown and including the lead-in. 0 for a picture.
    #[serde(default)]
    pub offset: u64,
    /// Bytes of the picture, or of the frame as it came from the encoder.
    pub bytes: u64,
    /// The frame.
    #[serde(flatten)]
    pub info: FrameInfo,
}

/// A line of `frames.jsonl`: a saved frame, and where it is. [`FrameRecord`] as it is written.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "FrameRecord"))]
struct Line<'a> {
    /// The order that asked for the frame.
    order: &'a OrderId,
    /// The device that took it.
    device: &'a DeviceId,
    /// The file, relative to the manifest's folder.
    file: &'a str,
    /// Index of the frame in the file, including the lead-in. 0 for a picture.
    offset: u64,
    /// Bytes of the picture, or of the frame as it came from the encoder.
    bytes: u64,
    /// Its rig time as ISO 8601.
    utc: String,
    #[serde(flatten)]
    info: &'a FrameInfo,
    /// How far the frame may be from the instant of its number. Not there: that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_ns: Option<Span>,
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for FrameRecord {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FrameRecord".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Line::json_schema(generator)
    }
}

impl Serialize for FrameRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { order, device, file, offset, bytes, info } = self;
        let (offset, bytes) = (*offset, *bytes);
        let (utc, bound_ns) = (utc(info.rig_time_ns), certificate::bound(info));
        Line { order, device, file, offset, bytes, utc, info, bound_ns }.serialize(serializer)
    }
}

impl FrameRecord {
    /// The record as one line of JSON, with its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self)
            .expect("a record is a plain struct with string keys, which JSON can hold");
        line.push('\n');
        line
    }

    /// Reads a line of the manifest, with or without its newline. Unknown fields are ignored.
    ///
    /// # Errors
    /// What is wrong with the line, and where.
    pub fn from_line(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::record;
    use super::*;

    #[test]
    fn a_record_is_one_line_and_reads_back() {
        let record = FrameRecord { file: "a\nb.jpg".into(), offset: 3, ..record() };
        let line = record.to_line();
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.ends_with('\n'));
        assert_eq!(FrameRecord::from_line(&line).unwrap(), record);
    }

    #[test]
    fn utc_is_written_but_not_needed_to_read_a_line() {
        let mut json: serde_json::Value = serde_json::from_str(&record().to_line()).unwrap();
        assert_eq!(json["utc"], "2027-01-15T08:00:00.033333400Z");
        let fields = json.as_object_mut().unwrap();
        fields.remove("utc");
        fields.remove("offset");
        fields.insert("of_a_later_version".into(), 1.into());
        assert_eq!(FrameRecord::from_line(&json.to_string()).unwrap(), record());
    }

    #[test]
    fn a_torn_line_is_refused() {
        let line = record().to_line();
        assert!(FrameRecord::from_line(&line[..line.len() - 3]).is_err());
    }
}
