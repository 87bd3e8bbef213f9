//! Signals that ask a command to end: Ctrl-C, a service manager's SIGTERM, a terminal or an SSH connection that is gone.

use std::fs;
use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A signal that asks to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: somebody is at the keyboard.
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

    /// The exit code of a command that it ended, as shells have it.
    #[must_use]
    pub const fn exit_code(self) -> i32 {
        128 + match self {
            Self::Interrupt => SIGINT,
            Self::Terminate => SIGTERM,
            Self::HangUp => SIGHUP,
        }
    }
}

/// Calls `heed` with every such signal from now on, on a thread of its own that lives as long as the process. One that
/// is ignored already, as SIGHUP below nohup, stays so.
///
/// # Errors
/// Where the system does not let them be caught.
pub fn on_signal(mut heed: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    let caught = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(caught)?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        signals.forever().filter_map(Signal::of).for_each(&mut heed);
    })?;
    Ok(())
}

/// The signals that a process ignores, a bit for each, by its /proc/PID/status (proc_pid_status(5)).
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_ignores_is_found() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000001001\n"), 0x1001);
        assert_eq!(ignored(""), 0);
        let own = fs::read_to_string("/proc/self/status").unwrap();
        assert!(own.contains("SigIgn:"), "{own}");
    }
}
