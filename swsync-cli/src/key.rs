//! `swsync key`: makes a rig's key, and checks those of devices.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;
use swsync_client::key_file;

use crate::output;

/// Where a new key goes if no file is named.
const DEFAULT_FILE: &str = "rig.key";

/// Make a key for the rig, or check one.
///
/// With a rig's key on all devices and on the operator's computer, nobody else can take part: not order, stop, see, collect or
/// delete anything, nor serve the time. Without one the rig is open to everybody on its network.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct KeyArgs {
    #[command(subcommand)]
    action: Action,
}

const AFTER_HELP: &str = "\
Examples:
  swsync key new rig.key
  scp -p rig.key pi0:                  # and to every other device; -p keeps it private
  export SWSYNC_KEY_FILE=$PWD/rig.key  # for this command, and for pipelines (or key-file=...)
  ssh pi0 swsync key check rig.key     # the same fingerprint everywhere

Exit codes:
  0  done
  2  wrong arguments, or a file that is no key, is there already, or is open to other users";

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// Make a file with a new key. Never overwrites one.
    New {
        /// The file.
        #[arg(default_value = DEFAULT_FILE)]
        file: PathBuf,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Check a file, and show the fingerprint of its key: equal on two devices if they have one key. The key is not shown.
    Check {
        /// The file.
        #[arg(env = "SWSYNC_KEY_FILE", default_value = DEFAULT_FILE)]
        file: PathBuf,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// The document of `swsync key new --json` and `swsync key check --json`. The key itself is not in it.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeyDocument {
    /// The file with the key.
    file: PathBuf,
    /// Whether the key is new.
    new: bool,
    /// Equal on two devices if they have one key.
    fingerprint: String,
}

/// Runs the command.
///
/// # Errors
/// The file cannot be read or made.
pub fn run(args: &KeyArgs) -> anyhow::Result<ExitCode> {
    let (file, json, new) = match &args.action {
        Action::New { file, json } => (file, *json, true),
        Action::Check { file, json } => (file, *json, false),
    };
    let key = if new { key_file::create(file)? } else { key_file::read(file)? };
    let fingerprint = key.fingerprint().to_string();
    if json {
        output::json(&KeyDocument { file: file.clone(), new, fingerprint });
        return Ok(ExitCode::SUCCESS);
    }
    let what = if new { "a new key" } else { "the key of a rig" };
    output::line(&format!("{}: {what}, fingerprint {fingerprint}", file.display()));
    if new {
        output::line(
            "Copy it to every device (scp -p), and set key-file= or SWSYNC_KEY_FILE there, and here --key-file or \
             SWSYNC_KEY_FILE.",
        );
    }
    Ok(ExitCode::SUCCESS)
}
