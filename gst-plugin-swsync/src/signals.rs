//! The signals that ask a process to end, for waits in which the application cannot look after them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How often signals are looked for: nothing that a signal handler may do wakes a condition variable.
pub const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// Watches the signals that ask a process to end, beside handlers that the application has for them.
///
/// Where it has none, they end the process anyway, or are ignored, and nothing is done: no handler
/// is installed that would change that. `gst-launch-1.0` (1.26) installs its own only after the
/// pipeline is PAUSED.
///
/// signal-hook's handler calls the one that was there before, and stays when the watch is over. An
/// application that installs another one after a first wait is no longer watched: it waits for
/// `sync-timeout`, or calls `cancel`.
pub struct Signals(pub(crate) Vec<(&'static str, Arc<AtomicBool>, SigId)>);

impl Signals {
    /// Watches from now on.
    pub fn watch() -> Self {
        let caught = caught_signals();
        let signals = [("SIGINT", SIGINT), ("SIGTERM", SIGTERM), ("SIGHUP", SIGHUP)];
        let of_application = signals.into_iter().filter(|(_, number)| caught >> (number - 1) & 1 == 1);
        Self(
            of_application
                .filter_map(|(name, number)| {
                    let arrived = Arc::new(AtomicBool::new(false));
                    match signal_hook::flag::register(number, arrived.clone()) {
                        Ok(id) => Some((name, arrived, id)),
                        Err(error) => {
                            tracing::warn!(name, %error, "cannot watch a signal while waiting");
                            None
                        }
                    }
                })
                .collect(),
        )
    }

    /// Whether there is any to look for.
    pub fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// The name of one that has arrived since.
    pub fn arrived(&self) -> Option<&'static str> {
        self.0.iter().find(|(_, arrived, _)| arrived.load(Ordering::Relaxed)).map(|(name, ..)| *name)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for (_, _, id) in &self.0 {
            signal_hook::low_level::unregister(*id);
        }
    }
}

/// The signals that this process has handlers for: bit n-1 is signal n. None where `/proc` does not say.
fn caught_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    parse_caught(&status).unwrap_or(0)
}

fn parse_caught(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_which_signals_are_caught() {
        assert_eq!(
            parse_caught("SigIgn:\t0000000000001000\nSigCgt:\t0000000100000404\n"),
            Some(0x1_0000_0404)
        );
        assert_eq!(parse_caught("SigIgn:\t0\n"), None);
    }
}
