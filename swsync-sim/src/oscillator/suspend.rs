//! A simulated suspend of a device.

use swsync_core::time::Span;

/// A suspend of a simulated device: its monotonic clock stands still for a while, and its boot-time clock goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspend {
    /// How long the device sleeps.
    pub lasts: Span,
    /// When it falls asleep: the time since the device's clocks were made.
    pub after: Span,
}

impl Suspend {
    /// How long the device has slept when its clocks have existed for `age`.
    #[must_use]
    pub fn slept(&self, age: Span) -> Span {
        (age - self.after).clamp(Span::ZERO, self.lasts.max(Span::ZERO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_grows_and_ends() {
        let suspend = Suspend { lasts: Span::from_secs(10), after: Span::from_secs(30) };
        for (age, slept) in [(-5, 0), (0, 0), (30, 0), (31, 1), (39, 9), (40, 10), (4_000, 10)] {
            assert_eq!(suspend.slept(Span::from_secs(age)), Span::from_secs(slept), "{age} s");
        }
    }
}
