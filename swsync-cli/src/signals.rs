//! Signals that ask a command to end: Ctrl-C, SIGTERM of a service manager, SIGHUP of a closed terminal or SSH connection.

use std::fs;
use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit;

/// A signal that asks to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: the terminal is gone.
    HangUp,
}

impl Signal {
    const fn of(number: i32) -> Option<Self> {
        match number {
            SIGINT => Some(Self::Interrupt),
            SIGTERM => Some(Self::Terminate),
            SIGHUP => Some(Self::HangUp),
            _ => None,
        }
    }

    /// The exit code of a command that the signal ended, as shells have it.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => exit::INTERRUPTED,
            Self::Terminate => 128 + 15, // SIGTERM, on every Linux
            Self::HangUp => 128 + 1,     // SIGHUP
        }
    }
}

/// Calls `handle` with every such signal from now on, in a thread that lives as long as the process. A signal that is ignored
/// already, as SIGHUP below nohup, stays ignored.
///
/// # Errors
/// The system does not let them be caught.
pub fn on_signal(mut handle: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    let caught = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(caught)?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        signals.forever().filter_map(Signal::of).for_each(&mut handle);
    })?;
    Ok(())
}

/// The signals that a process ignores, one bit each, from its /proc/PID/status (proc_pid_status(5)).
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_shells() {
        for (signal, number) in
            [(Signal::Interrupt, SIGINT), (Signal::Terminate, SIGTERM), (Signal::HangUp, SIGHUP)]
        {
            assert_eq!(i32::from(signal.exit_code()), 128 + number);
        }
    }

    #[test]
    fn ignored_signals_are_read_from_proc() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000001001\n"), 0x1001);
        assert_eq!(ignored(""), 0);
        let own = fs::read_to_string("/proc/self/status").unwrap();
        assert!(own.contains("SigIgn:"), "{own}");
    }
}
