//! Nothing is torn: what devices saved is whole, is in their manifests, and is what their answers say.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use swsync_core::name::OrderId;

use super::Finding;
use crate::chaos::device;
use crate::chaos::record::Record;
use crate::chaos::rig::Rig;
use crate::orders::SavedPart;

/// Checks the files of all answers.
pub fn check(rig: &Rig, record: &Record) -> Finding {
    let mut answered: BTreeMap<(usize, &OrderId), u64> = BTreeMap::new();
    for given in record.orders.values() {
        for (device, answer) in &given.answers {
            answered.insert((*device, given.order.id()), answer.what.saved());
        }
    }
    let (mut parts, mut files, mut violations) = (0_u64, 0, Vec::new());
    for ((index, order), saved) in answered {
        let name = device::name(index);
        let folder = rig.setup.out.join(&name).join(order.as_str()).join(&name);
        match check_part(&folder, saved) {
            Ok(count) => {
                parts += 1;
                files += count;
            }
            Err(error) => violations.push(format!("{order} of {name}: {error:#}")),
        }
    }
    Finding {
        what: "nothing is torn",
        figures: format!("{files} files of {parts} answers are whole"),
        json: json!({ "parts": parts, "files": files }),
        violations,
    }
}

/// Checks what a device saved for an order, of which it answered that it has `saved` frames. How many files there are.
fn check_part(folder: &Path, saved: u64) -> anyhow::Result<u64> {
    // A device that was killed may have made the folder and nothing in it.
    let is_empty = std::fs::read_dir(folder).map_or(!folder.exists(), |mut entries| entries.next().is_none());
    if saved == 0 && is_empty {
        return Ok(0);
    }
    let part = SavedPart::read(folder)?;
    let listed = part.records.len() as u64;
    anyhow::ensure!(listed == saved, "{saved} frames in the answer, {listed} in the manifest");
    part.check_files()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_has_to_be_there() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(check_part(&folder.path().join("none"), 0).unwrap(), 0);
        assert!(check_part(&folder.path().join("none"), 1).is_err());
        assert_eq!(check_part(folder.path(), 0).unwrap(), 0);
        assert!(check_part(folder.path(), 1).is_err());
        std::fs::write(folder.path().join("7.jpg"), [0xff, 0xd8, 0xff]).unwrap();
        let error = check_part(folder.path(), 0).unwrap_err();
        assert!(error.to_string().contains("take.json"), "{error:#}");
    }
}
