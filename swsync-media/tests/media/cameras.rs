//! `swsync cameras` where the plugin cannot be loaded. (The end-to-end tests have cameras.)

use std::path::Path;
use std::process::Command;

use swsync_cli::testing::Ran;

use crate::swsync_media;

/// `swsync cameras` of a GStreamer that looks for plugins in `folder` alone.
fn cameras(folder: &Path) -> Ran {
    let mut command = swsync_media(&["cameras"]);
    for name in
        ["GST_PLUGIN_PATH", "GST_PLUGIN_PATH_1_0", "GST_PLUGIN_SYSTEM_PATH", "GST_PLUGIN_SYSTEM_PATH_1_0"]
    {
        command.env(name, folder);
    }
    Ran::of(command.env("GST_REGISTRY", folder.join("registry.bin")))
}

/// Builds a library that needs nothing but `needed`.
fn link(library: &Path, needed: &[&str]) {
    let folder = library.parent().unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-x", "c", "/dev/null", "-Wl,--no-as-needed", "-L"]).arg(folder);
    let output = cc.arg("-o").arg(library).args(needed).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_library_that_the_plugin_lacks_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("libcamera-gone.so");
    link(&gone, &[]);
    link(&folder.path().join("libgstswsync.so"), &["-lcamera-gone"]);
    std::fs::remove_file(gone).unwrap();
    for _ in 0..2 {
        // The second time the registry has it as a file that cannot be loaded.
        let ran = cameras(folder.path());
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:#?}");
        for part in ["libgstswsync.so", "libcamera-gone.so: cannot open shared object file", "ldd "] {
            assert!(ran.stderr.contains(part), "{part} in {ran:#?}");
        }
    }
}

#[test]
fn a_library_that_has_gone_since_is_named() {
    let Ok(Some(plugin)) = std::env::var("GST_PLUGIN_PATH").map(|path| {
        let mut files = path.split(':').map(|folder| Path::new(folder).join("libgstswsync.so"));
        files.find(|file| file.exists())
    }) else {
        eprintln!("skipped: GST_PLUGIN_PATH names no folder with the plugin; in ./x it does");
        return;
    };
    let ldd = Command::new("ldd").arg(plugin).output().unwrap();
    let needed = String::from_utf8(ldd.stdout).unwrap();
    let Some(library) = needed.split_whitespace().find(|word| word.starts_with("libcamera.so")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut command = swsync_media(&["cameras"]);
    command.env("GST_REGISTRY", folder.path().join("registry.bin"));
    assert_ne!(Ran::of(&mut command).code, 2, "the registry is written");
    std::fs::write(folder.path().join(library), "").unwrap();
    let ran = Ran::of(command.env("LD_LIBRARY_PATH", folder.path()));
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stderr.contains(&format!("{library}: file too short")), "{ran:#?}");
}

#[test]
fn a_plugin_that_is_nowhere_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let ran = cameras(folder.path());
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stderr.contains("GST_PLUGIN_PATH has to name the folder"), "{ran:#?}");
}
