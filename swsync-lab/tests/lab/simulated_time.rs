//! `swsync lab steady` and `soak`: what they print, and what `--out` gets.

use swsync_cli::testing::Ran;

use crate::swsync_lab;

/// Runs a lab with `--json --out`; its figures, `lab.json`, and the lines of `table`.
fn run(lab: &str, args: &[&str], table: &str) -> (serde_json::Value, serde_json::Value, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("lab").display().to_string();
    let ran = Ran::of(&mut swsync_lab(&[&[lab, "--json", "--out", &out], args].concat()));
    assert_eq!(ran.code, 0, "{ran:#?}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join("lab").join(name)).unwrap();
    let about: serde_json::Value = serde_json::from_str(&read("lab.json")).unwrap();
    assert_eq!((&about["schema"], &about["lab"], &about["seed"]), (&1.into(), &lab.into(), &7.into()));
    assert!(about["command"].as_str().unwrap().starts_with(&format!("swsync lab {lab} --json")), "{about}");
    (ran.json(), about, read(table).lines().map(str::to_owned).collect())
}

#[test]
fn steady_writes_each_still_with_its_parts() {
    let args = ["--devices", "3", "--minutes", "2", "--seeds", "1", "--seed", "7"];
    let (figures, about, table) = run("steady", &args, "stills.csv");
    assert_eq!(about["figures"], figures);
    let columns =
        "rig,device,path_offset,at_s,total_ns,clock_ns,phase_ns,exposure_reference_ns,stamp_ns,bound_ns";
    assert_eq!(table[0], columns);
    // Two clients, 10 + 1 stills, with and without path offset; a frame may be lost.
    let first = figures["first_ten_seconds"]["stills"].as_u64().unwrap();
    assert!((18..=20).contains(&first) && (40..=45).contains(&table.len()), "{figures} {}", table.len());
    assert_eq!(figures["devices"].as_array().unwrap().len(), 2);
}

#[test]
fn soak_writes_clocks_cameras_and_events() {
    let args = ["--devices", "3", "--minutes", "10", "--calm", "--seed", "7"];
    let (figures, about, table) = run("soak", &args, "clock.csv");
    assert_eq!(about["figures"], figures);
    assert_eq!(table[0], "at_s,device,clock_error_ns,asymmetry_ns,uncertainty_ns,disturbed");
    let [day] = &figures["days"].as_array().unwrap()[..] else { panic!("{figures}") };
    // Two clients every 10 s, without the first minute and that of the cameras.
    assert!(day["samples"].as_u64().unwrap() >= 90 && day["events"] == 0, "{day}");
    assert!(day["phase_mean_ns"].as_i64().unwrap() > 0, "{day}");
}
