//! `swsync config`, and that all commands use what it shows.

use crate::rig::{Does, Ran, Rig, swsync};
use swsync_cli::testing::schemas::OfSchema as _;

/// Runs `command` with this configuration file.
fn with_file(mut command: std::process::Command, file: &str) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, file).unwrap();
    Ran::of(command.env("SWSYNC_CONFIG", path))
}

#[test]
fn each_setting_is_shown_with_its_origin() {
    let mut command = swsync(&["config", "--rig", "stage"]);
    command.env("SWSYNC_RIG", "other").env("SWSYNC_CONNECT", "tcp/me:s3cret@pi0:7447");
    let ran = with_file(command, "connect = 'tcp/pi9:1'\ndevice-id = 'left'");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    assert_eq!(ran.row("rig")[1..], ["stage", "argument --rig"]);
    assert_eq!(ran.row("connect")[1..], ["tcp/pi0:7447", "environment variable SWSYNC_CONNECT"]);
    assert_eq!(ran.row("listen")[1..], ["-", "default"]);
    assert!(ran.row("device-id")[1..].join(" ").starts_with("left file /"), "{ran:#?}");
    assert!(!ran.stdout.contains("s3cret"), "{ran:#?}");
    let json = Ran::of(&mut swsync(&["config", "--json"])).json_of("config");
    assert_eq!(json["rig"], serde_json::json!({ "value": "swsync", "from": "default" }));
}

#[test]
fn show_is_the_command_itself_and_asks_to_rename_an_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("swsync/rig.toml");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "rig = 'stage'").unwrap();
    let run = |args: &[&str]| {
        Ran::of(swsync(args).env_remove("SWSYNC_CONFIG").env("XDG_CONFIG_HOME", folder.path()))
    };
    let shown = run(&["config", "show"]);
    assert_eq!((shown.code, &shown.stdout), (0, &run(&["config"]).stdout), "{shown:#?}");
    let rename = format!("mv {} {}", file.display(), file.with_file_name("config.toml").display());
    assert!(shown.stderr.contains(&rename), "{shown:#?}");
    let json = run(&["config", "show", "--json"]).json_of("config");
    assert_eq!(json["file"], file.display().to_string());
    assert!(json["notices"][0].as_str().unwrap().ends_with(&rename), "{json}");
    assert_eq!(run(&["config", "--rig", "other", "--json"]).json_of("config")["rig"]["value"], "other");
    let wrong = Ran::of(swsync(&["config", "show", "--json"]).env("SWSYNC_PATH_OFFSET", "40s"));
    let json = wrong.json_of("config");
    assert_eq!((wrong.code, &json["error"]["kind"]), (2, &"settings".into()), "one document: {wrong:#?}");
}

#[test]
fn settings_that_cannot_be_used_are_2_and_name_their_origin() {
    for (variable, value, parts) in [
        ("SWSYNC_RIG", "rig=stage connect=tcp/pi0:1", ["SWSYNC_RIG", "not a name"]),
        ("SWSYNC_KEY_FILE", "/nonexistent/rig.key", ["SWSYNC_KEY_FILE", "/nonexistent/rig.key"]),
        ("SWSYNC_CONFIG", "/nonexistent/config.toml", ["SWSYNC_CONFIG", "/nonexistent/config.toml"]),
    ] {
        for args in [&["config"][..], &["status"], &["shoot"]] {
            let ran = Ran::of(swsync(args).env(variable, value));
            assert_eq!(ran.code, 2, "{ran:#?}");
            assert!(parts.iter().all(|part| ran.stderr.contains(part)), "{ran:#?}");
        }
    }
    let ran = with_file(swsync(&["status"]), "rig = 'a'\nkey = 's3cret'");
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert!(ran.stderr.contains("config.toml, line 2") && !ran.stderr.contains("s3cret"), "{ran:#?}");
}

#[test]
fn the_file_of_a_device_is_enough_for_the_command_on_its_host() {
    let rig = Rig::new().with("a", Does::Save);
    let address = rig.endpoint.split_once('/').unwrap().1;
    let port = address.rsplit_once(':').unwrap().1;
    let file = format!("rig = \"{}\"\nlisten = \"tcp/0.0.0.0:{port}\"\n", rig.name);
    let ran = with_file(swsync(&["status"]), &file);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    assert_eq!(ran.row("a")[1], "synced");
    let file = format!("rig = \"{}\"\nconnect = [\"{}\"]\n", rig.name, rig.endpoint);
    assert_eq!(with_file(swsync(&["status"]), &file).code, 0);
}
