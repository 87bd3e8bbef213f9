//! Subcommands that are programs of their own, as git and cargo have them: `swsync export` runs `swsync-media export`.
//!
//! The program is looked for beside this one first, then in PATH. It replaces this process, so its exit code and the signals
//! it gets are its own. It is started under the name that was typed (`swsync`, `swsync lab`), so its help shows that name.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

/// The subcommand that the program does not get as its first argument: `swsync lab clock` is `swsync-lab clock`.
pub const LAB: &str = "lab";

/// A subcommand that another program carries out.
struct External {
    name: &'static str,
    /// The program, which is also the name of its crate.
    program: &'static str,
    about: &'static str,
}

const fn external(name: &'static str, program: &'static str, about: &'static str) -> External {
    External { name, program, about }
}

const EXTERNAL: [External; 8] = [
    external("export", "swsync-media", "Turn collected takes into what another program opens"),
    external(
        "report",
        "swsync-media",
        "Make a page that shows a take: pictures, errors, what is missing, the certificate",
    ),
    external(
        "cameras",
        "swsync-media",
        "List the cameras that swsyncsrc can open, their modes, and how much room each leaves to shift frames",
    ),
    external(
        "calibrate",
        "swsync-media",
        "Measure how far long exposures shift a camera's frames, and keep it in the camera's profile",
    ),
    external(
        "measure",
        "swsync-media",
        "Measure by pictures of an LED panel how far apart the devices are, and what to correct",
    ),
    external("dashboard", "swsync-dashboard", "Serve a page, and an HTTP API, for the whole rig"),
    external(
        "demo",
        "swsync-lab",
        "Run a rig of cameras on this machine, take two synchronized photographs, and prove it",
    ),
    external(LAB, "swsync-lab", "Parts of the laboratory"),
];

const RUNNABLE: &str = "install it again: it has to be a program for this machine that you may execute";

fn install(program: &str) -> String {
    format!("install it too (in swsync's folder: cargo install --path {program})")
}

/// The program of a subcommand cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// It is not there.
    #[error(
        "`swsync {name}` is a program of its own, {program}, which is neither beside this one nor in PATH: {}",
        install(program)
    )]
    NotInstalled {
        /// The subcommand.
        name: &'static str,
        /// The program.
        program: &'static str,
    },
    /// It is there, but does not start.
    #[error("cannot run {}: {error}; {RUNNABLE}", program.display())]
    Exec {
        /// The program.
        program: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl HandoverError {
    /// What to do about it, as its text says too.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::NotInstalled { program, .. } => install(program),
            Self::Exec { .. } => RUNNABLE.into(),
        }
    }
}

/// The subcommands, as `swsync --help` lists them.
pub fn subcommands() -> impl Iterator<Item = clap::Command> {
    EXTERNAL.iter().map(|external| clap::Command::new(external.name).about(external.about))
}

/// The programs, each once.
pub fn programs() -> impl Iterator<Item = &'static str> {
    let mut all: Vec<_> = EXTERNAL.iter().map(|external| external.program).collect();
    all.dedup();
    all.into_iter()
}

/// The subcommands that `program` carries out.
pub fn names_of(program: &str) -> impl Iterator<Item = &'static str> {
    EXTERNAL.iter().filter(move |external| external.program == program).map(|external| external.name)
}

/// Runs the program of an external subcommand in place of this one, if `arguments` (without the program's name) begin with
/// such a subcommand. Returns `Ok` if they do not.
///
/// # Errors
/// [`HandoverError`].
pub fn run(arguments: &[OsString]) -> Result<(), HandoverError> {
    let Some((external, arguments)) = split(arguments) else { return Ok(()) };
    let program = find(external.program);
    let named = if external.name == LAB { "swsync lab" } else { "swsync" };
    let error = Command::new(&program).arg0(named).args(arguments).exec();
    Err(match error.kind() {
        io::ErrorKind::NotFound => {
            HandoverError::NotInstalled { name: external.name, program: external.program }
        }
        _ => HandoverError::Exec { program, error },
    })
}

/// The path of one of swsync's programs, if it is beside this one; else its name, to be looked for in PATH.
#[must_use]
pub fn find(program: &str) -> PathBuf {
    let beside = std::env::current_exe().ok().map(|this| this.with_file_name(program));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| program.into())
}

/// The external subcommand that `arguments` begin with, and the arguments of its program. Only -v may stand before it; it is
/// passed on.
fn split(arguments: &[OsString]) -> Option<(&'static External, Vec<OsString>)> {
    let is_verbose = |argument: &OsStr| {
        let text = argument.to_str().unwrap_or_default();
        text == "--verbose" || text.strip_prefix('-').is_some_and(|flags| flags.trim_matches('v').is_empty())
    };
    let begin = arguments.iter().position(|argument| argument == "-" || !is_verbose(argument))?;
    let (verbose, rest) = arguments.split_at(begin);
    let (asks_help, rest) = match rest {
        [help, name, ..] if help == "help" => (true, [name.clone()].to_vec()),
        rest => (false, rest.to_vec()),
    };
    let external = EXTERNAL.iter().find(|external| rest.first().is_some_and(|name| name == external.name))?;
    let rest = rest.into_iter().skip(usize::from(external.name == LAB));
    let help = asks_help.then(|| "--help".into());
    Some((external, verbose.iter().cloned().chain(rest).chain(help).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed_over(arguments: &str) -> Option<(&'static str, String)> {
        let arguments: Vec<OsString> = arguments.split_whitespace().map(Into::into).collect();
        let (external, arguments) = split(&arguments)?;
        let arguments: Vec<_> =
            arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect();
        Some((external.program, arguments.join(" ")))
    }

    #[test]
    fn arguments_are_passed_on_as_they_are() {
        for (typed, program, passed) in [
            ("export csv -o x -- -v", "swsync-media", "export csv -o x -- -v"),
            ("-v --verbose -vv cameras", "swsync-media", "-v --verbose -vv cameras"),
            ("report takes/x --out a.html", "swsync-media", "report takes/x --out a.html"),
            ("demo --cameras 3", "swsync-lab", "demo --cameras 3"),
            ("lab clock --help", "swsync-lab", "clock --help"),
            ("-v lab", "swsync-lab", "-v"),
            ("help calibrate", "swsync-media", "calibrate --help"),
            ("help lab", "swsync-lab", "--help"),
        ] {
            assert_eq!(handed_over(typed), Some((program, passed.to_owned())), "{typed}");
        }
    }

    #[test]
    fn own_commands_stay() {
        for typed in
            ["", "status", "shoot export", "-x lab", "- lab", "help", "help status", "--help", "labs"]
        {
            assert_eq!(handed_over(typed), None, "{typed}");
        }
    }
}
