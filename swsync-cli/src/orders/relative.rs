//! Instants in words.

use swsync_core::time::{Rig, Timestamp};

/// An instant relative to `now`, in words.
pub fn relative(at: Timestamp<Rig>, now: Timestamp<Rig>) -> String {
    let from_now = at - now;
    let secs = from_now.abs().as_secs_f64();
    if from_now.is_negative() { format!("{secs:.3} s ago") } else { format!("in {secs:.3} s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_core::time::Span;

    const NOW: Timestamp<Rig> = Timestamp::from_nanos(1_800_000_000_000_000_000);

    #[test]
    fn instants_are_described_relative_to_now() {
        assert_eq!(relative(NOW + Span::from_millis(500), NOW), "in 0.500 s");
        assert_eq!(relative(NOW - Span::from_millis(1250), NOW), "1.250 s ago");
    }
}
