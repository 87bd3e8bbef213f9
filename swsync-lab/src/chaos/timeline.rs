//! Where each device was at which time, as the lab has made it.

use swsync_core::time::{Host, Timestamp};

use crate::network::Side;

/// What can be expected of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It runs, and is on this side of the network.
    Up(Side),
    /// Its process is stopped.
    Stopped,
    /// It does not run, or was asked to end.
    Down,
}

/// The presence of all devices over time.
#[derive(Debug, Default)]
pub struct Timeline {
    devices: Vec<History>,
}

#[derive(Debug, Default)]
struct History {
    /// In the order of time.
    changes: Vec<(Timestamp<Host>, Presence)>,
    /// When an observer heard of it, and which, in the order of time.
    seen: Vec<(Timestamp<Host>, Side)>,
}

impl Timeline {
    /// Nothing is known of any of `count` devices.
    pub fn new(count: usize) -> Self {
        Self { devices: (0..count).map(|_| History::default()).collect() }
    }

    /// How many devices there are.
    pub fn devices(&self) -> usize {
        self.devices.len()
    }

    /// From `at` on `device` is `presence`.
    pub fn change(&mut self, device: usize, at: Timestamp<Host>, presence: Presence) {
        self.devices[device].changes.push((at, presence));
    }

    /// An observer heard of `device`.
    pub fn see(&mut self, device: usize, at: Timestamp<Host>, side: Side) {
        if let Some(history) = self.devices.get_mut(device) {
            history.seen.push((at, side));
        }
    }

    /// The presence of `device` now.
    pub fn now(&self, device: usize) -> Presence {
        self.devices[device].changes.last().map_or(Presence::Down, |(_, presence)| *presence)
    }

    /// The presence of `device` at `at`.
    pub fn at(&self, device: usize, at: Timestamp<Host>) -> Presence {
        let changes = &self.devices[device].changes;
        let index = changes.partition_point(|(changed, _)| *changed <= at);
        index.checked_sub(1).map_or(Presence::Down, |index| changes[index].1)
    }

    /// Whether an observer has heard of `device` since `at`.
    pub fn is_seen_since(&self, device: usize, at: Timestamp<Host>) -> bool {
        self.devices[device].seen.last().is_some_and(|(seen, _)| *seen > at)
    }

    /// Whether `device` was up on `side` all the time from `from` to `until`, and the observer there had heard of it
    /// before `from`, since it was last otherwise.
    pub fn is_undisturbed(
        &self,
        device: usize,
        side: Side,
        from: Timestamp<Host>,
        until: Timestamp<Host>,
    ) -> bool {
        let Some(History { changes, seen }) = self.devices.get(device) else { return false };
        let began = changes.partition_point(|(at, _)| *at <= from);
        let Some((since, presence)) = began.checked_sub(1).map(|index| changes[index]) else { return false };
        let changed = changes.get(began).is_some_and(|(at, _)| *at <= until);
        let heard = seen.iter().any(|(at, by)| *by == side && *at > since && *at < from);
        presence == Presence::Up(side) && !changed && heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp<Host> {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_device_counts_from_when_it_is_heard_again() {
        use Presence::{Down, Stopped, Up};
        let mut timeline = Timeline::new(1);
        timeline.change(0, at(10), Up(Side::Main));
        assert!(!timeline.is_undisturbed(0, Side::Main, at(12), at(13)), "nobody has heard of it");
        timeline.see(0, at(11), Side::Main);
        timeline.change(0, at(20), Stopped);
        timeline.change(0, at(25), Up(Side::Main));
        timeline.see(0, at(27), Side::Main);
        assert_eq!(
            [9, 10, 21, 30].map(|when| timeline.at(0, at(when))),
            [Down, Up(Side::Main), Stopped, Up(Side::Main)]
        );
        for (from, until, expected) in [
            (9, 10, false),
            (12, 19, true),
            (12, 20, false),
            (21, 22, false),
            (26, 28, false),
            (28, 99, true),
        ] {
            let is = timeline.is_undisturbed(0, Side::Main, at(from), at(until));
            assert_eq!(is, expected, "{from} to {until}");
            assert!(!timeline.is_undisturbed(0, Side::Apart, at(from), at(until)));
        }
    }
}
