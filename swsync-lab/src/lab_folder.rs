//! The folder that `--out` names: `lab.json`, which says what was measured, and tables beside it.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;
use swsync_files::write_whole;

/// Writes `lab.json` and `tables` (file name, CSV) into `folder`, which is made.
///
/// # Errors
/// A file cannot be written.
pub fn write(
    folder: &Path,
    lab: &str,
    seed: u64,
    figures: &Value,
    tables: &[(&str, String)],
) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("swsync lab {}", arguments.join(" "));
    let about =
        serde_json::json!({ "schema": 1, "lab": lab, "seed": seed, "command": command, "figures": figures });
    let about = format!("{about:#}\n");
    for (name, text) in tables.iter().map(|(name, text)| (*name, text)).chain([("lab.json", &about)]) {
        let path = folder.join(name);
        write_whole(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
