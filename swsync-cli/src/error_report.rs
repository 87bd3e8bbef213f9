//! Errors as a person and as a program read them: what failed, why, and what to do about it.
//!
//! The person's text goes to standard error, always. With `--json` the program's goes to standard output, as its only document or
//! its last line: so what is there is always JSON, and a program need not read standard error. docs/exit-codes.md describes both.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use serde::Serialize;
use swsync_client::collect::CollectError;
use swsync_client::key_file::KeyFileError;
use swsync_client::settings::SettingsError;
use swsync_client::{ControlError, RemoteError};
use swsync_core::camera_settings::ValueError;
use swsync_core::order::OrderError;

use crate::exit::{self, NoOrder, NoRigTime, UnknownTarget};
use crate::handover::HandoverError;
use crate::output;
use crate::takes::ReadError;

/// The document that a command with `--json` prints if it fails.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorDocument {
    /// The error.
    pub error: ErrorReport,
}

/// An error, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorReport {
    /// The exit code.
    pub code: u8,
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// What failed, for a person.
    pub message: String,
    /// Why: the reason of the failure first, then the reason of that, and so on.
    pub cause: Vec<String>,
    /// What to do about it, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// What kind of error it is. The exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The arguments are wrong.
    Usage,
    /// Settings of the rig, or its key file, cannot be used.
    Settings,
    /// The order cannot be given as it is.
    Order,
    /// The command is a program of its own that is not installed.
    NotInstalled,
    /// No rig or no device was found.
    NoRig,
    /// No device knows rig time.
    NoRigTime,
    /// No order is open that could be meant, or several.
    NoOrder,
    /// A signal ended the command.
    Interrupted,
    /// The command failed otherwise.
    Failed,
}

impl ErrorKind {
    /// The kind of `error`.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        if error.is::<NoRigTime>() {
            return Self::NoRigTime;
        } else if error.is::<NoOrder>() {
            return Self::NoOrder;
        } else if error.is::<ValueError>() || error.is::<UnknownTarget>() {
            return Self::Usage;
        } else if error.is::<OrderError>() {
            return Self::Order;
        } else if error.is::<SettingsError>() || error.is::<KeyFileError>() {
            return Self::Settings;
        } else if matches!(error.downcast_ref(), Some(HandoverError::NotInstalled { .. })) {
            return Self::NotInstalled;
        }
        match error.downcast_ref::<ControlError>() {
            Some(
                ControlError::NobodyThere { .. } | ControlError::Connect { .. } | ControlError::Key { .. },
            ) => Self::NoRig,
            Some(ControlError::Endpoint { .. } | ControlError::KeyFile(_)) => Self::Settings,
            _ => Self::Failed,
        }
    }

    /// The exit code of a command that ends with such an error. [`Interrupted`](Self::Interrupted) is that of Ctrl-C.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Usage | Self::Settings | Self::Order | Self::NotInstalled => exit::USAGE,
            Self::NoRig | Self::NoRigTime => exit::NO_RIG,
            Self::NoOrder => exit::NO_ORDER,
            Self::Interrupted => exit::INTERRUPTED,
            Self::Failed => exit::INCOMPLETE,
        }
    }
}

/// A failure of a command itself: what failed, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}: {remedy}")]
pub struct Failure {
    message: String,
    remedy: String,
}

/// An error that names its remedy, and that no type of error describes. Its exit code is 1.
pub fn failure(message: impl Into<String>, remedy: impl Into<String>) -> anyhow::Error {
    Failure { message: message.into(), remedy: remedy.into() }.into()
}

impl ErrorReport {
    /// The report of `error`.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        let kind = ErrorKind::of(error);
        Self {
            code: kind.code(),
            kind,
            message: error.to_string(),
            cause: error.chain().skip(1).map(ToString::to_string).collect(),
            remedy: remedy(error),
        }
    }

    /// The report of arguments that clap refuses.
    fn of_usage(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        // clap writes the error, a tip, the usage and where to find help, with empty lines in between.
        let mut parts = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
        let message = parts.next().unwrap_or_default();
        let rest: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
        Self {
            code: exit::USAGE,
            kind: ErrorKind::Usage,
            message: message.trim_start_matches("error: ").to_owned(),
            cause: Vec::new(),
            remedy: (!rest.is_empty()).then(|| rest.join(". ")),
        }
    }

    /// Prints it on standard output, if the command was called with `--json`.
    pub fn print_if_asked(&self) {
        if is_json_asked(std::env::args_os().skip(1)) {
            output::json(&ErrorDocument { error: self.clone() });
        }
    }
}

/// What to do about `error`, if it is known.
fn remedy(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|error| {
        if let Some(error) = error.downcast_ref::<ControlError>() {
            return Some(error.remedy());
        } else if let Some(error) = error.downcast_ref::<SettingsError>() {
            return Some(error.remedy());
        } else if let Some(error) = error.downcast_ref::<KeyFileError>() {
            return Some(error.remedy());
        } else if let Some(error) = error.downcast_ref::<CollectError>() {
            return error.remedy();
        } else if let Some(error) = error.downcast_ref::<RemoteError>() {
            return error.remedy();
        } else if let Some(error) = error.downcast_ref::<HandoverError>() {
            return Some(error.remedy());
        } else if let Some(error) = error.downcast_ref::<NoOrder>() {
            return Some(error.remedy());
        } else if error.is::<NoRigTime>() {
            return Some(NoRigTime::REMEDY.into());
        } else if let Some(error) = error.downcast_ref::<ReadError>() {
            return Some(error.remedy().into());
        } else if error.is::<ValueError>() {
            return Some("`swsync set --help` lists the controls and what they take".into());
        } else if error.is::<OrderError>() {
            return Some(
                "change the arguments that name the frames: `swsync shoot --help` has examples".into(),
            );
        } else if let Some(error) = error.downcast_ref::<Failure>() {
            return Some(error.remedy.clone());
        }
        error.downcast_ref::<io::Error>().and_then(remedy_of_system).map(Into::into)
    })
}

