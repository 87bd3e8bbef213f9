//! What the devices of one camera model have in common: the bias of its stamps, exposure reference included.
//!
//! The mean over a model's devices, against the mean of all devices. So models are compared with one another; what is common to all
//! cannot be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use swsync_cli::output;
use swsync_core::profile::base_model;
use swsync_files::profiles;

use super::args::MeasureArgs;
use super::constants::Constants;
use super::reading::Stills;
use super::report::{MeasureDocument, MeasuredModel, Report};
use super::stills::{Spread, real};

/// The part of one camera model.
#[derive(Debug, Clone, PartialEq)]
struct Model {
    name: String,
    devices: usize,
    /// By how much its stamps are later than its profile had it, against the mean of all devices, in ns.
    more: f64,
    /// 1 sigma.
    uncertainty: f64,
}

/// Shows the parts of the models, and adds them to their profiles if that is asked.
pub fn run(
    args: &MeasureArgs,
    stills: &Stills,
    constants: &Constants,
    report: &Report<'_>,
) -> anyhow::Result<ExitCode> {
    let models = models(stills, constants)?;
    let mut written: Vec<Option<PathBuf>> = vec![None; models.len()];
    if args.write {
        let source = source(&args.takes);
        for (model, written) in models.iter().zip(&mut written) {
            let path = profiles::path_for(&model.name)?;
            profiles::add_stamp_bias(&path, &model.name, model.more, &source)?;
            *written = Some(path);
        }
    }
    if args.json {
        let model = |(model, written): (&Model, Option<PathBuf>)| MeasuredModel {
            model: model.name.clone(),
            devices: model.devices,
            more_ns: model.more,
            uncertainty_ns: model.uncertainty,
            written,
        };
        let models = models.iter().zip(written).map(model).collect();
        output::json(&MeasureDocument { models: Some(models), ..report.document(None) });
        return Ok(ExitCode::SUCCESS);
    }
    report.lines().iter().for_each(|line| output::line(line));
    for (model, written) in models.iter().zip(written) {
        let Model { name, devices, more, uncertainty } = model;
        let what = match written {
            Some(path) => format!("added to {}; copy it to the devices", path.display()),
            None => "--write adds it to its profile".into(),
        };
        output::line(&format!(
            "{name} ({devices} devices): stamp_bias_ns {:+.0} +- {uncertainty:.0}   ({what})",
            more
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// The parts of all models.
///
/// # Errors
/// A camera's model is not known, or there is one only.
fn models(stills: &Stills, constants: &Constants) -> anyhow::Result<Vec<Model>> {
    let mut all: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for ((name, device), constant) in stills.devices.iter().zip(&constants.devices) {
        let Some(constant) = constant else { continue };
        let model = device.camera.as_deref().map(base_model).filter(|model| !model.is_empty());
        let model = model.with_context(|| format!("take.json of {name} does not say which camera it has"))?;
        all.entry(model).or_default().push((constant.offset - constant.before, constant.uncertainty));
    }
    if all.len() < 2 {
        bail!(
            "all devices have one camera model: what is common to all of them cannot be seen, and does no harm. Differences between them \
             are their paths: --cause path"
        );
    }
    let model = |(name, values): (String, Vec<(f64, f64)>)| {
        let more: Vec<_> = values.iter().map(|(more, _)| *more).collect();
        let spread = Spread::of(&more);
        let stated = values.iter().map(|(_, sigma)| sigma * sigma).sum::<f64>().sqrt() / real(values.len());
        // Devices of one model differ by their paths: that is in the mean too.
        let uncertainty = stated.max(spread.deviation / real(values.len()).sqrt());
        Model { name, devices: values.len(), more: spread.mean, uncertainty }
    };
    Ok(all.into_iter().map(model).collect())
}

/// How the measurement stands among a profile's sources: by the names of its takes, so that it is not added twice.
fn source(takes: &[PathBuf]) -> String {
    let name = |take: &PathBuf| {
        let whole = take.canonicalize().unwrap_or_else(|_| take.clone());
        whole.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    };
    let names: BTreeSet<_> = takes.iter().map(name).collect();
    format!("from swsync measure of {}", names.into_iter().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::constants::Constant;
    use super::super::reading::Device;
    use super::*;
    use swsync_cli::testing::name;

    fn measured(cameras: &[(&str, f64)]) -> anyhow::Result<Vec<Model>> {
        let mut stills = Stills::default();
        for (index, (camera, _)) in cameras.iter().enumerate() {
            let device = Device { camera: Some((*camera).to_owned()), ..Device::default() };
            stills.devices.insert(name(&format!("pi{index}")), device);
        }
        let constant = |(_, offset): &(&str, f64)| {
            let (stills, takes, uncertainty, before, scatter) = (40, 5, 3e3, 1e3, 5e3);
            Some(Constant { stills, takes, offset: offset + before, uncertainty, before, scatter })
        };
        models(&stills, &Constants { devices: cameras.iter().map(constant).collect(), left_out: Vec::new() })
    }

    #[test]
    fn devices_of_a_model_are_averaged() {
        let found =
            measured(&[("imx708_wide", 10e3), ("imx219", -15e3), ("imx708", 20e3), ("imx219", -15e3)]);
        let found = found.unwrap();
        assert_eq!((found[0].name.as_str(), found[0].devices, found[0].more), ("imx219", 2, -15e3));
        assert_eq!((found[1].name.as_str(), found[1].devices, found[1].more), ("imx708", 2, 15e3));
        assert!((found[0].uncertainty - 3e3 / 2.0_f64.sqrt()).abs() < 1.0, "{found:?}");
        assert!(
            (found[1].uncertainty - 5e3).abs() < 1.0,
            "the two differ by more than they should: {found:?}"
        );
    }

    #[test]
    fn one_model_alone_is_refused() {
        let error = measured(&[("imx708", 10e3), ("imx708", -10e3)]).unwrap_err().to_string();
        assert!(error.contains("cannot be seen") && error.contains("--cause path"), "{error}");
        let error = measured(&[("imx708", 10e3), ("", -10e3)]).unwrap_err().to_string();
        assert!(error.contains("pi1"), "{error}");
    }

    #[test]
    fn a_measurement_is_known_by_its_takes() {
        let takes = ["x/panel-2", "panel-1"].map(PathBuf::from);
        assert_eq!(source(&takes), "from swsync measure of panel-1, panel-2");
    }
}
