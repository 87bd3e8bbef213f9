//! NTP's two time formats: the 64-bit timestamp and the 32-bit span.

use crate::time::{Rig, Span, Timestamp};

/// Seconds from the NTP epoch (1900) to the Unix epoch (1970).
const UNIX_EPOCH: i64 = 2_208_988_800;

/// A 64-bit NTP timestamp: seconds since 1900 (modulo 2^32) and a binary fraction.
///
/// It also carries a client's random cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct NtpTimestamp(pub u64);

impl NtpTimestamp {
    /// Unknown, or not set.
    pub const ZERO: Self = Self(0);

    /// The NTP timestamp of `at`, to the nearest 2^-32 s (0.23 ns).
    #[must_use]
    pub fn from_rig(at: Timestamp<Rig>) -> Self {
        let nanos = i128::from(at.as_nanos()) + i128::from(UNIX_EPOCH) * 1_000_000_000;
        let ticks = ((nanos << 32) + 500_000_000).div_euclid(1_000_000_000);
        // The wire format has no era (the bits from 2^64 on).
        Self(u64::try_from(ticks.rem_euclid(1 << 64)).expect("reduced modulo 2^64"))
    }

    /// The instant nearest to `pivot` with this timestamp; `pivot` determines the era (RFC 5905 section 6).
    #[must_use]
    pub fn to_rig(self, pivot: Timestamp<Rig>) -> Timestamp<Rig> {
        let near = Self::from_rig(pivot);
        let ticks = self.0.wrapping_sub(near.0).cast_signed();
        let nanos = (i128::from(ticks) * 1_000_000_000 + (1 << 31)) >> 32;
        pivot + Span::from_nanos(i64::try_from(nanos).expect("2^63 ticks are 2.1e18 ns"))
    }

    /// The next larger timestamp.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// A span in NTP's short format: 16 bits of seconds, 16 of fraction (15 us), never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct NtpShort(pub u32);

impl NtpShort {
    /// `span`, rounded up, so that an error bound remains one. Saturates at 18 h.
    #[must_use]
    pub fn from_span(span: Span) -> Self {
        let nanos = i128::from(span.as_nanos().max(0));
        let ticks = ((nanos << 16) + 999_999_999) / 1_000_000_000;
        Self(u32::try_from(ticks).unwrap_or(u32::MAX))
    }

    /// This span, to the nearest nanosecond.
    #[must_use]
    pub fn to_span(self) -> Span {
        let nanos = (u64::from(self.0) * 1_000_000_000 + (1 << 15)) >> 16;
        Span::from_nanos(i64::try_from(nanos).expect("18 h are 6.6e13 ns"))
    }
}
