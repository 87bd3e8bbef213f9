//! The folder that `--out` names: `lab.json`, which says what was measured, and tables beside it.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;
use swsync_files::write_whole;

/// Version of `lab.json`.
const SCHEMA: u32 = 1;

/// The command that this process was started by.
pub fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("swsync lab {}", arguments.join(" "))
}

/// What `lab.json` says: which laboratory, and the `command` that gives the same `figures`.
pub fn about(lab: &str, seed: u64, command: &str, figures: &Value) -> Value {
    serde_json::json!({ "schema": SCHEMA, "lab": lab, "seed": seed, "command": command, "figures": figures })
}

/// Writes `tables` (file name, CSV) into `folder`, which is made, and then `about` as `lab.json`: a folder with it is complete.
///
/// # Errors
/// A file cannot be written.
pub fn write<'a>(
    folder: &Path,
    about: &Value,
    tables: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        write_whole(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    };
    for (name, text) in tables {
        write(name, text)?;
    }
    write("lab.json", &format!("{about:#}\n"))
}
