//! `swsync lab scale`, in a short run.

use serde_json::Value;
use swsync_cli::testing::Ran;

use crate::swsync_lab;

/// A rig of three devices, one that joins, and a leader with twenty clients. What a busy machine has for latencies and processor
/// times is not judged here.
#[test]
fn a_small_rig_is_counted() {
    if std::env::var_os("SWSYNC_NETNS").is_none() {
        eprintln!("SWSYNC_NETNS is not set: without swsync lab scale, which makes network namespaces");
        return;
    }
    let short = ["--idle", "4s", "--settle", "1s", "--orders", "5", "--joins", "1", "--relays", "0"];
    let args = ["scale", "--devices", "3", "--clients", "20", "--json"];
    let ran = Ran::of(&mut swsync_lab(&[&args[..], &short[..]].concat()));
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:#?}"));
    let rig = &report["rigs"][0];
    let figure = |name: &str| rig["figures"][name].as_f64().unwrap_or_else(|| panic!("{name}: {report:#}"));
    for counted in ["control", "time", "join_control", "join_own", "join_time", "order_p99_ms", "cpu_leader"]
    {
        assert!(figure(counted) > 0.0, "{counted}: {report:#}");
    }
    assert!((5.0..200.0).contains(&figure("memory_mb")), "{report:#}");
    assert_eq!(
        (figure("orders_incomplete"), figure("unsynced"), figure("depth")),
        (0.0, 0.0, 1.0),
        "{report:#}"
    );
    // On one clock, with the kernel's stamps.
    assert!(figure("error_p50_us") < 1_000.0, "{report:#}");
    // What was counted is what the kernel has counted.
    let frames = |name: &str| rig[name].as_f64().unwrap();
    let (ours, kernel) = (frames("frames_counted"), frames("frames_of_kernel"));
    assert!(kernel > 20.0 && (ours - kernel).abs() <= kernel * 0.1, "{report:#}");
    let leader = &report["leader"];
    assert_eq!((&leader["clients"], &leader["synced"]), (&20.into(), &20.into()), "{report:#}");
    assert!(leader["requests_per_second"].as_f64() > Some(5.0), "{report:#}");
    // Each verdict is there, and the exit code is that of the worst.
    let verdicts = report["wanted"].as_array().unwrap();
    assert_eq!(verdicts.len(), 6, "{report:#}");
    let misses = verdicts.iter().any(|verdict| verdict["passes"] == false);
    assert_eq!(ran.code, i32::from(misses), "{report:#}");
}
