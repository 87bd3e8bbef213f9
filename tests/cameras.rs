//! `swsync cameras`, with the virtual cameras that `./x` sets up in its root.

use serde_json::Value;

use crate::process::{Ended, built, command};

fn cameras(arguments: &[&str]) -> Ended {
    let output = command(built("swsync")).arg("cameras").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn the_headroom_of_each_mode_is_that_at_the_given_rate() {
    if !crate::is_set("SWSYNC_VIRTUAL_CAMERA", "libcamera's virtual camera, which ./x sets up in its root") {
        return;
    }
    let ended = cameras(&["--json", "--fps", "59.5"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let json: Value = serde_json::from_str(&ended.out).unwrap();
    swsync_cli::testing::schemas::check("cameras", &json);
    let camera = &json["cameras"][0];
    assert_eq!((&camera["camera_name"], &camera["model"]), (&"Virtual0".into(), &"Virtual camera 0".into()));
    assert!(
        camera["launch"].as_str().unwrap().starts_with("gst-launch-1.0 swsyncsrc camera-name=Virtual0 !")
    );
    let modes = camera["modes"].as_array().unwrap();
    assert_eq!(modes.len(), 2, "{camera}");
    for mode in modes {
        assert_eq!(mode["min_frame_duration_ns"], 16_666_000);
        assert!(mode["warning"].as_str().unwrap().contains("headroom is 0.8 %"), "{mode}");
    }
    let roomy = cameras(&["--fps", "30"]);
    assert!(roomy.out.contains("1280x720") && roomy.out.contains("50.0 %"), "{roomy:#?}");
    assert!(!roomy.out.contains("headroom is"), "{roomy:#?}");
}

#[test]
fn an_invalid_rate_is_refused() {
    let ended = cameras(&["--fps", "fast"]);
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.err.contains("30000/1001"), "{ended:#?}");
}

#[test]
fn a_missing_plugin_is_an_error() {
    let output = command(built("swsync"))
        .arg("cameras")
        .env("GST_PLUGIN_PATH", "/nowhere")
        .env("GST_REGISTRY_UPDATE", "yes")
        .env("GST_REGISTRY", std::env::temp_dir().join(format!("swsync-cameras-{}.bin", std::process::id())))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // If it is installed for the system, GStreamer finds it nevertheless.
    if output.status.code() != Some(0) {
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("GST_PLUGIN_PATH"), "{said}");
    }
}
