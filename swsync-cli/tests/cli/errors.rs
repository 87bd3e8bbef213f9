//! The usual errors: each says what failed and what to do, to a person on standard error and to a program on standard output.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use swsync_core::frame::SyncState;

use crate::rig::{Does, Ran, Rig, swsync};
use swsync_cli::testing::schemas::OfSchema as _;

/// Runs `command`, which has `--json`, and checks its error: exit code, kind, a part of the message, and a part of the remedy.
fn expect(mut command: Command, code: i32, kind: &str, message: &str, remedy: &str) -> Ran {
    let ran = Ran::of(&mut command);
    let error = ran.json_of("error")["error"].clone();
    assert_eq!((ran.code, &error["code"], &error["kind"]), (code, &code.into(), &kind.into()), "{ran:#?}");
    let causes = error["cause"].as_array().unwrap().iter().filter_map(|cause| cause.as_str());
    let text = [error["message"].as_str().unwrap()].into_iter().chain(causes).collect::<Vec<_>>().join(": ");
    assert!(text.contains(message), "{message:?} in {text:?}");
    let said = error["remedy"].as_str().unwrap_or_else(|| panic!("no remedy in {ran:#?}"));
    assert!(said.contains(remedy), "{remedy:?} in {said:?}");
    if kind != "usage" {
        assert_eq!(ran.stderr.matches("swsync: ").count(), 1, "{ran:#?}");
        assert!(ran.stderr.contains(said), "{said:?} in {:?}", ran.stderr);
    }
    ran
}

fn with(mut command: Command, variable: &str, value: impl AsRef<std::ffi::OsStr>) -> Command {
    command.env(variable, value);
    command
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn arguments() {
    for args in
        [&["shoot", "--jsn", "--json"][..], &["--json"], &["stop", "a/b", "--json"], &["forget", "--json"]]
    {
        let ran = expect(swsync(args), 2, "usage", "", "--help");
        assert!(ran.stderr.starts_with("error: "), "{ran:#?}");
    }
    let ran = Ran::of(&mut swsync(&["--version", "--json"]));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
}

#[test]
fn settings() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // What fails before it prints settings, so that the error is the document.
    let status = || swsync(&["status", "--json"]);
    expect(with(status(), "SWSYNC_RIG", "a b"), 2, "settings", "not a name", "correct or unset SWSYNC_RIG");
    let missing = with(status(), "SWSYNC_CONFIG", "/nonexistent/config.toml");
    expect(missing, 2, "settings", "/nonexistent/config.toml cannot be read", "SWSYNC_CONFIG");
    for (file, message) in
        [("rig = 'a'\nkey = 's3cret'", "line 2: `key`"), ("rigg = 'a'", "`rigg` is no setting")]
    {
        let file = write(folder, "config.toml", file);
        let ran = expect(with(status(), "SWSYNC_CONFIG", &file), 2, "settings", message, "correct it in");
        assert!(!format!("{ran:?}").contains("s3cret"), "{ran:#?}");
    }
    for name in ["both/swsync/config.toml", "both/swsync/rig.toml"] {
        write(folder, name, "rig = 'a'");
    }
    let mut two = with(status(), "XDG_CONFIG_HOME", folder.join("both"));
    two.env_remove("SWSYNC_CONFIG");
    expect(two, 2, "settings", "are both there", "move what");
    expect(swsync(&["status", "--json", "--connect", "pi0"]), 2, "settings", "\"pi0\"", "tcp/HOST:PORT");
    let nothing = swsync(&["status", "--json", "--connect", "tcp/127.0.0.1:9"]);
    expect(nothing, 3, "no-rig", "nothing answers at tcp/127.0.0.1:9", "`listen` at that port");
}

