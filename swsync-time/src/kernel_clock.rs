//! The state of the kernel's wall clock, read by adjtimex(2). No well-kept crate reads it.

use std::io;

use nix::libc;

/// The state of `CLOCK_REALTIME` by adjtimex(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WallStatus {
    /// Whether no program keeps it in time (`STA_UNSYNC`).
    pub(crate) unsynced: bool,
    /// Estimated error, in microseconds.
    pub(crate) estimated_us: i64,
    /// Bound of the error, in microseconds; the kernel adds 500 ppm of the time since it was last set.
    pub(crate) bound_us: i64,
}

/// Reads the state and changes nothing.
pub(crate) fn wall_status() -> io::Result<WallStatus> {
    let timex = read_timex()?;
    Ok(WallStatus {
        unsynced: timex.status & libc::STA_UNSYNC != 0,
        #[allow(clippy::useless_conversion, reason = "`c_long` is shorter on 32-bit machines")]
        estimated_us: i64::from(timex.esterror),
        #[allow(clippy::useless_conversion, reason = "`c_long` is shorter on 32-bit machines")]
        bound_us: i64::from(timex.maxerror),
    })
}

/// The only `unsafe` of this crate.
#[expect(unsafe_code, reason = "adjtimex(2) has no safe wrapper")]
fn read_timex() -> io::Result<libc::timex> {
    // SAFETY: `timex` is made of integers alone, for which all zeros is a value; no `modes` are set,
    // so the call only reads.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: it points to a `timex` of ours, which outlives the call.
    if unsafe { libc::adjtimex(&raw mut timex) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(timex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers() {
        let status = wall_status().unwrap();
        assert!(status.bound_us >= 0 && status.estimated_us >= 0, "{status:?}");
    }
}
