//! `swsync completions` and `swsync man`: what shells complete, and manual pages, from the same description of the arguments that
//! parses them.
//!
//! Subcommands that are programs of their own ([`handover`]) describe themselves: they print their `tree` when they are called
//! with [`DESCRIBE`], and it takes the place of their name here. A program that is not installed keeps its name alone.

mod page;
mod tree;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use clap_complete::Shell;

use crate::error_report::failure;
use crate::{handover, output};
use tree::CommandTree;

/// The one argument with which swsync's other programs print their arguments as JSON.
pub const DESCRIBE: &str = "describe-arguments";

/// Print what makes a shell complete swsync's commands and options.
#[derive(Debug, Clone, Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

const COMPLETIONS_HELP: &str = "\
Packages install these files. To install them for yourself:
  swsync completions bash > ~/.local/share/bash-completion/completions/swsync
  swsync completions zsh  > ~/.zfunc/_swsync          # with fpath+=~/.zfunc before compinit in ~/.zshrc
  swsync completions fish > ~/.config/fish/completions/swsync.fish

Exit codes:
  0  done
  2  wrong arguments";

/// Write swsync's manual pages, one for each command, for packages.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// The folder for them, made if needed
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

/// Runs `swsync completions`. `command`: the arguments of swsync.
///
/// # Errors
/// A program of swsync's describes itself in a way that cannot be read.
pub fn completions(args: &CompletionsArgs, command: &clap::Command) -> anyhow::Result<ExitCode> {
    let mut command = whole(command)?;
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "swsync", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end());
    Ok(ExitCode::SUCCESS)
}

/// Runs `swsync man`. `command`: the arguments of swsync.
///
/// # Errors
/// A page cannot be written; or as [`completions`].
pub fn man(args: &ManArgs, command: &clap::Command) -> anyhow::Result<ExitCode> {
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let mut command = whole(command)?.disable_help_subcommand(true);
    command.build();
    write_pages(&command, &args.out)?;
    Ok(ExitCode::SUCCESS)
}

fn write_pages(command: &clap::Command, folder: &Path) -> anyhow::Result<()> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        write_pages(subcommand, folder)?;
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = folder.join(name).with_extension("1");
    fs::write(&path, page::render(command)).with_context(|| format!("cannot write {}", path.display()))
}

/// swsync's `command` with the arguments of the programs that carry out some of its subcommands, and without what is hidden.
fn whole(command: &clap::Command) -> anyhow::Result<clap::Command> {
    let mut whole = CommandTree::from(command);
    for program in handover::programs() {
        let Some(tree) = ask(program)? else { continue };
        for name in handover::names_of(program) {
            let part = if name == handover::LAB { Some(&tree) } else { tree.subcommand(name) };
            if let Some(part) = part {
                whole.describe_subcommand(name, part.clone());
            }
        }
    }
    whole.remove_hidden();
    Ok(whole.into_command().version(env!("CARGO_PKG_VERSION")))
}

/// The arguments of one of swsync's programs. `None`: it is not installed, or is of a version that does not describe itself.
fn ask(program: &str) -> anyhow::Result<Option<CommandTree>> {
    let Ok(answer) = std::process::Command::new(handover::find(program)).arg(DESCRIBE).output() else {
        return Ok(None);
    };
    if !answer.status.success() {
        return Ok(None);
    }
    let tree = serde_json::from_slice(&answer.stdout).map_err(|error| {
        failure(
            format!("{program} describes its arguments in a way that cannot be read: {error}"),
            format!("install {program} of swsync's version ({})", env!("CARGO_PKG_VERSION")),
        )
    })?;
    Ok(Some(tree))
}

/// Prints `command` for [`completions`] and [`man`], if this process was called with [`DESCRIBE`] alone. Returns whether it was.
#[must_use]
pub fn describe_if_asked(command: impl FnOnce() -> clap::Command) -> bool {
    let mut arguments = std::env::args_os().skip(1);
    let is_asked = arguments.next().is_some_and(|first| first == DESCRIBE) && arguments.next().is_none();
    if is_asked {
        let text = serde_json::to_string(&CommandTree::from(&command())).expect("a tree of texts");
        let _ = writeln!(std::io::stdout(), "{text}"); // whoever asked may have gone
    }
    is_asked
}
