//! A clock that follows a leader, and how its error is measured.

use swsync_core::time::{Rig, Span, Timestamp};

/// A clock is read so often per sample. The reading that took the least time counts.
const READINGS: usize = 3;

/// The error of a clock at one instant.
#[derive(Debug, Clone, Copy)]
pub struct MeasuredError {
    /// Its time minus the leader's.
    pub error: Span,
    /// The uncertainty that it states, 1 sigma.
    pub uncertainty: Option<Span>,
}

/// A clock that follows a leader.
pub trait FollowingClock {
    /// Its name in the table.
    fn name(&self) -> String;
    /// Its error now; `None` while it does not know the leader's time.
    fn read(&mut self) -> Option<MeasuredError>;
    /// If it no longer follows the leader: why.
    fn problem(&mut self) -> Option<String> {
        None
    }
}

/// `other` minus `leader`, from the reading that took the least time.
pub fn difference(
    leader: impl Fn() -> Timestamp<Rig>,
    mut other: impl FnMut() -> Option<Timestamp<Rig>>,
) -> Option<Span> {
    let mut readings = (0..READINGS).filter_map(|_| {
        let before = leader();
        let reading = other()?;
        let took = leader() - before;
        Some((took, reading - (before + took / 2)))
    });
    let first = readings.next()?;
    Some(readings.fold(first, |best, reading| if reading.0 < best.0 { reading } else { best }).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_reading_counts() {
        let at = |us: i64| Timestamp::<Rig>::ZERO + Span::from_micros(us);
        // The leader is read before and after each reading of the other clock, which is 7 us ahead of the middle.
        let leader = std::cell::RefCell::new([0, 90, 100, 110, 200, 300].into_iter());
        let mut other = [at(60), at(112), at(300)].into_iter();
        let error = difference(|| at(leader.borrow_mut().next().unwrap()), || other.next());
        assert_eq!(error, Some(Span::from_micros(7)));
        assert_eq!(difference(|| at(0), || None), None);
    }
}
