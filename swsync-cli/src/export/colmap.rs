//! COLMAP: `images/rig1/<device>/<frame>.jpg` and `rig_config.json`, as `rig_configurator` reads them.
//!
//! <https://colmap.github.io/rigs.html>: pictures of one instant have one name in the folders of all cameras; the
//! configuration names each camera's folder and one camera as the reference of the rig.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use swsync_core::order::Fill;

use super::footage::{Cell, Footage};
use super::pictures;
use super::target::Target;
use crate::output;

/// The rig's folder below `images`.
const RIG: &str = "rig1";

/// Writes all takes into one workspace: their frame numbers do not meet.
pub fn export(takes: &[Footage], fill: Fill, every: u64, target: &mut Target) -> anyhow::Result<()> {
    let mut cameras: Vec<(String, bool)> = Vec::new();
    let mut names: Option<String> = None;
    for take in takes {
        let numbers: Vec<_> = take.numbers.iter().copied().filter(|number| number % every == 0).collect();
        for camera in &take.cameras {
            let extension = pictures::extension(camera)?;
            let first = names.get_or_insert_with(|| extension.clone());
            ensure!(
                *first == extension,
                "{} saved .{extension} files and others .{first}: COLMAP matches frames by their full names, so \
                 all must be of one kind",
                camera.take.device
            );
            let cells = Footage::cells(camera, &numbers, fill);
            let folder = Path::new("images").join(RIG).join(camera.take.device.as_str());
            let path = |_, number| -> PathBuf { folder.join(format!("{number:08}.{extension}")) };
            pictures::write(camera, &cells, target, path)?;
            let some = cells.iter().any(|(_, cell)| *cell != Cell::Hole);
            let device = camera.take.device.to_string();
            match cameras.iter_mut().find(|(known, _)| *known == device) {
                Some((_, any)) => *any |= some,
                None => cameras.push((device, some)),
            }
        }
    }
    // One without pictures is no camera: rig_configurator stops at those.
    cameras.retain(|(_, any)| *any);
    cameras.sort();
    let cameras: Vec<_> = cameras.into_iter().map(|(device, _)| device).collect();
    ensure!(!cameras.is_empty(), "there are no pictures in it, or none of a multiple of --every");
    target.write(Path::new("rig_config.json"), config(&cameras).as_bytes())?;
    output::line("next, in that folder:");
    output::line(
        "  colmap feature_extractor --database_path database.db --image_path images --ImageReader.single_camera_per_folder 1",
    );
    output::line("  colmap rig_configurator --database_path database.db --rig_config_path rig_config.json");
    Ok(())
}

/// The configuration of a rig of `cameras`, the first being its reference. Where they stand is for COLMAP to find.
fn config(cameras: &[String]) -> String {
    let cameras: Vec<_> = cameras
        .iter()
        .enumerate()
        .map(|(index, device)| {
            // With the slash: "pi1" is a beginning of "pi10" too.
            let mut camera = serde_json::json!({ "image_prefix": format!("{RIG}/{device}/") });
            if index == 0 {
                camera["ref_sensor"] = true.into();
            }
            camera
        })
        .collect();
    format!("{:#}\n", serde_json::json!([{ "cameras": cameras }]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_camera_is_the_reference() {
        let json: serde_json::Value = serde_json::from_str(&config(&["pi1".into(), "pi10".into()])).unwrap();
        let expected = serde_json::json!([{ "cameras": [
            { "image_prefix": "rig1/pi1/", "ref_sensor": true },
            { "image_prefix": "rig1/pi10/" },
        ]}]);
        assert_eq!(json, expected);
    }
}
