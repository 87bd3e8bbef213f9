//! The state of the kernel's wall clock, read by adjtimex(2). No well-kept crate reads it.

use std::io;

use nix::libc;
use swsync_core::leap::LeapNotice;

/// The state of `CLOCK_REALTIME` by adjtimex(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WallStatus {
    /// Whether no program keeps it in time (`STA_UNSYNC`).
    pub(crate) unsynced: bool,
    /// Estimated error, in microseconds.
    pub(crate) estimated_us: i64,
    /// Bound of the error, in microseconds; the kernel adds 500 ppm of the time since it was last set.
    pub(crate) bound_us: i64,
    /// What is to happen at the end of the UTC day.
    pub(crate) leap: LeapNotice,
}

/// Reads the state and changes nothing.
pub(crate) fn wall_status() -> io::Result<WallStatus> {
    let (state, timex) = read_timex()?;
    Ok(WallStatus {
        leap: leap_notice(state, timex.status),
        unsynced: timex.status & libc::STA_UNSYNC != 0,
        #[allow(clippy::useless_conversion, reason = "`c_long` is shorter on 32-bit machines")]
        estimated_us: i64::from(timex.esterror),
        #[allow(clippy::useless_conversion, reason = "`c_long` is shorter on 32-bit machines")]
        bound_us: i64::from(timex.maxerror),
    })
}

/// What the state of the clock (the return value of adjtimex(2)) and its status bits announce.
///
/// The kernel looks at the bits once a second. It goes from `TIME_OK` to `TIME_INS` or `TIME_DEL`, at the end of the day over
/// `TIME_OOP` to `TIME_WAIT`, and stays there until the bits are cleared.
const fn leap_notice(state: libc::c_int, status: libc::c_int) -> LeapNotice {
    match state {
        libc::TIME_INS => LeapNotice::Insert,
        libc::TIME_DEL => LeapNotice::Delete,
        libc::TIME_OK if status & libc::STA_INS != 0 => LeapNotice::Insert,
        libc::TIME_OK if status & libc::STA_DEL != 0 => LeapNotice::Delete,
        _ => LeapNotice::None,
    }
}

/// The only `unsafe` of this crate.
#[expect(unsafe_code, reason = "adjtimex(2) has no safe wrapper")]
fn read_timex() -> io::Result<(libc::c_int, libc::timex)> {
    // SAFETY: `timex` is made of integers alone, for which all zeros is a value; no `modes` are set,
    // so the call only reads.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: it points to a `timex` of ours, which outlives the call.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((state, timex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers() {
        let status = wall_status().unwrap();
        assert!(status.bound_us >= 0 && status.estimated_us >= 0, "{status:?}");
    }

    #[test]
    fn a_leap_is_announced_until_it_is_done() {
        use libc::{STA_DEL, STA_INS, STA_PLL, TIME_DEL, TIME_ERROR, TIME_INS, TIME_OK, TIME_OOP, TIME_WAIT};
        for (state, status, notice) in [
            (TIME_OK, STA_PLL, LeapNotice::None),
            (TIME_OK, STA_PLL | STA_INS, LeapNotice::Insert),
            (TIME_OK, STA_DEL, LeapNotice::Delete),
            (TIME_INS, STA_INS, LeapNotice::Insert),
            (TIME_DEL, STA_DEL, LeapNotice::Delete),
            (TIME_OOP, STA_INS, LeapNotice::None),
            (TIME_WAIT, STA_INS, LeapNotice::None),
            (TIME_ERROR, STA_INS, LeapNotice::None),
        ] {
            assert_eq!(leap_notice(state, status), notice, "{state} {status}");
        }
    }
}
