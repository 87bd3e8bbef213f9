//! The list of cameras for applications.
//!
//! With libcamera's virtual cameras. Without them each test says so and passes.

#![cfg(feature = "libcamera")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use common::{Pipeline, init, plugin, tool};
use gst::prelude::*;

/// The cameras that `swsyncsrc` can open.
fn devices() -> Vec<gst::Device> {
    init();
    let provider = gst::DeviceProviderFactory::find("swsyncdeviceprovider").and_then(|factory| factory.get());
    provider.expect("it is registered").devices().into_iter().collect()
}

fn name(device: &gst::Device) -> Option<String> {
    device.properties()?.get("camera-name").ok()
}

fn virtual0() -> Option<gst::Device> {
    let found = devices().into_iter().find(|device| name(device).as_deref() == Some("Virtual0"));
    if found.is_none() {
        eprintln!("skipped: libcamera has no Virtual0");
    }
    found
}

#[test]
fn a_device_describes_its_camera_and_creates_its_source() {
    let Some(device) = virtual0() else { return };
    assert_eq!(device.device_class(), "Source/Video");
    assert_eq!(device.display_name(), "Virtual camera 0 (Virtual0)");
    let caps = device.caps().unwrap();
    let wanted: gst::Caps = "video/x-raw,format=NV12,width=640,height=480,framerate=30/1".parse().unwrap();
    assert!(wanted.is_subset(&caps), "{caps}");
    let properties = device.properties().unwrap();
    assert_eq!(properties.get::<&str>("model"), Ok("Virtual camera 0"));
    assert_eq!(properties.get::<&str>("location"), Ok("front"));

    let src = device.create_element(Some("camera")).unwrap();
    assert_eq!((src.name().as_str(), src.factory().unwrap().name().as_str()), ("camera", "swsyncsrc"));
    assert_eq!(src.property::<String>("camera-name"), "Virtual0");
    let other = gst::ElementFactory::make("swsyncsrc").build().unwrap();
    device.reconfigure_element(&other).unwrap();
    assert_eq!(other.property::<String>("camera-name"), "Virtual0");
    let fake = gst::ElementFactory::make("fakesrc").build().unwrap();
    assert!(device.reconfigure_element(&fake).is_err());
}

#[test]
fn modes_are_listed_and_those_of_a_camera_in_use_are_an_error() {
    let Some(device) = virtual0() else { return };
    let modes = device.emit_by_name::<gst::Structure>("list-modes", &[]);
    let listed = modes.get::<gst::Array>("modes").unwrap();
    let listed: Vec<_> = listed.iter().map(|mode| mode.get::<gst::Structure>().unwrap()).collect();
    let sizes: Vec<(i32, i32)> =
        listed.iter().map(|mode| (mode.get("width").unwrap(), mode.get("height").unwrap())).collect();
    assert_eq!(sizes, [(640, 480), (1280, 720)], "{modes}");
    for mode in &listed {
        assert_eq!(mode.get::<i64>("min-frame-duration"), Ok(16_666_000), "60 fps by virtual.yaml");
    }
    assert!(!modes.has_field("error") && !modes.has_field("from-profile"), "{modes}");

    let pipeline = Pipeline::launch("swsyncsrc camera-name=Virtual0 ! fakesink");
    pipeline.reach(gst::State::Playing);
    let modes = device.emit_by_name::<gst::Structure>("list-modes", &[]);
    assert!(modes.get::<&str>("error").unwrap().contains("in use"), "{modes}");
}

#[test]
fn device_monitors_do_not_start_libcamera_through_swsync() {
    init();
    let Some(output) = tool("gst-device-monitor-1.0", &["Video/Source"], &[]) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!said.contains("swsyncsrc"), "{said}");
}

#[test]
fn a_monitor_lists_cameras_if_the_rank_is_raised() {
    let Some(_) = virtual0() else { return };
    let provider = gst::DeviceProviderFactory::find("swsyncdeviceprovider").unwrap();
    provider.set_rank(gst::Rank::MARGINAL);
    let monitor = gst::DeviceMonitor::new();
    monitor.add_filter(Some("Video/Source"), None).expect("there is a provider");
    provider.set_rank(gst::Rank::NONE);
    monitor.start().unwrap();
    let listed = monitor.devices().iter().any(|device| name(device).as_deref() == Some("Virtual1"));
    monitor.stop();
    assert!(listed);
}

#[test]
fn a_camera_in_use_names_its_user_and_is_free_once_that_is_killed() {
    let Some(_) = virtual0() else { return };
    let first = Command::new("gst-launch-1.0")
        .arg(format!("--gst-plugin-load={}", plugin().display()))
        .args(["swsyncsrc", "camera-name=Virtual1", "!", "fakesink"])
        .stdout(Stdio::piped())
        .spawn();
    let mut first = match first {
        Ok(first) => first,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: no gst-launch-1.0 here");
            return;
        }
        Err(error) => panic!("gst-launch-1.0: {error}"),
    };
    let mut said = BufReader::new(first.stdout.take().unwrap()).lines().map_while(Result::ok);
    let opened = said.any(|line| line.contains("PLAYING") || line.contains("live"));
    let second = Pipeline::launch("swsyncsrc camera-name=Virtual1 ! fakesink");
    let refused = second.try_reach(gst::State::Playing);
    let listed = devices().iter().any(|device| name(device).as_deref() == Some("Virtual1"));
    let id = first.id();
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(opened, "it had the camera");
    let refused = refused.unwrap_err();
    let holder = format!("in use by gst-launch-1.0 (process {id})");
    // GST_RESOURCE_ERROR_BUSY
    for part in [holder.as_str(), "there are: Virtual0", "gst-resource-error-quark, code: 4"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert!(listed, "a camera in use is still listed");
    second.reach(gst::State::Null);
    second.reach(gst::State::Playing);
}
