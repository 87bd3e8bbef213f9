//! The commands that the documentation shows are commands that there are: their arguments are accepted, and pipelines can be made of
//! their elements and properties. tests/tutorials.rs goes further, and types those of the tutorials.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{built, command, source};

/// Accepts what it would run: `swsync` by asking for help behind the arguments, which are read before it; a pipeline by its
/// elements, of which `unknown` are not installed here. Nothing else of a line runs.
const STAND_INS: &str = r#"
swsync() { command swsync "$@" --help >/dev/null; }
gst-launch-1.0() { python3 -c '
import sys, gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
words = [word for word in sys.argv[1:] if word not in ("-e", "-m", "-q", "-v")]
unknown = sys.stdin.read().split()
if not any(word in unknown and not Gst.ElementFactory.find(word) for word in words):
    Gst.parse_launchv(words)
' "$@" <<<"$unknown"; }
./x() { if [[ $1 == swsync ]]; then "$@"; fi; }
jq() { :; }; head() { :; }; grep() { :; }
"#;

/// Encoders and sources of boards, what draws in a window, and what hears.
const UNKNOWN: &str = "v4l2h264enc nvv4l2h264enc nvvidconv nvarguscamerasrc autovideosink alsasrc";

fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The commands of a page: lines in blocks of code that begin with one of ours, and what they go on with.
fn commands(page: &str) -> Vec<String> {
    let (mut found, mut is_fenced, mut goes_on) = (Vec::<String>::new(), false, false);
    for line in page.lines() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
            goes_on = false;
            continue;
        }
        let text = line.trim_start();
        let text = text.strip_prefix("$ ").unwrap_or(text);
        let is_code = is_fenced || line.starts_with("    ");
        let words: Vec<_> = text.split(' ').skip_while(|word| is_setting(word)).take(2).collect();
        let is_ours = matches!(words[..], ["swsync" | "gst-launch-1.0" | "./x", next] if !next.is_empty());
        if goes_on {
            let command = found.last_mut().unwrap();
            command.push('\n');
            command.push_str(text);
        } else if is_code && is_ours && !is_synopsis(text) {
            found.push(text.to_owned());
        } else {
            continue;
        }
        goes_on = text.ends_with('\\');
    }
    found
}

/// `NAME=value` before a command.
fn is_setting(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
}

/// A line that says which forms there are: `mp4|gif`. Or a row of a table that a command has printed.
fn is_synopsis(line: &str) -> bool {
    let letters: Vec<_> = line.split(" #").next().unwrap_or_default().trim_end().chars().collect();
    letters.windows(2).any(|two| two == [' ', ' '])
        || letters.windows(3).any(|three| three[1] == '|' && three[0] != ' ' && three[2] != ' ')
}

#[test]
fn the_commands_in_the_documentation_are_accepted() {
    let mut all = vec![source("README.md"), source("CONTRIBUTING.md"), source("SECURITY.md")];
    pages(&source("docs"), &mut all);
    let programs = built("swsync").parent().unwrap().to_owned();
    let path = std::env::join_paths(
        std::iter::once(programs).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let path = path.unwrap();
    let (mut count, mut wrong) = (0, Vec::new());
    for page in all {
        for line in commands(&fs::read_to_string(&page).unwrap()) {
            count += 1;
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join(".local/share/bash-completion/completions")).unwrap();
            let mut bash = command("bash");
            bash.arg("-uc").arg(format!("set -o pipefail\n{STAND_INS}\n{line}")).current_dir(folder.path());
            bash.env("PATH", &path).env("HOME", folder.path()).env("unknown", UNKNOWN);
            let output = bash.env("SWSYNC_CONFIG", "/dev/null").output().unwrap();
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                wrong.push(format!("{}: {line}\n    {}", page.display(), said.trim()));
            }
        }
    }
    assert!(count > 150, "only {count} commands were found");
    assert!(wrong.is_empty(), "{} of {count} are not accepted:\n{}", wrong.len(), wrong.join("\n"));
}
