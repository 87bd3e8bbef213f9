//! `swsync calibrate` without a camera.

use std::fs;
use std::process::{Command, Output};

const PIXEL_3: &str = r#"{"periodNs": 33320000, "goalPhaseNs": 7000000, "alignThresholdNs": 100000,
    "overheadNs": 200000, "minExposureNs": 33370000}"#;

fn calibrate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_swsync-media")).arg("calibrate").args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_phaseconfig_is_imported() {
    let folder = tempfile::tempdir().unwrap();
    let (config, profile) = (folder.path().join("pixel3.json"), folder.path().join("profile.json"));
    fs::write(&config, PIXEL_3).unwrap();
    let (config, profile) = (config.to_str().unwrap(), profile.to_str().unwrap());
    let arguments = ["--import", config, "--model", "pixel3", "--output", profile];
    let dry = calibrate(&[&arguments[..], &["--dry-run"]].concat());
    assert!(dry.status.success() && !fs::exists(profile).unwrap(), "{}", stderr(&dry));
    let json = calibrate(&[&arguments[..], &["--json"]].concat());
    assert!(json.status.success(), "{}", stderr(&json));
    let said: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    swsync_cli::testing::schemas::check("calibrate", &said);
    assert_eq!((&said["model"], &said["response"]["slope"]), (&"pixel3".into(), &2.0.into()));
    let written: serde_json::Value = serde_json::from_str(&fs::read_to_string(profile).unwrap()).unwrap();
    assert_eq!(written["responses"][0]["overhead_ns"], 200_000.0);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing half");
}

#[test]
fn a_wrong_import_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("zero.json"), PIXEL_3.replace("33320000", "0")).unwrap();
    fs::write(path("other.json"), r#"{"model": "imx219"}"#).unwrap();
    fs::write(path("good.json"), PIXEL_3).unwrap();
    let zero = calibrate(&["--import", &path("zero.json"), "--model", "x", "--output", &path("out.json")]);
    assert!(!zero.status.success() && stderr(&zero).contains("period_ns is 0"), "{}", stderr(&zero));
    let other = calibrate(&["--import", &path("good.json"), "--model", "x", "--output", &path("other.json")]);
    assert!(stderr(&other).contains("the profile of imx219, not of x"), "{}", stderr(&other));
    let nameless =
        calibrate(&["--import", &path("good.json"), "--model", "///", "--output", &path("out.json")]);
    assert!(stderr(&nameless).contains("expected a name like imx219"), "{}", stderr(&nameless));
    assert!(!fs::exists(path("out.json")).unwrap());
}
