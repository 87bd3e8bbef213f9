//! Checks what commands print against the files of `schemas/`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Ran;

/// The folder `schemas/` of the checkout.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas")
}

/// What a command printed, checked by the schema of its document.
pub trait OfSchema {
    /// The document on standard output, which is valid by `schemas/NAME.json`.
    fn json_of(&self, name: &str) -> Value;
}

impl OfSchema for Ran {
    fn json_of(&self, name: &str) -> Value {
        let document = self.json();
        check(name, &document);
        document
    }
}

/// Panics unless `document` is valid by the schema `name`.
pub fn check(name: &str, document: &Value) {
    let path = folder().join(name).with_extension("json");
    let schema = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(document)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "not valid by {}: {errors:#?} in {document:#}", path.display());
}

/// Panics unless the schema of `file` has an id and a description, and refuses an empty document.
pub fn check_schema(file: &crate::schema::SchemaFile) {
    let schema = file.schema();
    assert_eq!(schema["$id"], format!("urn:swsync:schema:{}:1", file.name));
    assert!(schema["title"].is_string() && schema["description"].is_string(), "{}", file.name);
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(!validator.is_valid(&serde_json::json!({})), "{} takes anything", file.name);
}
