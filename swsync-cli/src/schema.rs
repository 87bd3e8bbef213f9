//! JSON Schema of what commands print and of what is in the files of a take, made from their types.
//!
//! The files are in `schemas/`. A test compares them with what is made here; `SWSYNC_WRITE_SCHEMAS=1` makes it write them instead.

use std::fs;
use std::path::Path;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;
use swsync_core::certificate::TakeCertificate;
use swsync_core::manifest::{FrameRecord, Take};

use crate::camera_settings::report::{GetDocument, NotSetDocument, SetDocument};
use crate::collect::document::CollectDocument;
use crate::config::ConfigDocument;
use crate::doctor::Examination;
use crate::error_report::ErrorDocument;
use crate::forget::ForgetDocument;
use crate::identify::Identified;
use crate::key::KeyDocument;
use crate::list_takes::TakesJson;
use crate::lock::UnlockReport;
use crate::lock::report::LockReport;
use crate::name::NamedDevices;
use crate::orders::NotReadyDocument;
use crate::orders::report::{GivenDocument, OrderDocument};
use crate::panel::PanelDocument;
use crate::preset::{Preset, PresetList, PresetResult};
use crate::remove_takes::RemovedJson;
use crate::status::StatusDocument;
use crate::take_note::NoteJson;

/// Version of all schemas. A document may get more fields without another version: readers ignore those that they do not know.
/// A field that is removed, or whose meaning changes, needs another version.
pub const VERSION: u32 = 1;

/// The environment variable that makes [`compare`] write the files.
pub const WRITE_VARIABLE: &str = "SWSYNC_WRITE_SCHEMAS";

/// A schema, and the name of its file without `.json`.
#[derive(Debug, Clone, Copy)]
pub struct SchemaFile {
    /// The file's name, without `.json`.
    pub name: &'static str,
    generate: fn(SchemaGenerator) -> schemars::Schema,
}

/// Those of the `swsync` command, and of the files of a take. Another document is another line.
pub const OWN: &[SchemaFile] = &[
    of::<TakeCertificate>("certificate"),
    of::<CollectDocument>("collect"),
    of::<ConfigDocument>("config"),
    of::<Examination>("doctor"),
    of::<ErrorDocument>("error"),
    of::<ForgetDocument>("forget"),
    of::<FrameRecord>("frame"),
    of::<GetDocument<'_>>("get"),
    of::<GivenDocument>("given"),
    of::<Identified>("identify"),
    of::<KeyDocument>("key"),
    of::<LockReport>("lock"),
    of::<NamedDevices>("name"),
    of::<NotReadyDocument>("not-ready"),
    of::<NotSetDocument>("not-set"),
    of::<NoteJson>("note"),
    of::<OrderDocument>("order"),
    of::<PanelDocument>("panel"),
    of::<Preset>("preset"),
    of::<PresetList>("preset-list"),
    of::<PresetResult>("preset-result"),
    of::<RemovedJson>("rm"),
    of::<SetDocument<'_>>("set"),
    of::<StatusDocument>("status"),
    of::<Take>("take"),
    of::<TakesJson>("takes"),
    of::<UnlockReport>("unlock"),
];

/// The schema of `T`, in the file `name`.
#[must_use]
pub const fn of<T: JsonSchema>(name: &'static str) -> SchemaFile {
    SchemaFile { name, generate: |generator| generator.into_root_schema_for::<T>() }
}

impl SchemaFile {
    /// The schema.
    #[must_use]
    pub fn schema(&self) -> Value {
        let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
        let mut schema = (self.generate)(generator);
        schema.insert("$id".into(), format!("urn:swsync:schema:{}:{VERSION}", self.name).into());
        let mut schema = schema.into();
        describe(&mut schema);
        schema
    }
}

/// Turns the descriptions, which are the types' documentation, into what a reader of JSON understands: without Rust's `None`, links to
/// items, and line breaks within a paragraph.
pub fn describe(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "description" => {
                        let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
                        let plain = paragraphs.collect::<Vec<_>>().join("\n\n");
                        *text = without_links(&plain).replace("`None`", "Null or absent");
                    }
                    value => describe(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(describe),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `text` with ``[`name`](path)`` and ``[`name`]`` as `` `name` ``.
fn without_links(text: &str) -> String {
    let Some((before, rest)) = text.split_once("[`") else { return text.to_owned() };
    let Some((name, after)) = rest.split_once("`]") else { return text.to_owned() };
    let after = match after.strip_prefix('(').and_then(|after| after.split_once(')')) {
        Some((_, after)) => after,
        None => after,
    };
    format!("{before}`{name}`{}", without_links(after))
}

/// Compares the files of `schemas` in `folder` with what their types are now, or writes them if [`WRITE_VARIABLE`] is set.
///
/// # Panics
/// A file differs, or cannot be written.
pub fn compare(folder: &Path, schemas: &[SchemaFile]) {
    let is_write = std::env::var_os(WRITE_VARIABLE).is_some();
    let mut differ = Vec::new();
    for file in schemas {
        let path = folder.join(file.name).with_extension("json");
        let text = format!("{:#}\n", file.schema());
        if is_write {
            fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        } else if fs::read_to_string(&path).unwrap_or_default() != text {
            differ.push(path.display().to_string());
        }
    }
    assert!(
        differ.is_empty(),
        "not what the types are now: {}; {WRITE_VARIABLE}=1 ./x test writes them: then look at what changed (git diff schemas)",
        differ.join(", ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_for_readers_of_json() {
        let mut schema = serde_json::json!({ "items": [{ "description": "The\nbound ([`x::y`](crate::y), [`z`]).\n\n`None`: any." }] });
        describe(&mut schema);
        let expected = "The bound (`x::y`, `z`).\n\nNull or absent: any.";
        assert_eq!(schema["items"][0]["description"], expected);
    }
}
