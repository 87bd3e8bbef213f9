//! `swsync lab table1`, `table2`, `table3` and `fig-phase`, in short runs: what they print and write.

use serde_json::Value;
use swsync_cli::testing::Ran;

use crate::swsync_lab;

/// A lab, arguments of a short run, and its files with their first columns.
type Short = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);

const LABS: [Short; 4] = [
    ("table1", &["--trials", "2"], &[("naive.csv", "trial,wired_error_ns,")]),
    (
        "table2",
        &["--trials", "2", "--settle", "2s"],
        &[("errors.csv", "camera,trial,ready_s,clock_error_ns,")],
    ),
    (
        "table3",
        &["--messages", "400", "--traces", "2"],
        &[("exchanges.csv", "message,time_s,"), ("filters.csv", "messages,time_s,mean_error_ns,")],
    ),
    (
        "fig-phase",
        &["--trials", "2", "--resets", "2"],
        &[("injections.csv", "trial,"), ("resets.csv", "trial,")],
    ),
];

#[test]
fn a_lab_prints_a_table_and_writes_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    for (lab, short, files) in LABS {
        let out = folder.path().join(lab);
        let base = [&[lab, "--seed", "3"], short].concat();
        let table = Ran::of(&mut swsync_lab(&base));
        assert!(table.stdout.contains("paper") && table.stdout.lines().count() > 6, "{table:#?}");
        let json = [&base[..], &["--json", "--out", out.to_str().unwrap()]].concat();
        let printed = Ran::of(&mut swsync_lab(&json));
        let printed: Value = serde_json::from_str(&printed.stdout).unwrap();
        let written = std::fs::read_to_string(out.join("lab.json")).unwrap();
        assert_eq!(printed, serde_json::from_str::<Value>(&written).unwrap());
        assert_eq!(
            (&printed["schema"], &printed["lab"], &printed["seed"]),
            (&1.into(), &lab.into(), &3.into())
        );
        // The command that it names gives the same.
        let command = printed["command"].as_str().unwrap().strip_prefix("swsync lab ").unwrap();
        let again = [&command.split(' ').collect::<Vec<_>>()[..], &["--json"]].concat();
        let again = Ran::of(&mut swsync_lab(&again));
        assert_eq!(printed, serde_json::from_str::<Value>(&again.stdout).unwrap(), "{command}");
        for (file, columns) in files {
            let text = std::fs::read_to_string(out.join(file)).unwrap();
            let mut lines = text.lines();
            let headings = lines.next().unwrap();
            assert!(headings.starts_with(columns), "{headings}");
            let cells = headings.split(',').count();
            assert!(text.lines().count() > 2 && lines.all(|line| line.split(',').count() == cells), "{file}");
        }
    }
}
