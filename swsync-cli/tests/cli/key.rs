//! `swsync key`, and the rig's key of the other commands.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::rig::{Does, Rig, swsync};
use swsync_cli::testing::Ran;
use swsync_cli::testing::schemas::OfSchema as _;

#[test]
fn a_new_key_is_made_once_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| Ran::of(swsync(args).current_dir(folder.path()));
    let made = run(&["key", "new"]);
    assert_eq!(made.code, 0, "{made:#?}");
    let path = folder.path().join("rig.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    let secret = text.split_whitespace().last().unwrap();
    assert_eq!(secret.len(), 64, "256 bit");
    let checked = run(&["key", "check", "rig.key"]);
    let fingerprint = checked.stdout.split_whitespace().last().unwrap();
    assert!(checked.code == 0 && made.stdout.contains(fingerprint), "{checked:#?}");

    let again = run(&["key", "new", "rig.key"]);
    assert!(again.code == 2 && again.stderr.contains("never overwritten"), "{again:#?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let loose = run(&["key", "check", "rig.key"]);
    assert!(loose.code == 2 && loose.stderr.contains("chmod 600"), "{loose:#?}");
    let status = run(&["status", "--key-file", "rig.key"]);
    assert!(status.code == 2 && status.stderr.contains("chmod 600"), "{status:#?}");
    for ran in [made, checked, again, loose, status] {
        assert!(!(ran.stdout.clone() + &ran.stderr).contains(&secret[..16]), "{ran:#?}");
    }
}

#[test]
fn a_rig_with_a_key_answers_those_who_have_it() {
    let rig = Rig::keyed().with("a", Does::Save);
    let status = rig.run(&["status"]);
    assert!(status.code == 0 && !status.stdout.contains("open:"), "{status:#?}");
    assert_eq!(rig.run(&["status", "--json"]).json_of("status")["open"], false);
    assert_eq!(rig.run(&["shoot"]).code, 0);
    let stranger = Ran::of(rig.command(&["shoot"]).env_remove("SWSYNC_KEY_FILE"));
    assert!(stranger.code == 3 && stranger.stderr.contains("does this rig have a key?"), "{stranger:#?}");
    assert_eq!(rig.device(0).orders().len(), 1);
}

#[test]
fn an_open_rig_is_called_open() {
    let rig = Rig::new().with("a", Does::Save);
    let status = rig.run(&["status"]);
    assert!(status.stdout.contains("\nopen: no key"), "{status:#?}");
    assert_eq!(rig.run(&["status", "--json"]).json_of("status")["open"], true);
}
