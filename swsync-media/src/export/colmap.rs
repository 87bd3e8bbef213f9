//! COLMAP: `images/rig1/<device>/<frame>.jpg` and `rig_config.json`, as `rig_configurator` reads them.
//!
//! <https://colmap.github.io/rigs.html>: pictures of one instant have one name in the folders of all cameras; the
//! configuration names each camera's folder and one camera as the reference of the rig.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use swsync_core::grid::FrameNumber;
use swsync_core::name::DeviceId;
use swsync_core::order::Fill;
use swsync_core::time::{Rig, Timestamp};

use super::pictures;
use super::rig_take::{RigTake, Slot};
use super::target::Target;
use swsync_cli::output;

/// The rig's folder below `images`.
const RIG: &str = "rig1";

/// The next commands. The cameras' poses are not known: they come from a first model without a rig, which the second model
/// uses. Without that model rig_configurator makes a rig at which the mapper aborts.
const NEXT: &str = "\
next, in that folder, with COLMAP 3.12 or later (`colmap help` says which; Debian 13 has an older one, without
rig_configurator. pycolmap from PyPI has the same steps as functions):
  colmap feature_extractor --database_path database.db --image_path images --ImageReader.single_camera_per_folder 1
  colmap exhaustive_matcher --database_path database.db
  mkdir -p sparse sparse-rig
  colmap mapper --database_path database.db --image_path images --output_path sparse
  colmap rig_configurator --database_path database.db --rig_config_path rig_config.json --input_path sparse/0
  colmap mapper --database_path database.db --image_path images --output_path sparse-rig
The model is sparse-rig/0. The first mapper is only for the rig: it takes pictures that overlap.";

/// Writes all takes into one workspace. Takes may overlap: a frame that is in several takes is written once.
pub fn export(takes: &[RigTake], fill: Fill, every: u64, target: &mut Target) -> anyhow::Result<()> {
    let mut cameras: BTreeMap<DeviceId, BTreeMap<FrameNumber, Timestamp<Rig>>> = BTreeMap::new();
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
            let known = cameras.entry(camera.take.device.clone()).or_default();
            let slots = unknown_slots(RigTake::slots(camera, &numbers, fill), known, take)?;
            let folder = Path::new("images").join(RIG).join(camera.take.device.as_str());
            let path = |_, number| -> PathBuf { folder.join(format!("{number:08}.{extension}")) };
            pictures::write(camera, &slots, target, path)?;
        }
    }
    // rig_configurator fails at cameras without pictures.
    cameras.retain(|_, frames| !frames.is_empty());
    let cameras: Vec<_> = cameras.into_keys().map(|device| device.to_string()).collect();
    ensure!(!cameras.is_empty(), "there are no pictures in it, or none of a multiple of --every");
    target.write(Path::new("rig_config.json"), config(&cameras).as_bytes())?;
    output::line(NEXT);
    Ok(())
}

/// The `slots` that show something and are not in `known` yet. They are added to it.
fn unknown_slots<'a>(
    slots: Vec<(FrameNumber, Slot<'a>)>,
    known: &mut BTreeMap<FrameNumber, Timestamp<Rig>>,
    take: &RigTake,
) -> anyhow::Result<Vec<(FrameNumber, Slot<'a>)>> {
    let mut unknown = Vec::new();
    for (number, slot) in slots {
        let time = match slot {
            Slot::Missing => continue,
            Slot::Black => take.grid.instant(number),
            Slot::Frame(record) | Slot::Repeated(record) => record.info.rig_time_ns,
        };
        let before = known.insert(number, time);
        ensure!(
            before.is_none_or(|before| before == time),
            "frame {number} of {} is another instant than in another take: rig time began anew between them, or one of \
             them lacks it; export them to folders of their own",
            take.order
        );
        if before.is_none() {
            unknown.push((number, slot));
        }
    }
    Ok(unknown)
}

/// The configuration of a rig of `cameras`, without poses. The first camera is the reference.
fn config(cameras: &[String]) -> String {
    let cameras: Vec<_> = cameras
        .iter()
        .enumerate()
        .map(|(index, device)| {
            // The slash matters: "pi1" is a prefix of "pi10" too.
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
    fn the_first_camera_is_the_reference() {
        let json: serde_json::Value = serde_json::from_str(&config(&["pi1".into(), "pi10".into()])).unwrap();
        let expected = serde_json::json!([{ "cameras": [
            { "image_prefix": "rig1/pi1/", "ref_sensor": true },
            { "image_prefix": "rig1/pi10/" },
        ]}]);
        assert_eq!(json, expected);
    }
}
