//! One radio channel that all devices of a rig share.
//!
//! A [`LinkModel`](super::LinkModel) has the contention with others that its trace was recorded with. What the rig itself sends is
//! not in it: every further device, and every picture that is collected, makes the others wait. [`Air`] adds that wait:
//!
//! - Time packets are simulated one by one, so each waits until those before it are off the air.
//! - Data are not simulated one by one. Transmissions of mean length `s` that fill a share `r` of the time make a packet wait with
//!   probability `r`, and then for an exponential time of mean `s / (1 - r)`: the queue M/M/1 (Kleinrock, Queueing Systems, vol. 1,
//!   3.2). A real channel is no single queue; as in one, waits grow without limit when it fills up.
//!
//! Both directions share the channel, so contention alone makes no asymmetry.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::Exp1;
use swsync_core::time::{Host, Span, Timestamp};

use crate::noise::generator;

/// The generator's series.
const WAITS: u64 = 30;
/// Largest share of the time that data can fill. Senders of more wait themselves.
const MOST_DATA: f64 = 0.9;

/// How long transmissions take on a channel, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AirModel {
    /// Time that one time packet holds the channel, with its acknowledgement and all hops.
    pub packet: Span,
    /// Mean time that one transmission of data holds the channel.
    pub data: Span,
    /// Share of the time that data fill.
    pub data_share: f64,
}

impl AirModel {
    /// The 2.4 GHz channel of Raspberry Pis, one stream of 20 MHz, whose `devices` send `megabits` (Mbit/s) of data each.
    ///
    /// From IEEE 802.11's timing at MCS 7, with DIFS (34 us), mean backoff (68), preamble (36), SIFS and acknowledgement (48): a
    /// time packet of 200 bytes takes 210 us a hop, and two hops by an access point. Data go in aggregates of ten packets of 1500
    /// bytes: 1.85 ms for 120 kbit, so that 65 Mbit/s fill the channel, and half of that by an access point.
    #[must_use]
    pub fn wifi(devices: usize, megabits: f64) -> Self {
        let devices = u32::try_from(devices).map_or(f64::MAX, f64::from);
        let data = Span::from_micros(1_850);
        let transmissions = 2.0 * devices * megabits.max(0.0) / 0.12;
        Self {
            packet: Span::from_micros(420),
            data,
            data_share: (transmissions * data.as_secs_f64()).min(MOST_DATA),
        }
    }
}

/// A channel.
#[derive(Debug, Clone)]
pub struct Air {
    model: AirModel,
    /// When the last time packet is off the air.
    busy_until: Timestamp<Host>,
    rng: ChaCha8Rng,
}

impl Air {
    /// A channel on which nobody sends yet.
    #[must_use]
    pub fn new(model: AirModel, seed: u64) -> Self {
        Self { model, busy_until: Timestamp::ZERO, rng: generator(seed, WAITS) }
    }

    /// How long a time packet that is sent at `at` waits for the channel. Then it holds it, at most for the `delay` that it takes
    /// without the wait: nothing is on the air that has arrived.
    pub fn wait(&mut self, at: Timestamp<Host>, delay: Option<Span>) -> Span {
        let AirModel { packet, data, data_share } = self.model;
        let mut wait = (self.busy_until - at).max(Span::ZERO);
        if self.rng.random::<f64>() < data_share {
            wait += data.mul_f64(self.rng.sample::<f64, _>(Exp1) / (1.0 - data_share.min(MOST_DATA)));
        }
        self.busy_until = at + wait + delay.map_or(packet, |delay| packet.min(delay));
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_wait_us(model: AirModel, spacing: Span) -> f64 {
        let mut air = Air::new(model, 4);
        let total: Span =
            (0..40_000).map(|k| air.wait(Timestamp::ZERO + spacing * k, None)).fold(Span::ZERO, |a, b| a + b);
        total.as_micros_f64() / 40_000.0
    }

    #[test]
    fn packets_at_once_wait_for_each_other() {
        let mut air = Air::new(AirModel::wifi(5, 0.0), 1);
        let at = Timestamp::from_nanos(1_000_000);
        let us = Span::from_micros;
        let sends = [(0, Some(900)), (100, Some(50)), (100, None), (2_000, Some(600))];
        let waits = sends.map(|(sent, delay)| air.wait(at + us(sent), delay.map(us)));
        assert_eq!(waits, [0, 320, 370, 0].map(us));
    }

    #[test]
    fn waits_grow_with_devices_and_traffic() {
        let of = |devices, megabits| mean_wait_us(AirModel::wifi(devices, megabits), Span::from_millis(400));
        assert_eq!(of(5, 0.0), 0.0);
        // By the formula: r s / (1 - r), with r = 0.154 and 0.308.
        let (five, ten) = (of(5, 1.0), of(10, 1.0));
        assert!((five - 337.0).abs() < 20.0 && (ten - 825.0).abs() < 40.0, "{five} {ten}");
        assert!(of(5, 4.0) > 2.0 * ten);
    }

    #[test]
    fn a_full_channel_has_finite_waits() {
        let model = AirModel::wifi(100, 100.0);
        assert_eq!(model.data_share, MOST_DATA);
        let wait = mean_wait_us(model, Span::from_secs(1));
        assert!((wait - 0.9 * 18_500.0).abs() < 500.0, "{wait}");
    }
}
