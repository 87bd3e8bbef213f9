//! Foxglove's messages and their Protobuf schemas.

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use swsync_core::time::{Rig, Timestamp};

/// `foxglove.CompressedImage`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CompressedImage {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<prost_types::Timestamp>,
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
    #[prost(string, tag = "3")]
    pub format: String,
    #[prost(string, tag = "4")]
    pub frame_id: String,
}

/// `foxglove.CompressedVideo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CompressedVideo {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<prost_types::Timestamp>,
    #[prost(string, tag = "2")]
    pub frame_id: String,
    #[prost(bytes = "vec", tag = "3")]
    pub data: Vec<u8>,
    #[prost(string, tag = "4")]
    pub format: String,
}

/// The schema of `foxglove.CompressedImage`.
pub fn image_schema() -> Vec<u8> {
    descriptor("CompressedImage", &[("timestamp", 1), ("data", 2), ("format", 3), ("frame_id", 4)])
}

/// The schema of `foxglove.CompressedVideo`.
pub fn video_schema() -> Vec<u8> {
    descriptor("CompressedVideo", &[("timestamp", 1), ("frame_id", 2), ("data", 3), ("format", 4)])
}

/// An instant as a Protobuf timestamp.
pub fn timestamp(at: Timestamp<Rig>) -> prost_types::Timestamp {
    let nanos = at.as_nanos();
    prost_types::Timestamp {
        seconds: nanos.div_euclid(1_000_000_000),
        nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).expect("less than 10^9"),
    }
}

/// The schema of `foxglove.<name>` with these fields: a FileDescriptorSet, with the messages that it depends on.
fn descriptor(name: &str, fields: &[(&str, i32)]) -> Vec<u8> {
    let field = |name: &str, number: i32, kind: Type, type_name: Option<&str>| FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        type_name: type_name.map(Into::into),
        json_name: Some(name.into()),
        ..Default::default()
    };
    let file = |path: &str, package: &str, needs: &[&str], message: &str, field| FileDescriptorProto {
        name: Some(path.into()),
        package: Some(package.into()),
        dependency: needs.iter().map(ToString::to_string).collect(),
        message_type: vec![DescriptorProto { name: Some(message.into()), field, ..Default::default() }],
        syntax: Some("proto3".into()),
        ..Default::default()
    };
    let time = "google/protobuf/timestamp.proto";
    let time_fields = vec![field("seconds", 1, Type::Int64, None), field("nanos", 2, Type::Int32, None)];
    let fields = fields.iter().map(|(name, number)| match *name {
        "timestamp" => field(name, *number, Type::Message, Some(".google.protobuf.Timestamp")),
        "data" => field(name, *number, Type::Bytes, None),
        _ => field(name, *number, Type::String, None),
    });
    let path = format!("foxglove/{name}.proto");
    let set = FileDescriptorSet {
        file: vec![
            file(time, "google.protobuf", &[], "Timestamp", time_fields),
            file(&path, "foxglove", &[time], name, fields.collect()),
        ],
    };
    set.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_describes_its_message() {
        let set =
            descriptor("CompressedVideo", &[("timestamp", 1), ("frame_id", 2), ("data", 3), ("format", 4)]);
        let set = FileDescriptorSet::decode(&set[..]).unwrap();
        let message = &set.file[1].message_type[0];
        assert_eq!(message.name(), "CompressedVideo");
        let fields: Vec<_> = message.field.iter().map(|field| (field.name(), field.number())).collect();
        assert_eq!(fields, [("timestamp", 1), ("frame_id", 2), ("data", 3), ("format", 4)]);
        assert_eq!(set.file[1].dependency, [set.file[0].name()]);
    }

    #[test]
    fn times_split_into_seconds_and_nanoseconds() {
        let split = |nanos| timestamp(Timestamp::from_nanos(nanos));
        assert_eq!(
            split(1_800_000_000_033_333_400),
            prost_types::Timestamp { seconds: 1_800_000_000, nanos: 33_333_400 }
        );
        assert_eq!(split(-1), prost_types::Timestamp { seconds: -1, nanos: 999_999_999 });
    }
}
