//! `--countdown`: counts down on the terminal to the instant that the order names, with its bell.

use std::io::{IsTerminal as _, Write as _};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Shortest countdown: devices need half a second to get the order.
const SHORTEST: Duration = Duration::from_secs(1);

/// Longest countdown.
const LONGEST: Duration = Duration::from_secs(3_600);

/// A length of a countdown.
///
/// # Errors
/// What is wrong with `text`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let length = crate::duration::positive(text)?;
    match (SHORTEST..=LONGEST).contains(&length) {
        true => Ok(length),
        false => Err("a countdown takes from 1s, for devices to get the order in time, to 1h".into()),
    }
}

/// Rings and shows the seconds until `end`, on a thread that ends then. Does nothing if standard error is no terminal.
pub fn start(end: Instant) -> Option<JoinHandle<()>> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let count = move || {
        for tick in ticks(end.saturating_duration_since(Instant::now())) {
            let at = end.checked_sub(Duration::from_secs(tick)).unwrap_or(end);
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            let shown = if tick == 0 { String::new() } else { format!("  {tick}") };
            // BEL rings; CR and EL (ECMA-48) begin the line anew.
            let _ = write!(std::io::stderr(), "\x07\r\x1b[K{shown}"); // it may be closed
        }
    };
    std::thread::Builder::new().name("countdown".into()).spawn(count).ok()
}

/// The whole seconds before the end at which the countdown rings, down to 0.
fn ticks(left: Duration) -> impl Iterator<Item = u64> {
    // The first one is not missed for the milliseconds that it took to begin.
    let first = (left + Duration::from_millis(100)).as_secs();
    (0..=first).rev()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rings_each_second_and_at_the_end() {
        let of = |millis| ticks(Duration::from_millis(millis)).collect::<Vec<_>>();
        assert_eq!(of(4_990), [5, 4, 3, 2, 1, 0]);
        assert_eq!(of(2_500), [2, 1, 0]);
        assert_eq!(of(0), [0]);
    }

    #[test]
    fn a_countdown_leaves_devices_time_to_get_the_order() {
        assert_eq!(parse("5s"), Ok(Duration::from_secs(5)));
        for wrong in ["500ms", "0s", "2h", "soon"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