#[test]
fn keys() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let check = |path: &str| swsync(&["key", "check", path, "--json"]);
    expect(check("/nonexistent/rig.key"), 2, "settings", "cannot be read", "`key-file`");
    let text = write(folder, "text", "hello");
    expect(check(&text), 2, "settings", "line 1", "swsync key new FILE");
    let path = folder.join("rig.key").display().to_string();
    let new = Ran::of(&mut swsync(&["key", "new", &path, "--json"]));
    let made = new.json_of("key");
    assert_eq!((&made["new"], new.code), (&true.into(), 0), "{new:#?}");
    let checked = Ran::of(&mut check(&path)).json_of("key");
    assert_eq!((&checked["new"], &checked["fingerprint"]), (&false.into(), &made["fingerprint"]));
    expect(swsync(&["key", "new", &path, "--json"]), 2, "settings", "is there already", "another file");
    let nowhere = swsync(&["key", "new", "/nonexistent/rig.key", "--json"]);
    expect(nowhere, 2, "settings", "cannot be written", "a folder that exists");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    expect(check(&path), 2, "settings", "open to other users", &format!("chmod 600 {path}"));
    let given = swsync(&["status", "--json", "--key-file", &path]);
    expect(given, 2, "settings", "argument --key-file", "chmod 600");
}

#[test]
fn takes_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let certify = |path: &str| swsync(&["certify", path, "--json"]);
    expect(certify("/nonexistent/o1"), 1, "failed", "/nonexistent/o1", "check the path");
    let empty = folder.join("o1");
    fs::create_dir(&empty).unwrap();
    expect(certify(empty.to_str().unwrap()), 1, "failed", "has no device's part", "OUT/ORDER");
    write(folder, "o1/left/take.json", "{");
    expect(certify(empty.to_str().unwrap()), 1, "failed", "take.json", "collect this take again");
    let file = write(folder, "file", "");
    let into = swsync(&["collect", &file, "--json"]);
    expect(into, 1, "failed", "cannot make", "name another folder");
}

#[test]
fn programs_and_ports() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = swsync(&["panel", "--serve", "--listen", &address, "--json"]);
    expect(serve, 1, "failed", &format!("cannot listen at {address}"), "another port");
    let screen = Ran::of(&mut swsync(&["panel", "--hz", "60", "--json"]));
    assert_eq!((screen.code, &screen.json_of("panel")["proves"]), (6, &false.into()), "{screen:#?}");
}

#[test]
fn orders_and_devices() {
    let rig = Rig::new().with_clock("a", Does::Save, SyncState::Synced);
    let out = tempfile::tempdir().unwrap();
    let out = out.path().to_str().unwrap();
    expect(rig.command(&["stop", "--json"]), 5, "no-order", "no such order is open", "swsync status");
    expect(rig.command(&["cancel", "x", "--json"]), 5, "no-order", "no order x is open", "swsync status");
    let device = rig.command(&["collect", out, "--device", "b", "--json"]);
    expect(device, 1, "failed", "no device b", "name some of a");
    let order = rig.command(&["collect", out, "o1", "--json"]);
    expect(order, 1, "failed", "order o1", "leave the names out");
    let forgotten = rig.run(&["forget", "gone", "--json"]);
    assert_eq!(forgotten.json_of("forget")["forgotten"], serde_json::json!(["gone"]), "{forgotten:#?}");

    let keyed = Rig::keyed().with("a", Does::Save);
    let mut stranger = keyed.command(&["status", "--json"]);
    stranger.env_remove("SWSYNC_KEY_FILE");
    expect(stranger, 3, "no-rig", "answers within", "key");
}

#[test]
fn a_device_that_is_not_ready_is_4_and_a_document() {
    let rig = Rig::new().with_clock("lost", Does::Save, SyncState::Holdover);
    let ran = rig.run(&["shoot", "--arm=100ms", "--json"]);
    let document = ran.json_of("not-ready");
    assert_eq!((ran.code, &document["devices"][0]["device"]), (4, &"lost".into()), "{ran:#?}");
}
