//! `swsync lab clock`, on small traces made here.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::Stdio;

use swsync_cli::testing::Ran;

use crate::swsync_lab;

const FILTERS: [&str; 9] =
    ["track", "min", "mean", "min-held", "gstnet", "ntp8", "kalman", "regression", "median"];
const HEADER: &str = "t0_ns,t1_ns,t2_ns,t3_ns";

/// A folder of this test's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("swsync-lab-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Exchange `k` of a link whose delays vary, 10 ms apart, with an offset of 5 ms and 20 ppm.
fn row(k: i64) -> (String, String) {
    let (up, down) = (500_000 + (k * 7_919) % 900_000, 500_000 + (k * 104_729) % 700_000);
    let t0 = 1_000_000_000 + k * 10_000_000;
    let leader = |local: i64| local + 5_000_000 + local / 50_000;
    let (t1, t2) = (leader(t0 + up), leader(t0 + up + 30_000));
    let t3 = t0 + up + 30_000 + down;
    (format!("{t0},{t1},{t2},{t3}"), format!("{t3},{}", leader(t3) - t3))
}

fn trace(rows: i64) -> (String, String) {
    let (mut trace, mut truth) = (format!("{HEADER}\n"), "t3_ns,true_offset_ns\n".to_owned());
    for (row, true_row) in (0..rows).map(row) {
        writeln!(trace, "{row}").unwrap();
        writeln!(truth, "{true_row}").unwrap();
    }
    (trace, truth)
}

/// The answers to `trace`, which stands in a file.
fn answers(folder: &Folder, trace: &str, filter: &str) -> String {
    let file = folder.file("trace.csv", trace);
    let ran = Ran::of(&mut swsync_lab(&["clock", "--trace", &file, "--filter", filter]));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    ran.stdout
}

#[test]
fn a_prefix_of_the_trace_gives_a_prefix_of_the_answers() {
    let folder = Folder::new("prefix");
    let (whole, _) = trace(700);
    let cut = whole.lines().take(401).fold(String::new(), |text, line| text + line + "\n");
    for filter in FILTERS {
        let (whole, cut) = (answers(&folder, &whole, filter), answers(&folder, &cut, filter));
        assert_eq!((whole.lines().count(), cut.lines().count()), (701, 401));
        assert!(whole.starts_with(&cut), "{filter}");
    }
}

#[test]
fn every_line_is_answered_before_the_next_is_sent() {
    let mut child =
        swsync_lab(&["clock", "--trace", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut input = child.stdin.take().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "t3_ns,offset_ns,skew_ppb,uncertainty_ns");
    writeln!(input, "{HEADER}").unwrap();
    for (row, truth) in (0..50).map(row) {
        writeln!(input, "{row}").unwrap();
        let answer = lines.next().unwrap().unwrap();
        assert_eq!(answer.split(',').next(), truth.split(',').next(), "{answer}");
        assert_eq!(answer.split(',').filter(|cell| cell.parse::<i64>().is_ok()).count(), 4, "{answer}");
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    assert!(lines.next().is_none());
}

#[test]
fn impossible_exchanges_are_answered_too() {
    let folder = Folder::new("odd");
    let rows: Vec<String> = (0..20).map(|k| row(k).0).collect();
    let backwards = "1100000000,1105000000,1105030000,1000000000";
    let extreme = "-9223372036854775808,9223372036854775807,-9223372036854775808,9223372036854775807";
    let mut odd = vec![HEADER, backwards];
    odd.extend(rows[..10].iter().map(String::as_str));
    odd.extend([rows[3].as_str(), &rows[9], backwards, &rows[15], &rows[12], extreme]);
    let text = odd.join("\n");
    for filter in FILTERS {
        let answers = answers(&folder, &text, filter);
        let answers: Vec<&str> = answers.lines().collect();
        assert_eq!(answers.len(), odd.len(), "{filter}");
        assert_eq!(answers[1], "1000000000,,,", "nothing is known, and nothing invented");
        for (answer, row) in answers.iter().zip(&odd).skip(2) {
            assert_eq!(answer.split(',').next(), row.split(',').next_back());
            // GstNetClientClock has no estimate before its fourth observation.
            let nothing = filter == "gstnet" && answer.ends_with(",,,");
            assert!(
                nothing || answer.split(',').all(|cell| cell.parse::<i64>().is_ok()),
                "{filter}: {answer}"
            );
        }
    }
}

#[test]
fn a_bad_row_is_named_and_leaves_no_file() {
    let folder = Folder::new("bad");
    let (mut text, _) = trace(5);
    text.push_str("1,2,x,4\n");
    let file = folder.file("trace.csv", &text);
    let out = folder.path("out.csv");
    let ran = Ran::of(&mut swsync_lab(&["clock", "--trace", &file, "--out", &out]));
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stderr.contains("trace.csv, line 7, column 3 (t2_ns): \"x\""), "{ran:#?}");
    assert!(ran.stderr.contains("remove it"), "{ran:#?}");
    assert_eq!(folder.names(), ["trace.csv"]);

    let ran = Ran::of(&mut swsync_lab(&["clock", "--trace", &folder.path("none.csv")]));
    assert!(ran.code == 1 && ran.stderr.contains("none.csv"), "{ran:#?}");
}

#[test]
fn an_out_file_appears_whole_and_the_table_beside_it() {
    let folder = Folder::new("table");
    let (text, truth) = trace(600);
    let (file, truth) = (folder.file("trace.csv", &text), folder.file("truth.csv", &truth));
    let out = folder.path("out.csv");
    let base = ["clock", "--trace", &file, "--truth", &truth];
    let ran = Ran::of(&mut swsync_lab(&[&base[..], &["--out", &out, "--asymmetry", "-1.5"]].concat()));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    assert!(ran.stdout.contains("600 exchanges, the first 300 not counted"), "{ran:#?}");
    assert!(ran.stdout.contains("-1.5 us"), "{ran:#?}");
    assert_eq!(ran.row("track").len(), 8, "{ran:#?}");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), answers(&folder, &text, "track"));
    assert_eq!(folder.names(), ["out.csv", "trace.csv", "truth.csv"]);

    let ran = Ran::of(&mut swsync_lab(&[&base[..], &["--filter", "track,min,mean"]].concat()));
    assert_eq!((ran.row("min").len(), ran.row("mean").len()), (8, 8), "{ran:#?}");
    let json = Ran::of(&mut swsync_lab(&[&base[..], &["--json"]].concat())).json();
    assert_eq!((&json["exchanges"], &json["filters"][0]["count"]), (&600.into(), &300.into()), "{json}");
    let ran = Ran::of(&mut swsync_lab(&[&base[..], &["--filter", "track,min", "--out", &out]].concat()));
    assert!(ran.code == 1 && ran.stderr.contains("one filter"), "{ran:#?}");
    let ran = Ran::of(&mut swsync_lab(&[&base[..], &["--after", "600"]].concat()));
    assert!(ran.code == 1 && ran.stderr.contains("--after"), "{ran:#?}");
}

