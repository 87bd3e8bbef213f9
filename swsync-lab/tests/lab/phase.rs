//! `swsync lab phase`, driven by a judge.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::process::Stdio;

use swsync_cli::testing::Ran;

use crate::swsync_lab;

const HELLO: &str = r#"{"type":"hello","period_us":33333.333333,"line_us":18.904,"step":1,"min_lines":1112,"max_lines":65535,"nominal_lines":1763,"vblank_delay":2}"#;

#[test]
fn a_judge_is_answered_line_by_line() {
    let mut child =
        swsync_lab(&["phase", "--stdio"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{HELLO}").unwrap();
    // A camera that applies a request three frames later. These are the lengths of the next frames.
    let (mut start, mut lengths) = (1_234_567.0_f64, std::collections::VecDeque::from([1763_u32; 3]));
    let mut errors = Vec::new();
    for sequence in 0..40 {
        writeln!(input, r#"{{"type":"frame","seq":{sequence},"ts_us":{start},"now_us":{}}}"#, start + 26e3)
            .unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        let lines = answer["lines"].as_u64().map(|lines| u32::try_from(lines).unwrap());
        lengths.push_back(lines.unwrap_or(lengths[2]));
        let period = 1e6 / 30.0;
        errors.push(start - period * (start / period).round());
        start += f64::from(lengths.pop_front().unwrap()) * 18.904;
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    assert!(answers.next().is_none());
    assert!(errors[0].abs() > 1_000.0 && errors[10..].iter().all(|us| us.abs() < 20.0), "{errors:?}");
}

#[test]
fn a_bad_line_is_named() {
    let mut child = swsync_lab(&["phase", "--stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = format!("{HELLO}\n");
    writeln!(text, "bogus").unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("line 2"));
}

#[test]
fn trials_have_a_table_and_json() {
    let ran = Ran::of(&mut swsync_lab(&["phase", "--sensor", "tight,exposure", "--trials", "3"]));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    for name in ["swsync", "pi sync", "p controller", "libsoftwaresync"] {
        assert!(ran.stdout.lines().any(|line| line.starts_with(name)), "{ran:#?}");
    }
    let json = Ran::of(&mut swsync_lab(&["phase", "--sensor", "reset", "--trials", "2", "--json"])).json();
    assert_eq!(json["scenarios"][0]["methods"][0]["success"], 1.0, "{json}");
    let ran = Ran::of(&mut swsync_lab(&["phase", "--sensor", "imx999"]));
    assert!(ran.code == 2 && ran.stderr.contains("imx219"), "{ran:#?}");
}
