//! `swsync install-device`, below a folder. That its pipelines run is in tests/device_service.rs.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::rig::{Ran, swsync};

fn install(root: &std::path::Path, args: &[&str]) -> Ran {
    let mut command = swsync(&["install-device", "--no-start", "--root", root.to_str().unwrap()]);
    Ran::of(command.args(args))
}

#[test]
fn a_script_makes_a_device() {
    let root = tempfile::tempdir().unwrap();
    let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
    fs::create_dir_all(root.path().join("etc/swsync")).unwrap();
    fs::write(root.path().join("etc/swsync/config.toml"), "listen = 'tcp/0.0.0.0:7447'\nrig = 'old'\n")
        .unwrap();
    let ran = install(root.path(), &["--yes", "--rig", "stage", "--device-id", "left", "--size", "1280x720"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    assert!(ran.stdout.contains("systemctl enable --now swsync-device@camera"), "{ran:#?}");
    assert_eq!(
        read("etc/swsync/config.toml"),
        "listen = 'tcp/0.0.0.0:7447'\nrig = \"stage\"\ndevice-id = \"left\"\n",
        "what was there stays"
    );
    let config = read("etc/swsync/device.d/camera.conf");
    assert!(
        config.contains("width=1280,height=720,framerate=30/1") && config.contains("jpegenc"),
        "{config}"
    );

    let ran = install(root.path(), &["--yes"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(
        ran.stderr.contains("camera.conf is there already") && ran.stderr.contains("--force"),
        "{ran:#?}"
    );
    let right = ["right", "--yes", "--encoder", "h264", "--camera", "/base/imx708@1a"];
    let ran = install(root.path(), &right);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stderr.contains("--device-id"), "the card's computer has no name yet: {ran:#?}");
    let ran = install(root.path(), &[&right[..], &["--device-id", "cam-right"]].concat());
    assert_eq!(ran.code, 0, "{ran:#?}");
    let config = read("etc/swsync/device.d/right.conf");
    assert!(config.contains("swsyncclock device-id=cam-right\n"), "{config}");
    assert!(
        read("etc/swsync/config.toml").contains("device-id = \"left\""),
        "that of the first camera stays"
    );
    assert!(config.contains("x264enc") && config.contains("camera-name=\"/base/imx708@1a\""), "{config}");
}

#[test]
fn questions_that_nobody_answers_are_an_error() {
    let root = tempfile::tempdir().unwrap();
    let ran = install(root.path(), &["--rig", "stage"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stderr.contains("--yes"), "{ran:#?}");
    assert!(!root.path().join("etc").exists(), "nothing is written");
    for wrong in [["--size", "big"], ["--fps", "0"], ["--camera", "a\"b"]] {
        assert_eq!(install(root.path(), &wrong).code, 2, "{wrong:?}");
    }
}

#[test]
fn a_person_is_asked_and_asked_again() {
    let root = tempfile::tempdir().unwrap();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let terminal = OpenOptions::new().read(true).open(name.to_str().unwrap()).unwrap();
    // Rig and id; a size, once wrong; rate, encoder; and the default folder.
    File::from(master.try_clone().unwrap()).write_all(b"stage\nleft\nbig\n640x480\n25\nh264\n\n").unwrap();
    let mut command = swsync(&["install-device", "--no-start", "--root", root.path().to_str().unwrap()]);
    let output = command.stdin(terminal).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("name of the rig [swsync]: ") && said.contains("`big`: a size is"), "{said}");
    let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
    assert_eq!(read("etc/swsync/config.toml"), "rig = \"stage\"\ndevice-id = \"left\"\n");
    let config = read("etc/swsync/device.d/camera.conf");
    for part in ["width=640,height=480,framerate=25/1", "x264enc", "location=\"/var/lib/swsync/takes\""] {
        assert!(config.contains(part), "{part}: {config}");
    }
}

#[test]
fn the_key_is_where_only_the_service_reads_it() {
    let root = tempfile::tempdir().unwrap();
    let path = |path: &str| root.path().join(path);
    let mode = |file: &str| fs::metadata(path(file)).unwrap().permissions().mode() & 0o777;
    let key = path("key");
    let (key, group) = (key.to_str().unwrap(), fs::metadata(root.path()).unwrap().gid());
    assert_eq!(Ran::of(&mut swsync(&["key", "new", key])).code, 0);
    let ran = install(root.path(), &["--yes", "--key-file", key]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stdout.contains("chgrp swsync"), "the system has no such group: {ran:#?}");
    assert_eq!(mode("etc/swsync/rig.key"), 0o600);

    fs::write(path("etc/group"), format!("root:x:0:\nswsync:x:{group}:\n")).unwrap();
    let ran = install(root.path(), &["--yes", "--force", "--key-file", key]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(!ran.stdout.contains("chgrp"), "{ran:#?}");
    assert_eq!(mode("etc/swsync/rig.key"), 0o640);
    assert_eq!(fs::metadata(path("etc/swsync/rig.key")).unwrap().gid(), group);
    assert_eq!(fs::read(key).unwrap(), fs::read(path("etc/swsync/rig.key")).unwrap());
    assert_eq!(fs::read_to_string(path("etc/swsync/config.toml")).unwrap(), "key-file = \"rig.key\"\n");

    fs::write(key, "no key").unwrap();
    let ran = install(root.path(), &["other", "--device-id", "b", "--yes", "--key-file", key]);
    assert_ne!(ran.code, 0, "{ran:#?}");
    assert!(!path("etc/swsync/device.d/other.conf").exists(), "nothing is written");
}
