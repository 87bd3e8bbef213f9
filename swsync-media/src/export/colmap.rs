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

use super::footage::{Cell, Footage};
use super::pictures;
use super::target::Target;
use swsync_cli::output;

/// The rig's folder below `images`.
const RIG: &str = "rig1";

/// What to type next. Where the cameras stand is not known: it comes out of a first model without a rig, and the second
/// one keeps to it. rig_configurator without that model leaves a rig at which the mapper aborts.
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

/// Writes all takes into one workspace. Takes may overlap: a frame that is in several is written once.
pub fn export(takes: &[Footage], fill: Fill, every: u64, target: &mut Target) -> anyhow::Result<()> {
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
            let cells = unknown_cells(Footage::cells(camera, &numbers, fill), known, take)?;
            let folder = Path::new("images").join(RIG).join(camera.take.device.as_str());
            let path = |_, number| -> PathBuf { folder.join(format!("{number:08}.{extension}")) };
            pictures::write(camera, &cells, target, path)?;
        }
    }
    // One without pictures is no camera: rig_configurator stops at those.
    cameras.retain(|_, frames| !frames.is_empty());
    let cameras: Vec<_> = cameras.into_keys().map(|device| device.to_string()).collect();
    ensure!(!cameras.is_empty(), "there are no pictures in it, or none of a multiple of --every");
    target.write(Path::new("rig_config.json"), config(&cameras).as_bytes())?;
    output::line(NEXT);
    Ok(())
}

/// Those of `cells` that show something and are not in `known` yet, to which they are added.
fn unknown_cells<'a>(
    cells: Vec<(FrameNumber, Cell<'a>)>,
    known: &mut BTreeMap<FrameNumber, Timestamp<Rig>>,
    take: &Footage,
) -> anyhow::Result<Vec<(FrameNumber, Cell<'a>)>> {
    let mut unknown = Vec::new();
    for (number, cell) in cells {
        let time = match cell {
            Cell::Hole => continue,
            Cell::Black => take.grid.instant(number),
            Cell::Frame(record) | Cell::Held(record) => record.info.rig_time_ns,
        };
        let before = known.insert(number, time);
        ensure!(
            before.is_none_or(|before| before == time),
            "frame {number} of {} is another instant than in another take: rig time began anew between them, or one of \
             them lacks it; export them to folders of their own",
            take.order
        );
        if before.is_none() {
            unknown.push((number, cell));
        }
    }
    Ok(unknown)
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