/// What to do about an error of the operating system.
#[must_use]
pub fn remedy_of_system(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            "check the path: there is nothing of this name"
        }
        io::ErrorKind::PermissionDenied => {
            "run it as a user who may do that, or change the owner or mode (ls -l)"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on that disk",
        io::ErrorKind::ReadOnlyFilesystem => "name a folder on a disk that can be written to",
        io::ErrorKind::AddrInUse => "name another port, or end the program that uses this one (ss -tulpn)",
        io::ErrorKind::AddrNotAvailable => "name an address of this host (ip address)",
        io::ErrorKind::IsADirectory => "name a file: this is a folder",
        _ => return None,
    })
}

/// The text for a person: the error, its causes that it does not state itself, and the remedy.
#[must_use]
pub fn text(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    match remedy(error) {
        Some(remedy) if !text.contains(&remedy) => format!("{text}; {remedy}"),
        _ => text,
    }
}

/// Prints `error` on standard error, and returns the exit code.
pub fn tell(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "swsync: {}", text(error)); // standard error may be closed
    ExitCode::from(ErrorKind::of(error).code())
}

/// The end of every `main`: prints an error to standard error, with `--json` to standard output too, and returns the exit code.
#[must_use]
pub fn report(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        let code = tell(&error);
        ErrorReport::of(&error).print_if_asked();
        code
    })
}

/// Ends the process because of a signal: says `message`, as an error does.
pub fn interrupted(code: u8, message: &str) -> ! {
    output::tell(message);
    let kind = ErrorKind::Interrupted;
    ErrorReport { code, kind, message: message.into(), cause: Vec::new(), remedy: None }.print_if_asked();
    std::process::exit(i32::from(code))
}

/// Prints what clap says instead of parsing arguments: help, the version, or an error. Returns the exit code.
#[must_use]
pub fn report_usage(error: &clap::Error) -> ExitCode {
    let _ = error.print(); // its stream may be closed
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    ErrorReport::of_usage(error).print_if_asked();
    ExitCode::from(exit::USAGE)
}

/// Whether these arguments, without the program's name, have `--json`. They may be invalid otherwise.
fn is_json_asked(arguments: impl IntoIterator<Item = OsString>) -> bool {
    arguments.into_iter().take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use swsync_client::RigConfig;

    use super::*;

    fn nobody() -> ControlError {
        let config = RigConfig::default();
        ControlError::NobodyThere { search: config.search(), rig: config.rig, waited: Default::default() }
    }

    #[test]
    fn each_kind_of_error_has_its_code() {
        let of = |error: anyhow::Error| ErrorReport::of(&error).code;
        let connect =
            ControlError::Connect { endpoints: Vec::new(), failure: None, waited: Default::default() };
        assert_eq!(of(connect.into()), exit::NO_RIG);
        assert_eq!(of(anyhow::Error::new(nobody()).context("while looking")), exit::NO_RIG);
        assert_eq!(of(NoRigTime.into()), exit::NO_RIG);
        let endpoint = ControlError::Endpoint { endpoint: "x".into(), why: "y" };
        assert_eq!(of(endpoint.into()), exit::USAGE);
        assert_eq!(of(OrderError::NoTargets.into()), exit::USAGE);
        assert_eq!(of(SettingsError::NotText("SWSYNC_RIG").into()), exit::USAGE);
        assert_eq!(of(anyhow::anyhow!("anything")), exit::INCOMPLETE);
    }

    #[test]
    fn a_report_has_message_causes_and_remedy() {
        let report = ErrorReport::of(&anyhow::Error::new(nobody()).context("order o1"));
        assert_eq!((report.message.as_str(), report.cause.len()), ("order o1", 1));
        assert!(report.cause[0].contains("no device of rig"), "{report:?}");
        assert!(report.remedy.as_ref().unwrap().contains("--connect"), "{report:?}");
        let json = serde_json::to_value(ErrorDocument { error: report }).unwrap();
        assert_eq!((&json["error"]["code"], &json["error"]["kind"]), (&3.into(), &"no-rig".into()));
    }

    #[test]
    fn a_text_states_nothing_twice_and_ends_with_the_remedy() {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let error = Err::<(), _>(missing()).context("cannot read x").unwrap_err();
        let expected = "cannot read x: entity not found; check the path: there is nothing of this name";
        assert_eq!(text(&error), expected);
        let error = SettingsError::Unreadable { path: "x".into(), source: missing() };
        let text = text(&error.into());
        assert_eq!(text.matches("entity not found").count(), 1, "{text}");
        assert!(text.ends_with("/dev/null is an empty one"), "{text}");
    }

    #[test]
    fn json_is_asked_by_the_flag_alone() {
        let asked = |line: &str| is_json_asked(line.split_whitespace().map(Into::into));
        assert!(asked("shoot --json --nonsense"));
        assert!(!asked("shoot") && !asked("lab -- --json") && !asked("shoot --jsonl"));
    }
}
