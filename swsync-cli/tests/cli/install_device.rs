//! `swsync install-device`, below a folder. That its pipelines run is in tests/device_service.rs.

use crate::rig::{Ran, swsync};

fn install(root: &std::path::Path, args: &[&str]) -> Ran {
    let mut command = swsync(&["install-device", "--no-start", "--root", root.to_str().unwrap()]);
    Ran::of(command.args(args))
}

#[test]
fn a_script_makes_a_device() {
    let root = tempfile::tempdir().unwrap();
    let read = |path: &str| std::fs::read_to_string(root.path().join(path)).unwrap();
    std::fs::create_dir_all(root.path().join("etc/swsync")).unwrap();
    std::fs::write(root.path().join("etc/swsync/config.toml"), "listen = 'tcp/0.0.0.0:7447'\nrig = 'old'\n")
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
    let ran = install(root.path(), &["right", "--yes", "--encoder", "h264", "--camera", "/base/imx708@1a"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let config = read("etc/swsync/device.d/right.conf");
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
