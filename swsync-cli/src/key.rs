//! `swsync key`: makes a rig's key, and checks those of devices.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
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
    },
    /// Check a file, and show the fingerprint of its key: equal on two devices if they have one key. The key is not shown.
    Check {
        /// The file.
        #[arg(env = "SWSYNC_KEY_FILE", default_value = DEFAULT_FILE)]
        file: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// The file cannot be read or made.
pub fn run(args: &KeyArgs) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::New { file } => {
            let key = key_file::create(file)?;
            output::line(&format!("{}: a new key, fingerprint {}", file.display(), key.fingerprint()));
            output::line(
                "Copy it to every device (scp -p), and set key-file= or SWSYNC_KEY_FILE there, and here --key-file or \
                 SWSYNC_KEY_FILE.",
            );
        }
        Action::Check { file } => {
            let key = key_file::read(file)?;
            output::line(&format!("{}: the key of a rig, fingerprint {}", file.display(), key.fingerprint()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
