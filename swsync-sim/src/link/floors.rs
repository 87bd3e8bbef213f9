//! Constant latencies of one device's host and radio, which a link's model alone does not have.
//!
//! A [`LinkModel`] is the same for every client, so its asymmetry cancels between two clients. Between real devices it does not.
//! [`Floors`] are drawn per device; [`LinkModel::between`] adds those of both ends to a path.

use swsync_core::time::Span;

use super::LinkModel;
use crate::noise::{hash, uniform};

/// Series of hashed numbers that determines the floors to send; the next one determines those to receive.
const FLOORS: u64 = 20;

/// Constant latencies of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floors {
    /// From the timestamp to the air.
    pub send: Span,
    /// From the air to the timestamp.
    pub receive: Span,
}

impl Floors {
    /// A device without latencies of its own: the path is the model's.
    pub const NONE: Self = Self { send: Span::ZERO, receive: Span::ZERO };

    /// The largest floor that `wifi` draws.
    ///
    /// An assumption, not a measurement: the paper's Table III has one pair of phones, whose shortest delays differ by 38 us
    /// between the directions. Differences of two ends of up to 40 us each contain that pair. That such latencies of host and
    /// driver are the rest of a WiFi clock's error, and have to be calibrated, is what Chen and Yang found (Understanding Precision
    /// Time Protocol in Today's Wi-Fi Networks, USENIX ATC 2021).
    pub const WIFI_MOST: Span = Span::from_micros(40);

    /// The floors of device `device` of the rig with this seed: each uniform from zero to [`WIFI_MOST`](Self::WIFI_MOST).
    #[must_use]
    pub fn wifi(seed: u64, device: u64) -> Self {
        let draw = |series| Self::WIFI_MOST.mul_f64(uniform(hash(seed, series, device)));
        Self { send: draw(FLOORS), receive: draw(FLOORS + 1) }
    }

    /// The device's part of a clock's error: half of what it takes longer to send than to receive.
    #[must_use]
    pub fn asymmetry(self) -> Span {
        (self.send - self.receive) / 2
    }
}

impl LinkModel {
    /// This model's path between two devices, with the floors of both ends in every delay.
    ///
    /// An offset measured with equal delays assumed is wrong by a further
    /// `client.asymmetry() - leader.asymmetry()`: half of what the path to the leader has grown more than the path back.
    #[must_use]
    pub fn between(mut self, leader: Floors, client: Floors) -> Self {
        for (direction, added) in [
            (&mut self.to_leader, client.send + leader.receive),
            (&mut self.to_client, leader.send + client.receive),
        ] {
            direction.floor += added;
            direction.quiet_floor += added;
            if let Some(spikes) = &mut direction.spikes {
                spikes.floor += added;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Direction, Link};
    use swsync_core::time::Timestamp;

    /// Every delay, be it of the body, a quiet moment, a spike or a burst, grows by the floors of both ends.
    #[test]
    fn each_delay_contains_the_floors_of_both_ends() {
        let us = Span::from_micros;
        let (leader, client) =
            (Floors { send: us(3), receive: us(11) }, Floors { send: us(35), receive: us(7) });
        for model in [LinkModel::wifi(), LinkModel::wifi_busy(), LinkModel::ethernet()] {
            let mut bare = Link::new(model.clone(), 5);
            let mut path = Link::new(model.between(leader, client), 5);
            for k in 0..20_000 {
                let at = Timestamp::from_nanos(k * 3_430_000);
                for (direction, added) in [(Direction::ToLeader, us(46)), (Direction::ToClient, us(10))] {
                    let expected = bare.delay(direction, at).map(|delay| delay + added);
                    assert_eq!(path.delay(direction, at), expected);
                }
            }
        }
        // (46 - 10) / 2
        assert_eq!(client.asymmetry() - leader.asymmetry(), us(18));
    }

    /// Two clients no longer have the same asymmetry; the spread is that of half a difference of two uniform numbers.
    #[test]
    fn devices_differ_by_tens_of_microseconds() {
        let asymmetries: Vec<f64> =
            (0..4_000).map(|device| Floors::wifi(7, device).asymmetry().as_micros_f64()).collect();
        let n = 4_000.0;
        let mean = asymmetries.iter().sum::<f64>() / n;
        let deviation = (asymmetries.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
        assert!(mean.abs() < 0.6, "{mean}");
        assert!((deviation - 8.165).abs() < 0.4, "{deviation}"); // 40 / sqrt(6) / 2
        assert_eq!(Floors::wifi(7, 3), Floors::wifi(7, 3));
        assert_ne!(Floors::wifi(7, 3), Floors::wifi(8, 3));
    }

    #[test]
    fn no_floors_leave_the_model_as_it_is() {
        assert_eq!(LinkModel::wifi().between(Floors::NONE, Floors::NONE), LinkModel::wifi());
    }
}