#[test]
fn ctrl_c_leaves_no_file() {
    let folder = Folder::new("interrupted");
    let out = folder.path("out.csv");
    let mut child = swsync_lab(&["clock", "--trace", "-", "--out", &out])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // The handler is installed after the unfinished file was made, and before anything is read.
    let errors = BufReader::new(child.stderr.take().unwrap());
    writeln!(input, "{HEADER}").unwrap();
    for k in 0..3000 {
        writeln!(input, "{}", row(k).0).unwrap(); // more than a pipe holds
    }
    assert_eq!(folder.names(), [".out.csv.part"]);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(folder.names(), [""; 0]);
    assert_eq!(errors.lines().count(), 0);
}

#[test]
fn each_scenario_has_a_table() {
    let folder = Folder::new("simulated");
    let traces = folder.path("traces");
    let args = ["clock", "--scenario", "pixel3-wifi-10hz,ethernet-sw", "--seeds", "1", "--seed", "7"];
    let ran = Ran::of(&mut swsync_lab(&[&args[..], &["--write-trace", &traces]].concat()));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 100), "{ran:#?}");
    assert_eq!(ran.stdout.matches("1 x 120 s").count(), 2, "{ran:#?}");
    for filter in FILTERS {
        assert_eq!(ran.stdout.lines().filter(|line| line.starts_with(&format!("{filter} "))).count(), 2);
    }

    // The written trace is the one that was scored.
    let file = |ending: &str| folder.path(&format!("traces/ethernet-sw-7.{ending}"));
    let (trace, truth) = (file("csv"), file("truth.csv"));
    let filters = FILTERS.join(",");
    let of = ["clock", "--json", "--filter", &filters];
    let simulated = [&of[..], &["--scenario", "ethernet-sw", "--seeds", "1", "--seed", "7"]].concat();
    let replayed = [&of[..], &["--trace", &trace, "--truth", &truth, "--asymmetry", "0"]].concat();
    let simulated = Ran::of(&mut swsync_lab(&simulated)).json();
    let replayed = Ran::of(&mut swsync_lab(&replayed)).json();
    assert_eq!(simulated["scenarios"][0]["filters"], replayed["filters"]);

    let ran = Ran::of(&mut swsync_lab(&["clock", "--scenario", "wlan"]));
    assert!(ran.code == 2 && ran.stderr.contains("pi-wifi-busy"), "{ran:#?}");
    let ran = Ran::of(&mut swsync_lab(&["clock", "--seeds", "0"]));
    assert!(ran.code == 2 && ran.stderr.contains("from 1 on"), "{ran:#?}");
}

#[test]
fn live_clocks_have_rows_when_interrupted() {
    let mut child = swsync_lab(&["clock", "--live", "--seconds", "600", "--settle", "0", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(errors.next().unwrap().unwrap().contains("four clocks follow a leader for 600 s"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:#?}");
    let clocks: Vec<_> =
        ran.json()["clocks"].as_array().unwrap().iter().map(|clock| clock["clock"].clone()).collect();
    assert_eq!((&clocks[0], &clocks[1]), (&"swsync".into(), &"GstNetClientClock".into()));
    assert!(clocks[2..].iter().all(|clock| clock.as_str().unwrap().starts_with("chrony")), "{clocks:?}");
}
